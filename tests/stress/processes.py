"""Programs of this folder as child processes: started, asked, watched from outside, and stopped whatever happens.

A child reads commands, one a line, from its standard input and answers each with one line of JSON; it ends when
that input does, so none outlives the one who started it. What the kernel knows of a process is read from /proc.
Nothing here knows what the children do, nor pytest.
"""
import contextlib
import dataclasses
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent

#: Seconds for a child to begin, to answer, and to end.
PATIENCE = 60.0

#: Whether this system shows what is asked of it here.
USABLE = os.path.isdir("/proc/self/fd") and hasattr(select, "epoll")

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def raise_limit():
    """As many descriptors as this process may have. Returns how many that are."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclasses.dataclass
class Usage:
    """What a process has at a moment."""
    cpu: float          # seconds, with those of children that have been waited for
    rss: int            # octets
    threads: int
    descriptors: int
    children: int

    def __str__(self):
        return (f"{self.rss / 2**20:.1f} MiB, {self.threads} threads, {self.descriptors} descriptors, "
                f"{self.children} children, {self.cpu:.1f} s CPU")


def usage(pid):
    """Usage of the process `pid`."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    children = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
            children += len(file.read().split())
    return Usage(sum(map(int, fields[11:15])) / TICKS, int(fields[21]) * PAGE, int(fields[17]),
                 len(os.listdir(f"/proc/{pid}/fd")), children)


class Failed(Exception):
    """A child ended, or did not answer."""


class Child:
    """`python -m module` with `options`, which it gets as JSON; a context manager. ready: its first answer."""

    def __init__(self, module, environment=None, **options):
        self.module = module
        path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.stderr, env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(path)})
        self.pid = self.process.pid
        try:
            self.ready = self.answer()
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()

    def ask(self, command, patience=PATIENCE):
        """Send a command and return its answer."""
        self.tell(command)
        return self.answer(patience)

    def tell(self, command):
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.module} has ended: {self.complaints()}") from None

    def answer(self, patience=PATIENCE):
        """The next answer: one line, which a child writes in one piece."""
        if not select.select([self.process.stdout], [], [], patience)[0]:
            raise Failed(f"{self.module} has not answered for {patience:.0f} s: {self.complaints()}")
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.module} has ended: {self.complaints()}")
        return json.loads(line)

    def answered(self):
        """Whether an answer can be had without waiting."""
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def usage(self):
        try:
            return usage(self.pid)
        except OSError as error:
            raise Failed(f"{self.module} has ended: {error}; {self.complaints()}") from None

    def complaints(self):
        """The last of what it has written to standard error."""
        end = os.fstat(self.stderr.fileno()).st_size
        return os.pread(self.stderr.fileno(), 4000, max(0, end - 4000)).decode(errors="replace").strip()

    def stop(self, patience=PATIENCE):
        """Have it end by itself. (its last answer, its exit status, the seconds that took)"""
        began = time.monotonic()
        last = self.ask("stop", patience)
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.module} does not end: {self.complaints()}") from None
        return last, status, time.monotonic() - began

    def kill(self):
        """End it, and the children it may have, by their ids."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{self.pid}/task"):
                    with open(f"/proc/{self.pid}/task/{task}/children") as file:
                        for child in file.read().split():
                            os.kill(int(child), signal.SIGKILL)
            self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.stderr):
            with contextlib.suppress(OSError):
                file.close()


def say(**answer):
    """In a child: answer with one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
