"""The engine: threads, leadership, and the loop.

    leader: ts_reactor_next -> serve (dispatch) -> ts_reactor_done -> parked

One Engine a serving. With ThreadingMixIn its threads lead in turn (csrc/leader.h) and
the thread that called serve_forever() only waits; without, that thread is the single
worker. Python is entered with a request that is complete, and left with an answer that
is gathered. The leader keeps the GIL while ready connections last, and gives it up once
to wait for more.

What may not live here: what a request means (_dispatch.pyx), the public classes.
"""

import atexit
import os
import resource
import select
import socket
import sys
import threading
import weakref

from cpython.dict cimport PyDict_GetItemWithError
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.errno cimport EINVAL
from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset
from turboserver._address cimport address_of
from turboserver._channel cimport os_error, pause
from turboserver._socket_channel import PRELOADED
from turboserver._connection cimport Connection, set_latest
from turboserver._dispatch cimport Dispatcher
from turboserver._handlers cimport nanoseconds
from turboserver._native cimport *
from turboserver._tls cimport handshake, socket_of


# A follower that had nothing to do for this long ends, unless it is the last one.
cdef uint64_t IDLE_NS = 10_000_000_000

# Requests of one connection in a row, before others are let in.
cdef enum:
    FAIR_ROW = 64

# So many handlers at a time are nothing unusual, however few threads there may be.
cdef enum:
    FEW_THREADS = 8

# Threads of an engine whose server has no turbo_max_threads.
DEFAULT_MAX_THREADS = 16000

# Live engines, for the child of a fork.
cdef object ENGINES = weakref.WeakSet()


# Descriptors that are left to the program where the number of connections has no other bound.
SPARE_DESCRIPTORS = 64


