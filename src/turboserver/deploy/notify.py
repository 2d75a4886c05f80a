"""What a service manager is told of this process (sd_notify(3)): that it serves, reloads, or is about to end.

A datagram of lines NAME=VALUE to the Unix socket that NOTIFY_SOCKET names; without the variable nothing is said.
Nothing that goes wrong there is worth a word: the service is to serve.

For the main thread of the process that was started; those that it forks say nothing, and do not find the variable.
What may not live here: when something is said (command.py, workers.py, serve.py).
"""

import os
import socket
import time

__all__ = ["Notifier"]


class Notifier:
    """Tells the one who started this process. address: a path, "@NAME" (abstract), or None: nobody listens."""

    def __init__(self, address):
        self._address = "\0" + address[1:] if address and address[0] == "@" else address

    @classmethod
    def from_environment(cls):
        """By NOTIFY_SOCKET, which is taken out of the environment: it is for nobody else."""
        return cls(os.environ.pop("NOTIFY_SOCKET", None))

    def ready(self, status):
        """It serves, for the first time or again. status: a str of one line, for people."""
        self._send("READY=1", _status(status))

    def status(self, status):
        """What people are to know."""
        self._send(_status(status))

    def reloading(self):
        """ready() is to follow, whatever comes of it."""
        # By this clock the manager tells which of its signals was heard.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self):
        """It accepts no more."""
        self._send("STOPPING=1", "STATUS=answering what has been read")

    def _send(self, *lines):
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1.0)        # its queue may be full, but not for long
                sock.sendto("\n".join(lines).encode("utf-8", "backslashreplace"), self._address)
        except (OSError, ValueError):
            pass


def _status(text):
    return "STATUS=" + " ".join(text.splitlines())      # a second line would be another variable
