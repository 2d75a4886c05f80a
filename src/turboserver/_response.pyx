"""The response head: send_response, send_header, end_headers and their kin, natively.

Each function is the method of that name. Where the engine has the connection and no
override or assignment could notice, the lines go straight into the connection's head
buffer; in every other case the original's own method runs, which calls the same hooks
in the same order. A path is taken whole or not at all: what `_headers_buffer` shows is
the same either way.

What may not live here: what the lines mean, sockets.
"""

import http.server
from http import HTTPStatus

from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.time cimport time
from turboserver._connection cimport Connection, STAGE_PLAIN, connection_of
from turboserver._handlers cimport HandlerInfo
from turboserver._native cimport (
    TS_DATE_LEN, ts_date, ts_date_at, ts_head_add, ts_head_field,
)


cdef extern from "Python.h":
    enum:
        PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    bint PyUnicode_Check(object)


cdef object Status = HTTPStatus
cdef object _Original = http.server.BaseHTTPRequestHandler
cdef object original_send_response = _Original.send_response
cdef object original_send_response_only = _Original.send_response_only
cdef object original_send_header = _Original.send_header
cdef object original_end_headers = _Original.end_headers
cdef object original_flush_headers = _Original.flush_headers

# 3.15's log_request() leaves a note for log_message(), which colours that line by it.
cdef bint LEAVES_NOTE = hasattr(_Original, "_colorize_request")

# The date of the present second, for whichever thread holds the GIL.
cdef ts_date DATE
DATE.second = -1

# What may be assigned on a handler object and matters to a native line.
cdef tuple LINE_NAMES = ("request_version", "_headers_buffer")
cdef tuple LOG_NAMES = ("log_request", "requestline")
cdef tuple FLUSH_NAMES = ("_headers_buffer", "wfile")
cdef tuple END_NAMES = ("request_version", "_headers_buffer", "flush_headers", "wfile")
cdef tuple STATUS_NAMES = ("request_version", "_headers_buffer", "responses",
                           "protocol_version")
cdef tuple START_NAMES = STATUS_NAMES + (
    "send_response_only", "send_header", "version_string", "date_time_string",
    "server_version", "sys_version")


cdef inline bint is_latin1(object text):
    return type(text) is str and PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND


cdef Connection plain(object handler, tuple names):
    """The connection if a native line is right: the request was plain (so it is no
    HTTP/0.9) and none of `names` is assigned on the handler."""
    cdef Connection conn = connection_of(handler)
    if conn is None or conn.stage != STAGE_PLAIN or conn.shadows(names):
        return None
    return conn


cdef int add_date(Connection conn) except -1:
    if ts_head_add(&conn.head, ts_date_at(&DATE, time(NULL)), TS_DATE_LEN) != 0:
        raise MemoryError
    return 0


cdef bytes status_line(object handler, HandlerInfo info, code, message):
    if message is None:
        entry = info.responses.get(code)
        message = entry[0] if entry is not None else ''
    return ("%s %d %s\r\n" % (info.protocol, code, message)).encode("latin-1", "strict")


cdef int log_response(Connection conn, handler, code, text) except -1:
    """handler.log_request(code), the original's body inlined where it is the one. text:
    the code as str, if that is known."""
    if conn.info.hooks_log or conn.shadows(LOG_NAMES):
        handler.log_request(code)
        return 0
    if text is None:
        text = str(code.value if isinstance(code, Status) else code)
    attrs = conn.attrs
    if LEAVES_NOTE:
        attrs["_log_request_info"] = (text, "-")
    handler.log_message('"%s" %s %s', conn.supply_requestline(), text, "-")
    if LEAVES_NOTE:
        attrs.pop("_log_request_info", None)    # as good as the None it is after use
    return 0


def send_response(self, code, message=None):
    """Log the request, then begin the head: the status line, Server and Date.

    code: int or http.HTTPStatus; message: the reason phrase (str), by default the
    standard one.
    """
    cdef Connection conn = plain(self, START_NAMES)
    cdef HandlerInfo info
    if conn is None or not conn.info.plain_start:
        return original_send_response(self, code, message)
    info = conn.info
    if message is not None:
        known = None
    elif code is info.last_code:
        known = info.last_start
    else:
        known = info.starts.get(code)
        info.last_code, info.last_start = code, known
    log_response(conn, self, code, None if known is None else (<tuple>known)[2])
    info = conn.info
    # The hook above may have done anything, even ended the connection.
    if conn.c == NULL or conn.shadows(START_NAMES):
        self.send_response_only(code, message)
        self.send_header("Server", self.version_string())
        self.send_header("Date", self.date_time_string())
        return
    entry = info.responses.get(code)
    if known is not None and (<tuple>known)[0] is entry:
        start = <bytes>(<tuple>known)[1]
    else:
        start = (status_line(self, info, code, message)
                 + ("Server: %s\r\n" % info.server_line).encode("latin-1", "strict")
                 + b"Date: ")
        if message is None and len(info.starts) < 128:
            info.starts[code] = (entry, start, str(int(code)))
            info.last_code = None
    if ts_head_add(&conn.head, <char *>start, len(start)) != 0:
        raise MemoryError
    add_date(conn)
    if ts_head_add(&conn.head, b"\r\n", 2) != 0:
        raise MemoryError


def send_response_only(self, code, message=None):
    """Begin the head with the status line alone, without logging."""
    cdef Connection conn = plain(self, STATUS_NAMES)
    if conn is None or not conn.info.plain_line:
        return original_send_response_only(self, code, message)
    line = status_line(self, conn.info, code, message)
    if ts_head_add(&conn.head, <char *>line, len(line)) != 0:
        raise MemoryError


def send_header(self, keyword, value):
    """Add a header line to the head. `Connection: close` and `keep-alive` also decide
    what becomes of the connection. keyword: str; value: anything with a str()."""
    cdef Connection conn
    if not is_latin1(keyword) or (conn := plain(self, LINE_NAMES)) is None:
        return original_send_header(self, keyword, value)
    text = value if type(value) is str else str(value)
    if not is_latin1(text):
        return original_send_header(self, keyword, value)
    if ts_head_field(&conn.head, <char *>PyUnicode_DATA(keyword), PyUnicode_GET_LENGTH(keyword),
                     <char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text)) != 0:
        raise MemoryError
    if PyUnicode_GET_LENGTH(keyword) == 10 and keyword.lower() == "connection":
        decision = value.lower()
        if decision == "close":
            set_close(conn, True)
        elif decision == "keep-alive":
            set_close(conn, False)


cdef int set_close(Connection conn, bint close) except -1:
    conn.close_connection = close
    if conn.shadows(("close_connection",)):
        conn.attrs["close_connection"] = close
    return 0


def end_headers(self):
    """End the head with a blank line and send it."""
    cdef Connection conn = plain(self, END_NAMES)
    if (conn is None or not conn.info.plain_end
            or not (conn.head.len > 0 or conn.head_seen)):
        return original_end_headers(self)
    if ts_head_add(&conn.head, b"\r\n", 2) != 0:
        raise MemoryError
    conn.send_head()


def flush_headers(self):
    """Send what there is of the head."""
    cdef Connection conn = plain(self, FLUSH_NAMES)
    if conn is None:
        return original_flush_headers(self)
    conn.send_head()

