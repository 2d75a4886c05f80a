"""turboserver.files.upload: what is received appears whole or not at all."""
import errno
import fcntl
import io
import os
import resource
import shutil
import stat
import subprocess
import threading
import tracemalloc

import pytest
from upload_folder import Folder, conditions, folder  # noqa: F401: a fixture

from turboserver.files import partials, upload
from turboserver.files.beneath import Refused
from turboserver.files.conditions import etag
from turboserver.files.upload import ContentRange

MEGABYTE = 2**20


# ---------------------------------------------------------------- whole files

def test_a_file_appears_whole(folder):
    with folder.begin(length=10) as receiving:
        receiving.write(b"01234")
        assert folder.names() == []
        receiving.write(bytearray(b"567"))
        receiving.write(memoryview(b"89"))
        assert folder.names() == [] and receiving.received == receiving.offset == 10
        answer = receiving.finish()
        assert folder.names() == ["file"] and folder.rest() == []
    assert answer == (201, (("ETag", etag(os.stat(folder.path / "file"))),))
    assert folder.read("file") == b"0123456789" and folder.names() == ["file"]


def test_a_length_need_not_be_known(folder):
    assert folder.put(b"octets", length=None).status == 201
    assert folder.put(b"", name="empty", length=None).status == 201
    assert folder.put(b"", name="nothing").status == 201
    assert folder.read("file") == b"octets" and folder.read("empty") == folder.read("nothing") == b""


def test_permissions_are_those_of_any_new_file(folder):
    old = os.umask(0o027)
    try:
        folder.put(b"x")
        folder.put(b"x", name="part", resumable=True)
        folder.put(b"x", name="private", mode=0o600)
    finally:
        os.umask(old)
    assert [stat.S_IMODE(os.stat(folder.path / name).st_mode) for name in ("file", "part", "private")] == [0o640, 0o640, 0o600]


def test_a_stream_is_read_in_blocks(folder):
    class Stream(io.BytesIO):
        largest = 0

        def read(self, count):
            self.largest = max(self.largest, count)
            return super().read(count)
    octets = os.urandom(300_000)
    for name, length in (("known", len(octets)), ("unknown", None)):
        stream = Stream(octets)
        with folder.begin(name, length=length) as receiving:
            receiving.receive(stream)
            receiving.finish()
        assert folder.read(name) == octets and stream.largest <= upload.BLOCK
    # What follows a body of known length is not for this file.
    stream = Stream(b"0123456789next")
    with folder.begin(length=10) as receiving:
        receiving.receive(stream)
        receiving.finish()
    assert stream.read(10) == b"next"


def test_memory_is_constant(folder):
    class Endless:
        left = 48 * MEGABYTE

        def read(self, count):
            count = min(count, self.left)
            self.left -= count
            return b"x" * count
    tracemalloc.start()
    try:
        with folder.begin() as receiving:
            receiving.receive(Endless())
            receiving.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert os.stat(folder.path / "file").st_size == 48 * MEGABYTE and peak < MEGABYTE


def test_writes_that_take_a_part(folder, monkeypatch):
    real = os.write
    monkeypatch.setattr(upload.os, "write", lambda fd, octets: real(fd, octets[:3]))
    folder.put(b"0123456789")
    assert folder.read("file") == b"0123456789"


def test_sync(folder, monkeypatch):
    synced = []
    monkeypatch.setattr(upload.os, "fsync", lambda fd: synced.append(stat.S_ISDIR(os.fstat(fd).st_mode)))
    folder.put(b"x", name="not")
    assert synced == []
    folder.put(b"x", sync=True)
    assert synced == [False, True]


# ---------------------------------------------------------------- what is not whole

def test_cut_short_nothing_appears(folder):
    assert folder.refusal(b"0123", length=10) == (400, {})
    with folder.begin(length=10) as receiving:
        receiving.write(b"0123")
    with pytest.raises(ZeroDivisionError), folder.begin(length=10) as receiving:
        receiving.write(b"0123456789")
        1 / 0
    assert folder.names() == folder.rest() == []


