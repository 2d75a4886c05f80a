from turboserver._native cimport ts_request

cdef bint is_plain_class(message_class)
cdef object build_headers(char *head, ts_request *req, message_class, authority)
