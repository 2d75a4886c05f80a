"""turboserver.files.folder and names: what is read of a folder, in which order, and what becomes of names."""
import contextlib
import os
import socket
import stat
import tracemalloc

import pytest
from file_strategies import UNHURRIED, entries, names
from hypothesis import given
from hypothesis import strategies as st

from turboserver.files import folder as folders
from turboserver.files.folder import BROKEN, FILE, FOLDER, OTHER, Entry, Folder, Query, name_key, read
from turboserver.files.names import decoded, kind, name_of, readable, url, viewable

def called(path, octets, content=b""):
    """A file whose name is `octets`; the test is skipped where the file system takes no such name."""
    name = os.path.join(os.fsencode(path), octets)
    try:
        with open(name, "wb") as file:
            file.write(content)
    except OSError as error:
        pytest.skip(f"this file system has no file {octets!r}: {error}")


def found(path):
    """What read() finds: {name: Entry}."""
    return {entry.name: entry for entry in read(os.fspath(path)).entries}


# ---------------------------------------------------------------- names

@UNHURRIED
@given(names)
def test_a_url_is_a_path_of_one_segment_and_means_this_name_alone(name):
    for folder in (False, True):
        text = url(name, folder)
        assert text.isascii() and text.startswith("./") and text.endswith("/") is folder
        segment = text[2:].removesuffix("/") if folder else text[2:]
        assert set(segment) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")
        assert name_of(segment) == name


@pytest.mark.parametrize("octets, expected", [
    (b"a b", "./a%20b"), (b"javascript:alert(1)", "./javascript%3Aalert%281%29"), (b"?x#y", "./%3Fx%23y"),
    (b"%2e%2e", "./%252e%252e"), (b"caf\xe9", "./caf%E9"), ("é".encode(), "./%C3%A9"), (b"\n", "./%0A"),
    (b"\\\\host", "./%5C%5Chost"), (b"\"'<>&", "./%22%27%3C%3E%26"),
])
def test_urls(octets, expected):
    assert url(os.fsdecode(octets)) == expected


@UNHURRIED
@given(names)
def test_readable_text_is_one_line_of_what_can_be_seen(name):
    text = readable(name)
    assert text.encode("utf-8")
    assert len(text.splitlines()) == 1
    assert not any(unseen in text for unseen in "\x00\x1b\x7f\x85\xad\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff")
    assert readable(text) == text


@pytest.mark.parametrize("octets, expected", [
    (b"plain.txt", "plain.txt"), ("Дневник 日本 👩‍💻".encode(), "Дневник 日本 👩‍💻"), (b"a\nb\tc", r"a\x0ab\x09c"),
    (b"caf\xe9", r"caf\xe9"), ("evil\u202egnp.exe".encode(), r"evil\u202egnp.exe"),
    ("3.00\u202fPM 10\u00a0000".encode(), "3.00\u202fPM 10\u00a0000"), ("tag\U000e0041".encode(), r"tag\U000e0041"),
    (b"<b>&\"'", "<b>&\"'"),
])
def test_readable(octets, expected):
    assert readable(os.fsdecode(octets)) == expected


@UNHURRIED
@given(names)
def test_decoded_is_the_name_itself_if_that_can_be_encoded(name):
    text = decoded(name)
    assert len(text) == len(name)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        assert text != name and text.encode("utf-8") and "\ufffd" in text
    else:
        assert text == name


@pytest.mark.parametrize("name, expected", [
    ("a.png", "image"), ("A.JPG", "image"), ("a.heic", "image"), ("a.mp4", "video"), ("a.flac", "audio"),
    ("a.tar.gz", "archive"), ("a.pdf", "pdf"), ("a.py", "code"), ("Makefile", "code"), ("README", "text"),
    ("a.md", "text"), ("a.", "other"), ("a", "other"), ("png", "other"), ("", "other"), ("makefile.zzz", "other"),
])
def test_kinds(name, expected):
    assert kind(name) == expected


def test_what_can_be_viewed():
    assert viewable("a.PNG") and viewable("b.svg") and viewable(".webp")
    assert not any(map(viewable, ("a.heic", "png", "a.png.txt", "a.tiff", "")))


# ---------------------------------------------------------------- reading

