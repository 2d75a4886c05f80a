"""Differential: reading bodies through `rfile`, and `headers` as the email package would have parsed them."""
import http.client
import io

import pytest

from differential import assert_same, handling
from support import respond

BODY = b"first line\nsecond\r\n\nlast without end"
PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__.replace("_", " ")] = function
    return function


def post(body=BODY, more=b"", version=b"HTTP/1.1"):
    return (b"POST /p " + version + b"\r\nHost: a\r\n" + more
            + b"Content-Length: %d\r\n\r\n" % len(body) + body)


# ---------------------------------------------------------------- ways of reading (the client closes its side)

@program
def read_with_length(self, seen):
    seen.append(self.rfile.read(int(self.headers["Content-Length"])))
    respond(self)


@program
def read_in_pieces(self, seen):
    left = int(self.headers["Content-Length"])
    while left:
        piece = self.rfile.read(min(left, 7))
        seen.append(piece)
        left -= len(piece)
    respond(self)


@program
def read_to_the_end(self, seen):
    seen.append((self.rfile.read(), self.rfile.read(), self.rfile.read(5)))
    respond(self)


@program
def read_minus_one_and_none(self, seen):
    seen.append((self.rfile.read(3), self.rfile.read(-1), self.rfile.read(None)))
    respond(self)


@program
def read_nothing(self, seen):
    seen.append((self.rfile.read(0), self.rfile.readline(0), self.rfile.read(len(BODY))))
    respond(self)


@program
def readline(self, seen):
    seen.append([self.rfile.readline() for unused in range(5)])
    respond(self)


@program
def readline_with_limits(self, seen):
    seen.append([self.rfile.readline(limit) for limit in (3, 100, 1, -1, 5, 5, 100)])
    respond(self)


@program
def readlines(self, seen):
    seen.append(self.rfile.readlines())
    respond(self)


@program
def readlines_with_a_hint(self, seen):
    seen.append((self.rfile.readlines(12), self.rfile.read()))
    respond(self)


@program
def iteration(self, seen):
    seen.append(list(self.rfile))
    respond(self)


@program
def next_and_read(self, seen):
    seen.append((next(self.rfile), self.rfile.read(3), next(self.rfile), self.rfile.read()))
    respond(self)


@program
def read1_after_the_body_is_there(self, seen):
    got = b""
    while len(got) < len(BODY):
        got += self.rfile.read1(len(BODY) - len(got))
    seen.append(got)
    respond(self)


@program
def read1_of_everything(self, seen):
    got = b""
    while data := self.rfile.read1():
        got += data
    seen.append(got)
    respond(self)


@program
def readinto(self, seen):
    buffer = bytearray(b"." * (len(BODY) + 5))
    view = memoryview(buffer)[:len(BODY)]
    seen.append((self.rfile.readinto(view), bytes(buffer)))
    respond(self)


@program
def readinto_pieces(self, seen):
    buffer, got = bytearray(4), b""
    while count := self.rfile.readinto(buffer):
        got += buffer[:count]
    seen.append((got, self.rfile.readinto(bytearray(0))))
    respond(self)


@program
def readinto1(self, seen):
    buffer, got = bytearray(9), b""
    while count := self.rfile.readinto1(buffer):
        got += buffer[:count]
    seen.append(got)
    respond(self)


@program
def peek(self, seen):
    self.rfile.read(1)
    peeked = self.rfile.peek(1)
    seen.append((peeked[:1], self.rfile.read(len(BODY) - 1)))
    respond(self)


@program
def what_rfile_is(self, seen):
    rfile = self.rfile
    seen.append((isinstance(rfile, io.BufferedIOBase), rfile.readable(), rfile.writable(), rfile.seekable(),
                 rfile.closed, rfile.isatty(), rfile.mode, rfile.name == rfile.fileno()))
    self.rfile.read(len(BODY))
    respond(self)


@program
def what_rfile_does_not_do(self, seen):
    for call in (lambda: self.rfile.write(b"x"), lambda: self.rfile.seek(0), lambda: self.rfile.tell(),
                 lambda: self.rfile.read("x"), lambda: self.rfile.truncate()):
        try:
            call()
        except (OSError, TypeError) as error:
            seen.append("OSError" if isinstance(error, OSError) else "TypeError")
    self.rfile.read(len(BODY))
    respond(self)


