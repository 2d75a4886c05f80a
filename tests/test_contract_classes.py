"""CONTRACT, "Classes": how servers and handlers are subclassed, assigned to, mixed and built.

Each class here stands for one line of the contract, whose words open its docstring.  Lines about handlers
without a server or socket are in test_contract_parser_only.py, private names in test_contract_private_names.py.
"""
import functools
import http.server
import inspect
import itertools
import socket
import socketserver
import sys
import threading
import types

import pytest

from support import Client, connect, exchange, fetch, read_until_eof, respond, serving

GET = b"GET / HTTP/1.0\r\n\r\n"


class TestAssignedAttributes:
    """Handler and server classes have attributes assigned on them, ours included."""

    def test_allow_reuse_address_on_the_librarys_own_class(self, backend, monkeypatch):
        monkeypatch.setattr(backend.socketserver.TCPServer, "allow_reuse_address", True)
        with backend.socketserver.TCPServer(("127.0.0.1", 0), None) as server:
            assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        monkeypatch.setattr(backend.socketserver.TCPServer, "allow_reuse_address", False)
        with backend.socketserver.TCPServer(("127.0.0.1", 0), None) as server:
            assert not server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)

    def test_daemon_threads_on_the_librarys_own_class(self, backend, monkeypatch):
        daemon = []

        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                daemon.append(threading.current_thread().daemon)

        for value in (True, False):
            monkeypatch.setattr(backend.socketserver.ThreadingTCPServer, "daemon_threads", value)
            with serving(backend.socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
                exchange(server, b"")
        assert daemon == [True, False]

    def test_protocol_version_while_serving(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).version == "HTTP/1.0"
            Handler.protocol_version = "HTTP/1.1"
            with Client(server) as client:
                assert client.request().version == "HTTP/1.1"
                assert client.request().version == "HTTP/1.1"
            Handler.protocol_version = "HTTP/1.0"
            assert fetch(server).version == "HTTP/1.0"

    def test_protocol_version_on_the_librarys_own_handler(self, backend, monkeypatch):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

        monkeypatch.setattr(backend.http_server.BaseHTTPRequestHandler, "protocol_version", "HTTP/1.1")
        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).version == "HTTP/1.1"

    def test_do_method_added_and_removed_at_run_time(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server, method="SHUTDOWN").status == 501
            Handler.do_SHUTDOWN = respond
            assert fetch(server, method="SHUTDOWN").status == 200
            with Client(server) as client:
                assert client.request("SHUTDOWN").status == 200
                del Handler.do_SHUTDOWN
                assert client.request("SHUTDOWN").status == 501

    def test_do_method_set_on_one_instance(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.do_EXTRA = lambda: respond(self, b"extra")
                respond(self)

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                client.request()
                assert client.request("EXTRA").body == b"extra"
            assert fetch(server, method="EXTRA").status == 501

    def test_method_replaced_on_the_class_while_serving(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                respond(self)

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                assert client.request().get("X-Late") is None
                original = Handler.end_headers

                def end_headers(self):
                    self.send_header("X-Late", "yes")
                    original(self)

                Handler.end_headers = end_headers
                assert client.request().get("X-Late") == "yes"


def server_bases(backend):
    return {"ours": backend.http_server.HTTPServer, "original": http.server.HTTPServer}


class TestMixing:
    """isinstance and issubclass decide behaviour; servers are built with type(name, (mixin, cls), {})."""

    def test_our_classes_are_subclasses_of_the_originals(self, backend):
        for module, original in ((backend.socketserver, socketserver), (backend.http_server, http.server)):
            for name in original.__all__:
                theirs, ours = getattr(original, name), getattr(module, name)
                if inspect.isclass(theirs):
                    assert issubclass(ours, theirs), name

    def test_isinstance_of_the_mixin_holds_for_threading_servers_only(self, backend):
        handler = backend.http_server.BaseHTTPRequestHandler
        with backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as threading_server:
            assert isinstance(threading_server, socketserver.ThreadingMixIn)
            assert isinstance(threading_server, backend.socketserver.ThreadingMixIn)
            assert isinstance(threading_server, backend.http_server.HTTPServer)
            assert isinstance(threading_server, backend.socketserver.TCPServer)
        with backend.http_server.HTTPServer(("127.0.0.1", 0), handler) as plain:
            assert not isinstance(plain, socketserver.ThreadingMixIn)
            assert not isinstance(plain, backend.socketserver.ThreadingMixIn)

    @pytest.mark.parametrize("server_from", ("ours", "original"))
    @pytest.mark.parametrize("mixin_from", ("ours", "original"))
    @pytest.mark.parametrize("mixin_first", (True, False))
    def test_type_call_with_every_combination(self, backend, server_from, mixin_from, mixin_first):
        mixin = {"ours": backend.socketserver.ThreadingMixIn,
                 "original": socketserver.ThreadingMixIn}[mixin_from]
        base = server_bases(backend)[server_from]
        bases = (mixin, base) if mixin_first else (base, mixin)
        names = []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                names.append(threading.current_thread().name)
                respond(self)

        server_class = type("Server", bases, {"daemon_threads": True})
        with serving(server_class(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).body == b"ok"
        # With the server first, its own process_request wins and nothing is threaded.
        assert (names[0] != "serve_forever") is mixin_first

    @pytest.mark.parametrize("server_from", ("ours", "original"))
    @pytest.mark.parametrize("handler_from", ("ours", "original"))
    def test_our_handlers_and_original_servers(self, backend, server_from, handler_from):
        handler_module = {"ours": backend.http_server, "original": http.server}[handler_from]

        class Handler(handler_module.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                respond(self, self.rfile.read(int(self.headers["Content-Length"])))

        with serving(server_bases(backend)[server_from](("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                for body in (b"one", b"two" * 1000):
                    assert client.request("POST", body=body).body == body

    def test_handler_decides_keep_alive_by_isinstance(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if not isinstance(self.server, socketserver.ThreadingMixIn):
                    self.close_connection = True
                respond(self)

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                assert client.request().status == client.request().status == 200
        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                assert client.request().status == 200
                assert client.at_eof()


class TestHandlerFactories:
    """RequestHandlerClass may be a partial, a wrapper function or any callable; it may take extra arguments."""

    def serve_with(self, backend, factory):
        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), factory)) as server:
            assert server.RequestHandlerClass is factory
            with Client(server) as client:
                return [client.request().body, client.request().body]

    def handler(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args, word="none", **kwargs):
                self.word = word
                super().__init__(*args, **kwargs)

            def do_GET(self):
                respond(self, self.word.encode())

        return Handler

    def test_partial(self, backend):
        factory = functools.partial(self.handler(backend), word="partial")
        assert self.serve_with(backend, factory) == [b"partial"] * 2

    def test_wrapper_function(self, backend):
        handler = self.handler(backend)

        def factory(*args, **kwargs):
            return handler(*args, word="function", **kwargs)

        assert self.serve_with(backend, factory) == [b"function"] * 2

    def test_callable_object_that_returns_nothing(self, backend):
        handler, calls = self.handler(backend), []

        class Factory:
            def __call__(self, request, client_address, server):
                calls.append((isinstance(request, socket.socket), client_address[0], type(server).__name__))
                handler(request, client_address, server, word="object")

        assert self.serve_with(backend, Factory()) == [b"object"] * 2
        assert calls == [(True, "127.0.0.1", "ThreadingHTTPServer")], "once for a connection"

    def test_bound_method_that_handles_without_any_handler_class(self, backend):
        class App:
            def handle(self, request, client_address, server):
                request.recv(100)
                request.sendall(b"bare")

        with serving(backend.socketserver.TCPServer(("127.0.0.1", 0), App().handle)) as server:
            assert exchange(server, GET) == b"bare"

    def test_partial_with_directory(self, backend, tmp_path):
        (tmp_path / "a.txt").write_text("text")
        factory = functools.partial(backend.http_server.SimpleHTTPRequestHandler, directory=str(tmp_path))
        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), factory)) as server:
            assert fetch(server, "/a.txt").body == b"text"

    def test_handler_class_replaced_while_serving(self, backend):
        first, second = self.handler(backend), functools.partial(self.handler(backend), word="second")
        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), first)) as server:
            assert fetch(server).body == b"none"
            server.RequestHandlerClass = second
            assert fetch(server).body == b"second"

    @pytest.mark.parametrize("server", (None, object(), types.SimpleNamespace(base_environ={})))
    def test_handler_given_a_3_tuple_and_a_server_that_is_no_baseserver(self, backend, server):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.server is server
                respond(self, repr(self.client_address).encode())

        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(GET)
            Handler(ours, ("10.1.2.3", 4, "extra"), server)
            ours.shutdown(socket.SHUT_WR)
            assert read_until_eof(theirs).endswith(b"\r\n\r\n('10.1.2.3', 4, 'extra')")


