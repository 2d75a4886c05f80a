"""turboserver.files.upload and partials: uploads that are cut short and gone on with, or that nobody comes back for."""
import contextlib
import os
import threading
import time

import pytest
from upload_folder import Folder, conditions, folder, part  # noqa: F401: a fixture

from turboserver.files import partials, upload
from turboserver.files.beneath import Refused
from turboserver.files.upload import Answer, ContentRange, parse_content_range


# ---------------------------------------------------------------- going on with an upload

@pytest.mark.parametrize("field, expected", [
    ("bytes 0-0/1", (0, 1, 1)), ("bytes 5-9/10", (5, 10, 10)), ("Bytes 5-6/10 ", (5, 7, 10)), ("bytes 0-9223372036854775806/9223372036854775807",
                                                                                                   (0, 2**63 - 1, 2**63 - 1))])
def test_content_ranges(field, expected):
    assert parse_content_range(field) == expected


@pytest.mark.parametrize("field", [
    "", "bytes", "bytes 0-0/*", "bytes */10", "bytes 5-4/10", "bytes 5-10/10", "bytes 0-0/0", "bytes=0-0/1", "bytes 0-0", "bytes -1/5", "bytes 1-/5",
    "items 0-0/1", "bytes 0-0/1, bytes 1-1/2", "bytes +0-0/1", "bytes 0-٠/1", "bytes 0-0/1\n", "bytes  0-0/1", "bytes 0 -0/1",
    "bytes 0-0/00000000000000000001"])
def test_malformed_content_ranges(field):
    with pytest.raises(Refused) as caught:
        parse_content_range(field)
    assert caught.value.status == 400


def test_an_upload_that_is_cut_is_gone_on_with(folder):
    octets = os.urandom(1000)
    assert partials.query(folder.fd, "file") is None
    assert folder.refusal(octets[:300], length=1000, resumable=True) == (400, {})
    assert folder.names() == [] and len(folder.rest()) == 1
    assert partials.query(folder.fd, "file") == partials.query(folder.fd, "file", length=1000) == (300, 1000)
    with pytest.raises(Refused):
        part(folder, octets, 300, 1000, cut=700)
    assert partials.query(folder.fd, "file") == (700, 1000)
    answer = part(folder, octets, 700, 1000)
    assert answer.status == 201 and folder.read("file") == octets and folder.rest() == []
    assert partials.query(folder.fd, "file") is None


def test_an_upload_in_parts(folder):
    octets = os.urandom(1000)
    folder.write("file", b"old")
    assert part(folder, octets, 0, 400, replace=True) == Answer(202, (("Upload-Offset", "400"),))
    assert part(folder, octets, 400, 600, replace=True) == Answer(202, (("Upload-Offset", "600"),))
    assert folder.read("file") == b"old"
    assert part(folder, octets, 600, 1000, replace=True).status == 204
    assert folder.read("file") == octets and folder.rest() == []


def test_an_offset_that_is_another(folder):
    octets = os.urandom(100)
    part(folder, octets, 0, 40)
    for start in (39, 41, 99):
        with pytest.raises(Refused) as caught:
            part(folder, octets, start, 100)
        assert (caught.value.status, caught.value.headers) == (409, (("Upload-Offset", "40"),))
    assert part(folder, octets, 40, 100).status == 201
    with pytest.raises(Refused) as caught:
        part(folder, octets, 40, 100, name="nothing there")
    assert (caught.value.status, caught.value.headers) == (409, (("Upload-Offset", "0"),))
    assert folder.names() == ["file"] and folder.rest() == []


def test_another_length_or_owner_or_name_is_another_upload(folder):
    octets = os.urandom(100)
    part(folder, octets, 0, 40, owner="a")
    for options in ({"owner": "b"}, {"owner": ""}, {"owner": "a", "name": "other"}):
        assert folder.refusal(octets[40:], content_range=ContentRange(40, 100, 100), resumable=True, **options) == (409, {"Upload-Offset": "0"})
    assert folder.refusal(octets[40:], content_range=ContentRange(40, 100, 101), resumable=True, owner="a")[0] == 409
    assert partials.query(folder.fd, "file", "a") == (40, 100)
    assert partials.query(folder.fd, "file") is partials.query(folder.fd, "file", "a", 101) is None
    assert part(folder, octets, 40, 100, owner="a").status == 201


