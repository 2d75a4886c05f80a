"""A Connection by TLS (see _tls_connection.pyx)."""

from turboserver._connection cimport Connection
from turboserver._tls cimport Session, TLSServer


cdef class TLSConnection(Connection):
    cdef TLSServer tls
    cdef Session last       # the one whose socket was handed out, be it ended (unwrap)

    cdef Session session(self)
    cdef int take_socket(self, Session session, sock) except -1
    cdef Py_ssize_t left(self, char *into, Py_ssize_t n)
