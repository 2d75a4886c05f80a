"""CONTRACT, "Handlers": `headers`, `send_header`, `send_error`, logging and `parse_request`, as they are overridden."""
import email.message
import http
import http.client
import io
import sys

import pytest

from support import Client, exchange, fetch, respond, serving, wait_until

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
BAD_FRAMING = (
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: four\r\n\r\nbody",
)


@pytest.fixture
def serve(backend):
    """serve(handler class) -> context manager around a running ThreadingHTTPServer."""
    def serve(handler):
        return serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
    return serve


@pytest.fixture
def base(backend):
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "S", "V"

        def date_time_string(self, timestamp=None):
            return "now"

        def do_GET(self):
            respond(self)

    return Handler


class TestHeaders:
    """`headers` is a `MessageClass` instance (custom ones exist): `get`, `get_all`, `items`, `in`,
    `get_content_type`, `get_payload`, deletion while iterating."""

    def see(self, base, serve, look, head=b"Host: a\r\n", version=b"1.1"):
        class Handler(base):
            def do_GET(self):
                respond(self, repr(look(self.headers)).encode())

        with serve(Handler) as server:
            with Client(server) as client:
                client.send(b"GET / HTTP/%b\r\n%b\r\n" % (version, head))
                return eval(client.read().body)

    def test_is_an_instance_of_message_class(self, base, serve):
        assert self.see(base, serve, lambda headers: (
            type(headers) is base.MessageClass and isinstance(headers, http.client.HTTPMessage)
            and isinstance(headers, email.message.Message)))

    def test_custom_message_class(self, base, serve):
        class Mine(http.client.HTTPMessage):
            def shout(self):
                return [name.upper() for name in self]

        base.MessageClass = Mine
        assert self.see(base, serve, lambda headers: headers.shout(), b"Host: a\r\nx-y: 1\r\n") == ["HOST", "X-Y"]

    def test_message_class_given_a_policy(self, base, serve):
        assert self.see(base, serve, lambda headers: headers.policy.__class__.__name__) == "Compat32"

    HEAD = b"Host: a\r\nX-A: 1\r\nx-a:  2\r\nContent-Type: Text/Plain; charset=x\r\nEmpty:\r\n"

    @pytest.mark.parametrize("look", (
        lambda h: h.get("x-A"),
        lambda h: h.get("nothing", "default"),
        lambda h: h["Nothing"],
        lambda h: h.get_all("X-A"),
        lambda h: h.get_all("X-B", "none"),
        lambda h: ("x-a" in h, "X-B" in h),
        lambda h: h.items(),
        lambda h: h.keys(),
        lambda h: h.values(),
        lambda h: list(h),
        lambda h: len(h),
        lambda h: dict(h),
        lambda h: h.get_content_type(),
        lambda h: h.get_content_maintype(),
        lambda h: h.get_content_charset(),
        lambda h: h.get_param("charset"),
        lambda h: h.get_payload(),
        lambda h: h.is_multipart(),
        lambda h: h.defects,
        lambda h: str(h),
        lambda h: h.as_bytes(),
        lambda h: bool(h),
        lambda h: h._headers,
    ))
    def test_queries(self, base, serve, look):
        reference = http.client.parse_headers(io.BytesIO(self.HEAD + b"\r\n"))
        assert self.see(base, serve, look, self.HEAD) == look(reference)

    def test_no_headers_at_all(self, base, serve):
        assert self.see(base, serve, lambda h: (h.items(), len(h), bool(h), h.get_content_type()), b"", b"1.0") == (
            [], 0, False, "text/plain")

    def test_deletion_while_iterating(self, base, serve):
        def look(headers):
            for name in headers:
                if name.lower().startswith("x-"):
                    del headers[name]
            return headers.items()

        assert self.see(base, serve, look, b"A: 1\r\nX-B: 2\r\nX-C: 3\r\nX-b: 4\r\nD: 5\r\n", b"1.0") == [
            ("A", "1"), ("D", "5")]

    def test_changed(self, base, serve):
        def look(headers):
            headers["New"] = "n"
            headers.add_header("Par", "v", key="w")
            headers.replace_header("A", "z")
            del headers["missing"]
            return headers.items()

        assert self.see(base, serve, look, b"A: 1\r\n", b"1.0") == [("A", "z"), ("New", "n"), ("Par", 'v; key="w"')]

    def test_assigned(self, base, serve):
        class Handler(base):
            def parse_request(self):
                if not super().parse_request():
                    return False
                self.headers = dict(self.headers.items(), Extra="e")
                return True

            def do_GET(self):
                respond(self, repr(sorted(self.headers.items())).encode())

        with serve(Handler) as server:
            assert eval(fetch(server).body) == [("Extra", "e"), ("Host", "test")]

    def test_kept_after_the_next_request(self, base, serve):
        class Handler(base):
            kept = []

            def do_GET(self):
                self.kept.append(self.headers)
                respond(self)

        with serve(Handler) as server, Client(server) as client:
            for value in "abc":
                client.request(headers=[("X-V", value)])
        assert [headers["X-V"] for headers in Handler.kept] == ["a", "b", "c"]


