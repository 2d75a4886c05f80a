"""Which lane serves a server and its handlers, and why.

Job: look at a server and at its handler class, find out which of the standard
hooks somebody replaced, and name the fastest lane in which no replacement could
tell the difference:

    reactor      the event loop owns the connection between requests
    blocking     the standard flow runs, with native reading, parsing and writing
    compatible   the standard library's own code

How a hook is recognised as ours or the original's: by identity. The members of
the known classes are noted once (`learn`), and a hook counts as replaced unless
what the method resolution order finds is the very object noted under that name
for a known class. Names and `__module__` strings of functions decide nothing.

Limits of that, known and accepted: a *constant* assigned on an original class
before this module was imported (`BaseHTTPRequestHandler.protocol_version = ...`)
is not seen as replaced, so the engine reads constants from the class and never
assumes them. A *function* put there earlier is seen, by the globals it runs in.

Pure Python, no engine import, no state but the table of known classes and what was last
found not to be patched. Any thread may call anything here. What the lanes do lives elsewhere.
"""

import functools
import os
import select
import socket
import socketserver
import sys
import threading
import time
import types
import warnings
from collections import namedtuple

__all__ = ["REACTOR", "BLOCKING", "COMPATIBLE", "Reason", "Decision",
           "decide", "explain", "environment_is_patched", "handler_hooks", "learn", "replaced"]

REACTOR, BLOCKING, COMPATIBLE = "reactor", "blocking", "compatible"

# The variable that holds a program in a slower lane ("blocking", "compatible").
# No value of it can put a program in a faster lane than it qualifies for.
LANE_VARIABLE = "TURBOSERVER_LANE"

_ORIGINAL_MODULES = ("socketserver", "http.server", "wsgiref.simple_server")
_OUR_MODULES = ("turboserver.socketserver", "turboserver.http.server",
                "turboserver.http.tls", "turboserver.wsgiref.simple_server")

# Replacing one of these on a server takes the connection out of the engine's hands.
_SERVER_CONNECTION_HOOKS = ("get_request", "finish_request", "_handle_request_noblock",
                            "fileno", "__getattribute__")
# These the reactor lane calls wherever they are replaced.
_SERVER_HOOKS = ("verify_request", "shutdown_request", "close_request", "handle_error",
                 "service_actions", "handle_timeout", "serve_forever")

_HANDLER_CONNECTION_HOOKS = ("setup", "handle", "handle_one_request", "finish", "__new__",
                             "__getattribute__", "__setattr__", "__delattr__")
# What the engine supplies when it is first looked at; a class attribute would hide it.
_SUPPLIED_NAMES = ("request", "connection", "rfile", "wfile", "headers", "command", "path",
                   "request_version", "requestline", "raw_requestline", "close_connection",
                   "client_address", "server", "_headers_buffer")

_MISSING = object()
_FOREIGN = object()     # stands for a member that was not the class's own when it was noted


# One thing that keeps a connection out of a faster lane:
#   name     the hook or condition: "handle", "TLS", ...
#   where    who did it: "myapp.Handler.handle"; "" when nobody's code did
#   why      one clause for people
#   source   "file:line" where that can be told, or ""
Reason = namedtuple("Reason", "name where why source", defaults=("",))

# What decide() says:
#   lane            REACTOR, BLOCKING or COMPATIBLE
#   threaded        process_request is ThreadingMixIn's (bool)
#   kind            "http", "oneshot" (one request a connection, WSGI), ""
#   handler         the handler class, freed of functools.partial, or None
#   handler_hooks   per-request members (frozenset of str) that are replaced, to be called
#   server_hooks    the same for the server
#   reasons         why not a faster lane (tuple of Reason); empty in the reactor lane
Decision = namedtuple("Decision", "lane threaded kind handler handler_hooks server_hooks reasons")


# -- the known classes ---------------------------------------------------------

_known: dict[type, dict[str, object]] = {}      # class -> its members when it was learnt
_by_name: dict[tuple[str, str], type] = {}      # (module, name) -> class
_learnt: set[str] = set()                       # modules whose classes are in _known
_learning = threading.Lock()


