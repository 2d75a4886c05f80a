"""The classes of the standard library's socketserver, served by the native engine.

Each public class subclasses its original. What is ours here: which lane a server takes
(lanes.py), the loop behind serve_forever(), a shutdown() that wakes it at once, native
rfile and wfile in StreamRequestHandler, and the way from one datagram to the next.
Everything else is inherited, so it is what the running Python says it is.

Methods call the original's by its class, not by super(), where the original does so
too: the modules' functions are also called with objects of the original classes.

What may not live here: work per byte; anything about HTTP.
"""

import _thread
import errno
import os
import selectors
import signal
import socket
import socketserver
import sys
import threading
import time
import types

from . import accelerated, lanes
from ._ending import Terminated, Threads, ended, is_open, opened, under_way
from .errors import BodyError

__all__ = list(socketserver.__all__)

# The originals as they are now: install() puts ours in their place in the module.
_original = types.SimpleNamespace(**vars(socketserver))

if accelerated:
    from ._socket_channel import (
        IDLE_BLOCKS, IDLE_HTTP, PATIENCE_FROM, be_patient, begin_waiting, channels, end_idle, end_waiting, is_tcp,
    )
    from ._connection import Supplied
    from ._datagram import DatagramFlow
    from ._dispatch import adopt
    from ._engine import Engine, EngineThreads
    from ._handlers import register_base_init
    from ._request import refuse_body
    from ._stream import RequestReader, ResponseWriter
    from ._waker import Waker


