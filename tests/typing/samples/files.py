"""The file server as a handler class of one's own program."""

from pathlib import Path
from typing import assert_type

from turboserver.files.auth import Basic, users_of
from turboserver.files.handler import FileHandler, handler_class
from turboserver.files.options import UPLOAD_BOUND, Options
from turboserver.http.server import ThreadingHTTPServer

options = Options(
    directory=Path("/srv"),
    headers=[("X-Own", "1")],
    cache=3600,
    auth=Basic(users_of("anna:secret"), realm="here"),
    upload=True,
    upload_bound=UPLOAD_BOUND // 2,
)
assert_type(options.cache, int | None)
assert_type(options._replace(spa=True), Options)


class Own(FileHandler):
    turbo_files = options

    def guess_type(self, path: object) -> str:
        return "text/plain"


def run() -> None:
    for handler in (handler_class(options), Own):
        with ThreadingHTTPServer(("", 0), handler) as server:
            server.serve_forever()
