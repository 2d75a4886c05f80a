"""A small JSON service, as exporters and tests have them: routes, a body, basic errors, a server in a thread."""

import http.server as http_server
import io
import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

Route = Callable[["Service"], Any]


class Service(BaseHTTPRequestHandler):
    server_version = "Service/1"
    protocol_version = "HTTP/1.1"
    routes: ClassVar[dict[str, Route]] = {}

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        route = self.routes.get(split.path)
        if route is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.query = parse_qs(split.query)
        self.answer(route(self))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.answer(json.loads(self.rfile.read(length)))

    def answer(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        print(self.address_string(), self.log_date_time_string(), format % args)

    do_HEAD = do_GET


class Recorded(http_server.BaseHTTPRequestHandler):
    """Made without a socket, as a parser."""

    def __init__(self, octets: bytes) -> None:
        self.rfile = io.BytesIO(octets)
        self.raw_requestline: bytes = self.rfile.readline()
        self.client_address = ("localhost", 0)
        self.parse_request()

    def answered(self) -> bytes:
        self.wfile = io.BytesIO()
        self.send_error(404)
        return self.wfile.getvalue()


class Owner:
    def __init__(self, port: int = 0) -> None:
        self.server: HTTPServer = ThreadingHTTPServer(("localhost", port), Service)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://{self.server.server_name}:{self.server.server_port}/"

    def __exit__(self, *details: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Dual(ThreadingHTTPServer):
    def server_bind(self) -> None:
        self.socket.setsockopt(41, 26, 0)
        super().server_bind()

    def finish_request(self, request: Any, client_address: Any) -> None:
        super().finish_request(request, client_address)


def make(kind: type[HTTPServer] = Dual, handler: type[BaseHTTPRequestHandler] = Service) -> HTTPServer:
    return kind(("", 0), handler)
