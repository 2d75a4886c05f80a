"""Counterpart of the standard library's wsgiref.simple_server, with the same names.

Job: the WSGI server and its handler on top of turboserver.http.server, and a server with
threads, which the original lacks. What an application sees (environ, write, start_response)
is the business of wsgiref.handlers, which is used as it is.

`_respond` is the half of a request that comes after its head has been parsed, where the
gateway (_gateway.pyx) does not answer it.
"""

import re
import sys
import time
import urllib.parse
import wsgiref.simple_server as _original
from wsgiref.simple_server import (
    SimpleHandler, demo_app, server_version, software_version, sys_version)

try:
    from ssl import SSLSocket
except ImportError:     # no connection is TLS then
    SSLSocket = ()

from turboserver import accelerated
from turboserver.errors import BodyError
from turboserver.http.server import _AUTHORITY, BaseHTTPRequestHandler, HTTPServer
from turboserver.socketserver import ThreadingMixIn

import socketserver as _socketserver

__all__ = ["WSGIServer", "WSGIRequestHandler", "demo_app", "make_server", "ThreadingWSGIServer"]

# The longest request line that is read, as everywhere in http.server.
_MAX_REQUEST_LINE = 65536

class ServerHandler(_original.ServerHandler):
    """wsgiref.simple_server.ServerHandler, of which no answer has a body that may have none,
    and no head a line end in a header. The server's turbo_access_log and turbo_error_log are
    called. turbo_began (float): when the head had been read, on the monotonic clock."""

    request_handler = None      # is assigned, or there is none
    turbo_began = 0.0

    def start_response(self, status, headers, exc_info=None):
        """As PEP 3333 says: status (str, "200 OK"), headers (a list of pairs of str), exc_info (as of
        sys.exc_info()) or None; returns write(). ValueError for control characters in the status or in
        headers, but for HTAB; AssertionError for 1xx, which is no answer."""
        _check_head(status, headers)
        if isinstance(status, str) and status.startswith("1"):
            raise AssertionError(f"an interim status: {status!r}")
        return super().start_response(status, headers, exc_info)

    def send_headers(self):
        """Send the head; what comes after one of an answer without a body is dropped. ValueError as of
        start_response()."""
        _check_head(self.status, self.headers.items())      # the application has the list, too
        super().send_headers()
        if self._method() == "HEAD" or self.status[:3] in ("204", "304"):
            self._write = self._drop

    def cleanup_headers(self):
        """Content-Length where it is known; none where none may be (RFC 9110, 8.6 and 9.3.6)."""
        if self.status[:3] == "204" or self.status[:1] == "2" and self._method() == "CONNECT":
            del self.headers["Content-Length"]
        elif self.status[:3] != "304":      # whose length would be that of another answer
            super().cleanup_headers()

    def finish_content(self):
        """Send the head, if nothing has sent it; of 304 without a length."""
        if not self.headers_sent and self.status is not None and self.status[:3] == "304":
            self.send_headers()
        else:
            super().finish_content()

    def _method(self):
        """What the client asked for; an application may have changed its environ."""
        # Which may be run without a server, with a request_handler of the program's own.
        command = getattr(getattr(self, "request_handler", None), "command", None)
        return self.environ.get("REQUEST_METHOD") if command is None else command

    def _drop(self, data):
        pass

    def log_exception(self, exc_info):
        """The server's turbo_error_log, or a traceback on wsgi.errors. exc_info: as of sys.exc_info()."""
        error_log = self._of_server("turbo_error_log")
        if error_log is None:
            super().log_exception(exc_info)
        else:
            error_log(self.environ, exc_info[1])

    def close(self):
        """The answer has ended: tell the log, close what the application returned."""
        access_log = self._of_server("turbo_access_log")
        if access_log is None and getattr(self.request_handler, "turbo_log", True):
            super().close()
            return
        try:
            if access_log is not None:
                access_log(self.environ, self.status, self.bytes_sent, time.monotonic() - self.turbo_began)
        finally:
            SimpleHandler.close(self)

    def _of_server(self, name):
        return getattr(getattr(self.request_handler, "server", None), name, None)

    def handle_error(self):
        """Answer for the exception that is being handled: a BodyError by its status, else 500."""
        error = sys.exc_info()[1]
        if isinstance(error, BodyError) and not self.headers_sent:
            refuse_body(self.request_handler, error)
        else:
            super().handle_error()