def test_more_than_was_said(folder):
    assert folder.refusal(b"01234567890", length=10)[0] == 400
    assert folder.refusal(b"01234567890", length=10, resumable=True)[0] == 400
    assert folder.names() == folder.rest() == []


def test_the_bound_of_sizes(folder):
    assert folder.put(b"0123456789", size_bound=10).status == 201
    assert folder.refusal(b"01234567890", name="b", size_bound=10)[0] == 413
    assert folder.refusal(b"01234567890", name="b", size_bound=10, length=None)[0] == 413
    assert folder.refusal(b"01234567890", name="b", size_bound=10, length=None, pieces=[b"01234", b"567890"])[0] == 413
    assert folder.refusal(b"", name="b", size_bound=10, length=11)[0] == 413
    assert folder.put(b"0123456789", name="c", size_bound=10, length=None).status == 201
    assert folder.rest() == []


def test_after_its_end_an_upload_is_over(folder):
    receiving = folder.begin(length=1)
    receiving.write(b"x")
    receiving.finish()
    receiving.abort()
    for method, args in ((receiving.write, (b"x",)), (receiving.finish, ())):
        with pytest.raises(ValueError, match="over"):
            method(*args)
    assert folder.read("file") == b"x"
    receiving = folder.begin("other", length=1)
    with pytest.raises(Refused):
        receiving.write(b"xx")
    with pytest.raises(ValueError, match="over"):
        receiving.write(b"x")


def test_no_descriptor_is_left(folder):
    before = set(os.listdir("/dev/fd"))
    folder.put(b"x")
    folder.refusal(b"x")
    folder.refusal(b"xx", name="b", length=1)
    folder.refusal(b"x", name="b", length=2, resumable=True)
    folder.refusal(b"x", name="b", length=1, content_range=ContentRange(7, 8, 9), resumable=True)
    assert set(os.listdir("/dev/fd")) == before


# ---------------------------------------------------------------- names

@pytest.mark.parametrize("name, status", [
    ("", 400), (".", 400), ("..", 400), ("a/b", 400), ("/", 400), ("/etc/passwd", 400), ("../a", 400), ("a\0b", 400), ("a\nb", 400),
    ("a\x7f", 400), ("a" * 256, 400), ("\u00e9" * 128, 400), (partials.PREFIX, 403), (partials.PREFIX + "x", 403),
    (partials.PREFIX.upper() + "x", 403), ("\ud800", 400)])
def test_names_that_are_refused(folder, name, status):
    assert folder.refusal(b"x", name=name)[0] == status
    with pytest.raises(Refused):
        partials.query(folder.fd, name)
    assert os.listdir(folder.path) == [] and os.listdir(folder.path.parent) == ["folder"]


@pytest.mark.parametrize("name", ["a", "..a", "a..", "...", ".a", "a b", "a" * 255, "\u00e9" * 127, "-rf", os.fsdecode(b"\xff"), "a\\b", "%2e%2e"])
def test_names_that_are_taken(folder, name):
    if os.name == "nt" and "\\" in name:
        pytest.skip("a separator on Windows")
    assert folder.put(b"x", name=name).status == 201
    assert folder.names() == [name]


def test_reserved_names():
    assert partials.is_reserved(partials.temporary_name()) and partials.is_reserved(partials.partial_name("a", "", 1))
    assert not partials.is_reserved(partials.PREFIX[:-1]) and not partials.is_reserved("a" + partials.PREFIX)
    assert len({partials.temporary_name() for _ in range(100)}) == 100
    different = {partials.partial_name(*key) for key in (("a", "", 1), ("b", "", 1), ("a", "b", 1), ("", "ab", 1), ("ab", "", 1), ("a", "", 2))}
    assert len(different) == 6


# ---------------------------------------------------------------- what is there already

def test_nothing_is_overwritten_unless_told(folder):
    folder.write("file", b"old")
    assert folder.refusal(b"new")[0] == 409
    assert folder.put(b"new", replace=True).status == 204
    assert folder.read("file") == b"new" and folder.rest() == []


