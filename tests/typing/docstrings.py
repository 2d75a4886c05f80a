"""Whether docutils reads the public docstrings without a complaint; prints those that it has, and ends with 1.

Run by check.py in its environment.
"""

import importlib
import inspect
import sys

from docutils.core import publish_doctree
from docutils.nodes import system_message

MODULES = ("turboserver", "turboserver.socketserver", "turboserver.http.server", "turboserver.wsgiref.simple_server",
           "turboserver.errors", "turboserver.framing", "turboserver.lanes", "turboserver.gunicorn.worker",
           "turboserver.files.options", "turboserver.files.handler", "turboserver.files.auth")


def documented(module):
    """(name, docstring) of the module, what it exports, and the public members of its classes."""
    yield module.__name__, module.__doc__
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            yield f"{module.__name__}.{name}", inspect.getdoc(thing)
            for base in thing.__mro__ if inspect.isclass(thing) else ():
                if base.__module__.startswith("turboserver."):
                    for member, value in vars(base).items():
                        if not member.startswith("_") or member == "__init__":
                            yield f"{name}.{member}", inspect.getdoc(value)


def main():
    seen = found = 0
    for module in map(importlib.import_module, MODULES):
        for name, text in documented(module):
            seen += 1
            tree = publish_doctree(text or "", settings_overrides={"report_level": 5, "halt_level": 5})
            # What is reported is left out of the tree, but for what it was about.
            told = list(tree.findall(system_message)) + tree.transform_messages
            for message in told:
                found += 1
                print(f"{name}: {message.astext()}")
    if seen < 100:
        sys.exit(f"{seen} docstrings only were seen")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
