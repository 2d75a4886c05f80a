"""turboserver.files.handler and the programs that people fetch and send files with: the same octets arrive."""
import contextlib
import functools
import os
import shutil
import subprocess

import pytest
from files_served import Silent, put, root, served  # noqa: F401: a fixture

from support import serving
from turboserver.files import auth
from turboserver.http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

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
    # It waits for 100 before it sends so much: of what is refused nothing is sent.
    sent = ("-s", "-o", os.devnull, "-w", "%{http_code} %{size_upload}", "-T", source)
    assert run("curl", *sent, server.url.replace("right", "wrong") + "wrong") == b"401 0"
    assert run("curl", *sent, "-H", "If-None-Match: *", server.url + "new") == b"412 0"
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


def test_wget_has_what_is_there_already(server, run, tmp_path):
    """What is whole is neither sent again (416) nor changed; what is as old as the server's is not sent (304)."""
    path = tmp_path / "large.bin"
    path.write_bytes(content(server))
    run("wget", "-q", "-c", "--auth-no-challenge", "-O", path, server.url + "large.bin")
    assert path.read_bytes() == content(server)
    path.unlink()
    for _ in range(2):
        run("wget", "-q", "-N", "--auth-no-challenge", "-P", tmp_path, server.url + "large.bin")
        assert path.read_bytes() == content(server)
    assert statuses(server) == [416, 200, 304]


def statuses(server):
    """Those that the log has, in its order."""
    return [int(status) for format, *_, status, _ in server.logged if format.count("%s") == 3]


def test_curl_asks_whether_it_is_the_same(server, run, tmp_path):
    """By its entity tag, and by its date; If-Range: the part of what is the same, else the whole."""
    status = ("-s", "-w", "%{http_code}")
    etags, url = tmp_path / "etag", server.url + "large.bin"
    assert run("curl", *status, "-o", os.devnull, "--etag-save", etags, url) == b"200"
    tag = etags.read_text().strip()
    assert run("curl", *status, "--etag-compare", etags, url) == b"304"
    copy = put(tmp_path / "copy", age=os.stat(server.root / "large.bin").st_mtime)
    assert run("curl", *status, "-z", copy, url) == b"304"
    part = ("-s", "-o", tmp_path / "part", "-w", "%{http_code}", "-r", "1000-1999")
    assert run("curl", *part, "-H", f"If-Range: {tag}", url) == b"206"
    assert (tmp_path / "part").read_bytes() == content(server)[1000:2000]
    put(server.root / "large.bin", b"other" * 1000, age=1_650_000_000)
    assert run("curl", *part, "-H", f"If-Range: {tag}", url) == b"200"
    assert (tmp_path / "part").read_bytes() == b"other" * 1000
    assert run("curl", *status, "-o", os.devnull, "--etag-compare", etags, url) == b"200"


def test_curl_gets_several_parts(server, run):
    """Each as it was asked for, with its place; who reads it back has the file's octets."""
    octets = run("curl", "-sf", "-D", "-", "-r", "0-9,2000000-2000099,-5", server.url + "large.bin")
    head, _, body = octets.partition(b"\r\n\r\n")
    boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
    _, *parts, end = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert end == b"--\r\n" and len(parts) == 3
    whole = content(server)
    for part, place in zip(parts, (slice(0, 10), slice(2_000_000, 2_000_100), slice(SIZE - 5, SIZE)), strict=True):
        fields, _, octets = part.partition(b"\r\n\r\n")
        assert octets == whole[place]
        assert f"Content-Range: bytes {place.start}-{place.stop - 1}/{SIZE}".encode() in fields


def test_aria2_goes_on(server, run, tmp_path):
    begun(server, tmp_path / "large.bin")
    run("aria2c", "-q", "-c", "-x3", "-s3", "-k1M", "-d", tmp_path, server.url + "large.bin")
    assert (tmp_path / "large.bin").read_bytes() == content(server)


