"""Requests for the parsers to disagree about: built from the grammar, then broken in a few places."""
import re
from pathlib import Path

from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus" / "requests"
LARGEST = 4096  # octets; larger ones are about limits, which the corpus itself is tested for

# ---------------------------------------------------------------- seeds

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
        if 0 < len(data) <= LARGEST and not any(line.startswith(b"@ ") for line in lines):
            yield data


# ---------------------------------------------------------------- the grammar

one_of = st.sampled_from
METHODS = one_of((
    b"GET", b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"M-SEARCH", b"get",
    b"Brew", b"!#$%&'*+-.^_`|~9"))  # fmt: skip
ABSOLUTES = (b"http://a/b", b"https://a:8/?c", b"http://[::1]:80", b"x+y://a%20b?c", b"HTTP://A/")
TARGETS = one_of((b"/", b"/", b"/a/b?c=d", b"//a", b"///", b"/%00:@", b"/a{b}|\\^`\"<>", b"a/b", b"/a#b",
                  *ABSOLUTES))  # fmt: skip
HOSTS = one_of((
    b"a", b"www.example.com", b"a:80", b"a:", b"127.0.0.1:8000", b"[::1]", b"[2001:db8::7]:443", b"[v1.a:b]",
    b"a_b~!$&'()*+,;=%41"))  # fmt: skip
AROUND = one_of((b" ", b" ", b" ", b" ", b"", b"\t", b"  \t"))
NAMES = one_of((
    b"A", b"Accept", b"x-y_z", b"COOKIE", b"Cookie", b"!#$%&'*+-.^_`|~", b"Upgrade", b"Connection", b"Expect",
    b"Contents-Length", b"Date", b"TE"))  # fmt: skip
VALUES = one_of((
    b"", b"b", b"close", b"keep-alive", b"keep-alive, Upgrade", b"upgrade", b"a:b", b"\"a, b\"", b"a  b\tc",
    b"100-continue", b"100-Continue,", b"trailers", b"\xe4\xff\x80", b"\x85\xa0", b"=?utf-8?q?a?="))  # fmt: skip


@st.composite
def field_lines(draw, name=NAMES, value=VALUES):
    return draw(name) + b":" + draw(AROUND) + draw(value) + draw(one_of((b"", b"", b"", b" ", b"\t "))) + b"\r\n"


def cased(name):
    return one_of((name, name, name.lower(), name.upper()))


