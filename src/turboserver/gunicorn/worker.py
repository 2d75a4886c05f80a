"""The worker: a process of gunicorn's in which the engine serves.

Threads: the main thread beats for the master, waits for signals, and ends the others; each
listener has a thread in serve_forever(), which only waits; requests are answered by the
engine's threads. So a handler that blocks keeps nobody from beating, and a process whose
interpreter hangs is found by the master.

The end, for whatever reason: nothing more is accepted, and what siblings share stays with them.
Answers say `Connection: close`. Clients that keep a connection may be sending already, so for
a moment idle connections stay open. Then they end, and what is in hand is waited for
until graceful_timeout.

What may not live here: what a setting means to a request (requests.py).
"""

import http.client
import os
import selectors
import threading
import time

import gunicorn
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker as BaseWorker

from turboserver import accelerated, lanes

if not accelerated:
    raise ImportError("turboserver.gunicorn needs turboserver's native engine, which this Python has not")

from turboserver._socket_channel import IDLE_ALL, IDLE_STAYS
from turboserver.wsgiref.simple_server import ThreadingWSGIServer, WSGIRequestHandler

from . import requests, settings

__all__ = ["Worker"]

# How long, at the most, a connection without a request stays open when the worker ends, so that
# a request that is on its way is answered.
LINGER = 2.0

# How often the main thread looks at connections that are to end.
LOOK = 0.05

# Without keepalive: how long a connection may wait with its only request.
FIRST_REQUEST = 5.0

# gunicorn's own bounds, for a setting that says "no limit".
LONGEST_LINE = 65536
MOST_FIELDS = 32768
LONGEST_FIELD = 8190


class Worker(BaseWorker):
    """gunicorn's worker on turboserver's engine; `-k turboserver.gunicorn.Worker`.

    settings.py says which settings are honoured.
    """

    @classmethod
    def check_config(cls, cfg, log):
        """Called by the master when it starts. Raises settings.Unservable."""
        for notice in settings.check(cfg):
            log.warning(notice)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.limited = self.cfg.max_requests > 0
        self._servers = []
        self._threads = []          # one for each of them, in serve_forever()
        self._tls = None
        self._counting = threading.Lock()
        self._failed = False

    def init_process(self):
        settings.check(self.cfg)    # the master does not, when it loads its configuration again
        # A worker that fails before it has booted makes the master end, and say why.
        self._tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        super().init_process()

    # ---- called from the engine's threads ------------------------------------

    def count_request(self):
        """Note one more request; the worker ends with the last one that it may serve."""
        with self._counting:
            self.nr += 1
            last = self.nr >= self.max_requests and self.alive
            if last:
                self.alive = False
        if last:
            self.log.info("Autorestarting worker after current request.")
            self._wake()

    def _serve(self, server):
        """A thread's life: the listener's."""
        try:
            server.serve_forever(poll_interval=1.0)
        except BaseException:
            self.log.exception("Serving %s has ended", server.server_address)
            self._failed = True
            self.alive = False
            self._wake()

    def _wake(self):
        """Let the main thread look, as a signal does."""
        try:
            os.write(self.PIPE[1], b".")
        except BlockingIOError:     # it is full, so the main thread is awake
            pass

    # ---- the main thread -----------------------------------------------------

    def run(self):
        """Serve until the master, a signal, the reloader or max_requests ends the worker."""
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self.PIPE[0], selectors.EVENT_READ)
        handler = self._handler_class()
        for sock in self.sockets:
            self._servers.append(self._make_server(sock.sock, handler))
        for server in self._servers:
            self._threads.append(threading.Thread(target=self._serve, args=(server,), daemon=True,
                                                  name=f"serve {server.server_address}"))
            self._threads[-1].start()
        interval = min(1.0, self.timeout or 1.0)
        while self.alive:
            self.notify()
            self._wait(interval)
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                break
        self.alive = False
        self._drain()
        if self._failed:
            raise RuntimeError("a listener could not be served")

    def _wait(self, seconds):
        """Sleep so long, or until a signal comes or a thread wakes this one."""
        if self._waiting.select(seconds):
            try:
                os.read(self.PIPE[0], 4096)
            except BlockingIOError:
                pass

    def _drain(self):
        """End: answer what has been read, within graceful_timeout."""
        end = time.monotonic() + self.cfg.graceful_timeout
        linger = min(end, time.monotonic() + LINGER)
        for server in self._servers:
            server._turbo_ask_to_stop(IDLE_STAYS)
        for thread in self._threads:
            while thread.is_alive() and time.monotonic() < end:
                self.notify()
                thread.join(LOOK)
        for listener in [*self.sockets, *(server.socket for server in self._servers)]:
            listener.close()        # who comes now is to find a sibling, or nobody
        self.log.debug("Draining: %d connections", self._connections())
        while time.monotonic() < linger and self._connections():
            self.notify()
            self._wait(LOOK)
        for server in self._servers:
            server._turbo_drain(IDLE_ALL)
        while time.monotonic() < end and self._connections():
            for server in self._servers:
                self.notify()
                server._turbo_finish(LOOK)
        for server in self._servers:
            server.server_close()

    def _connections(self):
        return sum(server.connections for server in self._servers)

    # ---- servers -------------------------------------------------------------

    def _make_server(self, listener, handler):
        """A server for one of the master's listening sockets (socket.socket)."""
        cfg = self.cfg
        server = Server(listener, handler, tls=self._tls, ragged=cfg.suppress_ragged_eofs)
        server.turbo_max_connections = cfg.worker_connections
        if cfg.threads > 1:
            server.turbo_max_threads = cfg.threads
        server.turbo_shutdown_timeout = cfg.graceful_timeout
        server.turbo_multiprocess = cfg.workers > 1
        server.turbo_access_log = requests.access_log(self)
        server.turbo_error_log = requests.error_log(self)
        server.log = self.log
        if self._tls and lanes.decide(server).lane != lanes.REACTOR:
            server.RequestHandlerClass = type("Handler", (TLSHandler, handler), {})
        server.set_app(requests.wrap(self.wsgi, self, unix=server.is_unix))
        return server

    def _handler_class(self):
        """WSGIRequestHandler with the limits that the settings name; class attributes alone, so
        that it stays in the reactor lane."""
        cfg = self.cfg
        line, fields, longest = cfg.limit_request_line, cfg.limit_request_fields, cfg.limit_request_field_size
        fields = (fields if 0 < fields < MOST_FIELDS else MOST_FIELDS) + 1      # and the empty line
        longest = longest if longest > 0 else LONGEST_FIELD
        # The class can only ask for less than http.client grants. What an application reads with
        # that is not to have narrower bounds by it.
        http.client._MAXHEADERS = max(http.client._MAXHEADERS, fields)
        http.client._MAXLINE = max(http.client._MAXLINE, longest)
        return type("Handler", (Handler,), {
            "server_version": gunicorn.SERVER_SOFTWARE,
            "turbo_idle_timeout": float(cfg.keepalive) if cfg.keepalive else FIRST_REQUEST,
            "turbo_max_requests": None if cfg.keepalive else 1,
            "turbo_max_request_line": line + 2 if line > 0 else LONGEST_LINE,
            "turbo_max_headers": fields,
            "turbo_max_header_line": longest,
            "turbo_max_header_bytes": max(WSGIRequestHandler.turbo_max_header_bytes, longest + 2),
            "turbo_underscores": cfg.header_map == "dangerous",
            "turbo_forwarded_root": bool(cfg.forwarder_headers),
        })


