"""turboserver.files.beneath: which names a target means, and that the way to them never leaves the root."""
import contextlib
import errno
import os
import re
import shutil
import socket
import time

import pytest
from beneath_tree import INSIDE, SECRET, fault, opened, tree  # noqa: F401: a fixture

from support import directory
from turboserver.files import beneath
from turboserver.files.beneath import Path, Refused, open_beneath, resolve, status_of

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=500, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))


def refusal(path, **options):
    with pytest.raises(Refused) as caught:
        resolve(path, **options)
    return caught.value.status


# ---------------------------------------------------------------- targets

@pytest.mark.parametrize("path, names, folder", [
    (b"/", (), True), (b"//", (), True), (b"/.", (), True), (b"/a", ("a",), False), (b"/a/", ("a",), True),
    (b"/a/b", ("a", "b"), False), (b"//a///b", ("a", "b"), False), (b"/a/.", ("a",), True), (b"/./a", ("a",), False),
    (b"/a/..", (), True), (b"/a/../b", ("b",), False), (b"/a/b/../../c", ("c",), False), (b"/a/%2e%2E/b", ("b",), False),
    (b"/a/.%2e", (), True), (b"/%2e/a", ("a",), False), (b"/a%20b", ("a b",), False), (b"/a+b", ("a+b",), False),
    (b"/100%", ("100%",), False), (b"/%zz", ("%zz",), False), (b"/%252e%252e", ("%2e%2e",), False),
    (b"/...", ("...",), False), (b"/..a", ("..a",), False), (b"/a..", ("a..",), False), (b"/.a", (".a",), False),
    (b"/a;b=c", ("a;b=c",), False), (b"/~a", ("~a",), False), (b"/%41", ("A",), False),
    (b"/\xff", (os.fsdecode(b"\xff"),), False), (b"/%ff", (os.fsdecode(b"\xff"),), False),
    (b"/%C3%A9", (os.fsdecode(b"\xc3\xa9"),), False), (b"/%c0%ae%c0%ae/a", (os.fsdecode(b"\xc0\xae\xc0\xae"), "a"), False),
    (b"/a%0Ab", ("a\nb",), False), (b"/a%3Fb%23c", ("a?b#c",), False),
    (b"/" + b"a/" * 2048, ("a",) * 2048, True), (b"/" + b"a/" * 2049, None, None),
    (b"/" + b"a/" * 3000 + b"../" * 1000, None, None)])
def test_targets(path, names, folder):
    if names is None:
        assert refusal(path) == 414
    else:
        assert resolve(path, windows=False) == Path(names, folder)


@pytest.mark.parametrize("path, status", [
    (b"", 400), (b"a", 400), (b"*", 400), (b"http://host/a", 400), (b"\\a", 400),
    (b"/%00", 400), (b"/a%00.html", 400), (b"/a\0", 400), (b"/%00/..", 400),
    (b"/..", 400), (b"/../", 400), (b"/../a", 400), (b"/a/../..", 400), (b"/./..", 400), (b"//..", 400), (b"/%2e%2e/a", 400),
    (b"/a/../../a", 400), (b"/.%2e/a", 400), (b"/%2E./a", 400),
    (b"/%2f", 404), (b"/a%2Fb", 404), (b"/..%2f..", 404), (b"/%2e%2e%2fa", 404), (b"/a/..%2f", 404), (b"/%2fetc%2fpasswd", 404)])
def test_targets_that_are_refused(path, status):
    assert refusal(path, windows=False) == status


@pytest.mark.parametrize("name", [
    b"a\\b", b"..\\..", b"%5c", b"..%5c..%5ca", b"C:", b"c:a", b"a:stream", b"a%3astream", b"nul", b"NUL.txt", b"con", b"Com1.a.b",
    b"aux .txt", b"lpt9", b"com%c2%b9", b"a.", b"a%20", b"...", b"a*", b"a%3f", b"a%3c", b"a|", b"a%22", b"a%01"])
