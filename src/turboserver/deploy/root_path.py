"""--root-path: the application lives below a path, whether or not a proxy has taken it off.

Any thread. What may not live here: what a proxy says of the path (forwarded.py).
"""

__all__ = ["RootPath", "checked"]


def checked(path):
    """A root path without a slash at its end ("" for "/"). Raises ValueError with a text for people."""
    if not path.startswith("/") or "//" in path or "?" in path or "#" in path or not path.isprintable():
        raise ValueError(f"{path!r} is no path that begins with a slash")
    # As all of environ: octets in a str (PEP 3333, Unicode Issues).
    return path.rstrip("/").encode("utf-8").decode("latin-1")


class RootPath:
    """A WSGI middleware: SCRIPT_NAME is `path` (as checked() gives it), which is taken off PATH_INFO."""

    def __init__(self, application, path):
        self._application, self._path, self._below = application, path, path + "/"

    def __call__(self, environ, start_response):
        environ["SCRIPT_NAME"] = self._path
        path = environ.get("PATH_INFO", "")
        if path.startswith(self._below) or path == self._path:
            environ["PATH_INFO"] = path[len(self._path):]
        return self._application(environ, start_response)
