"""Gateway: one WSGI application's answer to one request (see _gateway.pyx)."""

from libc.stdint cimport int64_t, uint64_t
from turboserver._connection cimport Connection
from turboserver._handlers cimport HandlerInfo


cdef class Gateway:
    cdef Connection conn        # None: the answer has ended
    cdef dict environ
    cdef object errors          # wsgi.errors
    cdef object result          # what the application returned
    cdef object status          # str; None before start_response()
    cdef int code               # ... its number
    cdef bint headers_sent
    cdef bint has_date          # among the application's headers
    cdef bint has_server
    cdef bint is_head           # the request is HEAD
    cdef bint bodyless          # the answer can have no body: HEAD, 204, 205, 304
    cdef bint chunked
    cdef int64_t length         # the answer's Content-Length; -1: none
    cdef int64_t sent           # octets of the body
    cdef int64_t dropped        # ... that are not to be sent
    cdef bint too_long          # more were dropped, for the length was less
    cdef bint finished          # all of the answer is sent
    cdef bint logged            # by somebody else

    cdef int refuse(self, status, headers) except -1
    cdef bint read_headers(self, list headers) except -1
    cdef int begin_head(self, status, list headers) except -1
    cdef int send_head(self, int64_t total) except -1
    cdef int put(self, data, int64_t total) except -1
    cdef int send_body(self, const char *data, int64_t n) except -1
    cdef int respond(self, application) except -1
    cdef int send_result(self) except -1
    cdef bint send_as_file(self) except -1
    cdef int finish(self) except -1
    cdef int complain(self, text) except -1
    cdef int close_result(self) except -1
    cdef int fail(self) except -1
    cdef int abort(self) except -1
    cdef int tell(self, error) except -1
    cdef int log(self, uint64_t began) except -1


# Whether requests of this handler class are answered here: it overrides nothing of it,
# and wsgiref's ServerHandler is as it was.
cdef bint serves(HandlerInfo info) except -1

# Answer the request that `conn` has parsed with the server's application.
cdef int run(Connection conn, HandlerInfo info) except -1
