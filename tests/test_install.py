"""install() and uninstall(): what they replace, what they leave alone. Each test is a process of its own."""
import os
import subprocess
import sys

import pytest

import turboserver

ROOT = os.path.dirname(os.path.dirname(turboserver.__file__))
native = pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded")


def python(code, **environment):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": ROOT, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


SNAPSHOT = """
import socketserver, http.server, wsgiref.simple_server
MODULES = socketserver, http.server, wsgiref.simple_server
def snapshot():
    found = {(m.__name__, k): v for m in MODULES for k, v in vars(m).items() if not k.startswith('__')}
    defaults = [f.__defaults__ for f in (http.server.test, wsgiref.simple_server.make_server)]
    return found, defaults
"""


def test_the_package_alone_imports_nothing_heavy():
    python("import sys; before = set(sys.modules); import turboserver\n"
           "new = set(sys.modules) - before\n"
           "assert not new & {'socketserver', 'http.server', 'turboserver._engine', 'turboserver.socketserver'}, new\n"
           "assert callable(turboserver.install) and callable(turboserver.uninstall)\n"
           "assert isinstance(turboserver.accelerated, bool) and turboserver.__version__\n"
           "assert 'accelerated' in vars(turboserver)\n"
           "try: turboserver.nothing\n"
           "except AttributeError as e: assert 'nothing' in str(e)\n"
           "else: raise SystemExit('no error')\n")


@native
def test_the_server_modules_import_nothing_heavy():
    """What only rare paths need comes with them, unless the original needs it too."""
    python("import sys, http.server; before = set(sys.modules); import turboserver.http.server\n"
           "new = set(sys.modules) - before\n"
           "assert not new & {'ast', 'dis', 'inspect', 'typing', 'email.policy', 'email.headerregistry'}, new\n")


@native
def test_public_classes_are_replaced():
    python(SNAPSHOT + """
before, _ = snapshot()
import turboserver; turboserver.install()
after, _ = snapshot()
assert before.keys() == after.keys()        # nothing added, HTTPSServer neither
import importlib
for (module, name), value in after.items():
    original = before[module, name]
    if value is not original:
        assert isinstance(value, type) and issubclass(value, original) or name == 'make_server', name
        ours = importlib.import_module('turboserver.' + module)
        assert value is getattr(ours, name), name
changed = {n for (m, n) in after if after[m, n] is not before[m, n]}
wanted = {n for n in socketserver.__all__ if n not in ('BaseServer', 'BaseRequestHandler')}
wanted |= {'HTTPServer', 'ThreadingHTTPServer', 'BaseHTTPRequestHandler', 'SimpleHTTPRequestHandler',
           'WSGIServer', 'WSGIRequestHandler'}
assert wanted <= changed, wanted - changed
assert not any(n.startswith('_') for n in changed), changed
""")


@native
def test_defaults_of_functions_are_replaced_too():
    python(SNAPSHOT + """
import turboserver; turboserver.install()
assert {http.server.BaseHTTPRequestHandler, http.server.SimpleHTTPRequestHandler} & {*http.server.test.__defaults__}
assert http.server.ThreadingHTTPServer in http.server.test.__defaults__
import turboserver.wsgiref.simple_server as ours
server = wsgiref.simple_server.make_server('127.0.0.1', 0, wsgiref.simple_server.demo_app)
assert type(server) is ours.WSGIServer and server.RequestHandlerClass is ours.WSGIRequestHandler
server.server_close()
""")


def test_uninstall_restores_everything_and_both_are_idempotent():
    python(SNAPSHOT + """
before = snapshot()
import turboserver
turboserver.uninstall()
assert snapshot() == before
for _ in range(2):
    turboserver.install(); once = snapshot(); turboserver.install()
    assert snapshot() == once
    turboserver.uninstall(); turboserver.uninstall()
    assert snapshot() == before
""")


@native
def test_a_name_replaced_by_somebody_else_is_left_alone():
    python(SNAPSHOT + """
import turboserver; turboserver.install()
mine = type('HTTPServer', (http.server.HTTPServer,), {})
http.server.HTTPServer = mine
turboserver.uninstall()
assert http.server.HTTPServer is mine
assert http.server.ThreadingHTTPServer.__module__ == 'http.server'
""")


