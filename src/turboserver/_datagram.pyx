"""DatagramFlow: the way of a datagram, and on to the next without a poll in between.

    receive -> verify_request -> process_request -> finish_request -> handler -> shutdown_request

A step that nobody replaced is done here as socketserver does it, one that somebody did is
called. Nothing is received ahead: a handler may read the socket itself, and other threads
and processes may read it too.

What may not live here: waiting, and the loop (socketserver.py).
"""

from socket import AF_INET, AF_INET6, AF_UNIX, socket

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Contains
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from turboserver import lanes
from turboserver._address cimport address_of
from turboserver._native cimport ts_addr, ts_recv_from


cdef extern from "Python.h":
    object PyObject_CallMethodNoArgs(object o, str name)
    ctypedef struct PyTypeObject:
        unsigned tp_version_tag
        object (*tp_new)(PyTypeObject *cls, tuple args, PyObject *keywords)
    PyTypeObject PyBaseObject_Type


# The steps, each with the class of socketserver whose member it is unless replaced.
cdef dict SERVER_STEPS = {
    "_handle_request_noblock": "BaseServer", "get_request": "UDPServer", "fileno": "TCPServer",
    "verify_request": "BaseServer", "process_request": "BaseServer", "finish_request": "BaseServer",
    "shutdown_request": "UDPServer", "close_request": "UDPServer", "service_actions": "BaseServer",
}
cdef tuple NOT_OURS = ("_handle_request_noblock", "get_request", "fileno")
cdef dict HANDLER_STEPS = {"__init__": "BaseRequestHandler", "setup": "BaseRequestHandler"}

# Families whose addresses _address.pyx can make.
cdef tuple FAMILIES = (AF_INET, AF_INET6, AF_UNIX)


cdef inline unsigned version_of(cls):
    """It changes when the class does; 0 is no version."""
    return (<PyTypeObject *>cls).tp_version_tag


