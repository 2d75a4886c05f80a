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
from libc.string cimport memcmp, memcpy
from libc.time cimport time
from turboserver._channel cimport Channel, MUTE, MUTE_INTERIM, MUTE_NOT
from turboserver._connection cimport (
    Connection, STAGE_PLAIN, assigned, connection_of, shadows,
)
from turboserver._handlers cimport ResponseInfo, Start, response_info
from turboserver._log cimport log_plainly
from turboserver._request cimport channel_of, is_last
from turboserver._stream cimport ResponseWriter
from turboserver._native cimport (
    TS_BODY_OPAQUE, TS_DATE_LEN, ts_body_done, ts_in_unread, ts_date, ts_date_at, ts_head_add, ts_head_field, ts_head_start, ts_has_control,
)


cdef extern from "Python.h":
    enum:
        PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    bint PyUnicode_Check(object)
    Py_ssize_t PyDict_GET_SIZE(dict d)


cdef object Status = HTTPStatus
cdef object _Original = http.server.BaseHTTPRequestHandler
cdef object original_send_response = _Original.send_response
cdef object original_send_response_only = _Original.send_response_only
cdef object original_send_header = _Original.send_header
cdef object original_end_headers = _Original.end_headers
cdef object original_flush_headers = _Original.flush_headers

# 3.15's log_request() leaves a note for log_message(), which colours that line by it.
cdef bint LEAVES_NOTE = hasattr(_Original, "_colorize_request")

DATE.second = -1

# What may be assigned on a handler object and matters to a native line.
cdef tuple LINE_NAMES = ("request_version", "_headers_buffer")
cdef tuple LOG_HOOKS = ("log_request", "log_message")
cdef tuple LOG_NAMES = ("log_request", "requestline")
cdef tuple WFILE = ("wfile",)
cdef tuple FLUSH_NAMES = ("_headers_buffer", "wfile")
cdef tuple END_NAMES = ("request_version", "_headers_buffer", "flush_headers", "wfile")
cdef tuple STATUS_NAMES = ("request_version", "_headers_buffer", "responses",
                           "protocol_version")
cdef tuple START_NAMES = STATUS_NAMES + (
    "send_response_only", "send_header", "version_string", "date_time_string",
    "server_version", "sys_version")


cdef bint is_latin1(object text):
    return type(text) is str and PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND


# ---- what may not stand in a head ----------------------------------------------

cdef inline bint is_text(object text):
    """Whether a str of ISO 8859-1 surely can stand in a line: no controls."""
    return not ts_has_control(<char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))


cdef dict CONTROLS = {code: " " for code in [*range(0x20), 0x7f] if code != 9}


cdef object reason_phrase(message):
    """A reason phrase as it can stand in a status line, a str: no octet of it ends the line.
    message is asked for its text once, here, whatever it is."""
    text = message if type(message) is str else str(message)
    if not (is_latin1(text) and is_text(text)):
        return str.translate(text, CONTROLS)
    return text


cdef int check_field(keyword, value) except -1:
    """ValueError for a header line that would be more than one."""
    for text in (keyword, value):
        if not (is_latin1(text) and is_text(text)) and str(text).translate(CONTROLS) != str(text):
            raise ValueError(f"control character in the header {keyword!r}: {value!r}")
    return 0


cdef Connection plain(object handler, tuple names):
    """The connection if a native line is right: the request was plain (so it is no
    HTTP/0.9) and none of `names` is assigned on the handler."""
    cdef Connection conn = connection_of(handler)
    if conn is None or conn.stage != STAGE_PLAIN or shadows(conn, names):
        return None
    return conn


cdef int number_of(code) except -1:
    return code if isinstance(code, int) and 0 < code < 1000 else 0


cdef int begin_answer(handler, code) except -1:
    """A status line is about to be written: what comes is no body that may have to be
    dropped."""
    cdef Channel channel = writing_channel(handler)
    if channel is not None:
        channel.mute = MUTE_NOT
        channel.status = number_of(code)
    return 0


