"""What has to be an error, for mypy by the code that stands there and for pyright at all. Both tell of a comment that
hides nothing."""

import functools
import http.server
from typing import Any

import turboserver
from turboserver import socketserver
from turboserver.errors import BodyError
from turboserver.files.options import Options
from turboserver.http.server import (
    BaseHTTPRequestHandler,
    HTTPServer,
    HTTPSServer,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from turboserver.wsgiref.simple_server import WSGIRequestHandler, WSGIServer, demo_app, make_server

# Names that are not there.
turboserver.acelerated  # type: ignore[attr-defined]
turboserver.Server  # type: ignore[attr-defined]
socketserver.Engine  # type: ignore[attr-defined]
socketserver.TCPServer.turbo_max_conections = 5  # type: ignore[attr-defined]
http.server.BaseHTTPRequestHandler.turbo_max_body  # type: ignore[attr-defined]


# Limits of another type, where a class sets them.
class Wrong(BaseHTTPRequestHandler):
    turbo_max_body = "1 MiB"  # type: ignore[assignment]
    turbo_idle_timeout = "75"  # type: ignore[assignment]
    turbo_decode_chunked = None  # type: ignore[assignment]
    turbo_max_headers = 12.5  # type: ignore[assignment]

    def do_GET(self) -> None:
        # The engine asks the class: this would change nothing.
        self.turbo_drain_bytes = 100  # type: ignore[misc]
        self.turbo_write_timeout = None  # type: ignore[misc]
        # Whatever wfile is now, a program may have put another file there.
        self.wfile.turbo_send_file(0, 0, 1)  # type: ignore[attr-defined]

    def log_message(self, format: bytes) -> None:  # type: ignore[override]
        pass

    def send_error(self, code: str) -> None:  # type: ignore[override]
        pass


class Applications(WSGIRequestHandler):
    turbo_log = "no"  # type: ignore[assignment]


class Folder(SimpleHTTPRequestHandler):
    turbo_files = {"outside": True}  # type: ignore[assignment]


# And of servers, on classes and on objects.
class Server(ThreadingHTTPServer):
    turbo_max_threads = None  # type: ignore[assignment]


def of_objects(server: Server, applications: WSGIServer) -> None:
    server.turbo_shutdown_timeout = "30"  # type: ignore[assignment]
    server.turbo_max_connections = 10.5  # type: ignore[assignment]
    server.turbo_handshake_timeout = (1, 2)  # type: ignore[assignment]
    applications.turbo_access_log = print_status  # type: ignore[assignment]
    applications.turbo_error_log = "errors"  # type: ignore[assignment]


def print_status(status: str) -> None:
    print(status)


def app(environ: dict[str, Any]) -> list[bytes]:
    return [repr(environ).encode()]


def calls() -> None:
    HTTPServer(("", 0))  # type: ignore[call-arg]
    HTTPServer(("", 0), int)  # type: ignore[arg-type]
    HTTPServer("/run/socket", BaseHTTPRequestHandler)  # type: ignore[arg-type]
    HTTPSServer(("", 0), BaseHTTPRequestHandler)  # type: ignore[call-arg]
    HTTPSServer(("", 0), BaseHTTPRequestHandler, True, "cert.pem")  # type: ignore[call-arg]
    HTTPSServer(("", 0), BaseHTTPRequestHandler, certfile="cert.pem", ciphers="all")  # type: ignore[call-arg]
    HTTPServer(("", 0), functools.partial(SimpleHTTPRequestHandler, directory=5))  # type: ignore[arg-type]
    make_server("", 0, app)  # type: ignore[arg-type]
    make_server("", 0, demo_app, HTTPServer)  # type: ignore[type-var]
    Options(uploads=True)  # type: ignore[call-arg]
    Options(directory=5)  # type: ignore[arg-type]
    BodyError("cut off", "400")  # type: ignore[arg-type]
    turboserver.install(True)  # type: ignore[call-arg]
