"""Clients by TLS that say exactly when which octets leave, and the servers and certificates that their tests share.

Nothing here asserts anything about a server.
"""
import datetime
import os
import ssl

import pytest

from support import Client, connect, load_backend, respond

PEM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "localhost.pem")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture(params=("HTTPSServer", "ThreadingHTTPSServer"))
def server_class(request):
    return request.param


@pytest.fixture(params=VERSIONS, ids=("1.2", "1.3"))
def version(request):
    return request.param


def client_context(version=None, cafile=PEM):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Octets:
    """A client whose TLS stands beside its socket: `sock` has what is on the wire, seal() and open() what is in it."""

    def __init__(self, server, context=None, **options):
        self.sock = connect(server)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost", **options)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def handshake(self, last=True):
        """All of it; without `last` the client's last flight is returned and not sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.receive()
            else:
                break
        flight = self.outgoing.read()
        if last:
            self.sock.sendall(flight)
            return self
        return flight

    def receive(self):
        """One recv() into TLS; False at the end."""
        data = self.sock.recv(1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return bool(data)

    def seal(self, *pieces):
        """The octets on the wire for these, a record (or more) each."""
        for piece in pieces:
            self.tls.write(piece)
        return self.outgoing.read()

    def open(self, enough=1):
        """What comes: at least so many octets, fewer only at the end, which is close_notify (SSLEOFError without)."""
        data = b""
        while len(data) < enough:
            try:
                more = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self.receive()
                continue
            except ssl.SSLZeroReturnError:
                more = b""
            if not more:
                break
            data += more
        return data

    def until(self, mark):
        """What comes, up to `mark`, which is the last of it. EOFError if that does not come."""
        data = b""
        while not data.endswith(mark):
            more = self.open()
            if not more:
                raise EOFError(data[-200:])
            data += more
        return data

    def to_the_end(self):
        return self.open(1 << 60)

    def goodbye(self):
        """The octets of close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        return self.outgoing.read()


def tls_client(server, context=None, name="localhost", **options):
    """A support.Client by TLS."""
    sock = (context or client_context()).wrap_socket(connect(server), server_hostname=name, **options)
    return Client(server, sock=sock)


def handler_class(**members):
    """A handler that stays in the reactor lane. do_GET answers "ok", do_POST with the body."""
    module = load_backend("turboserver").http_server

    def do_GET(self):
        respond(self)

    def do_POST(self):
        respond(self, self.rfile.read(-1 if self.headers["Transfer-Encoding"] else int(self.headers["Content-Length"])))

    return type("Handler", (module.BaseHTTPRequestHandler,), {
        "protocol_version": "HTTP/1.1", "log_message": lambda self, *arguments: None, "do_GET": do_GET,
        "do_POST": do_POST, **members})


def https_server(handler=None, server_class="ThreadingHTTPSServer", certfile=PEM, **attributes):
    module = load_backend("turboserver").http_server
    server = type("Server", (getattr(module, server_class),), attributes)
    return server(("127.0.0.1", 0), handler or handler_class(), certfile=certfile)


def certificate(path, name="localhost", common_name="turboserver"):
    """Write a certificate for the host `name`, which signs itself, with its key. Returns `path`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return str(path)