def most_connections(server):
    """How many connections a server may have open; 0: any number."""
    most = getattr(server, "turbo_max_connections", None)
    if most is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = 0 if limit == resource.RLIM_INFINITY else max(limit - SPARE_DESCRIPTORS, 1)
    return min(most, 0x7fffffff)


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

    def shut(self):
        """End the connections on which handlers still run, so that these fail."""
        self._engine.shut()


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
            if failed == -EINVAL:
                raise ValueError(f"TURBOSERVER_POLLER={name!r} is not a poller of this platform")
        if failed != 0:
            raise os_error(-failed)
        memset(&config, 0, sizeof(config))
        self.max_threads = 1
        if threaded:
            self.max_threads = max(2, getattr(server, "turbo_max_threads", DEFAULT_MAX_THREADS))
        config.max_threads = self.max_threads
        config.flush = ts_reactor_flush
        failed = ts_leader_new(&self.leader, &config)
        if failed != 0:
            raise os_error(-failed)
        ts_predict_init(&self.predictor)
        self.dispatcher = Dispatcher.__new__(Dispatcher)
        self.dispatcher.server = server
        self.dispatcher.threaded = threaded
        self.dispatcher.r = self.r
        self.dispatcher.leader = self.leader
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
        """Start accepting from a listening descriptor, which is non-blocking until unlisten();
        start() or run() is to follow.

        False: the engine has ended meanwhile, another one is needed. Raises OSError.
        """
        cdef int failed
        self.dispatcher.prepare()
        self.r.announce = self.dispatcher.calls_verify or self.dispatcher.info.asks_timeout
        self.r.timeout_ns = max(self.dispatcher.info.timeout_ns, 0)
        self.r.max_open = most_connections(self.server)
        self.r.max_per_address = getattr(self.server, "turbo_max_connections_per_address", None) or 0
        ts_reactor_drain(self.r, False, False)
        if self.ended or self.forked or self.r.stopping:
            return False
        self.was_blocking = os.get_blocking(fd)
        failed = ts_set_nonblock(fd, True, NULL)
        if failed == 0:
            ts_set_nodelay(fd)
            failed = ts_reactor_listen(self.r, fd)
        if failed != 0:
            raise os_error(-failed)
        self.serving = threading.current_thread()
        return True

    def start(self):
        """Serve in threads, whom server_close() knows by now (threaded). If the engine has been
        stopped meanwhile, they end at once, and tell."""
        if not self.threads:
            self.start_thread(self.work)

    def unlisten(self, int fd):
        """Accept no more; connections that are open are served on (threaded)."""
        if self.forked:
            return
        ts_reactor_unlisten(self.r)
        # Other processes may share the socket, and with it the flag: who made it non-blocking
        # for all of them keeps it so. Without that, one of them would wait in accept().
        if fd >= 0 and self.was_blocking:
            ts_set_nonblock(fd, False, NULL)
        ts_reactor_wake(self.r)
        self.serving = None
        if EXITING:
            self.finish_handlers()

    def drain(self):
        """From now on a connection ends with its next answer, unless more requests of it have
        been read. Any thread."""
        if not self.forked:
            ts_reactor_drain(self.r, True, False)

    def finish(self, timeout):
        """End every connection without a request, and the others when what has been read of
        them is answered; wait for that for `timeout` seconds (None: for ever). In the thread
        that called serve_forever(), which accepts no more."""
        cdef uint64_t end = UINT64_MAX
        if self.forked:
            return
        if timeout is not None:
            end = ts_monotonic_ns() + <uint64_t>(<double>timeout * 1e9)
        ts_reactor_drain(self.r, True, True)
        self.idle_end = True
        ts_reactor_wake(self.r)
        if not self.threaded:
            self.serve_on(end)
        while self.threaded and self.r.n_open > 0 and self.threads and ts_monotonic_ns() < end:
            self.done.wait(0.02)

    def serve_out(self, timeout):
        """Without threads, after serve_forever() and in its thread: serve the connections that are
        open until there is none, for `timeout` seconds at the most."""
        if not self.threaded and not self.forked and timeout > 0:
            self.serve_on(ts_monotonic_ns() + <uint64_t>(<double>timeout * 1e9))

    cdef int serve_on(self, uint64_t end) except -1:
        """Serve the connections that are open, in this thread, until there is none, or the
        time has come."""
        cdef ts_worker *worker = ts_worker_join(self.leader)
        cdef ts_turn turn
        cdef ts_conn *c
        cdef ts_task task
        if worker == NULL:
            return 0
        memset(&turn, 0, sizeof(turn))
        try:
            ts_lead_wait(self.leader, worker, 0)
            while ts_monotonic_ns() < end and not self.forked:
                self.end_idle(worker, &turn)
                if self.r.n_open == 0:
                    break
                c = NULL
                with nogil:
                    task = ts_reactor_next(self.r, &turn, True, SIGNAL_NS, &c)
                    ts_worker_now(worker)
                if c != NULL:
                    self.serve(worker, &turn, c, task)
                else:
                    PyErr_CheckSignals()
        finally:
            ts_turn_free(&turn)
            if not self.forked:
                ts_worker_leave(self.leader, worker)
        return 0

    cdef int end_idle(self, ts_worker *worker, ts_turn *turn) except -1:
        """Once for finish(), by who leads: connections without a request end; those that have
        one after all are served."""
        cdef uint32_t at = 0
        cdef ts_conn *c
        while self.idle_end and ts_leads(worker):
            c = ts_reactor_reap_idle(self.r, &at)
            if c == NULL:
                self.idle_end = False
                break
            self.serve(worker, turn, c, ts_reactor_go_on(self.r, turn, c))
        return 0

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
        cdef list unsent = []
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
                elif c.phase == TS_PHASE_FLUSH:
                    unsent.append(<Connection>c.owner)
                else:
                    self.dispatcher.tidy(&turn, <Connection>c.owner, NULL)
        finally:
            ts_turn_free(&turn)
        if unsent and self.threaded:
            self.done.clear()
            self.start_thread(self.send_last, (unsent,))
        elif unsent:
            self.send_last(unsent)

    def send_last(self, unsent):
        """Close connections of which an answer is still to be sent, each when it is: one whose
        client does not read holds up no other. A thread of its own where handlers have
        threads: the original's would still be sending."""
        cdef ts_turn turn
        cdef Connection conn
        cdef uint64_t began = ts_monotonic_ns()
        cdef uint32_t before
        cdef bint moved
        cdef int fd
        memset(&turn, 0, sizeof(turn))
        try:
            while unsent:
                poller, waiting, moved = select.poll(), [], False
                for conn in unsent:
                    before = ts_out_unsent(&conn.c.out)
                    fd = conn.flush_some(began)
                    if fd < 0:
                        self.dispatcher.tidy(&turn, conn, NULL)
                    else:
                        moved = moved or ts_out_unsent(&conn.c.out) != before
                        waiting.append(conn)
                        poller.register(fd, select.POLLOUT)
                if waiting:
                    if not moved:
                        pause(TS_STALLED_NS // 10)      # the kernel may say that it takes more, and take nothing
                    poller.poll(TS_STALLED_NS // 1_000_000)
                unsent = waiting
        finally:
            ts_turn_free(&turn)
            self.thread_ends()

    def join(self, timeout=None):
        """Wait until no handler runs, or for timeout seconds; by default for the server's
        turbo_shutdown_timeout, and then a second more with the connections shut, on which a
        handler fails. True if none does."""
        if threading.current_thread() in self.threads:
            return False
        if timeout is not None:
            return self.done.wait(timeout)
        timeout = getattr(self.server, "turbo_shutdown_timeout", None)
        if self.done.wait(timeout):
            return True
        self.shut()
        return self.done.wait(1.0)

    def shut(self):
        """After stop(): shut every connection that is open, whoever has it."""
        if not self.forked:
            ts_reactor_shut(self.r)

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

    cdef int start_thread(self, target, args=()) except -1:
        thread = threading.Thread(target=target, args=args, daemon=True,
                                  name=f"turboserver-{len(self.threads) + 1}")
        self.threads.add(thread)
        self.r.pressed = self.threads_are_scarce()
        try:
            thread.start()
        except RuntimeError:
            self.threads.discard(thread)
            if not self.threads:
                self.done.set()
            raise
        return 0

    cdef bint threads_are_scarce(self):
        """Half of those that there may be, and more than a few."""
        return len(self.threads) >= FEW_THREADS and 2 * len(self.threads) >= self.max_threads

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
                role = TS_LEAD
                if not ts_lead_try(self.leader, worker):
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
            self.thread_ends()

    cdef int thread_ends(self) except -1:
        self.threads.discard(threading.current_thread())
        if not self.forked:
            self.r.pressed = self.threads_are_scarce()
        if not self.threads:
            self.done.set()
        return 0

    cdef int lead(self, ts_worker *worker, ts_turn *turn) except -1:
        """Lead until the lead is lost (0) or the engine has ended (1)."""
        cdef ts_conn *c
        cdef ts_task task
        while True:
            c = NULL
            task = ts_reactor_next(self.r, turn, False, 0, &c)
            if task == TS_TASK_NONE:
                with nogil:
                    ts_lead_polls(worker)
                    task = ts_reactor_next(self.r, turn, True, -1, &c)
                    ts_worker_now(worker)
            if self.idle_end and c == NULL:
                self.end_idle(worker, turn)
                if not ts_leads(worker):
                    return 0
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
                    self.start_thread(self.work)
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
        cdef ts_worker *worker = ts_worker_join(self.leader)
        cdef ts_turn turn
        cdef ts_conn *c
        cdef ts_task task
        cdef int64_t wait = nanoseconds(poll_interval)
        cdef int64_t part = wait if 0 <= wait < SIGNAL_NS else SIGNAL_NS
        cdef int64_t due = 0        # when the wait has been as long as poll_interval
        cdef uint32_t at = 0
        if worker == NULL:
            if self.r.stopping:
                return      # server_close() was called meanwhile
            raise RuntimeError("serve_forever() is running already")
        memset(&turn, 0, sizeof(turn))
        try:
            ts_lead_wait(self.leader, worker, 0)
            while not self.shutdown_requested():
                c = NULL
                task = ts_reactor_next(self.r, &turn, False, 0, &c)
                if task == TS_TASK_NONE:
                    with nogil:
                        task = ts_reactor_next(self.r, &turn, True, part, &c)
                        ts_worker_now(worker)
                if c != NULL:
                    self.serve(worker, &turn, c, task)
                    due = 0
                    if self.dispatcher.fatal is not None:
                        error, self.dispatcher.fatal = self.dispatcher.fatal, None
                        raise error
                else:
                    # Whatever ended the wait: a signal may have come before it, or to
                    # another thread, or have been simulated (_thread.interrupt_main).
                    PyErr_CheckSignals()
                if self.dispatcher.stranded:
                    raise self.dispatcher.stranded.pop()
                if self.forked or self.r.stopping:
                    break
                if self.dispatcher.calls_actions:
                    if c == NULL and part != wait:
                        if due == 0:
                            due = <int64_t>ts_monotonic_ns() + wait - part
                        if wait < 0 or <int64_t>ts_monotonic_ns() < due:
                            continue
                        due = 0
                    server.service_actions()
            # Nobody polls from here on: answers that wait for their clients leave now.
            while not self.forked:
                c = ts_reactor_reap_unsent(self.r, &at)
                if c == NULL:
                    break
                if c.phase == TS_PHASE_FLUSH:
                    (<Connection>c.owner).flush_last()
                self.serve(worker, &turn, c, ts_reactor_go_on(self.r, &turn, c))
        finally:
            ts_turn_free(&turn)
            if not self.forked:
                ts_worker_leave(self.leader, worker)

    cdef bint shutdown_requested(self) except -1:
        cdef PyObject *flag = PyDict_GetItemWithError(self.state, "_BaseServer__shutdown_request")
        return <object>flag if flag != NULL else self.server._BaseServer__shutdown_request

    # ---- the path of a request --------------------------------------------

    cdef int serve(self, ts_worker *worker, ts_turn *turn, ts_conn *c, ts_task task) except -1:
        """Take a connection through its tasks until it is parked or closed."""
        cdef Connection conn
        cdef ts_handler_exit result
        cdef bint keep
        cdef unsigned hint
        cdef uint32_t row = 0
        if task == TS_TASK_HANDSHAKE:
            task = self.shake_hands(worker, turn, c)
        if task == TS_TASK_NONE:
            return 0
        try:
            conn = self.dispatcher.connection_for(c)
        except BaseException:
            # A class that cannot even be looked at. The others are served on.
            sys.excepthook(*sys.exc_info())
            ts_reactor_close(self.r, turn, c)
            return 0
        if conn is None:
            self.serve_blocking(worker, turn, c)
            return 0
        while task != TS_TASK_NONE:
            if task == TS_TASK_REQUEST or task == TS_TASK_GENERAL or task == TS_TASK_SLOW:
                if task == TS_TASK_REQUEST:
                    conn.key = ts_predict_key(c.input.data + c.input.head + c.req.method.off,
                                              c.req.method.len,
                                              c.input.data + c.input.head + c.req.target.off,
                                              c.req.target.len)
                else:
                    conn.key = 0
                set_latest(conn)
                conn.worker = worker
                conn.parked = False
                row += 1
                # A client that never lets go has a thread of its own.
                hint = TS_HINT_BLOCKS if row >= FAIR_ROW else ts_predict(
                    &self.predictor, conn.key)
                ts_handler_enter(self.leader, worker, c, hint)
                keep = self.dispatcher.handle(conn, task, row == 1)
                if self.r.stopping and not self.forked:
                    conn.flush_last()
                result = ts_handler_exit_(self.leader, worker)
                conn.parked = True
                conn.worker = NULL
                ts_predict_learn(&self.predictor, conn.key, result.slow, result.blocked)
                if self.forked:
                    self.leave_child(conn)
                    return 0
                task = ts_reactor_done(self.r, turn, c, keep)
            elif task == TS_TASK_OPENED:
                if self.dispatcher.verified(conn):
                    task = ts_reactor_go_on(self.r, turn, c)
                else:
                    task = TS_TASK_GONE
            elif task == TS_TASK_HANDSHAKE:
                task = self.shake_hands(worker, turn, c)
            elif task == TS_TASK_BROKEN:
                ts_handler_enter(self.leader, worker, c, TS_HINT_SUSPECT)
                try:
                    raise os_error(c.out.error)
                except OSError:
                    self.dispatcher.failed(conn)
                ts_handler_exit_(self.leader, worker)
                task = TS_TASK_GONE
            elif task == TS_TASK_TIMEOUT:
                ts_handler_enter(self.leader, worker, c, TS_HINT_SUSPECT)
                self.dispatcher.timed_out(conn)
                ts_handler_exit_(self.leader, worker)
                task = TS_TASK_GONE
            else:
                if c.broken and self.r.stopping and c.phase == TS_PHASE_FLUSH and not c.abort and c.out.error == 0:
                    # stop() came between its being looked at and its being parked again.
                    c.broken = False
                    ts_handler_enter(self.leader, worker, c, TS_HINT_SUSPECT)
                    conn.flush_last()
                    ts_handler_exit_(self.leader, worker)
                self.dispatcher.tidy(turn, conn, worker)
                return 0
        return 0

    cdef ts_task shake_hands(self, ts_worker *worker, ts_turn *turn, ts_conn *c):
        """A step of the TLS handshake, in which callbacks of the program may run. What comes then:
        NONE where the connection has ended, or waits again."""
        cdef int how
        ts_handler_enter(self.leader, worker, c, TS_HINT_NONE)
        how = handshake(c, self.dispatcher.tls)
        ts_handler_exit_(self.leader, worker)
        if how > 0:
            ts_reactor_shaken(c)
        if how >= 0:
            return ts_reactor_go_on(self.r, turn, c)
        c.linger = True     # so that the alert arrives
        if c.owner != NULL:
            return TS_TASK_GONE
        ts_reactor_close(self.r, turn, c)
        if self.threaded and self.r.listener < 0 and self.r.n_open == 0:
            ts_reactor_wake(self.r)
        return TS_TASK_NONE

    cdef int serve_blocking(self, ts_worker *worker, ts_turn *turn, ts_conn *c) except -1:
        """The handler class was replaced, or changed, while the server runs, and is not
        for the reactor lane any more: the standard flow, on this thread."""
        listener = self.server.socket
        if c.tls != NULL:
            sock = socket_of(c, self.dispatcher.tls)
        else:
            sock = socket.socket(listener.family, listener.type, listener.proto, fileno=c.fd)
        address = address_of(&c.peer)
        PRELOADED[sock] = c.input.data[c.input.head:c.input.end] if c.input.data != NULL else b""
        c.lent = True
        ts_handler_enter(self.leader, worker, c, TS_HINT_BLOCKS)
        try:
            self.server.finish_request(sock, address)
        except BaseException:
            self.dispatcher.report(sock, address)
        ts_handler_exit_(self.leader, worker)
        PRELOADED.pop(sock, None)
        ts_reactor_forget(self.r, c)
        try:
            self.server.shutdown_request(sock)
        except BaseException:
            self.dispatcher.report(sock, address)
        ts_reactor_close(self.r, turn, c)
        return 0

    cdef int leave_child(self, Connection conn) except -1:
        """A handler forked, and this is the child, back from the handler: what it wrote
        leaves; the engine stays the parent's."""
        try:
            conn.flush()
        except OSError:
            pass
        return 0


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