cdef Channel writing_channel(handler):
    """Below the handler's wfile; None if that is not ours."""
    cdef Connection conn = connection_of(handler)
    if conn is not None and not shadows(conn, WFILE):
        return conn
    wfile = getattr(handler, "wfile", None)
    return (<ResponseWriter>wfile).channel if type(wfile) is ResponseWriter else None


cdef int end_answer(handler, Channel channel) except -1:
    """A head has been written. After some there is no body (RFC 9112, 6.3), whatever the
    handler writes; after 101 the stream is the handler's."""
    if channel is None:
        return 0
    if channel.status == 101:
        channel = channel_of(handler)
        if channel is not None:
            channel.begin_body(TS_BODY_OPAQUE, 1)
    elif 100 <= channel.status < 200:
        channel.answered = False    # that was not the answer yet
        channel.mute = MUTE_INTERIM
    elif channel.status >= 200:
        if channel.status == 204 or channel.status == 205 or channel.status == 304 or answers_head(handler, channel):
            channel.mute = MUTE
    return 0


cdef bint asks_head(Connection conn):
    """Whether the request that came is a HEAD."""
    return conn.c.req.method.len == 4 and memcmp(conn.head_start() + conn.c.req.method.off, b"HEAD", 4) == 0


cdef bint answers_head(handler, Channel channel) except -1:
    """Whether the request is a HEAD, by what came or by what the handler makes of it."""
    cdef Connection conn
    if channel.to_head:
        return True
    if isinstance(channel, Connection):
        conn = channel
        if conn.stage == STAGE_PLAIN and conn.c != NULL and asks_head(conn):
            return True
    return getattr(handler, "command", None) == "HEAD"


cdef bint has_no_length(Channel channel):
    """Whether the head that is being written may not say a length (RFC 9110, 8.6 and 9.3.6),
    or, 205, none but 0 (15.3.6)."""
    return channel is not None and (channel.status == 204 or channel.status == 205 or 100 <= channel.status < 200
                                    or channel.tunnel and 200 <= channel.status < 300)


cdef bint is_left_out(handler, Channel channel) except -1:
    """Whether it is an interim answer, to a client of HTTP/1.0 (RFC 9110, 15.2). Then what
    is written behind it, up to the answer, is left out, too."""
    if not (100 <= channel.status < 200 and getattr(handler, "request_version", "") == "HTTP/1.0"):
        return False
    channel.answered = False
    channel.mute = MUTE_INTERIM
    return True


cdef bint is_draining(handler):
    return getattr(getattr(handler, "server", None), "_turbo_draining", False) is True


cdef bint says_nothing_of_it(bytes head):
    """Whether a head that is being written does not say what becomes of the connection."""
    return b"\r\nconnection:" not in head.lower()


cdef bint ends(Channel reading, Channel writing):
    if reading is None or writing is None or 100 <= writing.status < 200:
        return False
    return (reading.last or not ts_body_done(reading.body)
            or reading.buffer != NULL and ts_in_unread(reading.buffer) == 0)


