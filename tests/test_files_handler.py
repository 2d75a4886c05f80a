"""turboserver.files.handler over sockets, in each lane: what a file and a folder are answered with."""
import gzip
import json
import os
import re
import time

import pytest
from files_served import KINDS, PAST, ask, put, root, serve, served  # noqa: F401: fixtures

from support import Client, connect, fetch, serving
from turboserver import lanes
from turboserver.files import codings
from turboserver.files.conditions import etag, format_date
from turboserver.files.handler import FileHandler, handler_class
from turboserver.files.options import Options
from turboserver.http.server import ThreadingHTTPServer

DATE = format_date(PAST)


def tag_of(path, coding="identity"):
    return etag(os.stat(path), coding)


def test_the_lane_is_the_reactor():
    for options in (Options(), Options(upload=True, cors=True, compress=True, spa=True, page=False, cache=1)):
        decision = lanes.decide(ThreadingHTTPServer, handler_class(options))
        assert (decision.lane, decision.reasons) == (lanes.REACTOR, ())
    assert lanes.decide(ThreadingHTTPServer, FileHandler).lane == lanes.REACTOR


# ---------------------------------------------------------------- files

def test_a_file(serve, root):
    answer = ask(serve(), "/a.txt")
    assert (answer.version, answer.status, answer.body) == ("HTTP/1.1", 200, b"0123456789")
    assert [name for name, _ in answer.headers[:2]] == ["Server", "Date"]
    assert answer.headers[2:] == [
        ("Content-type", "text/plain; charset=utf-8"), ("Content-Length", "10"), ("Last-Modified", DATE),
        ("ETag", tag_of(root / "a.txt")), ("X-Content-Type-Options", "nosniff"), ("Accept-Ranges", "bytes")]


def test_head_has_the_same_fields(serve):
    server = serve(compress=True)
    for path in ("/a.txt", "/empty.txt", "/picture.png", "/sub/", "/sub/?format=plain", "/sub", "/site/"):
        whole, head = ask(server, path), ask(server, path, method="HEAD")
        assert head.status == whole.status and head.body == b""
        # Where the body of a page ends is not known without making it.
        apart = ("Date", "Transfer-Encoding") if path == "/sub/" else ("Date",)
        assert [f for f in head.headers if f[0] not in apart] == [f for f in whole.headers if f[0] not in apart]


@pytest.mark.parametrize("target", ["/a.txt?x=y", "/a.txt#x", "/%61.txt", "/./a.txt", "/sub/../a.txt", "//a.txt",
                                    "http://test/a.txt", "/sub/%2e%2e/a.txt", "/a.txt?format=json"])
def test_targets_of_one_file(serve, target):
    assert ask(serve(), target).body == b"0123456789"


def test_names_of_every_kind(serve, root):
    server = serve()
    for number, octets in enumerate((b"a b", b"caf\xc3\xa9", b"\xe9", b"a\nb\r\nSet-Cookie: x=y", b"100%", b"q?x#y", b"<b>'\"&",
                                     b"javascript:x", b"%2e%2e", b"~", b"a\\b", b"\x7f\x01")):
        content = b"%d" % number
        with open(os.path.join(os.fsencode(root), octets), "wb") as file:
            file.write(content)
        path = "/" + "".join(f"%{octet:02x}" for octet in octets)
        assert ask(server, path).body == content
    for entry in json.loads(ask(server, "/?format=json").body)["entries"]:
        if entry["type"] == "file":
            assert len(ask(server, entry["url"][1:]).body) == entry["size"]


def test_two_requests_in_one_packet(serve):
    with Client(serve()) as client:
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /sub/in.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.read().body, client.read().body] == [b"0123456789", b"inside"]


def test_http_1_0(serve):
    with Client(serve()) as client:
        answer = client.request(path="/a.txt", version="HTTP/1.0")
        assert answer.body == b"0123456789" and client.at_eof()


