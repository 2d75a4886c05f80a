"""When octets leave in the blocking lane, in which order, and how its streams and connections end.

A response head waits in the kernel for its body, and answers to lines that came together wait for each other; nobody
may notice.  The same programs run on both backends.
"""
import contextlib
import gc
import io
import os
import socket
import threading

import pytest

from concurrency import GET, gate, held  # noqa: F401
from differential import IN_HAND, assert_same, handle_one_request, handling
from support import (DEADLINE, Client, connect, exchange, read_exactly, read_until, read_until_eof, respond, serving,
                     wait_until)

ONE = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"


# ---------------------------------------------------------------- a client that waits for what was written

@pytest.fixture
def base(backend):
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            respond(self)

    Handler.handle_one_request = handle_one_request
    return Handler


@pytest.fixture
def serve(backend):
    def serve(handler, server="ThreadingHTTPServer"):
        return serving(getattr(backend.http_server, server)(("127.0.0.1", 0), handler))
    return serve


@pytest.mark.parametrize("server", ("HTTPServer", "ThreadingHTTPServer"))
@pytest.mark.parametrize("code", (204, 304, 103, 200))
def test_head_without_a_body_reaches_a_waiting_client(base, serve, code, server):
    class Handler(base):
        def do_GET(self):
            self.send_response(code)
            if code == 200:
                self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

    with serve(Handler, server) as running, Client(running) as client:
        for unused in range(20):
            assert client.request().status == client.request("HEAD").status == code


def test_head_is_there_while_the_handler_waits(base, serve, gate):  # noqa: F811
    class Handler(base):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            assert gate.wait(DEADLINE)
            self.wfile.write(b"body")

    with serve(Handler) as running, connect(running) as sock:
        sock.sendall(ONE)
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        gate.set()
        assert read_exactly(sock, 4) == b"body"


def test_answer_is_there_while_the_next_handler_waits(base, serve, gate):  # noqa: F811
    """Two requests in one packet: the first answer does not wait for the second."""
    with serve(held(base, gate)) as running, Client(running) as client:
        client.send(ONE + GET.replace(b"GET", b"HOLD") + ONE)
        assert client.read().body == b"ok"
        gate.set()
        assert (client.read().body, client.read().body) == (b"held", b"ok")


def test_continue_is_there_before_the_body(base, serve):
    class Handler(base):
        def do_POST(self):
            respond(self, self.rfile.read(int(self.headers["Content-Length"])))

    with serve(Handler) as running, Client(running) as client:
        for unused in range(5):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            assert client.read().status == 100
            client.send(b"body")
            assert client.read().body == b"body"


