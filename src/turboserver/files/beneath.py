"""Paths: from the octets of a request's target to a descriptor below the root, or a refusal.

    resolve(path)            octets -> names. Text alone; the file system is not asked.
    open_beneath(root, ...)  names -> descriptor. Nothing outside of the root is opened, whatever is renamed meanwhile.

The way to a file is gone step by step: each name is opened in the directory that was opened before it, never through
a link (O_NOFOLLOW). The text of a link is read and its names are gone in the same manner. So a link that stays inside
works, an absolute one, too, and there is no moment between looking and opening.

Invariants of the walk:
    inside is what was reached from the root's own descriptor by steps down. Nothing else is.
    ".." in a link goes back to the root's descriptor and down again, it never asks the system for a parent: the
        directory may have been moved elsewhere.
    outside of the root only directories are opened, to find out whether the link comes back in: that is where
        a directory is the root itself (device and inode). The root's own descriptor is used from there on.
    what is no regular file and no directory is not opened; if it takes a file's place at that moment, opening it does
        not wait (O_NONBLOCK), and it is closed again.

This is the portable way. openat2(2) with RESOLVE_BENEATH may take its place, for roots without absolute links.

POSIX, any thread. What may not live here: reading files, and what a folder or a file is answered with.
"""

import errno
import os
import stat
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

__all__ = ["MAX_LINKS", "Path", "Refused", "open_beneath", "resolve", "status_of"]

MAX_LINKS = 40          # links on the way to one file; as Linux has it (path_resolution(7))
MAX_NAMES = 2048        # names in a target: more than a path of 4096 octets (PATH_MAX) can have
MAX_STEPS = 4096        # directories opened for one file: links that go up and down cost time, not nothing

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
# A directory that is only passed need not be readable: O_PATH of Linux, O_SEARCH of macOS.
_PASS = (getattr(os, "O_PATH", None) or getattr(os, "O_SEARCH", None) or os.O_RDONLY | _NONBLOCK) \
    | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# These act on a file before anybody has seen what it is.
_NOT_HERE = os.O_CREAT | os.O_TRUNC | os.O_EXCL | (getattr(os, "O_TMPFILE", 0) & ~getattr(os, "O_DIRECTORY", 0)) \
    | getattr(os, "O_PATH", 0)
# What systems say of a link under O_NOFOLLOW, and under O_DIRECTORY with it.
_IS_LINK = {errno.ELOOP, errno.EMLINK, errno.ENOTDIR, getattr(errno, "EFTYPE", errno.ELOOP)}

_RESERVED_ON_WINDOWS = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
                        *(device + number for device in ("COM", "LPT") for number in "123456789¹²³")}


class Refused(Exception):
    """A request that is answered with `status` (HTTPStatus); `reason` is for people, `headers` go with the answer:
    pairs of strings."""

    def __init__(self, status, reason, headers=()):
        super().__init__(reason)
        self.status, self.reason, self.headers = HTTPStatus(status), reason, tuple(headers)


class Path(NamedTuple):
    """names: strings as os.fsdecode() makes them, from the root on; () is the root itself.
    folder: the target ends as one of a folder does ("/", "/.", "/.."): what is no folder is not found by it."""
    names: tuple
    folder: bool


def resolve(path, *, windows=os.name == "nt"):
    """The Path that a target's path means. Raises Refused.

    path: bytes as they were sent, without the query and not decoded: only so can it be seen whether a slash was one
    (RFC 3986, 2.2). Dot segments are removed also where they are encoded (RFC 3986, 5.2.4 and 6.2.2.2); several
    slashes are one, and a per cent sign without two digits means itself, as in http.server.

    400: it does not begin with a slash, holds NUL, or ".." leads out of the root.
    404: no file can have such a name: it has an encoded slash, or on Windows a backslash, a drive, a stream, a device.
    414: it has more names than any path.
    """
    if not path.startswith(b"/"):
        raise Refused(400, "the path does not begin with a slash")
    names = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        name = unquote_to_bytes(segment)
        if b"\0" in name:
            raise Refused(400, "the path holds NUL")
        if name == b"..":
            if not names:
                raise Refused(400, "the path leads out of the root")
            names.pop()
        elif name not in (b"", b"."):
            names.append(_name(name, windows))
            if len(names) > MAX_NAMES:
                raise Refused(414, "the path has too many names")
    return Path(tuple(names), unquote_to_bytes(segments[-1]) in (b"", b".", b".."))


def _name(octets, windows):
    if b"/" in octets:
        raise Refused(404, "a name with a slash in it")
    name = os.fsdecode(octets)
    if windows and (any(mark in name for mark in '\\:*?"<>|') or name[-1] in ". " or min(name) < " "
                    or name.partition(".")[0].rstrip(" ").upper() in _RESERVED_ON_WINDOWS):
        raise Refused(404, "no name on this system")
    return name


def open_beneath(root, names, flags=os.O_RDONLY, *, follow=True, allow_outside=False):
    """A descriptor of the regular file or directory `names` below the descriptor `root`; the caller closes it.

    names: strings, none of them empty, ".", ".." or with a slash, as resolve() makes them; () is the root itself.
    flags: of open(2), which may not create or cut (ValueError). The descriptor is not inherited, and is blocking.
    follow: go through symbolic links that end inside of the root. allow_outside: through all.

    Raises OSError as the system does, and
        EXDEV   a link leads out of the root (as of RESOLVE_BENEATH in openat2(2))
        ELOOP   more than MAX_LINKS links, or one where `follow` is false, or more than MAX_STEPS steps
        ENXIO   a fifo, a device or a socket; it was not waited for
    """
    if flags & _NOT_HERE:
        raise ValueError("open_beneath() opens what exists")
    for name in names:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"{name!r} is no name")
    walk = _Walk(root, follow, allow_outside)
    try:
        return walk.go(names, flags | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK)
    finally:
        walk.leave()


