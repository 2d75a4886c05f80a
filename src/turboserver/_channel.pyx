"""Channel: one byte stream to one peer, below rfile and wfile.

Two kinds exist: the engine's Connection (_connection.pyx), and SocketChannel
(_socket_channel.pyx), for the other lanes, over a socket that Python owns. A channel
belongs to the thread that runs its handler; `send_all` may be called by any thread that
holds the GIL. Here is what they share: receiving, and where the request's body ends.

What may not live here: file semantics (_stream.pyx), what a request means.
"""

import os

from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp
from cpython.exc cimport PyErr_CheckSignals
from turboserver._native cimport *
from turboserver.errors import BodyError


cdef enum:
    FILE_BLOCK = 262144     # octets of a file that are read at a time


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


cdef int pause(int64_t ns) except -1:
    cdef int64_t deadline = <int64_t>ts_monotonic_ns() + ns
    cdef int result
    while ns > 0:
        with nogil:
            result = ts_pause(ns)
        if result == 0:
            break
        PyErr_CheckSignals()
        ns = deadline - <int64_t>ts_monotonic_ns()
    return 0


cdef object body_error(ts_refusal why):
    """The exception that a handler meets for a refusal of its body."""
    return BodyError(ts_refusal_reason(why).decode(), ts_refusal_status(why))


cdef bint speaks(Channel channel, const char *data, Py_ssize_t n):
    """Whether what a handler writes is for the peer although the channel is mute: an answer
    by hand after an interim one."""
    if channel.mute == MUTE_INTERIM and n >= 5 and memcmp(data, b"HTTP/", 5) == 0:
        channel.mute = MUTE_NOT
        return True
    return False


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

    cdef bint wait_readable(self) except -1:
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

    # ---- the body -----------------------------------------------------------

    cdef Py_ssize_t shown(self) except -2:
        """How many of the buffered octets, from the first unread one on, are the reader's.
        0: more have to be received. -1: the body has ended. BodyError."""
        cdef ts_in *b = self.buffer
        cdef uint8_t kind = self.body.kind
        cdef size_t skip = 0, n = 0
        if kind == TS_BODY_NONE:
            if not (self.own_loop and self.is_answered()):
                return -1
            self.begin_head()
            kind = TS_BODY_OPAQUE
        if kind == TS_BODY_BAD:
            raise body_error(TS_REFUSE_BODY_CHUNKED)
        if b.pos == b.end:
            return 0
        ts_body_peek(self.body, b.data + b.pos, ts_in_unread(b), &self.rules.c.chunks, &skip, &n)
        b.pos += <uint32_t>skip
        if n > 0:
            if kind == TS_BODY_CHUNKED and 0 <= self.rules.c.body_max < self.content + <int64_t>n:
                raise body_error(TS_REFUSE_BODY_LENGTH)
            return n
        return 0 if self.body.kind == kind else self.shown()

    cdef int took(self, const char *data, Py_ssize_t n) except -1:
        """n octets of what was shown, from the first on, went to the reader."""
        self.content += n
        ts_body_took(self.body, data, n, &self.rules.c.chunks)
        return 0

    cdef int begin_body(self, int kind, int64_t length) except -1:
        """A head has been parsed: what comes after it."""
        ts_body_begin(self.body, <ts_body_kind>kind, length)
        self.body.decode = kind == TS_BODY_CHUNKED and self.rules.decode
        self.heading = False
        self.content = 0
        return 0

    cdef int note_head(self, const char *line, Py_ssize_t n) except -1:
        """Of that request line n octets are here. What answers a HEAD has no body."""
        self.to_head = n >= 5 and memcmp(line, b"HEAD ", 5) == 0
        return 0

    cdef int begin_tunnel(self) except -1:
        self.tunnel = True
        return 0

    cdef int cut_off(self) except -1:
        """The stream has ended: BodyError if that is in the middle of a body."""
        if self.body.kind == TS_BODY_LENGTH or self.body.kind == TS_BODY_CHUNKED:
            raise body_error(TS_REFUSE_BODY_CUT_OFF)
        return 0

    cdef bint pass_over(self):
        """Drop what is left of the body, so that the next request begins. False: there is
        too much of it, or it does not come, or its end is unknown."""
        cdef ts_in *b = self.buffer
        cdef size_t skip
        cdef int64_t budget = self.rules.c.drain_max
        self.hurry_ns = ts_monotonic_ns() + self.rules.c.drain_ns
        try:
            while True:
                if b.pos < b.end:
                    skip = ts_body_skip(self.body, b.data + b.pos, ts_in_unread(b),
                                        &self.rules.c.chunks)
                    b.pos += <uint32_t>skip
                    budget -= <int64_t>skip
                if ts_body_done(self.body):
                    return True
                if self.body.kind not in (TS_BODY_LENGTH, TS_BODY_CHUNKED) or budget < 0:
                    return False
                if self.refill() <= 0:
                    return False
        except (OSError, ValueError):
            return False
        finally:
            self.hurry_ns = 0

    cdef int begin_head(self) except -1:
        """The head of the next request is what comes."""
        ts_body_begin(self.body, TS_BODY_OPAQUE, 1)
        self.heading = True
        self.answered = self.to_head = False
        self.mute = MUTE_NOT
        self.status = 0
        return 0

    cdef bint is_answered(self):
        return self.answered

    cdef bint is_switched(self):
        """Whether the answer has made the stream the handler's, as long as it likes: 101, 2xx to
        CONNECT, or one that it wrote by hand."""
        return self.answered and (self.status < 200 or self.tunnel and self.status < 300)

    cdef int end_requests(self) except -1:
        """Nothing of what comes is a request any more; the answer to this one has to arrive."""
        ts_body_begin(self.body, TS_BODY_BAD, 0)
        self.heading = False
        return 0

    cdef bint next_request(self) except -1:
        """The next request is to begin. False: none can come any more."""
        if self.heading:
            return True
        if self.body.kind == TS_BODY_OPAQUE and self.body.left != 0 or not self.pass_over():
            return False
        self.begin_head()
        return True

    cdef bint wants_request(self) except -1:
        """A line is wanted as long as a request line may be. False: there is none."""
        if self.body.kind == TS_BODY_OPAQUE and self.body.left != 0:
            return True     # it is what comes, or else the stream is the handler's for good
        if not ts_body_done(self.body) and not self.is_answered() and self.body.kind != TS_BODY_BAD:
            return True     # a line of the body
        return self.next_request()

    # ---- writing --------------------------------------------------------------

    cdef int send_all(self, const char *data, Py_ssize_t n) except -1:
        raise NotImplementedError

    cdef int send_part(self, const char *data, Py_ssize_t n) except -1:
        """send_all() of octets that more will follow soon."""
        return self.send_all(data, n)

    cdef int64_t send_file(self, int file, int64_t offset, int64_t n) except -1:
        """Send up to n octets of a regular file, from offset on: how many; fewer if it is
        shorter. TimeoutError, OSError."""
        cdef int64_t at = offset
        cdef int64_t end = offset + n
        while at < end:
            block = os.pread(file, min(end - at, FILE_BLOCK), at)
            if not block:
                break
            self.send_all(<char *>(<bytes>block), len(block))
            at += len(block)
        return at - offset

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

    cdef int linger(self, wfile) except -1:
        """The connection is about to be closed."""
        return 0
