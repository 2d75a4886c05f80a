"""Programs as users write them, each in an interpreter of its own: what the test_interpreter_*.py run.

A program is PRELUDE and a text. In it are the classes of `http.server` and `socketserver`, ours or the original's, a
Handler that answers, and clients. What it prints and how it ends is the test's to look at; it talks to itself alone, so
that nothing outside can hold it up. Nothing in this file asserts anything.
"""
import os
import subprocess
import sys

#: Seconds after which a program is taken to hang.  Never a speed limit.
LIMIT = 60

#: The first is the original itself: what is expected of ours has to hold there, too.
LANES = ("original", "reactor", "blocking", "compatible")
OURS = LANES[1:]
SERVERS = ("HTTPServer", "ThreadingHTTPServer")
#: With threads and without in the lanes that have code of ours for it; the others are the original's code anyway.
LANES_AND_SERVERS = (("original", "ThreadingHTTPServer"), ("compatible", "HTTPServer"),
                     *((lane, server) for lane in ("reactor", "blocking") for server in SERVERS))


def generate_tests(metafunc):
    """As a module's pytest_generate_tests: what tests ask for as `lane` and `server`."""
    if {"lane", "server"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("lane", "server"), LANES_AND_SERVERS)
    elif "lane" in metafunc.fixturenames:
        metafunc.parametrize("lane", LANES)
    elif "server" in metafunc.fixturenames:
        metafunc.parametrize("server", SERVERS)

#: What answers, in most of them.
HANDLER = """
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args):
        pass
    def answer(self, body=b"ok"):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer()
"""

PRELUDE = """
import atexit, gc, os, signal, socket, sys, threading, time, warnings
LANE = os.environ["PROGRAM_LANE"]
if LANE == "original":
    import socketserver
    from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
else:
    from turboserver import socketserver
    from turboserver.http.server import (
        BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer)
""" + HANDLER + """
def begin(server, method="GET", rest=b""):
    "A socket on which a request has been sent."
    sock = socket.create_connection(server.server_address[:2], 20)
    sock.sendall(method.encode() + b" /path HTTP/1.1\\r\\nHost: a\\r\\n" + (rest or b"\\r\\n"))
    return sock

def end(sock):
    "The octets behind the head of what comes, as text."
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        piece = sock.recv(65536)
        if not piece:
            return answer.decode("latin-1")
        answer += piece
    head, rest = answer.split(b"\\r\\n\\r\\n", 1)
    length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    while len(rest) < (int(length[0].split(b":")[1]) if length else 1 << 30):
        piece = sock.recv(65536)
        if not piece:
            break
        rest += piece
    return rest.decode("latin-1")

def ask(server, method="GET", rest=b"Connection: close\\r\\n\\r\\n"):
    with begin(server, method, rest) as sock:
        return end(sock)

def in_thread(server, daemon=True):
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=daemon)
    thread.start()
    return thread

def say(*what):
    print(*what, flush=True)
"""


def environment(lane, **more):
    held = {"original": "auto", "reactor": "auto"}.get(lane, lane)
    # Whether a program runs in development mode is the test's to say: many end with sockets open.
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONDEVMODE", "PYTHONWARNINGS")}
    # The time limit of a test ends a hang with the stacks of all threads.
    return {**inherited, "PROGRAM_LANE": lane, "TURBOSERVER_LANE": held, "PYTHONFAULTHANDLER": "1", **more}


def run(lane, text, *options, stdin="", **more):
    """Run PRELUDE + text. options: of the interpreter; more: variables of the environment.

    (exit status, stdout, stderr); subprocess.TimeoutExpired, with what was said until then, if it hangs.
    """
    done = subprocess.run([sys.executable, *options, "-c", PRELUDE + text], input=stdin, env=environment(lane, **more),
                          capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False)
    return done.returncode, done.stdout, done.stderr
