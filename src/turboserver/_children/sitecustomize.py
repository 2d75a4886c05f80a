"""Puts our classes in place in a Python process that a program under `turboserver run` has started.

Reloaders start the program anew with a command that they make of sys.argv, and so without
us; this folder is the first one on PYTHONPATH then, and the interpreter imports what it
finds there by this name. Only for children of the same installation, and beside the
sitecustomize that there may be besides.
"""

import os
import sys


def _the_other_one(here):
    """Import the sitecustomize that would have been imported without us."""
    sys.path[:] = [folder for folder in sys.path if not folder or os.path.abspath(folder) != here]
    own = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", own)


def _install():
    if os.environ.get("TURBOSERVER_RUN") != sys.prefix:
        return
    try:
        import turboserver
    except ModuleNotFoundError:
        return      # the same Python, but another path
    turboserver.install()


_the_other_one(os.path.dirname(os.path.abspath(__file__)))
_install()
