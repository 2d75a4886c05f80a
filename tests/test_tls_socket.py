"""What a program finds at `connection` by TLS in the reactor lane: a socket, an ssl.SSLSocket, of the same stream."""
import contextlib
import select
import socket
import ssl
import threading
import time

import pytest

from support import DEADLINE, respond, serving, wait_until
from tls_clients import (  # noqa: F401: fixtures
    GET, VERSIONS, Octets, client_context, handler_class, https_server, server_class, tls_client,
)


@contextlib.contextmanager
def speaking(do_GET, server_class="ThreadingHTTPSServer", version=None, **attributes):
    """A client that has sent one request to this handler."""
    with serving(https_server(handler_class(do_GET=do_GET), server_class, **attributes)) as server:
        with Octets(server, client_context(version)).handshake() as client:
            client.sock.sendall(client.seal(GET))
            yield client


def test_what_it_is(server_class):
    seen = []

    def do_GET(self):
        sock = self.connection
        assert sock is self.request and isinstance(sock, ssl.SSLSocket) and isinstance(sock, socket.socket)
        seen.append((sock.version(), sock.cipher()[1], sock.selected_alpn_protocol(), sock.getpeercert(),
                     sock.getpeername(), sock.getsockname(), sock.server_side, sock.session_reused, sock.compression(),
                     sock.get_channel_binding("tls-unique"), sock.pending(), sock.context is self.server.socket.context,
                     bool(sock.shared_ciphers()), sock.fileno() >= 0, sock.gettimeout()))
        respond(self)

    context = client_context(VERSIONS[1])
    context.set_alpn_protocols(["http/1.1"])
    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server:
        with tls_client(server, context) as client:
            assert client.request().body == b"ok"
            (version, cipher, protocol, certificate, peer, own, *rest) = seen[0]
            assert (version, cipher, protocol, certificate) == ("TLSv1.3", "TLSv1.3", "http/1.1", None)
            assert (peer, own) == (client.sock.getsockname(), client.sock.getpeername())
            assert rest[:3] == [True, False, None] and rest[4:] == [0, True, True, True, None]
            assert client.request().body == b"ok" and seen[1] == seen[0]


def test_reading_and_writing_by_itself(server_class):
    def do_GET(self):
        sock = self.connection
        self.wfile.write(b"1")
        sock.sendall(b"2" * 100_000)
        self.wfile.write(b"3")
        assert sock.send(b"4") == 1 and sock.write(b"5") == 1
        assert sock.recv(3) == b"abc" and sock.pending() == 7
        buffer = bytearray(4)
        assert sock.recv_into(buffer, 2) == 2 and buffer == b"de\0\0"
        assert sock.read(1) == b"f" and sock.makefile("rb").read(4) == b"ghij"
        with pytest.raises(ValueError):
            sock.recv(1, socket.MSG_PEEK)
        sock.sendall(b"6")
        assert sock.recv(10) == b""
        sock.sendall(b"end")

    with speaking(do_GET, server_class) as client:
        client.until(b"45")
        client.sock.sendall(client.seal(b"abcdefghij"))
        client.until(b"6")
        client.sock.sendall(client.goodbye())
        assert len(client.sock.recv(100)) > 3


def test_rfile_and_the_socket_are_one_stream():
    def do_POST(self):
        assert self.rfile.read(3) == b"abc"
        sock = self.connection
        sock.sendall(b"go")
        assert sock.recv(3) == b"def" and self.rfile.read(4) == b"ghij"
        self.close_connection = True
        sock.sendall(b"end")

    with serving(https_server(handler_class(do_POST=do_POST))) as server, Octets(server).handshake() as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        client.sock.sendall(client.seal(head + b"abc"))
        client.until(b"go")
        client.sock.sendall(client.seal(b"defghij"))
        client.until(b"end")


def test_the_next_request_follows(server_class):
    """What the socket has received beyond what was asked for is still the connection's."""
    def do_GET(self):
        sock = self.connection
        if self.path == "/read":
            assert sock.recv(3) == b"abc"
        respond(self, self.path.encode())

    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server:
        with Octets(server).handshake() as client:
            client.sock.sendall(client.seal(GET.replace(b"/ ", b"/read ")))
            time.sleep(0.05)
            client.sock.sendall(client.seal(b"abc" + GET.replace(b"/ ", b"/next ")))
            client.until(b"/read")
            client.until(b"/next")
            client.sock.sendall(client.seal(GET.replace(b"/ ", b"/last ")))
            client.until(b"/last")


def test_without_blocking():
    seen = []

    def do_GET(self):
        sock = self.connection
        sock.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            sock.recv(1)
        sock.send(b"ready")
        assert select.select([sock], [], [], DEADLINE)[0]
        assert sock.recv(10) == b"abc"
        sent = 0
        try:
            while True:
                sent += sock.send(b"x" * 100_000)
        except ssl.SSLWantWriteError:
            seen.append(sent)
        sock.settimeout(DEADLINE)
        sock.sendall(b"end")

    with speaking(do_GET) as client:
        client.until(b"ready")
        client.sock.sendall(client.seal(b"abc"))
        wait_until(lambda: seen, "a full kernel")
        assert seen[0] > 0 and client.until(b"end").count(b"x") == seen[0]


