"""HandlerInfo: what the engine has to know of a handler class (see _handlers.pyx)."""

from libc.stdint cimport int64_t
from turboserver._rules cimport Rules


cdef class ResponseInfo:
    """How a handler class writes response heads; constant, made anew when the class
    changes (its version tag)."""
    cdef object cls                 # the handler class
    cdef unsigned version           # tp_version_tag it holds for; 0: for no time
    cdef bint hooks_log             # log_request is overridden
    cdef bint plain_log             # nothing that log_request calls is overridden
    cdef bint plain_line            # the status line may be made natively
    cdef bint plain_start           # ... and Server and Date too
    cdef bint plain_end             # flush_headers is not overridden
    cdef bint plain_assignment      # __setattr__ is not overridden
    cdef object protocol            # protocol_version
    cdef bytes server_line          # "Server: " + server_version + ' ' + sys_version + CRLF
    cdef dict responses             # the class's own table
    cdef dict starts                # code -> Start
    cdef object last_code           # ... and the one used last
    cdef Start last_start
    cdef Rules rules                # its limits and deadlines

    cdef bint holds(self)
    cdef int note(self, cls, hooks) except -1


cdef class Start:
    """How the answer of a code without a message of its own begins."""
    cdef object key                 # of `responses`; the very object that is usually there
    cdef object entry               # ... and its entry, for which this holds
    cdef bytes status               # the status line
    cdef bytes all                  # status line, Server, "Date: "
    cdef str text                   # the code
    cdef int number                 # ... 0 if it is none of three digits


cdef class HandlerInfo(ResponseInfo):
    """What the engine has to know of a handler class."""
    cdef object factory             # what makes one: the class, or a partial
    cdef object decision            # lanes.Decision
    cdef bint plain_init            # made without running __init__
    cdef bint forwards_request      # __init__ may look at the request argument
    cdef bint oneshot               # one request a connection, by handle()
    cdef bint gateway               # ... or any number, by _gateway.pyx
    cdef bint gateway_logs          # turbo_log, turbo_os_environ, turbo_underscores
    cdef bint gateway_os_environ
    cdef bint gateway_underscores
    cdef bint gateway_root          # turbo_forwarded_root, turbo_raw_environ, turbo_drop_hop_by_hop
    cdef bint gateway_raw
    cdef bint gateway_lenient
    cdef object template            # _environ.Template, once there has been a request
    cdef object access_log          # the server's turbo_access_log
    cdef object error_log           # ... turbo_error_log
    cdef bint multiprocess          # ... and turbo_multiprocess
    cdef bint plain_app             # get_app() returns the server's `application`
    cdef bint hooks_parse           # parse_request is overridden
    cdef bint sends_files           # GET is turboserver.files' reading, with nothing in its way
    cdef bint sends_heads           # ... and so is HEAD
    cdef bint silent_aborts         # that a client went away is nothing to be told
    cdef dict files                 # _files' entries: octets of a path -> Entry
    cdef bint http11                # protocol_version >= "HTTP/1.1"
    cdef bint asks_protocol         # protocol_version is no plain str: each handler is asked
    cdef bint plain_message         # MessageClass is the usual one
    cdef object last_name           # of the method that ran last ("do_GET")
    cdef object last_method         # ... and the plain function that it is, or None
    cdef int64_t timeout_ns         # of the class; -1: none
    cdef bint asks_timeout          # timeout is no plain number: each handler is asked

    cdef object find_method(self, name)


cdef extern from *:
    """
    static inline unsigned ts_type_version(PyObject *cls)
    {
        return ((PyTypeObject *)cls)->tp_version_tag;
    }
    """
    unsigned ts_type_version(object cls)    # as it is now; 0: none, or it was altered

cdef unsigned type_version(object cls)
cdef HandlerInfo study(object server, object factory)
cdef ResponseInfo response_info(object cls)
cdef Rules present_rules(object cls)
cdef int64_t nanoseconds(object seconds) except -2
