"""Two servers in a process whose sockets and threads gevent or eventlet has replaced.

    patched.py gevent|eventlet [late] [install]

late: the modules of servers are imported before they are patched. install: the program itself calls
turboserver.install(), after all that; else `turboserver run` has, before it.
"""
import sys

if "late" in sys.argv:
    import http.server  # noqa: F401
    import socketserver  # noqa: F401
if sys.argv[1] == "gevent":
    from gevent import monkey
    monkey.patch_all()
    from gevent import sleep
else:
    import eventlet
    eventlet.monkey_patch()
    from eventlet import sleep
if "install" in sys.argv:
    import turboserver
    turboserver.install()

import http.server  # noqa: E402
import socket  # noqa: E402
import socketserver  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.5)
        self.answer(self.path[1:].encode())

    def do_POST(self):
        self.answer(str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode())

    def log_message(self, *arguments):
        pass


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line == b"which\n":
                line = f"{web.server_port} {'patched' if socket.socket.__module__ != 'socket' else 'plain'}\n".encode()
                self.wfile.write(line)
            else:
                self.wfile.write(line.upper())


class Lines(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256


web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
lines = Lines(("127.0.0.1", 0), Line)
threading.Thread(target=web.serve_forever, daemon=True).start()
thread = threading.Thread(target=lines.serve_forever, daemon=True)
thread.start()
try:
    while thread.is_alive():
        sleep(0.1)
except KeyboardInterrupt:
    pass
