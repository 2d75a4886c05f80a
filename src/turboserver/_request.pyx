"""From the spans of a scanned head to the request as handlers know it.

`parse_request` is the method of that name. A head in the engine's buffer becomes the
handler's request without anything being copied; a head that is read from `rfile` is
scanned by the same rules, in every lane. What is malformed is refused in the original's
words if it refuses it as well, else in ours (csrc/framing.c). Only a handler that has no
socket (rfile is a BytesIO) is served by the original's parser.

What may not live here: grammar (csrc/scan.h), header objects (_headers.pyx), reading,
responses.
"""

import http.server
import io
import re
import socket
from http import HTTPStatus

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset
from turboserver._channel cimport Channel
from turboserver._connection cimport (
    Connection, STAGE_FRESH, STAGE_GENERAL, STAGE_PLAIN, VERSIONS, connection_of, shadows,
)
from turboserver._handlers cimport HandlerInfo, present_rules
from turboserver._headers cimport build_headers, is_plain_class
from turboserver._headers import replace_host
from turboserver._native cimport *
from turboserver._rules cimport Rules
from turboserver._socket_channel cimport LOOPS
from turboserver._socket_channel cimport SocketChannel
from turboserver._stream cimport RequestReader
from turboserver.framing import body_framing, BadFraming

cdef object Original = http.server.BaseHTTPRequestHandler
cdef object original_parse_request = Original.parse_request
cdef object MISSING = object()


# ---- refusing -----------------------------------------------------------------

cdef int refuse(handler, int status, message, explain=None) except -1:
    """One error answer; then the connection ends, and nothing of it is a request."""
    cdef Connection conn = connection_of(handler)
    cdef Channel channel = channel_of(handler)
    handler.close_connection = True
    if channel is not None:
        channel.end_requests()
    if conn is not None:
        conn.c.linger = True
        conn.head.len = 0
    # A head of which nothing has been sent would stand in front of that of the answer.
    lines = handler.__dict__.get("_headers_buffer")
    if type(lines) is list:
        (<list>lines).clear()
    # As the original calls it: overrides may take no more than that.
    if explain is None:
        handler.send_error(HTTPStatus(status), message)
    else:
        handler.send_error(HTTPStatus(status), message, explain)
    handler.close_connection = True
    return 0


cdef int refuse_for(handler, ts_refusal why) except -1:
    cdef Rules rules
    explain = None
    if why == TS_REFUSE_FIELD_LENGTH or why == TS_REFUSE_FIELDS:
        rules = present_rules(type(handler))
        # The words of http.client.
        if why == TS_REFUSE_FIELDS:
            explain = f"got more than {min(rules.c.head.max_headers, rules.max_headers)} headers"
        else:
            explain = f"got more than {rules.c.head.max_line} bytes when reading header line"
    return refuse(handler, ts_refusal_status(why), ts_refusal_reason(why).decode(), explain)


def refuse_body(handler, error):
    """What becomes of a BodyError that a handler has let out: its answer, or a line in the
    log if the handler has begun one of its own; and the end of the connection."""
    cdef Channel channel = channel_of(handler)
    if channel is None or channel.buffer == NULL or channel.is_answered():
        handler.log_error("Request body: %s", error)
        handler.close_connection = True
    else:
        if channel.heading:     # it is the head that was too slow
            if getattr(handler, "command", "") is not None:
                handler.requestline = ""    # or that of the request before
                if ts_in_unread(channel.buffer) > 0:
                    channel.note_head(channel.buffer.data + channel.buffer.pos, ts_in_unread(channel.buffer))
            handler.command = handler.request_version = ""
        refuse(handler, error.status, str(error))


cdef Channel channel_of(handler):
    """Below the handler's rfile; None if that is not ours."""
    cdef Connection conn = connection_of(handler)
    if conn is not None and not shadows(conn, ("rfile",)):
        return conn
    rfile = getattr(handler, "rfile", None)
    return (<RequestReader>rfile).channel if type(rfile) is RequestReader else None


