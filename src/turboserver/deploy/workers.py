"""The master: it owns the sockets, starts the workers, and has a new one for each that dies.

    STARTING   the first workers boot; if one cannot, all end and so does the master, with exit code 1
    RUNNING    as many workers serve as were asked for; one that dies is replaced, later and later if that
               keeps happening at once
    RELOADING  by SIGHUP: beside the workers, as many new ones boot, which import the application anew. When all
               of them serve, the old ones drain; if one cannot boot, the new ones end and the old ones stay.
               SIGHUP again: the new ones, which may have read what has changed since, end, and others boot
    STOPPING   by SIGTERM, SIGINT: the workers drain; who does not end in time is killed. SIGINT again: at once

    STARTING -> RUNNING <-> RELOADING; from each -> STOPPING -> end

A worker is in one of four places: `current` (by slot), `coming` (by slot, while RELOADING), `retiring` (it serves
until the one that has taken its slot does), `leaving` (it was told to end, and when it will be killed). Only the
master signals workers; a worker signals nobody: it writes "R" into a pipe of its own when it serves, or why it
cannot, and "E" when it has answered enough (--max-requests). Then it retires. SIGTTIN and SIGTTOU change the
number of slots; a slot with a listening socket of its own stays, for nobody else accepts from that. Between fork()
and its own handlers all signals wait, so none meant for one is taken by the other. Each worker holds the reading
end of a pipe nobody writes to, and whose end is the master's: then it drains.

With `--reload` a watcher (reload.py) is one more child, which writes into a pipe when a file has changed. Then
old workers drain and new ones boot at once; one that cannot boot waits, as its clients do, for the next change.

The master imports no application and starts no thread: what it forks is one thread and nothing of an engine.
The worker leaves the master's frames by an exception, and goes on where the master was started from.

What may not live here: serving (serve.py).
"""

import contextlib
import math
import os
import signal
import sys
import time

from . import DeployError
from .serve import serve
from .signals import MASTER, WORKER, Signals

__all__ = ["Master", "run"]

# A worker that lived so long did not die of its start.
_LIVED_SECONDS = 10.0
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
# For a worker to end by itself after its graceful time-out (serve.py: 2 s) before it is killed.
_KILL_SECONDS = 4.0


class _Born(BaseException):
    """In the new child: what it is to do, outside of the master's frames."""


class _Worker:
    def __init__(self, pid, slot, pipe):
        self.pid, self.slot, self.pipe = pid, slot, pipe
        self.started = time.monotonic()
        self.said = b""             # "R", or why it cannot serve
        self.silent = False         # and there is no more to come
        self.kill_at = math.inf

    @property
    def ready(self):
        return self.said[:1] == b"R"

    @property
    def has_enough(self):
        return self.said[:2] == b"RE"

    def hear(self):
        """Read what it has said so far."""
        while not self.silent:
            try:
                data = os.read(self.pipe, 4096)
            except BlockingIOError:
                return
            self.said += data
            self.silent = not data

    def signal(self, number):
        # It is a child that was not waited for yet, so the number is still its own.
        os.kill(self.pid, number)


