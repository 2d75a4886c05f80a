"""gunicorn as a process with our worker, and clients of it that wait or that ask for ever.

Sockets are bound here and handed over, as systemd does, so no port is guessed. Nothing is slept for that can be seen:
a file, a line of the log, the number of a process.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from support import DEADLINE, Client, connect, fetch, read_until_eof, wait_until

HERE = pathlib.Path(__file__).parent
GET = b"GET /%s HTTP/1.1\r\nHost: test\r\n\r\n"


class Gunicorn:
    """A gunicorn process with our worker, ended with the `with`. `address` is where it listens, `sock` that socket."""

    def __init__(self, folder, text="", *, sock=None, more=(), prefix=(), **values):
        self.folder = folder
        self.sock = sock or listening()
        self.address = self.sock.getsockname()
        socks = [self.sock, *more]
        self._log = folder / "log"
        lines = [f"{name} = {value!r}" for name, value in {
            "bind": [f"fd://{each.fileno()}" for each in socks], "worker_class": "turboserver.gunicorn.Worker",
            "control_socket_disable": True, "graceful_timeout": 20, "pythonpath": str(HERE), **values}.items()]
        (folder / "conf.py").write_text("\n".join([*lines, text]))
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "gunicorn", "-c", str(folder / "conf.py"),
                 "gunicorn_app:app"],
                stdout=log, stderr=log, pass_fds=[each.fileno() for each in socks], cwd=folder)

    def __enter__(self):
        return self

    def __exit__(self, kind, *details):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                for pid in [*self.pids(), self.process.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.sock.close()
        if kind is not None:
            print(self.log())
        else:
            assert "Traceback" not in self.log() or "on purpose" in self.log(), self.log()

    def log(self):
        return self._log.read_text()

    def pids(self):
        """The workers that have been started, in order."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log())]

    def ended(self):
        return {int(pid) for pid in re.findall(r"Worker exiting \(pid: (\d+)\)", self.log())}

    def await_log(self, text):
        wait_until(lambda: text in self.log(), f"{text!r} in the log")

    def await_worker(self, old=()):
        """Wait until another worker than `old` answers; its pid."""
        found = []

        def answers():
            found[:] = [int(fetch(self.address, "/pid").body)]
            return found[0] not in old

        wait_until(answers, "another worker")
        return found[0]


def listening(family=socket.AF_INET, address=("127.0.0.1", 0)):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(address)
    sock.listen(128)
    return sock


class Waiting:
    """A request that is in a handler until go()."""

    def __init__(self, server, name="gate"):
        self._path = server.folder / f"{name}.go"
        self.sock = connect(server.address)
        self.sock.sendall(GET % f"wait?{self._path}".encode())
        wait_until(self._path.with_suffix(".in").exists, "the handler")

    def go(self):
        self._path.touch()
        answer = read_until_eof(self.sock)
        self.sock.close()
        return answer


class Loop:
    """Clients that ask for /pid until stop(), each on a connection that it keeps as long as it may: `pids` are the
    answers, `lost` what went wrong with a request that no answer had announced the end of. A client that was kept from
    running for a second between two requests has found out nothing: its connection may have been idle for too long."""

    def __init__(self, server, clients=3):
        self.pids, self.lost = [], []
        self._address, self._stop = server.address, threading.Event()
        self.threads = [threading.Thread(target=self._run) for unused in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            answered = sent = time.monotonic()
            try:
                with Client(self._address) as client:
                    for unused in range(20):
                        sent = time.monotonic()
                        client.send(GET % b"pid")
                        answer = client.read()
                        assert answer.status == 200
                        self.pids.append(int(answer.body))
                        if answer.get("Connection") == "close":
                            break
                        answered = time.monotonic()
            except (OSError, EOFError, ValueError, AssertionError) as error:
                if sent - answered < 1.0:
                    self.lost.append(error)

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self._stop.set()
        for thread in self.threads:
            thread.join(DEADLINE)
