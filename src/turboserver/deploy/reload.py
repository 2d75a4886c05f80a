"""--reload: a process that watches Python files, by watchfiles (the extra turboserver[reload]), and tells the master.

A process of its own: what watchfiles uses has a thread, and the master, which forks, is to have none.

What may not live here: what happens then (workers.py).
"""

import importlib.util
import os
import signal
import threading

from . import DeployError

__all__ = ["check", "watch"]


def check(folders):
    """Raise DeployError if `folders` cannot be watched."""
    if importlib.util.find_spec("watchfiles") is None:
        raise DeployError("--reload needs watchfiles: pip install 'turboserver[reload]'")
    for folder in folders:
        if not os.path.isdir(folder):
            raise DeployError(f"cannot watch {folder}: no such folder")


def watch(folders, pipe, lifeline, mask):
    """Write an octet to `pipe` when a Python file below one of `folders` has changed, until the master ends.

    lifeline: a descriptor that is readable then. mask: the signals to wait for from now on. Returns the exit code.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)       # they are the master's, also where a terminal sends them to all
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def follow():
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
    import watchfiles
    for _ in watchfiles.watch(*folders, watch_filter=watchfiles.PythonFilter(), debounce=400, raise_interrupt=False):
        os.write(pipe, b".")
    return 1
