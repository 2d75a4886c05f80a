"""What of http.server's hooks a handler has of its own: on its class, or assigned on it.

Any thread. What may not live here: what becomes of them.
"""

from ..http import server

__all__ = ["copies", "guess", "index_pages", "more", "overridden", "types"]


def overridden(handler, name):
    """Whether it is another one than when http.server was imported: who replaces it in the original's class means it."""
    return getattr(type(handler), name) is not server._file_hooks[name] or name in vars(handler)


def copies(handler):
    """Whether copyfile() is somebody's own."""
    return overridden(handler, "copyfile")


def guess(handler):
    """guess_type() if it is somebody's own, else None."""
    return handler.guess_type if overridden(handler, "guess_type") else None


def index_pages(handler):
    """Names of files that stand for their folder: an attribute from Python 3.12 on."""
    return getattr(handler, "index_pages", ("index.html", "index.htm"))


def types(handler):
    """What extensions_map has that the original's has not: {extension in small letters: type}."""
    return {extension.lower(): kind for extension, kind in handler.extensions_map.items()
            if server._standard_types.get(extension) != kind}


def more(handler):
    """Fields for this answer beside those that it has: 3.15's extra_response_headers, and what was found out
    before it was known which answer it would be."""
    given = getattr(handler, "extra_response_headers", None)
    if given is None:   # as 3.15's __init__ leaves it; a class may have its own
        given = getattr(type(handler), "extra_response_headers", None)
    return (*(given or ()), *handler._turbo_fields)
