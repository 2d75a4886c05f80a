"""Asks a server what its scenario will ask and judges the answers, before any of them counts.

Each function of CHECKS takes a port and whether the connection must be kept, and returns the octets of one answer (head
and body), or None where loads check each answer themselves. RuntimeError says what was wrong.
"""

import contextlib
import re
import socket
import ssl
import time
import zlib

BODY = b"Hello, World!"
BULK = 10 * 2**20  # octets, both ways
TIMES = 3  # on one connection
SECONDS = 5  # for an answer
#: What a server of files serves: 1 MiB of which no two lines are the same.
FILE = b"".join(b"%07d\n" % number for number in range(2**17))

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BROWSER = (
    b"GET /articles/2026/how-a-request-travels?page=2 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0\r\n"
    b"Accept: */*\r\nAccept-Language: en-GB,en;q=0.7\r\nCookie: session=4f1c2a9be07d4d55a1b7c3; theme=dark\r\n\r\n"
)


class SecurePort(int):
    """A port at which connections are TLS; whose certificate it is does not matter."""


class Client:
    """One connection, and what was read of it beyond the last answer."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", int(port)), SECONDS)
        if isinstance(port, SecurePort):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.read = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def more(self) -> bool:
        """Read on; False at the end."""
        piece = self.socket.recv(2**18)
        self.read += piece
        return bool(piece)

    def answer(self) -> tuple[int, bool, bytes, int]:
        """(status, whether the server keeps the connection, body, octets of head and body)"""
        while b"\r\n\r\n" not in self.read:
            if not self.more():
                raise RuntimeError(f"the connection ended without an answer, after {self.read[:60]!r}")
        head, _, _ = self.read.partition(b"\r\n\r\n")
        start = re.match(rb"HTTP/1\.([01]) (\d{3})", head)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not start or not length:
            raise RuntimeError(f"no status or no Content-Length: {head[:80]!r}")
        octets = len(head) + 4 + int(length[1])
        while len(self.read) < octets:
            if not self.more():
                raise RuntimeError(f"the answer ended after {len(self.read)} of {octets} octets")
        body, self.read = self.read[len(head) + 4 : octets], self.read[octets:]
        connection = re.search(rb"(?i)\r\nconnection: *([\w-]+)", head)
        says = connection[1].lower() if connection else b""
        kept = says == b"keep-alive" if start[1] == b"0" else says != b"close"
        return int(start[2]), kept, body, octets


def exchange(port: int, request: bytes, keeps: bool, body: bytes | None, length: int | None = None) -> int:
    """TIMES requests, each answered by 200 and `body` (or, if that is None, any `length` octets)."""
    octets = 0
    for _ in range(1 if keeps else TIMES):
        with Client(port) as client:
            for _ in range(TIMES if keeps else 1):
                client.socket.sendall(request)
                status, kept, got, octets = client.answer()
                right = got == body if body is not None else length is None or len(got) == length
                if status != 200 or not right:
                    raise RuntimeError(f"wrong answer: {status}, {len(got)} octets, {got[:40]!r}")
                if keeps and not kept:
                    raise RuntimeError("it does not keep the connection")
            if client.read:
                raise RuntimeError(f"octets after the answer: {client.read[:40]!r}")
    return octets


def get(port, keeps):
    return exchange(port, GET, keeps, BODY)


def browser(port, keeps):
    return exchange(port, BROWSER, keeps, BODY)


def pipelined(port, keeps):
    """As get(), and then all requests in one piece."""
    octets = get(port, keeps)
    with Client(port) as client:
        client.socket.sendall(16 * GET)
        for number in range(16):
            try:
                status, _, body, _ = client.answer()
            except TimeoutError:
                raise RuntimeError(f"pipelined request {number + 1} was not answered within {SECONDS} s") from None
            if (status, body) != (200, BODY):
                raise RuntimeError(f"wrong answer to pipelined request {number + 1}: {status} {body[:40]!r}")
    return octets


def numbered(port, keeps):
    """16 requests in one piece on each of 8 connections, TIMES over, each for its own path, which is the answer's body:
    no answer is wrong, missing or in another's place."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(8)]
        for turn in range(TIMES):
            batches = [[b"/%d-%d-%d" % (turn, client, number) for number in range(16)] for client in range(8)]
            for client, paths in zip(clients, batches, strict=True):
                client.socket.sendall(b"".join(GET.replace(b"/", path, 1) for path in paths))
            for client, paths in zip(clients, batches, strict=True):
                if wrong := wrong_answers(client, paths):
                    raise RuntimeError(f"{len(wrong)} of 16 pipelined answers are wrong or missing: {wrong[0]}")


