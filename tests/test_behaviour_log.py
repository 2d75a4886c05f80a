"""Differential: the log line of a request, which is made natively where nothing of it is overridden.

The whole text on stderr is compared, to the octet; only the time is checked apart (`assert_same_log`).  The first line
that a class writes is made otherwise than the later ones, so each test has an answer before the one it is about.
"""
import contextlib
import decimal
import enum
import http
import io
import os
import re
import socket
import sys
import time
import types

import pytest

from differential import Observation, handling, judge, normalise_answer, normalise_log
from support import exchange, load_backend, respond, serving

ONE = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
TWO = ONE + b"GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

_STAMP = re.compile(r"\[(\d\d/[A-Z][a-z]{2}/\d{4} \d\d:\d\d:\d\d)\]")


@pytest.fixture(params=("reactor", "blocking"), autouse=True)
def lane(request, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", request.param)
    return request.param


def written(backend, program, data, server="ThreadingHTTPServer"):
    """(text on stderr, answer, what the program saw) of one connection."""
    seen, stderr = [], io.StringIO()
    server_class = type("Server", (getattr(backend.http_server, server),), {"daemon_threads": False})
    with contextlib.redirect_stderr(stderr):
        with serving(server_class(("127.0.0.1", 0), program(backend, seen))) as running:
            answer = exchange(running, data)
    return stderr.getvalue(), normalise_answer(answer), seen


def assert_same_log(program, data, case="log", **options):
    """Equal text but for the time, which is the present one, to the second, in the same form; or different in the way
    known_differences.py says for `case`."""
    results = []
    for name in "stdlib", "turboserver":
        began = int(time.time() - 0.02)  # the kernel keeps a coarse clock, too, which is a tick behind
        text, *others = written(load_backend(name), program, data, **options)
        for stamp in _STAMP.findall(text):
            assert began <= time.mktime(time.strptime(stamp, "%d/%b/%Y %H:%M:%S")) <= time.time()
        if "Traceback" in text:
            log = normalise_log(text)
        else:
            log = _STAMP.sub("[now]", text).split("\n")
        results.append(Observation(others[0], log, others[1]))
    judge(case, *results)


# ---------------------------------------------------------------- request lines

TARGETS = {
    "plain": b"/one?a=b&c=%20",
    "fragment": b"/one#d",
    "format characters": b"/%s%d%(a)s{0}{x}",
    "quotes": b"/\"one\"'two'",
    "backslash": b"/a\\b\\n\\x1b",
    "backslash at the end": b"/a\\",
    "escape sequence": b"/\x1b[31mred",
    "each control character": b"/" + bytes(set(range(0x20)) - set(b"\t\n\v\f\r ")),
    "DEL and C1": b"/\x7f\x80\x9b\x9f",
    "Latin-1": b"/caf\xe9\xff",
    "UTF-8": b"/caf\xc3\xa9\xe2\x82\xac",
    "two slashes": b"//evil/..",
    "no slash": b"one",
    "long": b"/" + b"long/" * 10_000,
}


def answering(self, seen):
    seen.append((self.requestline, self.client_address[0]))
    respond(self)


@pytest.mark.parametrize("server", ("HTTPServer", "ThreadingHTTPServer"))
@pytest.mark.parametrize("target", TARGETS)
def test_request_line(target, server):
    request = b"GET " + TARGETS[target] + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert_same_log(handling(answering), request + ONE + request + TWO, "log/" + target, server=server)


ODD_LINES = {
    "0.9": b"GET /one\r\n", "bare lf": b"GET /one HTTP/1.1\nHost: a\r\n\r\n",
    "three words": b"GET /one two HTTP/1.1\r\n\r\n", "unknown method": b"BREW /\\ HTTP/1.1\r\n\r\n",
    "long": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", "blanks": b"GET  /one  HTTP/1.1\r\n\r\n",
    "tabs": b"GET\t/one\tHTTP/1.1\r\n\r\n", "two cr": b"GET /one HTTP/1.1\r\r\n\r\n",
    "control in the method": b"G\x1bT / HTTP/1.1\r\n\r\n",
}
MALFORMED = {"HTTP/2": b"GET / HTTP/2.0\r\n\r\n", "tls": b"\x16\x03\x01\x02\r\n",
             "version": b"GET / HTTP/1.\x1b\\\r\n\r\n"}


@pytest.mark.parametrize("name", ODD_LINES)
def test_odd_request_lines(name):
    assert_same_log(handling(answering), ONE + ODD_LINES[name], "log/line with " + name)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request_lines(name):
    assert_same_log(handling(answering), ONE + MALFORMED[name], "log/malformed")


def test_requestline_assigned():
    def do(self, seen):
        for line in "mine", "caf\xe9 \u20ac", "\x1b\\", "", None, 5, b"octets", ("a", "tuple"):
            self.requestline = line
            respond(self)

    assert_same_log(handling(do), TWO)


def test_requestline_deleted():
    def do(self, seen):
        self.requestline = "mine"
        respond(self)
        del self.requestline
        try:
            self.send_response(200)
        except AttributeError:
            pass  # ours still has the request's own
        self.close_connection = True

    for name in "stdlib", "turboserver":
        text, *unused = written(load_backend(name), handling(do), ONE)
        assert _STAMP.sub("[now]", text).startswith('127.0.0.1 - - [now] "mine" 200 -\n')


# ---------------------------------------------------------------- codes

class Own(enum.IntEnum):
    TEAPOT = 418
    ODD = 799


class Shown(int):
    def __str__(self):
        return "shown"

    def __repr__(self):
        return "represented"


CODES = {"status": [http.HTTPStatus.OK, 200, http.HTTPStatus.NOT_FOUND, 404],
         "unknown": [999, 0, -1, 12345678901234567890], "text": ["200", "999", ""],
         "float": [200.0, 200, 200.0, 999.5], "float second": [200, 200.0], "bool": [True, False, 1, 0],
         "own enumeration": [Own.TEAPOT, Own.ODD, 418], "own enumeration second": [418, Own.TEAPOT],
         "int subclass": [Shown(200), 200, Shown(200), Shown(999)], "int subclass second": [200, Shown(200)],
         "decimal": [200, decimal.Decimal(200), decimal.Decimal("404.5")], "none": [None], "octets": [b"200"],
         "unhashable": [[200]]}


@pytest.mark.parametrize("message", (None, "", "as %s like"), ids=("standard", "empty", "own"))
@pytest.mark.parametrize("codes", CODES.values(), ids=CODES)
def test_codes(codes, message):
    def do(self, seen):
        for code in codes:
            try:
                self.send_response(code, message)
            except Exception as error:
                seen.append(type(error))
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.send_response_only(200)
            self.end_headers()

    assert_same_log(handling(do), TWO)


def test_send_error_and_log_request_itself():
    def do(self, seen):
        self.log_request()
        self.log_request(http.HTTPStatus.OK, 17)
        self.log_request("-", size="\x1b")
        self.log_message("%s\\%s", "a\n", "\x9b")
        self.send_error(404, "not\\here\x1b")

    assert_same_log(handling(do), TWO, "log/control in a reason")


# ---------------------------------------------------------------- sys.stderr

class Broken:
    def write(self, text):
        raise OSError(28, "No space left on device")


class Listed(list):
    """Notes each write: a line is one of them."""
    write = list.append


@contextlib.contextmanager
def stderr_is(value):
    before = sys.stderr
    sys.stderr = value
    try:
        yield value
    finally:
        sys.stderr = before


@pytest.mark.parametrize("make", (lambda: None, Broken, io.BytesIO, object, Listed, io.StringIO,
                                  lambda: io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)),
                         ids=("None", "raising", "binary", "object", "list", "text", "ASCII"))
