"""PEP 3333 as a checklist, second part: start_response, and the head of an answer.

Each docstring names the section of the PEP.  What is asked of the native path alone is in wsgi_gateways.ONLY_NATIVE.
"""
import sys
import threading

import pytest

from support import DEADLINE, Client, exchange, fetch
from wsgi_gateways import TEXT, answering, ask, gateways, request, serve


def fields(response):
    """The header fields but those that the server adds."""
    added = ("date", "server", "connection", "content-length", "transfer-encoding", "keep-alive")
    return [(name, value) for name, value in response.headers if name.lower() not in added]


def assert_refused(kind, app, *names):
    """The application failed, with one of the named exceptions: 500, and the log has the traceback."""
    response, log = ask(kind, app)
    assert response.status == 500
    assert "Traceback" in log and any(name in log for name in names), log


# ---------------------------------------------------------------- The start_response() Callable

@gateways()
def test_status_line(kind):
    """The start_response() Callable: "the status argument is an HTTP status string", sent as it is."""
    for status in ("200 OK", "404 Not Found", "299 Custom reason: x", "200 ", "500 caf\xe9", "999 Odd"):
        response, log = ask(kind, answering(b"x", status=status))
        line = response.raw.split(b"\r\n")[0].partition(b" ")[2]
        assert line == status.encode("latin-1")


@gateways()
def test_header_fields_as_they_are(kind):
    """The start_response() Callable: what the application gives is sent, in its order, with repetitions."""
    given = [("Set-Cookie", "a=1"), ("X-Mixed-CASE", "v"), ("set-cookie", "b=2"), ("X-Empty", ""), ("Content-Type", "text/x"),
             ("X-8bit", "\xe9\xff"), ("X-Tab", "a\tb"), ("Set-Cookie", "c=3"), ("X-Long", "x" * 10_000)]
    response, log = ask(kind, answering(b"x", headers=given))
    assert fields(response) == given


@gateways()
def test_date_and_server_are_added(kind):
    """The start_response() Callable: "if the application omits a header required by HTTP ... the server or gateway
    must add it", and not where it is there: "remember that HTTP header names are case-insensitive"."""
    response, log = ask(kind, answering(b"x"))
    names = [name.lower() for name, value in response.headers]
    assert names.count("date") == names.count("server") == 1
    own = [("dAte", "long ago"), ("SERVER", "mine"), ("content-LENGTH", "1"), ("content-type", "text/x")]
    response, log = ask(kind, answering(b"x", headers=own))
    assert [field for field in response.headers if field[0].lower() != "connection"] == own


@gateways()
def test_no_header_fields(kind):
    """The start_response() Callable: an empty list is a list."""
    response, log = ask(kind, answering(b"x", headers=[]))
    assert (response.status, response.body, fields(response)) == (200, b"x", [])


@gateways()
def test_arguments_are_positional_and_the_third_optional(kind):
    """Specification Details: "the callable must accept two required positional arguments, and one optional"."""
    for more in ((), (None,)):
        def app(environ, start_response):
            start_response("200 OK", [*TEXT], *more)
            return [b"ok"]

        assert ask(kind, app)[0].body == b"ok"
    for arguments in ((), ("200 OK",), ("200 OK", [], None, None)):
        def wrong(environ, start_response):
            start_response(*arguments)
            return [b"never"]

        assert_refused(kind, wrong, "TypeError")


@gateways()
def test_lazy(kind):
    """Specification Details: "it may be called before, or as late as the iterable's first step"."""
    def generator(environ, start_response):
        start_response("201 Lazy", [*TEXT])
        yield b"lazy"

    class Iterator:
        def __init__(self, environ, start_response):
            self.start, self.left = start_response, [b"lazy"]

        def __iter__(self):
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            self.start("201 Lazy", [*TEXT])
            return self.left.pop()

    for app in (generator, Iterator):
        response, log = ask(kind, app)
        assert (response.status, response.reason, response.body) == (201, "Lazy", b"lazy")


@gateways()
def test_lazy_and_empty(kind):
    """The same, with an iterable that ends without a block."""
    def app(environ, start_response):
        start_response("404 Nothing", [*TEXT])
        yield from ()

    response, log = ask(kind, app)
    assert (response.status, response.body) == (404, b"")


