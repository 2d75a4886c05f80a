"""Every lane under load on all processors at once: what has to run without the GIL before the engine says that it can.

    PYTHON_GIL=0 python3.14t tests/free_threading.py --seconds 60

Each lane is a process of its own, so that one which crashes is told, and the others run. In it clients in threads, each with a
request of its own at a time, ask one server: handlers that answer at once and that sleep (so that many threads lead in turn),
that read bodies, write from a second thread, raise, look at headers, send files. An answer has to be that request's, whole.
`--gil on` or `off` is what sys._is_gil_enabled() has to say at the end as at the beginning.

One line a lane: answers, and what was wrong. The exit status is the number of lanes in which something was.
What may not live here: pytest. tests/test_interpreter_threads.py runs it.
"""

import argparse
import contextlib
import io
import os
import random
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = 12
#: What a lane is: (TURBOSERVER_LANE, the server's class, what it serves)
LANES = {
    "reactor": ("auto", "ThreadingHTTPServer", "handler"),
    "reactor, one thread": ("auto", "HTTPServer", "handler"),
    "blocking": ("blocking", "ThreadingHTTPServer", "handler"),
    "compatible": ("compatible", "ThreadingHTTPServer", "handler"),
    "tls": ("auto", "ThreadingHTTPSServer", "handler"),
    "wsgi": ("auto", "ThreadingWSGIServer", "application"),
    "files": ("auto", "ThreadingHTTPServer", "files"),
}


def gil():
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def handler_class():
    from turboserver.http.server import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            kind = self.path.partition("?")[2]
            if kind == "sleep":
                time.sleep(0.001)
            elif kind == "raise":
                self.close_connection = True
                self.wfile.flush()
                raise LookupError(self.path)
            self.answer(f"{self.path} {self.headers['X-Name']} {self.headers.get('X-Absent')}".encode(), kind)

        def do_POST(self):
            self.answer(self.path.encode() + b" " + self.rfile.read(int(self.headers["Content-Length"])), "")

        def answer(self, body, kind):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Name", self.headers["X-Name"])
            self.end_headers()
            if kind == "thread":
                thread = threading.Thread(target=self.wfile.write, args=(body,))
                thread.start()
                thread.join()
            else:
                self.wfile.write(body)

    return Handler


