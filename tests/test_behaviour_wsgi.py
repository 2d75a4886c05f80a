"""Differential: wsgiref.simple_server: environ, start_response, write, and applications that misbehave.

Every case serves one application with make_server() of both backends and compares the complete answer, the log
and what the application saw of its environment. Ours serves it twice: natively, where an answer may be framed otherwise
and connections are kept (so its body and its other headers are compared), and with a method overridden, where the
answer has to be the original's, octet for octet.
"""
import contextlib
import io
import sys
import wsgiref.util
import wsgiref.validate

import pytest

from differential import Observation, judge, normalise_answer, normalise_log
from support import ResponseReader, connect, exchange, has_turboserver, load_backend, serving

GET = b"GET /path%20x/y?q=1&r=%2F HTTP/1.1\r\nHost: a:80\r\nX-One: 1\r\nx-one: 2\r\nCookie: c=d\r\n\r\n"
POST = (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Type: text/x; y=z\r\nContent-Length: 10\r\n\r\n"
        b"line\nrest\n")


def handler_of(backend):
    """A handler class that is not answered natively."""
    original = backend.simple_server.WSGIRequestHandler
    return type("Handler", (original,), {"get_environ": lambda self: original.get_environ(self)})


def observe(backend, app, data):
    seen, stderr = [], io.StringIO()
    with contextlib.redirect_stderr(stderr):
        server = backend.simple_server.make_server("127.0.0.1", 0, lambda *args: app(seen, *args),
                                                   handler_class=handler_of(backend))
        with serving(server):
            answer = exchange(server, data).replace(str(server.server_port).encode(), b"PORT")
    return Observation(normalise_answer(answer), normalise_log(stderr.getvalue()), seen)


def assert_same(case, app, data):
    reference = observe(load_backend("stdlib"), app, data)
    if not has_turboserver():
        judge("", reference, observe(load_backend("stdlib"), app, data))
    judge(case, reference, observe(load_backend("turboserver"), app, data))


#: How a native answer may say where it ends, and whether the connection does.
FRAMING = {"content-length", "transfer-encoding", "connection"}


def observe_message(backend, app, data):
    """Of the first answer to `data`: status, reason, headers but for FRAMING, body; and what the application saw."""
    seen, stderr = [], io.StringIO()
    with contextlib.redirect_stderr(stderr):
        server = backend.simple_server.make_server("127.0.0.1", 0, lambda *args: app(seen, *args))
        with serving(server), connect(server) as sock:
            sock.sendall(data)
            try:
                answer = ResponseReader(sock).read(data.split()[0].decode())
            except EOFError as error:   # the end of an answer that the application did not finish
                return str(error).partition(":")[0], seen
    headers = [(name, value.replace(str(server.server_port), "PORT")) for name, value in answer.headers if name.lower() not in FRAMING | {"date"}]
    return answer.status, answer.reason, headers, answer.body, seen[:3]


APPS = {}


def app(function):
    def with_headers_of_its_own(*args):
        del TEXT[1:]        # wsgiref adds to the list that it is given
        return function(*args)

    APPS[function.__name__.replace("_", " ")] = with_headers_of_its_own
    return function


TEXT = [("Content-Type", "text/plain")]


@app
def hello(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


@app
def two_pieces(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return [b"one ", b"two"]


@app
def with_a_length(seen, environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "5")])
    return iter([b"he", b"llo"])


@app
def nothing(seen, environ, start_response):
    start_response("204 No Content", [])
    return []


