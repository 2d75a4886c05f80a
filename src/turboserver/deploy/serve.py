"""One process that serves: the application behind each listening socket, until it is told to end.

    BOOT     the application is imported; SIGTERM and SIGINT end the process at once
    SERVING  a server and a thread for each socket; the main thread waits for signals
    DRAIN    nothing more is accepted; what has been read is answered, within the graceful time-out
    (end)    the process ends, whatever a handler does

    BOOT -> SERVING -> DRAIN -> end
    BOOT, SERVING: SIGTERM or SIGINT (where no master looks after us), the master's death, a server's error -> DRAIN
    DRAIN: SIGINT again, where no master looks after us -> end; SIGTERM again changes nothing
    SIGUSR1 at any moment: the access log is opened again. SIGHUP without a master: as SIGTERM; with one: nothing.

Two seconds after the graceful time-out the process is ended (SIGALRM; as process 1 by a thread that exits), should one of its
threads keep it.

What may not live here: how many processes there are (workers.py).
"""

import itertools
import signal
import time
import types

from turboserver.wsgiref.simple_server import ThreadingWSGIServer, WSGIRequestHandler, WSGIServer

from .adopting import Adopting, Serving, insist
from .application import load

__all__ = ["Options", "serve", "wrap"]


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


class _Adopting(Adopting):
    """With what WSGI needs to know."""

    def __init__(self, sock, application, options):
        super().__init__(sock, Handler)
        self.turbo_multiprocess = options.multiprocess
        self.turbo_access_log = options.access_log
        self.turbo_shutdown_timeout = options.graceful_timeout
        if options.threads is not None:
            self.turbo_max_threads = options.threads
        self.setup_environ()
        self.set_app(application)


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

    make = _Server if options.threads == 1 else _ThreadingServer
    serving = Serving(make(sock, application, options) for sock in sockets)
    for sock in sockets:
        sock.close()        # the servers have their own
    if ready is not None:
        ready()
    watched = [serving.ended] + ([lifeline] if lifeline is not None else [])
    end = None
    while serving.running and (end is None or time.monotonic() < end):
        came, readable = signals.wait(None if end is None else max(0.0, end - time.monotonic()), watched)
        if signal.SIGUSR1 in came and options.access_log is not None:
            options.access_log.reopen()
        if end is not None and lifeline is None and signal.SIGINT in came:
            break
        if serving.ended in readable:
            serving.clear()
        if end is None and (readable or not serving.running or any(number in stops for number in came)):
            end = time.monotonic() + options.graceful_timeout
            if lifeline in watched:
                watched.remove(lifeline)
            insist(options.graceful_timeout)
            if lifeline is None:
                options.notify.stopping()
            serving.stop(options.graceful_timeout)
    return 1 if serving.failed else 0
