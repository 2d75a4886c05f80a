"""The seeds of the fuzz targets: made from tests/corpus, so that no input lies here twice.

`of(target)` yields (file name, octets). What each target reads behind the octets of HTTP stands in its own comment.
"""

import re
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "requests"

BODIES = {
    "none": b"0\r\n\r\n",
    "hello": b"5\r\nhello\r\n0\r\n\r\n",
    "two": b"5;name=value;x=\"a;b\"\r\nhello\r\n6 ; y\r\n world\r\n000\r\n\r\n",
    "quoted": b"1;a=\"\\\"\\\\\t \x80\"\r\nx\r\n0\r\n\r\n",
    "trailers": b"1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nA: b\r\nC:\t\x80\r\n\r\n",
    "forbidden": b"0\r\nX: y\r\nContent-Length: 5\r\n\r\n",
    "large": b"7fffffffffffffff\r\nabc",
    "overflow": b"8000000000000000\r\n",
    "next": b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "long": b"1;" + b"a" * 4092 + b"\r\nx\r\n" + b"1;" + b"a" * 4091 + b"\r\nx\r\n0\r\n\r\n",
    "much": b"0\r\n" + b"Name: value\r\n" * 630 + b"\r\n",
}


def requests():
    """(name, octets) of each case of tests/corpus, what follows the head included."""
    for path in sorted(CORPUS.glob("*.txt")):
        text = b"".join(line[2:] for line in path.read_bytes().splitlines() if line[:1] in (b">", b"+"))
        yield path.stem, re.sub(
            rb"\\(?:x([0-9a-fA-F]{2})|(.))",
            lambda m: bytes([int(m[1], 16)]) if m[1] else {b"r": b"\r", b"n": b"\n", b"t": b"\t"}.get(m[2], m[2]),
            text,
        )


def scan():
    for name, octets in requests():
        yield name, octets + bytes([0, 1, 2, 3])
        yield name + "-line", octets + bytes([2, 1, 2, 3])
        line, _, fields = octets.partition(b"\n")
        yield name + "-fields", fields + bytes([3 | len(line) % 2 << 2, 1, 2, 3])
        yield name + "-small", octets + bytes([0x28, 5, 2, 3])


def chunked():
    for name, octets in BODIES.items():
        yield name, octets + bytes([3, 2, 1])


def literal(octets):
    """Operations of the connection target: these octets are queued."""
    return b"".join(bytes([0, len(part) - 1]) + part
                    for part in (octets[i:i + 256] for i in range(0, len(octets), 256)))  # fmt: skip


def conn():
    send, serve, half_close, check = b"\x03\x00", b"\x04", b"\x07", b"\x0b"
    for name, octets in requests():
        ops = literal(octets)
        yield name, b"\x00" + ops + send + serve + check
        if len(octets) < 400:
            yield name + "-pieces", b"\x21" + ops + (b"\x03\x07" + serve) * (len(octets) // 7 + 1) + half_close + check
    for name, octets in BODIES.items():
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        ops = literal(head + octets)
        yield "body-" + name, b"\x00" + ops + send + serve + check + b"\xff\x0f\x03" * 4
        yield "body-" + name + "-later", b"\x02" + literal(head) + send + serve + literal(octets) + send + serve + check
    for template in range(18):
        do = bytes([1, template])
        yield f"template-{template}", b"\x00" + do * 3 + send + serve + check + bytes(range(template, 250, 16))
        yield f"template-{template}-slow", b"\x11" + (do + b"\x03\x10" + serve) * 3 + b"\x0a\x05" + serve + check
    again = b"\x01\x00" + send + serve + check
    for name, octets in (
        ("length", b"\x01\x05\x02\xff\x02\x00"),
        ("chunk", b"\x01\x07\x02\x4f\x01\x10"),
        ("awaited", b"\x01\x11\x02\x7f"),
        ("long", b"\x01\x06\x02\xff\x02\xff" + send + serve + b"\x02\xff\x02\xff" + send + serve + b"\x02\x93"),
    ):
        for settings in (0, 1, 4, 0x40):
            yield f"whole-{name}-{settings}", bytes([settings]) + octets + send + serve + again
            yield f"whole-{name}-{settings}-read", bytes([settings]) + octets + send + serve + again + b"\x08\x00" * 9
    yield "blocked", b"\x04\x01\x00\x01\x07\x02\x08" + send + serve + b"\x02\x46\x01\x10" + again + b"\x2d\x04"
    yield "row", b"\x04" + b"\x01\x00" * 40 + send + b"\x05" * 10 + b"\x06\x03" * 4 + check
    yield "many", b"".join(b"\x09" + bytes([i]) + b"\x01\x00" + send for i in range(4)) + serve + check
    yield "reset", b"\x00\x01\x06" + send + serve + b"\x08" + serve + check + b"\x7f" * 9
    yield "stop", b"\x10\x01\x02" + send + b"\x05\x09\x01\x01\x00" + send + b"\x0c" + b"\x7f" * 9
    yield "idle", b"\x30\x01\x00" + send + serve + b"\x0a\x06" + serve + b"\x0a\x06" + serve


def of(target):
    if target in globals() and target in ("scan", "chunked", "conn"):
        yield from globals()[target]()
    else:
        for name, octets in requests():
            yield name, octets
        for name, octets in BODIES.items():
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            yield "body-" + name, head + octets
