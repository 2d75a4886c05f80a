from turboserver._native cimport ts_request
from turboserver._connection cimport Connection

cdef object build_headers(char *head, ts_request *req, message_class)
cdef bint parse_plain(Connection conn) except -1