class TestGetattr:
    """A handler may define __getattr__ that supplies every do_*, or answers 501 to any name it does not know."""

    @pytest.mark.parametrize("method", ("GET", "PROPFIND", "X-ODD"))
    def test_getattr_supplies_every_do_method(self, backend, method):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def __getattr__(self, name):
                if name.startswith("do_"):
                    return lambda: respond(self, name.encode())
                raise AttributeError(name)

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server, method=method).body == b"do_" + method.encode()

    @pytest.mark.skipif(sys.version_info >= (3, 15), reason="the original itself asks for private names there")
    def test_getattr_that_answers_501_is_never_probed_for_private_names(self, backend):
        probed = []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            _headers_buffer = None

            def do_GET(self):
                respond(self)

            def __getattr__(self, name):
                probed.append(name)
                return lambda *args: self.send_error(501, "no such name: " + name)

            def send_response_only(self, *args):
                self._headers_buffer = self._headers_buffer or []
                super().send_response_only(*args)

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                assert client.request().body == b"ok"
                assert client.request("BREW").status == 501
        assert set(probed) <= {"do_BREW"}

    def test_our_new_public_names_carry_a_prefix(self, turbo):
        pairs = [(getattr(turbo.socketserver, name), getattr(socketserver, name))
                 for name in socketserver.__all__]
        pairs += [(getattr(turbo.http_server, name), getattr(http.server, name))
                  for name in http.server.__all__]
        for ours, theirs in pairs:
            # What the engine supplies when it is looked at: instance attributes of the original.
            supplied = {name for name in dir(ours)
                        if type(inspect.getattr_static(ours, name)).__name__ == "Supplied"}
            new = {name for name in dir(ours) if not name.startswith("_")} - set(dir(theirs)) - supplied
            assert not [name for name in new if not name.startswith("turbo_")], ours

    def test_taken_names_do_not_disturb(self, backend):
        """`pool`, `stats`, `status`, `ssl_context`, `_timeout`, `host`, `port` are taken."""
        taken = dict.fromkeys(("pool", "stats", "status", "ssl_context", "_timeout", "host", "port"), "mine")

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                vars(self).update(taken)
                respond(self)

        Server = type("Server", (backend.http_server.ThreadingHTTPServer,), dict(taken))
        server = Server(("127.0.0.1", 0), type("Taken", (Handler,), dict(taken)))
        vars(server).update(taken)
        with serving(server):
            with Client(server) as client:
                assert client.request().status == client.request().status == 200
        assert {name: getattr(server, name) for name in taken} == taken


