"""Applications of every shape under wsgiref.validate, over real sockets.

The validator stands between gateway and application and asserts that both keep to PEP 3333: what the gateway does wrong
comes out as 500 here, where the applications are right; where they are wrong, its AssertionError must come out as that.

It warns (WSGIWarning) of what is odd but allowed, such as an unknown method; warnings in threads of the server
are errors in these tests, too, so that they would be 500; what is expected is ignored for its test alone.
"""
import io
import sys
import wsgiref.validate

import pytest

from support import Client, exchange, fetch, wait_until
from wsgi_gateways import TEXT, Body, chunked, gateways, request, serve

NO_CONTENT = ()      # header fields of an answer that may have no type


def validated(app):
    return wsgiref.validate.validator(app)


def head(status="200 OK", headers=TEXT):
    """An application is made of what it returns: f(environ) behind this head."""
    def decorate(function):
        def app(environ, start_response):
            start_response(status, list(headers))
            return function(environ)
        return app
    return decorate


# ---------------------------------------------------------------- applications that are right

def lazy(environ, start_response):
    start_response("200 OK", [*TEXT])
    yield b"one "
    yield b"two"


class LazyObject:
    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", [*TEXT])
        yield b"one two"


def writes(environ, start_response):
    write = start_response("200 OK", [*TEXT])
    write(b"one ")
    write(b"")
    return [b"two"]


def writes_all(environ, start_response):
    start_response("200 OK", [*TEXT])(b"one two")
    return []


def replaces(environ, start_response):
    start_response("200 OK", [*TEXT])
    try:
        raise LookupError
    except LookupError:
        start_response("200 Replaced", [*TEXT], sys.exc_info())
    return [b"one two"]


def replaces_lazily(environ, start_response):
    try:
        raise LookupError
    except LookupError:
        start_response("200 OK", [*TEXT], sys.exc_info())
    yield b"one two"


