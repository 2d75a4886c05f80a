"""CONTRACT, "Handlers": class attributes of the streams, copied loops, when bytes leave, and errors."""
import io
import socket
import struct
import sys
import threading
import time

import pytest

from support import (DEADLINE, Client, connect, exchange, fetch, read_exactly, read_until, read_until_eof, respond,
                     serving, wait_until)

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

        def do_GET(self):
            respond(self)

    return Handler


class TestClassAttributes:
    """`wbufsize`, `rbufsize`, `timeout` (maybe a read-only property), `disable_nagle_algorithm` are class
    attributes that count."""

    def test_wbufsize_holds_back_until_flush(self, base, serve):
        leave = threading.Event()

        class Handler(base):
            wbufsize = -1

            def do_GET(self):
                self.wfile.write(b"first ")
                self.wfile.flush()
                self.wfile.write(b"second")
                leave.wait(DEADLINE)
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(GET)
            assert read_exactly(sock, 6) == b"first "
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            leave.set()
            sock.settimeout(DEADLINE)
            assert read_until_eof(sock) == b"second"

    def test_wbufsize_gives_a_buffered_writer(self, base, serve):
        class Handler(base):
            wbufsize = 1 << 16

            def do_GET(self):
                assert isinstance(self.wfile, io.BufferedWriter)
                respond(self)

        with serve(Handler) as server:
            assert fetch(server).body == b"ok"

    def test_rbufsize_0_leaves_the_body_on_the_socket(self, base, serve):
        class Handler(base):
            rbufsize = 0

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                respond(self, self.connection.recv(length, socket.MSG_WAITALL))

        with serve(Handler) as server:
            for body in (b"body", b"more"):     # ours closes: it cannot know what is left of the body
                with Client(server) as client:
                    assert client.request("POST", body=body).body == body

    def test_timeout_ends_an_idle_connection(self, base, serve, capsys):
        class Handler(base):
            timeout = 0.1

        with serve(Handler) as server:
            with Client(server) as client:
                assert client.request().status == 200
                assert client.at_eof()
        assert "Request timed out: TimeoutError('timed out')" in capsys.readouterr().err

    def test_timeout_as_a_read_only_property(self, base, serve, capsys):
        class Handler(base):
            @property
            def timeout(self):
                return 0.1

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(b"GET / HT")
            assert read_until_eof(sock) == b""
        assert "Request timed out: TimeoutError('timed out')" in capsys.readouterr().err

    def test_timeout_of_the_instance_before_setup(self, base, serve):
        class Handler(base):
            def setup(self):
                self.timeout = 0.1
                super().setup()
                assert self.connection.gettimeout() == 0.1

        with serve(Handler) as server, connect(server) as sock:
            assert read_until_eof(sock) == b""

    def test_timeout_reaches_the_socket(self, base, serve):
        class Handler(base):
            timeout = 7

            def do_GET(self):
                respond(self, repr(self.connection.gettimeout()).encode())

        with serve(Handler) as server:
            assert fetch(server).body == b"7.0"

    @pytest.mark.parametrize("value", (True, False))
    def test_disable_nagle_algorithm(self, base, serve, value):
        class Handler(base):
            disable_nagle_algorithm = value

            def do_GET(self):
                option = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                respond(self, repr(bool(option)).encode())

        with serve(Handler) as server:
            # turboserver never leaves it on for HTTP: known_differences.py.
            expected = value or any(cls.__module__.startswith("turboserver") for cls in Handler.__mro__)
            assert fetch(server).body == repr(expected).encode()

    def test_disable_nagle_algorithm_for_who_came_before_serving(self, turbo):
        class Handler(turbo.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                option = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                respond(self, repr(bool(option)).encode())

        for server_class in (turbo.http_server.HTTPServer, turbo.http_server.ThreadingHTTPServer):
            with server_class(("127.0.0.1", 0), Handler) as server, Client(server) as client, serving(server):
                assert client.request().body == fetch(server).body == b"True"


class TestCopiedLoops:
    """`handle` and `handle_one_request` are copied from the standard library with small changes and call
    `parse_request()`, read `raw_requestline`, check its length, set `close_connection = 0` or `1`."""

    def test_handle_of_older_pythons(self, base, serve):
        class Handler(base):
            def handle(self):
                self.close_connection = 1
                self.handle_one_request()
                while not self.close_connection:
                    self.handle_one_request()

        with serve(Handler) as server, Client(server) as client:
            assert client.request().status == client.request().status == 200
            assert client.request(headers=[("Connection", "close")]).status == 200
            assert client.at_eof()

    def test_handle_one_request_of_django(self, base, serve):
        class Handler(base):
            def handle(self):
                self.close_connection = True
                self.handle_one_request()
                while not self.close_connection:
                    self.handle_one_request()
                try:
                    self.connection.shutdown(socket.SHUT_WR)
                except (AttributeError, OSError):
                    pass

            def handle_one_request(self):
                self.raw_requestline = self.rfile.readline(65537)
                if len(self.raw_requestline) > 65536:
                    self.requestline = self.request_version = self.command = ""
                    self.send_error(414)
                    return
                if not self.parse_request():
                    return
                respond(self, self.path.encode())

        with serve(Handler) as server:
            with Client(server) as client:
                assert client.request(path="/1").body + client.request(path="/2").body == b"/1/2"
            assert exchange(server, b"GET /" + b"x" * 70000 + b"\r\n").startswith(b"HTTP/1.1 414 ")

    def test_do_method_looked_up_and_called_by_the_copy(self, base, serve):
        class Handler(base):
            def handle_one_request(self):
                self.raw_requestline = self.rfile.readline()
                if not self.raw_requestline:
                    self.close_connection = 1
                    return
                if self.parse_request():
                    getattr(self, "do_" + self.command)()
                    self.wfile.flush()

        with serve(Handler) as server, Client(server) as client:
            assert client.request().status == client.request().status == 200

    @pytest.mark.parametrize("value, closes", ((0, False), (1, True), (False, False), (True, True)))
    def test_close_connection_set_by_a_do_method(self, base, serve, value, closes):
        class Handler(base):
            def do_GET(self):
                respond(self)
                self.close_connection = value

        with serve(Handler) as server, Client(server) as client:
            assert client.request(headers=[("Connection", "close" if not closes else "keep-alive")]).status == 200
            if closes:
                assert client.at_eof()
            else:
                assert client.request().status == 200

    def test_raw_requestline_and_requestline(self, base, serve):
        class Handler(base):
            def do_GET(self):
                respond(self, repr((self.raw_requestline, self.requestline)).encode())

        with serve(Handler) as server:
            assert eval(fetch(server, "/%41?q").body) == (b"GET /%41?q HTTP/1.1\r\n", "GET /%41?q HTTP/1.1")

    def test_handle_extended_around_super(self, base, serve):
        order = []

        class Handler(base):
            def setup(self):
                order.append("setup")
                super().setup()

            def handle(self):
                order.append("handle")
                super().handle()

            def do_GET(self):
                order.append("GET")
                respond(self)

            def finish(self):
                order.append("finish")
                super().finish()

        with serve(Handler) as server:
            with Client(server) as client:
                client.request()
                client.request()
            wait_until(lambda: order[-1] == "finish")
        assert order == ["setup", "handle", "GET", "GET", "finish"]


class TestWritesLeaveAtOnce:
    """Writing to `wfile` leaves at once for all the client can tell, also from another thread after the handler
    returned."""

    def test_dialogue_within_one_handler(self, base, serve):
        class Handler(base):
            def do_CONNECT(self):
                for unused in range(3):
                    self.wfile.write(b"?")
                    self.wfile.write(self.rfile.readline())
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
            for line in (b"a\n", b"b\n", b"c\n"):
                assert read_exactly(sock, 1) == b"?"
                sock.sendall(line)
                assert read_exactly(sock, 2) == line

    def test_handler_that_goes_on_without_a_flush(self, base, serve):
        heard = threading.Event()

        class Handler(base):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"first ")
                if heard.wait(DEADLINE):
                    self.wfile.write(b"second")
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(GET)
            assert read_until(sock, b"first ").endswith(b"first ")
            heard.set()
            assert read_until_eof(sock) == b"second"

    def test_handler_that_computes_on(self, base, serve):
        """Nothing blocks and the GIL is rarely given up, yet what was written leaves."""
        heard = threading.Event()

        class Handler(base):
            def do_GET(self):
                self.wfile.write(b"first ")
                end = time.monotonic() + DEADLINE
                while not heard.is_set() and time.monotonic() < end:
                    sum(range(1000))
                self.wfile.write(b"second" if heard.is_set() else b"too late")
                self.close_connection = True

        with serve(Handler) as server, connect(server) as sock:
            sock.sendall(GET)
            assert read_exactly(sock, 6) == b"first "
            heard.set()
            assert read_until_eof(sock) == b"second"

    def test_another_thread_while_the_handler_waits(self, base, serve):
        class Handler(base):
            def do_GET(self):
                writer = threading.Thread(target=lambda: [self.wfile.write(b"%d" % n) for n in range(5)])
                writer.start()
                writer.join(DEADLINE)
                self.close_connection = True

        with serve(Handler) as server:
            assert exchange(server, GET) == b"01234"

    def test_another_thread_after_the_handler_returned(self, base, serve):
        kept = []

        class Handler(base):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "10")
                self.end_headers()
                kept.append(self.wfile)

        with serve(Handler) as server, Client(server) as client:
            client.send(GET)
            wait_until(lambda: kept)
            for piece in (b"01234", b"56789"):
                time.sleep(0.02)
                kept[0].write(piece)
            assert client.read().body == b"0123456789"
            kept.clear()
            client.send(GET)
            wait_until(lambda: kept)
            kept[0].write(b"abcdefghij")
            assert client.read().body == b"abcdefghij", "the connection is as good as before"

    def test_answer_is_complete_before_the_handler_closes(self, base, serve):
        class Handler(base):
            def do_GET(self):
                for number in range(1000):
                    self.wfile.write(b"%d\n" % number)
                self.close_connection = True

        with serve(Handler) as server:
            assert exchange(server, GET).split() == [b"%d" % number for number in range(1000)]

    def test_write_returns_the_count_and_takes_any_buffer(self, base, serve):
        counts = []

        class Handler(base):
            def do_GET(self):
                for data in (b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], memoryview(b"gh")):
                    counts.append(self.wfile.write(data))
                self.wfile.writelines([b"i", b"j"])
                reused = bytearray(b"k")
                self.wfile.write(reused)
                reused[:] = b"X"
                self.close_connection = True

        with serve(Handler) as server:
            assert exchange(server, GET) == b"abcdefghijk"
        assert counts == [2, 2, 2, 2]