cdef class DatagramFlow:
    """What is known of a server that receives datagrams: one for each, used by the thread
    in its serve_forever(). It does not refer to the server, which refers to it."""

    cdef object cls                 # the server's class
    cdef unsigned version           # ... for which the following holds
    cdef bint held                  # ... which it was after the last datagram
    cdef tuple standard             # the steps that are not replaced
    cdef bint native                # receiving is ours
    cdef bint calls_verify, calls_process, calls_finish, calls_shutdown, calls_close
    cdef bint calls_actions         # the loop has something to do after each datagram
    cdef object sock                # the socket
    cdef bint plain_sock            # ... which is one we can receive from
    cdef object factory             # what makes the handlers
    cdef unsigned factory_version   # ... for which the following holds
    cdef bint plain_init            # BaseRequestHandler.__init__
    cdef bint calls_setup
    cdef char *space                # for one datagram
    cdef Py_ssize_t room

    def __dealloc__(self):
        PyMem_Free(self.space)

    def handle_ready(self, server):
        """Handle datagrams until none is left or the server's loop has something to do. To
        be called when the server's socket is readable."""
        cdef dict attrs = server.__dict__
        cdef ts_addr sender
        cdef Py_ssize_t length
        if not self.holds(server, attrs):
            self.study(server, attrs)
        if not self.native or not self.is_plain(server.socket):
            server._handle_request_noblock()
            return
        while True:
            self.make_room(server.max_packet_size)
            length = ts_recv_from(self.sock.fileno(), self.space, self.room, &sender)
            if length < 0:
                return      # EAGAIN; the original is silent about others as well
            request = (PyBytes_FromStringAndSize(self.space, length), self.sock)
            self.handle(server, attrs, request, address_of(&sender))
            if not self.held or self.calls_actions or server._BaseServer__shutdown_request:
                return
            if server.socket is not self.sock or self.calls_process and server._turbo_full():
                return
            PyErr_CheckSignals()

    cdef int handle(self, server, dict attrs, request, client_address) except -1:
        """BaseServer._handle_request_noblock() from verify_request() on."""
        cdef bint calls_process = self.calls_process
        if self.calls_verify:
            if not server.verify_request(request, client_address):
                self.end(server, attrs, request)
                return 0
            calls_process = calls_process or not self.holds(server, attrs)
        try:
            if calls_process:
                server.process_request(request, client_address)
                self.held = self.holds(server, attrs)
            else:
                if self.calls_finish:
                    server.finish_request(request, client_address)
                else:
                    self.make_handler(server, request, client_address)
                self.end(server, attrs, request)
        except Exception:
            server.handle_error(request, client_address)
            self.end(server, attrs, request)
        except BaseException:
            self.end(server, attrs, request)
            raise
        return 0

    cdef int end(self, server, dict attrs, request) except -1:
        """shutdown_request(). The handler may have replaced it."""
        self.held = self.holds(server, attrs)
        if self.calls_shutdown or not self.held:
            server.shutdown_request(request)
        elif self.calls_close:
            server.close_request(request)
        return 0

    cdef int make_handler(self, server, request, client_address) except -1:
        """finish_request(): make the handler, which handles the request."""
        factory = server.RequestHandlerClass
        if factory is not self.factory or self.plain_init and version_of(factory) != self.factory_version:
            self.study_factory(factory)
        if not self.plain_init:
            factory(request, client_address, server)
            return 0
        handler = PyBaseObject_Type.tp_new(<PyTypeObject *>factory, (), NULL)
        handler.request = request
        handler.client_address = client_address
        handler.server = server
        if self.calls_setup:
            handler.setup()
        try:
            PyObject_CallMethodNoArgs(handler, "handle")
        finally:
            PyObject_CallMethodNoArgs(handler, "finish")    # it may be the object's own by now
        return 0

    # ---- what is replaced --------------------------------------------------

    cdef bint holds(self, server, dict attrs) except -1:
        """Whether what study() found is still so."""
        if type(server) is not self.cls or self.version == 0 or version_of(self.cls) != self.version:
            return False
        for name in self.standard:
            if PyDict_Contains(attrs, name):
                return False
        return True

    cdef int study(self, server, dict attrs) except -1:
        cls = type(server)
        replaced = lanes.replaced(cls, SERVER_STEPS).union(name for name in SERVER_STEPS if name in attrs)
        self.cls = cls
        self.standard = tuple([name for name in SERVER_STEPS if name not in replaced])
        self.native = replaced.isdisjoint(NOT_OURS) and cls.__getattribute__ is object.__getattribute__
        self.calls_verify = "verify_request" in replaced
        self.calls_process = "process_request" in replaced
        self.calls_finish = "finish_request" in replaced
        self.calls_shutdown = "shutdown_request" in replaced
        self.calls_close = "close_request" in replaced
        self.calls_actions = "service_actions" in replaced
        self.version = version_of(cls)      # which it has, for something was looked up
        return 0

    cdef int study_factory(self, factory) except -1:
        self.factory = factory
        self.plain_init = False
        if isinstance(factory, type) and type(factory).__call__ is type.__call__:
            replaced = lanes.replaced(factory, HANDLER_STEPS)
            self.calls_setup = ("setup" in replaced or factory.__getattribute__ is not object.__getattribute__
                                or factory.__setattr__ is not object.__setattr__)
            self.plain_init = "__init__" not in replaced and factory.__new__ is object.__new__
            self.factory_version = version_of(factory)
            self.plain_init = self.plain_init and self.factory_version != 0
        return 0

    cdef bint is_plain(self, sock) except -1:
        if sock is not self.sock:
            self.plain_sock = type(sock) is socket and sock.family in FAMILIES
            self.sock = sock
        return self.plain_sock

    cdef int make_room(self, Py_ssize_t octets) except -1:
        """Space for a datagram of max_packet_size octets."""
        if octets < 0:
            raise ValueError("negative buffersize in recvfrom")
        if octets > self.room or self.space == NULL:
            PyMem_Free(self.space)
            self.space = <char *>PyMem_Malloc(octets)
            if self.space == NULL:
                self.room = 0
                raise MemoryError
        self.room = octets
        return 0
