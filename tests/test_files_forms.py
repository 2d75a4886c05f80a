"""turboserver.files.forms: files sent by a form, in any cut, and by curl."""
import builtins
import http.server
import io
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import tracemalloc

import pytest

from support import directory
from turboserver.files import forms, partials
from turboserver.files.beneath import Refused
from turboserver.files.forms import receive_form
from turboserver.files.upload import Upload, parse_content_range

pytest.importorskip("multipart", reason="turboserver[upload] is not installed")

TYPE = "multipart/form-data; boundary=limit"


def body(*parts, end=b"--limit--\r\n"):
    """parts: (file name or None for a field, octets)."""
    pieces = []
    for filename, octets in parts:
        disposition = b'form-data; name="f"' + (b'; filename="' + filename.encode() + b'"' if filename is not None else b"")
        pieces.append(b"--limit\r\nContent-Disposition: " + disposition + b"\r\nContent-Type: text/plain\r\n\r\n" + octets + b"\r\n")
    return b"".join(pieces) + end


class Pieces:
    """A stream that gives its octets in pieces of the sizes that `sizes` gives."""

    def __init__(self, octets, sizes):
        self._octets, self._sizes = octets, sizes

    def read(self, count):
        count = min(count, next(self._sizes))
        piece, self._octets = self._octets[:count], self._octets[count:]
        return piece


def received(tmp_path, octets, content_type=TYPE, stream=None, **options):
    """{name: (status, octets)}"""
    options = {"size_bound": 10**9, "keep_free": 0, "length": len(octets), **options}
    with directory(tmp_path) as fd:
        answers = receive_form(stream or io.BytesIO(octets), content_type, fd, **options)
    assert not any(partials.is_reserved(name) for name in os.listdir(tmp_path))
    return {name: (answer.status, (tmp_path / name).read_bytes()) for name, answer in answers}


def refusal(tmp_path, octets, *args, **options):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(Refused) as caught:
        received(tmp_path, octets, *args, **options)
    assert sorted(os.listdir(tmp_path)) == before
    return caught.value.status


def test_files(tmp_path):
    octets = os.urandom(100_000)
    assert received(tmp_path, body(("a", octets), (None, b"a field"), ("b.txt", b""), ("", b""))) == {"a": (201, octets), "b.txt": (201, b"")}
    assert received(tmp_path, body((None, b"a field"))) == received(tmp_path, body()) == {}
    assert sorted(os.listdir(tmp_path)) == ["a", "b.txt"]


def test_every_cut(tmp_path):
    octets = body(("a", b"\r\n--limi\r\n--LIMIT-\r\n\r--"), (None, b"x"), ("b", b"x--limit--"))
    expected = {"a": (201, b"\r\n--limi\r\n--LIMIT-\r\n\r--"), "b": (201, b"x--limit--")}

    def check(sizes):
        for length in (len(octets), None):
            assert received(tmp_path, octets, stream=Pieces(octets, sizes), length=length) == expected
            for name in expected:
                os.unlink(tmp_path / name)
    check(iter(lambda: 1, 0))
    for at in range(1, len(octets)):
        check(iter([at] + [10**9] * 5 + [at] + [10**9] * 5))
    chance = random.Random(1)
    for _ in range(50):
        check(iter(lambda: chance.randrange(1, 30), 0))


def test_what_follows_the_last_boundary_means_nothing(tmp_path):
    for number, end in enumerate((b"--limit--", b"--limit--\r\nmore\r\n--limit\r\n", b"--limit----limit\r\n")):
        for sizes in ([10**9] * 9, [1] * 999):
            octets = body((f"{number} {len(sizes)}", b"x"), end=end)
            assert len(received(tmp_path, octets, stream=Pieces(octets, iter(sizes)))) == 1


def test_what_follows_is_not_read(tmp_path):
    octets = body(("a", b"x"))
    stream = io.BytesIO(octets + b"next")
    received(tmp_path, octets, stream=stream)
    assert stream.read() == b"next"


@pytest.mark.parametrize("name", ["b", "C:\\folder\\b"])
def test_names(tmp_path, name):
    assert received(tmp_path, body((name, b"x"))) == {"b": (201, b"x")}


