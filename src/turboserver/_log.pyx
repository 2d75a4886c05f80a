"""The log line of a request, where nothing of log_request() and what it calls is
overridden: the same text, made in one go and written to the same `sys.stderr`.

What may not live here: whose hooks are called (_response.pyx).
"""

import http.server
import sys

from cpython.dict cimport PyDict_Contains
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.time cimport time, time_t


cdef extern from "Python.h":
    enum:
        PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)


cdef object Original = http.server.BaseHTTPRequestHandler

# What has a say in the line, on the class or assigned on a handler.
cdef tuple NAMES = ("log_message", "address_string", "log_date_time_string", "monthname",
                    "_control_char_table")

# Octets that the original shows escaped.
cdef bint ESCAPED[256]


def _learn_escapes():
    table = getattr(Original, "_control_char_table", None)
    # 3.15's also colours the line, by a note that log_request() leaves.
    if table is None or hasattr(Original, "_colorize_request"):
        return False
    for octet in range(256):
        ESCAPED[octet] = chr(octet).translate(table) != chr(octet)
    return True

cdef bint KNOWN = _learn_escapes()

# The time as the log has it, for as long as its second lasts.
cdef time_t STAMP_SECOND = -1
cdef object STAMP = None


cdef bint has_plain_log(cls):
    """Whether nothing of the line is overridden in this handler class."""
    return KNOWN and all(getattr(cls, name, None) is getattr(Original, name) for name in NAMES)


cdef bint log_plainly(handler, dict attrs, requestline, text, size) except -1:
    """log_request() of the status `text` and the size (str). False, with nothing done, if
    the line is not so plain. attrs: vars(handler). The class has been asked already
    (has_plain_log)."""
    global STAMP, STAMP_SECOND
    cdef unsigned char *line
    cdef Py_ssize_t i
    cdef time_t now
    if type(requestline) is not str or PyUnicode_KIND(requestline) != PyUnicode_1BYTE_KIND:
        return False
    for name in NAMES:
        if PyDict_Contains(attrs, name):
            return False
    line = <unsigned char *>PyUnicode_DATA(requestline)
    for i in range(PyUnicode_GET_LENGTH(requestline)):
        if ESCAPED[line[i]]:
            return False
    address = attrs.get("client_address")   # the program's own, or a property, perhaps
    if type(address) is not tuple or not address or type((<tuple>address)[0]) is not str:
        return False
    host = (<tuple>address)[0]
    now = time(NULL)
    if now != STAMP_SECOND or STAMP is None:
        STAMP = Original.log_date_time_string(handler)
        STAMP_SECOND = now
    sys.stderr.write(f'{<str>host} - - [{<str>STAMP}] "{<str>requestline}" {<str>text} {<str>size}\n')
    return True
