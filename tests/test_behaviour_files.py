"""Differential: SimpleHTTPRequestHandler over one folder: files, listings, index pages, redirects, conditions.

A file's answer has more than the original's: an entity tag, Accept-Ranges, a charset. plain_file() takes that off.
"""
import io
import os
import re

import pytest

import differential

_MORE = re.compile(rb'\r\n(?:ETag: (?:W/)?"[0-9a-f]{24}"|Accept-Ranges: bytes|Vary: Accept-Encoding)(?=\r\n)')
_TYPE = re.compile(rb"(\r\nContent-type: (?:text/[a-z]+)); charset=utf-8(?=\r\nContent-Length: )")
_FILE = re.compile(rb"HTTP/1\.[01] (?:200 OK|304 Not Modified)\r\n(?:(?!\r\n\r\n).)*?\r\nETag: .*?\r\n\r\n", re.DOTALL)


def plain_file(answer):
    """What is left of it without what is meant to be beyond the original's."""
    def plain(head):
        if head[0].startswith((b"HTTP/1.1 304", b"HTTP/1.0 304")):
            return _MORE.sub(b"", re.sub(rb"\r\nLast-Modified: [^\r]*", b"", head[0]))
        return _TYPE.sub(rb"\1", _MORE.sub(b"", head[0]))

    return _FILE.sub(plain, answer)


def assert_same(case, program, data, **options):
    differential.assert_same(case, program, data, plainly=plain_file, **options)


OLD = 1_000_000_000  # Sun, 09 Sep 2001 01:46:40 GMT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    for name, content in {
            "plain.txt": b"plain text", "empty": b"", "page.html": b"<p>page</p>", "data.json": b"{}",
            "archive.tar.gz": b"gz", "no-extension": b"?", "UPPER.TXT": b"upper", "with space.txt": b"space",
            "percent%41.txt": b"percent", "plus+and&amp;.txt": b"plus", "ünïcode €.txt": b"unicode",
            "<b>.txt": b"markup", "quote'\".txt": b"quote", "script.js": b"js", "style.css": b"css",
            "image.png": b"\x89PNG", "x.unknown": b"unknown", "a.Z": b"Z", "b.bz2": b"bz", "c.xz": b"xz"}.items():
        (root / name).write_bytes(content)
    (root / "big.bin").write_bytes(bytes(range(256)) * 4096 * 4)
    for name in ("sub", "indexed", "htm", "empty-folder", "index-folder", "with space", "sub/deeper"):
        (root / name).mkdir()
    (root / "sub" / "inner.txt").write_bytes(b"inner")
    (root / "indexed" / "index.html").write_bytes(b"the index")
    (root / "htm" / "index.htm").write_bytes(b"the htm index")
    (root / "index-folder" / "index.html").mkdir()
    (root / "link.txt").symlink_to("plain.txt")
    (root / "linked-folder").symlink_to("sub")
    (root / "dangling").symlink_to("nowhere")
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (OLD, OLD))
    return root


def files(folder, protocol="HTTP/1.1", **members):
    def program(backend, seen):
        def init(self, *args, **kwargs):
            super(Handler, self).__init__(*args, directory=folder, **kwargs)

        Handler = type("Handler", (backend.http_server.SimpleHTTPRequestHandler,),
                       {"protocol_version": protocol, "__init__": init, **members})
        return Handler

    return program


PATHS = (
    "/", "/plain.txt", "/empty", "/page.html", "/data.json", "/archive.tar.gz", "/no-extension", "/UPPER.TXT",
    "/with%20space.txt", "/percent%2541.txt", "/percent%41.txt", "/plus+and&amp;.txt",
    "/%C3%BCn%C3%AFcode%20%E2%82%AC.txt",
    "/%3Cb%3E.txt", "/quote'%22.txt", "/script.js", "/style.css", "/image.png", "/x.unknown", "/a.Z", "/b.bz2",
    "/c.xz", "/sub", "/sub/", "/sub?query", "/sub?query#x", "/sub/?query", "/sub/inner.txt", "/sub/inner.txt?x=/y/",
    "/sub//inner.txt", "/sub/./inner.txt", "/sub/../plain.txt", "/sub/%2e%2e/plain.txt", "/../../etc/passwd",
    "/plain.txt/", "/plain.txt/x", "/plain.txt#fragment", "/plain.txt?", "/indexed", "/indexed/", "/htm/",
    "/empty-folder/", "/index-folder/", "/with%20space", "/with%20space/", "/sub/deeper/", "/link.txt",
    "/linked-folder/",
    "/dangling", "/missing", "/missing/", "/%00", "/plain.txt%00", "/%ff%fe", "/%zz", "//plain.txt", "//sub", "///",
    "/" + "x" * 300, "/" + "/x" * 500, "*", "plain.txt", "http://a/plain.txt", "/C:/x", "/sub\\inner.txt", "/~", "/..",
    "/.", "/sub/..", "/;p", "/plain.txt;p",
)


