"""Connection: the Python side of a ts_conn, and the attributes a handler finds.

One Connection per accepted socket of the reactor lane, made with its handler object
when the first request is there, and closed (c == NULL) when the socket is.

The handler's attributes that come from the request (command, path, headers, rfile ...)
are class-level, non-data descriptors: they ask the Connection, which makes the value
when it is first wanted. What a program assigns lands in the instance and wins, as for
any attribute; `forget_request` removes such leftovers when the next request begins, as
the original overwrites them. `attrs` is the instance's dictionary; as long as it holds
nothing but our own entries, no assignment can be in the way of a native path.

Owner: the thread that runs the handler. Other threads may write (`send_all`) while
they hold the GIL. What may not live here: the event loop (_engine.pyx), parsing
(_request.pyx), response lines (_response.pyx).
"""

import os
from socket import socket as Socket

from cpython.dict cimport PyDict_Contains, PyDict_SetItem
from cpython.ref cimport PyObject, Py_REFCNT
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.errno cimport EAGAIN, EBADF, EINVAL, ENOSYS, EOPNOTSUPP
from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset
from turboserver._channel cimport Channel, MUTE_NOT, body_error, speaks, os_error, pause, wait_ready
from turboserver._headers cimport build_headers
from turboserver._native cimport *
from turboserver._stream cimport RequestReader, ResponseWriter


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define TS_FREE_THREADED 1
    #else
    #define TS_FREE_THREADED 0
    #endif
    """
    bint FREE_THREADED "TS_FREE_THREADED"


cdef tuple VERSIONS = tuple([f"HTTP/1.{minor}" for minor in range(10)])

# Assigned anew for every request by the original's parsing.
cdef tuple PER_REQUEST = ("raw_requestline", "requestline", "command", "path",
                          "request_version", "headers", "close_connection")


cdef int64_t shorter(int64_t a, int64_t b):
    """Of two waits; -1 is for ever."""
    return b if a < 0 or 0 <= b < a else a


cdef int64_t wait_until(uint64_t due):
    """How long a wait is that ends then (monotonic, ns); -1: for ever."""
    cdef uint64_t now = ts_monotonic_ns()
    if due == UINT64_MAX:
        return -1
    return <int64_t>(due - now) if due > now else 0


# How long an answer may wait for its client when the server ends.
cdef int64_t LAST_NS = 30_000_000_000


# The memory of the head that was sent last, for the next one, whosever it is.
cdef ts_head SPARE
cdef enum:
    SPARE_MAX = 4096


cdef class Connection(Channel):

    def __dealloc__(self):
        ts_head_free(&self.head)

    # ---- the channel: see _channel.pyx ------------------------------------

    cdef int handle(self) except -1:
        cdef int fd
        if self.c == NULL:
            raise ValueError("I/O operation on closed file.")
        if self.sock is not None:
            fd = self.sock.fileno()
            if fd < 0:
                raise os_error(EBADF)
            return fd
        return self.c.fd

    cdef int64_t patience(self) except -2:
        if self.sock is not None:
            timeout = self.sock.gettimeout()
            return -1 if timeout is None else <int64_t>(<double>timeout * 1e9)
        return self.timeout_ns

    cdef int settle(self) except -1:
        if self.continue_due:
            self.continue_due = False
            if not self.answered:
                self.send_all(b"HTTP/1.1 100 Continue\r\n\r\n", 25)
                self.answered = False
        return self.flush()

    cdef int end_requests(self) except -1:
        Channel.end_requests(self)
        self.c.linger = True
        return 0

    cdef bint wait_readable(self) except -1:
        cdef int64_t own, wait
        self.settle()
        own = self.patience()
        if own == 0 or self.hurry_ns != 0 or self.body.kind == TS_BODY_OPAQUE and (
                self.heading or self.c.through or self.is_switched()):
            return Channel.wait_readable(self)
        wait = wait_until(ts_reactor_wait_begins(self.r, self.c, False))
        if not wait_ready(self.handle(), False, shorter(own, wait)):
            self.handle()
            ts_reactor_wait_ended(self.c, False)
            if 0 <= own < wait or wait < 0:
                raise TimeoutError("timed out")
            raise body_error(TS_REFUSE_BODY_SLOW)
        if self.buffer == NULL or self.parked:
            raise ValueError("I/O operation on closed file.")
        ts_reactor_wait_ended(self.c, False)
        return True

    cdef Py_ssize_t receive(self, char *into, Py_ssize_t n) except -2:
        cdef Py_ssize_t got
        if self.c.eof:
            return 0
        got = Channel.receive(self, into, n)
        if self.c != NULL:
            if got == 0:
                self.c.eof = True
            elif got > 0:
                self.c.input_clock.moved += got
        return got

    cdef int make_room(self) except -1:
        """The head stays where its spans point; a consumed body makes room."""
        cdef ts_conn *c = self.c
        if c.input.pos == c.input.end:
            if self.stage == STAGE_PLAIN:
                c.input.pos = c.input.end = c.input.head + c.req.head_len
            elif self.stage != STAGE_FRESH:
                c.input.head = c.input.pos = c.input.end = 0
        return 0

    cdef Py_ssize_t refill(self) except -2:
        cdef ts_conn *c = self.c
        cdef uint32_t before
        self.make_room()
        while True:
            if c.eof:
                return 0
            self.handle()
            before = c.input.end - c.input.pos
            if ts_conn_fill(c) != 0:
                raise MemoryError
            if c.broken:
                raise os_error(c.error)
            if c.eof:
                return 0
            if c.input.end - c.input.pos > before:
                before = c.input.end - c.input.pos - before
                c.input_clock.moved += before
                return before
            if not self.wait_readable():
                return -1
            c = self.c

    cdef int send_all(self, const char *data, Py_ssize_t n) except -1:
        cdef size_t taken = 0
        cdef int result
        cdef unsigned waits = 0
        cdef uint32_t left = 0
        self.answered = True
        while True:
            self.handle()
            result = ts_out_write(&self.c.out, self.c.fd, data, n, self.c.through, &taken)
            if result == TS_OUT_KEPT or result == TS_OUT_FIRST:
                if self.parked:
                    return self.flush()
                if result == TS_OUT_FIRST and self.leader != NULL:
                    ts_handler_dirty(self.leader, self.worker)
                return 0
            if result == TS_OUT_SENT:
                return 0
            if result < 0:
                raise os_error(-result)
            data += taken
            n -= <Py_ssize_t>taken
            # What was gathered before goes first: that counts, too.
            if taken > 0 or ts_out_unsent(&self.c.out) != left:
                left = ts_out_unsent(&self.c.out)
                waits = 0
            self.wait_writable(waits)
            waits += 1

    cdef int flush(self) except -1:
        return self.flush_gathered(False)

    cdef int flush_gathered(self, bint part) except -1:
        """part: a file follows."""
        cdef int result
        cdef unsigned waits = 0
        cdef uint32_t left = 0
        while ts_out_unsent(&self.c.out) > 0 or self.c.out.error != 0:
            result = (ts_out_flush_part if part else ts_out_flush)(&self.c.out, self.handle())
            if result < 0:
                raise os_error(-result)
            if result == TS_OUT_SENT:
                break
            if left != ts_out_unsent(&self.c.out):
                left = ts_out_unsent(&self.c.out)
                waits = 0
            self.wait_writable(waits)
            waits += 1
        return 0

    cdef int64_t send_file(self, int file, int64_t offset, int64_t n) except -1:
        """By sendfile(), but for what is better off in one packet with its head."""
        if n < SMALL_FILE:
            return Channel.send_file(self, file, offset, n)
        cdef int64_t end = offset + n
        cdef int64_t at = offset
        cdef ssize_t got
        cdef int fd
        cdef unsigned waits = 0
        self.flush_gathered(n > 0)
        self.answered = True
        while at < end:
            fd = self.handle()
            with nogil:
                got = ts_send_file(fd, file, at, <size_t>(end - at))
            if got > 0:
                at += got
                waits = 0
            elif got == 0:
                break
            elif got == -EAGAIN:
                self.wait_writable(waits)
                waits += 1
            elif at == offset and got in (-EINVAL, -ENOSYS, -EOPNOTSUPP):
                at += Channel.send_file(self, file, at, end - at)   # not that way, then
                break
            else:
                self.c.broken = True
                raise os_error(<int>-got)
        if at == offset and n > 0:
            ts_set_nodelay(self.handle())   # what was to go with it is pushed
        return at - offset

    cdef int flush_last(self) except -1:
        """The server ends: what is left of the answer gets a bounded time to leave."""
        cdef int64_t patience
        try:
            patience = self.patience()
            if patience < 0 or patience > LAST_NS:
                self.timeout_ns = LAST_NS
                if self.sock is not None:
                    self.sock.settimeout(LAST_NS / 1e9)
            self.flush()
        except (OSError, ValueError):
            pass    # the peer is gone, or does not read
        return 0

    cdef int flush_some(self, uint64_t began) except -2:
        """flush_last() without waiting, which began then (monotonic, ns): the descriptor that is
        to be waited for, or -1 when it is over."""
        cdef int64_t patience
        cdef int fd
        try:
            fd = self.handle()
            if ts_out_flush(&self.c.out, fd) != TS_OUT_BLOCKED:
                return -1
            patience = self.patience()
        except (OSError, ValueError):
            return -1
        if patience < 0 or patience > LAST_NS:
            patience = LAST_NS
        return fd if ts_monotonic_ns() < began + <uint64_t>patience else -1

    cdef int wait_writable(self, unsigned stalls) except -1:
        """stalls: how often in a row the kernel has said that it takes more, and taken
        nothing."""
        cdef int64_t own = self.patience()
        cdef int64_t wait
        if own == 0:
            raise os_error(EAGAIN)
        if stalls > 0:      # to be asked is no use then, but this is the peer's time, too
            wait = wait_until(ts_reactor_wait_begins(self.r, self.c, True))
            pause(shorter(shorter(own, wait), <int64_t>TS_STALLED_NS << min(stalls - 1, 3)))
            self.handle()
            ts_reactor_wait_ended(self.c, True)
        while True:
            wait = wait_until(ts_reactor_wait_begins(self.r, self.c, True))
            if wait != 0 and wait_ready(self.handle(), True, shorter(own, wait)):
                break
            self.handle()
            if 0 <= own < wait or wait < 0 or not ts_reactor_wait_ended(self.c, True):
                # What is left of the answer has nobody to read it.
                self.c.broken = True
                self.c.abort = own < 0
                raise TimeoutError("timed out")
        self.handle()
        ts_reactor_wait_ended(self.c, True)
        return 0

    cdef int expose(self) except -1:
        self.handle()
        self.flush()
        self.c.through = True
        return self.handle()

    # ---- the handler ------------------------------------------------------

    cdef int attach(self, object handler) except -1:
        """Makes `handler` the one of this connection: what BaseRequestHandler.__init__
        assigns, and what lets its attributes find us."""
        cdef dict attrs = handler.__dict__
        attrs["_turbo"] = self
        attrs["client_address"] = self.client_address
        attrs["server"] = self.server
        self.handler = handler
        self.attrs = attrs
        self.own = OWN_ATTRS
        return 0

    cdef object socket(self):
        """The socket object. It owns the descriptor from now on, and every write
        leaves at once, so that it cannot overtake what the program sends itself."""
        if self.sock is None:
            if self.c == NULL:
                raise self.lacks("connection")
            try:
                self.flush()
            except OSError:
                pass  # whoever writes next meets it
            if self.sock is not None or self.c == NULL:
                return self.socket()    # another thread was here while this one waited
            self.take_socket(self.make_socket())
        self.c.through = True
        return self.sock

    cdef object make_socket(self):
        listener = self.server.socket
        return Socket(listener.family, listener.type, listener.proto, fileno=self.c.fd)

    cdef int take_socket(self, sock) except -1:
        self.sock = sock
        sock._io_refs += 1      # rfile and wfile: close() waits for them
        self.c.lent = True
        if self.timeout_ns >= 0:
            sock.settimeout(self.timeout_ns / 1e9)
        return 0

    # ---- the request ------------------------------------------------------

    cdef int forget_request(self) except -1:
        # Mostly nobody has asked for them.
        if self.command is not None:
            self.command = None
        if self.path is not None:
            self.path = None
        if self.requestline is not None:
            self.requestline = None
        if self.raw_requestline is not None:
            self.raw_requestline = None
        if self.headers is not None:
            self.headers = None
        if PyDict_GET_SIZE(self.attrs) > self.own:
            for name in PER_REQUEST:
                self.attrs.pop(name, None)
            if self.head.len == 0 and self.attrs.get("_headers_buffer", 0) == []:
                del self.attrs["_headers_buffer"]
                self.head_seen = True
        return 0

    cdef int begin(self) except -1:
        """A new request is in the buffer."""
        self.forget_request()
        self.begin_head()
        self.close_connection = True
        self.continue_due = False
        self.stage = STAGE_FRESH if self.c.scan == TS_SCAN_COMPLETE else STAGE_GENERAL
        return 0

    cdef char *head_start(self):
        return self.c.input.data + self.c.input.head

    cdef object text(self, uint32_t off, uint32_t length):
        return PyUnicode_DecodeLatin1(self.head_start() + off, length, NULL)

    cdef object supply(self, int which):
        """The value of a lazily supplied attribute; AttributeError if it has none."""
        cdef char *target
        if which == RFILE:
            if self.reader is None:
                self.reader = RequestReader(self)
            return self.reader
        if which == WFILE:
            if self.writer is None:
                self.writer = ResponseWriter(self)
            return self.writer
        if which == CONNECTION:
            return self.socket()
        if which == CLOSE_CONNECTION:
            return self.close_connection
        if which == HEADERS_BUFFER:
            if self.head.len > 0 or self.head_seen:
                self.to_list()
                return self.attrs["_headers_buffer"]
            raise self.lacks("_headers_buffer")
        if self.c != NULL and (self.stage == STAGE_PLAIN or
                               self.stage == STAGE_FRESH and which >= REQUESTLINE):
            if which == COMMAND:
                if self.command is None:
                    self.command = self.text(self.c.req.method.off, self.c.req.method.len)
                return self.command
            if which == PATH:
                if self.path is None:
                    self.path = self.text(self.c.req.target.off, self.c.req.target.len)
                    # Never two slashes first: a redirect to it would leave the host.
                    target = self.head_start() + self.c.req.target.off
                    if self.c.req.target.len > 1 and target[0] == target[1] == b"/":
                        self.path = "/" + self.path.lstrip("/")
                return self.path
            if which == REQUEST_VERSION:
                return VERSIONS[self.c.req.minor]
            if which == HEADERS:
                if self.headers is None:
                    self.headers = build_headers(
                        self.head_start(), self.c.req, self.handler.MessageClass, self.authority())
                return self.headers
            if which == REQUESTLINE:
                return self.supply_requestline()
            if which == RAW_REQUESTLINE:
                return self.supply_raw_requestline()
        raise self.lacks(SUPPLIED[which])

    cdef object lacks(self, name):
        return AttributeError(f"{type(self.handler).__name__!r} object has no attribute {name!r}")

    cdef object authority(self):
        """What takes the place of Host (RFC 9112, 3.2.2); None: nothing does."""
        if self.c.req.form != TS_TARGET_ABSOLUTE:
            return None
        return self.text(self.c.req.authority.off, self.c.req.authority.len)

    cdef object supply_requestline(self):
        if self.requestline is None:
            self.requestline = self.text(0, self.c.req.line.len)
        return self.requestline

    cdef object supply_raw_requestline(self):
        if self.raw_requestline is None:
            self.raw_requestline = self.head_start()[:self.c.req.line_len]
        return self.raw_requestline

    cdef int keep_supplied(self) except -1:
        """The connection ends, and somebody still holds the handler: what it could
        have asked for stays."""
        cdef int which
        if self.stage != STAGE_PLAIN:
            return 0
        for which in range(COMMAND, RAW_REQUESTLINE + 1):
            if not PyDict_Contains(self.attrs, SUPPLIED[which]):
                self.attrs[SUPPLIED[which]] = self.supply(which)
        return 0

    # ---- the response head ------------------------------------------------

    cdef int to_list(self) except -1:
        """From here on the head is the list of lines the original keeps."""
        lines = self.head.data[:self.head.len].splitlines(True) if self.head.len else []
        ts_head_free(&self.head)
        self.attrs.setdefault("_headers_buffer", []).extend(lines)
        return 0

    cdef int send_head(self) except -1:
        """Its memory is given back: most of the time a connection waits."""
        global SPARE
        cdef ts_head head = self.head
        memset(&self.head, 0, sizeof(self.head))
        self.head_seen = self.head_seen or head.len > 0
        try:
            if head.len == 0 or self.mute != MUTE_NOT and not speaks(self, head.data, head.len):
                return 0
            return self.send_all(head.data, head.len)
        finally:
            if SPARE.data == NULL and head.cap <= SPARE_MAX and not FREE_THREADED:
                SPARE = head
                SPARE.len = 0
            else:
                ts_head_free(&head)

    cdef int take_head(self) except -1:
        """The head is about to begin: memory for it, if some is at hand."""
        global SPARE
        if self.head.data == NULL:
            self.head = SPARE
            memset(&SPARE, 0, sizeof(SPARE))
        return 0


cdef bint assigned(dict attrs, tuple names):
    """Whether one of the names is in a handler's own dictionary."""
    for name in names:
        if PyDict_Contains(attrs, name):
            return True
    return False


