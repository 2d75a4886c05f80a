"""HTTPS servers: the options are those of Python 3.14's, on every version."""

from pathlib import Path
from typing import assert_type

from turboserver.http.server import HTTPServer, HTTPSServer, SimpleHTTPRequestHandler, ThreadingHTTPSServer
from turboserver.socketserver import ThreadingMixIn


class Own(HTTPSServer):
    turbo_handshake_timeout = 3.0


class Threads(ThreadingMixIn, HTTPSServer):
    turbo_max_threads = 8


def password() -> bytes:
    return b"secret"


def run() -> None:
    server = HTTPSServer(("", 0), SimpleHTTPRequestHandler, certfile="cert.pem")
    server = Own(
        ("", 0),
        SimpleHTTPRequestHandler,
        False,
        certfile=Path("cert.pem"),
        keyfile=Path("key.pem"),
        password=password,
        alpn_protocols=["http/1.1"],
    )
    server.server_bind()
    server.server_activate()
    server.turbo_reload_certificate()
    assert_type(server.server_port, int)
    plain: HTTPServer = server
    with plain:
        plain.serve_forever()
    with ThreadingHTTPSServer(("", 0), SimpleHTTPRequestHandler, certfile="cert.pem", password="secret") as threading:
        assert_type(threading, ThreadingHTTPSServer)
        threading.daemon_threads = False
    Threads(("", 0), SimpleHTTPRequestHandler, certfile="cert.pem", password=None, keyfile=None).server_close()
