"""Serves one of the scenarios' handlers with turboserver or with the standard library: the same source for both.

    python handlers.py turbo|stock SERVER APP [ARGUMENT]

SERVER is a key of SERVERS, APP of APPS (or `wsgi`, which serves the WSGI application named by ARGUMENT). The first line
of output is the port.
"""

import importlib
import ssl
import sys
import time

from nginx import PEM

BODY = b"Hello, World!"
BULK = 10 * 2**20  # octets of a download
PIECE = b"0123456789abcdef" * 4096  # 64 KiB


def stream_handlers(http):
    """name -> handler class of the scenarios over HTTP, made of module `http` (http.server or turboserver's)."""

    class Hello(http.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer()

        def answer(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "13")
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, format, *args):
            pass

    class Headers(Hello):
        def do_GET(self):
            if self.headers.get("User-Agent") and self.headers.get("Accept-Language") and self.headers.get("Cookie"):
                self.answer()
            else:
                self.send_error(400)

    class Closing(Hello):
        protocol_version = "HTTP/1.0"  # as the original defaults to

    class Sleep(Hello):
        seconds = 0.0

        def do_GET(self):
            time.sleep(self.seconds)
            self.answer()

    class Mixed(Hello):
        def do_GET(self):
            if self.path == "/slow":
                time.sleep(0.1)
            self.answer()

    class Post(Hello):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Download(Hello):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(BULK))
            self.end_headers()
            for _ in range(BULK // len(PIECE)):
                self.wfile.write(PIECE)

    class Upload(Hello):
        def do_POST(self):
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, 65536))
                if not piece:
                    self.close_connection = True
                    return
                left -= len(piece)
            self.answer()

    class Logging(Hello):
        log_message = http.BaseHTTPRequestHandler.log_message

    class Static(http.SimpleHTTPRequestHandler):
        """The files of the current folder."""

        protocol_version = "HTTP/1.1"

        def log_message(self, format, *args):
            pass

    class Blocking(Hello):
        """Takes each request in hand itself, as development servers of frameworks do."""

        def handle(self):
            self.close_connection = True
            self.handle_one_request()
            while not self.close_connection:
                self.handle_one_request()

        def handle_one_request(self):
            self.raw_requestline = self.rfile.readline(65537)
            if len(self.raw_requestline) > 65536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(414)
            elif not self.raw_requestline:
                self.close_connection = True
            elif self.parse_request():
                self.do_GET()

    return {
        "hello": Hello,
        "headers": Headers,
        "closing": Closing,
        "sleep": Sleep,
        "mixed": Mixed,
        "post": Post,
        "download": Download,
        "upload": Upload,
        "logging": Logging,
        "blocking": Blocking,
        "static": Static,
    }


def echo_handlers(sockets):
    """name -> handler class of the scenarios below HTTP, made of module `sockets` (socketserver or turboserver's)."""

    class Echo(sockets.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line)

    class Datagram(sockets.BaseRequestHandler):
        def handle(self):
            data, sender = self.request
            sender.sendto(data, self.client_address)

    return {"echo": Echo, "udp": Datagram}


def wsgi_server(module, kind, argument):
    """A WSGI server for the application of wsgi.py that `argument` names, with threads if `kind` is "wsgi"; only
    `logged` is."""
    prefix = "turboserver." if module == "turbo" else ""
    simple = importlib.import_module(prefix + "wsgiref.simple_server")
    sockets = importlib.import_module(prefix + "socketserver")
    wsgi = importlib.import_module("wsgi")

    class Threading(sockets.ThreadingMixIn, simple.WSGIServer):
        daemon_threads = True

    class Quiet(simple.WSGIRequestHandler):
        if module == "turbo":
            turbo_log = False  # no override: that would choose another lane
        else:

            def log_message(self, format, *args):
                pass

    server = Threading if kind == "wsgi" else simple.WSGIServer
    handler = simple.WSGIRequestHandler if argument[0] == "logged" else Quiet
    return simple.make_server("127.0.0.1", 0, wsgi.application(*argument), server, handler)


def tls_server(module, http, kind, handler):
    """An HTTPS server: turboserver's, or what Python 3.14's http.server.HTTPSServer is, for every version."""
    if module == "turbo":
        cls = http.ThreadingHTTPSServer if kind == "tls" else http.HTTPSServer
        return cls(("127.0.0.1", 0), handler, certfile=PEM)
    handler.disable_nagle_algorithm = kind == "tls-nodelay"
    served = http.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    context.set_alpn_protocols(["http/1.1"])
    served.socket = context.wrap_socket(served.socket, server_side=True)
    return served


def server(module, kind, app, argument):
    """The server of class `kind` (see the module's docstring), bound and listening."""
    prefix = "turboserver." if module == "turbo" else ""
    if app == "wsgi":
        return wsgi_server(module, kind, argument)
    if app in ("echo", "udp"):
        sockets = importlib.import_module(prefix + "socketserver")
        cls = sockets.UDPServer if app == "udp" else sockets.ThreadingTCPServer
        return cls(("127.0.0.1", 0), echo_handlers(sockets)[app])
    http = importlib.import_module(prefix + "http.server")
    handler = stream_handlers(http)[app]
    if kind.startswith("tls"):
        return tls_server(module, http, kind, handler)
    handler.disable_nagle_algorithm = kind == "nodelay"
    if app == "sleep":
        handler.seconds = float(argument[0])
    cls = http.HTTPServer if kind == "single" else http.ThreadingHTTPServer
    return cls(("127.0.0.1", 0), handler)


def main():
    module, kind, app, *argument = sys.argv[1:]
    with server(module, kind, app, argument) as running:
        print(running.server_address[1], flush=True)
        running.serve_forever()


if __name__ == "__main__":
    main()
