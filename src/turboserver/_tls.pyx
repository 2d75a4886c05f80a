"""TLS in the reactor lane: what the engine knows as a ts_tls (csrc/tls.h).

    kernel -> feed -> incoming BIO -> decrypt -> ahead -> the window of the connection
    send_all -> seal -> outgoing BIO -> put -> the connection's ts_out -> kernel

OpenSSL never sees the socket: a Session stands between two memory BIOs, so the poller,
the deadlines and everything behind ts_out are about octets on the wire and know nothing
of it. A connection gets its Session with the first octets of its handshake.

Who may do what. One operation of OpenSSL at a time: `lock` is held for it and for what
takes its result to where it belongs, so records leave in the order in which they were
made. None of it waits for the peer. CPython lets the GIL go within each operation; so
after each one the connection may be another's, or gone:

- The window (ts_in) is written to by its owner alone: pour() follows pull() without a
  moment in which the GIL is free. Who finds that its handler has returned meanwhile
  leaves the octets in `ahead`, where the owner's next look finds them. The owner looks
  after it has got the lock, so none is overlooked.
- `c` becomes NULL (leave) under the lock, before the ts_conn can be another's.
- c.readable is False only when the last look found both BIO and kernel empty, and True
  again after each feed() by a handler: edges are told once. A thread of the program that
  feeds after its handler has returned may write that True beside the owner, who then looks
  once more than he had to; False is only written by the owner, with the GIL.

What may not live here: the Connection over it (_tls_connection.pyx), what an SSLSocket is for
programs (_tls_socket.py), when a connection is looked at (_engine.pyx, csrc/course.c).
"""

import weakref

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock,
)
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EBADF, ECONNRESET, ENOMEM
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
from turboserver._channel cimport os_error, wait_ready
from turboserver._native cimport *

