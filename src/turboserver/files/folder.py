"""What is in a folder, in which order, and which part of it a request asks for.

    entries     read once by os.scandir(), in the order of names from then on; an entry's place there is its rank
    order       ranks, in the order that is asked for: folders first, then the rest; what is equal goes by name
    query       what a request's query says of it; what makes no sense there is as if it were not there

A page in the browser sorts by (folder, value, rank) alone and so in the very order of the server.

Nothing in a folder makes reading it fail: links that lead nowhere, what vanishes meanwhile, what may not be
looked at, and what is no file are entries with less to say. Memory is bounded by `limit` entries, some 300
octets each. Any thread. What may not live here: HTML, JSON, URLs.
"""

import os
import re
import stat
import unicodedata
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from .names import readable

__all__ = ["BROKEN", "FILE", "FOLDER", "MAX_ENTRIES", "OTHER", "Entry", "Folder", "Query", "read"]

# More than anybody looks through, and not more than some 30 MB for each request that is under way.
MAX_ENTRIES = 100_000
# A query has at most as many fields of its own; one with far more is nobody's.
_MAX_FIELDS = 20

FOLDER, FILE = "folder", "file"
OTHER = "other"         # a device, a pipe, a socket
BROKEN = "link"         # a symbolic link that leads nowhere, or where it cannot be followed

_digits = re.compile("0*([0-9]+)")


class Entry(NamedTuple):
    """One name in a folder; of a symbolic link, what it leads to.

    name: as os.scandir() gives it. type: FOLDER, FILE, OTHER or BROKEN. size: octets of a file. modified:
    milliseconds since 1970, UTC. link: whether it is a symbolic link. None is what is not known.
    """

    name: str
    type: str
    size: int | None = None
    modified: int | None = None
    link: bool = False


class Folder(NamedTuple):
    """entries: list of Entry, folders first, then by name. more: whether there were more than the limit."""

    entries: list
    more: bool = False

    def order(self, query):
        """The ranks of what `query` asks for, in its order."""
        entries, down = self.entries, query.order == "desc"
        ranks = range(len(entries))
        if query.filter:
            wanted = _plain(query.filter)
            ranks = [rank for rank in ranks if wanted in _plain(readable(entries[rank].name))]
        if query.sort == "name":
            ranks = ranks[::-1] if down else ranks
        else:
            value = _size if query.sort == "size" else _modified
            # Stable in both directions: what is equal stays in the order of names.
            ranks = sorted(ranks, key=lambda rank: value(entries[rank]), reverse=down)
        folders = [rank for rank in ranks if entries[rank].type == FOLDER]
        return folders + [rank for rank in ranks if entries[rank].type != FOLDER]


def _plain(text):
    """For comparing with what somebody typed: neither case nor the way accents are encoded matters."""
    return unicodedata.normalize("NFC", text).lower()


def _size(entry):
    return -1 if entry.size is None else entry.size


_BEFORE_ALL = -1 << 63      # no file system has a time before that


def _modified(entry):
    return _BEFORE_ALL if entry.modified is None else entry.modified


def name_key(name):
    """What names are sorted by: case does not count, and runs of digits count as numbers (`a9`, `a10`).

    It is one str, for a list in it for each of many names is large: a number is "0", its length and its digits.
    """
    return _digits.sub(lambda match: f"0{chr(len(match[1]))}{match[1]}", name.casefold())


def read(folder, limit=MAX_ENTRIES):
    """The Folder at a path (str), or of a descriptor that is open for it.

    At most `limit` entries are read, those that the system names first. Raises OSError if the folder itself
    cannot be opened or read.
    """
    entries, more = [], False
    with os.scandir(folder) as found:
        for item in found:
            if len(entries) >= limit:
                more = True
                break
            entries.append(_entry(item))
    entries.sort(key=lambda entry: (entry.type != FOLDER, name_key(entry.name), entry.name))
    return Folder(entries, more)


def _entry(item):
    """The Entry of an os.DirEntry."""
    link = bool(_asked(item.is_symlink))
    status = _asked(item.stat)
    if status is None:
        return _entry_that_tells_nothing(item, link)
    mode, modified = status.st_mode, status.st_mtime_ns // 1_000_000
    if stat.S_ISREG(mode):
        return Entry(item.name, FILE, status.st_size, modified, link)
    return Entry(item.name, FOLDER if stat.S_ISDIR(mode) else OTHER, None, modified, link)


def _entry_that_tells_nothing(item, link):
    """It has vanished, leads nowhere, or may not be looked at; the folder may still say what kind it is."""
    if link:
        status = _asked(lambda: item.stat(follow_symlinks=False))
        return Entry(item.name, BROKEN, None, status and status.st_mtime_ns // 1_000_000, True)
    if _asked(lambda: item.is_dir(follow_symlinks=False)):
        return Entry(item.name, FOLDER)
    return Entry(item.name, FILE if _asked(lambda: item.is_file(follow_symlinks=False)) else OTHER)


def _asked(question):
    """The answer, or None if the system gives none (whatever OSError: the entry is shown anyway)."""
    try:
        return question()
    except OSError:
        return None


class Query(NamedTuple):
    """What a request asks for: sort ("name", "size", "modified"), order ("asc", "desc"), filter (names that
    have this in them), format ("html"; "json"; "plain", the original's listing)."""

    sort: str = "name"
    order: str = "asc"
    filter: str = ""
    format: str = "html"

    @classmethod
    def of(cls, target):
        """The Query of a request target, such as "/a/?sort=size&order=desc" (as in the request line)."""
        try:
            fields = parse_qsl(target.partition("#")[0].partition("?")[2], max_num_fields=_MAX_FIELDS)
        except ValueError:      # too many of them
            fields = ()
        known = {name: value for name, value in fields if name in cls._fields}
        return cls(**{name: value for name, value in known.items() if value in _VALUES.get(name, (value,))})

    def reference(self, **changes):
        """A relative reference to the same folder with this query, after `changes` to it."""
        query = self._replace(**changes)
        different = {name: value for name, value in query._asdict().items()
                     if value != Query._field_defaults[name]}
        return f"./?{urlencode(different)}" if different else "./"


_VALUES = {"sort": ("name", "size", "modified"), "order": ("asc", "desc"), "format": ("html", "json", "plain")}
