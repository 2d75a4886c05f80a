"""What is asked of HTTP handlers: limits on classes, hooks that are overridden, mixins, rfile and wfile."""

import functools
import http.server as original
import os
from typing import Any, ClassVar, assert_type

from turboserver import accelerated
from turboserver.errors import BodyError
from turboserver.http.server import (
    BaseHTTPRequestHandler,
    HTTPServer,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from turboserver.socketserver import RequestReader, ResponseWriter


class Quiet:
    """A mixin that knows no handler."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Timed(original.BaseHTTPRequestHandler):
    """A mixin of the original's, in a program that was changed in part."""

    def version_string(self) -> str:
        return "timed"


class Limited(Quiet, Timed, BaseHTTPRequestHandler):
    """Every limit, with and without a value."""

    protocol_version = "HTTP/1.1"
    timeout = 5
    turbo_no_delay = False
    turbo_max_request_line = 8192
    turbo_max_header_bytes = 16384
    turbo_max_header_line = 4096
    turbo_max_headers = 50
    turbo_max_chunk_line = None
    turbo_max_chunk_extensions = 0
    turbo_max_trailers = 1024
    turbo_max_body: ClassVar[int | None] = 1 << 20
    turbo_decode_chunked = True
    turbo_idle_timeout = None
    turbo_head_timeout = 10
    turbo_body_timeout = 10.5
    turbo_write_timeout = 10.5
    turbo_min_rate = None
    turbo_min_rate_after = 3
    turbo_drain_bytes = 0
    turbo_drain_timeout = 0.5
    turbo_max_requests = 1000

    def do_GET(self) -> None:
        assert_type(self.path, str)
        self.send_response(200, "Fine")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        except BodyError as error:
            assert_type(error.status, int)
            raise
        if isinstance(self.rfile, RequestReader):
            assert_type(self.rfile.peek(), bytes)
        self.send_error(413 if body else 400, explain="too much")

    def do_PUT(self) -> None:
        with open("file", "rb") as file:
            self.send_response(200)
            self.end_headers()
            if accelerated and isinstance(self.wfile, ResponseWriter):
                sent = self.wfile.turbo_send_file(file.fileno(), 0, os.fstat(file.fileno()).st_size)
                assert_type(sent, int)

    def parse_request(self) -> bool:
        return super().parse_request() and self.path != "/none"

    def send_header(self, keyword: str, value: str) -> None:
        super().send_header(keyword, value)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        super().log_request(code, size)

    def handle_expect_100(self) -> bool:
        return False


class Folder(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}
    turbo_files = SimpleHTTPRequestHandler.turbo_files._replace(outside=True, cache=60)

    def end_headers(self) -> None:
        self.send_header("X-Own", "1")
        super().end_headers()


def have_these_types(handler: BaseHTTPRequestHandler) -> None:
    assert_type(handler.turbo_max_headers, int | None)
    assert_type(handler.turbo_idle_timeout, float | None)
    assert_type(handler.turbo_decode_chunked, bool)
    assert_type(handler.turbo_no_delay, bool)


def assigned_later() -> None:
    Limited.turbo_max_body = None
    BaseHTTPRequestHandler.turbo_idle_timeout = 15
    Limited.protocol_version = "HTTP/1.0"


def run() -> None:
    assert_type(accelerated, bool)
    with HTTPServer(("", 8000), Limited) as server:
        assert_type(server.server_name, str)
        assert_type(server.server_port, int)
        server.handle_request()
    with ThreadingHTTPServer(("", 8000), functools.partial(Folder, directory="/srv")) as threading:
        threading.turbo_max_threads = 64
        threading.serve_forever()
