"""Concurrency claims that need a process of their own: memory, descriptors, signals, forks and the end of it all.

Each test writes a server program, runs it in a subprocess and talks to it.  The program prints its port first.
"""
import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from interpreter_programs import HANDLER
from support import DEADLINE, Client, connect, fetch, load_backend, read_exactly, read_until_eof, wait_until

PRELUDE = """
import os, resource, signal, socket, sys, threading, time
from turboserver import socketserver
from turboserver.http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
""" + HANDLER + """
def announce(server):
    print(server.server_address[1], flush=True)
    return server
"""

BOTH = pytest.mark.parametrize("server", ("HTTPServer", "ThreadingHTTPServer"))


@pytest.fixture(autouse=True)
def needs_turboserver():
    load_backend("turboserver")


@contextlib.contextmanager
def program(text, *arguments):
    """Run PRELUDE + text; yields (process, address). Kills what is left."""
    process = subprocess.Popen([sys.executable, "-u", "-c", PRELUDE + text, *arguments], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline()
        if not port.strip().isdigit():
            process.kill()
            pytest.fail("the program did not start:\n" + port + process.communicate()[1])
        yield process, ("127.0.0.1", int(port))
    finally:
        process.kill()
        process.communicate()


def finish(process):
    """Wait for its end; (exit status, stdout, stderr)."""
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


class TestInterrupt:
    """Ctrl-C ends serve_forever at once with KeyboardInterrupt, with and without the mixin."""

    TEXT = """
server = announce({server}(("127.0.0.1", 0), Handler))
try:
    server.serve_forever(poll_interval=600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    server.server_close()
"""

    @BOTH
    @pytest.mark.parametrize("connections", (0, 3))
    def test_while_idle(self, server, connections):
        with program(self.TEXT.format(server=server)) as (process, address):
            clients = [Client(address) for unused in range(connections)]
            try:
                assert all(client.request().status == 200 for client in clients)
                assert fetch(address).status == 200
                process.send_signal(signal.SIGINT)
                assert finish(process) == (0, "interrupted\n", "")
            finally:
                for client in clients:
                    client.close()

    @BOTH
    def test_uncaught(self, server):
        text = f'announce({server}(("127.0.0.1", 0), Handler)).serve_forever(600)\n'
        with program(text) as (process, address):
            fetch(address)
            process.send_signal(signal.SIGINT)
            status, out, err = finish(process)
        assert status == -signal.SIGINT and err.rstrip().endswith("KeyboardInterrupt")

    def test_while_a_handler_of_a_threading_server_sleeps(self):
        text = "Handler.do_SLEEP = lambda self: time.sleep(600)\n" + self.TEXT.format(server="ThreadingHTTPServer")
        with program(text) as (process, address), Client(address) as client:
            client.send(b"SLEEP / HTTP/1.1\r\nHost: a\r\n\r\n")
            fetch(address)
            process.send_signal(signal.SIGINT)
            assert finish(process) == (0, "interrupted\n", "")

    def test_while_a_handler_of_a_plain_server_sleeps(self):
        """There the handler is on the main thread, so it is the one interrupted. It sleeps in short pieces: from Python 3.14
        on a signal that comes just before time.sleep() is looked at behind it."""
        text = """
def sleep(self):
    print("asleep", flush=True)
    while True:
        time.sleep(0.1)
Handler.do_SLEEP = sleep
""" + self.TEXT.format(server="HTTPServer")
        with program(text) as (process, address), Client(address) as client:
            client.send(b"SLEEP / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert process.stdout.readline() == "asleep\n"
            process.send_signal(signal.SIGINT)
            assert finish(process) == (0, "interrupted\n", "")

    @BOTH
    def test_other_signal_handlers_run_at_once(self, server):
        text = """
signal.signal(signal.SIGUSR1, lambda *args: print("signalled", flush=True))
""" + self.TEXT.format(server=server)
        with program(text) as (process, address):
            fetch(address)
            for unused in range(3):
                process.send_signal(signal.SIGUSR1)
                assert process.stdout.readline() == "signalled\n"
            assert fetch(address).status == 200

    @BOTH
    def test_handler_that_shuts_down_from_sigterm(self, server):
        text = """
server = announce({server}(("127.0.0.1", 0), Handler))
signal.signal(signal.SIGTERM, lambda *args: threading.Thread(target=server.shutdown).start())
server.serve_forever(600)
server.server_close()
print("down", flush=True)
""".format(server=server)
        with program(text) as (process, address):
            fetch(address)
            process.send_signal(signal.SIGTERM)
            assert finish(process) == (0, "down\n", "")


class TestExit:
    """Interpreter exit with connections open: no hang, no message on stderr."""

    BACKGROUND = """
server = announce({server}(("127.0.0.1", 0), Handler))
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.readline()
{last}
"""

    @BOTH
    @pytest.mark.parametrize("last", ("", "server.shutdown()", "server.shutdown(); server.server_close()",
                                      "sys.exit(0)", "del server"))
    def test_with_connections_open(self, server, last):
        with program(self.BACKGROUND.format(server=server, last=last)) as (process, address):
            with Client(address) as idle, Client(address) as half:
                assert idle.request().status == 200
                half.send(b"GET / HT")
                process.stdin.write("\n")
                process.stdin.flush()
                assert finish(process) == (0, "", "")

    def test_with_a_handler_running(self):
        text = "Handler.do_SLEEP = lambda self: time.sleep(600)\n" + self.BACKGROUND.format(
            server="ThreadingHTTPServer", last="")
        with program(text) as (process, address), Client(address) as client:
            client.send(b"SLEEP / HTTP/1.1\r\nHost: a\r\n\r\n")
            fetch(address)
            process.stdin.write("\n")
            process.stdin.flush()
            assert finish(process) == (0, "", "")

    def test_under_load(self):
        with program(self.BACKGROUND.format(server="ThreadingHTTPServer", last="")) as (process, address):
            import threading
            stop = threading.Event()

            def load():
                with contextlib.suppress(OSError, EOFError):
                    with Client(address) as client:
                        while not stop.is_set():
                            client.request()

            threads = [threading.Thread(target=load) for unused in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            process.stdin.write("\n")
            process.stdin.flush()
            try:
                assert finish(process) == (0, "", "")
            finally:
                stop.set()
                for thread in threads:
                    thread.join(DEADLINE)

    def test_server_never_used_and_never_closed(self):
        with program('announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler))\n') as (process, unused):
            assert finish(process)[0] == 0


class TestBackPressure:
    """Slow readers get back-pressure, never an unbounded buffer."""

    TEXT = """
def big(self):
    self.send_response(200)
    self.send_header("Content-Length", str(50 << 20))
    self.end_headers()
    piece = b"x" * (1 << 16)
    for unused in range(800):
        self.wfile.write(piece)
Handler.do_BIG = big
announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler)).serve_forever()
"""

    def memory(self, process):
        with open(f"/proc/{process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
    def test_client_that_does_not_read(self):
        with program(self.TEXT) as (process, address):
            fetch(address)
            before = self.memory(process)
            deaf = [connect(address) for unused in range(4)]
            try:
                for sock in deaf:
                    sock.sendall(b"BIG / HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert read_exactly(sock, 100).startswith(b"HTTP/1.1 200 OK\r\n")
                for unused in range(20):
                    assert fetch(address).status == 200
                    time.sleep(0.02)
                assert self.memory(process) - before < 40 << 20, "200 MB were written by the handlers"
                rest = 0
                while rest < 50 << 20 and (data := deaf[0].recv(1 << 20)):
                    rest += len(data)
                assert rest >= 50 << 20, "and the client gets it all once it reads"
            finally:
                for sock in deaf:
                    sock.close()


class TestDescriptors:
    """Out of descriptors, then recovery."""

    TEXT = """
resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
{server}.request_queue_size = 128
announce({server}(("127.0.0.1", 0), Handler)).serve_forever()
"""

    @BOTH
    def test_out_of_descriptors(self, server):
        with program(self.TEXT.format(server=server)) as (process, address):
            assert fetch(address).status == 200
            many = []
            try:
                for unused in range(60):
                    many.append(connect(address))
                assert process.poll() is None
                many[0].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert read_exactly(many[0], 15) == b"HTTP/1.1 200 OK", "those that have a descriptor are served"
                begin = self.cpu(process)
                time.sleep(0.5)
                assert self.cpu(process) - begin < 0.4, "and waiting for descriptors does not spin"
            finally:
                for sock in many:
                    sock.close()
            wait_until(lambda: fetch(address).status == 200)
            assert process.poll() is None

    def cpu(self, process):
        try:
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
class TestFork:
    """Fork from a handler; a forking server beside the engine's own threads."""

    def test_fork_from_a_handler(self):
        text = """
import warnings
warnings.simplefilter("ignore")
def fork(self):
    self.wfile.flush()
    pid = os.fork()
    if not pid:
        os._exit(7)
    self.answer(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
Handler.do_FORK = fork
announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler)).serve_forever()
"""
        with program(text) as (process, address), Client(address) as kept:
            for unused in range(10):
                assert kept.request("FORK").body == b"7"
                assert fetch(address).status == 200

    def test_child_of_a_handler_that_writes_the_answer_itself(self):
        text = """
import warnings
warnings.simplefilter("ignore")
def fork(self):
    pid = os.fork()
    if not pid:
        self.answer(b"from the child")
        self.wfile.flush()
        os._exit(0)
    os.waitpid(pid, 0)
Handler.do_FORK = fork
announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler)).serve_forever()
"""
        with program(text) as (process, address), Client(address) as kept:
            for unused in range(5):
                assert kept.request("FORK").body == b"from the child"
                assert kept.request().body == b"ok"

    def test_subprocess_from_a_handler(self):
        text = """
import subprocess
Handler.do_GET = lambda self: self.answer(subprocess.check_output([sys.executable, "-c", "print('sub')"]))
announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler)).serve_forever()
"""
        with program(text) as (process, address):
            assert fetch(address).body.strip() == b"sub"
            assert fetch(address).body.strip() == b"sub"

    def test_forking_server_beside_a_threading_one(self):
        text = """
import warnings
warnings.simplefilter("ignore")
class ForkingHTTPServer(socketserver.ForkingMixIn, HTTPServer):
    pass
class Told(Handler):
    def do_GET(self):
        self.answer(b"%d %d" % (os.getpid(), os.getppid()))
first = ThreadingHTTPServer(("127.0.0.1", 0), Told)
second = ForkingHTTPServer(("127.0.0.1", 0), Told)
announce(first)
announce(second)
threading.Thread(target=first.serve_forever, daemon=True).start()
second.serve_forever()
"""
        with program(text) as (process, threaded):
            forking = ("127.0.0.1", int(process.stdout.readline()))
            with Client(threaded) as kept:
                for unused in range(20):
                    own, unused_parent = kept.request().body.split()
                    pid, parent = fetch(forking).body.split()
                    assert int(own) == process.pid
                    assert int(pid) != process.pid and int(parent) == process.pid
            with Client(forking) as client:
                pids = {client.request().body for unused in range(5)}
                assert len(pids) == 1, "one child serves the whole connection"

    def test_serving_goes_on_in_the_parent_of_a_fork_outside_of_handlers(self):
        text = """
import warnings
warnings.simplefilter("ignore")
server = announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    print("forked", flush=True)
"""
        with program(text) as (process, address):
            for unused in range(5):
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "forked\n"
                assert fetch(address).status == 200

    def test_server_made_in_a_child_of_a_serving_process(self):
        text = """
import warnings
warnings.simplefilter("ignore")
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with socket.create_connection(server.server_address) as sock:
    sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    while sock.recv(1000):
        pass
pid = os.fork()
if not pid:
    server.socket.close()
    announce(ThreadingHTTPServer(("127.0.0.1", 0), Handler)).serve_forever()
try:
    os.waitpid(pid, 0)
finally:
    os.kill(pid, signal.SIGKILL)
"""
        with program("signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))\n" + text) as (process, address):
            try:
                with Client(address) as client:
                    assert client.request().status == client.request().status == 200
                with connect(address) as sock:
                    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    assert read_until_eof(sock).endswith(b"ok")
            finally:
                process.terminate()
                process.wait(DEADLINE)
