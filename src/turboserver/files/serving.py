"""The file server as a process: its sockets, a server for each, and the end of them all.

The main thread opens, then waits for signals; each server has a thread of its own. SIGTERM, SIGINT and SIGHUP end them:
nothing more is accepted, what is under way has GRACE seconds; SIGINT again ends at once.

What may not live here: options; what is printed.
"""

import contextlib
import errno
import signal
import sys
import time

from turboserver import accelerated
from turboserver.deploy import binds
from turboserver.deploy.adopting import Adopting, Serving, insist
from turboserver.http.server import ThreadingHTTPServer, ThreadingHTTPSServer

try:
    from ssl import SSLError
except ImportError:
    SSLError = ()

__all__ = ["GRACE", "LAST_PORT", "STOPS", "listening", "make", "until_told"]

GRACE = 5.0             # seconds for what is under way; people wait for it with a hand on Ctrl-C
LOOKS = 1.0             # seconds between two looks whether the certificate has been replaced
PORTS = 100             # so many are tried where none was asked for
LAST_PORT = 65535
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Server(Adopting, ThreadingHTTPServer):
    turbo_shutdown_timeout = GRACE


class _TLSServer(Adopting, ThreadingHTTPSServer):
    turbo_shutdown_timeout = GRACE

    def __init__(self, sock, handler, certificate, key):
        super().__init__(sock, handler, certfile=certificate, keyfile=key)
        # Without the engine the handler's thread shakes hands, with its first look: in accept() one client would hold up all.
        self.socket = self._create_context().wrap_socket(self.socket, server_side=True, do_handshake_on_connect=accelerated)

    def handle_error(self, request, client_address):
        """As the original; that a client went away, in the middle of a record perhaps, is nothing to be told."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, SSLError)):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def listening(asked, port, explicit):
    """Open all that is asked for; gives (listeners of binds.opened(), the port). They are closed at the end.

    asked: binds.Bind each, or a host (str, "" for every address) that gets the port. explicit: whether it has to be this
    port; else it is the next one at which none of the hosts is in use. Raises binds.BindError.
    """
    hosts = [host for host in asked if isinstance(host, str)]
    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(binds.opened([bind for bind in asked if not isinstance(bind, str)]))
        last = min(port + PORTS - 1, LAST_PORT)
        for number in range(port, last + 1) if hosts else ():
            try:
                parsed = [binds.parse(binds.bind_name(host, number)) for host in hosts]
                listeners = stack.enter_context(binds.opened(parsed)) + listeners
            except binds.BindError as error:
                if explicit or getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
                    raise
                if number == last:
                    raise binds.BindError(f"the ports {port} to {last} are all in use: name another one with --port") from None
                continue
            port = number
            break
        yield listeners, port


def make(listeners, handler, certificate=None, key=None):
    """A server for each of `listeners`. certificate, key: paths, which are read here and now; None for plain HTTP."""
    sockets = [listener.socket_for(0) for listener in listeners]
    if certificate is None:
        return [_Server(sock, handler) for sock in sockets]
    return [_TLSServer(sock, handler, certificate, key) for sock in sockets]


def until_told(servers, listeners, signals, *, ready, ending, look=None):
    """Serve until a signal says that it is enough, or a server fails.

    signals: deploy.signals.Signals. ready: called once requests are answered. ending: called with the number of the
    signal, None for a failure. look: called every LOOKS seconds till then. Returns the exit code.
    """
    serving = Serving(servers)
    for listener in listeners:
        listener.socket_for(0).close()      # the servers have their own
    ready()
    end = None
    while serving.running and (end is None or time.monotonic() < end):
        timeout = max(0.0, end - time.monotonic()) if end is not None else LOOKS if look is not None else None
        came, readable = signals.wait(timeout, [serving.ended])
        if look is not None and end is None and not came:
            look()
        if readable:
            serving.clear()
        if end is not None and signal.SIGINT in came:
            break
        if end is None and (came or readable):
            end = time.monotonic() + GRACE
            insist(GRACE)
            serving.stop(GRACE)
            ending(came[0] if came else None)
    return 1 if serving.failed else 0
