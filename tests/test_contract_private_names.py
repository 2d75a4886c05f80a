"""CONTRACT, "Classes": private names in use, patched limits, and globals that are replaced.

`_BaseServer__shutdown_request`, `_BaseServer__is_shut_down`, `_handle_request_noblock` (overridden),
`_headers_buffer` (a list of bytes; read, written and its items rewritten), `headers._headers`, `_threads`.
"""
import http.client
import http.server
import selectors
import socket
import socketserver
import sys
import threading
import types

import pytest

from support import DEADLINE, POLL_INTERVAL, Client, connect, exchange, fetch, respond, serving, wait_until


def ok_handler(backend):
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            respond(self)

    return Handler


class TestShutdownNames:
    """_BaseServer__shutdown_request, _BaseServer__is_shut_down."""

    def start(self, server):
        thread = threading.Thread(target=server.serve_forever, args=(POLL_INTERVAL,), daemon=True)
        thread.start()
        return thread

    def test_flag_set_by_a_handler_ends_serve_forever(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)
                self.server._BaseServer__shutdown_request = True

        with backend.http_server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = self.start(server)
            assert fetch(server).status == 200
            thread.join(DEADLINE)
            assert not thread.is_alive()

    def test_flag_set_by_another_thread_ends_serve_forever(self, backend):
        with backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), ok_handler(backend)) as server:
            thread = self.start(server)
            assert fetch(server).status == 200
            server._BaseServer__shutdown_request = True
            thread.join(DEADLINE)
            assert not thread.is_alive()
            assert not server._BaseServer__shutdown_request, "is reset, so that the server can serve again"
            with serving(server):
                assert fetch(server).status == 200

    def test_flag_set_in_service_actions(self, backend):
        class Server(backend.http_server.HTTPServer):
            def service_actions(self):
                self._BaseServer__shutdown_request = True

        with Server(("127.0.0.1", 0), ok_handler(backend)) as server:
            thread = self.start(server)
            thread.join(DEADLINE)
            assert not thread.is_alive()

    def test_event_tells_whether_it_serves(self, backend):
        with backend.http_server.HTTPServer(("127.0.0.1", 0), ok_handler(backend)) as server:
            thread = self.start(server)
            fetch(server)
            assert not server._BaseServer__is_shut_down.is_set()
            server.shutdown()
            assert server._BaseServer__is_shut_down.wait(DEADLINE)
            thread.join(DEADLINE)

    def test_both_names_used_in_place_of_shutdown(self, backend):
        with backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), ok_handler(backend)) as server:
            self.start(server)
            fetch(server)
            server._BaseServer__shutdown_request = True
            assert server._BaseServer__is_shut_down.wait(DEADLINE)

    def test_shutdown_before_serve_forever_has_begun(self, backend):
        with backend.http_server.HTTPServer(("127.0.0.1", 0), ok_handler(backend)) as server:
            stopper = threading.Thread(target=server.shutdown, daemon=True)
            stopper.start()
            wait_until(lambda: server._BaseServer__shutdown_request, "shutdown() to ask")
            server.serve_forever(POLL_INTERVAL)
            stopper.join(DEADLINE)
            assert not stopper.is_alive()


class TestHandleRequestNoblock:
    """_handle_request_noblock (overridden)."""

    def test_called_once_a_connection(self, backend):
        calls = []

        class Server(backend.http_server.HTTPServer):
            def _handle_request_noblock(self):
                calls.append(threading.current_thread().name)
                return super()._handle_request_noblock()

        with serving(Server(("127.0.0.1", 0), ok_handler(backend))) as server:
            for unused in range(3):
                with Client(server) as client:
                    client.request()
                    client.request()
        assert calls == ["serve_forever"] * 3

    def test_replaced_altogether(self, backend):
        class Server(backend.http_server.HTTPServer):
            def _handle_request_noblock(self):
                request, address = self.get_request()
                self.finish_request(request, (address[0], 1))
                self.shutdown_request(request)

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self, b"%d" % self.client_address[1])

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).body == b"1"

    def test_called_by_the_program(self, backend):
        with backend.http_server.HTTPServer(("127.0.0.1", 0), ok_handler(backend)) as server:
            with connect(server) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                server._handle_request_noblock()
                assert b"200 OK" in sock.recv(4096)


