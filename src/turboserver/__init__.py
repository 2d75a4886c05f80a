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
#: wheel, a sub-interpreter), every public class is the standard library's own, or a subclass in plain Python.
accelerated: bool


def _in_main_interpreter():
    """The engine's state is the process's, so one interpreter has it. Which came first must not
    decide: then a sub-interpreter (mod_wsgi's, Py_NewInterpreter) could take it from the program."""
    import _thread

    if hasattr(_thread, "_is_main_interpreter"):  # Python 3.12
        return _thread._is_main_interpreter()
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        return True  # a Python without it; nothing else there could tell
    return interpreters.get_current() == interpreters.get_main()


def __getattr__(name):
    if name != "accelerated":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = _in_main_interpreter()
    if found:
        try:
            import turboserver._engine  # noqa: F401
        except ImportError:
            found = False
    # Another thread may have been here too; it found the same.
    globals()["accelerated"] = found
    return found


def __dir__():
    return sorted({*globals(), "accelerated"})
