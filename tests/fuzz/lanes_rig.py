"""Handlers in two lanes, for the fuzz targets in Python: over a socket pair in the blocking lane, on the calling thread;
and in a server of the reactor lane, in this process.

`exchange(octets)` of each gives what the client read. What a handler's method raises is not the server's business here:
it is kept, and raised by `exchange`.
"""

import contextlib
import socket
import threading

import turboserver
import turboserver.http.server as http_server
from turboserver import lanes

assert turboserver.accelerated, "the native engine is not there"

SECONDS = 20.0  # after which something that should have happened is taken to hang


class Server(http_server.HTTPServer):
    raised = None

    def handle_error(self, request, client_address):
        import sys

        if self.raised is None and not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            self.raised = sys.exc_info()[1]

    def check(self):
        raised, self.raised = self.raised, None
        if raised is not None:
            raise raised


def read_all(sock):
    """All that comes until the end; a reset is one."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def send_pieces(sock, octets):
    """A server may close before it has read everything."""
    with contextlib.suppress(OSError):
        for piece in octets:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)


class Reactor:
    """A server of the reactor lane; every exchange is a connection to it."""

    name = "reactor"

    def __init__(self, handler):
        self.server = Server(("127.0.0.1", 0), handler)
        assert lanes.decide(self.server).lane == lanes.REACTOR, "not in the reactor lane"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def exchange(self, octets):
        with socket.create_connection(self.server.server_address, SECONDS) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            send_pieces(sock, octets)
            answer = read_all(sock)
        self.server.check()
        return answer


class Blocking:
    """The same handler over a socket pair, on this thread: all pieces are there before it begins."""

    name = "blocking"

    def __init__(self, handler):
        self.handler = handler
        self.server = Server(("127.0.0.1", 0), handler, bind_and_activate=False)
        self.server.server_name, self.server.server_port = "localhost", 80

    def exchange(self, octets):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for sock in (ours, theirs):     # room for all of it, in pieces however small
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            ours.settimeout(SECONDS)
            theirs.settimeout(SECONDS)
            send_pieces(ours, octets)
            try:
                self.server.finish_request(theirs, ("127.0.0.1", 1))
            except Exception:
                self.server.handle_error(theirs, None)
            self.server.shutdown_request(theirs)
            answer = read_all(ours)
        self.server.check()
        return answer
