"""Fuzz target: what a handler answers with: send_response(), send_header(), end_headers(), send_error(), wfile.

The input is a program of such calls with strings of any kind. Both lanes have to send the same octets, but for the date,
and to raise the same exceptions. And no string makes a line of the head into two: CR, LF and NUL in a name or a value
are a ValueError; each line that is there was asked for.
"""

import re

import driver
from lanes_rig import Blocking, Reactor

import turboserver.http.server as http_server

DATE = re.compile(rb"\r\nDate: [^\r]*")
WORDS = ("Content-Length", "Transfer-Encoding", "Connection", "close", "keep-alive", "chunked", "5", "X", "Date",
         "Server", "Content-Type", "text/plain")  # fmt: skip
CODES = (200, 204, 304, 100, 103, 404, 500, 999, 0, 206, 301, 417)


class Handler(http_server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    program = ()
    raised = []
    lines = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.raised.clear()
        self.lines.clear()
        for what, *arguments in Handler.program:
            try:
                if what == "write":
                    self.wfile.write(*arguments)
                elif what == "header":
                    # Before: a Connection that is no string is added, and then an AttributeError, as in the original.
                    self.lines.append("{}: {}".format(*arguments).encode("latin-1", "replace"))
                    self.send_header(*arguments)
                else:
                    getattr(self, what)(*arguments)
            except (ValueError, TypeError, AttributeError, OverflowError, LookupError) as error:
                self.raised.append((what, type(error)))
        self.close_connection = True

    do_HEAD = do_GET


LANES = (Reactor(Handler), Blocking(Handler))


def text(draw):
    """A string: a word, octets as they are, or code points beyond them."""
    kind = draw.number(8)
    if kind < 3:
        return WORDS[draw.number(len(WORDS))]
    octets = draw.take(draw.number(24)).decode("latin-1")
    if kind == 3:
        return octets + "\u20ac"
    if kind == 4:
        return octets + "\ud800"
    return octets


def program_of(draw):
    program, room = [], 200000  # octets that nobody reads before the handler has ended
    while draw and len(program) < 40:
        what = draw.number(10)
        if what < 4:
            program.append(("header", text(draw), text(draw) if draw.number(4) else draw.number()))
        elif what == 4:
            program.append(("send_response", CODES[draw.number(len(CODES))], *([text(draw)] if draw.number(2) else [])))
        elif what == 5:
            program.append(("send_response_only", CODES[draw.number(len(CODES))]))
        elif what == 6:
            program.append(("end_headers",))
        elif what == 7:
            program.append(("flush_headers",))
        elif what == 8:
            octets = draw.take(draw.number(64)) * (1 + draw.number() * draw.number(40))
            program.append(("write", octets[:max(room, 0)]))
            room -= len(octets)
        else:
            program.append(("send_error", CODES[draw.number(len(CODES))], text(draw), text(draw)))
    return program


def check_head(program, answer):
    """One head and nothing else: its lines are those that were asked for."""
    for octet in b"\r\n\0":
        for what, *arguments in program:
            if what == "header" and chr(octet) in f"{arguments[0]}{arguments[1]}":
                assert ("header", ValueError) in Handler.raised or Handler.raised, "a control octet in a header"
    calls = [what for what, *_ in program]
    if calls[:1] != ["send_response"] or calls.count("end_headers") != 1 or set(calls) - {
            "send_response", "header", "end_headers", "write"} or calls.count("send_response") > 1:  # fmt: skip
        return
    if Handler.raised and Handler.raised[0][0] != "header":
        return
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    before = calls[:calls.index("end_headers")]
    if "write" in before:  # what a handler writes by itself is its own
        return
    assert len(head) <= 3 + before.count("header"), head
    for line in head[3:]:
        assert line in Handler.lines, line
    for line in head:
        assert not set(line) & set(b"\r\n\0"), line


def one_input(octets):
    draw = driver.Draw(octets)
    request = b"HEAD" if draw.number(8) == 0 else b"GET"
    request += b" / HTTP/1.%d\r\nHost: a\r\n\r\n" % (draw.number(8) > 0)
    program = Handler.program = program_of(draw)
    seen = []
    for lane in LANES:
        answer = lane.exchange([request])
        if request[:3] == b"GET":
            check_head(program, answer)
        seen.append((DATE.sub(b"", answer), list(Handler.raised)))
    assert seen[0] == seen[1], f"{program}\n  reactor:  {seen[0]}\n  blocking: {seen[1]}"


if __name__ == "__main__":
    driver.main(one_input)
