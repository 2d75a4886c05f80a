"""What the tests of concurrency share: servers of both kinds, and handlers that are held until a gate opens."""
import os
import threading

import pytest

from support import DEADLINE, respond

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server_class(turbo, request):
    return getattr(turbo.http_server, request.param)


@pytest.fixture
def threading_server(turbo):
    return turbo.http_server.ThreadingHTTPServer


@pytest.fixture
def base(turbo):
    class Handler(turbo.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            respond(self)

    return Handler


@pytest.fixture
def gate():
    """A held door for handlers; opened at the end at the latest, so that no thread is left behind."""
    event = threading.Event()
    event.entered = threading.Semaphore(0)
    yield event
    event.set()


def held(base, gate):
    """GET answers at once, HOLD when the gate opens."""
    class Handler(base):
        def do_HOLD(self):
            gate.entered.release()
            gate.wait(DEADLINE)
            respond(self, b"held")

    return Handler


def hold(client, gate):
    client.send(b"HOLD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert gate.entered.acquire(timeout=DEADLINE), "the handler was not entered"


def process_threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
