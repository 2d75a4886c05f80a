"""CONTRACT, "Handlers": the socket, `rfile` and `wfile` as programs handle them.

What is said about headers, responses and logging is in test_contract_handlers_http.py, the files of
SimpleHTTPRequestHandler in test_contract_handlers_files.py.
"""
import io
import os
import select
import selectors
import socket
import threading

import pytest

from support import (DEADLINE, Client, connect, exchange, fetch, read_until, read_until_eof, respond, serving,
                     wait_until)

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def serve(backend):
    """serve(handler class) -> context manager around a running ThreadingHTTPServer."""
    def serve(handler):
        return serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
    return serve


@pytest.fixture
def base(backend):
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "S", "V"

        def do_GET(self):
            respond(self)

    return Handler


class TestRawSocket:
    """request/connection is a real socket.socket (looked for by isinstance); recv with MSG_PEEK, setblocking(0)
    then rfile.read(4) expecting None, a selector on it."""

    def test_isinstance(self, base, serve):
        class Handler(base):
            def do_GET(self):
                assert isinstance(self.request, socket.socket) and self.request is self.connection
                assert self.request.fileno() == self.rfile.fileno() == self.wfile.fileno()
                respond(self, repr(self.request.getpeername() == self.client_address).encode())

        with serve(Handler) as server:
            assert fetch(server).body == b"True"

    def test_found_among_the_attributes(self, base, serve):
        class Handler(base):
            def do_GET(self):
                # turboserver makes the socket when it is asked for: known_differences.py.
                assert self.request is self.connection
                self.request, self.connection = self.request, self.connection
                found = [name for name, value in vars(self).items() if isinstance(value, socket.socket)]
                respond(self, ",".join(sorted(found)).encode())

        with serve(Handler) as server:
            assert fetch(server).body == b"connection,request"

    def test_raw_file_below_rfile(self, base, serve):
        class Handler(base):
            def do_GET(self):
                raw = self.rfile.raw
                same = raw.fileno() == self.connection.fileno()
                respond(self, repr(isinstance(raw, io.RawIOBase) and raw.readable() and same).encode())

        with serve(Handler) as server, Client(server) as client:
            assert client.request().body == client.request().body == b"True"

    def test_peek_before_reading(self, base, serve):
        class Handler(base):
            def handle(self):
                self.peeked = self.request.recv(3, socket.MSG_PEEK | socket.MSG_WAITALL)
                super().handle()

            def do_GET(self):
                respond(self, self.peeked)

        with serve(Handler) as server:
            assert fetch(server).body == b"GET"

    def test_peek_tells_other_protocols_apart(self, base, serve):
        class Handler(base):
            def handle(self):
                if self.request.recv(1, socket.MSG_PEEK) == b"\x05":
                    self.request.sendall(b"socks " + self.request.recv(10))
                else:
                    super().handle()

        with serve(Handler) as server:
            assert exchange(server, b"\x05\x01\x00") == b"socks \x05\x01\x00"
            assert fetch(server).body == b"ok"

    def test_setblocking_0_then_read_gives_none(self, base, serve):
        class Handler(base):
            def do_GET(self):
                self.connection.setblocking(False)
                nothing = self.rfile.read(4)
                self.connection.setblocking(True)
                respond(self, repr(nothing).encode())

        with serve(Handler) as server, Client(server) as client:
            assert client.request().body == b"None"
            assert client.request().body == b"None"

    def test_setblocking_0_then_read_gives_what_is_there(self, base, serve):
        class Handler(base):
            def do_CONNECT(self):
                self.wfile.write(b"go")
                self.connection.recv(1, socket.MSG_PEEK)
                self.connection.setblocking(False)
                some = self.rfile.read(4)
                self.connection.setblocking(True)
                self.wfile.write(repr(some).encode())
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
            assert read_until(sock, b"go") == b"go"
            sock.sendall(b"abc")
            assert read_until_eof(sock) == b"b'abc'"

    def test_descriptor_made_non_blocking(self, backend):
        """Not by the socket object but by fcntl, so that gettimeout() is None: fakeredis looks for commands so."""
        steps = [threading.Event() for unused in range(3)]
        seen = []

        class Handler(backend.socketserver.StreamRequestHandler):
            def handle(self):
                os.set_blocking(self.rfile.fileno(), False)
                assert self.connection.gettimeout() is None
                seen.append([self.rfile.readline(), self.rfile.read(4)])
                for step in steps:
                    step.set()
                    select.select([self.connection], [], [], DEADLINE)
                    seen.append([self.rfile.readline(), self.rfile.readline()])

        with serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as sock:
                for step, sent in zip(steps, (b"whole\npa", b"rt\n", None)):
                    assert step.wait(DEADLINE)
                    if sent is None:
                        sock.shutdown(socket.SHUT_WR)
                    else:
                        sock.sendall(sent)
                assert read_until_eof(sock) == b""
        assert seen == [[b"", None], [b"whole\n", b"pa"], [b"rt\n", b""], [b"", b""]]

    def test_settimeout_in_the_handler(self, base, serve):
        class Handler(base):
            def do_POST(self):
                self.connection.settimeout(0.05)
                try:
                    self.rfile.read(100_000)
                except TimeoutError as error:
                    respond(self, type(error).__name__.encode())
                self.close_connection = True

        with serve(Handler) as server, Client(server) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
            assert client.read().body == b"TimeoutError"

    def test_selector_on_it(self, base, serve):
        class Handler(base):
            def do_GET(self):
                with selectors.DefaultSelector() as selector:
                    selector.register(self.connection, selectors.EVENT_READ)
                    assert not selector.select(0)
                    self.wfile.write(b"ready?")
                    assert selector.select(DEADLINE)
                    self.wfile.write(self.connection.recv(100))
                    self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(GET)
            assert read_until(sock, b"?") == b"ready?"
            sock.sendall(b"yes")
            assert read_until_eof(sock) == b"yes"

    def test_order_of_wfile_and_socket_writes(self, base, serve):
        class Handler(base):
            def do_GET(self):
                for number in range(20):
                    self.wfile.write(b"w%d " % number)
                    self.request.sendall(b"s%d " % number)
                    self.wfile.write(b"x%d " % number)
                    self.connection.send(b"c%d " % number)
                self.close_connection = True

        with serve(Handler) as server:
            assert exchange(server, GET) == b"".join(
                b"w%d s%d x%d c%d " % ((number,) * 4)
                for number in range(20))

    def test_socket_kept_and_used_after_the_handler(self, backend):
        class Handler(backend.socketserver.StreamRequestHandler):
            def handle(self):
                self.server.kept = self.request.dup()

        with serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as sock:
                wait_until(lambda: hasattr(server, "kept"))
                with server.kept:
                    sock.sendall(b"late")
                    assert server.kept.recv(4, socket.MSG_WAITALL) == b"late"


