"""lanes: each override is seen for what it is, and nothing that can be noticed is waved through."""
import contextlib
import functools
import os
import socket
import socketserver
import subprocess
import sys
import threading
import types
import http.server
import wsgiref.simple_server

import pytest

import turboserver
from turboserver import lanes
from turboserver import socketserver as ts
from turboserver.http import server as th
from turboserver.lanes import BLOCKING, COMPATIBLE, REACTOR, decide
from turboserver.wsgiref import simple_server as tw

pytestmark = pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded")

Base = th.BaseHTTPRequestHandler


@pytest.fixture(autouse=True)
def no_lane_forced(monkeypatch):
    monkeypatch.delenv(lanes.LANE_VARIABLE, raising=False)


def handler(bases=(Base,), **members):
    return type("H", bases if isinstance(bases, tuple) else (bases,), members)


def lane_of(cls, server=th.ThreadingHTTPServer):
    return decide(server, cls).lane


def names(decision):
    return {reason.name for reason in decision.reasons}


# ---------------------------------------------------------------- servers

@pytest.mark.parametrize("cls, threaded", [
    (ts.TCPServer, False), (th.HTTPServer, False), (ts.ThreadingTCPServer, True), (th.ThreadingHTTPServer, True),
    (tw.WSGIServer, False), (tw.ThreadingWSGIServer, True),
    (type("A", (ts.ThreadingMixIn, th.HTTPServer), {}), True),
    (type("B", (socketserver.ThreadingMixIn, th.HTTPServer), {}), True),
    (type("C", (ts.ThreadingMixIn, ts.TCPServer), {"daemon_threads": True}), True),
    # The mixin behind the server has no effect, as in the standard library.
    (type("D", (th.HTTPServer, socketserver.ThreadingMixIn), {}), False),
], ids=lambda value: getattr(value, "__name__", None))
def test_servers_of_the_reactor_lane(cls, threaded):
    decision = decide(cls, Base)
    assert (decision.lane, decision.threaded, decision.kind) == (REACTOR, threaded, "http")
    assert decision.handler is Base and not decision.reasons
    assert not decision.server_hooks and not decision.handler_hooks


@pytest.mark.parametrize("hook", ["get_request", "process_request", "process_request_thread", "finish_request",
                                  "_handle_request_noblock", "fileno", "__getattribute__"])
def test_overridden_connection_hook_of_a_server(hook):
    method = (lambda self, name: object.__getattribute__(self, name)) if hook == "__getattribute__" else \
        (lambda self, *arguments: None)
    decision = decide(type("S", (th.ThreadingHTTPServer,), {hook: method}), Base)
    assert decision.lane == BLOCKING and names(decision) == {hook}
    reason = decision.reasons[0]
    assert reason.where.endswith(f"S.{hook}") and __file__ in reason.source


@pytest.mark.parametrize("hook", ["verify_request", "shutdown_request", "close_request", "handle_error",
                                  "service_actions", "handle_timeout", "serve_forever"])
def test_overridden_hook_that_is_honoured(hook):
    decision = decide(type("S", (th.ThreadingHTTPServer,), {hook: lambda self, *a: None}), Base)
    assert decision.lane == REACTOR and decision.server_hooks == {hook}


def test_attributes_of_one_server_count():
    with th.ThreadingHTTPServer(("127.0.0.1", 0), Base) as server:
        assert decide(server).lane == REACTOR
        server.handle_error = lambda *a: None
        assert decide(server).server_hooks == {"handle_error"}
        server.process_request_thread = lambda *a: None
        decision = decide(server)
        assert decision.lane == BLOCKING and names(decision) == {"process_request_thread"}


def test_handler_class_assigned_on_the_server():
    with th.HTTPServer(("127.0.0.1", 0), Base) as server:
        server.RequestHandlerClass = handler(handle=lambda self: None)
        assert names(decide(server)) == {"handle"}