@pytest.mark.parametrize("name, status", [
    ("..", 400), ("../a", 400), ("/etc/passwd", 400), ("a/b", 400), (".", 400), ("a" * 256, 400), (partials.PREFIX + "a", 403), ("..%2fa", 201)])
def test_names_are_held_to_the_same_rules(tmp_path, name, status):
    place = tmp_path / "inside"
    place.mkdir()
    octets = body(("good", b"x"), (name, b"x"))
    if status == 201:
        assert sorted(received(place, octets)) == [name, "good"]
    else:
        assert refusal(place, octets) == status
    assert os.listdir(tmp_path) == ["inside"]


def test_all_or_nothing(tmp_path):
    whole = body(("a", b"x" * 1000), ("b", b"y" * 1000))
    for cut in range(len(whole) - len("--\r\n")):
        assert refusal(tmp_path, whole[:cut], length=None) == 400, cut
        assert refusal(tmp_path, whole[:cut], length=len(whole)) == 400
    # The form is whole, and the message is not.
    assert refusal(tmp_path, whole, length=len(whole) + 1) == 400
    (tmp_path / "b").write_bytes(b"old")
    assert refusal(tmp_path, whole) == 409 and (tmp_path / "b").read_bytes() == b"old"
    assert received(tmp_path, whole, replace=True) == {"a": (201, b"x" * 1000), "b": (204, b"y" * 1000)}


@pytest.mark.parametrize("octets", [
    b"", b"x", b"--limit", b"--limit-", b"--limitx", b"--other\r\n\r\n\r\n--other--\r\n", b"--limit\r\n\r\nx\r\n--limit--\r\n",
    b"--limit\nContent-Disposition: form-data; name=a\n\nx\n--limit--\n", b"preamble\r\n" + body(("a", b"x")),
    body(("a", b"x"), end=b"--limit\r\n"), body(("a", b"x"), ("a", b"y"))])
def test_malformed_forms(tmp_path, octets):
    assert refusal(tmp_path, octets) == 400
    assert refusal(tmp_path, octets, stream=Pieces(octets, iter(lambda: 1, 0))) == 400


@pytest.mark.parametrize("content_type, status", [
    (None, 415), ("", 415), ("text/plain", 415), ("multipart/mixed; boundary=limit", 415), ("application/x-www-form-urlencoded", 415),
    ("multipart/form-data", 400), ("multipart/form-data; boundary=", 400), ('multipart/form-data; boundary="a\nb"', 400),
    ("multipart/form-data; boundary=" + "a" * 71, 400), ('multipart/form-data; boundary="limit "', 400)])
def test_other_bodies(tmp_path, content_type, status):
    assert refusal(tmp_path, body(("a", b"x")), content_type) == status


def test_types_that_are_spelled_otherwise(tmp_path):
    assert received(tmp_path, body(("a", b"x")), 'Multipart/Form-Data;charset=utf-8; BOUNDARY="limit"') == {"a": (201, b"x")}


def test_bounds(tmp_path, monkeypatch):
    assert refusal(tmp_path, body(("a", b"x" * 11)), size_bound=10) == 413
    assert refusal(tmp_path, body(("a", b"x" * 6), ("b", b"x" * 5)), size_bound=10) == 413
    assert sorted(received(tmp_path, body(("a", b"x" * 5), ("b", b"x" * 5)), size_bound=10)) == ["a", "b"]
    assert refusal(tmp_path, body((None, b"x" * (64 * 1024 + 1)))) == 413
    assert received(tmp_path, body(*[(None, b"x" * (64 * 1024))] * 3)) == {}
    assert refusal(tmp_path, body(*[(None, b"")] * 1001)) == 413
    assert refusal(tmp_path, body(*[(f"{number}", b"") for number in range(101)])) == 413
    assert refusal(tmp_path, b"--limit\r\n" + b"A: b\r\n" * 100 + b"\r\n") == 413
    assert refusal(tmp_path, b"--limit\r\nA: " + b"b" * 10_000) == 413


def test_memory_is_constant(tmp_path):
    octets = body(("a", b"x" * (8 * 2**20)))
    tracemalloc.start()
    try:
        with directory(tmp_path) as fd:
            receive_form(io.BytesIO(octets), TYPE, fd, size_bound=10**9, keep_free=0, length=len(octets))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert os.stat(tmp_path / "a").st_size == 8 * 2**20 and peak < 2**20


