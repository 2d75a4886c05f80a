"""Dispatch: from a complete request to the handler's method, and what comes of it.

    handle -> (make_handler) -> parse_plain or the general parser -> do_X -> keep or close

A Dispatcher serves the connections of one server, on whichever thread has them.
Exceptions of a handler end here, as they end in socketserver: in handle_error(), in
threading.excepthook, or (single worker, not an Exception) in `fatal`, for run() to raise.

What may not live here: threads and who leads (_engine.pyx), parsing, streams.
"""

import http.server
from http import HTTPStatus
import os
import sys
import threading

from cpython.dict cimport PyDict_Contains
from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp
from turboserver._address cimport address_of
from turboserver._connection cimport (
    Connection, OWN_ATTRS, STAGE_FRESH, STAGE_GENERAL, STAGE_NONE, set_latest, shadows,
)
from turboserver._files cimport answer_with_file
from turboserver._gateway cimport run as run_gateway, serves
from turboserver._handlers cimport HandlerInfo, nanoseconds, study
from turboserver._native cimport *
from turboserver._request cimport parse_plain, refuse_for
from turboserver._request import refuse_body
from turboserver._rules cimport rules_of
from turboserver._tls cimport Session, TLSServer, functions
from turboserver._tls_connection cimport TLSConnection
from turboserver.errors import BodyError


cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(dict d)
    Py_ssize_t Py_REFCNT(PyObject *)


cdef object original_handle_one_request = http.server.BaseHTTPRequestHandler.handle_one_request

cdef dict METHODS = {}      # octets of a method -> "do_" + method; bounded
cdef object MISSING = object()
# What may be assigned on a handler object and matters to a gateway.
cdef tuple GATEWAY_NAMES = ("rfile", "wfile", "handle", "parse_request", "get_environ", "get_stderr")
# ... and to finish().
cdef tuple FINISH_NAMES = ("rfile", "wfile", "finish")


# What SimpleHTTPRequestHandler's __init__ assigns; _files.pyx looks at these itself.
cdef tuple FILE_ATTRS = ("directory", "extra_response_headers") if sys.version_info >= (3, 15) else ("directory",)


cdef bint has_all(dict attrs, tuple names):
    for name in names:
        if not PyDict_Contains(attrs, name):
            return False
    return True


cdef object method_name(char *octets, uint32_t n):
    cdef bytes key
    if n == 3 and memcmp(octets, b"GET", 3) == 0:
        return "do_GET"
    key = octets[:n]
    name = METHODS.get(key)
    if name is None:
        name = sys.intern("do_" + key.decode("latin-1"))
        if len(METHODS) < 64:
            METHODS[key] = name
    return name


cdef class Dispatcher:

    cdef int prepare(self) except -1:
        """Before serving: what is overridden where. RuntimeError if the server is not
        for the reactor lane."""
        self.info = study(self.server, self.server.RequestHandlerClass)
        if self.info is None:
            raise RuntimeError("this server is not for the reactor lane")
        self.fresh_rules()
        self.prepare_tls()
        hooks = self.info.decision.server_hooks
        self.calls_verify = "verify_request" in hooks
        self.calls_shutdown = not hooks.isdisjoint(("shutdown_request", "close_request"))
        self.calls_actions = "service_actions" in hooks
        return 0

    cdef int prepare_tls(self) except -1:
        """Whether the connections that are accepted from now on are TLS."""
        ssl = sys.modules.get("ssl")
        timeout = getattr(self.server, "turbo_handshake_timeout", None)
        self.r.tls = NULL
        if ssl is not None and isinstance(self.server.socket, ssl.SSLSocket):
            if self.tls is None:
                self.stranded = []
                self.tls = TLSServer(self.server, self.stranded)
            self.r.tls = functions()
            self.r.handshake_ns = <uint64_t>max(nanoseconds(timeout), 0)
        return 0

    cdef int fresh_rules(self) except -1:
        """The handler class's limits and http.client's, which programs change, for what comes.
        A request that was scanned under others is scanned again when its handler is about
        to run."""
        if not self.info.rules.holds():
            self.info.rules = rules_of(self.info.cls)
        self.rules = self.info.rules
        if ts_reactor_set_rules(self.r, &self.rules.c) != 0:
            raise MemoryError
        return 0

    cdef inline bint rules_hold(self):
        return self.rules is self.info.rules and self.rules.holds()

    cdef Connection connection_for(self, ts_conn *c):
        cdef Connection conn
        if c.owner != NULL:
            return <Connection>c.owner
        if self.server.RequestHandlerClass is not self.info.factory or not self.info.holds():
            info = study(self.server, self.server.RequestHandlerClass)
            if info is None:
                return None
            self.info = info
        conn = self.new_connection(c)
        conn.c = c
        conn.buffer = &c.input
        conn.leader = self.leader
        conn.server = self.server
        conn.client_address = address_of(&c.peer)
        conn.info = self.info
        conn.r = self.r
        conn.body = &c.body
        conn.rules = self.rules
        conn.timeout_ns = self.info.timeout_ns
        conn.parked = True
        if c.session != NULL and (<Session>c.session).sock is not None:
            (<TLSConnection>conn).take_socket_of(<Session>c.session)
        Py_INCREF(conn)     # the ts_conn's
        c.owner = <void *>conn
        return conn

    cdef Connection new_connection(self, ts_conn *c):
        cdef TLSConnection conn
        if c.tls == NULL:
            return Connection.__new__(Connection)
        conn = TLSConnection.__new__(TLSConnection)
        conn.tls = self.tls
        return conn

    cdef int make_handler(self, Connection conn) except -1:
        cdef HandlerInfo info = conn.info
        if info.plain_init:
            conn.attach(info.cls.__new__(info.cls))
        else:
            # An __init__ of the program's own may keep the socket it is handed.
            request = conn.socket() if info.forwards_request else conn
            CONSTRUCTING[id(request)] = conn
            try:
                info.factory(request, conn.client_address, self.server)
            finally:
                del CONSTRUCTING[id(request)]
            if conn.handler is None:
                raise TypeError(f"{info.factory!r} did not call BaseRequestHandler.__init__")
        if PyDict_GET_SIZE(conn.attrs) == OWN_ATTRS + len(FILE_ATTRS) and has_all(conn.attrs, FILE_ATTRS):
            conn.own += len(FILE_ATTRS)
        if info.asks_timeout or PyDict_GET_SIZE(conn.attrs) > conn.own:
            conn.timeout_ns = nanoseconds(conn.handler.timeout)
            conn.c.timeout_ns = max(conn.timeout_ns, 0)
        return 0

    cdef bint handle(self, Connection conn, ts_task task, bint first):
        """Run one request. Whether the connection may stay open. first: of those that
        were received together."""
        cdef HandlerInfo info
        try:
            if conn.handler is None:
                self.make_handler(conn)
            info = conn.info
            if not info.holds():
                info = study(self.server, info.factory)
                if info is not None:
                    conn.info = info
                    if self.info.cls is info.cls:
                        self.info = info
                info = conn.info
            if first and not self.rules_hold():
                self.fresh_rules()
                if task != TS_TASK_SLOW:
                    task = ts_reactor_rescan(self.r, conn.c)
            if conn.rules is not self.rules:
                conn.rules = self.rules
            conn.begin()
            if task == TS_TASK_SLOW:
                self.too_slow(conn)
                return False
            if info.oneshot:
                if conn.stage != STAGE_FRESH or not self.answer_natively(conn):
                    conn.handler.handle()
                    return False
            elif conn.stage == STAGE_FRESH:
                self.run_plain(conn)
            else:
                original_handle_one_request(conn.handler)
            if conn.c == NULL:
                return False
            if conn.sock is not None and conn.sock.fileno() < 0:
                conn.c.broken = True    # closed or detached by the program
                return False
            if (conn.reader is not None and conn.reader.channel is None
                    or conn.writer is not None and conn.writer.channel is None):
                return False    # closed by the program, perhaps by finish()
            if shadows(conn, ("rfile", "handle_one_request")):
                # The next request is not for us to read: the original's loop.
                conn.own_loop = True
                while not conn.handler.close_connection:
                    conn.handler.handle_one_request()
                return False
            if PyDict_GET_SIZE(conn.attrs) > conn.own:
                if conn.head.len > 0:
                    conn.to_list()      # lines not yet sent stay for the next answer
                close = conn.attrs.get("close_connection", MISSING)
                if close is not MISSING:
                    return not close
            return not conn.close_connection
        except BaseException:
            self.failed(conn)
            return False
        finally:
            try:
                if conn.handler is not None and Py_REFCNT(<PyObject *>conn.handler) > 1:
                    conn.keep_supplied()    # somebody else has the handler, and may look later
            except BaseException:
                self.failed(conn)           # the program's MessageClass, for one
            conn.stage = STAGE_NONE

    cdef bint answer_natively(self, Connection conn) except -1:
        """A WSGI request, if nothing of how it is answered is overridden. False, with
        nothing done, if it is the handler's."""
        if (not serves(conn.info) or conn.c.req.form == TS_TARGET_AUTHORITY
                or shadows(conn, GATEWAY_NAMES)):
            return False
        conn.lazy_continue = True
        if parse_plain(conn):
            run_gateway(conn, conn.info)
        return True

    cdef int run_plain(self, Connection conn) except -1:
        """BaseHTTPRequestHandler.handle_one_request for a plain head."""
        cdef HandlerInfo info
        handler = conn.handler
        try:
            if (conn.info.hooks_parse or not conn.info.plain_message
                    or shadows(conn, ("parse_request", "MessageClass"))):
                conn.attrs["raw_requestline"] = conn.supply_raw_requestline()
                conn.c.input.pos = conn.c.input.head + conn.c.req.line_len
                if not handler.parse_request():
                    return 0
                name = "do_" + handler.command
            else:
                if not parse_plain(conn):
                    return 0
                name = method_name(conn.head_start() + conn.c.req.method.off,
                                   conn.c.req.method.len)
            info = conn.info
            method = info.last_method if name is info.last_name else info.find_method(name)
            if method is not None and (PyDict_GET_SIZE(conn.attrs) <= conn.own
                                       or not PyDict_Contains(conn.attrs, name)):
                if not (info.sends_files and answer_with_file(conn)):
                    method(handler)
            else:
                method = getattr(handler, name, MISSING)
                if method is MISSING:
                    handler.send_error(HTTPStatus.NOT_IMPLEMENTED, "Unsupported method (%r)" % handler.command)
                    return 0
                method()
            if shadows(conn, ("wfile",)):
                handler.wfile.flush()
        except BodyError as error:
            refuse_body(handler, error)
        except TimeoutError as error:
            handler.log_error("Request timed out: %r", error)
            handler.close_connection = True
        return 0

    cdef int too_slow(self, Connection conn) except -1:
        """The head of a request is not there in time: 408."""
        handler = conn.handler
        conn.stage = STAGE_GENERAL
        conn.note_head(conn.head_start(), conn.c.input.end - conn.c.input.head)
        handler.requestline = handler.request_version = handler.command = ""
        refuse_for(handler, TS_REFUSE_HEAD_SLOW)
        return 0

    cdef bint verified(self, Connection conn):
        try:
            if self.info.asks_timeout:
                self.make_handler(conn)
            if not self.calls_verify:
                return True
            return bool(self.server.verify_request(conn.socket(), conn.client_address))
        except BaseException:
            self.failed(conn)
            return False

    # ---- when it goes wrong -----------------------------------------------

    cdef int failed(self, Connection conn) except -1:
        """Called in an except clause: report() of that exception."""
        cdef object request = None
        try:
            request = conn.socket()
        except Exception:
            pass    # closed meanwhile; what happened is told all the same
        return self.report(request, conn.client_address)

    cdef int report(self, request, client_address) except -1:
        """Called in an except clause: what socketserver does with such an exception."""
        kind, error, trace = sys.exc_info()
        if isinstance(error, Exception):
            try:
                self.server.handle_error(request, client_address)
                return 0
            except BaseException as raised:
                kind, error, trace = type(raised), raised, raised.__traceback__
        if not self.threaded:
            if self.fatal is None:
                self.fatal = error
            return 0
        try:
            threading.excepthook(threading.ExceptHookArgs(
                (kind, error, trace, threading.current_thread())))
        except BaseException:
            try:
                sys.excepthook(*sys.exc_info())
            except BaseException:
                pass    # nobody is left to tell; the thread has others to serve
        return 0

    cdef int timed_out(self, Connection conn) except -1:
        """Nothing came for handler.timeout seconds."""
        try:
            if conn.handler is None:
                self.make_handler(conn)
            conn.handler.log_error("Request timed out: %r", TimeoutError("timed out"))
        except BaseException:
            self.failed(conn)
        return 0

    # ---- the end of a connection ------------------------------------------

    cdef int finish(self, Connection conn) except -1:
        """StreamRequestHandler.finish()."""
        if conn.handler is not None and shadows(conn, FINISH_NAMES):
            conn.handler.finish()
        if conn.writer is not None:
            conn.writer.channel = None
        if conn.reader is not None:
            conn.reader.channel = None
        return 0

    cdef int tidy(self, ts_turn *turn, Connection conn, ts_worker *worker) except -1:
        """Everything Python holds of the connection ends, then the connection. worker: the
        engine thread's, which may lose the lead: what the program does here can block."""
        cdef ts_conn *c = conn.c
        cdef int second = -1    # a descriptor of the engine's own, if it has lent the first
        cdef bint hooks = worker != NULL and (self.calls_shutdown or conn.sock is not None or (
            conn.handler is not None and shadows(conn, FINISH_NAMES)))
        if hooks:
            ts_handler_enter(self.leader, worker, c, TS_HINT_SUSPECT)
        try:
            self.finish(conn)
            if self.calls_shutdown:
                conn.socket()
        except BaseException:
            self.failed(conn)
        if conn.sock is not None and conn.sock.fileno() == c.fd:
            second = ts_reactor_second(self.r, c)
        ts_reactor_forget(self.r, c)
        if conn.handler is not None and Py_REFCNT(<PyObject *>conn.handler) > 1 and conn.sock is not None:
            conn.attrs.setdefault("connection", conn.sock)
            conn.attrs.setdefault("request", conn.sock)
        if conn.sock is not None:
            conn.sock._decref_socketios()
            try:
                self.server.shutdown_request(conn.sock)
            except BaseException:
                self.failed(conn)
        if hooks:
            ts_handler_exit_(self.leader, worker)
        if second >= 0:
            if is_same_file(c.fd, second):
                os.close(second)    # the program keeps it: nothing of it is read here
            else:
                ts_reactor_take_back(c, second)
        conn.c = NULL
        conn.buffer = NULL
        set_latest(None)
        conn.handler = conn.attrs = conn.headers = conn.sock = None
        c.owner = NULL
        ts_reactor_close(self.r, turn, c)
        Py_DECREF(conn)
        if self.threaded and self.r.listener < 0 and self.r.n_open == 0:
            ts_reactor_wake(self.r)     # the leader looks whether it is the end
        return 0


cdef bint is_same_file(int fd, int other):
    try:
        return os.path.sameopenfile(fd, other)
    except OSError:
        return False


# The handlers that are being made: id(request) -> their connections.
cdef dict CONSTRUCTING = {}


def adopt(handler, request):
    """Called by BaseRequestHandler.__init__: if the engine is making this handler,
    attach it to its connection and return True."""
    cdef Connection conn = CONSTRUCTING.get(id(request))
    if conn is None:
        return False
    conn.attach(handler)
    return True