@program
def text_wrapper(self, seen):
    seen.append(io.TextIOWrapper(self.rfile, "ascii").read())
    respond(self)
    raise ConnectionAbortedError("rfile is closed now")


@program
def detached_text_wrapper(self, seen):
    wrapper = io.TextIOWrapper(self.rfile, "ascii", newline="")
    seen.append(list(wrapper))
    wrapper.detach()
    respond(self)


@program
def copyfileobj(self, seen):
    import shutil
    out = io.BytesIO()
    shutil.copyfileobj(self.rfile, out)
    seen.append(out.getvalue())
    respond(self)


@program
def more_than_there_is(self, seen):
    seen.append(self.rfile.read(10_000))
    respond(self)


@program
def answer_first(self, seen):
    respond(self)
    seen.append(self.rfile.read(len(BODY)))


def cases(names):
    return pytest.mark.parametrize("name", [pytest.param(name, id=name.replace(" ", "-")) for name in names])


@pytest.mark.parametrize("version", (b"HTTP/1.1", b"HTTP/1.0"))
@cases(PROGRAMS)
def test_reading(name, version):
    assert_same("bodies/" + name, handling(PROGRAMS[name]), post(version=version), chunkings=("whole", "bytes"))


@cases(["read with length", "read in pieces", "readinto", "answer first", "read1 after the body is there"])
def test_reading_between_other_requests(name):
    get = b"POST /n HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY.swapcase())
    assert_same("bodies/" + name, handling(PROGRAMS[name]), post() + get + post(), chunkings=("whole", "bytes"))


@pytest.mark.parametrize("size", (1, 1023, 8192, 65535, 65536, 65537, 1 << 20, 10 << 20))
def test_sizes(size):
    def echo(self, seen):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen.append(len(body))
        respond(self, body)

    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert_same("bodies/sizes", handling(echo), post(body) + post(b"last"))


def test_big_body_read_line_by_line():
    def lines(self, seen):
        left, count = int(self.headers["Content-Length"]), 0
        while left:
            left -= len(self.rfile.readline(min(left, 65536)))
            count += 1
        seen.append(count)
        respond(self)

    assert_same("bodies/lines", handling(lines), post(b"".join(b"line %d\n" % n for n in range(50_000))))


