"""The differential harness: one byte stream, one handler program, two backends, equal observations.

A *program* is a function (backend, seen) -> handler class; what the handler wants compared it appends to `seen`.
What is compared is the complete answer, the lines on stderr and `seen`, after `normalise_*` took out what no two
runs share: dates, client ports, addresses in memory, and the frames of tracebacks (the exceptions stay).
Intended differences stand in known_differences.py and nowhere else.
"""
import contextlib
import dataclasses
import io
import re

import known_differences
from support import exchange, has_turboserver, load_backend, respond, serving

_DATE = re.compile(rb"\r\nDate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")
_LOG_DATE = re.compile(r"\[\d\d/[A-Za-z]+/\d{4} \d\d:\d\d:\d\d\]")
_OWN_MONTH = re.compile(r"(\[\d\d/[^\]]*/\d{4}) \d\d:\d\d:\d\d\]")
_CLIENT = re.compile(r"\('127\.0\.0\.1', \d+\)")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


@dataclasses.dataclass
class Observation:
    """What one run looked like from outside and to the handler."""
    answer: bytes
    log: list
    seen: list


def normalise_answer(answer):
    return _DATE.sub(b"\r\nDate: (now)\r\n", answer)


def normalise_log(text):
    """Lines of stderr; of a traceback its first line and the exception are kept."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line.startswith(" "):
            continue
        else:
            inside = False
        line = _OWN_MONTH.sub(r"\1 now]", _LOG_DATE.sub("[now]", line))
        lines.append(_ADDRESS.sub("0x", _CLIENT.sub("(client)", line)))
    return lines


def split(data, how):
    """The pieces in which `data` is sent: whole, a byte at a time, or a line at a time."""
    if how == "bytes":
        return [data[i:i + 1] for i in range(len(data))]
    if how == "lines":
        return data.splitlines(keepends=True)
    return [data]


def observe(backend, program, data, *, server="ThreadingHTTPServer", chunking="whole", half_close=True,
            pause=0.0):
    """Serve `program` with `backend`, send `data`, and note everything until the server closed."""
    seen, stderr = [], io.StringIO()
    # Without daemon threads server_close() waits for the handlers, so nothing is missed.
    server_class = type("Server", (getattr(backend.http_server, server),), {"daemon_threads": False})
    pieces = data if isinstance(data, list) else split(data, chunking)
    with contextlib.redirect_stderr(stderr):
        with serving(server_class(("127.0.0.1", 0), program(backend, seen))) as running:
            answer = exchange(running, None, pieces=pieces, half_close=half_close, pause=pause)
    return Observation(normalise_answer(answer), normalise_log(stderr.getvalue()), seen)


def assert_same(case, program, data, *, chunkings=("whole",), server="ThreadingHTTPServer", servers=None, plainly=None,
                **options):
    """Observe both backends; equal, or different in the way known_differences.py says for `case`. servers: several
    classes, each of which is to do what the original's first one does (to a single client they are the same).
    plainly: what makes of our answer (bytes) one without what is meant to be there beyond the original's."""
    servers = servers or (server,)
    reference = observe(load_backend("stdlib"), program, data, server=servers[0], chunking=chunkings[0], **options)
    if not has_turboserver():
        again = observe(load_backend("stdlib"), program, data, server=servers[-1], chunking=chunkings[-1], **options)
        assert_equal(again, reference)
    backend = load_backend("turboserver")
    for name in servers:
        for chunking in chunkings:
            ours = observe(backend, program, data, server=name, chunking=chunking, **options)
            if plainly is not None:
                ours.answer = plainly(ours.answer)
            judge(case, reference, ours)


def judge(case, reference, ours):
    """Compare two observations in the light of the known differences."""
    difference = known_differences.of(case)
    if difference is None:
        assert_equal(ours, reference)
    else:
        assert ours != reference, f"no longer different: {difference.reason}"
        difference.check(reference, ours)


def assert_equal(ours, reference):
    """Field by field, so that pytest shows the first thing that differs."""
    assert ours.seen == reference.seen
    assert ours.log == reference.log
    assert ours.answer == reference.answer


# ---------------------------------------------------------------- programs

def recorder(protocol="HTTP/1.1", read_body=True, methods=("GET", "HEAD", "POST", "PUT"), **members):
    """A handler that notes all a handler can see of a request, and answers with the body it read."""
    def program(backend, seen):
        def record(self):
            length = self.headers.get("Content-Length") or ""
            body = self.rfile.read(int(length)) if read_body and length.isdigit() else b""
            seen.append((self.command, self.path, self.request_version, self.requestline, self.raw_requestline,
                         self.headers.items(), self.close_connection, body))
            respond(self, body or b"no body")

        namespace = {"protocol_version": protocol, **{"do_" + name: record for name in methods}, **members}
        return type("Recorder", (backend.http_server.BaseHTTPRequestHandler,), namespace)

    return program


def handling(do_GET, protocol="HTTP/1.1", **members):
    """A handler whose do_GET (and do_POST) is `do_GET(handler, seen)`."""
    def program(backend, seen):
        def do(self):
            do_GET(self, seen)

        namespace = {"protocol_version": protocol, "do_GET": do, "do_POST": do, **members}
        return type("Program", (backend.http_server.BaseHTTPRequestHandler,), namespace)

    return program


def handle_one_request(self):
    """As programs copy it from the standard library; it takes the connection out of the engine's hands."""
    self.raw_requestline = self.rfile.readline(65537)
    if not self.raw_requestline:
        self.close_connection = True
    elif self.parse_request():
        method = getattr(self, "do_" + self.command, None)
        if method is None:
            self.send_error(501, f"Unsupported method ({self.command!r})")
        else:
            method()
            self.wfile.flush()


#: Members of a handler class that has that method of its own.
IN_HAND = {"handle_one_request": handle_one_request}

#: What send_header() of ours does not take: whoever reads them might see another header in them, or none.
REFUSED_HEADERS = [("X-A", "1\r\nX-Injected: 2"), ("X-A", "1\nX-Injected: 2"), ("X-A", "1\rX-Injected: 2"),
                   ("X-A", "a\0b"), ("X-A", "\r\n"), ("X-A", "1\n"), ("X-A: 1\r\nX-Injected", "2"), ("X-\n", "2"),
                   ("X-\0", "2"), *(("X-A", chr(control)) for control in (1, 8, 11, 31, 127))]