#: Values that are almost right, or right by a hair, for one place of a request.
NEAR = {
    "method": one_of((
        b"", b"G T", b"G(T", b"\xe4", b"GET\x00")),
    "target": one_of((
        b"http://", b"http:///a", b"http://u@a/", b"http://a:65535", b"http://a:65536/", b"http:/a", b"a:b", b"*",
        b"http://[::1/", b"/\xe4", b"/a b", b"?", b"1a://b/", b"http://a#b", b"//", b":", b"a/:")),
    "authority": one_of((
        b"a", b"a:", b"a:0", b"a:65535", b"a:65536", b"/", b"u@a:1", b"[::1]", b":1", b"a:1/", b"*")),
    "version": one_of((
        b"2.0", b"1.10", b"1", b"0.9", b"1,1", b"01.1", b"1.1 ", b"1.x", b"3.1")),
    "host": one_of((
        b"a:65535", b"a:65536", b"a:99999", b"a:000080", b"[::1", b"[::g]", b"[1::2::3]", b"[::1]a", b"[::1]:1x",
        b"[1:2:3:4:5:6:7::]", b"[1:2:3:4:5:6:7:8::]", b"[::1.2.3.4]", b"[::1.2.3.04]", b"[::1%25a]", b"[v.a]",
        b"[v1.]", b"a%4", b"a%zz", b"a/b", b"a@b", b"a b", b":80", b"", b"a,b", b"a:8:8", b"[]", b"::1")),
    "length": one_of((
        b"", b"+1", b"-0", b"1_0", b"0x1", b"1 1", b"1,1", b"1, 2", b"1;", b"1.0", b"\xb2", b"1\x00",
        b"9223372036854775807", b"9223372036854775808", b"0" * 50)),
    "coding": one_of((
        b"", b"chunked,", b", chunked", b"chunked;a", b"chunked;", b"chunked chunked", b"chunked, chunked",
        b"gzip, chunked", b"gzip;q=\",\", chunked", b"chunked, gzip", b"x-chunked", b"chunkedd", b"identity",
        b"\"chunked\"", b"chunked\x0b", b"\x0bchunked", b"gzip;, chunked")),
    "extension": one_of((
        b";", b";;", b";a=", b"; =b", b";a\"", b";a=\"b", b";a=b c", b" ", b"\t", b";a=\"\\\"", b";a==b",
        b";a=\"\x01\"", b";a=\"b\"c", b";a\x00", b";a ", b";a\n", b" a", b";a=\"\r\n\"", b";a=\xff")),
    "size": one_of((
        b"", b"7fffffffffffffff", b"8000000000000000", b"10000000000000000", b"0x1", b"+1", b"g", b"-1", b" 1")),
    "trailer": one_of((
        b"Host: a\r\n", b"content-length: 3\r\n", b"a b: c\r\n", b" a: b\r\n", b"A\r\n", b"A: \x01\r\n", b"A: b\n",
        b"A: b\r\n c\r\n", b": a\r\n", b"A : b\r\n", b"A: \r\r\n", b"A\x00: b\r\n", b"\n")),
    "field": one_of((
        b" a: b\r\n", b"A\r\n", b"a b: c\r\n", b"A: \x00\r\n", b"A: \x7f\r\n", b"A: b\n", b"A: b\r\n c\r\n",
        b": a\r\n", b"A : b\r\n", b"A: b\rc\r\n", b"\xe4: b\r\n", b"A: b\r\r\n", b"A,B: c\r\n", b"\n", b"\r\r\n",
        b"Expect: a\r\n", b"Expect: 100-continue, a\r\n", b"Expect: \"100-continue\"\r\n")),
}  # fmt: skip

EXTENSIONS = one_of((b"", b"", b"", b";a", b";a=b", b" ; a", b"; a=\"b\\\" ;\x80\"", b";a=b;c", b" ;a = b", b";a=\"\""))


