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

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.string cimport memcpy
from libc.time cimport time
from turboserver._connection cimport Connection, STAGE_PLAIN, assigned, connection_of, shadows
from turboserver._handlers cimport ResponseInfo, Start, response_info
from turboserver._log cimport log_plainly
from turboserver._stream cimport ResponseWriter
from turboserver._native cimport (
    TS_DATE_LEN, ts_date, ts_date_at, ts_head_add, ts_head_field, ts_head_start,
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
cdef tuple LOG_HOOKS = ("log_request", "log_message")
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
    if conn is None or conn.stage != STAGE_PLAIN or shadows(conn, names):
        return None
    return conn


cdef bytes status_line(ResponseInfo info, code, message):
    if message is None:
        message = info.responses[code][0] if code in info.responses else ''
    return ("%s %d %s\r\n" % (info.protocol, code, message)).encode("latin-1", "strict")


cdef Start start_of(ResponseInfo info, code):
    """How an answer of that code began last time, if there was one."""
    cdef Start start
    if type(code) is not int and type(code) is not Status:
        return None     # what equals a known code may show itself otherwise
    if code is info.last_code:
        return info.last_start
    start = info.starts.get(code)
    info.last_code, info.last_start = code, start
    return start


cdef Start make_start(ResponseInfo info, code, message):
    cdef Start start = Start.__new__(Start)
    start.status = status_line(info, code, message)
    start.all = start.status + info.server_line + b"Date: "
    if message is None and (type(code) is int or type(code) is Status):
        start.key = Status._value2member_map_.get(code, code)
        start.entry = info.responses.get(start.key)
        start.text = str(int(code))
        if len(info.starts) < 128:
            info.starts[code] = start
            info.last_code = None
    return start


cdef int log_response(ResponseInfo info, handler, dict attrs, Connection conn, code, Start start) except -1:
    """handler.log_request(code), the original's body inlined where it is the one. conn:
    None if the attributes are in the instance. start: None if the code is new."""
    if info.hooks_log or (assigned(attrs, LOG_HOOKS) if conn is None else shadows(conn, LOG_NAMES)):
        handler.log_request(code)
        return 0
    line = attrs.get("requestline") if conn is None else conn.supply_requestline()
    if line is None:
        handler.log_request(code)
        return 0
    if start is not None and info.plain_log and log_plainly(handler, attrs, line, start.text):
        return 0
    text = start.text if start is not None else str(code.value if isinstance(code, Status) else code)
    if LEAVES_NOTE:
        attrs["_log_request_info"] = (text, "-")
    handler.log_message('"%s" %s %s', line, text, "-")
    if LEAVES_NOTE:
        attrs.pop("_log_request_info", None)    # as good as the None it is after use
    return 0


cdef int start_by_hooks(handler, code, message) except -1:
    """What send_response() does after it has logged, for a handler that has its own ways."""
    handler.send_response_only(code, message)
    handler.send_header("Server", handler.version_string())
    handler.send_header("Date", handler.date_time_string())
    return 0


def send_response(self, code, message=None):
    """Log the request, then begin the head: the status line, Server and Date.

    code: int or http.HTTPStatus; message: the reason phrase (str), by default the
    standard one.
    """
    cdef Connection conn = plain(self, START_NAMES)
    cdef ResponseInfo info
    cdef Start start
    if conn is None or not conn.info.plain_start:
        if not start_listed(self, code, message):
            original_send_response(self, code, message)
        return
    info = conn.info
    start = start_of(info, code) if message is None else None
    log_response(info, self, conn.attrs, conn, code, start)
    info = conn.info
    # The hook above may have done anything, even ended the connection.
    if conn.c == NULL or shadows(conn, START_NAMES):
        start_by_hooks(self, code, message)
        return
    if start is None or start.entry is not info.responses.get(start.key):
        start = make_start(info, code, message)
    conn.take_head()
    if ts_head_start(&conn.head, <char *>start.all, len(start.all),
                     ts_date_at(&DATE, time(NULL))) != 0:
        raise MemoryError


def send_response_only(self, code, message=None):
    """Begin the head with the status line alone, without logging."""
    cdef Connection conn = plain(self, STATUS_NAMES)
    if conn is None or not conn.info.plain_line:
        return original_send_response_only(self, code, message)
    line = status_line(conn.info, code, message)
    if ts_head_add(&conn.head, <char *>line, len(line)) != 0:
        raise MemoryError


def send_header(self, keyword, value):
    """Add a header line to the head. `Connection: close` and `keep-alive` also decide
    what becomes of the connection. keyword: str; value: anything with a str()."""
    cdef Connection conn
    if not is_latin1(keyword):
        return original_send_header(self, keyword, value)
    text = value if type(value) is str else str(value)
    if not is_latin1(text):
        return original_send_header(self, keyword, value)
    conn = plain(self, LINE_NAMES)
    if conn is None:
        if not header_listed(self, keyword, text, value):
            original_send_header(self, keyword, value)
        return
    if ts_head_field(&conn.head, <char *>PyUnicode_DATA(keyword), PyUnicode_GET_LENGTH(keyword),
                     <char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text)) != 0:
        raise MemoryError
    decision = closing(keyword, value)
    if decision is not None:
        set_close(conn, decision)


