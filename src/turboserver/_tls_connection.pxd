"""A Connection by TLS (see _tls_connection.pyx)."""

from turboserver._connection cimport Connection
from turboserver._tls cimport Session, TLSServer


cdef class TLSConnection(Connection):
    cdef TLSServer tls
    cdef Session last       # the one whose socket was handed out, be it ended (unwrap)

    cdef Session session(self)
    cdef int take_socket_of(self, Session session) except -1
    cdef Py_ssize_t pull(self, Session session) except -2
    cdef Py_ssize_t left(self, char *into, Py_ssize_t n)