def next_request(handler):
    """Before a request is read: what is left of the one before is dropped. False: that
    cannot be done, and the connection has to end."""
    cdef Channel channel = channel_of(handler)
    if channel is None or channel.buffer == NULL:
        return True
    channel.own_loop = False
    if channel.next_request():
        return True
    if type(channel) is SocketChannel:
        (<SocketChannel>channel).lingers = True
    return False


def decoded_length(handler):
    """Octets of content that the chunked body of the present request has (int), where rfile
    decodes it. It is awaited up to 64 KiB, as the event loop does, and remains to be read.
    None: it is longer, or something is amiss with it, which who reads will find; or there is
    no such body."""
    cdef RequestReader reader
    cdef Channel channel
    cdef ts_body ahead
    cdef size_t looked = 0
    rfile = getattr(handler, "rfile", None)
    if type(rfile) is not RequestReader:
        return None
    reader = rfile
    channel = reader.channel
    if channel is None or channel.buffer == NULL or channel.body.kind != TS_BODY_CHUNKED or not channel.body.decode:
        return None
    if isinstance(channel, Connection) and (<Connection>channel).continue_due:
        return None     # it comes when the application reads
    ahead = channel.body[0]
    while True:
        looked += ts_body_skip(&ahead, channel.buffer.data + channel.buffer.pos + looked,
                               ts_in_unread(channel.buffer) - looked, &channel.rules.c.chunks)
        if looked > TS_SMALL_BODY or ahead.kind == TS_BODY_BAD:
            return None
        if ahead.kind == TS_BODY_NONE:
            return ahead.content
        try:
            if looked == TS_SMALL_BODY or reader.more() <= 0:
                return None
        except OSError:
            return None


# ---- a head in the engine's buffer ------------------------------------------------

cdef bint is_last(ts_request *req):
    """Whether the client takes its request for the last of the connection (RFC 9112, 9.3)."""
    return (req.connection == TS_CONN_CLOSE
            or req.minor == 0 and req.connection != TS_CONN_KEEP_ALIVE)


cdef bint closes(ts_request *req, bint http11):
    """Whether the connection ends after the answer, as far as the request has a say."""
    if req.connection == TS_CONN_CLOSE:
        return True
    if req.connection == TS_CONN_KEEP_ALIVE and http11:
        return False
    return not (http11 and req.minor >= 1)


cdef bint lacks_method(handler, command) except -1:
    """Whether the handler's own flow will answer 501."""
    cls = type(handler)
    return (cls.handle_one_request in LOOPS and cls.handle is Original.handle
            and not hasattr(handler, "do_" + command))


cdef int begin_body(handler, Channel channel, ts_request *req) except -1:
    cdef bint upgrades = (req.upgrade or req.form == TS_TARGET_AUTHORITY) and handler._turbo_upgrades
    if req.form == TS_TARGET_AUTHORITY:     # CONNECT
        channel.begin_tunnel()
        if upgrades:
            channel.begin_body(TS_BODY_OPAQUE, 1)
        else:
            channel.begin_body(TS_BODY_NONE, 0)
            handler.close_connection = True     # what follows is no request either
    elif req.chunked:
        channel.begin_body(TS_BODY_CHUNKED, 0)
    elif req.content_length > 0:
        channel.begin_body(TS_BODY_LENGTH, req.content_length)
    elif req.upgrade and upgrades:
        channel.begin_body(TS_BODY_OPAQUE, 0)
    else:
        channel.begin_body(TS_BODY_NONE, 0)
    return 0