def test_time_outs():
    def do_GET(self):
        sock = self.connection
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError, match="read operation timed out"):
            sock.recv(1)
        with pytest.raises(TimeoutError, match="write operation timed out"):
            while True:
                sock.sendall(b"x" * 1_000_000)
        self.close_connection = True
        seen.append(True)

    seen = []
    with speaking(do_GET):
        wait_until(lambda: seen, "both")


@pytest.mark.parametrize("first", ("server", "client"))
def test_unwrap(server_class, first):
    """TLS ends, and both sides go on without it: the socket and its files, and wfile."""
    def do_GET(self):
        self.wfile.write(b"ready")
        if first == "client":
            assert self.connection.recv(1) == b""
        plain = self.connection.unwrap()
        assert plain is self.connection and plain.version() is None
        plain.sendall(b"plain")
        assert plain.recv(3) == b"abc" and plain.makefile("rb").read(3) == b"def"
        self.wfile.write(b"end")
        self.close_connection = True

    for version in VERSIONS:
        with speaking(do_GET, server_class, version) as client:
            client.until(b"ready")
            if first == "client":
                client.sock.sendall(client.goodbye())
            while True:
                try:
                    assert client.tls.read(1) == b""
                    break
                except ssl.SSLZeroReturnError:
                    break
                except ssl.SSLWantReadError:
                    client.incoming.write(client.sock.recv(1))
            if first == "server":
                with contextlib.suppress(ssl.SSLWantReadError):
                    client.tls.unwrap()
                client.sock.sendall(client.outgoing.read() + b"abc")        # in one packet
            else:
                client.sock.sendall(b"abc")
            assert client.sock.recv(5) == b"plain"
            client.sock.sendall(b"def")
            assert client.sock.recv(3) == b"end" and client.sock.recv(1) == b""


def test_a_socket_that_outlives_its_connection():
    """A program that takes it over, as for a tunnel."""
    kept = []

    def do_GET(self):
        respond(self)
        kept.append(self.connection)
        self.close_connection = True

    def shutdown_request(self, request):
        pass

    with speaking(do_GET, shutdown_request=shutdown_request) as client:
        client.until(b"ok")
        wait_until(lambda: kept, "the socket")
        time.sleep(0.05)
        sock = kept.pop()
        client.sock.sendall(client.seal(b"abc"))
        assert sock.recv(10) == b"abc"
        receiver = threading.Thread(target=client.until, args=(b"end",))
        receiver.start()
        sock.sendall(b"x" * 3_000_000 + b"end")
        receiver.join(DEADLINE)
        assert not receiver.is_alive()
        sock.close()
        assert client.to_the_end() == b""       # close_notify


@pytest.mark.parametrize("how", ("close", "shutdown", "detach"))
def test_a_program_that_ends_it(server_class, how):
    def do_GET(self):
        respond(self)
        self.wfile.flush()
        self.close_connection = True
        sock = self.connection
        if how == "detach":
            fds.append(sock.detach())
        elif how == "shutdown":
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.close()

    fds = []
    with speaking(do_GET, server_class) as client:
        client.until(b"ok")
        if how != "detach":
            assert client.to_the_end() == b""       # close_notify
        else:
            wait_until(lambda: fds, "the descriptor")
            socket.socket(fileno=fds[0]).close()
            with contextlib.suppress(ssl.SSLEOFError):
                assert client.to_the_end() == b""


def test_ragged_ends(server_class):
    """A stream that is cut off is an end, unless the listening socket was told to tell."""
    seen = []

    def do_GET(self):
        try:
            seen.append(self.connection.recv(1))
        except ssl.SSLEOFError as error:
            seen.append(error)
        self.close_connection = True

    for suppress in (True, False):
        server = https_server(handler_class(do_GET=do_GET), server_class)
        server.socket.suppress_ragged_eofs = suppress
        with serving(server), Octets(server).handshake() as client:
            client.sock.sendall(client.seal(GET))
            client.sock.shutdown(socket.SHUT_WR)
            wait_until(lambda: seen, "the end")
            assert seen.pop() == b"" if suppress else isinstance(seen.pop(), ssl.SSLEOFError)


def test_an_init_that_keeps_the_socket():
    module = handler_class()
    seen = []

    class Handler(module):
        def __init__(self, request, client_address, server):
            seen.append(request)
            super().__init__(request, client_address, server)

    with serving(https_server(Handler)) as server, tls_client(server) as client:
        assert client.request().body == client.request().body == b"ok"
        assert len(seen) == 1 and isinstance(seen[0], ssl.SSLSocket) and seen[0].version()


def test_a_thread_that_reads_on_when_its_handler_has_returned():
    """What it takes of the next request is not lost, and nothing breaks."""
    started, errors = threading.Event(), []

    def do_POST(self):
        def read():
            started.set()
            try:
                while self.rfile.read1(100):
                    pass
            except (OSError, ValueError) as error:
                errors.append(error)
        threading.Thread(target=read, daemon=True).start()
        assert started.wait(DEADLINE)
        respond(self)

    for unused in range(20):
        with serving(https_server(handler_class(do_POST=do_POST))) as server, Octets(server).handshake() as client:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
            client.sock.sendall(client.seal(head))
            client.until(b"ok")
            with contextlib.suppress(OSError):
                client.sock.sendall(client.seal(b"x" * 100_000 + GET))
            client.to_the_end() if False else None
    wait_until(lambda: errors, "a refusal")
