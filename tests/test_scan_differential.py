"""Mutated requests, read by our parser and by the original's parse_request(): the same of each.

Both run in this process, without a server: the original on BytesIO, ours on the rfile that its handlers have in the
blocking lane, over a pair of sockets, so that plain heads go through csrc/scan.c (the first test proves it).  Where
the system has SOCK_SEQPACKET the head comes in pieces of random sizes, one for each receive.

Mutants are made of the corpus (tests/corpus/README.md) and of some requests as clients send them.  They follow from
the number of the case alone.  TURBOSERVER_LONG=1 takes two million of them instead of some thousands.

The differences there may be are those of known_differences.py, by rule instead of by case: framing that is refused,
and white space after the value of Connection and Expect.
"""
import http.client
import io
import os
import random
import re
import socket
from pathlib import Path
from unittest import mock

import pytest

from support import load_backend

LONG = os.environ.get("TURBOSERVER_LONG") == "1"
CASES, MUTANTS = (40, 50_000) if LONG else (10, 2000)
LIMIT = 900 if LONG else 120  # seconds for a case: a hang, not a speed limit

CORPUS = Path(__file__).parent / "corpus" / "requests"
LARGEST = 4096  # octets; larger ones are about limits, which no mutation of theirs comes near

CLIENTS = (
    b"GET /articles/2024/06/how-a-request-travels HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
    b"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\nAccept: text/html,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\nReferer: https://www.example.com/articles/2024/06/\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nCookie: session=4f1d6b0c9a8e7d3f5b2a1c0e9d8f7a6b; theme=dark\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: Keep-Alive\r\n\r\nGET /next HTTP/1.0\r\n\r\n",
    b"POST //form?a=b HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n"
    b"Expect: 100-continue\r\nConnection: close\r\n\r\na=b&c=d",
    b"PUT /upload HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
)

PIECES = (b"\r", b"\n", b"\r\n", b"\n\n", b" ", b"\t", b":", b": ", b",", b";", b"/", b"//", b".", b"0", b"1", b"9", b"_",
          b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff", b"HTTP/1.1",
          b"HTTP/1.0", b"Connection: close\r\n", b"Connection: keep-alive \r\n", b"Expect: 100-continue\r\n",
          b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n folded",
          b"a", b"-", b"~!", b"(c)", b"x=y", b"Name: value\r\n", b"\r\nA:", b"N-a_m.e: v\r\n")  # fmt: skip


# ---------------------------------------------------------------- mutants

def unescape(text):
    """Octets of a line of the corpus."""
    names = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}
    return re.sub(rb"\\(x..|.)", lambda found: bytes.fromhex(found[1][1:].decode()) if found[1][:1] == b"x"
                  else names[found[1]], text)  # fmt: skip


def corpus():
    """The requests of the corpus, with what follows them, in the order of their names."""
    for path in sorted(CORPUS.iterdir()):
        lines = path.read_bytes().split(b"\n")
        data = b"".join(unescape(line[2:]) for line in lines if line[:2] in (b"> ", b"+ "))
        if 0 < len(data) <= LARGEST:
            yield data


