"""What of the response head others need (see _response.pyx)."""

from turboserver._channel cimport Channel
from turboserver._connection cimport Connection
from turboserver._handlers cimport ResponseInfo, Start
from turboserver._native cimport ts_date


# The date of the present second, for whoever holds the GIL.
cdef ts_date DATE

cdef bint is_latin1(object text)

# Whether the present answer is the last of a connection that is about to end: no other
# request of it has been read.
cdef bint ends(Channel reading, Channel writing)

cdef bint asks_head(Connection conn)

cdef int log_line(ResponseInfo info, handler, dict attrs, line, text, size, bint plain) except -1
cdef int log_response(ResponseInfo info, handler, dict attrs, Connection conn, code, Start start) except -1

# A head in its parts: the beginning, what is there of its fields, and its end.
cdef Start start_of(ResponseInfo info, code)
cdef int begin_natively(Connection conn, ResponseInfo info, code, message, Start start) except -1
cdef bytes fields_of(Connection conn, ResponseInfo info, code)
cdef int end_natively(handler, Connection conn) except -1
