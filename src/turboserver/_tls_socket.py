"""The socket of a TLS connection of the reactor lane, as a program finds it.

    handler.connection: TLSSocket (an ssl.SSLSocket)  ->  ._sslobj: SocketSession  ->  Session (_tls.pyx)

An SSLSocket asks its `_sslobj` for everything that is TLS, and that is usually an object over the socket. Here it is
one over the Session that the engine has of the connection, which waits where that one would: so the program and the
engine read and write one stream, in the order in which they do it.

Any thread of the program, with the GIL. A SocketSession knows its socket weakly, for that one has it.

What may not live here: OpenSSL, the engine.
"""

import socket
import ssl
import time
import weakref

__all__ = ["TLSSocket", "make"]

RECORD = 16384      # octets of one record at the most (RFC 8446, 5.1): what a non-blocking socket takes at a time


class SocketSession:
    """What SSLSocket asks for: read, write, and how it is encrypted. As the standard library's they raise TimeoutError
    by the socket's time-out, SSLWantReadError and SSLWantWriteError where it is 0, SSLError, OSError."""

    def __init__(self, sock, session):
        self._sock = weakref.ref(sock)
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session.ssl, name)

    def _deadline(self):
        timeout = self._sock().gettimeout()
        return None if timeout is None else time.monotonic() + timeout

    def _wait(self, write, end, what):
        """Until something can be read (written). end: time.monotonic(), or None."""
        timeout = self._sock().gettimeout()
        if timeout == 0:
            raise (ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)") if write
                   else ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)"))
        if not self._session.wait(write, None if end is None else max(end - time.monotonic(), 0.0)):
            raise TimeoutError(f"The {what} operation timed out")

    def _push(self, end, what):
        while not self._session.push():
            self._wait(True, end, what)

    def read(self, n=1024, buffer=None):
        if buffer is not None:
            view = memoryview(buffer).cast("B")
            if n <= 0 or n > len(view):
                n = len(view)
        elif n < 0:
            raise ValueError("size should not be negative")
        if n == 0:
            return b"" if buffer is None else 0
        end = self._deadline()
        while (octets := self._session.take(n)) is None:
            self._wait(False, end, "read")
        if not octets and self._session.ragged:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
        if buffer is None:
            return octets
        view[:len(octets)] = octets
        return len(octets)

    def write(self, data):
        view = memoryview(data).cast("B")
        end = self._deadline()
        at = 0
        while at < len(view):
            self._push(end, "write")
            try:
                self._session.give(view[at:at + RECORD])
            except ssl.SSLWantReadError:
                self._wait(False, end, "write")
                continue
            at += RECORD
            if self._sock().gettimeout() == 0:
                break       # the rest is offered again
        try:
            self._push(end, "write")
        except ssl.SSLWantWriteError:
            pass            # it leaves with what is next
        return min(at, len(view))

    def pending(self):
        return self._session.pending()

    def do_handshake(self):
        end = self._deadline()
        while not self._session.handshake():
            self._wait(False, end, "handshake")

    def shutdown(self):
        end = self._deadline()
        while not self._session.end_tls():
            self._wait(not self._session.push(), end, "shutdown")
        return self._sock()

    def say_goodbye(self):
        self._session.say_goodbye()

    def behind(self, n):
        return self._session.behind(n)

    def verify_client_post_handshake(self):
        return self._session.post_handshake()

    # What SSLSocket assigns.

    @property
    def context(self):
        return self._session.ssl.context

    @context.setter
    def context(self, context):
        self._session.ssl.context = context

    @property
    def session(self):
        return self._session.ssl.session

    @session.setter
    def session(self, session):
        self._session.ssl.session = session


class TLSSocket(ssl.SSLSocket):
    """An ssl.SSLSocket. When it is closed, or shut, its peer is told that nothing more comes (close_notify)."""

    _turbo_behind = None    # after unwrap(): the SocketSession, which may have received more than TLS

    def unwrap(self):
        """As the original: ends TLS in order, and returns the plain socket, which this one is from then on."""
        session = self._sslobj
        plain = super().unwrap()
        self._turbo_behind = session
        return plain

    def recv(self, n=1024, flags=0):
        octets = self._turbo_behind is not None and self._turbo_behind.behind(n)
        return octets or super().recv(n, flags)

    def recv_into(self, buffer, nbytes=None, flags=0):
        if self._turbo_behind is not None:
            view = memoryview(buffer).cast("B")
            octets = self._turbo_behind.behind(min(nbytes or len(view), len(view)))
            if octets:
                view[:len(octets)] = octets
                return len(octets)
        return super().recv_into(buffer, nbytes, flags)

    def shutdown(self, how):
        if how != socket.SHUT_RD:
            self._say_goodbye()
        super().shutdown(how)

    def _real_close(self):
        self._say_goodbye()
        super()._real_close()

    def _say_goodbye(self):
        if self._sslobj is not None:
            self._sslobj.say_goodbye()


def make(listener, fd, session):
    """The TLSSocket for a connection that `listener`, an SSLSocket, has accepted; it owns the descriptor."""
    sock = TLSSocket.__new__(TLSSocket)
    socket.socket.__init__(sock, listener.family, listener.type, listener.proto, fileno=fd)
    sock._context = session.context
    sock._session = None
    sock._closed = False
    sock._connected = True
    sock.server_side = True
    sock.server_hostname = None
    sock.do_handshake_on_connect = listener.do_handshake_on_connect
    sock.suppress_ragged_eofs = listener.suppress_ragged_eofs
    sock._sslobj = SocketSession(sock, session)
    return sock
