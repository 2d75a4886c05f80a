"""The corpus of exchanges (tests/corpus/exchanges), played to servers of ours in every lane, and to the WSGI server.

The handlers answer with what they saw of a request, so that a case can say what it must have been.  Each case is
sent whole, octet by octet, cut in two, and with a valid request behind it that may be answered only where the
connection has to stay open.

Where a case is cut, and in which lane, follows from its name; TURBOSERVER_LONG=1 cuts it everywhere in all lanes.
"""
import contextlib
import http.client
import io
import json
import os

import pytest

import exchanges
from support import load_backend, serving

#: The lanes that the corpus is played to, and how many cuts of a file are made there, about.
LANES = {"reactor": 1500, "blocking": 500, "compatible": 500, "wsgi": 500, "wsgiref": 100}
LONG = os.environ.get("TURBOSERVER_LONG") == "1"

#: Fewer cases than these mean that the corpus was not found, or not read.
FEWEST_CASES = 1000

CASES = {file: exchanges.load(file) for file in exchanges.files()}


# ---------------------------------------------------------------- the handlers

def tell(method, target, fields, body):
    """The body of an answer: what the handler saw."""
    saw = {"method": method, "target": target, "fields": list(fields), "body": exchanges.describe(body)}
    return json.dumps(saw).encode("ascii")


def read_all(stream):
    """Everything up to the end of the request; there, reading on gives nothing and does not wait."""
    body = stream.read()
    return body + stream.read(1) + stream.readline()


def make_handler(backend, decode):
    """A handler that answers with what it saw; some paths ask it to do something else."""
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        turbo_decode_chunked = decode

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            act = ACTS.get(self.path.rpartition("/do/")[2].partition("?")[0])
            if act is None:
                self.answer(read_all(self.rfile))
            else:
                act(self)

        def answer(self, body, code=200, headers=()):
            body = tell(self.command, self.path, self.headers.items() if self.headers else (), body)
            self.send_response(code)
            if self.command == "HEAD":
                self.send_header("X-Saw", body.decode("ascii"))
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)      # for HEAD as well: it must not get out

        def do_CONNECT(self):
            self.send_response(200)
            if self.path.startswith("framed"):
                self.send_header("Content-Length", "4")
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            converse(self)

    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH", "get", "X!#$%&'*+.^_`|~9"):
        setattr(Handler, "do_" + method, Handler.do_GET)
    return Handler


def converse(handler):
    """Four octets from the stream and back, then the end."""
    handler.wfile.write(handler.rfile.read(4).upper())
    handler.close_connection = True


def upgrade(handler):
    handler.send_response(101)
    handler.send_header("Upgrade", "echo")
    handler.send_header("Connection", "upgrade")
    handler.end_headers()
    converse(handler)


def bodiless(code):
    """An answer that cannot have a body, by a handler that does not know."""
    def act(handler):
        read_all(handler.rfile)
        handler.send_response(code)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"hello")
    return act


def chunked_nothing(handler):
    handler.send_response(204)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")


def hints(handler):
    handler.send_response_only(103)
    handler.send_header("Link", "</style.css>")
    handler.send_header("Content-Length", "5")
    handler.end_headers()
    handler.answer(read_all(handler.rfile))


def hints_and_body(handler):
    handler.send_response_only(103)
    handler.end_headers()
    handler.wfile.write(b"never")
    handler.answer(read_all(handler.rfile))


def hints_twice(handler):
    handler.send_response_only(103)
    handler.end_headers()
    hints(handler)


def hints_by_hand(handler):
    handler.send_response_only(103)
    handler.end_headers()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nDate: " + handler.date_time_string().encode() + b"\r\n")
    handler.wfile.write(b"Content-Length: 2\r\n\r\nok")


def more_lines(act):
    """Header lines behind the end of the head, by a handler that does not know."""
    def also(handler):
        act(handler)
        handler.send_header("X-Never", "never")
        handler.end_headers()
    return also


