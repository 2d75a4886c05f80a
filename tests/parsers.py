"""What four parsers make of the same octets, in one shape: ours, http.server's, h11's and httptools' (llhttp's).

Nothing here asserts anything.  `ours` runs without a server, on the rfile that handlers have in the blocking lane,
over a pair of sockets; the head goes through csrc/scan.c, the body through csrc/body.c and csrc/chunked.c.
"""
import dataclasses
import functools
import io
import socket

import h11
import httptools

from support import load_backend


@dataclasses.dataclass
class Reading:
    """What a parser has read.  `head` and `body` say whether it took them; what is not known is None."""
    head: bool = False
    body: bool = False
    method: bytes = None
    target: bytes = None
    version: bytes = None  # b"1.1"
    fields: list = None  # [(name, value)]
    framing: object = None  # "chunked", a length, or "none"
    content: bytes = None
    rest: bytes = None  # what follows the request
    after_head: bytes = None
    why: str = ""  # it was refused
    status: int = None  # of the refusal


def framing_of(fields):
    """How fields that are right say that the body is framed (RFC 9112, 6.3)."""
    found = {name.lower(): value for name, value in fields}
    if b"transfer-encoding" in found:
        return "chunked"
    return int(found[b"content-length"]) if b"content-length" in found else "none"


# ---------------------------------------------------------------- handlers: ours and the original

@functools.cache
def handler_class(name, decode):
    """A handler of one backend that keeps what it would have answered, and knows every method."""
    class Handler(load_backend(name).http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        turbo_decode_chunked = decode

        def __init__(self):
            self.answers = []

        def __getattr__(self, name):
            if name.startswith("do_"):
                return lambda: None
            raise AttributeError(name)

        def send_error(self, code, message=None, explain=None):
            self.answers.append((int(code), message))

        def handle_expect_100(self):
            return True

    return Handler


def take_head(handler):
    """The head that `handler` parses from its rfile: a Reading."""
    seen = Reading()
    handler.raw_requestline = handler.rfile.readline(65537)
    seen.head = handler.parse_request()
    if handler.answers:
        (seen.status, seen.why), = handler.answers
    else:
        seen.why = "" if seen.head else "closed without a word"
    if seen.head:
        seen.method = handler.command.encode("latin-1")
        seen.target = handler.path.encode("latin-1")
        seen.version = handler.request_version.removeprefix("HTTP/").encode()
        seen.fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in handler.headers.items()]
    return seen


def original(data):
    """http.server, and with it http.client.parse_headers(); it knows nothing of bodies."""
    handler = handler_class("stdlib", False)()
    handler.rfile = io.BytesIO(data)
    seen = take_head(handler)
    if seen.head:
        seen.after_head = handler.rfile.read()
    return seen


def send_in_pieces(client, data, sizes):
    """So few pieces that they find room in any system's buffer: nobody reads meanwhile."""
    least = 1 + len(data) // 60
    at = 0
    while at < len(data):
        size = max(next(sizes), least)
        client.send(data[at:at + size])
        at += size


def ours(data, sizes=None, decode=True):
    """turboserver; with `sizes`, an endless iterator, in pieces of so many octets, one for each receive (where the
    system has SOCK_SEQPACKET)."""
    from turboserver.errors import BodyError

    kind = getattr(socket, "SOCK_SEQPACKET", None) if sizes else None
    try:
        client, server = socket.socketpair(socket.AF_UNIX, kind or socket.SOCK_STREAM)
    except OSError:  # no such sockets on macOS
        client, server = socket.socketpair()
    with client, server:
        if sizes:
            send_in_pieces(client, data, sizes)
        else:
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        handler = handler_class("turboserver", decode)()
        handler.request = server
        handler.setup()
        try:
            seen = take_head(handler)
            if seen.status and "chunked body" in seen.why:
                return seen  # as far as it had come it was looked at before the handler
            if seen.head:
                take_body(handler, seen, BodyError)
            return seen
        finally:
            handler.rfile.close()
            handler.wfile.close()


def take_body(handler, seen, BodyError):
    seen.framing = framing_of(seen.fields) if seen.version != b"0.9" else "none"
    if seen.method == b"CONNECT":
        seen.body, seen.framing, seen.content, seen.rest = True, "none", b"", handler.rfile.read()
        return
    if "Upgrade" in handler.headers and seen.framing in ("none", 0):
        # What follows may be another protocol, or the next request if nothing is read of it.
        seen.body, seen.content = True, b""
    else:
        parts = []
        try:
            while part := handler.rfile.read1(500):
                parts.append(part)
        except BodyError as error:
            seen.why, seen.status = str(error), error.status
            return
        seen.body, seen.content = True, b"".join(parts)
    seen.rest = handler.rfile.readline(65537) + handler.rfile.read()  # the next request begins


# ---------------------------------------------------------------- the others

def by_h11(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    seen, parts = Reading(), []
    try:
        while True:
            event = connection.next_event()
            if type(event) is h11.Request:
                seen.head = True
                seen.method, seen.target, seen.version = bytes(event.method), bytes(event.target), event.http_version
                seen.fields = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
                seen.framing = framing_of(seen.fields)
            elif type(event) is h11.Data:
                parts.append(bytes(event.data))
            elif type(event) is h11.EndOfMessage:
                seen.body, seen.content, seen.rest = True, b"".join(parts), connection.trailing_data[0]
                return seen
            else:
                seen.why = "it is not complete"
                return seen
    except h11.RemoteProtocolError as error:
        seen.why = str(error)
        return seen


class Listener:
    """What httptools calls."""

    def __init__(self):
        self.seen, self.parts, self.target, self.fields = Reading(), [], [], []

    def on_url(self, octets):
        self.target.append(octets)

    def on_header(self, name, value):
        if not self.seen.head:  # else of a trailer
            self.fields.append((name, value or b""))

    def on_headers_complete(self):
        seen, parser = self.seen, self.parser
        seen.head, seen.method, seen.target = True, parser.get_method(), b"".join(self.target)
        seen.version, seen.fields = parser.get_http_version().encode(), self.fields

    def on_body(self, octets):
        self.parts.append(octets)

    def on_message_complete(self):
        self.seen.body, self.seen.content = True, b"".join(self.parts)

    def on_message_begin(self):
        pass


def by_httptools(data):
    """It does not say where a request ends; therefore it gets one octet after the other."""
    listener = Listener()
    listener.parser = httptools.HttpRequestParser(listener)
    seen = listener.seen
    for at in range(len(data)):
        try:
            listener.parser.feed_data(data[at:at + 1])
        except httptools.HttpParserUpgrade:
            seen.body, seen.content = True, b"".join(listener.parts)
        except httptools.HttpParserError as error:
            seen.why = f"{type(error).__name__} {error}"
            break
        if seen.body:
            seen.rest = data[at + 1:]
            break
    else:
        seen.why = "it is not complete"
    if seen.head:
        try:
            seen.framing = framing_of(seen.fields)
        except ValueError:
            seen.framing = "unknown"
    return seen