@native
def test_checks_hold_across():
    python("""
import http.server, socketserver
HTTPServer, Mixin, Handler = http.server.HTTPServer, socketserver.ThreadingMixIn, http.server.BaseHTTPRequestHandler
import turboserver; turboserver.install()
assert HTTPServer is not http.server.HTTPServer
with http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler) as server:
    assert isinstance(server, HTTPServer) and isinstance(server, Mixin) and isinstance(server, socketserver.BaseServer)
assert issubclass(http.server.SimpleHTTPRequestHandler, Handler)
""")


@native
def test_modules_imported_later_get_ours_and_earlier_ones_keep_theirs():
    python("""
import xmlrpc.server
import turboserver; turboserver.install()
import socketserver, turboserver.socketserver as ts
assert not issubclass(xmlrpc.server.SimpleXMLRPCServer, ts.TCPServer)
import sys; del sys.modules['xmlrpc.server'], xmlrpc.server
import xmlrpc.server
assert issubclass(xmlrpc.server.SimpleXMLRPCServer, ts.TCPServer)
""")


SERVE = """
import threading, urllib.request
def fetch(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True); thread.start()
    try:
        return urllib.request.urlopen('http://127.0.0.1:%d/' % server.server_address[1], timeout=20).read()
    finally:
        server.shutdown(); server.server_close(); thread.join(20)
"""


@native
def test_servers_made_before_during_and_after_serve():
    """The originals look names up in their modules while they run, and then find ours."""
    python(SERVE + """
import http.server, socketserver, wsgiref.simple_server as ws
def make_classes():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b'hello')
        def log_message(self, *a): pass
    class Quiet(ws.WSGIRequestHandler):
        def log_message(self, *a): pass
    return ([type('S', (c,), {}) for c in (http.server.HTTPServer, http.server.ThreadingHTTPServer)]
            + [type('T', (socketserver.ThreadingMixIn, socketserver.TCPServer), {})], Handler,
            ws.WSGIServer, Quiet)
def check(servers, handler, wsgi, quiet):
    for cls in servers:
        assert fetch(cls(('127.0.0.1', 0), handler)) == b'hello'
    def app(environ, start_response):
        start_response('200 OK', []); return [environ['SERVER_PORT'].encode()]
    server = ws.make_server('127.0.0.1', 0, app, wsgi, quiet)
    assert fetch(server) == str(server.server_port).encode()
import turboserver
before = make_classes()
turboserver.install()
during = make_classes()
check(*before); check(*during)
turboserver.uninstall()
check(*before); check(*during); check(*make_classes())
""")


def test_threads():
    python(SNAPSHOT + """
import threading, turboserver
before = snapshot()
barrier = threading.Barrier(8)
def work(i):
    barrier.wait()
    for _ in range(50):
        (turboserver.install if i % 2 else turboserver.uninstall)()
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for t in threads: t.start()
for t in threads: t.join()
turboserver.uninstall()
assert snapshot() == before
""")


def test_without_the_engine_everything_is_the_original():
    out = python("""
import sys; sys.modules['turboserver._engine'] = None
import turboserver, socketserver, http.server, wsgiref.simple_server
assert turboserver.accelerated is False
names = {m: dict(vars(m)) for m in (socketserver, http.server)}
turboserver.install()
assert all(dict(vars(m)) == names[m] for m in names)
import turboserver.socketserver as ts, turboserver.http.server as th, turboserver.wsgiref.simple_server as tw
for ours, original in ((ts, socketserver), (th, http.server)):
    for name in original.__all__:
        assert getattr(ours, name) is getattr(original, name), name
assert tw.WSGIServer is wsgiref.simple_server.WSGIServer
assert issubclass(th.ThreadingHTTPSServer, http.server.HTTPServer)
from turboserver import lanes
assert lanes.decide(th.HTTPServer, th.BaseHTTPRequestHandler).lane == 'compatible'
print(lanes.explain(th.HTTPServer))
""")
    assert "engine is not loaded" in out
