"""Differential: what handler programs do with responses, `wfile` and errors.

Each program runs on both backends under the same requests (see differential.py); answer, log and what the program
noted must be equal.
"""
import email.utils
import http
import io

import pytest

from differential import IN_HAND, REFUSED_HEADERS, assert_same, handling, recorder
from support import respond

ONE = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
TWO = ONE + b"GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STREAMS = {"one": ONE, "two": TWO, "http/1.0": b"GET /one HTTP/1.0\r\n\r\n", "http/0.9": b"GET /one\r\n",
           "head": ONE.replace(b"GET", b"POST").replace(b"POST", b"HEAD", 1) + ONE}

PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__.replace("_", " ")] = function
    return function


# ---------------------------------------------------------------- responses

@program
def usual(self, seen):
    respond(self)


@program
def no_headers_of_its_own(self, seen):
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"until the end")
    self.close_connection = True


@program
def nothing_at_all(self, seen):
    seen.append(self.path)


@program
def send_response_only_and_headers(self, seen):
    self.send_response_only(204)
    self.send_header("X-A", "1")
    self.end_headers()


@program
def status_with_a_message(self, seen):
    self.send_response(299, "Quite \xe9 fine")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def unknown_status(self, seen):
    self.send_response(799)
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def enum_status(self, seen):
    self.send_response(http.HTTPStatus.IM_A_TEAPOT)
    self.send_header("Content-Length", "0")
    self.end_headers()
    seen.append(list(self._headers_buffer))


@program
def empty_message(self, seen):
    self.send_response(200, "")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def crlf_in_a_header(self, seen):
    self.send_response(200)
    self.send_header("X-A", "1\r\nX-Injected: 2")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def refused_headers(self, seen):
    self.send_response(200)
    for header in REFUSED_HEADERS:
        try:
            seen.append(str(self.send_header(*header)))
        except ValueError:
            seen.append("ValueError")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def crlf_in_a_reason(self, seen):
    self.send_response(200, "Fine\r\nX-Injected: 2\0\t\x7f")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def message_not_in_latin_1(self, seen):
    self.send_response(200, "\u20ac")


@program
def connection_close_sent(self, seen):
    respond(self, headers=[("Connection", "close")])
    seen.append(self.close_connection)


@program
def connection_keep_alive_sent(self, seen):
    respond(self, headers=[("Connection", "keep-alive")])
    seen.append(self.close_connection)


@program
def two_responses(self, seen):
    respond(self, b"first")
    respond(self, b"second")


@program
def continue_then_response(self, seen):
    self.send_response_only(100)
    self.end_headers()
    respond(self)


@program
def early_hints(self, seen):
    self.send_response_only(103)
    self.send_header("Link", "</a.css>")
    self.end_headers()
    respond(self)


@program
def headers_without_a_status(self, seen):
    self.send_header("X-A", "1")
    self.end_headers()
    self.close_connection = True


@program
def end_headers_alone(self, seen):
    self.end_headers()


@program
def end_headers_twice(self, seen):
    self.send_response(200)
    self.send_header("Content-Length", "2")
    self.end_headers()
    self.end_headers()


@program
def date_and_version_strings(self, seen):
    seen.append((self.date_time_string(0), self.date_time_string(1_000_000_000.9), self.version_string(),
                 self.sys_version, self.server_version, self.address_string()))
    seen.append((len(self.date_time_string()), len(self.log_date_time_string())))
    respond(self)


# ---------------------------------------------------------------- send_error

@program
def send_error_plain(self, seen):
    self.send_error(404)
    seen.append(self.close_connection)


@program
def send_error_with_message(self, seen):
    self.send_error(404, "No <such> thing & so on")


@program
def send_error_with_explanation(self, seen):
    self.send_error(http.HTTPStatus.CONFLICT, "short", "long \u20ac <x>")


@program
def send_error_without_body(self, seen):
    self.send_error(304)


@program
def send_error_204(self, seen):
    self.send_error(204, "odd")


@program
def send_error_of_unknown_status(self, seen):
    self.send_error(777)


@program
def send_error_after_headers(self, seen):
    self.send_response(200)
    self.send_header("X-A", "1")
    self.send_error(500, "late")


@program
def send_error_after_the_head(self, seen):
    self.send_response(200)
    self.end_headers()
    self.send_error(500, "too late")


@program
def send_error_with_control_characters(self, seen):
    self.send_error(400, "a\x1b[0m\x00b\\")