def status_of(error):
    """The HTTPStatus for an OSError of open_beneath(): 404, 403, 503 or 500."""
    return _STATUSES.get(error.errno, HTTPStatus.INTERNAL_SERVER_ERROR)


_STATUSES = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV, errno.ENXIO,
                     errno.ENODEV, errno.EILSEQ, errno.EINVAL), HTTPStatus.NOT_FOUND),
    **dict.fromkeys((errno.EACCES, errno.EPERM), HTTPStatus.FORBIDDEN),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE),
                    HTTPStatus.SERVICE_UNAVAILABLE),
}


def _error(number, name):
    return OSError(number, os.strerror(number), name)


class _Walk:
    """The way from the root to one file. `at` is the directory it has come to: a descriptor of its own, or the root's.

    done: the names from the root to `at` while it is inside; None outside.
    Where `at` is None it is to be found again from the root, by `done`.
    """

    def __init__(self, root, follow, allow_outside):
        self.root, self.follow, self.allow_outside = root, follow, allow_outside
        self.at, self.done = root, []
        self.links = self.steps = 0
        self._identity = None

    def go(self, names, flags):
        # Links put their own names here, so this is a stack: the next name is the last.
        ahead = list(reversed(names))
        while ahead:
            name = ahead.pop()
            if name == ".":
                continue
            if name == "..":
                self._up()
                continue
            self._find_again()
            if ahead:
                target = self._down(name)
            else:
                found, target = self._last(name, flags)
                if target is None:
                    return found
            if target is not None:
                if not self._enter_link(target):
                    raise _error(errno.ENOENT, name)
                # A slash at its end asks for a directory; so does "." there.
                parts = [part for part in target.split("/") if part] + ["."] * target.endswith("/")
                ahead.extend(reversed(parts))
                if len(ahead) > MAX_STEPS:
                    raise _error(errno.ELOOP, name)
        # What is left is the directory itself: the root, or where "." or ".." has led.
        self._find_again()
        if self.done is None and not self.allow_outside:
            raise _error(errno.EXDEV, ".")
        return _blocking(os.open(".", flags, dir_fd=self.at), flags)

    def leave(self):
        """Close the directory it is at, unless that is the root."""
        if self.at is not None and self.at != self.root:
            os.close(self.at)
        self.at = None

    def _move(self, fd):
        self.leave()
        self.at = fd

    def _open(self, name, directory):
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _error(errno.ELOOP, name)
        return os.open(name, _PASS, dir_fd=directory)

    def _down(self, name):
        """Go into the directory `name`, or give the text of the link that it is."""
        try:
            self._move(self._open(name, self.at))
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
            target = self._read_link(name)
            if target is None:
                raise
            return target
        if self.done is None:
            self._look_for_root()
        else:
            self.done.append(name)
        return None

    def _last(self, name, flags):
        """(descriptor, None), or (None, the text of the link that it is)."""
        for _ in range(MAX_LINKS):
            found = os.stat(name, dir_fd=self.at, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                target = self._read_link(name)
                if target is not None:
                    return None, target
                continue
            _check_kind(found, name)
            if self.done is None and not self.allow_outside:
                # A link out of the root ends at the root itself when it comes back by its name.
                if stat.S_ISDIR(found.st_mode) and _same(found, self._root_identity()):
                    return _blocking(os.open(".", flags, dir_fd=self.root), flags), None
                raise _error(errno.EXDEV, name)
            try:
                fd = os.open(name, flags, dir_fd=self.at)
            except OSError as error:
                # It was no link a moment ago.
                if error.errno in (errno.ELOOP, errno.EMLINK) and self.follow:
                    continue
                raise
            return _blocking(fd, flags, name), None
        raise _error(errno.ELOOP, name)

    def _read_link(self, name):
        """The text of a link, None if it is none. The one place where links are counted and refused."""
        try:
            target = os.readlink(name, dir_fd=self.at)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise
        self.links += 1
        if not self.follow or self.links > MAX_LINKS:
            raise _error(errno.ELOOP, name)
        return target

    def _enter_link(self, target):
        """Be where the link's text begins."""
        if target.startswith("/"):
            self._move(os.open("/", _PASS))
            self.done = None
            self._look_for_root()
        return bool(target)

    def _up(self):
        if self.done:
            # It is found when it is needed: several ".." are one search.
            self.done.pop()
            self._move(None)
            return
        self._find_again()
        self._move(self._open("..", self.at))
        self.done = None
        self._look_for_root()

    def _find_again(self):
        if self.at is not None:
            return
        self.at = self.root
        for name in self.done:
            self._move(self._open(name, self.at))

    def _look_for_root(self):
        """Outside: a directory that is the root is the way back in."""
        if _same(os.fstat(self.at), self._root_identity()):
            self._move(self.root)
            self.done = []

    def _root_identity(self):
        if self._identity is None:
            self._identity = os.fstat(self.root)
        return self._identity


def _same(one, other):
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _check_kind(found, name):
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise _error(errno.ENXIO, name)


def _blocking(fd, flags, name="."):
    """`fd` as the caller wants it, if it is still of the right kind."""
    try:
        _check_kind(os.fstat(fd), name)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd
