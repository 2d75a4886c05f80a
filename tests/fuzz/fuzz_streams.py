"""Fuzz target: rfile, against the standard library's io.

The input is a body, and at its end a program of reads: read, read1, readline, readlines, readinto, readinto1, peek, and
a turn of iteration, each with a size. The body comes with a Content-Length, in the chunked coding (decoded), or is a raw
stream of socketserver's; in either lane, each read has to give what io.BytesIO gives for the same octets, and at the
body's end all of it.
"""

import io
import socket

import driver
from lanes_rig import Blocking, Reactor

import turboserver.http.server as http_server
from turboserver import socketserver

SIZES = (0, 1, 2, 5, 17, 100, 1000, 5000, 16368, 16369, 70000, None, -1)


def play(rfile, body, program):
    """Runs the reads on both and compares."""
    model = io.BytesIO(body)
    for what, size in program:
        at = model.tell()
        number = -1 if size is None else size
        if what == 0:
            same(rfile.read(size), model.read(size), what, size)
        elif what == 1:
            same(rfile.readline(size), model.readline(size), what, size)
        elif what == 2:
            got = rfile.read1(number)
            assert got == model.read(len(got)), (what, size, got)
            assert got or number == 0 or at == len(body), "read1() gave nothing before the end"
            assert number < 0 or len(got) <= number
        elif what == 3:
            got = rfile.peek(number)
            assert got == body[at:at + len(got)], (what, size, got)
            assert got or at == len(body), "peek() gave nothing before the end"
        elif what == 4:
            ours, its = bytearray(max(number, 0)), bytearray(max(number, 0))
            same(rfile.readinto(ours), model.readinto(its), what, size)
            same(ours, its, what, size)
        elif what == 5:
            ours = bytearray(max(number, 0))
            got = rfile.readinto1(ours)
            assert bytes(ours[:got]) == model.read(got), (what, size, got)
            assert got or number <= 0 or at == len(body), "readinto1() gave nothing before the end"
        elif what == 6:
            same(rfile.readlines(size), model.readlines(size), what, size)
        else:
            same(next(rfile, None), next(model, None), what, size)
    same(rfile.read(), model.read(), "rest", None)
    same(rfile.read(1), b"", "end", 1)


def same(got, expected, what, size):
    assert got == expected, f"{what}({size}): {got!r}, not {expected!r}"


class Handler(http_server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    turbo_decode_chunked = True
    body, program = b"", ()
    played = 0

    def log_message(self, *args):
        pass

    def do_POST(self):
        Handler.played += 1
        play(self.rfile, Handler.body, Handler.program)
        self.send_response(204)
        self.end_headers()


class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        play(self.rfile, Handler.body, Handler.program)


LANES = (Reactor(Handler), Blocking(Handler))


def chunks(body, draw):
    parts = driver.pieces(body, draw)
    extensions = (b"", b"", b";a", b' ; b = "c;\\"d"')
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extensions[draw.number(4)], part) for part in parts) + b"0\r\n\r\n"


def one_input(octets):
    draw = driver.Draw(octets)
    kind = draw.number(3)
    Handler.program = [(draw.number(8), SIZES[draw.number(len(SIZES))]) for _ in range(draw.number(12))]
    longer = draw.number(64)
    cuts = driver.Draw(bytes(draw.number() for _ in range(16)))
    body = Handler.body = draw.rest() * (1 + (longer if longer > 32 else 0))
    if kind == 0:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            theirs.settimeout(20)
            ours.sendall(body)
            ours.shutdown(socket.SHUT_WR)
            Stream(theirs, None, None)
        return
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    if kind == 1:
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        request = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(body, cuts)
    # Behind it a request that nobody may read as a part of this one.
    sent = driver.pieces(request, cuts) + [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]
    for lane in LANES:
        Handler.played = 0
        answer = lane.exchange(sent)
        assert Handler.played == 1 and answer.startswith(b"HTTP/1.1 204 ") and b"HTTP/1.1 501 " in answer, (
            lane.name, Handler.played, answer)  # fmt: skip


if __name__ == "__main__":
    driver.main(one_input)