@program
def log_calls(self, seen):
    self.log_message("plain")
    self.log_message("%s and %d%%", "text\n\x1b", 5)
    self.log_error("error %r", "x")
    self.log_request()
    self.log_request(200)
    self.log_request(http.HTTPStatus.OK, 17)
    self.log_request("-", "many")
    respond(self)


# ---------------------------------------------------------------- the buffer of headers

@program
def flush_headers_in_between(self, seen):
    self.send_response(200)
    seen.append(len(self._headers_buffer))
    self.flush_headers()
    seen.append(list(self._headers_buffer))
    self.send_header("Content-Length", "0")
    self.flush_headers()
    self.end_headers()
    seen.append(list(self._headers_buffer))


@program
def buffer_rewritten(self, seen):
    self.send_response(200)
    self._headers_buffer[0] = b"HTTP/1.1 201 Rewritten\r\n"
    self._headers_buffer[1:2] = []
    self._headers_buffer.append(b"Content-Length: 0\r\n")
    self.end_headers()


@program
def buffer_deleted(self, seen):
    self.send_response(200)
    if hasattr(self, "_headers_buffer"):
        del self._headers_buffer
    self.send_header("X-A", "1")
    self.end_headers()
    self.close_connection = True


@program
def headers_never_ended(self, seen):
    self.send_response(200)
    self.send_header("Content-Length", "4")
    self.wfile.write(b"body")


# ---------------------------------------------------------------- wfile

@program
def writes_before_headers(self, seen):
    self.wfile.write(b"HTTP/1.1 200 By hand\r\nX-Hand: 1\r\n")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def writes_while_headers_wait(self, seen):
    self.send_response(200)
    self.wfile.write(b"out of order\r\n")
    self.send_header("Content-Length", "0")
    self.end_headers()


@program
def writelines(self, seen):
    self.send_response(200)
    self.send_header("Content-Length", "6")
    self.end_headers()
    self.wfile.writelines(iter([b"ab", bytearray(b"cd"), memoryview(b"ef")]))


@program
def counts_of_write(self, seen):
    self.send_response(200)
    self.send_header("Content-Length", "8")
    self.end_headers()
    seen.append([self.wfile.write(b""), self.wfile.write(b"abcd"), self.wfile.write(memoryview(b"efgh"))])
    seen.append((self.wfile.flush(), self.wfile.closed, self.wfile.writable(), self.wfile.readable(),
                 self.wfile.seekable(), isinstance(self.wfile, io.BufferedIOBase), self.wfile.isatty()))


@program
def what_wfile_does_not_take(self, seen):
    for value in ("text", 5, None, [b"x"]):
        try:
            self.wfile.write(value)
        except TypeError:
            seen.append("TypeError")
    respond(self)


@program
def wfile_as_a_context_manager(self, seen):
    self.close_connection = True
    with self.wfile as out:
        out.write(b"HTTP/1.1 200 With\r\n\r\nbody")
    seen.append(self.wfile.closed)
    raise ConnectionAbortedError("so that nothing flushes the closed file")


@program
def text_wrapper(self, seen):
    self.send_response(200)
    self.end_headers()
    out = io.TextIOWrapper(self.wfile, encoding="utf-8", line_buffering=True)
    out.write("one\ntwo \u20ac\n")
    print("three", file=out, flush=True)
    out.detach()
    self.wfile.write(b"four")
    self.close_connection = True


@program
def buffered_writer_around_wfile(self, seen):
    self.send_response(200)
    self.send_header("Content-Length", "300000")
    self.end_headers()
    for unused in range(3):
        self.wfile.write(b"x" * 100_000)


@program
def ten_megabytes(self, seen):
    self.send_response(200)
    self.send_header("Content-Length", str(10 << 20))
    self.end_headers()
    seen.append(self.wfile.write(b"0123456789abcdef" * (10 << 16)))


@program
def many_small_writes(self, seen):
    self.send_response(200)
    self.end_headers()
    for number in range(20_000):
        self.wfile.write(b"%d," % number)
    self.close_connection = True


@program
def chunked_by_hand(self, seen):
    self.send_response(200)
    self.send_header("Transfer-Encoding", "chunked")
    self.end_headers()
    for chunk in (b"one", b"two", b""):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.flush()


@program
def socket_and_wfile(self, seen):
    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
    self.connection.sendall(b"X-Socket: 1\r\n")
    self.wfile.write(b"Content-Length: 0\r\n")
    self.request.sendall(b"\r\n")


