"""TLSConnection: a Connection whose octets are encrypted on the wire.

    send_all -> Session.seal -> the connection's ts_out        Session.pull -> the window of the connection

What _connection.pyx does with the kernel, it does with the connection's Session (_tls.pyx), whose docstring says who may do
what. Owner: as of a Connection. What may not live here: OpenSSL, the engine.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.unistd cimport pread
from turboserver._channel cimport os_error
from turboserver._connection cimport Connection
from turboserver._native cimport *
from turboserver._tls cimport SEALED, Session, socket_of
from turboserver._tls import WantRead


cdef enum:
    BLOCK = 65536           # octets of a file that are read at a time, into memory that is used again


cdef class TLSConnection(Connection):
    """A Connection whose octets are encrypted on the wire. Where the program has ended TLS
    (unwrap), it is a Connection."""

    cdef Session session(self):
        """None where the octets are plain (unwrap), or the connection has ended."""
        if self.c == NULL or self.c.tls == NULL:
            return None
        # Before its handshake only a verify_request(), or a handler's __init__, can be here.
        return <Session>self.c.session if self.c.session != NULL else self.tls.begin(self.c)

    cdef int take_socket_of(self, Session session) except -1:
        """The one that was made for a callback, during the handshake."""
        sock, session.sock = session.sock, None
        self.last = session
        return self.take_socket(sock)

    cdef object make_socket(self):
        sock = socket_of(self.c, self.tls)
        self.last = self.session()
        return sock

    cdef Py_ssize_t pull(self, Session session) except -2:
        """Session.pull(), but it waits for the peer: 0 at the end, -1 if it would have to wait and may not."""
        cdef Py_ssize_t got
        while True:
            if self.c.eof:
                return 0
            self.handle()
            got = session.pull()
            if self.buffer == NULL or self.parked:
                raise ValueError("I/O operation on closed file.")
            if got == 0:
                self.c.eof = True
            if got >= 0:
                return got
            if not self.wait_readable():
                return -1

    cdef Py_ssize_t refill(self) except -2:
        cdef ts_conn *c = self.c
        cdef Session session = self.session()
        cdef Py_ssize_t got
        if session is None:
            if self.last is None or not self.last.left:
                return Connection.refill(self)
            if ts_in_reserve(&c.input, <uint32_t>len(self.last.left)) != 0:
                raise MemoryError
            got = self.left(c.input.data + c.input.end, len(self.last.left))
            c.input.end += <uint32_t>got
            return got
        self.make_room()
        got = self.pull(session)
        if got > 0:
            session.pour(c)
            c.input_clock.moved += got
        return got

    cdef Py_ssize_t receive(self, char *into, Py_ssize_t n) except -2:
        cdef Session session = self.session()
        cdef Py_ssize_t got
        if session is None:
            if self.last is None or not self.last.left:
                return Connection.receive(self, into, n)
            return self.left(into, n)
        got = self.pull(session)
        if got > 0:
            got = session.into(into, n)
            self.c.input_clock.moved += got
        return got

    cdef Py_ssize_t left(self, char *into, Py_ssize_t n):
        cdef bytes octets = self.last.behind(n)
        memcpy(into, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
        return PyBytes_GET_SIZE(octets)

    cdef int send_all(self, const char *data, Py_ssize_t n) except -1:
        cdef Session session
        cdef Py_ssize_t piece
        self.answered = True
        while n > 0:
            self.handle()
            session = self.session()
            if session is None:
                return Connection.send_all(self, data, n)
            piece = min(n, <Py_ssize_t>SEALED)
            try:
                session.seal(data, piece, False)
            except WantRead:
                if not self.wait_readable():
                    raise os_error(EAGAIN)
                continue
            data += piece
            n -= piece
            self.handle()       # it may have been closed meanwhile
            if self.c.through or self.parked or ts_out_unsent(&self.c.out) > TS_OUT_GATHER:
                self.flush()
        if not self.parked and self.leader != NULL and ts_out_unsent(&self.c.out) > 0:
            ts_handler_dirty(self.leader, self.worker)
        return 0

    cdef int64_t send_file(self, int file, int64_t offset, int64_t n) except -1:
        """Read and written: what leaves is another thing than what the file has."""
        cdef int64_t at = offset
        cdef int64_t end = offset + n
        cdef ssize_t got
        cdef size_t size
        cdef char *block
        if self.session() is None:
            return Connection.send_file(self, file, offset, n)
        block = <char *>malloc(BLOCK)
        if block == NULL:
            raise MemoryError
        try:
            while at < end:
                size = <size_t>min(end - at, <int64_t>BLOCK)
                with nogil:
                    got = pread(file, block, size, at)
                if got == 0:
                    break
                if got > 0:
                    self.send_all(block, got)
                    at += got
                elif errno != EINTR:
                    raise os_error(errno)
                else:
                    PyErr_CheckSignals()
        finally:
            free(block)
        return at - offset
