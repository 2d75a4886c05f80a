"""SimpleHTTPRequestHandler as it is beyond the original's: what RFC 9110 says of files, and the way to them, in each lane."""
import contextlib
import errno
import functools
import gzip
import io
import os
import resource

import pytest
from files_served import KINDS, PAST, InBlockingLane, Silent, ask, put, root  # noqa: F401: a fixture

from support import Client, needs_engine, serving
from turboserver import lanes
from turboserver.files import opening
from turboserver.files.beneath import open_beneath
from turboserver.files.conditions import etag, format_date
from turboserver.files.options import Options
from turboserver.http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

# The fallback's SimpleHTTPRequestHandler is the original.
pytestmark = needs_engine


@pytest.fixture(params=KINDS)
def serve(request, root):
    """serve(members=None, directory=None): a running server for `root`, in this lane."""
    with contextlib.ExitStack() as stack:
        def start(members=None, directory=None):
            server_class, blocking = KINDS[request.param]
            bases = (Silent, *([InBlockingLane] if blocking else []), SimpleHTTPRequestHandler)
            handler = type("Handler", bases, {"protocol_version": "HTTP/1.1", **(members or {})})
            directory = str(root) if directory is None else directory
            server = server_class(("127.0.0.1", 0), functools.partial(handler, directory=directory))
            server.logged = []
            return stack.enter_context(serving(server))
        yield start


def test_the_lane_is_the_reactor():
    assert lanes.decide(ThreadingHTTPServer, SimpleHTTPRequestHandler).lane == lanes.REACTOR


def test_fields_of_a_file(serve, root):
    answer = ask(serve(), "/a.txt")
    assert answer.headers[2:] == [
        ("Content-type", "text/plain; charset=utf-8"), ("Content-Length", "10"), ("Last-Modified", format_date(PAST)),
        ("ETag", etag(os.stat(root / "a.txt"))), ("Accept-Ranges", "bytes")]


