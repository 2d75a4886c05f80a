"""CONTRACT, "Classes": a handler made without __init__, without a socket or without a server.

Programs use BaseHTTPRequestHandler as a request parser, on BytesIO, and in their own tests with fakes.
"""
import io
from unittest import mock

import pytest

from support import respond


def parser_class(backend):
    """The recipe found all over the web: __init__ parses, send_error only notes."""
    class Request(backend.http_server.BaseHTTPRequestHandler):
        def __init__(self, data):
            self.rfile = io.BytesIO(data)
            self.raw_requestline = self.rfile.readline()
            self.error_code = self.error_message = None
            self.parsed = self.parse_request()

        def send_error(self, code, message=None, explain=None):
            self.error_code, self.error_message = code, message

    return Request


class TestParserOnly:
    """rfile = BytesIO(...), raw_requestline = ..., parse_request(), with its own send_error."""

    def test_good_request(self, backend):
        request = parser_class(backend)(
            b"GET /who?x=1 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two: 2\r\n\r\nbody")
        assert (request.parsed, request.error_code) == (True, None)
        assert (request.command, request.path, request.request_version) == ("GET", "/who?x=1", "HTTP/1.1")
        assert request.requestline == "GET /who?x=1 HTTP/1.1"
        assert request.headers.items() == [("Host", "a"), ("X-Two", "1"), ("x-two", "2")]
        assert request.headers.get_all("X-TWO") == ["1", "2"]
        assert request.rfile.read() == b"body"

    def test_rfile_is_left_at_the_body(self, backend):
        request = parser_class(backend)(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyrest")
        assert request.rfile.tell() == len(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        assert request.rfile.read(4) == b"body"

    @pytest.mark.parametrize("line, code", (
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET / a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ))
    def test_errors_reach_its_own_send_error(self, backend, line, code):
        request = parser_class(backend)(line)
        assert (request.parsed, request.error_code) == (False, code)
        assert isinstance(request.error_message, str)

    def test_object_made_without_init_and_without_a_class_of_its_own(self, backend):
        handler_class = backend.http_server.BaseHTTPRequestHandler
        handler = handler_class.__new__(handler_class)
        handler.rfile = io.BytesIO(b"Host: b\r\n\r\n")
        handler.raw_requestline = b"HEAD /x HTTP/1.0\r\n"
        assert handler.parse_request()
        assert (handler.command, handler.path, handler.close_connection) == ("HEAD", "/x", True)
        assert handler.headers["host"] == "b"

    def test_responses_without_init(self, backend):
        handler_class = backend.http_server.BaseHTTPRequestHandler
        handler = handler_class.__new__(handler_class)
        handler.wfile, handler.request_version = io.BytesIO(), "HTTP/1.1"
        handler.send_response_only(299, "Fine")
        handler.send_header("X-Int", 5)
        handler.end_headers()
        handler.wfile.write(b"body")
        assert handler.wfile.getvalue() == b"HTTP/1.0 299 Fine\r\nX-Int: 5\r\n\r\nbody"

    def test_headers_buffer_without_init(self, backend):
        handler_class = backend.http_server.BaseHTTPRequestHandler
        handler = handler_class.__new__(handler_class)
        handler.wfile, handler.request_version = io.BytesIO(), "HTTP/1.1"
        assert not hasattr(handler, "_headers_buffer") or not handler._headers_buffer
        handler.flush_headers()
        handler.send_header("A", "b")
        assert handler._headers_buffer == [b"A: b\r\n"]
        handler.flush_headers()
        assert handler.wfile.getvalue() == b"A: b\r\n" and handler._headers_buffer == []

    def test_one_object_parses_many_requests(self, backend):
        request = parser_class(backend)(b"GET /a HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n")
        request.rfile = io.BytesIO(b"B: 2\r\n\r\n")
        request.raw_requestline = b"PUT /b HTTP/1.0\r\n"
        assert request.parse_request()
        assert (request.command, request.path, request.headers.items()) == ("PUT", "/b", [("B", "2")])

    def test_handle_one_request_on_bytesio(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def __init__(self, data):
                self.rfile, self.wfile, self.client_address = io.BytesIO(data), io.BytesIO(), ("c", 1)
                self.handle()

            def date_time_string(self, timestamp=None):
                return "today"

            def version_string(self):
                return "v"

            def do_GET(self):
                respond(self, self.path.encode())

        handler = Handler(b"GET /q HTTP/1.1\r\nHost: a\r\n\r\n")
        assert handler.wfile.getvalue() == (
            b"HTTP/1.0 200 OK\r\nServer: v\r\nDate: today\r\nContent-Length: 2\r\n\r\n/q")

    def test_keep_alive_loop_on_bytesio(self, backend):
        seen = []

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, data):
                self.rfile, self.wfile, self.client_address = io.BytesIO(data), io.BytesIO(), ("c", 1)
                self.handle()

            def do_GET(self):
                seen.append(self.path)
                respond(self)

        Handler(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert seen == ["/1", "/2"]


class KeptBytesIO(io.BytesIO):
    """A BytesIO whose value outlives close()."""
    kept = b""

    def close(self):
        if not self.closed:
            self.kept = self.getvalue()
        super().close()


class TestFakeSockets:
    """Or with a fake socket that has nothing but `makefile`."""

    def fake(self, data):
        class FakeSocket:
            def __init__(self):
                self.asked, self.written = [], KeptBytesIO()

            def makefile(self, mode, bufsize=-1):
                self.asked.append((mode, bufsize))
                return io.BytesIO(data) if "r" in mode else self.written

        return FakeSocket()

    def test_handler_that_only_reads(self, backend):
        got = []

        class Handler(backend.socketserver.StreamRequestHandler):
            def handle(self):
                got.append(self.rfile.readline())

        fake = self.fake(b"line\nrest")
        Handler(fake, ("a", 1), None)
        assert got == [b"line\n"]
        assert fake.asked[0] == ("rb", -1)

    def test_http_handler_with_a_buffered_wfile(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            wbufsize = -1

            def do_GET(self):
                respond(self, b"fake")

        fake = self.fake(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        Handler(fake, ("a", 1), None)
        assert fake.asked == [("rb", -1), ("wb", -1)]
        assert fake.written.kept.startswith(b"HTTP/1.0 200 OK\r\n") and fake.written.kept.endswith(b"fake")

    def test_unbuffered_wfile_uses_sendall_of_the_fake(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self, b"fake")

        fake, sent = self.fake(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []
        fake.sendall = lambda data: sent.append(bytes(data))
        Handler(fake, ("a", 1), None)
        assert b"".join(sent).endswith(b"\r\n\r\nfake")

    def test_mocks_for_request_and_server(self, backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self, b"mocked")

        request = mock.Mock()
        request.makefile.return_value = io.BytesIO(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        Handler(request, ("127.0.0.1", 80), mock.Mock())
        sent = b"".join(bytes(call.args[0]) for call in request.sendall.call_args_list)
        assert sent.endswith(b"mocked")

    def test_datagram_handler_on_a_fake_pair(self, backend):
        class Handler(backend.socketserver.DatagramRequestHandler):
            def handle(self):
                self.wfile.write(self.rfile.read().upper())

        sock = mock.Mock()
        Handler((b"packet", sock), ("a", 1), None)
        sock.sendto.assert_called_once_with(b"PACKET", ("a", 1))
