"""The folder page for programs (`?format=json`): the same entries in the same order, in blocks of bytes.

    {"path": "/a b/",           the folder, decoded
     "more": false,             whether there are entries beyond those that were read
     "entries": [
       {"name": "a.txt",        decoded: U+FFFD for what cannot be
        "type": "file",         "file", "folder", "other" (a device, a pipe, a socket), "link" (one that leads nowhere)
        "size": 1234,           octets of a file, else null
        "modified": "2026-11-28T20:15:49.123Z",     UTC; null if it is not known
        "url": "./a.txt"},      exact, relative to the folder; "/" ends that of a folder
       ...]}

Members may be added, none is taken away. One entry a line (RFC 8259). Pure functions, any thread. What may not live
here: reading folders, HTTP.
"""

import json

from .folder import FOLDER
from .names import decoded, name_of, url
from .page import in_blocks, time_of

__all__ = ["as_json", "headers"]


def headers():
    """The header fields that belong to it: a list of (name, value)."""
    return [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]


def as_json(folder, target, query):
    """The document, as an iterator of bytes.

    folder: folder.Folder. target: the request target. query: folder.Query of it, for sort, order and filter.
    """
    return in_blocks(_pieces(folder, target, query))


def _pieces(folder, target, query):
    path = decoded(name_of(target.partition("#")[0].partition("?")[0]))
    yield f'{{"path": {json.dumps(path)}, "more": {json.dumps(folder.more)}, "entries": ['
    mark = "\n"
    for rank in folder.order(query):
        yield mark + json.dumps(_object(folder.entries[rank]))
        mark = ",\n"
    yield "\n]}\n"


def _object(entry):
    time = None if entry.modified is None else time_of(entry.modified)
    return {"name": decoded(entry.name), "type": entry.type, "size": entry.size,
            "modified": time and time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "url": url(entry.name, entry.type == FOLDER)}
