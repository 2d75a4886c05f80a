"""PEP 3333 as a checklist, third part: applications that fail, and clients that go.

Each docstring names the section of the PEP.  What is asked of the native path alone is in wsgi_gateways.ONLY_NATIVE.
"""
import sys
import threading

import pytest

from support import DEADLINE, Client, connect, exchange, fetch, wait_until
from wsgi_gateways import TEXT, Body, answering, ask, gateways, request, serve


# ---------------------------------------------------------------- before the head

FAILURES = {
    "raises": lambda environ, start_response: 1 / 0,
    "raises after start_response": lambda environ, start_response: (start_response("200 OK", [*TEXT]), 1 / 0),
    "raises SystemExit": lambda environ, start_response: sys.exit("bye"),
    "is not called": lambda environ, start_response: [b"never"],
    "is not called, nothing": lambda environ, start_response: [],
    "returns None": lambda environ, start_response: start_response("200 OK", [*TEXT]) and None,
    "returns a number": lambda environ, start_response: (start_response("200 OK", [*TEXT]), 5)[1],
    "returns str": lambda environ, start_response: (start_response("200 OK", [*TEXT]), "text")[1],
    "returns bytes": lambda environ, start_response: (start_response("200 OK", [*TEXT]), b"data")[1],
    "str": answering("text"), "None": answering(None), "number": answering(5), "bytearray": answering(bytearray(b"x")),
    "memoryview": answering(memoryview(b"x")), "list": answering([b"x"]),
    "takes one argument": lambda environ: [b"never"],
    "first step raises": lambda environ, start_response: (start_response("200 OK", [*TEXT]), Body(ZeroDivisionError()))[1],
    "__iter__ raises": lambda environ, start_response: (start_response("200 OK", [*TEXT]), map(*[None]))[1],
}


@gateways()
@pytest.mark.parametrize("name", FAILURES)
def test_failure_before_the_head(kind, name):
    """Error Handling: "applications should try to trap their own, internal errors"; the server answers what is left,
    with 500, says why in wsgi.errors and nothing of it to the client, and goes on."""
    with serve(FAILURES[name], kind) as server:
        response = fetch(server)
        assert response.status == 500
        assert b"Traceback" not in response.body and b"Error" not in response.raw.replace(b"Internal Server Error", b"")
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"
    assert server.errors.getvalue()


@gateways()
def test_failure_is_logged_with_its_traceback(kind):
    """environ Variables, wsgi.errors: "most servers: the server's error log" - where exceptions go as well."""
    def the_culprit():
        raise LookupError("no luck")

    response, log = ask(kind, lambda environ, start_response: the_culprit())
    assert response.status == 500 and "the_culprit" in log and "LookupError: no luck" in log


# ---------------------------------------------------------------- after the head

def late(when):
    """An application whose start_response is called with exc_info when the head is out; `when` is with that error
    "being handled", or "kept" from before."""
    caught = []

    def app(environ, start_response):
        start_response("200 OK", [("X", "first")])
        yield b"some "
        try:
            raise LookupError("after the head")
        except LookupError as error:
            info = sys.exc_info()
            if when == "being handled":
                try:
                    start_response("500 Late", [*TEXT], info)
                except BaseException as raised:
                    caught.append(raised is error)
                    raise
        try:
            start_response("500 Late", [*TEXT], info)
        except BaseException as raised:
            caught.append(raised is info[1])
            raise

    app.caught = caught
    return app


def assert_broken_off(server, body, method=b"GET"):
    """The answer begins with `body`, and the client can tell that it is not complete."""
    raw = exchange(server, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n", half_close=False)
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and body in rest and b" 500 " not in raw
    if b"transfer-encoding: chunked" in head.lower():
        assert not rest.endswith(b"0\r\n\r\n")
    else:
        assert b"content-length: " in head.lower()
        assert len(rest) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


@gateways("HTTP/1.1")
def test_exc_info_after_the_head(kind):
    """Error Handling: "if exc_info is provided, and the HTTP headers have already been sent, start_response must raise
    an error, and should re-raise using the exc_info tuple"; then the answer is broken off."""
    app = late("being handled")
    with serve(app, kind) as server:
        assert_broken_off(server, b"some ")
    assert app.caught == [True] and "after the head" in server.errors.getvalue()


@gateways("exc_info is raised")
def test_exc_info_after_the_head_from_elsewhere(kind):
    """The same, where the exception is not being handled any more."""
    app = late("kept")
    with serve(app, kind) as server:
        exchange(server, request())
    assert app.caught == [True]


@gateways("HTTP/1.1")
@pytest.mark.parametrize("failure", (ZeroDivisionError(), SystemExit(), "text", None, 5, bytearray(b"x")),
                         ids=("error", "exit", "str", "None", "int", "bytearray"))
@pytest.mark.parametrize("length", (None, 100), ids=("chunked", "length"))
def test_failure_after_the_head(kind, failure, length):
    """Error Handling: the headers being sent, "the server should abort": the client must not take it for complete."""
    body = Body(b"begun", failure)

    def app(environ, start_response):
        start_response("200 OK", [*TEXT] + [("Content-Length", str(length))] * bool(length))
        return body

    with serve(app, kind) as server:
        assert_broken_off(server, b"begun")
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"
        wait_until(lambda: body.closed)
    assert body.closed == 1 and "Traceback" in server.errors.getvalue()


@gateways()
def test_connection_error_of_the_application(kind):
    """Error Handling: one that has nothing to do with the client, of a database say, leaves no client waiting."""
    def app(environ, start_response):
        raise ConnectionResetError("the database")

    with serve(app, kind) as server:
        raw = exchange(server, request(), half_close=False) if kind == "overridden" else fetch(server).raw
        assert raw == b"" or b" 500 " in raw.split(b"\r\n")[0]
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"


@gateways("kept connections")
def test_failure_and_the_next_request(kind):
    """Error Handling: a 500 ends as any answer does; the next request of the connection is answered, or the
    connection is closed."""
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/bad":
            raise LookupError("no luck")
        start_response("200 OK", [*TEXT])
        return [b"good"]

    with serve(app, kind) as server, Client(server) as client:
        assert client.request(path="/good").body == b"good"
        bad = client.request(path="/bad", method="POST", body=b"GET /x HTTP/1.1\r\n\r\n")
        assert bad.status == 500
        if (bad.get("Connection") or "").lower() == "close":
            assert client.at_eof()
        else:
            assert client.request(path="/good").body == b"good"


@gateways()
def test_client_disconnects_while_reading(kind):
    """Error Handling: a client that goes within its body is an error to who reads on, and to nobody else."""
    entered, outcomes = threading.Event(), []

    def app(environ, start_response):
        entered.set()
        try:
            outcomes.append(environ["wsgi.input"].read(1000))
        except OSError as error:
            outcomes.append(error)
            raise
        return [b"never"]

    with serve(app, kind) as server:
        sock = connect(server)
        # Longer than what is awaited before the application runs.
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun")
        assert entered.wait(DEADLINE)
        sock.close()
        wait_until(lambda: outcomes)
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"
    assert len(outcomes) == 1 and isinstance(outcomes[0], OSError)
