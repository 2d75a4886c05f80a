"""The classes of the standard library's http.server, served by the native engine.

Each public class subclasses its original. What is ours here: where the request's
attributes come from in the reactor lane (Supplied), native parsing and response heads,
and a server_bind() that asks no name server. The rest is inherited.

Every other public name of the running Python's http.server is found here too.

What may not live here: work per byte; the engine; serving files natively.
"""

import http.server
import ipaddress
import socket
import types

from .. import accelerated, lanes
from ..socketserver import StreamRequestHandler, TCPServer, ThreadingMixIn
from .tls import https_servers

__all__ = list(http.server.__all__)
for _name in ("HTTPSServer", "ThreadingHTTPSServer"):
    if _name not in __all__:
        __all__.append(_name)

# The originals as they are now: install() puts ours in their place in the module.
_original = types.SimpleNamespace(**vars(http.server))

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


if accelerated:
    from .._connection import Supplied
    from .._headers import HTTPMessage
    from .._request import parse_request
    from .._response import (
        end_headers, flush_headers, send_header, send_response, send_response_only)

    class HTTPServer(TCPServer, _original.HTTPServer):
        """http.server.HTTPServer, served natively."""

        def server_bind(self):
            """Bind, and set server_name and server_port without asking a name server."""
            TCPServer.server_bind(self)
            host, port = self.server_address[:2]
            self.server_name = _name_without_asking(host)
            self.server_port = port

    class ThreadingHTTPServer(ThreadingMixIn, _original.ThreadingHTTPServer, HTTPServer):
        """An HTTPServer whose handlers run in threads: one that blocks holds up nobody."""

        daemon_threads = True

    class BaseHTTPRequestHandler(StreamRequestHandler, _original.BaseHTTPRequestHandler):
        """http.server.BaseHTTPRequestHandler with native parsing and response heads."""

        turbo_no_delay = True
        MessageClass = HTTPMessage

        command = Supplied("command")
        path = Supplied("path")
        request_version = Supplied("request_version")
        requestline = Supplied("requestline")
        raw_requestline = Supplied("raw_requestline")
        headers = Supplied("headers")
        close_connection = Supplied("close_connection")
        _headers_buffer = Supplied("_headers_buffer")

        parse_request = parse_request
        send_response = send_response
        send_response_only = send_response_only
        send_header = send_header
        end_headers = end_headers
        flush_headers = flush_headers

    # The original first: what it defines for files comes before our general part.
    class SimpleHTTPRequestHandler(_original.SimpleHTTPRequestHandler, BaseHTTPRequestHandler):
        """http.server.SimpleHTTPRequestHandler: files below a directory."""

        if hasattr(_original.SimpleHTTPRequestHandler, "_send_extra_response_headers"):
            def _send_extra_response_headers(self):
                # 3.15's asks a list that its send_header() keeps beside the buffer.
                sent = header_names(self)
                for name, value in self.extra_response_headers or ():
                    if name.lower() not in sent:
                        self.send_header(name, value)

    if hasattr(_original, "CGIHTTPRequestHandler"):
        class CGIHTTPRequestHandler(_original.CGIHTTPRequestHandler, SimpleHTTPRequestHandler):
            """http.server.CGIHTTPRequestHandler."""

    HTTPSServer, ThreadingHTTPSServer = https_servers(HTTPServer, ThreadingMixIn)
    lanes.learn(__name__)

else:
    # No engine: every name is the original's, where there is one.
    HTTPSServer, ThreadingHTTPSServer = https_servers(_original.HTTPServer, ThreadingMixIn)
    globals().update({_name: getattr(_original, _name) for _name in _original.__all__})


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(http.server, name)


if __name__ == "__main__":
    from .command import main
    main()
