"""PEP 3333 as a checklist, eighth part: close() of what an application returns.

"If the iterable returned by the application has a close() method, the server or gateway must call that method upon completion
of the current request, whether the request was completed normally, or terminated early due to an application error during
iteration or an early disconnect of the browser." All of it is in the section Specification Details.
"""
import itertools
import socket
import struct
import threading

import pytest

from support import DEADLINE, Client, connect, exchange, fetch, wait_until
from wsgi_gateways import TEXT, Body, Lengthy, answering, gateways, request, returning, serve, sized


def closing(kind, body, *, method="GET", status="200 OK", headers=TEXT, start=True):
    """The response, or None where it is broken off, for an application that returns `body`; closed exactly once."""
    def app(environ, start_response):
        if start:
            start_response(status, list(headers))
        return body

    with serve(app, kind) as server:
        try:
            response = fetch(server, method=method)
        except EOFError:
            response = None
        wait_until(lambda: body.closed)
    assert body.closed == 1
    return response


@gateways()
def test_close(kind):
    """Specification Details: "if the iterable returned by the application has a close() method, the server or gateway
    must call that method upon completion of the current request"."""
    assert closing(kind, Body(b"one", b"two")).body == b"onetwo"
    assert closing(kind, Lengthy(b"one")).body == b"one"
    assert closing(kind, Body()).body == b""
    assert closing(kind, Lengthy()).body == b""
    assert closing(kind, Body(b"12345", b"6"), headers=sized(6)).body == b"123456"


@gateways()
def test_close_without_a_body(kind):
    """The same, where there is nothing to send; and whether the server iterates or not."""
    assert closing(kind, Body(b"one", b"two"), method="HEAD").body == b""
    assert closing(kind, Lengthy(b"one"), method="HEAD").body == b""
    assert closing(kind, Body(), status="204 No Content", headers=[]).status == 204
    assert closing(kind, Body(b"one"), status="304 Not Modified", headers=[]).status == 304


@gateways()
def test_close_after_errors(kind):
    """The same, "whether the request was completed normally, or terminated early due to an application error during
    iteration"."""
    assert closing(kind, Body(LookupError("first step"))).status == 500
    assert closing(kind, Body("text")).status == 500
    assert closing(kind, Body(b"never"), start=False).status == 500
    assert closing(kind, Body(), start=False).status == 500
    closing(kind, Body(b"begun", LookupError("second step")))
    closing(kind, Body(b"begun", "text"))


@gateways()
def test_close_where_iteration_does_not_begin(kind):
    """The same, where iter() fails."""
    class NotIterable(Body):
        def __iter__(self):
            raise LookupError("no iteration")

    assert closing(kind, NotIterable()).status == 500


@gateways()
def test_close_is_that_of_what_was_returned(kind):
    """The same: the iterable's, not that of the iterator which it gives."""
    inner = Body(b"x")
    inner.__class__ = type("Iterator", (Body,), {"__next__": lambda self: next(self.steps), "__iter__": lambda self: self})
    inner.steps = iter([b"x"])

    class Outer(Body):
        def __iter__(self):
            return inner

    assert closing(kind, Outer()).body == b"x"
    assert inner.closed == 0


@gateways()
def test_close_finalises_a_generator(kind):
    """The same, for a generator: its finally clause has run when the request is done, also if it has not ended."""
    ended = []

    def app(environ, start_response):
        start_response("200 OK", sized(3))
        try:
            yield b"one"
            yield b""
        finally:
            ended.append(True)

    for method in ("GET", "HEAD"):
        ended.clear()
        with serve(app, kind) as server:
            fetch(server, method=method)
            wait_until(lambda: ended)
        assert ended == [True]


@gateways()
@pytest.mark.parametrize("reset", (False, True), ids=("closes", "resets"))
def test_close_when_the_client_goes(kind, reset):
    """The same, "or ... early disconnect of the browser"; the server goes on."""
    body = Body()
    begun = threading.Event()

    def endless():
        begun.set()
        return b"x" * 100_000

    body.blocks = itertools.repeat(endless)
    with serve(returning(lambda: body), kind) as server:
        sock = connect(server)
        sock.sendall(request())
        assert begun.wait(DEADLINE)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        wait_until(lambda: body.closed)
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"
    assert body.closed == 1


@gateways("errors of close()")
def test_close_fails(kind):
    """The same, where close() itself fails: said in wsgi.errors; the answer that is out is whole and the only one."""
    class Failing(Body):
        def close(self):
            super().close()
            raise LookupError("close failed")

    for body in (Failing(b"one", b"two"), Failing(b"onetwo")):
        with serve(returning(lambda: body), kind) as server:
            raw = exchange(server, request())
            assert raw.count(b"HTTP/1.1") == 1 and raw.startswith(b"HTTP/1.1 200 ")
            assert fetch(server).status == 200
        assert body.closed == 2 and "close failed" in server.errors.getvalue()


@gateways("kept connections")
def test_close_comes_before_the_next_request(kind):
    """The same: "upon completion of the current request", so before the next of the connection begins."""
    events = []

    class Noted(Body):
        def close(self):
            events.append("closed")

    def app(environ, start_response):
        events.append("called")
        start_response("200 OK", [*TEXT])
        return Noted(b"a", b"b")

    with serve(app, kind) as server:
        assert exchange(server, request() * 5).count(b"HTTP/1.1 200 ") == 5
    assert events == ["called", "closed"] * 5

@gateways()
@pytest.mark.parametrize("version", ("HTTP/1.0", "HTTP/1.1"))
@pytest.mark.parametrize("make_body", (lambda base: base(b"one", b"two"), lambda base: base(), lambda base: base(b"x" * 500)),
                         ids=("blocks", "nothing", "one block"))
def test_answer_does_not_wait_for_close(kind, make_body, version):
    """The same: "upon completion": what close() does, which may take long, keeps nothing of the answer back, as far as the
    client can tell where the answer ends without the end of the connection."""
    complete, waited = threading.Event(), []

    class Slow(Body):
        def close(self):
            waited.append(complete.wait(DEADLINE))

    body = make_body(Slow)
    length = sum(map(len, body.blocks))
    headers = sized(length) if version == "HTTP/1.0" or kind == "overridden" else TEXT
    with serve(returning(lambda: body, headers), kind) as server, Client(server) as client:
        client.send(request(version=version))
        assert len(client.read().body) == length
        complete.set()
        wait_until(lambda: waited)
    assert waited == [True]


@gateways("errors of close()")
def test_close_fails_when_all_is_sent(kind):
    """The same: an answer that was whole is not made a broken one, though its end is that of the connection."""
    class Failing(Body):
        def close(self):
            raise LookupError("close failed")

    with serve(returning(lambda: Failing(b"one", b"two")), kind) as server, connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := sock.recv(1000):      # a reset raises
            answer += data
        assert answer.endswith(b"\r\n\r\nonetwo")
