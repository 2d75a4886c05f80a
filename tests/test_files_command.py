"""`turboserver [DIR]`: what is asked for, what is refused, and what is printed."""
import contextlib
import errno
import importlib.util
import io
import os
import pty
import signal
import socket
import threading

import pytest

import turboserver
from docs.blocks import text_of
from file_server import LOCAL, PEM, file_server, get
from support import DEADLINE, wait_until
from turboserver import cli
from turboserver.files import addresses, arguments, certificate, command

HASH = "$2b$04$abcdefghijklmnopqrstuuFmMR8Y9rlrjGZ6qLh8PPe6Ql5y0ZQ5e"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("text")
    return tmp_path


def parsed(*argv):
    return arguments.parser().parse_args(argv)


def options(*argv):
    return command._options(parsed(*argv))


# ---------------------------------------------------------------- what is asked for

def test_nothing_is_on_unless_asked(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = options()
    assert found.directory == str(folder)
    assert (found.headers, found.cors, found.cache, found.spa, found.compress, found.auth, found.upload, found.page,
            found.outside) == ((), False, None, False, False, None, False, True, False)
    assert found.upload_bound == 1 << 30


def test_all_that_can_be_asked(folder):
    found = options(str(folder), "--cors", "-H", "X-One: 1: a ", "--header=X-Two:2", "--cache", "60", "--spa",
                    "--compress", "--auth", "anna:se:cret", "--upload", "--upload-bound", "500M", "--no-page",
                    "--follow-outside")
    assert found.headers == (("X-One", "1: a"), ("X-Two", "2"))
    assert (found.cors, found.cache, found.spa, found.compress, found.upload, found.page, found.outside) == (
        True, 60, True, True, True, False, True)
    assert found.upload_bound == 500 * 2**20
    assert found.auth.check("Basic YW5uYTpzZTpjcmV0", "x").user == "anna"     # anna:se:cret
    assert found.auth.check("Basic YW5uYTpzZQ==", "x").user is None


@pytest.mark.parametrize("text, octets", [
    ("1", 1), ("1024", 1024), ("3K", 3 << 10), ("3k", 3 << 10), ("500M", 500 << 20), ("1G", 1 << 30), ("2GiB", 2 << 30),
    ("2gb", 2 << 30), ("1T", 1 << 40)])
def test_sizes(text, octets):
    assert parsed("--upload-bound", text).upload_bound == octets


@pytest.mark.parametrize("text, value", [
    ("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "::1"), ("[::1]", "::1"), ("fe80::1%lo", "fe80::1%lo"),
    ("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), (":8080", ("", 8080)), ("name.example:1", ("name.example", 1)),
])
def test_addresses_to_bind(text, value):
    bind, = parsed("--bind", text).bind
    assert (bind if isinstance(bind, str) else bind.value) == value


@pytest.mark.parametrize("argv, kinds, explicit", [
    ([], [""], False), (["-p", "1"], [""], True), (["--unix", "s"], ["unix"], False), (["--bind", "a"], ["a"], False),
    (["--unix", "s", "-p", "1"], ["", "unix"], True), (["--unix", "s", "--bind", "a"], ["a", "unix"], False),
    (["--bind", "a", "--bind", "b:1", "-p", "2"], ["a", "tcp"], True),
    (["--bind", "0.0.0.0", "--bind", "::1", "--bind", "a"], ["0.0.0.0", "::1", "a"], False),
    (["--bind", "0.0.0.0", "--bind", "127.0.0.1", "-p", "0"], ["0.0.0.0", "127.0.0.1"], True),
])
def test_where(argv, kinds, explicit):
    asked, found = arguments.binds_of(parsed(*argv))
    assert [bind if isinstance(bind, str) else bind.kind for bind in asked] == kinds and found is explicit


@pytest.mark.parametrize("argv, message", [
    (["-p", "70000"], "argument -p/--port: '70000' is no port from 0 to 65535"),
    (["-p", "-1"], "argument -p/--port: '-1' is no port from 0 to 65535"),
    (["-p", "\u0661"], "argument -p/--port: '\u0661' is no port from 0 to 65535"),
    (["--bind", "a:b"], "argument -b/--bind: 'a:b' is no address: HOST, HOST:PORT, [IPV6]:PORT or :PORT"),
    (["--bind", ""], "argument -b/--bind: '' is no address: HOST, HOST:PORT, [IPV6]:PORT or :PORT"),
    (["--bind", "[a"], "argument -b/--bind: '[a' is no address: HOST, HOST:PORT, [IPV6]:PORT or :PORT"),
    (["--bind", "8080"], "argument -b/--bind: '8080' is no address (a port is -p 8080, or :8080)"),
    (["--bind", "a:70000"], "argument -b/--bind: port must be 0 to 65535, not 70000"),
    (["--bind", "a:1", "-p", "2"], "--port has no use here: each --bind says its own"),
    (["--unix", ""], "argument --unix: 'unix:' names no Unix socket (unix:PATH)"),
    (["-H", "X"], "argument -H/--header: 'X' is no header: \"Name: value\""),
    (["-H", ": x"], "argument -H/--header: ': x' is no header: \"Name: value\""),
    (["-H", "A b: x"], "argument -H/--header: 'A b: x' is no header: \"Name: value\""),
    (["-H", "A: x\r\nB: y"], "argument -H/--header: 'A: x\\r\\nB: y' is no header: \"Name: value\""),
    (["-H", "A: \u20ac"], "argument -H/--header: 'A: \u20ac' is no header: \"Name: value\""),
    (["-H", "content-length: 1"], "argument -H/--header: 'content-length: 1' is for the server to say"),
    (["--cache", "-1"], "argument --cache: '-1' is no number of seconds"),
    (["--cache", "1.5"], "argument --cache: '1.5' is no number of seconds"),
    (["--cache", "2147483648"], "argument --cache: '2147483648' is no number of seconds"),
    (["--upload", "--upload-bound", "0"], "argument --upload-bound: '0' is no size: 500M, 2G, or octets"),
    (["--upload", "--upload-bound", "1X"], "argument --upload-bound: '1X' is no size: 500M, 2G, or octets"),
    (["--upload-bound", "1"], "--upload-bound is for --upload"),
    (["--auth", "anna"], "--auth: USER:PASSWORD is wanted, or @FILE"),
    (["--tls-key", "k"], "--tls-key is for --tls-cert"),
    (["--tls-cert", "c", "--tls-self-signed"], "--tls-self-signed and --tls-cert are two certificates"),
    (["--unix", "s", "--qr"], "--qr needs an address, which a Unix socket is not"),
    (["--unix", "s", "--open"], "--open needs an address, which a Unix socket is not"),
    (["--spa=1"], "argument --spa: ignored explicit argument '1'"),
    (["--comp"], "unrecognized arguments: --comp"),
    (["--bind", "a", "-b", "a"], "--bind a is there twice"),
    (["--bind", "a:1", "--bind", "b:1", "--bind", "a:1"], "--bind a:1 is there twice"),
    (["-b", "0.0.0.0", "-b", "127.0.0.1"], "--bind 127.0.0.1 is one of all addresses, which are asked for, too"),
    (["-b", "::1", "-b", "::"], "--bind ::1 is one of all addresses, which are asked for, too"),
    (["a", "b"], "unrecognized arguments: b"),
    (["a", "b\n\x1b[2J"], "unrecognized arguments: b??[2J"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_usage_is_one_line(capsys, monkeypatch, folder, argv, message):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"turboserver: {message} (turboserver --help shows the options)\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_help_and_version(capsys):
    for argv in (["--help"], ["-h"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert text.startswith("usage: turboserver [OPTIONS] [DIR]\n")
        for part in ("examples:", "turboserver run SCRIPT", "turboserver wsgi", "turboserver explain", "--upload-bound"):
            assert part in text
        assert all(len(line) <= 100 for line in text.splitlines())
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"turboserver {turboserver.__version__}\n")


def test_the_documents_have_each_option():
    text = text_of("docs/folder.md")
    for action in arguments.parser()._actions:
        if action.dest not in ("help", "version", "directory"):
            assert f"`{action.option_strings[-1]}" in text or f"/{action.option_strings[-1]}`" in text, action.dest


# ---------------------------------------------------------------- what cannot be done: one line, exit code 1

def complaint(*argv, cwd, **more):
    with file_server(*argv, cwd=cwd, **more) as server:
        assert server.wait() == 1
        assert server.out == [] and len(server.err) == 1, server.err
        start, _, message = server.err[0].partition(": ")
        assert start == "turboserver"
        return message


def test_a_busy_port_that_was_asked_for(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for argv in (["--bind", "127.0.0.1", "-p", str(port)], ["--bind", f"127.0.0.1:{port}"]):
            assert complaint(*argv, cwd=folder) == (
                f"cannot listen on 127.0.0.1:{port}: the address is in use, by another server perhaps")


def test_folders_that_cannot_be_served(folder):
    assert complaint("none", cwd=folder) == "no such folder or command: none"
    assert complaint("./none", cwd=folder) == "no such folder: ./none"
    assert complaint("8000", cwd=folder) == "no such folder: 8000 (a port is -p 8000)"
    assert complaint("no\nne", cwd=folder) == "no such folder or command: no?ne"
    assert complaint("site/a.txt", cwd=folder) == "no folder: site/a.txt"
    assert complaint("", cwd=folder) == "the name of the folder is empty (the current one is .)"


def test_folders_without_permission(folder, monkeypatch, capsys):
    """As they are for those who are not root."""
    def main(*argv):
        assert cli.main([str(folder), *argv]) == 1
        return capsys.readouterr()

    monkeypatch.setattr(os, "access", lambda path, mode: mode & os.W_OK == 0)
    assert main("--upload") == ("", f"turboserver: --upload: no permission to write in {folder}\n")

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "scandir", refuse)
    assert main() == ("", f"turboserver: cannot read the folder {folder}: Permission denied\n")


def test_addresses_that_cannot_be_had(folder):
    assert complaint("--bind", "192.0.2.77", "-p", "0", cwd=folder) == (
        "cannot listen on 192.0.2.77:0: this machine has no such address")
    assert complaint("--unix", "none/s", cwd=folder) == "cannot listen on unix:none/s: no such folder"


def test_certificates_that_cannot_be_used(folder):
    pairs = [certificate.self_signed(["localhost"]).pem for _ in range(2)]
    for name, pem in zip("ab", pairs):
        cert, _, key = pem.partition(b"-----BEGIN PRIVATE")
        (folder / f"{name}.cert").write_bytes(cert)
        (folder / f"{name}.key").write_bytes(b"-----BEGIN PRIVATE" + key)
    (folder / "text").write_text("no certificate")

    def tls(*argv):
        return complaint(*LOCAL, "--tls-cert", *argv, cwd=folder)

    assert tls("none") == "cannot read the certificate none: No such file or directory"
    assert tls("a.cert", "--tls-key", "none") == "cannot read the key none: No such file or directory"
    assert tls("site") == "cannot read the certificate site: Is a directory"
    assert tls("a.cert", "--tls-key", "b.key") == "the key b.key is not the one of the certificate a.cert"
    assert tls("text") == "no certificate with its key in text (PEM is wanted)"
    assert tls("a.cert") == "no certificate with its key in a.cert (PEM is wanted)"
    assert tls("a.cert", "--tls-key", "text") == "no certificate with its key in a.cert and text (PEM is wanted)"


def test_a_key_with_a_password(folder):
    from cryptography.hazmat.primitives import serialization
    pem = certificate.self_signed(["localhost"]).pem
    key = serialization.load_pem_private_key(pem[pem.index(b"-----BEGIN PRIVATE"):], None)
    (folder / "locked").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")))
    (folder / "cert").write_bytes(pem)
    assert complaint(*LOCAL, "--tls-cert", "cert", "--tls-key", "locked", cwd=folder) == (
        "the key locked has a password: openssl pkey -in KEY -out PLAIN takes it away")


@pytest.mark.skipif(importlib.util.find_spec("passlib") is None, reason="turboserver[auth] is not installed")
def test_files_of_users_that_are_wrong(folder):
    (folder / "users").write_text("anna:plain\n")
    assert complaint(*LOCAL, "--auth", "@none", cwd=folder) == (
        "--auth: cannot read none: No such file or directory")
    assert complaint(*LOCAL, cwd=folder, environ={"TURBOSERVER_AUTH": "@none"}) == (
        "TURBOSERVER_AUTH: cannot read none: No such file or directory")
    message = complaint(*LOCAL, "--auth", "@users", cwd=folder)
    assert message.startswith("--auth: users:1: no hash ") and "plain" not in message


@pytest.mark.parametrize("argv, without, extra", [
    (["--auth", "@users"], "passlib", "auth"), (["--tls-self-signed"], "cryptography", "tls"), (["--qr"], "segno", "qr")])
def test_extras_that_are_not_installed(folder, argv, without, extra):
    (folder / "users").write_text(f"anna:{HASH}\n")
    message = complaint(*LOCAL, *argv, cwd=folder, environ={"TEST_WITHOUT": without})
    assert message.endswith(f": pip install 'turboserver[{extra}]'")


# ---------------------------------------------------------------- what is printed

def test_the_start_and_the_end(folder):
    with file_server("site", *LOCAL, cwd=folder) as server:
        url = f"http://127.0.0.1:{server.ready().port}/"
        assert server.out == [f"Serving {folder}/site", f"  {url}", "Ctrl-C ends it."]
        assert get(url)[:2] == (200, b"text")
        assert server.stop(signal.SIGINT) == 0
        assert server.out[3:] == ["Interrupted, ending. Ctrl-C again ends it at once."]
        assert len(server.err) == 1 and '"GET /a.txt HTTP/1.1" 200 -' in server.err[0]


def test_nothing_is_said_when_it_is_to_be_quiet(folder):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with file_server("site", "--bind", f"127.0.0.1:{port}", "--quiet", cwd=folder) as server:
        def answers():
            try:
                return get(f"http://127.0.0.1:{port}/")[0] == 200
            except OSError:
                return False
        wait_until(answers, "the server")
        assert get(f"http://127.0.0.1:{port}/", "/none")[0] == 404
        assert server.stop(signal.SIGINT) == 0
        assert (server.out, server.err) == ([], [])


def test_every_address_and_the_one_of_the_network(folder):
    lan = addresses.lan_addresses()
    with file_server("site", "-p", "0", "--log-format", "short", cwd=folder) as server:
        port = server.ready().port
        hosts = [f"[{host}]" if ":" in host else host for host in lan
                 if socket.has_dualstack_ipv6() or ":" not in host]
        assert server.urls == [f"http://{host}:{port}/" for host in ("localhost", *hosts)]
        for line in server.out[2:-1]:
            assert line.endswith("  for others on the network")
        assert get(f"http://127.0.0.1:{port}/")[1] == b"text"
        if socket.has_dualstack_ipv6():
            assert get(f"http://[::1]:{port}/")[1] == b"text"
        for url in server.urls:
            assert get(url)[1] == b"text"
        assert server.stop() == 0
        # It came by IPv4, and is shown like that.
        assert server.err[0].endswith(" GET /a.txt 127.0.0.1") and "::ffff:" not in "".join(server.err)


def bound(host, **options):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, **options)


def test_urls():
    lan = ["10.0.0.5", "fd00::5"]
    with bound("127.0.0.1") as sock:
        assert addresses.urls(sock, "http", lan) == [(f"http://127.0.0.1:{sock.getsockname()[1]}/", True)]
        assert addresses.is_local(sock)
    with bound("0.0.0.0") as sock:
        port = sock.getsockname()[1]
        assert addresses.urls(sock, "https", lan) == [(f"https://localhost:{port}/", True), (f"https://10.0.0.5:{port}/", False)]
        assert not addresses.is_local(sock)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_urls_of_ipv6():
    lan = ["10.0.0.5", "fd00::5"]
    with bound("::") as sock:       # IPv6 alone, unless it is told otherwise
        port = sock.getsockname()[1]
        assert addresses.urls(sock, "http", lan) == [(f"http://[::1]:{port}/", True), (f"http://[fd00::5]:{port}/", False)]
    with bound("::", dualstack_ipv6=True) as sock:
        port = sock.getsockname()[1]
        assert [url.text for url in addresses.urls(sock, "http", lan)] == [
            f"http://{host}:{port}/" for host in ("localhost", "10.0.0.5", "[fd00::5]")]
        assert not addresses.is_local(sock)
    with bound("::ffff:127.0.0.1", dualstack_ipv6=True) as sock:
        assert addresses.is_local(sock)


def test_addresses_of_the_network_are_no_loopback_ones():
    assert not {"127.0.0.1", "::1", "0.0.0.0", "::"} & set(addresses.lan_addresses())
    assert len(set(addresses.lan_addresses())) == len(addresses.lan_addresses())


def test_the_url_for_others_comes_first():
    here, there = addresses.Url("http://localhost:1/", True), addresses.Url("http://10.0.0.5:1/", False)
    unix = addresses.Url("unix:s", True)
    assert addresses.chosen([unix, here, there]) == there.text
    assert addresses.chosen([unix, here]) == here.text
    assert addresses.chosen([unix]) is None


def test_a_folder_s_name_cannot_move_the_cursor():
    none = addresses.Colours(io.StringIO())
    assert addresses.banner("a\x1b[2J\nb", [addresses.Url("unix:\x07", True)], [], none) == "Serving a?[2J?b\n  unix:?\n"


def test_names_that_the_encoding_of_the_output_does_not_have(folder):
    (folder / "\u20ac").mkdir()
    with file_server("\u20ac", *LOCAL, cwd=folder, environ={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}) as server:
        assert server.ready().out[0] == f"Serving {folder}/?"


def test_without_standard_output(folder):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with file_server("site", "--bind", f"127.0.0.1:{port}", "--qr", cwd=folder, preexec_fn=lambda: os.close(1)) as server:
        wait_until(lambda: len(server.err) == 2, "the complaints")
        assert server.err == ["turboserver: the QR code leads to this machine alone (--bind)",
                              "turboserver: this terminal has no characters for a QR code (UTF-8 has)"]
        assert get(f"http://127.0.0.1:{port}/")[0] == 200
        assert server.stop(signal.SIGINT) == 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("environ, stream, coloured", [
    ({}, Terminal, True), ({"NO_COLOR": ""}, Terminal, True), ({"NO_COLOR": "1"}, Terminal, False),
    ({"TERM": "dumb"}, Terminal, False), ({}, io.StringIO, False)])
def test_colours(monkeypatch, environ, stream, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = addresses.banner("/x", [addresses.Url("http://a/", True)], [], addresses.Colours(stream()))
    assert ("\x1b[" in text) is coloured


@pytest.mark.parametrize("environ, coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_real_terminal(folder, environ, coloured):
    ours, theirs = pty.openpty()
    seen = []

    def read():
        with contextlib.suppress(OSError):
            while octets := os.read(ours, 4096):
                seen.append(octets)

    reader = threading.Thread(target=read, daemon=True)
    try:
        with file_server("site", *LOCAL, cwd=folder, environ=environ, stdout=theirs) as server:
            os.close(theirs)
            reader.start()
            wait_until(lambda: b"ends it" in b"".join(seen), "the banner")
            assert server.stop(signal.SIGINT) == 0
        reader.join(DEADLINE)
    finally:
        os.close(ours)
    text = b"".join(seen).decode()
    assert ("\x1b[36mhttp://127.0.0.1:" in text) is coloured and ("\x1b" in text) is coloured
    assert text.endswith("\r\nInterrupted, ending. Ctrl-C again ends it at once.\r\n")


@pytest.mark.parametrize("argv, warnings", [
    (["--upload"], ["everybody who reaches this address can upload"]),
    (["--auth", "a:b"], ["passwords can be read on the way"]),
    (["--upload", "--auth", "a:b"], ["passwords can be read on the way"]),
    (["--upload", "--auth", "a:b", "--tls-self-signed"], []),
    (["--upload", "--tls-self-signed"], ["everybody who reaches this address can upload"]),
    ([], []),
], ids=lambda value: " ".join(value) or "none")
def test_warnings(folder, argv, warnings):
    # One address that others can reach is enough.
    with file_server("site", "--bind", "127.0.0.1", "--bind", "0.0.0.0", "-p", "0", *argv, cwd=folder) as server:
        server.ready()
        assert server.stop() == 0
        assert len(server.err) == len(warnings)
        for line, text in zip(server.err, warnings):
            assert line.startswith(f"turboserver: warning: {text}")
        assert ("  Uploads are on." in server.out) is ("--upload" in argv)


def test_warnings_are_for_the_quiet_as_well(folder):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        usual = taken.getsockname()[1]
        with file_server("site", "--bind", "0.0.0.0", "--upload", "--quiet", cwd=folder,
                         environ={"TEST_DEFAULT_PORT": str(usual)}) as server:
            wait_until(lambda: len(server.err) == 2, "the warnings")
            assert server.err[0].startswith(f"turboserver: port {usual} is in use, so this is ")
            assert server.err[1].startswith("turboserver: warning: everybody")
            assert server.stop() == 0 and server.out == []


def test_no_warnings_for_this_machine_alone(folder):
    with file_server("site", *LOCAL, "--unix", "s", "--upload", "--auth", "a:b", cwd=folder) as server:
        server.ready()
        assert server.stop() == 0 and server.err == []


def test_qr(folder):
    import segno
    with file_server("site", *LOCAL, "--qr", cwd=folder) as server:
        server.ready()
        expected = io.StringIO()
        segno.make(server.urls[0], error="l", micro=False).terminal(expected, border=2, compact=True)
        rows = expected.getvalue().splitlines()
        wait_until(lambda: len(server.out) >= 3 + len(rows), "the code")
        assert server.out[3:3 + len(rows)] == rows
        assert server.stop() == 0


def test_qr_where_it_cannot_be_shown(folder):
    assert addresses.qr("http://localhost:8000/", "ascii") is None
    assert addresses.qr("http://localhost:8000/", None) is None
    with file_server("site", *LOCAL, "--qr", cwd=folder, environ={"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}) as server:
        server.ready()
        wait_until(lambda: len(server.err) == 2, "the complaints")
        assert server.err == ["turboserver: the QR code leads to this machine alone (--bind)",
                              "turboserver: this terminal has no characters for a QR code (UTF-8 has)"]
        assert get(server.urls[0])[0] == 200


def test_open(folder):
    opener = folder / "opener"
    opener.write_text(f"#!/bin/sh\necho \"$1\" > {folder}/opened.new; mv {folder}/opened.new {folder}/opened\n")
    opener.chmod(0o700)
    with file_server("site", *LOCAL, "--open", cwd=folder, environ={"BROWSER": str(opener)}) as server:
        server.ready()
        wait_until((folder / "opened").exists, "the browser")
        assert (folder / "opened").read_text() == server.urls[0] + "\n"
    with file_server("site", *LOCAL, "--open", cwd=folder, environ={"BROWSER": "/bin/false"}) as server:
        server.ready()
        wait_until(lambda: server.err, "the complaint")
        assert server.err[-1] == f"turboserver: no browser could be started for {server.urls[0]}"