class TestSendHeader:
    """`send_header` takes ints and other objects as values; is called after raw writes to `wfile`."""

    def answer(self, base, serve, program):
        class Handler(base):
            def do_GET(self):
                program(self)
                self.close_connection = True

        with serve(Handler) as server:
            return exchange(server, GET)

    def test_int_as_a_name_is_an_error(self, base, serve):
        def program(handler):
            handler.send_response_only(200)
            handler.send_header(5, "int name")
            handler.end_headers()

        assert self.answer(base, serve, program) == b"", "a name has no lower() if it is an int"

    def test_values_as_the_original_formats_them(self, base, serve):
        class Odd:
            def __str__(self):
                return "odd"

        values = (5, 1.5, None, True, Odd(), http.HTTPStatus.OK, ["l"], "\xe9")

        def program(handler):
            handler.send_response_only(200)
            for value in values:
                handler.send_header("V", value)
            handler.end_headers()

        expected = "HTTP/1.1 200 OK\r\n" + "".join(f"V: {value!s}\r\n" for value in values) + "\r\n"
        assert self.answer(base, serve, program) == expected.encode("latin-1")

    def test_value_not_in_latin_1_is_an_error(self, base, serve, capsys):
        def program(handler):
            handler.send_response(200)
            handler.send_header("V", "\u20ac")

        assert self.answer(base, serve, program) == b""
        assert "UnicodeEncodeError" in capsys.readouterr().err

    def test_after_raw_writes_to_wfile(self, base, serve):
        def program(handler):
            handler.wfile.write(b"HTTP/1.1 200 Raw\r\nX-Raw: 1\r\n")
            handler.send_header("X-Sent", "2")
            handler.end_headers()
            handler.wfile.write(b"body")

        assert self.answer(base, serve, program) == (
            b"HTTP/1.1 200 Raw\r\nX-Raw: 1\r\nX-Sent: 2\r\n\r\nbody")

    def test_order_of_headers_is_the_order_of_calls(self, base, serve):
        def program(handler):
            handler.send_header("X-Before", "0")
            handler.send_response(201, "Made")
            handler.send_header("x-after", "1")
            handler.end_headers()

        assert self.answer(base, serve, program) == (
            b"X-Before: 0\r\nHTTP/1.1 201 Made\r\nServer: S V\r\nDate: now\r\nx-after: 1\r\n\r\n")

    @pytest.mark.parametrize("value, closes", (("close", True), ("Close", True), ("keep-alive", False),
                                               ("Keep-Alive", False), ("upgrade", None)))
    def test_connection_header_decides(self, base, serve, value, closes):
        seen = []

        class Handler(base):
            def do_GET(self):
                self.close_connection = "unset"
                self.send_response(200)
                self.send_header("CONNECTION", value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                seen.append(self.close_connection)
                self.close_connection = True

        with serve(Handler) as server:
            exchange(server, GET)
        assert seen == ["unset" if closes is None else closes]

    def test_overridden_to_filter(self, base, serve):
        class Handler(base):
            def send_header(self, keyword, value):
                if keyword != "Server":
                    super().send_header(keyword.title(), value)

            def do_GET(self):
                respond(self, headers=[("x-small", "s")])

        with serve(Handler) as server:
            assert fetch(server).headers == [("Date", "now"), ("X-Small", "s"), ("Content-Length", "2")]

    def test_end_headers_overridden_to_add_cors(self, base, serve):
        class Handler(base):
            def end_headers(self):
                self.send_header("Access-Control-Allow-Origin", "*")
                super().end_headers()

        with serve(Handler) as server, Client(server) as client:
            for method, status in (("GET", 200), ("GET", 200), ("HUH", 501)):
                response = client.request(method)
                assert (response.status, response.get("Access-Control-Allow-Origin")) == (status, "*")


class TestSendError:
    """`send_error(code, message)` overrides call `message.find`: our own refusals pass a real message."""

    def serve_refusals(self, backend, base, data):
        seen = []

        class Handler(base):
            def send_error(self, code, message=None, explain=None):
                seen.append((int(code), message))
                assert message is not None and message.find("\n") == -1
                super().send_error(code, message, explain)

        with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            answer = exchange(server, data)
        return seen, answer

    @pytest.mark.parametrize("data, code", (
        (b"HUH / HTTP/1.1\r\nHost: a\r\n\r\n", 501), (b"GET / HTTP/9.9\r\n\r\n", 505), (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: x\r\n" * 150 + b"\r\n", 431)))
    def test_refusals_of_the_original(self, backend, base, data, code):
        seen, answer = self.serve_refusals(backend, base, data)
        assert [status for status, unused in seen] == [code]
        head = b"HTTP/1.1 %d " % code
        # The originals up to 3.13 take a line for HTTP/0.9, whose answers have no head, as long as
        # they do not know its version.
        known = backend.name != "stdlib" or b"HTTP/9.9" not in data and b"HTTP/x" not in data
        assert answer.startswith(head) is (known or sys.version_info >= (3, 14))

    @pytest.mark.parametrize("data", BAD_FRAMING)
    def test_our_own_refusals(self, turbo, data, capsys):
        class Handler(turbo.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                respond(self, b"handled")

        seen, answer = self.serve_refusals(turbo, Handler, data)
        assert len(seen) == 1 and seen[0][0] == 400 and len(seen[0][1]) > 3
        assert answer.startswith(b"HTTP/1.1 400 ") and b"handled" not in answer
        assert "code 400, message " + seen[0][1] in capsys.readouterr().err, "is logged"

    def test_error_message_format_and_content_type(self, base, serve):
        class Handler(base):
            error_message_format = "%(code)d %(message)s / %(explain)s"
            error_content_type = "text/plain"

            def do_GET(self):
                self.send_error(418, "a <b>", "tea & \u20ac")

        with serve(Handler) as server:
            response = fetch(server)
        assert (response.status, response.reason, response.get("Content-Type")) == (418, "a <b>", "text/plain")
        assert response.body.decode() == "418 a &lt;b&gt; / tea &amp; \u20ac"
        assert response.get("Connection") == "close"


class TestLogging:
    """`log_message` overrides index `args` and join them: they are strings as in the original.
    `log_request(*args)` is called with what the original passes."""

    def log(self, base, serve, data):
        seen = []

        class Handler(base):
            def log_message(self, format, *args):
                seen.append((format, args))

            def do_STATUS(self):
                self.send_response(http.HTTPStatus.NO_CONTENT)
                self.end_headers()

        with serve(Handler) as server:
            exchange(server, data)
        return seen

    def test_request_line(self, base, serve):
        assert self.log(base, serve, GET) == [('"%s" %s %s', ("GET / HTTP/1.1", "200", "-"))]

    def test_status_enum_is_a_string_too(self, base, serve):
        (unused, args), = self.log(base, serve, b"STATUS / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert args == ("STATUS / HTTP/1.1", "204", "-")
        assert " ".join(args).split() and args[0].split()[0] == "STATUS"

    def test_errors(self, base, serve):
        first, second = self.log(base, serve, b"HUH / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert first[0] == "code %d, message %s" and first[1] == (501, "Unsupported method ('HUH')")
        assert second == ('"%s" %s %s', ("HUH / HTTP/1.1", "501", "-"))

    def test_log_request_arguments(self, base, serve):
        seen = []

        class Handler(base):
            def log_request(self, *args, **kwargs):
                seen.append((args, kwargs))
                super().log_request(*args, **kwargs)

            def do_GET(self):
                respond(self, code=http.HTTPStatus.ACCEPTED)

        with serve(Handler) as server:
            assert fetch(server).status == 202
            assert fetch(server, method="HUH").status == 501
        assert seen == [((http.HTTPStatus.ACCEPTED,), {}), ((501,), {})]

    def test_log_request_with_a_size(self, base, serve, capsys):
        class Handler(base):
            def log_request(self, code="-", size="-"):
                super().log_request(code, 1234)

        with serve(Handler) as server:
            fetch(server)
        assert capsys.readouterr().err.endswith('"GET / HTTP/1.1" 200 1234\n')

    def test_log_line_as_the_original_writes_it(self, base, serve, capsys):
        class Handler(base):
            def log_date_time_string(self):
                return "then"

            def address_string(self):
                return "there"

        with serve(Handler) as server:
            fetch(server, "/a%20b?c")
        assert capsys.readouterr().err == 'there - - [then] "GET /a%20b?c HTTP/1.1" 200 -\n'

    def test_stderr_is_looked_up_when_the_line_is_written(self, base, serve, monkeypatch):
        with serve(base) as server, Client(server) as client:
            for unused in range(2):
                monkeypatch.setattr(sys, "stderr", io.StringIO())
                client.request()
                wait_until(lambda: '"GET / HTTP/1.1" 200 -\n' in sys.stderr.getvalue())
                assert sys.stderr.getvalue().count("\n") == 1

    def test_silenced(self, base, serve, capsys):
        class Handler(base):
            def log_message(self, *args):
                pass

        with serve(Handler) as server:
            fetch(server)
        assert capsys.readouterr().err == ""


class TestProperties:
    """`server_version` may be a property. `client_address` may be assigned."""

    def test_server_version_as_a_property(self, base, serve):
        class Handler(base):
            @property
            def server_version(self):
                return "Path" + self.path.replace("/", "-")

        with serve(Handler) as server, Client(server) as client:
            assert client.request(path="/a").get("Server") == "Path-a V"
            assert client.request(path="/b").get("Server") == "Path-b V"

    def test_version_string_overridden(self, base, serve):
        class Handler(base):
            def version_string(self):
                return "mine"

        with serve(Handler) as server:
            assert fetch(server).get("Server") == "mine"

    def test_client_address_assigned(self, base, serve, capsys):
        class Handler(base):
            def parse_request(self):
                if not super().parse_request():
                    return False
                self.client_address = (self.headers["X-Forwarded-For"], 0)
                return True

            def do_GET(self):
                respond(self, self.client_address[0].encode())

        with serve(Handler) as server:
            assert fetch(server, headers=[("X-Forwarded-For", "192.0.2.7")]).body == b"192.0.2.7"
        assert capsys.readouterr().err.startswith("192.0.2.7 - - [")


class TestParseRequest:
    """`parse_request` overridden to route, authenticate or return False."""

    def test_routes(self, base, serve):
        class Handler(base):
            def parse_request(self):
                if not super().parse_request():
                    return False
                self.command, self.path = "ROUTED", "/to" + self.path
                return True

            def do_ROUTED(self):
                respond(self, self.path.encode())

        with serve(Handler) as server, Client(server) as client:
            assert client.request(path="/a").body + client.request(path="/b").body == b"/to/a/to/b"

    def test_authenticates(self, base, serve):
        class Handler(base):
            def parse_request(self):
                if not super().parse_request():
                    return False
                if self.headers.get("Authorization") != "Basic eDp5":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", "Basic")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return False
                return True

        with serve(Handler) as server, Client(server) as client:
            assert client.request().status == 401
            assert client.request(headers=[("Authorization", "Basic eDp5")]).status == 200

    @pytest.mark.parametrize("close", (True, False))
    def test_returns_false(self, base, serve, close):
        class Handler(base):
            def parse_request(self):
                super().parse_request()
                if self.path == "/no":
                    self.close_connection = close
                    return False
                return True

        with serve(Handler) as server:
            answer = exchange(server, GET.replace(b"/ ", b"/no ") + GET)
        assert answer.endswith(b"ok") is not close

    def test_rewrites_the_request_line(self, base, serve):
        class Handler(base):
            def parse_request(self):
                self.raw_requestline = self.raw_requestline.replace(b"/old", b"/new")
                return super().parse_request()

            def do_GET(self):
                respond(self, (self.path + " " + self.requestline).encode())

        with serve(Handler) as server:
            assert fetch(server, "/old").body == b"/new GET /new HTTP/1.1"
