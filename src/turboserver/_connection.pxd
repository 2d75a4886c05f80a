"""Connection: the engine's side of one HTTP connection (see _connection.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from turboserver._channel cimport Channel
from turboserver._native cimport ts_conn, ts_head, ts_leader, ts_reactor, ts_request, ts_worker
from turboserver._handlers cimport HandlerInfo
from turboserver._stream cimport RequestReader, ResponseWriter


cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(dict d)


# What the engine puts into a handler's own dictionary (names of three attributes).
cdef enum:
    OWN_ATTRS = 3


# Of a file so many octets, or more, leave by sendfile(); fewer leave with the head.
cdef enum:
    SMALL_FILE = 16384


# How far the present request has come.
cdef enum Stage:
    STAGE_NONE      # between requests
    STAGE_FRESH     # a plain head is in the buffer, nothing of it consumed
    STAGE_PLAIN     # parsed natively: the lazily supplied attributes are valid
    STAGE_GENERAL   # the general parser's: attributes are in the instance


cdef class Connection(Channel):
    cdef ts_conn *c                 # NULL once closed
    cdef ts_reactor *r
    cdef ts_leader *leader          # NULL: no monitor
    cdef ts_worker *worker          # inside a handler: whose
    cdef object server
    cdef object client_address
    cdef HandlerInfo info
    cdef object handler
    cdef dict attrs                 # handler.__dict__
    cdef Py_ssize_t own             # so many of its entries are no assignment that could be in the way
    cdef RequestReader reader
    cdef ResponseWriter writer
    cdef int64_t timeout_ns
    # The present request. None: not asked for yet.
    cdef Stage stage
    cdef bint close_connection
    cdef bint lazy_continue         # "100 Continue" waits until the body is waited for
    cdef bint continue_due          # ... and does
    cdef uint32_t key               # the predictor's
    cdef object command
    cdef object path
    cdef object requestline
    cdef object raw_requestline
    cdef object headers
    # The response head, as far as it is written.
    cdef ts_head head
    cdef bint head_seen             # _headers_buffer exists, for who asks

    cdef int flush_gathered(self, bint part) except -1
    cdef object make_socket(self)
    cdef int take_socket(self, sock) except -1
    cdef int make_room(self) except -1
    cdef int attach(self, object handler) except -1
    cdef int begin(self) except -1
    cdef int forget_request(self) except -1
    cdef char *head_start(self)
    cdef object text(self, uint32_t off, uint32_t length)
    cdef object authority(self)
    cdef object supply(self, int which)
    cdef object lacks(self, name)
    cdef object supply_requestline(self)
    cdef object supply_raw_requestline(self)
    cdef int keep_supplied(self) except -1
    cdef int to_list(self) except -1
    cdef int wait_writable(self, unsigned stalls) except -1
    cdef int flush_last(self) except -1
    cdef int flush_some(self, uint64_t began) except -2
    cdef int send_head(self) except -1
    cdef int take_head(self) except -1


cdef inline bint shadows(Connection conn, tuple names):
    """Whether the program has assigned one of the names on the handler."""
    return PyDict_GET_SIZE(conn.attrs) > conn.own and assigned(conn.attrs, names)


cdef tuple VERSIONS                 # of HTTP/1, by the minor number


cdef bint assigned(dict attrs, tuple names)
cdef Connection connection_of(object handler)
cdef int set_latest(Connection conn) except -1
