"""Dispatch: from a complete request to the handler's method (see _dispatch.pyx)."""

from turboserver._connection cimport Connection
from turboserver._handlers cimport HandlerInfo
from turboserver._rules cimport Rules
from turboserver._tls cimport TLSServer
from turboserver._native cimport ts_conn, ts_leader, ts_reactor, ts_task, ts_turn, ts_worker


cdef class Dispatcher:
    cdef object server
    cdef bint threaded
    cdef ts_reactor *r          # the engine's, as long as it serves
    cdef ts_leader *leader
    cdef HandlerInfo info       # of the handler class as it was last looked at
    cdef Rules rules            # its, as the reactor has them
    cdef bint calls_verify      # verify_request is overridden
    cdef bint calls_shutdown    # shutdown_request or close_request is
    cdef bint calls_actions     # service_actions is
    cdef object fatal           # what a handler raised that ends serve_forever()
    cdef TLSServer tls          # None: connections are not TLS
    cdef list stranded          # its

    cdef int prepare(self) except -1
    cdef int prepare_tls(self) except -1
    cdef int fresh_rules(self) except -1
    cdef bint rules_hold(self)
    cdef Connection connection_for(self, ts_conn *c)
    cdef Connection new_connection(self, ts_conn *c)
    cdef int make_handler(self, Connection conn) except -1
    cdef bint handle(self, Connection conn, ts_task task, bint first)
    cdef bint answer_natively(self, Connection conn) except -1
    cdef int run_plain(self, Connection conn) except -1
    cdef int too_slow(self, Connection conn) except -1
    cdef bint verified(self, Connection conn)
    cdef int failed(self, Connection conn) except -1
    cdef int report(self, request, client_address) except -1
    cdef int timed_out(self, Connection conn) except -1
    cdef int finish(self, Connection conn) except -1
    cdef int tidy(self, ts_turn *turn, Connection conn, ts_worker *worker) except -1
