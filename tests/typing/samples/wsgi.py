"""WSGI: applications typed by wsgiref.types, servers with their logs, hooks of handlers."""

import wsgiref.simple_server as original
from collections.abc import Iterable
from typing import Any, assert_type
from wsgiref.types import ErrorStream, StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

from turboserver.wsgiref.simple_server import (
    ServerHandler,
    ThreadingWSGIServer,
    WSGIRequestHandler,
    WSGIServer,
    demo_app,
    make_server,
)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(environ["PATH_INFO"]).encode()]


def access(environ: dict[str, Any], status: str, octets: int, seconds: float) -> None:
    print(environ["REQUEST_METHOD"], status, octets, seconds)


class Handler(WSGIRequestHandler):
    turbo_log = False
    turbo_os_environ = False
    turbo_underscores = True
    turbo_forwarded_root = True
    turbo_raw_environ = True
    turbo_drop_hop_by_hop = True
    turbo_max_body = None

    def get_environ(self) -> WSGIEnvironment:
        environ = super().get_environ()
        environ["own"] = True
        return environ

    def get_stderr(self) -> ErrorStream:
        return super().get_stderr()


class Server(WSGIServer):
    """The logs of a class: as methods they would have the server, too."""

    turbo_multiprocess = True

    @staticmethod
    def turbo_access_log(environ: WSGIEnvironment, status: str, octets: int, seconds: float) -> None:
        print(environ["REQUEST_METHOD"], status, octets, seconds)

    @staticmethod
    def turbo_error_log(environ: WSGIEnvironment, error: BaseException) -> None:
        print(environ["REQUEST_METHOD"], error)


class Gateway(ServerHandler):
    def handle_error(self) -> None:
        assert_type(self.turbo_began, float)
        super().handle_error()


def of_original(server: original.WSGIServer) -> None:
    server.set_app(demo_app)


def run() -> None:
    with make_server("", 8000, app) as server:
        assert_type(server, WSGIServer)
        server.turbo_access_log = access
        server.turbo_error_log = lambda environ, error: print(error)
        server.turbo_access_log = None
        server.turbo_multiprocess = False
        of_original(server)
        assert_type(server.get_app(), WSGIApplication | None)
    with make_server("", 8000, validator(app), ThreadingWSGIServer, Handler) as threading:
        assert_type(threading, ThreadingWSGIServer)
        threading.turbo_max_threads = 4
    own = make_server("", 8000, demo_app, handler_class=Handler)
    own.set_app(None)
    Server(("", 8000), Handler).serve_forever()