# ---- in the other lanes: the lines that the original keeps in a list ----------

# What may be assigned on a handler object there, where the request's own attributes are
# in the instance in any case.
cdef tuple LISTED_START = ("send_response_only", "send_header", "version_string",
                           "date_time_string", "server_version", "sys_version",
                           "responses", "protocol_version")


cdef dict listed(handler):
    """vars(handler) if lines may be added to the list natively; else None."""
    if connection_of(handler) is not None:
        return None     # the reactor lane's, and something is in the way
    cdef dict attrs = handler.__dict__
    version = attrs.get("request_version")
    if type(version) is not str or version == "HTTP/0.9":
        return None
    return attrs if response_info(type(handler)).plain_assignment else None


cdef list lines_of(dict attrs):
    """The list of lines, begun if there is none; None if the program put something else there."""
    lines = attrs.get("_headers_buffer")
    if lines is None:
        if "_headers_buffer" in attrs:
            return None
        lines = attrs["_headers_buffer"] = []
    return lines if type(lines) is list else None


cdef bint start_listed(handler, code, message) except -1:
    """send_response(). False, with nothing done, if it is the original's to do."""
    cdef dict attrs = listed(handler)
    cdef ResponseInfo info
    cdef Start start
    cdef list lines
    if attrs is None or assigned(attrs, LISTED_START):
        return False
    info = response_info(type(handler))
    if not info.plain_start:
        return False
    start = start_of(info, code) if message is None else None
    log_response(info, handler, attrs, None, code, start)
    # The hook above may have done anything.
    attrs = listed(handler)
    lines = None if attrs is None or assigned(attrs, LISTED_START) else lines_of(attrs)
    if lines is None or not info.holds():
        start_by_hooks(handler, code, message)
        return True
    if start is None or start.entry is not info.responses.get(start.key):
        start = make_start(info, code, message)
    lines.append(start.status)
    lines.append(info.server_line)
    lines.append(b"Date: " + ts_date_at(&DATE, time(NULL))[:TS_DATE_LEN] + b"\r\n")
    return True


cdef bint header_listed(handler, keyword, text, value) except -1:
    """send_header(), with text = str(value). False as above."""
    cdef dict attrs = listed(handler)
    cdef list lines = None if attrs is None else lines_of(attrs)
    cdef Py_ssize_t n, m
    cdef char *at
    cdef bytes line
    if lines is None:
        return False
    n, m = PyUnicode_GET_LENGTH(keyword), PyUnicode_GET_LENGTH(text)
    line = PyBytes_FromStringAndSize(NULL, n + m + 4)
    at = PyBytes_AS_STRING(line)
    memcpy(at, PyUnicode_DATA(keyword), n)
    memcpy(at + n, b": ", 2)
    memcpy(at + n + 2, PyUnicode_DATA(text), m)
    memcpy(at + n + 2 + m, b"\r\n", 2)
    lines.append(line)
    decision = closing(keyword, value)
    if decision is not None:
        handler.close_connection = decision
    return True


cdef bint end_listed(handler) except -1:
    """end_headers(). False as above."""
    cdef dict attrs = listed(handler)
    lines = attrs.get("_headers_buffer") if attrs is not None else None
    if type(lines) is not list or "flush_headers" in attrs or not response_info(type(handler)).plain_end:
        return False
    (<list>lines).append(b"\r\n")
    head = b"".join(lines)
    wfile = handler.wfile
    if type(wfile) is ResponseWriter:
        (<ResponseWriter>wfile).write_part(head)
    else:
        wfile.write(head)
    attrs["_headers_buffer"] = []
    return True


# ---- what a header says of the connection ---------------------------------------

cdef object closing(keyword, value):
    """True or False if the header decides whether the connection closes; else None."""
    if PyUnicode_GET_LENGTH(keyword) == 10 and keyword.lower() == "connection":
        decision = value.lower()
        if decision == "close":
            return True
        if decision == "keep-alive":
            return False
    return None


cdef int set_close(Connection conn, bint close) except -1:
    conn.close_connection = close
    if shadows(conn, ("close_connection",)):
        conn.attrs["close_connection"] = close
    return 0


def end_headers(self):
    """End the head with a blank line and send it."""
    cdef Connection conn = plain(self, END_NAMES)
    if (conn is None or not conn.info.plain_end
            or not (conn.head.len > 0 or conn.head_seen)):
        if not end_listed(self):
            original_end_headers(self)
        return
    if ts_head_add(&conn.head, b"\r\n", 2) != 0:
        raise MemoryError
    conn.send_head()


def flush_headers(self):
    """Send what there is of the head."""
    cdef Connection conn = plain(self, FLUSH_NAMES)
    if conn is None:
        return original_flush_headers(self)
    conn.send_head()

