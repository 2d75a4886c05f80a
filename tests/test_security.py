"""The weaknesses of other servers that SECURITY.md names, as far as they are not about the octets of a request (those
are in tests/corpus/exchanges), and whether SECURITY.md tells the truth: tests that it names exist, defaults that it
names are the defaults.
"""
import contextlib
import http.client
import io
import os
import re
import socket
import struct
import threading
import time
import urllib.parse
from pathlib import Path

import pytest

import exchanges
import support
from support import Client, connect, exchange, fetch, load_backend, respond, serving, wait_until

ROOT = Path(__file__).resolve().parent.parent
CLOSE = b"Connection: close\r\n"

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")


@pytest.fixture(params=("reactor", "blocking", "compatible"))
def lane(request, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", "auto" if request.param == "reactor" else request.param)
    return request.param


@pytest.fixture
def http_server(lane):
    return load_backend("turboserver").http_server


@pytest.fixture
def wsgi(lane):
    return load_backend("turboserver").simple_server


def make(module, *, base="BaseHTTPRequestHandler", server="ThreadingHTTPServer", **members):
    """A server of handlers with these members."""
    members = {"protocol_version": "HTTP/1.1", "log_message": lambda self, *arguments: None, **members}
    handler = type("Handler", (getattr(module, base),), members)
    return getattr(module, server)(("127.0.0.1", 0), handler)


def make_wsgi(module, application):
    handler = type("Handler", (module.WSGIRequestHandler,), {"log_message": lambda self, *arguments: None})
    return module.make_server("127.0.0.1", 0, application, module.ThreadingWSGIServer, handler)


# ---------------------------------------------------------------- response injection

#: What must not stand in a line of a head.
BREAKS = ("a\r\nSet-Cookie: forged", "a\nSet-Cookie: forged", "a\rSet-Cookie: forged", "a\r\n\r\nforged", "a\0b", "\n", "a\r")


def test_send_header_takes_no_line_end(http_server):
    def do_GET(self):
        refused = 0
        self.send_response(200)
        for text in BREAKS:
            for name, value in ((text, "b"), ("X", text)):
                try:
                    self.send_header(name, value)
                except ValueError:
                    refused += 1
        body = b"%d" % refused
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    with serving(make(http_server, do_GET=do_GET)) as server, Client(server) as client:
        answer = client.request()
        assert int(answer.body) == 2 * len(BREAKS)
        assert {name for name, value in answer.headers} == {"Server", "Date", "Content-Length"}


class Changing(str):
    """Shows itself otherwise than it is."""

    def __new__(cls, text):
        self = str.__new__(cls, "harmless")
        self.text = text
        return self

    def __str__(self):
        return self.text

    def __format__(self, spec):
        return self.text

    def translate(self, table):
        return self


@pytest.mark.parametrize("kind", (str, type("Text", (str,), {}), Changing, ValueError), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("call", ("send_response", "send_response_only", "send_error"))
def test_a_reason_phrase_is_one_line(http_server, call, kind):
    if call == "send_error" and kind is ValueError:
        pytest.skip("send_error() takes a str alone")

    def do_GET(self):
        getattr(self, call)(404, kind(BREAKS[int(self.path[1:])]))
        if call != "send_error":
            self.send_header("Connection", "close")
            self.end_headers()

    with serving(make(http_server, do_GET=do_GET)) as server:
        for number in range(len(BREAKS)):
            answer = exchange(server, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            head = answer.split(b"\r\n\r\n")[0]
            assert head.startswith(b"HTTP/1.1 404 ")
            for line in head.split(b"\r\n"):
                assert not line.lower().startswith((b"set-cookie", b"forged")) and not re.search(rb"[\0\r\n]", line)


def test_start_response_takes_no_control_character(wsgi):
    """What a WSGI application says, an octet of whatever kind: CVE-2026-0865."""
    outcomes = []

    def application(environ, start_response):
        refused = 0
        for text in (*BREAKS, "a\x7fb", "a\x1bb"):
            for status, name, value in (("200 " + text, "X", "y"), ("200 OK", text, "y"), ("200 OK", "X", text)):
                try:
                    start_response(status, [(name, value)])
                except ValueError:
                    refused += 1
                else:
                    outcomes.append((status, name, value))
        body = b"%d" % refused
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serving(make_wsgi(wsgi, application)) as server:
        answer = fetch(server)
        assert (int(answer.body), outcomes) == (3 * (len(BREAKS) + 2), [])
        assert b"forged" not in answer.raw


def test_headers_that_change_after_start_response(wsgi, lane):
    """Where wsgiref's handlers answer, the application's list is what is sent, so it is looked at when it is; natively
    it is not looked at again."""
    def application(environ, start_response):
        headers = []
        start_response("200 OK", headers)
        headers.append(("X", "a\r\nSet-Cookie: forged"))
        return [b"not reached"]

    with contextlib.redirect_stderr(io.StringIO()), serving(make_wsgi(wsgi, application)) as server:
        answer = fetch(server)
        assert answer.status == (200 if lane == "reactor" else 500)
        assert answer.get("Set-Cookie") is None and answer.get("X") is None


def test_a_refusal_by_start_response_is_no_answer_of_the_attacker(wsgi):
    def application(environ, start_response):
        start_response("200 OK", [("X", "a\r\nSet-Cookie: forged")])
        return [b"not reached"]

    with contextlib.redirect_stderr(io.StringIO()), serving(make_wsgi(wsgi, application)) as server:
        answer = fetch(server)
        assert answer.status == 500 and answer.get("Set-Cookie") is None


# ---------------------------------------------------------------- after a refusal

def terse(self, code, message=None, explain=None):
    """A send_error() that says nothing of the connection."""
    self.send_response(code)
    self.send_header("Content-Length", "0")
    self.end_headers()


@pytest.mark.parametrize("end", (b"", b"\n", b"\r\n"), ids=("no end", "LF", "CR LF"))
@pytest.mark.parametrize("before", (0, 1))
def test_the_rest_of_a_request_line_that_is_too_long(http_server, before, end):
    """It is no request, whatever the handler's error answers say."""
    line = b"GET /"
    line += b"a" * (65537 - len(line) - len(end)) + end
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(make(http_server, do_GET=respond, send_error=terse)) as server:
        answers = exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * before + line + smuggled)
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"] * before + [b"414"]


#: Heads that are refused, or whose body the handler leaves, and the status of the answer.
LEFT = {
    "host": (b"POST / HTTP/1.1\r\nHost: a b\r\nContent-Length: 1000000\r\n\r\n", 400),
    "no host": (b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", 400),
    "unknown": (b"UNKNOWN / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", 501),
    "field": (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", 400),
    "line": (b"GET  / HTTP/1.1\r\n", 400),
    "expectation": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 1000000\r\n\r\n", 417),
    "line that is too long": (b"GET /" + b"a" * 65600, 414),
    "body": (b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n", 200),
}


def touching(self, *arguments):
    """A log_message() that looks at the socket."""
    self.connection.getpeername()


@pytest.mark.parametrize("log", (None, touching), ids=("alone", "socket"))
@pytest.mark.parametrize("name", LEFT)
def test_the_answer_is_not_destroyed_by_a_reset(http_server, name, log):
    """Where the client is still sending when the connection closes."""
    head, status = LEFT[name]
    members = {} if log is None else {"log_message": log}
    with serving(make(http_server, do_POST=respond, do_GET=respond, **members)) as server, connect(server) as sock:
        sock.sendall(head + b"x" * 60_000)
        answer = sock.recv(1 << 16)
        sock.sendall(b"x" * 60_000)
        time.sleep(0.1)
        sock.sendall(b"x" * 60_000)
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(1 << 16):
            answer += data
        assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_nothing_is_dropped_of_a_socket_that_the_program_keeps(http_server):
    """By a shutdown_request() that does not close it."""
    if os.environ["TURBOSERVER_LANE"] != "auto":
        pytest.skip("finish() drops it, before the program has said what becomes of the socket")
    kept = []

    def do_POST(self):
        self.connection.getpeername()
        respond(self)

    server = make(http_server, do_POST=do_POST)
    server.__class__ = type("Keeping", (type(server),), {"shutdown_request": lambda self, request: kept.append(request)})
    with serving(server), connect(server) as sock:
        sock.sendall(LEFT["body"][0])
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: kept, "shutdown_request()")
        time.sleep(0.1)
        sock.sendall(b"more")
        with kept.pop() as request:
            assert request.recv(4) == b"more"
            request.sendall(b"also")
        assert sock.recv(4) == b"also"


def test_one_empty_line_is_passed_over_and_no_second_one(http_server):
    """Also where the answer in between has to wait for the client."""
    def do_GET(self):
        respond(self, b"x" * 60_000)

    server = make(http_server, do_GET=do_GET)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with serving(server), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(support.DEADLINE)
        sock.connect(server.server_address)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n")
        time.sleep(0.2)
        assert Client(None, sock=sock).read().body == b"x" * 60_000
        sock.sendall(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
        assert support.read_until_eof(sock) == b""


#: Fields beside two hundred others, and the statuses of the answers to that request and to one behind it.
AMONG_MANY = {
    "close in a list": (b"Connection: x, close\r\n", b"", [b"200"]),
    "length": (b"Content-Length: 5\r\n", b"hello", [b"200", b"200"]),
    "chunks": (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", [b"200", b"200"]),
    "expectation": (b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello", [b"100", b"200", b"200"]),
    "two lengths": (b"Expect: 100-continue\r\nContent-Length: 5\r\nContent-Length: 6\r\n", b"hello", [b"400"]),
}


@pytest.mark.parametrize("first", (True, False), ids=("first", "last"))
@pytest.mark.parametrize("name", AMONG_MANY)
def test_a_field_among_many(http_server, name, first, monkeypatch):
    """Where a program has allowed more fields than the engine has room for."""
    monkeypatch.setattr(http.client, "_MAXHEADERS", 1000)
    field, body, statuses = AMONG_MANY[name]
    values = []

    def do_POST(self):
        values.append((self.headers["X-7"], self.rfile.read()))
        respond(self)

    fields = [b"X-%d: y \t\r\n" % number for number in range(200)]
    fields.insert(0 if first else 200, field)
    sent = POST + b"".join(fields) + b"\r\n" + body + b"GET / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n"
    with serving(make(http_server, do_POST=do_POST, do_GET=respond, turbo_decode_chunked=True)) as server:
        assert re.findall(rb"HTTP/1.1 (\d+)", exchange(server, sent)) == statuses
    assert values == ([("y", b"hello" if body else b"")] if b"400" not in statuses else [])


@pytest.mark.parametrize("way", ("native", "original"))
def test_a_head_that_was_begun_is_not_part_of_a_refusal(http_server, way):
    """A handler that says 200 before it finds that the body is malformed."""
    def do_POST(self):
        self.send_response(200)
        self.send_header("X-Begun", "y")
        self.rfile.read()

    def send_header(self, name, value):
        http_server.BaseHTTPRequestHandler.send_header(self, name, value)

    members = {"send_header": send_header} if way == "original" else {}
    size = 100_000      # so much is not looked at before the handler runs
    sent = CHUNKED + b"%x\r\n" % size + b"x" * size + b"\r\nno size\r\n"
    with serving(make(http_server, do_POST=do_POST, **members)) as server:
        answer = exchange(server, sent)
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1 and b"X-Begun" not in answer


# ---------------------------------------------------------------- files and redirects

def splits(target):
    try:
        return bool(urllib.parse.urlsplit(target))
    except ValueError:
        return False


#: Whether urllib knows IPvFuture with a capital V (RFC 3986, 3.2.2): newer ones do.
FUTURE_ADDRESSES = splits("http://[V1.a]/")


@pytest.mark.parametrize("method", ("GET", "HEAD"))
@pytest.mark.parametrize("target, status", (
    ("http://[V1.a]/", 200 if FUTURE_ADDRESSES else 400), ("http://[V1.a]/sub", 301 if FUTURE_ADDRESSES else 400),
    ("/%00", 404), ("/sub%00/", 404), ("/?%00[", 200), ("/[", 404)))
def test_targets_that_are_no_files(http_server, target, status, method, tmp_path):
    """There is an answer to each."""
    (tmp_path / "sub").mkdir()

    def __init__(self, *arguments, **options):
        http_server.SimpleHTTPRequestHandler.__init__(self, *arguments, directory=tmp_path, **options)

    with serving(make(http_server, base="SimpleHTTPRequestHandler", __init__=__init__)) as server, \
            Client(server) as client:
        assert client.request(method, target).status == status



SLASHES = ("//evil.example/..", "//evil.example/%2f..", "//evil.example/%2e%2e", "///evil.example/..", "//sub", "////sub",
           "//evil.example/..?//evil.example", "//sub?x=//evil.example")


@pytest.mark.parametrize("target", SLASHES)
def test_a_redirect_stays_here(http_server, target, tmp_path):
    """A Location that begins with two slashes leads to another host: CVE-2021-28861."""
    (tmp_path / "sub").mkdir()

    def __init__(self, *arguments, **options):
        http_server.SimpleHTTPRequestHandler.__init__(self, *arguments, directory=tmp_path, **options)

    with serving(make(http_server, base="SimpleHTTPRequestHandler", __init__=__init__)) as server, \
            Client(server) as client:
        answer = client.request(path=target)
        assert answer.status == 301
        assert re.match(r"/[^/\\]", answer.get("Location"))


# ---------------------------------------------------------------- memory

def memory():
    """Octets of address space and of real memory that this process has."""
    with open("/proc/self/statm") as file:
        size, resident = file.read().split()[:2]
    return int(size) * os.sysconf("SC_PAGE_SIZE"), int(resident) * os.sysconf("SC_PAGE_SIZE")


CLAIMANTS = 50

#: What each sends of its body: more than is awaited before a handler runs.
SENT = 70_000

#: What each claims: 10 GB; of a WSGI server a little below the most it takes.
CLAIM, CLAIM_WSGI = 10**10, 2**30 - 1

#: Octets that all of them may cost. Threads reserve address space that they do not use.
RESIDENT, RESERVED = 64 << 20, 8 * 10**9


@contextlib.contextmanager
def claimants(server, head):
    """Connections on which a head has been sent, and a little of what it claims."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for unused in range(CLAIMANTS)]
        for sock in socks:
            sock.sendall(head + b"x" * SENT)
        yield socks


def assert_claims_cost_nothing(server, head, under_way):
    fetch(server)
    size, resident = memory()
    with claimants(server, head):
        wait_until(lambda: len(under_way) == CLAIMANTS, "handlers that read")
        time.sleep(0.1)
        assert memory()[1] - resident < RESIDENT
        assert memory()[0] - size < RESERVED


@needs_proc
@pytest.mark.parametrize("framing", (b"Content-Length: %d\r\n\r\n" % CLAIM,
                                     b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % CLAIM), ids=("length", "chunk"))
@pytest.mark.parametrize("how", ("read", "readinto", "readline", "read1"))
def test_a_claim_costs_no_memory(http_server, framing, how):
    """Memory is taken as octets come, whatever a header claims: CVE-2025-13836."""
    under_way = []

    def do_POST(self):
        under_way.append(self)
        if how == "readinto":
            while self.rfile.readinto(bytearray(1000)):
                pass
        elif how == "read1":
            while self.rfile.read1(CLAIM):
                pass
        else:
            getattr(self.rfile, how)(CLAIM)

    with contextlib.redirect_stderr(io.StringIO()), \
            serving(make(http_server, do_POST=do_POST, do_GET=respond, turbo_decode_chunked=True)) as server:
        assert_claims_cost_nothing(server, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing, under_way)


@needs_proc
def test_a_claim_costs_an_application_no_memory(wsgi):
    under_way = []

    def application(environ, start_response):
        if environ["REQUEST_METHOD"] == "POST":
            under_way.append(environ)
            environ["wsgi.input"].read(CLAIM_WSGI)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with contextlib.redirect_stderr(io.StringIO()), serving(make_wsgi(wsgi, application)) as server:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % CLAIM_WSGI
        assert_claims_cost_nothing(server, head, under_way)


@needs_proc
@pytest.mark.parametrize("size", (600, 60_000))
@pytest.mark.parametrize("fields", (1, 98))
def test_a_head_costs_no_more_than_four_times_its_octets(http_server, fields, size):
    """Of heads that are nearly complete: four times their octets and 16 KiB. Not what a thread costs, so it is the
    lane without one that is looked at."""
    if os.environ["TURBOSERVER_LANE"] != "auto":
        pytest.skip("a thread for each connection")
    octets = b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"v" * (size // fields - 5) + b"\r\n") * fields
    with serving(make(http_server, do_GET=respond)) as server:
        fetch(server)
        before = memory()[1]
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(Client(server)) for unused in range(200)]
            for client in socks:
                client.send(octets)
            fetch(server)
            assert memory()[1] - before < len(socks) * (4 * len(octets) + 16384)
            socks[-1].send(b"\r\n")
            assert socks[-1].read().status == 200, "and they are what they seem"


# ---------------------------------------------------------------- limits that a class sets

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"

#: What a class sets, what is sent, and the status of the answer; 0: the connection closes without one.
LIMITS = {
    "request line": ({"turbo_max_request_line": 100}, b"GET /" + b"x" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "header bytes": ({"turbo_max_header_bytes": 100}, POST + b"X: " + b"v" * 100 + b"\r\n\r\n", 431),
    "header line": ({"turbo_max_header_line": 100}, POST + b"X: " + b"v" * 100 + b"\r\n\r\n", 431),
    "header lines": ({"turbo_max_headers": 4}, POST + b"X: v\r\n" * 3 + b"\r\n", 431),
    "chunk line": ({"turbo_max_chunk_line": 10}, CHUNKED + b"5;x=yyyyyyy\r\nhello\r\n0\r\n\r\n", 400),
    "extensions": ({"turbo_max_chunk_extensions": 10}, CHUNKED + b"1;xxxxx\r\nh\r\n" * 2 + b"0\r\n\r\n", 400),
    "trailers": ({"turbo_max_trailers": 10}, CHUNKED + b"0\r\nX: yyyyyyyyy\r\n\r\n", 400),
    "body": ({"turbo_max_body": 10}, POST + b"Content-Length: 11\r\n\r\nhello world", 413),
    "body that does not come": ({"turbo_max_body": 10}, POST + b"Content-Length: 11\r\n\r\n", 413),
    "chunks": ({"turbo_max_body": 10}, CHUNKED + b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n", 413),
    "head": ({"turbo_head_timeout": 0.2}, POST, 408),
    "part of a line": ({"turbo_head_timeout": 0.2}, POST[:10], 408),
    "length": ({"turbo_body_timeout": 0.2}, POST + b"Content-Length: 11\r\n\r\nhello", 408),
    "long length": ({"turbo_body_timeout": 0.2}, POST + b"Content-Length: 100000\r\n\r\nhello", 408),
    "chunk": ({"turbo_body_timeout": 0.2}, CHUNKED + b"5\r\nhello\r\n", 408),
    "rate": ({"turbo_min_rate": 1000, "turbo_min_rate_after": 0.2}, POST + b"Content-Length: 11\r\n\r\nhello", 408),
    "tunnel": ({"turbo_body_timeout": 0.2}, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 408),
    "upgrade": ({"turbo_body_timeout": 0.2}, POST + b"Connection: upgrade\r\nUpgrade: x\r\n\r\nhello", 408),
    "idle": ({"turbo_idle_timeout": 0.2}, b"", 0),
}


@pytest.mark.parametrize("when", ("at once", "after an assignment"))
@pytest.mark.parametrize("name", LIMITS)
def test_limit(http_server, name, when):
    members, sent, status = LIMITS[name]

    def do_GET(self):
        type(self).assigned = True      # so that what is known of the class does not hold
        respond(self)

    def do_POST(self):
        respond(self, self.rfile.read())

    with serving(make(http_server, do_GET=do_GET, do_POST=do_POST, do_CONNECT=do_POST, turbo_decode_chunked=True,
                      **members)) as server:
        if when != "at once":
            fetch(server)
        answer = exchange(server, sent, half_close=False)
        assert answer.count(b"HTTP/1.1") == (status > 0)
        assert answer[9:12] == (b"%d" % status if status else b"")


@pytest.mark.parametrize("sent", (b"HEAD / HT", b"HEAD / HTTP/1.1\r\nHost: a\r\n"), ids=("line", "fields"))
def test_an_answer_to_a_slow_head_request_has_no_body(http_server, sent):
    with serving(make(http_server, do_HEAD=respond, turbo_head_timeout=0.2)) as server:
        for before in b"", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n":
            answers = exchange(server, before + sent, half_close=False)
            assert answers.endswith(b"\r\n\r\n")
            assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"] * bool(before) + [b"408"]


@pytest.mark.parametrize("how", ("tunnel", "upgrade", "by hand"))
def test_no_limit_of_a_stream_that_is_the_handlers(http_server, how):
    """After 101, or 2xx to CONNECT, silence is allowed."""
    def do_GET(self):
        if how == "by hand":
            self.wfile.write(b"HTTP/1.1 200 Established\r\n\r\n")
        else:
            self.send_response(200 if how == "tunnel" else 101)
            self.end_headers()
        self.wfile.flush()
        self.wfile.write(self.rfile.read(4).upper())

    head = (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" if how == "upgrade" else
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    limits = dict.fromkeys(("turbo_body_timeout", "turbo_head_timeout", "turbo_idle_timeout", "turbo_min_rate_after"), 0.1)
    with serving(make(http_server, do_GET=do_GET, do_CONNECT=do_GET, **limits)) as server, connect(server) as sock:
        sock.sendall(head)
        assert support.read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 ")
        time.sleep(0.4)
        sock.sendall(b"ping")
        assert support.read_exactly(sock, 4) == b"PING"


def test_an_application_does_not_wait_for_a_tunnel(wsgi):
    """CONNECT has no body, and nobody else is to speak on that connection."""
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("405 Method Not Allowed", [("Content-Length", str(len(body)))])
        return [body]

    handler = type("Handler", (wsgi.WSGIRequestHandler,), {"log_message": lambda self, *arguments: None})
    with serving(wsgi.make_server("127.0.0.1", 0, application, wsgi.WSGIServer, handler)) as server:
        with connect(server) as sock:
            sock.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert support.read_until_eof(sock).startswith(b"HTTP/1.0 405 ")


def test_limit_of_what_is_drained(http_server):
    with serving(make(http_server, do_POST=respond, turbo_drain_bytes=1000)) as server:
        for size, answers in (900, 2), (200_000, 1):
            body = POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
            sent = body + POST + CLOSE + b"Content-Length: 0\r\n\r\n"
            assert exchange(server, sent, half_close=False).count(b"HTTP/1.1 200") == answers


def test_limit_of_requests(http_server):
    with serving(make(http_server, do_GET=respond, turbo_max_requests=2)) as server:
        with Client(server) as client:
            assert client.request().get("Connection") is None
            assert client.request().get("Connection") == "close"
            assert client.at_eof()
        assert exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3).count(b"HTTP/1.1 200") == 2


def test_limit_of_an_answer_that_is_not_taken(http_server):
    ended = []

    def do_GET(self):
        try:
            for unused in range(1000):
                self.wfile.write(b"x" * 100_000)
        except OSError as error:
            ended.append(error)
            raise

    with contextlib.redirect_stderr(io.StringIO()), \
            serving(make(http_server, do_GET=do_GET, turbo_write_timeout=0.3)) as server, connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: ended, "the end of the answer")
        assert isinstance(ended[0], TimeoutError)


# ---------------------------------------------------------------- super-linear work

SMALL, TIMES = 1 << 20, 8

#: How much more TIMES as many octets may cost for each octet. Quadratic work costs TIMES as much.
GROWTH = 3


def head_of_one_field(size):
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"X: " + b"v" * size + b"\r\n\r\n"


def body_without_a_line_end(size):
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"Content-Length: %d\r\n\r\n" % size + b"v" * size


def body_of_single_octets(size):
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nv\r\n" * (size // 6) \
        + b"0\r\n\r\n"


def chunk_without_a_line_end(size):
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" \
        + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"v" * size)


@pytest.mark.parametrize("request_of", (head_of_one_field, body_without_a_line_end, body_of_single_octets,
                                        chunk_without_a_line_end), ids=lambda function: function.__name__)
def test_work_grows_as_the_octets_do(http_server, request_of, monkeypatch):
    """Eight times the octets, a few KiB at a time, cost some eight times the processor time and not 64 times."""
    monkeypatch.setattr(http.client, "_MAXLINE", 1 << 30)

    def do_POST(self):
        self.rfile.readline()
        respond(self)

    server = make(http_server, do_POST=do_POST, do_GET=respond, turbo_decode_chunked=True, turbo_max_header_bytes=None)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)     # which connections inherit

    def cost(size):
        data = request_of(size)
        began = time.process_time()
        assert exchange(server, data).startswith(b"HTTP/1.1 200 ")
        return time.process_time() - began

    with serving(server):
        cost(SMALL)
        small = min(cost(SMALL) for unused in range(3))
        large = min(cost(SMALL * TIMES) for unused in range(2))
        assert large < GROWTH * TIMES * max(small, 0.005)


# ---------------------------------------------------------------- logs

FORGED = b'127.0.0.1 - - [01/Jan/2000 00:00:00] "GET /forged HTTP/1.1" 200 -'

#: Requests that would like to be more in a log than one line of their own.
FORGERIES = {
    "CR in the target": b"GET /\r%s HTTP/1.1\r\nHost: a\r\n\r\n" % FORGED,
    "CR without blanks": b"GET /\rforged HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\n%s\r\nHost: a\r\n\r\n" % FORGED,
    "other line ends": b"GET /\x0bforged\x0cforged\x1cforged\x85forged HTTP/1.1\r\nHost: a\r\n\r\n",
    "terminal sequences": b"GET /\x1b[2K\x1b[1A\x9b2K\x07 HTTP/1.1\r\nHost: a\r\n\r\n",
    "DEL and C1": b"GET /\x7f\x80\x9f HTTP/1.1\r\nHost: a\r\n\r\n",
    "backslash": b"GET /\\x1b\\n HTTP/1.1\r\nHost: a\r\n\r\n",
    "encoded": b"GET /%0d%0aforged%1b HTTP/1.1\r\nHost: a\r\n\r\n",
    "method": b"G\x1b[31mT\r / HTTP/1.1\r\nHost: a\r\n\r\n",
    "version": b"GET / HTTP/1.1\x1b\r\r\nHost: a\r\n\r\n",
    "one word": b"\x1b[2K\rforged\r\n\r\n",
    "no HTTP": bytes(set(range(256)) - {10}) + b"\r\n\r\n",
    "too long": b"GET /\r" + b"forged" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "field": b"GET / HTTP/1.1\r\nHost: a\r\n\x1bforged\r\n\r\n",
    "Host": b"GET / HTTP/1.1\r\nHost: a\x1b[2K\r\n\r\n",
    "coding": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x1bforged\r\n\r\n",
    "unknown method": b"FORGED\\n / HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\x1bforged\r\n",
    "message": b"GET /error HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\x1b\r\n\r\n",
}

LINE = re.compile(r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4} \d\d:\d\d:\d\d\] [ -\[\]-~\xa0-\xff\\]+")


def answering(self):
    if self.path == "/error":
        self.send_error(404, "not\r\n" + FORGED.decode())
    else:
        respond(self)


def assert_nothing_is_forged(text):
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        assert LINE.fullmatch(line), line
        assert "Jan/2000" not in line[:60], line


@pytest.mark.parametrize("way", ("native", "original"))
@pytest.mark.parametrize("name", FORGERIES)
def test_a_log_line_is_one_line(http_server, name, way):
    members = {}
    if way == "original":
        def log_message(self, format, *arguments):
            http_server.BaseHTTPRequestHandler.log_message(self, format, *arguments)
        members["log_message"] = log_message
    else:
        members["log_message"] = http_server.BaseHTTPRequestHandler.log_message
    log = io.StringIO()
    with contextlib.redirect_stderr(log), \
            serving(make(http_server, do_GET=answering, do_POST=answering, **members)) as server:
        exchange(server, FORGERIES[name])
        assert fetch(server).status == 200
    assert_nothing_is_forged(log.getvalue())


@pytest.mark.parametrize("name", FORGERIES)
def test_a_log_line_of_a_wsgi_server_is_one_line(wsgi, name):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return []

    log = io.StringIO()
    with contextlib.redirect_stderr(log), \
            serving(wsgi.make_server("127.0.0.1", 0, application, wsgi.ThreadingWSGIServer)) as server:
        exchange(server, FORGERIES[name])
        assert fetch(server).status == 200
    assert_nothing_is_forged(log.getvalue())


# ---------------------------------------------------------------- accepting and closing

def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@needs_proc
@pytest.mark.parametrize("sent", (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HT"), ids=("nothing", "all", "part"))
def test_connections_reset_before_they_are_accepted(http_server, sent):
    """They are given back, and cost no processor time afterwards: CVE-2024-49769."""
    with contextlib.redirect_stderr(io.StringIO()):
        server = make(http_server, do_GET=respond)
        for unused in range(100):
            sock = connect(server)
            sock.sendall(sent)
            reset(sock)
        with serving(server):
            assert fetch(server).status == 200
            before = descriptors()
            for unused in range(100):
                sock = connect(server)
                sock.sendall(sent)
                reset(sock)
            assert fetch(server).status == 200
            wait_until(lambda: descriptors() <= before, "descriptors given back")
            began = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - began < 0.4, "nothing spins"


@needs_proc
def test_connections_that_come_while_the_server_closes(http_server):
    """Each is answered, or ends without an answer; none is left behind, and none is another's."""
    fetched = before = None
    for unused in range(10):
        wrong, stop = [], threading.Event()
        server = make(http_server, do_GET=lambda self: respond(self, self.path.encode()))

        def ask(number, server=server, wrong=wrong, stop=stop):
            while not stop.is_set():
                try:
                    answer = exchange(server, b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
                except OSError:
                    continue
                if answer and not answer.endswith(b"\r\n\r\n/%d" % number):
                    wrong.append(answer)

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        with contextlib.redirect_stderr(io.StringIO()):
            with serving(server):
                for client in clients:
                    client.start()
                fetched = fetch(server, "/x")
                time.sleep(0.02)
            stop.set()
            for client in clients:
                client.join(support.DEADLINE)
                assert not client.is_alive()
        assert fetched.body == b"/x" and not wrong
        if before is None:
            before = descriptors()
    wait_until(lambda: descriptors() <= before + 4, "descriptors given back")


# ---------------------------------------------------------------- SECURITY.md

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")

#: `file`: `test`, `test` ...
_NAMED = re.compile(r"`([\w./-]+\.(?:txt|py|c))`:((?:,?\s+`[\w-]+`)+)")


def named():
    return [(file, name) for file, names in _NAMED.findall(TEXT) for name in re.findall(r"`([\w-]+)`", names)]


def test_every_test_that_is_named_exists():
    assert len(named()) > 80
    for file, name in named():
        if file.endswith(".txt"):
            assert name in {case.name for case in exchanges.load(file)}, (file, name)
        else:
            text = (ROOT / "tests" / file).read_text("utf-8")
            form = rf"static void {name}\(" if file.endswith(".c") else rf"def {name}\("
            assert re.search(form, text), (file, name)


def test_every_file_that_is_named_exists():
    places = (ROOT, ROOT / "tests", ROOT / "csrc", ROOT / "src" / "turboserver", exchanges.FOLDER)
    names = re.findall(r"`([\w./-]+\.(?:txt|py|pyx|c|h|md|pml))`|\]\(([^):]+)\)", TEXT)
    assert names
    for name in ("".join(pair).partition("#")[0] for pair in names):
        assert any((Path(place) / name).exists() for place in places), name


#: The rows of its tables that are about an attribute: name, class, default.
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", re.MULTILINE)


def test_every_default_is_what_it_says():
    backend = load_backend("turboserver")
    classes = {"handler": [backend.http_server.BaseHTTPRequestHandler, backend.simple_server.WSGIRequestHandler],
               "server": [backend.http_server.ThreadingHTTPServer, backend.simple_server.ThreadingWSGIServer]}
    rows = _ROW.findall(TEXT)
    assert {name for name, *unused in rows} >= {
        name for several in classes.values() for name in dir(several[0]) if name.startswith("turbo_")} - {
        "turbo_no_delay", "turbo_decode_chunked"}
    for name, where, default in rows:
        for cls, text in zip(classes[where], (default.split("; WSGI: ") * 2)[:2]):
            value = getattr(cls, name)
            number = re.match(r"[\d,.]+", text)
            if number:
                assert float(number[0].replace(",", "")) == value, name
            else:
                assert value is None, name