class Server(ThreadingWSGIServer):
    """A ThreadingWSGIServer on a socket that somebody else has bound, and that other processes
    may share.

    Attributes added: `is_unix` (bool), `connections` (how many are open).
    """

    block_on_close = False      # the worker waits, and beats meanwhile

    def __init__(self, listener, handler, *, tls=None, ragged=True):
        """listener: a bound, listening, non-blocking socket.socket. tls: an SSLContext or None;
        ragged: whether a TLS connection may end without close_notify."""
        self.address_family = listener.family
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.dup()
        self.is_unix = isinstance(self.server_address, (str, bytes))
        self.server_name, self.server_port = ("", "") if self.is_unix else self.server_address[:2]
        self.setup_environ()
        if tls is not None:
            self.base_environ["HTTPS"] = "on"
            self.socket = tls.wrap_socket(self.socket, server_side=True, suppress_ragged_eofs=ragged)

    @property
    def connections(self):
        engine = self._turbo_engine
        return self._turbo_running + (0 if engine is None else engine.connections)

    def handle_error(self, request, client_address):
        self.log.exception("Error handling a request of %s", client_address)


class Handler(WSGIRequestHandler):
    """A WSGIRequestHandler with gunicorn's environ, whose complaints go into gunicorn's log."""

    turbo_log = False               # turbo_access_log is called, if somebody wants it
    turbo_os_environ = False
    turbo_raw_environ = True
    turbo_drop_hop_by_hop = True

    def log_error(self, format, *args):
        if not format.startswith("Request timed out"):      # which happens all the time
            address = self.client_address[0] if self.client_address else ""
            self.server.log.warning("Invalid request from ip=%s: " + format, address, *args)

    def log_message(self, format, *args):
        self.server.log.debug(format, *args)


class TLSHandler(Handler):
    """A Handler whose requests wsgiref's handlers answer: by TLS, where the context makes the connections itself."""

    def get_environ(self):
        """The environ of those, with what the turbo_ attributes add to the native one."""
        if not self.client_address:     # of a Unix socket
            self.client_address = ("", "")
        environ = super().get_environ()
        if self.turbo_forwarded_root:
            for name in requests.FORWARDER_NAMES:
                told = [value for key, value in self.headers.items() if key.upper() == name]
                if told:
                    environ["HTTP_" + name] = ",".join(told)
        environ["RAW_URI"] = self.requestline.split()[1]
        environ["REMOTE_PORT"] = str(self.client_address[1])
        return environ