class TestInit:
    """__init__ may be skipped, extended before or after super().__init__, or called twice on one object."""

    def test_handler_init_extended_before_and_after(self, backend):
        order = []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args):
                self.before = True
                super().__init__(*args)
                order.append("after")

            def do_GET(self):
                order.append(self.before)
                respond(self)

        with serving(backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            with Client(server) as client:
                client.request()
                client.request(headers=[("Connection", "close")])
        assert order == [True, True, "after"]

    def test_one_handler_object_serves_the_whole_connection(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                self.counter = itertools.count(1)
                super().setup()

            def do_GET(self):
                respond(self, b"%d" % next(self.counter))

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            for unused in range(2):
                with Client(server) as client:
                    assert [client.request().body for unused in range(3)] == [b"1", b"2", b"3"]

    def test_state_kept_on_the_handler_between_requests(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            visits = 0

            def do_GET(self):
                self.visits += 1
                respond(self, b"%d" % self.visits)

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            for unused in range(2):
                with Client(server) as client:
                    assert [client.request().body for unused in range(3)] == [b"1", b"2", b"3"]

    def test_server_init_that_skips_tcpservers(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

        class Server(backend.http_server.HTTPServer):
            def __init__(self, sock):
                backend.socketserver.BaseServer.__init__(self, sock.getsockname(), Handler)
                self.socket = sock

        with serving(Server(socket.create_server(("127.0.0.1", 0)))) as server:
            assert fetch(server).status == 200

    def test_server_init_skipped_altogether(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

        server = backend.http_server.HTTPServer.__new__(backend.http_server.HTTPServer)
        server.socket = socket.create_server(("127.0.0.1", 0))
        server.RequestHandlerClass = Handler
        with server.socket, connect(server.socket.getsockname()) as sock:
            sock.sendall(GET)
            server.handle_request()
            assert b" 200 OK\r\n" in read_until_eof(sock)

    def test_server_init_extended_on_both_sides(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self, self.server.before + self.server.after)

        class Server(backend.http_server.HTTPServer):
            def __init__(self, *args):
                self.before = b"before "
                super().__init__(*args)
                self.after = b"after"

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).body == b"before after"

    @pytest.mark.parametrize("served_before", (False, True))
    def test_server_init_called_twice_on_a_live_server(self, backend, served_before):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

        server = backend.http_server.HTTPServer(("127.0.0.1", 0), Handler)
        first = server.socket
        if served_before:
            with connect(server) as sock:
                sock.sendall(GET)
                server.handle_request()
                assert read_until_eof(sock)
        with first:
            backend.http_server.HTTPServer.__init__(server, ("127.0.0.1", 0), Handler)
            assert server.socket is not first
            with serving(server):
                assert fetch(server).status == 200
