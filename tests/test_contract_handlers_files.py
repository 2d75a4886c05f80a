"""CONTRACT, "Handlers": what programs override of SimpleHTTPRequestHandler.

`send_head` returns any file-like (BytesIO), `copyfile(source, outputfile)`, `translate_path`, `guess_type`,
`extensions_map`, `list_directory`, `index_pages` are all overridden.
"""
import io
import os

import pytest

from support import Client, exchange, fetch, serving, wait_until


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / "page.html").write_bytes(b"<p>page</p>")
    (tmp_path / "start.html").write_bytes(b"started")
    (tmp_path / "odd.xyzzy").write_bytes(b"odd")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "in").write_bytes(b"inner")
    (tmp_path / "big.bin").write_bytes(os.urandom(300_000))
    return tmp_path


@pytest.fixture(params=("HTTP/1.0", "HTTP/1.1"))
def base(backend, tree, request):
    class Handler(backend.http_server.SimpleHTTPRequestHandler):
        protocol_version = request.param

        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=tree, **kwargs)

    return Handler


@pytest.fixture
def serve(backend):
    def serve(handler):
        return serving(backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
    return serve


def test_send_head_returns_bytesio(base, serve):
    class Handler(base):
        def send_head(self):
            body = b"made up for " + self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return io.BytesIO(body)

    with serve(Handler) as server:
        assert fetch(server, "/x").body == b"made up for /x"
        assert fetch(server, "/x", method="HEAD").body == b""


def test_send_head_wraps_the_file_it_got(base, serve):
    class Upper(io.BytesIO):
        pass

    class Handler(base):
        def send_head(self):
            file = super().send_head()
            if file is None:
                return None
            with file:
                return Upper(file.read().upper())

    with serve(Handler) as server:
        assert fetch(server, "/a.txt").body == b"TEXT"
        assert fetch(server, "/none").status == 404


def test_send_head_result_is_closed(base, serve, tree):
    closed = []

    class Noting(io.FileIO):
        def close(self):
            closed.append(True)
            super().close()

    class Handler(base):
        def send_head(self):
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            return Noting(tree / "a.txt")

    with serve(Handler) as server:
        assert fetch(server, "/").body == b"text"
        assert fetch(server, "/", method="HEAD").body == b""
    wait_until(lambda: len(closed) >= 2, "both files to be closed")


def test_copyfile(base, serve):
    seen = []

    class Handler(base):
        def copyfile(self, source, outputfile):
            seen.append((source.name if hasattr(source, "name") else None, outputfile is self.wfile))
            outputfile.write(source.read().replace(b"t", b"T"))

    with serve(Handler) as server:
        assert fetch(server, "/a.txt").body == b"TexT"
        assert fetch(server, "/a.txt", method="HEAD").body == b""
    assert len(seen) == 1 and str(seen[0][0]).endswith("a.txt") and seen[0][1]


def test_copyfile_called_by_the_program(base, serve, tree):
    class Handler(base):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "600000")
            self.end_headers()
            for unused in range(2):
                with open(tree / "big.bin", "rb") as file:
                    self.copyfile(file, self.wfile)

    with serve(Handler) as server:
        assert fetch(server).body == (tree / "big.bin").read_bytes() * 2


def test_copyfile_into_bytesio(base, serve, tree):
    class Handler(base):
        def do_GET(self):
            real, self.wfile = self.wfile, io.BytesIO()
            super().do_GET()
            page, self.wfile = self.wfile.getvalue(), real
            self.wfile.write(page.replace(b"page</p>", b"PAGE</p>"))

    with serve(Handler) as server:
        assert fetch(server, "/page.html").body == b"<p>PAGE</p>"


def test_translate_path(base, serve, tree):
    class Handler(base):
        def translate_path(self, path):
            return super().translate_path("/sub/in" if path.startswith("/alias") else path)

    with serve(Handler) as server:
        assert fetch(server, "/alias/whatever").body == b"inner"
        assert fetch(server, "/a.txt").body == b"text"