def test_octets_asked_for_after_an_answer_that_waits(base, serve):
    """A question written while the client's next octets are here, and answered by later ones: after an upgrade
    the stream is the handler's."""
    class Handler(base):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            assert self.rfile.read(3) == b"abc"
            self.wfile.write(b"more?")
            assert self.rfile.read(4) == b"defg"
            self.wfile.write(b"again?")
            self.wfile.write(self.request.recv(10))
            self.close_connection = True

    with serve(Handler) as running, connect(running) as sock:
        sock.sendall(ONE.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n") + b"abcd")
        read_until(sock, b"more?")
        sock.sendall(b"efg")
        assert read_until(sock, b"again?") == b"again?"
        sock.sendall(b"yes")
        assert read_until_eof(sock) == b"yes"


def test_order_with_the_socket():
    def do(self, seen):
        self.send_response_only(200)
        self.end_headers()
        for number in range(30):
            self.request.sendall(b"s%d " % number)
            self.wfile.write(b"w%d " % number)
            os.write(self.wfile.fileno(), b"f%d " % number)
            self.send_header("X", str(number))
            self.end_headers()
            self.connection.send(b"c%d " % number)

    assert_same("blocking/order", handling(do, **IN_HAND), ONE * 3)


# ---------------------------------------------------------------- lines

def echo(backend, **members):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

    return type("Echo", (backend.socketserver.StreamRequestHandler,), {"handle": handle, **members})


@pytest.fixture
def serve_lines(backend):
    def serve_lines(handler, server="ThreadingTCPServer"):
        return serving(getattr(backend.socketserver, server)(("127.0.0.1", 0), handler))
    return serve_lines


@pytest.mark.parametrize("members", ({}, {"timeout": DEADLINE}, {"disable_nagle_algorithm": True}, {"wbufsize": 65536},
                                     {"rbufsize": 0}, {"rbufsize": 100}), ids=str)
def test_lines_in_one_packet(backend, serve_lines, members):
    data = b"".join(b"line %d\n" % number for number in range(3000)) + b"the end"
    with serve_lines(echo(backend, **members)) as server:
        for unused in range(3):
            assert exchange(server, data) == data.upper()


@pytest.mark.parametrize("members", ({}, {"timeout": DEADLINE}, {"disable_nagle_algorithm": True}), ids=str)
@pytest.mark.parametrize("count", (1, 2, 1000))
def test_partial_line_holds_back_nothing(backend, serve_lines, members, count):
    data = b"line\n" * count
    with serve_lines(echo(backend, **members)) as server, connect(server) as sock:
        for unused in range(3):
            sock.sendall(data + b"par")
            assert read_exactly(sock, len(data)) == data.upper()
            sock.sendall(b"tial\n")
            assert read_exactly(sock, 8) == b"PARTIAL\n"


def test_answers_before_the_handler_returns_early(backend, serve_lines):
    """Lines that it leaves unread do not hold back the answers to those before."""
    def handle(self):
        for unused in range(3):
            self.wfile.write(self.rfile.readline().upper())

    with serve_lines(echo(backend, handle=handle)) as server:
        assert exchange(server, b"a\nb\nc\nd\ne\nf\n") == b"A\nB\nC\n"


@pytest.mark.parametrize("how", ("client", "handler", "reset", "half"))
def test_end_in_the_middle(backend, serve_lines, how):
    ended = threading.Semaphore(0)

    def handle(self):
        try:
            for line in self.rfile:
                self.wfile.write(line.upper())
                if how == "handler":
                    self.rfile.close()
                    break
        except OSError:
            pass
        finally:
            ended.release()

    def finish(self):
        with contextlib.suppress(OSError):
            backend.socketserver.StreamRequestHandler.finish(self)

    with serve_lines(echo(backend, handle=handle, finish=finish)) as server:
        for unused in range(10):
            with connect(server) as sock:
                sock.sendall(b"one\ntwo\nthr")
                assert read_exactly(sock, 4) == b"ONE\n"
                if how == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                elif how == "half":
                    sock.shutdown(socket.SHUT_WR)
                    assert read_until_eof(sock) == b"TWO\nTHR"
            assert ended.acquire(timeout=DEADLINE)
        assert exchange(server, b"alive\n") == b"ALIVE\n"[:6]


# ---------------------------------------------------------------- children

forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")


@forking
def test_forking_server(backend, base):
    """Before, and while, threads of the parent write and hold lines back."""
    mixed = type("Forking", (backend.socketserver.ForkingMixIn, backend.http_server.HTTPServer), {})
    lines_of_many = b"line\n" * 100
    with serving(mixed(("127.0.0.1", 0), base)) as server, \
            serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), echo(backend))) as other:
        for unused in range(3):
            with connect(other) as sock:
                sock.sendall(lines_of_many + b"p")
                with Client(server) as client:
                    client.send(ONE * 3)
                    assert [client.read().body for each in range(3)] == [b"ok"] * 3
                    # The child has the client's end, too: closing it here would not end the connection.
                    assert client.request(headers=[("Connection", "close")]).body == b"ok"
                    assert client.at_eof()
                assert read_exactly(sock, len(lines_of_many)) == lines_of_many.upper()
                sock.shutdown(socket.SHUT_WR)
                assert read_until_eof(sock) == b"P"


@forking
def test_handler_that_forks(base, serve):
    """The child goes on with the answer whose head the parent wrote."""
    class Handler(base):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            child = os.fork()
            if child == 0:
                try:
                    self.wfile.write(b"child")
                    self.wfile.flush()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            self.wfile.write(b"after")

    with serve(Handler) as running, Client(running) as client:
        for unused in range(3):
            assert client.request().body == b"childafter"