def all_seeds():
    """The clients' requests weigh as much as the corpus, most of which is odd from the beginning."""
    found = list(corpus())
    return [*CLIENTS * (1 + len(found) // len(CLIENTS)), *found]


def mutant(rng, seeds):
    """One request: a seed with 0 to 4 changes, of octets or of lines."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        if kind == 0:
            data = data[:at] + data[at + rng.randint(1, 4):]
        elif kind <= 2:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif kind == 3:
            data = data[:at] + rng.choice(PIECES) + data[at + 1:]
        elif kind == 4:
            data = data[:at] + bytes((rng.randrange(256),)) + data[at + 1:]
        elif kind == 5:
            data = data[:at] + data[at:at + 1] * rng.randint(1, 150) + data[at:]
        elif kind == 6:
            data = data[:at] + data[at:at + 12].swapcase() + data[at + 12:]
        else:
            lines = data.splitlines(keepends=True)
            at = rng.randrange(len(lines)) if lines else 0
            other = rng.choice(rng.choice(seeds).splitlines(keepends=True))
            lines[at:at + rng.randrange(2)] = [rng.choice((other, *lines[:1], b"".join(lines[at:at + 1]) * 2))]
            data = b"".join(lines)
    return data[:LARGEST]


# ---------------------------------------------------------------- what is compared

def handler_class(backend, protocol):
    """A handler that keeps what it would have answered."""
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = protocol

        def __init__(self):
            self.answers = []

        def send_error(self, code, message=None, explain=None):
            self.answers.append((int(code), message))

        def handle_expect_100(self):
            self.answers.append("continue")
            return True

    return Handler


def parse(handler):
    """All that can be seen of `handler` after it parsed the request that its rfile holds: a dict."""
    handler.raw_requestline = handler.rfile.readline(65537)
    try:
        parsed = handler.parse_request()
    except Exception as error:
        parsed = repr(error)
    seen = {"parsed": parsed, "answers": handler.answers}
    for name in ("command", "path", "request_version", "requestline", "close_connection"):
        seen[name] = getattr(handler, name, "not set")
    headers = getattr(handler, "headers", None)
    seen["headers"] = list(headers.items()) if headers is not None else "not set"
    seen["rest"] = handler.rfile.read() if parsed is True else "not looked at"
    return seen


def parse_original(data, protocol):
    """What the original makes of it, and its handler."""
    handler = handler_class(load_backend("stdlib"), protocol)()
    handler.rfile = io.BytesIO(data)
    return parse(handler), handler


def parse_ours(data, protocol, rng=None):
    """What ours makes of it; in pieces if there is an `rng`."""
    kind = getattr(socket, "SOCK_SEQPACKET", None) if rng else None
    try:
        client, server = socket.socketpair(socket.AF_UNIX, kind or socket.SOCK_STREAM)
    except OSError:  # no such sockets on macOS
        client, server = socket.socketpair()
    with client, server:
        # So few pieces that they find room in any system's buffer: nobody reads meanwhile.
        size = rng.choice((1 + len(data) // 100, 33, 64, 100, 700)) if rng else len(data)
        while data:
            cut = rng.randint((size + 1) // 2, size) if rng else size
            client.send(data[:cut])
            data = data[cut:]
        client.shutdown(socket.SHUT_WR)
        handler = handler_class(load_backend("turboserver"), protocol)()
        handler.request = server
        handler.setup()
        try:
            return parse(handler)
        finally:
            handler.rfile.close()
            handler.wfile.close()


# ---------------------------------------------------------------- what may differ

def is_refused(headers, version):
    """Whether the framing is one that two parsers could read differently: RFC 9112, 6.1 to 6.3, by turboserver.framing,
    which shares no code with the scanner."""
    from turboserver.framing import BadFraming, body_framing

    try:
        body_framing(headers, version)
    except BadFraming:
        return True
    return False


def refusal(handler):
    """Whether ours has to refuse what the original let pass: True, False, or None if it may.

    It may where a Content-Length is refused for its leading zeros (many, or not the same in two fields): a number to
    the scanner, digits to turboserver.framing.  The request ends in the same place for both.
    """
    headers, version = handler.headers, handler.request_version
    without = type(headers)()
    for name, value in headers.items():
        without[name] = re.sub(r"^[ \t]*0+(?=[0-9])", "", value) if name.lower() == "content-length" else value
    verdicts = {is_refused(headers, version), is_refused(without, version)}
    return verdicts.pop() if len(verdicts) == 1 else None


def padded(handler, name, words):
    """Whether the first field of this name is one of `words` with white space after it, which the original takes for
    something else (RFC 9110, 5.5)."""
    value = handler.headers.get(name) or ""
    return value != value.rstrip(" \t") and value.rstrip(" \t").lower() in words


def judge(reference, handler, ours):
    """Compare two results of parse() in the light of the known differences; `handler` is the original's."""
    reference, ours = dict(reference), dict(ours)
    if reference["parsed"] is True:
        refused = refusal(handler)
        if refused or refused is None and ours["parsed"] is False:
            assert (ours["parsed"], ours["close_connection"]) == (False, True)
            assert [answer[0] for answer in ours["answers"] if answer != "continue"] in ([400], [501])
            for name in ("parsed", "close_connection", "answers", "rest"):
                del reference[name], ours[name]
        else:
            if padded(handler, "Connection", ("close", "keep-alive")):
                del reference["close_connection"], ours["close_connection"]
            if padded(handler, "Expect", ("100-continue",)):
                del reference["answers"], ours["answers"]
    assert ours == reference


# ---------------------------------------------------------------- tests

@pytest.mark.parametrize("data", CLIENTS)
def test_plain_requests_are_read_natively(data):
    """The original's parse_headers() is not asked; so it is the scanner that the other tests are about."""
    reference, handler = parse_original(data, "HTTP/1.1")
    load_backend("turboserver")  # it asks for a sample
    with mock.patch.object(http.client, "parse_headers", side_effect=AssertionError("the general parser")):
        ours = parse_ours(data, "HTTP/1.1")
    assert ours["parsed"] is True
    judge(reference, handler, ours)


def test_seeds():
    for data in (*CLIENTS, *corpus()):
        for protocol in ("HTTP/1.0", "HTTP/1.1"):
            judge(*parse_original(data, protocol), parse_ours(data, protocol))


@pytest.mark.limit(LIMIT)
@pytest.mark.parametrize("case", range(CASES))
def test_mutants(case):
    rng = random.Random(case)
    seeds = all_seeds()
    accepted = refused = 0
    for number in range(MUTANTS):
        data = mutant(rng, seeds)
        protocol = rng.choice(("HTTP/1.0", "HTTP/1.1", "HTTP/1.1"))
        reference, handler = parse_original(data, protocol)
        ours = parse_ours(data, protocol, rng if number % 2 else None)
        try:
            judge(reference, handler, ours)
        except AssertionError as error:
            raise AssertionError(f"mutant {number} of case {case}, {protocol}: {data!r}\n{error}") from None
        accepted += ours["parsed"] is True
        refused += ours["parsed"] is False
    # Neither parser had an easy time: the mutants are neither all plain nor all broken.
    assert accepted > MUTANTS / 5 and refused > MUTANTS / 20
