"""Engine: threads, leadership, the path of a request through Python (_engine.pyx)."""

from libc.stdint cimport int64_t
from turboserver._connection cimport Connection
from turboserver._handlers cimport HandlerInfo
from turboserver._native cimport *


cdef class Engine:
    cdef ts_reactor *r
    cdef ts_leader *leader
    cdef ts_predictor predictor
    cdef readonly object server
    cdef dict state             # its attributes
    cdef readonly bint threaded
    cdef HandlerInfo info
    cdef object max_line        # http.client's limits, as the reactor has them
    cdef object max_headers
    cdef bint ended             # its threads are going: no use for another serving
    cdef bint forked            # in the child of a fork: inert
    cdef bint calls_verify      # verify_request is overridden
    cdef bint calls_shutdown    # shutdown_request or close_request is overridden
    cdef object fatal           # what a handler raised that ends serve_forever()
    cdef object threads         # live thread objects
    cdef object serving         # the thread in serve_forever(), or None
    cdef readonly object done   # threading.Event: no thread is left
    cdef object __weakref__

    cdef int fresh_limits(self) except -1
    cdef bint limits_hold(self)
    cdef bint shutdown_requested(self) except -1
    cdef int lead(self, ts_worker *worker, ts_turn *turn) except -1
    cdef int serve(self, ts_worker *worker, ts_turn *turn, ts_conn *c, ts_task task) except -1
    cdef Connection connection_for(self, ts_conn *c)
    cdef int serve_blocking(self, ts_worker *worker, ts_turn *turn, ts_conn *c) except -1
    cdef int make_handler(self, Connection conn) except -1
    cdef bint handle(self, Connection conn, ts_task task)
    cdef int run_plain(self, Connection conn) except -1
    cdef int failed(self, Connection conn) except -1
    cdef bint verified(self, Connection conn)
    cdef int leave_child(self, Connection conn) except -1
    cdef int timed_out(self, Connection conn) except -1
    cdef int tidy(self, ts_turn *turn, Connection conn) except -1
    cdef int finish(self, Connection conn) except -1
    cdef int start_thread(self) except -1