cdef bint accepted(handler, Channel channel, ts_request *req, bint http11) except -1:
    """What is left to do of parse_request() when the attributes are there. False: it was
    refused, and the answer has been written."""
    cdef ts_refusal refusal = req.refusal
    if channel is None:     # another rfile, perhaps for the moment
        channel = connection_of(handler)
    if refusal != TS_REFUSE_NONE:
        if refusal == TS_REFUSE_HOST_MISSING and lacks_method(handler, handler.command):
            handler.close_connection = True     # and its answer is 501
            if channel is not None:
                channel.end_requests()
            return True
        refuse_for(handler, refusal)
        return False
    if channel is None:
        if req.content_length > 0 or req.chunked:
            handler.close_connection = True     # nobody knows what will be left of it
    else:
        begin_body(handler, channel, req)
        if channel.rules.max_requests is not None:
            channel.requests += 1
            if channel.requests >= channel.rules.max_requests:
                channel.last = True
                handler.close_connection = True
    if req.expect_continue and http11 and req.minor >= 1:
        if isinstance(channel, Connection) and (<Connection>channel).lazy_continue:
            (<Connection>channel).continue_due = True
            return True
        return bool(handler.handle_expect_100())
    return True


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
    conn.close_connection = closes(req, http11)
    if (req.refusal == TS_REFUSE_NONE and req.content_length <= 0 and req.form == TS_TARGET_ORIGIN
            and not req.chunked and not req.upgrade and not req.expect_continue
            and conn.rules.max_requests is None):
        conn.c.body.kind = TS_BODY_NONE     # accepted() of most requests
        conn.heading = False
        return True
    return accepted(conn.handler, conn, req, http11)


# ---- a head that is read ------------------------------------------------------------

class _Judge(Original):
    """Says what the original makes of a request line."""

    answer = None

    def __init__(self, line):
        self.raw_requestline = line
        self.rfile = io.BytesIO(b"\r\n")

    def send_error(self, code, message=None, explain=None):
        self.answer = code, message, explain


cdef bint refuse_line(handler, Channel channel, ts_request *req, line) except -1:
    """A request line is refused: False, as parse_request() returns. The answer has a head,
    unlike that of the originals before 3.14: it may be no HTTP/0.9 at all."""
    handler.request_version = ""
    if line.startswith(b"HEAD "):
        handler.command = "HEAD"    # its answer has no body
    if req.refusal == TS_REFUSE_LINE or req.refusal == TS_REFUSE_VERSION or req.refusal == TS_REFUSE_CUT_OFF:
        judge = _Judge(line)
        if not original_parse_request(judge):
            if judge.answer is not None:
                code, message, explain = judge.answer
                refuse(handler, code, message, explain)
            elif channel is not None:
                channel.end_requests()  # nothing but white space: the connection closes
            return False
    message = ts_refusal_reason(req.refusal).decode()
    if req.refusal == TS_REFUSE_LINE:
        version = handler.requestline.rpartition(' ')[2]
        if version.startswith("HTTP/") and not VERSION.fullmatch(version):
            message = f"Bad request version ({version!r})"
        else:
            message = f"{message} ({handler.requestline!r})"
    elif req.refusal == TS_REFUSE_VERSION:
        message = f"{message} ({handler.requestline.rpartition('/')[2]})"
    refuse(handler, ts_refusal_status(req.refusal), message)
    return False


VERSION = re.compile("HTTP/[0-9][.][0-9]")
WHITE_END = re.compile(rb"[ \t]+\r\n")     # is no part of a value (RFC 9110, 5.5)


cdef bytes gather(handler, rfile, Rules rules):
    """The header lines from a file that is not ours, up to the blank one, the end, or a
    limit; nothing after that is read."""
    cdef list lines = []
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t longest = rules.c.head.max_line
    while len(lines) <= rules.c.head.max_headers and total <= rules.c.head.max_head:
        line = rfile.readline(longest + 1)
        lines.append(line)
        total += len(line)
        if line in (b"\r\n", b"\n", b"") or not line.endswith(b"\n"):
            break
    return b"".join(lines)