class TestErrors:
    """Exceptions in a handler reach `handle_error` with the traceback on `sys.stderr`; BrokenPipe and
    ConnectionReset do too."""

    @pytest.mark.parametrize("name", ("HTTPServer", "ThreadingHTTPServer"))
    def test_traceback(self, backend, base, name, capsys):
        class Handler(base):
            def do_GET(self):
                self.wfile.write(b"partial")
                raise LookupError("nothing of the kind")

        with serving(getattr(backend.http_server, name)(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as sock:
                port = sock.getsockname()[1]
                sock.sendall(GET)
                assert read_until_eof(sock) == b"partial"
            assert fetch(server, method="HUH").status == 501
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "-" * 40
        assert lines[1] == f"Exception occurred during processing of request from ('127.0.0.1', {port})"
        assert lines[2] == "Traceback (most recent call last):"
        assert "LookupError: nothing of the kind" in lines and lines.count("-" * 40) == 2
        assert any("in do_GET" in line for line in lines)

    @pytest.mark.parametrize("kind", (BrokenPipeError, ConnectionResetError, ConnectionAbortedError))
    def test_connection_errors_raised(self, backend, base, kind):
        seen = []

        class Server(backend.http_server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                seen.append(sys.exc_info()[0])

        class Handler(base):
            def do_GET(self):
                raise kind("as if")

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            exchange(server, GET)
            wait_until(lambda: seen)
        assert seen == [kind]

    def test_client_that_went_away(self, backend, base):
        seen, gone = [], threading.Event()

        class Server(backend.http_server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                seen.append(sys.exc_info()[0])

        class Handler(base):
            def do_GET(self):
                gone.wait(DEADLINE)
                for unused in range(1000):
                    self.wfile.write(b"x" * 100_000)

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as sock:
                sock.sendall(GET)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.set()
            wait_until(lambda: seen)
        assert issubclass(seen[0], ConnectionError)

    def test_reset_while_reading(self, backend, base):
        seen = []

        class Server(backend.http_server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                seen.append(sys.exc_info()[0])

        class Handler(base):
            def do_POST(self):
                self.wfile.write(b"reading")
                self.rfile.read(100)

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
                assert read_exactly(sock, 7) == b"reading"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: seen)
        assert seen == [ConnectionResetError]

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_system_exit_in_a_thread_ends_only_the_connection(self, base, serve):
        class Handler(base):
            def do_EXIT(self):
                sys.exit(3)

        with serve(Handler) as server:
            assert exchange(server, b"EXIT / HTTP/1.1\r\nHost: a\r\n\r\n") == b""
            assert fetch(server).status == 200

    def test_error_in_setup_and_finish(self, base, serve, capsys):
        class Handler(base):
            broken = "setup"

            def setup(self):
                super().setup()
                if self.broken == "setup":
                    raise ZeroDivisionError("in setup")

            def finish(self):
                super().finish()
                if self.broken == "finish":
                    raise ZeroDivisionError("in finish")

        with serve(Handler) as server:
            assert exchange(server, GET) == b""
            Handler.broken = "finish"
            assert exchange(server, GET).endswith(b"ok")
            Handler.broken = None
            assert fetch(server).status == 200
        err = capsys.readouterr().err
        assert "ZeroDivisionError: in setup" in err and "ZeroDivisionError: in finish" in err
