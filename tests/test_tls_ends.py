"""Connections by TLS in the reactor lane that fail, dawdle or end, and the end of their server."""
import contextlib
import gc
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import weakref

import pytest

from support import DEADLINE, connect, load_backend, respond, serving, wait_until
from tls_clients import (  # noqa: F401: fixtures
    GET, PEM, Octets, client_context, handler_class, https_server, server_class, tls_client,
)

CLIENT_HELLO = b"\x16\x03\x01"


@contextlib.contextmanager
def others_are_served(server, capfd):
    """What happens within harms nobody else, and leaves no traceback and no connection."""
    with tls_client(server) as kept:
        assert kept.request().body == b"ok"
        yield
        assert kept.request().body == b"ok"
        wait_until(lambda: server._turbo_engine.connections == 1, "the end of the connection")
        with tls_client(server) as other:
            assert other.request().body == b"ok"
    assert "Traceback" not in capfd.readouterr().err


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def closed(sock):
    """What comes until the other side closes, or resets."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := sock.recv(65536):
            data += more
    return data


# ---------------------------------------------------------------- handshakes that fail

@pytest.mark.parametrize("octets", [
    GET, b"\0" * 100, b"\x16\x03\x01\x00\x05hello", os.urandom(20_000), b"\x80\x2e\x01\x00\x02", b"\x15\x03\x01\x00\x02\x02\x28",
    b"\x16\x03\x01\x40\x01" + b"x" * 0x4001, b"\n"],
    ids=("HTTP", "zeros", "nonsense", "garbage", "SSLv2", "an alert", "too long", "a line"))
def test_what_is_no_handshake(server_class, octets, capfd):
    with serving(https_server(server_class=server_class)) as server, others_are_served(server, capfd):
        with connect(server) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(octets)
                sock.shutdown(socket.SHUT_WR)
            closed(sock)


def test_nothing_in_common(server_class, capfd):
    server = https_server(server_class=server_class)
    server.socket.context.minimum_version = ssl.TLSVersion.TLSv1_3
    with serving(server), others_are_served(server, capfd):
        with pytest.raises(ssl.SSLError, match="(?i)protocol.version"):     # the alert has arrived
            tls_client(server, client_context(ssl.TLSVersion.TLSv1_2))


def test_the_client_does_not_trust_it(server_class, capfd):
    with serving(https_server(server_class=server_class)) as server, others_are_served(server, capfd):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context()
            context.minimum_version = context.maximum_version = version
            with pytest.raises(ssl.SSLCertVerificationError):
                tls_client(server, context)


@pytest.mark.parametrize("at", ("nothing", "half a hello", "hello", "answered", "done", "half a record", "half a body"))
@pytest.mark.parametrize("how", ("close", "reset"))
def test_clients_that_go_away(server_class, at, how, capfd):
    with serving(https_server(server_class=server_class)) as server, others_are_served(server, capfd):
        client = Octets(server)
        if at in ("half a hello", "hello", "answered"):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.tls.do_handshake()
            hello = client.outgoing.read()
            client.sock.sendall(hello[:100] if at == "half a hello" else hello)
            if at == "answered":
                client.sock.recv(10)
        elif at != "nothing":
            client.handshake()
            if at == "half a record":
                client.sock.sendall(client.seal(GET)[:20])
            elif at == "half a body":
                client.sock.sendall(client.seal(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab"))
        time.sleep(0.02)
        client.sock.close() if how == "close" else reset(client.sock)


def test_reset_while_a_handler_runs(server_class):
    """It is an error of the handler that writes, as without TLS."""
    seen, errors = threading.Event(), []

    def do_GET(self):
        seen.set()
        try:
            while True:
                self.wfile.write(b"x" * 100_000)
        except OSError as error:
            errors.append(error)
            self.close_connection = True

    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server:
        client = Octets(server).handshake()
        client.sock.sendall(client.seal(GET))
        assert seen.wait(DEADLINE)
        reset(client.sock)
        wait_until(lambda: errors, "the error")
        assert isinstance(errors[0], ConnectionError)


# ---------------------------------------------------------------- deadlines

def test_handshakes_have_a_deadline(server_class, capfd):
    server = https_server(server_class=server_class, turbo_handshake_timeout=0.4)
    with serving(server), others_are_served(server, capfd):
        begin = time.monotonic()
        with connect(server) as silent, connect(server) as slow, Octets(server) as half:
            with contextlib.suppress(ssl.SSLWantReadError):
                half.tls.do_handshake()
            half.sock.sendall(half.outgoing.read())
            assert half.sock.recv(10)

            def drip():
                with contextlib.suppress(OSError):
                    for octet in CLIENT_HELLO + b"\x02\x00" + b"x" * 100:
                        slow.sendall(bytes((octet,)))
                        time.sleep(0.1)
            threading.Thread(target=drip, daemon=True).start()
            for sock in (silent, slow, half.sock):
                closed(sock)
            assert 0.3 < time.monotonic() - begin < 5


def test_no_deadline_for_handshakes():
    with serving(https_server(turbo_handshake_timeout=None)) as server, connect(server) as sock:
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(1)


@pytest.mark.parametrize("what, octets, answer", [
    ("turbo_idle_timeout", b"", b""), ("turbo_head_timeout", GET[:10], b" 408 "),
    ("turbo_body_timeout", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab", b" 408 "),
    ("timeout", b"", b"")])
def test_the_deadlines_of_plain_connections(server_class, what, octets, answer):
    with serving(https_server(handler_class(**{what: 0.3}), server_class)) as server:
        with Octets(server).handshake() as client, Octets(server).handshake() as half:
            client.sock.sendall(client.seal(octets) if octets else b"")
            half.sock.sendall(half.seal(GET)[:10])      # half a record is no head
            seen = client.to_the_end()                  # with close_notify
            assert answer in seen and bool(answer) is bool(seen)
            if what in ("turbo_idle_timeout", "timeout"):
                assert half.to_the_end() == b""


def test_a_client_that_does_not_read(server_class):
    ended = []

    def do_GET(self):
        try:
            respond(self, b"x" * 30_000_000)
        except TimeoutError as error:
            ended.append(error)
            raise

    with serving(https_server(handler_class(do_GET=do_GET, turbo_write_timeout=0.4), server_class)) as server:
        with Octets(server).handshake() as client:
            client.sock.sendall(client.seal(GET))
            wait_until(lambda: ended, "the deadline")
            wait_until(lambda: not server._turbo_engine.connections, "the end of it")


def test_an_answer_that_is_taken_late(server_class):
    """It waits, encrypted, when its handler has returned: for this client and no other."""
    returned = []

    def do_GET(self):
        if self.path == "/large":
            respond(self, b"x" * 60_000)
            returned.append(True)
        else:
            respond(self)

    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server:
        with Octets(server).handshake() as client, tls_client(server) as other:
            count = 400     # more than the kernel takes of them all
            client.sock.sendall(client.seal(GET.replace(b"/ ", b"/large ") * count))
            wait_until(lambda: len(returned) >= 2, "handlers")
            time.sleep(0.3)
            assert len(returned) < count and other.request().body == b"ok"
            seen = 0
            while seen < 60_000 * count:
                seen += client.open().count(b"x")
            assert len(returned) == count
            assert other.request().body == b"ok"


# ---------------------------------------------------------------- the end of a server

def ragged(client):
    """Whether the stream ends without close_notify."""
    try:
        assert client.to_the_end() == b""
    except ssl.SSLEOFError:
        return True
    return False


def test_the_last_answer_says_so(server_class):
    with serving(https_server(server_class=server_class)) as server, Octets(server).handshake() as client:
        client.sock.sendall(client.seal(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        client.until(b"ok")
        assert not ragged(client)


@pytest.mark.parametrize("how", ("shutdown", "server_close"))
def test_idle_connections_end_politely(server_class, how):
    server = https_server(server_class=server_class)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Octets(server).handshake() as idle, Octets(server).handshake() as used, connect(server) as silent, connect(
            server) as begun:
        begun.sendall(CLIENT_HELLO)
        used.sock.sendall(used.seal(GET))
        used.until(b"ok")
        wait_until(lambda: server._turbo_engine.connections == 4, "all of them")
        begin = time.monotonic()
        if how == "shutdown":
            server.shutdown()
        server.server_close()
        thread.join(DEADLINE)
        assert not ragged(idle) and not ragged(used)
        assert closed(silent) == closed(begun) == b""
        assert time.monotonic() - begin < 5


def test_the_answer_under_way_arrives(server_class):
    go, entered = threading.Event(), threading.Event()

    def do_GET(self):
        entered.set()
        assert go.wait(DEADLINE)
        respond(self, b"x" * 200_000 + b"end")

    server = https_server(handler_class(do_GET=do_GET), server_class)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Octets(server).handshake() as client:
        client.sock.sendall(client.seal(GET))
        assert entered.wait(DEADLINE)
        stop = threading.Thread(target=lambda: (server.shutdown(), server.server_close()))
        stop.start()
        wait_until(lambda: server._turbo_draining, "shutdown()")
        go.set()
        answer = client.until(b"end")
        assert b"Connection: close" in answer and not ragged(client)
        stop.join(DEADLINE)
        thread.join(DEADLINE)


PROGRAM = """
import sys, time
from turboserver.http.server import *

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            print("entered", flush=True)
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *arguments):
        pass