@pytest.mark.parametrize("fields, replace, there, absent", [
    ({"If_None_Match": "*"}, True, 412, 201), ({"If_None_Match": "*"}, False, 412, 201), ({"If_Match": "*"}, False, 204, 412),
    ({"If_Match": "TAG"}, False, 204, 412), ({"If_Match": '"x", TAG'}, True, 204, 412), ({"If_Match": '"x"'}, True, 412, 412),
    ({"If_Match": "W/TAG"}, True, 412, 412), ({"If_None_Match": "TAG"}, True, 412, 201), ({"If_None_Match": '"x"'}, True, 204, 201),
    ({"If_None_Match": '"x"'}, False, 409, 201), ({"If_Unmodified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, True, 412, 201),
    ({"If_Match": "nonsense"}, True, 412, 412), ({"If_None_Match": "nonsense"}, True, 412, 412)])
def test_preconditions(folder, fields, replace, there, absent):
    folder.write("file", b"old")
    tag = etag(os.stat(folder.path / "file"))
    get_all = conditions(**{name: value.replace("TAG", tag) for name, value in fields.items()})
    for name, expected in (("file", there), ("absent", absent)):
        if expected < 400:
            assert folder.put(b"new", name=name, get_all=get_all, replace=replace).status == expected
            assert folder.read(name) == b"new"
        else:
            assert folder.refusal(b"new", name=name, get_all=get_all, replace=replace) == (expected, {})
    assert folder.rest() == []


def test_refusals_come_before_the_body(folder):
    """So that a client that waits for 100 (Continue) keeps its octets."""
    folder.write("file", b"old")
    for options in ({}, {"get_all": conditions(If_Match='"x"')}, {"length": 10, "size_bound": 5}, {"name": ".."}):
        with pytest.raises(Refused):
            folder.begin(**options)


def test_a_file_that_appears_meanwhile(folder):
    for options, status in (({}, 409), ({"get_all": conditions(If_None_Match="*")}, 412), ({"resumable": True}, 409)):
        with folder.begin(length=3, **options) as receiving:
            receiving.write(b"new")
            folder.write("file", b"other")
            with pytest.raises(Refused) as caught:
                receiving.finish()
        assert caught.value.status == status and folder.read("file") == b"other" and folder.rest() == []
        os.unlink(folder.path / "file")


def refused_at_the_last_moment(folder, monkeypatch, name):
    with folder.begin(name, length=3) as receiving:
        receiving.write(b"new")
        folder.write(name, b"other")
        monkeypatch.setattr(receiving, "_existing", lambda: None)
        with pytest.raises(Refused) as caught:
            receiving.finish()
    assert caught.value.status == 409 and folder.read(name) == b"other" and folder.rest() == []


def test_a_file_that_appears_at_the_last_moment(folder, monkeypatch):
    """After it was looked for: link(2) replaces nothing."""
    refused_at_the_last_moment(folder, monkeypatch, "file")


def test_the_preconditions_say_what_that_is(folder, monkeypatch):
    """412 for who asked for it, so that a page can offer to replace it; 409 is whatever else is in the way."""
    for options, status in (({"get_all": conditions(If_None_Match="*")}, 412), ({"replace": True}, 409)):
        with folder.begin(length=3, **options) as receiving:
            receiving.write(b"new")
            folder.write("file", b"other")
            real, asked = receiving._existing, []
            monkeypatch.setattr(receiving, "_existing", lambda: real() if asked else asked.append(1))
            with pytest.raises(Refused) as caught:
                receiving.finish()
        assert caught.value.status == status and folder.read("file") == b"other" and folder.rest() == []
        os.unlink(folder.path / "file")


def test_a_file_that_changes_meanwhile(folder):
    folder.write("file", b"old")
    get_all = conditions(If_Match=etag(os.stat(folder.path / "file")))
    with folder.begin(length=3, get_all=get_all) as receiving:
        receiving.write(b"new")
        folder.write("file", b"changed")
        with pytest.raises(Refused) as caught:
            receiving.finish()
    assert caught.value.status == 412 and folder.read("file") == b"changed"


def test_one_of_many_wins(folder):
    """If-Match holds for one of those who saw the same file, If-None-Match for one of those who saw none."""
    for name, get_all in (("new", lambda: conditions(If_None_Match="*")),
                          ("old", lambda: conditions(If_Match=etag(os.stat(folder.path / "old"))))):
        if name == "old":
            folder.write("old", b"the first")
        condition, outcomes, barrier = get_all(), [], threading.Barrier(8)

        def put(number, condition=condition, outcomes=outcomes, barrier=barrier, name=name):
            octets = b"%d" % number * (number + 20)
            with folder.begin(name, length=len(octets), get_all=condition) as receiving:
                receiving.write(octets)
                barrier.wait(20)
                try:
                    outcomes.append((receiving.finish().status, octets))
                except Refused as error:
                    outcomes.append((error.status, None))
        threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [octets for status, octets in outcomes if octets]
        assert folder.read(name) == winner and sorted(status for status, octets in outcomes if not octets) == [412] * 7
    assert folder.rest() == []


def test_what_is_no_file_is_not_replaced(folder):
    (folder.path / "folder").mkdir()
    os.symlink("target", folder.path / "dangling")
    folder.write("real", b"kept")
    os.symlink("real", folder.path / "link")
    os.mkfifo(folder.path / "fifo")
    for name in ("folder", "dangling", "link", "fifo"):
        with pytest.raises(Refused) as caught:
            folder.put(b"x", name=name, replace=True)
        assert caught.value.status == 409
    assert folder.read("real") == b"kept" and not (folder.path / "target").exists() and folder.rest() == []


def test_readers_see_the_old_file_or_the_new_one(folder):
    stop, seen = threading.Event(), set()
    folder.write("file", b"a" * 5000)

    def read():
        while not stop.is_set():
            seen.add(folder.read("file"))
    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(200):
            octets = (b"a", b"b")[number % 2] * 5000
            folder.put(octets, pieces=[octets[:2500], octets[2500:]], replace=True)
    finally:
        stop.set()
        thread.join()
    assert seen <= {b"a" * 5000, b"b" * 5000} and len(seen) == 2


def test_the_folder_may_be_renamed(folder):
    """The descriptor is the place, not a path."""
    with folder.begin(length=1) as receiving:
        receiving.write(b"x")
        folder.path.rename(folder.path.parent / "moved")
        folder.path.mkdir()
        receiving.finish()
    assert os.listdir(folder.path) == [] and (folder.path.parent / "moved" / "file").read_bytes() == b"x"


def test_a_folder_that_is_gone(folder):
    with folder.begin(length=1) as receiving:
        receiving.write(b"x")
        shutil.rmtree(folder.path)
        with pytest.raises(Refused) as caught:
            receiving.finish()
    assert caught.value.status == 409


def test_a_folder_that_is_busy(folder, monkeypatch):
    monkeypatch.setattr(upload, "_FOLDER_WAIT", 0.05)
    other = os.open(folder.path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert folder.refusal(b"x")[0] == 503
    os.close(other)
    assert folder.put(b"x").status == 201


# ---------------------------------------------------------------- file systems that are full, or can less

def faulty(monkeypatch, name, number, after=0):
    """The system call fails with `number` after some times."""
    real, calls = getattr(os, name), []

    def failing(*args, **options):
        calls.append(args)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(*args, **options)
    monkeypatch.setattr(upload.os, name, failing)


@pytest.mark.parametrize("number, status", [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EFBIG, 413), (errno.EIO, 500)])
def test_writing_fails(folder, monkeypatch, number, status):
    faulty(monkeypatch, "write", number, after=1)
    with folder.begin(length=4) as receiving:
        receiving.write(b"01")
        with pytest.raises(Refused) as caught:
            receiving.write(b"23")
    assert caught.value.status == status and os.listdir(folder.path) == []


def test_a_part_does_not_stay_on_a_full_disk(folder, monkeypatch):
    faulty(monkeypatch, "write", errno.ENOSPC, after=1)
    assert folder.refusal(b"0123", pieces=[b"01", b"23"], resumable=True)[0] == 507
    assert os.listdir(folder.path) == []


@pytest.mark.parametrize("number, status", [(errno.ENOSPC, 507), (errno.EACCES, 403), (errno.EROFS, 403), (errno.EIO, 500)])
def test_naming_fails(folder, monkeypatch, number, status):
    faulty(monkeypatch, "link", number)
    assert folder.refusal(b"x")[0] == status
    folder.write("file", b"old")
    faulty(monkeypatch, "replace", number)
    assert folder.refusal(b"x", replace=True)[0] == status
    assert folder.names() == ["file"] and folder.rest() == []


def test_a_folder_that_may_not_be_written(folder, monkeypatch):
    real = os.open

    def refusing(path, flags, *args, **options):
        if flags & os.O_ACCMODE:
            raise PermissionError(errno.EACCES, "no")
        return real(path, flags, *args, **options)
    monkeypatch.setattr(upload.os, "open", refusing)
    assert folder.refusal(b"x")[0] == folder.refusal(b"x", resumable=True)[0] == 403


def test_a_real_limit_of_the_system(folder):
    """RLIMIT_FSIZE: the second write takes a part, the third fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        status, _ = folder.refusal(b"x" * 120_000, pieces=[b"x" * 60_000] * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 413 and os.listdir(folder.path) == []


def test_a_disk_that_is_really_full(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        with Folder(place / "folder") as folder:
            octets = b"x" * (2 * MEGABYTE)
            for options in ({"length": None}, {"resumable": True, "keep_free": -10 * MEGABYTE}, {"keep_free": 0}):
                assert folder.refusal(octets, **options)[0] == 507
                assert os.listdir(folder.path) == []
            assert folder.put(octets[:MEGABYTE // 2]).status == 201
    finally:
        subprocess.run(["umount", place], check=True)


def test_room_is_left_for_others(folder, monkeypatch):
    found = os.fstatvfs(folder.fd)
    free = found.f_bavail * found.f_frsize
    assert folder.refusal(b"x", keep_free=free + 10**9)[0] == 507
    assert folder.refusal(b"x", length=None, keep_free=free + 10**9)[0] == 507
    assert folder.refusal(b"x", length=free + 10**9, size_bound=2**62, keep_free=0)[0] == 507
    # An upload of unknown length is asked again now and then.
    monkeypatch.setattr(upload, "_CHECK_EVERY", 5)
    with folder.begin() as receiving:
        receiving.write(b"0123")
        receiving._keep_free = free + 10**9
        with pytest.raises(Refused) as caught:
            receiving.write(b"4567")
    assert caught.value.status == 507 and os.listdir(folder.path) == []


def test_a_file_system_that_tells_no_size(folder, monkeypatch):
    monkeypatch.setattr(upload.os, "fstatvfs", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    assert folder.put(b"x", keep_free=10**18).status == 201


def test_a_file_system_without_unnamed_files(folder, monkeypatch):
    real = os.open

    def without(path, flags, *args, **options):
        if upload._unnamed and flags & upload._unnamed == upload._unnamed:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE")
        return real(path, flags, *args, **options)
    monkeypatch.setattr(upload.os, "open", without)
    with folder.begin(length=1) as receiving:
        assert len(folder.rest()) == 1
        receiving.write(b"x")
        assert receiving.finish().status == 201
    assert folder.names() == ["file"] and folder.rest() == []


def test_a_file_system_without_links(folder, monkeypatch):
    if upload._unnamed:
        monkeypatch.setattr(upload, "_unnamed", None)
    faulty(monkeypatch, "link", errno.EPERM)
    assert folder.put(b"new").status == 201
    assert folder.read("file") == b"new" and folder.rest() == []
    with monkeypatch.context() as patch:
        faulty(patch, "replace", errno.ENOSPC)
        assert folder.refusal(b"new", name="no room")[0] == 507
    refused_at_the_last_moment(folder, monkeypatch, "other")