def test_http_0_9(serve):
    with Client(serve()) as client:
        client.send(b"GET /a.txt\r\n")
        client.sock.shutdown(1)
        assert client.sock.recv(100) == b"0123456789"


def test_large_files_come_whole(serve, root):
    content = os.urandom(3_000_001)
    put(root / "large.bin", content)
    server = serve()
    assert ask(server, "/large.bin").body == content
    assert ask(server, "/large.bin", [("Range", "bytes=1000-2999000")]).body == content[1000:2999001]


# ---------------------------------------------------------------- conditions

def test_conditions(serve, root):
    server = serve(cache=60)
    tag, other = tag_of(root / "a.txt"), '"other"'
    later, earlier = format_date(PAST + 1), format_date(PAST - 1)
    for headers, status in (
            ([("If-None-Match", tag)], 304), ([("If-None-Match", "W/" + tag)], 304), ([("If-None-Match", other)], 200),
            ([("If-None-Match", other), ("If-None-Match", tag)], 304), ([("If-None-Match", "*")], 304),
            ([("If-Modified-Since", DATE)], 304), ([("If-Modified-Since", later)], 304),
            ([("If-Modified-Since", earlier)], 200), ([("If-Modified-Since", "yesterday")], 200),
            ([("If-None-Match", other), ("If-Modified-Since", later)], 200),
            ([("If-Match", other)], 412), ([("If-Match", tag)], 200), ([("If-Unmodified-Since", earlier)], 412),
            ([("If-Unmodified-Since", DATE)], 200), ([("If-None-Match", tag), ("Range", "bytes=0-1")], 304)):
        for method in ("GET", "HEAD"):
            answer = ask(server, "/a.txt", headers, method)
            assert answer.status == status, headers
            assert answer.get("ETag") == tag and answer.get("Last-Modified") == DATE
            if status == 304:
                assert answer.body == b"" and answer.get("Content-Type") is None
                assert answer.get("Cache-Control") == "max-age=60"
            if status == 412:
                assert answer.get("Cache-Control") is None


def test_a_file_that_may_still_change_has_a_weak_tag(serve, root):
    (root / "new.txt").write_bytes(b"new")
    put(root / "future.txt", b"x", age=4_000_000_000)
    server = serve()
    for path in ("/new.txt", "/future.txt"):
        assert ask(server, path).get("ETag").startswith('W/"')


def test_a_time_that_is_far_away(serve, root):
    """Its nanoseconds have more than 63 bits."""
    age = 15_000_000_000
    path = put(root / "far.txt", b"x", age)
    if os.stat(path).st_mtime != age:
        pytest.skip("the file system has no such times")
    answer = ask(serve(), "/far.txt")
    assert (answer.status, answer.body, answer.get("Last-Modified")) == (200, b"x", "Mon, 01 May 2445 02:40:00 GMT")


def test_nothing_stale(serve, root):
    """Each change is seen by the next request, on the same connection."""
    with Client(serve()) as client:
        for number in range(5):
            put(root / "new", b"%d" % number, age=PAST + number)
            os.replace(root / "new", root / "a.txt")
            answer = client.request(path="/a.txt")
            assert answer.body == b"%d" % number and answer.get("Last-Modified") == format_date(PAST + number)


# ---------------------------------------------------------------- ranges

@pytest.mark.parametrize("asked, status, body, part", [
    ("bytes=0-3", 206, b"0123", "bytes 0-3/10"), ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    ("bytes=-2", 206, b"89", "bytes 8-9/10"), ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
    ("bytes=0-1,2-3", 206, b"0123", "bytes 0-3/10"), ("bytes=10-", 416, None, "bytes */10"),
    ("bytes=-0", 416, None, "bytes */10"), ("bytes=3-2", 200, b"0123456789", None), ("lines=1-2", 200, b"0123456789", None),
    ("bytes=a", 200, b"0123456789", None)])
