"""Which servers there are, how each is started for a scenario, and one that runs: checked, watched, stopped.

A server is started for an app: the name that the scripts in apps/ know, with its argument ("sleep 0.01"). Peers get
what helps them: no access log, room for all connections, no time-out during a run, and as many threads as requests wait
at once where they work with threads.
"""

import contextlib
import os
import platform
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import checks
import measure
import pins
from apps import nginx
from apps import wsgi as wsgi_apps
from environment import Environment

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
#: Seconds within which a server must be up.
START = 10
#: Seconds after which a file is not new.
NEW = 2.5

HTTP = frozenset({"hello", "headers", "closing", "sleep", "mixed", "post", "download", "upload"})
#: What only WSGI applications are there for.
WSGI = HTTP | {"numbered", "checksum", "closes", "file", "flask", "django"}
LOGGED = WSGI | {"logged"}
#: What servers have of our environment, about as much as a service has: wsgiref's copy all of it for each request.
VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
#: The name of the log of a server that is told one, in its folder.
LOG = "access.log"
C_PROGRAMS = {
    "hello": "limit",
    "headers": "limit",
    "closing": "limit",
    "download": "stream",
    "upload": "stream",
    "echo": "stream",
    "udp": "stream",
}


@dataclass(frozen=True)
class Start:
    """What a command line is made from."""

    environment: Environment
    app: str
    #: How many requests wait in handlers at once; 0: none does.
    threads: int
    #: A free one, for servers that cannot choose one.
    port: int
    #: Temporary, the server's own.
    folder: Path


@dataclass(frozen=True)
class Server:
    title: str
    command: Callable[[Start], list[str | Path]]
    #: What it can serve.
    apps: frozenset[str]
    #: What of Environment.missing it cannot do without, names separated by blanks; None: looked up by app.
    needs: str | None
    #: Whether it prints its port or is told one.
    told_port: bool = False
    #: Whether it keeps connections.
    keeps: bool = True
    #: The app it serves whatever the scenario's is.
    always: str | None = None
    #: Whether its connections are TLS.
    secure: bool = False


def c_program(start):
    name, *_ = start.app.split()
    program = start.environment.program(C_PROGRAMS[name])
    if C_PROGRAMS[name] == "stream":
        return [program, name, "0"]
    # The same Server header as the handlers send.
    closing = ["close"] if name == "closing" else []
    return [program, "0", f"BaseHTTP/0.6 Python/{platform.python_version()}", *closing]


def handlers(module, kind="threading", app=None):
    def command(start):
        if kind.startswith("wsgi"):
            return [start.environment.python, APPS / "handlers.py", module, kind, "wsgi", *start.app.split()]
        served = app or start.app
        return [start.environment.python, APPS / "handlers.py", module, kind, *served.split()]

    return command


def wsgi(name):
    def command(start):
        return [start.environment.python, APPS / "wsgi.py", name, str(start.threads), *start.app.split()]

    return command


def nginx_command(cached=False, secure=False):
    def command(start):
        app = start.app.split()[0]
        file = wsgi_apps.FILE if app == "file" else None
        log = LOG if app == "logged" else None
        path = nginx.write(start.folder, start.port, file=file, static=app == "static", cached=cached, log=log, secure=secure)
        return [start.environment.program("nginx"), "-p", start.folder, "-c", path, "-e", "stderr"]

    return command


def files_command(start):
    return [start.environment.python, "-m", "turboserver", start.folder, "--bind", "127.0.0.1", "-p", str(start.port), "--quiet"]


def granian(start):
    options = ["--host", "127.0.0.1", "--port", str(start.port), "--interface", "wsgi", "--workers", "1"]
    options += ["--http", "1", "--backlog", "1024", "--backpressure", "20000", "--log-level", "error", "--no-ws"]
    options += ["--blocking-threads", str(start.threads or 1)]
    return [start.environment.python, "-m", "granian", *options, "wsgi:app"]


def gunicorn(worker, pool):
    """With class `worker`, which has a `pool` of threads or else as many as it likes."""

    def command(start):
        options = ["--bind", f"127.0.0.1:{start.port}", "--workers", "1", "--worker-class", worker]
        options += ["--threads", str(start.threads or 4)] if pool else []
        options += ["--worker-connections", "20000", "--keep-alive", "600", "--backlog", "1024"]
        options += ["--log-level", "error", "--no-control-socket"]
        options += ["--worker-tmp-dir", str(start.folder)]
        options += ["--access-logfile", LOG] if start.app == "logged" else []
        return [start.environment.python, "-m", "gunicorn", *options, "wsgi:app"]

    return command


def turbo_command(start):
    options = ["--host", "127.0.0.1", "--port", str(start.port)]
    options += ["--access-log", LOG, "--access-log-format", "combined"] if start.app == "logged" else []
    return [start.environment.python, "-m", "turboserver", "wsgi", *options, "wsgi:app"]


