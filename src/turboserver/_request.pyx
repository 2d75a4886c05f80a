"""From the spans of a scanned head to the request as handlers know it.

`parse_request` is the method of that name: native where the head is plain and nobody
is in the way, else the original's, whose result is then held to the same framing rules
(RFC 9112, 6).

What may not live here: grammar (csrc/scan.h), header objects (_headers.pyx), reading,
responses.
"""

import http.client
import http.server

from libc.stdint cimport uint8_t
from turboserver._connection cimport (
    Connection, STAGE_FRESH, STAGE_GENERAL, STAGE_PLAIN, connection_of, shadows,
)
from turboserver._channel cimport SocketChannel
from turboserver._handlers cimport HandlerInfo
from turboserver._headers cimport build_headers, is_plain_class
from turboserver._native cimport (
    TS_BODY_CHUNKED, TS_BODY_LENGTH, TS_BODY_NONE, TS_CONN_CLOSE, TS_CONN_KEEP_ALIVE,
    TS_REFUSE_NONE, TS_SCAN_COMPLETE, TS_SCAN_PARTIAL, ts_conn_begin_body, ts_in,
    ts_in_unread, ts_limits, ts_limits_init, ts_refusal_reason, ts_refusal_status,
    ts_request, ts_request_reset, ts_scan_fields, ts_scan_line,
)
from turboserver._stream cimport RequestReader
from turboserver.framing import body_framing, BadFraming

cdef object original_parse_request = http.server.BaseHTTPRequestHandler.parse_request


cdef bint parse_plain(Connection conn) except -1:
    """The plain head in the buffer becomes the handler's request. False: it was
    refused, and the answer has been written."""
    cdef ts_request *req = conn.c.req
    cdef HandlerInfo info = conn.info
    cdef bint http11 = info.http11
    conn.c.input.pos = conn.c.input.head + req.head_len
    conn.stage = STAGE_PLAIN
    if info.asks_protocol or shadows(conn, ("protocol_version",)):
        http11 = conn.handler.protocol_version >= "HTTP/1.1"
    conn.close_connection = not (http11 and req.minor >= 1)
    if req.connection == TS_CONN_CLOSE:
        conn.close_connection = True
    elif req.connection == TS_CONN_KEEP_ALIVE and http11:
        conn.close_connection = False
    if req.refusal != TS_REFUSE_NONE:
        refuse(conn.handler, ts_refusal_status(req.refusal),
               ts_refusal_reason(req.refusal).decode())
        conn.c.linger = True
        return False
    if req.chunked:
        ts_conn_begin_body(conn.c, TS_BODY_CHUNKED, 0)
    elif req.content_length > 0:
        ts_conn_begin_body(conn.c, TS_BODY_LENGTH, req.content_length)
    else:
        ts_conn_begin_body(conn.c, TS_BODY_NONE, 0)
    if req.expect_continue and http11 and req.minor >= 1:
        return bool(conn.handler.handle_expect_100())
    return True


cdef object parse_stream(handler):
    """The same from a native rfile of the blocking lane, into the instance. None: not
    plain, and nothing but raw_requestline was consumed."""
    cdef ts_limits limits
    cdef ts_request req
    cdef ts_in *b
    cdef int result
    cdef uint8_t minor
    cdef RequestReader reader
    cdef bytes line
    rfile = getattr(handler, "rfile", None)
    raw = handler.raw_requestline
    if (type(rfile) is not RequestReader or type(raw) is not bytes
            or not is_plain_class(handler.MessageClass)):
        return None
    reader = rfile
    ts_limits_init(&limits)
    limits.max_line = min(http.client._MAXLINE, 0x7fffffff)
    limits.max_headers = min(http.client._MAXHEADERS, 0x7fffffff)
    line = raw
    ts_request_reset(&req)
    if ts_scan_line(&req, line, len(line), &limits) != TS_SCAN_COMPLETE:
        return None
    if req.line_len != len(line):
        return None
    minor = req.minor
    requestline = line[:req.line.len].decode("latin-1")
    command = requestline[req.method.off:req.method.off + req.method.len]
    path = requestline[req.target.off:req.target.off + req.target.len]
    ts_request_reset(&req)
    req.minor = minor
    while True:
        b = reader.source().buffer
        result = ts_scan_fields(&req, b.data + b.pos, ts_in_unread(b), &limits)
        if result != TS_SCAN_PARTIAL:
            break
        if reader.more() <= 0:
            return None
    if result != TS_SCAN_COMPLETE:
        return None
    handler.requestline = requestline
    handler.command = command
    handler.path = "/" + path.lstrip("/") if path.startswith("//") else path
    handler.request_version = "HTTP/1.1" if minor else "HTTP/1.0"
    b = reader.source().buffer
    handler.headers = build_headers(b.data + b.pos, &req, handler.MessageClass)
    b.pos += req.head_len
    http11 = handler.protocol_version >= "HTTP/1.1"
    close = not (http11 and minor >= 1)
    if req.connection == TS_CONN_CLOSE:
        close = True
    elif req.connection == TS_CONN_KEEP_ALIVE and http11:
        close = False
    handler.close_connection = close
    if req.refusal != TS_REFUSE_NONE:
        refuse(handler, ts_refusal_status(req.refusal), ts_refusal_reason(req.refusal).decode())
        return False
    if req.expect_continue and http11 and minor >= 1:
        return bool(handler.handle_expect_100())
    return True


cdef int refuse(handler, int status, message) except -1:
    handler.close_connection = True
    handler.send_error(status, message)
    handler.close_connection = True
    return 0


def parse_request(self):
    """Parse the request whose line is in `self.raw_requestline`.

    Sets command, path, request_version, headers and close_connection. Returns True, or
    False after an error answer has been sent: malformed requests as the original, and
    requests whose framing is ambiguous (RFC 9112, section 6) with 400 or 501.
    """
    cdef Connection conn = connection_of(self)
    cdef bytes line
    if (conn is not None and conn.stage == STAGE_FRESH
            and conn.c.input.pos == conn.c.input.head + conn.c.req.line_len
            and conn.info.plain_message and not shadows(conn, ("rfile", "MessageClass"))
            and self.raw_requestline == conn.head_start()[:conn.c.req.line_len]):
        conn.forget_request()   # what a program has assigned meanwhile
        return parse_plain(conn)
    if conn is not None:
        conn.stage = STAGE_GENERAL
    else:
        done = parse_stream(self)
        if done is not None:
            return done
    if not original_parse_request(self):
        if conn is not None:
            conn.c.linger = True
        return False
    try:
        length, chunked = body_framing(self.headers, self.request_version)
    except BadFraming as error:
        refuse(self, error.status, str(error))
        if conn is not None:
            conn.c.linger = True
        return False
    if conn is not None:
        if chunked:
            ts_conn_begin_body(conn.c, TS_BODY_CHUNKED, 0)
        elif length:
            ts_conn_begin_body(conn.c, TS_BODY_LENGTH, length)
        else:
            ts_conn_begin_body(conn.c, TS_BODY_NONE, 0)
    return True
