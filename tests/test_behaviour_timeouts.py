"""Differential: the `timeout` of a handler, running out at every point of a request.

The client sends a part, says nothing more, and reads until the server closes.
"""
import pytest

from differential import assert_same, handling, recorder
from support import respond

#: It runs from the moment of accepting, so what a test sends has to be there by then.
TIMEOUT = 1.0

H = b"Host: a\r\n"
GET = b"GET /one HTTP/1.1\r\n" + H + b"\r\n"

SILENCES = {
    "at once": b"",
    "in the method": b"GE",
    "in the request line": b"GET / HTTP/1.1",
    "before the lf": b"GET / HTTP/1.1\r",
    "after the request line": b"GET / HTTP/1.1\r\n",
    "in a header": b"GET / HTTP/1.1\r\nHos",
    "after a header": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "before the last lf": b"GET / HTTP/1.1\r\nHost: a\r\n\r",
    "after one request": GET,
    "after two requests": GET + GET,
    "in the second request line": GET + b"GET /tw",
    "in the second head": GET + b"GET /two HTTP/1.1\r\nHost: a\r\nX",
    "before a body": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\n",
    "in a body": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbo",
    "in a long body": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4000000\r\n\r\n" + b"x" * 300_000,
    "in the second body": GET + b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbo",
    "after a body": b"POST /p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\nbody",
    "after 100 continue": b"POST /p HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    "after an unknown method": b"BREW / HTTP/1.1\r\n" + H + b"\r\n",
    "in a line too long": b"G" * 70_000,
}


@pytest.mark.parametrize("name", [pytest.param(name, id=name.replace(" ", "-")) for name in SILENCES])
def test_silence(name):
    assert_same("timeouts/" + name, recorder(timeout=TIMEOUT), SILENCES[name],
                servers=("ThreadingHTTPServer", "HTTPServer"), half_close=False)


def test_slow_but_not_too_slow():
    """Each wait counts by itself: bytes that come in time keep the connection, however long it all takes."""
    assert_same("timeouts/slow", recorder(timeout=2.0), [GET[i:i + 4] for i in range(0, len(GET), 4)],
                pause=0.1, half_close=False)


def test_error_of_another_timeout_inside_the_handler():
    """A TimeoutError out of a do_ method is taken for one of the connection."""
    def raising(self, seen):
        respond(self)
        raise TimeoutError("from a database")

    assert_same("timeouts/other", handling(raising), GET + GET)


def catching(self, seen):
    """The original's rfile times out once, and refuses to read on after that."""
    for unused in range(2):
        try:
            self.rfile.read(4_000_000)
        except OSError as error:
            seen.append((type(error).__name__, str(error)))
    respond(self)
    self.close_connection = True


@pytest.mark.parametrize("more", (b"Connection: upgrade\r\nUpgrade: x\r\n", b"Content-Length: 4000000\r\n"),
                         ids=("upgrade", "long body"))
def test_caught_by_the_handler(more):
    data = b"POST / HTTP/1.1\r\n" + H + more + b"\r\nsome"
    assert_same("timeouts/caught", handling(catching, timeout=TIMEOUT), data, half_close=False)


def test_caught_without_a_body():
    data = b"POST / HTTP/1.1\r\n" + H + b"\r\nsome"
    assert_same("timeouts/caught without a body", handling(catching, timeout=TIMEOUT), data, half_close=False)


def test_caught_in_a_short_body():
    data = b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 8\r\n\r\nsome"
    assert_same("timeouts/caught in a short body", handling(catching, timeout=TIMEOUT), data, half_close=False)


def test_timeout_of_a_property_and_of_setup():
    def program(backend, seen):
        class Handler(recorder()(backend, seen)):
            @property
            def timeout(self):
                return TIMEOUT

        return Handler

    assert_same("timeouts/property", program, GET, half_close=False)


def test_log_error_gets_the_exception_itself():
    def program(backend, seen):
        class Handler(recorder(timeout=TIMEOUT)(backend, [])):
            def log_error(self, format, *args):
                seen.append((format, [repr(arg) for arg in args]))

        return Handler

    assert_same("timeouts/log_error", program, b"GET / HT", half_close=False)
