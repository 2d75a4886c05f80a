"""SocketChannel: the Channel of a socket object (see _socket_channel.pyx)."""

from libc.stdint cimport int64_t, uint64_t
from turboserver._channel cimport Channel
from turboserver._native cimport ts_body, ts_cork, ts_in


cdef set LOOPS      # functions that tell by themselves when the next request is to begin


cdef class SocketChannel(Channel):
    cdef ts_in own          # the buffer
    cdef ts_body own_body
    cdef bint keeps_open    # counts as a file of the socket
    cdef bint is_plain      # a socket.socket
    cdef object server      # the handler's
    cdef bint is_http       # ... which speaks HTTP
    cdef unsigned long waits_in     # the thread that waited for a request last
    cdef bint lingers       # the reader's: the connection is to end with a short drain
    # What the present wait is part of, where the program has set deadlines (csrc/deadline.c).
    cdef uint64_t began_ns
    cdef uint64_t progress_ns
    cdef uint64_t paused_ns
    cdef uint64_t moved
    cdef uint64_t untaken
    # Of the two of a connection, if both are ours:
    cdef SocketChannel writing  # the reader's: what is written with
    cdef ts_in *reading         # the writer's: what was received; NULL when that is closed
    cdef ts_cork cork           # the writer's
    cdef bint corked            # ... may be held

    cdef int begin_waiting(self) except -1
    cdef bint ends(self) except -1
    cdef int end_input(self) except -1
    cdef Py_ssize_t receive_some(self) except -2
    cdef Py_ssize_t wait_for_more(self) except -2
    cdef Py_ssize_t refill_by_asking(self) except -2
    cdef bytes ask(self, Py_ssize_t n)
    cdef uint64_t due(self) except? 0
    cdef int64_t patience_by_rules(self) except -2
    cdef int late(self) except -1
    cdef Py_ssize_t came(self, Py_ssize_t n) except -2
    cdef int send_now(self, const char *data, Py_ssize_t n) except -1
    cdef int wait_writable(self, int64_t patience, Py_ssize_t unsent, bint stalled) except -1