def uvicorn(start):
    options = ["--host", "127.0.0.1", "--port", str(start.port), "--http", "httptools", "--loop", "uvloop"]
    options += ["--backlog", "1024", "--timeout-keep-alive", "600", "--lifespan", "off", "--ws", "none"]
    options += ["--no-access-log", "--log-level", "error"]
    return [start.environment.python, "-m", "uvicorn", *options, "asgi:app"]


OWN = HTTP | {"logging", "echo", "udp", "static"}
SERVERS = {
    "limit": Server("C, the kernel's limit", c_program, frozenset(C_PROGRAMS), None),
    "turbo": Server("turboserver ThreadingHTTPServer", handlers("turbo"), OWN, "turboserver"),
    "turbo-single": Server("turboserver HTTPServer", handlers("turbo", "single"), OWN, "turboserver"),
    "turbo-blocking": Server(
        "turboserver, handle_one_request overridden",
        handlers("turbo", app="blocking"),
        frozenset({"hello"}),
        "turboserver",
    ),
    "turbo-wsgi": Server("turboserver WSGIServer with threads", handlers("turbo", "wsgi"), LOGGED, "turboserver"),
    "turbo-wsgi-single": Server("turboserver WSGIServer", handlers("turbo", "wsgi-single"), LOGGED, "turboserver"),
    "turbo-gunicorn": Server(
        "gunicorn, turboserver's worker",
        gunicorn("turboserver.gunicorn.Worker", pool=False),
        LOGGED,
        "turboserver gunicorn",
        told_port=True,
    ),
    "turbo-cli": Server("turboserver wsgi, the command", turbo_command, LOGGED, "turboserver", told_port=True),
    "turbo-hello": Server(
        "turboserver, the hello scenario beside it", handlers("turbo", app="hello"), OWN, "turboserver", always="hello"
    ),
    "turbo-wsgi-hello": Server(
        "turbo-wsgi, hello beside it", handlers("turbo", "wsgi"), HTTP, "turboserver", always="hello"
    ),
    "turbo-cli-hello": Server(
        "turbo-cli, hello beside it", turbo_command, HTTP, "turboserver", told_port=True, always="hello"
    ),
    "stock": Server("http.server ThreadingHTTPServer", handlers("stock"), OWN, None),
    "stock-nodelay": Server("the same, Nagle's algorithm off", handlers("stock", "nodelay"), OWN, None),
    "stock-single": Server("http.server HTTPServer", handlers("stock", "single"), OWN, None),
    "stock-blocking": Server(
        "http.server, handle_one_request overridden", handlers("stock", app="blocking"), frozenset({"hello"}), None
    ),
    "stock-blocking-nodelay": Server(
        "the same, Nagle's algorithm off", handlers("stock", "nodelay", "blocking"), frozenset({"hello"}), None
    ),
    # wsgiref's servers answer by HTTP/1.0 and close; werkzeug's always says Connection: close.
    "stock-wsgi": Server("wsgiref WSGIServer with threads", handlers("stock", "wsgi"), LOGGED, None, keeps=False),
    "nginx": Server(
        "nginx, return 200 or a file",
        nginx_command(),
        frozenset({"hello", "headers", "closing", "file", "logged", "static"}),
        "nginx",
        told_port=True,
    ),
    "nginx-cached": Server(
        "nginx with open_file_cache", nginx_command(cached=True), frozenset({"static"}), "nginx", told_port=True
    ),
    "turbo-tls": Server(
        "turboserver ThreadingHTTPSServer", handlers("turbo", "tls"), frozenset({"hello", "static"}), "turboserver", secure=True
    ),
    "turbo-tls-single": Server(
        "turboserver HTTPSServer", handlers("turbo", "tls-single"), frozenset({"hello", "static"}), "turboserver", secure=True
    ),
    "stock-tls": Server(
        "http.server with a TLS socket and threads", handlers("stock", "tls"), frozenset({"hello", "static"}), None, secure=True
    ),
    "stock-tls-nodelay": Server(
        "the same, Nagle's algorithm off", handlers("stock", "tls-nodelay"), frozenset({"hello", "static"}), None, secure=True
    ),
    "nginx-tls": Server(
        "nginx, TLS", nginx_command(secure=True), frozenset({"hello", "static"}), "nginx", told_port=True, secure=True
    ),
    "turbo-simple": Server(
        "turboserver SimpleHTTPRequestHandler", handlers("turbo"), frozenset({"static"}), "turboserver"
    ),
    "turbo-files": Server(
        "turboserver FOLDER, the command", files_command, frozenset({"static"}), "turboserver", told_port=True
    ),
    "bjoern": Server("bjoern", wsgi("bjoern"), WSGI, "bjoern"),
    "fastwsgi": Server("fastwsgi", wsgi("fastwsgi"), WSGI, "fastwsgi"),
    "granian": Server("granian, WSGI", granian, WSGI, "granian", told_port=True),
    "gunicorn": Server("gunicorn, gthread", gunicorn("gthread", pool=True), LOGGED, "gunicorn", told_port=True),
    "waitress": Server("waitress", wsgi("waitress"), WSGI, "waitress"),
    "cheroot": Server("cheroot", wsgi("cheroot"), WSGI, "cheroot"),
    "uvicorn": Server("uvicorn, ASGI, httptools and uvloop", uvicorn, HTTP, "uvicorn", told_port=True),
    "werkzeug": Server("werkzeug, with threads", wsgi("werkzeug"), LOGGED, "werkzeug", keeps=False),
}


