"""`turboserver [DIR]`: where it serves, whom it lets in, its log, TLS, and how it ends."""
import contextlib
import errno
import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import ssl
import struct
import threading
import time
import types

import pytest

import turboserver
import tls_clients
from file_server import LOCAL, PEM, file_server, get
from support import DEADLINE, needs_engine, wait_until
from turboserver import lanes
from turboserver.deploy import DeployError, binds
from turboserver.deploy.signals import Signals
from turboserver.files import arguments, certificate, command, request_log, serving
from turboserver.files.handler import handler_class
from turboserver.files.options import Options

native = pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("text")
    return tmp_path


# ---------------------------------------------------------------- where

def test_the_next_port_if_the_usual_one_is_busy(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = taken.getsockname()[1]
        with file_server("site", "--bind", "127.0.0.1", cwd=folder, environ={"TEST_DEFAULT_PORT": str(usual)}) as server:
            port = server.ready().port
            assert usual < port < usual + serving.PORTS
            wait_until(lambda: server.err, "the notice")
            assert server.err == [f"turboserver: port {usual} is in use, so this is {port}"]
            assert get(server.urls[0])[1] == b"text"


def test_all_hosts_have_the_same_port():
    with socket.create_server(("127.0.0.2", 0)) as taken:
        usual = taken.getsockname()[1]
        with serving.listening(["127.0.0.1", "127.0.0.2"], usual, False) as (listeners, port):
            assert port > usual
            assert [listener.sockets[0].getsockname()[1] for listener in listeners] == [port, port]
        with pytest.raises(binds.BindError, match="in use"), serving.listening(["127.0.0.1", "127.0.0.2"], usual, True):
            pass


def test_no_port_is_free(monkeypatch):
    monkeypatch.setattr(serving, "PORTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(binds.BindError, match=f"the ports {port} to {port} are all in use"):
            with serving.listening(["127.0.0.1"], port, False):
                pass
    # Another reason is no reason to go on.
    with pytest.raises(binds.BindError, match="no such address"), serving.listening(["192.0.2.77"], 1, False):
        pass


def test_several_addresses_and_a_unix_socket(folder):
    with file_server("site", "--bind", "127.0.0.2:0", "--bind", "127.0.0.1", "-p", "0", "--unix", "s", cwd=folder) as server:
        first, second, unix = server.ready().urls
        assert (first.startswith("http://127.0.0.1:"), second.startswith("http://127.0.0.2:"), unix) == (True, True, "unix:s")
        assert get(first)[1] == get(second)[1] == b"text"
        assert over_unix(folder / "s").startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0
        assert not (folder / "s").exists()
        assert sum('"GET /a.txt HTTP/1.' in line for line in server.err) == 3, server.err


def over_unix(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(str(path))
        sock.sendall(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(4096), b""))


@pytest.mark.parametrize("format", [None, *request_log.FORMATS])
def test_a_unix_socket_alone(folder, format):
    argv = [] if format is None else ["--log-format", format]
    with file_server("site", "--unix", "s", *argv, cwd=folder) as server:
        assert server.ready().urls == ["unix:s"]
        answer = over_unix(folder / "s")
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\ntext")
        assert server.stop() == 0
        assert len(server.err) == 1 and "unix" in server.err[0] and "Traceback" not in server.err[0]


@native
@pytest.mark.parametrize("more", [{}, {"format": "json"}, {"quiet": True}, {"unix": True}], ids=str)
def test_it_takes_the_reactor_lane(more):
    from turboserver.http.server import SimpleHTTPRequestHandler
    handler = request_log.logging(SimpleHTTPRequestHandler, **more)
    decision = lanes.decide(serving._Server, handler)
    assert decision.lane == lanes.REACTOR, decision.reasons
    assert (handler is SimpleHTTPRequestHandler) is (not more)


# ---------------------------------------------------------------- who, and the log

def test_a_password_from_the_environment(folder):
    with file_server("site", *LOCAL, cwd=folder, environ={"TURBOSERVER_AUTH": "anna:secret"}) as server:
        url = server.ready().urls[0]
        assert get(url)[0] == 401
        assert get(url, headers={"Authorization": "Basic YW5uYTpzZWNyZXQ="})[0] == 200


def test_the_option_goes_before_the_environment(folder, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_AUTH", "anna:secret")
    found = command._options(arguments.parser().parse_args([str(folder), "--auth", "bert:other"]))
    assert found.auth.check("Basic YmVydDpvdGhlcg==", "x").user == "bert"
    assert found.auth.check("Basic YW5uYTpzZWNyZXQ=", "x").user is None
    assert "TURBOSERVER_AUTH" not in os.environ         # for nobody else


def test_extra_headers_reach_the_answer(folder):
    with file_server("site", *LOCAL, "-H", "X-One: 1", cwd=folder) as server:
        assert get(server.ready().urls[0])[2].getheader("X-One") == "1"


LINES = {
    "common": r'127\.0\.0\.1 - (\S+) \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET (\S+) HTTP/1\.1" (\d+) \S+',
    "combined": r'127\.0\.0\.1 - (\S+) \[[^]]*\] "GET (\S+) HTTP/1\.1" (\d+) \S+ "-" "a \\x22b\\x22"',
    "short": r"\d\d:\d\d:\d\d ()(\d+) GET (\S+) 127\.0\.0\.1",
}


@pytest.mark.parametrize("format", request_log.FORMATS)
def test_log_formats(folder, format):
    with file_server("site", *LOCAL, "--auth", "anna:secret", "--log-format", format, cwd=folder) as server:
        url = server.ready().urls[0]
        right, wrong = ({"Authorization": f"Basic {word}", "User-Agent": 'a "b"'} for word in ("YW5uYTpzZWNyZXQ=", "YW5uYTp4"))
        get(url, "/a.txt", headers=right)
        get(url, "/a.txt?x", headers=wrong)
        get(url, "/none", headers=right)
        assert server.stop() == 0
    assert len(server.err) == 3, server.err
    found = []
    for line in server.err:
        if format == "json":
            entry = json.loads(line)
            assert entry["remote_addr"] == "127.0.0.1" and entry["user_agent"] == 'a "b"' and entry["method"] == "GET"
            assert entry["protocol"] == "HTTP/1.1"
            found.append((entry["remote_user"] or "-", entry["target"], str(entry["status"])))
        else:
            match = re.fullmatch(LINES[format], line)
            assert match, line
            user, one, two = match.groups()
            found.append((user or "-", one, two) if format != "short" else ("-", two, one))
    # Who could not show that it is her is not named.
    user = "-" if format == "short" else "anna"
    assert found == [(user, "/a.txt", "200"), ("-", "/a.txt?x", "401"), ("-", "/none", "404")]


@pytest.mark.parametrize("format", request_log.FORMATS)
def test_a_request_cannot_forge_a_line(format):
    handler = types.SimpleNamespace(
        requestline='GET /" 200\n\x1b[2J\xe9\u2028 HTTP/1.1', address_string=lambda: "1.2.3.4", headers=None)
    line = request_log.FORMATS[format](handler, 400, "-")
    assert line.isascii() and line.isprintable()
    if format == "json":
        assert json.loads(line)["status"] == 400
    else:
        assert "\\x22" in line and "\\x0a" in line


# ---------------------------------------------------------------- TLS

def test_a_certificate_that_signs_itself(folder, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("temporary")
    with file_server("site", "--bind", "127.0.0.1", "--bind", "127.0.0.2", "-p", "0", "--tls-self-signed", cwd=folder,
                     environ={"TMPDIR": str(temporary)}) as server:
        url = server.ready().urls[0]
        assert url.startswith("https://127.0.0.1:")
        assert os.listdir(temporary) == []          # the key is nowhere
        der, protocol = handshake(server.port)
        assert protocol == "http/1.1"
        digest = hashlib.sha256(der).hexdigest().upper()
        shown = next(line for line in server.out if "SHA-256" in line).rpartition(" ")[2]
        assert shown == ":".join(re.findall("..", digest))
        # Who trusts it is at the right place by any of its names.
        (folder / "seen.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
        context = ssl.create_default_context(cafile=folder / "seen.pem")
        for one in server.urls:
            assert get(one, context=context)[:2] == (200, b"text")
        with pytest.raises(ssl.SSLCertVerificationError):
            get(url, context=ssl.create_default_context())
        # Other people's noise holds up nobody.
        with socket.create_connection(("127.0.0.1", server.port)):
            assert get(url, context=context)[1] == b"text"
        assert server.stop() == 0 and "Traceback" not in "\n".join(server.err)


def handshake(port, name="localhost"):
    """(the server's certificate, the protocol that ALPN chose)"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:
        with context.wrap_socket(sock, server_hostname=name) as tls:
            return tls.getpeercert(True), tls.selected_alpn_protocol()


def test_the_names_of_a_certificate():
    from cryptography import x509
    pair = certificate.self_signed(["localhost", "box", "127.0.0.1", "::1", "fe80::1%eth0", "localhost", "", "no name", "\xe9"])
    found = x509.load_pem_x509_certificate(pair.pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "box"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "fe80::1"]
    assert certificate.self_signed(["localhost"]).fingerprint != certificate.self_signed(["localhost"]).fingerprint


def test_the_key_is_this_user_s_for_a_moment():
    with certificate.on_disk(b"secret") as path:
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
        with open(path, "rb") as file:
            assert file.read() == b"secret"
    assert not os.path.exists(os.path.dirname(path))


def test_a_certificate_of_one_s_own(folder):
    with file_server("site", *LOCAL, "--tls-cert", PEM, "--unix", "s", cwd=folder) as server:
        assert server.ready().urls[0].startswith("https://")
        assert not any("SHA-256" in line for line in server.out)
        context = ssl.create_default_context(cafile=PEM)
        assert get(server.urls[0].replace("127.0.0.1", "localhost"), context=context)[1] == b"text"
        with socket.create_connection(("127.0.0.1", server.port)) as raw:       # no TLS
            raw.settimeout(DEADLINE)
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while raw.recv(4096):
                    pass
        assert server.stop() == 0 and "Traceback" not in "\n".join(server.err)


def test_without_the_ssl_module(monkeypatch):
    monkeypatch.setattr(certificate, "ssl", None)
    with pytest.raises(DeployError, match="without"):
        certificate.check(PEM, None)
    with pytest.raises(DeployError, match="without"):
        certificate.need_cryptography()


# ---------------------------------------------------------------- the end

@pytest.mark.parametrize("number, last", [
    (signal.SIGINT, "Interrupted, ending. Ctrl-C again ends it at once."), (signal.SIGTERM, "Ending."), (signal.SIGHUP, "Ending.")])
def test_signals_end_all_of_it(folder, number, last):
    with file_server("site", "--bind", "127.0.0.1:0", "--bind", "127.0.0.2:0", "--unix", "s", cwd=folder) as server:
        server.ready()
        with socket.create_connection(("127.0.0.1", server.port)) as idle:      # holds up nobody
            idle.settimeout(DEADLINE)
            get(server.urls[0])         # so that the one before it has been accepted
            assert server.stop(number) == 0
            assert idle.recv(1) == b""
        assert server.out[-1] == last and len(server.err) == 1
        assert not (folder / "s").exists()


def test_a_kept_tls_connection_does_not_keep_it(folder):
    context = ssl.create_default_context(cafile=PEM)
    with file_server("site", *LOCAL, "--tls-cert", PEM, cwd=folder) as server:
        connection = http.client.HTTPSConnection("localhost", server.ready().port, timeout=DEADLINE, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/a.txt")
            assert connection.getresponse().read() == b"text"
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < serving.GRACE


def test_a_server_that_fails_ends_all(monkeypatch, capsys):
    class Server:
        def __init__(self, error):
            self.error, self.stopped = error, threading.Event()

        def serve_forever(self):
            if self.error is not None:
                raise self.error
            self.stopped.wait(DEADLINE)

        def ask_to_stop(self):
            self.stopped.set()

        def finish(self, end):
            pass

    monkeypatch.setattr(serving, "insist", lambda timeout: None)     # it is for a whole process
    signals, said = Signals(()), []
    try:
        code = serving.until_told([Server(None), Server(OSError("gone"))], [], signals,
                                  ready=lambda: said.append("ready"), ending=said.append)
    finally:
        signals.close()
    assert (code, said) == (1, ["ready", None])
    assert capsys.readouterr().err == "turboserver: a server has failed: OSError: gone\n"


def test_what_is_under_way_is_sent_before_the_end(folder):
    size = 64 << 20
    with open(folder / "site" / "big", "wb") as file:
        file.truncate(size)
    with file_server("site", *LOCAL, cwd=folder) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.ready().port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request("GET", "/big")
            response = connection.getresponse()
            received = len(response.read(1 << 20))
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.out[-1] == "Ending.", "the end")
            server.process.send_signal(signal.SIGTERM)      # whoever repeats it wants nothing else
            time.sleep(0.2)
            received += len(response.read())
        assert received == size and server.wait() == 0


def test_a_second_interrupt_ends_at_once(folder):
    with open(folder / "site" / "big", "wb") as file:
        file.truncate(256 << 20)
    with file_server("site", *LOCAL, cwd=folder) as server:
        with socket.create_connection(("127.0.0.1", server.ready().port)) as stalled:
            stalled.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stalled.recv(1) == b"H"
            server.process.send_signal(signal.SIGINT)
            wait_until(lambda: server.out[-1] == "Interrupted, ending. Ctrl-C again ends it at once.", "the end")
            assert server.process.poll() is None
            assert server.stop(signal.SIGINT) == 0
        assert server.out.count("Interrupted, ending. Ctrl-C again ends it at once.") == 1


def test_nohup(folder):
    with file_server("site", *LOCAL, cwd=folder, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as server:
        server.ready().process.send_signal(signal.SIGHUP)
        assert get(server.urls[0])[1] == b"text"
        assert server.stop() == 0


@pytest.mark.parametrize("stream", [None, "closed", "full"])
def test_an_answer_does_not_fail_for_its_log(stream):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    stream = {None: None, "closed": io.StringIO(), "full": Full()}[stream]
    if type(stream) is io.StringIO:
        stream.close()
    with contextlib.closing(request_log.unfailing(stream)) as lines:
        assert lines.write("a line\n") == 7


def test_a_tls_client_that_goes_away_is_nothing_to_be_told(folder):
    """After the handshake, in the middle of a head, and in that of an answer that it does not read."""
    (folder / "site" / "large").write_bytes(bytes(1 << 20))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with file_server("site", *LOCAL, "--tls-self-signed", cwd=folder) as server:
        server.ready()
        for octets in (b"", b"GET / HT", b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"):
            client = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), DEADLINE))
            client.sendall(octets)
            if octets.endswith(b"\r\n\r\n"):
                client.recv(100)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))     # a reset
            client.close()
        assert get(server.urls[0], context=context)[:2] == (200, b"text")
        assert server.stop() == 0 and "Traceback" not in "\n".join(server.err)


@needs_engine
def test_by_tls_there_are_deadlines():
    """Those of the reactor lane, without an attribute of its own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        server = serving._TLSServer(sock, handler_class(Options(directory=".")), PEM, None)
    with server:
        assert lanes.decide(server).lane == lanes.REACTOR and server.RequestHandlerClass.timeout is None


def served_name(port):
    from cryptography import x509
    return x509.load_der_x509_certificate(handshake(port)[0]).subject.rfc4514_string()


def test_a_certificate_that_is_replaced(folder, tmp_path):
    """One file after the other, while a connection is kept."""
    pair, other, key = tmp_path / "pair", tmp_path / "other", tmp_path / "key"
    tls_clients.certificate(pair, common_name="one")
    key.write_bytes(pair.read_bytes())
    with file_server("site", *LOCAL, "--tls-cert", str(pair), "--tls-key", str(key), cwd=folder) as server:
        port = server.ready().port
        context = ssl.create_default_context(cafile=pair)
        kept = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
        with contextlib.closing(kept):
            kept.request("GET", "/a.txt")
            assert kept.getresponse().read() == b"text" and served_name(port) == "CN=one"
            tls_clients.certificate(other, common_name="two")
            os.replace(other, pair)
            wait_until(lambda: any("cannot be used" in line for line in server.err), "a complaint")
            assert served_name(port) == "CN=one"
            key.write_bytes(pair.read_bytes())
            wait_until(lambda: any("read again" in line for line in server.err), "the new one")
            assert served_name(port) == "CN=two"
            kept.request("GET", "/a.txt")
            assert kept.getresponse().read() == b"text"
        assert server.stop() == 0
        assert [line for line in server.err if "replaced" in line] == [
            "turboserver: the certificate was replaced and cannot be used (KEY_VALUES_MISMATCH): the one before stays",
            "turboserver: the certificate was replaced and has been read again"]


def test_when_a_certificate_is_read_again(tmp_path):
    path, said, read, error = tmp_path / "a", [], [], [None]
    path.write_text("1")

    def reread():
        read.append(path.read_text())
        if error[0]:
            raise error[0]
    replaced = certificate.Replaced([str(path), None, str(tmp_path / "b")], reread, said.append)
    replaced.look()
    assert not read and not said
    path.write_text("22")
    replaced.look()
    replaced.look()
    assert read == ["22"] and said == ["the certificate was replaced and has been read again"]
    # What does not fit: tried again a look later, then when it changes; one complaint for each state.
    error[0] = PermissionError(13, "Permission denied")
    (tmp_path / "b").write_text("key")
    for unused in range(4):
        replaced.look()
    assert read == ["22"] * 3
    assert said[1:] == ["the certificate was replaced and cannot be used (Permission denied): the one before stays"]
    path.write_text("333")
    replaced.look()
    error[0] = None
    replaced.look()
    assert read[-2:] == ["333"] * 2 and said[2:] == ["the certificate was replaced and has been read again"]
    path.unlink()
    error[0] = FileNotFoundError(2, "No such file or directory")
    replaced.look()
    replaced.look()
    assert said[3:] == ["the certificate was replaced and cannot be used (No such file or directory): the one before stays"]


@pytest.mark.parametrize("option", ["--tls-key", "--auth"])
def test_what_is_secret_is_not_served(folder, option):
    (folder / "secret").write_text("anna:x")
    arguments = types.SimpleNamespace(auth="@" + str(folder / "secret") if option == "--auth" else None, tls_cert=None,
                                      tls_key=str(folder / "secret") if option == "--tls-key" else None)
    with pytest.raises(DeployError, match=f"{option}: .* is in the folder that is served"):
        command._check_secrets(arguments, str(folder))
    command._check_secrets(arguments, str(folder / "below"))
