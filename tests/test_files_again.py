"""A file that was sent before is sent again without Python, as long as nothing about it has changed; and never then."""
import contextlib
import functools
import gc
import mimetypes
import os
import resource
import shutil
import sysconfig
import threading
import time

import pytest

import turboserver

if not turboserver.accelerated:
    pytest.skip("what answers here is the engine, without Python", allow_module_level=True)

from files_served import PAST, Silent, put, root  # noqa: F401: a fixture

from support import Client, connect, serving
from turboserver import _files
from turboserver.files import reading
from turboserver.files.auth import Basic
from turboserver.files.passwords import Single
from turboserver.files.handler import FileHandler, handler_class
from turboserver.files.options import Options
from turboserver.http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer


class Counted(FileHandler):
    """Counts the requests that Python answers."""
    protocol_version = "HTTP/1.1"

    def _turbo_answer(self, method):
        self.server.asked += 1
        super()._turbo_answer(method)


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"


@pytest.fixture(params=["FileHandler", "SimpleHTTPRequestHandler", "one thread"])
def serve(request, root, monkeypatch):
    """serve(members, **options): a running server; `asked` is how often Python had to answer."""
    with contextlib.ExitStack() as stack:
        def start(members=None, **options):
            plain = request.param != "FileHandler"
            base = Quiet if plain else Counted
            more = {} if plain and not options else {
                "turbo_files": Options(directory=str(root), page=not plain, nosniff=not plain, **options)}
            handler = type("Handler", (Silent, base), {**more, **(members or {})})
            server_class = HTTPServer if request.param == "one thread" else ThreadingHTTPServer
            server = server_class(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
            server.asked, server.logged, server.handler = 0, [], handler
            answer = reading.answer

            def counting(handler, original):
                handler.server.asked += 1
                answer(handler, original)

            monkeypatch.setattr(reading, "answer", counting)
            return stack.enter_context(serving(server))
        yield start


class Asking:
    """A client of one server: get() gives the answer; `python` whether Python had to make it."""

    def __init__(self, server):
        self.server, self.client = server, Client(server)

    def get(self, path, headers=(), method="GET"):
        before = self.server.asked
        answer = self.client.request(method, path, headers)
        self.python = self.server.asked > before
        if (answer.get("Connection") or "").lower() == "close":
            self.client.__exit__(None, None, None)
            self.client = Client(self.server)
        return answer

    def warm(self, path):
        """The answer, of which the server has nothing to think about next time."""
        self.get(path)
        time.sleep(0.02)        # a tick of the file system's clock
        answer = self.get(path)
        answer = self.get(path)
        assert not self.python, f"{path} is not remembered"
        return answer


@pytest.fixture
def asking(serve):
    with contextlib.ExitStack() as stack:
        def start(*arguments, **options):
            asked = Asking(serve(*arguments, **options))
            stack.callback(lambda: asked.client.__exit__(None, None, None))
            return asked
        yield start


def same(one, other):
    def without(answer):
        return answer.status, answer.body, [field for field in answer.headers if field[0] != "Date"]
    assert without(one) == without(other)


# ---------------------------------------------------------------- the same answer

@pytest.mark.parametrize("path", ["/a.txt", "/empty.txt", "/page.html", "/picture.png", "/sub/in.txt", "/site/",
                                  "/site/index.html", "/a.txt?x", "//a.txt", "/sub/../a.txt", "/%61.txt"])
def test_the_same_answer(asking, path):
    client = asking()
    first = client.get(path)
    assert client.python
    time.sleep(0.02)
    client.get(path)
    for method in ("GET", "HEAD"):
        answer = client.get(path, method=method)
        assert not client.python
        if method == "GET":
            same(answer, first)
        else:
            assert answer.headers[2:] == first.headers[2:] and answer.body == b""


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 2**20, 2**20 + 1, 3_000_000])
def test_sizes(asking, root, size):
    octets = (bytes(range(251)) * (size // 251 + 1))[:size]
    put(root / "sized.bin", octets)
    client = asking()
    assert client.warm("/sized.bin").body == octets


def test_preconditions(asking):
    client = asking()
    whole = client.warm("/a.txt")
    tag, date = whole.get("ETag"), whole.get("Last-Modified")
    for fields in ([("If-None-Match", tag)], [("If-Modified-Since", date)],
                   [("if-none-match", tag), ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")]):
        answer = client.get("/a.txt", fields)
        assert not client.python and answer.status == 304 and answer.body == b""
        assert answer.headers[2:] == [("Last-Modified", date), ("ETag", tag)]


@pytest.mark.parametrize("fields, status", [
    ([("If-None-Match", '"other"')], 200), ([("If-None-Match", "*")], 304), ([("If-None-Match", 'W/{tag}')], 304),
    ([("If-None-Match", '"other", {tag}')], 304), ([("If-None-Match", "{tag}"), ("If-None-Match", '"x"')], 304),
    ([("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")], 200), ([("If-Match", '"other"')], 412),
    ([("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")], 412), ([("Range", "bytes=2-4")], 206),
    ([("Range", "bytes=2-4"), ("If-Range", '"other"')], 200), ([("rAnGe", "bytes=90-")], 416),
    ([("If-Modified-Since", "{date}"), ("If-None-Match", '"other"')], 200)])
def test_what_has_to_be_decided_is_pythons(asking, fields, status):
    client = asking()
    whole = client.warm("/a.txt")
    values = {"tag": whole.get("ETag"), "date": whole.get("Last-Modified")}
    answer = client.get("/a.txt", [(name, value.format(**values) if "{" in value else value) for name, value in fields])
    assert client.python and answer.status == status


def test_lines_of_the_log(asking):
    client = asking()
    client.warm("/a.txt")
    client.get("/a.txt", [("If-None-Match", client.get("/a.txt").get("ETag"))])
    assert not client.python
    assert client.server.logged[-2:] == [('"%s" %s %s', "GET /a.txt HTTP/1.1", "200", "-"),
                                         ('"%s" %s %s', "GET /a.txt HTTP/1.1", "304", "-")]


def test_several_in_one_packet_and_versions(asking):
    client = asking()
    client.warm("/a.txt")
    client.warm("/site/")
    before = client.server.asked
    with connect(client.server) as sock:
        sock.sendall(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nHEAD /site/ HTTP/1.1\r\nHost: a\r\n\r\n"
                     b"GET /site/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        octets = b"".join(iter(lambda: sock.recv(65536), b""))
    assert octets.count(b"HTTP/1.1 200 OK") == 3 and octets.endswith(b"<p>index")
    with connect(client.server) as sock:
        sock.sendall(b"GET /a.txt HTTP/1.0\r\n\r\n")
        octets = b"".join(iter(lambda: sock.recv(65536), b""))
    assert octets.startswith(b"HTTP/1.1 200 OK") and octets.endswith(b"\r\n\r\n0123456789")
    assert client.server.asked == before


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "get", "Get", "GETS", "HEAP", "DELETE", "OPTIONS"])
def test_other_methods_are_not_answered_with_the_file(asking, method):
    client = asking()
    client.warm("/a.txt")
    answer = client.get("/a.txt", method=method)
    assert answer.status == 501 and answer.body != b"0123456789"


def test_a_body_that_nobody_wants(asking):
    client = asking()
    client.warm("/a.txt")
    with connect(client.server) as sock:
        sock.sendall(b"GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /site/ HTTP/1.1\r\nHost: a\r\n"
                     b"Connection: close\r\n\r\n")
        octets = b"".join(iter(lambda: sock.recv(65536), b""))
    assert octets.count(b"HTTP/1.1 200 OK") == 2


# ---------------------------------------------------------------- never what was

def test_octets_that_change(asking, root):
    client = asking()
    old = client.warm("/a.txt")
    with open(root / "a.txt", "r+b") as file:       # the same inode, the same size
        file.write(b"ABCDEFGHIJ")
    answer = client.get("/a.txt")
    assert client.python and answer.body == b"ABCDEFGHIJ" and answer.get("ETag") != old.get("ETag")


def test_octets_that_change_and_a_time_that_is_put_back(asking, root):
    client = asking()
    client.warm("/a.txt")
    (root / "a.txt").write_bytes(b"ABCDEFGHIJ")
    os.utime(root / "a.txt", (PAST, PAST))
    assert client.get("/a.txt").body == b"ABCDEFGHIJ" and client.python


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_another_file_in_its_place(asking, root, size):
    put(root / "f.bin", b"x" * size)
    client = asking()
    client.warm("/f.bin")
    put(root / "new.bin", b"y" * size)
    os.replace(root / "new.bin", root / "f.bin")
    assert client.get("/f.bin").body == b"y" * size and client.python


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_file_that_goes_and_comes_back(asking, root, size):
    path = put(root / "f.bin", b"x" * size)
    client = asking()
    client.warm("/f.bin")
    os.rename(path, root / "g.bin")
    assert client.get("/f.bin").status == 404
    os.rename(root / "g.bin", path)
    assert client.get("/f.bin").status == 200
    assert client.warm("/f.bin").body == b"x" * size


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_link_to_the_very_file_from_outside(asking, root, size):
    """Its inode is what it was, and it is not below the root any more."""
    path = put(root / "f.bin", b"x" * size)
    client = asking()
    client.warm("/f.bin")
    os.rename(path, root.parent / "f.bin")
    path.symlink_to(root.parent / "f.bin")
    assert client.get("/f.bin").status == 404
    inner = put(root / "dir" / "deep" / "f.bin", b"x" * size)
    client.warm("/dir/deep/f.bin")
    os.rename(inner.parent, root.parent / "deep")
    inner.parent.symlink_to(root.parent / "deep")
    assert client.get("/dir/deep/f.bin").status == 404


def test_a_link_is_not_remembered(asking, root):
    (root / "link.txt").symlink_to("a.txt")
    (root / "linked").symlink_to("sub")
    client = asking()
    for path in ("/link.txt", "/linked/in.txt"):
        for _ in range(3):
            assert client.get(path).status == 200 and client.python


def test_the_root_is_another_one(asking, root):
    put(root / "large.bin", b"x" * 2_000_000)
    client = asking()
    for path in ("/a.txt", "/sub/in.txt", "/large.bin"):
        client.warm(path)
    os.rename(root, root.parent / "old")
    for path in ("/a.txt", "/sub/in.txt", "/large.bin"):
        assert client.get(path).status == 404
    shutil.copytree(root.parent / "old", root)
    put(root / "a.txt", b"new")
    assert client.get("/a.txt").body == b"new"


def test_a_file_that_may_not_be_read_any_more(asking, root):
    client = asking()
    client.warm("/a.txt")
    os.chmod(root / "a.txt", 0)
    client.get("/a.txt")
    assert client.python        # whatever the system says: it is asked


def test_something_compressed_comes_to_lie_beside_it(asking, root):
    client = asking()
    for folder in ("", "sub/"):
        path = put(root / folder / "page.css", b"plain")
        client.warm(f"/{folder}page.css")
        put(path.with_name("page.css.gz"), b"packed")
        assert client.get(f"/{folder}page.css", [("Accept-Encoding", "gzip")]).body == b"packed"
        answer = client.get(f"/{folder}page.css")
        assert answer.body == b"plain" and answer.get("Vary") == "Accept-Encoding"
        os.remove(path.with_name("page.css.gz"))
        assert client.warm(f"/{folder}page.css").get("Vary") is None


def test_an_index_page_comes_and_goes(asking, root):
    client = asking()
    client.warm("/site/")
    os.remove(root / "site" / "index.html")
    assert b"<p>index" not in client.get("/site/").body
    put(root / "site" / "index.htm", b"second")
    assert client.warm("/site/").body == b"second"
    put(root / "site" / "index.html", b"first")
    assert client.get("/site/").body == b"first"


def test_types_that_change(asking, root, monkeypatch):
    put(root / "odd.xyzzy", b"1")
    client = asking({"extensions_map": {}})
    assert client.warm("/odd.xyzzy").get("Content-Type") == "application/octet-stream"
    types = mimetypes.MimeTypes()
    monkeypatch.setattr(mimetypes, "_db", types)
    types.add_type("x/by-mimetypes", ".xyzzy")
    monkeypatch.setattr(mimetypes, "guess_type", types.guess_type)
    assert client.warm("/odd.xyzzy").get("Content-Type") == "x/by-mimetypes"
    client.server.handler.extensions_map[".xyzzy"] = "x/by-map"
    assert client.get("/odd.xyzzy").get("Content-Type") == "x/by-map"


def test_an_override_that_comes_while_it_serves(asking):
    client = asking()
    client.warm("/a.txt")

    def end_headers(self):
        self.send_header("X-More", "1")
        super(client.server.handler, self).end_headers()

    client.server.handler.end_headers = end_headers
    for _ in range(3):
        assert client.get("/a.txt").get("X-More") == "1"
    del client.server.handler.end_headers
    assert client.warm("/a.txt").get("X-More") is None
    client.server.handler.server_version = "Other/1"
    assert client.get("/a.txt").get("Server").startswith("Other/1")
    client.warm("/a.txt")
    client.server.handler.extra_response_headers = [("X-Own", "1")]
    for _ in range(3):
        assert client.get("/a.txt").get("X-Own") == "1"


@pytest.mark.parametrize("name, value", [
    ("guess_type", lambda path: "x/own"), ("date_time_string", lambda timestamp=None: "now"), ("extensions_map", {".txt": "x/own"}),
    ("server_version", "Own/1"), ("do_GET", None)])
def test_what_is_assigned_on_a_handler(asking, name, value):
    def __init__(self, *args, **kwargs):
        setattr(self, name, value or (lambda: self.send_error(418)))
        super(handler, self).__init__(*args, **kwargs)

    client = asking()
    client.warm("/a.txt")
    handler = client.server.handler
    handler.__init__ = __init__
    other = Asking(client.server)
    answer = other.get("/a.txt")
    assert ("x/own" in str(answer.headers) or "now" in str(answer.headers) or "Own/1" in str(answer.headers)
            or answer.status == 418)
    other.client.__exit__(None, None, None)


def test_a_subclass_that_says_more(asking):
    """Fields that each answer has are not for every answer to remember."""
    counter = iter(range(100))

    def end_headers(self):
        self.send_header("X-Count", str(next(counter)))
        super(type(self), self).end_headers()

    client = asking({"end_headers": end_headers})
    assert [client.get("/a.txt").get("X-Count") for _ in range(4)] == ["0", "1", "2", "3"]


def test_a_do_GET_of_ones_own(asking):
    def do_GET(self):
        self.path = "/site/" if self.path == "/other" else self.path
        super(self.server.handler, self).do_GET()

    client = asking({"do_GET": do_GET})
    for _ in range(3):
        assert client.get("/other").body == b"<p>index"
        assert client.get("/a.txt").body == b"0123456789" and client.python


# ---------------------------------------------------------------- bounds

def test_entries_are_bounded(asking, root):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = min(512, limit // 8)
    for number in range(most + 50):
        put(root / "many" / f"{number}.txt", b"%d" % number)
    time.sleep(0.02)
    client = asking()
    client.warm("/a.txt")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(most + 50):
        assert client.get(f"/many/{number}.txt").body == b"%d" % number
        client.get("/a.txt")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        gc.collect()        # there an object that another thread made goes when that one runs again
    assert len(os.listdir("/proc/self/fd")) - before <= most
    assert client.get("/a.txt").status == 200 and not client.python      # what is used stays


def test_descriptors_go_with_the_server(serve, root):
    def held():
        return [path for path in map(os.path.realpath, (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")))
                if path.startswith(str(root)) and os.path.isfile(path)]

    server = serve()
    client = Asking(server)
    client.warm("/a.txt")
    client.client.__exit__(None, None, None)
    assert held()
    server.shutdown()
    server.server_close()
    server.RequestHandlerClass = server.handler = None
    deadline = time.monotonic() + 5
    while held() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not held()


def test_a_large_file_is_not_kept_open(asking, root):
    path = put(root / "large.bin", b"x" * 2_000_000)
    client = asking()
    client.warm("/large.bin")
    open_files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(path) not in open_files


def test_a_file_that_shrinks_while_it_is_sent(asking, root):
    """The length that was said cannot be kept, so the connection ends."""
    path = put(root / "large.bin", b"x" * 20_000_000)
    client = asking()
    client.warm("/large.bin")
    with connect(client.server) as sock:
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(1000)
        os.truncate(path, 1000)
        left = b"".join(iter(lambda: sock.recv(1 << 20), b""))
    assert len(left) < 20_000_000
    assert client.server.logged[-1][-1] == "the file became shorter while it was sent"


def test_a_client_that_goes_away(asking, root, capfd):
    put(root / "large.bin", b"x" * 20_000_000)
    client = asking()
    client.warm("/large.bin")
    with connect(client.server) as sock:
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.recv(1000)
    assert client.get("/a.txt").status == 200


def test_with_passwords_nothing_is_remembered(root):
    options = Options(directory=str(root), auth=Basic(Single("user:password")))
    handler = type("Handler", (Silent, handler_class(options)), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.logged = []
    with serving(server):
        good = [("Authorization", "Basic dXNlcjpwYXNzd29yZA==")]
        for _ in range(3):
            with Client(server) as client:
                assert client.request("GET", "/a.txt", good).status == 200
                assert client.request("GET", "/a.txt").status == 401


def test_many_clients_while_files_change(asking, root):
    """Each answer is one of the versions, whole, with its own length."""
    versions = [bytes([65 + number]) * (1000 + 1000 * number) for number in range(20)]
    client = asking()
    server = client.server
    wrong, over = [], threading.Event()

    def ask():
        with Client(server) as other:
            while not over.is_set():
                answer = other.request("GET", "/a.txt")
                if answer.status != 200 or answer.body not in versions:
                    wrong.append((answer.status, len(answer.body)))

    def write(octets):
        (root / "next").write_bytes(octets)
        os.replace(root / "next", root / "a.txt")

    write(versions[0])
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for octets in versions * 5:
        write(octets)
        time.sleep(0.005)
        assert client.get("/a.txt").body == octets
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