# ---------------------------------------------------------------- errors

@program
def raises_at_once(self, seen):
    raise ValueError("at once")


@program
def raises_with_headers_waiting(self, seen):
    self.send_response(200)
    raise ValueError("headers never sent")


@program
def raises_after_the_head(self, seen):
    self.send_response(200)
    self.end_headers()
    raise ValueError("after the head")


@program
def raises_after_the_answer(self, seen):
    respond(self)
    raise ValueError("after the answer")


@program
def raises_from_another(self, seen):
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


@program
def raises_a_timeout(self, seen):
    respond(self)
    raise TimeoutError("of something else")


@program
def raises_broken_pipe(self, seen):
    raise BrokenPipeError(32, "Broken pipe")


@program
def raises_system_exit_caught(self, seen):
    try:
        raise SystemExit(1)
    except SystemExit:
        respond(self)


@program
def raises_oserror_of_a_file(self, seen):
    open("/does/not/exist")


def cases(names):
    return pytest.mark.parametrize("name", [pytest.param(name, id=name.replace(" ", "-")) for name in names])


@pytest.mark.parametrize("protocol", ("HTTP/1.1", "HTTP/1.0"))
@pytest.mark.parametrize("stream", STREAMS)
@cases([name for name in PROGRAMS if name not in ("ten megabytes", "many small writes")])
def test_program(name, stream, protocol):
    case = name
    if stream == "head":    # none of them has a do_HEAD, and 501 ends the connection
        case = "no HEAD"
    elif stream == "http/1.0" and name in ("continue then response", "early hints"):
        case = "interim answer to HTTP/1.0"
    elif stream in ("two", "http/1.0") and name == "connection keep alive sent":
        case = "keep-alive to a client that closes"
    elif stream == "http/0.9" and name in ("crlf in a reason", "send error with control characters"):
        case = "no reason phrase"
    assert_same("handlers/" + case, handling(PROGRAMS[name], protocol), STREAMS[stream])


@pytest.mark.parametrize("server", ("HTTPServer", "ThreadingHTTPServer"))
@cases(["usual", "ten megabytes", "many small writes", "raises after the answer", "chunked by hand"])
def test_program_on_both_servers(name, server):
    assert_same("handlers/" + name, handling(PROGRAMS[name]), TWO, server=server)


# ---------------------------------------------------------------- whole classes

@pytest.mark.parametrize("hook", ("send_response", "send_response_only", "send_header", "end_headers",
                                  "flush_headers", "log_request", "log_error", "log_message", "send_error",
                                  "version_string", "date_time_string", "address_string",
                                  "log_date_time_string", "parse_request", "handle_expect_100", "handle_one_request",
                                  "handle", "setup", "finish"))
def test_each_hook_is_called_as_often_with_the_same_arguments(hook):
    """An override that only notes its arguments and calls the original."""
    def program(backend, seen):
        base = recorder(methods=("GET", "POST"))(backend, [])

        def noting(self, *args, **kwargs):
            shown = [str(arg) for arg in args if not hasattr(arg, "fileno")]
            if shown[:1] == ["Date"]:   # the second may turn between the two servers
                assert email.utils.parsedate_to_datetime(shown[1]).tzinfo and shown[1].endswith(" GMT")
                shown[1] = "(now)"
            seen.append((hook, shown, sorted(kwargs)))
            return getattr(super(Handler, self), hook)(*args, **kwargs)

        Handler = type("Handler", (base,), {hook: noting})
        return Handler

    stream = (ONE + b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
              b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab" + TWO,
              b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
              + b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
              ONE + ONE.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 100 + b"\r\n"))
    for data in stream:
        assert_same("handlers/hook " + hook, program, data)
    if hook != "flush_headers":     # the original has no head to flush
        assert_same("handlers/malformed", program, b"GET / HTTP/1.x\r\n\r\n")


@pytest.mark.parametrize("members", (
    {"server_version": "Mine/1"}, {"sys_version": ""}, {"error_message_format": "%(code)d %(message)s"},
    {"error_content_type": "text/x"}, {"default_request_version": "HTTP/1.0"}, {"protocol_version": "HTTP/1.2"},
    {"protocol_version": "HTTP/0.9"}, {"responses": {200: ("Fine", "all fine"), 501: ("Nope", "no")}},
    {"monthname": [None] + ["M"] * 12}, {"weekdayname": ["D"] * 7}), ids=lambda members: next(iter(members)))
