"""Random conversations with a server, each answer checked for content and order.

`Answers` makes the handler class: the path of a request says what its handler does, so that the client knows
what must come back. `Conversation` is one connection: 1 to 100 requests, sent in odd pieces with pauses, ended
by reading on, by a half-close, by a close or by a reset at any octet. Everything follows from a seed.

A handler that misbehaves (raises, closes, leaves its body) does what the standard library's would: the
connection ends, and what came before it is whole. Runs on both backends. Nothing here knows pytest.
"""
import io
import random
import socket
import struct
import threading
import time
import zlib

#: Seconds without an octet after which an answer is taken to be lost.
PATIENCE = 20.0

#: What makes handlers end without an answer, by name.
ENDINGS = {"value": ValueError, "exit": SystemExit, "generator": GeneratorExit, "pipe": BrokenPipeError}

#: Endings that leave serve_forever() of a server without threads.
FATAL = ("exit", "generator")


def payload(number, size):
    """`size` octets that no other request of a conversation has."""
    unit = b"<%d>" % number
    return (unit * (size // len(unit) + 1))[:size]


def answers(base, protocol="HTTP/1.1", kept=None):
    """A handler class on `base` (a BaseHTTPRequestHandler). kept: a list that handlers are put into."""

    class Answers(base):
        protocol_version = protocol

        def log_message(self, *args):
            pass

        def begin(self, length=None, close=False):
            self.send_response(200)
            if length is None:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", length)
            if close:
                self.send_header("Connection", "close")
            self.send_header("X-Path", self.path)
            self.end_headers()

        def route(self):
            _, what, number, size = self.path.split("/")
            if kept is not None and int(number) % 3 == 0:
                kept.append(self)
                del kept[:-50]
            getattr(self, "on_" + what.partition("-")[0])(what.partition("-")[2], int(number), int(size))

        do_GET = do_POST = do_ODD = route

        # ---- what a path may ask for

        def on_plain(self, how, number, size):
            self.begin(size)
            self.wfile.write(payload(number, size))

        def on_pieces(self, how, number, size):
            self.begin(size)
            data = memoryview(payload(number, size))
            for start in range(0, size, 997):
                self.wfile.write(data[start:start + 997])
                if how == "flush":
                    self.wfile.flush()
                elif how == "sleep" and start % 7 == 0:
                    time.sleep(0.0007)

        def on_chunked(self, how, number, size):
            self.begin()
            for start in range(0, size, 500):
                piece = payload(number, size)[start:start + 500]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if how == "sleep":
                    time.sleep(0.001)
            self.wfile.write(b"0\r\n\r\n")

        def on_sleep(self, how, number, size):
            time.sleep(size / 1e6)
            self.on_plain(how, number, 100)

        def on_body(self, how, number, size):
            """read: the whole body; part, none: not all of it, which must not become a request."""
            length = int(self.headers["Content-Length"])
            want = {"read": length, "part": length // 2, "none": 0}[how]
            got = self.rfile.read(want)
            answer = b"%d %d" % (len(got), zlib.crc32(got))
            self.begin(len(answer))
            self.wfile.write(answer)

        def on_lines(self, how, number, size):
            left, crc = int(self.headers["Content-Length"]), 0
            while left:
                line = self.rfile.readline(min(left, 300))
                left -= len(line)
                crc = zlib.crc32(line, crc)
                if not line:
                    break
            answer = b"%d" % crc
            self.begin(len(answer))
            self.wfile.write(answer)

        def on_socket(self, how, number, size):
            """The socket itself is used between what wfile writes."""
            self.begin(size)
            data = payload(number, size)
            self.wfile.write(data[:size // 3])
            self.connection.sendall(data[size // 3:size // 2])
            self.wfile.write(data[size // 2:])

        def on_threads(self, how, number, size):
            """Others read the request and write the answer, one after the other."""
            seen = []

            def look():
                seen.append((self.path, self.command, self.headers["Host"], self.client_address[0]))

            def write():
                self.begin(size)
                self.wfile.write(payload(number, size))

            for target in (look, write, look):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
            assert seen[0] == seen[1], seen

        def on_wrapped(self, how, number, size):
            self.begin(size)
            text = io.TextIOWrapper(self.wfile, encoding="latin-1", newline="")
            text.write(payload(number, size).decode("latin-1"))
            text.flush()
            text.detach() if hasattr(self.wfile, "raw") else None

        def on_close(self, how, number, size):
            self.begin(size, close=True)
            self.wfile.write(payload(number, size))

        def on_raise(self, how, number, size):
            raise ENDINGS[how]("asked for")

    return Answers


class Request:
    """One request of a conversation: its octets, and what must come back."""

    def __init__(self, rng, number, threaded, reads_all, last=False):
        self.number = number
        self.ends = False       # the server closes after it
        self.answer = b""       # the body of the answer; None: there is no answer
        kind = rng.choices(
            ("plain", "pieces", "chunked", "sleep", "body", "lines", "socket", "threads", "close", "raise"),
            (40, 8, 5, 3, 14, 5, 4, 3, 1, 1))[0]
        how, body, size = "", b"", rng.choice((0, 1, 13, 300, 2000, 20000))
        method, extra = rng.choice(("GET", "POST", "ODD")), b""
        if kind == "pieces":
            how = rng.choice(("", "flush", "sleep"))
        elif kind == "chunked":
            how = rng.choice(("", "sleep"))
        elif kind == "sleep":
            size = rng.choice((50, 400, 1500, 4000))
        elif kind in ("body", "lines"):
            how = rng.choice(("read", "part", "none")) if kind == "body" else ""
            if how and (reads_all or last):
                how = "read"    # what is unread when a socket closes may take the answers with it
            body = rng.randbytes(rng.choice((0, 1, 100, 5000, 70000)))
            if rng.random() < 0.5:
                extra = b"X-Filler: " + b"f" * rng.randrange(9000) + b"\r\n"
        elif kind == "raise":
            how = rng.choice([name for name in ENDINGS if threaded or name not in FATAL])
        self.path = f"/{kind}-{how}/{number}/{size}".encode()
        self.octets = b"".join((
            method.encode(), b" ", self.path, b" HTTP/1.1\r\nHost: h\r\n", extra,
            b"Content-Length: %d\r\n" % len(body) if body or kind in ("body", "lines") else b"",
            b"Connection: close\r\n" if last else b"", b"\r\n", body))
        if kind == "body":
            got = body[:{"read": len(body), "part": len(body) // 2, "none": 0}[how]]
            self.answer = b"%d %d" % (len(got), zlib.crc32(got))
        elif kind == "lines":
            self.answer = b"%d" % zlib.crc32(body)
        elif kind == "raise":
            self.answer = None
        else:
            self.answer = payload(number, 100 if kind == "sleep" else size)
        self.ends = last or kind in ("close", "raise")


class Conversation:
    """One connection. run() raises AssertionError if what came back is not what must."""

    def __init__(self, seed, address, threaded, reads_all):
        rng = self.rng = random.Random(seed)
        self.seed = seed
        self.address = address
        count = rng.choice((1, 2, 3, 5, 10, 30, 100))
        self.ending = rng.choices(("read", "half", "close", "reset"), (6, 2, 1, 1))[0]
        self.requests = []
        for number in range(count):
            request = Request(rng, number, threaded, reads_all, number == count - 1 and self.ending == "read")
            self.requests.append(request)
            if request.ends:
                break

    def run(self):
        rng = self.rng
        data = b"".join(request.octets for request in self.requests)
        if self.ending in ("close", "reset"):
            data = data[:rng.randrange(len(data) + 1)]
        self.problem = None
        with socket.socket(socket.AF_INET) as sock:
            if rng.random() < 0.2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(PATIENCE)
            sock.connect(self.address)
            sender = threading.Thread(target=self.send, args=(sock, data))
            sender.start()
            try:
                received = self.receive(sock, sender)
            finally:
                sender.join()
        self.check(received)

    def send(self, sock, data):
        rng = random.Random(self.seed + 1)
        style = rng.choice(("whole", "odd", "bytes"))
        at = 0
        try:
            while at < len(data):
                n = {"whole": len(data), "odd": rng.choice((1, 2, 17, 400, 5000, 40000)),
                     "bytes": 1 if at < 300 else 20000}[style]
                sock.sendall(data[at:at + n])
                at += n
                if style != "whole" and rng.random() < 0.1:
                    time.sleep(rng.choice((0, 0.0005, 0.002)))
            if self.ending == "half":
                sock.shutdown(socket.SHUT_WR)
            elif self.ending in ("close", "reset"):
                if rng.random() < 0.7:
                    time.sleep(rng.random() * 0.01)
                if self.ending == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass    # the server has ended it; what came back says whether it may

    def receive(self, sock, sender):
        rng = random.Random(self.seed + 2)
        parts = []
        if self.ending in ("close", "reset"):
            sender.join()
            sock.setblocking(False)
        try:
            while data := sock.recv(rng.choice((1, 100, 65536)) if len(parts) < 200 else 1 << 20):
                parts.append(data)
        except (ConnectionError, BlockingIOError):
            pass
        except TimeoutError:
            self.problem = "nothing came any more"
        return b"".join(parts)

    def check(self, received):
        at = 0
        for request in self.requests:
            if request.answer is None:
                break
            head, blank, _ = received[at:].partition(b"\r\n\r\n")
            if not blank:
                break
            lines = head.split(b"\r\n")
            fields = dict(line.split(b": ", 1) for line in lines[1:])
            self.demand(lines[0].endswith(b" 200 OK"), f"status {lines[0]!r} for {request.path!r}")
            self.demand(fields[b"X-Path"] == request.path, f"{fields[b'X-Path']!r} for {request.path!r}")
            at += len(head) + 4
            if b"Transfer-Encoding" in fields:
                body, at, complete = unchunk(received, at)
            else:
                length = int(fields[b"Content-Length"])
                body, complete = received[at:at + length], len(received) >= at + length
                at += length
            if not complete:
                self.demand(request.answer.startswith(body), f"octets of another answer in {request.path!r}")
                at = None
                break
            self.demand(body == request.answer, f"{body[:40]!r} ({len(body)}) is no answer to {request.path!r}"
                                                f" ({len(request.answer)})")
            request.answered = True
        else:
            self.demand(at == len(received), f"{received[at:at + 60]!r} after the last answer")
            return
        if self.ending in ("read", "half"):
            self.demand(request.answer is None and at is not None and not received[at:],
                        f"no whole answer to {request.path!r}, {self.ending}, {len(received)} octets")

    def demand(self, truth, what):
        if not truth:
            raise AssertionError(f"conversation {self.seed}: {what}; {self.problem or 'the connection ended'}; "
                                 f"request {[r.path for r in self.requests].index(self.requests[-1].path)} last")


def unchunk(data, at):
    """(body, where it ends, whether it is complete)"""
    parts = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return b"".join(parts), at, False
        size = int(data[at:end], 16)
        parts.append(data[end + 2:end + 2 + size])
        at = end + 2 + size + 2
        if at > len(data):
            return b"".join(parts), at, False
        if size == 0:
            return b"".join(parts), at, True


def hold(address, seeds, threaded, clients=6, reads_all=False):
    """Hold the conversations of `seeds`, `clients` at a time. (count, problems)

    threaded: handlers may raise what would end a server without threads. reads_all: every handler reads its
    whole body, for servers that take the rest of one for the next request.
    """
    seeds = iter(seeds)
    taking = threading.Lock()
    problems, held = [], [0]

    def client():
        while not problems:
            with taking:
                seed = next(seeds, None)
                held[0] += seed is not None
            if seed is None:
                return
            try:
                Conversation(seed, address, threaded, reads_all).run()
            except Exception as problem:
                problems.append(f"{seed}: {type(problem).__name__}: {problem}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return held[0], problems
