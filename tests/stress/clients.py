"""Clients of a server under stress: good ones, whose answers must be right, and those that no server would wish for.

Each is a function of a Visit, one connection or a few, and returns how it ended, for the report; it raises
Wrong when the server did what it must not. `good` and `bad` hold them with their weights. The paths are those of
handlers.py. What must come back for a malformed request is in malformed.py.
"""
import contextlib
import dataclasses
import http.client
import random
import re
import select
import socket
import struct
import time
import zlib

from . import conversations, malformed
from .conversations import payload

#: Seconds that a deadline may be late, on a machine that has other things to do.
SLACK = 5.0

#: The same where the one thread may be in a handler that waits for its client.
SLACK_SINGLE = 20.0

#: Seconds for an answer to a good request; what a server does that has a hundred others.
PATIENCE = 30.0

STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [0-9]{3} ")

good, bad = {}, {}


class Wrong(AssertionError):
    """The server did what it must not."""


def demand(truth, what):
    if not truth:
        raise Wrong(what)


@dataclasses.dataclass
class Client:
    run: object
    weight: int
    occupies: bool      # a thread of the server until a deadline: one that has a single thread sees few of these
    applications: bool  # whether a WSGI application can be asked for it


def client(kind, weight, occupies=False, applications=True):
    def note(function):
        kind[function.__name__] = Client(function, weight, occupies, applications)
        return function
    return note


