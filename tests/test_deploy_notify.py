"""What a service manager hears of `turboserver wsgi` (sd_notify(3)), and the unit of docs/deploy.md that starts it."""
import contextlib
import importlib.util
import os
import shlex
import signal
import socket
import time

import pytest

from deployed import APPLICATION, deployed, under_way
from docs.blocks import blocks
from support import DEADLINE
from turboserver.deploy.notify import Notifier


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site_app.py").write_text(APPLICATION)
    return tmp_path


class Manager:
    """The other end: `variables` is what to start with, hear() the next message as a dict."""

    def __init__(self, sock):
        self._sock = sock
        name = sock.getsockname()
        self.variables = {"NOTIFY_SOCKET": "@" + name[1:].decode() if isinstance(name, bytes) else name}

    def hear(self):
        return dict(line.split("=", 1) for line in self._sock.recv(65536).decode().split("\n"))


@contextlib.contextmanager
def manager(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.bind(address)
        yield Manager(sock)


@pytest.fixture
def listening(tmp_path):
    with manager(str(tmp_path / "n")) as found:
        yield found


# ---------------------------------------------------------------- the messages

def test_messages(listening):
    notifier = Notifier(listening.variables["NOTIFY_SOCKET"])
    notifier.ready("it serves")
    assert listening.hear() == {"READY": "1", "STATUS": "it serves"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    heard = listening.hear()
    assert heard["RELOADING"] == "1" and heard["STATUS"]
    assert before <= int(heard["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.status("\udcff")
    assert listening.hear() == {"STATUS": "\\udcff"}
    notifier.stopping()
    assert listening.hear()["STOPPING"] == "1"


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="abstract names are Linux's")
def test_an_abstract_name():
    with manager(f"\0turboserver-test-{os.getpid()}") as found:
        assert found.variables["NOTIFY_SOCKET"].startswith("@")
        Notifier(found.variables["NOTIFY_SOCKET"]).status("it serves")
        assert found.hear() == {"STATUS": "it serves"}


def test_a_status_is_one_line(listening):
    """Or an application's exception would set variables."""
    Notifier(listening.variables["NOTIFY_SOCKET"]).status("no\nMAINPID=1\r\nBUSERROR=x")
    assert listening.hear() == {"STATUS": "no MAINPID=1 BUSERROR=x"}


@pytest.mark.parametrize("address", [None, "", "/nothing/there", "@", "x" * 200, "a\0b"])
def test_nobody_listens(address):
    Notifier(address).ready("it serves")


def test_a_manager_that_does_not_read_is_not_waited_for_long(tmp_path):
    with manager(str(tmp_path / "n")) as deaf:
        notifier = Notifier(deaf.variables["NOTIFY_SOCKET"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(BlockingIOError):
            sock.setblocking(False)
            while True:
                sock.sendto(b"x", str(tmp_path / "n"))
        began = time.monotonic()
        notifier.stopping()
        assert time.monotonic() - began < DEADLINE


def test_the_variable_is_for_nobody_else(monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/x")
    assert Notifier.from_environment()._address == "/x"
    assert "NOTIFY_SOCKET" not in os.environ and Notifier.from_environment()._address is None


# ---------------------------------------------------------------- the life of a service

@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_ready_and_stopping(folder, listening, workers):
    with deployed("site_app:app", "-p", "0", *workers, cwd=folder, environ=listening.variables) as server:
        heard = listening.hear()
        assert heard["READY"] == "1"
        server.ready()      # it was said before
        assert heard["STATUS"] in server.lines[0] and "NOTIFY_SOCKET" not in server.get("/environ")
        with under_way(server, folder):
            server.send(signal.SIGTERM)
            assert listening.hear()["STOPPING"] == "1"
        assert server.wait() == 0


def test_it_is_not_ready_before_its_application_is(folder, listening):
    (folder / "broken.py").write_text("raise ValueError('no')\n")
    with deployed("broken:app", "-p", "0", "--workers", "1", cwd=folder, environ=listening.variables) as server:
        assert server.wait() == 1
        assert "READY" not in listening.hear()


def test_reloading(folder, listening):
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder, environ=listening.variables) as server:
        assert listening.hear()["READY"] == "1"
        for source, status in ((APPLICATION, "2 workers, reloaded"), ("raise ValueError('no')\n", "not reloaded: ")):
            (folder / "site_app.py").write_text(source)
            asked = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            server.send(signal.SIGHUP)
            heard = listening.hear()
            assert heard["RELOADING"] == "1" and int(heard["MONOTONIC_USEC"]) >= asked
            heard = listening.hear()
            assert heard["READY"] == "1" and heard["STATUS"].startswith(status)
        server.send(signal.SIGTTIN)
        assert listening.hear() == {"STATUS": "3 workers"}
        assert server.stop() == 0


@pytest.mark.skipif(importlib.util.find_spec("watchfiles") is None, reason="watchfiles is not installed")
def test_reloading_where_files_are_watched(folder, listening):
    with deployed("site_app:app", "-p", "0", "--reload", cwd=folder, environ=listening.variables) as server:
        assert listening.hear()["READY"] == "1"
        server.send(signal.SIGHUP)
        assert listening.hear()["RELOADING"] == "1"
        assert listening.hear() == {"READY": "1", "STATUS": "1 worker, reloaded"}
        assert server.stop() == 0


# ---------------------------------------------------------------- docs/deploy.md

def unit():
    """The unit that is shown for a proxy on the same machine: a list of lines."""
    block = next(block for block in blocks("docs/deploy.md") if block.name == "behind.service")
    return block.text.splitlines()


def setting(name):
    return next(line.partition("=")[2] for line in unit() if line.startswith(name + "="))


def test_the_unit_of_the_documents(folder, tmp_path, listening):
    """What it starts becomes ready, reloads by its signal, and ends by SIGTERM."""
    assert setting("Type") == "notify" and setting("ExecReload").endswith(f"kill -{signal.SIGHUP.name[3:]} $MAINPID")
    program, command, target, *arguments = shlex.split(setting("ExecStart"))
    assert program.endswith("/turboserver") and command == "wsgi" and target == "package.module:app"
    assert "unix:/run/app/app.sock" in arguments and setting("RuntimeDirectory") == "app"
    arguments = [word.replace("/run/app", str(tmp_path)) for word in arguments]
    with deployed("site_app:app", *arguments, cwd=folder, environ=listening.variables) as server:
        assert listening.hear()["READY"] == "1"
        server.send(signal.SIGHUP)
        assert listening.hear()["RELOADING"] == "1"
        assert listening.hear()["READY"] == "1"
        assert server.ready().get("/version") == "one"
        assert server.stop() == 0
