"""Putting our classes in place of the originals in the standard modules, and back.

What it touches: the public classes in the namespaces of `socketserver`, `http.server` and
`wsgiref.simple_server`, and the two functions there that name such a class as a default
(`http.server.test`, `wsgiref.simple_server.make_server`). Nothing is added that the
running Python does not have, and no class is altered.

What it cannot reach: a module imported before that took a class out of one of these
modules (`from http.server import HTTPServer`) or subclassed one (`xmlrpc.server`,
`logging.config`) keeps the original. So `install()` belongs before the program's imports.
Ours are subclasses of the originals, so checks made by such modules still hold.

Any thread may call both functions; one lock serialises them.
"""

import importlib
import sys
import threading

import turboserver

_MODULES = ("socketserver", "http.server", "wsgiref.simple_server")

# Functions whose default arguments name classes: module, name.
_WITH_DEFAULTS = (("http.server", "test"), ("http.server", "_make_server"),
                  ("wsgiref.simple_server", "make_server"))

_lock = threading.Lock()
_replaced: dict[tuple[str, str], tuple[type, type]] = {}    # (module, name) -> (original, ours)
_defaults: list[tuple[object, tuple, tuple]] = []           # (function, before, after)


def install():
    """Make `socketserver`, `http.server` and `wsgiref.simple_server` hand out turboserver's classes.

    For the whole process, from any thread; what was taken out of these modules before stays what it
    was. Called again, it does nothing more. Without the native engine it does nothing at all.
    Raises ImportError if one of the three modules cannot be imported.
    """
    if not turboserver.accelerated:
        return
    # All three of ours come first: each must find the originals to build upon. Outside the
    # lock, because importing takes locks of its own.
    ours = {name: importlib.import_module("turboserver." + name) for name in _MODULES}
    with _lock:
        if _replaced:
            return
        for name in _MODULES:
            original = sys.modules[name]
            for attribute, value in list(vars(original).items()):
                if _is_public_class(attribute, value, name):
                    substitute = getattr(ours[name], attribute, None)
                    if substitute is not value and isinstance(substitute, type) and issubclass(substitute, value):
                        _replaced[name, attribute] = (value, substitute)
                        setattr(original, attribute, substitute)
        substitutes = dict(_replaced.values())
        for module, name in _WITH_DEFAULTS:
            function = getattr(sys.modules[module], name, None)
            before = getattr(function, "__defaults__", None)
            if before:
                after = tuple(substitutes.get(value, value) if isinstance(value, type) else value
                              for value in before)
                if after != before:
                    function.__defaults__ = after
                    _defaults.append((function, before, after))


def uninstall():
    """Give the standard modules their own classes back.

    Undoes exactly what `install()` did; a name that somebody else has replaced since is
    left as it is. Classes and objects made in between stay as they are.
    """
    with _lock:
        for (module, name), (original, ours) in _replaced.items():
            namespace = sys.modules.get(module)
            if namespace is not None and getattr(namespace, name, None) is ours:
                setattr(namespace, name, original)
        for function, before, after in _defaults:
            if function.__defaults__ == after:
                function.__defaults__ = before
        _replaced.clear()
        _defaults.clear()


def _is_public_class(attribute, value, module):
    return isinstance(value, type) and value.__module__ == module and not attribute.startswith("_")
