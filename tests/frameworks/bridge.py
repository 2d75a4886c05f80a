"""A pytest plugin: what a framework's own tests ask an application directly goes over a real socket instead.

`pytest -p bridge` with BRIDGE=turboserver or stdlib in the environment; the outcomes are written as JSON to the file
that BRIDGE_REPORT names. Runs in the environment of `make frameworks`.

How: the test clients of Werkzeug (Flask), WebOb (WebTest, Pyramid) and those that use wsgiref.validate (bottle,
Falcon) call application(environ, start_response). In between comes `Bridge.wrapped`: it makes a request of environ,
sends it to a server in this process, and the server calls the application. The application gets the dict of the
test, in which the server has put all that is of HTTP (method, path, query, fields, wsgi.input, wsgi.file_wrapper);
what only the test knows (REMOTE_USER, wsgi.errors, ...) stays. What the application raises is raised in the test, too.

What cannot be told in HTTP is called directly, and counted as such: a method that is no token, a length that is no
number, control characters.
"""
import collections
import contextvars
import http.client
import importlib
import io
import itertools
import json
import os
import re
import socket
import socketserver
import threading
import urllib.parse
import wsgiref.simple_server

NAME = os.environ["BRIDGE"]
#: Seconds for an answer. The standard library's server waits for ever for a body that is not there.
PATIENCE = 5 if NAME == "stdlib" else 30
_original_servers = wsgiref.simple_server.WSGIServer, wsgiref.simple_server.WSGIRequestHandler
if NAME == "turboserver":
    import turboserver
    turboserver.install()       # for tests that start a server themselves

_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_SERVERS_OWN = {"date", "server", "connection", "transfer-encoding", "content-length", "keep-alive"}
#: Of environ, what the server supplies. All else is the test's.
_SUPPLIED = {"REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.input",
             "wsgi.file_wrapper", "wsgi.input_terminated"}


def _server_class():
    if NAME == "turboserver":
        ours = importlib.import_module("turboserver.wsgiref.simple_server")
        return ours.ThreadingWSGIServer, ours.WSGIRequestHandler
    server, handler = _original_servers
    return (type("Server", (socketserver.ThreadingMixIn, server), {"daemon_threads": True}),
            type("Handler", (handler,), {"log_message": lambda *arguments: None}))


class Call:
    """One request on its way: the application, the test's environ, what was raised, the fields it answered with."""

    def __init__(self, application, environ):
        self.application, self.environ = application, environ
        self.context = contextvars.copy_context()
        self.error = self.fields = None