class Visit:
    """What a client gets: whom it talks to, its own random numbers, and the server's deadlines in seconds."""

    def __init__(self, address, seed, deadlines, server):
        self.address = tuple(address)
        self.seed = seed
        self.rng = random.Random(seed)
        self.deadlines = deadlines
        self.server = server
        self.wsgi = server == "wsgi"
        self.slack = SLACK_SINGLE if server == "single" else SLACK
        self.number = self.rng.randrange(10 ** 6)

    def __getattr__(self, name):
        return self.deadlines[name]

    @contextlib.contextmanager
    def connect(self, room=None):
        """A connected socket. room: octets that its kernel takes before the program does."""
        with socket.socket() as sock:
            if room:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            sock.settimeout(PATIENCE)
            sock.connect(self.address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield sock

    def get(self, path, *fields):
        return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Host: h", *fields, b"", b""])

    def post(self, path, length, *fields):
        return b"\r\n".join([b"POST %b HTTP/1.1" % path, b"Host: h", b"Content-Length: %d" % length, *fields, b"", b""])

    def path(self, what, size):
        return b"/%b/%d/%d" % (what.encode(), self.number, size)


def dribble(sock, data, pause, pieces=1, seconds=PATIENCE):
    """Send a few octets at a time. False if the other side has ended it meanwhile; Wrong after `seconds`."""
    end = time.monotonic() + seconds
    try:
        for at in range(0, len(data), pieces):
            demand(time.monotonic() < end, f"borne for more than {seconds:.1f} s")
            sock.sendall(data[at:at + pieces])
            if select.select([sock], [], [], pause)[0]:
                return False    # an answer before the request was whole, or the end
    except ConnectionError:
        return False
    return True


def until_end(sock, seconds):
    """(what still comes, how it ended): "closed" or "reset"; within `seconds`, or it is Wrong."""
    parts = []
    end = time.monotonic() + seconds
    while True:
        sock.settimeout(max(0.01, end - time.monotonic()))
        try:
            data = sock.recv(1 << 16)
        except ConnectionError:
            return b"".join(parts), "reset"
        except TimeoutError:
            raise Wrong(f"still open after {seconds:.1f} s; received {b''.join(parts)[-40:]!r}") from None
        if not data:
            return b"".join(parts), "closed"
        parts.append(data)


def body_statuses(visit):
    """Of a body that is not there in time; what an application lets out is a 500 of wsgiref's."""
    return (400, 408, 500) if visit.wsgi else (400, 408)


def refused(received, how, *statuses):
    """The outcome of a connection that a deadline or a malformed request ended: one answer at most."""
    if received:
        status = received[9:12]
        demand(received.startswith(b"HTTP/1.") and status.isdigit() and int(status) in statuses,
               f"{received[:100]!r} where {statuses} was due")
        demand(len(STATUS_LINE.findall(received)) == 1, f"more than one answer: {received[:1000]!r}")
        return status.decode()
    return how


# ---------------------------------------------------------------- good

@client(good, 30, applications=False)
def conversation(visit):
    conversations.Conversation(visit.seed, visit.address, visit.server not in ("single",), False).run()
    return "right"


def asking(visit, method, path, body=None, connection=None, **options):
    """One request by http.client and its answer, which must be a 200 for this path."""
    connection.request(method, path.decode(), body, **options)
    with connection.getresponse() as response:
        data = response.read()
        demand(response.status == 200, f"{response.status} for {path!r}")
        demand(response.getheader("X-Path") == path.decode(), f"{response.getheader('X-Path')!r} for {path!r}")
        return data


@client(good, 20)
def browser(visit):
    """Some requests, with pauses, on a connection that is kept where the server keeps it."""
    rng = visit.rng
    with contextlib.closing(http.client.HTTPConnection(*visit.address, timeout=PATIENCE)) as connection:
        for _ in range(rng.choice((1, 3, 10))):
            size = rng.choice((0, 13, 2000, 60000, 600000))
            kind = rng.choice(("plain-", "pieces-", "whole-", "many-"))
            data = asking(visit, "GET", visit.path(kind, size), connection=connection)
            demand(data == payload(visit.number, size), f"another body for {kind} {size}: {data[:60]!r}")
            time.sleep(rng.choice((0, 0, 0.01, 0.1)))
    return "right"


@client(good, 15)
def upload(visit):
    """Bodies, by length or in chunks, all read by the handler."""
    rng = visit.rng
    with contextlib.closing(http.client.HTTPConnection(*visit.address, timeout=PATIENCE)) as connection:
        for _ in range(rng.choice((1, 2, 5))):
            body = rng.randbytes(rng.choice((0, 1, 1000, 60000, 70000, 500000)))
            if rng.random() < 0.5:
                path, sent = visit.path("body-read", 0), body
                headers = {"Content-Length": str(len(body))}
            else:
                step = rng.choice((1000, 7000, 100000))
                path = visit.path("chunks-", 0)
                sent = [body[at:at + step] for at in range(0, len(body), step)]
                headers = {"Transfer-Encoding": "chunked"}
            data = asking(visit, "POST", path, sent, connection=connection, headers=headers,
                          encode_chunked=isinstance(sent, list))
            demand(data == b"%d %d" % (len(body), zlib.crc32(body)), f"{data!r} for {len(body)} octets to {path!r}")
    return "right"


@client(good, 5, applications=False)
def expecting(visit):
    """Expect: 100-continue, and the body only when it is asked for."""
    body = visit.rng.randbytes(visit.rng.choice((1, 3000, 100000)))
    with visit.connect() as sock:
        sock.sendall(visit.post(visit.path("body-read", 0), len(body), b"Expect: 100-continue"))
        with sock.makefile("rb") as file:
            line = file.readline()
            demand(line.split()[1:2] == [b"100"], f"{line!r} where 100 Continue was due")
            demand(file.readline() == b"\r\n", "fields in a 100 Continue")
        sock.sendall(body)
        right(sock, "POST", b"%d %d" % (len(body), zlib.crc32(body)))
    return "right"


def right(sock, method, body):
    """Read one answer, which must have this body."""
    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    data = response.read()
    demand(response.status == 200, f"{response.status} where 200 was due")
    demand(data == body, f"{data[:60]!r} ({len(data)}) where {body[:60]!r} ({len(body)}) was due")


@client(good, 3)
def slow_but_in_time(visit):
    """A head and a body octet by octet, within all deadlines."""
    body = visit.rng.randbytes(300)
    head = visit.post(visit.path("body-read", 0), len(body))
    with visit.connect() as sock:
        time.sleep(visit.idle / 3)
        demand(dribble(sock, head, visit.head / 3 / len(head)), "refused a slow head that was in time")
        demand(dribble(sock, body[:-1], visit.rate_after / 2 / len(body)), "refused a slow body that was in time")
        sock.sendall(body[-1:])
        right(sock, "POST", b"%d %d" % (len(body), zlib.crc32(body)))
    return "right"


@client(good, 3, occupies=True)
def slow_reader_in_time(visit):
    """An answer read slowly, but many times faster than turbo_min_rate, longer than each deadline; then at once."""
    size = 1 << 20
    with visit.connect(room=4096) as sock:
        sock.sendall(visit.get(visit.path(visit.rng.choice(("whole-", "many-")), size), b"Connection: close"))
        parts = []
        end = time.monotonic() + visit.write * 2 + visit.rate_after
        while time.monotonic() < end:
            parts.append(sock.recv(visit.min_rate))
            time.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(1 << 16):
                parts.append(data)
    received = b"".join(parts)
    demand(received.endswith(payload(visit.number, size)),
           f"only {len(received)} octets of {size} for a reader slow but in time")
    return "right"


@client(good, 3, applications=False)
def late(visit):
    """The handler returns before its answer is whole."""
    with visit.connect() as sock:
        size = visit.rng.choice((2, 3000, 50000))
        sock.sendall(visit.get(visit.path("late-", size)))
        right(sock, "GET", payload(visit.number, size))
    return "right"


# ---------------------------------------------------------------- bad: deadlines

@client(bad, 4)
def silent(visit):
    """Never an octet: closed without one, and not at once."""
    began = time.monotonic()
    with visit.connect() as sock:
        received, how = until_end(sock, visit.idle + visit.slack)
    demand(not received, f"{received[:100]!r} to a connection that asked nothing")
    demand(time.monotonic() - began > visit.idle * 0.9, "an idle connection was closed before its time")
    return how


@client(bad, 4, applications=False)
def idle(visit):
    """A good request, then nothing."""
    with visit.connect() as sock:
        sock.sendall(visit.get(visit.path("plain-", 13)))
        right(sock, "GET", payload(visit.number, 13))
        began = time.monotonic()
        received, how = until_end(sock, visit.idle + visit.slack)
    demand(not received, f"{received[:100]!r} after the last answer")
    demand(time.monotonic() - began > visit.idle * 0.9, "a kept connection was closed before its time")
    return how


@client(bad, 4)
def half_head(visit):
    head = visit.get(visit.path("plain-", 13), b"X-Filler: " + b"f" * visit.rng.choice((0, 5000)))
    with visit.connect() as sock:
        sock.sendall(head[:visit.rng.randrange(1, len(head))])
        return refused(*until_end(sock, visit.head + visit.slack), 408)


@client(bad, 4)
def slow_head(visit):
    """Always one more field."""
    with visit.connect() as sock:
        dribble(sock, visit.get(visit.path("plain-", 13), b"X-Filler: " + b"f" * 50000), visit.head / 100,
                seconds=visit.head + visit.slack)
        return refused(*until_end(sock, visit.slack), 408)


@client(bad, 4, occupies=True)
def half_body(visit):
    length = visit.rng.choice((10, 60000, 70000, 10 ** 7))
    with visit.connect() as sock:
        sock.sendall(visit.post(visit.path("body-read", 0), length))
        sock.sendall(b"x" * visit.rng.randrange(min(length, 66000)))
        return refused(*until_end(sock, max(visit.body, visit.rate_after) + visit.slack), *body_statuses(visit))


@client(bad, 4, occupies=True)
def slow_body(visit):
    """An octet now and then, much below turbo_min_rate."""
    with visit.connect() as sock:
        sock.sendall(visit.post(visit.path("body-read", 0), visit.rng.choice((50000, 10 ** 6))))
        dribble(sock, b"x" * 30000, 20 / visit.min_rate, seconds=visit.rate_after + visit.body + visit.slack)
        return refused(*until_end(sock, visit.slack), *body_statuses(visit))


def starved(visit, sock, size):
    """The server has given up an answer of `size`: it is short, and ends."""
    received, how = until_end(sock, visit.slack)
    demand(len(received) < size, "the server has waited too long for a reader")
    return how


@client(bad, 3, occupies=True)
def never_reads(visit):
    size, visit.number = 8 << 20, 1     # one answer for all, see handlers.shared
    with visit.connect(room=4096) as sock:
        sock.sendall(visit.get(visit.path(visit.rng.choice(("whole-", "many-")), size)))
        time.sleep(visit.write + visit.rate_after + SLACK)
        return starved(visit, sock, size)


@client(bad, 3, occupies=True)
def slow_reader(visit):
    size, visit.number = 8 << 20, 1
    with visit.connect(room=4096) as sock:
        sock.sendall(visit.get(visit.path(visit.rng.choice(("whole-", "many-")), size)))
        end = time.monotonic() + visit.write + visit.rate_after + SLACK
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end and sock.recv(max(1, visit.min_rate // 40)):
                time.sleep(0.1)
        return starved(visit, sock, size)


@client(bad, 2, applications=False)
def short(visit):
    """The handler sends less than it announced; the server waits for the next request."""
    with visit.connect() as sock:
        sock.sendall(visit.get(visit.path("short-", 1000)))
        received, how = until_end(sock, visit.idle + visit.slack)
    demand(received.endswith(b"\r\n\r\n" + b"x" * 500), f"{received[-60:]!r} for half an answer")
    return how


# ---------------------------------------------------------------- bad: requests

@client(bad, 15)
def malformed_request(visit):
    """What cannot be understood is refused with the right status, and nothing after it is a request."""
    case = visit.rng.choice(malformed.CASES)
    if visit.wsgi and case.name == "unknown method":
        return "left out"   # applications know all methods
    with visit.connect() as sock:
        data = case.octets + (visit.get(visit.path("plain-", 13)) if case.ends else b"")
        step = visit.rng.choice((len(data), len(data), max(1, len(data) // 7)))
        try:
            dribble(sock, data, 0.01 if step < len(data) else 0, step)
        except OSError:
            pass
        received, how = until_end(sock, visit.head + visit.slack)
    demand(received or not case.ends or 0 in case.statuses, f"{case.name}: {how} without an answer")
    try:
        return refused(received, how, *case.statuses)
    except Wrong as wrong:
        raise Wrong(f"{case.name}: {wrong}") from None


@client(bad, 10)
def reset(visit):
    """Ends at any octet, at any moment, without a good-bye."""
    rng = visit.rng
    requests = b"".join(rng.choice((
        visit.get(visit.path("plain-", 13)), visit.get(visit.path("many-", 300000)),
        visit.get(visit.path("sleep-", 3000)), visit.get(visit.path("chunked-sleep", 3000)),
        visit.post(visit.path("body-read", 0), 80000) + b"b" * 80000,
        visit.post(visit.path("body-none", 0), 9000) + b"b" * 9000)) for _ in range(rng.choice((1, 2, 10))))
    with visit.connect(room=rng.choice((None, 4096))) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(requests[:rng.randrange(len(requests) + 1)])
        time.sleep(rng.random() * 0.02)
        if rng.random() < 0.7:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "gone"


@client(bad, 5)
def unread_body(visit):
    """The handler does not read what is sent: dropped if it is little, else the connection ends."""
    length = visit.rng.choice((100, 60000, 200000, 2 << 20))
    with visit.connect() as sock:
        sock.sendall(visit.post(visit.path("body-none", 0), length))
        try:
            sock.sendall(b"GET / HTTP/1.1\r\n" * (length // 16) + b"x" * (length % 16))
            right(sock, "POST", b"0 %d" % zlib.crc32(b""))
            if length < 262144 and not visit.wsgi:
                sock.sendall(visit.get(visit.path("plain-", 13)))
                right(sock, "GET", payload(visit.number, 13))
                return "dropped"
            received, how = until_end(sock, visit.drain + visit.slack)
        except (ConnectionError, http.client.RemoteDisconnected):
            demand(length > 262144, f"reset instead of an answer, {length} octets unread")
            return "reset"
    demand(not received, f"{received[:100]!r} to an unread body")
    return how


@client(bad, 2)
def unread_and_slow(visit):
    """A body that nobody reads comes by and by."""
    with visit.connect() as sock:
        sock.sendall(visit.post(visit.path("body-none", 0), 100000) + b"b" * 66000)
        with contextlib.suppress(ConnectionError):
            right(sock, "POST", b"0 %d" % zlib.crc32(b""))
            dribble(sock, b"b" * 10000, visit.drain / 20)
        return until_end(sock, visit.drain + visit.slack)[1]


@client(bad, 2, applications=False)
def hangup(visit):
    """The handler ends the connection itself."""
    with visit.connect() as sock:
        sock.sendall(visit.get(visit.path(visit.rng.choice(("hangup-close", "hangup-shutdown")), 0)))
        received, how = until_end(sock, visit.slack)
    demand(not received, f"{received[:100]!r} from a handler that hung up")
    return how