@gateways()
def test_called_again(kind):
    """The start_response() Callable: "it is a fatal error to call start_response without the exc_info argument if
    start_response has already been called"."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        start_response("201 Again", [*TEXT])
        return [b"never"]

    assert_refused(kind, app, "AssertionError")


@gateways()
def test_called_again_and_caught(kind):
    """The same, where the application goes on: what was said first counts."""
    def app(environ, start_response):
        start_response("200 First", [("X", "first")])
        with pytest.raises(AssertionError):
            start_response("201 Again", [("X", "again")])
        with pytest.raises(AssertionError):
            start_response("201 Again", [("X", "again")], None)
        return [b"body"]

    response, log = ask(kind, app)
    assert (response.status, response.reason, response.get("X"), response.body) == (200, "First", "first", b"body")


@gateways()
@pytest.mark.parametrize("lazily", (False, True), ids=("in the call", "in the first step"))
def test_replaced_before_the_head_is_sent(kind, lazily):
    """Error Handling: "if exc_info is supplied, and no HTTP headers have been output yet, start_response should
    replace the currently-stored HTTP response headers with the newly-supplied ones": all of them, and the length."""
    def replace(start_response):
        try:
            raise LookupError("replaced")
        except LookupError:
            start_response("503 Replaced", [("X-New", "1"), ("Content-Length", "8")], sys.exc_info())
        return b"replaced"

    def app(environ, start_response):
        start_response("200 OK", [("X-Old", "1"), ("Content-Length", "3")])
        if not lazily:
            return [replace(start_response)]
        return iter(lambda blocks=[replace]: blocks.pop()(start_response) if blocks else b"end", b"end")

    response, log = ask(kind, app)
    assert (response.status, response.reason, response.body) == (503, "Replaced", b"replaced")
    assert fields(response) == [("X-New", "1")]


@gateways()
def test_replaced_twice(kind):
    """Error Handling: "thus allowing the application to change its mind about the output when an error has occurred"."""
    def app(environ, start_response):
        for status in ("500 One", "500 Two", "500 Three"):
            try:
                raise LookupError(status)
            except LookupError:
                start_response(status, [*TEXT], sys.exc_info())
        return [b"three"]

    response, log = ask(kind, app)
    assert (response.reason, response.body) == ("Three", b"three")


@gateways("head waits for data")
def test_replaced_after_an_empty_block(kind):
    """The start_response() Callable: headers go out with "the first iteration of the application return value that
    yields a non-empty bytestring", not with an empty one."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        yield b""
        yield b""
        try:
            raise LookupError("late")
        except LookupError:
            start_response("500 Late", [*TEXT], sys.exc_info())
        yield b"late"

    response, log = ask(kind, app)
    assert (response.reason, response.body) == ("Late", b"late")


@gateways("head waits for data")
def test_head_is_not_sent_before_data(kind):
    """The start_response() Callable: nothing has reached the client while there are only empty blocks."""
    sent, looked = threading.Event(), threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        yield b""
        sent.set()
        assert looked.wait(DEADLINE)
        yield b"data"

    with serve(app, kind) as server, Client(server) as client:
        client.send(request())
        assert sent.wait(DEADLINE)
        client.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.sock.recv(1)
        client.sock.settimeout(DEADLINE)
        looked.set()
        assert client.read().body == b"data"


BAD_STATUSES = {
    "bytes": b"200 OK", "int": 200, "None": None, "no reason": "200", "short": "20", "empty": "", "letters": "abc OK",
    "no space": "200OK", "four digits": "2000 OK", "leading space": " 200 OK", "line end": "200 OK\r\nX: y",
}


def refusals(kind, wrong):
    """{name: (status of the answer, exception that start_response raised)} for the arguments in `wrong`; all logged."""
    raised = {}

    def app(environ, start_response):
        name = environ["PATH_INFO"][1:].replace("-", " ")
        try:
            start_response(*wrong[name])
        except Exception as error:
            raised[name] = error
            raise
        return [b"never"]

    found = {}
    with serve(app, kind) as server:
        for name in wrong:
            before = len(server.errors.getvalue())
            answer = exchange(server, request(target="/" + name.replace(" ", "-")))
            logged = "Traceback" in server.errors.getvalue()[before:]
            found[name] = (int(answer.split(b" ")[1]) if logged else "not logged", raised.get(name))
    return found


@gateways()
def test_wrong_status(kind):
    """The start_response() Callable: "a string of the form '999 Message here'"; native strings; no control
    characters: "servers should check for errors in the headers at the time start_response is called"."""
    found = refusals(kind, {name: (status, [*TEXT]) for name, status in BAD_STATUSES.items()})
    assert {name: outcome for name, outcome in found.items()
            if outcome[0] != 500 or not isinstance(outcome[1], (AssertionError, TypeError, ValueError))} == {}


BAD_HEADERS = {
    "tuple": (("X", "y"),), "dict": {"X": "y"}, "None": None, "iterator": iter([("X", "y")]), "string": "X: y",
    "bytes name": [(b"X", "y")], "bytes value": [("X", b"y")], "int value": [("Content-Length", 5)], "None value": [("X", None)],
    "single": [("X",)], "triple": [("X", "y", "z")], "no pairs": [5],
    "CR": [("X", "a\rb")], "LF": [("X", "a\nb")], "NUL": [("X", "a\0b")], "DEL": [("X", "a\x7fb")], "name": [("X\r\nY", "z")],
}


@gateways()
def test_wrong_headers(kind):
    """The start_response() Callable: "a list of (header_name, header_value) tuples. It must be a Python list"; each
    a native string "and must not include any control characters"; checked when start_response is called."""
    found = refusals(kind, {name: ("200 OK", headers) for name, headers in BAD_HEADERS.items()})
    assert {name: outcome for name, outcome in found.items()
            if outcome[0] != 500 or not isinstance(outcome[1], (AssertionError, TypeError, ValueError))} == {}


@gateways("names are tokens")
def test_names_that_are_none(kind):
    """The start_response() Callable: "each header_name must be a valid HTTP header field-name ... without a trailing
    colon or other punctuation": a name that is none may hide another field, or a framing."""
    names = ("", "X:", "X Y", "X ", "Transfer-Encoding ", "Transfer-Encoding: chunked, X", "Content-Length: 1, X", "\xe9", "X\tY")
    found = refusals(kind, {f"name {number}": ("200 OK", [(name, "z")]) for number, name in enumerate(names)})
    assert [name for name, outcome in zip(names, found.values()) if outcome[0] != 500] == []


