"""Differential: response heads in the blocking lane, which a handler takes that has its own `handle_one_request`.

There the lines stay in a list that programs can see; it is compared after every call, and so is what is sent.  When it
is sent, and what becomes of the streams: test_behaviour_blocking_streams.py.
"""
import io
import re
import types

import pytest

from differential import IN_HAND, REFUSED_HEADERS, assert_same, handling
from support import load_backend, respond
from turboserver import lanes

ONE = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
TWO = ONE + b"GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STREAMS = {"one": ONE, "two": TWO, "http/1.0": b"GET /one HTTP/1.0\r\n\r\n",
           "1.0 kept": b"GET /one HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + TWO, "http/0.9": b"GET /one\r\n",
           "head": b"HEAD /one HTTP/1.1\r\nHost: a\r\n\r\n" + TWO,
           "unknown": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n" + TWO,
           "malformed": b"GET / HTTP/1.x\r\n\r\n"}


def test_the_lane_is_the_blocking_one():
    backend = load_backend("turboserver")
    handler = handling(lambda self, seen: None, **IN_HAND)(backend, [])
    assert lanes.decide(backend.http_server.ThreadingHTTPServer, handler).lane in (lanes.BLOCKING, lanes.COMPATIBLE)


# ---------------------------------------------------------------- the list of lines

def lines(self):
    """`_headers_buffer` as it is, but for the present time."""
    if not hasattr(self, "_headers_buffer"):
        return "none"
    found = self._headers_buffer
    return type(found).__name__, [
        re.sub(rb"\d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", b"(now)", line) if isinstance(line, bytes) else line
        for line in found or ()]


class Says:
    """A value that is what it says, and counts how often it was asked."""
    def __init__(self, text):
        self.text, self.asked = text, 0

    def __str__(self):
        self.asked += 1
        return self.text


class Name(str):
    pass


