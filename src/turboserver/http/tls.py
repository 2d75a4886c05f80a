"""HTTPS servers, on every Python with the signature of 3.14's.

Job: the part of an HTTPS server that is neither HTTP nor serving: the context and the
wrapped listening socket. `turboserver.http.server` calls `https_servers` once,
when its own HTTPServer is made; nothing here imports it.

The handshake does not happen in accept(): TCPServer.finish_request (socketserver.py) does
it, for any listening SSLSocket. Connections are TLS, so they take the blocking lane.
"""

import http.server as _original

from turboserver import accelerated

try:
    import ssl
except ImportError:
    ssl = None

_HAS_ORIGINAL = hasattr(_original, "HTTPSServer")


class TLSMixIn:
    """What makes an HTTPServer an HTTPSServer. Goes before it among the bases."""

    def __init__(self, server_address, RequestHandlerClass, bind_and_activate=True, *,
                 certfile, keyfile=None, password=None, alpn_protocols=None):
        """Listen for TLS connections.

        certfile: path of the certificate chain (PEM), with the private key too if keyfile is None.
        password: of the key; str, bytes or a callable, as SSLContext.load_cert_chain takes it.
        alpn_protocols: list of str; ["http/1.1"] by default.
        Raises RuntimeError if this Python has no ssl module, and what load_cert_chain raises.
        """
        if ssl is None:
            raise RuntimeError("HTTPS needs the ssl module, which this Python was built without")
        if _HAS_ORIGINAL:
            super().__init__(server_address, RequestHandlerClass, bind_and_activate, certfile=certfile,
                             keyfile=keyfile, password=password, alpn_protocols=alpn_protocols)
        else:
            self.ssl = ssl
            self.certfile, self.keyfile, self.password = certfile, keyfile, password
            self.alpn_protocols = ["http/1.1"] if alpn_protocols is None else alpn_protocols
            super().__init__(server_address, RequestHandlerClass, bind_and_activate)

    if not _HAS_ORIGINAL:
        def server_activate(self):
            super().server_activate()
            self.socket = self._create_context().wrap_socket(self.socket, server_side=True)

        def _create_context(self):
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certfile, self.keyfile, self.password)
            context.set_alpn_protocols(self.alpn_protocols)
            return context


def https_servers(http_server, threading_mixin):
    """Return (HTTPSServer, ThreadingHTTPSServer) made of these two classes.

    They are the originals where the engine is not loaded and the running Python has them,
    and subclasses of the originals where it is.
    """
    if not accelerated and _HAS_ORIGINAL:
        return _original.HTTPSServer, _original.ThreadingHTTPSServer
    # The original goes before our HTTPServer: its super() calls then reach ours.
    plain = (_original.HTTPSServer,) if _HAS_ORIGINAL else ()
    threading = (_original.ThreadingHTTPSServer,) if _HAS_ORIGINAL else ()

    class HTTPSServer(TLSMixIn, *plain, http_server):
        """An HTTPServer whose connections are TLS."""

    class ThreadingHTTPSServer(threading_mixin, *threading, HTTPSServer):
        """An HTTPSServer with a thread for each connection that needs one."""
        daemon_threads = True

    for cls in (HTTPSServer, ThreadingHTTPSServer):
        cls.__module__ = http_server.__module__ if accelerated else __name__
        cls.__qualname__ = cls.__name__
    return HTTPSServer, ThreadingHTTPSServer
