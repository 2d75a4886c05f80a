"""Which threads wait for their turn (csrc/patience.h): those in handlers that wait, while they are many."""
import os
import threading

import pytest

from concurrency import base, gate, hold, threading_server  # noqa: F401  (fixtures)
from support import DEADLINE, Client, fetch, respond, serving

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="needs Linux's SCHED_BATCH")
MANY = 8


def policy():
    """That of the calling thread, as the kernel has it."""
    return os.sched_getscheduler(0)


@pytest.fixture
def handler(base, gate):
    class Handler(base):
        policies = []

        def do_GET(self):
            respond(self, str(policy()).encode())

        def do_HOLD(self):
            self.policies.append(policy())
            gate.entered.release()
            gate.wait(DEADLINE)
            respond(self, b"held")

    return Handler


def hold_all(clients, gate):
    gate.clear()
    for client in clients:
        hold(client, gate)
    gate.set()
    for client in clients:
        assert client.read().body == b"held"


def test_many_that_wait_are_patient_and_a_leader_is_not(threading_server, handler, gate):
    usual = policy()
    with serving(threading_server(("127.0.0.1", 0), handler)) as server:
        clients = [Client(server) for unused in range(MANY)]
        try:
            hold_all(clients, gate)     # the route is learnt
            handler.policies.clear()
            hold_all(clients, gate)
            assert os.SCHED_BATCH in handler.policies
            # Each of these comes out of the poller.
            assert {int(fetch(server).body) for unused in range(5)} == {os.SCHED_OTHER}
        finally:
            for client in clients:
                client.close()
    assert policy() == usual, "the program's own threads are left alone"


def test_few_are_not(threading_server, handler, gate):
    with serving(threading_server(("127.0.0.1", 0), handler)) as server, Client(server) as client:
        for unused in range(4):
            hold_all([client], gate)
    assert set(handler.policies) == {os.SCHED_OTHER}


def test_threads_of_the_blocking_lane(threading_server, base, gate):
    seen = []

    class Blocking(base):
        def handle_one_request(self):
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
            elif self.parse_request():
                seen.append((threading.get_native_id(), policy()))
                respond(self)

    with serving(threading_server(("127.0.0.1", 0), Blocking)) as server:
        clients = [Client(server) for unused in range(MANY)]
        for client in clients:
            assert client.request().status == 200
        for client in clients:
            client.close()
    assert len({thread for thread, unused in seen}) == MANY
    assert seen[0][1] == os.SCHED_OTHER and seen[-1][1] == os.SCHED_BATCH