def test_files_and_folders(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_bytes(b"12345")
    (tmp_path / ".hidden").write_bytes(b"")
    os.utime(tmp_path / "file.txt", ns=(0, 1_764_360_949_123_999_999))
    content = read(os.fspath(tmp_path))
    assert [entry.name for entry in content.entries] == ["folder", ".hidden", "file.txt"]
    assert content.entries[0][:3] == ("folder", FOLDER, None)
    assert content.entries[2] == Entry("file.txt", FILE, 5, 1_764_360_949_123, False)
    assert content.more is False


def test_links(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"123")
    for name, target in [("to folder", "folder"), ("to file", "file"), ("nowhere", "not there"), ("loop", "loop")]:
        os.symlink(target, tmp_path / name)
    content = found(tmp_path)
    assert content["to folder"][:3] == ("to folder", FOLDER, None) and content["to folder"].link
    assert content["to file"][:3] == ("to file", FILE, 3) and content["to file"].link
    for name in ("nowhere", "loop"):
        assert content[name][:3] == (name, BROKEN, None) and content[name].link
        assert content[name].modified == os.lstat(tmp_path / name).st_mtime_ns // 1_000_000
    assert not content["file"].link


def test_special_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)     # the path of a socket may be short only
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("socket")
        content = found(tmp_path)
    assert {name: content[name][:3] for name in content} == {
        "pipe": ("pipe", OTHER, None), "socket": ("socket", OTHER, None)}


@pytest.mark.parametrize("octets", [b"caf\xe9", b"a\nb", b"\"'<&>", b"javascript:x", b"-", b"\xff\xfe", b" ", b"\\"])
def test_odd_names(tmp_path, octets):
    called(tmp_path, octets, b"12")
    assert [(os.fsencode(entry.name), entry.size) for entry in read(os.fspath(tmp_path)).entries] == [(octets, 2)]


