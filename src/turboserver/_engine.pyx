"""The engine: threads, leadership and the path of a request through Python.

    leader: ts_reactor_next -> serve -> handle -> ts_reactor_done -> parked

One Engine a serving. With ThreadingMixIn its threads lead in turn (csrc/leader.h) and
the thread that called serve_forever() only waits; without, that thread is the single
worker. Python is entered with a request that is complete, and left with an answer that
is gathered. The leader keeps the GIL while ready connections last, and gives it up once
to wait for more.

Exceptions of a handler end here, as they end in socketserver: in handle_error(), in
threading.excepthook, or (single worker, not an Exception) out of serve_forever().

What may not live here: parsing, streams, the public classes.
"""

import atexit
import http.client
import http.server
import os
import socket
import sys
import threading
import weakref

from cpython.dict cimport PyDict_GetItemWithError
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from libc.errno cimport EINTR
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset
from turboserver._address cimport address_of
from turboserver._channel cimport os_error
from turboserver._channel import PRELOADED
from turboserver._connection cimport (
    Connection, OWN_ATTRS, STAGE_FRESH, STAGE_GENERAL, STAGE_NONE, STAGE_PLAIN, set_latest,
)
from turboserver._handlers cimport HandlerInfo, nanoseconds, study
from turboserver._native cimport *
from turboserver._request cimport parse_plain


cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(dict d)
    Py_ssize_t Py_REFCNT(PyObject *)


cdef object original_handle_one_request = http.server.BaseHTTPRequestHandler.handle_one_request

# A follower that had nothing to do for this long ends, unless it is the last one.
cdef uint64_t IDLE_NS = 10_000_000_000

# Threads of an engine whose server has no turbo_max_threads.
DEFAULT_MAX_THREADS = 1000

# Live engines, for the child of a fork.
cdef object ENGINES = weakref.WeakSet()

cdef dict METHODS = {}      # octets of a method -> "do_" + method; bounded
cdef dict CLIENT = vars(http.client)
cdef object MISSING = object()


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


class EngineThreads:
    """The engine's threads as socketserver's `_threads` knows threads: something that
    server_close() can join. Joining waits for the handlers that run."""

    def __init__(self, engine, daemon):
        self._engine = engine
        self.daemon = daemon

    def is_alive(self):
        return not self._engine.done.is_set()

    def join(self, timeout=None):
        self._engine.join(timeout)


