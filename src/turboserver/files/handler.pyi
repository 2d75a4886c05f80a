# Types of the file server's handler.

from _typeshed import StrPath
from socketserver import BaseServer
from typing import Any

from ..http.server import SimpleHTTPRequestHandler
from .options import Options

__all__ = ["FileHandler", "handler_class"]

class FileHandler(SimpleHTTPRequestHandler):
    def __init__(
        self, request: Any, client_address: Any, server: BaseServer, *, directory: StrPath | None = None
    ) -> None: ...
    def do_PUT(self) -> None: ...
    def do_POST(self) -> None: ...
    def do_OPTIONS(self) -> None: ...

def handler_class(options: Options) -> type[FileHandler]: ...