try:
    import ssl
    SSLError, WantRead, EndOfFile, ZeroReturn = (
        ssl.SSLError, ssl.SSLWantReadError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
except ImportError:     # no listening socket is one with TLS then
    ssl = None
    SSLError = WantRead = EndOfFile = ZeroReturn = ()


cdef enum:
    RECORD = 16384          # octets of one record at the most (RFC 8446, 5.1)
    RECEIVED = 32768        # octets that are asked of the kernel at a time


cdef class TLSServer:
    """What the sessions of one server share."""

    def __cinit__(self, server, list stranded):
        self.server = server
        self.stranded = stranded

    cdef Session begin(self, ts_conn *c):
        """The Session of a connection, made anew."""
        cdef Session session = Session.__new__(Session)
        listener = self.server.socket
        loading = getattr(self.server, "_turbo_loading", None)
        session.c = c
        session.tls = self
        session.context = listener.context
        session.incoming, session.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # A callback for the name that the client asks for is given the socket, and may put
        # something on it that a handler looks for.
        owner = None
        if getattr(session.context, "sni_callback", None) is not None:
            owner = session.make_socket()
            session.sock = owner
            c.lent = True
        if loading is not None:     # the context may have a certificate and not its key
            loading.acquire()
        try:
            session.ssl = session.context._wrap_bio(session.incoming, session.outgoing, True, None,
                                                    owner=owner, session=None)
        except BaseException:
            if owner is not None:
                owner.detach()
                c.lent = False
            raise
        finally:
            if loading is not None:
                loading.release()
        session.read_ssl, session.write_ssl = session.ssl.read, session.ssl.write
        Py_INCREF(session)      # the ts_conn's
        c.session = <void *>session
        return session


cdef class Session:
    """The TLS of one connection. Methods that are no `def` are called with the lock held
    where they say so; the others take it."""

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int acquire(self) except -1:
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
        return 0

    cdef int release(self) except -1:
        PyThread_release_lock(self.lock)
        return 0

    cdef int descriptor(self) except -1:
        """The open socket's; OSError(EBADF). A program that has the socket may have closed it."""
        cdef int fd = -1
        if self.sock_ref is not None:
            sock = self.sock_ref()
            if sock is not None:
                fd = sock.fileno()
        elif self.c != NULL:
            fd = self.c.fd
        if fd < 0:
            raise os_error(EBADF)
        return fd

    cdef object make_socket(self):
        """The Python socket, which owns the descriptor from now on."""
        from turboserver._tls_socket import make
        sock = make(self.tls.server.socket, self.c.fd, self)
        self.sock_ref = weakref.ref(sock)
        return sock

    # ---- what comes -----------------------------------------------------------

    cdef bint feed(self) except -1:
        """With the lock: one receive into the incoming BIO. False: there is nothing."""
        cdef char space[RECEIVED]
        cdef Py_ssize_t got = ts_recv(self.descriptor(), space, RECEIVED)
        self.empty = got < RECEIVED
        self.dry = got == -EAGAIN
        if self.c != NULL:
            self.c.readable = True
        if got > 0:
            self.incoming.write(PyMemoryView_FromMemory(space, got, PyBUF_READ))
        elif got == 0:
            self.incoming.write_eof()
        elif got == -EAGAIN:
            return False
        else:
            raise os_error(<int>-got)
        return True

    cdef bytes decrypt(self):
        """With the lock: the octets of a record. None: they are not here, or the stream has
        ended. OSError (SSLError)."""
        cdef bytes octets = b""
        cdef bint wants = False
        if self.failure is not None:
            raise self.failure
        self.empty = self.dry = False
        try:
            while True:
                if (wants or not self.incoming.pending) and not self.feed():
                    return None
                try:
                    octets = self.read_ssl(RECORD)
                    break
                except WantRead:
                    self.drain(True)
                    if self.empty:
                        return None
                    wants = True
                except ZeroReturn:
                    break
                except EndOfFile:
                    self.ragged = True
                    break
            self.drain(True)    # what is answered to more than data, if something is
        except BaseException as error:
            self.fail(error)
            raise
        if octets:
            self.shaken = True      # by a program that reads before it
            return octets
        self.ended = True
        return None

    cdef Py_ssize_t pull(self) except -2:
        """How many octets are in `ahead`; 0 at the end, -1 if they are not here yet. The GIL
        has not been free since that was seen. OSError (SSLError)."""
        if self.ahead is None:
            self.acquire()
            try:
                if self.ahead is None and not self.ended:
                    self.ahead = self.decrypt()
                    self.at = 0
            finally:
                self.release()
        if self.ahead is not None:
            return PyBytes_GET_SIZE(self.ahead) - self.at
        return 0 if self.ended else -1

    cdef Py_ssize_t into(self, char *to, Py_ssize_t n):
        """Takes up to n octets of `ahead`, of which there are some."""
        cdef Py_ssize_t have = PyBytes_GET_SIZE(self.ahead) - self.at
        n = min(n, have)
        memcpy(to, PyBytes_AS_STRING(self.ahead) + self.at, n)
        self.at += n
        if n == have:
            self.ahead = None
        return n

    cdef Py_ssize_t pour(self, ts_conn *c) except -1:
        """Owner of the window: takes all of `ahead` into it."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(self.ahead) - self.at
        if ts_in_reserve(&c.input, <uint32_t>n) != 0:
            raise MemoryError
        self.into(c.input.data + c.input.end, n)
        c.input.end += <uint32_t>n
        return n

    cdef bint is_drained(self):
        """Whether nothing was left anywhere at the last look."""
        return self.empty and self.ahead is None and not self.incoming.pending

    # ---- what leaves ----------------------------------------------------------

    cdef int seal(self, const char *data, Py_ssize_t n, bint now) except -1:
        """The records of n octets (1 to SEALED) follow what was written before. now: they are not
        gathered. WantRead: the peer negotiates anew and has to be heard first. OSError."""
        self.acquire()
        try:
            if self.failure is not None:
                raise self.failure
            while True:
                try:
                    self.write_ssl(PyMemoryView_FromMemory(<char *>data, n, PyBUF_READ))
                    break
                except WantRead:
                    self.drain(True)
                    if not self.feed():
                        raise
            self.shaken = True
            self.drain(now)
        finally:
            self.release()
        return 0

    cdef int drain(self, bint now) except -1:
        """With the lock: what OpenSSL has to say to the peer goes on its way."""
        cdef bytes octets = self.outgoing.read()
        if octets:
            self.put(octets, now)
        return 0

    cdef int put(self, bytes octets, bint now) except -1:
        cdef size_t n = <size_t>PyBytes_GET_SIZE(octets)
        cdef size_t taken = 0
        cdef const char *data = PyBytes_AS_STRING(octets)
        cdef int result
        cdef int fd = self.descriptor()
        if self.c == NULL:
            self.tail += octets
            self.send_tail()
            return 0
        if now or n >= TS_OUT_DIRECT or n + ts_out_unsent(&self.c.out) > TS_OUT_GATHER:
            result = ts_out_write(&self.c.out, fd, data, n, True, &taken)
            if result < 0:
                raise os_error(-result)
            if result == TS_OUT_SENT:
                return 0
        result = ts_out_add(&self.c.out, data + taken, n - taken)
        if result < 0:
            raise os_error(-result)
        return 0

    cdef bint send_tail(self) except -1:
        """With the lock: True if all has left."""
        cdef Py_ssize_t got
        cdef bytes octets
        while self.tail:
            octets = bytes(self.tail)
            got = ts_send(self.descriptor(), PyBytes_AS_STRING(octets), len(octets))
            if got == -EAGAIN:
                return False
            if got < 0:
                raise os_error(<int>-got)
            del self.tail[:got]
        return True

    # ---- beginning and end ----------------------------------------------------

    cdef int shake(self) except -1:
        """A step of the handshake: 1 it is done, 0 more has to come. OSError (SSLError), and what
        callbacks raise."""
        cdef bint wants = False
        self.acquire()
        try:
            self.empty = self.dry = False
            while True:
                if (wants or not self.incoming.pending) and not self.feed():
                    return 0
                try:
                    self.ssl.do_handshake()
                    break
                except WantRead:
                    self.drain(True)
                    if self.empty:
                        return 0
                    wants = True
            self.shaken = True
            self.drain(True)
            return 1
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self.release()

    cdef int fail(self, error) except -1:
        """With the lock: nothing of it can be trusted any more. The peer is told (an alert)."""
        self.failure = error if isinstance(error, Exception) else os_error(ECONNRESET)
        try:
            self.drain(True)
        except OSError:
            pass
        return 0

    cdef int notify(self) except -1:
        """With the lock: close_notify (RFC 8446, 6.1), once, if the kernel takes it."""
        if not self.shaken or self.notified or self.ragged or self.failure is not None:
            return 0
        self.notified = True
        try:
            try:
                self.ssl.shutdown()
            except (SSLError, ValueError):
                pass        # the peer's has not come; nobody waits for it
            self.drain(True)
        except OSError:
            pass
        return 0

    cdef int leave(self, ts_conn *c, bint notify) except -1:
        """The connection ends, or is the program's alone from now on."""
        cdef ts_out *out = &c.out
        self.acquire()
        try:
            sock = self.sock_ref() if self.sock_ref is not None else None
            if self.sock is not None:       # no Connection has it: it is given back
                self.sock = self.sock_ref = None
                if sock.detach() == c.fd:
                    c.lent = False
                sock = None
            if sock is None and notify and self.sock_ref is None:
                self.notify()
            self.tail = bytearray()
            if sock is not None and sock.fileno() == c.fd and out.end > out.pos:
                self.tail += out.data[out.pos:out.end]
            self.c = NULL
        finally:
            self.release()
        return 0

    # ---- for the socket object (_tls_socket.py) -------------------------------

    def take(self, Py_ssize_t n):
        """Up to n decrypted octets; b"" at the end, None if they are not here yet. OSError."""
        cdef Py_ssize_t got
        cdef bytes octets
        if n == 0:
            return b""
        got = self.pull()
        if got < 0:
            return None
        if got == 0:
            return b""
        n = min(n, got)
        octets = self.ahead[self.at:self.at + n]
        self.at += n
        if n == got:
            self.ahead = None
        return octets

    def pending(self):
        """Octets that take() has without asking the kernel."""
        return 0 if self.ahead is None else len(self.ahead) - self.at

    def give(self, data):
        """Send a bytes-like object of up to 32,768 octets, after all that was sent before."""
        cdef bytes octets = bytes(data)
        if octets:
            self.seal(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets), True)

    def push(self):
        """Whether all that was given has left, after one attempt. OSError."""
        cdef int result
        self.acquire()
        try:
            if self.c == NULL:
                return self.send_tail()
            result = ts_out_flush(&self.c.out, self.descriptor())
            if result < 0:
                raise os_error(-result)
            return result == TS_OUT_SENT
        finally:
            self.release()

    def wait(self, bint write, timeout):
        """False if the socket is not readable (writable) within that time (seconds; None: any)."""
        return wait_ready(self.descriptor(), write, -1 if timeout is None else <int64_t>(<double>timeout * 1e9))

    def handshake(self):
        """True: it is done; False: more has to come. OSError (SSLError)."""
        if self.shaken:
            return True
        return self.shake() == 1

    def say_goodbye(self):
        """Send close_notify, without waiting."""
        self.acquire()
        try:
            self.notify()
        except OSError:
            pass
        finally:
            self.release()

    def post_handshake(self):
        """SSLSocket.verify_client_post_handshake()."""
        self.acquire()
        try:
            self.ssl.verify_client_post_handshake()
            self.drain(True)
        finally:
            self.release()

    def end_tls(self):
        """A step of unwrap(): True when both sides have said that they end. Then the socket is
        plain, for the engine as well. OSError (SSLError)."""
        cdef ts_conn *c
        self.acquire()
        try:
            self.notified = True
            while True:
                try:
                    self.ssl.shutdown()
                    break
                except WantRead:
                    self.drain(True)
                    if not self.feed():
                        return False
            self.drain(True)
            c = self.c
            if c != NULL and ts_out_flush(&c.out, self.descriptor()) == TS_OUT_BLOCKED:
                return False
            self.left = self.incoming.read()
            if c != NULL:
                c.session = NULL
                c.tls = NULL
                self.c = NULL
                Py_DECREF(self)
            return True
        finally:
            self.release()

    def behind(self, n):
        """Up to n octets that came behind the end of TLS, together with it."""
        octets, self.left = self.left[:n], self.left[n:]
        return octets