def learn(module_name):
    """Note the classes of one of the original or our modules as they are now.

    Done for what is imported when a decision is first asked for; a module of ours
    calls it at its end (`lanes.learn(__name__)`) so that nobody comes in between.
    """
    module = sys.modules.get(module_name)
    if module is None:
        return
    with _learning:
        if module_name in _learnt:
            return
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ in _OUR_MODULES + _ORIGINAL_MODULES:
                for cls in value.__mro__[:-1]:
                    if cls not in _known:
                        _by_name.setdefault((cls.__module__, cls.__name__), cls)
                        _known[cls] = {name: member if _belongs(member, cls) else _FOREIGN
                                       for name, member in vars(cls).items()}
        _learnt.add(module_name)
        _standard_values.cache_clear()


def _belongs(member, cls):
    """Whether an original's member is still the one its module defined."""
    if cls.__module__ not in _ORIGINAL_MODULES or not isinstance(member, types.FunctionType):
        return True
    return member.__globals__.get("__name__") == cls.__module__


def _learn_all():
    for name in _ORIGINAL_MODULES + _OUR_MODULES:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        # One that is still being imported has no classes yet; it calls learn() itself.
        if name not in _learnt and not getattr(spec, "_initializing", False):
            learn(name)


def _noted(module_name, class_name):
    """The known class of that module and name, or None while it is not imported."""
    return _by_name.get((module_name, class_name))


def _pair(original_module, class_name):
    """(original, ours), without those that are not there."""
    found = (_noted(original_module, class_name), _noted("turboserver." + original_module, class_name))
    return tuple(cls for cls in found if cls is not None)


def _find(cls, name, instance=None):
    """(owner, value) as attribute look-up would find it, without running anything."""
    if instance is not None:
        members = getattr(instance, "__dict__", {})
        if name in members:
            return instance, members[name]
    for base in cls.__mro__:
        members = vars(base)
        if name in members:
            return base, members[name]
    return None, _MISSING


@functools.cache
def _standard_values(original_module, class_name, name):
    """What `name` was on every known class that is a kind of the given original (and no datagram server)."""
    root = _noted(original_module, class_name)
    values = []
    if root is not None:
        for cls in list(_known):
            if issubclass(cls, root) and _noted("socketserver", "UDPServer") not in cls.__mro__:
                for base in cls.__mro__:
                    members = _known.get(base) or (vars(base) if base is object else {})
                    if name in members:
                        values.append(members[name])
                        break
    return values


def _is_standard(value, root, name):
    """Whether it is the very object noted, or a plain constant equal to it."""
    return any(value is known or (type(value) is type(known) and type(value) in (str, int, bool, float)
                                  and value == known)
               for known in _standard_values(*root, name))


_TCP_SERVER = ("socketserver", "TCPServer")
_HTTP_HANDLER = ("http.server", "BaseHTTPRequestHandler")

_learn_all()


# -- the surroundings ----------------------------------------------------------

def environment_is_patched():
    """Whether gevent, eventlet or the like put its own sockets or threads in place.

    A replaced `time.sleep` alone counts only if it is theirs: tests replace it too.
    """
    global _unpatched
    # threading keeps its start function under another name from 3.13 on.
    start = getattr(threading, "_start_joinable_thread", None) or threading._start_new_thread
    # The standard module's own globals, where programs put others.
    present = (socket.socket, select.select, socketserver.socket, socketserver.threading, start, time.sleep)
    # Each connection of the blocking lane asks. These are compared by identity before anything else.
    if present == _unpatched:
        return False
    if (socket.socket.__module__ != "socket" or not _is_builtin(select.select, "select")
            or socketserver.socket is not socket or socketserver.threading is not threading
            or not _is_builtin(start, "_thread")
            or (getattr(time.sleep, "__module__", None) or "").partition(".")[0] in ("gevent", "eventlet")):
        return True
    _unpatched = present
    return False


_unpatched = None   # what environment_is_patched() last found to be genuine


def _is_builtin(function, module):
    return isinstance(function, types.BuiltinFunctionType) and function.__module__ == module


def _lane_asked_for():
    asked = os.environ.get(LANE_VARIABLE, "").strip().lower()
    if asked in ("", "auto", REACTOR):
        return REACTOR
    if asked in (BLOCKING, COMPATIBLE):
        return asked
    warnings.warn(f"{LANE_VARIABLE}={asked!r} is not one of auto, reactor, blocking, "
                  "compatible; it is ignored", RuntimeWarning, stacklevel=3)
    return REACTOR


