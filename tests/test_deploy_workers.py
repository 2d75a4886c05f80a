"""`turboserver wsgi --workers N`: who looks after whom, and what is lost (nothing but what a killed worker had in hand)."""
import contextlib
import json
import os
import re
import signal
import socket
import time

import pytest

from deployed import APPLICATION, Load, children, deployed, gone, hanging, pids, under_way
from support import wait_until


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site_app.py").write_text(APPLICATION)
    return tmp_path


SHARING = [pytest.param([], id="shared"),
           pytest.param(["--reuse-port"], id="reuse_port",
                        marks=pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here"))]


@pytest.mark.parametrize("sharing", SHARING)
def test_workers_serve_and_end(folder, sharing):
    with deployed("site_app:app", "-p", "0", "--workers", "2", *sharing, cwd=folder) as server:
        server.ready()
        assert server.lines[0].endswith(f"/ (2 workers, pid {server.process.pid})")
        if sharing:         # the kernel deals connections out
            assert len(pids(server, 2)) == 2
        assert server.process.pid not in pids(server, 1)
        assert json.loads(server.get("/environ"))["wsgi.multiprocess"] is True
        assert server.stop() == 0
        assert len(server.lines) == 1, server.lines


def test_one_worker_is_no_multiprocess(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        assert json.loads(server.ready().get("/environ"))["wsgi.multiprocess"] is False
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("sharing", SHARING)
def test_a_worker_killed_under_load_loses_what_it_had_in_hand(folder, sharing):
    with deployed("site_app:app", "-p", "0", "--workers", "2", *sharing, cwd=folder) as server:
        server.ready()
        with Load(server.addresses[0], "/pid") as load:
            for _ in range(3):
                load.more()
                victim = int(load.answers[-1])
                wait_until(lambda: not gone(victim))
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda: server.said(f"worker {victim} was ended by SIGKILL; another one starts"))
            load.more()
        assert len(load.failures) <= 3 * 3, load.failures     # at most what each client had under way
        assert server.stop() == 0


def test_all_workers_die_and_come_back(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "2", "--reuse-port", cwd=folder) as server:
        first = pids(server.ready(), 2)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(gone(pid) for pid in first))
        assert not pids(server, 2) & first
        assert server.stop() == 0


def test_one_that_dies_at_once_is_replaced_later_and_later(folder):
    (folder / "short.py").write_text("import os\ndef app(environ, start_response):\n    os._exit(7)\n")
    with deployed("short:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        server.ready()
        times = []

        def counted():
            with contextlib.suppress(OSError, EOFError):
                server.get("/")
            count = sum("ended with exit code 7; another one starts" in line for line in server.lines)
            times.extend([time.monotonic()] * (count - len(times)))
            return count >= 4
        wait_until(counted, "four deaths")
        # 0, 0.1, 0.2 seconds at the least between them, whatever the machine does.
        assert times[3] - times[0] > 0.25
        assert server.stop() == 0


def test_a_worker_that_cannot_boot_is_said_once_at_the_start(folder):
    (folder / "broken.py").write_text("raise ValueError('no')\n")
    with deployed("broken:app", "--unix", "s", "--workers", "3", cwd=folder) as server:
        assert server.wait() == 1
        assert len(server.lines) == 1 and "cannot import broken: ValueError: no" in server.lines[0], server.lines
    assert not (folder / "s").exists()


def test_a_worker_that_crashes_as_it_boots(folder):
    (folder / "broken.py").write_text("import os\nos.abort()\n")
    with deployed("broken:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        assert server.wait() == 1
        assert re.fullmatch(r"turboserver: worker \d+ was ended by SIGABRT before it served", server.lines[-1])


def test_one_that_cannot_boot_later_is_tried_again(folder):
    """The file is broken for a while: what serves is not given up."""
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        pid = int(server.ready().get("/pid"))
        (folder / "site_app.py").write_text("raise ValueError('no')\n")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.said("ValueError: no"))
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        assert server.get("/version") == "two"
        assert server.stop() == 0


# ---------------------------------------------------------------- the end

def test_what_is_under_way_is_answered(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder) as server:
        with under_way(server.ready(), folder):
            server.send(signal.SIGTERM)
            server.wait_for_refusal()
        assert server.wait() == 0


def test_a_handler_that_hangs_does_not_keep_them(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "1", "--graceful-timeout", "0.2", cwd=folder) as server:
        with hanging(server.ready(), folder):
            assert server.stop() == 0


def test_a_worker_that_is_stopped_is_killed(folder):
    """It does not run, so it can neither drain nor end itself."""
    with deployed("site_app:app", "-p", "0", "--workers", "1", "--graceful-timeout", "0", cwd=folder) as server:
        pid = int(server.ready().get("/pid"))
        os.kill(pid, signal.SIGSTOP)
        assert server.stop() == 0
        assert gone(pid)


def test_interrupted_twice_they_end_at_once(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        with hanging(server.ready(), folder):
            server.send(signal.SIGINT)
            server.wait_for_refusal()
            assert server.stop(signal.SIGINT) == 0


def test_a_terminals_interrupt_reaches_all_and_each_answers(folder):
    """Ctrl-C is for the whole process group; the workers leave it to the master."""
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder, start_new_session=True) as server:
        with under_way(server.ready(), folder):
            os.killpg(server.process.pid, signal.SIGINT)
        assert server.wait() == 0
        assert len(server.lines) == 1, server.lines


def test_workers_end_when_their_master_has_died(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "2", "--reuse-port", cwd=folder) as server:
        workers = pids(server.ready(), 2)
        with under_way(server, folder):
            server.send(signal.SIGKILL)
        wait_until(lambda: all(gone(pid) for pid in workers), "the end of the workers")


def test_a_worker_told_to_end_by_somebody_else_drains_and_is_replaced(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        first = int(server.ready().get("/pid"))
        with under_way(server, folder):
            os.kill(first, signal.SIGTERM)
        # Without the engine it looks only twice a second whether it is to end, and takes connections meanwhile.
        wait_until(lambda: int(server.get("/pid")) != first, "its successor")
        assert server.said(f"worker {first} ended with exit code 0; another one starts")
        assert server.stop() == 0


def test_the_shared_socket_stays_non_blocking(folder):
    """Whoever ends: else another worker would wait in accept() for a connection that a third one has taken."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        number = sock.fileno()
        with deployed("site_app:app", "-b", f"fd://{number}", "--workers", "2", cwd=folder, pass_fds=[number]) as server:
            first = set(children(server.ready().process.pid))
            assert not os.get_blocking(number)
            for pid in first:
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: gone(pid))
                assert not os.get_blocking(number)
            wait_until(lambda: len(set(children(server.process.pid)) - first) == 2)
            server.send(signal.SIGHUP)
            wait_until(lambda: server.said("reloaded"))
            assert server.get("/version") == "one" and server.stop() == 0
            assert not os.get_blocking(number)


# ---------------------------------------------------------------- reloading

@pytest.mark.parametrize("sharing", SHARING)
def test_reload_brings_new_code_and_loses_nothing(folder, sharing):
    with deployed("site_app:app", "-p", "0", "--workers", "2", *sharing, cwd=folder) as server:
        server.ready()
        with Load(server.addresses[0]) as load:
            load.more()
            assert set(load.answers) == {"one"}
            (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
            server.send(signal.SIGHUP)
            wait_until(lambda: server.said("reloaded"))
            wait_until(lambda: "two" in load.answers)
            wait_until(lambda: set(load.answers[-10:]) == {"two"})
            load.more()
        assert load.failures == []
        assert server.stop() == 0


def test_during_a_reload_what_is_under_way_is_answered(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        with under_way(server.ready(), folder):
            old = int(server.get("/pid"))
            server.send(signal.SIGHUP)
            wait_until(lambda: server.said("reloaded"))
            wait_until(lambda: int(server.get("/pid")) != old)
        wait_until(lambda: gone(old))
        assert server.stop() == 0


def test_a_reload_that_cannot_be_leaves_all_as_it_is(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder) as server:
        old = int(server.ready().get("/pid"))
        (folder / "site_app.py").write_text("import nonsense_that_is_not_there\n")
        server.send(signal.SIGHUP)
        wait_until(lambda: server.said("not reloaded: cannot import site_app: ModuleNotFoundError"))
        assert server.get("/version") == "one" and not gone(old)
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.send(signal.SIGHUP)
        wait_until(lambda: server.get("/version") == "two")
        assert server.stop() == 0
        assert sum("not reloaded" in line for line in server.lines) == 1, server.lines


def test_a_second_reload_takes_the_place_of_the_first(folder):
    """Which hangs in its import."""
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        server.ready()
        (folder / "site_app.py").write_text("open('importing', 'w').close()\nimport time\ntime.sleep(600)\n")
        server.send(signal.SIGHUP)
        wait_until((folder / "importing").exists, "the import")
        assert server.get("/version") == "one"
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.send(signal.SIGHUP)
        wait_until(lambda: server.get("/version") == "two")
        wait_until(lambda: len(children(server.process.pid)) == 1)
        assert server.stop() == 0


def test_signals_at_any_moment(folder):
    """Reloads on top of each other and deaths among them: it serves, and it ends."""
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder) as server:
        server.ready()
        for number in range(12):
            server.send(signal.SIGHUP)
            if number % 3 == 0:
                for pid in children(server.process.pid)[:1]:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02 * (number % 4))
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.send(signal.SIGHUP)
        wait_until(lambda: server.get("/version") == "two")
        wait_until(lambda: len(children(server.process.pid)) == 2, "as many workers as were asked for")
        server.send(signal.SIGHUP)
        assert server.stop() == 0


def test_told_to_end_as_it_starts(folder):
    for pause in (0.0, 0.05, 0.1, 0.2, 0.3):
        with deployed("site_app:app", "--unix", "s", "--workers", "2", cwd=folder) as server:
            wait_until((folder / "s").exists, "the socket")
            time.sleep(pause)
            assert server.stop() == 0
            wait_until(lambda: not (folder / "s").exists())


def test_a_worker_that_cannot_be_forked_is_tried_again(folder):
    """With no process to be had at first: the master says so, and comes back to it."""
    (folder / "unforked.py").write_text("""
import errno, os, sys
from turboserver.deploy import workers
fork, left = workers._fork, [2]

def fail():
    if left[0]:
        left[0] -= 1
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

workers._fork, workers._LONGEST_DELAY = fail, 0.05
""")
    (folder / "sitecustomize.py").write_text("import unforked\n")
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder,
                  environ={"PYTHONPATH": str(folder)}) as server:
        server.ready()
        assert server.lines[:2] == ["turboserver: cannot start a worker: Resource temporarily unavailable"] * 2
        assert server.get("/version") == "one"
        assert server.stop() == 0