class BaseServer(_original.BaseServer):
    """socketserver.BaseServer with the native loop.

    Attribute added, of the class or of a server: `turbo_shutdown_timeout` (seconds as float, or
    None: no end), for handlers that run when the server is to end.
    """

    turbo_shutdown_timeout = 30.0
    _turbo_engine = None
    _turbo_waker = None
    _turbo_serves_in = None     # the thread that is in serve_forever() (its ident)
    _turbo_open = None          # requests under way outside of the engine: id -> socket (see opened)
    # How it ends; serve_forever() and handle_request() begin anew.
    _turbo_draining = False     # what is answered now is the last of its connection
    _turbo_idle_ends = 0        # outside of the engine: who waits for a request finds the end of the stream (IDLE_...)

    def serve_forever(self, poll_interval=0.5):
        """Serve until shutdown(). service_actions() is called at least every
        poll_interval seconds (float); shutdown() does not wait for that.

        SIGTERM, where the program has not said what it means: no more connections are
        accepted, the requests that have been read are answered, within
        turbo_shutdown_timeout; then it ends the process, as it would have at once. A second
        SIGTERM changes nothing.

        server_close() ends it, too.
        """
        lane = lanes.decide(self).lane
        self._turbo_begin_anew()
        self._turbo_serves_in = _thread.get_ident()
        terminated = Terminated(self)
        try:
            if lane == lanes.COMPATIBLE:
                _renew_selector()
                with terminated:
                    _original.BaseServer.serve_forever(self, poll_interval)
            else:
                self._turbo_serve_natively(lane, poll_interval, terminated)
        finally:
            terminated.end()

    def _turbo_serve_natively(self, lane, poll_interval, terminated):
        self._BaseServer__is_shut_down.clear()
        try:
            if self._turbo_waker is None:
                self._turbo_waker = Waker()
            with terminated:
                if lane == lanes.REACTOR:
                    self._turbo_serve_engine(poll_interval)
                else:
                    self._turbo_serve_blocking(poll_interval)
        finally:
            self._BaseServer__shutdown_request = False
            self._BaseServer__is_shut_down.set()

    def handle_request(self):
        """Handle one request, as the original does: wait for it no longer than `timeout` (seconds or
        None), then call handle_timeout()."""
        self._turbo_begin_anew()
        _renew_selector()
        return _original.BaseServer.handle_request(self)

    def shutdown(self):
        """Stop serve_forever() and wait until it has returned. From another thread, else it waits for
        ever. Answers that are under way say `Connection: close`."""
        self._turbo_ask_to_stop(IDLE_BLOCKS)
        self._BaseServer__is_shut_down.wait()

    # ---- the end: who is told, and who is waited for ---------------------------

    def _turbo_begin_anew(self):
        if self._turbo_draining:
            self._turbo_draining = False
            self._turbo_idle_ends = 0

    def _turbo_drain(self, idle_ends):
        """Connections that are open end with the answer that is under way, or with their next
        one, which say so; who waits for a request ends at once, as far as idle_ends (IDLE_...)
        says. Asynchronous."""
        self._turbo_draining = True
        self._turbo_idle_ends = max(self._turbo_idle_ends, idle_ends)
        engine = self._turbo_engine
        if engine is not None:
            engine.drain()
        end_idle(self)

    def _turbo_ask_to_stop(self, idle_ends):
        """End serve_forever(). That is asked for last: another one, which begins anew, can follow
        as soon as it is."""
        self._turbo_drain(idle_ends)
        self._BaseServer__shutdown_request = True
        self._turbo_wake()

    def _turbo_wake(self):
        """Have serve_forever() look at the server's state. Any thread."""
        waker, engine = self._turbo_waker, self._turbo_engine
        if waker is not None:
            waker.wake()
        if engine is not None:
            engine.wake()

    def _turbo_finish(self, timeout):
        """After serve_forever(): wait until what has been read is answered, for `timeout`
        seconds (None: for ever)."""
        end = None if timeout is None else time.monotonic() + timeout
        engine = self._turbo_engine
        if engine is not None:
            engine.finish(timeout)
        while self._turbo_busy() and (end is None or time.monotonic() < end):
            time.sleep(0.02)

    def _turbo_busy(self):
        """Whether a request is under way outside of the engine."""
        return any(map(is_open, under_way(self)))

    def _turbo_shut(self):
        """Shut the connections of requests that are under way, so that their handlers fail."""
        for request in under_way(self):
            if isinstance(request, socket.socket):
                try:
                    # Not the method of an SSLSocket, which forgets that it is one.
                    socket.socket.shutdown(request, socket.SHUT_RDWR)
                except OSError:
                    pass    # it has ended

    # ---- the lanes ---------------------------------------------------------------

    def _turbo_serve_blocking(self, poll_interval):
        """The blocking lane: the original's loop, woken instead of polled."""
        waker = self._turbo_waker
        was_open = self.fileno() >= 0
        while not self._BaseServer__shutdown_request:
            try:
                ready = waker.wait(None if self._turbo_full() else self.fileno(), poll_interval)
            except (OSError, ValueError):
                if was_open and self.fileno() < 0:
                    break
                raise
            if self._BaseServer__shutdown_request or was_open and self.fileno() < 0:
                break
            if ready:
                self._turbo_handle_ready()
            self.service_actions()

    def _turbo_handle_ready(self):
        """Handle what made the socket readable."""
        self._handle_request_noblock()

    def _turbo_full(self):
        """Whether no further request can be taken on now."""
        return False

    def _turbo_serve_engine(self, poll_interval):
        """The reactor lane."""
        engine = self._turbo_engine
        fd = self.fileno()
        if fd < 0:
            raise ValueError(f"Invalid file descriptor: {fd}")
        try:
            if engine is None or not engine.listen(fd):
                engine = self._turbo_engine = Engine(self, lanes.decide(self).threaded)
                if self.fileno() != fd or not engine.listen(fd):
                    return      # server_close() was called meanwhile
        except OSError:
            if self.fileno() != fd:
                return
            raise
        try:
            if engine.threaded:
                _register_threads(self, engine)
                engine.start()
                waker = self._turbo_waker
                while not self._BaseServer__shutdown_request and self._turbo_engine is engine:
                    waker.wait(None, poll_interval)
                    self.service_actions()
            else:
                engine.run(poll_interval)
        finally:
            # The descriptor may have been closed meanwhile, or be another file by now.
            engine.unlisten(fd if self.socket.fileno() == fd else -1)

    def server_close(self):
        """Close the server: every idle connection ends too, every busy one when its
        handler returns. With a mixin whose block_on_close is true that is waited for, within
        turbo_shutdown_timeout; then their connections are shut."""
        _close(self, _original.BaseServer.server_close)