# -- the decision --------------------------------------------------------------

def decide(server, handler=None):
    """Say which lane serves the connections of `server`.

    server: a server object or a server class. handler: what makes the handlers, a class or any
    callable; by default the server's RequestHandlerClass. Returns a Decision. Raises nothing of
    its own.
    """
    _learn_all()
    if handler is None:
        handler = getattr(server, "RequestHandlerClass", None)

    outside = list(_reasons_for_compatible(server))
    reasons = []
    threaded, server_hooks = _look_at_server(server, reasons)
    cls, kind, hooks = _look_at_handler(handler, reasons)

    lane = COMPATIBLE if outside else BLOCKING if reasons else REACTOR
    asked = _lane_asked_for()
    if (asked, lane) in ((BLOCKING, REACTOR), (COMPATIBLE, REACTOR), (COMPATIBLE, BLOCKING)):
        lane = asked
        outside.append(Reason(LANE_VARIABLE, "", f"the environment holds it in the {asked} lane"))
    return Decision(lane, threaded, kind, cls, hooks, server_hooks,
                    tuple(outside + reasons))


def _reasons_for_compatible(server):
    if environment_is_patched():
        yield Reason("environment", "", "sockets or threads are patched (gevent, eventlet)")
    ours = _noted("turboserver.socketserver", "TCPServer")
    cls = server if isinstance(server, type) else type(server)
    if ours is None:
        yield Reason("engine", "", "the native engine is not loaded")
    elif not issubclass(cls, ours):
        yield Reason("server", _name_of(cls), "it is no subclass of turboserver.socketserver.TCPServer")
    elif _find(cls, "serve_forever", _instance(server))[1] is _known[
            _noted("socketserver", "BaseServer")].get("serve_forever"):
        yield Reason("serve_forever", _name_of(cls), "it is the standard library's")


def _look_at_server(server, reasons):
    """Append to `reasons`; return (threaded, server_hooks)."""
    instance = _instance(server)
    cls = server if instance is None else type(server)

    for name in _SERVER_CONNECTION_HOOKS:
        owner, value = _find(cls, name, instance)
        if not _is_standard(value, _TCP_SERVER, name):
            reasons.append(_reason(name, owner, value, "connection hook of the server overridden"))

    threaded = False
    owner, value = _find(cls, "process_request", instance)
    if _is_member_of(value, "ThreadingMixIn", "process_request"):
        threaded = True
        owner, value = _find(cls, "process_request_thread", instance)
        if not _is_member_of(value, "ThreadingMixIn", "process_request_thread"):
            reasons.append(_reason("process_request_thread", owner, value,
                                   "connection hook of the server overridden"))
    elif _is_member_of(value, "ForkingMixIn", "process_request"):
        reasons.append(Reason("ForkingMixIn", _name_of(cls), "a process is forked for each connection"))
    elif not _is_member_of(value, "BaseServer", "process_request"):
        reasons.append(_reason("process_request", owner, value, "connection hook of the server overridden"))

    reasons.extend(_socket_reasons(cls, instance))
    hooks = (name for name in _SERVER_HOOKS
             if not _is_standard(_find(cls, name, instance)[1], _TCP_SERVER, name))
    return threaded, frozenset(hooks)


def _socket_reasons(cls, instance):
    listener = None if instance is None else getattr(instance, "socket", None)
    if listener is None:
        if _find(cls, "socket_type")[1] != socket.SOCK_STREAM:
            yield Reason("socket_type", _name_of(cls), "it is no stream server")
    elif _is_tls_socket(listener):
        doubt = _doubt_about_context(listener.context)
        if doubt:
            yield Reason("TLS", _name_of(type(listener.context)), doubt)
    elif type(listener) is not socket.socket:
        yield Reason("socket", _name_of(type(listener)),
                     "the listening socket is no socket.socket and no ssl.SSLSocket, but of another type")
    elif listener.type != socket.SOCK_STREAM:
        yield Reason("socket_type", _name_of(cls), "it is no stream server")


def _is_tls_socket(listener):
    ssl = sys.modules.get("ssl")    # whoever has such a socket has imported it
    return ssl is not None and type(listener) is ssl.SSLSocket


