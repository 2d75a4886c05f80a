"""HTTPS servers, on every Python with the signature of 3.14's.

Job: the part of an HTTPS server that is neither HTTP nor serving: the context, its
certificate, and the wrapped listening socket. `turboserver.http.server` makes the classes;
nothing here imports it.

The handshake does not happen in accept(): in the reactor lane the engine does it (_tls.pyx),
in the blocking lane TCPServer.finish_request (socketserver.py), for any listening SSLSocket.
"""

import contextlib
import http.server as _original
import os
import threading

try:
    import ssl
except ImportError:
    ssl = None

#: The originals, HTTPSServer and ThreadingHTTPSServer, where the running Python has them; else ().
ORIGINALS = tuple(getattr(_original, name) for name in ("HTTPSServer", "ThreadingHTTPSServer") if hasattr(_original, name))


class TLSMixIn:
    """What makes an HTTPServer an HTTPSServer. Goes before it among the bases."""

    _turbo_loading = None   # a lock: no session begins while a certificate is replaced (_tls.pyx)

    def __init__(self, server_address, RequestHandlerClass, bind_and_activate=True, *,
                 certfile, keyfile=None, password=None, alpn_protocols=None):
        """Listen for TLS connections.

        server_address, RequestHandlerClass, bind_and_activate: as of socketserver.TCPServer.
        certfile: path of the certificate chain (PEM), with the private key too if keyfile is None.
        password: of the key; str, bytes or a callable, as SSLContext.load_cert_chain takes it.
        alpn_protocols: an iterable of str (RFC 7301); ["http/1.1"] by default.
        Raises RuntimeError if this Python has no ssl module, and what load_cert_chain raises.
        """
        if ssl is None:
            raise RuntimeError("HTTPS needs the ssl module, which this Python was built without")
        self._turbo_loading = threading.Lock()
        if ORIGINALS:
            super().__init__(server_address, RequestHandlerClass, bind_and_activate, certfile=certfile,
                             keyfile=keyfile, password=password, alpn_protocols=alpn_protocols)
        else:
            self.ssl = ssl
            self.certfile, self.keyfile, self.password = certfile, keyfile, password
            self.alpn_protocols = ["http/1.1"] if alpn_protocols is None else alpn_protocols
            super().__init__(server_address, RequestHandlerClass, bind_and_activate)

    if not ORIGINALS:
        def server_activate(self):
            """Listen, by TLS from here on. Raises what load_cert_chain raises: OSError, ssl.SSLError."""
            super().server_activate()
            self.socket = self._create_context().wrap_socket(self.socket, server_side=True)

        def _create_context(self):
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certfile, self.keyfile, self.password)
            context.set_alpn_protocols(self.alpn_protocols)
            return context

    def turbo_reload_certificate(self):
        """Read `certfile` and `keyfile` again, for the handshakes from now on; connections stay.

        Any thread, while it serves too. The present context is changed, so all that was set in it
        holds. Raises what load_cert_chain raises (OSError, ssl.SSLError); then the pair before stays
        in use. In the blocking lane a handshake that begins in that very moment may fail.
        """
        context = getattr(self.socket, "context", None)
        with contextlib.ExitStack() as stack:
            certfile = stack.enter_context(_as_it_is(self.certfile))
            keyfile = self.keyfile and stack.enter_context(_as_it_is(self.keyfile))
            fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if context is not None:     # what it finds strong enough is
                fresh.set_ciphers(f"ALL:@SECLEVEL={context.security_level}")
            fresh.load_cert_chain(certfile, keyfile, self.password)
            if context is not None:     # else server_activate() reads them
                with self._turbo_loading or contextlib.nullcontext():
                    context.load_cert_chain(certfile, keyfile, self.password)


@contextlib.contextmanager
def _as_it_is(path):
    """Gives a path at which the file does not change within, where the system has such: a context takes the
    certificate before it sees whether the key is its own."""
    if not (hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")):
        yield path
        return
    with open(path, "rb") as file:
        octets = file.read()
    with open(os.memfd_create("certificate"), "wb") as copy:
        copy.write(octets)
        copy.flush()
        yield f"/proc/self/fd/{copy.fileno()}"
