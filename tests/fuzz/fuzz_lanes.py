"""Fuzz target: requests, as the lanes read them.

The input is what a client sends, and at its end some octets that say in which pieces. The reactor lane and the blocking
lane have to give the same answers, octet by octet but for the date, and their handlers have to have seen the same
requests: method, path, version, headers, body. There is one reading of a request, or there are smugglers.

One difference is meant: a small body is awaited and checked before the handler in the reactor lane, and as far as it has
come with the head in the other. So if a body is cut short or malformed, the last answer may be another one.
"""

import re

import driver
from lanes_rig import Blocking, Reactor

import turboserver.http.server as http_server

DATE = re.compile(rb"\r\nDate: [^\r]*")


class Handler(http_server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        body = self.rfile.read() if self.path[:5] != "/left" else b""
        self.seen.append((self.command, self.path, self.request_version, self.headers.items(), body))
        answer = b"%d %d" % (len(self.seen), len(body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_HEAD = do_POST = do_PUT = do_OPTIONS = do_GET

    def do_CONNECT(self):
        self.seen.append((self.command, self.path, self.rfile.read()))
        self.send_response(200)
        self.end_headers()
        self.close_connection = True


class Decoding(Handler):
    turbo_decode_chunked = True


PAIRS = [(Reactor(handler), Blocking(handler)) for handler in (Handler, Decoding)]


def observe(lane, octets):
    Handler.seen.clear()
    answer = DATE.sub(b"", lane.exchange(octets))
    return answer, list(Handler.seen)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BAD_BODY = re.compile(rb"HTTP/1\.\d 400 (?:Incomplete body|Invalid chunked body)\r\n")


def agree(one, other):
    """Whether the lanes have said and seen the same, as far as they have to."""
    if one == other:
        return True
    if not any(BAD_BODY.search(answer) for answer, _ in (one, other)):
        return False
    # Half of a chunk's size came with the head, or alone: who has some of a body may still say 100, and need not.
    one, other = ((answer.replace(CONTINUE, b""), seen) for answer, seen in (one, other))
    (answer, seen), (other_answer, other_seen) = sorted((one, other), key=lambda observed: len(observed[1]))
    before = answer.rpartition(b"HTTP/1.1 ")[0]
    return other_seen[:len(seen)] == seen and len(other_seen) <= len(seen) + 1 and other_answer.startswith(before)


def one_input(octets):
    draw = driver.Draw(octets)
    pair = PAIRS[draw.number(2)]
    how = [draw.number() for _ in range(8)] if draw.end > 16 else []
    octets = draw.rest()
    whole = [octets] if octets else []
    reactor, blocking = pair
    expected = observe(blocking, whole)
    for sent in ([whole, driver.pieces(octets, driver.Draw(bytes(how)))] if how else [whole]):
        got = observe(reactor, sent)
        assert agree(got, expected), f"{sent!r}:\n  reactor:  {got}\n  blocking: {expected}"


if __name__ == "__main__":
    driver.main(one_input)
