"""Where an upload waits until it is whole: names that nothing else may have, in the folder it is for.

    temporary_name()    for one upload
    partial_name()      for one that may be gone on with: found again by name, owner and length
    query()             how much of such a one is there
    sweep()             removes what nobody came back for

Invariants: nobody reads, writes or lists such a name through the server (is_reserved()). An upload that is under way
holds its file's lock (flock(2)), so it is not swept and no second one writes to the same file. A file that was locked
is looked at again by its name: it may have been removed or finished meanwhile.

Any thread, any process. What may not live here: receiving (upload.py).
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import threading
import time
from typing import NamedTuple

from .beneath import Refused

__all__ = ["LIFETIME", "PREFIX", "Partial", "check_name", "is_reserved", "lock", "partial_name", "query", "sweep",
           "sweep_at_times", "temporary_name"]

PREFIX = ".turboserver-upload-"
LIFETIME = 24 * 3600        # seconds that an upload may lie: a client comes back the next day or not at all
_SWEEP_EVERY = 600          # seconds for each folder: a sweep reads the whole folder
_MAX_FOLDERS = 1024         # folders remembered for that
_MAX_NAME = 255             # octets (NAME_MAX); a longer name fails only when all has been received

_partial_name = re.compile(re.escape(PREFIX) + r"[0-9a-f]{40}\.([0-9]{1,19})").fullmatch
_swept = {}                 # (device, inode) of a folder: time.monotonic() of the last sweep
_swept_lock = threading.Lock()


class Partial(NamedTuple):
    """An upload that was cut short: `offset` octets of `length` are there."""
    offset: int
    length: int


def is_reserved(name):
    """Whether this server keeps a name for itself. Also as a file system without case sees it."""
    return name[:len(PREFIX)].lower() == PREFIX


def check_name(name):
    """Raises Refused (400, 403) unless a file may be made by this name (a string)."""
    if name in ("", ".", "..") or "/" in name or any(character < " " or character == "\x7f" for character in name):
        raise Refused(400, "no name for a file")
    if os.name == "nt" and any(mark in name for mark in '\\:*?"<>|'):
        raise Refused(400, "no name for a file on this system")
    try:
        octets = os.fsencode(name)
    except UnicodeEncodeError:
        raise Refused(400, "no name for a file on this system") from None
    if len(octets) > _MAX_NAME:
        raise Refused(400, "the name is too long")
    if is_reserved(name):
        raise Refused(403, "the name is the server's own")


def temporary_name():
    """A name that nobody else has."""
    return f"{PREFIX}{secrets.token_hex(16)}"


def partial_name(name, owner, length):
    """The name under which an upload of `length` octets to the file `name` waits. owner: who uploads, "" for anybody;
    two owners never write to one file."""
    octets = os.fsencode(owner) + b"\0" + os.fsencode(name)
    return f"{PREFIX}{hashlib.blake2b(octets, digest_size=20).hexdigest()}.{length}"


def lock(directory, name, fd):
    """Whether `fd` is locked now, and still what `name` is in the descriptor `directory`. Does not wait."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass        # a file system without locks
    with contextlib.suppress(OSError):
        there, here = os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(fd)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
    return False


def query(directory, name, owner="", length=None):
    """The Partial for the file `name` in the descriptor `directory`, None if there is none.

    length: of the whole, if the client tells it; otherwise the folder is searched, and the newest one is it.
    Raises Refused for what is no name, and OSError.
    """
    check_name(name)
    if length is not None:
        candidates = [partial_name(name, owner, length)]
    else:
        start = partial_name(name, owner, "")
        candidates = [entry for entry in os.listdir(directory) if entry.startswith(start)]
    newest = None
    for candidate in candidates:
        match = _partial_name(candidate)
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(candidate, dir_fd=directory, follow_symlinks=False)
            if match and stat.S_ISREG(found.st_mode) and (newest is None or found.st_mtime_ns > newest[0]):
                newest = found.st_mtime_ns, Partial(found.st_size, int(match[1]))
    return newest and newest[1]


def sweep(directory, lifetime=LIFETIME, now=None):
    """Remove uploads in the descriptor `directory` that were not written to for `lifetime` seconds and that nobody
    is writing. The number of them. Raises OSError if the folder cannot be read."""
    now = time.time() if now is None else now
    removed = 0
    for name in os.listdir(directory):
        if is_reserved(name):
            with contextlib.suppress(OSError):
                removed += _remove_old(directory, name, now - lifetime)
    return removed


def _remove_old(directory, name, until):
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or found.st_mtime > until:
        return False
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        # Somebody may have gone on with it since.
        if not lock(directory, name, fd) or os.fstat(fd).st_mtime > until:
            return False
        os.unlink(name, dir_fd=directory)
        return True
    finally:
        os.close(fd)


def sweep_at_times(directory, lifetime=LIFETIME):
    """sweep(), unless this process did so in this folder a while ago. Errors are left for who uploads."""
    with contextlib.suppress(OSError):
        found = os.fstat(directory)
        now = time.monotonic()
        with _swept_lock:
            folder = found.st_dev, found.st_ino
            if now - _swept.get(folder, -_SWEEP_EVERY) < _SWEEP_EVERY:
                return
            if len(_swept) >= _MAX_FOLDERS:
                _swept.clear()
            _swept[folder] = now
        sweep(directory, lifetime)