def test_the_newest_of_several_is_told(folder):
    for number, length in enumerate((200, 100, 300)):
        with pytest.raises(Refused):
            part(folder, bytes(length), 0, length, cut=length // 2)
        (path,) = [folder.path / name for name in folder.rest() if name.endswith(f".{length}")]
        os.utime(path, (number, number))
    assert partials.query(folder.fd, "file") == (150, 300)
    assert partials.query(folder.fd, "file", length=100) == (50, 100)


def test_from_the_start_again(folder):
    octets = os.urandom(100)
    part(folder, b"y" * 100, 0, 90)
    assert folder.put(octets, resumable=True).status == 201
    assert folder.read("file") == octets and folder.rest() == []


def test_two_at_once_do_not_mix(folder):
    with folder.begin(length=10, resumable=True) as receiving:
        receiving.write(b"01234")
        assert folder.refusal(b"abcdefghij", resumable=True)[0] == 409
        assert folder.refusal(b"fghij", content_range=ContentRange(5, 10, 10), resumable=True)[0] == 409
        receiving.write(b"56789")
        assert receiving.finish().status == 201
    assert folder.read("file") == b"0123456789"


def test_lengths_must_agree(folder):
    for length in (None, 9, 11):
        assert folder.refusal(b"x" * 10, length=length, content_range=ContentRange(0, 10, 10), resumable=True)[0] == 400
    assert folder.refusal(b"x" * 10, content_range=ContentRange(0, 10, 10), resumable=False)[0] == 400
    assert folder.refusal(b"x" * 10, content_range=ContentRange(0, 10, 100), resumable=True, size_bound=99)[0] == 413


def test_of_nothing_nothing_is_kept(folder):
    assert folder.refusal(b"", length=10, resumable=True)[0] == 400
    assert folder.put(b"", name="empty", resumable=True).status == 201
    assert folder.refusal(b"x", length=None, name="empty", resumable=True)[0] == 409
    assert folder.rest() == []


def test_preconditions_hold_at_the_last_part(folder):
    octets = os.urandom(100)
    get_all = conditions(If_None_Match="*")
    part(folder, octets, 0, 40, get_all=get_all)
    with folder.begin(length=60, content_range=ContentRange(40, 100, 100), resumable=True, get_all=get_all) as receiving:
        receiving.write(octets[40:])
        folder.write("file", b"other")
        with pytest.raises(Refused) as caught:
            receiving.finish()
    assert caught.value.status == 412 and folder.read("file") == b"other" and folder.rest() == []


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo", "hard link"])
def test_what_lies_in_wait_at_a_reserved_name(folder, kind):
    """Somebody with access to the folder put it there; nothing outside is written."""
    victim = folder.path.parent / "victim"
    victim.write_bytes(b"kept")
    path = folder.path / partials.partial_name("file", "", 10)
    {"link": lambda: os.symlink(victim, path), "dangling": lambda: os.symlink(folder.path.parent / "none", path),
     "folder": lambda: os.mkdir(path), "fifo": lambda: os.mkfifo(path), "hard link": lambda: os.link(victim, path)}[kind]()
    if kind == "hard link":
        # It is taken for one whose file got its name, and only this name goes.
        assert folder.put(b"0123456789", resumable=True).status == 201 and folder.read("file") == b"0123456789"
    else:
        assert folder.refusal(b"0123456789", resumable=True)[0] == 409
    assert folder.refusal(b"6789", name="file2", content_range=ContentRange(6, 10, 10), resumable=True)[0] == 409
    assert victim.read_bytes() == b"kept" and not (folder.path.parent / "none").exists()


# ---------------------------------------------------------------- what nobody comes back for

def test_old_parts_are_swept(folder):
    now = time.time()
    octets = bytes(100)
    for name, age in (("old", 1000), ("new", 10)):
        part(folder, octets, 0, 40, name=name)
        os.utime(folder.path / partials.partial_name(name, "", 100), (now - age, now - age))
    folder.write(partials.temporary_name(), b"left by a process that died")
    (left,) = [name for name in folder.rest() if "." not in name[1:]]
    os.utime(folder.path / left, (now - 1000, now - 1000))
    folder.write("old file", b"")
    os.utime(folder.path / "old file", (0, 0))
    os.mkdir(folder.path / (partials.PREFIX + "folder"))
    os.symlink("old file", folder.path / (partials.PREFIX + "link"))
    assert partials.sweep(folder.fd, lifetime=500, now=now) == 2
    assert partials.query(folder.fd, "old") is None and partials.query(folder.fd, "new") == (40, 100)
    assert folder.names() == ["old file"] and len(folder.rest()) == 3
    assert partials.sweep(folder.fd, lifetime=500, now=now) == 0


def test_an_upload_under_way_is_not_swept(folder):
    for options in ({"resumable": True, "length": 10}, {"length": 10}):
        with folder.begin(**options) as receiving:
            receiving.write(b"01234")
            for name in folder.rest():
                os.utime(folder.path / name, (0, 0))
            assert partials.sweep(folder.fd, lifetime=1) == 0
            receiving.write(b"56789")
            receiving.finish()
        assert folder.read("file") == b"0123456789"
        os.unlink(folder.path / "file")


def test_uploads_sweep_at_times(folder, monkeypatch):
    def litter():
        name = partials.temporary_name()
        folder.write(name, b"")
        os.utime(folder.path / name, (0, 0))
        return name
    monkeypatch.setattr(partials, "_swept", {})
    litter()
    folder.put(b"x", name="1")
    assert folder.rest() == []
    second = litter()
    folder.put(b"x", name="2")
    assert folder.rest() == [second]        # once in a while is enough
    monkeypatch.setattr(partials, "_SWEEP_EVERY", 0)
    folder.put(b"x", name="3")
    assert folder.rest() == []


def test_the_memory_of_folders_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(partials, "_swept", {})
    monkeypatch.setattr(partials, "_MAX_FOLDERS", 3)
    for number in range(10):
        with Folder(tmp_path / str(number)) as folder:
            folder.put(b"x")
            assert 1 <= len(partials._swept) <= 3


def test_the_other_name_goes_by_itself_at_the_last_moment(folder, monkeypatch):
    """A file that has its name is there, and its upload has not failed."""
    real = os.link

    def linking(source, *args, **options):
        real(source, *args, **options)
        if partials.is_reserved(source):
            os.unlink(folder.path / source)
    monkeypatch.setattr(upload.os, "link", linking)
    for options in ({}, {"resumable": True}):
        assert folder.put(b"x", name=str(options), **options).status == 201
    assert len(folder.names()) == 2 and folder.rest() == []


def test_sweeping_and_uploading_at_once(folder):
    """Everything a sweeper may remove is old at once here; no upload that was told to be there is lost."""
    stop = threading.Event()

    def sweep():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                partials.sweep(folder.fd, lifetime=-10)
    thread = threading.Thread(target=sweep)
    thread.start()
    done = 0
    try:
        for number in range(300):
            with contextlib.suppress(Refused):
                folder.put(b"0123456789", name=str(number), resumable=number % 2 == 0)
                assert folder.read(str(number)) == b"0123456789"
                done += 1
    finally:
        stop.set()
        thread.join()
    assert done > 100 and len(folder.names()) == done


# ---------------------------------------------------------------- processes that die

def test_a_process_that_is_killed_leaves_no_file(folder):
    """What it had is under a reserved name, free to be gone on with or swept."""
    ready_out, ready_in = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            receiving = folder.begin(length=10, resumable=True)
            receiving.write(b"01234")
            os.write(ready_in, b"x")
            time.sleep(60)
        os._exit(1)
    try:
        os.close(ready_in)
        assert os.read(ready_out, 1) == b"x"
        with pytest.raises(Refused) as caught:
            folder.put(b"56789", content_range=ContentRange(5, 10, 10), resumable=True)
        assert caught.value.status == 409
    finally:
        os.close(ready_out)
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert folder.names() == [] and partials.query(folder.fd, "file") == (5, 10)
    assert folder.put(b"56789", content_range=ContentRange(5, 10, 10), resumable=True).status == 201
    assert folder.read("file") == b"0123456789"
