"""A server of one folder for the browser: the page on its own requests, PUT and POST for uploads.

It is no model for how files are served: what it does with requests is the least that a browser can be tested with.
"""
import contextlib
import email
import email.policy
import os
import struct
import threading
import zlib

from support import serving
from turboserver.files import as_json, folder, names, page
from turboserver.http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PIECE = 1 << 16


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    turbo_body_timeout = turbo_write_timeout = None     # a test may hold an upload up

    def translate_path(self, path):
        segments = [names.name_of(segment) for segment in path.partition("?")[0].split("/")]
        if any(segment == ".." or "/" in segment or "\0" in segment for segment in segments):
            return os.path.join(self.directory, "no such file")
        return os.path.join(self.directory, *segments[1:])

    def list_directory(self, path):
        query = folder.Query.of(self.path)
        content = folder.read(path)
        if query.format == "plain":
            return super().list_directory(path)
        self.send_response(200)
        if query.format == "json":
            headers, blocks = as_json.headers(), as_json.as_json(content, self.path, query)
        else:
            uploads = self.server.uploads
            headers, blocks = page.headers(uploads), page.render(content, self.path, query, uploads)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for block in blocks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")
        return None

    def do_PUT(self):
        path, server = self.translate_path(self.path), self.server
        there = os.path.exists(path)
        left = int(self.headers["Content-Length"])
        if there and self.headers["If-None-Match"] == "*":
            while left and (data := self.rfile.read(min(left, PIECE))):
                left -= len(data)
            return self._answer(412)
        with open(path + ".part", "wb") as file:
            while left:
                data = self.rfile.read(min(left, PIECE))
                if not data:
                    os.unlink(file.name)
                    return None
                file.write(data)
                left -= len(data)
                server.started.set()
                server.gate.wait(30)
        os.replace(path + ".part", path)
        return self._answer(204 if there else 201)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = email.message_from_bytes(
            b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP)
        for part in message.iter_parts():
            with open(os.path.join(self.directory, part.get_filename()), "wb") as file:
                file.write(part.get_payload(decode=True))
        self.send_response(303)
        self.send_header("Location", "./")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """directory: what is served. uploads: whether the page offers them. gate: is closed by a test to hold uploads up
    after their first octets, when `started` is set."""

    def __init__(self, directory):
        self.directory, self.uploads = directory, False
        self.gate, self.started = threading.Event(), threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), Handler)

    def finish_request(self, request, client_address):
        self.RequestHandlerClass(request, client_address, self, directory=self.directory)


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


