"""Gateway: an application's answer to one request, from its environ to the last octet.

    run -> application(environ, start_response) -> head with the first octets -> body -> log

What wsgiref.handlers.ServerHandler does for one request (PEP 3333), without its layers, on
a connection that is kept: the server says how long the answer is, or that it comes in
chunks, or that it ends with the connection. Only for handler classes that override none of
that (HandlerInfo.gateway), and as long as nobody has altered ServerHandler (`serves`);
all others are answered by turboserver.wsgiref.simple_server._respond().

States: nothing -> start_response() was called (the head is put together) -> headers_sent
-> finished (`conn` is None: what an application keeps of it can do no harm).

Owner: the thread that runs the handler. What may not live here: the environ
(_environ.pyx), the connection, framing of requests.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp
from libc.time cimport time
from turboserver._connection cimport SMALL_FILE, Connection, shadows
from turboserver._environ cimport Template, environ_of, make_template
from turboserver._handlers cimport HandlerInfo, ts_type_version, type_version
from turboserver._headers cimport same
from turboserver._native cimport *
from turboserver._request import refuse_body
from turboserver._response cimport DATE, asks_head, ends, is_latin1, log_line
from turboserver._stream cimport RequestReader, plain_file
from turboserver.errors import BodyError


cdef extern from "Python.h":
    void *PyUnicode_DATA(object text)
    object PyMethod_New(object function, object instance)
    object PyObject_GenericGetDict(object instance, void *context)


cdef extern from "cgi.h" nogil:
    bint ts_is_token(const char *name, size_t n)


# ---- whether wsgiref's handlers are as they were -----------------------------------

cdef dict OURS = None           # the namespace of turboserver.wsgiref.simple_server
cdef dict ORIGINALS = None      # ... and of wsgiref.simple_server
cdef object HANDLER = None      # the ServerHandler of each, as it was
cdef object ORIGINAL_HANDLER = None
cdef unsigned VERSION = 0       # of HANDLER, when its members were those in MEMBERS
cdef dict MEMBERS = None        # class -> its members, for HANDLER and what it is made of
cdef bytes SERVER_LINE = None
cdef object FileWrapper = None
cdef object is_hop_by_hop = None


def register_server_handler(namespace, original_namespace):
    """The modules whose ServerHandler answers requests that are not answered here."""
    global OURS, ORIGINALS, HANDLER, ORIGINAL_HANDLER, MEMBERS, FileWrapper, is_hop_by_hop
    from wsgiref.util import FileWrapper, is_hop_by_hop     # not for who has no use for WSGI
    OURS, ORIGINALS = namespace, original_namespace
    HANDLER, ORIGINAL_HANDLER = namespace["ServerHandler"], original_namespace["ServerHandler"]
    MEMBERS = {cls: dict(vars(cls)) for cls in HANDLER.__mro__}
    note_version()


cdef int note_version() except -1:
    """Called when the members are those in MEMBERS."""
    global VERSION, SERVER_LINE
    SERVER_LINE = f"Server: {HANDLER.server_software}\r\n".encode("latin-1")
    VERSION = type_version(HANDLER)
    return 0


cdef bint is_unaltered() except -1:
    for cls, members in MEMBERS.items():
        present = vars(cls)
        if len(present) != len(<dict>members):
            return False
        for name, value in (<dict>members).items():
            if present.get(name, MEMBERS) is not value:
                return False
    return True


cdef bint serves(HandlerInfo info) except -1:
    cdef PyObject *original
    if not info.gateway or OURS is None:
        return False
    original = PyDict_GetItemWithError(ORIGINALS, "ServerHandler")
    if (PyDict_GetItemWithError(OURS, "ServerHandler") != <PyObject *>HANDLER
            or original != <PyObject *>ORIGINAL_HANDLER and original != <PyObject *>HANDLER):
        return False
    if VERSION != 0 and ts_type_version(HANDLER) == VERSION:
        return True
    if not is_unaltered():
        return False
    note_version()
    return True


# ---- the answer ---------------------------------------------------------------------

cdef bint is_line(object text):
    """Whether it is a str that can stand in a line of a head."""
    cdef const unsigned char *at
    cdef Py_ssize_t i, n
    if not is_latin1(text):
        return False
    n = PyUnicode_GET_LENGTH(text)
    at = <const unsigned char *>PyUnicode_DATA(text)
    if not ts_has_control(<const char *>at, n):
        return True
    for i in range(n):
        if at[i] < 0x20 and at[i] != 9 or at[i] == 0x7f:
            return False
    return True


cdef int number_of(object status) except -2:
    """Of a status line's three digits; -1 if it has none."""
    cdef const unsigned char *at
    if not is_line(status) or PyUnicode_GET_LENGTH(status) < 4:
        return -1
    at = <const unsigned char *>PyUnicode_DATA(status)
    if not (c'1' <= at[0] <= c'9' and c'0' <= at[1] <= c'9' and c'0' <= at[2] <= c'9' and at[3] == c' '):
        return -1
    return (at[0] - c'0') * 100 + (at[1] - c'0') * 10 + at[2] - c'0'


