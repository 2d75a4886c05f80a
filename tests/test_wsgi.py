"""turboserver.wsgiref.simple_server: the names, the classes and what an application sees."""
import contextlib
import http.client
import io
import socket
import socketserver
import threading
import wsgiref.simple_server as original
import wsgiref.validate

import pytest

import turboserver
from turboserver import socketserver as ts
from turboserver.wsgiref import simple_server as ours


class Quiet(ours.WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(app, server_class=ours.WSGIServer, handler_class=Quiet):
    server = ours.make_server("127.0.0.1", 0, app, server_class, handler_class)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


def request(server, method="GET", path="/", body=None, headers={}):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_names():
    for name in [*original.__all__, "ServerHandler", "SimpleHandler", "server_version", "sys_version",
                 "software_version", "ThreadingWSGIServer"]:
        assert hasattr(ours, name), name
    assert set(original.__all__) < set(ours.__all__)
    assert ours.software_version == original.software_version


def test_classes():
    assert issubclass(ours.WSGIServer, original.WSGIServer)
    assert issubclass(ours.WSGIRequestHandler, original.WSGIRequestHandler)
    assert issubclass(ours.ThreadingWSGIServer, (socketserver.ThreadingMixIn,))
    assert ours.ThreadingWSGIServer.daemon_threads is True
    assert ours.WSGIRequestHandler.server_version == original.WSGIRequestHandler.server_version
    if turboserver.accelerated:
        assert issubclass(ours.WSGIServer, ts.TCPServer)
    type("S", (socketserver.ThreadingMixIn, ours.WSGIServer), {})
    type("H", (ours.WSGIRequestHandler, original.WSGIRequestHandler), {})


def test_make_server_and_its_environment():
    with ours.make_server("127.0.0.1", 0, ours.demo_app) as server:
        assert type(server) is ours.WSGIServer and server.RequestHandlerClass is ours.WSGIRequestHandler
        assert server.get_app() is ours.demo_app
        assert server.base_environ["SERVER_PORT"] == str(server.server_port)
        assert server.base_environ["SERVER_NAME"] == server.server_name
        assert server.base_environ["GATEWAY_INTERFACE"] == "CGI/1.1"


def test_setup_environ_may_be_extended():
    class Server(ours.WSGIServer):
        def setup_environ(self):
            super().setup_environ()
            self.base_environ["MINE"] = "yes"

    with serving(lambda environ, start: (start("200 OK", []), [environ["MINE"].encode()])[1], Server) as server:
        assert request(server)[1] == b"yes"


@pytest.mark.filterwarnings("ignore")
def test_application_sees_what_the_original_shows():
    seen = []

    def app(environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        seen.append((environ, body))
        start_response("201 Made", [("Content-Type", "text/plain"), ("X-A", "1")])
        return [b"got ", body]

    answers = []
    for server_class, handler_class in ((ours.WSGIServer, Quiet),
                                        (original.WSGIServer, type("Q", (original.WSGIRequestHandler,), {
                                            "log_message": lambda self, *a: None}))):
        with serving(app, server_class, handler_class) as server:
            response, body = request(server, "POST", "/a%20b/c?x=1", b"data", {
                "X-Mine": "1", "Content-Type": "text/css", "X-Other": " padded "})
            headers = [(k, v) for k, v in response.getheaders() if k not in ("Date", "Content-Length")]
            answers.append((response.status, response.reason, headers, body))
    assert answers[0] == answers[1]
    (mine, body), (theirs, _) = seen
    assert body == b"data" and mine.keys() - theirs.keys() == {"wsgi.input_terminated"} and not theirs.keys() - mine.keys()
    differ = {k for k in theirs if mine[k] != theirs[k] and type(mine[k]) is str}
    assert differ <= {"SERVER_PORT", "HTTP_HOST", "SERVER_NAME"}
    assert mine["PATH_INFO"] == "/a b/c" and mine["HTTP_X_OTHER"] == "padded"


@pytest.mark.parametrize("server_class, handler_class, multithread", [
    (ours.WSGIServer, Quiet, False),
    (ours.ThreadingWSGIServer, Quiet, True),
    (type("A", (socketserver.ThreadingMixIn, ours.WSGIServer), {"daemon_threads": True}), Quiet, True),
    (type("B", (ts.ThreadingMixIn, ours.WSGIServer), {"daemon_threads": True}), Quiet, True),
], ids=["plain", "ours", "original mixin", "our mixin"])
def test_multithread(server_class, handler_class, multithread):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(environ["wsgi.multithread"]).encode()]

    with serving(wsgiref.validate.validator(app), server_class, handler_class) as server:
        assert request(server)[1] == repr(multithread).encode()


@pytest.mark.skipif(not hasattr(socketserver, "ForkingMixIn"), reason="no fork() here")
@pytest.mark.parametrize("mixin", [socketserver.ForkingMixIn, getattr(ts, "ForkingMixIn", None)], ids=["original", "ours"])
def test_multiprocess(mixin):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr((environ["wsgi.multithread"], environ["wsgi.multiprocess"])).encode()]

    with serving(app, type("Forking", (mixin, ours.WSGIServer), {})) as server:
        assert request(server)[1] == b"(False, True)"
    with serving(app, type("Several", (ours.WSGIServer,), {"turbo_multiprocess": True})) as server:
        assert request(server)[1] == b"(False, True)"


