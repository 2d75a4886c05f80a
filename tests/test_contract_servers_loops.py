"""CONTRACT, "Servers": the ways programs drive a server.

`handle_request()` in a loop with `timeout`, results stored as attributes of the server; own select loop on
`fileno()` and then `handle_request()`; `serve_forever` replaced; `shutdown()` from another thread returns
promptly; `server_close()` from inside `with`.
"""
import select
import selectors
import socket
import threading

import pytest

from support import DEADLINE, Client, connect, exchange, fetch, read_until_eof, respond, serving, wait_until

GET = b"GET /?code=42 HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server(backend, request):
    """A server that is not serving yet; its handler stores what it was asked on the server."""
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.result = self.path
            respond(self)

    with getattr(backend.http_server, request.param)(("127.0.0.1", 0), Handler) as server:
        server.result = None
        yield server


class Caller(threading.Thread):
    """A client in a thread of its own, for servers driven by the thread of the test."""

    def __init__(self, server, data=GET):
        super().__init__(daemon=True)
        self.server, self.data, self.answer = server, data, None
        self.start()

    def run(self):
        self.answer = exchange(self.server, self.data)

    def result(self):
        self.join(DEADLINE)
        return self.answer


class TestHandleRequest:
    """handle_request() in a loop with `timeout`, results stored as attributes of the server."""

    def test_until_a_result_is_there(self, server):
        server.timeout = 0.05
        caller = Caller(server)
        while server.result is None:
            server.handle_request()
        assert server.result == "/?code=42"
        assert caller.result().endswith(b"ok")

    def test_one_call_serves_one_connection(self, server):
        callers = [Caller(server) for unused in range(3)]
        for unused in callers:
            server.handle_request()
        assert all(caller.result().endswith(b"ok") for caller in callers)

    def test_nothing_is_accepted_between_two_calls(self, server):
        with connect(server) as sock:
            sock.sendall(GET)
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            server.handle_request()
            sock.settimeout(DEADLINE)
            assert read_until_eof(sock).endswith(b"ok")

    def test_plain_server_has_answered_when_it_returns(self, backend):
        done = []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)
                done.append(threading.current_thread() is threading.main_thread())

        with backend.http_server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            with connect(server) as sock:
                sock.sendall(GET)
                server.handle_request()
                assert done == [True]
                assert read_until_eof(sock).endswith(b"ok")

    def test_plain_server_serves_a_whole_keep_alive_connection_in_one_call(self, backend):
        paths = []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                paths.append(self.path)
                respond(self)

        with backend.http_server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            caller = Caller(server, GET + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.0\r\n\r\n")
            server.handle_request()
            assert paths == ["/?code=42", "/2", "/3"]
            assert caller.result().count(b" 200 OK\r\n") == 3

    def test_timeout_of_the_class_and_of_the_socket(self, server):
        server.timeout = 0.02
        assert server.handle_request() is None
        server.timeout = None
        server.socket.settimeout(0.02)
        assert server.handle_request() is None

    def test_after_serve_forever(self, server):
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        assert fetch(server).status == 200
        server.shutdown()
        thread.join(DEADLINE)
        server.result = None
        caller = Caller(server)
        server.handle_request()
        assert caller.result().endswith(b"ok")

    def test_in_a_loop_of_a_thread_that_is_told_by_a_handler_to_stop(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)
                self.server.running = self.path != "/stop"

        class Server(backend.http_server.HTTPServer):
            running = True

            def serve_until_stopped(self):
                while self.running:
                    self.handle_request()

        with Server(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_until_stopped, daemon=True)
            thread.start()
            assert fetch(server, "/").status == fetch(server, "/stop").status == 200
            thread.join(DEADLINE)
            assert not thread.is_alive()


class TestOwnLoop:
    """Own select loop on `fileno()` and then `handle_request()`; `serve_forever` replaced."""

    def test_select_on_the_server_object(self, server):
        assert server.fileno() == server.socket.fileno()
        assert select.select([server], [], [], 0) == ([], [], [])
        caller = Caller(server)
        assert select.select([server], [], [], DEADLINE)[0] == [server]
        server.handle_request()
        assert caller.result().endswith(b"ok")

    def test_two_servers_on_one_selector(self, server):
        with type(server)(("127.0.0.1", 0), server.RequestHandlerClass) as other:
            callers = [Caller(server), Caller(other)]
            with selectors.DefaultSelector() as selector:
                selector.register(server, selectors.EVENT_READ)
                selector.register(other.fileno(), selectors.EVENT_READ, other)
                left = {server, other}
                while left:
                    for key, unused in selector.select(DEADLINE):
                        which = key.data or key.fileobj
                        which.handle_request()
                        left.discard(which)
            assert all(caller.result().endswith(b"ok") for caller in callers)

    def test_listener_that_went_away_in_between(self, server):
        """Readable, but no connection any more: handle_request() must not hang for ever."""
        server.timeout = 0.05
        connect(server).close()
        server.handle_request()
        assert server.handle_request() is None

    def test_serve_forever_replaced(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

        class Server(backend.http_server.HTTPServer):
            timeout = 0.02
            stopped = False

            def serve_forever(self, poll_interval=0.5):
                while not self.stopped:
                    self.handle_request()

            def shutdown(self):
                self.stopped = True

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).status == fetch(server).status == 200

    def test_serve_forever_extended(self, backend):
        order = []

        class Server(backend.http_server.ThreadingHTTPServer):
            def serve_forever(self, *args, **kwargs):
                order.append("begin")
                try:
                    super().serve_forever(*args, **kwargs)
                finally:
                    order.append("end")

        with serving(Server(("127.0.0.1", 0), backend.http_server.BaseHTTPRequestHandler)) as server:
            assert fetch(server).status == 501
        assert order == ["begin", "end"]


class TestShutdown:
    """shutdown() from another thread returns promptly."""

    def test_idle_server(self, server):
        with serving(server):
            pass

    def test_from_a_thread_that_a_handler_starts(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)
                threading.Thread(target=self.server.shutdown).start()

        with backend.http_server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            assert fetch(server).status == 200
            thread.join(DEADLINE)
            assert not thread.is_alive()

    def test_from_a_handler_of_a_threading_server(self, backend):
        """There the handler is not on the thread of serve_forever, so it may call shutdown() itself."""
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.server.shutdown()
                respond(self)

        with backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            assert fetch(server).status == 200
            thread.join(DEADLINE)
            assert not thread.is_alive()

    def test_twice_and_after_the_end(self, server):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        fetch(server)
        server.shutdown()
        thread.join(DEADLINE)
        server.shutdown()

    def test_serve_again_after_shutdown(self, server):
        for unused in range(3):
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            assert fetch(server).status == 200
            server.shutdown()
            thread.join(DEADLINE)

    def test_handlers_still_running_finish(self, backend):
        entered, leave = threading.Event(), threading.Event()

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                entered.set()
                leave.wait(DEADLINE)
                respond(self, b"late")

        with backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            with Client(server) as client:
                client.send(GET)
                assert entered.wait(DEADLINE)
                server.shutdown()
                thread.join(DEADLINE)
                leave.set()
                assert client.read().body == b"late"

    def test_open_keep_alive_connections_are_still_served(self, backend):
        """In the original the thread of a connection goes on after shutdown()."""
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                respond(self)

        with backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            with Client(server) as client:
                assert client.request().status == 200
                server.shutdown()
                thread.join(DEADLINE)
                assert client.request().status == 200


class TestServerClose:
    """server_close() from inside `with`."""

    def test_closed_twice(self, server):
        server.server_close()
        server.server_close()
        assert server.fileno() == -1

    def test_enter_returns_the_server_and_exit_closes_it(self, backend):
        server = backend.socketserver.TCPServer(("127.0.0.1", 0), None)
        with server as entered:
            assert entered is server
        assert server.socket.fileno() == -1

    def test_serve_inside_with_and_close_there(self, server):
        with server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            assert fetch(server).status == 200
            server.shutdown()
            server.server_close()
            thread.join(DEADLINE)
        with pytest.raises(OSError):
            socket.create_connection(server.server_address, timeout=DEADLINE).close()

    def test_port_is_free_afterwards(self, server):
        address = server.server_address
        with serving(server):
            fetch(server)
        with type(server)(address, server.RequestHandlerClass) as second:
            assert second.server_address == address

    def test_exception_inside_with(self, server):
        with pytest.raises(ZeroDivisionError), server:
            1 / 0
        wait_until(lambda: server.fileno() == -1)
