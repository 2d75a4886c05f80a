"""From a request's target to what is open below the root: the file, the folder, or where to go instead.

    Target.of(target)       the octets of its path, its names, its query
    root_at(directory)      the Root of a directory, opened once for all handlers; open_root() refuses instead
    Opened                  a descriptor and what it is; closed by `with`
    open_target(...)        Opened, for what a target means: an index page for a folder, an application's page for
                            nothing

Invariants: every descriptor comes from beneath.open_beneath(); what is known of a file is asked of its descriptor and
never of its path. A Root is replaced when the directory has been; whoever still uses the old one keeps it open.

Any thread. What may not live here: fields, conditions, sockets.
"""

import os
import stat
import threading
from typing import NamedTuple

from ..http.server import _AUTHORITY
from . import names, partials
from .beneath import Refused, open_beneath, resolve, status_of

__all__ = ["Opened", "Root", "Target", "open_any", "open_folder", "open_index", "open_root", "open_target",
           "root_at"]

_MAX_ROOTS = 64         # directories whose descriptors are kept: a server has one, some tests many
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)


class Target(NamedTuple):
    """What a request asks for.

    path: a str, percent-encoded as it was sent. query: what stands behind "?", with it, or "". names, folder: see
    beneath.Path.
    """

    path: str
    query: str
    names: tuple
    folder: bool

    @classmethod
    def of(cls, target):
        """The Target of a request line's (a str). Raises Refused: 400, 404, 414 (beneath.resolve())."""
        match = _AUTHORITY.match(target)        # RFC 9112, 3.2.2: scheme and authority do not matter here
        if match is not None:
            target = target[match.end():]
            target = target if target.startswith("/") else "/" + target
        path, mark, query = target.partition("#")[0].partition("?")
        try:
            found = resolve(path.encode("latin-1"))
        except UnicodeEncodeError:
            raise Refused(400, "the path has characters that are no octets") from None
        if any(map(partials.is_reserved, found.names)):
            raise Refused(404, "the name is the server's own")
        return cls(path, mark + query, found.names, found.folder)

    @property
    def canonical(self):
        """The path of the folder that is meant, from the root on: each name encoded, none of them empty. It can begin
        with no second slash, so it is no reference to another host (RFC 3986, 4.2)."""
        return "/" + "".join(names.url(name, True)[2:] for name in self.names)

    @property
    def is_canonical(self):
        """Whether relative references work in the page of this folder: all segments are names, "/" ends the path."""
        return [names.name_of(segment) for segment in self.path.split("/")[1:]] == [*self.names, ""]


class Root:
    """A directory that is open as long as somebody has this object. fd: its descriptor."""

    def __init__(self, directory):
        self.fd = os.open(directory, _FOLDER | os.O_CLOEXEC)
        try:
            found = os.fstat(self.fd)
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(directory)
        except BaseException:
            os.close(self.fd)
            raise
        self.identity = found.st_dev, found.st_ino

    def __del__(self):
        # Not there if open() failed; at the interpreter's end os may be gone, and the system closes it.
        if hasattr(self, "identity") and os is not None:
            os.close(self.fd)


_roots = {}             # directory: Root
_roots_lock = threading.Lock()


def root_at(directory):
    """The Root of the directory that has this path (str) now. Raises OSError."""
    found = os.stat(directory)
    root = _roots.get(directory)
    if root is None or root.identity != (found.st_dev, found.st_ino):
        root = Root(directory)
        with _roots_lock:
            if len(_roots) >= _MAX_ROOTS:
                _roots.clear()
            _roots[directory] = root
    return root


class Opened:
    """A descriptor `fd`, its os.stat_result `found`, and the `names` by which it was opened, from the root on."""

    def __init__(self, fd, opened_names):
        self.fd, self.names = fd, opened_names
        try:
            self.found = os.fstat(fd)
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Does nothing the second time."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.found.st_mode)

    def path_or(self, path):
        """A path to this very folder, whatever has `path` by now; where the system has no such, `path`."""
        own = f"/proc/self/fd/{self.fd}"
        return own if os.path.isdir(own) else path


def open_file(root, found_names, outside=False):
    """The Opened file or folder of these names, or None where there is none that could be sent."""
    try:
        return Opened(open_beneath(root.fd, found_names, allow_outside=outside), found_names)
    except OSError as error:
        if status_of(error) == 404:
            return None
        raise


def open_root(directory):
    """root_at(), but raises Refused."""
    try:
        return root_at(directory)
    except OSError as error:
        raise refusal(error) from error


def open_any(root, found_names, outside=False, flags=os.O_RDONLY):
    """The Opened file or folder of these names. Raises Refused."""
    try:
        return Opened(open_beneath(root.fd, found_names, flags, allow_outside=outside), found_names)
    except OSError as error:
        raise refusal(error) from error


def open_folder(root, found_names, outside=False):
    """The Opened folder of these names. Raises Refused."""
    return open_any(root, found_names, outside, _FOLDER)


def open_target(root, target, *, index_pages, outside=False, spa=False):
    """What a request for `target` is answered with: an Opened file; an Opened folder, for which there is no index
    page or whose target is not canonical, so that it is another one's.

    index_pages: names of files that stand for their folder. outside: links may lead out of the root. spa: what is
    not there and has no extension is /index.html. Raises Refused.
    """
    try:
        opened = open_any(root, target.names, outside, _FOLDER if target.folder else os.O_RDONLY)
    except Refused as refused:
        if refused.status == 404 and spa and target.names and not os.path.splitext(target.names[-1])[1]:
            page = _open_page(root, ("index.html",), outside)
            if page is not None:
                return page
        raise
    if not opened.is_folder or not target.is_canonical:
        return opened
    try:
        page = open_index(root, target.names, index_pages, outside)
    except BaseException:
        opened.close()
        raise
    if page is None:
        return opened
    opened.close()
    return page


def open_index(root, folder_names, index_pages, outside=False):
    """The Opened file that stands for this folder: the first of `index_pages` that is there; None if none is. Raises
    Refused if it is there and may not be read."""
    for name in index_pages:
        page = _open_page(root, (*folder_names, name), outside)
        if page is not None:
            return page
    return None


def _open_page(root, page_names, outside):
    """The Opened file, or None. Raises Refused if it is there and may not be read."""
    try:
        page = open_file(root, page_names, outside)
    except OSError as error:
        raise refusal(error) from error
    if page is not None and page.is_folder:
        page.close()
        return None
    return page


def refusal(error):
    """The Refused for an OSError of opening."""
    status = status_of(error)
    reasons = {404: "File not found", 403: "No permission to read this", 503: "Out of descriptors or memory"}
    return Refused(status, reasons.get(status, "The file cannot be opened"))