def chunked_body(draw, pick):
    parts = []
    pieces = one_of((b"a", b"abc", b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n", bytes(17)))
    for data in draw(st.lists(pieces, max_size=3)):
        size = draw(one_of(("%x", "%x", "%X", "00%x", "%025x"))) % len(data)
        parts += (pick("size", st.just(size.encode())), pick("extension", EXTENSIONS), b"\r\n", data, b"\r\n")
    parts += (draw(one_of((b"0", b"0", b"0000"))), pick("extension", EXTENSIONS), b"\r\n")
    for _ in range(draw(st.integers(0, 2))):
        parts.append(pick("trailer", field_lines(one_of((b"A", b"ETag", b"x-host")))))
    return b"".join((*parts, b"\r\n"))


@st.composite
def grammatical(draw):
    """Octets of a request that is right, or wrong in one place, and of what may follow it."""
    odd = draw(one_of((*NEAR, *[None] * 2 * len(NEAR))))

    def pick(place, right):
        return draw(NEAR[place] if place == odd else right)

    method, target = pick("method", METHODS), pick("target", TARGETS)
    if method == b"CONNECT" or odd == "authority":
        method, target = b"CONNECT", pick("authority", one_of((b"a:443", b"[::1]:80", b"a:080")))
    elif method == b"OPTIONS":
        target = draw(one_of((b"*", target)))
    version = pick("version", one_of((b"1.1", b"1.1", b"1.1", b"1.0", b"1.2", b"1.9")))
    fields = [pick("field", field_lines()) for _ in range(draw(st.integers(odd == "field", 4)))]
    if version != b"1.0" or draw(st.booleans()):
        host = field_lines(cased(b"Host"), NEAR["host"] if odd == "host" else HOSTS)
        fields.insert(draw(st.integers(0, len(fields))), draw(host))
    kinds = ["none", "none", "length", "chunked" if version != b"1.0" else "length"]
    kind = {"length": "length", "coding": "chunked", "size": "chunked", "extension": "chunked",
            "trailer": "chunked"}.get(odd) or draw(one_of(kinds))  # fmt: skip
    body = b""
    if kind == "length":
        body = draw(one_of((b"", b"a", b"a=b&c=d", b"GET / HTTP/1.1\r\n\r\n")))
        length = draw(one_of((b"%d", b"%d", b"%d", b"00%d", b"%030d"))) % len(body)
        line = draw(field_lines(cased(b"Content-Length"), NEAR["length"] if odd == "length" else st.just(length)))
        fields += [line] * draw(one_of((1, 1, 1, 1, 2)))
    elif kind == "chunked":
        body = chunked_body(draw, pick)
        coding = NEAR["coding"] if odd == "coding" else one_of((b"chunked", b"chunked", b"Chunked"))
        fields.append(draw(field_lines(cased(b"Transfer-Encoding"), coding)))
    begin = draw(one_of((b"", b"", b"", b"", b"", b"\r\n")))
    end = draw(one_of((b"", b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n", b"\r\n", b"\x00rest")))
    return b"".join((begin, method, b" ", target, b" HTTP/", version, b"\r\n", *fields, b"\r\n", body, end))


# ---------------------------------------------------------------- mutation

PIECES = one_of((
    b"\r", b"\n", b"\r\n", b"\n\n", b" ", b"\t", b":", b": ", b",", b", ", b";", b"/", b"//", b".", b"#", b"@", b"%",
    b"[", b"]", b"*", b"\"", b"\\", b"+", b"0", b"1", b"9", b"_", b"-", b"x", b"\x00", b"\x01", b"\x0b", b"\x0c",
    b"\x1c", b"\x1f", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff", b"HTTP/1.1", b"HTTP/1.0", b" HTTP/2.0\r\n",
    b"\r\n folded", b"\r\nA:", b"\r\n\r\n", b"chunked", b"gzip, ", b"identity", b";q=1", b"99999999999999999999",
    b"0x", b":99999", b"a b", b"http://", b"u@", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: a\r\n",
    b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Content-Length: 7\r\n", b"Content-Length: 3, 3\r\n",
    b"Content-Length : 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Host: b\r\n", b"Host: \r\n", b"Host:a/b\r\n", b"Name: value\r\n",
    b"no colon\r\n", b" first\r\n", b"A:\r\n" * 99))  # fmt: skip


@st.composite
def mutated(draw, data):
    """`data` with one change, of octets or of lines."""
    kind = draw(st.integers(0, 9))
    if kind <= 5 and data:
        marks = [found.start() for found in re.finditer(rb"[^A-Za-z]", data)]  # most of what matters is about these
        at = draw(one_of(marks)) if marks and draw(st.booleans()) else draw(st.integers(0, len(data)))
        if kind == 0:
            return data[:at] + data[at + draw(st.integers(1, 4)):]
        if kind <= 2:
            return data[:at] + draw(PIECES) + data[at:]
        if kind == 3:
            return data[:at] + draw(PIECES) + data[at + 1:]
        if kind == 4:
            return data[:at] + bytes((draw(st.integers(0, 255)),)) + data[at + 1:]
        return data[:at] + data[at:at + 12].swapcase() + data[at + 12:]
    lines = data.splitlines(keepends=True) or [b""]
    at = draw(st.integers(0, len(lines) - 1))
    if kind == 6:
        lines[at:at] = [draw(field_lines())]
    elif kind == 7:
        lines[at:at + 1] = [lines[at]] * draw(one_of((0, 2, 2, 3)))
    elif kind == 8:
        lines[at:at + 1] = [draw(one_of(lines))]
    else:
        lines[at] = draw(PIECES) + lines[at] if draw(st.booleans()) else lines[at].rstrip(b"\r\n") + draw(PIECES)
    return b"".join(lines)


SEEDS = (*CLIENTS, *corpus())


@st.composite
def requests(draw):
    data = draw(one_of(SEEDS)) if draw(st.integers(0, 5)) == 0 else draw(grammatical())
    for _ in range(draw(one_of((0, 0, 0, 1, 1, 1, 2, 3)))):
        data = draw(mutated(data))
    return data[:LARGEST]


sizes = st.lists(one_of((1, 2, 3, 10, 33, 64, 100)), min_size=1, max_size=5)
