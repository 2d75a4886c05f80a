"""turboserver.files.handler over sockets, in each lane: folders that are not read, compressed, or very large."""
import os
import random
import tracemalloc

import pytest
from codings_read import Reader, read
from files_served import ask, put, root, serve, served  # noqa: F401: fixtures

from support import Client, connect
from turboserver.files import codings, sending
from turboserver.files.folder import FILE, Entry, Folder

MANY = 10_000


def test_head_of_a_folder_reads_none(serve, monkeypatch):
    """What is known only from the entries is left out (RFC 9110, 9.3.2)."""
    found = []
    monkeypatch.setattr(sending.folder, "read", lambda *place: found.append(place))
    for server in (serve(), serve(upload=True), serve(compress=True)):
        for path, kind in (("/sub/", "text/html; charset=utf-8"), ("/sub/?format=json", "application/json")):
            for version in ("HTTP/1.1", "HTTP/1.0"):
                with Client(server) as client:
                    answer = client.request("HEAD", path, version=version)
                assert (answer.status, answer.get("Content-Type"), answer.get("Cache-Control")) == (200, kind, "no-cache")
            ask(server, path, method="HEAD")
    assert found == []


def test_a_folder_that_may_not_be_read(serve, monkeypatch):
    """Root may read everything, so scandir() says so itself."""
    def refused(place):
        raise PermissionError(13, "no")
    server = serve()
    monkeypatch.setattr(os, "scandir", refused)
    for method in ("GET", "HEAD"):
        assert ask(server, "/sub/", method=method).status == 404


@pytest.mark.parametrize("coding", codings.ON_THE_FLY)
def test_folder_pages_are_compressed(serve, root, coding):
    for number in range(400):
        put(root / "many" / f"{number}.txt")
    plain, server, asked = serve(), serve(compress=True), [("Accept-Encoding", coding)]
    for path in ("/many/", "/many/?format=json", "/many/?sort=size&order=desc", "/sub/"):
        answer = ask(server, path, asked)
        assert (answer.status, answer.get("Content-Encoding")) == (200, coding), path
        whole = ask(plain, path)
        assert read([answer.body], coding) == ask(server, path).body == whole.body
        assert len(answer.body) < len(whole.body) // 2
        vary = ",".join(value for name, value in answer.headers if name == "Vary")
        assert set(vary.replace(" ", "").split(",")) == {"Accept", "Accept-Encoding"}
        assert whole.get("Content-Encoding") is None and ask(plain, path, asked).get("Content-Encoding") is None


def test_folder_pages_that_are_not_compressed(serve, root):
    """A client that could not tell that one was cut off; too small to be worth it; and what has beside the names
    something that whoever asks has chosen: by its length one could tell whether that is among them."""
    put(root / "lone" / "a.txt")
    server, asked = serve(compress=True), [("Accept-Encoding", "gzip")]
    for path in ("/lone/?format=json", "/?filter=a", "/?filter=a&format=json"):
        assert ask(server, path, asked).get("Content-Encoding") is None, path
    with Client(server) as client:
        assert client.request(path="/", headers=asked, version="HTTP/1.0").get("Content-Encoding") is None
    assert ask(server, "/", [("Accept-Encoding", "gzip;q=0, identity;q=0")]).get("Content-Encoding") is None


@pytest.mark.parametrize("path, coding", [("/", "identity"), ("/?sort=size&order=desc", "gzip"), ("/?format=json", "identity")])
def test_memory_for_many_entries(root, monkeypatch, path, coding):
    """Beyond the entries themselves (test_files_folder.py) a page costs their ranks, and what is on its way."""
    # Names that hardly become smaller: else a block that is read again would be as large as the page.
    chance = random.Random(1)
    many = Folder([Entry(f"file number {number} {chance.randbytes(110).hex()}", FILE, number, number * 1000) for number in range(MANY)])
    monkeypatch.setattr(sending.folder, "read", lambda place: many)
    total = entries = 0
    reader = Reader(coding) if coding != "identity" else None
    with served(root, compress=True) as server, connect(server) as sock, sock.makefile("rb", 4096) as stream:
        ask(server, "/sub/", method="HEAD")     # what is made once is there
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
            while stream.readline() != b"\r\n":
                pass
            while size := int(stream.readline(), 16):
                block = stream.read(size)
                assert stream.readline() == b"\r\n"
                block = block if reader is None else reader.read(block)
                total += len(block)
                entries += block.count(b"./file%20number%20")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert MANY * 0.99 < entries <= MANY        # some lie across the end of a block
    # Three lists of the entries or their ranks, and 1 MB for blocks, windows and the client here.
    assert peak - before < 100 * MANY + 1_000_000 < total / 2
