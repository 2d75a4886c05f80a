"""How servers without the engine come to their end: who has a request under way is answered, who has none goes at once.

The originals know neither their connections nor what a handler does. Here the server keeps both, and shuts the reading
side of what is idle: its handler finds the end of the stream and returns. What the kernel has already is still read. The
serving thread registers a connection, its handler's thread says when a request begins and ends; one lock guards both.

What may not live here: anything for the engine, in whose lanes an override of these methods would be noticed.
"""

import socket
import threading
import time

__all__ = ["Draining"]


def _telling(handler):
    """The handler class, which tells its server when a request begins and when it has ended."""

    class Telling(handler):
        def parse_request(self):
            self.server._turbo_under_way(self.request, True)
            return super().parse_request()

        def handle_one_request(self):
            try:
                super().handle_one_request()
            finally:
                self.server._turbo_under_way(self.request, False)

    Telling.__name__, Telling.__qualname__, Telling.__module__ = handler.__name__, handler.__qualname__, handler.__module__
    return Telling


class Draining:
    """Goes before a ThreadingMixIn server of the original's, whose server_close() waits for no thread: drain() does."""

    def __init__(self, address, handler, *arguments, **more):
        self._turbo_open = {}  # connection -> whether a request is under way
        self._turbo_ending, self._turbo_changed = False, threading.Condition()
        super().__init__(address, _telling(handler), *arguments, **more)

    def process_request(self, request, client_address):
        with self._turbo_changed:
            self._turbo_open[request] = False
        # A Unix socket's client has no address, and the original's get_environ() wants a host.
        super().process_request(request, client_address or ("", 0))

    def shutdown_request(self, request):
        with self._turbo_changed:
            self._turbo_open.pop(request, None)
            self._turbo_changed.notify_all()
        super().shutdown_request(request)

    def _turbo_under_way(self, request, is_so):
        with self._turbo_changed:
            if request in self._turbo_open:
                self._turbo_open[request] = is_so
                if self._turbo_ending and not is_so:
                    self._turbo_read_no_more(request)

    @staticmethod
    def _turbo_read_no_more(request):
        try:
            # Not SSLSocket's own, after which it would go on without TLS.
            socket.socket.shutdown(request, socket.SHUT_RD)
        except OSError:
            pass  # gone already

    def drain(self, end):
        """Wait until all connections have ended, or for the moment `end` (time.monotonic())."""
        with self._turbo_changed:
            self._turbo_ending = True
            for request, under_way in self._turbo_open.items():
                if not under_way:
                    self._turbo_read_no_more(request)
            while self._turbo_open and time.monotonic() < end:
                self._turbo_changed.wait(min(1.0, max(0.0, end - time.monotonic())))
