"""Requests and answers by TLS in the reactor lane, whatever records and packets they come in."""
import contextlib
import shutil
import ssl
import subprocess
import threading
import time

import pytest

from support import DEADLINE, Client, connect, load_backend, respond, serving, wait_until
from tls_clients import (  # noqa: F401: fixtures
    GET, PEM, VERSIONS, Octets, client_context, handler_class, https_server, server_class, tls_client, version,
)
from turboserver import lanes
from turboserver.errors import BodyError


@pytest.fixture
def server(server_class):
    with serving(https_server(server_class=server_class)) as server:
        assert lanes.decide(server).lane == lanes.REACTOR
        yield server


def posted(body, *headers):
    lines = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_a_connection_is_kept(server, version):
    with tls_client(server, client_context(version)) as client:
        for unused in range(3):
            assert client.request().body == b"ok"
        assert client.request("POST", body=b"x" * 5).body == b"x" * 5


def test_the_poll_back_end(monkeypatch, server_class):
    monkeypatch.setenv("TURBOSERVER_POLLER", "poll")
    with serving(https_server(server_class=server_class)) as server, tls_client(server) as client:
        for unused in range(3):
            assert client.request("POST", body=b"x" * 100_000).body == b"x" * 100_000


def test_idle_connections_have_no_threads():
    with serving(https_server()) as server, contextlib.ExitStack() as stack:
        before = threading.active_count()
        clients = [stack.enter_context(tls_client(server)) for unused in range(50)]
        for client in clients:
            assert client.request().body == b"ok"
        assert threading.active_count() - before < 8
        assert clients[0].request().body == b"ok"


def test_others_are_served_meanwhile():
    """Without threads: of a client that is idle, of one in its handshake, of one with half a record, nobody notices."""
    with serving(https_server(server_class="HTTPSServer")) as server:
        with tls_client(server) as idle, connect(server), connect(server) as begun, Octets(server).handshake() as half:
            begun.sendall(b"\x16\x03\x01\x02")
            half.sock.sendall(half.seal(GET)[:7])
            assert idle.request().body == b"ok"
            for unused in range(3):
                with tls_client(server) as client:
                    assert client.request().body == b"ok"
            assert idle.request().body == b"ok"


def test_octet_by_octet(server, version):
    with Octets(server, client_context(version)) as client:
        flights = []
        sock = client.sock

        class Slowly:
            def sendall(self, data):
                flights.append(len(data))
                for at in range(len(data)):
                    sock.sendall(data[at:at + 1])

            def __getattr__(self, name):
                return getattr(sock, name)

        client.sock = Slowly()
        client.handshake()
        client.sock.sendall(client.seal(GET))
        assert client.open().startswith(b"HTTP/1.1 200") and len(flights) >= 3


def test_the_request_comes_with_the_end_of_the_handshake(server):
    with Octets(server, client_context(VERSIONS[1])) as client:
        last = client.handshake(last=False)
        client.sock.sendall(last + client.seal(GET))
        client.until(b"ok")
        client.sock.sendall(client.seal(GET))
        client.until(b"ok")


def test_a_record_in_two_packets(server, version):
    with Octets(server, client_context(version)).handshake() as client:
        for cut in (1, 4, 5, 6, 20, -1):
            octets = client.seal(GET)
            client.sock.sendall(octets[:cut])
            time.sleep(0.02)
            client.sock.sendall(octets[cut:])
            client.until(b"ok")


def test_many_requests_in_a_record(server, version):
    with Octets(server, client_context(version)).handshake() as client:
        client.sock.sendall(client.seal(GET * 100 + GET[:10]))
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 100:
            answers += client.until(b"ok")
        assert answers.count(b"HTTP/1.1 200") == 100
        client.sock.sendall(client.seal(GET[10:]))
        assert client.open().startswith(b"HTTP/1.1 200")


def test_requests_that_fill_records_and_end_in_others(server, version):
    """More than the window, the record and the packet have in common."""
    body = bytes(range(256)) * 250
    octets = b"".join(posted(body[:size]) for size in (1, 20_000, 64_000, 5, 16_384)) + GET
    with Octets(server, client_context(version)).handshake() as client:
        client.sock.sendall(client.seal(octets))
        answers = client.until(b"ok")
        assert answers.count(b"HTTP/1.1 200") == 6
        assert body[:64_000] in answers and len(answers) > 1 + 20_000 + 64_000 + 5 + 16_384


