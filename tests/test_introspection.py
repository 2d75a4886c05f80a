"""What a person or a tool finds out about ours without running them: signatures, docstrings, names, sources, help.

Beside the originals: nothing that these tell is missing here.
"""

import contextlib
import copy
import http.client
import importlib
import inspect
import pickle
import pkgutil
import pydoc
import subprocess
import sys
import threading
import typing
from concurrent.futures import ThreadPoolExecutor

import pytest

import turboserver

PAIRS = [(importlib.import_module(name), importlib.import_module("turboserver." + name))
         for name in ("socketserver", "http.server", "wsgiref.simple_server")]
OURS = [ours for _, ours in PAIRS]
# What else a program imports: those with a stub.
FURTHER = [importlib.import_module("turboserver." + name) for name in
           ("errors", "framing", "lanes", "files.options", "files.handler", "files.auth", "files.passwords",
            "files.throttle")]

native = pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded")


def classes():
    """(original, ours) for each class of the originals."""
    for original, ours in PAIRS:
        for name, cls in vars(original).items():
            if isinstance(cls, type) and cls.__module__ == original.__name__ and not name.startswith("_"):
                yield pytest.param(cls, getattr(ours, name), id=f"{original.__name__}.{name}")


def own_classes():
    for module in OURS:
        for name, cls in sorted(vars(module).items()):
            if isinstance(cls, type) and cls.__module__ == module.__name__ and not name.startswith("_"):
                yield pytest.param(module, name, cls, id=f"{module.__name__}.{name}")


def members(cls):
    """(name, member) of the public callables that the class has, and its __init__."""
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        if (name == "__init__" or not name.startswith("_")) and callable(member):
            yield name, member


def parameters(function):
    return [(parameter.name, parameter.kind, parameter.default)
            for parameter in inspect.signature(function).parameters.values()]


@native
@pytest.mark.parametrize("original, ours", list(classes()))
def test_signatures_are_the_originals(original, ours):
    seen = 0
    for name, member in members(original):
        assert parameters(inspect.getattr_static(ours, name)) == parameters(member), name
        seen += 1
    assert seen
    assert parameters(ours) == parameters(original)


def test_signatures_of_functions():
    for original, ours in PAIRS:
        for name, function in vars(original).items():
            if inspect.isfunction(function) and function.__module__ == original.__name__ and not name.startswith("_"):
                found = getattr(ours, name)
                # A class that is the default is ours, where the function is.
                expected = [(name, kind, default if found is function else vars(ours).get(
                             getattr(default, "__name__", None), default))
                            for name, kind, default in parameters(function)]
                assert parameters(found) == expected, name


@native
@pytest.mark.parametrize("original, ours", list(classes()))
def test_ours_are_subclasses_by_the_name_of_their_module(original, ours):
    assert issubclass(ours, original) and ours is not original
    assert ours.__module__ == "turboserver." + original.__module__
    assert ours.__qualname__ == ours.__name__ == original.__name__


@pytest.mark.parametrize("module, name, cls", list(own_classes()))
def test_classes_are_pickled_and_copied_by_their_name(module, name, cls):
    assert cls.__qualname__ == name and getattr(module, name) is cls
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(cls, protocol)) is cls
    assert copy.copy(cls) is cls and copy.deepcopy(cls) is cls


def test_an_error_is_pickled_whole():
    error = pickle.loads(pickle.dumps(turboserver.errors.BodyError("too long", 413)))
    assert (str(error), error.status) == ("too long", 413)


@pytest.mark.parametrize("module, name, cls", list(own_classes()))
def test_the_source_of_a_class_is_its_own(module, name, cls):
    first = inspect.getsource(cls).lstrip()
    assert first.startswith(f"class {name}(")


@pytest.mark.parametrize("module, name, cls", list(own_classes()))
def test_what_is_defined_here_has_a_docstring(module, name, cls):
    assert _is_said(vars(cls)["__doc__"])
    for member in vars(cls):
        value = inspect.getattr_static(cls, member)
        if not member.startswith("_") and (callable(value) or isinstance(value, property)) and _is_ours(value):
            assert _is_said(value.__doc__), member


@pytest.mark.parametrize("module", OURS + FURTHER, ids=lambda module: module.__name__)
def test_modules_and_what_they_export_have_docstrings(module):
    assert _is_said(module.__doc__)
    for name in module.__all__:
        value = getattr(module, name)
        if not isinstance(value, (str, int, float, tuple)) and _is_ours(value):
            assert _is_said(value.__doc__), name
        if isinstance(value, type) and value.__module__ == module.__name__:
            for member, function in vars(value).items():
                if inspect.isfunction(function) and not member.startswith("_") and _is_ours(function):
                    assert _is_said(function.__doc__), f"{name}.{member}"


@native
def test_rfile_and_wfile_have_docstrings():
    from turboserver.socketserver import RequestReader, ResponseWriter
    for cls in (RequestReader, ResponseWriter):
        assert _is_said(cls.__doc__)
        for name in dir(cls):
            if not name.startswith("_"):
                assert _is_said(getattr(cls, name).__doc__), f"{cls.__name__}.{name}"


def _is_ours(value):
    """Not a function of the original's under its own name."""
    return getattr(value, "__module__", "turboserver").partition(".")[0] == "turboserver"


def _is_said(doc):
    return bool(doc) and doc.strip().rstrip(".") not in ("", "Initialize self")


