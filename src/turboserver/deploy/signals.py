"""How the processes here hear signals: in order, at one place, at any moment.

The handler of a signal does nothing; the interpreter writes the signal's number into a pipe
(signal.set_wakeup_fd), and wait() reads it there. So a signal that comes right before a wait ends it,
none is lost, and none interrupts anything.

A child that the application forks gets the usual handlers back: it would write into the same pipe, and
not end when it is told to.

For the main thread. What may not live here: what a signal means.
"""

import contextlib
import os
import select
import signal
import threading

__all__ = ["MASTER", "WORKER", "Signals", "Stopped", "signals_wait"]

# What a process that serves may be told, and what its master hears beside that.
WORKER = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
MASTER = (*WORKER, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)


class Stopped(SystemExit):
    """A process is to end that has not begun to serve (an exit without a word)."""


class Signals:
    """Takes over `numbers` of this process until close()."""

    def __init__(self, numbers):
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._usual = {}
        self._fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        _in_use.append(self)
        for number in numbers:
            self._usual[number] = signal.signal(number, _heard)

    def wait(self, timeout, descriptors=()):
        """Wait until a signal comes, a descriptor is readable, or `timeout` seconds are over (None: for ever).

        Returns (list of signal numbers in the order they came, set of readable descriptors).
        """
        ready, _, _ = select.select([self._reader, *descriptors], (), (), timeout)
        came = []
        if self._reader in ready:
            ready.remove(self._reader)
            try:
                came.extend(os.read(self._reader, 65536))
            except BlockingIOError:
                pass
        return [number for number in came if number in self._usual], set(ready)

    def end_at_once(self, numbers):
        """Until note_only(), the first of these that comes, if it was taken over, raises Stopped where it
        interrupts: nothing is served yet."""
        def raise_stopped(number, frame):
            self.note_only()        # another one does not interrupt what clears up
            raise Stopped(0)

        for number in self._usual.keys() & set(numbers):
            signal.signal(number, raise_stopped)

    def note_only(self):
        """The end of end_at_once()."""
        for number in self._usual:
            signal.signal(number, _heard)

    def close(self):
        """Give the signals back, if that was not done yet."""
        if self not in _in_use:
            return
        _in_use.remove(self)
        signal.set_wakeup_fd(self._fd)
        for number, handler in self._usual.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def signals_wait():
    """What is done in here is done as a whole; it is to be short."""
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # What came before may raise out of this call.
        signal.pthread_sigmask(signal.SIG_BLOCK, MASTER)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


_in_use = []        # the Signals of this process, one at the most
_forking = threading.local()


def _before_fork():
    """Until the child has its handlers back, signals wait: one that is for it would be taken for ours."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, MASTER) if _in_use else None


def _after_fork_in_parent():
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child():
    for signals in list(_in_use):
        signals.close()
    _after_fork_in_parent()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _heard(number, frame):
    """Makes the interpreter write the number into the pipe; SIG_IGN would not."""

