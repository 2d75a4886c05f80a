"""Channel: one byte stream to one peer, below rfile and wfile.

Two kinds exist: the engine's Connection (_connection.pyx), and SocketChannel here,
for the blocking lane, over a socket that Python owns. A channel belongs to the thread
that runs its handler; `send_all` may be called by any thread that holds the GIL.

Octets only. What may not live here: file semantics (_stream.pyx), HTTP.
"""

import os
from socket import AF_INET, AF_INET6, SOCK_STREAM

from libc.errno cimport EAGAIN, EBADF, EINTR
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset
from cpython.exc cimport PyErr_CheckSignals
from turboserver._native cimport (
    TS_IN_FIRST, TS_PATIENCE_FROM, TS_WAIT_TIMEOUT, ts_cork_done, ts_cork_push, ts_corks, ts_corks_forked,
    ts_corks_new, ts_gate, ts_gate_enter, ts_gate_leave, ts_in_free, ts_in_reserve, ts_in_unread,
    ts_monotonic_ns, ts_patience, ts_patience_set, ts_recv, ts_recv_wait, ts_send,
    ts_send_more, ts_wait_fd,
)


# Octets that the engine had read before it found that a connection is not for it:
# socket -> bytes. Only while a handler class is changed under a running server.
PRELOADED = {}


cdef object os_error(int number):
    """The OSError (of the right subclass) for an errno."""
    return OSError(number, os.strerror(number))


cdef bint wait_ready(int fd, bint write, int64_t timeout_ns) except -1:
    cdef int result
    cdef int64_t deadline = -1
    if timeout_ns >= 0:
        deadline = <int64_t>ts_monotonic_ns() + timeout_ns
    while True:
        with nogil:
            result = ts_wait_fd(fd, write, -1, timeout_ns)
        if result == -EINTR:
            PyErr_CheckSignals()
            if deadline >= 0:
                timeout_ns = deadline - <int64_t>ts_monotonic_ns()
                if timeout_ns < 0:
                    timeout_ns = 0
            continue
        if result < 0:
            raise os_error(-result)
        return result != TS_WAIT_TIMEOUT


cdef class Channel:

    cdef int handle(self) except -1:
        """The open descriptor; raises OSError(EBADF) if it is closed."""
        raise NotImplementedError

    cdef int64_t patience(self) except -2:
        """How long a wait may last, ns: -1 for ever, 0 not at all."""
        return -1

    cdef int settle(self) except -1:
        """Called before waiting for the peer: what was written must be out."""
        return 0

    cdef int wait_readable(self) except -1:
        """After -EAGAIN: False if it may not wait. TimeoutError, OSError; ValueError if the
        channel went away meanwhile."""
        cdef int64_t patience
        self.settle()
        patience = self.patience()
        if patience == 0:
            return False
        if not wait_ready(self.handle(), False, patience):
            raise TimeoutError("timed out")
        if self.buffer == NULL or self.parked:
            raise ValueError("I/O operation on closed file.")
        return True

    cdef Py_ssize_t receive(self, char *into, Py_ssize_t n) except -2:
        """One receive of 1..n octets; 0 at the end, -1 if it would have to wait and
        may not. TimeoutError, OSError."""
        cdef Py_ssize_t got
        while True:
            got = ts_recv(self.handle(), into, n)
            if got >= 0:
                return got
            if got != -EAGAIN:
                raise os_error(<int>-got)
            if not self.wait_readable():
                return -1

    cdef Py_ssize_t refill(self) except -2:
        """One receive into the buffer: as receive(). What was unread stays. No pointer into
        the buffer outlives a wait: another thread may refill it then."""
        cdef ts_in *b = self.buffer
        cdef Py_ssize_t got
        cdef int fd
        while True:
            fd = self.handle()
            if b.pos == b.end:
                b.head = b.pos = b.end = 0
            b.head = b.pos
            if ts_in_reserve(b, 1 if b.data != NULL and b.end < b.cap else TS_IN_FIRST) != 0:
                raise MemoryError
            got = ts_recv(fd, b.data + b.end, b.cap - b.end)
            if got >= 0:
                b.end += <uint32_t>got
                return got
            if got != -EAGAIN:
                raise os_error(<int>-got)
            if not self.wait_readable():
                return -1

    cdef int took(self, const char *data, Py_ssize_t n) except -1:
        """n octets went to the handler."""
        return 0

    cdef int send_all(self, const char *data, Py_ssize_t n) except -1:
        raise NotImplementedError

    cdef int send_part(self, const char *data, Py_ssize_t n) except -1:
        """send_all() of octets that more will follow soon."""
        return self.send_all(data, n)

    cdef int flush(self) except -1:
        return 0

    cdef int expose(self) except -1:
        """The descriptor, for the program to use as it likes: what was written before
        is out, and from now on every write leaves at once."""
        self.flush()
        return self.handle()

    cdef object socket(self):
        """The socket object, for the program to use as it likes."""
        return self.sock

    cdef int shut(self) except -1:
        """One of the streams was closed."""
        return 0


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


def channels(sock):
    """The channels of rfile and wfile over a connected socket.socket."""
    cdef SocketChannel reader = SocketChannel(sock, True)
    cdef SocketChannel writer = SocketChannel(sock, False)
    reader.writing = writer
    if CORKS != NULL and sock.family in (AF_INET, AF_INET6) and sock.type == SOCK_STREAM:
        writer.reading = &reader.own
    return reader, writer


cdef class SocketChannel(Channel):
    """The channel of a plain socket.socket: its time-out counts. What is written is the
    kernel's at once, and may wait there, for a millisecond, for what follows it.

    With keep_open it keeps the socket open until it is closed itself, as the files of
    socket.makefile() do.
    """

    def __cinit__(self, sock, bint keep_open):
        self.sock = sock
        self.buffer = &self.own
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
        timeout = self.sock.gettimeout()
        return -1 if timeout is None else <int64_t>(<double>timeout * 1e9)

    cdef int settle(self) except -1:
        return self.writing.flush() if self.writing is not None else 0

    cdef Py_ssize_t refill(self) except -2:
        # Between requests there is nothing to read: waiting at once saves two system calls.
        if self.own.pos != self.own.end or self.patience() >= 0:
            return Channel.refill(self)
        return self.wait_for_more()

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
            if got == -EAGAIN:  # the program has made the descriptor non-blocking
                return Channel.refill(self)
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
            self.corked = True
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
        cdef int64_t patience = self.patience()
        cdef int64_t deadline = -1
        cdef int64_t left = -1
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
            if not wait_ready(self.handle(), True, left):
                raise TimeoutError("timed out")
        if self.corked:
            self.corked = False
            ts_cork_done(CORKS, &self.cork)
        return 0

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
