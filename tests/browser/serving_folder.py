"""A server of one folder for the browser: the file server itself, whose uploads can be held up in the middle."""
import contextlib
import dataclasses
import os
import pathlib
import struct
import threading
import zlib

from support import serving
from turboserver.files.handler import handler_class
from turboserver.files.options import Options
from turboserver.http.server import ThreadingHTTPServer


class Held:
    """rfile for an upload: what was read is kept back while the server's gate is closed."""

    def __init__(self, rfile, server):
        self._rfile, self._server = rfile, server

    def read(self, size):
        octets = self._rfile.read(size)
        self._server.started.set()
        self._server.gate.wait(30)
        return octets


class Holding:
    """For a handler class."""
    turbo_body_timeout = turbo_write_timeout = None     # a test may hold an upload up

    def do_PUT(self):
        self.rfile = Held(self.rfile, self.server)
        try:
            super().do_PUT()
        finally:
            del self.rfile

    def log_request(self, code="-", size="-"):
        self.server.answers.append((self.path, int(code), self.headers.get("Range")))

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """directory: what is served. gate: is closed by a test to hold uploads up after their first octets, when
    `started` is set. answers: (path, status, Range) of each, as they are logged. share: the directory, for a test."""

    def __init__(self, directory):
        self.gate, self.started = threading.Event(), threading.Event()
        self.gate.set()
        self.answers, self.share = [], pathlib.Path(directory)
        super().__init__(("127.0.0.1", 0), type("Handler", (Holding, handler_class(Options(directory=directory))), {}))

    def change(self, **options):
        """Other Options from now on."""
        handler = self.RequestHandlerClass
        handler.turbo_files = dataclasses.replace(handler.turbo_files, **options)


@contextlib.contextmanager
def served(directory):
    """A Server for `directory` that serves, and its URL as `.url`."""
    server = Server(os.fspath(directory))
    server.url = f"http://127.0.0.1:{server.server_port}/"
    with serving(server):
        yield server


def png(width, height, top, bottom):
    """A picture with a gradient between two colours (three octets each)."""
    lines = []
    for y in range(height):
        colour = bytes(a + (b - a) * y // height for a, b in zip(top, bottom, strict=True))
        shade = bytes(max(0, octet - 26) for octet in colour)
        hill = width * (height - y) // height
        lines.append(b"\0" + (colour * hill + shade * (width - hill)))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b""))