def _doubt_about_context(context):
    """Why its connections are not the engine's to make; None if they are."""
    ssl = sys.modules["ssl"]
    if not isinstance(context, ssl.SSLContext):
        return "the context is no ssl.SSLContext"
    if _find(type(context), "wrap_socket", context)[1] is not vars(ssl.SSLContext)["wrap_socket"]:
        return "the context has a wrap_socket() of its own, which makes the connections"
    if context.sslsocket_class is not ssl.SSLSocket:
        return "the context makes sockets of a class of its own (sslsocket_class)"
    return None


def _look_at_handler(handler, reasons):
    """Append to `reasons`; return (handler class or None, kind, handler_hooks)."""
    while type(handler) is functools.partial:
        if handler.args:
            reasons.append(Reason("functools.partial", _name_of(handler.func),
                                  "it binds positional arguments"))
        handler = handler.func
    if not isinstance(handler, type):
        reasons.append(Reason("handler", _name_of(handler), "it is no class but another callable",
                              _source_of(handler)))
        return None, "", frozenset()

    ours = _noted("turboserver.http.server", "BaseHTTPRequestHandler")
    if ours is None or not issubclass(handler, ours):
        reasons.append(Reason("handler", _name_of(handler),
                              "it is no subclass of turboserver.http.server.BaseHTTPRequestHandler"))
        return handler, "", frozenset()

    metaclass = type(handler)
    owner, value = _find(metaclass, "__call__")
    if owner is not type:
        reasons.append(_reason("__call__", owner, value, "its metaclass makes the handlers"))
    for name in _HANDLER_CONNECTION_HOOKS:
        owner, value = _find(handler, name)
        if not _is_standard(value, _HTTP_HANDLER, name):
            reasons.append(_reason(name, owner, value, "connection hook overridden"))
    for name in _SUPPLIED_NAMES:
        owner, value = _find(handler, name)
        if value is not _MISSING and not _is_standard(value, _HTTP_HANDLER, name):
            reasons.append(_reason(name, owner, value, "class attribute where the engine supplies the value"))
    for name, wanted in (("rbufsize", -1), ("wbufsize", 0)):
        owner, value = _find(handler, name)
        if isinstance(value, bool) or value != wanted:
            reasons.append(_reason(name, owner, value, f"it is not {wanted}"))
    reasons.extend(_init_reasons(handler))
    return handler, _kind_of(handler), handler_hooks(handler)


def _kind_of(handler):
    value = _find(handler, "handle")[1]
    for module, name, kind in (("http.server", "BaseHTTPRequestHandler", "http"),
                               ("wsgiref.simple_server", "WSGIRequestHandler", "oneshot")):
        if any(_known[cls].get("handle") is value for cls in _pair(module, name)):
            return kind
    return ""


def handler_hooks(handler):
    """Names of the per-request members (frozenset of str) that a handler class replaces."""
    names = {name for base in handler.__mro__ for name in _known.get(base, ())
             if not (name.startswith("__") and name.endswith("__"))}
    names.difference_update(_HANDLER_CONNECTION_HOOKS, _SUPPLIED_NAMES)
    return frozenset(name for name in names
                     if not _is_standard(_find(handler, name)[1], _HTTP_HANDLER, name))


def replaced(cls, steps):
    """Names of members (frozenset of str) that are not what socketserver gave the class.

    steps: dict of names to the names of the classes of socketserver whose they are.
    """
    return frozenset(name for name, owner in steps.items()
                     if not _is_member_of(_find(cls, name)[1], owner, name))


def _is_member_of(value, class_name, name):
    return any(_known[cls].get(name, _MISSING) is value for cls in _pair("socketserver", class_name))


# -- __init__: is the super().__init__() call the last thing it does? -----------

def _init_reasons(handler):
    """Every __init__ on the way to BaseRequestHandler's must end with the next one's call."""
    last = _pair("socketserver", "BaseRequestHandler")
    for base in handler.__mro__:
        value = vars(base).get("__init__", _MISSING)
        if value is _MISSING:
            continue
        if base in last and _known[base].get("__init__") is value:
            return
        if _known.get(base, {}).get("__init__") is value:
            continue
        from ._init_proof import doubt_about_init   # and with it dis and inspect, for the few that ask
        doubt = doubt_about_init(value, handler)
        if doubt:
            yield _reason("__init__", base, value, doubt)