def test_stderr_replaced_meanwhile(make):
    """By the handler, for one answer in the middle; a failure to write is the answer's."""
    def do(self, seen):
        self.requestline = self.requestline.replace("/one", "/caf\xe9")
        respond(self)
        with stderr_is(make()) as replaced:
            try:
                self.send_response(200)
            except Exception as error:
                seen.append((type(error), str(error)))
            if isinstance(replaced, Listed):
                seen.append([_STAMP.sub("[now]", line) for line in replaced])
            elif isinstance(replaced, io.StringIO):
                seen.append(_STAMP.sub("[now]", replaced.getvalue()))
        seen.append([line for line in getattr(self, "_headers_buffer", []) if not line.startswith(b"Date")])
        self.send_header("Content-Length", "0")
        self.end_headers()
        respond(self)

    assert_same_log(handling(do), TWO)


def test_stderr_missing():
    def do(self, seen):
        respond(self)
        before = sys.stderr
        del sys.stderr
        try:
            self.send_response(200)
        except AttributeError as error:
            seen.append(str(error))
        finally:
            sys.stderr = before
        self.close_connection = True

    assert_same_log(handling(do), ONE)


# ---------------------------------------------------------------- overrides

HOOKS = {
    "log_message": lambda self, format, *args: sys.stderr.write(f"message {format!r} {args!r}\n"),
    "log_request": lambda self, code="-", size="-": sys.stderr.write(f"request {code!r} {size!r}\n"),
    "address_string": lambda self: "some\\where",
    "log_date_time_string": lambda self: "some time",
    "monthname": (None, *(f"Month{n}" for n in range(1, 13))),
    "_control_char_table": str.maketrans({"/": "<slash>", "w": "\x1b"}),
}


def without_month(text):
    return re.sub(r"(/Month\d+/\d{4}) \d\d:\d\d:\d\d", r"\1 now", text)


def assert_same_but_month(program, data):
    reference, ours = (written(load_backend(name), program, data) for name in ("stdlib", "turboserver"))
    assert (_STAMP.sub("[now]", without_month(ours[0])), *ours[1:]) == (
        _STAMP.sub("[now]", without_month(reference[0])), *reference[1:])


