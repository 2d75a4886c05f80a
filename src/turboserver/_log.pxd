cdef bint has_plain_log(cls)
cdef bint log_plainly(handler, dict attrs, requestline, text, size) except -1