class TestHeadersBuffer:
    """_headers_buffer (a list of bytes; read, written and its items rewritten)."""

    def answer(self, backend, program):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            server_version, sys_version = "S", "V"

            def date_time_string(self, timestamp=None):
                return "now"

            def do_GET(self):
                program(self)
                self.end_headers()

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            return exchange(server, b"GET / HTTP/1.0\r\n\r\n")

    def test_read(self, backend):
        seen = []

        def program(handler):
            handler.send_response(200)
            handler.send_header("X-A", "b")
            seen.extend(handler._headers_buffer)
            assert type(handler._headers_buffer) is list

        self.answer(backend, program)
        assert seen == [b"HTTP/1.0 200 OK\r\n", b"Server: S V\r\n", b"Date: now\r\n", b"X-A: b\r\n"]

    def test_items_rewritten(self, backend):
        def program(handler):
            handler.send_response(200)
            handler._headers_buffer[0] = b"HTTP/1.0 299 Odd\r\n"
            for index, line in enumerate(handler._headers_buffer):
                if line.startswith(b"Server:"):
                    handler._headers_buffer[index] = b"Server: none\r\n"

        assert self.answer(backend, program) == (
            b"HTTP/1.0 299 Odd\r\nServer: none\r\nDate: now\r\n\r\n")

    def test_written(self, backend):
        def program(handler):
            handler.send_response(204)
            handler._headers_buffer.append(b"X-Raw: \xff\r\n")
            handler._headers_buffer.insert(1, b"X-First: 1\r\n")
            del handler._headers_buffer[2]

        assert self.answer(backend, program) == (
            b"HTTP/1.0 204 No Content\r\nX-First: 1\r\nDate: now\r\nX-Raw: \xff\r\n\r\n")

    def test_replaced_by_another_list(self, backend):
        def program(handler):
            handler.send_response(200)
            handler._headers_buffer = [b"HTTP/1.0 200 Mine\r\n"]
            handler.send_header("X-A", "b")

        assert self.answer(backend, program) == b"HTTP/1.0 200 Mine\r\nX-A: b\r\n\r\n"

    def test_emptied_and_answered_anew(self, backend):
        def program(handler):
            handler.send_response(200)
            handler._headers_buffer.clear()
            handler.send_response_only(404)

        assert self.answer(backend, program) == b"HTTP/1.0 404 Not Found\r\n\r\n"

    def test_kept_for_later_from_an_overridden_flush(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def flush_headers(self):
                self.kept = b"".join(self._headers_buffer)
                self._headers_buffer = []

            def do_GET(self):
                respond(self, b"")
                self.wfile.write(b"kept %d lines" % self.kept.count(b"\r\n"))

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            assert exchange(server, b"GET / HTTP/1.0\r\n\r\n") == b"kept 5 lines"

    def test_flush_headers_replaced_on_one_object(self, backend):
        """People set `handler.flush_headers = ...` on one object."""
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.flush_headers = lambda: self.wfile.write(b"[%d]" % len(self._headers_buffer))
                respond(self, b"body")

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            assert exchange(server, b"GET / HTTP/1.0\r\n\r\n") == b"[5]body"


class TestHeadersList:
    """headers._headers."""

    def test_read_and_rewritten(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                before = list(self.headers._headers)
                self.headers._headers.append(("X-Added", "1"))
                self.headers._headers[:] = [(k.upper(), v) for k, v in self.headers._headers]
                respond(self, repr((before, self.headers.items(), self.headers["x-added"])).encode())

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            body = fetch(server, headers=[("A", "b")]).body
        assert eval(body) == ([("Host", "test"), ("A", "b")],
                              [("HOST", "test"), ("A", "b"), ("X-ADDED", "1")], "1")


class TestThreads:
    """_threads."""

    def test_joins_the_handlers_that_run(self, backend):
        entered, leave, done = threading.Event(), threading.Event(), []

        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                entered.set()
                leave.wait(DEADLINE)
                done.append(True)

        with serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
            with connect(server):
                assert entered.wait(DEADLINE)
                assert len(list(server._threads)) == 1
                joiner = threading.Thread(target=lambda: (server._threads.join(), done.append("joined")))
                joiner.start()
                joiner.join(0.05)
                assert joiner.is_alive(), "_threads.join() waits for the handler"
                leave.set()
                joiner.join(DEADLINE)
        assert done == [True, "joined"]

    def test_own_process_request_appends_to_it(self, backend):
        class Server(backend.socketserver.ThreadingTCPServer):
            _threads = []

            def process_request(self, request, client_address):
                thread = threading.Thread(target=self.process_request_thread, args=(request, client_address))
                self._threads.append(thread)
                thread.start()

            def server_close(self):
                backend.socketserver.TCPServer.server_close(self)
                for thread in self._threads:
                    thread.join(DEADLINE)

        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(b"own")

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            assert exchange(server, b"") == b"own"
        assert len(Server._threads) == 1 and not Server._threads[0].is_alive()


class TestPatchedLimits:
    """http.client._MAXLINE and _MAXHEADERS are patched and must be honoured when the request is parsed."""

    CASES = (
        # The blank line counts as one of them up to 3.14.
        ("_MAXHEADERS", 5, 4, 200), ("_MAXHEADERS", 5, 5, 200 if sys.version_info >= (3, 15) else 431), ("_MAXHEADERS", 5, 6, 431),
        ("_MAXHEADERS", 1000, 500, 200), ("_MAXHEADERS", 100, 99, 200), ("_MAXHEADERS", 100, 101, 431),
    )

    @pytest.mark.parametrize("name, limit, count, status", CASES)
    def test_maxheaders(self, backend, monkeypatch, name, limit, count, status):
        monkeypatch.setattr(http.client, name, limit)
        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), ok_handler(backend))) as server:
            more = [(f"X-{number}", "v") for number in range(count - 1)]  # and Host
            assert fetch(server, headers=more).status == status

    @pytest.mark.parametrize("limit, length, status", (
        (100, 90, 200), (100, 110, 431), (200_000, 150_000, 200), (65536, 65000, 200), (65536, 65540, 431)))
    def test_maxline(self, backend, monkeypatch, limit, length, status):
        monkeypatch.setattr(http.client, "_MAXLINE", limit)
        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), ok_handler(backend))) as server:
            assert fetch(server, headers=[("X", "v" * (length - 5))]).status == status

    def test_patched_while_a_connection_is_open(self, backend, monkeypatch):
        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), ok_handler(backend))) as server:
            with Client(server) as client:
                assert client.request(headers=[("X", "v" * 200)]).status == 200
                monkeypatch.setattr(http.client, "_MAXLINE", 100)
                assert client.request(headers=[("X", "v" * 200)]).status == 431