@pytest.mark.parametrize("fields, status, body", [
    ({"Range": "bytes=2-4"}, 206, b"234"), ({"Range": "bytes=-3"}, 206, b"789"), ({"Range": "bytes=20-"}, 416, b""),
    ({"Range": "bytes=2-4", "If-Range": "{tag}"}, 206, b"234"), ({"Range": "bytes=2-4", "If-Range": '"x"'}, 200, b"0123456789"),
    ({"If-None-Match": "{tag}"}, 304, b""), ({"If-None-Match": '"x"'}, 200, b"0123456789"), ({"If-Match": '"x"'}, 412, b""),
    ({"If-Match": "{tag}"}, 200, b"0123456789"), ({"If-Modified-Since": "{date}"}, 304, b""),
    ({"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 412, b"")])
def test_preconditions_and_ranges(serve, root, fields, status, body):
    values = {"tag": etag(os.stat(root / "a.txt")), "date": format_date(PAST)}
    answer = ask(serve(), "/a.txt", [(name, value.format(**values)) for name, value in fields.items()])
    assert (answer.status, answer.body) == (status, body)
    if status == 206:
        assert answer.get("Content-Range").endswith("/10") and answer.get("Content-Length") == "3"
    if status == 416:
        assert answer.get("Content-Range") == "bytes */10"


def test_several_ranges(serve):
    answer = ask(serve(), "/a.txt", [("Range", "bytes=0-0,9-9")])
    assert answer.status == 206 and answer.body in (b"0123456789",) or b"Content-Range: bytes 9-9/10" in answer.body


def test_what_lies_compressed_beside_it(serve, root):
    put(root / "a.txt.gz", gzip.compress(b"0123456789"))
    server = serve()
    answer = ask(server, "/a.txt", [("Accept-Encoding", "gzip")])
    assert gzip.decompress(answer.body) == b"0123456789"
    assert (answer.get("Content-Encoding"), answer.get("Vary")) == ("gzip", "Accept-Encoding")
    plain = ask(server, "/a.txt")
    assert plain.body == b"0123456789" and plain.get("Vary") == "Accept-Encoding" and plain.get("ETag") != answer.get("ETag")


def test_links(serve, root):
    (root / "in.txt").symlink_to("a.txt")
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "folder").symlink_to("..")
    (root / "loop").symlink_to("loop")
    server = serve()
    assert ask(server, "/in.txt").body == b"0123456789"
    for path in ("/out.txt", "/folder/secret.txt", "/folder/", "/loop", "/folder/root-beside/secret.txt"):
        answer = ask(server, path)
        assert answer.status == 404 and b"secret" not in answer.body.replace(b"secret.txt", b"")
    allowed = serve({"turbo_files": Options(page=False, outside=True)})
    assert ask(allowed, "/out.txt").body == b"secret" and ask(allowed, "/folder/secret.txt").body == b"secret"


def test_special_files(serve, root):
    os.mkfifo(root / "fifo")
    server = serve()
    assert ask(server, "/fifo").status == 404 and ask(server, "/fifo", method="HEAD").status == 404


@pytest.mark.parametrize("target", [
    "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt", "/sub/../../secret.txt", "//../secret.txt",
    "/..%5csecret.txt", "/%252e%252e/secret.txt", "/sub/%2e%2e/%2e%2e/secret.txt", "/.%2e/secret.txt", "/./../secret.txt",
    "/../root-beside/secret.txt", "/..;/secret.txt", "/%c0%ae%c0%ae/secret.txt", "/%ed%b2%80", "/secret.txt%00.html", "/%00"])
def test_traversal(serve, target):
    assert ask(serve(), target).status == 404


def test_a_file_that_may_not_be_read(serve, root):
    os.chmod(root / "a.txt", 0)
    assert ask(serve(), "/a.txt", then=False).status in (404, 200)      # root may
    if os.geteuid() != 0:
        assert ask(serve(), "/a.txt", then=False).status == 404


def test_folders(serve, root):
    server = serve()
    assert ask(server, "/site/").body == b"<p>index"
    answer = ask(server, "/sub?a=b")
    assert (answer.status, answer.get("Location")) == (301, "/sub/?a=b")
    assert b"in.txt" in ask(server, "/sub/").body and ask(server, "/a.txt/").status == 404
    assert b"Directory listing for" in ask(server, "/sub/").body


def test_an_index_page_that_may_not_be_read(serve, monkeypatch):
    """As the original: it is there, so nothing else is sent in its place."""
    def refusing(root, names, *arguments, **options):
        if names[-1:] == ("index.html",):
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_beneath(root, names, *arguments, **options)

    monkeypatch.setattr(opening, "open_beneath", refusing)
    answer = ask(serve(), "/site/", then=False)
    assert answer.status == 404 and b"File not found" in answer.body


def test_a_folder_is_listed_by_what_was_opened(serve, root, monkeypatch):
    """Not by a path that may lead elsewhere by then."""
    seen = []
    original = SimpleHTTPRequestHandler.list_directory
    server = serve()
    monkeypatch.setattr(os, "listdir", lambda path, listdir=os.listdir: (seen.append(os.fspath(path)), listdir(path))[1])
    assert b"in.txt" in ask(server, "/sub/", once=True).body
    assert original is SimpleHTTPRequestHandler.list_directory
    assert [path for path in seen if path.startswith("/proc/self/fd/")] and str(root / "sub") not in seen


@pytest.mark.parametrize("given", ["absolute", "with a slash", "relative", "dot", "path"])
def test_directories(serve, root, given):
    with contextlib.chdir(root.parent if given == "relative" else root):
        name = {"absolute": str(root), "with a slash": f"{root}/", "relative": "root", "dot": ".", "path": root}[given]
        server = serve(directory=name)
        assert ask(server, "/a.txt").body == b"0123456789"
        assert ask(server, "/site/").body == b"<p>index" and b"in.txt" in ask(server, "/sub/").body


def test_a_directory_that_is_not_there(serve, root):
    answer = ask(serve(directory=str(root / "missing")), "/", then=False)
    assert answer.status == 404 and b"File not found" in answer.body


# ---------------------------------------------------------------- hooks

def test_guess_type_and_extensions(serve, root):
    put(root / "x.foo")
    assert ask(serve({"guess_type": lambda self, path: "x/" + os.path.basename(path)}), "/a.txt").get("Content-Type") == "x/a.txt"
    server = serve({"extensions_map": {".foo": "text/x-foo", ".txt": "text/own"}})
    assert ask(server, "/x.foo").get("Content-Type") == "text/x-foo" and ask(server, "/a.txt").get("Content-Type") == "text/own"


def test_translate_path(serve, root):
    """Who says where a file is means it; the original answers."""
    server = serve({"translate_path": lambda self, path: os.fspath(root.parent / "secret.txt")})
    answer = ask(server, "/anything", [("Range", "bytes=0-1")])
    assert (answer.status, answer.body, answer.get("ETag")) == (200, b"secret", None)


def test_send_head(serve):
    def send_head(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        return io.BytesIO(b"own")
    assert ask(serve({"send_head": send_head}), "/a.txt").body == b"own"


def test_copyfile(serve):
    """It gets a file object of the system's, as ever."""
    seen = []

    def copyfile(self, source, outputfile):
        seen.append(os.fstat(source.fileno()).st_size)
        outputfile.write(source.read().upper())
    assert ask(serve({"copyfile": copyfile}), "/page.html", once=True).body == b"<P>PAGE"
    assert seen == [7]


def test_list_directory(serve, root):
    def list_directory(self, path):
        self.send_error(403, os.fspath(path).removeprefix(str(root)))
    answer = ask(serve({"list_directory": list_directory}), "/sub/", then=False)
    assert answer.status == 403 and b"/sub" in answer.body


def test_index_pages(serve, root):
    put(root / "sub" / "start.html", b"start")
    assert ask(serve({"index_pages": ("none.html", "start.html")}), "/sub/").body == b"start"


def test_a_do_GET_that_changes_the_path(serve):
    def do_GET(self):
        self.path = "/site/index.html"
        SimpleHTTPRequestHandler.do_GET(self)
    assert ask(serve({"do_GET": do_GET}), "/none").body == b"<p>index"


def test_send_head_by_hand(serve):
    """A do_GET of one's own that does as the original's does: it gets the original's file."""
    def do_GET(self):
        file = self.send_head()
        if file:
            with file:
                self.copyfile(file, self.wfile)
    answer = ask(serve({"do_GET": do_GET}), "/a.txt")
    assert (answer.status, answer.body, answer.get("ETag")) == (200, b"0123456789", None)


def test_end_headers_and_fields_of_options(serve):
    def end_headers(self):
        self.send_header("X-Mine", "1")
        SimpleHTTPRequestHandler.end_headers(self)
    server = serve({"end_headers": end_headers, "turbo_files": Options(page=False, cache=60, headers=(("X-More", "2"),), cors=True)})
    answer = ask(server, "/a.txt")
    assert [answer.get(name) for name in ("X-Mine", "X-More", "Cache-Control", "Access-Control-Allow-Origin")] == [
        "1", "2", "max-age=60", "*"]


def test_out_of_descriptors(root):
    """The answer says so, and the next one is right."""
    class Handler(Silent, SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    server.logged = []
    with serving(server):
        assert ask(server, "/a.txt", then=False).status == 200
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with Client(server) as client:
            client.request("GET", "/page.html")
            used = len(os.listdir("/proc/self/fd"))
            held = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        held.append(os.open("/dev/null", os.O_RDONLY))
                answer = client.request("GET", "/picture.png")
            finally:
                for fd in held:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert answer.status == 503
        assert ask(server, "/picture.png").status == 200
