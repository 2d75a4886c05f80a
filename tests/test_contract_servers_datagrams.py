"""CONTRACT, "Servers" and "Handlers", for datagrams: each hook, alone and with others, and what is queued meanwhile.

The datagrams are sent before the server serves, so that it finds them all at once.
"""
import contextlib
import functools
import gc
import socket
import threading
import time
import weakref

import pytest

from support import serving, wait_until

HOOKS = ("get_request", "verify_request", "process_request", "finish_request", "shutdown_request", "close_request",
         "handle_error", "service_actions")
#: What happens in a server with all of them replaced.
ORDER = ["get_request", "verify_request", "process_request", "finish_request", "handle", "shutdown_request",
         "close_request", "service_actions"]
ORDER_OF_FAILURE = ["get_request", "verify_request", "process_request", "finish_request", "handle", "handle_error",
                    "shutdown_request", "close_request", "service_actions"]


def recording(base, names, events):
    """A subclass that notes each call of these hooks as (name, arguments)."""
    def replace(name):
        def hook(self, *args):
            events.append((name, args))
            return getattr(base, name)(self, *args)
        return hook
    return type("Server", (base,), {name: replace(name) for name in names})


@contextlib.contextmanager
def queued(server, *datagrams):
    """A client whose datagrams wait in the server's socket."""
    with socket.socket(server.address_family, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.bind(("127.0.0.1", 0))
        for data in datagrams:
            client.sendto(data, server.server_address)
        yield client


def handler_class(backend, handle, **members):
    return type("Handler", (backend.socketserver.BaseRequestHandler,), {"handle": handle, **members})


def noting(got):
    return lambda self: got.append(self.request[0])


class TestHooks:

    @pytest.mark.parametrize("names", [HOOKS, *((name,) for name in HOOKS), ()], ids="+".join)
    def test_order_and_arguments(self, backend, names, capsys):
        events = []

        def handle(self):
            events.append(("handle", (self.request, self.client_address)))
            if self.request[0] == b"bad":
                raise ZeroDivisionError

        server = recording(backend.socketserver.UDPServer, names, events)(
            ("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"one", b"bad", b"two") as client:
            with serving(server):
                wait_until(lambda: [name for name, args in events].count("handle") == 3 and (
                    "service_actions" not in names or events[-1][0] == "service_actions"), "the last datagram")
            address = client.getsockname()
        wanted = []
        for data in (b"one", b"bad", b"two"):
            request = ((data, server.socket), address)
            arguments = {"get_request": (), "service_actions": (), "shutdown_request": request[:1],
                         "close_request": request[:1]}
            for name in ORDER_OF_FAILURE if data == b"bad" else ORDER:
                if name in (*names, "handle"):
                    wanted.append((name, arguments.get(name, request)))
        # service_actions() goes on afterwards, with the loop.
        assert events[:len(wanted)] == wanted
        assert capsys.readouterr().err.count("Exception occurred") == 1

    @pytest.mark.parametrize("names", [HOOKS, ()], ids=("all", "none"))
    def test_not_verified(self, backend, names):
        events, got = [], []
        base = recording(backend.socketserver.UDPServer, names, events)

        class Server(base):
            def verify_request(self, request, client_address):
                return request[0] != b"no" and super().verify_request(request, client_address)

        server = Server(("127.0.0.1", 0), handler_class(backend, noting(got)))
        with queued(server, b"no", b"yes"), serving(server):
            wait_until(lambda: got == [b"yes"])
        seen = [name for name, args in events if name != "service_actions"]
        if names:
            assert seen[:3] == ["get_request", "shutdown_request", "close_request"]

    @pytest.mark.parametrize("where", ("object", "class"))
    @pytest.mark.parametrize("name", [name for name in HOOKS if name != "handle_error"])
    def test_replaced_by_a_handler(self, backend, name, where):
        """It counts from then on: also for what remains of the same datagram's way."""
        calls, got = [], []
        usual = getattr(backend.socketserver.UDPServer, name)

        class Server(backend.socketserver.UDPServer):
            pass

        def hook(self, *args):
            calls.append(len(got))
            return usual(self, *args)

        def handle(self):
            got.append(self.request[0])
            if len(got) == 2:
                if where == "class":
                    setattr(Server, name, hook)
                else:
                    setattr(self.server, name, functools.partial(hook, self.server))

        server = Server(("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"1", b"2", b"3", b"4"), serving(server):
            wait_until(lambda: len(got) == 4 and (name != "service_actions" or len(calls) >= 3))
            time.sleep(0.02)
        later = name in ("shutdown_request", "close_request", "service_actions")
        assert calls[:3] == ([2, 3, 4] if later else [2, 3])

    def test_replaced_by_verify_request(self, backend):
        calls, got = [], []
        usual = backend.socketserver.UDPServer.finish_request

        class Server(backend.socketserver.UDPServer):
            def verify_request(self, request, client_address):
                self.finish_request = lambda *args: calls.append(len(got)) or usual(self, *args)
                return True

        server = Server(("127.0.0.1", 0), handler_class(backend, noting(got)))
        with queued(server, b"1", b"2"), serving(server):
            wait_until(lambda: len(got) == 2)
        assert calls == [0, 1]

    @pytest.mark.parametrize("patched", ("shutdown_request", "verify_request"))
    def test_replaced_on_the_original_class(self, backend, patched, monkeypatch):
        import socketserver
        calls, got = [], []
        owner = socketserver.UDPServer if patched == "shutdown_request" else socketserver.BaseServer
        usual = getattr(owner, patched)
        monkeypatch.setattr(owner, patched, lambda self, *args: calls.append(args) or usual(self, *args))
        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, noting(got)))
        with queued(server, b"1", b"2"), serving(server):
            wait_until(lambda: len(got) == len(calls) == 2)

    def test_getattribute(self, backend):
        asked, got = set(), []

        class Server(backend.socketserver.UDPServer):
            def __getattribute__(self, name):
                asked.add(name)
                return super().__getattribute__(name)

        server = Server(("127.0.0.1", 0), handler_class(backend, noting(got)))
        with queued(server, b"1"), serving(server):
            wait_until(lambda: got)
        assert {"get_request", "verify_request", "process_request", "finish_request", "shutdown_request"} <= asked

    def test_original_mixin_and_handler(self, backend):
        import socketserver
        got = []
        handler = type("Handler", (socketserver.BaseRequestHandler,), {"handle": noting(got)})
        for bases in ((backend.socketserver.UDPServer,),
                      (socketserver.ThreadingMixIn, backend.socketserver.UDPServer),
                      (backend.socketserver.ThreadingMixIn, socketserver.UDPServer)):
            got.clear()
            server = type("Server", bases, {})(("127.0.0.1", 0), handler)
            with queued(server, b"1", b"2"), serving(server):
                wait_until(lambda: sorted(got) == [b"1", b"2"])


class TestExceptions:

    def test_handle_error_that_raises_ends_the_loop(self, backend):
        """The rest stays in the socket, for the next serving."""
        events, got = [], []

        def handle(self):
            got.append(self.request[0])
            if self.request[0] == b"1":
                raise ValueError("asked for")

        class Server(recording(backend.socketserver.UDPServer, ("shutdown_request",), events)):
            def handle_error(self, request, client_address):
                assert request == (b"1", self.socket)
                raise

        server = Server(("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"0", b"1", b"2", b"3"):
            with pytest.raises(ValueError):
                server.serve_forever(0.05)
            assert got == [b"0", b"1"] and len(events) == 1
            with serving(server):
                wait_until(lambda: len(got) == 4)

    @pytest.mark.parametrize("error", (KeyboardInterrupt, SystemExit))
    def test_other_exceptions_end_the_loop(self, backend, error):
        events = []

        def handle(self):
            raise error

        server = recording(backend.socketserver.UDPServer, ("shutdown_request", "handle_error"), events)(
            ("127.0.0.1", 0), handler_class(backend, handle))
        with server, queued(server, b"0"):
            with pytest.raises(error):
                server.serve_forever(0.05)
        assert [name for name, args in events] == ["shutdown_request"]


class TestQueue:

    def test_a_handler_reads_the_next_datagram_itself(self, backend):
        got = []

        def handle(self):
            self.request[1].setblocking(False)
            try:
                got.append((self.request[0], self.request[1].recv(100)))
            finally:
                self.request[1].setblocking(True)

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"1", b"2", b"3", b"4"), serving(server):
            wait_until(lambda: len(got) == 2)
        assert got == [(b"1", b"2"), (b"3", b"4")]

    def test_handle_request_handles_one(self, backend):
        got = []
        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, noting(got)))
        with server, queued(server, b"1", b"2", b"3"):
            server.handle_request()
            assert got == [b"1"] and server.socket.recv(100) == b"2"
            server.handle_request()
            assert got == [b"1", b"3"]

    def test_shutdown_leaves_what_is_queued(self, backend):
        got = []

        def handle(self):
            got.append(self.request[0])
            threading.Thread(target=self.server.shutdown, daemon=True).start()
            wait_until(lambda: self.server._BaseServer__shutdown_request)

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, handle))
        with server, queued(server, b"1", b"2"):
            server.serve_forever(0.05)
            assert got == [b"1"] and server.socket.recv(100) == b"2"

    def test_shutdown_in_a_flood(self, backend):
        count = [0]
        over = threading.Event()

        def handle(self):
            count[0] += 1

        def flood():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                while not over.is_set():
                    client.sendto(b"x", server.server_address)

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, handle))
        thread = threading.Thread(target=flood)
        with serving(server):
            thread.start()
            wait_until(lambda: count[0] > 500)
            before = time.monotonic()
            server.shutdown()
            took = time.monotonic() - before
            over.set()
            thread.join()
        assert took < 5

    @pytest.mark.parametrize("name", ("UDPServer", "ThreadingUDPServer", "ForkingUDPServer"))
    def test_service_actions_with_each_datagram(self, backend, name):
        counts = []

        def handle(self):
            counts.append(self.server.count)
            self.request[1].sendto(self.request[0], self.client_address)

        class Server(getattr(backend.socketserver, name)):
            count = 0

            def service_actions(self):
                self.count += 1
                super().service_actions()

        server = Server(("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"1", b"2", b"3") as client:
            with serving(server):
                got = {client.recv(100) for unused in range(3)}
                wait_until(lambda: server.count >= 3)
        assert got == {b"1", b"2", b"3"}
        if name == "UDPServer":
            assert counts == [0, 1, 2]

    def test_size_and_socket_changed_while_serving(self, backend):
        got = []

        def handle(self):
            got.append(self.request[0])
            self.server.max_packet_size -= 1
            if len(got) == 3:
                self.server.socket = other

        server = type("Server", (backend.socketserver.UDPServer,), {"max_packet_size": 4})(
            ("127.0.0.1", 0), handler_class(backend, handle))
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("127.0.0.1", 0))
        with contextlib.closing(server.socket), queued(server, b"12345", b"12345", b"12345", b"12345") as client:
            client.sendto(b"12345", other.getsockname())
            server.service_actions = lambda: setattr(server, "_BaseServer__shutdown_request", len(got) == 3)
            server.serve_forever(0.05)
            assert got == [b"1234", b"123", b"12"]
            assert other.recv(10) == b"12345" and other is server.socket
            server.server_close()

    def test_negative_size(self, backend):
        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, noting([])))
        server.max_packet_size = -1
        with server, queued(server, b"1"):
            with pytest.raises(ValueError):
                server.serve_forever(0.05)

    def test_a_server_goes_without_the_garbage_collector(self, backend):
        got = []
        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, noting(got)))
        with queued(server, b"1"):
            with serving(server):
                wait_until(lambda: got)
        gone = weakref.ref(server)
        gc.collect()
        gc.disable()
        try:
            del server
            wait_until(lambda: gone() is None)
        finally:
            gc.enable()

    def test_ipv6_address(self, backend):
        got = []
        cls = type("Server", (backend.socketserver.UDPServer,), {"address_family": socket.AF_INET6})
        try:
            server = cls(("::1", 0), handler_class(backend, lambda self: got.append(self.client_address)))
        except OSError:
            pytest.skip("no IPv6 loopback here")
        with serving(server), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.bind(("::1", 0))
            client.sendto(b"", server.server_address)
            wait_until(lambda: got)
            assert got == [client.getsockname()]


