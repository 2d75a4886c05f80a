"""TLS in the reactor lane (see _tls.pyx)."""

from cpython.pythread cimport PyThread_type_lock
from turboserver._native cimport ts_conn, ts_tls


cdef enum:
    # What goes through a BIO at a time: it keeps the memory of the largest piece it had, as long
    # as the connection lives, and the kernel takes smaller ones more slowly.
    SEALED = 32768


cdef class TLSServer:
    cdef object server
    cdef list stranded      # what a signal's handler raised where nobody could let it out

    cdef Session begin(self, ts_conn *c)


cdef class Session:
    cdef ts_conn *c         # NULL: no connection of the engine's any more
    cdef TLSServer tls
    cdef readonly object context
    cdef readonly object ssl        # what does the work: the object below an ssl.SSLObject
    cdef object read_ssl            # its methods
    cdef object write_ssl
    cdef object incoming            # ssl.MemoryBIO: what came, and
    cdef object outgoing            # ... what is to leave
    cdef PyThread_type_lock lock    # of all that is above, and of `ahead` and `tail`
    cdef bytes ahead        # decrypted, and not taken yet from `at` on
    cdef Py_ssize_t at
    cdef bint shaken        # the handshake is done
    cdef bint empty         # the kernel had fewer octets than were asked for, the last time
    cdef bint dry           # ... and it had none
    cdef readonly bint ended        # nothing comes any more
    cdef readonly bint ragged       # ... and the peer has not said so
    cdef bint notified      # it has been told that nothing more leaves
    cdef object failure     # what ended it
    cdef object sock        # the Python socket, as long as no Connection has it
    cdef object sock_ref    # weakly, from then on, too
    cdef object tail        # bytearray: what is to leave, where there is no connection of the engine's
    cdef bytes left         # what came behind the end of TLS (unwrap)

    cdef int acquire(self) except -1
    cdef int release(self) except -1
    cdef int descriptor(self) except -1
    cdef object make_socket(self)
    cdef bint feed(self) except -1
    cdef bytes decrypt(self)
    cdef Py_ssize_t pull(self) except -2
    cdef Py_ssize_t pour(self, ts_conn *c) except -1
    cdef Py_ssize_t into(self, char *to, Py_ssize_t n)
    cdef bint is_drained(self)
    cdef int seal(self, const char *data, Py_ssize_t n, bint now) except -1
    cdef int drain(self, bint now) except -1
    cdef int put(self, bytes octets, bint now) except -1
    cdef bint send_tail(self) except -1
    cdef int shake(self) except -1
    cdef int fail(self, error) except -1
    cdef int notify(self) except -1
    cdef int leave(self, ts_conn *c, bint notify) except -1


cdef const ts_tls *functions()

# The handshake goes on: 1 it is done, 0 more is to come, -1 it has failed.
cdef int handshake(ts_conn *c, TLSServer tls)

# The Python socket, which the caller has from now on.
cdef object socket_of(ts_conn *c, TLSServer tls)