def _renew_selector():
    """eventlet takes the selectors that block out of `selectors`. Where socketserver was imported before, as by
    `turboserver run`, it has one of them still, which would hold up every greenlet."""
    present = getattr(socketserver, "_ServerSelector", None)
    if present is not None and getattr(selectors, present.__name__, None) is not present:
        socketserver._ServerSelector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _close(server, original):
    """server_close(), which is `original` otherwise."""
    if server._turbo_serves_in is not None or under_way(server):
        server._turbo_drain(IDLE_HTTP)
    _stop_engine(server)
    original(server)
    _stop_engine(server)    # one that serve_forever() made before the socket was closed
    server._turbo_wake()


def _stop_engine(server):
    """End the server's connections. Its engine is its threads' alone from here on, and
    goes, with its descriptors, when the last of them does."""
    engine = getattr(server, "_turbo_engine", None)
    if engine is not None:
        server._turbo_engine = None
        engine.stop()


def _register_threads(server, engine):
    """Let server_close() join the engine's threads as it joins a thread a request."""
    if getattr(server, "block_on_close", False):
        vars(server).setdefault("_threads", Threads(server))
        server._threads.append(EngineThreads(engine, server.daemon_threads))


class TCPServer(BaseServer, _original.TCPServer):
    """socketserver.TCPServer, served natively.

    Attributes added, of the class or of a server: `turbo_handshake_timeout` (seconds as float, or
    None), for a client to complete the TLS handshake when the listening socket is an SSLSocket;
    `turbo_max_connections` (int, None: as many as there are descriptors, less 64), beyond
    which accepting pauses; `turbo_max_connections_per_address` (int or None), beyond which
    a connection is closed at once. The last two are the reactor lane's, and are looked at when
    serving begins.
    """

    # With the original's 5, a burst of a dozen connections meets resets.
    request_queue_size = 1024
    turbo_handshake_timeout = 10.0
    turbo_max_connections = None
    turbo_max_connections_per_address = None
    _turbo_handshakes = False   # they were put off in get_request()

    def get_request(self):
        """The next connection, as (socket, client_address). On a listening SSLSocket the
        handshake is left to finish_request(), so that it does not hold up accepting."""
        if getattr(self.socket, "do_handshake_on_connect", False):
            self.socket.do_handshake_on_connect = False
            self._turbo_handshakes = True
        return _original.TCPServer.get_request(self)

    def _handle_request_noblock(self):
        """The original's, with an account of what is open. Without descriptors or memory for a
        connection it is a tenth of a second before the next attempt."""
        try:
            request, client_address = self.get_request()
        except OSError as error:
            if error.errno in _SHORTAGES:
                self._turbo_pause()
            return
        if self.verify_request(request, client_address):
            opened(self, request)
            try:
                self.process_request(request, client_address)
            except Exception:
                ended(self, request)
                self.handle_error(request, client_address)
                self.shutdown_request(request)
            except:
                ended(self, request)
                self.shutdown_request(request)
                raise
        else:
            self.shutdown_request(request)

    def _turbo_pause(self):
        if self._turbo_waker is not None:
            self._turbo_waker.wait(None, 0.1)
        else:
            time.sleep(0.1)

    def finish_request(self, request, client_address):
        """Make the handler. A connection whose TLS handshake fails is dropped."""
        try:
            if self._turbo_handshakes and hasattr(request, "do_handshake") and not self._turbo_shakes_hands(request):
                return None
            return _original.TCPServer.finish_request(self, request, client_address)
        finally:
            ended(self, request)

    def _turbo_shakes_hands(self, request):
        waiting = begin_waiting(request, self)
        usual = request.gettimeout()
        try:
            request.settimeout(self.turbo_handshake_timeout)
            request.do_handshake()
            request.settimeout(usual)
            return True
        except OSError:     # no TLS, no common version, too slow, gone, or the server ends
            return False
        finally:
            end_waiting(waiting)

    def server_close(self):
        """Close the server, as BaseServer does, and its socket."""
        _close(self, _original.TCPServer.server_close)