# ---- for the engine -------------------------------------------------------------

cdef int fill(ts_conn *c) noexcept with gil:
    cdef Session session
    cdef Py_ssize_t got
    if c.session == NULL:
        c.broken = True
        return 0
    session = <Session>c.session
    try:
        got = session.pull()
        if got > 0:
            session.pour(c)
        elif got == 0:
            c.eof = True
        # The end of the stream has to be looked for once it has been told of.
        if got == 0 or (session.dry if c.hup else got < 0 or session.is_drained()):
            c.readable = False
    except MemoryError:
        return -ENOMEM
    except OSError as error:
        c.broken = True
        c.error = error.errno if type(error.errno) is int and error.errno > 0 else ECONNRESET
    except BaseException as error:
        c.broken = True
        c.error = ECONNRESET
        session.tls.stranded.append(error)
    return 0


cdef void end(ts_conn *c, int notify) noexcept with gil:
    cdef Session session = <Session>c.session
    c.session = NULL
    try:
        session.leave(c, notify)
    except BaseException as error:
        session.tls.stranded.append(error)
    Py_DECREF(session)


cdef ts_tls FUNCTIONS
FUNCTIONS.fill = fill
FUNCTIONS.end = end


cdef const ts_tls *functions():
    return &FUNCTIONS


cdef object socket_of(ts_conn *c, TLSServer tls):
    cdef Session session = <Session>c.session if c.session != NULL else tls.begin(c)
    sock = session.sock if session.sock is not None else session.make_socket()
    session.sock = None
    return sock


cdef int handshake(ts_conn *c, TLSServer tls):
    cdef Session session
    cdef int how
    try:
        session = <Session>c.session if c.session != NULL else tls.begin(c)
        how = session.shake()
        c.readable = how == 1 or c.hup and not session.dry
        return how
    except Exception:
        return -1       # no TLS, nothing in common, gone: nothing to tell anybody
    except BaseException as error:
        tls.stranded.append(error)
        return -1
