"""`turboserver run` and `explain`, and the command line of turboserver.http.server.

What `run` does is compared with what this Python itself does with the same program.
"""
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile

import pytest

import turboserver
from turboserver.http import command
from turboserver.http import server as th
from turboserver.http.tls import TLSMixIn

ROOT = os.path.dirname(os.path.dirname(turboserver.__file__))
PEM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "localhost.pem")
native = pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded")


def python(*arguments, cwd=None, **options):
    # PYTHONSAFEPATH and the like would change what is compared. The allocator is for tests/sanitize.py.
    environment = {k: v for k, v in os.environ.items() if k == "PYTHONMALLOC" or not k.startswith("PYTHON")}
    environment.update(PYTHONPATH=ROOT, PYTHONWARNINGS="ignore", **options)
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60,
                          cwd=cwd, env=environment, stdin=subprocess.DEVNULL)


def both(*arguments, cwd=None, **options):
    """(what Python does, what `turboserver run` does): (exit code, stdout, stderr) each."""
    results = []
    for start in ((), ("-m", "turboserver", "run")):
        done = python(*start, *arguments, cwd=cwd, **options)
        results.append((done.returncode, done.stdout, done.stderr))
    return results


PROBE = """
import os, sys
import __main__
print(sys.argv, sys.path[0], __name__, __main__.__dict__ is globals())
print(globals().get('__file__'), __package__, __spec__ and (__spec__.name, __spec__.origin), type(__loader__).__name__)
print(sorted(set(globals()) - {'__annotations__', '__conditional_annotations__', '__cached__'}), __builtins__)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "sub" / "inner.py").write_text(PROBE)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(PROBE)
    (tmp_path / "package" / "part.py").write_text(PROBE + "from . import __name__ as n; print(n)\n")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "__init__.py").write_text("")
    (tmp_path / "bare" / "mod.py").write_text("")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(PROBE)
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", PROBE)
    os.symlink("../probe.py", tmp_path / "sub" / "link.py")
    return tmp_path


@pytest.mark.parametrize("arguments", [
    ["probe.py"], ["probe.py", "-m", "a b", "--help"], ["./probe.py", "x"], ["sub/inner.py"], ["sub/link.py"],
    ["app", "1"], ["app.zip"], ["-m", "probe", "x", "-c"], ["-m", "package", "y"], ["-m", "package.part"],
    ["-mprobe"], ["-m", "sub.inner"],
], ids=" ".join)
def test_a_program_finds_what_python_gives_it(folder, arguments):
    expected, actual = both(*arguments, cwd=folder)
    assert expected[0] == 0, expected
    assert actual == expected


def test_program_as_text(folder):
    for arguments in (["-c", "import sys; print(sys.argv, repr(sys.path[0]), __name__)", "a", "-m"],
                      ["-cprint(1)"], ["-c", "import probe"], ["-c", "def f(): return 1\nprint(f())"]):
        expected, actual = both(*arguments, cwd=folder)
        assert actual == expected and actual[0] == 0


def test_compiled_program(folder):
    python("-c", "import py_compile; py_compile.compile('probe.py', 'probe.pyc')", cwd=folder)
    expected, actual = both("probe.pyc", cwd=folder)
    assert actual == expected and actual[0] == 0


@pytest.mark.parametrize("text", [
    "raise SystemExit", "raise SystemExit(3)", "raise SystemExit('gone')", "import sys; sys.exit(None)",
    "import os; os._exit(7)", "1/0", "def f():\n    raise ValueError('x')\nf()", "import no_such_module_here",
    "x = (", "class E(BaseException): pass\nraise E(1)",
    "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno)\n1/0",
    "import atexit; atexit.register(print, 'bye'); print('hi')",
    "import threading, time\ndef f():\n    time.sleep(.1); print(__name__)\n"
    "threading.Thread(target=f).start()",
    "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e",
], ids=lambda text: text.splitlines()[-1][:30])
def test_a_program_ends_as_under_python(tmp_path, text):
    (tmp_path / "program.py").write_text(text + "\n")
    expected, actual = both("program.py", cwd=tmp_path)
    assert actual == expected
    expected, actual = both("-m", "program", cwd=tmp_path)
    if "excepthook" not in text:        # which Python calls with frames of runpy
        assert actual[:2] == expected[:2]
    assert actual[2].splitlines()[-1:] == expected[2].splitlines()[-1:]
    assert "cli.py" not in actual[2]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt_ends_a_program_as_under_python(tmp_path):
    (tmp_path / "program.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
                                         "import time; time.sleep(20)\n")
    expected, actual = both("program.py", cwd=tmp_path)
    assert actual == expected and actual[0] == -signal.SIGINT


def test_pickles_of_main_survive(tmp_path):
    (tmp_path / "program.py").write_text(
        "import pickle, threading, time\nclass A: pass\n"
        "def late():\n    time.sleep(.1)\n    assert type(pickle.loads(pickle.dumps(A()))) is A; print('ok')\n"
        "threading.Thread(target=late).start()\n")
    assert python("-m", "turboserver", "run", "program.py", cwd=tmp_path).stdout == "ok\n"


@pytest.mark.parametrize("arguments, code, message", [
    (["missing.py"], 2, r"can't open file '.*missing\.py': \[Errno 2\] No such file or directory"),
    (["sub"], 1, r"can't find '__main__' module in 'sub'"),
    (["-m", "missing"], 1, "No module named missing"),
    (["-m", "missing.part"], 1, r"No module named missing\.part"),
    (["-m", "bare.mod.x"], 1, r"No module named bare\.mod\.x"),
    (["-m", "bare"], 1, r"No module named bare\.__main__; 'bare' is a package and cannot be run itself"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_be_run_is_one_line(folder, arguments, code, message):
    expected, actual = both(*arguments, cwd=folder)
    assert actual[0] == expected[0] == code and actual[1] == ""
    assert re.fullmatch(f"turboserver: {message}\n", actual[2])


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-c"], ["-x"]])
def test_bad_usage_of_run(arguments):
    done = python("-m", "turboserver", "run", *arguments)
    assert done.returncode == 2 and done.stderr.startswith("usage: turboserver run")


def test_help_and_version():
    done = python("-m", "turboserver", "--version")
    assert (done.returncode, done.stdout) == (0, f"turboserver {turboserver.__version__}\n")
    for arguments in (["--help"], ["run", "--help"], ["explain", "--help"]):
        done = python("-m", "turboserver", *arguments)
        assert done.returncode == 0 and done.stdout.startswith("usage: turboserver")
    # What is no command is a folder.
    done = python("-m", "turboserver", "frobnicate")
    assert (done.returncode, done.stderr) == (1, "turboserver: no such folder or command: frobnicate\n")
    assert python("-m", "turboserver", "--frobnicate").returncode == 2
    assert python("-m", "turboserver", "explain").returncode == 2


@native
def test_the_program_gets_our_classes():
    code = "import http.server as h, xmlrpc.server as x; print(h.HTTPServer.__module__, x.SimpleXMLRPCServer.__mro__[2])"
    out = python("-m", "turboserver", "run", "-c", code).stdout
    assert out.startswith("turboserver.http.server ") and "turboserver" in out.split(" ", 1)[1]


# ---------------------------------------------------------------- explain

@native
def test_explain(tmp_path):
    (tmp_path / "app.py").write_text(
        "import http.server\n\nclass Fast(http.server.BaseHTTPRequestHandler):\n    def log_message(self, *a): pass\n\n"
        "class Slow(Fast):\n    def handle(self): pass\n\nclass Server(http.server.HTTPServer):\n"
        "    def process_request(self, *a): pass\n\nclass Outer:\n    Inner = Fast\nnumber = 3\n")

    def explain(*arguments):
        return python("-m", "turboserver", "explain", *arguments, cwd=tmp_path)

    out = explain("app:Fast").stdout
    assert "lane: reactor" in out and "log_message" in out
    out = explain("app:Slow").stdout
    assert "lane: blocking" in out and "app.Slow.handle" in out and "app.py:7" in out
    assert "process_request" in explain("app:Fast", "--server", "app:Server").stdout
    assert "process_request" in explain("app:Server").stdout
    assert "lane: reactor" in explain("app:Outer.Inner").stdout
    assert "lane: reactor" in explain("turboserver.http.server:SimpleHTTPRequestHandler").stdout
    for target, code, message in (("app", 2, "'app' is not of the form MODULE:CLASS"),
                                  ("app:Nothing", 1, "app has no Nothing"),
                                  ("nothing:X", 1, "cannot import nothing: ModuleNotFoundError: No module named 'nothing'"),
                                  ("app:number", 1, "app:number is neither a handler nor a server")):
        done = explain(target)
        assert (done.returncode, done.stderr) == (code, f"turboserver: {message}\n")


# ---------------------------------------------------------------- python -m turboserver.http.server

class Served:
    """The command in a process of its own, on a free port."""

    def __init__(self, *arguments, cwd=None, module="turboserver.http.command"):
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", module, "--bind", "127.0.0.1", *arguments, "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": ROOT})
        self.banner = self.process.stdout.readline()
        found = re.search(r"port (\d+)", self.banner)
        assert found, self.banner + self.process.stderr.read()
        self.port = int(found[1])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def get(self, path, method="GET", context=None):
        make = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
        extra = {} if context is None else {"context": context}
        connection = make("localhost" if context else "127.0.0.1", self.port, timeout=20, **extra)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "plain").write_text("none")
    (tmp_path / "b.bin").write_text("bin")
    (tmp_path / "c.Z").write_text("Z")
    return tmp_path


def client_context():
    context = ssl.create_default_context(cafile=PEM)
    return context


def test_serves_a_directory_and_stops_at_an_interrupt(files):
    with Served("-d", str(files)) as served:
        assert served.banner == (f"Serving HTTP on 127.0.0.1 port {served.port} "
                                 f"(http://127.0.0.1:{served.port}/) ...\n")
        response, body = served.get("/a.txt")
        assert (response.status, body, response.version) == (200, b"text", 10)
        assert response.getheader("Server").startswith("SimpleHTTP")
        assert b"a.txt" in served.get("/")[1]
        assert served.get("/none")[0].status == 404
        served.process.send_signal(signal.SIGINT)
        out, err = served.process.communicate(timeout=20)
        assert served.process.returncode == 0 and out == "\nKeyboard interrupt received, exiting.\n"
        assert '"GET /a.txt HTTP/1.1" 200 -' in err and "Traceback" not in err


def test_current_directory_protocol_headers_and_type(files):
    with Served("-p", "HTTP/1.1", "-H", "X-One", "1: a", "--header", "X-Two: 2:3", "--header=X-Three: 3",
                "--content-type", "text/x-none", cwd=files) as served:
        response, body = served.get("/plain")
        assert (response.version, body) == (11, b"none")
        names = [name for name, _ in response.getheaders()]
        assert names[-3:] == ["X-One", "X-Two", "X-Three"] and names[-4] == ("Accept-Ranges" if turboserver.accelerated else "Last-Modified")
        assert response.getheader("X-One") == "1: a" and response.getheader("X-Two") == "2:3"
        assert response.getheader("Content-Type") == "text/x-none"
        assert served.get("/b.bin")[0].getheader("Content-Type") == "application/octet-stream"
        assert served.get("/c.Z")[0].getheader("Content-Type") == "application/octet-stream"
        assert served.get("/a.txt")[0].getheader("Content-Type") == "text/plain"
        assert served.get("/", "HEAD")[0].getheader("X-One") == "1: a"
        assert served.get("/gone")[0].getheader("X-One") is None


@native     # whose handshakes happen elsewhere than in accept()
def test_tls(files):
    with Served("-d", str(files), "--tls-cert", PEM) as served:
        assert served.banner == (f"Serving HTTPS on 127.0.0.1 port {served.port} "
                                 f"(https://127.0.0.1:{served.port}/) ...\n")
        with socket.create_connection(("127.0.0.1", served.port)):      # says nothing, holds up nobody
            response, body = served.get("/a.txt", context=client_context())
            assert body == b"text"
        with socket.create_connection(("127.0.0.1", served.port)) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            raw.settimeout(20)
            try:
                while raw.recv(4096):
                    pass
            except ConnectionError:
                pass
        assert served.get("/a.txt", context=client_context())[1] == b"text"
        served.process.send_signal(signal.SIGINT)
        out, err = served.process.communicate(timeout=20)
        assert served.process.returncode == 0 and "Traceback" not in err


@native
def test_the_command_serves_in_the_reactor_lane(files):
    from turboserver import lanes
    arguments = command._parser().parse_args(["-d", str(files), "-H", "A", "b", "--content-type", "a/b", "0"])
    with command._server(arguments, command._handler(arguments), None) as server:
        decision = lanes.decide(server)
        assert (decision.lane, decision.threaded) == ("reactor", True), decision.reasons


def complaint(*arguments, cwd=None):
    done = python("-m", "turboserver.http.command", *arguments, cwd=cwd)
    assert done.stdout == "" and "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_what_cannot_be_served_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        code, text = complaint("-b", "127.0.0.1", str(port))
    start = "python -m turboserver.http.server: error: "
    assert (code, text) == (1, f"{start}cannot listen on 127.0.0.1 port {port}: Address already in use\n")
    assert complaint("-d", "nowhere", "0", cwd=tmp_path) == (1, f"{start}no such directory: nowhere\n")
    code, text = complaint("-b", "host.invalid", "0")
    assert code == 1 and text.startswith(f"{start}cannot bind to host.invalid: ") and text.count("\n") == 1
    code, text = complaint("--tls-cert", "missing.pem", "0", cwd=tmp_path)
    assert code == 1 and text == f"{start}cannot use the certificate (missing.pem): No such file or directory\n"
    (tmp_path / "bad.pem").write_text("no certificate")
    code, text = complaint("--tls-cert", "bad.pem", "0", cwd=tmp_path)
    assert code == 1 and text.startswith(f"{start}cannot use the certificate (bad.pem): ") and text.count("\n") == 1


@pytest.mark.parametrize("arguments, message", [
    (["--tls-key", "k"], "--tls-key requires --tls-cert to be set"),
    (["--tls-password-file", "p"], "--tls-password-file requires --tls-cert to be set"),
    (["--tls-cert", PEM, "--tls-password-file", "/nowhere"], "Failed to read TLS password file: "),
    (["70000"], "port must be 0 to 65535, not 70000"), (["-1"], ""), (["x"], "invalid int value: 'x'"),
    (["--cgi"], "unrecognized arguments: --cgi"), (["-H", "X"], "expected 2 arguments"),
    (["-H", ": x"], "not a header"), (["-H", "A", "b\r\nC: d"], "not a header"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_usage_of_the_command(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_options_of_the_command(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for option in ("-b", "--bind", "-d", "--directory", "-p", "--protocol", "--tls-cert", "--tls-key",
                   "--tls-password-file", "-H", "--header", "--content-type", "port"):
        assert option in text
    arguments = command._parser().parse_args([])
    assert (arguments.port, arguments.bind, arguments.protocol) == (8000, None, "HTTP/1.0")


def test_header_forms():
    split = command._split_headers
    assert split(["-H", "A", "b: c", "-H", "D: e:f", "--header=G:h", "-HI: j", "9000"]) == [
        "-H", "A", "b: c", "-H", "D", "e:f", "--header", "G", "h", "-H", "I", "j", "9000"]
    assert split(["-H"]) == ["-H"] and split(["-H", "A"]) == ["-H", "A"]


# ---------------------------------------------------------------- HTTPS servers

class Hello(th.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments):
        pass


def serve(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    return thread


def fetch(server):
    connection = http.client.HTTPSConnection("localhost", server.server_address[1], timeout=20, context=client_context())
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("cls", [th.HTTPSServer, th.ThreadingHTTPSServer], ids=lambda cls: cls.__name__)
def test_https_server(cls):
    with cls(("127.0.0.1", 0), Hello, certfile=PEM) as server:
        assert isinstance(server, th.HTTPServer) and isinstance(server.socket, ssl.SSLSocket)
        assert (server.certfile, server.keyfile, server.password) == (PEM, None, None)
        assert server.alpn_protocols == ["http/1.1"]
        thread = serve(server)
        assert fetch(server) == b"hello"
        server.shutdown()
        thread.join(20)


def test_https_server_signature():
    with pytest.raises(TypeError):
        th.HTTPSServer(("127.0.0.1", 0), Hello)
    with pytest.raises(TypeError):
        th.HTTPSServer(("127.0.0.1", 0), Hello, True, PEM)
    with th.HTTPSServer(("127.0.0.1", 0), Hello, False, certfile="nowhere", alpn_protocols=["x"]) as server:
        assert server.alpn_protocols == ["x"] and type(server.socket) is socket.socket
    with pytest.raises(FileNotFoundError):
        th.HTTPSServer(("127.0.0.1", 0), Hello, certfile="nowhere")
    assert th.ThreadingHTTPSServer.daemon_threads is True


@native
@pytest.mark.skipif(not issubclass(th.HTTPSServer, TLSMixIn), reason="the original's")
def test_a_silent_client_does_not_hold_up_accepting_and_is_given_up(capsys):
    class Server(th.ThreadingHTTPSServer):
        turbo_handshake_timeout = 0.3

    with Server(("127.0.0.1", 0), Hello, certfile=PEM) as server:
        thread = serve(server)
        with socket.create_connection(server.server_address[:2]) as silent:
            assert fetch(server) == b"hello"
            silent.settimeout(20)
            begun = time.monotonic()
            assert silent.recv(1) == b"" and time.monotonic() - begun < 10
        server.shutdown()
        thread.join(20)
    assert "Traceback" not in capsys.readouterr().err


# -- the processes that a program starts ------------------------------------------

PARENT = """
import os, subprocess, sys
print(subprocess.run([sys.executable, "child.py"], capture_output=True, text=True).stdout.split())
print("PYTHONPATH" in os.environ and os.environ["PYTHONPATH"].endswith("mine"))
"""
CHILD = "import http.server, sys; print(http.server.HTTPServer.__module__, 'marked' in sys.modules)"


@native
@pytest.mark.parametrize("customised", (False, True))
def test_children_have_our_classes(tmp_path, customised):
    """As those of Django's reloader, which makes its child's command from sys.argv."""
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "mine").mkdir()
    if customised:
        (tmp_path / "mine" / "marked.py").write_text("")
        (tmp_path / "mine" / "sitecustomize.py").write_text("import marked")
    path = os.pathsep.join((ROOT, str(tmp_path / "mine")))
    done = subprocess.run([sys.executable, "-m", "turboserver", "run", "parent.py"], capture_output=True, text=True,
                          timeout=60, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout.splitlines() == [f"['turboserver.http.server', '{customised}']", "True"], done.stderr


@native
def test_children_of_another_installation_are_left_alone(tmp_path):
    folder = os.path.join(ROOT, "turboserver", "_children")
    for prefix, module in ((sys.prefix, "turboserver.http.server"), ("/elsewhere", "http.server")):
        done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join((folder, ROOT)), "TURBOSERVER_RUN": prefix})
        assert done.stdout.split() == [module, "False"], done.stderr