def test_a_request_in_many_records(server):
    with Octets(server).handshake() as client:
        octets = posted(b"x" * 300)
        client.sock.sendall(client.seal(*(octets[at:at + 1] for at in range(len(octets)))))
        client.until(b"x" * 300)


def test_head_and_body_are_one_packet(server):
    """What is gathered leaves together, in two records."""
    with Octets(server, client_context(VERSIONS[1])).handshake() as client:
        for unused in range(2):     # tickets come before the first
            client.sock.sendall(client.seal(GET))
            client.until(b"ok")
        client.sock.sendall(client.seal(GET))
        client.receive()
        assert client.tls.read(65536).endswith(b"\r\n\r\n") and client.tls.read(65536) == b"ok"


def test_large_bodies(server, version):
    body = bytes(range(256)) * 20_000
    with tls_client(server, client_context(version)) as client:
        assert client.request("POST", body=body).body == body
        assert client.request("POST", body=body[:70_000]).body == body[:70_000]


def test_both_ways_at_once(server_class, version):
    """A handler that answers with what comes, while it comes, and a client that sends and reads at the same time."""
    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", self.headers["Content-Length"])
        self.end_headers()
        left = int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 50_000))
            left -= len(data)
            self.wfile.write(data)

    body = bytes(range(256)) * 40_000
    with serving(https_server(handler_class(do_POST=do_POST), server_class)) as server:
        with Octets(server, client_context(version)).handshake() as client:
            # Encrypted before: the TLS of a client is for one thread at a time.
            sender = threading.Thread(target=client.sock.sendall, args=(client.seal(posted(body)),), daemon=True)
            sender.start()
            answer = client.open(len(body) + 100)
            while not answer.endswith(body):
                answer += client.open()
            sender.join(DEADLINE)