@app
def empty_pieces(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return [b"", b"x", b""]


@app
def generator(seen, environ, start_response):
    start_response("200 OK", TEXT)
    for number in range(5):
        yield b"%d " % number


@app
def write_callable(seen, environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written ")
    write(b"twice ")
    return [b"and returned"]


@app
def large(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return [b"x" * 1_000_000] * 3


@app
def file_wrapper(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"file " * 5000), 1000)


@app
def closes(seen, environ, start_response):
    class Body:
        def __iter__(self):
            return iter([b"body"])

        def close(self):
            seen.append("closed")

    start_response("200 OK", TEXT)
    return Body()


@app
def raises_before(seen, environ, start_response):
    raise ValueError("before start_response")


@app
def raises_after(seen, environ, start_response):
    start_response("200 OK", TEXT)
    raise ValueError("after start_response")


@app
def raises_while_iterating(seen, environ, start_response):
    start_response("200 OK", TEXT)
    yield b"some "
    raise ValueError("in the middle")


@app
def replaces_after_an_error(seen, environ, start_response):
    start_response("200 OK", TEXT)
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("500 Oops", TEXT, sys.exc_info())
    return [b"replaced"]


@app
def start_response_twice(seen, environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"never"]


@app
def bad_status(seen, environ, start_response):
    start_response("fine", TEXT)
    return [b"never"]


@app
def hop_by_hop(seen, environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return [b"never"]


@app
def own_server_and_date(seen, environ, start_response):
    start_response("200 OK", TEXT + [("Server", "mine"), ("Date", "long ago")])
    return [b"own"]


@app
def strings(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return ["text, not bytes"]


@app
def redirect(seen, environ, start_response):
    start_response("302 Found", [("Location", wsgiref.util.application_uri(environ).replace("a:80", "a") + "x")])
    return [b""]


@app
def errors_stream(seen, environ, start_response):
    environ["wsgi.errors"].write("to the errors\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"logged"]


@app
def environment(seen, environ, start_response):
    import os
    shown = {name: value for name, value in environ.items()
             if name not in os.environ and not name.startswith("wsgi.") and name != "SERVER_NAME"}
    shown["SERVER_PORT"] = shown["SERVER_PORT"].isdigit()
    seen.append(sorted(shown.items()))
    seen.append({name: environ[name] for name in sorted(environ) if name.startswith("wsgi.")
                 and isinstance(environ[name], (str, bool, tuple)) and name != "wsgi.input_terminated"})
    seen.append((wsgiref.util.shift_path_info(environ), environ["SCRIPT_NAME"], environ["PATH_INFO"]))
    start_response("200 OK", TEXT)
    return [b"ok"]


@app
def reads_input(seen, environ, start_response):
    length = int(environ["CONTENT_LENGTH"] or 0)
    data = environ["wsgi.input"]
    seen.append((data.readline(length), data.read(max(0, length - 5))))
    start_response("200 OK", TEXT)
    return [b"read"]


@app
def leaves_input(seen, environ, start_response):
    start_response("200 OK", TEXT)
    return [b"unread"]


STREAMS = {
    "get": GET, "post": POST, "head": GET.replace(b"GET", b"HEAD", 1), "http/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "no path": b"GET ? HTTP/1.1\r\nHost: a\r\n\r\n", "two": GET + GET,
    "odd headers": b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\nX_Y: 2\r\nContent-Type:\r\nX-8: \xe9\r\n\r\n",
    "8-bit path": b"GET /%C3%BC/\xc3\xbc?%C3%BC HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("stream", ("get", "post", "head", "http/1.0"))
@pytest.mark.parametrize("name", [pytest.param(name, id=name.replace(" ", "-")) for name in APPS])
def test_applications(name, stream):
    has_content = name not in ("nothing", "redirect")
    case = "content of HEAD" if stream == "head" and has_content else name
    assert_same("wsgi/" + case, APPS[name], STREAMS[stream])


@pytest.mark.parametrize("stream", STREAMS)
def test_environment(stream):
    case = "content of HEAD" if stream == "head" else f"environment {stream}"
    assert_same("wsgi/" + case, APPS["environment"], STREAMS[stream])


#: What is otherwise natively, and tested elsewhere: an answer that the application does not finish is cut off, not
#: ended; more than its Content-Length is dropped; no content where there can be none.
OTHERWISE = {"raises while iterating", "write callable"}


@pytest.mark.skipif(not has_turboserver(), reason="there is nothing native to compare")
@pytest.mark.parametrize("stream", ("get", "post", "http/1.0"))
@pytest.mark.parametrize("name", [pytest.param(name.replace("_", " "), id=name.replace(" ", "-")) for name in APPS
                                  if name.replace("_", " ") not in OTHERWISE])
def test_applications_natively(name, stream):
    reference = observe_message(load_backend("stdlib"), APPS[name], STREAMS[stream])
    assert observe_message(load_backend("turboserver"), APPS[name], STREAMS[stream]) == reference


@pytest.mark.skipif(not has_turboserver(), reason="there is nothing native to compare")
@pytest.mark.parametrize("stream", ("get", "post", "http/1.0", "no path", "two"))
def test_environment_natively(stream):
    reference = observe_message(load_backend("stdlib"), APPS["environment"], STREAMS[stream])
    assert observe_message(load_backend("turboserver"), APPS["environment"], STREAMS[stream]) == reference


REFUSALS = {
    "nothing": b"", "empty line": b"\r\n", "long line": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
}
MALFORMED = {"one word": b"GET\r\n\r\n", "version": b"GET / HTTP/x\r\n\r\n", "post 0.9": b"POST /\r\n"}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    assert_same("wsgi/refusal", APPS["hello"], REFUSALS[name])


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name):
    assert_same("wsgi/malformed", APPS["hello"], MALFORMED[name])


def test_no_host():
    assert_same("wsgi/no host", APPS["hello"], b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("stream", ("get", "post"))
def test_validated(stream):
    def validated(seen, environ, start_response):
        def inner(environ, start_response):
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
            start_response("200 OK", TEXT)
            return [b"valid"]

        return wsgiref.validate.validator(inner)(environ, start_response)

    assert_same("wsgi/validated", validated, STREAMS[stream])


def test_demo_app():
    for name in ("stdlib", "turboserver"):
        backend = load_backend(name)
        with serving(backend.simple_server.make_server("127.0.0.1", 0, backend.simple_server.demo_app)) as server:
            answer = exchange(server, GET)
        assert b"Hello world!" in answer and b"PATH_INFO = '/path x/y'" in answer
        assert b"QUERY_STRING = 'q=1&r=%2F'" in answer and b"HTTP_X_ONE = '1,2'" in answer