# -- for people ----------------------------------------------------------------

def _instance(server):
    return None if isinstance(server, type) else server


def _name_of(thing):
    if thing is None:
        return ""
    if not hasattr(thing, "__qualname__"):
        thing = type(thing)
    return f"{thing.__module__}.{thing.__qualname__}"


def _code_of(value):
    for attribute in ("__func__", "fget", "__wrapped__"):
        value = getattr(value, attribute, None) or value
    return getattr(value, "__code__", None)


def _source_of(value):
    code = _code_of(value)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def _reason(name, owner, value, why):
    if owner is None:
        where = ""
    elif isinstance(owner, type):
        where = f"{_name_of(owner)}.{name}"
    else:
        where = f"{_name_of(type(owner))} object, attribute {name}"
    return Reason(name, where, why, _source_of(value))


_WHAT_IT_MEANS = {
    REACTOR: "the event loop keeps the connection between requests",
    BLOCKING: "the standard flow, with native reading, parsing and writing",
    COMPATIBLE: "the standard library's own code",
}

# What a person can do about a reason; "override" stands for a class's own hook.
_WHAT_TO_DO = {
    "handle": "put what it does into do_GET and its like, or into parse_request",
    "handle_one_request": "put what it does into parse_request or the do_ methods",
    "setup": "set timeout, or compute what you need when it is first used",
    "finish": "release what a request used at the end of its do_ method",
    "__init__": "do that work before super().__init__(), and call it last, without try or with",
    "rbufsize": "leave it as it is", "wbufsize": "leave it as it is",
    "functools.partial": "bind by keyword",
    "get_request": "use verify_request to look at a client",
    "process_request": "use ThreadingMixIn",
    "process_request_thread": "use verify_request, shutdown_request or handle_error",
    "ForkingMixIn": "use ThreadingMixIn",
    "TLS": "use an ssl.SSLContext as it is, or a subclass that leaves wrap_socket() alone",
    "handler": "derive it from turboserver.http.server.BaseHTTPRequestHandler, "
               "or run the program with `turboserver run`",
    "server": "derive it from a turboserver class, or run the program with `turboserver run`",
    LANE_VARIABLE: "unset it",
}


def explain(target, *, server=None):
    """Tell people which lane `target` takes, what decides it, and what would change it.

    target: a server (object or class) or a handler (class or other callable).
    server: for a handler, the server to assume; ThreadingHTTPServer by default.
    Returns text of several lines, without a newline at its end.
    """
    import turboserver.http.server as http_server
    import turboserver.wsgiref.simple_server as wsgi_server
    base = _noted("socketserver", "BaseServer") or socketserver.BaseServer
    cls = target if isinstance(target, type) else type(target)
    handler = None
    if issubclass(cls, base):
        server = target
        if getattr(server, "RequestHandlerClass", None) is None:
            handler = (wsgi_server.WSGIRequestHandler if hasattr(cls, "set_app")
                       else http_server.BaseHTTPRequestHandler)
    else:
        handler = target
        server = server or http_server.ThreadingHTTPServer
    decision = decide(server, handler)

    by = _name_of(server if isinstance(server, type) else type(server))
    made_by = handler if handler is not None else getattr(server, "RequestHandlerClass", None)
    lines = [f"{_name_of(decision.handler or made_by)} on {by}",
             f"lane: {decision.lane} ({_WHAT_IT_MEANS[decision.lane]})"]
    if decision.reasons:
        lines.append("because:")
    for reason in decision.reasons:
        at = f" ({reason.source})" if reason.source else ""
        subject = f"{reason.name}: {reason.where}{at}: " if reason.where else f"{reason.name}: "
        lines.append(f"  {subject}{reason.why}")
        if reason.name in _WHAT_TO_DO:
            lines.append(f"    to change that: {_WHAT_TO_DO[reason.name]}")
    for whose, hooks in (("handler", decision.handler_hooks), ("server", decision.server_hooks)):
        if hooks:
            lines.append(f"replaced in the {whose} and called in every lane: {', '.join(sorted(hooks))}")
    return "\n".join(lines)