cdef int scan_head(ts_request *req, handler, RequestReader reader, bytes octets, Rules rules) except -1:
    """ts_scan_fields() of what `reader` has, or of octets; CUT_OFF at the end of it."""
    cdef ts_in *b
    cdef Channel channel
    cdef int result
    while True:
        if reader is None:
            result = ts_scan_fields(req, <char *>octets, len(octets), &rules.c.head)
        else:
            b = reader.source().buffer
            result = ts_scan_fields(req, b.data + b.pos, ts_in_unread(b), &rules.c.head)
        if result != TS_SCAN_PARTIAL:
            return result
        if reader is None or reader.more() <= 0:
            req.refusal = TS_REFUSE_CUT_OFF
            return TS_SCAN_REFUSED


cdef object parse_stream(handler):
    """parse_request() of a request of which the line has been read."""
    cdef ts_request req
    cdef ts_request line_req
    cdef RequestReader reader = None
    cdef Channel channel = None
    cdef Rules rules = None
    cdef bytes line, octets = None
    cdef char *head
    cdef int result
    cdef size_t used
    cdef ts_body ahead
    cdef bint http11
    rfile = handler.rfile
    if type(rfile) is RequestReader:
        reader = rfile
        channel = reader.source()
    if isinstance(channel, Connection):
        rules = channel.rules
    else:
        rules = present_rules(type(handler))
    if channel is not None:
        channel.rules = rules
        if type(channel) is SocketChannel and (<SocketChannel>channel).writing is not None:
            (<SocketChannel>channel).writing.rules = rules
    if handler.raw_requestline == b"\r\n" and (
            not isinstance(channel, Connection) or not (<Connection>channel).c.blank):
        # One empty line before a request (RFC 9112, 2.2).
        handler.raw_requestline = rfile.readline(TS_MAX_REQUEST_LINE + 1)
    line = handler.raw_requestline
    handler.command = None
    handler.request_version = handler.default_request_version
    handler.close_connection = True
    handler.requestline = requestline = line.decode("latin-1").rstrip("\r\n")
    if not line:
        return False
    if channel is not None:
        channel.note_head(line, len(line))
    ts_request_reset(&line_req)
    result = ts_scan_line(&line_req, line, len(line), &rules.c.head)
    if result == TS_SCAN_PARTIAL:
        line_req.refusal = TS_REFUSE_CUT_OFF
    if result == TS_SCAN_REFUSED or result == TS_SCAN_PARTIAL:
        return refuse_line(handler, channel, &line_req, line)
    if result == TS_SCAN_GENERAL and rules.c.head.bare_09:
        return parse_by_original(handler, channel, None)
    is_09 = result == TS_SCAN_GENERAL
    command = requestline[line_req.method.off:line_req.method.off + line_req.method.len]
    path = requestline[line_req.target.off:line_req.target.off + line_req.target.len]
    if reader is None:
        octets = gather(handler, rfile, rules)
    ts_request_reset(&req)
    req.minor = line_req.minor
    req.form = line_req.form
    result = scan_head(&req, handler, reader, octets, rules)
    if is_09 and (result != TS_SCAN_REFUSED or req.refusal == TS_REFUSE_CUT_OFF):
        return parse_by_original(handler, channel, octets)
    if result == TS_SCAN_GENERAL:
        if reader is not None:
            head = channel.buffer.data + channel.buffer.pos
            octets = head[:req.head_len]
            channel.buffer.pos += req.head_len
        if not parse_by_original(handler, channel, WHITE_END.sub(b"\r\n", octets)):
            return False
    else:
        handler.command = command
        handler.path = "/" + path.lstrip("/") if path.startswith("//") else path
        handler.request_version = VERSIONS[line_req.minor]
        if result == TS_SCAN_REFUSED:
            refuse_for(handler, req.refusal)
            return False
    authority = None
    if line_req.form == TS_TARGET_ABSOLUTE:
        authority = requestline[line_req.authority.off:line_req.authority.off + line_req.authority.len]
    if result == TS_SCAN_GENERAL:
        if authority is not None and handler.headers:
            replace_host(handler.headers, authority)
    else:
        head = <char *>octets if reader is None else channel.buffer.data + channel.buffer.pos
        handler.headers = build_headers(head, &req, handler.MessageClass, authority)
        if reader is not None:
            channel.buffer.pos += req.head_len
    if req.form == TS_TARGET_AUTHORITY:     # CONNECT: what follows is no body (RFC 9110, 9.3.6)
        req.chunked = False
        req.content_length = -1
    if req.refusal == TS_REFUSE_NONE and 0 <= rules.c.body_max < req.content_length:
        req.refusal = TS_REFUSE_BODY_LENGTH
    if req.refusal == TS_REFUSE_NONE and req.chunked and channel is not None and ts_in_unread(channel.buffer) > 0:
        # What has come with the head is looked at before a handler believes in it.
        memset(&ahead, 0, sizeof(ahead))
        ts_body_begin(&ahead, TS_BODY_CHUNKED, 0)
        ts_body_skip(&ahead, channel.buffer.data + channel.buffer.pos, ts_in_unread(channel.buffer),
                     &rules.c.chunks)
        if ahead.kind == TS_BODY_BAD:
            req.refusal = TS_REFUSE_BODY_CHUNKED
    http11 = handler.protocol_version >= "HTTP/1.1"
    handler.close_connection = closes(&req, http11)
    if channel is not None:
        channel.closes = is_last(&req)
    if not is_plain_class(handler.MessageClass):
        ask_message(handler, &req, http11)
    return accepted(handler, channel, &req, http11)


