"""The application that tests/test_gunicorn.py has served. What a path waits for is a file, so that
the test says when an answer comes."""
import ctypes
import os
import pathlib
import threading
import time
import urllib.parse

MEETING = threading.Barrier(16)


def app(environ, start_response):
    name = environ["PATH_INFO"].strip("/") or "hello"
    status, fields, body = globals().get(f"do_{name}", do_nothing)(environ)
    if isinstance(body, str):
        body = body.encode()
    start_response(status, [("Content-Length", str(len(body))), ("X-Kind", "test"), *fields])
    return [body]


def do_nothing(environ):
    return "404 Not Found", [], "nothing"


def do_hello(environ):
    return "200 OK", [], "hello"


def do_hop(environ):
    """Says something about the connection, which is not an application's business."""
    return "200 OK", [("Connection", "keep-alive"), ("X-Kept", "yes")], "hop"


def do_pid(environ):
    return "200 OK", [], str(os.getpid())


def do_environ(environ):
    return "200 OK", [], "\n".join(f"{key}={value}" for key, value in environ.items())


def do_meeting(environ):
    """Answers when sixteen of them are there at once."""
    MEETING.wait(20)
    return "200 OK", [], "met"


def do_wait(environ):
    """Creates the file of the query with `.in` behind its name, and answers when the file itself is there."""
    path = pathlib.Path(urllib.parse.unquote(environ["QUERY_STRING"]))
    path.with_suffix(".in").touch()
    end = time.monotonic() + 30
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return "200 OK", [], str(os.getpid())


def do_slow(environ):
    time.sleep(float(environ["QUERY_STRING"]))
    return "200 OK", [], "slow"


def do_hang(environ):
    """Holds the GIL, so that nothing of Python runs any more."""
    ctypes.PyDLL(None).sleep(60)
    return "200 OK", [], "hung"


def do_error(environ):
    raise ZeroDivisionError("on purpose")


def do_errors(environ):
    environ["wsgi.errors"].write("said by the application\n")
    return "200 OK", [], "said"


RUNNING = []
MOST = []


def do_count(environ):
    """How many of these have run at a time."""
    RUNNING.append(None)
    MOST.append(len(RUNNING))
    time.sleep(0.05)
    RUNNING.pop()
    return "200 OK", [], str(max(MOST))
