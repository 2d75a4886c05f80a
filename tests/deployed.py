"""A server that `turboserver wsgi` has started in a process of its own, for tests/test_deploy_*.py."""
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading

from support import DEADLINE, Client, connect, fetch, wait_until

#: An application for most tests: what a path of it does is told by its name.
APPLICATION = '''
import json, os, threading, time

VERSION = "one"
go = threading.Event()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"ok"
    if path == "/pid":
        body = str(os.getpid()).encode()
    elif path == "/version":
        body = VERSION.encode()
    elif path == "/environ":
        body = json.dumps({k: v for k, v in environ.items() if isinstance(v, (str, bool))}).encode()
    elif path == "/wait":
        with open(environ["QUERY_STRING"] + ".entered", "w"):
            pass
        while not os.path.exists(environ["QUERY_STRING"]):
            time.sleep(0.01)
        body = b"waited"
    elif path == "/hang":
        with open(environ["QUERY_STRING"] + ".entered", "w"):
            pass
        while True:
            time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def create_app(name="made"):
    def made(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(name)))])
        return [name.encode()]
    return made
'''


class Deployed:
    """`process`, `lines` (of its stderr so far), and `addresses` (of what it serves on) once ready() is true. within:
    the command that starts it."""

    def __init__(self, *arguments, cwd, stdout=subprocess.DEVNULL, environ=None, within=(), **options):
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("FORWARDED_ALLOW_IPS", "LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET")}
        environment.update(environ or {}, PYTHONDONTWRITEBYTECODE="1")
        # Whatever the tests run under (nohup ignores it).
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "turboserver", "wsgi", *arguments], cwd=cwd, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, **options)
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def said(self, text):
        return any(text in line for line in self.lines)

    def ready(self):
        """Wait until it serves; returns self."""
        wait_until(lambda: self.said(": serving ") or self.process.poll() is not None, "the server")
        assert self.said(": serving "), self.lines
        return self

    @property
    def addresses(self):
        line = next(line for line in self.lines if ": serving " in line)
        found = []
        for url in line.partition(" on ")[2].rpartition(" (")[0].split(", "):
            match = re.fullmatch(r"http://(?:\[(.*)\]|(.*)):(\d+)/", url)
            if match is None:
                found.append(url.removeprefix("unix:"))
            elif match[1]:
                found.append((match[1], int(match[3]), 0, 0))
            else:
                found.append((match[2], int(match[3])))
        return found

    def get(self, path, **options):
        """The body of one answer, on a connection of its own."""
        return fetch(self.addresses[0], path, **options).body.decode()

    def send(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Its exit code; all that it said is in `lines` then."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def stop(self, number=signal.SIGTERM):
        self.send(number)
        return self.wait()

    def wait_for_refusal(self):
        """Wait until nobody listens there any more."""
        def refused():
            try:
                connect(self.addresses[0]).close()
            except OSError:
                return True
        wait_until(refused, "the end of listening")

    def close(self):
        """Nobody of it is left, stopped workers neither: they would keep its stderr open, and the reader waiting."""
        if self.process.poll() is None:
            started = children(self.process.pid) if os.path.isdir("/proc/self") else ()
            self.process.kill()
            for pid in started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        self.process.stderr.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def deployed(*arguments, **options):
    """A server with these arguments; killed at the end, if it is still there."""
    server = Deployed(*arguments, **options)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def under_way(server, folder, last=False):
    """Within, the application is at work on a request; at the end it goes on, and the answer has to come. last: then
    the connection has to end."""
    with _entered(server, folder, "/wait", "go") as client:
        yield
        (folder / "go").touch()
        assert client.read().body == b"waited"
        assert not last or client.at_eof()


@contextlib.contextmanager
def hanging(server, folder):
    """Within, the application is at work on a request, for ever."""
    with _entered(server, folder, "/hang", "hang"):
        yield


@contextlib.contextmanager
def _entered(server, folder, path, name):
    with Client(server.addresses[0]) as client:
        client.send(f"GET {path}?{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wait_until((folder / f"{name}.entered").exists, "the application")
        yield client


# ---------------------------------------------------------------- with workers

def pids(server, least):
    """The workers that answer, at least so many."""
    found = set()

    def enough():
        found.add(int(server.get("/pid")))
        return len(found) >= least
    wait_until(enough, f"{least} workers that answer")
    return found


def state(pid):
    """Its letter in /proc ("R", "S", "T", "Z" and others); None if there is no such process, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return state(pid) == "Z"    # a child of a master that died is somebody else's to bury


def stop_here(pids):
    """SIGSTOP for all of them; returns when they have stopped, so that no connection wakes one of them any more."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        wait_until(lambda pid=pid: state(pid) == "T", "a stopped worker")


def children(pid):
    """Linux: who was started by it and is not buried."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


class Load:
    """Clients that ask for one path on a connection each, until stop(); `answers` and `failures`."""

    def __init__(self, address, path="/version", clients=3):
        self.address, self.path = address, path
        self.answers, self.failures = [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self):
        while not self._stop.is_set():
            try:
                self.answers.append(fetch(self.address, self.path).body.decode())
            except (OSError, EOFError) as error:
                self.failures.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details):
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def more(self, count=20):
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= wanted, "answers")
