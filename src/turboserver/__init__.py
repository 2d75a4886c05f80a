"""turboserver: the standard library's socketserver, http.server and wsgiref.simple_server, native underneath.

    from turboserver.http.server import ThreadingHTTPServer, BaseHTTPRequestHandler

or, for a program that is not to be changed, `turboserver run script.py`, or
`turboserver.install()` before the program's own imports.

Nothing is loaded by importing this package alone: the engine comes in with the first
look at `accelerated`, the server modules with the first import of one.
"""

from turboserver._install import install, uninstall

__all__ = ["accelerated", "install", "uninstall", "__version__"]

__version__ = "0.1.0"

#: Whether the native engine is loaded. Where it cannot be (PyPy, a platform without a
#: wheel), every public class is the standard library's own, or a subclass in plain Python.
accelerated: bool


def __getattr__(name):
    if name != "accelerated":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import turboserver._engine  # noqa: F401
    except ImportError:
        found = False
    else:
        found = True
    # Another thread may have been here too; it found the same.
    globals()["accelerated"] = found
    return found


def __dir__():
    return sorted({*globals(), "accelerated"})
