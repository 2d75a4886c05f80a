"""PEP 3333 as a checklist, fourth part: the body: iteration, write(), and its length.

Each docstring names the section of the PEP.  What is asked of the native path alone is in wsgi_gateways.ONLY_NATIVE.
"""
import itertools
import threading

import pytest

from support import DEADLINE, Client, exchange, fetch, read_until, wait_until
from wsgi_gateways import TEXT, Body, Lengthy, answering, ask, gateways, request, returning, serve, sized


# ---------------------------------------------------------------- Specification Details: iterables

class BySequence:
    """Iterated by __getitem__ alone, as of old."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __getitem__(self, index):
        return self.blocks[index]


ITERABLES = {
    "list": (lambda: [b"a", b"b", b"c"], b"abc"), "tuple": (lambda: (b"a", b"b"), b"ab"), "one": (lambda: [b"one"], b"one"),
    "generator": (lambda: (block for block in (b"a", b"b")), b"ab"), "iterator": (lambda: iter([b"a", b"b"]), b"ab"),
    "map": (lambda: map(bytes, ([65], [66])), b"AB"), "chain": (lambda: itertools.chain([b"a"], (b"b",)), b"ab"),
    "object": (lambda: Body(b"a", b"b"), b"ab"), "with a length": (lambda: Lengthy(b"a", b"b"), b"ab"),
    "with the length 1": (lambda: Lengthy(b"one"), b"one"), "sequence": (lambda: BySequence(b"a", b"b"), b"ab"),
    "dict": (lambda: {b"a": 1, b"b": 2}, b"ab"),
    "none": (lambda: [], b""), "no tuple": (lambda: (), b""), "empty generator": (lambda: iter(()), b""),
    "empty block": (lambda: [b""], b""), "empty blocks": (lambda: [b"", b"", b""], b""),
    "empty between": (lambda: [b"", b"a", b"", b"b", b""], b"ab"), "empty first of a generator": (lambda: Body(b"", b"a"), b"a"),
    "many": (lambda: [b"%d," % number for number in range(3000)], b"".join(b"%d," % number for number in range(3000))),
    "large": (lambda: [b"x" * 3_000_000], b"x" * 3_000_000),
    "large blocks": (lambda: Body(b"x" * 700_000, b"", b"y" * 1_000_000), b"x" * 700_000 + b"y" * 1_000_000),
}


def test_blocks_are_not_lines():
    """The next test relies on it: every way to iterate gives what it says."""
    for name, (make_body, expected) in ITERABLES.items():
        assert b"".join(make_body()) == expected, name


@gateways()
@pytest.mark.parametrize("version", ("HTTP/1.0", "HTTP/1.1"))
def test_iterables(kind, version):
    """Specification Details: "an iterable yielding zero or more bytestrings", of any kind and length; "the server or
    gateway must transmit the yielded bytestrings to the client", as they are."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        return ITERABLES[environ["QUERY_STRING"].replace("-", " ")][0]()

    with serve(app, kind) as server:
        for name, (make_body, expected) in ITERABLES.items():
            response = fetch(server, "/?" + name.replace(" ", "-"), version=version)
            assert response.status == 200
            assert response.body == expected, name
            if version == "HTTP/1.0":
                assert response.get("Transfer-Encoding") is None
            if response.get("Content-Length") is not None:
                assert response.get("Transfer-Encoding") is None and int(response.get("Content-Length")) == len(expected)


@gateways()
def test_bytes_are_not_touched(kind):
    """Specification Details: "the server or gateway should treat the yielded bytestrings as binary byte sequences"."""
    data = bytes(range(256)) * 10 + b"\r\n0\r\n\r\n\n\r"
    assert ask(kind, answering(data))[0].body == data
    assert ask(kind, returning(lambda: Body(data, data)))[0].body == data * 2


# ---------------------------------------------------------------- Handling the Content-Length Header

@gateways()
def test_length_of_one_block(kind):
    """Handling the Content-Length Header: an iterable of the length 1 says how long the body is."""
    for make_body, length in ((lambda: [b"12345"], "5"), (lambda: (b"123",), "3"), (lambda: [b""], "0"), (lambda: [], "0")):
        assert ask(kind, returning(make_body))[0].get("Content-Length") == length


