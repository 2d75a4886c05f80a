"""Rules: the limits and deadlines that a handler class asks for, as C has them.

Each is a class attribute, `turbo_...`, whose default stands on BaseHTTPRequestHandler
(http/server.py), in octets, seconds or a plain number; None: no limit. http.client's
_MAXLINE and _MAXHEADERS count too, which programs change; a class can only ask for less.

What may not live here: what happens when a limit is reached.
"""

import http.client
import http.server
import io
import sys

from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from turboserver._native cimport TS_MAX_REQUEST_LINE, ts_rules_init


cdef dict CLIENT = vars(http.client)
cdef object MISSING = object()

# What counts as set by the program if it is not found on the class that has the defaults.
cdef tuple DEADLINES = ("turbo_idle_timeout", "turbo_head_timeout", "turbo_body_timeout",
                        "turbo_write_timeout", "turbo_min_rate", "turbo_min_rate_after")
cdef set DEFAULT_CLASSES = set()


def register_defaults(cls):
    """The class whose attributes are the defaults."""
    DEFAULT_CLASSES.add(cls)


def _reads_no_header_of_09():
    """Whether this Python's http.server takes "GET /path" for all of a request."""
    handler = http.server.BaseHTTPRequestHandler.__new__(http.server.BaseHTTPRequestHandler)
    handler.raw_requestline = b"GET /\r\n"
    handler.rfile = io.BytesIO(b"\r\n")
    return handler.parse_request() and handler.rfile.tell() == 0

cdef bint BARE_09 = _reads_no_header_of_09()
# The blank line is one of http.client's _MAXHEADERS up to 3.14, as it is of the scanner's.
cdef int BLANK_LINE = 1 if sys.version_info >= (3, 15) else 0


cdef uint64_t nanoseconds(cls, name, uint64_t default) except? 1:
    """0 for None, which C takes for no limit."""
    value = getattr(cls, name, MISSING)
    if value is MISSING:
        return default
    if value is None:
        return 0
    value = float(value)
    if not value >= 0:
        raise ValueError(f"{name} is to be seconds or None, not {value!r}")
    return max(<uint64_t>(min(<double>value, 1e9) * 1e9), 1)


cdef uint32_t octets(cls, name, uint32_t default, uint32_t none=0xffffffff) except? 1:
    value = getattr(cls, name, MISSING)
    if value is MISSING:
        return default
    if value is None:
        return none
    if value < 0:
        raise ValueError(f"{name} is to be a number of octets or None, not {value!r}")
    return <uint32_t>min(int(value), 0x7fffffff)


cdef class Rules:

    def __cinit__(self):
        ts_rules_init(&self.c)

    cdef bint holds(self):
        """Whether http.client's limits are those it was made for."""
        return (PyDict_GetItemWithError(CLIENT, "_MAXLINE") == <PyObject *>self.max_line
                and PyDict_GetItemWithError(CLIENT, "_MAXHEADERS") == <PyObject *>self.max_headers)


cdef Rules rules_of(object cls):
    """The present rules of a handler class. ValueError, TypeError: an attribute makes no sense."""
    cdef Rules rules = Rules.__new__(Rules)
    rules.max_line = CLIENT["_MAXLINE"]
    rules.max_headers = CLIENT["_MAXHEADERS"]
    rules.c.head.bare_09 = BARE_09
    rules.c.head.max_line = min(
        octets(cls, "turbo_max_header_line", 0x7fffffff, 0x7fffffff), rules.max_line)
    rules.c.head.max_headers = min(
        octets(cls, "turbo_max_headers", 0x7fffffff, 0x7fffffff), rules.max_headers + BLANK_LINE)
    rules.c.head.max_request_line = min(
        octets(cls, "turbo_max_request_line", TS_MAX_REQUEST_LINE), TS_MAX_REQUEST_LINE)
    rules.c.head.max_head = octets(cls, "turbo_max_header_bytes", rules.c.head.max_head)
    if not is_set(cls, "turbo_max_header_bytes"):   # a program that wants longer lines gets them
        rules.c.head.max_head = max(rules.c.head.max_head, rules.c.head.max_line)
    rules.c.chunks.line = octets(cls, "turbo_max_chunk_line", rules.c.chunks.line)
    rules.c.chunks.extensions = octets(cls, "turbo_max_chunk_extensions", rules.c.chunks.extensions)
    rules.c.chunks.trailers = octets(cls, "turbo_max_trailers", rules.c.chunks.trailers)
    rules.c.idle_ns = nanoseconds(cls, "turbo_idle_timeout", rules.c.idle_ns)
    rules.c.head_ns = nanoseconds(cls, "turbo_head_timeout", rules.c.head_ns)
    rules.c.body_ns = nanoseconds(cls, "turbo_body_timeout", rules.c.body_ns)
    rules.c.write_ns = nanoseconds(cls, "turbo_write_timeout", rules.c.write_ns)
    rules.c.grace_ns = nanoseconds(cls, "turbo_min_rate_after", rules.c.grace_ns)
    rules.c.min_rate = octets(cls, "turbo_min_rate", rules.c.min_rate, 0)
    rules.c.drain_max = octets(cls, "turbo_drain_bytes", rules.c.drain_max)
    rules.c.drain_ns = nanoseconds(cls, "turbo_drain_timeout", rules.c.drain_ns)
    longest = getattr(cls, "turbo_max_body", None)
    rules.c.body_max = -1 if longest is None else <int64_t>min(int(longest), 2 ** 62)
    rules.max_requests = getattr(cls, "turbo_max_requests", None)
    rules.decode = bool(getattr(cls, "turbo_decode_chunked", False))
    rules.timed = any(is_set(cls, name) for name in DEADLINES)
    return rules


cdef bint is_set(cls, name):
    for base in cls.__mro__:
        if name in vars(base):
            return base not in DEFAULT_CLASSES
    return False


cdef Rules DEFAULTS = rules_of(object)