def test_chunked_body_reaches_rfile_as_it_stands():
    """The standard library leaves chunked request bodies to the handler, and so does ours unless asked."""
    def raw(self, seen):
        lines = []
        while (line := self.rfile.readline()).strip() != b"0":
            lines.append(line)
            lines.append(self.rfile.read(int(line, 16) + 2))
        seen.append((lines, self.rfile.readline()))
        respond(self)

    data = (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4\r\nbody\r\n5;x=y\r\n12345\r\n0\r\n\r\n")
    assert_same("bodies/chunked", handling(raw), data + post(b"").replace(b"POST", b"BREW"),
                chunkings=("whole", "bytes"))


def test_expect_100_with_the_body_after_it():
    def echo(self, seen):
        seen.append(self.rfile.read(4))
        respond(self)

    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    assert_same("bodies/expect", handling(echo), [head, b"body"], pause=0.05)


# ---------------------------------------------------------------- headers as a message

CONTENT_TYPES = {
    "none": None,
    "plain": b"text/plain",
    "parameters": b'Text/HTML; charset="utf-8"; x=y',
    "invalid": b"nonsense",
    "empty": b"",
    "multipart": b"multipart/form-data; boundary=abc",
    "multipart quoted": b'multipart/form-data; boundary="a b;c"',
    "multipart without boundary": b"multipart/form-data",
    "multipart empty boundary": b'multipart/mixed; boundary=""',
    "multipart odd case": b"MULTIPART/Mixed; Boundary=AbC",
    "message": b"message/rfc822",
    "delivery status": b"message/delivery-status",
    "digest": b"multipart/digest; boundary=d",
    "rfc 2231": b"text/plain; title*=utf-8''caf%C3%A9; name*0=a; name*1=b",
    "8-bit": b"text/plain; charset=\xe9",
}


def message_state(headers):
    """Everything a program may ask of the message, as plain values."""
    payload = headers.get_payload()
    if isinstance(payload, list):
        payload = [(part.items(), part.get_payload()) for part in payload]
    return {
        "class": type(headers).__name__, "items": headers.items(), "keys": headers.keys(), "values": headers.values(),
        "raw items": [(name, str(value)) for name, value in headers.raw_items()],
        "list": [(name, str(value)) for name, value in headers._headers],
        "type": headers.get_content_type(), "main": headers.get_content_maintype(),
        "sub": headers.get_content_subtype(), "default": headers.get_default_type(),
        "charset": headers.get_content_charset("none"), "charsets": headers.get_charsets(),
        "params": headers.get_params(), "boundary": headers.get_boundary("none"), "filename": headers.get_filename(),
        "disposition": headers.get_content_disposition(), "multipart": headers.is_multipart(),
        "payload": payload, "decoded": headers.get_payload(decode=True) if not headers.is_multipart() else None,
        "defects": [type(defect).__name__ for defect in headers.defects],
        "preamble": headers.preamble, "epilogue": headers.epilogue, "unixfrom": headers.get_unixfrom(),
        "policy": type(headers.policy).__name__, "length": len(headers), "true": bool(headers),
        "parts": len(list(headers.walk())), "vars": sorted(vars(headers)),
        "text": str(headers).replace("\r\n", "\n"),
    }


def note_message(self, seen):
    seen.append(message_state(self.headers))
    seen.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
    respond(self)


@cases(CONTENT_TYPES)
def test_content_types(name):
    value = CONTENT_TYPES[name]
    more = b"" if value is None else b"Content-Type: " + value + b"\r\n"
    more += b"Content-Disposition: form-data; filename=\"f.txt\"\r\nMIME-Version: 1.0\r\n"
    body = b"--abc\r\nContent-Type: text/plain\r\n\r\npart\r\n--abc--\r\n"
    assert_same("bodies/type " + name, handling(note_message), post(body, more))


ODD_HEADERS = {
    "usual": b"X: 1\r\n",
    "folded": b"X: a\r\n folded\r\n",
    "blank before the colon": b"X : 1\r\n",
    "no colon": b"no colon\r\nY: 1\r\n",
    "From": b"From here\r\nX: 1\r\n",
    "8-bit": b"X: \xff\xe9\r\n",
    "empty": b"X:\r\n",
    "no name": b": x\r\n",
    "base64": b"Content-Transfer-Encoding: base64\r\n",
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n",
    "encoded word": b"Subject: =?utf-8?b?w6k=?=\r\n",
    "next-line": b"X: a\x85d\r\n",
    "control characters": b"X: a\x0bb\x1cc\r\n",
}


@cases(ODD_HEADERS)
def test_message_of_odd_headers(name):
    assert_same("bodies/" + name, handling(note_message),
                b"GET / HTTP/1.1\r\nHost: a\r\n" + ODD_HEADERS[name] + b"\r\n")


class Custom(http.client.HTTPMessage):
    """A MessageClass of one's own that counts how it is built."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def set_raw(self, name, value):
        self.calls.append((name, value))
        super().set_raw(name, value)

    def get(self, name, failobj=None):
        return super().get(name, failobj) if name != "X-Hidden" else "hidden"


class WithoutArguments(http.client.HTTPMessage):
    def __init__(self):
        super().__init__()


@pytest.mark.parametrize("message_class", (Custom, WithoutArguments))
def test_message_class(message_class):
    def note(self, seen):
        seen.append((type(self.headers) is message_class, getattr(self.headers, "calls", None), self.headers.items(),
                     self.headers.get("X-Hidden")))
        respond(self)

    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Hidden: x\r\nContent-Length: 0\r\n\r\n"
    assert_same("bodies/message class", handling(note, MessageClass=message_class), data * 2)


def test_message_class_that_decides_on_keep_alive():
    """`Connection` and `Expect` are asked of the message, so an override of its `get` counts."""
    class Closing(http.client.HTTPMessage):
        def get(self, name, failobj=None):
            return "close" if name == "Connection" else super().get(name, failobj)

    def note(self, seen):
        seen.append(self.close_connection)
        respond(self)

    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert_same("bodies/message class closes", handling(note, MessageClass=Closing), data * 2)


def test_message_class_that_hides_a_close():
    """What the client said of the end counts all the same."""
    class Keeping(http.client.HTTPMessage):
        def get(self, name, failobj=None):
            return "keep-alive" if name == "Connection" else super().get(name, failobj)

    def note(self, seen):
        seen.append(self.close_connection)
        respond(self)

    data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert_same("bodies/message class hides a close", handling(note, MessageClass=Keeping), data * 2)