def test_a_descriptor_will_do(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    os.symlink("file", tmp_path / "link")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read(descriptor) == read(os.fspath(tmp_path))
    finally:
        os.close(descriptor)


def test_what_vanishes_meanwhile_is_shown(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "stays").write_bytes(b"22")
    original = os.scandir

    @contextlib.contextmanager
    def scandir(path):
        with original(path) as scan:
            items = list(scan)
        (tmp_path / "file").unlink()
        (tmp_path / "folder").rmdir()
        yield iter(items)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    content = found(tmp_path)
    assert content["file"] == Entry("file", FILE)
    assert content["folder"] == Entry("folder", FOLDER)
    assert content["stays"].size == 2


class Silent:
    """A DirEntry of a folder that may be read but not entered, on a file system that tells no types."""

    name = "secret"

    def _refuse(self, *, follow_symlinks=True):
        raise PermissionError(13, "no")

    stat = is_dir = is_file = is_symlink = _refuse


def test_what_may_not_be_looked_at_is_shown(monkeypatch):
    monkeypatch.setattr(folders.os, "scandir", lambda path: contextlib.nullcontext(iter([Silent()])))
    assert read("anywhere").entries == [Entry("secret", OTHER)]


def test_a_folder_without_search_permission(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    root = os.geteuid() == 0
    if root:    # may look at everything, so somebody else does it
        os.seteuid(65534)
    try:
        assert read(descriptor).entries == [Entry("file", FILE)]
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(stat.S_IRWXU)
        os.close(descriptor)


def test_a_folder_that_cannot_be_read_is_an_oserror(tmp_path):
    for name in ("missing", "file"):
        (tmp_path / "file").touch()
        with pytest.raises(OSError):
            read(os.fspath(tmp_path / name))


def test_the_limit(tmp_path):
    for number in range(5):
        (tmp_path / str(number)).touch()
    path = os.fspath(tmp_path)
    assert (len(read(path, limit=4).entries), read(path, limit=4).more) == (4, True)
    assert (len(read(path, limit=5).entries), read(path, limit=5).more) == (5, False)
    assert read(path, limit=0) == Folder([], True)


def test_memory_for_fifty_thousand_entries(tmp_path, monkeypatch):
    """A bound for each entry, names included. The names come from a list: files would only cost time."""
    (tmp_path / "file").touch()
    status = os.stat(tmp_path / "file")

    class Item:
        def __init__(self, name):
            self.name = name

        def stat(self, *, follow_symlinks=True):
            return status

        def is_symlink(self):
            return False

    monkeypatch.setattr(folders.os, "scandir", lambda path: contextlib.nullcontext(
        Item(f"a file of the usual length, {number}.txt") for number in range(50_000)))
    tracemalloc.start()
    try:
        content = read("anywhere")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(content.entries) == 50_000
    assert kept < 50_000 * 300
    assert peak < 50_000 * 600      # sorting has a key for each name


# ---------------------------------------------------------------- order

@UNHURRIED
@given(st.text(max_size=9), st.integers(0, 1 << 70), st.integers(0, 1 << 70), st.text(max_size=9))
def test_numbers_in_names_count_as_numbers(before, one, other, after):
    before, after = before.rstrip("0123456789") + "-", "-" + after
    key = [name_key(f"{before}{number}{after}") for number in (one, other)]
    assert (key[0] < key[1]) is (one < other) and (key[0] == key[1]) is (one == other)


def test_order_of_names(tmp_path):
    expected = ["A1", "a2", "a10", "B", "_", "a.txt", "a01.txt", "a1.txt", "a1b.txt", "a9.txt", "A10.txt", "b", "z", "ä"]
    for name in expected[:4]:
        (tmp_path / name).mkdir()
    for name in sorted(expected[4:]):
        (tmp_path / name).touch()
    content = read(os.fspath(tmp_path))
    assert [entry.name for entry in content.entries] == expected
    assert [content.entries[rank].name for rank in content.order(Query(order="desc"))] == expected[3::-1] + expected[:3:-1]


@UNHURRIED
@given(st.lists(entries, unique_by=lambda entry: entry.name), st.sampled_from(["name", "size", "modified"]),
       st.sampled_from(["asc", "desc"]))
def test_order_is_what_page_js_makes_of_it(listed, sort, order):
    """(folder, value, rank), of which only the value turns round."""
    def place(rank):
        value = {"name": rank, "size": content.entries[rank].size, "modified": content.entries[rank].modified}[sort]
        value = {"size": -1, "modified": float("-inf")}[sort] if value is None else value
        return content.entries[rank].type != FOLDER, -value if order == "desc" else value, rank
    content = Folder(listed)
    assert list(content.order(Query(sort, order))) == sorted(range(len(listed)), key=place)


def test_filter():
    content = Folder([Entry("Ärger.txt", FILE), Entry("cafe\u0301", FILE), Entry("x\ny", FILE), Entry("z", FOLDER)])

    def shown(text):
        return [content.entries[rank].name for rank in content.order(Query(filter=text))]
    assert shown("äRG") == ["Ärger.txt"]
    assert shown("CAFÉ") == ["cafe\u0301"]
    assert shown("x\\x0ay") == ["x\ny"]     # as it is shown
    assert shown("") == ["z", "Ärger.txt", "cafe\u0301", "x\ny"]
    assert shown("nothing") == []


# ---------------------------------------------------------------- the query

@pytest.mark.parametrize("target, expected", [
    ("/", Query()), ("/?", Query()), ("/a/?sort=size&order=desc", Query("size", "desc")),
    ("/?format=json", Query(format="json")), ("/?filter=a+b%26%C3%A9", Query(filter="a b&é")),
    ("/?sort=rank&order=up&format=xml&_fields=1", Query()), ("/?sort=size&sort=name", Query()),
    ("/?sort=size#?sort=name", Query("size")), ("/?filter=%ff", Query(filter="\ufffd")), ("/?upload", Query()),
    ("/?" + "a=1&" * 50 + "sort=size", Query()),
])
def test_queries(target, expected):
    assert Query.of(target) == expected


@UNHURRIED
@given(st.builds(Query, st.sampled_from(["name", "size", "modified"]), st.sampled_from(["asc", "desc"]),
                 st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.sampled_from(["html", "json", "plain"])))
def test_references_mean_their_query(query):
    reference = query.reference()
    assert reference.startswith("./") and reference.isascii()
    assert Query.of("/folder/" + reference[2:]) == query
    assert Query.of(query.reference(sort="size", order="asc")) == query._replace(sort="size", order="asc")