cdef list without_length(lines, Channel channel):
    kept = [line for line in lines
            if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
    if channel.status == 205 and not channel.tunnel and len(kept) < len(lines):
        kept.append(b"Content-Length: 0\r\n")
    return kept


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
    start.number = number_of(code)
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
    text = start.text if start is not None else str(code.value if isinstance(code, Status) else code)
    return log_line(info, handler, attrs, line, text, "-", start is not None)


cdef int log_line(ResponseInfo info, handler, dict attrs, line, text, size, bint plain) except -1:
    """What log_request() does with the status `text` and the size (str), if it is the
    original's. attrs: vars(handler). plain: neither has anything to be escaped."""
    if plain and info.plain_log and log_plainly(handler, attrs, line, text, size):
        return 0
    if LEAVES_NOTE:
        attrs["_log_request_info"] = (text, size)
    handler.log_message('"%s" %s %s', line, text, size)
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
    standard one. Control characters in it become spaces. UnicodeEncodeError if the phrase is
    not of ISO 8859-1. Nothing is sent before end_headers() or flush_headers().
    """
    cdef Connection conn = plain(self, START_NAMES)
    cdef ResponseInfo info
    cdef Start start
    if message is not None:
        message = reason_phrase(message)
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
    begin_natively(conn, info, code, message, start)


cdef int begin_natively(Connection conn, ResponseInfo info, code, message, Start start) except -1:
    """Status line, Server and Date of a handler class with plain_start. start: None if the code is new."""
    conn.head_seen = True   # from here on, even if the line cannot be encoded
    if start is None or start.entry is not info.responses.get(start.key):
        start = make_start(info, code, message)
    conn.mute = MUTE_NOT
    conn.status = start.number
    conn.take_head()
    if ts_head_start(&conn.head, <char *>start.all, len(start.all),
                     ts_date_at(&DATE, time(NULL))) != 0:
        raise MemoryError
    return 0


cdef bytes fields_of(Connection conn, ResponseInfo info, code):
    """The fields so far behind Date in the head that is being put together, if it began plainly with that
    code; else None."""
    cdef Start start = start_of(info, code)
    cdef Py_ssize_t skipped
    if start is None:
        return None
    skipped = len(start.all) + TS_DATE_LEN + 2
    if conn.head.len < skipped or memcmp(conn.head.data, <char *>start.all, len(start.all)) != 0:
        return None
    return conn.head.data[skipped:conn.head.len]


def send_response_only(self, code, message=None):
    """Begin the head with the status line alone, without logging. code and message: as of
    send_response()."""
    cdef Connection conn = plain(self, STATUS_NAMES)
    if message is not None:
        message = reason_phrase(message)
    if conn is None or not conn.info.plain_line:
        original_send_response_only(self, code, message)
        begin_answer(self, code)
        return
    conn.head_seen = True
    line = status_line(conn.info, code, message)
    begin_answer(self, code)
    if ts_head_add(&conn.head, <char *>line, len(line)) != 0:
        raise MemoryError


def send_header(self, keyword, value):
    """Add a header line to the head. `Connection: close` and `keep-alive` also decide
    what becomes of the connection. keyword: str; value: anything with a str().
    ValueError if one of them has a control character but HTAB, such as a line end;
    UnicodeEncodeError if it is not of ISO 8859-1."""
    cdef Connection conn
    text = value if type(value) is str else str(value)
    if not is_latin1(keyword) or not is_latin1(text):
        check_field(keyword, text)
        header_by_original(self, keyword, value)
        return
    if not is_text(keyword) or not is_text(text):
        check_field(keyword, text)
    conn = plain(self, LINE_NAMES)
    if conn is None:
        if not header_listed(self, keyword, text, value):
            header_by_original(self, keyword, value)
        return
    if ts_head_field(&conn.head, <char *>PyUnicode_DATA(keyword), PyUnicode_GET_LENGTH(keyword),
                     <char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text)) != 0:
        raise MemoryError
    decision = closing(keyword, value)
    if decision is not None:
        set_close(conn, decision or client_closes(self))


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
    begin_answer(handler, code)
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
        handler.close_connection = decision or client_closes(handler)
    return True


cdef bint end_listed(handler) except -1:
    """end_headers(). False as above."""
    cdef dict attrs = listed(handler)
    cdef Channel channel, reading
    lines = attrs.get("_headers_buffer") if attrs is not None else None
    if type(lines) is not list or "flush_headers" in attrs or not response_info(type(handler)).plain_end:
        return False
    wfile = handler.wfile
    channel = writing_channel(handler)
    if has_no_length(channel):
        if is_left_out(handler, channel):
            attrs["_headers_buffer"] = []
            return True
        lines = without_length(lines, channel)
    reading = channel_of(handler)
    if (reading is not None and reading.last or is_draining(handler)) and says_nothing_of_it(
            b"".join(lines)) and ends(reading, channel):
        (<list>lines).append(b"Connection: close\r\n")
        handler.close_connection = True
    (<list>lines).append(b"\r\n")
    head = b"".join(lines)
    if type(wfile) is ResponseWriter:
        (<ResponseWriter>wfile).write_part(head)
    else:
        wfile.write(head)
    attrs["_headers_buffer"] = []
    end_answer(handler, channel)
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


cdef bint client_closes(handler) except -1:
    """Whether the connection ends with this answer because the client has said so, whatever the
    handler says (RFC 9112, 9.6)."""
    cdef Connection conn = connection_of(handler)
    cdef Channel channel
    if conn is not None and conn.stage == STAGE_PLAIN:
        return is_last(conn.c.req)
    channel = channel_of(handler)
    return channel is not None and channel.closes


cdef int header_by_original(handler, keyword, value) except -1:
    original_send_header(handler, keyword, value)
    if str(keyword).lower() == "connection" and not handler.close_connection and client_closes(handler):
        handler.close_connection = True
    return 0


cdef int set_close(Connection conn, bint close) except -1:
    conn.close_connection = close
    if shadows(conn, ("close_connection",)):
        conn.attrs["close_connection"] = close
    return 0


def end_headers(self):
    """End the head with a blank line and send it. What is written after it is dropped if
    there can be no body (RFC 9112, 6.3; RFC 9110, 15.3.6): in an answer to HEAD, and after
    1xx, 204, 205 and 304. OSError (TimeoutError, BrokenPipeError, ...) if the client cannot be written to."""
    cdef Connection conn = plain(self, END_NAMES)
    if (conn is None or not conn.info.plain_end
            or not (conn.head.len > 0 or conn.head_seen)):
        if not end_listed(self):
            end_by_original(self)
        return
    if has_no_length(conn):
        if is_left_out(self, conn):
            conn.head.len = 0
            return
        drop_length(conn)
    end_natively(self, conn)


cdef int end_natively(handler, Connection conn) except -1:
    """The blank line of a head that has no length too many, and the head leaves."""
    if (conn.last or conn.r.draining) and says_nothing_of_it(conn.head.data[:conn.head.len]) and ends(conn, conn):
        if ts_head_add(&conn.head, b"Connection: close\r\n", 19) != 0:
            raise MemoryError
        set_close(conn, True)
    if ts_head_add(&conn.head, b"\r\n", 2) != 0:
        raise MemoryError
    conn.send_head()
    if (conn.status <= 205 and conn.status != 200 or conn.status == 304 or conn.c.req.method.len == 4
            or PyDict_GET_SIZE(conn.attrs) > conn.own):
        end_answer(handler, conn)
    return 0


cdef int end_by_original(handler) except -1:
    cdef Channel channel = writing_channel(handler)
    if has_no_length(channel):
        lines = getattr(handler, "_headers_buffer", None)
        if type(lines) is list:
            if is_left_out(handler, channel):
                (<list>lines).clear()
                return 0
            (<list>lines)[:] = without_length(lines, channel)
    original_end_headers(handler)
    end_answer(handler, channel)
    return 0


cdef int drop_length(Connection conn) except -1:
    cdef bytes head = b"".join(without_length(conn.head.data[:conn.head.len].splitlines(True), conn))
    conn.head.len = 0
    if ts_head_add(&conn.head, <char *>head, len(head)) != 0:
        raise MemoryError
    return 0


def flush_headers(self):
    """Send what there is of the head, if anything. OSError as of end_headers()."""
    cdef Connection conn = plain(self, FLUSH_NAMES)
    if conn is None:
        return original_flush_headers(self)
    conn.send_head()