STEPS = {
    "usual": ["send_response 200", "send_header Content-Length 0", "end_headers"],
    "message": ["send_response 299 Fine", "send_header Content-Length 0", "end_headers"],
    "only": ["send_response_only 204", "end_headers"],
    "only with message": ["send_response_only 299 Fine", "end_headers", "send_response 200", "end_headers"],
    "twice": ["send_response 200", "send_response 404", "end_headers", "end_headers"],
    "flushed between": ["send_response 200", "flush_headers", "send_header A b", "flush_headers", "end_headers"],
    "flushed first": ["flush_headers", "send_header A b", "end_headers"],
    "error": ["send_error 404", "send_response 200", "send_error 500 late", "end_headers"],
    "ended first": ["end_headers"],
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("steps", STEPS)
def test_lines_after_each_call(steps, stream):
    def do(self, seen):
        for step in STEPS[steps] * 2:
            name, *args = step.split(" ")
            args = [int(args[0]), *args[1:]] if args and args[0].isdigit() else args
            try:
                seen.append((step, getattr(self, name)(*args)))
            except Exception as error:
                seen.append((step, type(error), str(error)))
            seen.append((lines(self), self.close_connection))

    case = "blocking/steps"
    if stream == "malformed":
        case = "blocking/malformed"
    elif stream == "head" and steps in ("twice", "error"):
        case = "blocking/end_headers twice after HEAD"
    assert_same(case, handling(do, do_HEAD=lambda self: self.do_GET(), **IN_HAND), STREAMS[stream])


HEADERS = [("A", "b"), ("A", ""), ("", ""), ("A", "caf\xe9"), ("caf\xe9", "b"), ("A", "\u20ac"), ("\u20ac", "b"),
           ("A", 5), ("A", None), ("A", b"octets"), ("A", ("a", "b")), ("A", 1.5), ("A", Name("b")), (Name("A"), "b"),
           (5, "b"), (None, "b"), (b"A", "b"), ("A", "\tx\t"), ("A", "%s %d {}"),
           ("A" * 5000, "b"), ("A", "b" * 70_000), ("A", "\udc80")]
CONNECTIONS = [(name, value) for name in ("Connection", "connection", "CONNECTION", Name("Connection"), "Connectio\xf1")
               for value in ("close", "CLOSE", "keep-alive", "Keep-Alive", "upgrade", "close, x", " close", "",
                             Name("close"), 5, None, b"close", ("close",), "clos\xe9", "\u20ac")]


@pytest.mark.parametrize("stream", ("two", "http/0.9", "1.0 kept"))
@pytest.mark.parametrize("headers", (HEADERS, CONNECTIONS), ids=("values", "Connection"))
@pytest.mark.parametrize("close", (True, False, 0, "yes"))
def test_send_header(headers, close, stream):
    def do(self, seen):
        self.send_response(200)
        for header in headers:
            self.close_connection = close
            try:
                seen.append(self.send_header(*header))
            except Exception as error:
                seen.append((header, type(error), str(error)))
            seen.append((self.close_connection, lines(self)[1][-1:]))
        self.close_connection = True
        self.end_headers()

    assert_same("blocking/send_header", handling(do, **IN_HAND), STREAMS[stream])


def test_refused_headers():
    def do(self, seen):
        self.send_response(200)
        for header in REFUSED_HEADERS:
            try:
                seen.append(str(self.send_header(*header)))
            except ValueError:
                seen.append("ValueError")
        self.send_header("Content-Length", "0")
        self.end_headers()

    assert_same("blocking/refused headers", handling(do, **IN_HAND), ONE)


def test_values_are_asked_once():
    def do(self, seen):
        value = Says("said")
        self.send_response(200)
        self.send_header("A", value)
        self.end_headers()
        seen.append(value.asked)

    assert_same("blocking/asked once", handling(do, **IN_HAND), TWO)


# ---------------------------------------------------------------- what programs assign on the handler

def calling(name):
    """A hook that notes its call and goes on to the class's own."""
    def hook(self, *args, **kwargs):
        # The two servers do not say it in the same second.
        texts = ["the date" if args[0] == "Date" and arg is args[-1] else str(arg) for arg in args]
        self.noted.append((name, texts, sorted(kwargs)))
        return getattr(type(self), name)(self, *args, **kwargs)

    return hook


HOOKS = ("send_response", "send_response_only", "send_header", "end_headers", "flush_headers", "version_string",
         "date_time_string", "log_request", "log_message", "send_error")
VALUES = {
    "server_version": ["Mine/1", "", "caf\xe9", "\u20ac", 5], "sys_version": ["", "More"],
    "protocol_version": ["HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "caf\xe9", 5], "request_version": [
        "HTTP/0.9", "HTTP/1.0", "HTTP/9.9", "", None, 5, Name("HTTP/0.9"), Name("HTTP/1.1")],
    "responses": [{}, {200: ("Fine", "")}, {200: ("caf\xe9", "")}, {200: ("\u20ac", "")}, {200: ()}, {200: "Fine"},
                  {200: None}, None],
    "_headers_buffer": [[], [b"X-Before: 1\r\n"], [bytearray(b"X-Before: 1\r\n")], None, (), ["text"], [5],
                        {}, bytearray(), "text"],
    "wfile": [io.BytesIO(), None, io.StringIO()], "requestline": ["mine"], "command": ["HEAD"],
}


@pytest.mark.parametrize("stream", ("two", "http/0.9"))
@pytest.mark.parametrize("name", HOOKS)
def test_hook_assigned(name, stream):
    def do(self, seen):
        respond(self)
        self.noted = seen
        setattr(self, name, types.MethodType(calling(name), self))
        respond(self)
        self.send_error(404)
        delattr(self, name)
        respond(self)

    assert_same("blocking/hook assigned", handling(do, **IN_HAND), STREAMS[stream])


@pytest.mark.parametrize("where", ("object", "class"))
@pytest.mark.parametrize("name", VALUES)
def test_value_assigned(name, where):
    """In the middle of an answer, then taken back."""
    def do(self, seen):
        for value in VALUES[name]:
            for before in [], ["send_response 200"], ["send_response 200", "send_header A b"]:
                plain, usual = self.wfile, self.request_version
                seen.append((ascii(value)[:20], before))
                attempt(self, seen, before)
                owner = self if where == "object" else type(self)
                had = vars(type(self)).get(name)
                setattr(owner, name, value.copy() if hasattr(value, "copy") else value)
                attempt(self, seen, ["send_response 200", "send_header C d", "send_response_only 200", "flush_headers",
                                     "send_response 404", "end_headers"])
                if where == "class" and had is not None:
                    setattr(owner, name, had)
                else:
                    delattr(owner, name)
                self.__dict__.pop("_headers_buffer", None)
                self.wfile, self.request_version = plain, usual
                attempt(self, seen, ["send_response 200", "end_headers"])
        self.close_connection = True

    def attempt(self, seen, steps):
        for step in steps:
            method, *args = step.split(" ")
            try:
                getattr(self, method)(*(int(arg) if arg.isdigit() else arg for arg in args))
            except Exception as error:
                seen.append((method, type(error)))
            if isinstance(getattr(self, "_headers_buffer", None), list):
                seen.append(lines(self))

    if where == "class" and name in ("wfile", "request_version", "requestline", "command"):
        pytest.skip("the request's own value hides one of the class")
    assert_same("blocking/value assigned", handling(do, **IN_HAND), ONE)


def test_lines_rewritten_between():
    def do(self, seen):
        self.send_response(200)
        self._headers_buffer[0] = b"HTTP/1.1 201 Rewritten\r\n"
        del self._headers_buffer[1:]
        self._headers_buffer += [b"X-Own: 1\r\n", bytearray(b"X-Array: 2\r\n"), memoryview(b"X-View: 3\r\n")]
        self.send_header("Content-Length", "0")
        kept = self._headers_buffer
        self.end_headers()
        seen.append((len(kept), kept is self._headers_buffer, self._headers_buffer))

    assert_same("blocking/rewritten", handling(do, **IN_HAND), TWO)


def test_every_assignment_goes_through_setattr():
    """Of an answer's own: those of parsing come in another order."""
    def program(backend, seen):
        def do(self, seen):
            self.__dict__["answering"] = True
            respond(self, headers=[("Connection", "close")])
            self.__dict__["answering"] = False

        class Handler(handling(do, **IN_HAND)(backend, seen)):
            answering = False

            def __setattr__(self, name, value):
                if self.answering:
                    seen.append((name, type(value)))
                super().__setattr__(name, value)

        return Handler

    assert_same("blocking/setattr", program, TWO)