server = globals()[sys.argv[1]](("127.0.0.1", 0), Handler, certfile=sys.argv[2])
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_signals(server_class, number):
    """SIGTERM: the answer arrives, idle connections and handshakes are no reason to stay. SIGINT: KeyboardInterrupt."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, server_class, PEM], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        address = ("127.0.0.1", int(process.stdout.readline()))
        with Octets(address).handshake() as idle, Octets(address).handshake() as busy, connect(address) as silent:
            busy.sock.sendall(busy.seal(GET.replace(b"/ ", b"/slow ")))
            assert process.stdout.readline() == "entered\n"
            process.send_signal(number)
            if number == signal.SIGTERM:
                assert b"Connection: close" in busy.until(b"ok") and not ragged(busy) and not ragged(idle)
                closed(silent)
            assert process.wait(DEADLINE) in ((-number,) if number == signal.SIGTERM else (-number, 1))
            error = process.stderr.read()
            assert ("KeyboardInterrupt" in error) is (number == signal.SIGINT)
            assert error.count("Traceback") == (number == signal.SIGINT)
    finally:
        process.kill()
        process.wait(DEADLINE)
        process.stdout.close()
        process.stderr.close()


def test_nothing_is_left(server_class):
    """Neither descriptors nor sessions, however the connections ended."""
    contexts = []
    before = len(os.listdir("/dev/fd"))
    with serving(https_server(server_class=server_class, turbo_handshake_timeout=0.5)) as server:
        contexts.append(weakref.ref(server.socket.context))
        for number in range(40):
            client = Octets(server)
            if number % 4:
                client.handshake()
            if number % 4 > 1:
                client.sock.sendall(client.seal(GET))
                client.until(b"ok")
            elif number % 4 == 0:
                client.sock.sendall(b"garbage" * 10)
            client.sock.sendall(client.goodbye() if number % 4 == 3 else b"")
            client.sock.close()
        wait_until(lambda: not server._turbo_engine.connections, "their ends")
    del server, client
    gc.collect()
    wait_until(lambda: len(os.listdir("/dev/fd")) <= before, "the descriptors")
    wait_until(lambda: gc.collect() is not None and contexts[0]() is None, "the context")


def test_a_server_serves_again(server_class):
    server = https_server(server_class=server_class)
    for unused in range(2):
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        with tls_client(server) as client:
            assert client.request().body == b"ok"
        server.shutdown()
        thread.join(DEADLINE)
    server.server_close()


def test_an_exception_in_the_handler_is_told_with_the_socket(server_class):
    seen = []

    def do_GET(self):
        raise KeyError("own")

    def handle_error(self, request, client_address):
        seen.append((isinstance(request, ssl.SSLSocket), sys.exc_info()[0]))

    with serving(https_server(handler_class(do_GET=do_GET), server_class, handle_error=handle_error)) as server:
        with Octets(server).handshake() as client:
            client.sock.sendall(client.seal(GET))
            assert not ragged(client)
    assert seen == [(True, KeyError)]


def test_bounds_on_connections():
    with serving(https_server(turbo_max_connections_per_address=2)) as server:
        with tls_client(server) as one, tls_client(server) as two, connect(server) as three:
            assert one.request().body == two.request().body == b"ok" and closed(three) == b""


def test_stop_with_an_answer_that_is_not_taken(server_class):
    """What the kernel has not taken yet leaves before the end, encrypted like the rest."""
    entered = threading.Event()

    def do_GET(self):
        entered.set()
        respond(self, b"x" * 3_000_000 + b"end")

    server = https_server(handler_class(do_GET=do_GET), server_class)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Octets(server).handshake() as client:
        client.sock.sendall(client.seal(GET))
        assert entered.wait(DEADLINE)
        time.sleep(0.2)
        stop = threading.Thread(target=lambda: (server.shutdown(), server.server_close()))
        stop.start()
        time.sleep(0.2)
        client.until(b"end")
        assert not ragged(client)
        stop.join(DEADLINE)
        thread.join(DEADLINE)


def test_forked_handlers(server_class):
    """A child that a handler forks has nothing of the engine, and may answer."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork()")

    def do_GET(self):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        respond(self)

    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server, tls_client(server) as client:
        assert client.request().body == client.request().body == b"ok"


def test_the_module_is_there():
    assert load_backend("turboserver").http_server.HTTPSServer.turbo_handshake_timeout == 10
