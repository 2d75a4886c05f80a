"""The WSGI gateways that PEP 3333's checklist is put to, and what its tests share.

`serve()` runs an application on one of `KINDS`; `request()` makes the octets of a request; `Body` is an iterable that
counts how often it is iterated and closed.  Nothing in this file asserts anything about a gateway.

Two paths serve applications: the native one, where nothing is overridden, and wsgiref.handlers, where something is.
The checklist holds for both, but for the claims in `ONLY_NATIVE`, each with its reason.
"""
import contextlib
import io

import pytest

from support import fetch, load_backend, serving

#: With threads, and an access log of the program's; without threads, with the log as it comes.
NATIVE = ("threads", "single")
KINDS = (*NATIVE, "overridden")

_ONE_REQUEST = "the original answers one request a connection, with HTTP/1.0, and so do handlers that override it"

#: What is asked of the native path alone, and why: mostly what wsgiref.handlers does otherwise than the PEP says.
ONLY_NATIVE = {
    "kept connections": _ONE_REQUEST,
    "HTTP/1.1": _ONE_REQUEST,
    "absolute targets": "the original's get_environ() takes the whole target for the path",
    "underscores": "the original's get_environ() makes no difference between names with hyphens and with underscores",
    "environ is not read again": "wsgiref.handlers looks SERVER_PROTOCOL up in it when the head is sent",
    "head waits for data": "wsgiref.handlers sends the head with the first block, even with an empty one",
    "length is a bound": "wsgiref.handlers sends what comes, whatever Content-Length the application gave",
    "short is told": "wsgiref.handlers does not compare Content-Length with what was sent",
    "no length of what is not sent": "wsgiref.handlers says Content-Length: 0 where no block came, or that of the only one",
    "list is not kept": "wsgiref.handlers writes Content-Length into the application's list, and reads it when the "
                        "head is sent",
    "names are tokens": "wsgiref.handlers does not look at the names of header fields",
    "any encoding error is 500": "wsgiref.handlers encodes header fields when the status line is out",
    "exc_info is raised": "wsgiref.handlers raises what is being handled, not what it is given",
    "errors of close()": "wsgiref.handlers forgets that the head was sent, and sends another",
    "server knows it is one of several": "turbo_multiprocess is read by the native path",
    "environ without the system's": "turbo_os_environ is read by the native path",
}

#: A tuple, so that no application gives it away: wsgiref.handlers adds to a list.
TEXT = (("Content-Type", "text/plain"),)


def gateways(claim=None):
    """Run a test with each `kind` of gateway, or, with one of ONLY_NATIVE, with the native ones."""
    assert claim is None or claim in ONLY_NATIVE, claim
    return pytest.mark.parametrize("kind", NATIVE if claim else KINDS)


def make(app, kind, *, server=None, handler=None):
    """A server of that kind for `app`, bound to a port; further class attributes in `server` and `handler`."""
    ours = load_backend("turboserver").simple_server
    base = ours.WSGIServer if kind == "single" else ours.ThreadingWSGIServer
    members = dict(handler or {})
    if kind == "overridden":
        def get_environ(self):
            return super(handler_class, self).get_environ()

        members |= {"get_environ": get_environ, "log_message": lambda self, *arguments: None}
    handler_class = type("Handler", (ours.WSGIRequestHandler,), members)
    made = ours.make_server("127.0.0.1", 0, app, type("Server", (base,), dict(server or {})), handler_class)
    if kind == "threads":
        made.turbo_access_log = lambda environ, status, sent, seconds: None
    return made


@contextlib.contextmanager
def serve(app, kind, **classes):
    """Serve `app`; gives the server.  What goes to sys.stderr meanwhile is in its `errors`, a StringIO."""
    with contextlib.redirect_stderr(io.StringIO()) as errors, serving(make(app, kind, **classes)) as server:
        server.errors = errors
        yield server


def request(method="GET", target="/", headers=(), body=None, version="HTTP/1.1"):
    """The octets of a request: str for all but the body, whose length is added unless it is None."""
    lines = [f"{method} {target} {version}", "Host: example.org"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def ask(kind, app, *, method="GET", version="HTTP/1.1", body=None, headers=()):
    """(response, what was logged) for one request to `app`."""
    with serve(app, kind) as server:
        response = fetch(server, method=method, version=version, body=body, headers=headers)
    return response, server.errors.getvalue()


def chunked(*chunks, extension=b"", trailers=b""):
    """A body in the chunked transfer coding."""
    return b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\n%s\r\n" % trailers


def answering(*blocks, status="200 OK", headers=TEXT):
    """An application that answers every request with these blocks."""
    def app(environ, start_response):
        start_response(status, list(headers))
        return list(blocks)
    return app


def returning(make_body, headers=TEXT, status="200 OK"):
    """An application that returns what `make_body` makes for each request."""
    def app(environ, start_response):
        start_response(status, list(headers))
        return make_body()
    return app


def sized(count):
    return [*TEXT, ("Content-Length", str(count))]


class Body:
    """An iterable for `blocks`, of which exceptions are raised and callables called for a block.

    `started` and `closed` count calls of __iter__ and close().
    """

    def __init__(self, *blocks):
        self.blocks, self.started, self.closed = blocks, 0, 0

    def __iter__(self):
        self.started += 1
        for block in self.blocks:
            if isinstance(block, BaseException):
                raise block
            yield block() if callable(block) else block

    def close(self):
        self.closed += 1


class Lengthy(Body):
    """A body that knows the number of its blocks."""

    def __len__(self):
        return len(self.blocks)