cdef int ask_message(handler, ts_request *req, bint http11) except -1:
    """A MessageClass of the program's own may have its own idea of Connection and Expect, but
    for what must close."""
    connection = handler.headers.get("Connection", "").lower()
    if connection == "close":
        handler.close_connection = True
    elif connection == "keep-alive" and http11 and req.connection != TS_CONN_CLOSE:
        handler.close_connection = False
    req.expect_continue = handler.headers.get("Expect", "").lower() == "100-continue"
    return 0


cdef bint parse_by_original(handler, Channel channel, octets) except -1:
    """The original's parser has the rest of the head, every line of which has been looked
    at: HTTP/0.9, or more fields than there is room for. There is no body yet, and no
    expectation is met."""
    rfile = handler.rfile
    attrs = handler.__dict__
    hook = attrs.get("handle_expect_100", MISSING)
    attrs["handle_expect_100"] = meets_nothing
    if octets is not None:
        handler.rfile = io.BytesIO(octets)
    try:
        if not original_parse_request(handler):
            return False
        if channel is not None:
            channel.begin_body(TS_BODY_NONE, 0)
        return True
    finally:
        if octets is not None:
            handler.rfile = rfile
        if hook is MISSING:
            attrs.pop("handle_expect_100", None)
        else:
            attrs["handle_expect_100"] = hook


def meets_nothing():
    """In place of handle_expect_100(), whose time has not come."""
    return True


cdef object parse_alone(handler):
    """parse_request() of a handler that has no socket: the original's reading, but for a
    body whose end is open to doubt."""
    if not original_parse_request(handler):
        return False
    try:
        body_framing(handler.headers, handler.request_version)
    except BadFraming as error:
        refuse(handler, error.status, str(error))
        return False
    return True


cdef bint has_socket(handler):
    if type(getattr(handler, "rfile", None)) is RequestReader:
        return True
    return isinstance(getattr(handler, "connection", None), socket.socket)


def parse_request(self):
    """Parse the request whose line is in `self.raw_requestline`.

    Sets command, path, request_version, headers and close_connection. Returns True, or
    False after an error answer has been sent: malformed requests, and such whose end or
    whose host is open to doubt (RFC 9112), with 400, 413, 414, 417, 431, 501 or 505.
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
    if not has_socket(self) or type(self.raw_requestline) is not bytes:
        return parse_alone(self)
    return parse_stream(self)
