"""Protocols of lines and of records over TCP and UDP: name servers, RPC, buses of machines, medical images, tunnels."""
import base64
import hashlib
import json
import os
import socket
import struct

from row import DEADLINE, Row, free_port, program, together


# ---------------------------------------------------------------- dnslib

def dns(*options):
    return lambda folder: ["-m", "dnslib.fixedresolver", "-a", "127.0.0.1", "-p", free_port(), "-r",
                           ". 60 IN A 192.0.2.1", *options]


def asker(place, tcp):
    from dnslib import DNSRecord
    question = DNSRecord.question("field.example")
    return lambda: DNSRecord.parse(question.send(*place.address, tcp=tcp, timeout=DEADLINE))


def check_dns(tcp):
    def check(place):
        ask = asker(place, tcp)
        for unused in range(20):
            answer = ask()
            assert str(answer.a.rdata) == "192.0.2.1" and answer.header.aa, answer
        assert {str(answer.a.rdata) for answer in together([ask] * 20)[0]} == {"192.0.2.1"}
        if tcp:
            with socket.create_connection(place.address, DEADLINE) as sock:
                sock.sendall(b"x")
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(100) == b"", "cut off: no answer"
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for wrong in (b"", b"x", os.urandom(400)):
                    sock.sendto(wrong, place.address)
        assert str(ask().a.rdata) == "192.0.2.1"
    return check


def ask_by(tcp):
    return lambda place: asker(place, tcp)


# ---------------------------------------------------------------- jsonrpclib-pelix

def check_jsonrpc(place):
    import jsonrpclib
    proxy = jsonrpclib.ServerProxy(place.url)
    assert proxy.add(2, 3) == 5 and proxy.echo("\xe9" * 100_000) == "\xe9" * 100_000
    batch = jsonrpclib.MultiCall(proxy)
    for number in range(20):
        batch.add(number, 1)
    assert list(batch()) == list(range(1, 21))
    proxy._notify.add(1, 1)
    try:
        proxy.is_not_there()
    except jsonrpclib.ProtocolError as error:
        assert "-32601" in str(error)
    else:
        raise AssertionError("a method that is not there")
    assert place.ask("/", "POST", b"{").status == 200
    assert {answer for answer in together([lambda: jsonrpclib.ServerProxy(place.url).add(2, 3)] * 8)[0]} == {5}


def add_by_jsonrpc(place):
    import jsonrpclib
    proxy = jsonrpclib.ServerProxy(place.url)
    return lambda: proxy.add(2, 3)


# ---------------------------------------------------------------- fakeredis

def check_redis(place):
    import redis
    client = redis.Redis(*place.address, socket_timeout=DEADLINE)
    assert client.ping() and client.set("a", b"\0\xff\r\n") and client.get("a") == b"\0\xff\r\n"
    large = os.urandom(300_000)
    client.set("large", large)
    assert client.get("large") == large
    with client.pipeline() as pipe:
        for number in range(200):
            pipe.rpush("list", number)
        assert pipe.execute() == list(range(1, 201))
    assert client.lrange("list", 0, -1) == [str(number).encode() for number in range(200)]
    try:
        client.incr("a")
    except redis.ResponseError as error:
        assert "not an integer" in str(error)
    else:
        raise AssertionError("incr of what is no number")
    told = client.pubsub(ignore_subscribe_messages=True)
    told.subscribe("news")
    assert client.publish("news", "first") >= 0
    place.until(lambda: (told.get_message(timeout=1) or {}).get("data") == b"first", "the message")

    def count():
        one = redis.Redis(*place.address)
        for unused in range(50):
            one.incr("count")
        one.close()

    together([count] * 4)
    assert client.get("count") == b"200"


def set_and_get(place):
    import redis
    client = redis.Redis(*place.address, single_connection_client=True)
    client.set("a", "b")
    return lambda: client.get("a")


# ---------------------------------------------------------------- websocket-server

