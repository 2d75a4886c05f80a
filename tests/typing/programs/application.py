"""A WSGI application, its middleware and its server."""

import socketserver
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, demo_app, make_server, server_version

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Upper:
    def __init__(self, app: "WSGIApplication") -> None:
        self.app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        for block in self.app(environ, start_response):
            yield block.upper()


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def get_environ(self) -> "WSGIEnvironment":
        return super().get_environ() | {"own": "1"}

    def address_string(self) -> str:
        return self.client_address[0]


class Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main() -> None:
    print(server_version, file=sys.stderr)
    with make_server("", 0, Upper(demo_app), Threads, Silent) as server:
        server.base_environ["own"] = "2"
        server.handle_request()
    make_server("", 0, demo_app).serve_forever(poll_interval=1)


if __name__ == "__main__":
    main()
