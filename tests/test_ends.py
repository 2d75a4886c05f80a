"""The end of a server: shutdown(), SIGTERM and server_close() lose no request that was read, say so in the answer, and
do not wait for ever. In both native lanes, with threads and without; and what serves again afterwards.
"""
import concurrent.futures
import contextlib
import errno
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time

import pytest

from support import (
    DEADLINE, Client, connect, exchange, first_of, load_backend, read_until_eof, respond, serving, wait_until,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"\r\nconnection: close\r\n"


@pytest.fixture(params=("reactor", "blocking"))
def lane(request, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", "auto" if request.param == "reactor" else request.param)
    return request.param


@pytest.fixture(params=("reactor", "blocking", "compatible"))
def any_lane(request, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", "auto" if request.param == "reactor" else request.param)
    return request.param


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server_class(request):
    return request.param


class Held:
    """Handlers that wait until go() is called."""

    def __init__(self):
        self.entered = 0
        self._go = threading.Event()

    def do_GET(self, handler):
        self.entered += 1
        assert self._go.wait(DEADLINE)
        respond(handler)

    def go(self):
        self._go.set()


def make(server_class, held, *mixins, **attributes):
    module = load_backend("turboserver").http_server
    handler = type("Handler", (module.BaseHTTPRequestHandler,), {
        "protocol_version": "HTTP/1.1", "log_message": lambda self, *arguments: None,
        "do_GET": lambda self: held.do_GET(self)})
    server = type("Server", (*mixins, getattr(module, server_class)), attributes)
    return server(("127.0.0.1", 0), handler)


def let_go():
    held = Held()
    held.go()
    return held


def serve(server):
    """serve_forever() in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    return thread


def ended(server, thread):
    wait_until(lambda: not thread.is_alive(), "the end of serve_forever()")
    server.server_close()


def answers(octets):
    return octets.lower().count(b"http/1.1 200")


def test_the_answer_under_way_is_the_last(lane, server_class):
    held = Held()
    server = make(server_class, held)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(server) as sock:
        sock.sendall(REQUEST)
        wait_until(lambda: held.entered == 1, "the handler")
        stop = threading.Thread(target=server.shutdown)
        stop.start()
        wait_until(lambda: server._turbo_draining, "shutdown()")
        held.go()
        answer = read_until_eof(sock)
        assert answers(answer) == 1 and CLOSE in answer.lower()
        stop.join(DEADLINE)
    ended(server, thread)


def test_kept_connections_end(lane, server_class):
    """One that waits between requests: nothing was read of it, so it closes, without an error. In a thread of the
    blocking lane shutdown() leaves it, as in the original, and its next answer is the last; server_close() ends it."""
    server = make(server_class, let_go())
    with serving(server), Client(server) as client, Client(server) as other:
        client.request()
        if server_class == "ThreadingHTTPServer":
            other.request()
        server.shutdown()
        if lane == "blocking" and server_class == "ThreadingHTTPServer":
            assert client.request().get("Connection") == "close"
        server.server_close()
        assert client.at_eof() and other.at_eof()


def test_kept_connections_do_not_hold_server_close(lane):
    """It waits for threads that are no daemons: not for those that wait for a client."""
    server = make("ThreadingHTTPServer", let_go(), daemon_threads=False, turbo_shutdown_timeout=None)
    thread = serve(server)
    with Client(server) as client:
        client.request()
        server.shutdown()
        server.server_close()
        assert client.at_eof()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_requests_that_were_read_are_answered(lane, server_class):
    """Those that came in one packet: each, in order, and only the last says that it is."""
    held = Held()
    server = make(server_class, held)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(server) as sock:
        sock.sendall(REQUEST * 5)
        wait_until(lambda: held.entered == 1, "the first handler")
        stop = threading.Thread(target=server.shutdown)
        stop.start()
        wait_until(lambda: server._turbo_draining, "shutdown()")
        held.go()
        stop.join(DEADLINE)
        thread.join(DEADLINE)
        server.server_close()
        answer = read_until_eof(sock).lower()
        assert answers(answer) == 5
        assert answer.count(CLOSE) == 1 and CLOSE in answer[answer.rindex(b"http/1.1 200"):]
    assert not thread.is_alive()


def test_connections_in_many_threads_are_answered(lane):
    held = Held()
    server = make("ThreadingHTTPServer", held, daemon_threads=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    socks = [connect(server) for _ in range(20)]
    try:
        for sock in socks:
            sock.sendall(REQUEST)
        wait_until(lambda: held.entered == 20, "all handlers")
        server.shutdown()
        closer = threading.Thread(target=server.server_close)
        closer.start()      # waits for the handlers
        time.sleep(0.1)
        assert closer.is_alive()
        held.go()
        for sock in socks:
            answer = read_until_eof(sock)
            assert answers(answer) == 1 and CLOSE in answer.lower()
        closer.join(DEADLINE)
        assert not closer.is_alive() and not thread.is_alive()
    finally:
        for sock in socks:
            sock.close()


def test_nobody_is_accepted_any_more(lane, server_class):
    held = Held()
    held.go()
    server = make(server_class, held)
    with serving(server):
        server.shutdown()
        address = server.server_address
        server.server_close()
        with pytest.raises(OSError):
            connect(address).close()


@contextlib.contextmanager
def held_in_a_body(server_class="ThreadingHTTPServer", **attributes):
    """A server whose only handler waits for the rest of a body that does not come; what it raises is in the list."""
    entered, raised = threading.Event(), []

    class Reading:
        def do_GET(self, handler):
            entered.set()
            try:
                handler.rfile.read()
            except OSError as error:
                raised.append(error)
                raise

    attributes = {"daemon_threads": False, "handle_error": lambda *arguments: None, **attributes}
    server = make(server_class, Reading(), **attributes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        assert entered.wait(DEADLINE)
        yield server, sock, raised
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_deadline_ends_the_rest(lane):
    """A handler that waits for its client: the connection is shut, so that it fails."""
    with held_in_a_body(turbo_shutdown_timeout=0.3) as (server, sock, raised):
        server.shutdown()
        assert not raised
        server.server_close()
        assert raised and answers(read_until_eof(sock)) == 0


def test_server_close_alone_ends_it_too(lane):
    """server_close() while serve_forever() runs: as the two."""
    with held_in_a_body(turbo_shutdown_timeout=0.3) as (server, sock, raised):
        server.server_close()
        assert raised and answers(read_until_eof(sock)) == 0


def test_server_close_knows_of_the_first_thread(monkeypatch):
    """However long it takes until that is noted."""
    module = load_backend("turboserver").socketserver
    register = module._register_threads

    def late(*arguments):
        time.sleep(0.3)
        register(*arguments)

    monkeypatch.setattr(module, "_register_threads", late)
    with held_in_a_body(turbo_shutdown_timeout=0.3) as (server, sock, raised):
        server.server_close()
        assert raised


def test_server_close_alone_lets_answer(lane, server_class):
    """The answer under way is the last, and serve_forever() returns."""
    held = Held()
    server = make(server_class, held)
    thread = serve(server)
    with connect(server) as sock:
        sock.sendall(REQUEST)
        wait_until(lambda: held.entered == 1, "the handler")
        closer = threading.Thread(target=server.server_close)
        closer.start()
        wait_until(lambda: server._turbo_draining, "server_close()")
        held.go()
        answer = read_until_eof(sock)
        assert answers(answer) == 1 and CLOSE in answer.lower()
        closer.join(DEADLINE)
    thread.join(DEADLINE)
    assert not closer.is_alive() and not thread.is_alive()
    server.shutdown()


def test_server_close_at_any_moment(lane, server_class):
    """Also while serve_forever() begins: it returns, and raises nothing but for a socket that was closed before."""
    for pause in (0, 0.0005, 0.001, 0.002) * 5:
        server, raised = make(server_class, let_go()), []

        def run():
            try:
                server.serve_forever()
            except Exception as error:
                raised.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(pause)
        server.server_close()
        thread.join(DEADLINE)
        assert not thread.is_alive()
        assert raised in ([], ["Invalid file descriptor: -1"])      # as the original's


def test_server_close_before_the_first_wait(monkeypatch, server_class):
    """The engine listens, and nobody waits for it yet: serve_forever() returns, and raises nothing."""
    from turboserver import socketserver as ours
    server = make(server_class, let_go())

    class Closing(ours.Engine):
        def listen(self, fd):
            try:
                return super().listen(fd)
            finally:
                server.server_close()

    monkeypatch.setattr(ours, "Engine", Closing)
    server.serve_forever()
    assert server.fileno() == -1


def test_serving_again(any_lane, server_class):
    """What an end has set does not outlive it."""
    server = make(server_class, let_go())
    for _ in range(3):
        thread = serve(server)
        with Client(server) as client:
            wait_until(lambda: not server._turbo_draining, "the next serving")
            time.sleep(0.05)        # the request comes later than the connection
            assert client.request().get("Connection") is None
            assert client.request().status == 200
        server.shutdown()
        thread.join(DEADLINE)
        assert not thread.is_alive()
    server.server_close()


def test_handle_request_after_shutdown(any_lane, server_class):
    server = make(server_class, let_go())
    thread = serve(server)
    with Client(server) as client:
        client.request()
    server.shutdown()
    thread.join(DEADLINE)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    with Client(server) as client:
        wait_until(lambda: not server._turbo_draining, "handle_request()")
        time.sleep(0.05)
        assert client.request().get("Connection") is None
    thread.join(DEADLINE)
    assert not thread.is_alive()
    server.server_close()


@pytest.mark.parametrize("whose", ("socketserver's", "the program's"))
@pytest.mark.parametrize("held_in", ("blocking", "compatible"))
def test_shutdown_leaves_threads_of_others(held_in, whose, monkeypatch):
    """A kept connection in a thread that is not serve_forever()'s does not hold it, so it is served on."""
    monkeypatch.setenv("TURBOSERVER_LANE", held_in)

    class Own:
        def process_request(self, request, client_address):
            threading.Thread(target=self.work, args=(request, client_address), daemon=True).start()

        def work(self, request, client_address):
            self.finish_request(request, client_address)
            self.shutdown_request(request)

    mixin = socketserver.ThreadingMixIn if whose == "socketserver's" else Own
    server = make("HTTPServer", let_go(), mixin, daemon_threads=True)
    thread = serve(server)
    with Client(server) as client:
        client.request()
        server.shutdown()
        assert client.request().get("Connection") == "close"
    ended(server, thread)


def test_shutdown_does_not_wait_for_a_handshake(tls):
    """A client that says nothing, where nothing but TLS is awaited of it."""
    module = load_backend("turboserver").http_server
    pem = os.path.join(os.path.dirname(__file__), "data", "localhost.pem")
    entered = threading.Event()

    class Server(module.HTTPSServer):
        turbo_handshake_timeout = None

        def finish_request(self, request, client_address):
            entered.set()
            super().finish_request(request, client_address)

    server = Server(("127.0.0.1", 0), module.BaseHTTPRequestHandler, certfile=pem)
    thread = serve(server)
    with connect(server):
        assert entered.wait(DEADLINE)
        server.shutdown()
        ended(server, thread)


def test_without_descriptors_accepting_pauses(monkeypatch):
    """In the blocking lane, too: no busy loop, and shutdown() ends it at once."""
    monkeypatch.setenv("TURBOSERVER_LANE", "blocking")
    tried = []

    def get_request(self):
        tried.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    server = make("HTTPServer", let_go(), get_request=get_request)
    thread = serve(server)
    with connect(server):
        wait_until(lambda: len(tried) >= 4, "another attempt")
        server.shutdown()
    ended(server, thread)
    assert min(later - sooner for sooner, later in zip(tried[:3], tried[1:4])) > 0.05


def test_shutdown_does_not_cut_a_conversation(lane):
    """What a handler that is no HTTP handler waits for is its own: shutdown() waits for it, as in the original."""
    module = load_backend("turboserver").socketserver

    class Echo(module.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line)

    server = module.TCPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(server) as sock:
        sock.sendall(b"one\n")
        assert sock.recv(100) == b"one\n"
        stop = threading.Thread(target=server.shutdown)
        stop.start()
        wait_until(lambda: server._turbo_draining, "shutdown()")
        sock.sendall(b"two\n")
        assert sock.recv(100) == b"two\n"
        assert stop.is_alive()
    stop.join(DEADLINE)
    ended(server, thread)


# ---- SIGTERM -------------------------------------------------------------------

PROGRAM = """
import concurrent.futures, os, signal, socketserver as original, sys, threading, time
from turboserver import socketserver
from turboserver.http import server as http_server

class Handler(http_server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments):
        pass
    def do_GET(self):
        os.write(1, b"entered\\n")
        if self.path == "/deaf":
            while not server._turbo_draining:
                time.sleep(0.01)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            time.sleep(1000)
        if self.path == "/hangs":
            self.rfile.read()
            time.sleep(1000)
        if self.path == "/slow":
            os.read(0, 1)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

class Executor(http_server.HTTPServer):
    def process_request(self, request, client_address):
        pool.submit(self.process_request_in_pool, request, client_address)

    def process_request_in_pool(self, request, client_address):
        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)

class OwnThread(socketserver.ThreadingMixIn, http_server.HTTPServer):
    def process_request(self, request, client_address):
        threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True).start()

class ForeignMixIn(original.ThreadingMixIn, http_server.HTTPServer):
    daemon_threads = True

class Forking(socketserver.ForkingMixIn, http_server.HTTPServer):
    pass

pool = concurrent.futures.ThreadPoolExecutor(4)

class Server(globals().get(sys.argv[1]) or getattr(http_server, sys.argv[1])):
    turbo_shutdown_timeout = float(sys.argv[2])

server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
print("not reached")
"""


@contextlib.contextmanager
def process(server_class, timeout=DEADLINE, *, within=()):
    """Yields the process of PROGRAM and its address; its handlers say "entered", and wait for a line at /slow.
    within: the command that starts it."""
    started = subprocess.Popen([*within, sys.executable, "-c", PROGRAM, server_class, str(timeout)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield started, ("127.0.0.1", int(started.stdout.readline()))
    finally:
        started.kill()
        started.communicate()


def get(path):
    return b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
class TestTermination:
    def test_what_was_read_is_answered(self, lane, server_class):
        with process(server_class) as (started, address), connect(address) as sock:
            sock.sendall(get(b"/slow") + get(b"/") * 3)
            assert started.stdout.readline() == b"entered\n"
            for _ in range(2):
                started.send_signal(signal.SIGTERM)
                time.sleep(0.1)
            assert started.poll() is None
            started.stdin.write(b"x")
            started.stdin.flush()
            answer = read_until_eof(sock).lower()
            assert answers(answer) == 4
            assert answer.count(CLOSE) == 1 and CLOSE in answer[answer.rindex(b"http/1.1 200"):]
            assert started.wait(DEADLINE) == -signal.SIGTERM
            assert started.stdout.read() == b"entered\n" * 3 and started.stderr.read() == b""

    def test_kept_connections_do_not_hold_it(self, lane, server_class):
        with process(server_class) as (started, address), Client(address) as client:
            client.request()
            before = time.monotonic()
            started.send_signal(signal.SIGTERM)
            assert started.wait(DEADLINE) == -signal.SIGTERM
            assert client.at_eof()
            assert time.monotonic() - before < DEADLINE

    def test_a_deadline_ends_the_rest(self, lane, server_class):
        with process(server_class, 0.3) as (started, address), connect(address) as sock:
            sock.sendall(get(b"/hangs"))
            assert started.stdout.readline() == b"entered\n"
            started.send_signal(signal.SIGTERM)
            assert started.wait(DEADLINE) == -signal.SIGTERM

    @pytest.mark.parametrize("kind", ("HTTPServer", "ThreadingHTTPServer", "Executor", "OwnThread", "ForeignMixIn",
                                      "Forking"))
    def test_whoever_runs_the_handler(self, any_lane, kind):
        """Also a handler in threads, or in a child process, that are not the engine's."""
        with process(kind) as (started, address), connect(address) as sock, Client(address) as kept:
            if kind not in ("HTTPServer",):
                kept.request()
                assert started.stdout.readline() == b"entered\n"
            sock.sendall(get(b"/slow"))
            assert started.stdout.readline() == b"entered\n"
            started.send_signal(signal.SIGTERM)
            if kind not in ("HTTPServer",):
                assert kept.at_eof()
            else:
                time.sleep(0.1)     # nothing shows that it has heard of it
            assert started.poll() is None
            started.stdin.write(b"x")
            started.stdin.flush()
            answer = read_until_eof(sock)
            assert answers(answer) == 1 and CLOSE in answer.lower()
            assert started.wait(DEADLINE) == -signal.SIGTERM
            assert started.stderr.read() == b""

    def test_in_the_moment_in_which_serving_ends(self):
        """The signal that comes just before it is the system's again ends the process, as any other."""
        program = """
import os, signal, threading
from turboserver.http import server as http_server
server = http_server.HTTPServer(("127.0.0.1", 0), http_server.BaseHTTPRequestHandler)
real = signal.signal
def late(number, what):
    if what is signal.SIG_DFL:
        signal.signal = real
        os.kill(os.getpid(), signal.SIGTERM)
    return real(number, what)
signal.signal = late
threading.Thread(target=server.shutdown).start()
server.serve_forever()
print("not reached")
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=100)
        assert done.returncode == -signal.SIGTERM and not done.stdout and not done.stderr

    def test_a_main_thread_that_takes_no_signals_ends_too(self, lane):
        with process("HTTPServer", 0.3) as (started, address), connect(address) as sock:
            sock.sendall(get(b"/deaf"))
            assert started.stdout.readline() == b"entered\n"
            started.send_signal(signal.SIGTERM)
            assert started.wait(DEADLINE) == -signal.SIGKILL


class TestTerminationOfProcess1:
    def test_what_was_read_is_answered(self, any_lane, server_class, container):
        with process(server_class, within=container) as (started, address), connect(address) as sock:
            sock.sendall(get(b"/slow"))
            assert started.stdout.readline() == b"entered\n"
            os.kill(first_of(started), signal.SIGTERM)
            time.sleep(0.2)
            assert started.poll() is None
            started.stdin.write(b"x")
            started.stdin.flush()
            assert answers(read_until_eof(sock)) == 1
            assert started.wait(DEADLINE) == 128 + signal.SIGTERM
            assert started.stdout.read() == started.stderr.read() == b""

    def test_a_deadline_ends_the_rest(self, any_lane, server_class, container):
        with process(server_class, 0.3, within=container) as (started, address), connect(address) as sock:
            sock.sendall(get(b"/hangs"))
            assert started.stdout.readline() == b"entered\n"
            os.kill(first_of(started), signal.SIGTERM)
            assert started.wait(DEADLINE) == 128 + signal.SIGTERM
            assert started.stdout.read() == started.stderr.read() == b""

    def test_a_main_thread_that_takes_no_signals_ends_too(self, lane, container):
        with process("HTTPServer", 0.3, within=container) as (started, address), connect(address) as sock:
            sock.sendall(get(b"/deaf"))
            assert started.stdout.readline() == b"entered\n"
            os.kill(first_of(started), signal.SIGTERM)
            assert started.wait(DEADLINE) == 128 + signal.SIGKILL


@pytest.mark.parametrize("blocking", (True, False))
def test_the_listening_socket_is_as_blocking_as_it_was(server_class, blocking):
    """Where processes share one, a server that ends must not clear the flag that is all of theirs."""
    server = make(server_class, Held())
    server.socket.setblocking(blocking)
    with server.socket.dup() as shared:
        with serving(server):
            assert exchange(server, b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 501")
            assert not os.get_blocking(shared.fileno())
        assert os.get_blocking(shared.fileno()) is blocking
