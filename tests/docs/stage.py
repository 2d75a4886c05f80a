"""A folder in which a page's files lie and its programs run: on free ports, as processes that end with the test.

The text of a block is used as it stands, but for ports (PORTS), paths that are given to `paths`, and `...` in outputs.
Commands run in bash, with `python` and `turboserver` being those of the tests.

What may not live here: what a page's programs are to do (page_*.py).
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from support import DEADLINE, connect

from .blocks import ROOT, blocks

#: Ports that documents name. Each is another, free one in a test.
PORTS = ("8000", "8080", "8443", "9000")
_ports = re.compile(rf"(?<![0-9.])(?:{'|'.join(PORTS)})(?![0-9])")

#: Where a test is skipped for want of a program, by its name: how Debian has it.
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "apache2": "apache2-bin", "systemd-analyze": "systemd",
            "systemd-socket-activate": "systemd", "curl": "curl", "bash": "bash"}

_SYSTEM = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
#: Settings of the one who runs the tests that are not the documents'.
_NOT_OURS = ("FORWARDED_ALLOW_IPS", "LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET", "TURBOSERVER_LANE", "TURBOSERVER_AUTH")


def need(program):
    """The path of a program; the test is skipped without it."""
    found = shutil.which(program, path=_SYSTEM)
    if found is None:
        import pytest
        pytest.skip(f"{program} is not installed (apt install {PACKAGES[program]})")
    return found


class Stage:
    """folder: a pathlib.Path, empty. block: the one that is looked at."""

    def __init__(self, folder, block):
        self.folder, self.block = folder, block
        self.paths = {}         # as documents have it -> as it is here
        self._ports = {}
        self._stack = contextlib.ExitStack()
        self._started = []

    def __enter__(self):
        return self

    def __exit__(self, *details):
        try:
            self.stop_all()
        finally:
            self._stack.close()

    # ---- what is there ----------------------------------------------------------

    def port(self, told=8000):
        """The port that stands for the one that documents name."""
        told = str(told)
        if told not in self._ports:
            # Bound here and not listening: no other test is given it, and who says SO_REUSEADDR can have it.
            sock = self._stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            self._ports[told] = sock.getsockname()[1]
        return self._ports[told]

    def here(self, text):
        """`text` with ports and paths as they are here."""
        for told, real in self.paths.items():
            text = text.replace(told, str(real))
        return _ports.sub(lambda match: str(self.port(match[0])), text)

    def named(self, name):
        """The block of that name on the page."""
        return next(block for block in blocks(self.block.page) if block.name == name)

    def write(self, name, content=None):
        """A file in the folder: the page's block of that name, or `content` (str or bytes). Returns its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = self.here(self.named(name).text)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    # ---- what runs --------------------------------------------------------------

    def environment(self):
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
        environment.update(PATH=f"{self._bin()}{os.pathsep}{_SYSTEM}", PYTHONDONTWRITEBYTECODE="1", BROWSER="true",
                           PYTHONPATH=os.path.join(ROOT, "src"), COLUMNS="200")
        return environment

    def _bin(self):
        """`python` and `turboserver` as they are tested, whatever the machine has under these names."""
        folder = self.folder / ".bin"
        if not folder.exists():
            folder.mkdir()
            for name, arguments in (("python", ""), ("turboserver", " -m turboserver"), ("gunicorn", " -m gunicorn")):
                program = folder / name
                program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
                program.chmod(0o755)
        return folder

    def run(self, command, *, code=0):
        """What a command says, standard error too; its exit code has to be `code`."""
        text = self.here(command)
        done = subprocess.run([need("bash"), "-c", text], cwd=self.folder, env=self.environment(), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=DEADLINE * 2)
        assert done.returncode == code, (text, done.returncode, done.stdout)
        return done.stdout

    def start(self, command, *, port=8000, code=0, number=signal.SIGTERM, environment=None):
        """Run a command until the test ends; wait until it listens (on no port: port=None). It has to end by the
        signal with exit code `code` (None: any). Returns the Started."""
        text = self.here(command)
        if port is not None:
            port = self.port(port)
        log = open(self.folder / f".log{len(os.listdir(self.folder))}", "w+")
        self._stack.callback(log.close)
        process = subprocess.Popen([need("bash"), "-c", "exec " + text], cwd=self.folder,
                                   env={**self.environment(), **(environment or {})}, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT, preexec_fn=_plain_signals)
        started = Started(text, process, log, code, number)
        self._stack.callback(started.kill)
        self._started.append(started)
        if port is not None:
            started.wait_for(lambda: listens(port))
        return started

    def stop_all(self):
        """End what runs, the latest first; exit codes have to be right."""
        while self._started:
            self._started.pop().stop()

    def program(self, **options):
        """start() the block that is looked at, a Python program. It ends as a process does by SIGTERM."""
        self.write(self.block.name)
        options.setdefault("code", -signal.SIGTERM)
        return self.start(f"python {self.block.name}", **options)

    def curl(self, arguments, *, code=0):
        """What curl says to arguments as documents have them."""
        need("curl")
        return self.run(f"curl -sS --max-time 15 {arguments}", code=code)

    def connection(self, told=8000):
        return connect(("127.0.0.1", self.port(told)))

    def transcript(self, block=None):
        """Run a `console` block: behind each line with `$ ` stands what it says, with `...` for what differs."""
        block = block or self.block
        for command, expected in commands(block):
            said = self.run(command + "; true")
            pattern = ".*?".join(map(re.escape, self.here(expected).rstrip("\n").split("...")))
            assert re.fullmatch(pattern, said.rstrip("\n"), re.S), f"{command}\nsaid:\n{said}\nnot:\n{expected}"


class Started:
    """A process; `said()` is what it has written so far."""

    def __init__(self, text, process, log, code, number):
        self.text, self.process, self._log, self._code, self._number = text, process, log, code, number

    def said(self):
        with open(self._log.name) as file:
            return file.read()

    def wait_for(self, condition):
        end = time.monotonic() + DEADLINE
        while not condition():
            assert self.process.poll() is None, f"{self.text} has ended:\n{self.said()}"
            assert time.monotonic() < end, f"{self.text}: waited in vain:\n{self.said()}"
            time.sleep(0.01)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """End it by its signal; the exit code has to be right."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(self._number)
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert self._code in (code, None), f"{self.text} ended with {code}:\n{self.said()}"


def _plain_signals():
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def listens(port):
    try:
        connect(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def commands(block):
    """(command, output) for each `$ ` line of a console block."""
    found = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append([line[2:].rstrip("\n"), ""])
        else:
            assert found, f"{block.id}: output without a command"
            found[-1][1] += line
    return found
