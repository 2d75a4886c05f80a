"""The WSGI environ of a request in the engine's buffer (see _environ.pyx)."""

from turboserver._connection cimport Connection
from turboserver._handlers cimport HandlerInfo


cdef class Template:
    """What is the same for all requests of a server, and copied for each."""
    cdef dict environ
    cdef object base            # the server's base_environ: the very dict, ...
    cdef tuple base_then        # ... and its keys and values in turns, as they were
    cdef object os_environ      # the same of what it began with
    cdef Py_ssize_t os_size
    cdef object errors          # wsgi.errors

    cdef bint holds(self, object base, object os_environ, object errors)

# base: the server's base_environ (dict). Its entries count as they are now. tls: whether the connections are.
cdef Template make_template(object base, object os_environ, object errors, bint multithread, bint multiprocess,
                            object software, bint tls)

# The environ of the present request. info: which fields are kept, what is added to them.
cdef dict environ_of(Connection conn, Template template, HandlerInfo info)
