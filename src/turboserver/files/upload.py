"""Receiving a file: constant memory, and no part of it is ever seen under its name.

    with Upload(directory, "name", size_bound=..., length=...) as upload:
        upload.write(octets)            again and again
        answer = upload.finish()        it is there, whole; without this nothing is

The octets go to a file without a name (O_TMPFILE) or one with a reserved name (partials.py) in the same folder, and
get their name by link(2), which replaces nothing, or by rename(2), which replaces the file in one step.

Going on with an upload. The file is kept under a reserved name when it is cut short, if its length was known.
The client asks how much is there (HEAD: query() gives what goes into Upload-Offset), and sends the rest by PUT with
Content-Range (RFC 9110, 14.5). This is the simplest form that curl can drive:

    curl -T file -C "$(offset from HEAD)" URL

curl's `-C -` asks nobody over HTTP and sends all from the start, which works as well. The Internet draft "Resumable
Uploads for HTTP" has a resource of its own for each upload, PATCH, and an interim answer 104, which curl does not
know; Upload-Offset and Upload-Length are its names. What the draft can do and this cannot: tell two uploads of one
name and one length by one owner apart. Who changes the file between the parts gets a mixture.

Invariants: `directory` is below the root because open_beneath() opened it, and every name is one step from it, never
through a link. What replaces a file is judged again at the moment it does so, alone among uploads (a lock on the
folder); other programs may still change the file in that moment.

One thread at a time for an Upload. What may not live here: reading a request, the format of forms (forms.py).
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from http import HTTPStatus
from typing import NamedTuple

from . import partials
from .beneath import Refused
from .conditions import etag, evaluate

__all__ = ["KEEP_FREE", "Answer", "ContentRange", "Upload", "parse_content_range"]

KEEP_FREE = 64 * 2**20      # octets left on the disk for everybody else
BLOCK = 64 * 1024           # octets read at once by receive(): as much as a socket gives
_CHECK_EVERY = 8 * 2**20    # octets after which the space is asked for again: others write, too
_FOLDER_WAIT = 5            # seconds for the lock of a folder, which is held for some system calls

# RFC 9110, 14.4; the length must be known.
_content_range = re.compile(r"[ \t]*bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})[ \t]*", re.IGNORECASE).fullmatch
_no_range = re.compile(r"[ \t]*bytes \*/([0-9]{1,19})[ \t]*", re.IGNORECASE).fullmatch
_FULL = {errno.ENOSPC, errno.EDQUOT}
# What file systems say that have no O_TMPFILE, and those that have no links.
_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_NO_LINKS = {errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EMLINK}
# A file without a name gets one through /proc alone.
_unnamed = getattr(os, "O_TMPFILE", None) if os.path.isdir("/proc/self/fd") else None
_NAMED = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ContentRange(NamedTuple):
    """The octets from `start` up to but without `stop` of `length`."""
    start: int
    stop: int
    length: int


class Answer(NamedTuple):
    """status: HTTPStatus CREATED, NO_CONTENT (replaced) or ACCEPTED (a part, more is to come).
    headers: ((name, value), ...): ETag, or Upload-Offset."""
    status: HTTPStatus
    headers: tuple


def parse_content_range(field):
    """The ContentRange of a request (RFC 9110, 14.4). Raises Refused (400)."""
    match = _content_range(field)
    if match is not None:
        first, last, length = map(int, match.groups())
        if first <= last < length:
            return ContentRange(first, last + 1, length)
    raise Refused(400, "no range of octets of a known length")


def parse_asked_length(field):
    """The length of the file that a Content-Range without a part (`bytes */5`) asks about; None if it is no such one."""
    match = _no_range(field)
    return None if match is None else int(match[1])


class Upload:
    """A file being received into the folder that the descriptor `directory` is of, which stays the caller's.

    name: a string, see partials.check_name().
    size_bound: octets that the file may have.
    length: of what is to come (Content-Length), None if it is not known.
    content_range: ContentRange if that is a part; length is then known.
    get_all: gives the preconditions of the request, as Message.get_all; If-Match also allows to replace.
    replace: a file of that name may be replaced without them.
    resumable: keep what has come if the rest does not. owner: whose it is; nobody else goes on with it.
    keep_free: octets of the disk that are not for uploads. sync: be on the disk before it is answered.
    mode: permissions, less the umask. lifetime: seconds after which what was kept is removed.

    Raises Refused here and in each method: 400 (name, range, cut short), 403, 409 (something is in the way, another
    upload is under way, the offset is another), 412, 413, 503, 507. After that, as after `with` without finish(),
    there is nothing more to be done with it and nothing of it is left but a part for which `resumable` holds.
    """

    def __init__(self, directory, name, *, size_bound, length=None, content_range=None, get_all=None, replace=False,
                 resumable=False, owner="", keep_free=KEEP_FREE, sync=False, mode=0o666, lifetime=partials.LIFETIME):
        partials.check_name(name)
        self._directory, self._name, self._mode, self._sync = directory, name, mode, sync
        self._get_all, self._replace = get_all or (lambda field: None), replace
        self._bound, self._keep_free = size_bound, keep_free
        self._fd = self._path = None
        self._known = length            # how much is to come; None is not known
        self._start, self._whole = 0, length
        if content_range is not None:
            if length != content_range.stop - content_range.start:
                raise Refused(400, "Content-Range and Content-Length differ")
            if not resumable:
                raise Refused(400, "uploads in parts are not taken here")
            self._start, self._whole = content_range.start, content_range.length
        self._kept = resumable and self._whole is not None and self._whole > 0
        self.received = 0               # octets of this request
        self._checked = 0
        if self._whole is not None and self._whole > size_bound:
            raise Refused(413, f"the file may have {size_bound} octets")
        with self._guard():
            self._permission(self._existing())
            self._check_space((length or 0))
            partials.sweep_at_times(directory, lifetime)
            if self._kept:
                self._open_partial(partials.partial_name(name, owner, self._whole))
            else:
                self._open_temporary()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.abort()

    @property
    def offset(self):
        """Octets of the file that are there."""
        return self._start + self.received

    def write(self, octets):
        """Append `octets` (bytes-like)."""
        self._check_open()
        with self._guard():
            view = memoryview(octets).cast("B")
            if self._known is not None and self.received + len(view) > self._known:
                raise self._no_use(400, "more has come than was said")
            if self.offset + len(view) > self._bound:
                raise self._no_use(413, f"the file may have {self._bound} octets")
            self._checked += len(view)
            if self._checked >= _CHECK_EVERY:       # others write meanwhile
                self._checked = 0
                self._check_space(len(view))
            while view:
                written = os.write(self._fd, view)
                self.received += written
                view = view[written:]

    def receive(self, stream):
        """write() what stream.read(n) gives until its end, or until the length is there."""
        while True:
            wanted = BLOCK if self._known is None else min(BLOCK, self._known - self.received)
            octets = stream.read(wanted) if wanted else b""
            if not octets:
                return
            self.write(octets)

    def finish(self):
        """All has come: the Answer. Raises Refused (400) if it has not."""
        self._check_open()
        with self._guard():
            if self._known is not None and self.received < self._known:
                raise Refused(400, "the body was cut short")
            if self._sync:
                os.fsync(self._fd)
            if self._whole is not None and self.offset < self._whole:
                answer = Answer(HTTPStatus.ACCEPTED, (("Upload-Offset", str(self.offset)),))
                self.abort()
                return answer
            return self._publish()

    def abort(self):
        """No more comes. Does nothing after finish(), and raises nothing."""
        if self._fd is None:
            return
        keep = self._kept and self.offset > 0
        with contextlib.suppress(OSError):
            if self._path is not None and not keep:
                os.unlink(self._path, dir_fd=self._directory)
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = self._path = None

    # ---- The file ----

    def _open_temporary(self):
        if _unnamed is not None:
            try:
                self._fd = os.open(".", _unnamed | os.O_RDWR | os.O_CLOEXEC, self._mode, dir_fd=self._directory)
                return
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        name = partials.temporary_name()
        self._fd = os.open(name, _NAMED | os.O_CREAT | os.O_EXCL, self._mode, dir_fd=self._directory)
        self._path = name
        partials.lock(self._directory, name, self._fd)

    def _open_partial(self, path):
        """Be at self._start of the file that an earlier request left, or of a new one."""
        create = os.O_CREAT if self._start == 0 else 0
        # It may be swept between opening and locking, but not again and again.
        for _ in range(3):
            try:
                fd = os.open(path, _NAMED | create, self._mode, dir_fd=self._directory)
            except FileNotFoundError:
                raise _elsewhere(0) from None
            if self._adopt(path, fd):
                return
        raise Refused(409, "another upload of this file is under way")

    def _adopt(self, path, fd):
        """Go on with the file, or close it and be False."""
        try:
            if not partials.lock(self._directory, path, fd):
                os.close(fd)
                return False
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(409, "something is in the way of the upload")
            if found.st_nlink > 1:
                # It has its name already: a process died before it had removed this one.
                os.unlink(path, dir_fd=self._directory)
                os.close(fd)
                return False
            there = found.st_size
            if self._start == 0:
                os.ftruncate(fd, 0)
            elif there != self._start:
                raise _elsewhere(there)
            os.lseek(fd, self._start, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._path = fd, path
        return True

    def _check_space(self, wanted):
        try:
            found = os.fstatvfs(self._directory)
        except OSError:
            return
        # A file system that tells no size has no end that could be seen from here.
        if found.f_blocks and found.f_bavail * found.f_frsize < wanted + self._keep_free:
            raise self._no_use(507, "there is no room for the file")

    # ---- Its name ----

    def _existing(self):
        """What has the name now: os.stat_result, or None."""
        try:
            return os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _permission(self, existing):
        """Raises Refused unless the file may be put where `existing` is."""
        if existing is not None and not stat.S_ISREG(existing.st_mode):
            raise Refused(409, "what has this name is no file")
        tag = existing and etag(existing)
        if evaluate("PUT", self._get_all, tag, existing and existing.st_mtime).status != HTTPStatus.OK:
            raise Refused(412, "the file is not as it was expected")
        if existing is not None and not self._replace and not self._get_all("If-Match"):
            raise Refused(409, "there is a file of this name")

    def _publish(self):
        with _alone(self._directory):
            existing = self._existing()
            try:
                self._permission(existing)
            except Refused:
                # It will not be wanted later either: this was its last octet.
                self._kept = False
                raise
            if existing is None:
                self._link()
            else:
                self._take_place()
        if self._sync:
            os.fsync(self._directory)
        found = os.fstat(self._fd)
        self._kept, fd, self._fd = False, self._fd, None
        os.close(fd)
        return Answer(HTTPStatus.CREATED if existing is None else HTTPStatus.NO_CONTENT, (("ETag", etag(found)),))

    def _link(self):
        """Get the name, if nothing has it."""
        try:
            self._link_as(self._name)
        except FileExistsError:
            self._kept = False
            # Somebody's that is no upload: had it been there before, the preconditions would say what it means.
            self._permission(self._existing())
            raise Refused(409, "there is a file of this name") from None
        except OSError as error:
            if error.errno not in _NO_LINKS or self._path is None:
                raise
            self._take_empty_place()
            return
        if self._path is not None:
            # It is there now, whatever becomes of the other name.
            with contextlib.suppress(OSError):
                os.unlink(self._path, dir_fd=self._directory)
            self._path = None

    def _link_as(self, name):
        if self._path is not None:
            os.link(self._path, name, src_dir_fd=self._directory, dst_dir_fd=self._directory, follow_symlinks=False)
        else:
            os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=self._directory, follow_symlinks=True)

    def _take_empty_place(self):
        """Without links: an empty file keeps the name for the moment."""
        os.close(os.open(self._name, _NAMED | os.O_CREAT | os.O_EXCL, self._mode, dir_fd=self._directory))
        try:
            self._take_place()
        except BaseException:
            os.unlink(self._name, dir_fd=self._directory)
            raise

    def _take_place(self):
        if self._path is None:
            path = partials.temporary_name()
            self._link_as(path)
            self._path = path
        os.replace(self._path, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._path = None

    # ---- Failing ----

    def _check_open(self):
        if self._fd is None:
            raise ValueError("the upload is over")

    def _no_use(self, status, reason):
        """The Refused after which nothing is kept."""
        self._kept = False
        return Refused(status, reason)

    @contextlib.contextmanager
    def _guard(self):
        """Whatever goes wrong ends the upload; the system's errors become Refused."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                self._kept = False
            self.abort()
            raise _refusal(error) from error
        except BaseException:
            self.abort()
            raise


def _elsewhere(offset):
    return Refused(409, f"{offset} octets of the file are there", (("Upload-Offset", str(offset)),))


def _refusal(error):
    if error.errno in _FULL:
        return Refused(507, "there is no room for the file")
    if error.errno == errno.EFBIG:
        return Refused(413, "the file is too large for this system")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Refused(403, "nothing may be written here")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return Refused(400, "no name for a file on this system")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENXIO):
        return Refused(409, "something is in the way of the file")
    return Refused(500, error.strerror or "the file cannot be written")


@contextlib.contextmanager
def _alone(directory):
    """No other upload puts a file into this folder meanwhile. Where folders cannot be locked this says nothing."""
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        yield
        return
    try:
        until = time.monotonic() + _FOLDER_WAIT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Refused(503, "the folder is busy") from None
                time.sleep(0.002)
            except OSError:
                break
        yield
    finally:
        os.close(fd)
