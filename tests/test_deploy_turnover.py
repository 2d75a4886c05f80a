"""`turboserver wsgi` with workers that come and go while it serves: --max-requests, and SIGTTIN and SIGTTOU."""
import json
import os
import signal
import socket

import pytest

from deployed import APPLICATION, Load, children, deployed, gone, pids, stop_here, under_way
from support import wait_until
from turboserver.deploy.serve import _Counted


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site_app.py").write_text(APPLICATION)
    return tmp_path


def workers(server, count):
    """Wait until the master has so many children; they are returned."""
    found = []

    def reached():
        found[:] = children(server.process.pid)
        return len(found) == count
    wait_until(reached, f"{count} workers")
    return set(found)


# ---------------------------------------------------------------- --max-requests

def test_it_is_the_last_request_that_is_told_of():
    told, asked = [], []
    counted = _Counted(lambda environ, start_response: asked.append(environ) or len(told), 3, lambda: told.append(1))
    assert [counted(number, None) for number in range(5)] == [0, 0, 1, 1, 1] and asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [[], ["--workers", "1"]], ids=["alone", "workers"])
def test_a_worker_that_has_answered_enough_is_replaced(folder, count):
    """And not before; without --workers there is a master all the same."""
    with deployed("site_app:app", "-p", "0", "--max-requests", "5", *count, cwd=folder) as server:
        first, = pids(server.ready(), 1)
        assert first != server.process.pid
        assert {server.get("/pid") for _ in range(3)} == {str(first)}
        assert children(server.process.pid) == [first]
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.get("/pid")      # the fifth
        wait_until(lambda: gone(first), "the end of the first worker")
        assert server.get("/version") == "two"
        assert server.stop() == 0
        assert len(server.lines) == 1, server.lines      # which is nothing to complain of


@pytest.mark.parametrize("threads", [[], ["--threads", "1"]], ids=["threads", "none"])
def test_nothing_is_lost_when_they_are_replaced(folder, threads):
    with deployed("site_app:app", "-p", "0", "--workers", "2", "--max-requests", "30", "--max-requests-jitter", "10",
                  *threads, cwd=folder) as server:
        with Load(server.ready().addresses[0], "/pid") as load:
            wait_until(lambda: len(set(load.answers)) >= 6, "six workers")
        assert load.failures == []
        assert server.stop() == 0


def test_one_that_has_answered_enough_answers_what_is_under_way(folder):
    with deployed("site_app:app", "-p", "0", "--max-requests", "3", cwd=folder) as server:
        with under_way(server.ready(), folder):
            first = server.get("/pid")
            server.get("/pid")
            wait_until(lambda: server.get("/pid") != first, "another worker")
            assert not gone(int(first))
        wait_until(lambda: gone(int(first)))
        assert server.stop() == 0


def test_one_goes_on_until_its_successor_serves(folder):
    """Which cannot be imported for a while."""
    with deployed("site_app:app", "-p", "0", "--max-requests", "3", cwd=folder) as server:
        first = server.ready().get("/pid")
        (folder / "site_app.py").write_text("raise ValueError('no')\n")
        for _ in range(5):
            assert server.get("/pid") == first
        wait_until(lambda: server.said("ValueError: no"))
        assert server.get("/pid") == first
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        wait_until(lambda: server.get("/version") == "two")
        wait_until(lambda: gone(int(first)))
        assert server.stop() == 0


def test_one_that_waits_for_its_successor_ends_with_the_others(folder):
    with deployed("site_app:app", "-p", "0", "--max-requests", "2", cwd=folder) as server:
        first = int(server.ready().get("/pid"))
        (folder / "site_app.py").write_text("open('importing', 'w').close()\nimport time\ntime.sleep(600)\n")
        server.get("/pid")
        wait_until((folder / "importing").exists, "the import")
        assert server.stop() == 0
        assert gone(first)


def test_jitter(folder):
    """Up to so many more: of a milliard, not one of the first twenty."""
    with deployed("site_app:app", "-p", "0", "--max-requests", "1", "--max-requests-jitter", "1000000000",
                  cwd=folder) as server:
        first, = pids(server.ready(), 1)
        assert {server.get("/pid") for _ in range(20)} == {str(first)}
        assert server.stop() == 0


