"""Programs of the standard library that start a server: xmlrpc.server, pydoc, logging. They need no environment.

CPython's own suites of these (test_xmlrpc, test_docxmlrpc, test_logging) are run by tests/test_cpython.py.
"""
import json
import logging
import logging.handlers
import socket
import struct
import xmlrpc.client

from row import DEADLINE, Row, program, together


# ---------------------------------------------------------------- xmlrpc.server

def check_xmlrpc(place):
    with xmlrpc.client.ServerProxy(place.url, allow_none=True) as proxy:
        assert proxy.add(2, 3) == 5
        assert proxy.echo(None) is None and proxy.echo({"a": [1, "\xe9", b"\0\xff"]})["a"][1] == "\xe9"
        large = "x" * 1_000_000
        assert proxy.echo(large) == large
        assert {"add", "echo", "system.multicall"} <= set(proxy.system.listMethods())
        assert proxy.system.methodHelp("add") == "The sum of two numbers."
        calls = xmlrpc.client.MultiCall(proxy)
        for number in range(50):
            calls.add(number, 1)
        assert list(calls()) == list(range(1, 51))
        for name in ("fails", "is_not_there"):
            try:
                getattr(proxy, name)()
            except xmlrpc.client.Fault as fault:
                assert name == "is_not_there" or "meant to" in fault.faultString
            else:
                raise AssertionError(name)
        assert proxy.add(2, 3) == 5
    assert place.ask("/not/there", "POST", b"<methodCall/>").status == 404
    assert place.ask("/RPC2").status == 501
    assert b"faultCode" in place.ask("/RPC2", "POST", b"this is no call").body

    def one():
        with xmlrpc.client.ServerProxy(place.url) as proxy:
            return [proxy.add(number, 1) for number in range(20)]

    for result in together([one] * 4)[0]:
        assert result == list(range(1, 21))


def check_docxmlrpc(place):
    check_page = place.page("/").decode()
    for expected in ("A server of the field", "The&nbsp;sum&nbsp;of&nbsp;two", "<strong>add</strong>"):
        assert expected.replace("&nbsp;", " ") in check_page.replace("&nbsp;", " "), expected
    assert place.ask("/nothing").status == 404
    with xmlrpc.client.ServerProxy(place.url) as proxy:
        assert proxy.add(2, 3) == 5


def add_by_xmlrpc(place):
    proxy = xmlrpc.client.ServerProxy(place.url)
    return lambda: proxy.add(2, 3)


# ---------------------------------------------------------------- pydoc

def check_pydoc(place):
    assert b"Index of Modules" in place.page("/")
    assert b"TCPServer" in place.page("/socketserver.html")
    for name in ("topics", "keywords", "get?key=len", "getfile?key=" + json.__file__):
        assert place.page("/" + name).rstrip().endswith(b"</html>"), name
    assert place.ask("/pydoc.css").headers["Content-Type"].startswith("text/css")
    assert b"Error" in place.page("/is_not_there.html")


# ---------------------------------------------------------------- logging

def configuration(place, name):
    """The octets by which logging.config.listen() is told to log into the file of this name."""
    told = json.dumps({
        "version": 1, "disable_existing_loggers": False,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(place.folder / name)}},
        "root": {"level": "INFO", "handlers": ["file"]}}).encode()
    return struct.pack(">L", len(told)) + told


def send_and_wait(place, octets):
    """Send all this on one connection, and wait until the server has closed it."""
    with socket.create_connection(place.address, DEADLINE) as sock:
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass


def check_listen(place):
    for name in ("first.log", "second.log"):
        log = place.folder / name
        sent = configuration(place, name)
        # In two pieces, of which the first ends behind the length.
        with socket.create_connection(place.address, DEADLINE) as sock:
            sock.sendall(sent[:6])
            sock.sendall(sent[6:])
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        place.until(lambda: log.exists() and log.read_text().count("tick") > 2, name)
    send_and_wait(place, struct.pack(">L", 5) + b"wrong")
    send_and_wait(place, configuration(place, "third.log"))
    place.until(lambda: (place.folder / "third.log").exists(), "third.log")


def configure(place):
    sent = configuration(place, "load.log")
    return lambda: send_and_wait(place, sent)


def record_octets(number):
    handler = logging.handlers.SocketHandler("", 0)
    return handler.makePickle(logging.LogRecord("field", logging.INFO, "", 0, "record %d", (number,), None))


def check_receiver(place):
    def one(name):
        logger = logging.Logger(name, logging.DEBUG)
        handler = logging.handlers.SocketHandler(*place.address)
        logger.addHandler(handler)
        for number in range(300):
            logger.info("number %d", number)
        try:
            raise ValueError("told")
        except ValueError:
            logger.exception("the last one")
        handler.close()

    names = ["one", "two", "three"]
    together([lambda name=name: one(name) for name in names])
    log = place.folder / "received.log"
    place.until(lambda: log.read_text().count("the last one") == 3, "all records")
    lines = log.read_text().splitlines()
    for name in names:
        numbers = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} INFO")]
        assert numbers == [str(number) for number in range(300)], "in order, and none lost"


def hundred_records(place):
    sent = b"".join(map(record_octets, range(100)))
    return lambda: send_and_wait(place, sent)


ROWS = [
    Row("xmlrpc.server, SimpleXMLRPCServer", "library", program("xmlrpc_server.py"), check_xmlrpc, "blocking",
        add_by_xmlrpc, "calls", short=True),
    Row("xmlrpc.server, DocXMLRPCServer with threads", "library", program("xmlrpc_server.py", "doc"), check_docxmlrpc,
        "blocking", add_by_xmlrpc, "calls", short=True),
    Row("pydoc -p", "library", lambda folder: ["-m", "pydoc", "-n", "127.0.0.1", "-p", "0"], check_pydoc, "blocking",
        "/keywords", short=True),
    Row("logging.config.listen", "library", program("logging_listen.py"), check_listen, "blocking", configure,
        "configurations", short=True),
    Row("logging, a receiver of SocketHandler's", "library", program("logging_receiver.py"), check_receiver, "blocking",
        hundred_records, "connections of 100 records", short=True),
]