cdef int64_t length_of(object value) except -2:
    """Of a Content-Length; -1 if it is none."""
    cdef const unsigned char *at = <const unsigned char *>PyUnicode_DATA(value)
    cdef Py_ssize_t i, n = PyUnicode_GET_LENGTH(value)
    cdef int64_t length = 0
    if n == 0 or n > 18:
        return -1
    for i in range(n):
        if not c'0' <= at[i] <= c'9':
            return -1
        length = length * 10 + (at[i] - c'0')
    return length


cdef inline bint is_named(object text, const char *name):
    """Whether a field's name is that one, which is as long and spelled as most do."""
    cdef Py_ssize_t n = PyUnicode_GET_LENGTH(text)
    return (memcmp(PyUnicode_DATA(text), name, n) == 0
            or same(<const unsigned char *>PyUnicode_DATA(text), <const unsigned char *>name, n))


cdef bint names_hop(object field) except -1:
    return (type(field) is tuple and len(<tuple>field) == 2 and type((<tuple>field)[0]) is str
            and is_hop_by_hop((<tuple>field)[0]))


cdef int add(ts_head *head, const char *octets, size_t n) except -1:
    if ts_head_add(head, octets, n) != 0:
        raise MemoryError
    return 0


cdef class Gateway:

    def start_response(self, status, headers, exc_info=None):
        """PEP 3333's: status is a str like "200 OK", headers a list of tuples of two str;
        exc_info, as of sys.exc_info(), lets an answer that was begun, but not sent, be
        replaced, and is raised if it was sent. Returns write(). AssertionError, TypeError,
        ValueError, UnicodeEncodeError for what makes no answer."""
        cdef Connection conn = self.conn
        cdef int code
        if conn is None:
            raise ValueError("start_response() after the end of the answer")
        if exc_info:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None     # it leads to this frame
        elif self.status is not None:
            raise AssertionError("start_response() was called already, and this time without exc_info")
        code = number_of(status)
        if code < 200 or type(headers) is not list:
            self.refuse(status, headers)
        self.status = None
        self.code = code
        self.bodyless = self.is_head or code == 204 or code == 304 or code == 205
        if not self.read_headers(headers):
            # Pairs that are no tuples are none of PEP 3333's, but serve for wsgiref.
            headers = [tuple(pair) if type(pair) is list else pair for pair in headers]
            if conn.info.gateway_lenient:
                headers = [field for field in headers if not names_hop(field)]
            if not self.read_headers(headers):
                self.refuse(status, headers)
        conn.take_head()
        conn.head.len = 0
        self.begin_head(status, headers)
        self.status = status
        return PyMethod_New(WRITE, self)

    def write(self, data, /):
        """Send octets (bytes) of the body, and before the first ones the head."""
        if self.conn is None:
            raise ValueError("write() after the end of the answer")
        self.put(data, -1)

    cdef int refuse(self, status, headers) except -1:
        """Something about them is wrong: the original says it in its words, or else we."""
        HANDLER(None, None, None, {}).start_response(status, headers)
        raise AssertionError(f"not an answer: {status!r}, {headers!r}")

    cdef bint read_headers(self, list headers) except -1:
        """What they say. False: there is something wrong."""
        cdef Py_ssize_t n
        cdef int64_t length
        cdef tuple field
        self.has_date = self.has_server = False
        self.length = -1
        for item in headers:
            if type(item) is not tuple or len(<tuple>item) != 2:
                return False
            field = item
            name, value = field[0], field[1]
            if (not is_latin1(name) or not ts_is_token(<char *>PyUnicode_DATA(name), PyUnicode_GET_LENGTH(name))
                    or not is_line(value)):
                return False
            n = PyUnicode_GET_LENGTH(name)
            if n == 4:
                self.has_date = self.has_date or is_named(name, b"Date")
            elif n == 6:
                self.has_server = self.has_server or is_named(name, b"Server")
            elif n == 14:
                if is_named(name, b"Content-Length"):
                    length = length_of(value)
                    if length < 0 or 0 <= self.length != length:
                        return False
                    self.length = length
            # Those have 2, 7, 8, 10, 17, 18 or 19 letters.
            elif (n == 10 or n >= 17 or n <= 8) and is_hop_by_hop(name):
                return False
        return True

    cdef int begin_head(self, status, list headers) except -1:
        """Status line, Date, Server, and the application's fields."""
        cdef Connection conn = self.conn
        cdef ts_head *head = &conn.head
        cdef const char *name
        cdef Py_ssize_t n
        cdef tuple field
        cdef bint takes_length = self.code != 204 and self.code != 205  # RFC 9110, 8.6
        add(head, b"HTTP/1.1 ", 9)
        add(head, <char *>PyUnicode_DATA(status), PyUnicode_GET_LENGTH(status))
        if self.has_date:
            add(head, b"\r\n", 2)
        else:
            add(head, b"\r\nDate: ", 8)
            add(head, ts_date_at(&DATE, time(NULL)), TS_DATE_LEN)
            add(head, b"\r\n", 2)
        if not self.has_server:
            add(head, <char *>SERVER_LINE, PyBytes_GET_SIZE(SERVER_LINE))
        for field in headers:
            name = <const char *>PyUnicode_DATA(field[0])
            n = PyUnicode_GET_LENGTH(field[0])
            if n == 14 and is_named(field[0], b"Content-Length"):
                if not takes_length:
                    continue
                takes_length = False    # once is enough
            if ts_head_field(head, name, n, <const char *>PyUnicode_DATA(field[1]),
                             PyUnicode_GET_LENGTH(field[1])) != 0:
                raise MemoryError
        if self.code == 204 or self.code == 205:
            self.length = -1
        return 0

    cdef int send_head(self, int64_t total) except -1:
        """total: octets of the whole body; -1: nobody knows."""
        cdef Connection conn = self.conn
        cdef ts_head *head = &conn.head
        cdef bint modern = conn.c.req.minor >= 1
        cdef char text[48]
        if self.status is None:
            raise AssertionError("write() before start_response()")
        self.headers_sent = True
        conn.status = self.code
        if self.code == 205:
            total = 0   # it says so, and nothing follows (RFC 9110, 15.3.6)
        if self.length < 0 and self.code != 204 and self.code != 304:
            if total >= 0:
                self.length = total
                if total > 0 or not self.is_head:
                    add(head, text, snprintf(text, sizeof(text), b"Content-Length: %lld\r\n", <long long>total))
            elif modern:
                self.chunked = True
                add(head, b"Transfer-Encoding: chunked\r\n", 28)
            elif not self.bodyless:
                conn.close_connection = True    # that is its end
        if conn.continue_due and not ts_body_done(conn.body):
            conn.close_connection = True        # the body may come or not
        if conn.body.kind == TS_BODY_LENGTH and conn.body.left > conn.rules.c.drain_max:
            conn.close_connection = True        # nor is so much of it dropped
        if (conn.last or conn.r.draining) and ends(conn, conn):
            conn.close_connection = True
        if conn.c.req.minor == 0:
            if not conn.close_connection:
                add(head, b"Connection: keep-alive\r\n", 24)
        elif conn.close_connection:
            add(head, b"Connection: close\r\n", 19)
        add(head, b"\r\n", 2)
        conn.send_head()
        return 0

    cdef int put(self, data, int64_t total) except -1:
        """One block of the body. total: as send_head()."""
        if not isinstance(data, bytes):
            raise AssertionError(f"the body is made of bytes, not {type(data).__name__}")
        if PyBytes_GET_SIZE(data) == 0:
            return 0    # and the head may still be replaced
        if not self.headers_sent:
            self.send_head(total)
        return self.send_body(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int send_body(self, const char *data, int64_t n) except -1:
        cdef Connection conn = self.conn
        cdef char size[24]
        if self.length >= 0 and n > self.length - self.sent - self.dropped:
            n = self.length - self.sent - self.dropped
            self.too_long = True
        if self.bodyless:
            self.dropped += n
            return 0
        if n == 0:
            return 0
        self.sent += n
        if not self.chunked:
            return conn.send_all(data, n)
        conn.send_all(size, snprintf(size, sizeof(size), b"%llx\r\n", <unsigned long long>n))
        conn.send_all(data, n)
        return conn.send_all(b"\r\n", 2)

    # ---- the body ----------------------------------------------------------------

    cdef int respond(self, application) except -1:
        self.result = application(self.environ, PyMethod_New(START_RESPONSE, self))
        self.send_result()
        self.finish()
        self.finished = True
        self.close_result()
        return 0

    cdef int send_result(self) except -1:
        cdef int64_t total = 0
        result = self.result
        if type(result) is list or type(result) is tuple:
            for block in result:
                if type(block) is not bytes:
                    total = -1
                    break
                total += PyBytes_GET_SIZE(block)
            for block in result:
                self.put(block, total)
                if self.too_long:
                    break
            return 0
        if type(result) is FileWrapper and self.send_as_file():
            return 0
        # As the original knows the length: of what is but one block.
        total = -1
        if hasattr(type(result), "__len__"):
            try:
                total = len(result)
            except (TypeError, AttributeError, NotImplementedError):
                pass
        for block in result:
            self.put(block, len(block) if total == 1 else -1)
            if self.too_long:
                break   # it may have no end
        return 0

    cdef bint send_as_file(self) except -1:
        """Send the file that was wrapped without reading it, from where it stands. False,
        with nothing done: it is no regular file."""
        cdef Connection conn = self.conn
        cdef int fd
        cdef int64_t at, left
        filelike = plain_file(self.result.filelike)
        if self.status is None or filelike is None:
            return False
        try:
            fd = filelike.fileno()
            at = filelike.tell()
        except (OSError, ValueError):
            return False    # closed; a pipe
        left = ts_file_size(fd)
        if left < 0:
            return False
        left = max(left - at, 0)
        if self.length >= 0 and left > self.length - self.sent:
            left = self.length - self.sent
        if left < SMALL_FILE or self.chunked:
            return False
        if not self.headers_sent:
            self.send_head(left)
        if not self.bodyless and not self.chunked:
            self.sent += conn.send_file(fd, at, left)
        return True

    cdef int finish(self) except -1:
        """The application has nothing more to say."""
        cdef Connection conn = self.conn
        if not self.headers_sent:
            self.send_head(0)
        if self.bodyless:
            return 0    # what there would have been is nobody's business
        if self.chunked:
            conn.send_all(b"0\r\n\r\n", 5)
        elif self.length > self.sent:
            conn.close_connection = True    # so that the client can tell
            self.complain(f"the application's answer has {self.sent} octets, and its Content-Length is {self.length}")
        if self.too_long:
            self.complain(f"the application's answer was cut off at its Content-Length of {self.length}")
        return 0

    cdef int complain(self, text) except -1:
        self.errors.write(f"turboserver: {self.environ.get('REQUEST_METHOD')} {self.environ.get('PATH_INFO')!r}: {text}\n")
        self.errors.flush()
        return 0

    cdef int close_result(self) except -1:
        """Once, whatever happened."""
        result, self.result = self.result, None
        if result is None or type(result) is list or type(result) is tuple:
            return 0
        close = getattr(result, "close", None)
        if close is not None:
            close()
        return 0

    # ---- when it goes wrong ---------------------------------------------------------

    cdef int fail(self) except -1:
        """Called in an except clause."""
        cdef Connection conn = self.conn
        error = sys.exc_info()[1]
        if conn.c == NULL:
            return self.close_result()      # the program has ended the connection
        if self.finished:
            return self.tell(error)         # close() failed; the answer is whole
        if (conn.c.broken or conn.c.out.error != 0) and isinstance(error, (ConnectionError, TimeoutError)):
            # Clients go away from time to time.
            conn.close_connection = True
            if isinstance(error, TimeoutError):
                conn.handler.log_error("Request timed out: %r", error)
            return self.close_result()
        if isinstance(error, BodyError) and not self.headers_sent:
            conn.head.len = 0
            self.code = (<object>error).status
            self.status = f"{self.code} "
            self.close_result()
            self.logged = True      # by send_error()
            refuse_body(conn.handler, error)
            return 0
        self.tell(error)
        try:
            self.close_result()
        except BaseException as another:
            self.tell(another)
        if self.headers_sent:
            return self.abort()
        self.status = None
        self.start_response(HANDLER.error_status, HANDLER.error_headers[:])
        self.put(HANDLER.error_body, len(HANDLER.error_body))
        self.finish()
        return 0

    cdef int abort(self) except -1:
        """The answer has no proper end, and the client must be able to tell."""
        cdef Connection conn = self.conn
        conn.close_connection = True
        if self.length < 0 and not self.chunked and not self.bodyless:
            conn.c.abort = True     # the end of the stream would be the end of the answer
        return 0

    cdef int tell(self, error) except -1:
        cdef HandlerInfo info = self.conn.info
        if info.error_log is not None:
            info.error_log(self.environ, error)
            return 0
        import traceback    # few need it
        traceback.print_exception(type(error), error, error.__traceback__, HANDLER.traceback_limit, self.errors)
        self.errors.flush()
        return 0

    cdef int log(self, uint64_t began) except -1:
        """The line of the request, where the server or the handler wants it."""
        cdef Connection conn = self.conn
        cdef HandlerInfo info = conn.info
        if info.access_log is not None:
            info.access_log(self.environ, self.status, self.sent, (ts_monotonic_ns() - began) / 1e9)
            return 0
        if not info.gateway_logs or self.logged:
            return 0
        text, size = f"{self.code:03d}", str(self.sent)
        if info.hooks_log or shadows(conn, LOG_NAMES):
            conn.handler.log_request(text, size)
            return 0
        return log_line(info, conn.handler, conn.attrs, conn.supply_requestline(), text, size, True)


# As functions: binding them takes a third of what looking them up does.
cdef object START_RESPONSE = vars(Gateway)["start_response"]
cdef object WRITE = vars(Gateway)["write"]

cdef tuple LOG_NAMES = ("log_request", "requestline")


cdef Template template_for(HandlerInfo info, object base, object errors, bint tls):
    """What of the environ is the same for all requests."""
    cdef Template template = info.template
    os_environ = HANDLER.os_environ if info.gateway_os_environ else NOTHING
    if template is None or not template.holds(base, os_environ, errors):
        template = info.template = make_template(base, os_environ, errors, info.decision.threaded, info.multiprocess,
                                                 info.cls.server_version, tls)
    return template


cdef dict NOTHING = {}
cdef dict SYS = vars(sys)


cdef int run(Connection conn, HandlerInfo info) except -1:
    cdef Gateway gateway = Gateway.__new__(Gateway)
    cdef uint64_t began = 0
    cdef PyObject *base
    cdef PyObject *errors = PyDict_GetItemWithError(SYS, "stderr")
    cdef dict state = PyObject_GenericGetDict(conn.server, NULL)
    cdef PyObject *application = NULL
    if info.access_log is not None:
        began = ts_monotonic_ns()
    # Of this request alone: an application may keep it.
    cdef RequestReader reader = RequestReader.__new__(RequestReader)
    reader.channel = conn
    conn.reader = reader
    gateway.conn = conn
    gateway.length = -1
    gateway.errors = <object>errors if errors != NULL else None
    gateway.is_head = asks_head(conn)
    base = PyDict_GetItemWithError(state, "base_environ")
    gateway.environ = environ_of(
        conn, template_for(info, <object>base if base != NULL else conn.server.base_environ, gateway.errors,
                           conn.r.tls != NULL),
        info)
    PyDict_SetItem(gateway.environ, "wsgi.input", reader)
    if info.plain_app:
        application = PyDict_GetItemWithError(state, "application")
    try:
        try:
            gateway.respond(<object>application if application != NULL else conn.server.get_app())
        except BaseException:
            gateway.fail()
        if gateway.status is not None and conn.c != NULL:
            gateway.log(began)
    except BaseException:
        conn.close_connection = True
        raise
    finally:
        gateway.conn = None
        reader.channel = None
        conn.reader = None
    return 0
