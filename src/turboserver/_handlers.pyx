"""HandlerInfo: what the engine has to know of a handler class, found out once; and
ResponseInfo, the part of it that every lane has use for.

lanes.decide() says which hooks are overridden; here that becomes the few flags a
request looks at. A class may change while it serves (`Handler.do_X = ...`), so an info
holds only for the version its type had; 0 is no version, and such an info never holds.

What may not live here: which overrides decide a lane (lanes.py).
"""

import http.server
import socketserver
import sys
from types import FunctionType

from libc.stdint cimport int64_t
from turboserver import lanes
from turboserver._headers cimport is_plain_class
from turboserver._log cimport has_plain_log
from turboserver._rules cimport Rules, rules_of


cdef unsigned type_version(object cls):
    """Another one when anything about the class is another; 0: it has none."""
    getattr(cls, "__doc__", None)   # a look-up gives the type a version
    return ts_type_version(cls)


# Inits that only pass the request on, or keep it as BaseRequestHandler's does.
cdef object BASE_INITS = {socketserver.BaseRequestHandler.__init__}
cdef object FORWARDING_INITS = {http.server.SimpleHTTPRequestHandler.__init__}


def register_base_init(function):
    """Our BaseRequestHandler's, which knows how to attach itself to a connection."""
    BASE_INITS.add(function)


def register_forwarding_init(function):
    """A handler class's that only passes the request on: its connections are not made sockets."""
    FORWARDING_INITS.add(function)


cdef class ResponseInfo:

    cdef bint holds(self):
        """Whether the class is as it was."""
        return self.version != 0 and ts_type_version(self.cls) == self.version

    cdef int note(self, cls, hooks) except -1:
        """Fill in what a response head needs. hooks: names of replaced members."""
        getattr(cls, "protocol_version", None)  # a look-up gives the type a version
        self.version = ts_type_version(cls)
        self.cls = cls
        self.hooks_log = "log_request" in hooks
        self.plain_log = has_plain_log(cls)
        self.plain_line = is_plain_str(cls, "protocol_version") and type(cls.responses) is dict
        self.plain_start = (
            self.plain_line and is_plain_str(cls, "server_version")
            and is_plain_str(cls, "sys_version")
            and hooks.isdisjoint(("send_response_only", "send_header", "version_string",
                                  "date_time_string")))
        self.plain_line = self.plain_line and "send_response_only" not in hooks
        self.plain_end = "flush_headers" not in hooks
        self.plain_assignment = cls.__setattr__ is object.__setattr__
        self.protocol = cls.protocol_version if self.plain_line else None
        self.server_line = None
        if self.plain_start:
            server = f"Server: {cls.server_version} {cls.sys_version}\r\n"
            try:
                self.server_line = server.encode("latin-1")
            except UnicodeEncodeError:
                self.plain_start = False    # each answer fails with it, as the original's
            else:
                # A line end in it is refused where the line is sent.
                self.plain_start = len(server.splitlines()) == 1
        self.responses = cls.responses if self.plain_line else {}
        self.starts = {}
        self.rules = rules_of(cls)
        return 0


cdef dict KNOWN = {}        # class -> ResponseInfo; bounded, for programs make classes
cdef ResponseInfo LATEST_INFO = None


cdef ResponseInfo response_info(object cls):
    """The ResponseInfo of a handler class of ours."""
    global LATEST_INFO
    cdef ResponseInfo info = LATEST_INFO
    if info is not None and info.cls is cls and info.holds():
        return info
    info = KNOWN.get(cls)
    if info is None or not info.holds():
        info = ResponseInfo.__new__(ResponseInfo)
        info.note(cls, lanes.handler_hooks(cls))
        if len(KNOWN) >= 64:
            KNOWN.clear()
        KNOWN[cls] = info
    LATEST_INFO = info
    return info


cdef Rules present_rules(object cls):
    """The rules of a handler class, for http.client's limits as they are now."""
    cdef ResponseInfo info = response_info(cls)
    if not info.rules.holds():
        info.rules = rules_of(cls)
    return info.rules


cdef class HandlerInfo(ResponseInfo):

    cdef object find_method(self, name):
        """The plain function that is the class's method of that name, or None: then
        each handler is asked. Holds as long as the info."""
        for base in self.cls.__mro__:
            if name in vars(base):
                found = vars(base)[name]
                self.last_method = found if type(found) is FunctionType else None
                self.last_name = name
                return self.last_method
        return None


