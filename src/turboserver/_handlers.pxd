"""HandlerInfo: what the engine has to know of a handler class (see _handlers.pyx)."""

from libc.stdint cimport int64_t


cdef class HandlerInfo:
    """What the engine has to know of a handler class; constant, made anew when the
    class changes (its version tag)."""
    cdef object cls                 # the handler class
    cdef object factory             # what makes one: the class, or a partial
    cdef unsigned version           # tp_version_tag it holds for; 0: for no time
    cdef object decision            # lanes.Decision
    cdef bint plain_init            # made without running __init__
    cdef bint forwards_request      # __init__ may look at the request argument
    cdef bint oneshot               # one request a connection, by handle()
    cdef bint hooks_parse           # parse_request is overridden
    cdef bint hooks_log             # log_request is overridden
    cdef bint plain_line            # the status line may be made natively
    cdef bint plain_start           # ... and Server and Date too
    cdef bint plain_end             # flush_headers is not overridden
    cdef bint http11                # protocol_version >= "HTTP/1.1"
    cdef bint asks_protocol         # protocol_version is no plain str: each handler is asked
    cdef bint plain_message         # MessageClass is http.client.HTTPMessage

    cdef object protocol            # protocol_version
    cdef object server_line         # server_version + ' ' + sys_version
    cdef dict responses             # the class's own table
    cdef dict starts                # code -> (responses entry, b"status line .. Date: ", str)
    cdef object last_code           # ... and the one used last
    cdef object last_start
    cdef int64_t timeout_ns         # of the class; -1: none
    cdef bint asks_timeout          # timeout is no plain number: each handler is asked

    cdef bint holds(self)


cdef HandlerInfo study(object server, object factory)
cdef int64_t nanoseconds(object seconds) except -2