# ---------------------------------------------------------------- the streams' ends

@pytest.fixture
def kept():
    """A list for what a handler keeps; the test takes it away again before the next one."""
    found = []
    yield found
    found.clear()


@contextlib.contextmanager
def without_collector():
    """No cyclic garbage is looked for: what goes, goes because nobody holds it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@pytest.mark.parametrize("first", (True, False), ids=("rfile first", "wfile alone"))
def test_wfile_after_rfile_is_closed(backend, serve_lines, first):
    def handle(self):
        lines = [self.rfile.readline(), self.rfile.readline()]
        if first:
            self.rfile.close()
        for line in lines:
            self.wfile.write(line.upper())
        self.wfile.flush()
        assert self.rfile.closed == first and not self.wfile.closed
        self.wfile.write(b"end")

    with serve_lines(echo(backend, handle=handle)) as server:
        for unused in range(5):
            with connect(server) as sock:
                sock.sendall(b"a\nb\nc")
                assert read_exactly(sock, 7) == b"A\nB\nend"


def test_rfile_after_wfile_is_closed(backend, serve_lines):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())
        self.wfile.close()
        self.request.sendall(self.rfile.readline().upper())
        self.request.sendall(self.rfile.readline().upper())

    with serve_lines(echo(backend, handle=handle)) as server, connect(server) as sock:
        sock.sendall(b"a\nb\n")
        assert read_exactly(sock, 4) == b"A\nB\n"
        sock.sendall(b"c\n")
        assert read_until_eof(sock) == b"C\n"


@pytest.mark.parametrize("closed", (True, False), ids=("closed", "dropped"))
def test_wfile_kept_when_rfile_is_gone(backend, kept, closed):
    """By a program that goes on writing from elsewhere; with the socket, as the original's keeps it not open."""
    class Server(backend.socketserver.ThreadingTCPServer):
        def shutdown_request(self, request):
            pass

    def finish(self):
        if closed:
            self.rfile.close()
        kept.append((self.wfile, self.request))

    def handle(self):
        self.wfile.write(self.rfile.readline().upper())

    with serving(Server(("127.0.0.1", 0), echo(backend, handle=handle, finish=finish))) as server:
        for unused in range(5):
            with connect(server) as sock:
                sock.sendall(b"a\nb\n")
                wait_until(lambda: kept, "the handler's end")
                wfile, request = kept.pop()
                for unused in range(3):
                    wfile.write(b"late ")
                wfile.flush()
                assert read_exactly(sock, 17) == b"A\nlate late late "
                wfile.close()
                request.close()
                del wfile, request
                assert read_until_eof(sock) == b""


def test_wfile_kept_alone_does_not_keep_the_socket_open(backend, kept):
    with without_collector(), serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), echo(
            backend, handle=lambda self: kept.append(self.wfile), finish=lambda self: None))) as server:
        for unused in range(5):
            with connect(server) as sock:
                assert read_until_eof(sock) == b""
                with pytest.raises((OSError, ValueError)):
                    kept.pop().write(b"late")


def test_rfile_kept_keeps_the_socket_open(backend, kept):
    """As a file of socket.makefile() does, until it is closed or forgotten."""
    with without_collector(), serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), echo(
            backend, handle=lambda self: kept.append(self.rfile), finish=lambda self: None))) as server:
        server.shutdown_request = server.close_request  # without the shutdown() the client would see
        for close in True, False, True, False:
            with connect(server) as sock:
                wait_until(lambda: kept, "the handler's end")
                sock.sendall(b"still there\n")
                assert kept[0].readline() == b"still there\n"
                if close:
                    kept[0].close()
                kept.clear()
                assert read_until_eof(sock) == b""


@pytest.mark.parametrize("what", ("no finish", "an exception", "rfile replaced", "streams deleted", "streams swapped",
                                  "held back"))
