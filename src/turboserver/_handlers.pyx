"""HandlerInfo: what the engine has to know of a handler class, found out once.

lanes.decide() says which hooks are overridden; here that becomes the few flags a
request looks at. A class may change while it serves (`Handler.do_X = ...`), so an info
holds only for the version its type had; 0 is no version, and such an info never holds.

What may not live here: which overrides decide a lane (lanes.py).
"""

import http.client
import http.server
import socketserver

from libc.stdint cimport int64_t
from turboserver import lanes


cdef extern from *:
    """
    static unsigned ts_type_version(PyObject *cls)
    {
        return ((PyTypeObject *)cls)->tp_version_tag;
    }
    """
    unsigned ts_type_version(object cls)


# Inits that only pass the request on, or keep it as BaseRequestHandler's does.
cdef object BASE_INITS = {socketserver.BaseRequestHandler.__init__}
cdef object FORWARDING_INITS = {http.server.SimpleHTTPRequestHandler.__init__}


def register_base_init(function):
    """Our BaseRequestHandler's, which knows how to attach itself to a connection."""
    BASE_INITS.add(function)


cdef class HandlerInfo:

    cdef bint holds(self):
        """Whether the class is as it was."""
        return self.version != 0 and ts_type_version(self.cls) == self.version


cdef bint is_plain_str(object cls, str name):
    for base in cls.__mro__:
        if name in vars(base):
            return type(vars(base)[name]) is str
    return False


cdef int64_t nanoseconds(object seconds) except -2:
    """-1 for None."""
    return -1 if seconds is None else <int64_t>(<double>seconds * 1e9)


cdef HandlerInfo study(object server, object factory):
    """A HandlerInfo, or None if the reactor lane is not for this handler."""
    cdef HandlerInfo info
    decision = lanes.decide(server, factory)
    if decision.lane != lanes.REACTOR:
        return None
    cls = decision.handler
    info = HandlerInfo.__new__(HandlerInfo)
    timeout = getattr(cls, "timeout", None)     # the look-up gives the type a version
    info.version = ts_type_version(cls)
    info.cls = cls
    info.factory = factory
    info.decision = decision
    inits = [vars(base)["__init__"] for base in cls.__mro__[:-1] if "__init__" in vars(base)]
    info.plain_init = factory is cls and inits[0] in BASE_INITS
    info.forwards_request = any(
        init not in BASE_INITS and init not in FORWARDING_INITS for init in inits)
    hooks = decision.handler_hooks
    info.oneshot = decision.kind == "oneshot"
    info.hooks_parse = "parse_request" in hooks
    info.hooks_log = "log_request" in hooks
    info.plain_line = is_plain_str(cls, "protocol_version") and type(cls.responses) is dict
    info.plain_start = (
        info.plain_line and is_plain_str(cls, "server_version")
        and is_plain_str(cls, "sys_version")
        and hooks.isdisjoint(("send_response_only", "send_header", "version_string",
                              "date_time_string")))
    info.plain_line = info.plain_line and "send_response_only" not in hooks
    info.plain_end = "flush_headers" not in hooks
    info.protocol = cls.protocol_version if info.plain_line else None
    info.asks_protocol = not is_plain_str(cls, "protocol_version")
    info.http11 = not info.asks_protocol and cls.protocol_version >= "HTTP/1.1"
    info.plain_message = cls.MessageClass is http.client.HTTPMessage
    info.server_line = f"{cls.server_version} {cls.sys_version}" if info.plain_start else None
    info.responses = cls.responses if info.plain_line else {}
    info.starts = {}
    info.asks_timeout = not (timeout is None or isinstance(timeout, (int, float)))
    info.timeout_ns = -1 if info.asks_timeout else nanoseconds(timeout)
    return info
