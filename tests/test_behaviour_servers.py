"""Differential: the other servers: threading, forking, Unix, datagram; and plain stream handlers.

What is compared is what each client got and what stderr shows; handlers of a forking server note nothing, since
they run in another process.
"""
import contextlib
import io
import os
import socket

import pytest

from differential import assert_equal, handling, IN_HAND, judge, normalise_answer, normalise_log, Observation
from support import connect, exchange, has_turboserver, load_backend, read_until, read_until_eof, respond, serving

STREAM = ("TCPServer", "ThreadingTCPServer", "ForkingTCPServer",
          "UnixStreamServer", "ThreadingUnixStreamServer", "ForkingUnixStreamServer")
DATAGRAM = ("UDPServer", "ThreadingUDPServer", "ForkingUDPServer",
            "UnixDatagramServer", "ThreadingUnixDatagramServer", "ForkingUnixDatagramServer")
LINES = b"one\ntwo\r\n\nfour"


def compare(run, *arguments):
    """run(backend, *arguments) -> Observation, on both; on the original twice while ours is not there."""
    reference = run(load_backend("stdlib"), *arguments)
    if not has_turboserver():
        assert_equal(run(load_backend("stdlib"), *arguments), reference)
    assert_equal(run(load_backend("turboserver"), *arguments), reference)


def make(backend, name, handler, folder):
    if not hasattr(backend.socketserver, name):
        pytest.skip(f"no socketserver.{name} in this Python")
    path = folder / (backend.name + str(len(os.listdir(folder))))
    server_class = type("Server", (getattr(backend.socketserver, name),), {})
    return server_class(str(path) if "Unix" in name else ("127.0.0.1", 0), handler)


def stream(backend, name, handle, folder, clients=(LINES,), base="StreamRequestHandler", members=None):
    seen, stderr = [], io.StringIO()

    def run_handle(self):
        handle(self, seen)

    handler = type("Handler", (getattr(backend.socketserver, base),), {"handle": run_handle, **(members or {})})
    with contextlib.redirect_stderr(stderr):
        with serving(make(backend, name, handler, folder)) as server:
            answers = [exchange(server, data) for data in clients]
    return Observation(b"|".join(answers), normalise_log(stderr.getvalue()), seen)


def shout(self, seen):
    for line in self.rfile:
        seen.append(line)
        self.wfile.write(line.upper())


def raw_echo(self, seen):
    while data := self.request.recv(3):
        self.request.sendall(data)


def fails(self, seen):
    self.wfile.write(self.rfile.readline())
    raise ValueError("in the handler")


def leaves_input(self, seen):
    seen.append(self.rfile.readline())
    self.wfile.write(b"enough")


def says_first(self, seen):
    self.wfile.write(b"welcome\n")
    self.wfile.write(self.rfile.read())


def silent(self, seen):
    seen.append(self.server.server_address == self.request.getsockname())


@pytest.mark.parametrize("name", [name for name in STREAM if "Forking" not in name])
@pytest.mark.parametrize("handle", (shout, fails, leaves_input, says_first, silent), ids=lambda f: f.__name__)
def test_stream_handlers(name, handle, tmp_path):
    compare(stream, name, handle, tmp_path, (LINES, b"", b"x" * 100_000, LINES))


@pytest.mark.parametrize("name", [name for name in STREAM if "Forking" in name])
@pytest.mark.parametrize("handle", (shout, says_first), ids=lambda f: f.__name__)
def test_stream_handlers_of_forking_servers(name, handle, tmp_path):
    def without_notes(*arguments):
        observation = stream(*arguments)
        return Observation(observation.answer, observation.log, [])

    compare(without_notes, name, handle, tmp_path, (LINES, b"", b"x" * 100_000, LINES))


@pytest.mark.parametrize("name", STREAM)
def test_base_request_handler(name, tmp_path):
    compare(stream, name, raw_echo, tmp_path, (LINES, b"", LINES * 1000), "BaseRequestHandler")