def test_threads_answer_while_one_waits():
    release, entered = threading.Event(), threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            release.wait(20)
        return [b"done"]

    with serving(app, ours.ThreadingWSGIServer) as server:
        slow = threading.Thread(target=request, args=(server, "GET", "/slow"), daemon=True)
        slow.start()
        assert entered.wait(20)
        assert request(server)[1] == b"done"
        release.set()
        slow.join(20)


def test_connections_are_kept():
    with serving(ours.demo_app) as server:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
        for number in range(3):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.read().startswith(b"Hello world!")
            assert response.version == 11 and not response.will_close
        connection.close()


def test_one_request_a_connection_where_a_method_is_overridden():
    class Handler(Quiet):
        def get_environ(self):
            return super().get_environ()

    with serving(ours.demo_app, handler_class=Handler) as server:
        response, body = request(server, headers={"Connection": "keep-alive"})
        assert response.version == 10 and response.will_close and body.startswith(b"Hello world!")


def test_error_of_the_application(capsys):
    def app(environ, start_response):
        raise LookupError("no luck")

    class Handler(Quiet):
        errors = io.StringIO()

        def get_stderr(self):
            return self.errors

    with serving(app, handler_class=Handler) as server:
        response, body = request(server)
    assert response.status == 500 and "no luck" in Handler.errors.getvalue()


def test_log_line(capsys):
    with serving(ours.demo_app, handler_class=ours.WSGIRequestHandler) as server:
        request(server, path="/x")
    assert '"GET /x HTTP/1.1" 200 ' in capsys.readouterr().err


@pytest.mark.parametrize("module", [ours, original], ids=["ours", "original"])
def test_server_handler_may_be_replaced(module, monkeypatch):
    class Mine(original.ServerHandler):
        server_software = "mine/1"

    monkeypatch.setattr(module, "ServerHandler", Mine)
    with serving(ours.demo_app) as server:
        assert request(server)[0].getheader("Server") == "mine/1"


def test_http_version_of_the_server_handler(monkeypatch):
    monkeypatch.setattr(ours.ServerHandler, "http_version", "1.1")
    with serving(ours.demo_app) as server:
        response, body = request(server)
        assert response.version == 11 and response.getheader("Content-Length")     # the original's way, by its words


def test_long_request_line():
    with serving(ours.demo_app) as server:
        response, body = request(server, path="/" + "a" * 66000)
        assert response.status == 414


ANSWERS = {
    "204": (("204 No Content", []), [b""], "GET", None, b""),
    "204 without a piece": (("204 No Content", []), [], "GET", None, b""),
    "204 with a length": (("204 No Content", [("Content-Length", "5")]), [b"hello"], "GET", None, b""),
    "304": (("304 Not Modified", []), [], "GET", None, b""),
    "304 with a piece": (("304 Not Modified", []), [b""], "GET", None, b""),
    "304 with a length": (("304 Not Modified", [("Content-Length", "5")]), [], "GET", "5", b""),
    "HEAD": (("200 OK", [("Content-Length", "5")]), [b"hello"], "HEAD", "5", b""),
    "interim": (("103 Early Hints", []), [b"hello"], "GET", "59", b"A server error occurred.  Please contact the administrator."),
}


def get_environ(self):
    return ours.WSGIRequestHandler.get_environ(self)


