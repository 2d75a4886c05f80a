"""The end of a server: shutdown(), SIGTERM and server_close() lose no request that was read, say so in the answer, and
do not wait for ever. In both native lanes, with threads and without.
"""
import signal
import subprocess
import sys
import threading
import time

import pytest

from support import DEADLINE, Client, connect, exchange, load_backend, read_until_eof, respond, serving, wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"\r\nconnection: close\r\n"


@pytest.fixture(params=("reactor", "blocking"))
def lane(request, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", "auto" if request.param == "reactor" else request.param)
    return request.param


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server_class(request):
    return request.param


class Held:
    """Handlers that wait until go() is called."""

    def __init__(self):
        self.entered = 0
        self._go = threading.Event()

    def do_GET(self, handler):
        self.entered += 1
        assert self._go.wait(DEADLINE)
        respond(handler)

    def go(self):
        self._go.set()


def make(server_class, held, **attributes):
    module = load_backend("turboserver").http_server
    handler = type("Handler", (module.BaseHTTPRequestHandler,), {
        "protocol_version": "HTTP/1.1", "log_message": lambda self, *arguments: None,
        "do_GET": lambda self: held.do_GET(self)})
    server = type("Server", (getattr(module, server_class),), attributes)
    return server(("127.0.0.1", 0), handler)


def ended(server, thread):
    wait_until(lambda: not thread.is_alive(), "the end of serve_forever()")
    server.server_close()


def answers(octets):
    return octets.lower().count(b"http/1.1 200")


def test_the_answer_under_way_is_the_last(lane, server_class):
    held = Held()
    server = make(server_class, held)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(server) as sock:
        sock.sendall(REQUEST)
        wait_until(lambda: held.entered == 1, "the handler")
        stop = threading.Thread(target=server.shutdown)
        stop.start()
        wait_until(lambda: server._turbo_draining, "shutdown()")
        held.go()
        answer = read_until_eof(sock)
        assert answers(answer) == 1 and CLOSE in answer.lower()
        stop.join(DEADLINE)
    ended(server, thread)


def test_kept_connections_end(lane, server_class):
    """One that waits between requests: nothing was read of it, so it closes, without an error."""
    held = Held()
    held.go()
    server = make(server_class, held)
    with serving(server), Client(server) as client:
        client.request()
        server.shutdown()
        server.server_close()
        assert client.at_eof()