@pytest.mark.parametrize("data", (TWO, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /\r\n", b"X\r\n"),
                         ids=("two", "501", "0.9", "400"))
def test_class_attributes(members, data):
    case = f"handlers/attribute {next(iter(members))}"
    if data == b"X\r\n" and "default_request_version" not in members:
        case += " in a refusal"
    assert_same(case, recorder(**members), data)


@pytest.mark.parametrize("data", (b"GET / HTTP/1.x\r\n\r\n", b"X\r\n", b"GET / HTTP/2.0\r\n\r\n"),
                         ids=("version", "syntax", "505"))
@pytest.mark.parametrize("arguments", ("two", "all"))
def test_send_error_of_a_refusal(arguments, data):
    """An override is called as the original calls it: with a member of HTTPStatus, and no argument more."""
    def two(self, code, message=None):
        note(self, code, message)

    def note(self, code, message=None, explain=None):
        self.noted.append((repr(code), message, explain, self.command, self.requestline, self.raw_requestline,
                           hasattr(self, "path"), hasattr(self, "headers")))
        self.wfile.write(code.phrase.encode())

    def program(backend, seen):
        override = two if arguments == "two" else note
        return type("Handler", (recorder()(backend, []),), {"noted": seen, "send_error": override})

    assert_same("handlers/send_error of a refusal", program, data)


CONTENT = {"content after HEAD": (b"HEAD", 200), "content after 304": (b"GET", 304), "content after 204": (b"GET", 204),
           "content after 103": (b"GET", 103)}


@pytest.mark.parametrize("framing", (("Content-Length", "5"), ("Transfer-Encoding", "chunked")),
                         ids=lambda pair: pair[0])
@cases(CONTENT)
def test_content_of_an_answer_that_has_none(name, framing):
    method, code = CONTENT[name]

    def do(self, seen):
        self.send_response(code)
        self.send_header(*framing)
        self.end_headers()
        seen.append(self.wfile.write(b"never"))
        self.wfile.flush()
        if code == 103:
            respond(self, b"at last")

    assert_same("handlers/" + name, handling(do, do_HEAD=lambda self: self.do_GET()), ONE.replace(b"GET", method) * 2)


@pytest.mark.parametrize("minor", "10")
def test_final_answer_by_hand(minor):
    """What is written after an interim answer is no body if it begins as an answer does."""
    def do(self, seen):
        if self.request_version == "HTTP/1.1":
            self.send_response_only(103)
            self.end_headers()
        seen.append(self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))

    assert_same("handlers/final answer by hand", handling(do), ONE.replace(b"1.1", b"1." + minor.encode()) * 2)


MORE = {"head lines after HEAD": (b"HEAD", 200), "head lines after 304": (b"GET", 304),
        "head lines after 204": (b"GET", 204)}


@pytest.mark.parametrize("members", ({}, IN_HAND), ids=("usual", "in hand"))
@cases(MORE)
def test_head_lines_after_the_end_of_the_head(name, members):
    method, code = MORE[name]

    def do(self, seen):
        respond(self, b"", code)
        self.send_header("X-Never", "never")
        self.end_headers()
        self.flush_headers()
        respond(self, b"", code)    # a second answer, which is not kept from being one

    program = handling(do, do_HEAD=lambda self: self.do_GET(), **members)
    assert_same("handlers/" + name, program, ONE.replace(b"GET", method) * 2)


def test_getattr_for_every_method():
    def program(backend, seen):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def __getattr__(self, name):
                if not name.startswith("do_"):
                    raise AttributeError(name)
                if name not in seen:  # the original looks twice
                    seen.append(name)
                return lambda: respond(self, name.encode())

        return Handler

    assert_same("handlers/getattr", program, b"ANY-THING / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_attributes_of_the_handler():
    def note(self, seen):
        seen.append(sorted(name for name in vars(self) if not name.startswith("_")))
        respond(self)

    assert_same("handlers/attributes of the handler", handling(note), ONE)


@pytest.mark.parametrize("answer", (True, False))
def test_handle_expect_100_overridden(answer):
    def program(backend, seen):
        class Handler(recorder()(backend, seen)):
            def handle_expect_100(self):
                seen.append("expect")
                if answer:
                    return super().handle_expect_100()
                self.send_error(417)
                return False

        return Handler

    data = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"
    assert_same("handlers/expect overridden", program, data)