def test_a_handler_that_reads_in_one_thread_and_writes_in_another():
    """One operation of OpenSSL at a time, and neither waits for the other's peer."""
    size = 3_000_000

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        writer = threading.Thread(target=lambda: [self.wfile.write(b"w" * 1000) for unused in range(size // 1000)])
        writer.start()
        read = 0
        while read < size:
            read += len(self.rfile.read1(65536))
        writer.join()

    with serving(https_server(handler_class(do_POST=do_POST))) as server, Octets(server).handshake() as client:
        sender = threading.Thread(target=client.sock.sendall, args=(client.seal(posted(b"r" * size)),), daemon=True)
        sender.start()
        answer = client.open(size)
        while not answer.endswith(b"w" * size):
            answer += client.open()
        sender.join(DEADLINE)


def test_writers_in_many_threads_do_not_mix():
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(8 * 50 * 3000))
        self.end_headers()
        threads = [threading.Thread(target=lambda number=number: [
            self.wfile.write(b"%d" % number * 3000) for unused in range(50)]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with serving(https_server(handler_class(do_GET=do_GET))) as server, tls_client(server) as client:
        body = client.request().body
        assert len(body) == 8 * 50 * 3000
        for number in range(8):
            assert body.count(b"%d" % number * 3000) >= 1 and body.count(b"%d" % number) == 50 * 3000


def test_what_is_written_leaves_while_the_handler_runs(server_class):
    go = threading.Event()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"abc")
        assert go.wait(DEADLINE)
        self.wfile.write(b"def")

    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server:
        with Octets(server).handshake() as client:
            client.sock.sendall(client.seal(GET))
            client.until(b"abc")
            go.set()
            client.until(b"def")


def test_continue_and_chunks(server, version):
    with Octets(server, client_context(version)).handshake() as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        client.sock.sendall(client.seal(head))
        assert client.open() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sock.sendall(client.seal(b"5\r\nhello\r\n", b"3\r\n", b"abc\r\n0\r\n\r\n") + client.seal(GET))
        answers = client.until(b"ok")
        assert answers.count(b"HTTP/1.1 200") == 2 and b"3\r\nabc\r\n0" in answers


def test_what_a_handler_leaves_of_a_body(server_class):
    with serving(https_server(handler_class(do_POST=lambda self: respond(self)), server_class)) as server:
        with tls_client(server) as client:
            assert client.request("POST", body=b"x" * 200_000).body == b"ok"
            assert client.request().body == b"ok"


@pytest.mark.parametrize("polite", (False, True), ids=("cut off", "close_notify"))
def test_a_body_that_is_cut_short_never_looks_whole(server_class, polite):
    seen = []

    def do_POST(self):
        try:
            seen.append(self.rfile.read())
        except BodyError as error:
            seen.append(error)
            raise

    with serving(https_server(handler_class(do_POST=do_POST), server_class)) as server:
        with Octets(server).handshake() as client:
            client.sock.sendall(client.seal(posted(b"x" * 100_000)[:70_000]))
            wait_until(lambda: server._turbo_engine.connections, "the connection")
            time.sleep(0.05)
            client.sock.sendall(client.goodbye() if polite else b"")
            client.sock.shutdown(1)
            wait_until(lambda: seen, "the handler")
            assert isinstance(seen[0], BodyError)


def test_a_small_body_that_is_cut_short(server):
    with Octets(server).handshake() as client:
        client.sock.sendall(client.seal(posted(b"x" * 100)[:-1]) + client.goodbye())
        assert b" 400 " in client.open()


def test_a_client_that_says_that_it_ends_has_its_answer(server, version):
    with Octets(server, client_context(version)).handshake() as client:
        client.sock.sendall(client.seal(GET) + client.goodbye())
        data = b""
        while chunk := client.sock.recv(65536):
            data += chunk
        client.incoming.write(data)
        # OpenSSL gives nothing more to who has said goodbye; but it is here, and more than an alert.
        assert len(data) > 150


def test_a_corrupt_record_ends_its_connection_alone(server, capfd):
    with Octets(server).handshake() as client, tls_client(server) as other:
        octets = bytearray(client.seal(GET))
        octets[-3] ^= 1
        client.sock.sendall(octets)
        with pytest.raises(ssl.SSLError):       # bad_record_mac
            client.open()
            client.open()
        assert other.request().body == b"ok"
    assert "Traceback" not in capfd.readouterr().err


def test_a_corrupt_record_in_a_body_is_an_error_of_its_handler():
    seen = []

    def do_POST(self):
        try:
            self.rfile.read()
        except OSError as error:
            seen.append(error)
            self.close_connection = True

    with serving(https_server(handler_class(do_POST=do_POST))) as server, Octets(server).handshake() as client:
        client.sock.sendall(client.seal(posted(b"x" * 100_000)[:70_000]))
        octets = bytearray(client.seal(b"x" * 100))
        octets[-3] ^= 1
        client.sock.sendall(octets)
        wait_until(lambda: seen, "the handler")
        assert isinstance(seen[0], ssl.SSLError) and not isinstance(seen[0], BodyError)


@pytest.mark.parametrize("command, version", [("K", "-tls1_3"), ("k", "-tls1_3"), ("R", "-tls1_2")],
                         ids=("key update both ways", "key update", "renegotiation"))
def test_new_keys(server, command, version):
    """Update of keys (RFC 8446, 4.6.3). A wish to negotiate anew OpenSSL 3 refuses, and its client ends then."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    process = subprocess.Popen([openssl, "s_client", "-connect", f"127.0.0.1:{server.server_port}", version, "-crlf"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    seen = []
    reader = threading.Thread(target=lambda: [seen.append(data) for data in iter(lambda: process.stdout.read(65536), b"")],
                              daemon=True)
    reader.start()
    try:
        count = 0
        for line in ("GET / HTTP/1.1\nHost: a\n\n", command + "\n", "GET / HTTP/1.1\nHost: a\n\n"):
            try:
                process.stdin.write(line.encode())
            except BrokenPipeError:
                assert command == "R"
                break
            if line.startswith("GET"):
                count += 1
                wait_until(lambda: b"".join(seen).count(b"HTTP/1.1 200") == count, f"answer {count}")
            else:
                time.sleep(0.3)
        with tls_client(server) as client:
            assert client.request().body == b"ok"
    finally:
        process.kill()
        process.wait(DEADLINE)
        reader.join(DEADLINE)
        process.stdin.close()
        process.stdout.close()


# ---------------------------------------------------------------- which lane, and what is negotiated

def test_alpn(server_class):
    def protocol(server, *offered):
        context = client_context()
        context.set_alpn_protocols(offered)
        with tls_client(server, context) as client:
            assert client.request().body == b"ok"
            return client.sock.selected_alpn_protocol()

    with serving(https_server(server_class=server_class)) as server:
        assert protocol(server, "h2", "http/1.1") == "http/1.1"
        assert protocol(server, "h2") is None       # nothing in common: HTTP/1.1 is spoken all the same
    cls = getattr(load_backend("turboserver").http_server, server_class)
    with serving(cls(("127.0.0.1", 0), handler_class(), certfile=PEM, alpn_protocols=["http/1.0", "x"])) as server:
        assert protocol(server, "x", "http/1.1") == "x"


def test_any_listening_socket_with_tls_is_for_the_reactor(tls):
    module = load_backend("turboserver").http_server
    server = module.HTTPServer(("127.0.0.1", 0), handler_class())
    server.socket = tls[0].wrap_socket(server.socket, server_side=True)
    assert lanes.decide(server).lane == lanes.REACTOR
    with serving(server), tls_client(server) as client:
        assert client.request().body == b"ok"


def wrap_socket(self, sock, **options):
    return ssl.SSLContext.wrap_socket(self, sock, **options)


class OwnSocket(ssl.SSLSocket):
    pass


@pytest.mark.parametrize("members, lane", [
    ({}, lanes.REACTOR), ({"wrap_socket": wrap_socket}, lanes.BLOCKING), ({"sslsocket_class": OwnSocket}, lanes.BLOCKING)],
    ids=("as it is", "wrap_socket", "sslsocket_class"))
def test_contexts_of_a_subclass(members, lane):
    members, seen = dict(members), []

    def do_GET(self):
        seen.append((type(self.connection).__mro__, type(self.connection.context).__name__))
        respond(self)

    server = load_backend("turboserver").http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler_class(do_GET=do_GET))
    own_socket = members.pop("sslsocket_class", None)
    context = type("Context", (ssl.SSLContext,), members)(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    if own_socket:      # the listening one is of the usual class, those of the connections are not
        context.sslsocket_class = own_socket
    assert lanes.decide(server).lane == lane
    assert ("TLS" in {reason.name for reason in lanes.decide(server).reasons}) is (lane != lanes.REACTOR)
    with serving(server), tls_client(server) as client:
        assert client.request().body == b"ok"
    assert ssl.SSLSocket in seen[0][0] and seen[0][1] == "Context"
    assert (OwnSocket in seen[0][0]) is (own_socket is not None)


def test_a_handler_class_that_leaves_the_lane_while_its_server_runs():
    handler = handler_class()
    with serving(https_server(handler)) as server:
        with tls_client(server) as client:
            assert client.request().body == b"ok"
        handler.handle_one_request = lambda self: (self.rfile.readline(), self.wfile.write(b"by hand"),
                                                   setattr(self, "close_connection", True))
        with Octets(server).handshake() as client:
            client.sock.sendall(client.seal(GET))
            assert client.open() == b"by hand"


def test_wsgi():
    module = load_backend("turboserver").simple_server
    seen = []

    def application(environ, start_response):
        seen.append((environ["wsgi.url_scheme"], environ["HTTPS"], environ["wsgi.input"].read()))
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    for members in ({}, {"get_stderr": lambda self: None}):
        handler = type("Handler", (module.WSGIRequestHandler,), {"log_message": lambda self, *arguments: None, **members})
        server = module.make_server("127.0.0.1", 0, application, handler_class=handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server), tls_client(server) as client:
            assert client.request("POST", body=b"abc").body == b"ok"
        assert seen.pop() == ("https", "on", b"abc")


def test_wsgi_in_the_blocking_lane(monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", "blocking")
    test_wsgi()


def test_verify_request_is_asked_before_the_handshake():
    seen = []

    def verify_request(self, request, client_address):
        seen.append(isinstance(request, ssl.SSLSocket))
        return len(seen) > 1

    with serving(https_server(verify_request=verify_request)) as server:
        with connect(server) as refused, pytest.raises((ssl.SSLError, ConnectionError)):
            client_context().wrap_socket(refused, server_hostname="localhost")
        with tls_client(server) as client:
            assert client.request().body == b"ok"
        assert seen == [True, True]


def test_plain_clients_of_the_same_class_are_still_served():
    with serving(load_backend("turboserver").http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler_class())) as server:
        with Client(server) as client:
            assert client.request().body == b"ok"