def check_websocket(place):
    import websocket
    first, second = (websocket.create_connection(f"ws://127.0.0.1:{place.port}/", timeout=DEADLINE) for _ in "12")
    assert first.recv() == "a client came: 2"
    for text in ("hello", "\xe9" * 60, "y" * 1000, "z" * 100_000):
        first.send(text)
        assert first.recv() == text and second.recv() == text, "to all"
    second.ping("are you there")
    opcode, octets = second.recv_data(control_frame=True)
    assert (opcode, octets) == (websocket.ABNF.OPCODE_PONG, b"are you there")
    second.close()
    first.send("still")
    assert first.recv() == "still"
    # Cut off in the midst of a frame, and no WebSocket at all.
    first.sock.sendall(b"\x81")
    first.sock.close()
    with socket.create_connection(place.address, DEADLINE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: other\r\n\r\n")
        assert sock.recv(100) == b""
    third = websocket.create_connection(f"ws://127.0.0.1:{place.port}/", timeout=DEADLINE)
    third.send("again")
    while third.recv() != "again":
        pass        # it may be told of itself, where the first is known to have gone
    third.close()
    key = base64.b64encode(b"0" * 16)
    with socket.create_connection(place.address, DEADLINE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert accept in sock.recv(1000)


def echo_by_websocket(place):
    import websocket
    client = websocket.create_connection(f"ws://127.0.0.1:{place.port}/?alone", timeout=DEADLINE)

    def trip():
        client.send("hello")
        while client.recv() != "hello":
            pass

    return trip


# ---------------------------------------------------------------- python-lsp-server

class LanguageClient:
    """Speaks JSON-RPC with the base protocol of language servers."""

    def __init__(self, place):
        self.sock = socket.create_connection(place.address, DEADLINE)
        self.file = self.sock.makefile("rb")
        self.number = 0

    def tell(self, method, **params):
        self._send(method=method, params=params)

    def ask(self, method, **params):
        self.number += 1
        self._send(id=self.number, method=method, params=params)
        while True:
            answer = self._read()
            if answer.get("id") == self.number and "method" not in answer:
                return answer["result"]

    def _send(self, **message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.sock.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def _read(self):
        size = 0
        while (line := self.file.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        assert size, "the server has closed the connection"
        return json.loads(self.file.read(size))


def opened(place):
    client = LanguageClient(place)
    told = client.ask("initialize", processId=None, rootUri=place.folder.as_uri(), capabilities={})
    assert told["capabilities"]["completionProvider"]
    client.tell("initialized")
    document = {"uri": (place.folder / "a.py").as_uri()}
    client.tell("textDocument/didOpen", textDocument={
        **document, "languageId": "python", "version": 1, "text": "import socket\n\ndef one():\n    return 1\n\none()\n"})
    return client, document


def check_lsp(place):
    client, document = opened(place)
    assert {"one"} <= {symbol["name"] for symbol in client.ask("textDocument/documentSymbol", textDocument=document)}
    definition, = client.ask("textDocument/definition", textDocument=document, position={"line": 5, "character": 1})
    assert definition["range"]["start"]["line"] == 2
    assert client.ask("shutdown") is None
    client.tell("exit")
    assert client.file.read() == b""
    again, document = opened(place)
    assert again.ask("textDocument/documentSymbol", textDocument=document)
    again.sock.close()


def ask_for_symbols(place):
    client, document = opened(place)
    return lambda: client.ask("textDocument/documentSymbol", textDocument=document)


# ---------------------------------------------------------------- Modbus

def check_modbus(place):
    from pyModbusTCP.client import ModbusClient

    def one(number):
        client = ModbusClient(*place.address, timeout=DEADLINE)
        assert client.write_multiple_registers(number * 100, list(range(50))), client.last_error_as_txt
        assert client.read_holding_registers(number * 100, 50) == list(range(50))
        assert client.write_single_coil(number, True) and client.read_coils(number, 1) == [True]
        client.close()

    together([lambda number=number: one(number) for number in range(8)])
    client = ModbusClient(*place.address, timeout=DEADLINE)
    assert client.read_holding_registers(0, 125) is not None
    with socket.create_connection(place.address, DEADLINE) as sock:
        sock.sendall(b"\0\1\0\0\0\3\1\x19\0")     # a function that there is not
        assert sock.recv(100)[7:] == b"\x99\1"
        sock.sendall(b"\0\2\0\0\0\6\1")         # in two pieces
        sock.sendall(b"\3\0\0\0\1")
        assert sock.recv(100)[:2] == b"\0\2"
    client.close()


def read_registers(place):
    from pyModbusTCP.client import ModbusClient
    client = ModbusClient(*place.address, timeout=DEADLINE)
    return lambda: client.read_holding_registers(0, 10)


def check_umodbus(place):
    with socket.create_connection(place.address, DEADLINE) as sock:
        for number in range(20):
            sock.sendall(struct.pack(">HHHBBHH", number, 0, 6, 1, 3, number, 2))
            answer = sock.recv(100)
            assert struct.unpack(">HHHBBBHH", answer) == (number, 0, 7, 1, 3, 4, number + 1, number + 2), answer
        sock.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 5000, 1))
        assert sock.recv(100)[7:] == b"\x83\2"


def read_by_umodbus(place):
    sock = socket.create_connection(place.address, DEADLINE)
    asked = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 1, 2)

    def trip():
        sock.sendall(asked)
        assert len(sock.recv(100)) == 13

    return trip


# ---------------------------------------------------------------- DICOM

def associated(place, abstract):
    from pynetdicom import AE
    entity = AE()
    entity.add_requested_context(abstract)
    association = entity.associate(*place.address)
    assert association.is_established, place.said()
    return association


def check_dicom(place):
    def one():
        association = associated(place, "1.2.840.10008.1.1")
        for unused in range(10):
            assert association.send_c_echo().Status == 0
        association.release()
        assert association.is_released

    together([one] * 3)
    one()
    refused = None
    with socket.create_connection(place.address, DEADLINE) as sock:
        sock.sendall(b"\1\0\0\0\0\4abcd")       # a request for an association that is none
        refused = sock.recv(100)
    assert refused[:1] in (b"\7", b"\3", b""), refused
    one()


def echo_by_dicom(place):
    association = associated(place, "1.2.840.10008.1.1")
    return association.send_c_echo


# ---------------------------------------------------------------- sshtunnel

def check_tunnel(place):
    def one(size):
        data = os.urandom(size)
        with socket.create_connection(place.address, DEADLINE) as sock:
            sock.sendall(data)
            got = b""
            while len(got) < size and (more := sock.recv(1 << 16)):
                got += more
        assert got == data, (size, len(got))

    for size in (1, 1000, 60_000):
        one(size)
    together([lambda: one(20_000)] * 4)


def through_tunnel(place):
    return place.trips(b"hello", b"hello")


ROWS = [
    Row("dnslib, UDP", "lines", dns("--log=-request,-reply"), check_dns(False), "blocking",
        ask_by(False), "queries", short=True),
    Row("dnslib, TCP", "lines", dns("--tcp", "--log=-request,-reply"), check_dns(True), "blocking", ask_by(True),
        "queries", short=True, server="TCPServer"),
    Row("jsonrpclib-pelix, SimpleJSONRPCServer", "lines", program("jsonrpc_server.py"), check_jsonrpc, "blocking",
        add_by_jsonrpc, "calls", short=True),
    Row("jsonrpclib-pelix, PooledJSONRPCServer", "lines", program("jsonrpc_server.py", "pool"), check_jsonrpc, "blocking",
        add_by_jsonrpc, "calls", short=True),
    Row("fakeredis, TcpFakeServer", "lines", program("redis_server.py"), check_redis, "blocking", set_and_get, "commands",
        short=True),
    Row("websocket-server", "lines", program("websocket_echo.py"), check_websocket, "blocking", echo_by_websocket,
        "messages", short=True),
    Row("python-lsp-server, pylsp --tcp", "lines",
        lambda folder: ["-m", "pylsp", "--tcp", "--host", "127.0.0.1", "--port", "0"], check_lsp, "blocking",
        ask_for_symbols, "requests"),
    Row("pyModbusTCP, ModbusServer", "lines", program("modbus_server.py"), check_modbus, "blocking", read_registers,
        "reads", short=True),
    Row("uModbus", "lines", program("umodbus_server.py"), check_umodbus, "blocking", read_by_umodbus, "reads", short=True),
    Row("pynetdicom, echoscp", "lines",
        lambda folder: ["-m", "pynetdicom.apps.echoscp.echoscp", "-ba", "127.0.0.1", free_port()], check_dicom, "blocking",
        echo_by_dicom, "echoes"),
    Row("sshtunnel, SSHTunnelForwarder", "lines", program("tunnel.py"), check_tunnel, "blocking", through_tunnel,
        "round trips"),
]
