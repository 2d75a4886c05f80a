# Types of the WSGI server's classes; see turboserver/socketserver.pyi for how they stand to the originals'.

import wsgiref.simple_server as _original
from _typeshed.wsgi import WSGIApplication, WSGIEnvironment
from collections.abc import Callable
from typing import ClassVar, TypeVar, overload
from wsgiref.simple_server import (
    demo_app as demo_app,
    server_version as server_version,
    software_version as software_version,
    sys_version as sys_version,
)

from turboserver.http.server import BaseHTTPRequestHandler, HTTPServer
from turboserver.socketserver import ThreadingMixIn

__all__ = ["WSGIServer", "WSGIRequestHandler", "demo_app", "make_server", "ThreadingWSGIServer"]

class ServerHandler(_original.ServerHandler):
    request_handler: _original.WSGIRequestHandler | None
    turbo_began: float

# A log that a class defines has to be a staticmethod for pyright, which takes a method for another type.
class WSGIServer(HTTPServer, _original.WSGIServer):
    turbo_multiprocess: bool
    turbo_access_log: Callable[[WSGIEnvironment, str, int, float], object] | None
    turbo_error_log: Callable[[WSGIEnvironment, BaseException], object] | None

class WSGIRequestHandler(BaseHTTPRequestHandler, _original.WSGIRequestHandler):
    turbo_log: ClassVar[bool]
    turbo_os_environ: ClassVar[bool]
    turbo_underscores: ClassVar[bool]
    turbo_forwarded_root: ClassVar[bool]
    turbo_raw_environ: ClassVar[bool]
    turbo_drop_hop_by_hop: ClassVar[bool]

class ThreadingWSGIServer(ThreadingMixIn, WSGIServer): ...

_Server = TypeVar("_Server", bound=_original.WSGIServer)

@overload
def make_server(
    host: str, port: int, app: WSGIApplication, *, handler_class: type[_original.WSGIRequestHandler] = ...
) -> WSGIServer: ...
@overload
def make_server(
    host: str,
    port: int,
    app: WSGIApplication,
    server_class: type[_Server],
    handler_class: type[_original.WSGIRequestHandler] = ...,
) -> _Server: ...