class TestNothingReadAhead:
    """Nothing may be read ahead of a handler that reads the socket itself."""

    def test_base_request_handler_gets_every_byte(self, backend):
        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(self.request.recv(len(GET), socket.MSG_WAITALL))

        with serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
            assert exchange(server, GET) == GET

    def test_http_handler_with_its_own_handle(self, base, serve):
        class Handler(base):
            def handle(self):
                self.request.sendall(self.request.recv(len(GET), socket.MSG_WAITALL))

        with serve(Handler) as server:
            assert exchange(server, GET) == GET

    def test_setup_that_reads_a_first_line_off_the_socket(self, base, serve):
        class Handler(base):
            def setup(self):
                line = b""
                while not line.endswith(b"\n"):
                    line += self.request.recv(1)
                self.first = line
                super().setup()

            def do_GET(self):
                respond(self, self.first.strip())

        with serve(Handler) as server, Client(server) as client:
            client.send(b"PROXY UNKNOWN\r\n" + GET)
            assert client.read().body == b"PROXY UNKNOWN"

    def test_get_request_that_reads(self, backend, base):
        class Server(backend.http_server.ThreadingHTTPServer):
            def get_request(self):
                request, address = super().get_request()
                return request, (request.recv(4, socket.MSG_WAITALL).decode(), 1)

        class Handler(base):
            def do_GET(self):
                respond(self, self.client_address[0].encode())

        with serving(Server(("127.0.0.1", 0), Handler)) as server, Client(server) as client:
            client.send(b"NAME" + GET)
            assert client.read().body == b"NAME"


