"""turboserver.files.handler over sockets, in each lane: who gets nothing, and files that do not stay as they are."""
import base64
import itertools
import os
import socket

import pytest
from files_served import ask, put, root, serve  # noqa: F401: fixtures

from support import Client, connect, fetch, read_until_eof, wait_until
from turboserver.files import auth, opening

LARGE = 16 * 2**20      # more than the kernel's buffers of both sides have room for


# ---------------------------------------------------------------- out of the root

UPS = ("..", "%2e%2e", ".%2e", "%2E.", "..%00", "..;", "%252e%252e", "%c0%ae%c0%ae", "..%5c..", "..\\..", "%2e%2e%2f%2e%2e")
SLASHES = ("/", "//", "/./", "%2f", "%5c", "/sub/../")
FILES = ("secret.txt", "root-beside/secret.txt", "etc/passwd")


def attempts():
    for up, slash, name, times in itertools.product(UPS, SLASHES, FILES, (1, 2, 7)):
        yield "/" + (up + slash) * times + name
        yield "/sub/" + (up + slash) * (times + 1) + name


def test_traversal(serve, root):
    """Hundreds of targets, on connections that are kept as long as they are."""
    server, client, tried = serve(spa=True, upload=True), None, 0
    for target in attempts():
        client = client or Client(server)
        answer = client.request(path=target)
        assert answer.status in (301, 400, 404) and b"secret" not in answer.body and b"root:" not in answer.body, target
        tried += 1
        if (answer.get("Connection") or "").lower() == "close":
            client.close()
            client = None
    assert tried > 1000
    if client:
        client.close()


def test_traversal_by_absolute_forms(serve, root):
    for target in (str(root.parent / "secret.txt"), f"//{root.parent}/secret.txt", f"file://{root.parent}/secret.txt",
                   f"http://test/../{root.parent}/secret.txt", "/proc/self/environ", "/~root/x", "/C:/Windows/win.ini"):
        assert ask(serve(), target).status in (400, 404), target


def test_links(serve, root):
    (root / "out.txt").symlink_to(root.parent / "secret.txt")
    (root / "up").symlink_to("..")
    (root / "in.txt").symlink_to("sub/in.txt")
    (root / "absolute.txt").symlink_to(root / "sub" / "in.txt")
    (root / "loop").symlink_to("loop")
    server = serve()
    for path in ("/out.txt", "/up/secret.txt", "/up/", "/up", "/loop", "/loop/"):
        assert ask(server, path).status == 404, path
    assert ask(server, "/in.txt").body == ask(server, "/absolute.txt").body == b"inside"
    server = serve(outside=True)
    assert ask(server, "/out.txt").body == ask(server, "/up/secret.txt").body == b"secret"


def test_a_root_that_is_replaced(serve, root):
    server = serve()
    assert ask(server, "/a.txt").body == b"0123456789"
    root.rename(root.parent / "old")
    put(root / "a.txt", b"new")
    assert ask(server, "/a.txt").body == b"new"
    (root / "a.txt").unlink()
    root.rmdir()
    assert ask(server, "/a.txt").status == 404
    put(root / "a.txt", b"newest")
    assert ask(server, "/a.txt").body == b"newest"


def test_a_root_is_opened_once_and_closed(root):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc to count descriptors in")
    first, before = opening.root_at(str(root)), descriptors()
    assert opening.root_at(str(root)) is first and descriptors() == before
    root.rename(root.parent / "old")
    root.mkdir()
    assert opening.root_at(str(root)) is not first and descriptors() == before + 1
    del first
    assert descriptors() == before