def test_dropped_handlers_leave_no_socket(backend, serve_lines, what):
    """The client sees the end at once, without the collector, and no descriptor is left."""
    def handle(self):
        for unused in range(2):
            self.wfile.write(self.rfile.readline().upper())
        if what == "an exception":
            raise RuntimeError
        elif what == "rfile replaced":
            self.rfile = io.BytesIO()
        elif what == "streams deleted":
            del self.rfile, self.wfile
        elif what == "streams swapped":
            self.rfile, self.wfile = self.wfile, self.rfile
        elif what == "held back":
            self.wfile.write(b"!")

    def descriptors():
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    end = b"!" if what == "held back" else b""
    with without_collector(), serve_lines(echo(backend, handle=handle, finish=lambda self: None)) as server:
        server.handle_error = lambda request, client_address: None
        server.shutdown_request = server.close_request
        before = descriptors()
        for unused in range(20):
            with connect(server) as sock:
                sock.sendall(b"a\nb\nc\n")
                assert read_until_eof(sock) == b"A\nB\n" + end
        wait_until(lambda: descriptors() <= before, "the descriptors")


@pytest.mark.parametrize("how", ("close", "detach", "shutdown", "both files and close"))
def test_socket_ended_by_the_handler_while_octets_wait(backend, serve_lines, how):
    """What was written before leaves, whoever ends the socket."""
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())  # another line is here
        if how == "close":
            self.request.close()
        elif how == "detach":
            os.close(self.request.detach())
        elif how == "shutdown":
            self.request.shutdown(socket.SHUT_RDWR)
        else:
            self.rfile.close()
            self.request.close()

    with serve_lines(echo(backend, handle=handle, finish=lambda self: None)) as server:
        server.handle_error = lambda request, client_address: None
        for unused in range(10):
            with connect(server) as sock:
                sock.sendall(b"a\nb\n")
                assert read_until_eof(sock) == b"A\n"


# ---------------------------------------------------------------- a socket that is asked for its octets

class Asked(socket.socket):
    """A socket that is not a plain one: its own recv() is called, as a TLS socket's is."""


@pytest.mark.parametrize("reading", ("readline", "read"))
def test_rfile_closed_while_it_waits_for_such_a_socket(backend, kept, reading):
    """By another thread. The octets that come then have no place to go to."""
    class Server(backend.socketserver.ThreadingTCPServer):
        def get_request(self):
            sock, address = super().get_request()
            return Asked(fileno=sock.detach()), address

    if backend.name == "stdlib":
        pytest.skip("its rfile cannot be closed by another thread meanwhile")
    outcomes = []

    def handle(self):
        kept.append(self.rfile)
        try:
            outcomes.append(getattr(self.rfile, reading)(100_000))
        except ValueError as error:
            outcomes.append(str(error))

    with serving(Server(("127.0.0.1", 0), echo(backend, handle=handle))) as server:
        for count in range(1, 6):
            with connect(server) as sock:
                sock.sendall(b"a")
                wait_until(lambda: kept, "the handler")
                kept.pop().close()
                sock.sendall(b"b" * 100 + b"\n")
                wait_until(lambda: len(outcomes) == count, "the handler's end")
    assert outcomes == ["I/O operation on closed file."] * 5


def test_threads_that_read_lines_from_such_a_socket(backend):
    """Every octet is read once, whatever thread gets it."""
    class Server(backend.socketserver.ThreadingTCPServer):
        def get_request(self):
            sock, address = super().get_request()
            return Asked(fileno=sock.detach()), address

    if backend.name == "stdlib":
        pytest.skip("its rfile has a lock")
    lines = []

    def handle(self):
        threads = [threading.Thread(target=lambda: lines.extend(self.rfile)) for unused in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with serving(Server(("127.0.0.1", 0), echo(backend, handle=handle))) as server, connect(server) as sock:
        for number in range(200):
            sock.sendall(b"%d %s\n" % (number, b"x" * (number * 50)))
        sock.shutdown(socket.SHUT_WR)
        assert read_until_eof(sock) == b""
    assert sum(map(len, lines)) == sum(len(b"%d %s\n" % (n, b"x" * (n * 50))) for n in range(200))
