"""A file server that `turboserver [DIR]` has started in a process of its own."""
import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading

import turboserver
from support import DEADLINE, wait_until

STUBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "file_server_process")
ROOT = os.path.dirname(os.path.dirname(turboserver.__file__))
#: A certificate of localhost, with its key.
PEM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "localhost.pem")
#: Where most tests serve.
LOCAL = ("--bind", "127.0.0.1", "-p", "0")


def get(url, path="/a.txt", context=None, headers=None):
    """(status, body, response) of one answer."""
    secure, host, port = re.fullmatch(r"http(s?)://(?:\[(?=.*\])|)(.*?)\]?:(\d+)/", url).groups()
    if secure:
        connection = http.client.HTTPSConnection(host, int(port), timeout=DEADLINE, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response


class FileServer:
    """`process`; `out` and `err`: the lines of its standard output and error so far."""

    def __init__(self, *arguments, cwd, environ=None, stdout=subprocess.PIPE, **options):
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("TURBOSERVER_AUTH", "NO_COLOR", "PYTHONPATH")}
        environment.update({"PYTHONPATH": os.pathsep.join((STUBS, ROOT)), "PYTHONUTF8": "1",
                            "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm", **(environ or {})})
        # Whatever the tests run under (nohup ignores it).
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "turboserver", *arguments], cwd=cwd, env=environment, text=True, encoding="utf-8",
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, **options)
        self.out, self.err, self._readers = [], [], []
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            if stream is not None:
                reader = threading.Thread(target=self._read, args=(stream, lines), daemon=True)
                reader.start()
                self._readers.append(reader)

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def ready(self):
        """Wait until it serves; returns self."""
        wait_until(lambda: "Ctrl-C ends it." in self.out or self.process.poll() is not None, "the server")
        assert "Ctrl-C ends it." in self.out, self.err
        return self

    @property
    def urls(self):
        return [line.split()[0] for line in self.out if re.match("  (?:https?://|unix:)", line)]

    @property
    def port(self):
        return int(re.search(r":(\d+)/$", self.urls[0])[1])

    def wait(self):
        """Its exit code; all that it said is in `out` and `err` then."""
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def file_server(*arguments, **options):
    """A file server with these arguments; killed at the end, if it is still there."""
    server = FileServer(*arguments, **options)
    try:
        yield server
    finally:
        server.close()
