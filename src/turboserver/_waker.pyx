"""Waker: a wait that another thread can end, for the loops that run in Python.

What may not live here: what is done after the wait.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR
from libc.stdint cimport int64_t
from turboserver._channel cimport os_error
from turboserver._native cimport (
    SIGNAL_NS, TS_WAIT_READY, TS_WAIT_TIMEOUT, ts_wait_fd, ts_wakefd, ts_wakefd_clear, ts_wakefd_close, ts_wakefd_open,
    ts_wakefd_set,
)


cdef class Waker:
    """One thread waits, any thread wakes it. Raises OSError when there is no descriptor
    left for it."""

    cdef ts_wakefd fd

    def __cinit__(self):
        cdef int failed = ts_wakefd_open(&self.fd)
        if failed != 0:
            raise os_error(-failed)

    def __dealloc__(self):
        ts_wakefd_close(&self.fd)

    def wake(self):
        """End the present wait, or else the next one. Async-signal-safe."""
        ts_wakefd_set(&self.fd)

    def wait(self, fd, timeout):
        """Wait until fd is readable (True), or it is woken, a signal has come, or
        timeout seconds (None: no bound) have passed (False). fd None: only that.

        Raises what a signal's handler raises; OSError for a closed fd.
        """
        cdef int64_t left = -1 if timeout is None else <int64_t>(<double>timeout * 1e9)
        cdef int64_t part
        cdef int own = self.fd.read_fd
        cdef int number = -1 if fd is None else fd
        cdef int result
        if fd is not None and number < 0:
            raise ValueError(f"Invalid file descriptor: {number}")
        while True:
            part = left if 0 <= left < SIGNAL_NS else SIGNAL_NS
            with nogil:
                if number < 0:
                    result = ts_wait_fd(own, False, -1, part)
                else:
                    result = ts_wait_fd(number, False, own, part)
            if result == -EINTR or result == TS_WAIT_TIMEOUT:
                PyErr_CheckSignals()
            if result == -EINTR:
                return False
            if result < 0:
                raise os_error(-result)
            if result != TS_WAIT_TIMEOUT or left == part:
                break
            if left > 0:
                left -= part
        if number >= 0 and result == TS_WAIT_READY:
            return True
        ts_wakefd_clear(&self.fd)
        return False