def test_names_of_windows(name):
    assert refusal(b"/" + name, windows=True) == 404
    assert len(resolve(b"/" + name, windows=False).names) == 1


@pytest.mark.parametrize("name", [b"a", b"a.b", b".a", b"console", b"com0", b"com10", b"nul-a", b"a b"])
def test_other_names_are_names_on_windows(name):
    assert resolve(b"/" + name, windows=True) == Path((name.decode(),), False)


def resolved_slowly(path):
    """The same by another way: a character at a time, and dot segments by the stack of RFC 3986, 5.2.4."""
    if path[:1] != b"/":
        return 400
    segments, at = [[]], 1
    while at < len(path):
        octet = path[at:at + 1]
        if octet == b"/":
            segments.append([])
        elif octet == b"%" and re.match(rb"[0-9a-fA-F]{2}", path[at + 1:at + 3]):
            segments[-1].append(int(path[at + 1:at + 3], 16))
            at += 2
        else:
            segments[-1].append(octet[0])
        at += 1
    names = []
    for segment in map(bytes, segments):
        if 0 in segment:
            return 400
        if segment == b"..":
            if not names:
                return 400
            del names[-1]
        elif segment not in (b"", b"."):
            if b"/" in segment:
                return 404
            names.append(os.fsdecode(segment))
    return Path(tuple(names), bytes(segments[-1]) in (b"", b".", b".."))


PIECES = st.sampled_from([b"/", b"/", b"/", b".", b"..", b"%2e", b"%2E", b"%2f", b"%5c", b"\\", b"%00", b"%", b"%2", b"a", b"b%20",
                          b"%41", b"\xff", b"%ff", b"%25", b":", b"\0"])


@SETTINGS
@hypothesis.given(st.lists(PIECES, max_size=12).map(b"".join))
def test_targets_as_the_model_has_them(tail):
    path = b"/" + tail
    expected = resolved_slowly(path)
    if isinstance(expected, int):
        assert refusal(path, windows=False) == expected
        return
    found = resolve(path, windows=False)
    assert found == expected
    assert all(name and name not in (".", "..") and "/" not in name and "\0" not in name for name in found.names)
    # On Windows what is let through is the same, and has no separator of Windows.
    with contextlib.suppress(Refused):
        assert resolve(path, windows=True) == expected and not any("\\" in name or ":" in name for name in expected.names)


# ---------------------------------------------------------------- files and folders

def test_files_and_folders(tree):
    assert opened(tree) == {"file", "folder"}
    assert opened(tree, "file") == opened(tree, "folder", "deep", "file") == INSIDE
    assert opened(tree, "folder") == {"file", "deep"}
    assert opened(tree, "folder", flags=os.O_RDONLY | os.O_DIRECTORY) == {"file", "deep"}
    assert fault(tree, "file", flags=os.O_RDONLY | os.O_DIRECTORY) == errno.ENOTDIR
    assert fault(tree, "none") == fault(tree, "none", "file") == errno.ENOENT
    assert fault(tree, "file", "file") == errno.ENOTDIR
    assert fault(tree, "n" * 300) == fault(tree, "n" * 300, "a") == errno.ENAMETOOLONG


def test_a_descriptor_for_writing(tree):
    with directory(tree) as root:
        fd = open_beneath(root, ("file",), os.O_WRONLY)
        assert os.write(fd, b"x") == 1
        os.close(fd)
    assert fault(tree, "folder", flags=os.O_WRONLY) == errno.EISDIR


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/"])
def test_what_is_no_name_is_a_mistake_of_the_caller(tree, name):
    with directory(tree) as root, pytest.raises(ValueError):
        open_beneath(root, ("folder", name))


@pytest.mark.parametrize("flag", ["O_CREAT", "O_TRUNC", "O_EXCL", "O_TMPFILE", "O_PATH"])
def test_flags_that_act_before_the_file_is_known(tree, flag):
    if not hasattr(os, flag):
        pytest.skip(f"no {flag} on this system")
    with directory(tree) as root, pytest.raises(ValueError):
        open_beneath(root, ("file",), os.O_RDWR | getattr(os, flag))
    assert (tree / "file").read_bytes() == INSIDE


