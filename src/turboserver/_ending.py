"""How a server ends: the requests that are under way outside of the engine, the threads that server_close() waits for,
and SIGTERM.

Any thread opens and ends a request; Terminated is the main thread's. What may not live here: the loops that end
(socketserver.py); the engine's own connections (_engine.pyx).
"""

import _thread
import os
import signal
import threading
import time
import weakref
from socketserver import _Threads

from . import accelerated, lanes

if accelerated:
    from ._engine import EngineThreads
    from ._socket_channel import IDLE_ALL


class Threads(_Threads):
    """socketserver's list of threads that server_close() joins: for the server's
    turbo_shutdown_timeout, and a second more with their connections shut."""

    def __init__(self, server):
        self._server = weakref.ref(server)

    def join(self):
        server = self._server()
        timeout = getattr(server, "turbo_shutdown_timeout", None)
        if timeout is None:
            return super().join()
        rest = _join(self.pop_all(), timeout)
        if rest:
            for thread in rest:
                if isinstance(thread, EngineThreads):
                    thread.shut()
            server._turbo_shut()
            _join(rest, 1.0)


def _join(threads, timeout):
    """Join them, for `timeout` seconds in all; return those that are left."""
    end = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
    return [thread for thread in threads if thread.is_alive()]


# ---- requests under way outside of the engine -----------------------------------

# Known by their sockets, from process_request() on, whoever runs the handler and wherever. Weakly: a program may
# keep the socket, or drop it.

def opened(server, request):
    try:
        reference = weakref.ref(request)
    except TypeError:
        return      # no socket
    vars(server).setdefault("_turbo_open", {})[id(request)] = reference


def ended(server, request):
    requests = server._turbo_open
    if requests:
        requests.pop(id(request), None)


def under_way(server):
    requests = vars(server).get("_turbo_open")
    if not requests:
        return []
    found = []
    for key, reference in list(requests.items()):
        request = reference()
        if request is not None:
            found.append(request)
        elif requests.get(key) is reference:
            requests.pop(key, None)
    return found


def is_open(request):
    try:
        return request.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False


class Terminated:
    """SIGTERM during serve_forever(), if that runs in the main thread and the program leaves the
    signal as it was: a wish to end, instead of the end. A context manager; end() after it."""

    def __init__(self, server):
        self._server = server
        self._pid = os.getpid()
        self._came = self._overdue = False
        self._ours = False

    def __enter__(self):
        if (threading.current_thread() is threading.main_thread() and not lanes.environment_is_patched()
                and _is_free(signal.getsignal(signal.SIGTERM))):
            signal.signal(signal.SIGTERM, self._note)
            self._ours = True

    def __exit__(self, *details):
        pass

    def _note(self, number, frame):
        if self._overdue or os.getpid() != self._pid:   # or a child that a handler has forked
            self._die()
        if self._came:
            return
        self._came = True
        self._server._turbo_ask_to_stop(IDLE_ALL)
        if self._server.turbo_shutdown_timeout is not None:
            try:
                # Not threading's: what this interrupts may hold its locks.
                _thread.start_new_thread(self._insist, (self._server.turbo_shutdown_timeout,))
            except RuntimeError:
                pass    # no thread can be had; end() keeps the deadline, but for a handler in this thread

    def _insist(self, timeout):
        """In a thread: the deadline, also for a handler that runs in the main thread."""
        time.sleep(timeout)
        self._overdue = True
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(1.0)
        _end_by(signal.SIGKILL)     # it sits in foreign code that does not look at signals

    def end(self):
        """What has been read is answered; then the signal does what it does."""
        if not self._ours:
            return
        if not self._came:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)   # from here on it ends the process at once
        if self._came:      # perhaps while that was done
            try:
                self._server._turbo_finish(self._server.turbo_shutdown_timeout)
            finally:
                self._die()

    def _die(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _end_by(signal.SIGTERM)


def _end_by(number):
    """End this process by the signal, which does not end process 1 of a container (pid_namespaces(7)): that one
    ends with what a shell says of it."""
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _is_free(handler):
    """Whether it is the system's, or what a child process has of its parent's serve_forever()."""
    owner = getattr(handler, "__self__", None)
    return handler is signal.SIG_DFL or isinstance(owner, Terminated) and owner._pid != os.getpid()
