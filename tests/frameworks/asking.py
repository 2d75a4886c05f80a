"""Starting an application of sites/ on both servers, asking both, and what of two answers must be equal.

Runs in the environment of the tests; the applications run in that of `make frameworks`, in processes of their own.
What may differ between the servers: Date, Server, and all that HTTP says about framing and the connection (the
standard library's answers are HTTP/1.0 and end with the connection). What may differ between any two requests, as
ports and signatures with a time in them, is masked.
"""
import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

import turboserver
from support import DEADLINE, Client

HERE = os.path.dirname(os.path.abspath(__file__))
ENVIRONMENT = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "frameworks")
PYTHON = os.path.join(ENVIRONMENT, "bin", "python")
#: The source tree of the turboserver under test, which is not installed in that environment.
SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(turboserver.__file__)))
SERVERS = ("stdlib", "turboserver")
BOTH_MAY_DIFFER = {"date", "server", "connection", "keep-alive", "transfer-encoding", "content-length"}


def require_environment():
    """Skip unless the packages are there, for the Python that runs the tests (the native engine is built for one)."""
    if not os.path.exists(os.path.join(ENVIRONMENT, ".ready")):
        pytest.skip("no build/frameworks: `make frameworks` makes it, where PyPI can be reached")
    with open(os.path.join(ENVIRONMENT, "pyvenv.cfg")) as file:
        version = re.search(r"^version\s*=\s*(\d+\.\d+)", file.read(), re.M)[1]
    if version != "%d.%d" % sys.version_info[:2]:
        pytest.skip(f"build/frameworks is for Python {version}")


def program_environ(**more):
    """os.environ for a program that runs in the environment of the frameworks."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("PYTEST_", "TURBOSERVER_", "DJANGO_", "FLASK_"))}
    return {**inherited, "PYTHONPATH": os.pathsep.join([SOURCES, HERE, os.path.join(HERE, "sites")]),
            "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "", **more}


class Subject:
    """A running subject.py: `ports` by server, `lane` and `reasons` of ours; `errors()` is its stderr so far."""

    def __init__(self, process, told, stderr):
        self.ports = {name: told[name] for name in SERVERS}
        self.lane, self.reasons = told["lane"], told["reasons"]
        self._process, self._stderr = process, stderr

    def address(self, server="turboserver"):
        return "127.0.0.1", self.ports[server]

    def errors(self):
        with open(self._stderr.name, errors="replace") as file:
            return file.read()


@contextlib.contextmanager
def subject(target, folder):
    """Run `target` (SITE or SITE:NAME) until the block ends; it must end well. stderr goes into `folder`."""
    with open(os.path.join(folder, target.replace(":", "-") + ".stderr"), "w") as stderr:
        process = subprocess.Popen([PYTHON, os.path.join(HERE, "subject.py"), target], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=stderr, env=program_environ(), cwd=folder)
        try:
            line = process.stdout.readline()
            made = Subject(process, json.loads(line), stderr) if line else None
            if made is None:
                process.wait(DEADLINE)
                with open(stderr.name) as file:
                    pytest.fail(f"{target} did not start:\n{file.read()}")
            yield made
            process.stdin.close()
            assert process.wait(DEADLINE) == 0, made.errors()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                pipe.close()


# ---------------------------------------------------------------- questions

@dataclasses.dataclass
class Question:
    """A request, and what a right answer to it looks like whatever the server: `check(response)` asserts it."""
    method: str
    path: str
    check: object = None
    headers: tuple = ()
    body: bytes = None

    def __str__(self):
        return f"{self.method} {self.path[:60]}"

    def encoded(self):
        """The request as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: site.example:8080"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


class Asker:
    """Asks on one connection for as long as the server keeps it, and then on another."""

    def __init__(self, address):
        self.address, self.client, self.connections = address, None, 0

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._close()

    def _close(self):
        if self.client is not None:
            self.client.close()
            self.client = None

    def ask(self, question):
        """The Response to `question` (support.Response)."""
        if self.client is None:
            self.client = Client(self.address)
            self.connections += 1
        self.client.send(question.encoded())
        response = self.client.read(question.method)
        if ends_the_connection(response):
            # HEAD of a server that answers it with a body: what follows the head is no part of it.
            if question.method != "HEAD":
                assert self.client.at_eof(), "bytes behind the answer"
            self._close()
        return response


def ends_the_connection(response):
    return response.version == "HTTP/1.0" or (response.get("Connection") or "").lower() == "close"


# ---------------------------------------------------------------- answers

_MASKS = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"(expires=)[A-Za-z]{3}, [^;\"]+", r"\1(time)"),
    # Signed cookies and validators with a time or something random in them.
    (r"((?:session|sessionid|beaker|swab)=)[^;]+", r"\1(signed)"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:(port)"),
)]


def masked(text):
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def comparable(response):
    """What of `response` is the application's: status, reason, fields in their order, body."""
    fields = [(name, masked(value)) for name, value in response.headers if name.lower() not in BOTH_MAY_DIFFER]
    return response.status, response.reason, fields, response.body


def check_framing(question, response):
    """What HTTP asks of every answer; read() has already held the body to the length or the chunks told."""
    names = [name.lower() for name, _ in response.headers]
    for name in ("content-length", "transfer-encoding", "date", "server", "connection"):
        assert names.count(name) <= 1, f"{question}: {name} more than once"
    assert not {"content-length", "transfer-encoding"} <= set(names), f"{question}: two lengths"
    assert "date" in names, f"{question}: no Date"
    if response.status in (204, 304):
        assert "transfer-encoding" not in names and response.body == b""
        # What a 304 tells is the length that the whole would have. wsgiref.handlers, in the slower lane, tells 0.
        assert response.status == 304 or response.version == "HTTP/1.0" or "content-length" not in names, (
            f"{question}: a length with a 204")


def assert_equal_answers(question, theirs, ours):
    """Fail unless both are the same answer of the application, and ours is sound."""
    check_framing(question, ours)
    assert comparable(ours) == comparable(theirs), f"{question}: not the same answer"
    lengths = [response.get("Content-Length") for response in (theirs, ours)]
    if None not in lengths and question.method != "HEAD":
        assert lengths[0] == lengths[1], f"{question}: Content-Length {lengths}"
    if question.check is not None:
        for response in (theirs, ours):
            question.check(response)