def test_roots_that_are_kept_are_bounded(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc to count descriptors in")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        (tmp_path / str(number)).mkdir()
        assert opening.root_at(str(tmp_path / str(number))).fd >= 0
    assert len(os.listdir("/proc/self/fd")) <= before + opening._MAX_ROOTS


# ---------------------------------------------------------------- what is no file, and what may not be read

def test_special_files(serve, root):
    os.mkfifo(root / "fifo")
    (root / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(root, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        server = serve(outside=True)
        for path in ("/fifo", "/socket", "/null", "/fifo/"):
            assert ask(server, path).status == 404, path
    assert b"fifo" in ask(serve(), "/").body


def test_what_may_not_be_read(serve, root, monkeypatch):
    """Root may read everything, so opening says so itself."""
    real = opening.open_beneath

    def refused(top, names, *rest, **options):
        if names[-1:] == ("a.txt",):
            raise PermissionError(13, "no")
        if names[-1:] == ("in.txt",):
            raise OSError(24, "too many")
        return real(top, names, *rest, **options)
    monkeypatch.setattr(opening, "open_beneath", refused)
    server = serve()
    for path, status in (("/a.txt", 403), ("/sub/in.txt", 503), ("/page.html", 200)):
        assert ask(server, path, then=False).status == status


def test_names_that_are_not_there(serve):
    server = serve()
    for path, status in (("/missing", 404), ("/a.txt/", 404), ("/a.txt/x", 404), ("/a%00.txt", 400), ("/" + "x" * 300, 404),
                         ("/" + "a/" * 3000, 414), ("/[", 404), ("/%", 404), ("/a.txt%2f", 404)):
        answer = ask(server, path)
        assert answer.status == status, path
        assert answer.get("Content-Type") == "text/html;charset=utf-8" and b"Error code: %d" % status in answer.body
        head = ask(server, path, method="HEAD")
        assert (head.status, head.body) == (status, b"")


def test_methods_as_the_original(serve):
    for method in ("PUT", "POST", "OPTIONS", "DELETE", "PATCH", "BREW"):
        answer = ask(serve(), "/a.txt", method=method, body=b"x")
        assert (answer.status, answer.reason) == (501, f"Unsupported method ('{method}')")


# ---------------------------------------------------------------- who asks

def basic(user):
    return [("Authorization", "Basic " + base64.b64encode(user.encode()).decode())]


def test_authentication(serve):
    server = serve(auth=auth.Basic(auth.users_of("anna:right")), upload=True, headers=(("X-One", "1"),))
    for method, path in (("GET", "/a.txt"), ("HEAD", "/missing"), ("PUT", "/new"), ("POST", "/?upload"), ("OPTIONS", "/"),
                         ("GET", "/../x"), ("GET", "/sub")):
        answer = ask(server, path, method=method, body=b"x" if method in ("PUT", "POST") else None)
        assert answer.status == 401 and answer.get("WWW-Authenticate") == 'Basic realm="files", charset="UTF-8"'
        assert answer.get("X-One") == "1"
    assert not (server.root / "new").exists()
    assert ask(server, "/a.txt", basic("anna:right")).status == 200
    assert ask(server, "/new", basic("anna:right"), "PUT", b"x").status == 201


def test_guessing(serve):
    server = serve(auth=auth.Basic(auth.users_of("anna:right")))
    statuses = [ask(server, "/a.txt", basic(f"anna:wrong{number}")).status for number in range(10)]
    assert statuses[0] == 401 and statuses[-1] == 429
    answer = ask(server, "/a.txt", basic("anna:right"))
    assert answer.status == 429 and int(answer.get("Retry-After")) >= 1


# ---------------------------------------------------------------- other sites

def test_cors(serve):
    server = serve(cors=True, auth=auth.Basic(auth.users_of("anna:right")))
    ask_first = [("Origin", "https://other.example"), ("Access-Control-Request-Method", "GET"),
                 ("Access-Control-Request-Headers", "range, authorization")]
    answer = ask(server, "/a.txt", ask_first, "OPTIONS", then=False)    # such a request never has credentials
    assert answer.status == 204 and answer.get("Access-Control-Allow-Origin") == "*"
    assert answer.get("Access-Control-Allow-Methods") == "GET, HEAD"
    assert {"Range", "Authorization"} <= set(answer.get("Access-Control-Allow-Headers").split(", "))
    for path, status in (("/a.txt", 200), ("/missing", 404), ("/sub/", 200), ("/sub", 301), ("/sub/?format=plain", 200)):
        answer = ask(server, path, [("Origin", "https://other.example"), *basic("anna:right")])
        assert (answer.status, answer.get("Access-Control-Allow-Origin")) == (status, "*"), path
        assert "Content-Range" in answer.get("Access-Control-Expose-Headers")
    assert ask(server, "/a.txt").get("Access-Control-Allow-Origin") == "*"
    assert ask(server, "/", method="OPTIONS").status == 401
    for not_all in (ask_first[:1], ask_first[1:]):      # no preflight (Fetch Standard, 3.3)
        assert ask(server, "/", not_all, "OPTIONS", then=False).status == 401
    assert ask(serve(), "/a.txt", ask_first).get("Access-Control-Allow-Origin") is None
    assert ask(serve(), "/a.txt", ask_first, "OPTIONS").status == 501
    assert ask(serve(cors=True), "*", method="OPTIONS").get("Allow") == "GET, HEAD, OPTIONS"


# ---------------------------------------------------------------- files that change while they are sent

def head_of(server, path, headers=()):
    """A connection from which the head alone was read, with little room for the rest."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(20)
    sock.connect(server.server_address)
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    # By now the server waits; from here on it may go faster.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return sock, head


def large(path):
    put(path)
    os.truncate(path, LARGE)
    return path


def test_a_file_that_shrinks(serve, root):
    path = large(root / "large.bin")
    server = serve()
    sock, head = head_of(server, "/large.bin")
    with sock:
        assert b"Content-Length: %d\r\n" % LARGE in head
        os.truncate(path, 1000)
        sock.sendall(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        rest = read_until_eof(sock)
        assert len(rest) < LARGE and not rest.strip(b"\0")     # and nothing behind it
    wait_until(lambda: any("shorter" in str(line) for line in server.logged))


def test_a_file_that_shrinks_in_several_parts(serve, root):
    path = large(root / "large.bin")
    sock, _ = head_of(serve(), "/large.bin", [("Range", f"bytes=0-{LARGE // 2},{LARGE - 1000}-")])
    with sock:
        os.truncate(path, 1000)
        rest = read_until_eof(sock)
        assert len(rest) < LARGE // 2 and not rest.endswith(b"--\r\n")


def test_a_file_that_shrinks_while_it_is_compressed(serve, root):
    path = put(root / "large.txt", os.urandom(LARGE))
    sock, head = head_of(serve(compress=True), "/large.txt", [("Accept-Encoding", "gzip")])
    with sock:
        assert b"Content-Encoding: gzip" in head
        os.truncate(path, 1000)
        rest = read_until_eof(sock)
        assert len(rest) < LARGE and not rest.endswith(b"\r\n0\r\n\r\n")


def test_a_file_that_grows(serve, root):
    path = large(root / "large.bin")
    sock, _ = head_of(serve(), "/large.bin")
    with Client(None, sock=sock) as client:
        with open(path, "ab") as file:
            file.write(b"more")
        left = LARGE
        while left:
            left -= len(sock.recv(min(left, 1 << 20)))
        assert client.request(path="/a.txt").body == b"0123456789"


def test_a_file_that_is_replaced_or_removed(serve, root):
    server = serve()
    for change in ("replace", "unlink"):
        path = large(root / "large.bin")
        sock, _ = head_of(server, "/large.bin")
        with sock:
            if change == "replace":
                os.replace(put(root / "other", b"x" * LARGE), path)
            else:
                path.unlink()
            sock.shutdown(socket.SHUT_WR)
            assert read_until_eof(sock) == bytes(LARGE)


def test_a_client_that_goes_away(serve, root, capfd):
    """It costs no traceback and no descriptor."""
    large(root / "large.bin")
    server = serve()
    fetch(server, "/a.txt")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(5):
        sock = connect(server)
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.recv(10)
        sock.close()
    assert fetch(server, "/a.txt").status == 200
    if before is not None:
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert "Traceback" not in capfd.readouterr().err


def test_no_descriptor_is_left(serve, root):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc to count descriptors in")
    put(root / "app.js", b"x" * 2000)
    put(root / "app.js.gz", b"x")
    put(root / "index.html", b"x")
    server = serve(spa=True, upload=True, compress=True)

    def all_kinds():
        for path in ("/a.txt", "/app.js", "/sub", "/sub/", "/sub/?format=plain", "/sub/?format=json", "/site/", "/", "/route",
                     "/missing.x", "/a.txt/"):
            for headers in ((), [("Range", "bytes=1-")], [("Range", "bytes=99999-")], [("If-Match", '"x"')],
                            [("If-None-Match", "*")], [("Accept-Encoding", "gzip, identity;q=0")],
                            [("Accept-Encoding", "identity;q=0")]):
                ask(server, path, headers, then=False)
                ask(server, path, headers, "HEAD", then=False)
        for path in ("/new", "/none/new", "/a%0ab", "/sub"):
            ask(server, path, method="PUT", body=b"x", then=False)
            ask(server, path, [("Content-Range", "bytes 5-5/10")], "PUT", b"x", then=False)
            ask(server, path + "?upload", method="POST", body=b"x", then=False)
    all_kinds()
    before = set(os.listdir("/proc/self/fd"))
    all_kinds()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= len(before))
