"""What every test here shares: the two backends, a way to serve, and raw clients.

Nothing in this file asserts anything about a server.  Clients speak bytes over plain sockets, so that a
test sees exactly what was on the wire and in which order; they treat a reset as the end of the stream,
because a server that closes with unread input resets (on Linux the bytes sent before are still read).
"""
import contextlib
import dataclasses
import importlib
import os
import socket
import threading
import time
import types
from pathlib import Path

import pytest

#: True makes a missing `turboserver` (or one without its native engine) a failure; False skips what needs it.
REQUIRE_TURBOSERVER = True

#: Seconds after which something that should have happened is taken to hang.  Never a speed limit.
DEADLINE = 20.0

#: How often the standard library looks for shutdown(); short, so that tests do not wait for it.
POLL_INTERVAL = 0.02

BACKENDS = ("stdlib", "turboserver")


# ---------------------------------------------------------------- backends

def load_backend(name):
    """Namespace with `name`, `socketserver`, `http_server` and `simple_server` of one backend.

    Ours is skipped where it cannot be had: not installed, or installed without the native engine, where its
    classes are the originals and nothing is left to compare.
    """
    prefix = "" if name == "stdlib" else "turboserver."
    if prefix and not (REQUIRE_TURBOSERVER or has_turboserver()):
        pytest.skip("turboserver cannot be imported, or not with its native engine")
    return types.SimpleNamespace(
        name=name,
        socketserver=importlib.import_module(prefix + "socketserver"),
        http_server=importlib.import_module(prefix + "http.server"),
        simple_server=importlib.import_module(prefix + "wsgiref.simple_server"),
    )


def has_turboserver():
    """Whether the package under test can be imported, and with its native engine."""
    try:
        return importlib.import_module("turboserver").accelerated
    except ImportError:
        return False


#: For what is by nature the engine's: its lanes, and deadlines where the original has none.
needs_engine = pytest.mark.skipif(not has_turboserver(), reason="it is the native engine's, and there is none")


# ---------------------------------------------------------------- serving

@contextlib.contextmanager
def serving(server, poll_interval=POLL_INTERVAL):
    """Run `server.serve_forever` in a thread; shut it down and close it at the end."""
    thread = threading.Thread(target=server.serve_forever, args=(poll_interval,), daemon=True,
                              name="serve_forever")
    thread.start()
    server.serving_thread = thread
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "serve_forever did not return after shutdown()"


@contextlib.contextmanager
def directory(path):
    """A descriptor of the folder."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_until(condition, what="the condition", deadline=DEADLINE):
    """Poll `condition` until it is true; fail after the deadline."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)


def respond(handler, body=b"ok", code=200, headers=()):
    """The usual answer of a test handler: status, length, further headers, body."""
    handler.send_response(code)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


# ---------------------------------------------------------------- raw clients

def connect(server, timeout=DEADLINE):
    """A connected client socket for a server object or an address."""
    address = getattr(server, "server_address", server)
    if isinstance(address, (str, bytes)):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
        if sock.family != getattr(socket, "AF_UNIX", None):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def read_until_eof(sock):
    """All bytes until the peer closes or resets."""
    parts = []
    while True:
        try:
            data = sock.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            break
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def read_exactly(sock, count):
    """`count` bytes, or fewer if the peer closes before."""
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            break
        data += more
    return data


def read_until(sock, mark):
    """Bytes up to and including `mark`, read one at a time so that nothing after it is taken."""
    data = b""
    while not data.endswith(mark):
        byte = sock.recv(1)
        if not byte:
            break
        data += byte
    return data


def exchange(server, data, *, half_close=True, pieces=None, pause=0.0):
    """Send `data` (or its `pieces` one by one) and return everything the server says until it closes."""
    with connect(server) as sock:
        try:
            for piece in ([data] if pieces is None else pieces):
                sock.sendall(piece)
                if pause:
                    time.sleep(pause)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
        return read_until_eof(sock)


@dataclasses.dataclass
class Response:
    """One HTTP response as it stood on the wire."""
    version: str
    status: int
    reason: str
    headers: list
    body: bytes
    raw: bytes

    def get(self, name, default=None):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return default


class ResponseReader:
    """Reads responses off one connection by RFC 9112 framing, no byte further than each one's end."""

    def __init__(self, sock):
        self._sock = sock
        self._buffer = b""

    def _more(self):
        try:
            data = self._sock.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self._buffer += data
        return bool(data)

    def _line(self):
        while b"\n" not in self._buffer:
            if not self._more():
                raise EOFError(f"connection closed within a head: {self._buffer[:200]!r}")
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line + b"\n"

    def _exactly(self, count):
        while len(self._buffer) < count:
            if not self._more():
                raise EOFError(f"connection closed {count - len(self._buffer)} bytes early")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _chunked(self):
        raw, body = b"", b""
        while True:
            line = self._line()
            raw += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            chunk = self._exactly(size + 2)
            raw += chunk
            body += chunk[:-2]
        while True:
            line = self._line()
            raw += line
            if line in (b"\r\n", b"\n"):
                return raw, body

    def at_eof(self):
        """Block until the peer sends or closes; True if it closed."""
        return not self._buffer and not self._more()

    def read(self, method="GET"):
        """The next response; a 1xx counts as one of its own."""
        raw = line = self._line()
        version, status, *rest = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
        status, headers = int(status), []
        while True:
            line = self._line()
            raw += line
            if line in (b"\r\n", b"\n"):
                break
            name, value = line.decode("latin-1").rstrip("\r\n").split(":", 1)
            headers.append((name, value.strip()))
        response = Response(version, status, rest[0] if rest else "", headers, b"", raw)
        if method == "HEAD" or status < 200 or status in (204, 304):
            return response
        if (response.get("Transfer-Encoding") or "").lower() == "chunked":
            wire, response.body = self._chunked()
        elif response.get("Content-Length") is not None:
            wire = response.body = self._exactly(int(response.get("Content-Length")))
        else:
            while self._more():
                pass
            wire, self._buffer = self._buffer, b""
            response.body = wire
        response.raw += wire
        return response


class Client:
    """One connection on which requests are sent and responses read; a context manager."""

    def __init__(self, server, timeout=DEADLINE, sock=None):
        self.sock = sock or connect(server, timeout)
        self._reader = ResponseReader(self.sock)
        self.at_eof = self._reader.at_eof

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def read(self, method="GET"):
        return self._reader.read(method)

    def request(self, method="GET", path="/", headers=(), body=None, version="HTTP/1.1"):
        """Send one request and read its response."""
        head = [f"{method} {path} {version}", "Host: test"]
        head += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(head + ["", ""]).encode("latin-1") + (body or b""))
        return self.read(method)


def fetch(server, path="/", **options):
    """One request on a connection of its own."""
    with Client(server) as client:
        return client.request(path=path, **options)


# A container's first process is process 1 of its PID namespace: no signal that it sends to itself, or that comes from
# within, ends it (pid_namespaces(7)).
CONTAINER = ["unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "--pid", "--fork", "--kill-child"]


def first_of(started):
    """The process (its number here) that unshare has started as process 1."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(started.pid):
                return int(path.parent.name)