def test_ranges(serve, asked, status, body, part):
    server = serve()
    answer = ask(server, "/a.txt", [("Range", asked)])
    assert (answer.status, answer.get("Content-Range")) == (status, part)
    if body is not None:
        assert answer.body == body and answer.get("Content-Length") == str(len(body))
    assert answer.get("Accept-Ranges") == "bytes"
    head = ask(server, "/a.txt", [("Range", asked)], "HEAD")
    assert (head.status, head.get("Content-Length")) == (200, "10")


def test_several_ranges(serve, root):
    content = bytes(range(256)) * 40
    put(root / "large.bin", content)
    answer = ask(serve(), "/large.bin", [("Range", "bytes=0-9,5000-5009,-10")])
    boundary = re.fullmatch("multipart/byteranges; boundary=([0-9a-f]+)", answer.get("Content-Type"))[1]
    assert answer.status == 206 and answer.get("Content-Range") is None
    parts = answer.body.split(b"--" + boundary.encode())[1:-1]
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts] == [content[:10], content[5000:5010], content[-10:]]
    assert b"Content-Type: application/octet-stream\r\nContent-Range: bytes 5000-5009/10240" in parts[1]


def test_if_range(serve, root):
    server = serve()
    tag = tag_of(root / "a.txt")
    for value, status in ((tag, 206), ('"other"', 200), ("W/" + tag, 200), (DATE, 206), (format_date(PAST - 1), 200)):
        assert ask(server, "/a.txt", [("Range", "bytes=1-2"), ("If-Range", value)]).status == status


def test_an_empty_file_has_no_parts(serve):
    answer = ask(serve(), "/empty.txt", [("Range", "bytes=0-")])
    assert (answer.status, answer.body, answer.get("Content-Length")) == (200, b"", "0")


def test_two_range_fields_are_none(serve):
    assert ask(serve(), "/a.txt", [("Range", "bytes=0-1"), ("Range", "bytes=2-3")]).status == 200


# ---------------------------------------------------------------- codings

def test_what_lies_beside(serve, root):
    put(root / "app.js", b"x" * 2000)
    put(root / "app.js.gz", gzip.compress(b"x" * 2000))
    put(root / "app.js.br", b"brotli", age=PAST - 1)        # of an older version
    server = serve()
    plain = ask(server, "/app.js")
    assert plain.body == b"x" * 2000 and plain.get("Vary") == "Accept-Encoding"
    coded = ask(server, "/app.js", [("Accept-Encoding", "br, gzip")])
    assert gzip.decompress(coded.body) == plain.body
    assert (coded.get("Content-Encoding"), coded.get("Vary")) == ("gzip", "Accept-Encoding")
    assert coded.get("Content-Type") == plain.get("Content-Type") == "text/javascript; charset=utf-8"
    assert coded.get("ETag") == tag_of(root / "app.js.gz", "gzip") != plain.get("ETag")
    again = ask(server, "/app.js", [("Accept-Encoding", "gzip"), ("If-None-Match", coded.get("ETag"))])
    assert (again.status, again.get("Vary")) == (304, "Accept-Encoding")
    part = ask(server, "/app.js", [("Accept-Encoding", "gzip"), ("Range", "bytes=0-1")])
    assert (part.status, part.body, part.get("Content-Encoding")) == (206, coded.body[:2], "gzip")
    assert ask(server, "/app.js", [("Accept-Encoding", "identity;q=0")]).status == 406
    assert ask(server, "/app.js.gz").get("Content-Encoding") is None


def test_what_lies_beside_is_below_the_root(serve, root):
    put(root / "app.js", b"x" * 2000)
    (root / "app.js.gz").symlink_to(root.parent / "secret.txt")
    (root / "app.js.zst").mkdir()
    os.mkfifo(root / "app.js.br")
    answer = ask(serve(), "/app.js", [("Accept-Encoding", "br, gzip, zstd")])
    assert answer.body == b"x" * 2000 and answer.get("Content-Encoding") is None