def why_not(name: str, app: str, environment: Environment) -> str | None:
    """Why server `name` cannot be started for `app`; None if it can."""
    kind, server = app.split()[0], SERVERS[name]
    needs = server.needs or (C_PROGRAMS.get(kind, "") if name == "limit" else "")
    needed = [*needs.split(), *([kind] if kind in pins.FRAMEWORKS else [])]
    return next((environment.missing[need] for need in needed if need in environment.missing), None)


# ---------------------------------------------------------------- one that runs


@dataclass
class Running:
    """Server `name`, started for `app` on `core`, up and checked by `check`. RuntimeError says why it is not."""

    name: str
    app: str
    check: str
    environment: Environment
    core: int | None
    threads: int = 0
    port: int = 0
    #: Octets of one answer; None if not known.
    answer: int | None = None
    process: subprocess.Popen | None = field(default=None, repr=False)

    def __post_init__(self):
        self.server = SERVERS[self.name]
        # A file, not a pipe: nobody reads while it serves. Appended to, so that it can be emptied at any time.
        self.errors = tempfile.TemporaryFile("a+b")
        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        try:
            self.start()
            port = checks.SecurePort(self.port) if self.server.secure else self.port
            self.answer = checks.CHECKS[self.check](port, self.server.keeps)
            if self.app == "logged" and not self.server.always:
                self.wait_until_logged()
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            text = self.last_words() or str(error)
            self.stop()
            raise RuntimeError(text) from None
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self):
        if self.server.told_port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        app = self.server.always or self.app
        if app == "file":
            Path(self.folder.name, wsgi_apps.FILE).write_bytes(checks.FILE)
        if app.startswith("static "):
            self.write_static(int(app.split()[1]))
        command = self.server.command(Start(self.environment, app, self.threads, self.port, Path(self.folder.name)))
        if command[0] is None:
            raise RuntimeError("its program was not found")
        ours = (name for name in os.environ if name in VARIABLES or name.startswith("TURBOSERVER_"))
        variables = {name: os.environ[name] for name in ours}
        variables |= {"BENCH_APP": app, "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
        with measure.on_core(self.core):
            # A session of its own: Ctrl-C is ours to pass on, and stop() reaches its children.
            self.process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if self.server.told_port else subprocess.PIPE,
                stderr=self.errors,
                env=variables,
                cwd=self.folder.name,
                start_new_session=True,
            )
        if not self.server.told_port:
            line = self.process.stdout.readline().strip()
            if not line.isdigit():
                raise RuntimeError(f"said {line.decode(errors='replace')!r} instead of its port")
            self.port = int(line)
        if self.app != "udp":
            self.wait_until_up()

    def write_static(self, size):
        """A file that is not the newest any more: of one that may still change within a tick of the file system's
        clock, nobody should keep what it was."""
        path = Path(self.folder.name, "static.bin")
        with open(path, "wb") as file:
            file.writelines(checks.FILE[: min(len(checks.FILE), size - at)] for at in range(0, size, len(checks.FILE)))
        time.sleep(NEW)

    def wait_until_up(self):
        until = time.monotonic() + START
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode} while it started")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise RuntimeError(f"not up within {START} s") from None
                time.sleep(0.02)

    def wait_until_logged(self):
        """A server that is to log has a line for each request of its check."""
        until = time.monotonic() + checks.SECONDS
        while (lines := self.log_lines()) < checks.TIMES:
            if time.monotonic() > until:
                raise RuntimeError(f"{lines} lines in its log after {checks.TIMES} requests")
            time.sleep(0.02)

    def log_lines(self) -> int:
        """Lines in the log it was told, or else on its standard error."""
        log = Path(self.folder.name, LOG)
        return (log.read_text() if log.exists() else self.output() + "\n").count("\n")

    def last_words(self) -> str:
        """The last line of its standard error if the process has ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired, AttributeError):
            self.process.wait(0.2)
            lines = self.output().splitlines()
            return lines[-1] if lines else ""
        return ""

    def output(self) -> str:
        """What it has said on standard error since forget(), its last 64 KiB."""
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - 65536))
        return self.errors.read().decode(errors="replace").strip()

    def forget(self) -> None:
        """Empty its standard error and its log, which a server that logs would let grow."""
        self.errors.truncate(0)
        with contextlib.suppress(FileNotFoundError):
            os.truncate(Path(self.folder.name, LOG), 0)

    def stop(self) -> None:
        """End it with all its children. Harmless the second time."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()
            self.process = None
        self.errors.close()
        self.folder.cleanup()