def test_without_the_library(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "multipart":
            raise ImportError("no")
        return real(name, *args, **options)
    monkeypatch.setattr(builtins, "__import__", without)
    assert refusal(tmp_path, body(("a", b"x"))) == 501
    monkeypatch.undo()
    # An old python-multipart has that name.
    monkeypatch.setitem(sys.modules, "multipart", type(sys)("multipart"))
    assert refusal(tmp_path, body(("a", b"x"))) == 501
    assert forms.MAX_FILES == 100


# ---------------------------------------------------------------- curl drives it

@pytest.fixture
def served(tmp_path):
    """(URL, folder) of the plainest handler that there can be."""
    place = tmp_path / "folder"
    place.mkdir()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, headers=()):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def receive(self, what):
            try:
                with directory(place) as fd:
                    self.answer(*what(fd))
            except Refused as error:
                self.close_connection = True
                self.answer(error.status, error.headers)
                # Closed with octets that nobody has read, the connection would be reset, and the answer lost.
                self.connection.shutdown(socket.SHUT_WR)
                while self.rfile.read1(65536):
                    pass

        def do_PUT(self):
            def put(fd):
                part = self.headers.get("Content-Range")
                with Upload(fd, self.path[1:], size_bound=10**9, length=int(self.headers["Content-Length"]), resumable=True,
                            content_range=part and parse_content_range(part), get_all=self.headers.get_all) as upload:
                    upload.receive(self.rfile)
                    return upload.finish()
            self.receive(put)

        def do_POST(self):
            def post(fd):
                receive_form(self.rfile, self.headers["Content-Type"], fd, size_bound=10**9, length=int(self.headers["Content-Length"]))
                return 303, [("Location", "/")]
            self.receive(post)

        def do_HEAD(self):
            with directory(place) as fd:
                found = partials.query(fd, self.path[1:])
            self.answer(404, found and [("Upload-Offset", found.offset), ("Upload-Length", found.length)] or ())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", place
        finally:
            server.shutdown()
            thread.join()


def curl(*args):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    done = subprocess.run(["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", *args], capture_output=True, text=True, check=True)
    head, _, status = done.stdout.rpartition("\n")
    return int(status), head


def test_curl_goes_on_with_an_upload(served, tmp_path):
    url, place = served
    octets = os.urandom(500_000)
    (tmp_path / "file").write_bytes(octets)
    with directory(place) as fd, Upload(fd, "file", size_bound=10**9, length=len(octets), resumable=True) as upload:
        upload.write(octets[:200_000])
    status, head = curl("-I", f"{url}/file")
    assert status == 404 and "upload-offset: 200000" in head.lower() and "upload-length: 500000" in head.lower()
    assert curl("-T", tmp_path / "file", "-C", "100000", f"{url}/file")[0] == 409
    assert curl("-T", tmp_path / "file", "-C", "200000", f"{url}/file")[0] == 201
    assert (place / "file").read_bytes() == octets and os.listdir(place) == ["file"]
    assert curl("-T", tmp_path / "file", f"{url}/file")[0] == 409
    assert curl("-T", tmp_path / "file", "-H", "If-Match: *", f"{url}/file")[0] == 204


def test_curl_without_an_offset_sends_all(served, tmp_path):
    url, place = served
    (tmp_path / "file").write_bytes(b"0123456789")
    with directory(place) as fd, Upload(fd, "file", size_bound=100, length=10, resumable=True) as upload:
        upload.write(b"xxxxx")
    assert curl("-T", tmp_path / "file", "-C", "-", f"{url}/file")[0] == 201
    assert (place / "file").read_bytes() == b"0123456789" and os.listdir(place) == ["file"]


def test_curl_sends_a_form(served, tmp_path):
    url, place = served
    octets = os.urandom(300_000)
    (tmp_path / "a b").write_bytes(octets)
    assert curl("-F", f"files=@{tmp_path / 'a b'}", "-F", "field=value", f"{url}/")[0] == 303
    assert (place / "a b").read_bytes() == octets
    assert curl("-F", f"files=@{tmp_path / 'a b'};filename=../out", f"{url}/")[0] == 400
    assert sorted(os.listdir(tmp_path)) == ["a b", "folder"]
