"""Channel: one byte stream to one peer, as the streams see it (see _channel.pyx)."""

from libc.stdint cimport int64_t, uint64_t
from turboserver._native cimport ts_body, ts_in, ts_refusal
from turboserver._rules cimport Rules


cdef enum Mute:
    MUTE_NOT
    MUTE            # an answer has been written to which there is no body
    MUTE_INTERIM    # 1xx has: the answer, by hand, may come, but no body


cdef class Channel:
    cdef ts_in *buffer      # incoming octets; NULL once the channel is closed
    cdef ts_body *body      # what of them is the request's that is being handled
    cdef Rules rules
    cdef int64_t content    # octets of a chunked body that were handed out
    cdef object sock        # the Python socket, where there is one
    cdef uint64_t hurry_ns  # no wait lasts beyond this (monotonic); 0: no such point
    cdef bint parked        # the event loop's: no thread of the program may read
    cdef bint heading       # a request is awaited, or its head
    cdef bint own_loop      # the program's own code reads the request lines, without a call of
                            # next_request() before: what it reads after an answer, at the end
                            # of a body, is the next request
    cdef int64_t requests   # that have been accepted
    cdef bint last          # the present one is the last: its answer is to say so
    cdef bint closes        # the client has said that its request is the last (where it has been read)
    cdef bint tunnel        # the request is a CONNECT: what follows an answer of 2xx is the handler's
    cdef bint to_head       # the request's line begins with HEAD, whatever became of it
    cdef bint answered      # octets of an answer to the present request were written
    cdef Mute mute          # what is written is dropped
    cdef int status         # ... whose status this is, if it has been told; 0

    cdef int handle(self) except -1
    cdef int64_t patience(self) except -2
    cdef int settle(self) except -1
    cdef bint wait_readable(self) except -1
    cdef Py_ssize_t receive(self, char *into, Py_ssize_t n) except -2
    cdef Py_ssize_t refill(self) except -2
    cdef Py_ssize_t shown(self) except -2
    cdef int took(self, const char *data, Py_ssize_t n) except -1
    cdef int begin_body(self, int kind, int64_t length) except -1
    cdef int note_head(self, const char *line, Py_ssize_t n) except -1
    cdef int begin_tunnel(self) except -1
    cdef bint pass_over(self)
    cdef int begin_head(self) except -1
    cdef bint is_answered(self)
    cdef bint is_switched(self)
    cdef int end_requests(self) except -1
    cdef bint next_request(self) except -1
    cdef bint wants_request(self) except -1
    cdef int cut_off(self) except -1
    cdef int send_all(self, const char *data, Py_ssize_t n) except -1
    cdef int send_part(self, const char *data, Py_ssize_t n) except -1
    cdef int64_t send_file(self, int file, int64_t offset, int64_t n) except -1
    cdef int flush(self) except -1
    cdef int expose(self) except -1
    cdef object socket(self)
    cdef int shut(self) except -1
    cdef int linger(self, wfile) except -1


# Waits until fd is readable (writable); signals are looked at. False: timed out.
cdef bint wait_ready(int fd, bint write, int64_t timeout_ns) except -1
# Waits by the clock alone; signals are looked at.
cdef int pause(int64_t ns) except -1
cdef object os_error(int number)
cdef object body_error(ts_refusal why)
cdef bint speaks(Channel channel, const char *data, Py_ssize_t n)
