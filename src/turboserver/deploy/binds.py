"""Addresses to listen on, and the sockets that do.

    HOST:PORT  [IPV6]:PORT  :PORT  unix:PATH  unix:@NAME  fd://N      and what systemd passes (LISTEN_FDS)

Every socket listens, does not block, and is shared by all processes that are forked later; so it stays
non-blocking as long as it lives. A Unix socket's file is removed by the process that made it.

What may not live here: serving; deciding how many processes there are.
"""

import contextlib
import errno
import os
import re
import socket
import stat
from collections import namedtuple

from . import DeployError
from .signals import signals_wait

__all__ = ["Bind", "BindError", "Listener", "opened", "parse", "passed_by_systemd"]

# What connects while all workers are busy waits here; as turboserver.socketserver's request_queue_size.
BACKLOG = 1024
_FIRST_PASSED = 3       # SD_LISTEN_FDS_START of sd_listen_fds(3)

# kind: "tcp" (host, port; host "" for every address), "unix" (path) or "fd" (number); text: as it was given.
Bind = namedtuple("Bind", "kind value text")


class BindError(DeployError):
    """An address that cannot be listened on."""


def parse(text):
    """The Bind that `text` says. Raises ValueError with a text for people."""
    if text.startswith("unix:"):
        path = text[len("unix:"):]
        if not path or "\0" in path:
            raise ValueError(f"{text!r} names no Unix socket (unix:PATH)")
        return Bind("unix", "\0" + path[1:] if path.startswith("@") else path, text)
    if text.startswith("fd://"):
        number = text[len("fd://"):]
        if not (number.isascii() and number.isdigit()) or int(number) > 2**31 - 1:
            raise ValueError(f"{text!r} names no descriptor (fd://N)")
        return Bind("fd", int(number), text)
    match = re.fullmatch(r"(?:\[([^\[\]/]*)\]|([^\[\]:/]*)):([0-9]{1,6})", text)
    if match is None or match[1] == "":
        raise ValueError(f"{text!r} is no address: HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd://N")
    port = int(match[3])
    if port > 65535:
        raise ValueError(f"port must be 0 to 65535, not {port}")
    return Bind("tcp", (match[1] if match[1] is not None else match[2], port), text)


def passed_by_systemd():
    """Binds for the sockets that the service manager passed to this process, perhaps none (sd_listen_fds(3)).
    Takes the variables out of the environment: they are for nobody else."""
    pid = os.environ.pop("LISTEN_PID", None)
    count = os.environ.pop("LISTEN_FDS", None)
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count is None or not count.isdigit():
        return []
    return [Bind("fd", number, f"fd://{number}")
            for number in range(_FIRST_PASSED, _FIRST_PASSED + int(count))]


class Listener:
    """A listening socket: `sockets` has one for each worker that has its own (SO_REUSEPORT), else one for all.

    url: what a person clicks on, or the Unix socket's name.
    """

    def __init__(self, bind, sockets):
        self.bind, self.sockets, self._made, self._pid = bind, sockets, None, os.getpid()

    def has_made(self, path):
        """The file of that name came with the socket, and goes with it."""
        found = os.lstat(path)
        self._made = path, (found.st_dev, found.st_ino)

    def socket_for(self, worker):
        """The socket of the worker of that number (0 and up)."""
        return self.sockets[worker % len(self.sockets)]

    @property
    def url(self):
        sock = self.sockets[0]
        address = sock.getsockname()
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            if isinstance(address, bytes):
                address = "@" + os.fsdecode(address[1:])
            return "unix:" + address
        host, port = address[:2]
        # Nobody can click on the address that stands for all.
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{host}:{port}/"

    def close(self):
        """Listen no more here. The file of a Unix socket goes with the process that made it."""
        for sock in self.sockets:
            sock.close()
        if self._made is not None and self._pid == os.getpid():
            path, identity = self._made
            self._made = None
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                # Another server may have put its own there meanwhile.
                if (found.st_dev, found.st_ino) == identity:
                    os.unlink(path)


@contextlib.contextmanager
def opened(binds, workers=1, reuse_port=False):
    """Open `binds` (Bind each); gives a list of Listener, closed at the end. Raises BindError.

    reuse_port: a socket for each worker instead of one for all, where that is possible (TCP).
    """
    listeners = []
    try:
        for bind in binds:
            _open(bind, workers if reuse_port else 1, listeners)
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def _open(bind, count, listeners):
    """Append to `listeners`, which are closed whatever happens."""
    try:
        if bind.kind == "fd":
            listeners.append(Listener(bind, [_adopt(bind)]))
        elif bind.kind == "unix":
            _open_unix(bind, listeners)
        else:
            listeners.append(_open_tcp(bind, count))
    except OSError as error:
        raise BindError(_complaint(bind, error)) from error


def _open_tcp(bind, count):
    host, port = bind.value
    family, address = _resolve(host, port)
    sockets = []
    try:
        for _ in range(count):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # Only what stands for every address is for both protocols.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(host))
            sock.bind(address)
            # With port 0 the kernel chose it; the others are to have the same.
            address = sock.getsockname()
        for sock in sockets:
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return Listener(bind, sockets)


def _resolve(host, port):
    if not host:
        dual = socket.has_dualstack_ipv6()
        return (socket.AF_INET6, ("::", port)) if dual else (socket.AF_INET, ("0.0.0.0", port))
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise BindError(f"cannot listen on {bind_name(host, port)}: {host}: {reason}") from error
    # A name of both protocols, as localhost: what most clients try.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return found[0][0], found[0][4]


def bind_name(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_unix(bind, listeners):
    path = bind.value
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener = Listener(bind, [sock])
    listeners.append(listener)
    try:
        if path.startswith("\0"):
            sock.bind(path)
        else:
            _remove_stale(bind, path)
            # One that ends the process between the two would leave the file behind.
            with signals_wait():
                sock.bind(path)
                listener.has_made(path)
    except OSError as error:
        if error.errno is None:      # Python's own: too long for sun_path
            raise BindError(f"cannot listen on {bind.text}: the path is too long for a Unix socket") from error
        raise
    sock.listen(BACKLOG)
    sock.setblocking(False)


def _remove_stale(bind, path):
    """Remove a socket's file that nobody listens on any more."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot listen on {bind.text}: the file exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)        # a full queue is an answer, too
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _adopt(bind):
    try:
        sock = socket.socket(fileno=bind.value)
    except OSError as error:
        reason = "is not open" if error.errno == errno.EBADF else "is no socket"
        raise BindError(f"cannot listen on {bind.text}: descriptor {bind.value} {reason}") from error
    try:
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listens = False
    if not listens or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        sock.detach()       # it is somebody's, and stays open
        raise BindError(f"cannot listen on {bind.text}: descriptor {bind.value} is no listening stream socket")
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


_REASONS = {
    errno.EADDRINUSE: "the address is in use, by another server perhaps",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENOENT: "no such folder",
    errno.ENOTDIR: "no such folder",
    errno.EAFNOSUPPORT: "this machine does not speak that protocol",
}


def _complaint(bind, error):
    if isinstance(error, BindError):
        return str(error)
    reason = _REASONS.get(error.errno) or error.strerror or str(error)
    if bind.kind == "tcp" and error.errno == errno.EACCES and bind.value[1] < 1024:
        reason += " (ports below 1024 are the system's)"
    return f"cannot listen on {bind.text}: {reason}"
