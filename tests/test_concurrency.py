"""One test drives each concurrency claim: who waits for whom, how many threads it takes, what stays bounded.

On turboserver only: the standard library keeps few of these.  Nothing here measures speed; a handler that must not
hold up others is held until the others are done, so that a server that does hold them up fails by the deadline.
What needs a process of its own (signals, descriptors, exit) is in test_concurrency_process.py.
"""
import os
import resource
import threading
import time

import pytest

from concurrency import (  # noqa: F401  (fixtures)
    GET, base, gate, held, hold, process_threads, server_class, threading_server)
from support import DEADLINE, Client, connect, exchange, fetch, read_exactly, read_until, respond, serving


class TestSleepingHandlers:
    """A handler that sleeps holds up nobody."""

    @pytest.mark.parametrize("count", (1, 5, 50))
    def test_others_are_served_meanwhile(self, threading_server, base, gate, count):
        with serving(threading_server(("127.0.0.1", 0), held(base, gate))) as server:
            sleepers = [Client(server) for unused in range(count)]
            try:
                for sleeper in sleepers:
                    hold(sleeper, gate)
                with Client(server) as kept:
                    for unused in range(20):
                        assert kept.request().status == fetch(server).status == 200
                gate.set()
                assert all(sleeper.read().body == b"held" for sleeper in sleepers)
                assert all(sleeper.request().status == 200 for sleeper in sleepers), "and are as good as before"
            finally:
                for sleeper in sleepers:
                    sleeper.close()

    def test_connections_already_open_are_served_meanwhile(self, threading_server, base, gate):
        with serving(threading_server(("127.0.0.1", 0), held(base, gate))) as server:
            with Client(server) as sleeper, Client(server) as first, Client(server) as second:
                assert first.request().status == second.request().status == 200
                hold(sleeper, gate)
                for unused in range(20):
                    assert first.request().status == second.request().status == 200
                gate.set()
                assert sleeper.read().body == b"held"

    def test_handler_that_computes_holds_up_nobody(self, threading_server, base, gate):
        class Handler(base):
            def do_COMPUTE(self):
                gate.entered.release()
                end = time.monotonic() + DEADLINE
                while not gate.is_set() and time.monotonic() < end:
                    sum(range(100))
                respond(self, b"computed")

        with serving(threading_server(("127.0.0.1", 0), Handler)) as server, Client(server) as client:
            client.send(b"COMPUTE / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert gate.entered.acquire(timeout=DEADLINE)
            for unused in range(5):
                assert fetch(server).status == 200
            gate.set()
            assert client.read().body == b"computed"

    def test_short_sleeps_alternating_with_fast_requests(self, threading_server, base):
        class Handler(base):
            def do_NAP(self):
                time.sleep(0.0003)
                respond(self, b"nap")

        results = []

        def work(server, number):
            with Client(server) as client:
                for turn in range(50):
                    method = "NAP" if (turn + number) % 3 else "GET"
                    results.append(client.request(method).body == (b"nap" if method == "NAP" else b"ok"))

        with serving(threading_server(("127.0.0.1", 0), Handler)) as server:
            threads = [threading.Thread(target=work, args=(server, number)) for number in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
        assert len(results) == 500 and all(results)

    def test_handlers_of_a_plain_server_run_one_at_a_time_on_the_serving_thread(self, turbo, base):
        inside, names, most = [], set(), []

        class Handler(base):
            def do_GET(self):
                inside.append(self)
                most.append(len(inside))
                names.add(threading.current_thread().name)
                time.sleep(0.001)
                inside.remove(self)
                respond(self)

        with serving(turbo.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            threads = [threading.Thread(target=fetch, args=(server,)) for unused in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
        assert len(most) == 20 and set(most) == {1} and names == {"serve_forever"}

    def test_serving_thread_of_a_threading_server_runs_no_handlers(self, threading_server, base):
        names = set()

        class Handler(base):
            def do_GET(self):
                names.add(threading.current_thread().name)
                respond(self)

        with serving(threading_server(("127.0.0.1", 0), Handler)) as server:
            for unused in range(20):
                fetch(server)
        assert "serve_forever" not in names


class TestLongBodies:
    """A body that streams needs a thread; where they get scarce, only one that comes."""

    @staticmethod
    def reader(base):
        class Handler(base):
            turbo_body_timeout = turbo_min_rate = None

            def do_POST(self):
                respond(self, b"%d" % len(self.rfile.read()))

        return Handler

    def test_many_that_do_not_come_leave_threads(self, threading_server, base):
        server = threading_server(("127.0.0.1", 0), self.reader(base))
        server.turbo_max_threads = 20
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        with serving(server):
            slow = [connect(server) for unused in range(60)]
            try:
                for sock in slow:
                    sock.sendall(head + b"a little")
                for unused in range(20):
                    assert fetch(server).status == 200
                with Client(server) as client:
                    assert client.request("POST", body=b"x" * 300_000).body == b"300000", "one that comes"
                for sock in (slow[0], slow[-1]):    # and these, when they do
                    sock.sendall(b"x" * (1_000_000 - 8))
                    assert b"1000000" in read_until(sock, b"1000000")
            finally:
                for sock in slow:
                    sock.close()


class TestIdleConnections:
    """1,000 idle keep-alive connections use no threads."""

    COUNT = 1000

    def test_no_threads_and_others_are_served(self, server_class, base):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * self.COUNT + 200
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"RLIMIT_NOFILE cannot be raised to {wanted}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        idle = []
        try:
            with serving(server_class(("127.0.0.1", 0), base)) as server:
                fetch(server)
                threads, active = process_threads(), threading.active_count()
                for unused in range(self.COUNT):
                    client = Client(server)
                    idle.append(client)
                    assert client.request().status == 200
                assert process_threads() <= threads + 10
                assert threading.active_count() <= active + 10
                assert fetch(server).status == 200
                assert all(client.request().status == 200 for client in idle[::50]), "and they still work"
        finally:
            for client in idle:
                client.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_shutdown_and_close_with_many_idle_connections(self, server_class, base):
        server = server_class(("127.0.0.1", 0), base)
        idle = []
        try:
            with serving(server):
                for unused in range(200):
                    idle.append(Client(server))
                    assert idle[-1].request().status == 200
        finally:
            for client in idle:
                client.close()


class TestStreaming:
    """A handler streaming one line an interval reaches the client line by line."""

    LINES = 5

    def stream(self, base, gates, heads, wrap):
        class Handler(base):
            def do_GET(self):
                self.send_response(200)
                for name, value in heads:
                    self.send_header(name, value)
                self.end_headers()
                for number, gate in enumerate(gates):
                    self.wfile.write(wrap(b"line %d\n" % number))
                    assert gate.wait(DEADLINE), "the client never heard the line"
                self.wfile.write(wrap(b""))
                if not heads:
                    self.close_connection = True

        return Handler

    def listen(self, server, gates, version, wrap):
        with connect(server) as sock:
            sock.sendall(b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version)
            read_until(sock, b"\r\n\r\n")
            for number, gate in enumerate(gates):
                expected = wrap(b"line %d\n" % number)
                assert read_exactly(sock, len(expected)) == expected
                gate.set()
            end = wrap(b"")
            assert read_exactly(sock, len(end)) == end

    def test_chunked_http_1_1(self, server_class, base):
        gates = [threading.Event() for unused in range(self.LINES)]

        def wrap(data):
            return b"%x\r\n%s\r\n" % (len(data), data)

        handler = self.stream(base, gates, [("Transfer-Encoding", "chunked")], wrap)
        with serving(server_class(("127.0.0.1", 0), handler)) as server:
            self.listen(server, gates, b"1.1", wrap)

    def test_http_1_0(self, server_class, base):
        gates = [threading.Event() for unused in range(self.LINES)]
        base.protocol_version = "HTTP/1.0"
        handler = self.stream(base, gates, [], bytes)
        with serving(server_class(("127.0.0.1", 0), handler)) as server:
            self.listen(server, gates, b"1.0", bytes)

    def test_by_time(self, server_class, base):
        """The handler sleeps, and does not know of the client: each line is there before the next is written."""
        written = []

        class Handler(base):
            def do_GET(self):
                self.close_connection = True
                for number in range(self.count):
                    if number > 0:
                        time.sleep(1.0)
                    written.append(number)
                    self.wfile.write(b"%d" % number)

            count = 4

        with serving(server_class(("127.0.0.1", 0), Handler)) as server, connect(server) as sock:
            sock.sendall(GET)
            in_time = 0
            for number in range(Handler.count):
                assert read_exactly(sock, 1) == b"%d" % number
                in_time += written[-1] == number
            assert in_time >= 2, "none is, if lines wait for the next; a machine may stutter"

    def test_many_streams_at_once(self, threading_server, base):
        class Handler(base):
            def do_GET(self):
                self.close_connection = True
                for unused in range(20):
                    self.wfile.write(b"tick\n")
                    time.sleep(0.005)

        answers = []
        with serving(threading_server(("127.0.0.1", 0), Handler)) as server:
            threads = [threading.Thread(target=lambda: answers.append(exchange(server, GET))) for unused in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
        assert answers == [b"tick\n" * 20] * 20


class TestSlowClients:
    """A client that sends one byte now and then holds up nobody, with and without the mixin."""

    REQUEST = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"

    def test_one_byte_at_a_time(self, server_class, base):
        class Handler(base):
            def do_POST(self):
                respond(self, self.rfile.read(4))

        with serving(server_class(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as slow, Client(server) as kept:
                for index in range(len(self.REQUEST)):
                    slow.send(self.REQUEST[index:index + 1])
                    time.sleep(0.002)
                    if index % 5 == 0:
                        assert kept.request().status == fetch(server).status == 200
                assert slow.read().body == b"body"

    def test_many_of_them(self, server_class, base):
        with serving(server_class(("127.0.0.1", 0), base)) as server:
            slow = [Client(server) for unused in range(100)]
            try:
                for index in range(len(GET)):
                    for client in slow:
                        client.send(GET[index:index + 1])
                    if index % 10 == 0:
                        assert fetch(server).status == 200
                assert all(client.read().body == b"ok" for client in slow)
            finally:
                for client in slow:
                    client.close()

    def test_client_that_never_reads_holds_up_nobody(self, threading_server, base):
        class Handler(base):
            def do_BIG(self):
                self.send_response(200)
                self.send_header("Content-Length", str(50 << 20))
                self.end_headers()
                for unused in range(50):
                    self.wfile.write(b"x" * (1 << 20))

        with serving(threading_server(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as deaf:
                deaf.sendall(b"BIG / HTTP/1.1\r\nHost: a\r\n\r\n")
                read_exactly(deaf, 1)
                with Client(server) as client:
                    for unused in range(20):
                        assert client.request().status == fetch(server).status == 200


class TestThreadBound:
    """A bound on threads: when it is reached, connections wait, none is refused."""

    def test_more_sleeping_handlers_than_threads(self, threading_server, base):
        running, most, lock = [0], [0], threading.Lock()

        class Handler(base):
            def do_GET(self):
                with lock:
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                time.sleep(0.1)
                with lock:
                    running[0] -= 1
                respond(self)

        server = threading_server(("127.0.0.1", 0), Handler)
        server.turbo_max_threads = 2
        answers = []
        with serving(server):
            threads = [threading.Thread(target=lambda: answers.append(fetch(server).body)) for unused in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
        assert answers == [b"ok"] * 6
        assert 1 <= most[0] <= 2

    def test_class_attribute_with_a_generous_default(self, turbo):
        assert turbo.http_server.ThreadingHTTPServer.turbo_max_threads >= 32