def test_directories_that_may_be_passed_but_not_read(tree):
    if not hasattr(os, "O_PATH") or os.geteuid() == 0:
        # The superuser may read all; that O_PATH is used is what can be seen.
        assert not hasattr(os, "O_PATH") or beneath._PASS & os.O_PATH
        return
    (tree / "folder").chmod(0o111)
    try:
        assert opened(tree, "folder", "file") == INSIDE
    finally:
        (tree / "folder").chmod(0o755)


# ---------------------------------------------------------------- links

# (link's text, error or what is read, the same with allow_outside); {root} is the root's path
LINKS = [
    ("file", INSIDE, INSIDE), ("folder/file", INSIDE, INSIDE), ("./file", INSIDE, INSIDE), ("folder/../file", INSIDE, INSIDE),
    ("folder/deep/../../file", INSIDE, INSIDE), ("folder//deep/./file", INSIDE, INSIDE), (".", {"file", "folder", "link"}, None),
    ("folder", {"file", "deep"}, None), ("folder/", {"file", "deep"}, None), ("folder/.", {"file", "deep"}, None),
    ("folder/deep/..", {"file", "deep"}, None), ("{root}", {"file", "folder", "link"}, None),
    ("{root}/", {"file", "folder", "link"}, None), ("{root}/file", INSIDE, INSIDE), ("{root}/folder/../file", INSIDE, INSIDE),
    ("../root/file", INSIDE, INSIDE), ("../root", {"file", "folder", "link"}, None), ("../outside/../root/file", INSIDE, INSIDE),
    ("{root}/../root/folder/file", INSIDE, INSIDE), ("../../{parent}/root/file", INSIDE, INSIDE),
    ("file/", errno.ENOTDIR, errno.ENOTDIR), ("file/..", errno.ENOTDIR, errno.ENOTDIR), ("none", errno.ENOENT, errno.ENOENT),
    ("link", errno.ELOOP, errno.ELOOP), ("folder/../link", errno.ELOOP, errno.ELOOP), ("none/../file", errno.ENOENT, errno.ENOENT),
    ("..", errno.EXDEV, None), ("../file", errno.EXDEV, SECRET), ("../outside/file", errno.EXDEV, SECRET),
    ("../outside", errno.EXDEV, {"file", "folder"}), ("folder/../../file", errno.EXDEV, SECRET),
    ("{root}/../file", errno.EXDEV, SECRET), ("{root}-other/file", errno.EXDEV, SECRET), ("../root-other/file", errno.EXDEV, SECRET),
    ("/", errno.EXDEV, None), ("../../../../../../../../../../../..", errno.EXDEV, None), ("/dev/null", errno.ENXIO, errno.ENXIO),
    ("../none", errno.ENOENT, errno.ENOENT), ("../root/../file", errno.EXDEV, SECRET), ("../outside/folder/../file", errno.EXDEV, SECRET),
]


@pytest.mark.parametrize("text, expected, outside", LINKS)
def test_links(tree, text, expected, outside):
    text = text.format(root=tree, parent=tree.parent.name)
    os.symlink(text, tree / "link")
    if isinstance(expected, int):
        assert fault(tree, "link") == expected
        assert status_of(OSError(expected, "")) == 404
    else:
        assert opened(tree, "link") == expected
        assert fault(tree, "link", follow=False) == errno.ELOOP
    outside = expected if outside is None and not isinstance(expected, int) else outside
    if isinstance(outside, int):
        assert fault(tree, "link", allow_outside=True) == outside
    elif outside is not None:
        assert opened(tree, "link", allow_outside=True) == outside