@pytest.mark.parametrize("coding", codings.ON_THE_FLY)
def test_compressed_as_it_goes(serve, root, coding):
    text = b"line of text\n" * 50_000
    put(root / "long.txt", text)
    put(root / "long.png", text)
    server, asked = serve(compress=True), [("Accept-Encoding", coding)]
    answer = ask(server, "/long.txt", asked)
    assert answer.get("Content-Encoding") == coding and answer.get("Transfer-Encoding") == "chunked"
    assert answer.get("Content-Length") is None and answer.get("Vary") == "Accept-Encoding"
    assert len(answer.body) < 10_000
    assert answer.body == b"".join(codings.compressed([text], coding)) or coding != "gzip"
    if coding == "gzip":
        assert gzip.decompress(answer.body) == text
    assert answer.get("ETag").startswith('W/"')
    assert ask(server, "/long.txt", [*asked, ("If-None-Match", answer.get("ETag"))]).status == 304
    part = ask(server, "/long.txt", [*asked, ("Range", "bytes=0-3")])
    assert (part.status, part.body, part.get("Content-Encoding")) == (206, b"line", None)
    for path in ("/long.png", "/a.txt"):        # not worth it
        assert ask(server, path, asked).get("Content-Encoding") is None
    # An answer without a length would look whole to this one whatever happens.
    assert fetch(server, "/long.txt", headers=asked, version="HTTP/1.0").body == text


def test_nothing_is_compressed_unasked(serve, root):
    put(root / "long.txt", b"text\n" * 1000)
    assert ask(serve(), "/long.txt", [("Accept-Encoding", "gzip")]).headers[3] == ("Content-Length", "5000")


# ---------------------------------------------------------------- folders

def test_a_folder_has_a_slash(serve, root):
    (root / "evil.com").mkdir()
    (root / "a\r\nX-Evil: y").mkdir()
    (root / "\\evil.com").mkdir()
    server = serve()
    for target, location in (
            ("/sub", "/sub/"), ("/sub?sort=size", "/sub/?sort=size"), ("/site", "/site/"), ("/sub/.", "/sub/"),
            ("/./sub/", "/sub/"), ("/sub/..", "/"), ("/sub//", "/sub/"), ("//evil.com", "/evil.com/"),
            ("//evil.com//", "/evil.com/"), ("///evil.com/.", "/evil.com/"), ("/.//evil.com", "/evil.com/"),
            ("/sub/..//evil.com/", "/evil.com/"), ("http://test//evil.com/.", "/evil.com/"), ("/%5cevil.com", "/%5Cevil.com/"),
            ("/a%0d%0aX-Evil:%20y", "/a%0D%0AX-Evil%3A%20y/")):
        answer = ask(server, target)
        assert (answer.status, answer.get("Location")) == (301, location), target
        assert answer.get("X-Evil") is None


def test_an_index_page(serve, root):
    put(root / "old" / "index.htm", b"old")
    (root / "linked").mkdir()
    (root / "linked" / "index.html").symlink_to(root.parent / "secret.txt")
    (root / "folders" / "index.html").mkdir(parents=True)
    server = serve()
    assert ask(server, "/site/").body == b"<p>index"
    assert ask(server, "/old/").body == b"old"
    for path in ("/linked/", "/folders/"):
        answer = ask(server, path)
        assert answer.status == 200 and b"index.html" in answer.body and b"secret" not in answer.body


def test_the_page(serve):
    answer = ask(serve(), "/")
    assert answer.get("Content-Type") == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in answer.get("Content-Security-Policy")
    assert answer.get("Cache-Control") == "no-cache" and b'href="./a.txt"' in answer.body
    assert b'type="file"' not in answer.body and b'type="file"' in ask(serve(upload=True), "/").body