def wrong_answers(client, paths):
    """What is wrong with the answers that should be 200 and `paths`, in this order: a text for each."""
    wrong = []
    for place, path in enumerate(paths):
        try:
            status, _, got, _ = client.answer()
        except (RuntimeError, OSError) as error:  # after which there are no others
            return wrong + [f"answer {place + 1}: {error}"] * (len(paths) - place)
        if (status, got) != (200, path):
            wrong.append(f"answer {place + 1}: {status} {got[:40]!r}")
    if client.read:
        wrong.append(f"octets after the last: {client.read[:40]!r}")
    return wrong


def closing(port, keeps):
    """As of HTTP/1.0: the server closes after its answer."""
    octets = exchange(port, b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", False, BODY)
    with Client(port) as client:
        client.socket.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        client.answer()
        with contextlib.suppress(ConnectionResetError):
            if client.more():
                raise RuntimeError("octets after the answer")
    return octets


def mixed(port, keeps):
    exchange(port, GET.replace(b"/ ", b"/slow ", 1), keeps, BODY)
    return exchange(port, GET.replace(b"/ ", b"/fast ", 1), keeps, BODY)


def post(port, keeps):
    body = b"0123456789abcdef" * 64
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1024\r\n\r\n"
    return exchange(port, head + body, keeps, body)


def download(port, keeps):
    exchange(port, GET, keeps, None, BULK)


def upload(port, keeps):
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % BULK
    exchange(port, head + bytes(BULK), keeps, None)


def checksum(port, keeps):
    """As upload(), of octets that differ, and the application says what it has read of them."""
    sent = FILE * (BULK // len(FILE))
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(sent)
    exchange(port, head + sent, keeps, b"%08x" % zlib.crc32(sent))


def closes(port, keeps):
    """The application's answers are closed: Django and Flask end a request there, with what their extensions do then."""
    until = time.monotonic() + SECONDS
    asked = closed = 0
    while closed < max(asked - 1, 1):  # the last one may be under way still
        if asked >= TIMES and time.monotonic() > until:
            raise RuntimeError(f"close() was called for {closed} of {asked} answers (PEP 3333)")
        with Client(port) as client:
            client.socket.sendall(GET)
            closed = int(client.answer()[2])
            asked += 1
        time.sleep(0.02)


def file(port, keeps):
    exchange(port, GET, keeps, FILE)


def static(port, keeps):
    exchange(port, GET.replace(b"/ ", b"/static.bin ", 1), keeps, None)


def echo(port, keeps):
    with Client(port) as client:
        for number in range(TIMES):
            line = b"line %d\n" % number
            client.socket.sendall(line)
            while b"\n" not in client.read:
                if not client.more():
                    raise RuntimeError("the connection ended without an echo")
            if client.read != line:
                raise RuntimeError(f"wrong echo: {client.read[:40]!r}")
            client.read = b""


def udp(port, keeps):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.1", port))
        for number in range(TIMES):
            sent = b"datagram %d" % number
            sock.send(sent)
            if (got := sock.recv(2000)) != sent:
                raise RuntimeError(f"wrong echo: {got[:40]!r}")


CHECKS = {
    "get": get,
    "browser": browser,
    "pipelined": pipelined,
    "numbered": numbered,
    "closes": closes,
    "closing": closing,
    "mixed": mixed,
    "post": post,
    "download": download,
    "upload": upload,
    "checksum": checksum,
    "file": file,
    "static": static,
    "echo": echo,
    "udp": udp,
}