def test_links_on_the_way(tree, tmp_path):
    os.symlink("folder", tree / "in")
    os.symlink(tree / "folder", tree / "absolute")
    os.symlink("../outside", tree / "out")
    os.symlink("../../root/folder", tree / "folder" / "back")
    os.symlink("root/in", tmp_path / "chain")
    os.symlink("../chain", tree / "twice")
    assert opened(tree, "in", "deep", "file") == opened(tree, "absolute", "deep", "file") == INSIDE
    assert opened(tree, "in", "back", "back", "deep", "file") == opened(tree, "twice", "file") == INSIDE
    assert fault(tree, "out", "file") == fault(tree, "out", "folder", "file") == errno.EXDEV
    assert opened(tree, "out", "folder", "file", allow_outside=True) == SECRET
    for way in (("in", "file"), ("twice", "file"), ("out", "file")):
        assert fault(tree, *way, follow=False) == errno.ELOOP
        assert fault(tree, *way, follow=False, allow_outside=True) == errno.ELOOP


def test_parents_are_those_of_the_way_not_of_the_link(tree):
    """".." after a link is the parent of what the link is to, as for every program."""
    os.symlink("folder/deep", tree / "short")
    os.symlink("short/../file", tree / "link")
    (tree / "file").write_bytes(b"of the root")
    assert opened(tree, "link") == INSIDE
    assert (tree / "link").read_bytes() == INSIDE


def test_the_number_of_links_is_bounded(tree):
    os.symlink("file", tree / "0")
    for number in range(1, 60):
        os.symlink(str(number - 1), tree / str(number))
    assert opened(tree, str(beneath.MAX_LINKS - 1)) == INSIDE
    assert fault(tree, str(beneath.MAX_LINKS)) == errno.ELOOP


def test_the_work_of_links_is_bounded(tree):
    os.symlink("folder/deep/../../" * 200 + "file", tree / "0")
    for number in range(1, 30):
        os.symlink("folder/../" * 390 + str(number - 1), tree / str(number))
    assert opened(tree, "0") == INSIDE
    started = time.process_time()
    assert fault(tree, "29") == errno.ELOOP
    assert time.process_time() - started < 2


def test_the_root_may_have_other_names(tree, tmp_path):
    """A link by which people reach the root is a way back in, as is any of its names."""
    os.symlink("root", tmp_path / "current")
    os.symlink(tmp_path / "current" / "file", tree / "link")
    assert opened(tree, "link") == opened(tmp_path / "current", "link") == INSIDE


def test_a_root_that_is_replaced(tree, tmp_path):
    """The server keeps the folder it was started with, by whatever name it goes now."""
    os.symlink(tree / "file", tree / "link")
    os.symlink("folder/file", tree / "relative")
    with directory(tree) as root:
        tree.rename(tmp_path / "moved")
        assert opened(root, "file") == opened(root, "relative") == INSIDE
        assert fault(root, "link") == errno.ENOENT
        tree.mkdir()
        (tree / "file").write_bytes(SECRET)
        assert opened(root, "file") == INSIDE
        assert fault(root, "link") == errno.EXDEV
        shutil.rmtree(tmp_path / "moved")
        assert fault(root, "file") == errno.ENOENT
        assert opened(root) == set()


def test_every_file_is_inside_where_the_root_is_the_whole_system(tree):
    assert opened("/", *str(tree / "file").split("/")[1:]) == INSIDE
    os.symlink("../" * 30 + str(tree / "file")[1:], tree / "link")
    os.symlink(tree / "file", tree / "absolute")
    for name in ("link", "absolute"):
        assert opened("/", *str(tree / name).split("/")[1:]) == INSIDE


def test_parents_far_down(tree):
    """They are found again from the root, by all of the names on the way."""
    for names in ((), ("folder",), ("folder", "deep"), ("folder", "deep", "er")):
        (tree.joinpath(*names)).mkdir(exist_ok=True)
        (tree.joinpath(*names, "name")).write_bytes("/".join(names).encode())
    for count, expected in enumerate((b"folder/deep/er", b"folder/deep", b"folder", b"")):
        os.symlink("../" * count + "name", tree / "folder" / "deep" / "er" / str(count))
        assert opened(tree, "folder", "deep", "er", str(count)) == expected
    os.symlink("folder/deep/er/../../deep/er/../name", tree / "link")
    assert opened(tree, "link") == b"folder/deep"