def test_a_known_method_named_again_is_no_override():
    cls = type("S", (th.HTTPServer,), {"finish_request": socketserver.BaseServer.finish_request,
                                       "process_request": socketserver.ThreadingMixIn.process_request,
                                       "process_request_thread": socketserver.ThreadingMixIn.process_request_thread})
    decision = decide(cls, Base)
    assert (decision.lane, decision.threaded) == (REACTOR, True)


def test_a_known_method_in_another_role_is_an_override():
    cls = type("S", (th.HTTPServer,), {"get_request": socketserver.UDPServer.get_request})
    assert names(decide(cls, Base)) == {"get_request"}
    assert names(decide(th.HTTPServer, handler(setup=socketserver.BaseRequestHandler.setup))) == {"setup"}


def test_a_function_that_lies_about_its_module_is_an_override():
    def handle(self):
        pass
    handle.__module__, handle.__qualname__ = "http.server", "BaseHTTPRequestHandler.handle"
    assert names(decide(th.HTTPServer, handler(handle=handle))) == {"handle"}


def test_datagram_and_forking_servers_are_not_for_the_reactor():
    assert "socket_type" in names(decide(ts.UDPServer, Base))
    if hasattr(ts, "ForkingMixIn"):
        decision = decide(type("S", (ts.ForkingMixIn, th.HTTPServer), {}), Base)
        assert decision.lane == BLOCKING and names(decision) == {"ForkingMixIn"}


def test_tls_servers_are():
    for cls in (th.HTTPSServer, th.ThreadingHTTPSServer):
        assert decide(cls, Base).lane == REACTOR
    assert decide(th.ThreadingHTTPSServer, Base).threaded


def test_tls_of_a_context_that_makes_its_connections_itself():
    ssl = pytest.importorskip("ssl")

    class Context(ssl.SSLContext):
        def wrap_socket(self, *arguments, **options):
            return super().wrap_socket(*arguments, **options)

    class Other:
        pass

    with th.HTTPServer(("127.0.0.1", 0), Base) as server:
        with ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(server.socket, server_side=True) as listener:
            server.socket = listener
            assert decide(server).lane == REACTOR
            context = listener.context
            listener._context = Context(ssl.PROTOCOL_TLS_SERVER)
            assert names(decide(server)) == {"TLS"} and decide(server).lane == BLOCKING
            listener._context = Other()
            assert names(decide(server)) == {"TLS"}
            listener._context = context
            context.wrap_socket = lambda *arguments, **options: None
            assert names(decide(server)) == {"TLS"}
            del context.wrap_socket
            context.sslsocket_class = type("Socket", (ssl.SSLSocket,), {})
            assert names(decide(server)) == {"TLS"}