@pytest.mark.parametrize("members", ({"wbufsize": -1}, {"wbufsize": 8192}, {"rbufsize": 0}, {"rbufsize": 16},
                                     {"timeout": 5}, {"disable_nagle_algorithm": True}),
                         ids=lambda members: next(iter(members)))
@pytest.mark.parametrize("handle", (shout, fails, leaves_input), ids=lambda f: f.__name__)
def test_stream_attributes(members, handle, tmp_path):
    compare(stream, "ThreadingTCPServer", handle, tmp_path, (LINES,), "StreamRequestHandler", members)


def datagrams(backend, name, base, handle, folder):
    stderr = io.StringIO()
    handler = type("Handler", (getattr(backend.socketserver, base),), {"handle": handle})
    server = make(backend, name, handler, folder)
    answers = []
    with contextlib.redirect_stderr(stderr):
        with serving(server), socket.socket(server.address_family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.bind(str(folder / f"client-{backend.name}-{len(os.listdir(folder))}") if "Unix" in name
                      else ("127.0.0.1", 0))
            for data in (b"one", b"", b"bad", b"x" * 8192, b"last"):
                sock.sendto(data, server.server_address)
                if data != b"bad":
                    answers.append(sock.recv(10_000))
    log = [line.replace(str(folder), "(folder)").replace(backend.name, "") for line in normalise_log(stderr.getvalue())]
    return Observation(b"|".join(answers), [line.split("(folder)")[0] for line in log], [])


def answer_datagram(self):
    data, sock = self.request
    if data == b"bad":
        raise ValueError("bad datagram")
    sock.sendto(repr((data[:20], len(data), type(data).__name__)).encode(), self.client_address)



def without_answer_when_bad(self):
    if self.packet == b"bad":
        self.socket = type("Nowhere", (), {"sendto": lambda *args: None})()
    self.wfile.write(self.packet * 2 if len(self.packet) < 100 else b"long")


@pytest.mark.parametrize("name", [name for name in DATAGRAM if "Forking" not in name])
def test_datagrams(name, tmp_path):
    compare(datagrams, name, "BaseRequestHandler", answer_datagram, tmp_path)


@pytest.mark.parametrize("name", DATAGRAM)
def test_datagram_request_handler(name, tmp_path):
    compare(datagrams, name, "DatagramRequestHandler", without_answer_when_bad, tmp_path)


def test_http_over_a_forking_server(tmp_path):
    def run(backend):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version, sys_version = "S", "V"

            def date_time_string(self, timestamp=None):
                return "now"

            def log_message(self, *args):
                pass

            def do_GET(self):
                body = b"in a child" if os.getpid() != parent else b"in the parent"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        parent = os.getpid()
        server_class = type("Server", (backend.socketserver.ForkingMixIn, backend.http_server.HTTPServer), {})
        with serving(server_class(("127.0.0.1", 0), Handler)) as server:
            answers = [exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2) for unused in range(3)]
        assert not server.active_children
        return Observation(b"|".join(answers), [], [])

    if not hasattr(os, "fork"):
        pytest.skip("no fork() here")
    compare(run)


@pytest.mark.parametrize("members", ({}, IN_HAND), ids=("usual", "in hand"))
def test_requests_after_shutdown(members):
    """On a connection that was open before."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    def run(backend):
        seen, stderr = [], io.StringIO()

        def note(self, seen):
            seen.append(self.close_connection)
            respond(self)

        handler = handling(note, **members)(backend, seen)
        with contextlib.redirect_stderr(stderr):
            with serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
                with connect(server) as sock:
                    sock.sendall(request)
                    first = read_until(sock, b"\r\n\r\nok")
                    server.shutdown()
                    sock.sendall(request)
                    sock.shutdown(socket.SHUT_WR)
                    answer = first + read_until_eof(sock)
        return Observation(normalise_answer(answer), normalise_log(stderr.getvalue()), seen)

    judge("servers/after shutdown", run(load_backend("stdlib")), run(load_backend("turboserver")))
