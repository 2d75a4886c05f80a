"""turboserver.files.handler and the programs that people fetch and send files with: the same octets arrive."""
import os
import shutil
import subprocess

import pytest
from files_served import put, root, served  # noqa: F401: a fixture

from turboserver.files import auth

SIZE = 5_000_000


@pytest.fixture
def server(root):
    put(root / "large.bin", os.urandom(SIZE))
    put(root / "long.txt", b"line\n" * 100_000)
    with served(root, upload=True, compress=True, auth=auth.Basic(auth.users_of("anna:right"))) as running:
        running.url = f"http://anna:right@127.0.0.1:{running.server_port}/"
        yield running


@pytest.fixture
def run():
    """run(program, *arguments): what it writes, if it ends well; skips where it is not installed."""
    def start(program, *arguments):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on PATH")
        return subprocess.run([program, *map(os.fspath, arguments)], capture_output=True, timeout=60, check=True,
                              stdin=subprocess.DEVNULL).stdout
    return start


def content(server, name="large.bin"):
    return (server.root / name).read_bytes()


def begun(server, path):
    """A download that broke off."""
    path.write_bytes(content(server)[:1_234_567])
    return path


def test_curl_fetches(server, run, tmp_path):
    run("curl", "-sf", "-o", tmp_path / "whole", server.url + "large.bin")
    run("curl", "-sf", "-C", "-", "-o", begun(server, tmp_path / "part"), server.url + "large.bin")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "part").read_bytes() == content(server)
    assert run("curl", "-sf", "--compressed", server.url + "long.txt") == content(server, "long.txt")
    assert run("curl", "-sf", "-r", "0-3,-3", server.url + "large.bin").count(b"Content-Range") == 2


def test_curl_sends(server, run, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZE))
    status = ("-s", "-o", os.devnull, "-w", "%{http_code}")
    assert run("curl", *status, "-T", source, server.url + "new") == b"201"
    assert run("curl", *status, "-T", source, server.url + "new") == b"204"
    assert run("curl", *status, "-H", "If-None-Match: *", "-T", source, server.url + "new") == b"412"
    assert run("curl", *status, "-T", source, server.url.replace("right", "wrong") + "wrong") == b"401"
    assert run("curl", *status, "-F", f"file=@{source};filename=form.bin", server.url + "?upload") == b"303"
    assert run("curl", *status, "-T", "-", server.url + "empty") == b"201"      # in chunks
    assert content(server, "new") == content(server, "form.bin") == source.read_bytes()
    assert content(server, "empty") == b"" and not (server.root / "wrong").exists()


def test_wget_goes_on(server, run, tmp_path):
    path = begun(server, tmp_path / "large.bin")
    run("wget", "-q", "-c", "--auth-no-challenge", "-O", path, server.url + "large.bin")
    assert path.read_bytes() == content(server)


def test_aria2_asks_for_parts_at_the_same_time(server, run, tmp_path):
    run("aria2c", "-q", "-x4", "-s4", "-k1M", "-d", tmp_path, "-o", "parts", server.url + "large.bin")
    assert (tmp_path / "parts").read_bytes() == content(server)


def test_requests(server):
    requests = pytest.importorskip("requests", reason="no requests")
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(server.url + "large.bin", timeout=20).content == content(server)
        assert session.get(server.url + "long.txt", timeout=20).content == content(server, "long.txt")
        assert session.get(server.url + "sub", timeout=20).url.endswith("/sub/")
        assert session.put(server.url + "put", data=b"octets", timeout=20).status_code == 201
        assert session.post(server.url + "?upload", files={"file": ("posted", b"octets")}, timeout=20).status_code == 200
    assert content(server, "put") == content(server, "posted") == b"octets"
