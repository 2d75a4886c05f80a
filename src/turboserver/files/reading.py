"""SimpleHTTPRequestHandler's GET and HEAD: http.server's words, and files as sending.py sends them.

What a target means is the original's decision (translate_path), as is how a folder is listed. What is new is the way to
the file, which does not leave the root (beneath.py), and the answer with it: entity tags, preconditions, ranges, codings.

The hooks of the original are honoured: where translate_path, send_head or copyfile is somebody's own, the original
answers; guess_type, list_directory, extensions_map and index_pages are asked in their places.

The handler's thread. What may not live here: what http.server has not (handler.py).
"""

from urllib.parse import urlsplit

from .beneath import Refused
from .hooks import index_pages, overridden
from .opening import open_any, open_index, open_root
from .sending import send_as_original, send_empty, send_file

__all__ = ["answer"]


def answer(handler, original):
    """Answer GET or HEAD. original: what does it without us, called without arguments."""
    if not hasattr(handler.headers, "get_all"):
        handler.headers = handler.MessageClass()        # HTTP/0.9, from Python 3.14 on
    if any(overridden(handler, name) for name in ("translate_path", "send_head", "copyfile")):
        original()
        return
    try:
        parts = urlsplit(handler.path)
    except ValueError:      # "[" that is no address
        handler.send_error(400, "Bad request target")
        return
    path = None if "%00" in handler.path.partition("?")[0] else handler.translate_path(handler.path)
    names = None if path is None else _names_below(handler.directory, path)
    try:
        if names is None:
            raise Refused(404, "File not found")
        root = open_root(handler.directory or ".")
        with open_any(root, names, handler.turbo_files.outside) as opened:
            _answer_with(handler, root, opened, path, parts)
    except Refused as refused:
        _refuse(handler, refused)
    except UnicodeEncodeError:      # a name that no file system has
        handler.send_error(404, "File not found")


def _names_below(directory, path):
    """The names (a tuple) that lead from one to the other, or None."""
    top = directory if directory.endswith("/") or not directory else directory + "/"
    if not path.startswith(top):
        return () if path == directory else None
    names = tuple(filter(None, path[len(top):].split("/")))
    return None if any(name in (".", "..") for name in names) else names


def _answer_with(handler, root, opened, path, parts):
    if not opened.is_folder:
        if path.endswith("/"):      # that is no file's name
            raise Refused(404, "File not found")
        send_file(handler, root, opened)
        return
    if not parts.path.endswith("/") and not path.endswith("/"):     # %2F is one to newer originals
        send_empty(handler, 301, (("Location", parts._replace(path=parts.path + "/").geturl()),))
        return
    page = open_index(root, opened.names, index_pages(handler), handler.turbo_files.outside)
    if page is not None:
        with page:
            send_file(handler, root, page)
        return
    send_as_original(handler, handler.list_directory(
        path if overridden(handler, "list_directory") else opened.path_or(path)))


def _refuse(handler, refused):
    if refused.headers:
        send_empty(handler, refused.status, refused.headers)
    elif refused.status == 403:
        handler.send_error(404, "File not found")       # as the original
    else:
        handler.send_error(refused.status, refused.reason)
