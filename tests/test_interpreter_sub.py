"""Sub-interpreters: the engine is the main interpreter's, whoever comes first; in others the names are the standard library's
own classes, and these work. Of each kind: with the GIL of all ("legacy", as Py_NewInterpreter makes them), and isolated (from
Python 3.12 on with a GIL of its own).
"""
import subprocess
import sys

import pytest

import interpreter_programs

INTERPRETERS = """
import os, threading
try:
    import _interpreters as interpreters                # Python 3.13
    def new(kind):
        return interpreters.create(kind)
except ImportError:
    import _xxsubinterpreters as interpreters
    def new(kind):
        return interpreters.create(isolated=kind == "isolated")

def run(kind, text):
    "text in a new interpreter, which ends."
    interpreter = new(kind)
    try:
        failed = interpreters.run_string(interpreter, text)     # before 3.13 it raises
        assert failed is None, failed
    finally:
        interpreters.destroy(interpreter)

def say(*what):
    print(*what, flush=True)
"""

# One request in this interpreter's only thread, for isolated ones before 3.12 may have no other.
SERVE = """
import os, socket
import turboserver
from turboserver import socketserver
from turboserver.http.server import BaseHTTPRequestHandler, HTTPServer
import http.server
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
with HTTPServer(("127.0.0.1", 0), Handler) as server, socket.create_connection(server.server_address, 20) as sock:
    sock.sendall(b"GET / HTTP/1.0\\r\\nHost: a\\r\\n\\r\\n")
    server.handle_request()
    answer = b""
    while piece := sock.recv(1000):
        answer += piece
own = HTTPServer is http.server.HTTPServer
print("%s: %s, %s" % (WHERE, "engine" if turboserver.accelerated else "original" if own else "?",
                      answer[-2:].decode()), flush=True)
"""

KINDS = ("legacy", "isolated")


def says(text, *lines, options=()):
    done = subprocess.run(
        [sys.executable, *options, "-c", f"SERVE = {SERVE!r}\n" + INTERPRETERS + text], capture_output=True, text=True,
        timeout=interpreter_programs.LIMIT, check=False, env=interpreter_programs.environment("reactor"))
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, list(lines), "")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_the_sub_interpreter_comes_first(kind):
    """Nothing of the engine is loaded there, so the main interpreter has it afterwards."""
    # The original beforehand: 3.12 aborts, without us too, when an isolated interpreter has been the first to load its extensions.
    says(f"""
import http.server
run({kind!r}, "WHERE = 'sub'" + SERVE)
exec("WHERE = 'main'" + SERVE)
run({kind!r}, "WHERE = 'sub'" + SERVE)
""", "sub: original, ok", "main: engine, ok", "sub: original, ok")


def test_beside_a_server_of_the_main_interpreter(kind):
    """That serves, before, meanwhile and afterwards."""
    says(f"""
exec("WHERE = 'main'" + SERVE)
server = HTTPServer(("127.0.0.1", 0), Handler)
thread = threading.Thread(target=server.serve_forever, args=(0.05,))
thread.start()
def ask():
    with socket.create_connection(server.server_address, 20) as sock:
        sock.sendall(b"GET / HTTP/1.0\\r\\nHost: a\\r\\n\\r\\n")
        answer = b""
        while piece := sock.recv(1000):
            answer += piece
        say(answer[-2:].decode())
ask()
for unused in range(2):
    run({kind!r}, "WHERE = 'sub'" + SERVE)
    ask()
server.shutdown()
thread.join()
server.server_close()
""", "main: engine, ok", "ok", "sub: original, ok", "ok", "sub: original, ok", "ok")


def test_install_in_a_sub_interpreter(kind):
    """As where there is no engine: it puts no other classes into the standard library's modules."""
    says(f"""
run({kind!r}, '''
import turboserver
turboserver.install()
import socketserver, turboserver.socketserver
print(socketserver.TCPServer.__module__, turboserver.socketserver.TCPServer is socketserver.TCPServer, flush=True)
''')
exec("WHERE = 'main'" + SERVE)
""", "socketserver True", "main: engine, ok")


def test_an_extension_itself_is_refused(kind):
    """Where the main interpreter has the engine: by an ImportError that says why."""
    says(f"""
exec("WHERE = 'main'" + SERVE)
run({kind!r}, '''
try:
    import turboserver._engine
except ImportError as error:
    print("interpreter" in str(error), flush=True)
''')
""", "main: engine, ok", "True")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="concurrent.interpreters is of Python 3.14")
def test_concurrent_interpreters():
    says("""
from concurrent import interpreters as public
interpreter = public.create()
interpreter.exec("WHERE = 'sub'" + SERVE)
exec("WHERE = 'main'" + SERVE)
interpreter.exec("WHERE = 'sub again'" + SERVE)
interpreter.close()
""", "sub: original, ok", "main: engine, ok", "sub again: original, ok")


def test_py_new_interpreter():
    """CPython's own way in C, as mod_wsgi and other embedding programs use it."""
    pytest.importorskip("_testcapi", reason="this Python was installed without its own tests' modules")
    says("""
import _testcapi
say(_testcapi.run_in_subinterp("WHERE = 'sub'" + SERVE))
exec("WHERE = 'main'" + SERVE)
say(_testcapi.run_in_subinterp("WHERE = 'sub'" + SERVE))
""", "sub: original, ok", "0", "main: engine, ok", "sub: original, ok", "0")
