"""rfile and wfile over a Channel (see _stream.pyx)."""

from turboserver._channel cimport Channel


cdef class RequestReader:
    cdef Channel channel    # None once closed
    cdef object error       # a time-out has made the stream unusable
    cdef Channel source(self)
    cdef Channel reading(self)
    cdef Py_ssize_t more(self) except -2
    cdef Py_ssize_t some(self) except -2
    cdef Py_ssize_t _into(self, char *into, Py_ssize_t want) except -2


cdef class ResponseWriter:
    cdef Channel channel    # None once closed
    cdef Channel sink(self)
    cdef int write_part(self, bytes data) except -1


cpdef object plain_file(object filelike)