# ---------------------------------------------------------------- SIGTTIN and SIGTTOU

def test_one_worker_more_and_one_fewer(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder) as server:
        first = workers(server.ready(), 2)
        for more in (3, 4):
            server.send(signal.SIGTTIN)
            wait_until(lambda: server.said(f"turboserver: {more} workers"))
        assert first < workers(server, 4)
        for left in (3, 2, 1):
            server.send(signal.SIGTTOU)
            workers(server, left)
        assert workers(server, 1) < first
        assert server.get("/version") == "one"
        server.send(signal.SIGTTOU)
        wait_until(lambda: server.said("turboserver: no fewer than 1 worker"))
        assert server.get("/version") == "one" and len(workers(server, 1)) == 1
        assert server.stop() == 0


def test_the_one_that_is_too_many_answers_what_is_under_way(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder) as server:
        first = workers(server.ready(), 2)
        server.send(signal.SIGTTIN)
        third, = workers(server, 3) - first
        pids(server, 3)
        stop_here(first)        # so that the request is the third one's
        with under_way(server, folder):
            server.send(signal.SIGTTOU)
            wait_until(lambda: server.said("turboserver: 2 workers"))
            for pid in first:
                os.kill(pid, signal.SIGCONT)
            assert int(server.get("/pid")) in first and not gone(third)
        assert workers(server, 2) == first
        assert server.stop() == 0


def test_a_worker_more_knows_that_it_is_one_of_several(folder):
    """And the one that was the only one does not go on saying so."""
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        first, = workers(server.ready(), 1)
        assert json.loads(server.get("/environ"))["wsgi.multiprocess"] is False
        server.send(signal.SIGTTIN)
        wait_until(lambda: gone(first))
        workers(server, 2)
        assert {json.loads(server.get("/environ"))["wsgi.multiprocess"] for _ in range(10)} == {True}
        assert server.stop() == 0


def test_one_worker_more_during_a_reload(folder):
    """Which begins anew, with as many as there are to be."""
    with deployed("site_app:app", "-p", "0", "--workers", "2", cwd=folder) as server:
        old = workers(server.ready(), 2)
        (folder / "site_app.py").write_text("open('importing', 'w').close()\nimport time\ntime.sleep(600)\n")
        server.send(signal.SIGHUP)
        wait_until((folder / "importing").exists, "the import")
        (folder / "site_app.py").write_text(APPLICATION.replace('"one"', '"two"'))
        server.send(signal.SIGTTIN)
        wait_until(lambda: server.said("turboserver: reloaded"))
        assert not workers(server, 3) & old
        assert {server.get("/version") for _ in range(10)} == {"two"}
        server.send(signal.SIGHUP)
        server.send(signal.SIGTTOU)
        wait_until(lambda: sum("turboserver: reloaded" in line for line in server.lines) == 2)
        workers(server, 2)
        assert server.stop() == 0


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")
def test_who_has_a_socket_of_its_own_stays(folder):
    """Nobody else would accept what the kernel deals out to that."""
    with deployed("site_app:app", "-p", "0", "--workers", "2", "--reuse-port", cwd=folder) as server:
        first = workers(server.ready(), 2)
        server.send(signal.SIGTTOU)
        wait_until(lambda: server.said("turboserver: no fewer than 2 workers"))
        server.send(signal.SIGTTIN)
        assert first < workers(server, 3)
        server.send(signal.SIGTTOU)
        assert workers(server, 2) == first
        assert pids(server, 2) == first
        assert server.stop() == 0


def test_told_to_end_it_takes_no_worker_more(folder):
    with deployed("site_app:app", "-p", "0", "--workers", "1", cwd=folder) as server:
        with under_way(server.ready(), folder):
            server.send(signal.SIGTERM)
            server.wait_for_refusal()
            server.send(signal.SIGTTIN)
            server.send(signal.SIGTTOU)
        assert server.wait() == 0
        assert len(server.lines) == 1, server.lines
