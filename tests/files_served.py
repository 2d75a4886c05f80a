"""A folder that is served by turboserver.files.handler, in each lane that it may run in; asserts nothing."""
import contextlib
import os
import types

import pytest

import turboserver
from support import Client, serving
from turboserver.files.handler import FileHandler, handler_class
from turboserver.files.options import Options
from turboserver.http.server import HTTPServer, ThreadingHTTPServer

#: Files made a moment ago are remembered, too.
if turboserver.accelerated:
    from turboserver import _files

    _files.set_clock(0)

#: Long ago, so that entity tags are strong and dates do not move.
PAST = 1_600_000_000

KINDS = {"reactor": (ThreadingHTTPServer, False), "reactor, one thread": (HTTPServer, False),
         "blocking": (ThreadingHTTPServer, True), "blocking, one thread": (HTTPServer, True)}


class Silent:
    def log_message(self, *args):
        self.server.logged.append(args)


class InBlockingLane:
    def handle(self):       # a hook of the connection
        super().handle()


def put(path, content=b"", age=PAST):
    """A file with this content and time; folders on the way are made. Its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (age, age))
    return path


@contextlib.contextmanager
def served(root, kind="reactor", handler=None, **options):
    """A server for the folder `root`. handler: members of the handler class, {name: value}. options: of Options."""
    server_class, blocking = KINDS[kind]
    bases = (Silent, *([InBlockingLane] if blocking else []), handler_class(Options(directory=str(root), **options)))
    server = server_class(("127.0.0.1", 0), type("Handler", bases, handler or {}))
    server.logged, server.root = [], root
    with serving(server):
        yield server


@pytest.fixture
def root(tmp_path):
    """A folder with some files, and files beside it that nobody may see."""
    top = tmp_path / "root"
    put(top / "a.txt", b"0123456789")
    put(top / "empty.txt")
    put(top / "page.html", b"<p>page")
    put(top / "picture.png", b"\x89PNG")
    put(top / "sub" / "in.txt", b"inside")
    put(top / "site" / "index.html", b"<p>index")
    put(tmp_path / "secret.txt", b"secret")
    put(tmp_path / "root-beside" / "secret.txt", b"secret")
    return top


@pytest.fixture(params=KINDS)
def serve(request, root):
    """serve(handler=None, **options): a running server for `root`, in this lane."""
    with contextlib.ExitStack() as stack:
        yield lambda handler=None, **options: stack.enter_context(served(root, request.param, handler, **options))


def ask(server, path, headers=(), method="GET", body=None, then=True, once=False):
    """A request on a connection of its own; if it is kept, the same again, unless `once`, and another one, to see that
    it is in order."""
    with Client(server) as client:
        answer = client.request(method, path, headers, body)
        kept = (answer.get("Connection") or "").lower() != "close"
        if answer.status in (200, 304) and method in ("GET", "HEAD") and kept and not once:
            # What is remembered of a file gives the same answer.
            again = client.request(method, path, headers, body)
            assert (again.status, again.body) == (answer.status, answer.body)
            assert [field for field in again.headers if field[0] != "Date"] == [
                field for field in answer.headers if field[0] != "Date"]
        if then and (answer.get("Connection") or "").lower() != "close":
            again = client.request("HEAD", "/a.txt", [("X-Then", "1"), *[h for h in headers if h[0] == "Authorization"]])
            assert again.status == 200, f"after {answer.status}: {again.status}"
        return answer


def fields(answer):
    """Its fields by name in small letters, as attributes of .get()."""
    return types.MappingProxyType({name.lower(): value for name, value in answer.headers})


__all__ = ["KINDS", "PAST", "FileHandler", "Silent", "ask", "fields", "put", "root", "serve", "served"]
