"""Requests that must be refused, and with which status.

A case that `ends` is refused at the latest when its octets have come; one that does not is cut off and runs into
the deadline for heads (408) or is refused before. A status of 0: the connection may end without an answer.
"""
import dataclasses


@dataclasses.dataclass
class Case:
    name: str
    octets: bytes
    statuses: tuple
    ends: bool = True


def get(*fields, line=b"GET /plain-/1/13 HTTP/1.1", host=b"Host: h", end=b"\r\n"):
    return end.join([line, *filter(None, [host]), *fields, b"", b""])


def chunked(body):
    return get(b"Transfer-Encoding: chunked", line=b"POST /chunks-/1/0 HTTP/1.1") + body


def body(*fields, version=b"1.1"):
    return get(*fields, line=b"POST /body-read/1/0 HTTP/" + version) + b"0\r\n\r\n"


CASES = [Case(*case) for case in (
    ("space twice", get(line=b"GET  /plain-/1/13 HTTP/1.1"), (400,)),
    ("space after the version", get(line=b"GET /plain-/1/13 HTTP/1.1 "), (400,)),
    ("tab", get(line=b"GET\t/plain-/1/13 HTTP/1.1"), (400,)),
    ("eight bits in the target", get(line=b"GET /plain-/1/13\xff HTTP/1.1"), (400,)),
    ("NUL in the target", get(line=b"GET /\0 HTTP/1.1"), (400,)),
    ("version 2.0", get(line=b"GET /plain-/1/13 HTTP/2.0"), (505,)),
    ("version 1", get(line=b"GET /plain-/1/13 HTTP/1"), (400,)),
    ("version in small letters", get(line=b"GET /plain-/1/13 http/1.1"), (400,)),
    ("one word", get(line=b"HELLO"), (400,)),
    ("unknown method", get(line=b"NONE /plain-/1/13 HTTP/1.1"), (501,)),
    ("no host", get(host=None), (400,)),
    ("two hosts", get(b"Host: i"), (400,)),
    ("empty host", get(host=b"Host:"), (400,)),
    ("host with user", get(host=b"Host: a@b"), (400,)),
    ("folded field", get(b"A: b", b" c"), (400,)),
    ("space before the first field", get(host=b" Host: h"), (400,)),
    ("space before the colon", get(b"A : b"), (400,)),
    ("no colon", get(b"hello"), (400,)),
    ("no name", get(b": b"), (400,)),
    ("NUL in a value", get(b"A: b\0c"), (400,)),
    ("carriage return in a value", get(b"A: b\rc"), (400,)),
    ("bare line feeds", get(end=b"\n"), (400,)),
    ("length and chunks", body(b"Content-Length: 5", b"Transfer-Encoding: chunked"), (400,)),
    ("two lengths", body(b"Content-Length: 5", b"Content-Length: 6"), (400,)),
    ("list of lengths", body(b"Content-Length: 5, 5"), (400,)),
    ("length with a sign", body(b"Content-Length: +5"), (400,)),
    ("negative length", body(b"Content-Length: -5"), (400,)),
    ("length beyond 63 bits", body(b"Content-Length: 9223372036854775808"), (400,)),
    ("chunked in 1.0", body(b"Transfer-Encoding: chunked", version=b"1.0"), (400,)),
    ("chunked twice", body(b"Transfer-Encoding: chunked, chunked"), (400,)),
    ("not chunked at last", body(b"Transfer-Encoding: chunked, gzip"), (400,)),
    ("unknown coding", body(b"Transfer-Encoding: gzip, chunked"), (501,)),
    ("unknown expectation", body(b"Expect: the-worst", b"Content-Length: 5"), (417,)),
    ("long target", get(line=b"GET /" + b"a" * 70000 + b" HTTP/1.1"), (414,)),
    ("long line without end", b"GET /" + b"a" * 70000, (414,), False),
    ("long field", get(b"A: " + b"a" * 70000), (431,)),
    ("many long fields", get(*[b"A: " + b"a" * 9000] * 20), (431,)),
    ("many fields", get(*[b"A: a"] * 120), (431,)),
    ("endless field", b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 100000, (431,), False),
    ("chunk size in words", chunked(b"five\r\nhello\r\n0\r\n\r\n"), (400,)),
    ("chunk size beyond 63 bits", chunked(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), (400,)),
    ("chunk size with a sign", chunked(b"+5\r\nhello\r\n0\r\n\r\n"), (400,)),
    ("chunk longer than it says", chunked(b"4\r\nhello\r\n0\r\n\r\n"), (400,)),
    ("chunk line by a line feed", chunked(b"5\nhello\r\n0\r\n\r\n"), (400,)),
    ("long chunk extension", chunked(b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n"), (400,)),
    ("trailer that frames", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"), (400,)),
    ("trailer without a colon", chunked(b"5\r\nhello\r\n0\r\nhello\r\n\r\n"), (400,)),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(0x80, 0xff)) * 4, (400, 408), False),
    ("empty lines", b"\r\n" * 20, (0,)),
    ("line noise", b"\xff\xfe\xfd\r\n\r\n", (400,)),
)]
