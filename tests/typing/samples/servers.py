"""What is asked of server classes: turbo_ attributes on classes and on objects, mixins in either order, hooks, and
that ours are the originals' where a program names those."""

import socket
import socketserver as original
from typing import Any, assert_type

from turboserver import socketserver
from turboserver.socketserver import BaseRequestHandler, StreamRequestHandler, TCPServer, ThreadingMixIn


class Echo(StreamRequestHandler):
    turbo_no_delay = True

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class Own(ThreadingMixIn, TCPServer):
    """Class attributes: the originals' and ours."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    turbo_max_threads = 100
    turbo_max_connections: int | None = 1000
    turbo_max_connections_per_address: int | None = None
    turbo_handshake_timeout: float | None = 2.5
    turbo_shutdown_timeout: float | None = None

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return bool(client_address[0] != "192.0.2.1")

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        return request, address


class OriginalMixIn(original.ThreadingMixIn, TCPServer):
    """The original's mixin with our server, as programs do that were changed in part."""


class OriginalServer(ThreadingMixIn, original.TCPServer):
    """And the reverse."""


def objects(server: Own) -> None:
    server.turbo_max_threads = 20
    server.turbo_max_connections = None
    server.turbo_max_connections_per_address = 10
    server.turbo_handshake_timeout = None
    server.turbo_shutdown_timeout = 5
    assert_type(server.socket, socket.socket)


def have_these_types(server: socketserver.ThreadingTCPServer) -> None:
    assert_type(server.turbo_shutdown_timeout, float | None)
    assert_type(server.turbo_handshake_timeout, float | None)
    assert_type(server.turbo_max_connections, int | None)
    assert_type(server.turbo_max_connections_per_address, int | None)
    assert_type(server.turbo_max_threads, int)


def classes() -> None:
    Own.turbo_max_threads = 30
    TCPServer.turbo_max_connections = 10
    socketserver.BaseServer.turbo_shutdown_timeout = 1.5


def takes_original(server: original.BaseServer, handler: type[original.BaseRequestHandler]) -> None:
    with server:
        server.serve_forever(poll_interval=0.1)


def a_server_of_each_kind() -> None:
    takes_original(TCPServer(("127.0.0.1", 0), Echo), Echo)
    takes_original(socketserver.ThreadingTCPServer(("::1", 0, 0, 0), Echo), Echo)
    takes_original(socketserver.UDPServer(("127.0.0.1", 0), BaseRequestHandler), BaseRequestHandler)
    takes_original(socketserver.ThreadingUDPServer(("127.0.0.1", 0), socketserver.DatagramRequestHandler), Echo)
    takes_original(socketserver.UnixStreamServer("/run/echo", Echo), Echo)
    takes_original(socketserver.UnixDatagramServer(b"/run/echo", BaseRequestHandler), Echo)
    takes_original(socketserver.ThreadingUnixStreamServer("/run/echo", Echo), Echo)
    takes_original(socketserver.ThreadingUnixDatagramServer("/run/echo", BaseRequestHandler), Echo)
    takes_original(socketserver.ForkingTCPServer(("", 0), Echo, bind_and_activate=False), Echo)
    takes_original(socketserver.ForkingUDPServer(("", 0), BaseRequestHandler), Echo)
    takes_original(OriginalMixIn(("", 0), Echo), Echo)
    takes_original(OriginalServer(("", 0), Echo), Echo)


def what_makes_a_handler(request: Any, client_address: Any, server: TCPServer) -> Echo:
    return Echo(request, client_address, server)


def in_order(server: Own) -> None:
    """`with` gives the class itself."""
    with TCPServer(("", 0), what_makes_a_handler) as plain, server as own:
        assert_type(plain, TCPServer)
        assert_type(own, Own)
        host, port = plain.server_address[:2]
        print(host, port)
        own.shutdown()
        own.server_close()
