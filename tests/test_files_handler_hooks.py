"""turboserver.files.handler over sockets, in each lane: what a subclass overrides is honoured, as in the original."""
import io
import os

import pytest
from files_served import FileHandler, ask, put, root, serve  # noqa: F401: fixtures

from support import Client
from turboserver import lanes
from turboserver.http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


def test_list_directory(serve, root):
    seen = []

    def list_directory(self, path):
        seen.append(path)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        return io.BytesIO(b"list")
    server = serve({"list_directory": list_directory}, headers=(("X-One", "1"),))
    for path in ("/sub/", "/sub/?format=json", "/sub/?format=plain"):
        answer = ask(server, path)
        assert (answer.body, answer.get("X-One")) == (b"list", "1")
    assert ask(server, "/sub/", method="HEAD").get("Content-Length") == "4"
    assert set(seen) == {os.path.join(root, "sub", "")}
    assert ask(server, "/site/").body == b"<p>index" and ask(server, "/sub").status == 301
    assert ask(server, "/missing/").status == 404


def test_list_directory_that_asks_the_original(serve):
    def list_directory(self, path):
        self.path = "/other/"
        return SimpleHTTPRequestHandler.list_directory(self, path)
    answer = ask(serve({"list_directory": list_directory}), "/sub/")
    assert b"listing for /other/" in answer.body and b"in.txt" in answer.body


def test_guess_type(serve, root):
    server = serve({"guess_type": lambda self, path: "text/x-" + os.path.basename(path)})
    answer = ask(server, "/a.txt", [("Range", "bytes=0-0")])
    assert (answer.status, answer.get("Content-Type")) == (206, "text/x-a.txt")


def test_extensions_map(serve, root):
    put(root / "x.FOO", b"1")
    put(root / "x.bar", b"1")
    kinds = {**SimpleHTTPRequestHandler.extensions_map, ".foo": "text/x-foo", ".txt": "text/plain; charset=latin-1", ".bar": "odd"}
    server = serve({"extensions_map": kinds})
    for path, kind in (("/x.FOO", "text/x-foo"), ("/a.txt", "text/plain; charset=latin-1"), ("/x.bar", "odd"),
                       ("/page.html", "text/html; charset=utf-8")):
        assert ask(server, path).get("Content-Type") == kind


def test_index_pages(serve):
    server = serve({"index_pages": ("in.txt",)})
    assert ask(server, "/sub/").body == b"inside" and b"index.html" in ask(server, "/site/").body


def test_copyfile(serve, root):
    """It is given each piece, and what it sends is what is sent."""
    seen = []

    def copyfile(self, source, outputfile):
        data = source.read(4) + source.read()
        assert source.read(1) == b""
        seen.append(data)
        outputfile.write(data.upper())
    put(root / "letters", b"abcdefghij" * 100)
    server = serve({"copyfile": copyfile})
    assert ask(server, "/letters", once=True).body == b"ABCDEFGHIJ" * 100
    assert ask(server, "/letters", [("Range", "bytes=0-2")]).body == b"ABC"
    assert ask(server, "/letters", method="HEAD").body == b""
    assert seen == [b"abcdefghij" * 100, b"abc"]


def test_copyfile_that_reads_nothing_ends_the_connection(serve):
    with Client(serve({"copyfile": lambda self, source, outputfile: None})) as client:
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(EOFError):
            client.read()


def test_translate_path(serve, root):
    def translate_path(self, path):
        return os.fspath(root.parent / "secret.txt")
    server = serve({"translate_path": translate_path}, cors=True, headers=(("X-One", "1"),))
    answer = ask(server, "/anything", [("Range", "bytes=0-1")])
    assert (answer.status, answer.body) == (200, b"secret")
    assert answer.get("X-One") == "1" and answer.get("Access-Control-Allow-Origin") == "*"
    assert ask(server, "/anything", method="HEAD").get("Content-Length") == "6"


def test_send_head(serve):
    def send_head(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        return io.BytesIO(b"own")
    server = serve({"send_head": send_head})
    assert ask(server, "/a.txt", then=False).body == ask(server, "/sub", then=False).body == b"own"


def test_extra_response_headers(serve):
    server = serve({"extra_response_headers": [("X-Extra", "1"), ("X-Extra", "2"), ("Content-Type", "x/y")]})
    for path in ("/a.txt", "/sub/", "/sub/?format=plain"):
        answer = ask(server, path)
        assert [value for name, value in answer.headers if name == "X-Extra"] == ["1", "2"], path
        assert len([name for name, _ in answer.headers if name.lower() == "content-type"]) == 1


def test_the_log(serve):
    server = serve()
    with Client(server) as client:
        client.request(path="/a.txt")
        client.request(path="/missing")
    assert [line[1:3] for line in server.logged] == [("GET /a.txt HTTP/1.1", "200"), (404, "File not found"),
                                                     ("GET /missing HTTP/1.1", "404")]


def test_log_request_and_end_headers(serve):
    codes = []

    def end_headers(self):
        self.send_header("X-Mine", "1")
        FileHandler.end_headers(self)
    server = serve({"log_request": lambda self, code="-", size="-": codes.append(int(code)), "end_headers": end_headers})
    for path, status in (("/a.txt", 200), ("/missing", 404), ("/sub", 301), ("/sub/", 200)):
        answer = ask(server, path, then=False, once=True)
        assert (answer.status, answer.get("X-Mine")) == (status, "1")
    assert codes == [200, 404, 301, 200]


def test_overrides_of_a_request_leave_the_lane():
    handler = type("Handler", (FileHandler,), {"list_directory": lambda self, path: None, "guess_type": lambda self, path: "x/y"})
    assert lanes.decide(ThreadingHTTPServer, handler).lane == lanes.REACTOR


def test_a_directory_that_is_given(root):
    """As the original takes it, for who makes the handler himself."""
    import functools

    from support import serving
    handler = functools.partial(type("Handler", (FileHandler,), {"log_message": lambda *args: None}), directory=str(root / "sub"))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server, Client(server) as client:
        assert client.request(path="/in.txt").body == b"inside"
        assert lanes.decide(server).lane == lanes.REACTOR