class TestHijacking:
    """TLS `unwrap`, hijacking (CONNECT, WebSocket): `self.request`, `self.connection`, `rfile`, `wfile` replaced
    and `setup()` or `handle_one_request()` called again."""

    def test_connect_then_the_raw_socket(self, base, serve):
        class Handler(base):
            def do_CONNECT(self):
                self.send_response(200, "Connection Established")
                self.end_headers()
                while data := self.connection.recv(100):
                    self.connection.sendall(data.upper())
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200 Connection Established\r\n")
            for data in (b"one", b"two"):
                sock.sendall(data)
                assert sock.recv(3, socket.MSG_WAITALL) == data.upper()

    def test_websocket_frames_over_rfile_and_wfile(self, base, serve):
        class Handler(base):
            def do_GET(self):
                self.send_response_only(101)
                self.send_header("Upgrade", "websocket")
                self.end_headers()
                while (frame := self.rfile.read(2)) and frame != b"\x88\x00":
                    self.wfile.write(frame[:2] + self.rfile.read(frame[1]).upper())
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(GET)
            assert b"101 Switching Protocols" in read_until(sock, b"\r\n\r\n")
            for text in (b"hello", b"again"):
                sock.sendall(b"\x81\x05" + text)
                assert sock.recv(7, socket.MSG_WAITALL) == b"\x81\x05" + text.upper()
            sock.sendall(b"\x88\x00")
            assert read_until_eof(sock) == b""

    def upgrade(self, server, tls):
        with connect(server) as raw:
            raw.sendall(b"CONNECT localhost:443 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b" 200 " in read_until(raw, b"\r\n\r\n")
            with Client(server, sock=tls[1].wrap_socket(raw, server_hostname="localhost")) as client:
                return client.request(path="/secret").body

    def test_tls_after_connect_then_setup_again(self, base, serve, tls):
        class Handler(base):
            def do_CONNECT(self):
                self.send_response(200)
                self.end_headers()
                self.request = tls[0].wrap_socket(self.request, server_side=True)
                self.setup()
                self.handle_one_request()
                self.close_connection = True
                self.request.close()

            def do_GET(self):
                respond(self, self.path.encode())

        with serve(Handler) as server:
            assert self.upgrade(server, tls) == b"/secret"

    def test_tls_after_connect_with_streams_replaced(self, base, serve, tls):
        class Handler(base):
            def do_CONNECT(self):
                self.wfile.write(b"HTTP/1.1 200 Fine\r\n\r\n")
                self.wfile.flush()
                self.connection = tls[0].wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb", self.rbufsize)
                self.wfile = self.connection.makefile("wb", 0)
                self.close_connection = False

            def do_GET(self):
                respond(self, self.path.encode(), headers=[("Connection", "close")])

            def finish(self):
                super().finish()
                self.connection.close()

        with serve(Handler) as server:
            assert self.upgrade(server, tls) == b"/secret"

    def test_tls_unwrap(self, base, serve, tls):
        class Handler(base):
            def setup(self):
                self.request = tls[0].wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self):
                respond(self)
                plain = self.request.unwrap()
                plain.sendall(b"plain again")
                plain.shutdown(socket.SHUT_WR)
                plain.close()
                self.close_connection = True

        with serve(Handler) as server:
            with tls[1].wrap_socket(connect(server), server_hostname="localhost") as sock:
                sock.sendall(GET)
                assert read_until(sock, b"\r\n\r\nok").endswith(b"ok")
                with sock.unwrap() as plain:
                    assert read_until_eof(plain) == b"plain again"

    def test_handle_one_request_called_by_a_do_method(self, base, serve):
        class Handler(base):
            def do_OUTER(self):
                self.wfile.write(b"[")
                self.handle_one_request()
                self.wfile.write(b"]")
                self.close_connection = True

            def do_GET(self):
                self.wfile.write(self.path.encode())

        with serve(Handler) as server:
            assert exchange(server, b"OUTER / HTTP/1.1\r\nHost: a\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n") == b"[/inner]"


