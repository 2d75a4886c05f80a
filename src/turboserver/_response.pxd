"""What of the response head others need (see _response.pyx)."""

from turboserver._channel cimport Channel
from turboserver._connection cimport Connection
from turboserver._handlers cimport ResponseInfo
from turboserver._native cimport ts_date


# The date of the present second, for whoever holds the GIL.
cdef ts_date DATE

cdef bint is_latin1(object text)

# Whether the present answer is the last of a connection that is about to end: no other
# request of it has been read.
cdef bint ends(Channel reading, Channel writing)

cdef bint asks_head(Connection conn)

cdef int log_line(ResponseInfo info, handler, dict attrs, line, text, size, bint plain) except -1