@pytest.mark.parametrize("module", OURS + FURTHER + [turboserver], ids=lambda module: module.__name__)
def test_names_that_are_exported_are_there(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    space = {}
    exec(f"from {module.__name__} import *", space)
    assert set(module.__all__) <= set(space)


def test_all_is_the_originals_and_what_is_new():
    new = {"http.server": {"HTTPSServer", "ThreadingHTTPSServer"}, "wsgiref.simple_server": {"ThreadingWSGIServer"}}
    for original, ours in PAIRS:
        assert set(ours.__all__) == set(original.__all__) | new.get(original.__name__, set())


def test_completion_finds_the_originals_names_and_no_tools_of_ours():
    for original, ours in PAIRS:
        shown = {name for name in dir(ours) if not name.startswith("_")}
        assert {name for name in original.__all__} <= shown
        assert all(hasattr(ours, name) for name in shown)
        # What a program might take for a part of it.
        assert not shown & {"lanes", "Engine", "Supplied", "accelerated", "refuse_body", "register_base_init",
                            "header_names", "types", "ipaddress"}
    # In a process of its own: here it has been looked at.
    done = subprocess.run([sys.executable, "-c", "import turboserver; print('accelerated' in dir(turboserver))"],
                          capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("module", OURS + FURTHER, ids=lambda module: module.__name__)
def test_help_can_be_shown(module):
    text = pydoc.plain(pydoc.render_doc(module))
    page = pydoc.HTMLDoc().docmodule(module)
    for name in module.__all__:
        assert name in text and name in page
        if not isinstance(getattr(module, name), str):
            assert pydoc.plain(pydoc.render_doc(getattr(module, name)))


def test_help_on_a_handler_says_what_the_limits_are():
    handler = turboserver.http.server.BaseHTTPRequestHandler
    limits = [name for name in vars(handler) if name.startswith("turbo_")]
    if turboserver.accelerated:
        assert len(limits) > 15
    for name in limits:
        assert name in handler.__doc__ or name in turboserver.socketserver.StreamRequestHandler.__doc__


@native
def test_every_turbo_attribute_is_in_the_docstring_of_a_class():
    for module in OURS:
        for cls in {value for value in vars(module).values() if isinstance(value, type)}:
            if cls.__module__.startswith("turboserver."):
                docs = " ".join(base.__doc__ or "" for base in cls.__mro__)
                for name in dir(cls):
                    if name.startswith("turbo_") and not callable(getattr(cls, name)):
                        assert name in docs, f"{cls.__name__}.{name}"


def test_hints_can_be_resolved():
    from turboserver.files.auth import Found
    hints = typing.get_type_hints(Found)
    assert hints["user"] == str | None and hints["delay"] is float


def test_no_module_is_left_out_of_this():
    """Every module with a stub is looked at here, but for those that need more than the standard library."""
    from pathlib import Path
    root = Path(turboserver.__file__).parent
    stubs = {".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("*.pyi")
             if not path.name.startswith("_") and "gunicorn" not in path.parts}
    seen = {module.__name__.partition(".")[2] for module in OURS + FURTHER}
    assert stubs - seen == {"cli"}
    assert {name for _, name, _ in pkgutil.iter_modules([str(root)])} >= {"socketserver", "http", "wsgiref", "errors"}


# ---- What docstrings say ----

def test_install_does_nothing_without_the_engine():
    done = subprocess.run([sys.executable, "-c", """
import sys
sys.modules["turboserver._engine"] = None
import http.server, socketserver, wsgiref.simple_server, turboserver
modules = http.server, socketserver, wsgiref.simple_server
before = [dict(vars(module)) for module in modules]
defaults = wsgiref.simple_server.make_server.__defaults__
turboserver.install()
assert not turboserver.accelerated
assert [dict(vars(module)) for module in modules] == before
assert wsgiref.simple_server.make_server.__defaults__ is defaults
turboserver.uninstall()
"""], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with server:
        yield server.server_address[1]
        server.shutdown()
        thread.join(30)


def asked(port, times=1):
    """The statuses of so many requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        statuses = []
        for _ in range(times):
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses.append((response.status, response.getheader("Connection")))
        return statuses


@native
@pytest.mark.parametrize("natively", [True, False])
def test_a_log_that_stands_in_a_class_is_a_method(natively):
    from turboserver.wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
    noted = []

    class Server(WSGIServer):
        def turbo_access_log(self, environ, status, octets, seconds):
            noted.append((type(self), type(environ), status, octets, type(seconds)))

    class Handler(WSGIRequestHandler):
        turbo_log = False
        if not natively:
            def get_environ(self):
                return super().get_environ()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with serving(make_server("127.0.0.1", 0, app, Server, Handler)) as port:
        asked(port)
    assert noted == [(Server, dict, "200 OK", 2, float)]


@native
def test_the_reactor_lane_has_two_threads_at_the_least():
    from turboserver.http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    both = threading.Barrier(2, timeout=30)

    class Server(ThreadingHTTPServer):
        turbo_max_threads = 1

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            both.wait()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    with serving(Server(("127.0.0.1", 0), Handler)) as port, ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda _: asked(port), range(2)))
    assert [answer[0][0] for answer in answers] == [204, 204]


@native
def test_limits_are_asked_of_the_class():
    """So the stubs have them as ClassVar."""
    from turboserver.http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.turbo_max_requests = 2
            self.send_response(204)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    class Limited(Handler):
        turbo_max_requests = 2

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        assert asked(port, 3) == [(204, None)] * 3
    with serving(HTTPServer(("127.0.0.1", 0), Limited)) as port:
        assert asked(port, 2) == [(204, None), (204, "close")]


def test_every_option_of_the_file_server_is_in_its_docstring():
    from turboserver.files.options import Options
    for name in Options._fields:
        assert name in Options.__doc__
