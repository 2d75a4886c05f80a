"""SocketChannel: the Channel of a socket object, for the lanes in which Python owns it.

What is written is the kernel's at once, and may wait there, for a millisecond, for what
follows it (csrc/cork.h). Deadlines hold where the handler class has set some
(_rules.pyx), beside the socket's own time-out.

What may not live here: file semantics (_stream.pyx), what a request means.
"""

import _socket
import http.server
import os
from socket import AF_INET, AF_INET6, SHUT_RD, SHUT_WR, SOCK_STREAM, socket as plain_socket

from libc.errno cimport EAGAIN, EBADF, EINTR
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from turboserver._channel cimport Channel, MUTE_NOT, body_error, os_error, pause, wait_ready
from turboserver._handlers cimport present_rules
from turboserver._native cimport *
from turboserver._rules cimport DEFAULTS


# Octets that the engine had read before it found that a connection is not for it:
# socket -> bytes. Only while a handler class is changed under a running server.
PRELOADED = {}


# What waits in the kernel for more to be sent with it (csrc/cork.h); NULL: nothing does.
cdef ts_corks *CORKS = NULL
if ts_corks_new(&CORKS) != 0:
    CORKS = NULL


# Before the GIL, for threads that have waited for their client.
cdef ts_gate GATE
memset(&GATE, 0, sizeof(GATE))


def _forked():
    memset(&GATE, 0, sizeof(GATE))
    if CORKS != NULL:
        ts_corks_forked(CORKS)

os.register_at_fork(after_in_child=_forked)


PATIENCE_FROM = TS_PATIENCE_FROM


def be_patient():
    """From now on this thread waits for its turn (csrc/patience.h)."""
    cdef ts_patience patience
    memset(&patience, 0, sizeof(patience))
    ts_patience_set(&patience, True)


# How the standard classes read one request after the other.
cdef set LOOPS = {http.server.BaseHTTPRequestHandler.handle,
                  http.server.BaseHTTPRequestHandler.handle_one_request}


def register_loop(*functions):
    """Functions that tell by themselves when the next request is to begin."""
    LOOPS.update(functions)


# Readers that wait for a request of which nothing is here.
cdef set WAITING = set()
cdef bint ENDING = False    # some server has ended

# A server's `_turbo_idle_ends`: for whom that waits for a request the stream has ended.
IDLE_STAYS = 0
IDLE_BLOCKS = 1     # HTTP, and in the thread that is in serve_forever(), which it would hold
IDLE_HTTP = 2
IDLE_ALL = 3        # whatever is spoken


def end_idle(server):
    """The server has set its `_turbo_idle_ends`: that holds for those that wait already."""
    global ENDING
    cdef SocketChannel reader
    ENDING = True
    for reader in list(WAITING):
        if reader.server is server and reader.ends():
            reader.end_input()


def begin_waiting(sock, server):
    """A wait for an HTTP client that is not yet a channel's. Until end_waiting() of what is
    returned it ends as an idle connection does."""
    cdef SocketChannel reader = SocketChannel(sock, False, False)
    reader.server = server
    reader.is_http = True
    reader.begin_waiting()
    return reader


def end_waiting(reader):
    WAITING.discard(reader)


# Of a plain socket.socket, whose own `family` and `type` look for the member of an enumeration: 6,000 instructions each.
cdef object FAMILY = _socket.socket.family.__get__
cdef object TYPE = _socket.socket.type.__get__


cpdef bint is_tcp(sock) except -1:
    """Whether a socket.socket, and no subclass, is one of TCP."""
    return FAMILY(sock) in (AF_INET, AF_INET6) and TYPE(sock) == SOCK_STREAM


def channels(sock, plain, handler):
    """The channels of rfile and wfile over a connected socket.socket, or one that is as
    good (TLS, gevent's; then `plain` is False). handler: who will read and write."""
    cdef SocketChannel reader = SocketChannel(sock, True, plain)
    cdef SocketChannel writer = SocketChannel(sock, False, plain)
    reader.server = getattr(handler, "server", None)
    if hasattr(type(handler), "turbo_head_timeout"):
        reader.is_http = True
        reader.rules = writer.rules = present_rules(type(handler))
        reader.own_loop = True      # until somebody says when a request begins
    if getattr(handler, "wbufsize", 0) != 0:
        return reader, writer       # wfile will be another file
    reader.writing = writer
    if CORKS != NULL and reader.is_plain and is_tcp(sock):
        writer.reading = &reader.own
    return reader, writer