def test_the_names_that_links_bring_are_bounded(tree):
    """Those that cost no step, too, where each link leads on before they are gone."""
    os.symlink("folder", tree / "0")
    for number in range(1, 5):
        os.symlink(f"{number - 1}/" + "./" * 2000, tree / str(number))
    assert opened(tree, "1") == opened(tree, "2") == {"file", "deep"}
    assert fault(tree, "4") == errno.ELOOP


def test_a_link_without_a_text(tree, monkeypatch):
    """POSIX leaves open whether there are any."""
    os.symlink("file", tree / "link")
    monkeypatch.setattr(beneath.os, "readlink", lambda *names, **options: "")
    assert fault(tree, "link") == fault(tree, "link", "file") == errno.ENOENT


def test_a_folder_is_the_root_by_its_device_and_its_number(tree, tmp_path, monkeypatch):
    """File systems number their files each for itself."""
    os.symlink("../outside/file", tree / "link")
    real = os.fstat
    with directory(tree) as root:
        here = real(root)

        def alike(fd):
            found = real(fd)
            same = found.st_ino == os.stat(tmp_path / "outside").st_ino
            return os.stat_result((found.st_mode, here.st_ino, here.st_dev + 1, *found[3:])) if same else found
        monkeypatch.setattr(beneath.os, "fstat", alike)
        assert fault(root, "link") == errno.EXDEV


def test_another_folder_that_takes_the_name_of_the_root(tree, tmp_path, monkeypatch):
    """Between looking and opening: what is opened is the root that is there already."""
    os.symlink("../root", tree / "link")
    with directory(tree) as root:
        found, real = os.fstat(root), os.stat
        tree.rename(tmp_path / "moved")
        tree.mkdir()
        (tree / "other").touch()
        monkeypatch.setattr(beneath.os, "stat", lambda name, **options: found if name == "root" else real(name, **options))
        assert opened(root, "link") == {"file", "folder", "link"}


# ---------------------------------------------------------------- special files

def test_special_files_are_refused_at_once(tree):
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(tree)      # a socket's path is short
        try:
            unix.bind("socket")
        finally:
            os.chdir(here)
        os.symlink("fifo", tree / "to-fifo")
        for name in ("fifo", "socket", "to-fifo"):
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECTORY):
                assert fault(tree, name, flags=flags) == errno.ENXIO
            assert fault(tree, name, "x") in (errno.ENOTDIR, errno.ENXIO)
    for name in ("null", "zero", "tty"):
        assert fault("/dev", name) == errno.ENXIO
    assert status_of(OSError(errno.ENXIO, "")) == 404


def test_a_fifo_that_takes_the_place_of_a_file(tree, monkeypatch):
    """Between looking and opening; what is opened is looked at again."""
    os.mkfifo(tree / "fifo")
    found = os.stat(tree / "file")
    real = os.stat
    monkeypatch.setattr(beneath.os, "stat", lambda name, **options: found if name == "fifo" else real(name, **options))
    assert fault(tree, "fifo") == errno.ENXIO


def test_a_link_that_takes_the_place_of_a_file(tree, monkeypatch):
    os.symlink("../file", tree / "link")
    found, real, asked = os.stat(tree / "file"), os.stat, []

    def lying(name, **options):
        asked.append(name)
        return found if len(asked) == 1 else real(name, **options)
    monkeypatch.setattr(beneath.os, "stat", lying)
    assert fault(tree, "link") == errno.EXDEV
    assert len(asked) > 1


@pytest.mark.parametrize("number, status", [
    (errno.ENOENT, 404), (errno.EXDEV, 404), (errno.EACCES, 403), (errno.EPERM, 403), (errno.EMFILE, 503), (errno.ENFILE, 503),
    (errno.EIO, 500), (errno.ENAMETOOLONG, 404)])
def test_statuses(number, status):
    assert status_of(OSError(number, "")) == status