def test_json_and_the_plain_list(serve):
    server = serve()
    for path, headers in (("/sub/?format=json", ()), ("/sub/", [("Accept", "application/json")]),
                          ("/sub/", [("Accept", "application/json, text/plain, */*")])):
        answer = ask(server, path, headers)
        assert answer.get("Content-Type") == "application/json" and "Accept" in answer.get("Vary")
        assert json.loads(answer.body)["entries"][0]["name"] == "in.txt"
    for accept in ("text/html, application/json", "application/json;q=0", "application/json-seq", "*/*"):
        assert ask(server, "/sub/", [("Accept", accept)]).get("Content-Type").startswith("text/html")
    for answer in (ask(server, "/sub/?format=plain"), ask(serve(page=False), "/sub/")):
        assert b"<title>Directory listing for /sub/" in answer.body and b'<a href="in.txt">' in answer.body


def test_a_long_page(serve, root):
    for number in range(1000):
        (root / "sub" / f"file {number}").touch()
    server = serve()
    answer = ask(server, "/sub/")
    assert answer.get("Transfer-Encoding") == "chunked" and answer.body.count(b"<tr ") == 1002 + 1
    with Client(server) as client:
        old = client.request(path="/sub/", version="HTTP/1.0", headers=[("Connection", "keep-alive")])
        assert old.body == answer.body and old.get("Connection") == "close" and client.at_eof()


def test_uploads_under_way_are_not_shown(serve, root):
    put(root / ".turboserver-upload-0123", b"part", age=time.time())        # else it would be removed
    server = serve(upload=True)
    for path in ("/", "/?format=json"):
        assert b".turboserver-upload" not in ask(server, path).body + ask(serve(), path).body
    assert (root / ".turboserver-upload-0123").exists()
    for path in ("/.turboserver-upload-0123", "/.TURBOSERVER-upload-0123", "/%2eturboserver-upload-0123"):
        assert ask(server, path).status == 404


def test_an_application_of_one_page(serve, root):
    put(root / "index.html", b"app")
    server = serve(spa=True)
    for path in ("/", "/users/12", "/users/", "/no-extension?x=1"):
        answer = ask(server, path)
        assert (answer.status, answer.body) == (200, b"app"), path
    for path in ("/missing.js", "/users/12.json", "/.turboserver-upload-1", "/%2fx"):
        assert ask(server, path).status == 404, path
    assert ask(server, "/a.txt").body == b"0123456789" and b"in.txt" in ask(server, "/sub/").body
    assert ask(serve(), "/users/12").status == 404


# ---------------------------------------------------------------- what is added

def test_fields_that_are_added(serve):
    server = serve(headers=(("X-One", "1"), ("Link", "<a>"), ("Link", "<b>"), ("Content-Length", "3"),
                            ("Cache-Control", "no-store"), ("Vary", "Origin")), cache=60)
    for path in ("/a.txt", "/sub/", "/sub", "/sub/?format=plain", "/missing", "/site/"):
        answer = ask(server, path)
        assert answer.get("X-One") == "1", path
        assert [value for name, value in answer.headers if name == "Link"] == ["<a>", "<b>"]
        assert [value for name, value in answer.headers if name == "Content-Length"][1:] == []
        assert [value for name, value in answer.headers if name == "Vary"] == ["Accept", "Origin"][path != "/sub/":]
    assert ask(server, "/a.txt").get("Content-Length") == "10"
    assert [value for name, value in ask(server, "/a.txt").headers if name == "Cache-Control"] == ["no-store"]


def test_cache(serve, root):
    server = serve(cache=3600)
    assert ask(server, "/a.txt").get("Cache-Control") == "max-age=3600"
    assert ask(server, "/sub/").get("Cache-Control") == "no-cache"
    tag = ask(server, "/a.txt").get("ETag")
    for status, headers in ((206, [("Range", "bytes=1-2")]), (206, [("Range", "bytes=0-0,9-9")]), (304, [("If-None-Match", tag)])):
        answer = ask(server, "/a.txt", headers)
        assert (answer.status, answer.get("Cache-Control")) == (status, "max-age=3600")
    for status, headers in ((416, [("Range", "bytes=99-")]), (412, [("If-Match", '"other"')])):
        answer = ask(server, "/a.txt", headers)
        assert (answer.status, answer.get("Cache-Control")) == (status, None)
    assert ask(server, "/missing").get("Cache-Control") is None
    assert ask(serve(), "/a.txt").get("Cache-Control") is None
    put(root / "long.txt", b"text\n" * 1000)
    answer = ask(serve(cache=0, compress=True), "/long.txt", [("Accept-Encoding", "gzip")])
    assert (answer.get("Content-Encoding"), answer.get("Cache-Control")) == ("gzip", "max-age=0")