@gateways()
def test_length_with_something_written(kind):
    """The same, where write() was called: one block is not all, and the server must not say so."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])(b"written ")
        return [b"one"]

    response, log = ask(kind, app)
    assert response.body == b"written one" and response.get("Content-Length") in (None, "11")


@gateways()
@pytest.mark.parametrize("version", ("HTTP/1.0", "HTTP/1.1"))
def test_length_of_the_application(kind, version):
    """Handling the Content-Length Header: what the application says is sent, once, and no other framing."""
    for make_body in (lambda: [b"12345"], lambda: Body(b"12", b"345"), lambda: [b"12", b"345"]):
        for name in ("Content-Length", "content-length"):
            response, log = ask(kind, returning(make_body, [(name, "5")]), version=version)
            assert [field for field in response.headers if field[0].lower() in ("content-length", "transfer-encoding")] == [
                (name, "5")]
            assert response.body == b"12345"
        assert not log or kind == "single"      # which has the access log there


@gateways("length is a bound")
@pytest.mark.parametrize("how", ("list", "one", "generator", "write", "large"))
def test_longer_than_the_application_said(kind, how):
    """Handling the Content-Length Header: "the server should not transmit more bytes to the client than the header
    allows"; said in wsgi.errors, and no harm to the next answer."""
    def app(environ, start_response):
        write = start_response("200 OK", sized(5))
        if how == "write":
            write(b"123")
            write(b"45678")
        return {"list": [b"123", b"45678", b"9"], "one": [b"1234567"], "generator": Body(b"12345", b"6"), "write": [b"9"],
                "large": [b"12345" + b"x" * 500_000]}[how]

    with serve(app, kind) as server, Client(server) as client:
        response = client.request()
        assert (response.body, response.get("Content-Length")) == (b"12345", "5")
        try:
            assert client.request().body == b"12345"
        except (EOFError, ConnectionError):
            pass        # closing is right as well
        assert fetch(server).body == b"12345"
    assert "Content-Length" in server.errors.getvalue()


@gateways("length is a bound")
def test_iteration_ends_with_the_length(kind):
    """Handling the Content-Length Header: the server "should stop iterating over the response when enough data has
    been sent": a body may be endless, but for the sake of a server that does not stop."""
    steps = []
    body = Body(*[lambda: steps.append(1) or b"ab"] * 1000)
    with serve(returning(lambda: body, sized(5)), kind) as server:
        assert fetch(server).body == b"ababa"
        wait_until(lambda: body.closed)
    assert len(steps) < 10


@gateways("short is told")
@pytest.mark.parametrize("how", ("list", "generator", "write", "nothing"))
def test_shorter_than_the_application_said(kind, how):
    """Handling the Content-Length Header: "if the application does not provide enough data ... the server should
    close the connection and log or otherwise report the error"."""
    def app(environ, start_response):
        write = start_response("200 OK", sized(50))
        if how == "write":
            write(b"12345")
        return {"list": [b"123", b"45"], "generator": Body(b"12345"), "write": [], "nothing": []}[how]

    with serve(app, kind) as server, Client(server) as client:
        client.send(request())
        head = read_until(client.sock, b"\r\n\r\n")
        assert b"Content-Length: 50\r\n" in head
        client.send(request())
        rest = b""
        while data := client.sock.recv(1000):
            rest += data
        assert rest == (b"" if how == "nothing" else b"12345")
    assert "Content-Length" in server.errors.getvalue()


@gateways("length is a bound")
def test_length_that_is_none(kind):
    """Handling the Content-Length Header; RFC 9110, 8.6: a value that is no number must not frame an answer."""
    values = ("", "x", "-1", "+5", "5, 5", " 5", "5 ", "1_0", "0x5", "\u0665", "9" * 30)

    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", values[int(environ["QUERY_STRING"])])])
        return [b"12345"]

    with serve(app, kind) as server:
        for number, value in enumerate(values):
            head = exchange(server, request(target=f"/?{number}")).partition(b"\r\n\r\n")[0]
            if b" 500 " not in head.split(b"\r\n")[0]:
                lengths = [line.partition(b":")[2].strip() for line in head.split(b"\r\n")
                           if line.lower().startswith(b"content-length")]
                assert lengths in ([], [b"5"]), value


