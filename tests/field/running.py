"""Runs a row's program in its environment, under turboserver or under the standard library alone, and asks it.

A program runs unchanged: `python -m turboserver run PROGRAM ...` or `python PROGRAM ...`. Which servers it has is told
by probe/sitecustomize.py. It is interrupted as by a person, and must end.
"""
import ast
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import turboserver
from row import DEADLINE, HERE, Place

BUILD = HERE.parent.parent / "build" / "field"
#: The source tree of the turboserver under test, which is not installed in the environments.
SOURCES = pathlib.Path(turboserver.__file__).resolve().parent.parent
SITES = HERE.parent / "frameworks" / "sites"
MODES = ("stdlib", "turboserver")


class Absent(Exception):
    """The environment of a group is not there, or for another Python; the message says so."""


class Broken(AssertionError):
    """A program did not start, did not work or did not end; the message has what it said."""


def python_of(group):
    """The interpreter of a group's environment. Raises Absent."""
    if group == "library":
        return sys.executable
    folder = BUILD / group
    if not (folder / ".ready").exists():
        raise Absent(f"no build/field/{group}: `make field` makes it, where PyPI can be reached")
    version = re.search(r"^version\s*=\s*(\d+\.\d+)", (folder / "pyvenv.cfg").read_text(), re.M)[1]
    if version != "%d.%d" % sys.version_info[:2]:
        raise Absent(f"build/field/{group} is for Python {version}")
    return str(folder / "bin" / "python")


def environ_of(reports=None):
    """os.environ for a program."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("PYTEST_", "PYTHON", "TURBOSERVER_", "DJANGO_", "FLASK_", "VIRTUAL_ENV"))}
    for name in ("TURBOSERVER_LANE", "TURBOSERVER_POLLER"):
        if name in os.environ:
            inherited[name] = os.environ[name]
    inherited |= {"PYTHONPATH": os.pathsep.join(map(str, [HERE / "probe", SOURCES, SITES])), "PYTHONUNBUFFERED": "1"}
    if reports:
        inherited["FIELD_REPORTS"] = str(reports)
    return inherited


def command_line(row, mode, folder):
    """The whole of it; the program's own part is the same in both modes, but for one that installs by itself."""
    own = [str(word) for word in row.command(folder)]
    if mode == "turboserver":
        own = [*own, "install"] if row.installs else ["-m", "turboserver", "run", *own]
    return [python_of(row.group), *own]


class Program:
    """A running program. `place` for those who ask it, `python` of its environment."""

    def __init__(self, row, mode, folder, process):
        self.row, self.mode, self.folder, self.process = row, mode, folder, process
        self.python = python_of(row.group)
        self.place = None

    def servers(self):
        """What the program's processes tell of their servers at this moment; of one that does not answer, nothing."""
        reports, told = self.folder / "reports", []
        for alive in reports.glob("*.alive"):
            answer = reports / alive.stem
            answer.unlink(missing_ok=True)
            with contextlib.suppress(ProcessLookupError):
                end, asked = time.monotonic() + DEADLINE, 0.0
                while not answer.exists() and time.monotonic() < end and self.process.poll() is None:
                    # Again and again: one that comes just before a wait is seen when that ends.
                    if time.monotonic() > asked + 0.5:
                        os.kill(int(alive.stem), signal.SIGUSR2)
                        asked = time.monotonic()
                    time.sleep(0.01)
                with contextlib.suppress(FileNotFoundError):
                    told += ast.literal_eval(answer.read_text())
        return [server for server in told if server["class"].endswith(self.row.server)]

    def wait_for_server(self):
        end = time.monotonic() + DEADLINE
        while True:
            if self.process.poll() is not None:
                raise Broken(f"it ended with {self.process.returncode}:\n{self.said()}")
            found = self.servers()
            if found:
                self.place = Place(found[-1]["port"], self.folder, self.row.tls)
                return
            if time.monotonic() > end:
                raise Broken(f"no server was seen:\n{self.said()}")
            time.sleep(0.05)

    def said(self):
        return (self.folder / "said").read_text(errors="replace")[-6000:]

    def visit(self, what, *arguments):
        """What visit.py gives: see there."""
        done = subprocess.run(
            [self.python, str(HERE / "visit.py"), self.row.name, what, str(self.place.port), str(self.folder), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ_of(),
            timeout=4 * DEADLINE)
        if done.returncode:
            raise Broken(f"{done.stderr.decode(errors='replace')}\nThe program said:\n{self.said()}")
        return done.stdout.decode()


@contextlib.contextmanager
def running(row, mode, folder):
    """Run the row's program in `folder` (pathlib.Path) until the block ends. Gives a Program that has a server."""
    with _process(row, mode, folder) as process:
        it = Program(row, mode, folder, process)
        it.wait_for_server()
        yield it
        # A person's Ctrl-C reaches all of them.
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise Broken(f"it did not end when it was interrupted:\n{it.said()}") from None


def run_once(row, mode, folder):
    """Run a program that ends by itself; what it said. Raises Broken."""
    with _process(row, mode, folder) as process:
        try:
            code = process.wait(4 * DEADLINE)
        except subprocess.TimeoutExpired:
            code = "no end"
    said = (folder / "said").read_text(errors="replace")
    if code != 0:
        raise Broken(f"{code}:\n{said[-6000:]}")
    return said


@contextlib.contextmanager
def _process(row, mode, folder):
    (folder / "reports").mkdir()
    command = command_line(row, mode, folder)
    with open(folder / "said", "wb") as output:
        # Some end with their standard input, so it is one that stays.
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output,
                                   env=environ_of(folder / "reports"), start_new_session=True)
    try:
        yield process
    finally:
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