cdef class Engine:
    """Serves the connections of one server.

    server: a turboserver TCPServer, bound and listening. threaded: handlers run in the
    engine's threads (turbo_max_threads of them at most), not in run()'s.
    Raises OSError when the poller cannot be had, ValueError for an unknown
    TURBOSERVER_POLLER.
    """

    def __cinit__(self, server, bint threaded):
        cdef ts_leader_config config
        cdef int failed
        cdef bytes backend
        name = os.environ.get("TURBOSERVER_POLLER") or None
        if name is None:
            failed = ts_reactor_new(&self.r, NULL)
        else:
            backend = os.fsencode(name)
            failed = ts_reactor_new(&self.r, backend)
            if failed == -22:
                raise ValueError(f"TURBOSERVER_POLLER={name!r} is not a poller of this platform")
        if failed != 0:
            raise os_error(-failed)
        memset(&config, 0, sizeof(config))
        config.max_threads = 1
        if threaded:
            config.max_threads = max(2, getattr(server, "turbo_max_threads", DEFAULT_MAX_THREADS))
        config.flush = ts_reactor_flush
        failed = ts_leader_new(&self.leader, &config)
        if failed != 0:
            raise os_error(-failed)
        ts_predict_init(&self.predictor)
        self.fresh_limits()
        self.server = server
        self.state = server.__dict__
        self.threaded = threaded
        self.threads = set()
        self.done = threading.Event()
        ENGINES.add(self)

    def __dealloc__(self):
        # Threads hold a reference, so none is left; the child of a fork has none.
        ts_leader_free(self.leader)
        ts_reactor_free(self.r)

    # ---- the server's side ------------------------------------------------

    def listen(self, int fd):
        """Start accepting from a listening descriptor, which becomes non-blocking.

        False: the engine has ended meanwhile, another one is needed. Raises OSError.
        """
        cdef int failed
        self.info = study(self.server, self.server.RequestHandlerClass)
        if self.info is None:
            raise RuntimeError("this server is not for the reactor lane")
        hooks = self.info.decision.server_hooks
        self.r.announce = "verify_request" in hooks or self.info.asks_timeout
        self.calls_verify = "verify_request" in hooks
        self.calls_shutdown = not hooks.isdisjoint(("shutdown_request", "close_request"))
        self.r.idle_timeout_ns = max(self.info.timeout_ns, 0)
        if self.ended or self.forked or self.r.stopping:
            return False
        failed = ts_set_nonblock(fd, True, NULL)
        if failed == 0:
            ts_set_nodelay(fd)
            failed = ts_reactor_listen(self.r, fd)
        if failed != 0:
            raise os_error(-failed)
        self.serving = threading.current_thread()
        if self.threaded and not self.threads:
            self.start_thread()
        return True

    def unlisten(self, int fd):
        """Accept no more; connections that are open are served on (threaded)."""
        if self.forked:
            return
        ts_reactor_unlisten(self.r)
        if fd >= 0:
            ts_set_nonblock(fd, False, NULL)
        ts_reactor_wake(self.r)
        self.serving = None
        if EXITING:
            self.finish_handlers()

    def wake(self):
        """Make run() look at the server's state now. Any thread."""
        if not self.forked:
            ts_reactor_wake(self.r)

    def stop(self):
        """End every connection: idle ones now, the others when their handler returns.
        Does not wait. Any thread."""
        cdef uint32_t at = 0
        cdef ts_conn *c
        cdef ts_turn turn
        if self.forked:
            return
        ts_reactor_unlisten(self.r)
        ts_reactor_stop(self.r)
        ts_leader_stop(self.leader)
        memset(&turn, 0, sizeof(turn))
        try:
            while True:
                c = ts_reactor_reap(self.r, &at)
                if c == NULL:
                    break
                c.broken = False
                if c.owner == NULL:
                    ts_reactor_close(self.r, &turn, c)
                else:
                    self.tidy(&turn, <Connection>c.owner)
        finally:
            ts_turn_free(&turn)

    def join(self, timeout=None):
        """Wait until no handler runs, or for timeout seconds. True if none does."""
        if threading.current_thread() in self.threads:
            return False
        return self.done.wait(timeout)

    def finish_handlers(self):
        """At the interpreter's end: wait for running handlers, unless they are daemons."""
        if self.threaded and not self.forked and not getattr(self.server, "daemon_threads", False):
            self.stop()
            if self.threads:
                self.join()

    @property
    def connections(self):
        """How many connections are open."""
        return self.r.n_open

    # ---- threads ----------------------------------------------------------

    cdef int start_thread(self) except -1:
        thread = threading.Thread(target=self.work, name=f"turboserver-{len(self.threads) + 1}",
                                  daemon=True)
        self.threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self.threads.discard(thread)
            raise
        return 0

    def work(self):
        """A thread's life: follow, lead, follow ..."""
        cdef ts_worker *worker = ts_worker_join(self.leader)
        cdef ts_turn turn
        cdef ts_lead role
        # Idle engine threads must not hold up the interpreter's end, so it does not join
        # them; but handlers, and the threads they start, find what the server says.
        threading.current_thread()._daemonic = bool(
            getattr(self.server, "daemon_threads", False))
        memset(&turn, 0, sizeof(turn))
        try:
            if worker == NULL:
                ts_lead_spare_failed(self.leader)
                return
            while True:
                with nogil:
                    role = ts_lead_wait(self.leader, worker, IDLE_NS)
                if role != TS_LEAD or self.forked:
                    break
                if self.lead(worker, &turn):
                    break
        finally:
            ts_turn_free(&turn)
            if worker != NULL and not self.forked:
                ts_worker_leave(self.leader, worker)
            self.threads.discard(threading.current_thread())
            if not self.threads:
                self.done.set()

    cdef int lead(self, ts_worker *worker, ts_turn *turn) except -1:
        """Lead until the lead is lost (0) or the engine has ended (1)."""
        cdef ts_conn *c
        cdef ts_task task
        while True:
            c = NULL
            task = ts_reactor_next(self.r, turn, False, 0, &c)
            if task == TS_TASK_NONE:
                with nogil:
                    task = ts_reactor_next(self.r, turn, True, -1, &c)
                    ts_worker_now(worker)
            if c == NULL:
                if self.r.stopping or self.forked or (self.r.listener < 0 and self.r.n_open == 0):
                    # Nobody is left to serve. listen() looks at `ended` with the GIL held.
                    self.ended = True
                    ts_leader_stop(self.leader)
                    ts_lead_release(self.leader, worker)
                    return 1
                continue
            if ts_lead_wants_spare(self.leader):
                try:
                    self.start_thread()
                except RuntimeError:
                    ts_lead_spare_failed(self.leader)
            self.serve(worker, turn, c, task)
            if not ts_leads(worker):
                return 0

    def run(self, poll_interval):
        """Serve in this thread (not threaded) until shutdown() has been called.

        poll_interval: seconds, None for no bound; service_actions() is called at least that often.
        """
        server = self.server
        cdef bint calls_actions = "service_actions" in self.info.decision.server_hooks
        cdef ts_worker *worker = ts_worker_join(self.leader)
        cdef ts_turn turn
        cdef ts_conn *c
        cdef ts_task task
        cdef int64_t wait = nanoseconds(poll_interval)
        if worker == NULL:
            raise RuntimeError("serve_forever() is running already")
        memset(&turn, 0, sizeof(turn))
        try:
            ts_lead_wait(self.leader, worker, 0)
            while not self.shutdown_requested():
                c = NULL
                task = ts_reactor_next(self.r, &turn, False, 0, &c)
                if task == TS_TASK_NONE:
                    with nogil:
                        task = ts_reactor_next(self.r, &turn, True, wait, &c)
                        ts_worker_now(worker)
                if c != NULL:
                    self.serve(worker, &turn, c, task)
                    if self.fatal is not None:
                        error, self.fatal = self.fatal, None
                        raise error
                elif task == TS_TASK_INTERRUPTED:
                    PyErr_CheckSignals()
                if self.forked or self.r.stopping:
                    break
                if calls_actions:
                    server.service_actions()
        finally:
            ts_turn_free(&turn)
            if not self.forked:
                ts_worker_leave(self.leader, worker)

    cdef bint shutdown_requested(self) except -1:
        cdef PyObject *flag = PyDict_GetItemWithError(self.state, "_BaseServer__shutdown_request")
        return <object>flag if flag != NULL else self.server._BaseServer__shutdown_request

    # ---- the path of a request --------------------------------------------

    cdef int fresh_limits(self) except -1:
        """http.client's limits, which programs change, for the next scans. A request that
        was scanned under others is scanned again when its handler is about to run."""
        if not self.limits_hold():
            self.max_line = CLIENT["_MAXLINE"]
            self.max_headers = CLIENT["_MAXHEADERS"]
            self.r.limits.max_line = min(self.max_line, 0x7fffffff)
            self.r.limits.max_headers = min(self.max_headers, 0x7fffffff)
        return 0

    cdef inline bint limits_hold(self):
        return (PyDict_GetItemWithError(CLIENT, "_MAXLINE") == <PyObject *>self.max_line
                and PyDict_GetItemWithError(CLIENT, "_MAXHEADERS") == <PyObject *>self.max_headers)

    cdef Connection connection_for(self, ts_conn *c):
        cdef Connection conn
        if c.owner != NULL:
            return <Connection>c.owner
        if self.server.RequestHandlerClass is not self.info.factory or not self.info.holds():
            info = study(self.server, self.server.RequestHandlerClass)
            if info is None:
                return None
            self.info = info
        conn = Connection.__new__(Connection)
        conn.c = c
        conn.buffer = &c.input
        conn.leader = self.leader
        conn.server = self.server
        conn.client_address = address_of(&c.peer)
        conn.info = self.info
        conn.timeout_ns = self.info.timeout_ns
        Py_INCREF(conn)     # the ts_conn's
        c.owner = <void *>conn
        return conn

    cdef int serve(self, ts_worker *worker, ts_turn *turn, ts_conn *c, ts_task task) except -1:
        """Take a connection through its tasks until it is parked or closed."""
        cdef Connection conn = self.connection_for(c)
        cdef ts_handler_exit result
        cdef bint keep
        if conn is None:
            self.serve_blocking(worker, turn, c)
            return 0
        while task != TS_TASK_NONE:
            if task == TS_TASK_REQUEST or task == TS_TASK_GENERAL:
                if task == TS_TASK_REQUEST:
                    conn.key = ts_predict_key(c.input.data + c.input.head + c.req.method.off,
                                              c.req.method.len,
                                              c.input.data + c.input.head + c.req.target.off,
                                              c.req.target.len)
                else:
                    conn.key = 0
                set_latest(conn)
                conn.worker = worker
                conn.in_handler = True
                ts_handler_enter(self.leader, worker, c, ts_predict(&self.predictor, conn.key))
                keep = self.handle(conn, task)
                result = ts_handler_exit_(self.leader, worker)
                conn.in_handler = False
                conn.worker = NULL
                ts_predict_learn(&self.predictor, conn.key, result.slow, result.blocked)
                if self.forked:
                    self.leave_child(conn)
                    return 0
                task = ts_reactor_done(self.r, turn, c, keep)
            elif task == TS_TASK_OPENED:
                if self.verified(conn):
                    task = ts_reactor_go_on(self.r, turn, c)
                else:
                    task = TS_TASK_GONE
            elif task == TS_TASK_BROKEN:
                try:
                    raise os_error(c.out.error)
                except OSError:
                    self.failed(conn)
                task = TS_TASK_GONE
            elif task == TS_TASK_TIMEOUT:
                self.timed_out(conn)
                task = TS_TASK_GONE
            else:
                self.tidy(turn, conn)
                return 0
        return 0

    cdef int serve_blocking(self, ts_worker *worker, ts_turn *turn, ts_conn *c) except -1:
        """The handler class was replaced, or changed, while the server runs, and is not
        for the reactor lane any more: the standard flow, on this thread."""
        listener = self.server.socket
        sock = socket.socket(listener.family, listener.type, listener.proto, fileno=c.fd)
        address = address_of(&c.peer)
        PRELOADED[sock] = c.input.data[c.input.head:c.input.end] if c.input.data != NULL else b""
        c.lent = True
        ts_handler_enter(self.leader, worker, c, TS_HINT_BLOCKS)
        try:
            self.server.finish_request(sock, address)
        except Exception:
            self.server.handle_error(sock, address)
        finally:
            ts_handler_exit_(self.leader, worker)
            PRELOADED.pop(sock, None)
            ts_reactor_forget(self.r, c)
            try:
                self.server.shutdown_request(sock)
            finally:
                ts_reactor_close(self.r, turn, c)
        return 0

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
        if info.asks_timeout or PyDict_GET_SIZE(conn.attrs) > OWN_ATTRS:
            conn.timeout_ns = nanoseconds(conn.handler.timeout)
            conn.c.idle_ns = max(conn.timeout_ns, 0)
        return 0

    cdef bint handle(self, Connection conn, ts_task task):
        """Run one request. Whether the connection may stay open."""
        cdef HandlerInfo info
        try:
            if conn.handler is None:
                self.make_handler(conn)
            info = conn.info
            if not info.holds():
                info = study(self.server, info.factory)
                if info is not None:
                    conn.info = info
                info = conn.info
            if not self.limits_hold():
                self.fresh_limits()
                task = ts_reactor_rescan(self.r, conn.c)
            conn.begin()
            if info.oneshot:
                conn.handler.handle()
                return False
            if conn.stage == STAGE_FRESH:
                self.run_plain(conn)
            else:
                original_handle_one_request(conn.handler)
            if conn.c == NULL:
                return False
            if conn.sock is not None and conn.sock.fileno() < 0:
                conn.c.broken = True    # closed or detached by the program
                return False
            if PyDict_GET_SIZE(conn.attrs) > OWN_ATTRS:
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
            if conn.handler is not None and Py_REFCNT(<PyObject *>conn.handler) > 1:
                conn.keep_supplied()    # somebody else has the handler, and may look later
            conn.stage = STAGE_NONE

    cdef int run_plain(self, Connection conn) except -1:
        """BaseHTTPRequestHandler.handle_one_request for a plain head."""
        handler = conn.handler
        try:
            if (conn.info.hooks_parse or not conn.info.plain_message
                    or conn.shadows(("parse_request", "MessageClass"))):
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
            method = getattr(handler, name, MISSING)
            if method is MISSING:
                handler.send_error(501, "Unsupported method (%r)" % handler.command)
                return 0
            method()
            if conn.shadows(("wfile",)):
                handler.wfile.flush()
        except TimeoutError as error:
            handler.log_error("Request timed out: %r", error)
            handler.close_connection = True
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
        """Called in an except clause: what socketserver does with such an exception."""
        kind, error, trace = sys.exc_info()
        if isinstance(error, Exception):
            try:
                self.server.handle_error(conn.socket(), conn.client_address)
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
            sys.excepthook(*sys.exc_info())
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
        if conn.handler is not None and conn.shadows(("rfile", "wfile")):
            conn.handler.finish()
        if conn.writer is not None:
            conn.writer.channel = None
        if conn.reader is not None:
            conn.reader.channel = None
        return 0

    cdef int tidy(self, ts_turn *turn, Connection conn) except -1:
        """Everything Python holds of the connection ends, then the connection."""
        cdef ts_conn *c = conn.c
        try:
            self.finish(conn)
        except BaseException:
            self.failed(conn)
        if self.calls_shutdown:
            conn.socket()
        ts_reactor_forget(self.r, c)
        if conn.handler is not None and Py_REFCNT(<PyObject *>conn.handler) > 1 and conn.sock is not None:
            conn.attrs.setdefault("connection", conn.sock)
            conn.attrs.setdefault("request", conn.sock)
        if conn.sock is not None:
            c.linger = False
            conn.sock._decref_socketios()
            try:
                self.server.shutdown_request(conn.sock)
            except BaseException:
                self.failed(conn)
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

    cdef int leave_child(self, Connection conn) except -1:
        """A handler forked, and this is the child, back from the handler: what it wrote
        leaves; the engine stays the parent's."""
        try:
            conn.flush()
        except OSError:
            pass
        return 0


CONSTRUCTING = {}


def adopt(handler, request):
    """Called by BaseRequestHandler.__init__: if the engine is making this handler,
    attach it to its connection and return True."""
    cdef Connection conn = CONSTRUCTING.get(id(request))
    if conn is None:
        return False
    conn.attach(handler)
    return True




def _before_fork():
    cdef Engine engine
    for engine in list(ENGINES):
        if not engine.forked:
            ts_reactor_before_fork(engine.r)


def _forked():
    cdef Engine engine
    for engine in list(ENGINES):
        engine.forked = True
        ts_leader_forked(engine.leader)
        ts_reactor_forked(engine.r)


os.register_at_fork(before=_before_fork, after_in_child=_forked)


cdef bint EXITING = False


def _at_exit():
    """The main thread has ended. With daemon_threads False the interpreter waits for the
    handlers that run, as it waits for the original's threads; idle connections end."""
    cdef Engine engine
    global EXITING
    EXITING = True
    for engine in list(ENGINES):
        # A serve_forever() in a thread that is no daemon keeps the program alive; then
        # it waits itself, at its end.
        if engine.serving is None or engine.serving.daemon:
            engine.finish_handlers()


# Before the interpreter joins its threads; atexit would be after that.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)


