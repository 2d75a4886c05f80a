"""The servers whose instructions bench/instructions.py counts: one process each, under callgrind.

    python bench/instructions_servers.py NAME

The first line of output is the port. Each octet on standard input is a mark: callgrind dumps its counts and starts
again, and an octet on standard output says that it is done. End of input ends the process.

A server that is not in the lane its name promises refuses to start.
"""

import gc
import os
import socket
import sys
import threading

BODY = b"Hello, World!"
FIELDS = ("Host", "User-Agent", "Cookie")  # what `browser-headers` looks at

# gevent and eventlet leave their own class in this place; the lane is told by its module.
if sys.argv[1:] == ["compatible"]:
    socket.socket = type("socket", (socket.socket,), {"__module__": "patched"})

from turboserver import lanes, socketserver  # noqa: E402
from turboserver.http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer  # noqa: E402
from turboserver.wsgiref.simple_server import ThreadingWSGIServer, WSGIRequestHandler, WSGIServer  # noqa: E402


class Hello(BaseHTTPRequestHandler):
    """Two headers and 13 octets."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(BODY)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Hello10(Hello):
    protocol_version = "HTTP/1.0"


class ThreeHeaders(Hello):
    def do_GET(self):
        for name in FIELDS:
            if not self.headers[name]:
                raise ValueError(f"no {name} in the request")
        self.answer(BODY)


class Echo(Hello):
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))


class Blocking(Hello):
    """Reads its requests itself, as Django's runserver does."""

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self.do_GET()


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class QuietWSGI(WSGIRequestHandler):
    """Nothing is overridden: served natively, with kept connections."""

    turbo_log = False


class OverriddenWSGI(WSGIRequestHandler):
    """One request a connection, by wsgiref.handlers."""

    def get_environ(self):
        return super().get_environ()

    def log_message(self, format, *args):
        pass


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]


# name -> (server class, handler class, lane)
SERVERS = {
    "threading": (ThreadingHTTPServer, Hello, lanes.REACTOR),
    "single": (HTTPServer, Hello, lanes.REACTOR),
    "browser": (ThreadingHTTPServer, Hello, lanes.REACTOR),
    "browser-headers": (ThreadingHTTPServer, ThreeHeaders, lanes.REACTOR),
    "pipelined": (ThreadingHTTPServer, Hello, lanes.REACTOR),
    "post": (ThreadingHTTPServer, Echo, lanes.REACTOR),
    "connection": (ThreadingHTTPServer, Hello10, lanes.REACTOR),
    "wsgi": (WSGIServer, OverriddenWSGI, lanes.REACTOR),
    "wsgi-hello": (ThreadingWSGIServer, QuietWSGI, lanes.REACTOR),
    "wsgi-browser": (ThreadingWSGIServer, QuietWSGI, lanes.REACTOR),
    "wsgi-pipelined": (ThreadingWSGIServer, QuietWSGI, lanes.REACTOR),
    "blocking": (ThreadingHTTPServer, Blocking, lanes.BLOCKING),
    "stream": (socketserver.ThreadingTCPServer, Lines, lanes.BLOCKING),
    "compatible": (ThreadingHTTPServer, Hello, lanes.COMPATIBLE),
}


def take_marks():
    """Call getppid(), which callgrind waits for, at each octet of standard input."""
    while os.read(0, 1):
        os.getppid()
        os.write(1, b".")
    os._exit(0)


def main():
    server_class, handler_class, lane = SERVERS[sys.argv[1]]
    server = server_class(("127.0.0.1", 0), handler_class)
    if isinstance(server, WSGIServer):
        server.set_app(application)
    decision = lanes.decide(server)
    if decision.lane != lane:
        sys.exit(f"{sys.argv[1]} is in the {decision.lane} lane: {decision.reasons}")
    print(server.server_address[1], flush=True)
    gc.disable()  # when it comes is chance, in so few requests
    threading.Thread(target=take_marks, daemon=True).start()
    server.serve_forever(60)  # the loop that polls would add its rounds


if __name__ == "__main__":
    main()
