"""Random conversations and hostile handlers: nothing may crash, hang, leak, or answer one request for another.

Each case is bounded and follows from a seed.
"""
import contextlib
import gc
import os
import select
import socket
import threading
import time

import pytest

import support
from stress import conversations

SIZE = 150      # conversations of a case
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n"


@pytest.fixture(params=["epoll", "poll"])
def poller(request, monkeypatch):
    import sys
    if request.param == "epoll" and sys.platform != "linux":
        pytest.skip("epoll is of Linux")
    monkeypatch.setenv("TURBOSERVER_POLLER", request.param)
    return request.param


@pytest.fixture
def http_server():
    backend = support.load_backend("turboserver")
    return backend.http_server


def make(module, handler, threaded=True, **attributes):
    base = module.ThreadingHTTPServer if threaded else module.HTTPServer
    attributes.setdefault("handle_error", lambda *args: None)
    attributes.setdefault("request_queue_size", 64)
    return type("Server", (base,), attributes)(("127.0.0.1", 0), handler)


def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def answer(handler, body=b"ok"):
    support.respond(handler, body)


def answer_in_pieces(handler):
    """60,000 octets, which the handler leaves to be sent when it returns."""
    handler.close_connection = True
    for _ in range(12):
        handler.wfile.write(b"x" * 5000)


def quiet(module, **members):
    members.setdefault("protocol_version", "HTTP/1.1")
    members.setdefault("log_message", lambda *args: None)
    members.setdefault("do_GET", answer)
    return type("Handler", (module.BaseHTTPRequestHandler,), members)


def narrow(server):
    """Connections with little room in the kernel, so that answers have to wait."""
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)