@pytest.mark.parametrize("name", HOOKS)
def test_overridden_in_the_class(name):
    assert_same_but_month(handling(answering, **{name: HOOKS[name]}), TWO)


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("where", ("class", "base"))
def test_overridden_while_it_serves(where, name):
    """From the next request on (ours looks at the class once a request), and until it is taken back."""
    def program(backend, seen):
        class Base(backend.http_server.BaseHTTPRequestHandler):
            pass

        class Handler(Base):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                respond(self)
                if self.path == "/one":
                    setattr(changed, name, HOOKS[name])
                elif name in vars(changed):
                    delattr(changed, name)

        changed = Handler if where == "class" else Base
        return Handler

    assert_same_but_month(program, ONE + ONE + TWO.replace(b"Connection", b"X") + TWO)


@pytest.mark.parametrize("name", HOOKS)
def test_assigned_on_the_handler(name):
    def do(self, seen):
        hook = HOOKS[name]
        respond(self)
        setattr(self, name, types.MethodType(hook, self) if isinstance(hook, types.FunctionType) else hook)
        respond(self)
        if self.path == "/one":
            delattr(self, name)
            respond(self)

    assert_same_but_month(handling(do), TWO)


@pytest.mark.parametrize("name", ("log_message", "log_request", "address_string", "log_date_time_string"))
def test_hook_that_raises(name):
    def do(self, seen):
        try:
            self.send_response(200)
        except ZeroDivisionError:
            seen.append("raised")
        seen.append(list(getattr(self, "_headers_buffer", [])))
        self.close_connection = True

    assert_same_log(handling(do, **{name: lambda self, *args, **kwargs: 1 // 0}), ONE)


# ---------------------------------------------------------------- who asked

ADDRESSES = {"pair": ("203.0.113.9", 1), "one": ("203.0.113.9",), "list": ["203.0.113.9", 1], "IPv6": ("::1", 1, 0, 0),
             "number": (5, 1), "None": (None, 1), "octets": (b"peer", 1), "control characters": ("\x1b\\%s", 1),
             "beyond Latin-1": ("\u20ac", 1), "nested": (("203.0.113.9", 1), 2), "text": "peer", "empty": "",
             "empty tuple": (), "empty list": [], "no sequence": 5, "dictionary": {0: "peer"}}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_client_address_assigned(address):
    def do(self, seen):
        if self.path == "/one":
            return respond(self)
        self.client_address = address
        try:
            self.send_response(200)
        except Exception as error:
            seen.append((type(error), str(error)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    assert_same_log(handling(do), ONE + TWO.replace(b"/one", b"/three"))


def test_client_address_deleted():
    def do(self, seen):
        respond(self)
        del self.client_address
        try:
            self.send_response(200)
        except Exception as error:
            seen.append((type(error), str(error)))
        self.close_connection = True

    assert_same_log(handling(do), ONE)


def test_client_address_as_a_property():
    """Of who stands before the proxy."""
    def program(backend, seen):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            @property
            def client_address(self):
                return ("203.0.113.9", 1)

            @client_address.setter
            def client_address(self, value):
                seen.append(value[0])

            def do_GET(self):
                respond(self)
                respond(self)

        return Handler

    assert_same_log(program, ONE)


def test_handler_without_a_connection():
    """As a parser only: what the line needs may be missing, or be there."""
    def program(backend, seen):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)
                alone = Handler.__new__(Handler)
                alone.requestline, alone.request_version, alone.wfile = "alone", "HTTP/1.1", io.BytesIO()
                try:
                    alone.send_response(200)
                except AttributeError as error:
                    seen.append(str(error))
                alone.client_address = ("peer", 1)
                alone.send_response(200)

        return Handler

    assert_same_log(program, ONE)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
@pytest.mark.parametrize("threading", (False, True), ids=("one by one", "threads"))
def test_unix_server(threading, tmp_path, monkeypatch):
    """Its clients have no address: the original fails to log, unless a program helps itself."""
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short

    def run(name, helped):
        backend, stderr, errors = load_backend(name), io.StringIO(), []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen = [self.client_address]
                if helped:
                    self.client_address = ("local", 0)
                for unused in range(2):
                    try:
                        self.send_response(200)
                    except IndexError as error:
                        seen.append(str(error))
                self.wfile.write(repr(seen).encode())

        base = backend.socketserver.UnixStreamServer
        server = type("Server", ((backend.socketserver.ThreadingMixIn, base) if threading else (base,)), {
            "handle_error": lambda self, request, client: errors.append(client)})
        with contextlib.redirect_stderr(stderr):
            with serving(server("s", Handler)) as running:
                answer = exchange(running, ONE)
        os.unlink("s")
        return answer, _STAMP.sub("[now]", stderr.getvalue()), errors

    for helped in False, True:
        reference, ours = run("stdlib", helped), run("turboserver", helped)
        assert ours == reference
        assert (ours[1] == 'local - - [now] "GET /one HTTP/1.1" 200 -\n' * 2) == helped