class TestStreamsSwapped:
    """rfile/wfile are swapped for BytesIO inside `end_headers` or around `parse_request`, wrapped in
    TextIOWrapper, checked for `.closed`, have `fileno()`."""

    def test_wfile_swapped_inside_end_headers(self, base, serve):
        class Handler(base):
            def end_headers(self):
                real, self.wfile = self.wfile, io.BytesIO()
                super().end_headers()
                head, self.wfile = self.wfile.getvalue(), real
                self.wfile.write(head.replace(b"S V", b"swapped"))

        with serve(Handler) as server, Client(server) as client:
            assert client.request().get("Server") == client.request().get("Server") == "swapped"

    def test_wfile_swapped_for_a_whole_request(self, base, serve):
        class Handler(base):
            def handle_one_request(self):
                real, self.wfile = self.wfile, io.BytesIO()
                super().handle_one_request()
                answer, self.wfile = self.wfile.getvalue(), real
                self.wfile.write(answer.replace(b"\r\n\r\nok", b"\r\n\r\nOK"))

        with serve(Handler) as server, Client(server) as client:
            assert client.request().body == client.request().body == b"OK"

    def test_rfile_swapped_around_parse_request(self, base, serve):
        class Handler(base):
            def parse_request(self):
                real = self.rfile
                lines = []
                while (line := real.readline()) not in (b"\r\n", b"\n", b""):
                    lines.append(line)
                self.rfile = io.BytesIO(b"".join(lines) + b"X-Swapped: yes\r\n\r\n")
                try:
                    return super().parse_request()
                finally:
                    self.rfile = real

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                respond(self, body + self.headers["X-Swapped"].encode())

        with serve(Handler) as server, Client(server) as client:
            for unused in range(2):
                assert client.request("POST", body=b"body ").body == b"body yes"

    def test_textiowrapper(self, base, serve):
        class Handler(base):
            def do_POST(self):
                self.send_response(200)
                self.end_headers()
                text = io.TextIOWrapper(self.wfile, "utf-8", newline="\n", write_through=True)
                reader = io.TextIOWrapper(self.rfile, "utf-8", newline="\n")
                for unused in range(2):
                    text.write(reader.readline().upper())
                text.flush()
                text.detach()
                self.wfile.write(b"end")
                self.close_connection = True

        with serve(Handler) as server:
            answer = exchange(server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nzwölf\nelf\n".encode())
        assert answer.endswith("\r\n\r\nZWÖLF\nELF\nend".encode())

    def test_closed(self, base, serve):
        kept = []

        class Handler(base):
            def do_GET(self):
                kept.append((self.rfile, self.wfile))
                respond(self, repr((self.rfile.closed, self.wfile.closed)).encode())

        with serve(Handler) as server:
            with Client(server) as client:
                assert client.request().body == client.request().body == b"(False, False)"
            wait_until(lambda: all(stream.closed for stream in kept[0]))
        with pytest.raises((ValueError, OSError)):
            kept[0][1].write(b"late")

    def test_wfile_closed_by_the_handler(self, base, serve, capsys):
        class Handler(base):
            def do_GET(self):
                respond(self, headers=[("Connection", "close")])
                self.wfile.close()

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except ValueError:
                    assert self.wfile.closed

        with serve(Handler) as server:
            assert exchange(server, GET).endswith(b"\r\n\r\nok")
        assert "Traceback" not in capsys.readouterr().err

    def test_fileno(self, base, serve):
        class Handler(base):
            def do_GET(self):
                assert self.rfile.fileno() == self.wfile.fileno() == self.connection.fileno() >= 0
                assert self.rfile.readable() and self.wfile.writable()
                respond(self)

        with serve(Handler) as server:
            assert fetch(server).status == 200