@gateways("any encoding error is 500")
@pytest.mark.parametrize("status, headers", [("200 \u2713", TEXT), ("200 OK", [("X", "\u2713")]), ("200 OK", [("\u2713", "x")])],
                         ids=("status", "value", "name"))
def test_not_latin_1(kind, status, headers):
    """Unicode Issues: "must contain only code points representable in ISO-8859-1 encoding"; "it is a fatal error"."""
    assert_refused(kind, answering(b"x", status=status, headers=headers), "Unicode", "ValueError", "AssertionError")


@gateways()
def test_hop_by_hop(kind):
    """Other HTTP Features: "applications and middleware are forbidden from using HTTP/1.1 hop-by-hop features or
    headers ... it is a fatal error"; "servers should ... raise an error as soon as" they are given."""
    names = ("Connection", "keep-alive", "PROXY-AUTHENTICATE", "Proxy-Authorization", "TE", "Trailers", "Transfer-Encoding",
             "upgrade")
    found = refusals(kind, {name.replace("-", " "): ("200 OK", [(name, "close")]) for name in names})
    assert [name for name, outcome in found.items() if outcome[0] != 500 or type(outcome[1]) is not AssertionError] == []


@gateways()
def test_refused_and_called_again(kind):
    """Error Handling: the answer that an application gives to its own error, which start_response's may be."""
    def app(environ, start_response):
        try:
            start_response("200 OK", [("X", "line\nend")])
        except ValueError:
            start_response("500 Mine", [("X", "mine")], sys.exc_info())
        return [b"mine"]

    response, log = ask(kind, app)
    assert (response.status, response.reason, response.body, fields(response)) == (500, "Mine", b"mine", [("X", "mine")])


@gateways("list is not kept")
def test_list_of_headers_is_left_alone(kind):
    """The start_response() Callable: the server "may change its contents"; ours does not, so that a constant of the
    application's serves for all requests."""
    constant = [("X-Constant", "1")]

    def app(environ, start_response):
        start_response("200 OK", constant)
        return [b"x" * int(environ["QUERY_STRING"])]

    with serve(app, kind) as server:
        for size in (5, 0, 70_000, 1):
            response = fetch(server, f"/?{size}")
            assert (len(response.body), fields(response)) == (size, [("X-Constant", "1")])
    assert constant == [("X-Constant", "1")]


@gateways("list is not kept")
def test_list_of_headers_may_change_afterwards(kind):
    """The start_response() Callable: what was given is stored; the list is the application's again."""
    def app(environ, start_response):
        headers = [("X", "given")]
        start_response("200 OK", headers)
        headers[:] = [("Y", "changed"), ("Z", "line\nend")]
        return [b"x"]

    assert fields(ask(kind, app)[0]) == [("X", "given")]