cdef bint is_plain_str(object cls, str name):
    for base in cls.__mro__:
        if name in vars(base):
            return type(vars(base)[name]) is str
    return False


cdef int64_t nanoseconds(object seconds) except -2:
    """-1 for None."""
    return -1 if seconds is None else <int64_t>(<double>seconds * 1e9)


# What of a handler class has a say in the answer with a file, and what it is where that is turboserver.files'.
cdef tuple FILE_NAMES = ("do_GET", "do_HEAD", "translate_path", "send_head", "guess_type", "copyfile", "send_response",
                         "send_response_only", "send_header", "end_headers", "flush_headers", "version_string",
                         "date_time_string")
cdef dict FILE_MEMBERS = {name: [] for name in FILE_NAMES}


def register_file_members(cls):
    """A handler class whose own ways of reading files are turboserver.files'."""
    for name, members in FILE_MEMBERS.items():
        (<list>members).append(getattr(cls, name))


cdef bint sends_files(cls):
    for name, members in FILE_MEMBERS.items():
        found = getattr(cls, name, None)
        if not any([found is member for member in members]):
            return False
    return True


cdef set PLAIN_GET_APP = set()


def register_get_app(function):
    """WSGIServer's."""
    PLAIN_GET_APP.add(function)


# What of WSGIRequestHandler says what an application sees.
cdef tuple GATEWAY_HOOKS = ("get_environ", "get_stderr")
if sys.version_info < (3, 13):
    GATEWAY_HOOKS += ("address_string",)    # REMOTE_HOST


cdef HandlerInfo study(object server, object factory):
    """A HandlerInfo, or None if the reactor lane is not for this handler."""
    cdef HandlerInfo info
    decision = lanes.decide(server, factory)
    if decision.lane != lanes.REACTOR:
        return None
    cls = decision.handler
    info = HandlerInfo.__new__(HandlerInfo)
    timeout = getattr(cls, "timeout", None)
    info.note(cls, decision.handler_hooks)
    info.factory = factory
    info.decision = decision
    inits = [vars(base)["__init__"] for base in cls.__mro__[:-1] if "__init__" in vars(base)]
    info.plain_init = factory is cls and inits[0] in BASE_INITS
    info.forwards_request = any(
        init not in BASE_INITS and init not in FORWARDING_INITS for init in inits)
    info.oneshot = decision.kind == "oneshot"
    info.gateway = (info.oneshot and decision.handler_hooks.isdisjoint(GATEWAY_HOOKS)
                    and is_plain_str(cls, "server_version") and is_plain_str(cls, "protocol_version"))
    if info.gateway:
        info.gateway_logs = cls.turbo_log
        info.gateway_os_environ = cls.turbo_os_environ
        info.gateway_underscores = cls.turbo_underscores
        info.gateway_root = cls.turbo_forwarded_root
        info.gateway_raw = cls.turbo_raw_environ
        info.gateway_lenient = cls.turbo_drop_hop_by_hop
        info.access_log = getattr(server, "turbo_access_log", None)
        info.error_log = getattr(server, "turbo_error_log", None)
        info.multiprocess = getattr(server, "turbo_multiprocess", False)
        info.plain_app = getattr(type(server), "get_app", None) in PLAIN_GET_APP and "get_app" not in vars(server)
    info.hooks_parse = "parse_request" in decision.handler_hooks
    options = getattr(cls, "turbo_files", None)
    info.sends_files = (options is not None and options.auth is None and info.plain_start and info.plain_end
                        and sends_files(cls))
    info.sends_heads = info.sends_files and not options.upload
    info.silent_aborts = info.sends_files and cls._turbo_silent_aborts
    info.files = {}
    info.asks_protocol = not is_plain_str(cls, "protocol_version")
    # What the gateway speaks; protocol_version is that of the handler's own answers.
    info.http11 = info.gateway or not info.asks_protocol and cls.protocol_version >= "HTTP/1.1"
    info.plain_message = is_plain_class(cls.MessageClass)
    info.asks_timeout = not (timeout is None or isinstance(timeout, (int, float)))
    info.timeout_ns = -1 if info.asks_timeout else nanoseconds(timeout)
    return info
