"""turboserver.files.beneath: attempts by the hundred, trees of every kind beside the system's own way, and races."""
import contextlib
import itertools
import os
import shutil
import threading
import time

import pytest
from beneath_tree import INSIDE, SECRET, opened, tree  # noqa: F401: a fixture

from support import directory
from turboserver.files import beneath
from turboserver.files.beneath import Refused, open_beneath, resolve, status_of

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=500, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))


# ---------------------------------------------------------------- attempts by the hundred

_DOTS = [b"..", b"%2e%2e", b"%2E.", b".%2e", b"..;", b"%252e%252e", b"%c0%ae%c0%ae", b"..%00", b"....", b"..%20", b".%00.",
         b"%uff0e%uff0e", b"%e3%80%82", b"..\\", b"..%5c", b"..%255c", b"..%2f", b"..%c0%af", b"link-out", b"link-root"]
_SLASHES = [b"/", b"//", b"/./", b"%2f", b"%5c", b"\\", b"%252f", b"%c0%af"]
_STARTS = [b"/", b"//", b"/folder/", b"/file/", b"/folder/deep/"]
ATTEMPTS = [start + slash.join([dots] * count + [name])
            for start, dots, slash, count, name in itertools.product(
                _STARTS, _DOTS, _SLASHES, (1, 2, 4), (b"file", b"outside/file", b"root-other/file"))]


def test_attempts(tree, tmp_path):
    """Whatever is asked for, what is read is not the secret; most are refused."""
    os.symlink("..", tree / "link-out")
    os.symlink(tmp_path, tree / "folder" / "link-out")
    os.symlink("/", tree / "link-root")
    count = {"refused": 0, "not found": 0, "read": 0}
    with directory(tree) as root:
        for attempt in ATTEMPTS:
            try:
                path = resolve(attempt)
                fd = open_beneath(root, path.names)
            except Refused as error:
                assert error.status in (400, 404)
                count["refused"] += 1
            except OSError as error:
                assert status_of(error) == 404, attempt
                count["not found"] += 1
            else:
                assert os.read(fd, 100) == INSIDE, attempt
                os.close(fd)
                count["read"] += 1
        # The traps are real: without the walk each of these gives the secret.
        for name in ("link-out/file", "folder/link-out/file", "link-root/" + str(tmp_path / "file"), "../file"):
            assert (tree / name).read_bytes() == SECRET
    assert len(ATTEMPTS) > 7000 and all(count.values()), count


# ---------------------------------------------------------------- trees of every kind, beside the system's own way

_NAMES = st.sampled_from(["a", "b", "c"])
_PARTS = st.sampled_from(["a", "b", "c", "a", "b", "c", "..", "..", ".", "", "root", "out"])
_TEXTS = st.builds(lambda start, parts, end: start + "/".join(parts) + end,
                   st.sampled_from(["", "", "", "", "{root}/", "{top}/", "{top}/root/"]),
                   st.lists(_PARTS, min_size=1, max_size=5), st.sampled_from(["", "", "", "/"]))
_ENTRIES = st.one_of(st.just("file"), st.just("folder"), st.just("folder"), _TEXTS)
# What is made, in this order: where (in the root or beside it), the names on the way, and what.
_TREES = st.lists(st.tuples(st.sampled_from(["root", "root", "out"]), st.lists(_NAMES, min_size=1, max_size=3), _ENTRIES),
                  min_size=2, max_size=14)


def build(top, entries):
    for place, names, what in entries:
        path = os.path.join(top, place, *names)
        # What does not fit into what is there is left out.
        with contextlib.suppress(OSError):
            if what == "folder":
                os.mkdir(path)
            elif what == "file":
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            else:
                os.symlink(what.format(root=os.path.join(top, "root"), top=top), path)


def expected_of(root, names, allow_outside):
    """The identity of what is to be opened, or None: by the system's own way and os.path.realpath()."""
    path = os.path.join(root, *names)
    try:
        found = os.stat(path)
        real = os.path.realpath(path, strict=True)
    except OSError:
        return None
    real_root = os.path.realpath(root)
    if not allow_outside and real != real_root and not real.startswith(real_root + "/"):
        return None
    return found.st_dev, found.st_ino


def test_trees(tmp_path):
    seen = {"found": 0, "refused": 0, "by a link": 0, "link refused": 0}
    count = itertools.count()

    @SETTINGS
    @hypothesis.given(_TREES, st.lists(st.lists(_NAMES, min_size=1, max_size=4), min_size=3, max_size=8), st.booleans())
    def check(entries, ways, allow_outside):
        top = str(tmp_path / str(next(count)))
        root = os.path.join(top, "root")
        os.makedirs(root)
        os.mkdir(os.path.join(top, "out"))
        build(top, entries)
        with directory(root) as fd:
            for names in ways:
                expected = expected_of(root, names, allow_outside)
                links = any(os.path.islink(os.path.join(root, *names[:n])) for n in range(1, len(names) + 1))
                try:
                    found = open_beneath(fd, names, allow_outside=allow_outside)
                except OSError:
                    assert expected is None, (entries, names)
                    seen["link refused" if links else "refused"] += 1
                else:
                    identity = os.fstat(found)
                    os.close(found)
                    assert (identity.st_dev, identity.st_ino) == expected, (entries, names)
                    seen["by a link" if links else "found"] += 1
        shutil.rmtree(top)

    check()
    assert min(seen.values()) > 20, seen


# ---------------------------------------------------------------- while somebody renames

def test_races(tree, tmp_path):
    """A folder and a link out of the root change places all the time; nobody reads the secret."""
    os.symlink(tmp_path / "outside", tree / "other")
    (tree / "folder" / "name").write_bytes(INSIDE)
    (tmp_path / "outside" / "name").write_bytes(SECRET)
    os.symlink("folder/name", tree / "last")
    os.symlink(tmp_path / "outside" / "name", tree / "last-out")
    stop = threading.Event()

    def exchange():
        while not stop.is_set():
            for one, other in (("folder", "other"), ("last", "last-out")):
                os.rename(tree / one, tree / "held")
                os.rename(tree / other, tree / one)
                os.rename(tree / "held", tree / other)
    seen = {INSIDE: 0, None: 0}
    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        with directory(tree) as root:
            until = time.monotonic() + 30
            while time.monotonic() < until and (min(seen.values()) < 30 or sum(seen.values()) < 3000):
                for way in (("folder", "name"), ("last",)):
                    try:
                        fd = open_beneath(root, way)
                    except OSError:
                        seen[None] += 1
                        continue
                    octets = os.read(fd, 100)
                    os.close(fd)
                    seen[octets] += 1       # KeyError for the secret
    finally:
        stop.set()
        thread.join()
    assert min(seen.values()) >= 30, seen


def test_a_folder_that_is_moved_out_while_it_is_passed(tree, tmp_path, monkeypatch):
    """".." of a link is not asked of the system: it would be the parent of where the folder is now."""
    os.symlink("../file", tree / "folder" / "link")
    (tree / "file").write_bytes(INSIDE)
    real = os.readlink

    def moving(name, **options):
        text = real(name, **options)
        os.rename(tree / "folder", tmp_path / "outside" / "moved")
        return text
    monkeypatch.setattr(beneath.os, "readlink", moving)
    assert opened(tree, "folder", "link") == INSIDE
    assert (tmp_path / "outside" / "moved" / "link").read_bytes() == SECRET