# What would end a line of a head, or hide in it.
_CONTROLS = re.compile("[\0-\x08\x0a-\x1f\x7f]")


def _check_head(status, headers):
    """ValueError for a control character in one of the texts. headers: pairs."""
    for text in (status, *(text for field in headers for text in field)):
        if isinstance(text, str) and _CONTROLS.search(text):
            raise ValueError(f"control character in {text!r}")


_standard_server_handler = ServerHandler
_original_server_handler = _original.ServerHandler
# As it was at import: after install() the module's own name may be ours.
_ORIGINAL_THREADING = next((cls for cls in ThreadingMixIn.__mro__ if cls.__module__ == "socketserver"),
                           _socketserver.ThreadingMixIn)


_ORIGINAL_FORKING = getattr(_socketserver, "ForkingMixIn", None)
_ORIGINAL_FORKING = _ORIGINAL_FORKING and next(
    cls for cls in _ORIGINAL_FORKING.__mro__ if cls.__module__ == "socketserver")


def _respond(handler):
    """Run the server's application for the request that `handler` has parsed."""
    if not hasattr(handler.headers, "get_content_type"):
        handler.headers = handler.MessageClass()    # {} of HTTP/0.9, from Python 3.14 on; get_environ() asks more of it
    # A program may have put its own ServerHandler here or into the original module.
    make = ServerHandler
    if ServerHandler is _standard_server_handler and _original.ServerHandler is not _original_server_handler:
        make = _original.ServerHandler
    server = handler.server
    gateway = make(handler.rfile, handler.wfile, handler.get_stderr(), handler.get_environ(),
                   multithread=isinstance(server, _ORIGINAL_THREADING),
                   multiprocess=(getattr(server, "turbo_multiprocess", False)
                                 or _ORIGINAL_FORKING is not None and isinstance(server, _ORIGINAL_FORKING)))
    gateway.request_handler = handler       # it logs through it
    gateway.turbo_began = time.monotonic()
    if not getattr(handler, "turbo_os_environ", True):
        gateway.os_environ = {}
    gateway.run(server.get_app())


def _handle(self):
    """Read one request and let the application answer it."""
    next_request(self)
    self.raw_requestline = line = self.rfile.readline(_MAX_REQUEST_LINE + 1)
    if len(line) > _MAX_REQUEST_LINE:
        self.command = self.requestline = self.request_version = ""
        self.send_error(414)
    elif self.parse_request():
        _respond(self)


