"""The short form of attacks.py: what slow connections by the hundred may and may not bring about.

Nothing here is about how fast an answer is, only that every one comes, and that all is given back in time.
"""
import pytest

import attacks
from stress import processes
from turboserver.http.server import BaseHTTPRequestHandler

USABLE = processes.USABLE and hasattr(BaseHTTPRequestHandler, "turbo_head_timeout")
pytestmark = [pytest.mark.skipif(not USABLE, reason="needs the deadlines of the native engine, /proc and epoll"),
              pytest.mark.limit(240)]

COUNT = 300
DEADLINES = {"head": 1.5, "body": 1.5, "write": 1.5, "rate_after": 1.0, "idle": 2.0, "drain": 1.0}

#: Those during which no handler runs, so that they need no thread in the reactor lane.
WITHOUT_HANDLER = ["slow-head", "slow-body", "slow-read-plain-13", "idle", "kept"]


def attack(kind, **options):
    result = attacks.attack(kind, count=COUNT, seconds=0.3, pace=0.3, deadlines=DEADLINES, every=0.1,
                            **{"threads_go": 0, **options})
    assert not result.problems, result.report()
    assert result.connected == COUNT, result.report()
    return result


@pytest.mark.parametrize("kind", WITHOUT_HANDLER)
def test_slow_connections_cost_no_thread(kind):
    result = attack(kind)
    assert max(phase.peak.threads for phase in result.phases.values()) < 20, result.report()


@pytest.mark.parametrize("kind", [kind for kind in attacks.ATTACKS if kind not in WITHOUT_HANDLER])
def test_connections_that_hold_a_handler_are_ended(kind):
    attack(kind, threads_go=attacks.THREADS_GO if kind == "slow-long-body" else 0)


@pytest.mark.parametrize("kind", ["slow-head", "slow-body", "slow-read-many-4194304", "idle"])
def test_the_deadlines_are_those_of_every_lane(kind):
    attack(kind, lane="blocking")


@pytest.mark.parametrize("kind", ["slow-head", "idle", "kept"])
def test_one_thread_for_all(kind):
    attack(kind, server="single")