def test_guess_type(base, serve):
    class Handler(base):
        def guess_type(self, path):
            return "application/x-test" if os.fspath(path).endswith(".xyzzy") else super().guess_type(path)

    with serve(Handler) as server:
        assert fetch(server, "/odd.xyzzy").get("Content-Type") == "application/x-test"
        assert fetch(server, "/a.txt").get("Content-Type") == "text/plain"


def test_extensions_map(base, serve):
    class Handler(base):
        extensions_map = {**base.extensions_map, ".xyzzy": "x/y", ".txt": "text/mine", "": "x/default"}

    with serve(Handler) as server:
        assert fetch(server, "/odd.xyzzy").get("Content-Type") == "x/y"
        assert fetch(server, "/a.txt").get("Content-Type") == "text/mine"


def test_extensions_map_changed_in_place_while_serving(base, serve, backend, monkeypatch):
    with serve(base) as server:
        assert fetch(server, "/odd.xyzzy").get("Content-Type") == "application/octet-stream"
        monkeypatch.setitem(backend.http_server.SimpleHTTPRequestHandler.extensions_map, ".xyzzy", "x/late")
        assert fetch(server, "/odd.xyzzy").get("Content-Type") == "x/late"


def test_list_directory(base, serve, tree):
    class Handler(base):
        def list_directory(self, path):
            if self.path == "/sub/":
                self.send_error(403, "No listing")
                return None
            body = os.fspath(path).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return io.BytesIO(body)

    with serve(Handler) as server:
        assert fetch(server, "/").body.rstrip(b"/") == os.fsencode(tree)
        assert fetch(server, "/sub/").status == 403


def test_index_pages(base, serve, tree):
    class Handler(base):
        index_pages = ("start.html",)

    if not hasattr(base, "index_pages"):
        pytest.skip("SimpleHTTPRequestHandler.index_pages is new in Python 3.12")
    with serve(Handler) as server:
        assert fetch(server, "/").body == b"started"
        assert b"start.html" not in fetch(server, "/sub/").body


def test_directory_attribute_and_working_directory(backend, serve, tree, monkeypatch):
    monkeypatch.chdir(tree / "sub")
    with serve(backend.http_server.SimpleHTTPRequestHandler) as server:
        assert fetch(server, "/in").body == b"inner"
        monkeypatch.chdir(tree)
        assert fetch(server, "/a.txt").body == b"text", "the current directory is looked up for each connection"


def test_path_changed_before_super(base, serve):
    class Handler(base):
        def do_GET(self):
            self.path = "/a.txt" if self.path == "/" else self.path
            return super().do_GET()

    with serve(Handler) as server:
        assert fetch(server, "/").body == b"text"


def test_do_get_answers_some_paths_itself(base, serve):
    class Handler(base):
        def do_GET(self):
            if self.path == "/api":
                self.send_response(200)
                self.send_header("Content-Length", "3")
                self.end_headers()
                self.wfile.write(b"api")
            else:
                super().do_GET()

    with serve(Handler) as server, Client(server) as client:
        assert client.request(path="/api").body == b"api"
    with serve(Handler) as server:
        assert fetch(server, "/a.txt").body == b"text"


def test_big_file_arrives_whole(base, serve, tree):
    with serve(base) as server:
        answer = exchange(server, b"GET /big.bin HTTP/1.0\r\n\r\n")
    assert answer.split(b"\r\n\r\n", 1)[1] == (tree / "big.bin").read_bytes()


def test_range_mixin_over_send_head(base, serve, tree):
    """The recipe of rangehttpserver: send_head notes the range, copyfile copies a part."""
    class Handler(base):
        def send_head(self):
            first, last = 10, 19
            file = open(self.translate_path(self.path), "rb")
            self.range = first, last
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/300000")
            self.send_header("Content-Length", "10")
            self.end_headers()
            return file

        def copyfile(self, source, outputfile):
            source.seek(self.range[0])
            outputfile.write(source.read(self.range[1] - self.range[0] + 1))

    with serve(Handler) as server:
        assert fetch(server, "/big.bin").body == (tree / "big.bin").read_bytes()[10:20]