def test_aria2_asks_whether_it_is_newer(server, run, tmp_path):
    """--conditional-get: 304 for what has not changed, and the new one, in parts, if it has."""
    fetch = ("aria2c", "-q", "--conditional-get", "--allow-overwrite", "-x4", "-s4", "-k1M", "-d", tmp_path, server.url + "large.bin")
    run(*fetch)
    server.logged.clear()
    run(*fetch)
    assert statuses(server) == [304]
    os.utime(tmp_path / "large.bin", (1_500_000_000,) * 2)
    put(server.root / "large.bin", os.urandom(SIZE), age=1_650_000_000)
    run(*fetch)
    assert (tmp_path / "large.bin").read_bytes() == content(server)


# ---------------------------------------------------------------- rclone, which reads lists as people do

ODD = ("a b #?%é.bin", "quote\"'&amp;<b>.txt", "javascript:alert(1)", "Дневник 日本.txt", "100% #1? a&b=c;d.txt", " lead",
       "a+b~c@d!e$f,g.txt", ".hidden", "...", "back\\slash", "line\nbreak", "sub dir é/in {x}.txt", "sub dir é/%2e%2e")


@contextlib.contextmanager
def plain(root):
    """SimpleHTTPRequestHandler as programs use it, without any of the file server's own."""
    handler = type("Handler", (Silent, SimpleHTTPRequestHandler), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
    server.logged, server.root = [], root
    with serving(server):
        yield server


@pytest.fixture(params=["page", "plain list", "http.server"])
def tree(request, root):
    """A server of a folder of odd names, listed in each way; the first one with a password. url; parts: whether there
    are any."""
    for number, name in enumerate(ODD):
        put(root / name, f"content {number} of {name}".encode())
    shutil.rmtree(root / "site")        # its index page would be its list
    (root / "empty").mkdir()
    put(root / "large.bin", os.urandom(SIZE))
    serve = {"page": lambda: served(root, compress=True, auth=auth.Basic(auth.users_of("anna:right"))),
             "plain list": lambda: served(root, page=False), "http.server": lambda: plain(root)}[request.param]
    with serve() as server:
        server.parts = request.param != "http.server"
        server.url = f"http://{'anna:right@' if request.param == 'page' else ''}127.0.0.1:{server.server_port}/"
        yield server


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rclone_lists_and_copies(tree, run, tmp_path):
    remote = ("--config", os.devnull, "--http-url", tree.url, ":http:")
    listed = run("rclone", "lsf", "-R", "--files-only", *remote).decode()
    assert sorted(listed[:-1].split("\n")) == sorted("\n".join(files(tree.root)).split("\n"))
    streams = ("--multi-thread-cutoff", "1M", "--multi-thread-streams", "4" if tree.parts else "0")
    copy = tmp_path / "copy"
    run("rclone", "copy", *streams, *remote, copy)
    assert files(copy) == files(tree.root)
    assert (copy / "a.txt").stat().st_mtime == (tree.root / "a.txt").stat().st_mtime
    if tree.parts:
        assert statuses(tree).count(206) == 4
    # What is there is not fetched again, but for a name that rclone does not know again: it spells line ends in its way.
    tree.logged.clear()
    run("rclone", "copy", *streams, *remote, copy)
    fetched = {arguments[1].split()[1] for arguments in tree.logged if arguments[1].startswith("GET ")}
    assert {path for path in fetched if not path.endswith("/")} <= {"/line%0Abreak"}


def test_rclone_with_a_wrong_password(root, run, tmp_path):
    with served(root, auth=auth.Basic(auth.users_of("anna:right"))) as server:
        with pytest.raises(subprocess.CalledProcessError) as failed:
            run("rclone", "lsf", "--config", os.devnull, "--retries", "1", "--low-level-retries", "1",
                "--http-url", f"http://anna:wrong@127.0.0.1:{server.server_port}/", ":http:")
        assert b"401" in failed.value.stderr


# ---------------------------------------------------------------- requests

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
