"""CONTRACT, "Servers": listening sockets that programs bind, exchange, inherit or wrap themselves.

Also the families: Unix, datagram, IPv6 servers; `UDPServer` handlers get `(data, socket)`.
"""
import socket
import ssl

import pytest

from support import Client, connect, exchange, fetch, read_until_eof, respond, serving

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")


def http_handler(backend):
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            respond(self)

    return Handler


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server_class(backend, request):
    return getattr(backend.http_server, request.param)


class TestOwnSocket:
    """bind_and_activate=False, then server_close(), then self.socket = other."""

    def test_socket_exchanged_for_another(self, backend, server_class):
        server = server_class(("127.0.0.1", 0), http_handler(backend), bind_and_activate=False)
        server.server_close()
        server.socket = socket.create_server(("127.0.0.1", 0))
        server.server_address = server.socket.getsockname()
        with serving(server):
            assert fetch(server).status == 200

    def test_bind_and_activate_later(self, backend, server_class):
        server = server_class(("127.0.0.1", 0), http_handler(backend), bind_and_activate=False)
        server.allow_reuse_address = False
        server.server_bind()
        server.server_activate()
        with serving(server):
            assert server.server_port == server.server_address[1]
            assert fetch(server).status == 200

    def test_socket_exchanged_in_init(self, backend):
        class Server(backend.socketserver.ThreadingMixIn, backend.http_server.HTTPServer):
            daemon_threads = True

            def __init__(self, sock, handler):
                super().__init__(sock.getsockname(), handler, bind_and_activate=False)
                self.socket.close()
                self.socket = sock

        with serving(Server(socket.create_server(("127.0.0.1", 0)), http_handler(backend))) as server:
            with Client(server) as client:
                assert client.request().status == client.request().status == 200

    def test_socket_that_does_not_block(self, backend, server_class):
        server = server_class(("127.0.0.1", 0), http_handler(backend))
        server.socket.setblocking(False)
        with serving(server):
            assert fetch(server).status == 200


class TestServerBind:
    """server_bind is overridden for SO_REUSEPORT, dual stack (IPV6_V6ONLY off), LISTEN_FDS, or is a no-op."""

    @pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")
    def test_reuseport(self, backend, server_class):
        class Server(server_class):
            def server_bind(self):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                super().server_bind()

        with Server(("127.0.0.1", 0), http_handler(backend)) as first:
            with serving(Server(first.server_address, http_handler(backend))) as second:
                assert first.server_address == second.server_address
                first.server_close()
                assert fetch(second).status == 200

    @needs_ipv6
    def test_dual_stack(self, backend, server_class):
        class Server(server_class):
            address_family = socket.AF_INET6

            def server_bind(self):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                return super().server_bind()

        with serving(Server(("::", 0), http_handler(backend))) as server:
            port = server.server_address[1]
            assert fetch(("127.0.0.1", port)).status == 200
            assert fetch(("::1", port, 0, 0)).status == 200

    def test_inherited_descriptor(self, backend, server_class):
        """As LISTEN_FDS hands it over."""
        inherited = socket.create_server(("127.0.0.1", 0))

        class Server(server_class):
            def server_bind(self):
                self.socket.close()
                self.socket = socket.socket(fileno=inherited.detach())
                self.server_address = self.socket.getsockname()
                self.server_name, self.server_port = "inherited", self.server_address[1]

            def server_activate(self):
                pass

        with serving(Server(("ignored", 0), http_handler(backend))) as server:
            assert fetch(server).status == 200

    def test_no_op_with_server_activate_connecting(self, backend):
        """... a no-op with `server_activate` connecting and `get_request` returning `self.socket`."""
        class Server(backend.http_server.HTTPServer):
            def server_bind(self):
                pass

            def server_activate(self):
                self.socket.connect(self.server_address)

            def get_request(self):
                return self.socket, self.server_address

        with socket.create_server(("127.0.0.1", 0)) as listener:
            with Server(listener.getsockname(), http_handler(backend)) as server:
                with listener.accept()[0] as peer:
                    peer.settimeout(20)
                    peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    server.handle_request()
                    assert read_until_eof(peer).endswith(b"\r\n\r\nok")

    def test_server_name_and_port_set_by_the_override(self, backend):
        class Server(backend.http_server.HTTPServer):
            def server_bind(self):
                backend.socketserver.TCPServer.server_bind(self)
                self.server_name, self.server_port = "mine", self.server_address[1]

        with Server(("127.0.0.1", 0), http_handler(backend)) as server:
            assert server.server_name == "mine"

    def test_failing_bind_closes_the_socket_and_raises(self, backend, server_class):
        class Server(server_class):
            allow_reuse_address = False
            allow_reuse_port = False

        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(OSError):
                Server(taken.getsockname(), http_handler(backend))