def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if environ["QUERY_STRING"] == "sleep":
        time.sleep(0.001)
    target = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else "")
    name = environ["HTTP_X_NAME"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Name", name)])
    if environ["REQUEST_METHOD"] == "POST":
        return [target.encode() + b" " + body]
    return [f"{target} {name} {environ.get('HTTP_X_ABSENT')}".encode()]


@contextlib.contextmanager
def serving(lane):
    """(server, what sockets to it are wrapped by, or None, the folder of files, or None)"""
    from turboserver.http import server as http_server
    from turboserver.wsgiref import simple_server

    held, name, serves = LANES[lane]
    os.environ["TURBOSERVER_LANE"] = held
    wrap, folder, options = None, None, {}
    with tempfile.TemporaryDirectory() as root:
        handler = handler_class() if serves == "handler" else simple_server.WSGIRequestHandler
        if serves == "files":
            folder = root
            for number in range(40):
                with open(os.path.join(root, f"{number}.txt"), "wb") as file:
                    file.write(b"%d " % number * 3000)
            handler = type("Handler", (http_server.SimpleHTTPRequestHandler,), {
                "protocol_version": "HTTP/1.1",
                "__init__": lambda self, *rest: http_server.SimpleHTTPRequestHandler.__init__(self, *rest, directory=root)})
        if name == "ThreadingHTTPSServer":
            pem = os.path.join(HERE, "data", "localhost.pem")
            options["certfile"] = pem
            context = ssl.create_default_context(cafile=pem)

            def wrap(sock):
                return context.wrap_socket(sock, server_hostname="localhost")
        cls = getattr(http_server, name, None) or getattr(simple_server, name)
        server = cls(("127.0.0.1", 0), handler, **options)
        if serves == "application":
            server.set_app(application)
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server, wrap, folder
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Client:
    """Requests of one thread, on connections that are kept for a while."""

    def __init__(self, server, wrap, folder, number):
        self.server, self.wrap, self.folder = server, wrap, folder
        self.random, self.number = random.Random(number), number
        self.answers, self.file, self.sock = 0, None, None

    def ask(self, method, target, name, body=b""):
        """The body of the answer; b"" where the connection ended without."""
        if self.sock is None:
            sock = socket.create_connection(self.server.server_address[:2], 20)
            self.sock = self.wrap(sock) if self.wrap else sock
            self.file = self.sock.makefile("rb")
        self.sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: a\r\nX-Name: {name}\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        fields, line = {}, self.file.readline()
        if not line:
            self.close()
            return b""
        assert line.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")), line
        while (field := self.file.readline()) not in (b"\r\n", b""):
            key, _, value = field.decode().partition(":")
            fields[key.lower()] = value.strip()
        assert fields.get("x-name", name) == name, "another request's answer"
        got = self.file.read(int(fields["content-length"]) if "content-length" in fields else -1)
        if line.startswith(b"HTTP/1.0") or fields.get("connection", "").lower() == "close":
            self.close()
        return got

    def close(self):
        if self.sock is not None:
            self.file.close()
            self.sock.close()
            self.sock = None

    def once(self):
        name = f"{self.number}-{self.answers}"
        if self.folder is not None:
            number = self.random.randrange(40)
            assert self.ask("GET", f"/{number}.txt", name) == b"%d " % number * 3000, "another file"
        elif self.random.random() < 0.3:
            body = self.random.randbytes(self.random.choice((0, 10, 5000, 100_000)))
            got = self.ask("POST", f"/{name}", name, body)
            assert got == f"/{name} ".encode() + body, f"{len(body)} octets sent, {got[:60]!r}"
        else:
            kind = self.random.choice(("", "", "?sleep", "?thread", "?raise"))
            got = self.ask("GET", f"/{name}{kind}", name)
            raises = kind == "?raise" and LANES[self.server.lane_name][2] == "handler"
            assert got == (b"" if raises else f"/{name}{kind} {name} None".encode()), got[:60]
        self.answers += 1
        if self.random.random() < 0.05:
            self.close()

    def run(self, until, wrong):
        try:
            while time.monotonic() < until and not wrong:
                self.once()
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
        finally:
            self.close()


def lane_alone(lane, seconds, expected):
    wrong, stderr = [], io.StringIO()
    before = gil()
    with contextlib.redirect_stderr(stderr), serving(lane) as (server, wrap, folder):
        server.lane_name = lane
        clients = [Client(server, wrap, folder, number) for number in range(CLIENTS)]
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=client.run, args=(until, wrong)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Lines of several threads run into each other; the names of exceptions are whole.
    wrong += sorted(set(re.findall(r"\w+Error(?=: )", stderr.getvalue())) - {"LookupError"})
    if expected != "any" and {before, gil()} != {expected == "on"}:
        wrong.append(f"the GIL is {'on' if gil() else 'off'}, and was {'on' if before else 'off'}")
    answers = sum(client.answers for client in clients)
    if not answers:
        wrong.append("no answer")
    print(f"{lane}: {answers} answers, GIL {'on' if gil() else 'off'}; {'; '.join(wrong) or 'nothing wrong'}", flush=True)
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--gil", choices=("on", "off", "any"), default="any")
    parser.add_argument("--lane", choices=LANES, action="append")
    parser.add_argument("--here", action="store_true", help="in this process (with one lane)")
    arguments = parser.parse_args()
    if arguments.here:
        import turboserver

        assert turboserver.accelerated
        return lane_alone(arguments.lane[0], arguments.seconds, arguments.gil)
    failed = 0
    for lane in arguments.lane or LANES:
        command = [sys.executable, "-X", "faulthandler", __file__, "--here", "--lane", lane,
                   "--seconds", str(arguments.seconds), "--gil", arguments.gil]
        try:
            status = subprocess.run(command, timeout=arguments.seconds + 60, check=False).returncode
        except subprocess.TimeoutExpired:
            status = "it hangs"
        if status:
            failed += 1
            print(f"{lane}: {status if isinstance(status, str) else f'exit status {status}'}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
