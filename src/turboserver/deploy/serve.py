"""One process that serves: the application behind each listening socket, until it is told to end.

    BOOT     the application is imported; SIGTERM and SIGINT end the process at once
    SERVING  a server and a thread for each socket; the main thread waits for signals
    DRAIN    nothing more is accepted; what has been read is answered, within the graceful time-out
    (end)    the process ends, whatever a handler does

    BOOT -> SERVING -> DRAIN -> end
    BOOT, SERVING: SIGTERM or SIGINT (where no master looks after us), the master's death, a server's error -> DRAIN
    DRAIN: SIGINT again, where no master looks after us -> end; SIGTERM again changes nothing
    SIGUSR1 at any moment: the access log is opened again. SIGHUP without a master: as SIGTERM; with one: nothing.

Two seconds after the graceful time-out the kernel ends the process (SIGALRM), should one of its threads keep it.

What may not live here: how many processes there are (workers.py).
"""

import itertools
import math
import os
import signal
import socket
import sys
import threading
import time
import types

from turboserver import accelerated
from turboserver.http.server import _name_without_asking
from turboserver.wsgiref.simple_server import ThreadingWSGIServer, WSGIRequestHandler, WSGIServer

if accelerated:
    from turboserver._socket_channel import IDLE_ALL, IDLE_STAYS

from .application import load

__all__ = ["Options", "Serving", "serve", "wrap"]

# How long connections that were accepted right before the end may take to say what they want.
_LAME_DUCK_SECONDS = 0.5
# After the graceful time-out; whole seconds, for alarm().
_INSIST_SECONDS = 2


class Options(types.SimpleNamespace):
    """What a serving process needs to know:

    target              application.Target
    threads             int or None (the server's own bound); 1: no threads
    multiprocess        bool, wsgi.multiprocess
    access_log          AccessLog or None
    trust, fields       forwarded.Trust or None, and its fields
    root_path           str, "" for none
    graceful_timeout    seconds
    max_requests        int or None: so many are enough; and up to max_requests_jitter (int) more
    notify              notify.Notifier, for the process that was started
    """


class Handler(WSGIRequestHandler):
    """Attributes only: a method of its own would cost each request its native path."""

    turbo_log = False           # there is the access log
    turbo_os_environ = False


class _Adopting:
    """A server over a socket that listens already, shared with other processes. It is non-blocking and stays so
    (binds.py): one of them would wait in accept() for a connection that another has taken."""

    allow_reuse_address = False
    # Who waits for handlers at the end is finish(); without the engine, server_close().
    daemon_threads = accelerated
    block_on_close = not accelerated

    def __init__(self, sock, application, options):
        super().__init__(("", 0), Handler, bind_and_activate=False)
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
        self.turbo_multiprocess = options.multiprocess
        self.turbo_access_log = options.access_log
        self.turbo_shutdown_timeout = options.graceful_timeout
        if options.threads is not None:
            self.turbo_max_threads = options.threads
        self.setup_environ()
        self.set_app(application)

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


class _ThreadingServer(_Adopting, ThreadingWSGIServer):
    """For applications that may run in several threads at once."""


class _Server(_Adopting, WSGIServer):
    """For applications that may not."""


class _Counted:
    """`application`, and enough() when it is called for the `most`th time. Any thread."""

    def __init__(self, application, most, enough):
        self._application, self._most, self._enough = application, most, enough
        self._count = itertools.count(1)

    def __call__(self, environ, start_response):
        if next(self._count) == self._most:     # one step of the interpreter: no two threads get the same
            self._enough()
        return self._application(environ, start_response)


def wrap(application, options):
    """`application` behind the middleware that `options` ask for."""
    if options.trust is not None:
        from .forwarded import Forwarded
        application = Forwarded(application, options.trust, options.fields)
    if options.root_path:
        from .root_path import RootPath
        application = RootPath(application, options.root_path)
    return application


class Serving:
    """The servers of this process, each in a thread of its own."""

    def __init__(self, sockets, application, options, ended):
        """ended: called from any thread when a server has come to its end."""
        make = _Server if options.threads == 1 else _ThreadingServer
        self._servers = [make(sock, application, options) for sock in sockets]
        self._ended, self._end = ended, math.inf
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
            self._ended()

    def stop(self, timeout):
        """Accept nothing more, and answer what has been read within `timeout` seconds. Does not wait."""
        self._end = time.monotonic() + timeout
        for server in self._servers:
            server.ask_to_stop()

    @property
    def running(self):
        """Whether one of the servers has not ended yet."""
        return self._running > 0


def serve(sockets, options, signals, *, lifeline=None, ready=None, enough=None):
    """Serve `sockets` until a signal says that it is enough.

    signals: Signals of this process. lifeline: a descriptor that is readable when the master has died, or
    None without one. ready: called once requests are answered. enough: called, in any thread, with the last of
    options.max_requests; the master is to end this process then, which goes on until it does.
    Returns the exit code. Raises ApplicationError, Stopped.
    """
    stops = (signal.SIGTERM,) if lifeline is not None else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signals.end_at_once(stops)
    application = wrap(load(options.target), options)
    if options.max_requests is not None:
        import random       # few need it
        most = options.max_requests + random.randint(0, options.max_requests_jitter)
        application = _Counted(application, most, enough)
    signals.note_only()

    done_reader, done_writer = os.pipe()
    serving = Serving(sockets, application, options, lambda: os.write(done_writer, b"."))
    for sock in sockets:
        sock.close()        # the servers have their own
    if ready is not None:
        ready()
    watched = [done_reader] + ([lifeline] if lifeline is not None else [])
    end = None
    while serving.running and (end is None or time.monotonic() < end):
        came, readable = signals.wait(None if end is None else max(0.0, end - time.monotonic()), watched)
        if signal.SIGUSR1 in came and options.access_log is not None:
            options.access_log.reopen()
        if end is not None and lifeline is None and signal.SIGINT in came:
            break
        if done_reader in readable:
            os.read(done_reader, 4096)
        if end is None and (readable or not serving.running or any(number in stops for number in came)):
            end = time.monotonic() + options.graceful_timeout
            if lifeline in watched:
                watched.remove(lifeline)
            _insist(options.graceful_timeout)
            if lifeline is None:
                options.notify.stopping()
            serving.stop(options.graceful_timeout)
    return 1 if serving.failed else 0


def _insist(timeout):
    """End this process after `timeout` and a little more: by the kernel, whatever the process does then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(timeout) + _INSIST_SECONDS)