class TestTLS:
    """The socket is wrapped in TLS after bind, before or inside `get_request`, or in `finish_request`."""

    def check(self, server, tls):
        with serving(server):
            for unused in range(2):
                raw = connect(server)
                with Client(server, sock=tls[1].wrap_socket(raw, server_hostname="localhost")) as client:
                    for body in (None, b"x" * 100_000):
                        method = "GET" if body is None else "POST"
                        assert client.request(method, body=body).body == (body or b"ok")

    def handler(self, backend):
        class Handler(http_handler(backend)):
            def do_POST(self):
                assert isinstance(self.connection, ssl.SSLSocket)
                respond(self, self.rfile.read(int(self.headers["Content-Length"])))

        return Handler

    def test_after_bind(self, backend, server_class, tls):
        server = server_class(("127.0.0.1", 0), self.handler(backend))
        server.socket = tls[0].wrap_socket(server.socket, server_side=True)
        self.check(server, tls)

    def test_in_server_bind(self, backend, server_class, tls):
        class Server(server_class):
            def server_bind(self):
                super().server_bind()
                self.socket = tls[0].wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

        self.check(Server(("127.0.0.1", 0), self.handler(backend)), tls)

    def test_inside_get_request(self, backend, server_class, tls):
        class Server(server_class):
            def get_request(self):
                request, address = super().get_request()
                return tls[0].wrap_socket(request, server_side=True), address

        self.check(Server(("127.0.0.1", 0), self.handler(backend)), tls)

    def test_in_finish_request(self, backend, server_class, tls):
        class Server(server_class):
            def finish_request(self, request, client_address):
                with tls[0].wrap_socket(request, server_side=True) as request:
                    super().finish_request(request, client_address)

        self.check(Server(("127.0.0.1", 0), self.handler(backend)), tls)

    def test_in_the_handlers_setup(self, backend, server_class, tls):
        class Handler(self.handler(backend)):
            def setup(self):
                self.request = tls[0].wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self):
                super().finish()
                self.request.close()

        self.check(server_class(("127.0.0.1", 0), Handler), tls)

    def test_plain_bytes_on_a_tls_port_harm_nobody(self, backend, server_class, tls, capsys):
        server = server_class(("127.0.0.1", 0), self.handler(backend))
        server.socket = tls[0].wrap_socket(server.socket, server_side=True)
        with serving(server):
            exchange(server, b"GET / HTTP/1.0\r\n\r\n")
            raw = connect(server)
            with Client(server, sock=tls[1].wrap_socket(raw, server_hostname="localhost")) as client:
                assert client.request().status == 200


