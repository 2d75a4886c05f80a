"""Certificates by TLS in the reactor lane: the client's, the one for a name, one that is replaced; and sessions again."""
import gc
import ssl
import threading
import time

import pytest

from support import DEADLINE, respond, serving, wait_until
from tls_clients import (  # noqa: F401: fixtures
    GET, PEM, VERSIONS, Octets, certificate, client_context, handler_class, https_server, server_class, tls_client, version,
)


def own_name(self):
    found = self.connection.getpeercert()
    respond(self, dict(part[0] for part in found["subject"])["commonName"].encode() if found else b"nobody")


# ---------------------------------------------------------------- the client's

def test_client_certificates(server_class, version, tmp_path, capfd):
    mine = certificate(tmp_path / "anna", common_name="anna")
    foreign = certificate(tmp_path / "foreign", common_name="foreign")
    server = https_server(handler_class(do_GET=own_name), server_class)
    server.socket.context.verify_mode = ssl.CERT_REQUIRED
    server.socket.context.load_verify_locations(mine)
    with serving(server):
        context = client_context(version)
        context.load_cert_chain(mine)
        with tls_client(server, context) as client:
            assert client.request().body == client.request().body == b"anna"
            for refused in (None, foreign):
                other = client_context(version)
                if refused:
                    other.load_cert_chain(refused)
                # By TLS 1.3 a client hears of it when it has said something (RFC 8446, 4.4.2.4).
                with pytest.raises((ssl.SSLError, ConnectionError, EOFError)), tls_client(server, other) as client2:
                    client2.request()
            assert client.request().body == b"anna"
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_certificate_that_is_asked_for_later(tmp_path):
    """TLS 1.3, post-handshake authentication."""
    mine = certificate(tmp_path / "anna", common_name="anna")

    def do_GET(self):
        if self.path == "/ask":
            self.connection.verify_client_post_handshake()
            respond(self)
        else:
            own_name(self)

    server = https_server(handler_class(do_GET=do_GET))
    server.socket.context.post_handshake_auth = True
    server.socket.context.verify_mode = ssl.CERT_REQUIRED
    server.socket.context.load_verify_locations(mine)
    context = client_context(VERSIONS[1])
    context.post_handshake_auth = True
    context.load_cert_chain(mine)
    with serving(server), tls_client(server, context) as client:
        assert client.request().body == b"nobody"
        assert client.request(path="/ask").body == b"ok"
        assert client.request().body == b"anna"


# ---------------------------------------------------------------- the one for a name

def test_a_context_for_a_name(server_class, version, tmp_path):
    """A callback is given a socket, and changes its context; a handler finds what it put there."""
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.load_cert_chain(certificate(tmp_path / "other", name="other"))
    seen = []

    def choose(sock, name, context):
        seen.append((isinstance(sock, ssl.SSLSocket), name, context is server.socket.context, sock.getpeername()[0]))
        sock.name = name
        if name == "other":
            sock.context = other
        elif name == "none":
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    def do_GET(self):
        respond(self, f"{self.connection.name} {self.connection.context is other}".encode())

    server = https_server(handler_class(do_GET=do_GET), server_class)
    server.socket.context.sni_callback = choose
    with serving(server):
        with tls_client(server, client_context(version)) as client:
            assert client.request().body == client.request().body == b"localhost False"
        with tls_client(server, client_context(version, str(tmp_path / "other")), name="other") as client:
            assert client.request().body == client.request().body == b"other True"
        with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
            tls_client(server, client_context(version), name="none")
        with tls_client(server, client_context(version)) as client:
            assert client.request().body == b"localhost False"
        assert seen[:3] == [(True, name, True, "127.0.0.1") for name in ("localhost", "other", "none")]
        client = Octets(server, client_context(version)).handshake()
        client.sock.sendall(client.seal(GET))
        assert b"localhost False" in client.until(b"False")
        client.sock.close()
        wait_until(lambda: not server._turbo_engine.connections, "the ends")
    gc.collect()        # a socket that was left open would say so