if accelerated:
    from turboserver._gateway import register_server_handler
    from turboserver._handlers import register_get_app
    from turboserver._request import decoded_length, next_request, refuse_body

    class WSGIServer(HTTPServer, _original.WSGIServer):
        """An HTTPServer for one WSGI application; see set_app.

        Attributes added, of the class or of a server, which are looked at when serving begins:
        turbo_multiprocess (bool) is wsgi.multiprocess. turbo_access_log, if it is not None, is called
        after each answer, in place of the handler's log_request(), with the environ (dict), the status
        (str), the octets of the body that were sent (int) and the time it took in seconds (float).
        turbo_error_log, if it is not None, is called for an exception that the application
        lets out, in place of the traceback on sys.stderr, with the environ and the exception.
        A function that stands in a class is a method, and gets the server before these.
        """

        turbo_multiprocess = False
        turbo_access_log = None
        turbo_error_log = None

        def server_bind(self):
            """Bind, and make base_environ of the address. Raises OSError."""
            HTTPServer.server_bind(self)
            self.setup_environ()

    class WSGIRequestHandler(BaseHTTPRequestHandler, _original.WSGIRequestHandler):
        """Answers requests with the server's application.

        Natively, on connections that are kept, where nothing of it nor ServerHandler is
        overridden; else one request a connection with HTTP/1.0, as the original.

        Class attributes added: turbo_log (bool): there is a line in the log for each
        request. turbo_os_environ (bool): the environ contains what os.environ did at import,
        as the original's. turbo_underscores (bool): fields whose name has an underscore are
        in it, too. turbo_forwarded_root (bool): fields named SCRIPT_NAME and PATH_INFO, with
        the underscore, are in it as HTTP_SCRIPT_NAME and HTTP_PATH_INFO, whoever sent them.
        turbo_raw_environ (bool): RAW_URI, the target as it was sent, and REMOTE_PORT are in
        it. turbo_drop_hop_by_hop (bool): fields of an answer that are about the connection
        are dropped, instead of an AssertionError.
        """

        turbo_log = True
        turbo_os_environ = True
        turbo_underscores = False
        turbo_forwarded_root = False
        turbo_raw_environ = False
        turbo_drop_hop_by_hop = False
        server_version = _original.WSGIRequestHandler.server_version
        handle = _handle
        turbo_decode_chunked = True
        turbo_max_body = 2**30
        _turbo_upgrades = False

        def get_environ(self):
            """The original's environ, but for a target with an authority, of which the path
            counts (RFC 9112, 3.2.2), for the header fields, for TLS, and for the length of a chunked body
            of up to 64 KiB, which is waited for."""
            environ = super().get_environ()
            environ["wsgi.input_terminated"] = True
            # The connection's socket is not asked for where the engine has it: that would cost something.
            if isinstance(getattr(self.server, "socket", None), SSLSocket) or isinstance(
                    vars(self).get("connection"), SSLSocket):
                environ.setdefault("HTTPS", "on")   # which makes wsgi.url_scheme
            found = _AUTHORITY.match(self.path)
            if found:
                path, _, environ["QUERY_STRING"] = self.path[found.end():].partition("?")
                environ["PATH_INFO"] = urllib.parse.unquote(path or "/", "iso-8859-1")
            self._fields_into(environ)
            length = decoded_length(self)
            if length is not None:      # it is a body with a length, and was never coded
                environ["CONTENT_LENGTH"] = str(length)
                environ.pop("HTTP_TRANSFER_ENCODING", None)
            return environ

        def _fields_into(self, environ):
            """HTTP_ variables. Only SP and HTAB are white space around a value (RFC 9110, 5.5), and
            X_Y, which would be X-Y then, is left out unless turbo_underscores is true."""
            base = self.server.base_environ
            fields = [(name.replace("-", "_").upper(), name, value) for name, value in self.headers.items()]
            for key, name, value in fields:
                environ.pop("HTTP_" + key, None)
            for key, name, value in fields:
                if key in environ or "_" in name and not self.turbo_underscores:
                    continue    # the latter, and CONTENT_TYPE and its like
                key, value = "HTTP_" + key, value.strip(" \t")
                if key in base:
                    environ.setdefault(key, base[key])
                environ[key] = f"{environ[key]},{value}" if key in environ else value

    register_server_handler(globals(), vars(_original))
    register_get_app(_original.WSGIServer.get_app)
else:
    def next_request(handler):
        """Nothing is left of a request before: there is one a connection."""

    WSGIServer = _original.WSGIServer

    class WSGIRequestHandler(_original.WSGIRequestHandler):
        """The original, but for a true wsgi.multithread under ThreadingWSGIServer."""

        handle = _handle


class ThreadingWSGIServer(ThreadingMixIn, WSGIServer):
    """A WSGIServer that runs the application in several threads at once."""

    daemon_threads = True


def make_server(host, port, app, server_class=WSGIServer, handler_class=WSGIRequestHandler):
    """Return a server of server_class for `app` (a WSGI application, PEP 3333) on (host, port), bound
    and listening. host: str, "" for all addresses; port: int, 0 for a free one. Raises OSError."""
    server = server_class((host, port), handler_class)
    server.set_app(app)
    return server


def __dir__():
    """The original's names that are here, ours, and what is private: what this module is made of is nobody's."""
    found = globals()
    return sorted({*__all__, *(name for name in found if name.startswith("_") or name in vars(_original))})