class Bridge:
    def __init__(self):
        self.over_the_wire = self.direct = self.kept = 0
        self.why_direct = collections.Counter()
        self._calls, self._numbers, self._local = {}, itertools.count(), threading.local()
        server_class, handler_class = _server_class()
        self._server = wsgiref.simple_server.make_server("127.0.0.1", 0, self._serve, server_class, handler_class)
        self._server.timeout = None
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    # -- on the server's side

    def _serve(self, environ, start_response):
        call = self._calls.pop(environ.pop("HTTP_X_BRIDGE"))
        mine = call.environ
        for name in [name for name in mine if name.startswith("HTTP_") and name != "HTTP_HOST"]:
            if name not in environ:
                raise RuntimeError(f"{name} was lost on the way")
        for name, value in environ.items():
            if name in _SUPPLIED or name.startswith("HTTP_") and (name in mine or name not in call.added):
                mine[name] = value
        mine.pop("webob.is_body_seekable", None)        # it was about the test's own wsgi.input
        path = mine.get("SCRIPT_NAME", "")
        mine["PATH_INFO"] = environ["PATH_INFO"][len(path):] if call.path else call.empty_path
        if not environ.get("CONTENT_LENGTH") and not call.had_length:
            mine.pop("CONTENT_LENGTH", None)

        def noting(status, fields, *exc_info, **named):
            call.fields = list(fields)
            return start_response(status, fields, *exc_info, **named)

        try:
            result = call.context.run(call.application, mine, noting)
        except BaseException as error:
            call.error = error
            raise
        return self._noted(call, result)

    @staticmethod
    def _noted(call, result):
        """`result`, of which what is raised is noted, and which is closed when the server closes it."""
        try:
            iterator = iter(result)
            while True:
                try:
                    piece = call.context.run(next, iterator)
                except StopIteration:
                    break
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            call.error = error
            raise
        finally:
            if hasattr(result, "close"):
                result.close()

    # -- on the test's side

    def wrapped(self, application):
        """A WSGI application that asks `application` by way of the server."""
        def ask(environ, start_response):
            why = self._cannot(environ)
            if why:
                self.direct += 1
                self.why_direct[why] += 1
                return application(environ, start_response)
            self.over_the_wire += 1
            return self._ask(Call(application, environ), environ, start_response)
        return ask

    @staticmethod
    def _cannot(environ):
        """Why environ is no request, or None."""
        if not _token(environ.get("REQUEST_METHOD", "")) or environ["REQUEST_METHOD"] == "CONNECT":
            return "method"
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (isinstance(length, str) and length.isascii() and length.isdigit()):
            return "length"
        for name, value in environ.items():
            if name.startswith("HTTP_") or name == "CONTENT_TYPE":
                if not isinstance(value, str) or not _value(value) or value != value.strip():
                    return "field"
        if environ.get("HTTP_EXPECT") or environ.get("HTTP_TRANSFER_ENCODING") or "HTTP_CONTENT_LENGTH" in environ:
            return "framing"
        if environ.get("HTTP_HOST") == "" or any(name.startswith("HTTP_") and not _token(name) for name in environ):
            return "field"
        if environ.get("SERVER_PROTOCOL", "HTTP/1.1") not in ("HTTP/1.0", "HTTP/1.1"):
            return "version"
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path.startswith("//") or path and path[0] != "/":
            return "path"       # the head's parser makes one slash of these, for good reason
        if not all(_value(environ.get(name, "")) for name in ("QUERY_STRING",)) or re.search(
                r"[\s#]", environ.get("QUERY_STRING", "")):
            return "query"
        return None

    def _ask(self, call, environ, start_response):
        number = str(next(self._numbers))
        call.path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        call.empty_path = environ.get("PATH_INFO", "")
        call.had_length = "CONTENT_LENGTH" in environ
        target = urllib.parse.quote(call.path or "/", "/:@!$&'()*+,;=~", encoding="latin-1")
        if environ.get("QUERY_STRING"):
            target += "?" + environ["QUERY_STRING"]
        fields = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
        call.added = {"HTTP_HOST"} - environ.keys()
        if call.added:
            fields.append(("Host", "bridge"))
        if environ.get("CONTENT_TYPE"):
            fields.append(("Content-Type", environ["CONTENT_TYPE"]))
        body = b""
        if environ.get("CONTENT_LENGTH"):
            fields.append(("Content-Length", environ["CONTENT_LENGTH"]))
            length = int(environ["CONTENT_LENGTH"])
            while len(body) < length and (piece := environ["wsgi.input"].read(length - len(body))):
                body += piece
            if len(body) < length:
                environ["wsgi.input"] = io.BytesIO(body)
                self.over_the_wire -= 1
                self.direct += 1
                self.why_direct["a body that ends early"] += 1
                return call.application(environ, start_response)
        fields.append(("X-Bridge", number))
        self._calls[number] = call
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        request = f"{environ['REQUEST_METHOD']} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        try:
            try:
                response, data = self._exchange(request, environ["REQUEST_METHOD"])
            except (http.client.RemoteDisconnected, ConnectionError):
                # On a kept connection that the server has closed meanwhile; the application knows nothing of it.
                if number not in self._calls:
                    raise
                response, data = self._exchange(request, environ["REQUEST_METHOD"])
        except (http.client.HTTPException, OSError):
            if call.error is None:
                raise
            raise call.error from None
        environ["wsgi.input"] = io.BytesIO(body)        # for a test that looks at it afterwards
        if call.error is not None:
            raise call.error
        return self._told(call, response, data, start_response)

    def _exchange(self, request, method):
        """Send `request` on this thread's connection, which is kept if the server keeps it: (response, body)."""
        sock, self._local.sock = getattr(self._local, "sock", None), None
        if sock is None:
            sock = socket.create_connection(self._server.server_address[:2], PATIENCE)
        try:
            sock.sendall(request)
            with http.client.HTTPResponse(sock, method=method) as response:
                response.begin()
                data = response.read()
                if not response.will_close:
                    self._local.sock = sock
                    self.kept += 1
            return response, data
        finally:
            if self._local.sock is None:
                sock.close()

    @staticmethod
    def _told(call, response, data, start_response):
        """Give the test the answer as it came, less what the server has added."""
        if call.fields is None:
            raise AssertionError(f"{response.status} {response.reason} without the application: {data[:500]!r}")
        given = {name.lower() for name, _ in call.fields}
        fields = [(name, value) for name, value in response.getheaders()
                  if name.lower() in given or name.lower() not in _SERVERS_OWN]
        start_response(f"{response.status} {response.reason}", fields)
        return [data] if data else []


# ---------------------------------------------------------------- the plugin

bridge = None
_passed, _reasons = [], {}


def _patch():
    import wsgiref.validate
    validator = wsgiref.validate.validator
    wsgiref.validate.validator = lambda application: validator(bridge.wrapped(application))
    try:
        import werkzeug.test
    except ImportError:
        pass
    else:
        run = werkzeug.test.run_wsgi_app
        werkzeug.test.run_wsgi_app = lambda application, environ, buffered=False: run(
            bridge.wrapped(application), environ, buffered)
    try:
        from webob.request import BaseRequest
    except ImportError:
        pass
    else:
        call = BaseRequest.call_application
        BaseRequest.call_application = lambda self, application, catch_exc_info=False: call(
            self, bridge.wrapped(application), catch_exc_info)


def pytest_configure(config):
    global bridge
    bridge = Bridge()
    _patch()


def pytest_runtest_logreport(report):
    if report.failed:
        _reasons[report.nodeid] = str(report.longrepr)[-3000:]
    elif report.when == "call" and report.passed:
        _passed.append(report.nodeid)


def pytest_sessionfinish(session):
    with open(os.environ["BRIDGE_REPORT"], "w") as file:
        json.dump({"passed": _passed, "failed": _reasons, "over_the_wire": bridge.over_the_wire, "kept": bridge.kept,
                   "direct": bridge.direct, "why_direct": bridge.why_direct}, file)