cdef class SocketChannel(Channel):
    """The channel of a socket object: its time-out counts.

    Of a plain socket.socket the descriptor is used; others (TLS, gevent's) are asked.
    With keep_open it keeps the socket open until it is closed itself, as the files of
    socket.makefile() do.
    """

    def __cinit__(self, sock, bint keep_open, bint plain):
        self.sock = sock
        self.buffer = &self.own
        self.body = &self.own_body
        self.rules = DEFAULTS
        ts_body_begin(self.body, TS_BODY_OPAQUE, 1)
        self.heading = True
        self.is_plain = plain
        self.keeps_open = keep_open
        if keep_open:
            sock._io_refs += 1
            octets = PRELOADED.pop(sock, b"") if PRELOADED else b""
            if octets:
                if ts_in_reserve(&self.own, <uint32_t>len(octets)) != 0:
                    raise MemoryError
                memcpy(self.own.data, <char *>octets, len(octets))
                self.own.end = <uint32_t>len(octets)

    def __del__(self):
        self.shut()

    def __dealloc__(self):
        ts_in_free(&self.own)

    cdef int handle(self) except -1:
        cdef int fd
        if self.sock is None:
            raise ValueError("I/O operation on closed file.")
        fd = self.sock.fileno()
        if fd < 0:
            raise os_error(EBADF)
        return fd

    cdef int64_t patience(self) except -2:
        cdef int64_t left
        timeout = self.sock.gettimeout()
        cdef int64_t patience = -1 if timeout is None else <int64_t>(<double>timeout * 1e9)
        if self.hurry_ns != 0 and patience != 0:
            left = max(<int64_t>(self.hurry_ns - ts_monotonic_ns()), 1)
            if patience < 0 or left < patience:
                return left
        return patience

    cdef int settle(self) except -1:
        return self.writing.flush() if self.writing is not None else 0

    cdef Py_ssize_t refill(self) except -2:
        if not self.heading or self.own.pos != self.own.end:
            return self.receive_some()
        try:
            self.begin_waiting()
            return self.receive_some()
        finally:
            WAITING.discard(self)

    cdef int begin_waiting(self) except -1:
        self.waits_in = <unsigned long>PyThread_get_thread_ident()
        WAITING.add(self)
        if ENDING and self.ends():
            self.end_input()    # end_idle() has not seen this one
        return 0

    cdef bint ends(self) except -1:
        """Whether the server does not wait for it."""
        how = getattr(self.server, "_turbo_idle_ends", IDLE_STAYS)
        if type(how) is not int or how == IDLE_STAYS:
            return False
        if how == IDLE_BLOCKS:
            return self.is_http and self.server._turbo_serves_in == self.waits_in
        return self.is_http or how == IDLE_ALL

    cdef int end_input(self) except -1:
        """What is here may still be read, then the stream ends."""
        sock = self.sock
        if sock is not None:
            try:
                # Not the method of an SSLSocket, which forgets that it is one.
                (plain_socket if isinstance(sock, plain_socket) else type(sock)).shutdown(sock, SHUT_RD)
            except OSError:
                pass    # it has ended anyway
        return 0

    cdef Py_ssize_t receive_some(self) except -2:
        # Between requests there is nothing to read: waiting at once saves two system calls.
        if self.own.pos == self.own.end and not self.rules.timed and self.is_plain and self.patience() < 0:
            return self.wait_for_more()
        if not self.is_plain:
            return self.refill_by_asking()
        return self.came(Channel.refill(self))

    cdef Py_ssize_t receive(self, char *into, Py_ssize_t n) except -2:
        cdef bytes octets
        if self.is_plain:
            return self.came(Channel.receive(self, into, n))
        octets = self.ask(n)
        if octets is None:
            return -1
        memcpy(into, <char *>octets, len(octets))
        return self.came(len(octets))

    cdef Py_ssize_t refill_by_asking(self) except -2:
        """refill() by the socket's own recv(), during which other threads may read and close."""
        cdef ts_in *b = &self.own
        cdef bytes octets = self.ask(max(b.cap - b.end, <uint32_t>TS_IN_FIRST))
        cdef Py_ssize_t got
        if octets is None:
            return -1
        got = len(octets)
        if b.pos == b.end:
            b.head = b.pos = b.end = 0
        b.head = b.pos
        if ts_in_reserve(b, <uint32_t>got if b.data != NULL else TS_IN_FIRST) != 0:
            raise MemoryError
        memcpy(b.data + b.end, <char *>octets, got)
        b.end += <uint32_t>got
        return self.came(got)

    cdef bytes ask(self, Py_ssize_t n):
        """1..n octets by the socket's own recv(); b"" at the end, None if it would have to wait
        and may not. ValueError if the channel went away meanwhile."""
        cdef bytes octets
        cdef int64_t patience
        self.settle()
        sock = self.sock
        if sock is None:
            raise ValueError("I/O operation on closed file.")
        usual = sock.gettimeout()
        patience = self.patience_by_rules()
        try:
            if patience > 0:
                sock.settimeout(patience / 1e9)
            octets = sock.recv(n)
        except BlockingIOError:
            return None
        except TimeoutError:
            self.late()
            raise
        finally:
            if patience > 0:
                sock.settimeout(usual)
        if self.sock is None:
            raise ValueError("I/O operation on closed file.")
        if len(octets) > n:
            raise ValueError("recv() has returned more than was asked for")
        return octets

    # ---- deadlines, where the program has set some --------------------------

    cdef uint64_t due(self) except? 0:
        """When the present wait has been too long (monotonic, ns); UINT64_MAX: never."""
        cdef ts_rules *rules = &self.rules.c
        cdef uint64_t now = ts_monotonic_ns()
        if self.heading:
            if self.began_ns == 0:
                return now + rules.idle_ns if rules.idle_ns > 0 else UINT64_MAX
            return self.began_ns + rules.head_ns if rules.head_ns > 0 else UINT64_MAX
        if self.body.kind == TS_BODY_OPAQUE and self.is_switched():
            return UINT64_MAX
        if self.began_ns == 0:
            self.began_ns = self.progress_ns = now
        else:       # what the handler did in between is not the peer's time
            self.began_ns += now - self.paused_ns
            self.progress_ns += now - self.paused_ns
        return ts_rules_due(rules, rules.body_ns, self.began_ns, self.progress_ns, self.moved)

    cdef int64_t patience_by_rules(self) except -2:
        """patience(), or less."""
        cdef int64_t patience = self.patience()
        cdef uint64_t due
        cdef int64_t left
        if not self.rules.timed or patience == 0 or self.hurry_ns != 0:
            return patience
        due = self.due()
        if due == UINT64_MAX:
            return patience
        left = max(<int64_t>(due - ts_monotonic_ns()), 1)
        return left if patience < 0 or left < patience else patience

    cdef int late(self) except -1:
        """A wait was too long. BodyError if that is to be answered."""
        if not self.rules.timed or self.hurry_ns != 0:
            return 0
        self.paused_ns = ts_monotonic_ns()
        if self.due() > self.paused_ns:
            return 0
        if not self.heading:
            raise body_error(TS_REFUSE_BODY_SLOW)
        if self.began_ns != 0:
            raise body_error(TS_REFUSE_HEAD_SLOW)
        return 0

    cdef Py_ssize_t came(self, Py_ssize_t n) except -2:
        """n octets have been received (which is returned)."""
        if self.rules.timed and n > 0:
            self.paused_ns = self.progress_ns = ts_monotonic_ns()
            self.moved += n
            if self.heading and self.began_ns == 0:
                self.began_ns = self.progress_ns
        return n

    cdef bint wait_readable(self) except -1:
        cdef int64_t patience
        self.settle()
        patience = self.patience_by_rules()
        if patience == 0:
            return False
        # The program may have made the descriptor non-blocking behind the socket object's back.
        if self.hurry_ns == 0 and self.sock.gettimeout() is None and not os.get_blocking(self.handle()):
            return False
        if not wait_ready(self.handle(), False, patience):
            self.late()
            raise TimeoutError("timed out")
        if self.buffer == NULL:
            raise ValueError("I/O operation on closed file.")
        self.paused_ns = ts_monotonic_ns() if self.rules.timed else 0
        return True

    cdef int begin_head(self) except -1:
        Channel.begin_head(self)
        self.began_ns = self.moved = 0
        if self.rules.timed and ts_in_unread(&self.own) > 0:
            self.began_ns = ts_monotonic_ns()
        if self.writing is not None:
            self.writing.answered = self.writing.to_head = False
            self.writing.mute = MUTE_NOT
            self.writing.status = 0
        return 0

    cdef bint is_switched(self):
        # Where the writer is another file, nothing is known.
        return self.writing is None or Channel.is_switched(self.writing)

    cdef int end_requests(self) except -1:
        Channel.end_requests(self)
        self.lingers = True
        return 0

    cdef bint is_answered(self):
        return self.writing is not None and self.writing.answered

    cdef int begin_body(self, int kind, int64_t length) except -1:
        Channel.begin_body(self, kind, length)
        self.began_ns = self.moved = 0
        return 0

    cdef int note_head(self, const char *line, Py_ssize_t n) except -1:
        Channel.note_head(self, line, n)
        if self.writing is not None:
            self.writing.to_head = self.to_head
        return 0

    cdef int begin_tunnel(self) except -1:
        self.tunnel = True
        if self.writing is not None:
            self.writing.tunnel = True
        return 0

    cdef Py_ssize_t wait_for_more(self) except -2:
        """refill() of an empty buffer, for a socket without a time-out."""
        cdef char space[TS_IN_FIRST]
        cdef ts_in *b = &self.own
        cdef Py_ssize_t got
        cdef int fd
        self.settle()
        while True:
            fd = self.handle()
            with nogil:
                got = ts_recv_wait(fd, space, TS_IN_FIRST)
                ts_gate_enter(&GATE)
            ts_gate_leave(&GATE)
            self.handle()       # it may have been closed meanwhile
            if got == -EINTR:
                PyErr_CheckSignals()
                continue
            if got == -EAGAIN:
                return -1       # the program has made the descriptor non-blocking, or set SO_RCVTIMEO
            if got < 0:
                raise os_error(<int>-got)
            if b.pos == b.end:  # else another thread was here, and these come after its
                b.head = b.pos = b.end = 0
            if ts_in_reserve(b, <uint32_t>got if b.data != NULL else TS_IN_FIRST) != 0:
                raise MemoryError
            memcpy(b.data + b.end, space, got)
            b.end += <uint32_t>got
            return got

    cdef int send_part(self, const char *data, Py_ssize_t n) except -1:
        cdef Py_ssize_t sent
        if self.reading != NULL and n > 0:
            self.answered = self.corked = True
            sent = ts_send_more(CORKS, &self.cork, self.handle(), data, n)
            if sent == n:
                return 0
            if sent > 0:
                data += sent
                n -= sent
        return self.send_now(data, n)

    cdef int send_all(self, const char *data, Py_ssize_t n) except -1:
        # Answers to what came together leave together.
        if self.reading != NULL and ts_in_unread(self.reading) > 0:
            return self.send_part(data, n)
        return self.send_now(data, n)

    cdef int flush(self) except -1:
        if self.corked:
            self.corked = False
            ts_cork_push(CORKS, &self.cork)
        return 0

    cdef int send_now(self, const char *data, Py_ssize_t n) except -1:
        # As socket.sendall(): the time-out is for the whole.
        cdef Py_ssize_t sent
        cdef Py_ssize_t before = -1    # octets left at the last wait
        cdef int64_t patience
        cdef int64_t deadline = -1
        cdef int64_t left = -1
        cdef bytes octets
        self.answered = True
        if not self.is_plain:
            octets = data[:n]
            sock = self.sock
            if sock is None:
                raise ValueError("I/O operation on closed file.")
            usual = sock.gettimeout()
            if self.rules.timed and usual is None and self.rules.c.write_ns > 0:
                sock.settimeout(self.rules.c.write_ns / 1e9)
            try:
                sock.sendall(octets)
            finally:
                if sock.gettimeout() != usual:
                    sock.settimeout(usual)
            return 0
        patience = self.patience()
        self.began_ns = self.moved = 0
        while n > 0:
            sent = ts_send(self.handle(), data, n)
            if sent >= 0:
                data += sent
                n -= sent
                continue
            if sent != -EAGAIN:
                raise os_error(<int>-sent)
            if patience == 0:
                raise os_error(EAGAIN)
            if patience > 0:
                if deadline < 0:
                    deadline = <int64_t>ts_monotonic_ns() + patience
                left = deadline - <int64_t>ts_monotonic_ns()
                if left <= 0:
                    raise TimeoutError("timed out")
            self.wait_writable(left, n, n == before)
            before = n
        if self.corked:
            self.corked = False
            ts_cork_done(CORKS, &self.cork)
        return 0

    cdef int wait_writable(self, int64_t patience, Py_ssize_t unsent, bint stalled) except -1:
        """unsent: octets that are not the kernel's yet. stalled: the kernel has said that it
        takes more, and taken nothing. TimeoutError."""
        cdef ts_rules *rules = &self.rules.c
        cdef uint64_t now, left
        cdef uint64_t due = UINT64_MAX
        cdef int64_t wait
        while True:
            wait = patience
            if self.rules.timed:
                now = ts_monotonic_ns()
                left = ts_unacknowledged(self.handle()) + <uint64_t>unsent
                if self.began_ns == 0:
                    self.began_ns = self.progress_ns = now
                elif left < self.untaken:
                    self.moved += self.untaken - left
                    self.progress_ns = now
                self.untaken = left
                due = ts_rules_due(rules, rules.write_ns, self.began_ns, self.progress_ns, self.moved)
                if due <= now:
                    raise TimeoutError("timed out")
                if wait < 0 or due - now < <uint64_t>wait:
                    wait = <int64_t>min(due - now, <uint64_t>1000_000_000_000)
            if stalled:
                stalled = False
                pause(TS_STALLED_NS if wait < 0 else min(wait, <int64_t>TS_STALLED_NS))
            if wait_ready(self.handle(), True, wait):
                return 0
            if not self.rules.timed or 0 <= patience <= wait:
                raise TimeoutError("timed out")

    cdef int shut(self) except -1:
        sock, self.sock = self.sock, None
        if self.writing is not None:
            self.writing.reading = NULL
            self.writing = None
        self.flush()
        if sock is not None:
            ts_in_free(&self.own)
            if self.keeps_open:
                sock._decref_socketios()
        return 0

    # ---- the end ---------------------------------------------------------------

    cdef int linger(self, wfile) except -1:
        """Before the socket is closed: where the peer may still be sending, our side is shut
        and the rest is dropped, for a moment; or a reset would destroy the answer that is
        on its way to it."""
        cdef int64_t left = self.rules.c.drain_max
        cdef uint64_t end
        cdef uint8_t kind = self.body.kind
        if self.heading or self.sock is None:
            return 0
        if (not self.lingers and kind != TS_BODY_LENGTH and kind != TS_BODY_CHUNKED and kind != TS_BODY_BAD
                and (kind == TS_BODY_OPAQUE or ts_in_unread(&self.own) == 0)):
            return 0
        end = ts_monotonic_ns() + TS_LINGER_NS
        try:
            if wfile is not None and not wfile.closed:
                wfile.flush()
            self.sock.shutdown(SHUT_WR)
            while left > 0 and ts_monotonic_ns() < end:
                self.sock.settimeout(max((end - ts_monotonic_ns()) / 1e9, 0.001))
                octets = self.sock.recv(65536)
                if not octets:
                    break
                left -= len(octets)
        except (OSError, ValueError):
            pass    # it is gone, or slow
        return 0