class TestHandlers:
    """The handler is made as its class says."""

    def run(self, backend, handler, expected, events):
        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler)
        with queued(server, b"1", b"2") as client:
            with serving(server):
                wait_until(lambda: len(events) >= 2 * len(expected))
            address = client.getsockname()
        wanted = []
        for data in (b"1", b"2"):
            values = {"request": (data, server.socket), "client_address": address, "server": server}
            wanted += [(name, *(values.get(arg, arg) for arg in args)) for name, *args in expected]
        assert events == wanted

    def test_setup_and_finish(self, backend):
        events = []
        self.run(backend, handler_class(
            backend, lambda self: events.append(("handle", self.request, self.client_address, self.server)),
            setup=lambda self: events.append(("setup", self.request)),
            finish=lambda self: events.append(("finish", self.request))),
            [("setup", "request"), ("handle", "request", "client_address", "server"), ("finish", "request")], events)

    def test_init_of_its_own(self, backend):
        events = []

        class Handler(backend.socketserver.BaseRequestHandler):
            def __init__(self, *args, extra=0):
                events.append(("init", *args))
                super().__init__(*args)
                events.append(("after", extra))

            def handle(self):
                events.append(("handle",))

        init = ("init", "request", "client_address", "server")
        self.run(backend, Handler, [init, ("handle",), ("after", 0)], events)
        events.clear()
        self.run(backend, functools.partial(Handler, extra=5), [init, ("handle",), ("after", 5)], events)

    def test_other_callables(self, backend):
        events = []
        self.run(backend, lambda *args: events.append(("made", *args)),
                 [("made", "request", "client_address", "server")], events)

    def test_new_and_metaclass(self, backend):
        events = []

        class Meta(type):
            def __call__(cls, *args):
                events.append(("call", *args))
                return super().__call__(*args)

        class Handler(backend.socketserver.BaseRequestHandler):
            def __new__(cls, *args):
                events.append(("new", *args))
                return super().__new__(cls)

            def handle(self):
                events.append(("handle",))

        arguments = ("request", "client_address", "server")
        self.run(backend, Handler, [("new", *arguments), ("handle",)], events)
        events.clear()
        self.run(backend, Meta("Handler", (Handler,), {}),
                 [("call", *arguments), ("new", *arguments), ("handle",)], events)

    def test_setattr_and_getattribute(self, backend):
        events = []

        class Handler(backend.socketserver.BaseRequestHandler):
            def __setattr__(self, name, value):
                events.append(("set", name, value))
                super().__setattr__(name, value)

            def __getattribute__(self, name):
                events.append(("get", name))
                return super().__getattribute__(name)

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), Handler)
        with queued(server, b"1"), serving(server):
            wait_until(lambda: ("get", "finish") in events)
        names = [name for what, name, *value in events if name not in ("_turbo", "__class__")]
        assert names == ["request", "client_address", "server", "setup", "handle", "finish"]

    def test_slots_and_properties(self, backend):
        events = []

        class Handler(backend.socketserver.BaseRequestHandler):
            request = property(lambda self: self.kept, lambda self, value: setattr(self, "kept", value))

            def handle(self):
                events.append(("handle", self.request))

        self.run(backend, Handler, [("handle", "request")], events)

    def test_abstract(self, backend, capsys):
        import abc

        class Handler(backend.socketserver.BaseRequestHandler, abc.ABC):
            @abc.abstractmethod
            def missing(self):
                pass

        failed = []
        server = backend.socketserver.UDPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *args: failed.append(args)
        with queued(server, b"1"), serving(server):
            wait_until(lambda: failed)

    def test_finish_after_a_failure(self, backend):
        events = []

        def handle(self):
            events.append("handle")
            raise ValueError

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(
            backend, handle, finish=lambda self: events.append("finish")))
        server.handle_error = lambda *args: events.append("handle_error")
        with queued(server, b"1"), serving(server):
            wait_until(lambda: len(events) == 3)
        assert events == ["handle", "finish", "handle_error"]

    def test_replaced_on_the_object_by_handle(self, backend):
        events = []

        def handle(self):
            self.finish = lambda: events.append(("own finish",))
            events.append(("handle",))

        self.run(backend, handler_class(backend, handle), [("handle",), ("own finish",)], events)

    def test_class_changed_while_serving(self, backend):
        events = []

        def handle(self):
            events.append("handle")
            type(self).setup = lambda self: events.append("setup")
            type(self).finish = lambda self: events.append("finish")

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"1", b"2"), serving(server):
            wait_until(lambda: len(events) == 5)
        assert events == ["handle", "finish", "setup", "handle", "finish"]

    def test_handler_class_replaced_while_serving(self, backend):
        events = []
        other = handler_class(backend, lambda self: events.append("other"))

        def handle(self):
            events.append("first")
            self.server.RequestHandlerClass = other

        server = backend.socketserver.UDPServer(("127.0.0.1", 0), handler_class(backend, handle))
        with queued(server, b"1", b"2"), serving(server):
            wait_until(lambda: len(events) == 2)
        assert events == ["first", "other"]