def test_a_callback_that_fails_or_blocks():
    """It runs in a thread like a handler, which may be slow."""
    entered, go = threading.Event(), threading.Event()

    def choose(sock, name, context):
        if name == "slow":
            entered.set()
            go.wait(DEADLINE)
        if name == "fails":
            return "no number"

    server = https_server()
    server.socket.context.sni_callback = choose
    slow_context = client_context()
    slow_context.check_hostname = False
    with serving(server):
        answers = []

        def slow():
            with tls_client(server, slow_context, name="slow") as client:
                answers.append(client.request().body)
        thread = threading.Thread(target=slow, daemon=True)
        thread.start()
        assert entered.wait(DEADLINE)
        for unused in range(5):
            with tls_client(server) as client:
                assert client.request().body == b"ok"
        go.set()
        thread.join(DEADLINE)
        assert answers == [b"ok"]


# ---------------------------------------------------------------- sessions

def test_sessions_are_resumed(server_class, version):
    seen = []

    def do_GET(self):
        seen.append(self.connection.session_reused)
        respond(self)

    context = client_context(version)
    session = None
    with serving(https_server(handler_class(do_GET=do_GET), server_class)) as server:
        for number in range(4):
            with tls_client(server, context, session=session) as client:
                assert client.request().body == b"ok"
                assert client.sock.session_reused is bool(number) and seen[-1] is bool(number)
                session = client.sock.session


# ---------------------------------------------------------------- one that is replaced

def served(server, **options):
    """The common name of its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tls_client(server, context) as client:
        from cryptography import x509
        found = x509.load_der_x509_certificate(client.sock.getpeercert(True))
        return found.subject.rfc4514_string()


def test_a_certificate_is_replaced(server_class, tmp_path):
    path = certificate(tmp_path / "pair", common_name="one")
    server = https_server(server_class=server_class, certfile=path)
    with serving(server):
        trusting = client_context(cafile=path)
        with tls_client(server, trusting) as kept:
            assert kept.request().body == b"ok" and served(server) == "CN=one"
            certificate(tmp_path / "pair", common_name="two")
            assert served(server) == "CN=one"
            server.turbo_reload_certificate()
            assert served(server) == "CN=two"
            assert kept.request().body == b"ok"


def test_a_pair_that_is_no_pair_changes_nothing(server_class, tmp_path):
    path, key = certificate(tmp_path / "pair", common_name="one"), tmp_path / "key"
    key.write_bytes((tmp_path / "pair").read_bytes())
    from support import load_backend
    cls = getattr(load_backend("turboserver").http_server, server_class)
    with serving(cls(("127.0.0.1", 0), handler_class(), certfile=path, keyfile=str(key))) as server:
        certificate(tmp_path / "pair", common_name="two")
        with pytest.raises(ssl.SSLError, match="(?i)key.values.mismatch"):
            server.turbo_reload_certificate()
        assert served(server) == "CN=one"
        (tmp_path / "pair").write_bytes(b"nonsense")
        with pytest.raises(ssl.SSLError):
            server.turbo_reload_certificate()
        key.unlink()
        with pytest.raises(FileNotFoundError):
            server.turbo_reload_certificate()
        assert served(server) == "CN=one"
        certificate(tmp_path / "pair", common_name="three")
        key.write_bytes((tmp_path / "pair").read_bytes())
        server.turbo_reload_certificate()
        assert served(server) == "CN=three"


def test_handshakes_while_certificates_are_replaced(tmp_path):
    """None fails, and each has one of them."""
    path = certificate(tmp_path / "pair", common_name="one")
    server = https_server(certfile=path)
    failed, done, count = [], threading.Event(), [0]

    def shake():
        while not done.is_set():
            try:
                count[0] += served(server) in ("CN=one", "CN=two")
            except Exception as error:
                failed.append(error)

    with serving(server):
        threads = [threading.Thread(target=shake) for unused in range(3)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 2
        number = 0
        while time.monotonic() < end and not failed:
            number += 1
            certificate(tmp_path / "pair", common_name=("one", "two")[number % 2])
            server.turbo_reload_certificate()
        done.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert not failed and count[0] > 10 and number > 10


def test_the_files_are_those_of_the_server():
    server = https_server()
    server.turbo_reload_certificate()
    server.certfile = PEM + ".missing"
    with pytest.raises(FileNotFoundError):
        server.turbo_reload_certificate()
    server.server_close()