@pytest.mark.parametrize("method", ("GET", "HEAD"))
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_paths(folder, path, method):
    request = f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1")
    assert_same("files/" + path.removeprefix("/"), files(folder), request * 2)


@pytest.mark.parametrize("path", ("/", "/plain.txt", "/sub", "/missing", "/indexed/"))
@pytest.mark.parametrize("head", ("GET {} HTTP/1.0\r\n\r\n", "GET {}\r\n", "HEAD {} HTTP/1.0\r\n\r\n",
                                  "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"))
def test_versions(folder, path, head):
    assert_same("files/version", files(folder, "HTTP/1.0"), head.format(path).encode())


@pytest.mark.parametrize("header", (
    "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT",
    "If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT",
    "If-Modified-Since: Sun, 09 Sep 2001 01:46:41 GMT",
    "If-Modified-Since: Sun, 09 Sep 2001 03:46:40 +0200",
    "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 -0000",
    "If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT",
    "If-Modified-Since: Sun Sep  9 01:46:40 2001",
    "If-Modified-Since: nonsense",
    "If-Modified-Since:",
    "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT",
    "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\nIf-None-Match: \"x\"",
    "If-None-Match: *",
    "Range: bytes=0-3",
    "Accept-Encoding: gzip",
))
@pytest.mark.parametrize("path", ("/plain.txt", "/", "/indexed/"))
def test_conditions(folder, path, header):
    # What a folder's list is does not hang on it.
    assert_same("files/condition" if path == "/" else "files/" + header, files(folder),
                f"GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n".encode() * 2)


def test_big_file(folder):
    assert_same("files/big", files(folder), b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n" * 2)


@pytest.mark.parametrize("size", (0, 1, 16383, 16384, 16385, 300_000))
@pytest.mark.parametrize("begin", (0, 1, 20_000))
def test_what_is_left_of_a_file(tmp_path, size, begin):
    """copyfile() goes on where the file object stands, to its end at that moment, not to what was said of it."""
    (tmp_path / "file").write_bytes(bytes(range(251)) * (size // 251 + 1))
    os.truncate(tmp_path / "file", size)

    def send_head(self):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        file = open(tmp_path / "file", "rb")
        file.seek(begin)
        return file

    assert_same("files/left", files(tmp_path, send_head=send_head), b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize("kind", ("writes", "unbuffered", "bytes", "pipe"))
def test_other_things_to_copy(tmp_path, kind):
    """What is no plain file, and a file object with a say in what is read."""
    (tmp_path / "file").write_bytes(b"octets" * 9000)

    class Upper(io.BufferedReader):
        def read(self, size=-1):
            return super().read(size).upper()

    def send_head(self):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        if kind == "writes":
            return Upper(io.FileIO(tmp_path / "file"))
        if kind == "unbuffered":
            return open(tmp_path / "file", "rb", buffering=0)
        if kind == "bytes":
            return io.BytesIO(b"octets" * 9000)
        reader, writer = os.pipe()
        os.write(writer, b"octets" * 5)
        os.close(writer)
        return open(reader, "rb")

    assert_same("files/other", files(tmp_path, send_head=send_head), b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")


def test_pipelined_mix(folder):
    paths = ("/plain.txt", "/missing", "/sub/inner.txt", "/sub", "/")
    stream = "".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths).encode()
    assert_same("files/mix", files(folder), stream, chunkings=("whole", "lines", "bytes"))


def test_folder_that_is_missing(folder):
    assert_same("files/gone", files(folder / "gone"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_extensions_and_headers_of_a_subclass(folder):
    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super(type(self), self).end_headers()

    program = files(folder, extensions_map={".txt": "x/y", "": "z/z"}, end_headers=end_headers)
    for path in ("/plain.txt", "/no-extension", "/missing", "/sub", "/"):
        assert_same("files/subclass", program, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