# ---------------------------------------------------------------- Buffering and Streaming

@gateways()
@pytest.mark.parametrize("version", ("HTTP/1.0", "HTTP/1.1"))
@pytest.mark.parametrize("headers", (TEXT, sized(9)), ids=("no length", "length"))
@pytest.mark.parametrize("how", ("yield", "write"))
def test_no_block_waits_for_the_next(kind, version, headers, how):
    """Buffering and Streaming: servers "must not delay the transmission of any block; they must either fully transmit
    the block to the client, or guarantee that they will continue transmission even while the application is producing
    its next block"; The write() Callable: the same."""
    arrived = threading.Semaphore(0)
    alone = []

    def blocks():
        for block in (b"one", b"two", b"six"):
            yield block
            alone.append(arrived.acquire(timeout=DEADLINE))

    def app(environ, start_response):
        write = start_response("200 OK", list(headers))
        if how == "yield":
            return blocks()
        for block in blocks():
            write(block)
        return []

    with serve(app, kind) as server, Client(server) as client:
        client.send(request(version=version))
        for block in (b"one", b"two", b"six"):
            assert read_until(client.sock, block).endswith(block)
            arrived.release()
        wait_until(lambda: len(alone) == 3)
    assert alone == [True] * 3


@gateways()
def test_blocks_are_asked_for_once(kind):
    """Buffering and Streaming: one step for each block, in order, none after the end."""
    steps = []

    class Steps:
        def __iter__(self):
            steps.append("iter")
            return self

        def __next__(self):
            steps.append("next")
            if len(steps) > 4:
                raise StopIteration
            return b"x"

        def __len__(self):
            raise TypeError("no length")

    assert ask(kind, returning(Steps))[0].body == b"xxx"
    assert steps == ["iter"] + ["next"] * 4


# ---------------------------------------------------------------- The write() Callable

@gateways()
def test_write(kind):
    """The write() Callable: what is written comes in order, and before what is returned."""
    def app(environ, start_response):
        write = start_response("200 OK", [*TEXT])
        for block in (b"one ", b"two ", b"x" * 200_000, b" "):
            write(block)
        return [b"three ", b"four"]

    assert ask(kind, app)[0].body == b"one two " + b"x" * 200_000 + b" three four"


@gateways()
def test_write_and_return_nothing(kind):
    """The write() Callable: an application that writes returns an iterable all the same, empty for example."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])(b"written")
        return []

    assert ask(kind, app)[0].body == b"written"


@gateways()
def test_write_nothing(kind):
    """The write() Callable: an empty string ends nothing, in whatever coding."""
    def app(environ, start_response):
        write = start_response("200 OK", [*TEXT])
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"", b"three"]

    assert ask(kind, app)[0].body == b"one two three"


@gateways()
@pytest.mark.parametrize("data", ("text", None, 5, bytearray(b"x"), [b"x"]), ids=("str", "None", "int", "bytearray", "list"))
def test_write_wrong_types(kind, data):
    """The write() Callable: "accepts a single parameter: a bytestring"."""
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", [*TEXT])
        try:
            write(data)
        except (AssertionError, TypeError) as error:
            raised.append(error)
            raise
        return [b"never"]

    response, log = ask(kind, app)
    assert response.status == 500 and raised and "Traceback" in log


@gateways()
def test_write_from_a_replaced_head(kind):
    """Error Handling: the write() of the first call and that of the second are for the same answer."""
    def app(environ, start_response):
        first = start_response("200 OK", [("X", "first")])
        try:
            raise LookupError
        except LookupError as error:
            second = start_response("500 Again", [("X", "second")], (type(error), error, error.__traceback__))
        first(b"one ")
        second(b"two")
        return []

    response, log = ask(kind, app)
    assert (response.status, response.get("X"), response.body) == (500, "second", b"one two")
