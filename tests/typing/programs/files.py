"""A folder that is served, with hooks of its own."""

import functools
import io
import os
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer, HTTPServer
from typing import Any, BinaryIO


class Folder(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, "": "text/plain"}

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, directory="/srv", **keywords)

    def translate_path(self, path: str) -> str:
        return os.path.join(self.directory, super().translate_path(path))

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        if self.path == "/own":
            return io.BytesIO(b"own")
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def guess_type(self, path: Any) -> str:
        return super().guess_type(path) or "text/plain"

    def copyfile(self, source: Any, outputfile: Any) -> None:
        super().copyfile(source, outputfile)


def main(server_class: type[HTTPServer] = ThreadingHTTPServer) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=os.getcwd())
    with server_class(("", 8000), handler) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
