# Types of the classes that are ours; see turboserver/socketserver.pyi for how they stand to the originals'.
#
# The limits of a handler are asked of its class, once for each version of it, so they are ClassVar: what an object
# assigns would change nothing.

import http.server as _original
import sys
from http.server import executable as executable
from typing import ClassVar

from turboserver.files.options import Options
from turboserver.socketserver import StreamRequestHandler, TCPServer, ThreadingMixIn

if sys.version_info < (3, 14):
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any, TypeAlias
    from _typeshed import StrOrBytesPath
    from socketserver import BaseRequestHandler as _BaseRequestHandler
    from typing_extensions import Self

    _Address: TypeAlias = tuple[str | bytes | bytearray, int] | tuple[str | bytes | bytearray, int, int, int]
    _Password: TypeAlias = Callable[[], str | bytes | bytearray] | str | bytes | bytearray

if sys.version_info < (3, 15):
    from typing_extensions import deprecated

__all__ = [
    "HTTPServer",
    "ThreadingHTTPServer",
    "HTTPSServer",
    "ThreadingHTTPSServer",
    "BaseHTTPRequestHandler",
    "SimpleHTTPRequestHandler",
]
if sys.version_info < (3, 15):
    __all__ += ["CGIHTTPRequestHandler"]

class HTTPServer(TCPServer, _original.HTTPServer): ...
class ThreadingHTTPServer(ThreadingMixIn, _original.ThreadingHTTPServer, HTTPServer): ...

if sys.version_info >= (3, 14):
    class HTTPSServer(_original.HTTPSServer, HTTPServer):
        def turbo_reload_certificate(self) -> None: ...

    class ThreadingHTTPSServer(ThreadingMixIn, _original.ThreadingHTTPSServer, HTTPSServer): ...

else:
    class HTTPSServer(HTTPServer):
        ssl: ModuleType
        certfile: StrOrBytesPath
        keyfile: StrOrBytesPath | None
        password: _Password | None
        alpn_protocols: Iterable[str]
        def __init__(
            self,
            server_address: _Address,
            RequestHandlerClass: Callable[[Any, Any, Self], _BaseRequestHandler],
            bind_and_activate: bool = True,
            *,
            certfile: StrOrBytesPath,
            keyfile: StrOrBytesPath | None = None,
            password: _Password | None = None,
            alpn_protocols: Iterable[str] | None = None,
        ) -> None: ...
        def turbo_reload_certificate(self) -> None: ...

    class ThreadingHTTPSServer(ThreadingMixIn, HTTPSServer): ...

class BaseHTTPRequestHandler(StreamRequestHandler, _original.BaseHTTPRequestHandler):
    raw_requestline: bytes
    turbo_max_request_line: ClassVar[int | None]
    turbo_max_header_bytes: ClassVar[int | None]
    turbo_max_header_line: ClassVar[int | None]
    turbo_max_headers: ClassVar[int | None]
    turbo_max_chunk_line: ClassVar[int | None]
    turbo_max_chunk_extensions: ClassVar[int | None]
    turbo_max_trailers: ClassVar[int | None]
    turbo_max_body: ClassVar[int | None]
    turbo_decode_chunked: ClassVar[bool]
    turbo_idle_timeout: ClassVar[float | None]
    turbo_head_timeout: ClassVar[float | None]
    turbo_body_timeout: ClassVar[float | None]
    turbo_write_timeout: ClassVar[float | None]
    turbo_min_rate: ClassVar[int | None]
    turbo_min_rate_after: ClassVar[float | None]
    turbo_drain_bytes: ClassVar[int | None]
    turbo_drain_timeout: ClassVar[float | None]
    turbo_max_requests: ClassVar[int | None]

class SimpleHTTPRequestHandler(_original.SimpleHTTPRequestHandler, BaseHTTPRequestHandler):
    turbo_files: ClassVar[Options]

if sys.version_info < (3, 15):
    @deprecated("Deprecated and unsafe; removed in Python 3.15.")
    class CGIHTTPRequestHandler(_original.CGIHTTPRequestHandler, SimpleHTTPRequestHandler): ...
