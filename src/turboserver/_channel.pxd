"""Channel: one byte stream to one peer, as the streams see it (see _channel.pyx)."""

from libc.stdint cimport int64_t
from turboserver._native cimport ts_cork, ts_in


cdef class Channel:
    cdef ts_in *buffer      # incoming octets; NULL once the channel is closed
    cdef ts_in own          # ... in a SocketChannel they are here
    cdef object sock        # the Python socket, where there is one
    cdef bint parked        # the event loop's: no thread of the program may read

    cdef int handle(self) except -1
    cdef int64_t patience(self) except -2
    cdef int settle(self) except -1
    cdef int wait_readable(self) except -1
    cdef Py_ssize_t receive(self, char *into, Py_ssize_t n) except -2
    cdef Py_ssize_t refill(self) except -2
    cdef int took(self, const char *data, Py_ssize_t n) except -1
    cdef int send_all(self, const char *data, Py_ssize_t n) except -1
    cdef int send_part(self, const char *data, Py_ssize_t n) except -1
    cdef int flush(self) except -1
    cdef int expose(self) except -1
    cdef object socket(self)
    cdef int shut(self) except -1


cdef class SocketChannel(Channel):
    cdef bint keeps_open    # counts as a file of the socket
    # Of the two of a connection, if both are ours:
    cdef SocketChannel writing  # the reader's: what is written with
    cdef ts_in *reading         # the writer's: what was received; NULL when that is closed
    cdef ts_cork cork           # the writer's
    cdef bint corked            # ... may be held

    cdef Py_ssize_t wait_for_more(self) except -2
    cdef int send_now(self, const char *data, Py_ssize_t n) except -1


# Waits until fd is readable (writable); signals are looked at. False: timed out.
cdef bint wait_ready(int fd, bint write, int64_t timeout_ns) except -1
cdef object os_error(int number)