def chunked(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")


def unframed(handler):
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(b"hello")


def inject(handler):
    """A line end in a field is refused, in name and value."""
    refused = 0
    handler.send_response(200)
    for name, value in (("X", "a\r\nY: b"), ("X\r\nY", "b"), ("X", "a\nb"), ("X", "a\rb"), ("X", "a\0b")):
        try:
            handler.send_header(name, value)
        except ValueError:
            refused += 1
    body = b"%d" % refused
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def split_reason(handler):
    handler.send_response(200, "Fine\r\nX: y\n")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def as_get(handler):
    """A handler that takes a HEAD for the GET that it knows."""
    handler.command = "GET"
    handler.answer(b"")


def early_lines(handler):
    """Request lines are what http.server reads with that limit."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1")
    handler.end_headers()
    handler.wfile.flush()
    handler.wfile.write(b"%d" % len(list(iter(lambda: handler.rfile.readline(65537), b""))))


def messages(handler):
    """So is a header line what http.client reads."""
    first, second = (http.client.parse_headers(handler.rfile) for unused in range(2))
    handler.answer(b"%d %d" % (len(first), len(second)))


def by_lines(handler):
    handler.answer(b"|".join(iter(handler.rfile.readline, b"")))


def by_threes(handler):
    handler.answer(b"|".join(iter(lambda: handler.rfile.read(3), b"")))


#: What a target that ends in "/do/NAME" has the handler do.
ACTS = {
    "nothing": lambda handler: handler.answer(b""),
    "part": lambda handler: handler.answer(handler.rfile.read(3)),
    "lines": by_lines, "early-lines": early_lines, "messages": messages,
    "threes": by_threes,
    "close": lambda handler: handler.answer(read_all(handler.rfile), headers=[("Connection", "close")]),
    "keep": lambda handler: handler.answer(read_all(handler.rfile), headers=[("Connection", "keep-alive")]),
    "204": bodiless(204), "205": bodiless(205), "304": bodiless(304), "204-chunked": chunked_nothing,
    "hints": hints, "hints-body": hints_and_body, "hints-twice": hints_twice, "hints-by-hand": hints_by_hand,
    "more": more_lines(lambda handler: handler.answer(b"")), "204-more": more_lines(bodiless(204)),
    "304-more": more_lines(bodiless(304)), "chunked": chunked, "unframed": unframed, "inject": inject, "reason": split_reason,
    "as-get": as_get, "error": lambda handler: handler.send_error(404), "upgrade": upgrade,
}


def application(environ, start_response):
    """The same for WSGI; the target is not told, for an application does not get it as it was."""
    fields = [(key[5:], value) for key, value in environ.items() if key.startswith("HTTP_")]
    fields += [(key, environ[key]) for key in ("CONTENT_LENGTH", "CONTENT_TYPE") if environ.get(key)]
    unread = environ["PATH_INFO"].endswith("/do/nothing")
    body = tell(environ["REQUEST_METHOD"], environ["PATH_INFO"], fields,
                b"" if unread else read_all(environ["wsgi.input"]))
    headers = [("Content-Length", str(len(body)))]
    if environ["REQUEST_METHOD"] == "HEAD":
        headers.append(("X-Saw", body.decode("ascii")))
        body = b""
    start_response("200 OK", headers)
    return [body]


# ---------------------------------------------------------------- the servers

def make_server(lane, decode):
    backend = load_backend("turboserver")
    if not lane.startswith("wsgi"):
        return backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), make_handler(backend, decode))

    class Handler(backend.simple_server.WSGIRequestHandler):
        turbo_decode_chunked = decode

        def log_message(self, *arguments):
            pass

    if lane == "wsgiref":
        def get_environ(self):
            return backend.simple_server.WSGIRequestHandler.get_environ(self)

        Handler.get_environ = get_environ   # and so wsgiref.handlers is asked
    return backend.simple_server.make_server("127.0.0.1", 0, application, backend.simple_server.ThreadingWSGIServer,
                                             Handler)


@pytest.fixture
def quiet():
    """What handlers that were cut off say on stderr is not looked at."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


# ---------------------------------------------------------------- the tests

def test_the_corpus_is_there():
    cases = [case for several in CASES.values() for case in several]
    assert len(cases) >= FEWEST_CASES
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "a name is used twice"


def sparse(cases, lane):
    """Of how many cuts of these cases one is made in a lane."""
    places = sum(len(exchanges.cuts(case.octets)) for case in cases)
    return 1 if LONG else 1 + places // LANES[lane]


@pytest.mark.limit(600 if LONG else 120)
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("file", CASES)
def test_exchanges(file, lane, monkeypatch, quiet):
    monkeypatch.setenv("TURBOSERVER_LANE", lane if lane in ("blocking", "compatible") else "auto")
    failures = []
    for decode in (True, False):
        cases = [case for case in CASES[file] if case.raw is not decode and case.expected_in(lane)]
        if not cases:
            continue
        with serving(make_server(lane, decode)) as server:
            one_in = sparse(CASES[file], lane)
            played = [item for case in cases for item in exchanges.deliveries(case, one_in, lane)]
            played = exchanges.play(server.server_address[:2], played, lane)
        failures += [(item, problem) for item in played if (problem := exchanges.judge(item, lane))]
    if failures:
        pytest.fail(exchanges.report(failures, lane), pytrace=False)