class TestFamilies:
    """Unix, datagram, IPv6 servers; `UDPServer` handlers get `(data, socket)`."""

    STREAM = ("TCPServer", "ThreadingTCPServer", "ForkingTCPServer",
              "UnixStreamServer", "ThreadingUnixStreamServer", "ForkingUnixStreamServer")
    DATAGRAM = ("UDPServer", "ThreadingUDPServer", "ForkingUDPServer",
                "UnixDatagramServer", "ThreadingUnixDatagramServer", "ForkingUnixDatagramServer")

    def make(self, backend, name, handler, tmp_path):
        if not hasattr(backend.socketserver, name):
            pytest.skip(f"no socketserver.{name} in this Python")
        address = str(tmp_path / "sock") if "Unix" in name else ("127.0.0.1", 0)
        server_class = type("Server", (getattr(backend.socketserver, name),), {"daemon_threads": True})
        return server_class(address, handler)

    @pytest.mark.parametrize("name", STREAM)
    def test_stream(self, backend, name, tmp_path):
        class Handler(backend.socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    self.wfile.write(line.upper())

        with serving(self.make(backend, name, Handler, tmp_path)) as server:
            for unused in range(2):
                assert exchange(server, b"line\nother\nlast") == b"LINE\nOTHER\nLAST"

    @pytest.mark.parametrize("name", DATAGRAM)
    def test_datagram_handler_gets_data_and_socket(self, backend, name, tmp_path):
        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                assert type(data) is bytes and isinstance(sock, socket.socket)
                assert sock is self.server.socket
                sock.sendto(data.upper(), self.client_address)

        self.datagrams(self.make(backend, name, Handler, tmp_path), tmp_path)

    @pytest.mark.parametrize("name", DATAGRAM)
    def test_datagram_request_handler(self, backend, name, tmp_path):
        class Handler(backend.socketserver.DatagramRequestHandler):
            def handle(self):
                self.wfile.write(self.rfile.read().upper())

        self.datagrams(self.make(backend, name, Handler, tmp_path), tmp_path)

    def datagrams(self, server, tmp_path):
        with serving(server), socket.socket(server.address_family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.bind(str(tmp_path / "client") if isinstance(server.server_address, str) else ("127.0.0.1", 0))
            for data in (b"one", b"", b"x" * 8192):
                sock.sendto(data, server.server_address)
                assert sock.recv(10_000) == data.upper()
            for unused in range(10):  # a Unix datagram socket may hold as few as ten
                several = {b"D%d" % number for number in range(5)}
                for data in several:
                    sock.sendto(data, server.server_address)
                assert {sock.recv(100) for unused in several} == several

    def test_long_datagrams_are_cut_at_max_packet_size(self, backend):
        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                self.request[1].sendto(b"%d" % len(self.request[0]), self.client_address)

        class Server(backend.socketserver.UDPServer):
            max_packet_size = 100

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(20)
                for length, seen in ((99, b"99"), (100, b"100"), (500, b"100")):
                    sock.sendto(b"x" * length, server.server_address)
                    assert sock.recv(100) == seen

    def test_exception_for_one_datagram_harms_no_other(self, backend, capsys):
        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                if self.request[0] == b"bad":
                    raise ZeroDivisionError("bad datagram")
                self.request[1].sendto(self.request[0], self.client_address)

        with serving(backend.socketserver.UDPServer(("127.0.0.1", 0), Handler)) as server:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(20)
                for data in (b"bad", b"good", b"bad", b"last"):
                    sock.sendto(data, server.server_address)
                assert sock.recv(100) == b"good" and sock.recv(100) == b"last"
        assert capsys.readouterr().err.count("ZeroDivisionError: bad datagram") == 2

    @needs_ipv6
    def test_ipv6(self, backend, server_class):
        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self, repr(self.client_address).encode())

        Server = type("Server", (server_class,), {"address_family": socket.AF_INET6})
        with serving(Server(("::1", 0), Handler)) as server:
            host, port, flow, scope = eval(fetch(server).body)
            assert (host, flow, scope) == ("::1", 0, 0)

    @needs_unix
    def test_http_over_a_unix_socket(self, backend, tmp_path):
        """There the client address is an empty string, and programs answer for it in get_request."""
        class Server(backend.socketserver.ThreadingMixIn, backend.http_server.HTTPServer):
            address_family = socket.AF_UNIX
            daemon_threads = True

            def server_bind(self):
                backend.socketserver.TCPServer.server_bind(self)
                self.server_name, self.server_port = "unix", 0

            def get_request(self):
                return super().get_request()[0], ["local", 0]

        with serving(Server(str(tmp_path / "http"), http_handler(backend))) as server:
            with Client(server) as client:
                assert client.request().body == client.request().body == b"ok"


class TestServerName:
    """server_name may be missing (a plain TCPServer with SimpleHTTPRequestHandler is common)."""

    @pytest.mark.parametrize("name", ("TCPServer", "ThreadingTCPServer"))
    def test_plain_tcpserver_serves_files(self, backend, name, tmp_path, monkeypatch):
        (tmp_path / "file.txt").write_text("content")
        monkeypatch.chdir(tmp_path)
        Server = type("Server", (getattr(backend.socketserver, name),), {"daemon_threads": True})
        with serving(Server(("127.0.0.1", 0), backend.http_server.SimpleHTTPRequestHandler)) as server:
            assert not hasattr(server, "server_name") and not hasattr(server, "server_port")
            assert fetch(server, "/file.txt").body == b"content"
            assert b"file.txt" in fetch(server, "/").body
            assert fetch(server, "/missing").status == 404
