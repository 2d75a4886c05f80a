"""From a scanned head to the request as handlers know it (see _request.pyx)."""

from turboserver._channel cimport Channel
from turboserver._connection cimport Connection
from turboserver._native cimport ts_refusal, ts_request

cdef bint parse_plain(Connection conn) except -1
cdef int refuse_for(handler, ts_refusal why) except -1
cdef Channel channel_of(handler)
cdef bint is_last(ts_request *req)