_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class UDPServer(TCPServer, _original.UDPServer):
    """socketserver.UDPServer, served natively."""

    _turbo_flow = None

    # Not TCPServer's, which are about connections.
    _handle_request_noblock = _original.UDPServer._handle_request_noblock
    get_request = _original.UDPServer.get_request
    finish_request = _original.UDPServer.finish_request

    def _turbo_handle_ready(self):
        if self._turbo_flow is None:
            self._turbo_flow = DatagramFlow()
        self._turbo_flow.handle_ready(self)


class ThreadingMixIn(_original.ThreadingMixIn):
    """socketserver.ThreadingMixIn with a bound on the threads.

    Attribute added, of the class or of a server: `turbo_max_threads` (int; the reactor lane has
    two at the least). When so many handlers run, connections wait in the listening socket's
    queue; none is refused.
    """

    turbo_max_threads = 16000
    _turbo_running = 0

    def process_request(self, request, client_address):
        """Start a thread that runs process_request_thread(). Raises RuntimeError if none can be had."""
        if self.block_on_close and "_threads" not in vars(self):
            ours = isinstance(self, BaseServer)
            vars(self).setdefault("_threads", Threads(self) if ours else _original._Threads())
        # Programs replace the standard module's `threading`; so it is looked up there.
        thread = socketserver.threading.Thread(
            target=self._turbo_thread, args=(request, client_address), daemon=self.daemon_threads)
        self._threads.append(thread)
        with _counting:
            self._turbo_running += 1
        try:
            thread.start()
        except BaseException:
            self._turbo_thread_ended()
            raise

    def _turbo_thread(self, request, client_address):
        if accelerated and self._turbo_running >= PATIENCE_FROM:
            be_patient()
        try:
            self.process_request_thread(request, client_address)
        finally:
            self._turbo_thread_ended()

    def _turbo_thread_ended(self):
        with _counting:
            was_full = self._turbo_full()
            self._turbo_running -= 1
        waker = getattr(self, "_turbo_waker", None)
        if was_full and waker is not None:
            waker.wake()

    def _turbo_full(self):
        return self._turbo_running >= self.turbo_max_threads

    def _turbo_busy(self):
        return self._turbo_running > 0 or BaseServer._turbo_busy(self)


_counting = threading.Lock()


class BaseRequestHandler(_original.BaseRequestHandler):
    """socketserver.BaseRequestHandler, which the engine may make for a connection.

    A subclass defines handle(), and may define setup() and finish(). request (a socket, or a
    pair of octets and socket), client_address and server are what it was made with.
    """

    _turbo = None   # the engine's side of this object; never looked for by __getattr__

    if accelerated:
        request = Supplied("request", "connection")

    def __init__(self, request, client_address, server):
        """Handle the request: setup(), handle(), finish(), within this call unless the engine has
        the connection."""
        if not adopt(self, request):
            _original.BaseRequestHandler.__init__(self, request, client_address, server)


class StreamRequestHandler(BaseRequestHandler, _original.StreamRequestHandler):
    """socketserver.StreamRequestHandler with native rfile and wfile.

    rfile and wfile are binary files: RequestReader and ResponseWriter, where rbufsize and wbufsize
    are the original's. What is written reaches the client as if it were sent at once.

    Class attribute added: `turbo_no_delay` (bool), switch Nagle's algorithm off for TCP
    connections, as disable_nagle_algorithm does, whatever that says.
    """

    turbo_no_delay = False

    if accelerated:
        connection = Supplied("connection")
        rfile = Supplied("rfile")
        wfile = Supplied("wfile")

    def setup(self):
        """Make connection, rfile and wfile from the request (a socket)."""
        sock = self.request
        plain = type(sock) is socket.socket and not lanes.environment_is_patched()
        no_delay = self.turbo_no_delay and (
            is_tcp(sock) if plain else getattr(sock, "family", None) in _TCP_FAMILIES)
        if no_delay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if not (isinstance(sock, socket.socket) and hasattr(sock, "_io_refs")):
            return _original.StreamRequestHandler.setup(self)
        self.connection = sock
        if self.timeout is not None:
            sock.settimeout(self.timeout)
        if self.disable_nagle_algorithm and not no_delay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        reading, writing = channels(sock, plain, self)
        self.rfile = RequestReader(reading) if self.rbufsize == -1 else sock.makefile("rb", self.rbufsize)
        self.wfile = ResponseWriter(writing) if self.wbufsize == 0 else sock.makefile("wb", self.wbufsize)

    def finish(self):
        """Flush wfile and close both files. A BodyError on its way out is answered before."""
        if isinstance(sys.exc_info()[1], BodyError):
            refuse_body(self, sys.exc_info()[1])
        linger = getattr(getattr(self, "rfile", None), "turbo_linger", None)
        if linger is not None:
            linger(getattr(self, "wfile", None))
        _original.StreamRequestHandler.finish(self)


_TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class DatagramRequestHandler(BaseRequestHandler, _original.DatagramRequestHandler):
    """socketserver.DatagramRequestHandler: rfile has the datagram (packet, octets), and what wfile
    has at the end is sent back by `socket`."""


# In these the original comes second, so that the mixin's methods come before ours of the
# plain server, as in a class that a program puts together itself.

class ThreadingUDPServer(ThreadingMixIn, _original.ThreadingUDPServer, UDPServer):
    """A thread a datagram."""


class ThreadingTCPServer(ThreadingMixIn, _original.ThreadingTCPServer, TCPServer):
    """Handlers of different connections run at the same time, in threads."""


if hasattr(os, "fork"):
    class ForkingMixIn(_original.ForkingMixIn):
        """socketserver.ForkingMixIn: a child process a connection. Nothing of an engine
        that runs in the parent runs in the child (_engine.pyx). SIGTERM ends the children
        as it ends the server, if that was to end by it."""

        def process_request(self, request, client_address):
            """Fork a child that handles the request."""
            _forking.server = self
            try:
                _original.ForkingMixIn.process_request(self, request, client_address)
            finally:
                _forking.server = None

        def _turbo_finish(self, timeout):
            for pid in self.active_children or ():
                try:
                    os.kill(pid, signal.SIGTERM)
                except OSError:
                    pass
            BaseServer._turbo_finish(self, timeout)

        def _turbo_busy(self):
            self.collect_children()
            return bool(self.active_children) or BaseServer._turbo_busy(self)

    _forking = threading.local()    # .server: for which this thread forks

    def _is_child():
        server = getattr(_forking, "server", None)
        if isinstance(server, BaseServer):
            _forking.server = None
            Terminated(server).__enter__()     # for good: a child does not come back from process_request()

    os.register_at_fork(after_in_child=_is_child)

    class ForkingUDPServer(ForkingMixIn, _original.ForkingUDPServer, UDPServer):
        """A child process a datagram."""

    class ForkingTCPServer(ForkingMixIn, _original.ForkingTCPServer, TCPServer):
        """A child process a connection."""


if hasattr(socket, "AF_UNIX"):
    class UnixStreamServer(TCPServer, _original.UnixStreamServer):
        """socketserver.UnixStreamServer, served natively."""

    class UnixDatagramServer(UDPServer, _original.UnixDatagramServer):
        """socketserver.UnixDatagramServer, served natively."""

    class ThreadingUnixStreamServer(ThreadingMixIn, _original.ThreadingUnixStreamServer, UnixStreamServer):
        """Handlers of different connections run at the same time, in threads."""

    class ThreadingUnixDatagramServer(ThreadingMixIn, _original.ThreadingUnixDatagramServer, UnixDatagramServer):
        """A thread a datagram."""

    if hasattr(os, "fork") and hasattr(_original, "ForkingUnixStreamServer"):
        class ForkingUnixStreamServer(ForkingMixIn, _original.ForkingUnixStreamServer, UnixStreamServer):
            """A child process a connection."""

        class ForkingUnixDatagramServer(ForkingMixIn, _original.ForkingUnixDatagramServer, UnixDatagramServer):
            """A child process a datagram."""


if accelerated:
    register_base_init(BaseRequestHandler.__init__)
    lanes.learn(__name__)
else:
    # No engine: every name is the original.
    globals().update({name: getattr(_original, name) for name in __all__})


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(socketserver, name)


def __dir__():
    """The original's names, and what is private here: what this module is made of is nobody's."""
    return sorted({*vars(_original), *__all__, *(name for name in globals() if name.startswith("_"))})
