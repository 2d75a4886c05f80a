"""Concurrency claims about endings: shutdown(), server_close(), and clients that reset or go away.

A server that waits for what it must not wait for fails by the deadline of the test.  On turboserver only.
"""
import contextlib
import os
import socket
import struct
import threading

import pytest

from concurrency import (  # noqa: F401  (fixtures)
    GET, base, gate, held, hold, process_threads, server_class, threading_server)
from support import DEADLINE, Client, connect, fetch, read_exactly, respond, serving, wait_until


class TestShutdown:
    """A handler stuck for ever does not stop shutdown(); idle connections do not either."""

    def test_stuck_handler_of_a_daemon_threaded_server(self, threading_server, base, gate):
        assert threading_server.daemon_threads
        server = threading_server(("127.0.0.1", 0), held(base, gate))
        with serving(server), Client(server) as client:
            hold(client, gate)
        # serving() has called shutdown() and server_close() and joined serve_forever.

    def test_computing_handler_of_a_daemon_threaded_server(self, threading_server, base, gate):
        class Handler(base):
            def do_GET(self):
                gate.entered.release()
                while not gate.is_set():
                    sum(range(100))

        server = threading_server(("127.0.0.1", 0), Handler)
        with serving(server), connect(server) as sock:
            sock.sendall(GET)
            assert gate.entered.acquire(timeout=DEADLINE)

    def test_client_that_never_reads(self, threading_server, base):
        class Handler(base):
            def do_GET(self):
                self.wfile.write(b"x" * (50 << 20))

        server = threading_server(("127.0.0.1", 0), Handler)
        with connect(server) as deaf:
            with serving(server):
                deaf.sendall(GET)
                read_exactly(deaf, 1)

    def test_server_close_joins_running_handlers_unless_daemon(self, turbo, base, gate):
        done = []

        class Handler(held(base, gate)):
            def do_HOLD(self):
                super().do_HOLD()
                done.append(True)

        server_class = type("Server", (turbo.http_server.ThreadingHTTPServer,), {"daemon_threads": False})
        server = server_class(("127.0.0.1", 0), Handler)
        with serving(server), Client(server) as client, Client(server) as idle:
            assert idle.request().status == 200
            hold(client, gate)
            server.shutdown()
            closer = threading.Thread(target=server.server_close)
            closer.start()
            closer.join(0.2)
            assert closer.is_alive() and not done, "waits for the handler"
            gate.set()
            idle.close()
            client.close()
            closer.join(DEADLINE)
            assert not closer.is_alive() and done == [True]

    def test_listening_socket_is_gone_after_server_close(self, server_class, base):
        with serving(server_class(("127.0.0.1", 0), base)) as server:
            fetch(server)
        with pytest.raises(OSError):
            connect(server).close()

    def test_many_servers_come_and_go(self, server_class, base):
        """Threads may be kept for the next server, but their number does not grow with the servers that were."""
        before = process_threads()
        for unused in range(100):
            with serving(server_class(("127.0.0.1", 0), base)) as server:
                assert fetch(server).status == 200
        assert process_threads() - before < 50

    def test_many_servers_at_once(self, server_class, base):
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(serving(server_class(("127.0.0.1", 0), base))) for unused in range(10)]
            for server in servers * 3:
                assert fetch(server).status == 200


class TestHostileClients:
    """A client that resets, in the middle of a request or a response, affects nobody."""

    def reset(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    @pytest.mark.parametrize("sent", (b"", b"GET", GET[:-2], GET, GET * 3,
                                      b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"))
    def test_reset_at_any_point_of_a_request(self, server_class, base, sent):
        class Handler(base):
            def do_POST(self):
                respond(self, self.rfile.read(9))

        with serving(server_class(("127.0.0.1", 0), Handler)) as server, Client(server) as kept:
            for unused in range(20):
                sock = connect(server)
                sock.sendall(sent)
                self.reset(sock)
                assert kept.request().status == 200
            assert fetch(server).status == 200

    def test_reset_in_the_middle_of_a_response(self, server_class, base):
        class Handler(base):
            def do_BIG(self):
                self.send_response(200)
                self.end_headers()
                for unused in range(100):
                    self.wfile.write(b"x" * 100_000)

        with serving(server_class(("127.0.0.1", 0), Handler)) as server:
            for unused in range(10):
                sock = connect(server)
                sock.sendall(b"BIG / HTTP/1.1\r\nHost: a\r\n\r\n")
                read_exactly(sock, 1000)
                self.reset(sock)
                assert fetch(server).status == 200

    def test_client_that_closes_before_the_answer(self, server_class, base):
        with serving(server_class(("127.0.0.1", 0), base)) as server:
            for unused in range(50):
                with connect(server) as sock:
                    sock.sendall(GET)
            assert fetch(server).status == 200

    def test_descriptors_do_not_leak(self, server_class, base):
        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("no /proc here")
        with serving(server_class(("127.0.0.1", 0), base)) as server:
            fetch(server)
            before = len(os.listdir("/proc/self/fd"))
            for number in range(100):
                with connect(server) as sock:
                    sock.sendall(GET[:number])
                    if number % 2:
                        self.reset(sock)
            assert fetch(server).status == 200
            wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 3, "descriptors to be closed")