def test_the_interim_answer_is_alone(serve):
    """100 has none of the fields, nor does it take them from the answer."""
    with Client(serve(headers=(("X-One", "1"),), upload=True)) as client:
        client.send(b"PUT /new HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert client.read().headers == []
        client.send(b"x")
        answer = client.read()
        assert (answer.status, answer.get("X-One")) == (201, "1")


def test_each_lane_is_meant(root):
    for kind, (_, blocking) in KINDS.items():
        with served(root, kind) as server:
            assert lanes.decide(server).lane == (lanes.BLOCKING if blocking else lanes.REACTOR)


# ---------------------------------------------------------------- packets and TLS

@pytest.mark.parametrize("path, end", [("/a.txt", b"0123456789"), ("/sub", b"\r\n\r\n"), ("/missing", b"</html>\n"),
                                       ("/sub/?format=json", b"]}\n")])
def test_head_and_body_are_one_packet(serve, path, end):
    server = serve()

    def at_once():
        with Client(server) as client:
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
            return client.sock.recv(1 << 16).endswith(end)
    # A handler that has to wait for the processor in between is one that streams.
    assert any(at_once() for _ in range(10))


def test_tls(root, tls):
    server_context, client_context = tls
    handler = type("Handler", (handler_class(Options(directory=str(root), upload=True)),), {"log_message": lambda *args: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = server_context.wrap_socket(server.socket, server_side=True)
    content = os.urandom(1_000_000)
    with serving(server):
        sock = client_context.wrap_socket(connect(server), server_hostname="localhost")
        with Client(None, sock=sock) as client:
            assert client.request("PUT", "/new.bin", body=content).status == 201
            assert client.request(path="/new.bin").body == content
            assert client.request(path="/new.bin", headers=[("Range", "bytes=-3")]).body == content[-3:]
            assert client.request(path="/missing").status == 404


# ---------------------------------------------------------------- what once went wrong

@pytest.mark.parametrize("path", ["/sub/?format=plain&x=%ED%A0%80", "/sub/?format=plain&x=%ff"])
def test_a_target_that_the_plain_list_cannot_show(serve, path):
    """The original puts it into its list, and from Python 3.12 on leaves it out."""
    answer = ask(serve(), path)
    assert answer.status in (200, 400)


def test_no_such_range_of_a_coded_file(serve, root):
    put(root / "app.js", b"x" * 2000)
    put(root / "app.js.gz", gzip.compress(b"x" * 2000))
    answer = ask(serve(), "/app.js", [("Accept-Encoding", "gzip"), ("Range", "bytes=99999-")])
    assert answer.status == 416 and answer.get("Content-Encoding") is None
    assert b"no such range" in answer.body


def test_a_type_of_ones_own_leaves_the_parts_readable(serve, root):
    put(root / "long.txt", bytes(range(256)) * 40)
    server = serve(headers=(("Content-Type", "x/y"),))
    for asked, kind in (("bytes=0-0,9000-9001", "multipart/byteranges; boundary="), ("bytes=0-0,5-5", "x/y"), ("bytes=1-", "x/y")):
        answer = ask(server, "/long.txt", [("Range", asked)])
        kinds = [value for name, value in answer.headers if name.lower() == "content-type"]
        assert answer.status == 206 and len(kinds) == 1 and kinds[0].startswith(kind), asked


def test_of_one_name_the_plain_list_has_one_field(serve):
    answer = ask(serve(page=False, headers=(("Cache-Control", "max-age=5"),)), "/sub/")
    assert [value for name, value in answer.headers if name.lower() == "cache-control"] == ["max-age=5"]