#: Members of a handler class: answered natively, and by wsgiref's handlers.
WAYS = pytest.mark.parametrize("members", [{}, {"get_environ": get_environ}], ids=["native", "overridden"])


@WAYS
@pytest.mark.parametrize("name", ANSWERS)
def test_length_and_body_of_an_answer(name, members, capsys):
    start, pieces, method, length, body = ANSWERS[name]

    def app(environ, start_response):
        environ["REQUEST_METHOD"] = "GET"       # what was asked counts
        start_response(*start)
        return pieces

    handler = type("Handler", (Quiet,), members)
    with serving(app, handler_class=handler) as server, socket.create_connection(server.server_address) as sock:
        sock.sendall(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        head, _, rest = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    lengths = [line.split(b": ")[1].decode() for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert lengths == ([] if length is None else [length])
    assert rest == body and not head.startswith((b"HTTP/1.0 1", b"HTTP/1.1 1"))


def environ_of(octets, **members):
    found = []

    def app(environ, start_response):
        found.append(environ)
        start_response("200 OK", [])
        return []

    with serving(app, handler_class=type("Handler", (Quiet,), members)) as server, \
            socket.create_connection(server.server_address) as sock:
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    return found[0]


@WAYS
@pytest.mark.parametrize("target, path, query", [
    (b"http://host:81/a/b?c=d", "/a/b", "c=d"), (b"http://host?c=d", "/", "c=d"), (b"http://host", "/", ""),
    (b"http://host/%20?a?b", "/ ", "a?b"), (b"/a?http://b/c", "/a", "http://b/c"), (b"/http://a/b", "/http://a/b", ""),
])
def test_path_of_a_target_with_an_authority(target, path, query, members):
    environ = environ_of(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", **members)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)


@WAYS
def test_values_as_they_were_sent(members):
    """But for SP and HTAB around them."""
    environ = environ_of(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xa0v\xa0 \r\nY:\t\x85w\r\nX: \tx\r\nContent-Type: \xa0t\xa0\r\n\r\n",
                         **members)
    assert {key: environ[key] for key in ("HTTP_X", "HTTP_Y", "CONTENT_TYPE")} == {
        "HTTP_X": "\xa0v\xa0,x", "HTTP_Y": "\x85w", "CONTENT_TYPE": "\xa0t\xa0"}


@WAYS
@pytest.mark.parametrize("underscores", (False, True))
def test_names_with_an_underscore(underscores, members):
    """They would be other fields, which a proxy in front may have checked."""
    environ = environ_of(b"GET / HTTP/1.1\r\nHost: a\r\nX-User: a\r\nX_User: b\r\nY_: c\r\n\r\n",
                         turbo_underscores=underscores, **members)
    assert environ["HTTP_X_USER"] == ("a,b" if underscores else "a")
    assert environ.get("HTTP_Y_") == ("c" if underscores else None)


def test_handler_as_a_parser_only():
    """As test_wsgiref and others drive it: no socket, no __init__."""
    class Handler(ours.WSGIRequestHandler):
        def __init__(self):
            pass

    handler = Handler()
    handler.rfile, handler.wfile = io.BytesIO(b"GET /p?q HTTP/1.0\r\nA: b\r\n\r\n"), io.BytesIO()
    handler.client_address, handler.log_message = ("127.0.0.1", 1), lambda *a: None
    handler.server = ours.WSGIServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    handler.server.socket.close()
    handler.server.base_environ = {}
    handler.server.set_app(lambda environ, start: (start("200 OK", []), [environ["QUERY_STRING"].encode()])[1])
    handler.handle()
    assert handler.wfile.getvalue().endswith(b"\r\n\r\nq")


@pytest.mark.parametrize("method, body", [("GET", b"body"), ("HEAD", b"")])
@pytest.mark.parametrize("handler", [None, object()], ids=["none", "any"])
def test_a_server_handler_without_a_server(method, body, handler):
    """As Django's tests use theirs: with a request_handler that knows no command, or none."""
    output = io.BytesIO()
    runner = ours.ServerHandler(io.BytesIO(), output, io.StringIO(),
                                {"REQUEST_METHOD": method, "SERVER_PROTOCOL": "HTTP/1.1"})
    runner.request_handler = handler
    runner.setup_environ()
    runner.start_response("200 OK", [("Content-Type", "text/plain")])
    runner.write(b"body")
    head, _, sent = output.getvalue().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n") and sent == body
