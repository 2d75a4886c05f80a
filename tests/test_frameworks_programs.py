"""Programs that start a server themselves, under `turboserver run`: a request is answered, by our server.

Which lane each takes is asserted, so that one that becomes slower, or faster, is seen. Skipped without the environment
of `make frameworks`.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from support import DEADLINE, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "frameworks"))
import asking  # noqa: E402
from asking import Asker, Question  # noqa: E402

PROGRAMS = os.path.join(asking.HERE, "programs")
ADDRESS = re.compile(rb"http://127\.0\.0\.1:([1-9]\d*)")


@pytest.fixture(scope="module", autouse=True)
def environment():
    asking.require_environment()


@contextlib.contextmanager
def program(folder, *arguments, **more):
    """Run `turboserver run ARGUMENTS` in `folder`; gives (the address it tells, a function for its output).

    It is interrupted as by a person, with all that it started, and must end of itself.
    """
    path = os.path.join(folder, "output")
    with open(path, "wb") as output:
        process = subprocess.Popen(
            [asking.PYTHON, "-m", "turboserver", "run", *arguments], cwd=folder, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, env=asking.program_environ(**more), start_new_session=True)

    def said():
        with open(path, "rb") as file:
            return file.read()

    try:
        wait_until(lambda: ADDRESS.search(said()) or process.poll() is not None, "the address")
        assert process.poll() is None, said().decode(errors="replace")
        yield ("127.0.0.1", int(ADDRESS.search(said())[1])), said
        os.killpg(process.pid, signal.SIGINT)
        process.wait(DEADLINE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert b"Exception ignored" not in said(), said().decode(errors="replace")


class NotOurs(AssertionError):
    """A program was served by another server than ours, or in another lane than is expected."""


def assert_is_ours(told, lane):
    """told: what contract.servers() gave for a process with one server."""
    server, = told
    if not any(name.startswith("turboserver.") for name in server["classes"]) or server["lane"] != lane:
        raise NotOurs(server)


def check(address, lane):
    with Asker(address) as visitor:
        assert visitor.ask(Question("GET", "/hello")).body == b"hello"
        assert_is_ours(json.loads(visitor.ask(Question("GET", "/server")).body), lane)
        assert visitor.ask(Question("POST", "/raw", headers=(("Content-Type", "application/octet-stream"),),
                                    body=b"x" * 300_000)).status == 200
        assert visitor.ask(Question("GET", "/nothing/here")).status == 404
        assert visitor.ask(Question("GET", "/hello")).body == b"hello"


# Lane: Django, Werkzeug and bottle have handlers of their own; see the reasons that assert_is_ours shows.
CASES = {
    "bottle.run": (("bottle_run.py",), "reactor"),
    "Pyramid with make_server": (("pyramid_run.py",), "reactor"),
    "Falcon with make_server": (("falcon_run.py",), "reactor"),
    "Django runserver": (("manage.py", "runserver", "--noreload", "127.0.0.1:0"), "blocking"),
    "Django runserver, one thread": (("manage.py", "runserver", "--noreload", "--nothreading", "127.0.0.1:0"),
                                     "blocking"),
    "flask run": (("-m", "flask", "--app", "flask_site", "run", "--port", "0"), "blocking"),
    "flask run, one thread": (("-m", "flask", "--app", "flask_site", "run", "--port", "0", "--without-threads"),
                              "blocking"),
}


def in_programs(arguments):
    return [os.path.join(PROGRAMS, word) if word.endswith(".py") else word for word in arguments]


@pytest.mark.parametrize("case", CASES)
def test_program(case, tmp_path):
    arguments, lane = CASES[case]
    with program(tmp_path, *in_programs(arguments)) as (address, said):
        check(address, lane)


def test_prometheus(tmp_path):
    with program(tmp_path, *in_programs(["prometheus_run.py"])) as (address, said):
        with Asker(address) as visitor:
            for path in ("/metrics", "/", "/metrics?name[]=asked_total"):
                page = visitor.ask(Question("GET", path))
                assert page.status == 200 and b'asked_total{path="/hello"} 3.0' in page.body
            packed = visitor.ask(Question("GET", "/metrics", headers=(("Accept-Encoding", "gzip"),)))
            assert packed.get("Content-Encoding") == "gzip" and packed.body[:2] == b"\x1f\x8b"
            assert visitor.ask(Question("HEAD", "/metrics")).body == b""
            assert visitor.ask(Question("GET", "/favicon.ico")).status == 200
            told = visitor.ask(Question("GET", "/metrics?name[]=server_info")).body.decode()
    label = re.search(r'told="((?:[^"\\]|\\.)*)"', told)[1]
    assert_is_ours(json.loads(label.replace(r"\"", '"').replace(r"\\", "\\")), "reactor")


# ---------------------------------------------------------------- reloaders

def change(path, old, new):
    """Replace text in a file, and let the time of the change differ from the one before."""
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace(old, new))
    later(path)


def later(path):
    os.utime(path, (os.stat(path).st_mtime + 5,) * 2)


def ask_until(address, path, right, nudge=lambda: None):
    """The first body for which `right`; a server that reloads is gone for a moment. nudge: called now and then."""
    found, tries = [], iter(range(1 << 30))

    def is_there():
        if next(tries) % 400 == 399:
            nudge()
        with contextlib.suppress(OSError, EOFError, ValueError):
            with Asker(address) as visitor:
                answer = visitor.ask(Question("GET", path))
            if answer.status == 200 and right(answer.body):
                found.append(answer.body)
        return found

    wait_until(is_there, f"the right answer at {path}", 3 * DEADLINE)
    return found[0]


# Django's reloader starts the serving process from sys.argv, as `python manage.py ...`; Flask's with `turboserver run`.
@pytest.mark.parametrize("which", ["Django", "Flask"])
def test_reloader(which, tmp_path):
    """The program is changed: the same address answers as the changed one, and it is our server as before."""
    site = "django_site" if which == "Django" else "flask_site"
    for name in ("contract.py", site + ".py"):
        shutil.copy(os.path.join(asking.HERE, "sites", name), tmp_path)
    shutil.copy(os.path.join(PROGRAMS, "manage.py"), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = (("manage.py", "runserver", f"127.0.0.1:{port}") if which == "Django" else
                 ("-m", "flask", "--app", site, "run", "--debug", "--port", str(port)))
    source = tmp_path / (site + ".py")
    with program(tmp_path, *arguments, PYTHONPATH=os.pathsep.join([asking.SOURCES, str(tmp_path)])) as (address, said):
        ask_until(address, "/hello", b"hello".__eq__)
        change(source, 'Response("hello"', 'Response("changed"')
        # A reloader that had not yet looked at the file when it was changed sees nothing new in it.
        ask_until(address, "/hello", b"changed".__eq__, lambda: later(source))
        assert_is_ours(json.loads(ask_until(address, "/server", bool)), "blocking")
