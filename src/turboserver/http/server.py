"""The classes of the standard library's http.server, served by the native engine.

Each public class subclasses its original. What is ours here: where the request's
attributes come from in the reactor lane (Supplied), native parsing and response heads,
and a server_bind() that asks no name server. The rest is inherited.

Every other public name of the running Python's http.server is found here too.

What may not live here: work per byte; the engine; serving files natively.
"""

import http.server
import ipaddress
import os
import re
import socket
import types
import urllib.parse

from .. import accelerated, lanes
from ..errors import BodyError
from ..files.options import Options
from ..socketserver import StreamRequestHandler, TCPServer, ThreadingMixIn
from .tls import ORIGINALS, TLSMixIn

__all__ = list(http.server.__all__)
for _name in ("HTTPSServer", "ThreadingHTTPSServer"):
    if _name not in __all__:
        __all__.append(_name)

# The originals as they are now: install() puts ours in their place in the module.
_original = types.SimpleNamespace(**vars(http.server))

_AUTHORITY = re.compile("[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def _name_without_asking(host):
    """A name for the address a server is bound to, from this machine alone.

    The original resolves it backwards, which can take half a minute.
    """
    if not host:
        return socket.gethostname()
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return "localhost" if address.is_loopback else host


def header_names(handler):
    """Names, in lower case, of the headers that wait to be sent."""
    return {line.decode("latin-1").partition(":")[0].lower() for line in getattr(handler, "_headers_buffer", ())}


def answer_with_file(handler, original):
    """See turboserver.files.reading, which is not loaded before somebody asks for a file."""
    from ..files.reading import answer
    answer(handler, original)


if accelerated:
    from .._connection import Supplied
    from .._handlers import register_file_members
    from .._headers import HTTPMessage
    from .._request import next_request, parse_request, refuse_body
    from .._response import (
        end_headers, flush_headers, send_header, send_response, send_response_only)
    from .._rules import register_defaults
    from .._socket_channel import register_loop
    from .._stream import ResponseWriter, plain_file

    class HTTPServer(TCPServer, _original.HTTPServer):
        """http.server.HTTPServer, served natively. server_name (str) and server_port (int) are what it is bound to."""

        def server_bind(self):
            """Bind, and set server_name and server_port without asking a name server. Raises OSError."""
            TCPServer.server_bind(self)
            host, port = self.server_address[:2]
            self.server_name = _name_without_asking(host)
            self.server_port = port

    class ThreadingHTTPServer(ThreadingMixIn, _original.ThreadingHTTPServer, HTTPServer):
        """An HTTPServer whose handlers run in threads: one that blocks holds up nobody."""

        daemon_threads = True

    class BaseHTTPRequestHandler(StreamRequestHandler, _original.BaseHTTPRequestHandler):
        """http.server.BaseHTTPRequestHandler with native parsing and response heads.

        A subclass has a method do_X for each method of HTTP that it answers (do_GET, do_POST).
        That finds command, path and request_version (str), headers (MessageClass) and rfile, whose
        end is the body's, and answers by send_response(), send_header(), end_headers() and wfile, or
        by send_error(). Reading a body may raise turboserver.errors.BodyError, writing OSError.

        Class attributes added, in octets and seconds (None: no limit), each with what
        happens when it is reached. The class is asked for them, not its objects; SECURITY.md
        has the table:

        turbo_max_request_line
            414 (at most 65,536)
        turbo_max_header_bytes
            all header lines together; 431
        turbo_max_header_line, turbo_max_headers
            one header line; header lines, the empty one included; 431
        turbo_max_chunk_line, turbo_max_chunk_extensions, turbo_max_trailers
            of a chunked body; 400
        turbo_max_body
            413
        turbo_decode_chunked
            (bool) rfile has the content of a chunked body
        turbo_idle_timeout
            without a request; the connection closes
        turbo_head_timeout
            for a head from its first octet; 408
        turbo_body_timeout
            without an octet of a body; 408
        turbo_write_timeout
            without the client taking an octet; the connection closes
        turbo_min_rate, turbo_min_rate_after
            octets a second of a body or an answer, after so long
        turbo_drain_bytes, turbo_drain_timeout
            for what the handler leaves of a body, else the connection closes
        turbo_max_requests
            of a connection, which closes then

        The deadlines hold in the blocking and the compatible lane where a class sets one
        of them. http.client's _MAXLINE and _MAXHEADERS hold as in the original; the attributes
        for one line and for the number of them can only ask for less.
        """

        turbo_no_delay = True
        turbo_max_request_line = 65536
        turbo_max_header_bytes = 65536
        turbo_max_header_line = None
        turbo_max_headers = None
        turbo_max_chunk_line = 4096
        turbo_max_chunk_extensions = 8192
        turbo_max_trailers = 8192
        turbo_max_body = None
        turbo_decode_chunked = False
        turbo_idle_timeout = 75.0
        turbo_head_timeout = 30.0
        turbo_body_timeout = 30.0
        turbo_write_timeout = 30.0
        turbo_min_rate = 240
        turbo_min_rate_after = 5.0
        turbo_drain_bytes = 262144
        turbo_drain_timeout = 2.0
        turbo_max_requests = None
        _turbo_upgrades = True      # what follows an Upgrade may be the handler's
        MessageClass = HTTPMessage

        command = Supplied("command")
        path = Supplied("path")
        request_version = Supplied("request_version")
        requestline = Supplied("requestline")
        raw_requestline = Supplied("raw_requestline")
        headers = Supplied("headers")
        close_connection = Supplied("close_connection")
        _headers_buffer = Supplied("_headers_buffer")

        def handle_one_request(self):
            """Read one request and answer it by the method do_X for its method X; what is left of the one
            before is dropped. close_connection says afterwards whether it was the last one."""
            try:
                if next_request(self):
                    _original.BaseHTTPRequestHandler.handle_one_request(self)
                else:
                    self.close_connection = True
            except BodyError as error:
                refuse_body(self, error)

        parse_request = parse_request
        send_response = send_response
        send_response_only = send_response_only
        send_header = send_header
        end_headers = end_headers
        flush_headers = flush_headers

    # The original first: what it defines for files comes before our general part.
    class SimpleHTTPRequestHandler(_original.SimpleHTTPRequestHandler, BaseHTTPRequestHandler):
        """http.server.SimpleHTTPRequestHandler: files below a directory, with ETag, Range, If-Range and the other
        preconditions (RFC 9110, 13 and 14), and with what lies compressed beside a file.

        Added: turbo_files, turboserver.files.Options, of which outside (symbolic links may lead out of the directory)
        and those about what is sent count here.
        """

        turbo_files = Options(page=False, nosniff=False)
        _turbo_fields = ()
        _turbo_silent_aborts = False

        def do_GET(self):
            """A file, the list of a folder, or why not."""
            answer_with_file(self, super().do_GET)

        def do_HEAD(self):
            """The same without its body."""
            answer_with_file(self, super().do_HEAD)

        def translate_path(self, path):
            """The file name (str) for a request target (str), of which scheme and authority do not matter
            (absolute-form, RFC 9112, 3.2.2)."""
            found = _AUTHORITY.match(path)
            if found:
                path = path[found.end():] or "/"
            return super().translate_path(path)

        def send_head(self):
            """As the original: send the head, and return the open file for the body, or None if the
            answer is complete. An answer also to a target that it cannot take apart (400), or that can
            be no file (404)."""
            if "[" in self.path:
                try:
                    urllib.parse.urlsplit(self.path)
                except ValueError:
                    self.send_error(400, "Bad request target")
                    return None
            if "%00" in self.path.partition("?")[0]:
                self.send_error(404, "File not found")
                return None
            return super().send_head()

        def copyfile(self, source, outputfile):
            """As the original: what is left of a file object goes to another one. From a file to
            wfile by sendfile(), where that is possible."""
            if (type(outputfile) is ResponseWriter and plain_file(source) is source and not source.writable()
                    and source.seekable()):
                at, size = source.tell(), os.fstat(source.fileno()).st_size
                if size > at:
                    source.seek(at + outputfile.turbo_send_file(source.fileno(), at, size - at))
            super().copyfile(source, outputfile)

        if hasattr(_original.SimpleHTTPRequestHandler, "_send_extra_response_headers"):
            def _send_extra_response_headers(self):
                # 3.15's asks a list that its send_header() keeps beside the buffer.
                sent = header_names(self)
                for name, value in self.extra_response_headers or ():
                    if name.lower() not in sent:
                        self.send_header(name, value)

    if hasattr(_original, "CGIHTTPRequestHandler"):
        class CGIHTTPRequestHandler(_original.CGIHTTPRequestHandler, SimpleHTTPRequestHandler):
            """http.server.CGIHTTPRequestHandler, whose scripts are the original's to run. Gone in Python 3.15."""

    register_defaults(BaseHTTPRequestHandler)
    register_file_members(SimpleHTTPRequestHandler)
    register_loop(BaseHTTPRequestHandler.handle_one_request)
else:
    # No engine: every name is the original's, where there is one.
    globals().update({_name: getattr(_original, _name) for _name in _original.__all__})

if accelerated or not ORIGINALS:
    # The original goes before our HTTPServer: its super() calls then reach ours.
    class HTTPSServer(TLSMixIn, *ORIGINALS[:1], HTTPServer):
        """An HTTPServer whose connections are TLS, on every Python with the signature of 3.14's.

        certfile and keyfile are paths, which turbo_reload_certificate() reads again.
        """

    class ThreadingHTTPSServer(ThreadingMixIn, *ORIGINALS[1:], HTTPSServer):
        """An HTTPSServer whose handlers run in threads: one that blocks holds up nobody."""

        daemon_threads = True

if accelerated:
    lanes.learn(__name__)


# The hooks of SimpleHTTPRequestHandler as they are: who replaces them afterwards means it.
_file_hooks = {name: getattr(SimpleHTTPRequestHandler, name)
               for name in ("translate_path", "send_head", "list_directory", "guess_type", "copyfile")}
_standard_types = dict(SimpleHTTPRequestHandler.extensions_map)


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(http.server, name)


def __dir__():
    """The original's names, ours, and what is private here: what this module is made of is nobody's."""
    return sorted({*vars(_original), *__all__, *(name for name in globals() if name.startswith("_"))})


if __name__ == "__main__":
    from .command import main
    main()