def narrow_reader(server, before=b""):
    """A socket with little room in the kernel on this side as well, by which `before` and LAST were sent."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(support.DEADLINE)
        sock.connect(server.server_address)
        sock.sendall(before + LAST)
    except BaseException:
        sock.close()
        raise
    return sock


def readers_of_pieces(server, count, stack):
    """So many narrow_reader() of a server whose handler is answer_in_pieces, each with its first octet read."""
    socks = [stack.enter_context(narrow_reader(server)) for _ in range(count)]
    for sock in socks:
        assert sock.recv(1) == b"x"
    return socks


@pytest.mark.limit(120)
@pytest.mark.parametrize("lane", ["reactor", "blocking"])
@pytest.mark.parametrize("threads", [0, 2, 1000])
def test_conversations(http_server, poller, lane, threads, monkeypatch):
    if lane == "blocking":
        if poller == "poll" or not threads:
            pytest.skip("the blocking lane has no poller, and without threads one connection blocks the others")
        monkeypatch.setenv("TURBOSERVER_LANE", "blocking")
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    kept = []
    handler = conversations.answers(http_server.BaseHTTPRequestHandler, kept=kept)
    before = descriptors()
    looking = threading.Event()

    def look():
        """Whoever keeps a handler may look at it at any moment."""
        while not looking.wait(0.0005):
            for one in list(kept):
                for name in ("path", "headers", "command", "requestline", "close_connection", "rfile", "wfile"):
                    getattr(one, name, None)

    server = make(http_server, handler, threaded=bool(threads), turbo_max_threads=threads or 1)
    looker = threading.Thread(target=look)
    looker.start()
    try:
        with support.serving(server):
            held, problems = conversations.hold(
                server.server_address, range(SIZE), bool(threads), reads_all=lane == "blocking")
    finally:
        looking.set()
        looker.join()
    assert not problems
    assert held == SIZE
    kept.clear()
    del server
    support.wait_until(lambda: gc.collect() >= 0 and descriptors() <= before + 1, "descriptors to be closed")


class TestMemory:
    """What no program should do, and what must not crash when one does."""

    @pytest.mark.parametrize("lane", ["", "blocking"])
    def test_rfile_closed_by_another_thread_while_it_is_read(self, http_server, lane, monkeypatch):
        monkeypatch.setenv("TURBOSERVER_LANE", lane)
        ended = threading.Event()

        def do_POST(self):
            threading.Timer(0.05, self.rfile.close).start()
            try:
                self.rfile.readline()
            except ValueError:
                pass
            finally:
                ended.set()

        server = make(http_server, quiet(http_server, do_POST=do_POST))
        with support.serving(server), support.connect(server) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nab")
            time.sleep(0.15)
            sock.sendall(b"cd")
            assert ended.wait(support.DEADLINE)

    @pytest.mark.parametrize("lane", ["", "blocking"])
    def test_three_threads_read_one_body(self, http_server, lane, monkeypatch):
        monkeypatch.setenv("TURBOSERVER_LANE", lane)
        counts = []

        def do_POST(self):
            def read():
                while line := self.rfile.readline():
                    counts.append(len(line))
            threads = [threading.Thread(target=read) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.close_connection = True

        data = [bytes((7 * i + j) % 251 for j in range(1 + i * 37 % 3000)) for i in range(200)]
        server = make(http_server, quiet(http_server, do_POST=do_POST))
        with support.serving(server):
            length = sum(map(len, data))
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
            support.exchange(server, b"", pieces=[head, *data], pause=0.0005)
        assert sum(counts) == length

    def test_rfile_read_after_the_handler_returned(self, http_server, poller):
        def do_POST(self):
            def read():
                try:
                    while True:
                        self.rfile.read(1)
                        self.rfile.peek()
                        self.rfile.readline(100)
                except (ValueError, OSError):
                    pass
            threading.Thread(target=read, daemon=True).start()
            answer(self)

        server = make(http_server, quiet(http_server, do_POST=do_POST))
        with support.serving(server):
            for i in range(150):
                with support.connect(server) as sock:
                    sock.settimeout(0.02)
                    try:
                        for j in range(3):
                            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nX: %b\r\nContent-Length: 10\r\n\r\n0123456789"
                                         % (b"a" * (i * 131 % 20000)))
                            sock.recv(65536)
                    except OSError:
                        pass

    def test_connection_asked_for_by_several_threads_while_output_waits(self, http_server):
        found = []

        def do_GET(self):
            self.close_connection = True
            self.wfile.write(b"x" * 40000)
            threads = [threading.Thread(target=lambda: found.append(self.connection)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.wfile.write(b"end")

        server = make(http_server, quiet(http_server, do_GET=do_GET))
        narrow(server)
        with support.serving(server), support.connect(server) as sock:
            sock.sendall(GET)
            time.sleep(0.2)
            assert support.read_until_eof(sock) == b"x" * 40000 + b"end"
        assert len(set(map(id, found))) == 1

    def test_a_message_class_that_raises_does_not_end_the_thread(self, http_server):
        import http.client

        class Message(http.client.HTTPMessage):
            def __init__(self, *args, **kwargs):
                raise RuntimeError("asked for")

        kept = []
        handler = quiet(http_server, do_GET=lambda self: (kept.append(self), answer(self)))
        bad = type("Bad", (handler,), {"MessageClass": Message})
        server = make(http_server, handler)
        with support.serving(server):
            server.RequestHandlerClass = bad
            for _ in range(3):
                support.exchange(server, GET)
            server.RequestHandlerClass = handler
            assert support.exchange(server, GET).endswith(b"ok")


class TestWaiting:

    def test_an_idle_connection_parked_by_a_thread_that_lost_the_lead_times_out(self, http_server, poller):
        def do_GET(self):
            time.sleep(0.03)
            answer(self)

        server = make(http_server, quiet(http_server, do_GET=do_GET, timeout=1.0))
        with support.serving(server), contextlib.ExitStack() as stack:
            socks = [stack.enter_context(support.connect(server)) for _ in range(3)]
            for sock in socks:
                sock.sendall(GET)
            for sock in socks:
                assert support.read_until_eof(sock).endswith(b"ok")

    def test_a_reader_that_does_not_read_times_out(self, http_server, poller):
        server = make(http_server, quiet(http_server, timeout=0.2, do_GET=lambda self: answer(self, b"x" * 40000)))
        narrow(server)
        with support.serving(server), support.connect(server) as sock:
            sock.sendall(GET)
            time.sleep(0.1)
            support.wait_until(lambda: server._turbo_engine.connections == 0, "the connection to be given up")

    def test_waiting_for_a_reader_costs_no_processor_time(self, http_server, poller):
        server = make(http_server, quiet(http_server, do_GET=lambda self: answer(self, b"x" * 40000)))
        narrow(server)
        with support.serving(server), support.connect(server) as sock:
            sock.sendall(GET * 200)
            time.sleep(0.2)
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.25

    @pytest.mark.parametrize("lane", ("auto", "blocking"))
    @pytest.mark.parametrize("threaded", (False, True), ids=("single", "threaded"))
    def test_answers_larger_than_what_the_kernel_takes_arrive_whole(self, http_server, lane, threaded, monkeypatch):
        """Of a handler that waits for its reader, whatever waits in the kernel and here."""
        monkeypatch.setenv("TURBOSERVER_LANE", lane)
        for room in (4096, 16384):
            for count in (3, 40):
                handler = quiet(http_server, do_GET=lambda self: answer(self, b"x" * 50000))
                server = make(http_server, handler, threaded)
                server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
                with support.serving(server), narrow_reader(server, GET * (count - 1)) as sock:
                    time.sleep(0.1)
                    got = support.read_until_eof(sock)
                    assert (got.count(b"HTTP/1.1 200"), got.count(b"x")) == (count, 50000 * count)

    def test_answers_on_their_way_to_slow_readers_survive_the_end(self, http_server):
        """server_close() comes while some of them are being sent, and are neither parked nor in a handler."""
        size, count = 59999, 60
        for turn in range(10):
            server = make(http_server, quiet(http_server, do_GET=answer_in_pieces))
            narrow(server)
            got, whole = {}, []

            def read_a_little():
                ready = select.select(list(got), [], [], support.DEADLINE)[0]
                assert ready
                for sock in ready:
                    octets = sock.recv(700)
                    got[sock] += octets.count(b"x")
                    if not octets:
                        whole.append(got.pop(sock) == size)

            with contextlib.ExitStack() as stack, support.serving(server):
                got.update(dict.fromkeys(readers_of_pieces(server, count, stack), 0))
                for _ in range(3 * turn):
                    read_a_little()
                closer = threading.Thread(target=server.server_close)
                closer.start()
                while len(whole) < count:
                    read_a_little()
                closer.join(support.DEADLINE)
            assert whole == [True] * count

    def test_a_reader_that_does_not_read_holds_up_no_other_at_the_end(self, http_server):
        server = make(http_server, quiet(http_server, do_GET=answer_in_pieces))
        narrow(server)
        with contextlib.ExitStack() as stack, support.serving(server):
            socks = readers_of_pieces(server, 6, stack)
            time.sleep(0.1)
            server.server_close()
            for sock in socks[1::2]:
                assert support.read_until_eof(sock).count(b"x") == 59999

    def test_streamed_octets_are_never_left_behind(self, http_server):
        seen = threading.Event()
        stuck = []

        def do_GET(self):
            self.close_connection = True
            for i in range(600):
                seen.clear()
                self.wfile.write(b"a")
                until = time.perf_counter() + i * 37 % 900 / 1e6
                while time.perf_counter() < until:
                    pass
                self.wfile.write(b"b")
                if not seen.wait(support.DEADLINE):
                    stuck.append(i)
                    return

        server = make(http_server, quiet(http_server, do_GET=do_GET))
        with support.serving(server), support.connect(server) as sock:
            sock.sendall(GET)
            while data := sock.recv(100):
                if b"b" in data:
                    seen.set()
        assert not stuck

    def test_one_client_that_never_stops_does_not_shut_out_the_others(self, http_server, poller):
        server = make(http_server, quiet(http_server))
        stop = threading.Event()
        with support.serving(server), support.connect(server) as sock:
            def flood():
                try:
                    while not stop.is_set():
                        sock.sendall(GET * 2000)
                except OSError:
                    pass

            def drain():
                try:
                    while sock.recv(1 << 20):
                        pass
                except OSError:
                    pass

            threads = [threading.Thread(target=flood), threading.Thread(target=drain)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(10):
                    began = time.monotonic()
                    assert support.exchange(server, GET).endswith(b"ok")
                    assert time.monotonic() - began < 5
            finally:
                stop.set()
                sock.shutdown(socket.SHUT_RDWR)
                for thread in threads:
                    thread.join()


class TestEndings:

    @pytest.mark.parametrize("threaded", [False, True])
    def test_an_answer_that_waits_is_sent_although_the_server_closes(self, http_server, poller, threaded):
        returned = threading.Event()

        def do_GET(self):
            answer(self, b"x" * 40000)
            returned.set()

        server = make(http_server, quiet(http_server, do_GET=do_GET), threaded, daemon_threads=False)
        narrow(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with support.connect(server) as sock:
            sock.sendall(GET)
            assert returned.wait(support.DEADLINE)
            time.sleep(0.05)
            closer = threading.Thread(target=lambda: (server.shutdown(), server.server_close()))
            closer.start()
            time.sleep(0.1)
            assert support.read_until_eof(sock).endswith(b"x" * 40000)
            closer.join(support.DEADLINE)
        thread.join(support.DEADLINE)
        assert not thread.is_alive() and not closer.is_alive()

    def test_what_a_forked_child_writes_arrives_although_it_exits_at_once(self, http_server):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            child = os.fork()
            if child == 0:
                self.wfile.write(b"child")
                os._exit(0)
            os.waitpid(child, 0)

        server = make(http_server, quiet(http_server, do_GET=do_GET))
        with support.serving(server):
            assert support.exchange(server, GET).endswith(b"child")

    def test_shutdown_and_serve_again_many_times(self, http_server, poller):
        server = make(http_server, quiet(http_server))
        for i in range(100):
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            with support.connect(server) as sock:
                sock.sendall(GET)
                assert sock.recv(12) == b"HTTP/1.1 200"
                if i % 2:
                    sock.close()
                server.shutdown()
            thread.join(support.DEADLINE)
            assert not thread.is_alive()
        server.server_close()

    def test_nothing_is_left_of_many_connections(self, http_server, poller):
        server = make(http_server, quiet(http_server))
        with support.serving(server):
            def burst(count):
                for _ in range(count):
                    support.exchange(server, GET * 20)
                support.wait_until(lambda: server._turbo_engine.connections == 0, "connections to end")
                gc.collect()
                return len(gc.get_objects()), descriptors()
            burst(50)
            for _ in range(4):      # what other threads of this process leave is not left each time
                objects, files = burst(50)
                objects_later, files_later = burst(400)
                if objects_later - objects < 100 and files_later <= files:
                    break
            else:
                assert (objects_later, files_later) == (objects, files)


class TestDatagrams:

    def test_a_loop_of_the_programs_own_sees_every_datagram(self):
        import select
        module = support.load_backend("turboserver").socketserver
        got = []
        handler = type("Handler", (module.BaseRequestHandler,), {"handle": lambda self: got.append(self.request[0])})
        with module.UDPServer(("127.0.0.1", 0), handler) as server, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for i in range(5):
                client.sendto(b"%d" % i, server.server_address)
            while select.select([server.fileno()], [], [], 0.3)[0]:
                server.handle_request()
        assert got == [b"0", b"1", b"2", b"3", b"4"]

    def test_what_an_exception_left_is_handled_by_the_next_serving(self):
        module = support.load_backend("turboserver").socketserver
        got = []

        def handle(self):
            got.append(self.request[0])
            if self.request[0] == b"1":
                raise ValueError("asked for")

        def handle_error(self, request, client_address):
            raise

        handler = type("Handler", (module.BaseRequestHandler,), {"handle": handle})
        server = type("Server", (module.UDPServer,), {"handle_error": handle_error})(("127.0.0.1", 0), handler)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for i in range(5):
                client.sendto(b"%d" % i, server.server_address)
            time.sleep(0.1)
            with pytest.raises(ValueError):
                server.serve_forever(0.02)
            with support.serving(server):
                support.wait_until(lambda: len(got) == 5, "the rest")

    def test_a_burst_stays_within_the_bound_of_threads(self):
        module = support.load_backend("turboserver").socketserver
        counting = threading.Lock()
        live, peak = [0], [0]

        def handle(self):
            with counting:
                live[0] += 1
                peak[0] = max(peak[0], live[0])
            time.sleep(0.03)
            with counting:
                live[0] -= 1

        handler = type("Handler", (module.BaseRequestHandler,), {"handle": handle})
        server = type("Server", (module.ThreadingUDPServer,), {"turbo_max_threads": 2})(("127.0.0.1", 0), handler)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for i in range(20):
                client.sendto(b"%d" % i, server.server_address)
            with support.serving(server):
                time.sleep(0.3)
        assert peak[0] <= 2