class Master:
    """Looks after `count` workers.

    listeners: list of binds.Listener. options: serve.Options. signals: Signals(MASTER). announce(): called when the
    first workers all serve, then options.notify is told what becomes of them.
    watch: None, or a function(descriptor to write to, lifeline, signal mask) for a child that watches files.
    """

    def __init__(self, listeners, count, options, signals, announce, watch=None):
        self._listeners, self._count, self._options = listeners, count, options
        self._signals, self._announce, self._watch = signals, announce, watch
        self._current, self._coming, self._retiring, self._leaving = {}, None, [], []
        self._due = dict.fromkeys(range(count), 0.0)        # when a slot that is empty is filled
        self._quick_deaths = 0
        self._announced = self._stopping = self._reloading = False
        self._code = 0
        self._told = None           # the last complaint, which is not repeated
        self._lifeline, self._alive = os.pipe()
        self._changes = self._watcher = None

    # -- the loop --------------------------------------------------------------

    def supervise(self):
        """Until all has ended; returns the exit code. Raises _Born in each child."""
        self._signals.note_only()
        if self._watch is not None:
            self._start_watcher()
        while True:
            now = time.monotonic()
            if not self._stopping:
                self._fill(now)
            elif not self._everybody():
                return self._code
            came, readable = self._signals.wait(self._patience(now), self._descriptors())
            for number in came:
                self._hear(number)
            if self._changes in readable:
                self._changed()
            for worker in self._everybody():
                if worker.pipe in readable:
                    worker.hear()
            self._bury()
            self._settle()
            self._kill_late(time.monotonic())

    def close(self):
        """Give back descriptors."""
        self._end_watcher()
        for fd in (self._lifeline, self._alive):
            os.close(fd)

    def _everybody(self):
        return [*self._current.values(), *(self._coming or {}).values(), *self._retiring, *self._leaving]

    def _descriptors(self):
        found = [worker.pipe for worker in self._everybody() if not worker.silent]
        return found if self._changes is None else [*found, self._changes]

    def _patience(self, now):
        """Seconds until something is due, None if nothing is."""
        due = [worker.kill_at for worker in self._everybody()]
        if not self._stopping:
            due += [self._due[slot] for slot in range(self._count) if slot not in self._current]
        first = min(due, default=math.inf)
        return None if first == math.inf else max(0.0, first - now)

    def _hear(self, number):
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stopping and number == signal.SIGINT:
                for worker in self._everybody():
                    worker.kill_at = 0.0
            self._stop(0)
        elif number == signal.SIGHUP and not self._stopping:
            self._reload()
        elif number == signal.SIGUSR1:
            if self._options.access_log is not None:
                self._options.access_log.reopen()       # for those that are still to come
            for worker in self._everybody():
                worker.signal(signal.SIGUSR1)
        elif number in (signal.SIGTTIN, signal.SIGTTOU) and not self._stopping:
            self._change_count(1 if number == signal.SIGTTIN else -1)

    # -- workers come ----------------------------------------------------------

    def _fill(self, now):
        for slot in range(self._count):
            if slot not in self._current and self._due[slot] <= now:
                try:
                    self._current[slot] = self._start_worker(slot)
                except OSError as error:        # no more processes, no memory: not for ever, perhaps
                    self._due[slot] = now + _LONGEST_DELAY
                    _tell(f"cannot start a worker: {error.strerror}")

    def _start_worker(self, slot):
        """A new _Worker. Raises OSError."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            pid, usual = _fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        if pid == 0:
            os.close(reader)
            self._leave_family()
            raise _Born(lambda: self._work(slot, writer, usual))
        os.close(writer)
        return _Worker(pid, slot, reader)

    def _leave_family(self):
        """In a child: give up what is the master's. Its signals were given back by fork() (signals.py)."""
        os.close(self._alive)
        for worker in self._everybody():
            os.close(worker.pipe)
        if self._changes is not None:
            os.close(self._changes)

    def _work(self, slot, pipe, mask):
        """In the worker: serve, and tell the master."""
        signals = Signals(WORKER)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sockets = [listener.socket_for(slot).dup() for listener in self._listeners]
        for listener in self._listeners:
            for sock in listener.sockets:
                sock.close()

        def say(word):
            with contextlib.suppress(BrokenPipeError):
                os.write(pipe, word)

        try:
            return serve(sockets, self._options, signals, lifeline=self._lifeline, ready=lambda: say(b"R"),
                         enough=lambda: say(b"E"))
        except DeployError as error:
            say(str(error).encode("utf-8", "backslashreplace")[:4000])
            return 1
        finally:
            signals.close()

    # -- workers go ------------------------------------------------------------

    def _leave(self, workers):
        """Have workers end, within the graceful time-out."""
        for worker in workers:
            worker.signal(signal.SIGTERM)
            worker.kill_at = time.monotonic() + self._options.graceful_timeout + _KILL_SECONDS
            self._leaving.append(worker)

    def _leave_retiring(self, over):
        """Have those who retire end, where over(slot) is true."""
        workers = [worker for worker in self._retiring if over(worker.slot)]
        self._retiring = [worker for worker in self._retiring if worker not in workers]
        self._leave(workers)

    def _kill_late(self, now):
        for worker in self._everybody():
            if worker.kill_at <= now:
                worker.signal(signal.SIGKILL)
                worker.kill_at = math.inf

    def _bury(self):
        """Take leave of the dead."""
        for worker in self._everybody():
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            worker.hear()
            os.close(worker.pipe)
            if worker in self._leaving:
                self._leaving.remove(worker)
            elif worker in self._retiring:
                self._retiring.remove(worker)
            elif self._coming is not None and self._coming.get(worker.slot) is worker:
                self._coming.pop(worker.slot)
                self._give_up_reload(_last_words(worker, status))
            else:
                del self._current[worker.slot]
                self._replace(worker, status)
        if self._watcher is not None and os.waitpid(self._watcher, os.WNOHANG)[0]:
            self._watcher = None
            self._end_watcher()
            if not self._stopping:
                _tell("the watcher has ended; changes are not noticed any more")

    def _replace(self, worker, status):
        """Have another one for a worker that was not asked to end."""
        now = time.monotonic()
        reason = _last_words(worker, status)
        if worker.ready:
            _tell(f"worker {worker.pid} {_manner(status)}; another one starts")
        elif reason != self._told:
            _tell(reason)
            self._told = reason
        if self._watch is not None and not worker.ready:
            if self._due.get(worker.slot) != math.inf:
                _tell("waiting for a change")
            self._due = dict.fromkeys(range(self._count), math.inf)
            return
        if not self._announced and not worker.ready:
            self._stop(1)
            return
        if worker.ready and now - worker.started > _LIVED_SECONDS:
            self._quick_deaths = 0
        delay = min(_FIRST_DELAY * 2**min(self._quick_deaths, 20), _LONGEST_DELAY) if self._quick_deaths else 0.0
        self._quick_deaths += 1
        self._due[worker.slot] = now + delay

    def _stop(self, code):
        if self._stopping:
            return
        self._stopping, self._code = True, code
        self._options.notify.stopping()
        for listener in self._listeners:
            listener.close()
        workers = [*self._current.values(), *(self._coming or {}).values()]
        self._current, self._coming = {}, None
        self._leave(workers)
        self._leave_retiring(lambda slot: True)
        if self._watcher is not None:
            os.kill(self._watcher, signal.SIGKILL)

    # -- a new application -----------------------------------------------------

    def _reload(self):
        if self._watch is not None:
            return self._changed()
        if self._coming is not None:
            coming, self._coming = self._coming, None
            self._leave(coming.values())
        self._options.notify.reloading()
        self._coming = {}
        try:
            for slot in range(self._count):
                self._coming[slot] = self._start_worker(slot)
        except OSError as error:
            self._give_up_reload(f"cannot start a worker: {error.strerror}")

    def _give_up_reload(self, reason):
        _tell(f"not reloaded: {reason}")
        self._options.notify.ready(f"not reloaded: {reason}")
        coming, self._coming = self._coming, None
        self._leave(coming.values())

    def _settle(self):
        """Look whether those that boot have done so."""
        if self._stopping:
            return
        if self._coming and len(self._coming) == self._count and all(w.ready for w in self._coming.values()):
            old, self._current, self._coming = self._current, self._coming, None
            self._leave(old.values())
            self._leave_retiring(lambda slot: True)
            self._forgive()
            _tell("reloaded")
            self._options.notify.ready(f"{_workers(self._count)}, reloaded")
        for slot, worker in list(self._current.items()):
            if worker.has_enough:
                self._retire(slot)
        self._leave_retiring(lambda slot: slot in self._current and self._current[slot].ready)
        if len(self._current) == self._count and all(worker.ready for worker in self._current.values()):
            if not self._announced:
                self._announced = True
                self._announce()
            elif self._reloading:
                self._options.notify.ready(f"{_workers(self._count)}, reloaded")
            self._reloading = False

    # -- more and fewer ----------------------------------------------------------

    def _retire(self, slot):
        """Have another worker for that slot, and this one until that serves."""
        self._retiring.append(self._current.pop(slot))
        self._due[slot] = 0.0

    def _change_count(self, step):
        """One worker more, or one fewer."""
        slot = self._count if step > 0 else self._count - 1
        if slot < max(len(listener.sockets) for listener in self._listeners):
            _tell(f"no fewer than {_workers(self._count)}")
            return
        self._count += step
        if step > 0:
            if not self._options.multiprocess:      # the first one takes itself for the only one
                self._options.multiprocess = True
                if 0 in self._current:
                    self._retire(0)
            self._due[slot] = 0.0
        else:
            del self._due[slot]
            self._leave([places.pop(slot) for places in (self._current, self._coming or {}) if slot in places])
            self._leave_retiring(lambda other: other == slot)
        if self._coming is not None:
            self._reload()      # the first ones were as many as before
        _tell(_workers(self._count))
        self._options.notify.status(_workers(self._count))

    def _forgive(self):
        self._due = dict.fromkeys(range(self._count), 0.0)
        self._quick_deaths, self._told = 0, None

    # -- a watcher -------------------------------------------------------------

    def _start_watcher(self):
        self._changes, writer = os.pipe()
        os.set_blocking(self._changes, False)
        pid, usual = _fork()
        if pid == 0:
            self._leave_family()
            for listener in self._listeners:
                for sock in listener.sockets:
                    sock.close()
            raise _Born(lambda: self._watch(writer, self._lifeline, usual))
        os.close(writer)
        self._watcher = pid

    def _end_watcher(self):
        if self._changes is not None:
            os.close(self._changes)
            self._changes = None

    def _changed(self):
        """Something was written: begin anew, and do not wait for what is there."""
        try:
            if self._changes is not None and not os.read(self._changes, 65536):
                return self._end_watcher()
        except BlockingIOError:
            pass            # SIGHUP
        if self._stopping:
            return
        self._reloading = True
        self._options.notify.reloading()
        old, self._current = self._current, {}
        self._leave(old.values())
        self._leave_retiring(lambda slot: True)
        self._forgive()
        _tell("reloading")


def _fork():
    """(pid or 0, the usual signal mask). In the child all signals wait until it sets that mask."""
    # What is buffered is written once.
    sys.stdout.flush()
    sys.stderr.flush()
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, MASTER)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    return pid, usual


def _manner(status):
    """How a process ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _last_words(worker, status):
    """Why a worker that never served did not, in one line."""
    if worker.said and not worker.ready:
        return worker.said.decode("utf-8", "replace")
    return f"worker {worker.pid} {_manner(status)} before it served"


def _workers(count):
    return f"{count} worker" if count == 1 else f"{count} workers"


def _tell(text):
    print(f"turboserver: {text}", file=sys.stderr, flush=True)


def run(listeners, count, options, signals, announce, watch=None):
    """Serve with `count` workers (see Master); returns the exit code, of each process that this becomes."""
    master = Master(listeners, count, options, signals, announce, watch)
    try:
        code = master.supervise()
    except _Born as born:
        work = born.args[0]
    else:
        master.close()
        return code
    return work()