class TestReplacedGlobals:
    """Modules look up `socket`, `select`, `threading` as their own globals; gevent and eventlet replace them."""

    def test_the_globals_are_there(self, backend):
        for ours, theirs in ((backend.socketserver, socketserver), (backend.http_server, http.server)):
            for name, value in vars(theirs).items():
                if isinstance(value, types.ModuleType):
                    assert isinstance(getattr(ours, name), types.ModuleType), name

    def test_replaced_threading_starts_the_handlers(self, backend, monkeypatch):
        started = []

        class Thread(threading.Thread):
            def start(self):
                started.append(self)
                super().start()

        fake = types.SimpleNamespace(**{n: v for n, v in vars(threading).items() if not n.startswith("__")})
        fake.Thread = Thread
        monkeypatch.setattr(socketserver, "threading", fake)
        server = backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), ok_handler(backend))
        with serving(server):
            assert fetch(server).status == 200
        assert len(started) == 1

    def test_replaced_socket_makes_the_listener_and_the_requests(self, backend, monkeypatch):
        class Patched(socket.socket):
            pass

        fake = types.SimpleNamespace(**{n: v for n, v in vars(socket).items() if not n.startswith("__")})
        fake.socket = Patched
        monkeypatch.setattr(socketserver, "socket", fake)
        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), ok_handler(backend))) as server:
            assert type(server.socket) is Patched
            assert fetch(server).status == 200

    def test_selectors_taken_away_after_the_import(self, turbo, monkeypatch):
        """eventlet deletes those that block. A program that patches first has socketserver without them, but under
        `turboserver run` socketserver is there before the program."""
        used = []

        class Green(selectors.SelectSelector):
            def select(self, timeout=None):
                used.append(timeout)
                return super().select(timeout)

        monkeypatch.setattr(socketserver, "_ServerSelector", socketserver._ServerSelector)
        monkeypatch.setattr(selectors, "SelectSelector", Green)
        monkeypatch.delattr(selectors, "PollSelector")
        monkeypatch.setenv("TURBOSERVER_LANE", "compatible")
        with serving(turbo.http_server.HTTPServer(("127.0.0.1", 0), ok_handler(turbo))) as server:
            assert fetch(server).status == 200
        assert used
        used.clear()
        with turbo.http_server.HTTPServer(("127.0.0.1", 0), ok_handler(turbo)) as server:
            with connect(server) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                server.handle_request()
        assert used
