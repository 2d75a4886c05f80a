"""Rules: the limits and deadlines of a handler class (see _rules.pyx)."""

from turboserver._native cimport ts_rules


cdef class Rules:
    cdef ts_rules c
    cdef object max_line        # http.client._MAXLINE and _MAXHEADERS that it was made for
    cdef object max_headers
    cdef object max_requests    # a connection; None: any number
    cdef bint decode            # rfile decodes chunked bodies
    cdef bint timed             # the program has set a deadline: it holds in every lane

    cdef bint holds(self)


# For streams of which no handler is known.
cdef Rules DEFAULTS

cdef Rules rules_of(object cls)
