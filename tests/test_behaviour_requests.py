"""Differential: requests of every kind, good, odd and bad, sent whole, a line at a time and a byte at a time.

The same bytes go to the same handler on both backends (see differential.py); answer, log and what the handler saw
must be equal.  Cases that differ by intention are in known_differences.py under "requests/NAME".
"""
import pytest

from differential import IN_HAND, assert_same, recorder

H = b"Host: a\r\n"
END = b"\r\n"
CLOSE = b"Connection: close\r\n"


def get(path=b"/", more=b"", version=b"HTTP/1.1"):
    return b"GET " + path + b" " + version + b"\r\n" + H + more + END


#: Name -> bytes.  Every case is one connection, after which the client has nothing more to say.
GOOD = {
    "plain": get(),
    "http/1.0": get(version=b"HTTP/1.0"),
    "http/1.0 keep-alive": get(more=b"Connection: keep-alive\r\n", version=b"HTTP/1.0") + get(b"/second"),
    "http/1.0 then more": get(version=b"HTTP/1.0") + get(b"/never"),
    "http/1.1 close": get(more=CLOSE) + get(b"/never"),
    "connection header in odd case": get(more=b"CONNECTION: ClOsE\r\n") + get(b"/never"),
    "http/0.9": b"GET /old\r\n",
    "http/0.9 with headers": b"GET /old\r\nHost: a\r\n\r\n",
    "http/0.9 bare lf": b"GET /old\n",
    "http/0.9, eof in the line": b"GET /old",
    "http/0.9 and a blank": b"GET /old \r\n",
    "http/0.9 of a url": b"GET http://a/\r\n\r\n",
    "http/0.9 without slash": b"GET nothing\r\n\r\n",
    "http/1.2": get(version=b"HTTP/1.2") + get(b"/second"),
    "http/1.10": get(version=b"HTTP/1.10") + get(b"/second"),
    "http/0.9 spelt out": get(version=b"HTTP/0.9") + get(b"/second"),
    "http/01.1": get(version=b"HTTP/01.1"),
    "three pipelined": get(b"/1") + get(b"/2") + get(b"/3"),
    "head": b"HEAD /x HTTP/1.1\r\n" + H + END + get(b"/second"),
    "post": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbody",
    "post twice": (b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbody") * 2,
    "post then get": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbody" + get(b"/second"),
    "put http/1.0": b"PUT /p HTTP/1.0\r\nContent-Length: 3\r\n\r\nxyz",
    "empty body": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n" + get(b"/second"),
    "post without length": b"POST /p HTTP/1.1\r\n" + H + END + get(b"/second"),
    "same length twice": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "length with zeros": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 004\r\n\r\nbody",
    "binary body": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 256\r\n\r\n" + bytes(range(256)),
    "expect 100": b"POST /p HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    "expect 100 odd case": b"PUT /p HTTP/1.1\r\n" + H + b"Expect: 100-Continue\r\nContent-Length: 4\r\n\r\nbody",
    "expect 100 http/1.0": b"POST /p HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    "expect other": b"POST /p HTTP/1.1\r\n" + H + b"Expect: the worst\r\nContent-Length: 4\r\n\r\nbody",
    "expect other http/1.0": b"POST /p HTTP/1.0\r\nExpect: the worst\r\nContent-Length: 4\r\n\r\nbody",
    "expect 100 and other": get(more=b"Expect: 100-continue, more\r\n"),
    "expect 100 get": get(more=b"Expect: 100-continue\r\n"),
    "bare lf": b"GET /lf HTTP/1.1\nHost: a\nX: y\n\n",
    "bare lf in a header": b"GET /lf HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "bare lf after the request line": b"GET /lf HTTP/1.1\nHost: a\r\n\r\n",
    "bare lf at the end": b"GET /lf HTTP/1.1\r\nHost: a\r\n\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no headers http/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "no blank line, eof": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "absolute uri": get(b"http://a.example:80/path?q=1"),
    "absolute uri http/1.0": b"GET http://a.example:80/path HTTP/1.0\r\n\r\n",
    "authority": b"CONNECT a:443 HTTP/1.1\r\n" + H + END,
    "connect with a path": b"CONNECT a:443/ HTTP/1.1\r\n" + H + END,
    "connect without a port": b"CONNECT a HTTP/1.1\r\n" + H + END,
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + H + END,
    "asterisk of a GET": get(b"*"),
    "fragment of an absolute uri": get(b"http://a/#f"),
    "fragment of an authority": get(b"http://a#f"),
    "fragment alone": get(b"#f"),
    "user information": get(b"http://a@b/"),
    "absolute uri without host": get(b"http:///x"),
    "scheme without slashes": get(b"mailto:a"),
    "query and fragment": get(b"/a/b;p?x=1&y=%20#f"),
    "double slash": get(b"//evil.example/x"),
    "many slashes": get(b"////x//y"),
    "path without slash": get(b"nothing"),
    "8-bit path": get("/ü€".encode()),
    "several blanks": b"GET    /x   HTTP/1.1  \r\n" + H + END,
    "tabs": b"GET\t/x\tHTTP/1.1\r\n" + H + END,
    "leading blank": b" GET /x HTTP/1.1\r\n" + H + END,
    "other blanks": b"GET\x0b/x\x0cHTTP/1.1\r\n" + H + END,
    "cr in the request line": b"GET /x HTTP/1.1\r\r\n" + H + END,
    "8-bit blanks": b"GET\xa0/x\x85HTTP/1.1\r\n" + H + END,
    "lower-case method": b"get / HTTP/1.1\r\n" + H + END,
}

HEADERS = {
    "duplicate": get(more=b"X: 1\r\nx: 2\r\nX: 1\r\n"),
    "empty value": get(more=b"X:\r\nY: \r\nZ:\t\r\n"),
    "blanks before values": get(more=b"X:    one\r\nY:\ttwo\r\n"),
    "blanks after values": get(more=b"X: one  \r\nY: two\t\r\n"),
    "no blank after the colon": get(more=b"X:y\r\n"),
    "colons in value": get(more=b"X: a:b: c\r\n"),
    "8-bit values": get(more=b"X: caf\xe9 \xff\xfe\r\nY: \xc3\xa9\r\n"),
    "utf-8 values": get(more="X: zwölf €\r\n".encode()),
    "8-bit names": get(more=b"X\xe9: 1\r\n"),
    "line separators in values": get(more=b"X: a\x85b\x1cc\x0bd\x0ce\r\n"),
    "next-line and its like": get(more="X: a\u2028b\u0085c\r\n".encode()),
    "encoded words": get(more=b"X: =?utf-8?q?caf=C3=A9?=\r\n"),
    "quotes": get(more=b'X: "a, \\"b\\"", c\r\n'),
    "odd but legal names": get(more=b"!#$%&'*+-.^_`|~09Az: 1\r\n"),
    "underscores": get(more=b"X_Y: 1\r\nX-Y: 2\r\n"),
    "obs-fold": get(more=b"X: one\r\n two\r\n\tthree\r\nY: 1\r\n"),
    "obs-fold of blanks": get(more=b"X: one\r\n   \r\nY: 1\r\n"),
    "obs-fold of nothing": get(more=b"X:\r\n one\r\n"),
    "fold first": b"GET / HTTP/1.1\r\n Host: a\r\nX: y\r\n\r\n",
    "blank before the colon": get(more=b"X : 1\r\nY: 2\r\n"),
    "word without colon": get(more=b"nonsense\r\nY: 2\r\n"),
    "line without colon": get(more=b"no colon here\r\nY: 2\r\n"),
    "only a colon": get(more=b": empty name\r\nY: 2\r\n"),
    "name with blank": get(more=b"X Y: 1\r\nZ: 2\r\n"),
    "name with tab": get(more=b"X\t: 1\r\nZ: 2\r\n"),
    "nul in value": get(more=b"X: a\x00b\r\nZ: 2\r\n"),
    "control characters": get(more=b"X: a\x01\x7f\x1bb\r\nZ: 2\r\n"),
    "cr in value": get(more=b"X: a\rb\r\nZ: 2\r\n"),
    "cr before crlf": get(more=b"X: a\r\r\nZ: 2\r\n"),
    "cr as the only line end": b"GET / HTTP/1.1\r\nHost: a\rX: 1\r\r\n\r\n",
    "unix from line": get(more=b"From me today\r\nX: y\r\n"),
    "unix from line first": b"GET / HTTP/1.1\r\nFrom me today\r\nX: y\r\n\r\n",
    "many": get(more=b"".join(b"X-%d: v%d\r\n" % (n, n) for n in range(90))),
    "ninety-nine": get(more=b"X: y\r\n" * 98),
    "a hundred": get(more=b"X: y\r\n" * 99),
    "long value": get(more=b"X: " + b"v" * 60_000 + b"\r\n"),
    "long name": get(more=b"N" * 60_000 + b": v\r\n"),
    "many octets in many headers": get(more=(b"X: " + b"v" * 1000 + b"\r\n") * 66),
    "65536 octets": get(more=b"X: " + b"v" * (65536 - 5) + b"\r\n"),
    "cookie": get(more=b"Cookie: a=b; c=d\r\nCookie: e=f\r\n"),
    "usual browser": get(more=b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: text/html,"
                              b"application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"
                              b"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
                              b"Upgrade-Insecure-Requests: 1\r\nPragma: no-cache\r\n"),
}

HOSTS = {
    "no host among others": b"GET / HTTP/1.1\r\nX-Host: a\r\nHosts: b\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "two hosts": get(more=b"HOST: b\r\n"),
    "same host twice": get(more=H),
    "two hosts in one line": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "two hosts http/1.0": get(more=b"Host: b\r\n", version=b"HTTP/1.0"),
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with user information": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "host with a blank": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with 8 bits": b"GET / HTTP/1.1\r\nHost: caf\xe9\r\n\r\n",
    "host with a port": b"GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n",
    "host with an empty port": b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
    "host with a port too large": b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
    "host with a port of letters": b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n",
    "host of each kind of character": b"GET / HTTP/1.1\r\nHost: aZ09-._~!$&'()*+;=%c3%A9:80\r\n\r\n",
    "ipv4": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
    "ipv6": b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    "ipv6 without brackets": b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n",
    "ipv6 with a zone": b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n",
    "host with half a bracket": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
}

#: Cases that differ only where the connection is kept open: a server of HTTP/1.0 closes after the first answer anyhow.
KEPT = {
    "connection list": get(more=b"Connection: keep-alive, close\r\n") + get(b"/second"),
    "two connection headers": get(more=b"Connection: keep-alive\r\nConnection: close\r\n") + get(b"/second"),
    "body and crlf": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbody\r\n" + get(b"/second"),
    "garbage after get": get() + b"garbage that is no request\r\n\r\n",
    "second without host": get() + b"GET /second HTTP/1.1\r\n\r\n",
    "eof in the second head": get() + b"GET /second HTTP/1.1\r\nX",
    "eof in the body of the second": get() + b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 10\r\n\r\nhalf",
}

BAD = {
    "empty line": b"\r\n",
    "empty lines, then a request": b"\r\n\r\n" + get(),
    "blanks only": b"   \r\n" + get(),
    "nothing at all": b"",
    "one word": b"GET\r\n\r\n",
    "four words": b"GET / x HTTP/1.1\r\n\r\n",
    "five words": b"GET / x y HTTP/1.1\r\n\r\n",
    "post http/0.9": b"POST /\r\n\r\n",
    "no http": b"GET / FTP/1.1\r\n\r\n",
    "lower-case http": b"GET / http/1.1\r\n\r\n",
    "version without dot": b"GET / HTTP/1\r\n\r\n",
    "version of three numbers": b"GET / HTTP/1.1.1\r\n\r\n",
    "version with letters": b"GET / HTTP/1.x\r\n\r\n",
    "version with a minus": b"GET / HTTP/-1.1\r\n\r\n",
    "version with a plus": b"GET / HTTP/+1.1\r\n\r\n",
    "version with an underscore": b"GET / HTTP/1.1_0\r\n\r\n",
    "version with odd digits": "GET / HTTP/1.²\r\n\r\n".encode("latin-1"),
    "version of many digits": b"GET / HTTP/1." + b"1" * 30 + b"\r\n\r\n",
    "version of eleven digits": b"GET / HTTP/1.12345678901\r\n\r\n",
    "version empty": b"GET / HTTP/\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\n\r\n",
    "version 9.9": b"GET / HTTP/9.9\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n" + b"\xab" * 50,
    "binary": bytes(range(1, 256)) * 3,
    "nul in the request line": b"GET /\x00x HTTP/1.1\r\nHost: a\r\n\r\n",
    "controls in the request line": b"GET /\x1b[31m\x07 HTTP/1.1\r\nHost: a\r\n\r\n",
    "markup in a refusal": b"GET / <script>alert(1)</script> HTTP/1.1\r\n\r\n",
    "percent in a refusal": b"%s%d%(x)s / HTTP/1.1\r\nHost: a\r\n\r\n",
    "unsupported method": b"BREW /pot HTTP/1.1\r\n" + H + END + get(b"/second"),
    "unsupported method http/1.0": b"BREW /pot HTTP/1.0\r\n\r\n",
    "method with odd characters": b"G\"E<T> / HTTP/1.1\r\n" + H + END,
    "method with 8 bits": b"G\xcbT / HTTP/1.1\r\n" + H + END,
    "method of an attribute": b"_ / HTTP/1.1\r\n" + H + END,
    "long method": b"M" * 5000 + b" / HTTP/1.1\r\n" + H + END,
    "request line of 65536": b"GET /" + b"x" * (65536 - 16) + b" HTTP/1.1\r\n" + H + END,
    "request line of 65537": b"GET /" + b"x" * (65537 - 16) + b" HTTP/1.1\r\n" + H + END,
    "request line of 70000": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + H + END,
    "endless request line": b"G" * 200_000,
    "long line": get(more=b"X: " + b"v" * 70_000 + b"\r\n"),
    "65537 octets": get(more=b"X: " + b"v" * (65537 - 5) + b"\r\n"),
    "too many headers": get(more=b"X: y\r\n" * 100),
    "far too many headers": get(more=b"X: y\r\n" * 5000),
    "eof in the method": b"GE",
    "eof in the request line": b"GET / HTTP/1.1",
    "eof after the request line": b"GET / HTTP/1.1\r\n",
    "eof in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX-Ha",
    "eof after a cr": b"GET / HTTP/1.1\r\nHost: a\r\n\r",
    "eof in the body": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 10\r\n\r\nhalf",
}

FRAMING = {
    "length and chunked": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody",
    "differing lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbodyx",
    "differing lengths in one line": b"Content-Length: 4, 5\r\n\r\nbodyx",
    "same length, other digits": b"Content-Length: 4\r\nContent-Length: 04\r\n\r\nbody",
    "same length twice in one line": b"Content-Length: 4, 4\r\n\r\nbody",
    "length is no number": b"Content-Length: four\r\n\r\nbody",
    "length is negative": b"Content-Length: -4\r\n\r\nbody",
    "length with a plus": b"Content-Length: +4\r\n\r\nbody",
    "length with an underscore": b"Content-Length: 1_0\r\n\r\n0123456789",
    "length is hexadecimal": b"Content-Length: 0x4\r\n\r\nbody",
    "length is empty": b"Content-Length:\r\n\r\nbody",
    "length of many digits": b"Content-Length: " + b"9" * 60 + b"\r\n\r\nbody",
    "chunked is not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked with a parameter": b"Transfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n",
    "coding without a name": b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "other coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "malformed chunk": b"Transfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n",
}

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def length_of(body):
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


UNREAD = {
    "unread body": b"POST /first HTTP/1.1\r\n" + H + length_of(SMUGGLED) + get(b"/next", CLOSE),
    "unread chunked body": b"POST /first HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
                           % (len(SMUGGLED), SMUGGLED) + get(b"/next", CLOSE),
    "unread body of a GET": b"GET /first HTTP/1.1\r\n" + H + length_of(SMUGGLED) + get(b"/next", CLOSE),
}

SMALL = 2000


def chunkings(data):
    return ("whole", "lines", "bytes") if len(data) < SMALL else ("whole",)


def cases(corpus):
    return pytest.mark.parametrize("name", [pytest.param(name, id=name.replace(" ", "-")) for name in corpus])


@pytest.mark.parametrize("protocol", ("HTTP/1.1", "HTTP/1.0"))
@cases(GOOD)
def test_good(name, protocol):
    assert_same("requests/" + name, recorder(protocol), GOOD[name], chunkings=chunkings(GOOD[name]))


@cases(HEADERS)
def test_headers(name):
    assert_same("requests/" + name, recorder(), HEADERS[name], chunkings=chunkings(HEADERS[name]))


@pytest.mark.parametrize("protocol", ("HTTP/1.1", "HTTP/1.0"))
@cases(HOSTS)
def test_hosts(name, protocol):
    assert_same("requests/" + name, recorder(protocol), HOSTS[name])


@cases(KEPT)
def test_kept(name):
    assert_same("requests/" + name, recorder(), KEPT[name])


def test_space_after_connection_close():
    assert_same("requests/space after connection close", recorder(),
                get(more=b"Connection: close \r\n") + get(b"/second"))


@cases(KEPT)
def test_not_kept(name):
    assert_same("requests/closed by HTTP/1.0", recorder("HTTP/1.0"), KEPT[name])


@pytest.mark.parametrize("protocol", ("HTTP/1.1", "HTTP/1.0"))
@cases(BAD)
def test_bad(name, protocol):
    # Bytes sent after a refusal may meet a closed socket, so line by line only where that cannot be.
    assert_same("requests/" + name, recorder(protocol), BAD[name], chunkings=("whole",))


@cases([name for name in BAD if name.startswith("eof") or name in ("one word", "empty line")])
def test_bad_a_byte_at_a_time(name):
    assert_same("requests/" + name, recorder(), BAD[name], chunkings=("bytes",))


@pytest.mark.parametrize("protocol", ("HTTP/1.1", "HTTP/1.0"))
@cases(FRAMING)
def test_framing(name, protocol):
    data = b"POST /first HTTP/1.1\r\n" + H + FRAMING[name]
    assert_same("requests/" + name, recorder(protocol), data)


def test_framing_chunked_in_http_1_0():
    data = b"POST /first HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert_same("requests/chunked in HTTP/1.0", recorder(), data)


@cases(UNREAD)
def test_unread(name):
    assert_same("requests/" + name, recorder(read_body=False), UNREAD[name], chunkings=("whole", "lines"))


@cases(UNREAD)
def test_unread_in_hand(name):
    """By a handler that has a handle_one_request() of its own, and with it the blocking lane."""
    assert_same("requests/" + name, recorder(read_body=False, **IN_HAND), UNREAD[name])


def test_half_read_body():
    def program(backend, seen):
        class Handler(recorder(read_body=False)(backend, seen)):
            def do_POST(self):
                assert self.rfile.read(5) == b"01234"
                self.do_GET()

        return Handler

    data = b"POST /first HTTP/1.1\r\n" + H + length_of(b"01234" + SMUGGLED) + get(b"/next", CLOSE)
    assert_same("requests/half-read body", program, data)


def test_body_of_an_unknown_method():
    def program(backend, seen):
        class Handler(recorder(read_body=False)(backend, seen)):
            def send_error(self, code, message=None, explain=None):
                seen.append(("error", code, message))
                self.send_response(code, message)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Handler

    data = b"BREW /first HTTP/1.1\r\n" + H + length_of(SMUGGLED) + get(b"/next", CLOSE)
    assert_same("requests/body of an unknown method", program, data)


@pytest.mark.parametrize("server", ("HTTPServer", "ThreadingHTTPServer"))
@pytest.mark.parametrize("name", ("plain", "three pipelined", "post then get", "http/1.0 then more"))
def test_both_servers(name, server):
    assert_same("requests/" + name, recorder(), GOOD[name], server=server)