def test_a_listening_tls_socket_of_another_type():
    ssl = pytest.importorskip("ssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = type("Socket", (ssl.SSLSocket,), {})
    with th.HTTPServer(("127.0.0.1", 0), Base) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        assert names(decide(server)) == {"socket"}


def test_a_listening_socket_of_another_type():
    class Other(socket.socket):
        pass
    with th.HTTPServer(("127.0.0.1", 0), Base, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = Other()
        assert names(decide(server)) == {"socket"}


def test_the_socket_counts_and_not_the_class_once_there_is_one():
    with th.HTTPServer(("127.0.0.1", 0), Base, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        assert names(decide(server)) == {"socket_type"}


def test_the_original_servers_are_compatible():
    decision = decide(http.server.ThreadingHTTPServer, Base)
    assert decision.lane == COMPATIBLE and "server" in names(decision)


def test_the_original_serve_forever_is_compatible():
    cls = type("S", (th.HTTPServer,), {"serve_forever": socketserver.BaseServer.serve_forever})
    assert decide(cls, Base).lane == COMPATIBLE


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_unix_stream_server_is_for_the_reactor(tmp_path):
    assert lane_of(Base, ts.ThreadingUnixStreamServer) == REACTOR


# ---------------------------------------------------------------- handlers

@pytest.mark.parametrize("hook", ["setup", "handle", "handle_one_request", "finish", "__getattribute__",
                                  "__setattr__", "__delattr__"])
def test_overridden_connection_hook_of_a_handler(hook):
    decision = decide(th.HTTPServer, handler(**{hook: lambda self, *a: None}))
    assert decision.lane == BLOCKING and names(decision) == {hook}


def test_new_and_metaclass():
    assert names(decide(th.HTTPServer, handler(__new__=lambda cls, *a, **k: object.__new__(cls)))) == {"__new__"}

    class Meta(type):
        def __call__(cls, *arguments, **keywords):
            return super().__call__(*arguments, **keywords)

    assert names(decide(th.HTTPServer, Meta("H", (Base,), {}))) == {"__call__"}
    assert lane_of(type("Plain", (type,), {})("H", (Base,), {})) == REACTOR


@pytest.mark.parametrize("name", ["request", "connection", "rfile", "wfile", "headers", "command", "path",
                                  "request_version", "requestline", "raw_requestline", "client_address",
                                  "server", "_headers_buffer"])
def test_class_attribute_that_hides_a_supplied_value(name):
    assert names(decide(th.HTTPServer, handler(**{name: "mine"}))) == {name}
    assert lane_of(handler(__annotations__={name: str})) == REACTOR


@pytest.mark.parametrize("name, value", [("rbufsize", 0), ("rbufsize", 8192), ("wbufsize", -1), ("wbufsize", 1),
                                         ("wbufsize", False), ("rbufsize", property(lambda self: -1))])
def test_buffer_sizes(name, value):
    assert names(decide(th.HTTPServer, handler(**{name: value}))) == {name}


def test_what_does_not_matter():
    cls = handler(__getattr__=lambda self, name: None, do_GET=lambda self: None, do_SHUTDOWN=lambda self: None,
                  rbufsize=-1, wbufsize=0, extra=1, protocol_version="HTTP/1.0", timeout=None)
    decision = decide(th.HTTPServer, cls)
    assert decision.lane == REACTOR and not decision.handler_hooks


HOOKS = ["parse_request", "handle_expect_100", "send_error", "send_response", "send_response_only", "send_header",
         "end_headers", "flush_headers", "log_request", "log_error", "log_message", "version_string",
         "date_time_string", "log_date_time_string", "address_string", "responses", "MessageClass",
         "protocol_version", "server_version", "sys_version", "default_request_version", "timeout", "weekdayname",
         "monthname", "error_message_format", "error_content_type", "disable_nagle_algorithm"]


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_of_a_request(hook):
    decision = decide(th.HTTPServer, handler(**{hook: property(lambda self: None)}))
    assert decision.lane == REACTOR and decision.handler_hooks == {hook}


def test_hooks_are_inherited_and_come_from_mixins():
    mixin = type("M", (), {"log_message": lambda self, *a: None})
    below = handler((handler((mixin, Base)),), end_headers=lambda self: None)
    assert decide(th.HTTPServer, below).handler_hooks == {"log_message", "end_headers"}
    # Behind the class the mixin has no effect, as in the standard library.
    assert not decide(th.HTTPServer, handler((Base, mixin))).handler_hooks


def test_file_handler():
    assert decide(th.HTTPServer, th.SimpleHTTPRequestHandler) == decide(
        th.HTTPServer, functools.partial(th.SimpleHTTPRequestHandler, directory="/"))
    cls = handler(th.SimpleHTTPRequestHandler, do_GET=lambda self: None, extensions_map={})
    assert decide(th.HTTPServer, cls).handler_hooks == {"do_GET", "extensions_map"}


def test_function_assigned_on_a_known_class(monkeypatch):
    monkeypatch.setattr(Base, "log_message", lambda self, *a: None)
    assert decide(th.HTTPServer, th.SimpleHTTPRequestHandler).handler_hooks == {"log_message"}
    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "address_string", lambda self: "?")
    assert decide(th.HTTPServer, Base).handler_hooks >= {"log_message"}


def test_connection_hook_assigned_on_a_known_class(monkeypatch):
    monkeypatch.setattr(ts.TCPServer, "get_request", lambda self: None, raising=False)
    assert names(decide(th.ThreadingHTTPServer, Base)) == {"get_request"}


@pytest.mark.parametrize("name", ["address_string", "log_message"])
def test_function_put_on_an_original_before_we_were_imported(name):
    code = (f"import http.server; http.server.BaseHTTPRequestHandler.{name} = lambda self, *a: ''\n"
            "import turboserver.http.server as th\n"
            "from turboserver.lanes import decide\n"
            "owner = next(c for c in th.BaseHTTPRequestHandler.__mro__ if %r in vars(c))\n"
            "hooks = decide(th.HTTPServer, th.BaseHTTPRequestHandler).handler_hooks\n"
            "assert (%r in hooks) == (owner.__module__ == 'http.server'), hooks" % (name, name))
    run_python("-c", code)


def test_wsgi_handler():
    decision = decide(tw.WSGIServer, tw.WSGIRequestHandler)
    assert (decision.lane, decision.kind, decision.handler_hooks) == (REACTOR, "oneshot", frozenset())
    cls = handler(tw.WSGIRequestHandler, get_environ=lambda self: {}, log_message=lambda self, *a: None)
    assert decide(tw.WSGIServer, cls).handler_hooks == {"get_environ", "log_message"}
    own = handler(tw.WSGIRequestHandler, handle=lambda self: None)
    assert names(decide(tw.WSGIServer, own)) == {"handle"}
    taken = handler(handle=wsgiref.simple_server.WSGIRequestHandler.handle)
    assert decide(th.HTTPServer, taken).kind == "oneshot"


@pytest.mark.parametrize("what, name", [
    (lambda *a: None, "handler"), (http.server.BaseHTTPRequestHandler, "handler"), (ts.StreamRequestHandler, "handler"),
    (None, "handler"), (functools.partial(Base, None), "functools.partial"),
    (functools.partial(lambda *a: None), "handler"), (object(), "handler"),
], ids=["function", "original", "stream handler", "none", "bound by position", "bound function", "no class"])
def test_other_handlers_block(what, name):
    decision = decide(th.HTTPServer, what or None)
    assert decision.lane == BLOCKING and names(decision) == {name}


def test_partial_of_partial():
    inner = functools.partial(th.SimpleHTTPRequestHandler, directory="/")
    inner.note = "an attribute keeps the inner one from being merged into the outer"
    decision = decide(th.HTTPServer, functools.partial(inner, directory="/tmp"))
    assert (decision.lane, decision.handler) == (REACTOR, th.SimpleHTTPRequestHandler)
    outer = functools.partial(functools.partial(th.SimpleHTTPRequestHandler, None), directory="/")
    assert names(decide(th.HTTPServer, outer)) == {"functools.partial"}


# ---------------------------------------------------------------- __init__

GOOD = {
    "plain": "super().__init__(*args)",
    "keywords": "super().__init__(*args, **kw)",
    "named": "super().__init__(args[0], args[1], server=args[2])",
    "each": "super().__init__(args[0], args[1], args[2])",
    "before": "self.x = 1; self.y = dict(a=1); super().__init__(*args, **kw)",
    "returned": "return super().__init__(*args)",
    "old style": "super(H, self).__init__(*args, **kw)",
    "old style named": "super(H, self).__init__(args[0], args[1], args[2])",
    "old style dotted": "super(ns.H, self).__init__(*args)",
    "by class": "Base.__init__(self, *args, **kw)",
    "by class, each": "Base.__init__(self, args[0], args[1], args[2])",
    "by dotted class": "th.BaseHTTPRequestHandler.__init__(self, *args)",
    "calls in arguments": "super().__init__(str(1), len(args), args[2], **dict(a=len(args)))",
    "many arguments": "super().__init__(*args, a=1, b=2, c=3, d=str(4))",
    "early return": "if kw: return\n        super().__init__(*args)",
    "only if": "if kw:\n            super().__init__(*args)",
    "lambda before": "self.f = lambda: 1; super().__init__(*args)",
    "lambda argument": "super().__init__(lambda: 1, *args)",
    "self in a closure": "self.f = lambda: self; super().__init__(*args)",
    "self in a closure, old": "self.f = lambda: self; super(H, self).__init__(*args)",
    "nested def": "def f(): return args\n        self.f = f; super().__init__(*f())",
    "docstring": "'about'; super().__init__(*args)",
    "assert before": "assert args; super().__init__(*args)",
    "many names": "; ".join(f"self.a{i} = {i}" for i in range(300)) + "; super().__init__(*args)",
}

BAD = {
    "after": "super().__init__(*args); self.x = 1",
    "print after": "super().__init__(*args); print()",
    "no call": "self.x = 1",
    "finally": "try:\n            super().__init__(*args)\n        finally:\n            pass",
    "except": "try:\n            super().__init__(*args)\n        except OSError:\n            pass",
    "with": "with contextlib.suppress():\n            super().__init__(*args)",
    "loop": "for a in args: pass\n        super().__init__(*args)",
    "called in a loop": "while True:\n            super().__init__(*args)",
    "result used": "self.r = super().__init__(*args)",
    "result passed on": "print(super().__init__(*args))",
    "result in a list": "[super().__init__(*args)]; self.x = 1",
    "returns something": "super().__init__(*args); return args",
    "both branches": "if kw: super().__init__(1)\n        else: super().__init__(*args)",
    "else does more": "if kw: super().__init__(*args)\n        else: self.x = 1",
    "stored": "f = super().__init__; f(*args)",
    "stored, other called": "self.f = super().__init__; print(*args)",
    "partial": "functools.partial(super().__init__, *args)()",
    "as an argument": "print(super().__init__)",
    "lazily": "self.go = lambda: super(H, self).__init__(*args)",
    "of another object": "self.q = list(); self.q.__init__(*args)",
    "of another class": "threading.Thread.__init__(self)",
    "of an unrelated class": "list.__init__(self, *args)",
    "of another instance": "Base.__init__(args[0], *args)",
    "super of another": "super(H, args[0]).__init__(*args)",
    "self replaced": "self = args[0]; super().__init__(*args)",
    "twice": "super().__init__(*args); super().__init__(*args)",
    "conditional argument": "super().__init__(1 if kw else 2, *args)",
    "generator": "yield super().__init__(*args)",
    "chosen": "(super().__init__ if kw else print)(*args)",
    "raise after": "super().__init__(*args); raise OSError",
    "compared": "super().__init__ == args; print()",
    "getattr": "getattr(super(), '__init__')(*args)",
}


def class_with_init(body, signature="self, *args, **kw"):
    namespace = {"Base": Base, "th": th, "contextlib": contextlib, "functools": functools,
                 "threading": threading, "ns": types.SimpleNamespace()}
    exec(f"class H(Base):\n    def __init__({signature}):\n        {body}\n", namespace)
    return namespace["H"]


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_init_that_ends_with_the_call(body):
    decision = decide(th.HTTPServer, class_with_init(body))
    assert decision.lane == REACTOR, decision.reasons


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_init_of_which_that_is_not_proved(body):
    decision = decide(th.HTTPServer, class_with_init(body))
    assert decision.lane == BLOCKING and names(decision) == {"__init__"}
    assert "__init__" in decision.reasons[0].why


def test_init_with_explicit_parameters():
    for body in ("super().__init__(request, client_address, server)",
                 "super().__init__(request, client_address=client_address, server=server)",
                 "self.more = more; super().__init__(request, client_address, server)"):
        assert lane_of(class_with_init(body, "self, request, client_address, server, *, more=None")) == REACTOR
    assert lane_of(class_with_init("super().__init__(*args)", "*args")) == BLOCKING


def test_every_init_on_the_way_counts():
    good, bad = class_with_init(GOOD["before"]), class_with_init(BAD["after"])
    assert lane_of(handler(good)) == REACTOR
    assert names(decide(th.HTTPServer, handler(bad, __init__=good.__init__))) == {"__init__"}
    mixin = type("M", (), {"__init__": good.__init__})
    assert lane_of(handler((Base, mixin))) == REACTOR         # never reached
    between = handler((th.SimpleHTTPRequestHandler, type("N", (Base,), {"__init__": bad.__init__})))
    assert names(decide(th.HTTPServer, between)) == {"__init__"}


def test_init_that_is_no_function_or_wrapped():
    good = class_with_init(GOOD["plain"])

    @functools.wraps(good.__init__)
    def wrapper(self, *args):
        return good.__init__(self, *args)

    assert names(decide(th.HTTPServer, handler(__init__=wrapper))) == {"__init__"}
    assert names(decide(th.HTTPServer, handler(__init__=functools.partial(good.__init__)))) == {"__init__"}


def test_super_may_be_another_function():
    cls = class_with_init(GOOD["plain"])
    cls.__init__.__globals__["super"] = lambda *a: None
    assert lane_of(cls) == BLOCKING


# ---------------------------------------------------------------- surroundings

def test_lane_variable(monkeypatch):
    for value, lane in (("blocking", BLOCKING), ("compatible", COMPATIBLE), ("auto", REACTOR), ("", REACTOR),
                        ("reactor", REACTOR), (" Blocking ", BLOCKING)):
        monkeypatch.setenv("TURBOSERVER_LANE", value)
        decision = decide(th.HTTPServer, Base)
        assert decision.lane == lane and (names(decision) == {"TURBOSERVER_LANE"}) == (lane != REACTOR)
    monkeypatch.setenv("TURBOSERVER_LANE", "reactor")
    assert lane_of(handler(handle=lambda self: None)) == BLOCKING
    monkeypatch.setenv("TURBOSERVER_LANE", "blocking")
    assert decide(http.server.HTTPServer, Base).lane == COMPATIBLE
    monkeypatch.setenv("TURBOSERVER_LANE", "warp")
    with pytest.warns(RuntimeWarning, match="warp"):
        assert lane_of(Base) == REACTOR


def test_patched_surroundings(monkeypatch):
    assert not lanes.environment_is_patched()
    start = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    for target, name, value in (("socket", "socket", type("socket", (), {"__module__": "gevent.socket"})),
                                ("select", "select", lambda *a: None),
                                ("threading", start, lambda *a: None),
                                ("time", "sleep", types.FunctionType(test_lane_variable.__code__,
                                                                     {"__name__": "gevent.hub"}))):
        with monkeypatch.context() as patch:
            patch.setattr(f"{target}.{name}", value)
            assert lanes.environment_is_patched(), name
            decision = decide(th.HTTPServer, Base)
            assert decision.lane == COMPATIBLE and "environment" in names(decision)
    with monkeypatch.context() as patch:    # as tests do it
        patch.setattr("time.sleep", lambda seconds: None)
        assert not lanes.environment_is_patched()


# ---------------------------------------------------------------- explain

def test_explain_names_lane_override_place_and_remedy():
    class Mine(Base):
        def handle(self):
            pass

        def log_message(self, *arguments):
            pass

    text = lanes.explain(Mine)
    line = Mine.handle.__code__.co_firstlineno
    assert "lane: blocking" in text and f"Mine.handle ({__file__}:{line})" in text
    assert "to change that" in text and "log_message" in text and "ThreadingHTTPServer" in text


def test_explain_takes_servers_objects_and_callables():
    assert "lane: reactor" in lanes.explain(th.ThreadingHTTPServer)
    assert "WSGIRequestHandler" in lanes.explain(tw.WSGIServer)
    assert "ForkingMixIn" not in lanes.explain(Base, server=th.HTTPServer)
    assert "lane: blocking" in lanes.explain(lambda *a: None)
    assert "lane: compatible" in lanes.explain(http.server.HTTPServer)
    assert "lane: reactor" in lanes.explain(functools.partial(th.SimpleHTTPRequestHandler, directory="/"))
    with th.HTTPServer(("127.0.0.1", 0), handler(finish=lambda self: None)) as server:
        assert "finish: " in lanes.explain(server)
    assert "socket_type" in lanes.explain(ts.UDPServer)


def run_python(*arguments):
    root = os.path.dirname(os.path.dirname(turboserver.__file__))
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    return done.stdout
