"""Servers over sockets that listen already, each in a thread of its own, and how they come to their end.

A server serves, is asked to stop (it accepts nothing more, and says so in its answers), and finishes: what has been read
is answered, up to a moment. The main thread waits for signals meanwhile; a pipe tells it of a server's end.

What may not live here: what a server serves; signals.
"""

import faulthandler
import math
import os
import signal
import socket
import sys
import threading
import time

from turboserver import accelerated
from turboserver.http.server import _name_without_asking

if accelerated:
    from turboserver._socket_channel import IDLE_ALL, IDLE_STAYS

    _Ending = object
else:
    from turboserver.deploy.draining import Draining as _Ending

__all__ = ["Adopting", "Serving", "insist"]

# How long connections that were accepted right before the end may take to say what they want.
_LAME_DUCK_SECONDS = 0.5
# After the graceful time-out; whole seconds, for alarm().
_INSIST_SECONDS = 2


class Adopting(_Ending):
    """A server over a socket that listens already, perhaps shared with other processes. It is non-blocking and stays so
    (binds.py): one of them would wait in accept() for a connection that another has taken. Goes before an HTTPServer
    among the bases."""

    allow_reuse_address = False
    # Who waits for handlers at the end is finish().
    daemon_threads = True
    block_on_close = False

    def __init__(self, sock, handler, **more):
        super().__init__(("", 0), handler, bind_and_activate=False, **more)
        self.socket.close()
        self.socket = sock.dup()
        self.address_family = sock.family
        self.server_address = sock.getsockname()
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self.server_name = _name_without_asking(self.server_address[0])
            self.server_port = self.server_address[1]
        else:
            # PEP 3333 wants both, never empty; nobody can ask for a URL of them.
            self.server_name, self.server_port = "localhost", 80

    def ask_to_stop(self):
        """End serve_forever(); answers say from now on that they are the last. Any thread."""
        if not accelerated:
            threading.Thread(target=self.shutdown, daemon=True).start()
        else:
            self._turbo_ask_to_stop(IDLE_STAYS)

    def finish(self, end):
        """After serve_forever(), in its thread: answer what has been read, until `end` (time.monotonic())."""
        self.socket.close()
        if accelerated:
            self._await_requests(min(end, time.monotonic() + _LAME_DUCK_SECONDS))
            self._turbo_drain(IDLE_ALL)
            self._turbo_finish(max(0.0, end - time.monotonic()))
        else:
            self.drain(end)
        self.server_close()

    def _await_requests(self, end):
        # A connection that was accepted a moment ago has sent its request, which is not here yet.
        engine = self._turbo_engine
        if engine is None:
            return
        if not engine.threaded:
            engine.serve_out(end - time.monotonic())
        while engine.threaded and engine.connections and time.monotonic() < end:
            time.sleep(0.01)


class Serving:
    """The servers of this process, each in a thread of its own.

    ended: a descriptor that is readable when one of them has come to its end; clear() makes it wait for the next.
    """

    def __init__(self, servers):
        self._servers = list(servers)
        self.ended, self._writer = os.pipe()
        self._end = math.inf
        self._running, self._counting = len(self._servers), threading.Lock()
        self.failed = False
        for number, server in enumerate(self._servers):
            threading.Thread(target=self._run, args=(server,), daemon=True, name=f"serve-{number}").start()

    def _run(self, server):
        try:
            server.serve_forever()
            server.finish(self._end)
        except Exception as error:
            self.failed = True
            print(f"turboserver: a server has failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            with self._counting:
                self._running -= 1
            os.write(self._writer, b".")

    def clear(self):
        """Take notice of the ends so far."""
        os.read(self.ended, 4096)

    def stop(self, timeout):
        """Accept nothing more, and answer what has been read within `timeout` seconds. Does not wait."""
        self._end = time.monotonic() + timeout
        for server in self._servers:
            server.ask_to_stop()

    @property
    def running(self):
        """Whether one of the servers has not ended yet."""
        return self._running > 0


def insist(timeout):
    """End this process after `timeout` and a little more: by the kernel, whatever the process does then."""
    seconds = math.ceil(timeout) + _INSIST_SECONDS
    if os.getpid() == 1:
        # The kernel ends no container's first process so (pid_namespaces(7)). This is a thread that wants no GIL; it tells
        # where all the others are, and exits with 1.
        faulthandler.dump_traceback_later(seconds, exit=True, file=2)
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