# ---- finding it from a handler --------------------------------------------

# The connection whose handler ran last: where the next look-up nearly always ends. Only
# the GIL makes it safe, so free-threaded builds do without.
cdef Connection LATEST = None


cdef int set_latest(Connection conn) except -1:
    global LATEST
    if not FREE_THREADED:
        LATEST = conn
    return 0


cdef Connection connection_of(object handler):
    """The live connection of a handler, or None: it is not in the reactor lane, was
    made without __init__, or its connection has ended."""
    if LATEST is not None and LATEST.handler is handler:
        return LATEST
    found = handler._turbo
    if isinstance(found, Connection) and (<Connection>found).c != NULL:
        return <Connection>found
    return None


cdef enum:
    RFILE, WFILE, CONNECTION, CLOSE_CONNECTION, HEADERS_BUFFER
    COMMAND, PATH, REQUEST_VERSION, HEADERS, REQUESTLINE, RAW_REQUESTLINE

cdef tuple SUPPLIED = ("rfile", "wfile", "connection", "close_connection",
                       "_headers_buffer", "command", "path", "request_version", "headers",
                       "requestline", "raw_requestline")


cdef class Supplied:
    """A handler attribute that the engine supplies when it is looked at. Non-data: an
    assignment on the instance hides it."""

    cdef readonly str name
    cdef int which

    def __init__(self, str name, str supplies=None):
        self.name = name
        self.which = SUPPLIED.index(supplies or name)

    def __get__(self, handler, owner):
        if handler is None:
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self.name!r}")
        if LATEST is not None and LATEST.handler is handler:
            return LATEST.supply(self.which)
        found = handler._turbo
        if not isinstance(found, Connection):
            raise AttributeError(f"{type(handler).__name__!r} object has no attribute {self.name!r}")
        return (<Connection>found).supply(self.which)
