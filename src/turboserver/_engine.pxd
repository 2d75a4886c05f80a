"""Engine: threads, leadership, the loop (see _engine.pyx)."""

from libc.stdint cimport uint64_t
from turboserver._connection cimport Connection
from turboserver._dispatch cimport Dispatcher
from turboserver._native cimport *


cdef class Engine:
    cdef ts_reactor *r
    cdef ts_leader *leader
    cdef ts_predictor predictor
    cdef readonly object server
    cdef dict state             # its attributes
    cdef readonly bint threaded
    cdef Dispatcher dispatcher
    cdef bint ended             # its threads are going: no use for another serving
    cdef unsigned max_threads
    cdef bint was_blocking      # the listening descriptor, before listen()
    cdef bint idle_end          # connections without a request are to end
    cdef bint forked            # in the child of a fork: inert
    cdef object threads         # live thread objects
    cdef object serving         # the thread in serve_forever(), or None
    cdef readonly object done   # threading.Event: no thread is left
    cdef object __weakref__

    cdef bint shutdown_requested(self) except -1
    cdef int serve_on(self, uint64_t end) except -1
    cdef int end_idle(self, ts_worker *worker, ts_turn *turn) except -1
    cdef int lead(self, ts_worker *worker, ts_turn *turn) except -1
    cdef int serve(self, ts_worker *worker, ts_turn *turn, ts_conn *c, ts_task task) except -1
    cdef ts_task shake_hands(self, ts_worker *worker, ts_turn *turn, ts_conn *c)
    cdef int serve_blocking(self, ts_worker *worker, ts_turn *turn, ts_conn *c) except -1
    cdef int leave_child(self, Connection conn) except -1
    cdef bint threads_are_scarce(self)
    cdef int start_thread(self, target, args=*) except -1
    cdef int thread_ends(self) except -1