def logs(environ, start_response):
    environ["wsgi.errors"].write("logged\n")
    environ["wsgi.errors"].writelines(["more\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", [*TEXT])
    return [b"one two"]


WRAPPED = b"one two"

RIGHT = {
    "list": head()(lambda environ: [b"one two"]), "two blocks": head()(lambda environ: [b"one ", b"two"]),
    "tuple": head()(lambda environ: (b"one ", b"two")), "iterator": head()(lambda environ: iter([b"one ", b"two"])),
    "object": head()(lambda environ: Body(b"one ", b"two")),
    "empty blocks": head()(lambda environ: [b"", b"one two", b""]),
    "length": head(headers=[*TEXT, ("Content-Length", "7")])(lambda environ: Body(b"one ", b"two")),
    "file": head()(lambda environ: environ["wsgi.file_wrapper"](open(__file__, "rb"))),
    "file in memory": head()(lambda environ: environ["wsgi.file_wrapper"](io.BytesIO(WRAPPED), 3)),
    "generator": lazy, "lazy object": LazyObject, "writes": writes, "writes all": writes_all, "replaces": replaces,
    "replaces lazily": replaces_lazily, "logs": logs,
}


def content(name):
    if name == "file":
        with open(__file__, "rb") as file:
            return file.read()
    return WRAPPED


@gateways()
@pytest.mark.parametrize("method", ("GET", "HEAD", "POST", "DELETE"))
def test_right(kind, method):
    """Each is answered rightly, and neither side has anything to complain of; HEAD has no body."""
    apps = {name: validated(app) for name, app in RIGHT.items()}

    def route(environ, start_response):
        return apps[environ["PATH_INFO"][1:].replace("-", " ")](environ, start_response)

    with serve(route, kind) as server:
        for name in RIGHT:
            response = fetch(server, "/" + name.replace(" ", "-"), method=method, body=b"form" if method == "POST" else None)
            assert (response.status, response.body) == (200, b"" if method == "HEAD" else content(name)), name
    log = server.errors.getvalue()
    assert "Error" not in log and "without being closed" not in log


@gateways()
@pytest.mark.parametrize("status", ("204 No Content", "304 Not Modified"))
def test_right_without_content(kind, status):
    with serve(validated(head(status, NO_CONTENT)(lambda environ: [])), kind) as server:
        response = fetch(server)
        assert (response.status, response.body) == (int(status[:3]), b"")
    assert "Error" not in server.errors.getvalue()


@gateways("kept connections")
def test_right_on_one_connection(kind):
    """All of them in a row, pipelined."""
    apps = {name: validated(app) for name, app in RIGHT.items()}

    def route(environ, start_response):
        return apps[environ["PATH_INFO"][1:].replace("-", " ")](environ, start_response)

    with serve(route, kind) as server, Client(server) as client:
        client.send(b"".join(request(target="/" + name.replace(" ", "-")) for name in RIGHT))
        for name in RIGHT:
            assert client.read().body == content(name), name
    assert "Error" not in server.errors.getvalue()


# ---------------------------------------------------------------- what was sent, read in every way

DATA = b"first line\nsecond line\n" + b"x" * 100_000 + b"\nlast"


def in_pieces(data):
    while piece := data.read(1000):
        yield piece


READERS = {
    "pieces": in_pieces, "all": lambda data: [data.read(len(DATA))], "more": lambda data: [data.read(1 << 20)],
    "lines": lambda data: iter(data.readline, b""), "short lines": lambda data: iter(lambda: data.readline(50), b""),
    "readlines": lambda data: data.readlines(), "readlines hint": lambda data: [*data.readlines(10), *data.readlines()],
    "iteration": iter,
}


@gateways()
@pytest.mark.parametrize("coded", (False, True), ids=("length", "chunked"))
def test_uploads(kind, coded):
    """The validator's wsgi.input passes on read(size), readline(), readlines() and iteration, and checks what comes."""
    def app(environ, start_response):
        reader = READERS[environ["PATH_INFO"][1:].replace("-", " ")]
        parts = list(reader(environ["wsgi.input"]))
        rest = environ["wsgi.input"].read(1)
        start_response("200 OK", [*TEXT])
        return [*parts, rest]

    with serve(validated(app), kind) as server:
        for name in READERS:
            target = "/" + name.replace(" ", "-")
            with Client(server) as client:
                if coded:
                    client.send(request("POST", target, [("Transfer-Encoding", "chunked")]))
                    client.send(chunked(DATA[:5], DATA[5:30], DATA[30:]))
                else:
                    client.send(request("POST", target, body=DATA))
                response = client.read()
            assert response.status == 200 and response.body == DATA, name
    assert "Error" not in server.errors.getvalue()


@gateways("HTTP/1.1")
def test_upload_with_expect(kind):
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        return [environ["wsgi.input"].read(4)]

    with serve(validated(app), kind) as server, Client(server) as client:
        client.send(request("POST", headers=[("Expect", "100-continue"), ("Content-Length", 4)]))
        assert client.read().status == 100
        client.send(b"body")
        assert client.read().body == b"body"


# ---------------------------------------------------------------- requests of every shape

REQUESTS = {
    "http/1.0": b"GET / HTTP/1.0\r\n\r\n", "query": request(target="/a%20b/%C3%BC?c=d"),
    "fields": request(headers=[("X-A", "1"), ("X-A", "2"), ("X-8", "\xe9"), ("X_Y", "z"), ("Content-Type", ""), ("X-E", "")]),
    "typed": request("PUT", headers=[("Content-Type", "text/x")], body=b"x"), "empty body": request("POST", body=b""),
    "options": request("OPTIONS", "/"), "trace": request("TRACE"), "patch": request("PATCH", body=b"x"),
    "chunked": request("POST", headers=[("Transfer-Encoding", "chunked")]) + chunked(b"x"),
}


@gateways()
def test_environ(kind):
    """check_environ() has nothing to say of what the gateway makes of requests."""
    with serve(validated(RIGHT["list"]), kind) as server:
        for name, data in REQUESTS.items():
            assert exchange(server, data).partition(b" ")[2].startswith(b"200 "), name
    assert "Error" not in server.errors.getvalue()


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD:wsgiref.validate.WSGIWarning")
@gateways()
def test_unknown_method(kind):
    with serve(validated(RIGHT["list"]), kind) as server:
        assert fetch(server, method="PROPFIND").body == WRAPPED


# ---------------------------------------------------------------- applications that are wrong

def calls_with_names(environ, start_response):
    start_response(status="200 OK", headers=[*TEXT])


def calls_with_one(environ, start_response):
    start_response("200 OK")


def starts_twice(environ, start_response):
    start_response("200 OK", [*TEXT])
    start_response("200 OK", [*TEXT])
    return [b"never"]


def writes_text(environ, start_response):
    start_response("200 OK", [*TEXT])("text")
    return []


def reads_without_a_size(environ, start_response):
    environ["wsgi.input"].read()


def closes_the_input(environ, start_response):
    environ["wsgi.input"].close()


def closes_the_errors(environ, start_response):
    environ["wsgi.errors"].close()


def bad_exc_info(environ, start_response):
    start_response("200 OK", [*TEXT], "exc_info")


def never_starts(environ, start_response):
    return [b"never"]


WRONG = {function.__name__.replace("_", " "): function for function in (
    calls_with_names, calls_with_one, starts_twice, writes_text, reads_without_a_size, closes_the_input, closes_the_errors,
    bad_exc_info, never_starts)}
WRONG |= {
    "text": head()(lambda environ: ["text"]), "None": head()(lambda environ: None), "string": head()(lambda environ: "text"),
    "bytes": head()(lambda environ: b"bytes"), "no block": head()(lambda environ: [None]),
    "status bytes": head(b"200 OK")(lambda environ: [b"never"]), "status short": head("20 OK")(lambda environ: [b"never"]),
    "status text": head("abc OK")(lambda environ: [b"never"]),
    "headers of bytes": head(headers=[(b"Content-Type", b"text/plain")])(lambda environ: [b"never"]),
    "no content type": head(headers=())(lambda environ: [b"never"]),
    "content type of nothing": head("204 No Content")(lambda environ: []),
    "field named status": head(headers=[*TEXT, ("Status", "200")])(lambda environ: [b"never"]),
    "name with a colon": head(headers=[*TEXT, ("X:", "y")])(lambda environ: [b"never"]),
    "value with a line end": head(headers=[*TEXT, ("X", "y\nz")])(lambda environ: [b"never"]),
    "hop by hop": head(headers=[*TEXT, ("Connection", "close")])(lambda environ: [b"never"]),
    "raises": lambda environ, start_response: 1 / 0,
    "raises behind": head()(lambda environ: 1 / 0),
    "raises in the first step": head()(lambda environ: Body(ZeroDivisionError())),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")   # the validator asserts in __del__, too
@gateways()
def test_wrong(kind):
    """The validator's complaints, and the applications' own exceptions, are 500 and in wsgi.errors; the next request is
    answered."""
    apps = {name: validated(app) for name, app in WRONG.items()} | {"right": validated(RIGHT["list"])}

    def route(environ, start_response):
        return apps[environ["PATH_INFO"][1:].replace("-", " ")](environ, start_response)

    with serve(route, kind) as server:
        for name in WRONG:
            before = len(server.errors.getvalue())
            response = fetch(server, "/" + name.replace(" ", "-"))
            logged = server.errors.getvalue()[before:]
            assert response.status == 500, name
            assert "Traceback" in logged and any(error in logged for error in (
                "AssertionError", "ZeroDivisionError", "ValueError", "TypeError")), name
            assert fetch(server, "/right").body == WRAPPED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@gateways("HTTP/1.1")
@pytest.mark.parametrize("failure", (ZeroDivisionError(), "text", None), ids=("raises", "text", "None"))
def test_wrong_after_the_head(kind, failure):
    """The same, when the head is out: the answer is broken off, and the body closed."""
    body = Body(b"begun ", failure)
    with serve(validated(head()(lambda environ: body)), kind) as server:
        with Client(server) as client, pytest.raises(EOFError):
            client.request()
        wait_until(lambda: body.closed)
        server.set_app(validated(RIGHT["list"]))
        assert fetch(server).body == WRAPPED
    log = server.errors.getvalue()
    assert body.closed == 1 and ("ZeroDivisionError" in log or "AssertionError" in log)
    assert "without being closed" not in log
