from turboserver._native cimport ts_request

# Whether two ASCII names of n octets are one, whatever their case.
cdef bint same(const unsigned char *a, const unsigned char *b, Py_ssize_t n)

cdef bint is_plain_class(message_class)
cdef object build_headers(char *head, ts_request *req, message_class, authority)
