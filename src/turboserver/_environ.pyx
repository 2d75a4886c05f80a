"""The WSGI environ: from the spans of a scanned head to a dict (PEP 3333).

What it has to contain is what WSGIRequestHandler.get_environ() and wsgiref.handlers put
into it, key for key. Keys are made once for each name of a field and kept in a table;
what no request has a say in is copied from a template.

Names with an underscore are left out unless they are asked for: "X_Forwarded_For" would
be the same variable as "X-Forwarded-For", which a proxy takes care of.

What may not live here: grammar (csrc/scan.h, csrc/cgi.h), wsgi.input and wsgi.errors,
which are the gateway's.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Copy, PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem
from cpython.ref cimport PyObject, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_GET_LENGTH
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy
from turboserver._connection cimport Connection, VERSIONS
from turboserver._handlers cimport HandlerInfo
from turboserver._native cimport *


cdef extern from "cgi.h" nogil:
    bint ts_cgi_name(char *out, const char *name, size_t n)
    size_t ts_percent_decode(char *out, const char *text, size_t n)
    uint32_t ts_name_hash(const char *name, size_t n)


cdef extern from "Python.h":
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyDict_GET_SIZE(dict d)
    PyObject *PyDict_SetDefault(object d, object key, object value) except NULL


# ---- names of fields ----------------------------------------------------------

cdef enum Role:
    ROLE_FREE           # nothing in this place of the table
    ROLE_FIELD          # HTTP_...
    ROLE_DOUBTFUL       # the same, but the name has an underscore
    ROLE_ROOT           # SCRIPT_NAME or PATH_INFO, with the underscore
    ROLE_TYPE
    ROLE_LENGTH
    ROLE_HOST
    ROLE_CODING         # Transfer-Encoding
    ROLE_LEFT_OUT       # is a variable of the request's or the server's own

cdef enum:
    NAME_MAX = 46       # octets of a name that is kept
    VALUE_MAX = 256     # ... and of its value
    PLACES = 512
    STEPS = 4           # places that a name may be in

cdef struct Name:
    uint8_t role
    uint8_t length
    bint secret         # what it has is not kept
    char octets[NAME_MAX]
    PyObject *key       # owned
    PyObject *value     # owned: the str of the last one that was short; NULL: none was

# The GIL guards it. Names come from clients: a name that is new and finds its places
# taken takes one of them over.
cdef Name NAMES[PLACES]
cdef uint32_t TAKEN_OVER = 0

cdef frozenset VARIABLES = frozenset((
    "SERVER_NAME", "GATEWAY_INTERFACE", "SERVER_PORT", "REMOTE_HOST", "SCRIPT_NAME", "SERVER_PROTOCOL",
    "SERVER_SOFTWARE", "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR"))


cdef int describe(Name *name, const char *octets, uint32_t n) except -1:
    """Fill in role and key for a field's name of n octets."""
    cdef bytes upper = PyBytes_FromStringAndSize(NULL, n)
    cdef bint doubtful = ts_cgi_name(PyBytes_AS_STRING(upper), octets, n)
    text = upper.decode("latin-1")
    name.secret = "COOKIE" in text or "AUTH" in text or "TOKEN" in text or "KEY" in text
    key = sys.intern("HTTP_" + text)
    if text == "CONTENT_TYPE":
        name.role = ROLE_TYPE
    elif text == "CONTENT_LENGTH":
        name.role = ROLE_LENGTH
    elif text in VARIABLES:
        name.role = ROLE_LEFT_OUT
    else:
        name.role = ROLE_HOST if text == "HOST" else ROLE_FIELD
    if text == "TRANSFER_ENCODING" and not doubtful:
        name.role = ROLE_CODING
    if doubtful:    # also for one that would only be the same as Content-Type
        if name.role == ROLE_FIELD:
            name.role = ROLE_DOUBTFUL
        else:       # with a hyphen those two are left out, so nothing can pass for them
            name.role = ROLE_ROOT if text == "SCRIPT_NAME" or text == "PATH_INFO" else ROLE_LEFT_OUT
    Py_INCREF(key)
    name.key = <PyObject *>key
    return 0


cdef Name *name_of(const char *octets, uint32_t n, Name *own) except NULL:
    """The description of a name; `own` (whose key is the caller's to release) for one that
    is too long to be kept."""
    global TAKEN_OVER
    cdef uint32_t first = ts_name_hash(octets, n)
    cdef uint32_t step
    cdef Name *name
    cdef Name fresh
    if n > NAME_MAX:
        describe(own, octets, n)
        own.value = NULL
        return own
    for step in range(STEPS):
        name = &NAMES[(first + step) % PLACES]
        if name.role == ROLE_FREE:
            break
        if name.length == n and memcmp(name.octets, octets, n) == 0:
            return name
    else:
        TAKEN_OVER += 1
        name = &NAMES[(first + TAKEN_OVER % STEPS) % PLACES]
    describe(&fresh, octets, n)
    if name.role != ROLE_FREE:
        release(name.key)
        release_some(name.value)
    name.role = fresh.role
    name.key = fresh.key
    name.secret = fresh.secret
    name.value = NULL
    name.length = <uint8_t>n
    memcpy(name.octets, octets, n)
    return name


cdef extern from "Python.h":
    void release "Py_DECREF"(PyObject *)
    void release_some "Py_XDECREF"(PyObject *)


cdef object value_of(Name *name, const char *octets, uint32_t n):
    """The str of a value. Clients say the same in most fields each time."""
    cdef PyObject *known = name.value
    if (known != NULL and PyUnicode_GET_LENGTH(<object>known) == n
            and memcmp(PyUnicode_DATA(<object>known), octets, n) == 0):
        return <object>known
    value = PyUnicode_DecodeLatin1(octets, n, NULL)
    if 1 < n <= VALUE_MAX and not name.secret:
        Py_INCREF(value)
        name.value = <PyObject *>value
        release_some(known)
    return value


# ---- the template ---------------------------------------------------------------

# What most requests have in common; the others set it.
cdef dict USUAL = {
    "REQUEST_METHOD": "GET", "PATH_INFO": "", "QUERY_STRING": "", "REMOTE_ADDR": "", "SERVER_PROTOCOL": "HTTP/1.1",
    "CONTENT_TYPE": "text/plain",       # what get_content_type() says of none
    "wsgi.input": None, "wsgi.version": (1, 0), "wsgi.run_once": False, "wsgi.input_terminated": True,
}
# Fields of a request for which the copy has room without growing.
cdef enum:
    ROOM = 16


cdef class Template:

    cdef bint holds(self, object base, object os_environ, object errors):
        """Whether it would be made the same now. Programs change base_environ; of the
        other one only additions are seen."""
        cdef Py_ssize_t at = 0, i = 0
        cdef PyObject *key
        cdef PyObject *value
        if (base is not self.base or os_environ is not self.os_environ or errors is not self.errors
                or len(<dict>os_environ) != self.os_size or 2 * len(<dict>base) != len(self.base_then)):
            return False
        while PyDict_Next(base, &at, &key, &value):
            if (key != <PyObject *>PyTuple_GET_ITEM(self.base_then, i)
                    or value != <PyObject *>PyTuple_GET_ITEM(self.base_then, i + 1)):
                return False
            i += 2
        return True


cdef Template make_template(object base, object os_environ, object errors, bint multithread, bint multiprocess,
                            object software, bint tls):
    cdef Template template = Template.__new__(Template)
    import wsgiref.util     # not for who has no use for WSGI
    # A variable of the process that has such a name would pass for a client's field.
    cdef dict environ = {key: value for key, value in os_environ.items() if not key.startswith("HTTP_")}
    environ.update(USUAL)
    if not os_environ:
        environ["CONTENT_TYPE"] = ""    # not the original's ways
    if tls:
        environ["HTTPS"] = "on"     # which makes wsgi.url_scheme
    environ.update(base)
    environ.update({"SERVER_SOFTWARE": software, "wsgi.errors": errors, "wsgi.multithread": multithread,
                    "wsgi.multiprocess": multiprocess, "wsgi.url_scheme": wsgiref.util.guess_scheme(environ),
                    "wsgi.file_wrapper": wsgiref.util.FileWrapper})
    # A dict keeps the size it once had, and so does its copy. Few enough for a copy to
    # be made in one piece.
    fillers = [object() for i in range(min(ROOM, len(environ) // 3))]
    environ.update(dict.fromkeys(fillers))
    for filler in fillers:
        del environ[filler]
    template.environ = environ
    template.base = base
    template.base_then = tuple([part for item in base.items() for part in item])
    template.os_environ, template.os_size = os_environ, len(os_environ)
    template.errors = errors
    return template


# ---- the environ -------------------------------------------------------------------

cdef dict METHODS = {name.encode(): name for name in
                     ("GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE")}


cdef object method_of(const char *octets, uint32_t n):
    cdef PyObject *found
    if n == 4 and memcmp(octets, b"POST", 4) == 0:
        return "POST"
    found = PyDict_GetItemWithError(METHODS, octets[:n])
    return <object>found if found != NULL else PyUnicode_DecodeLatin1(octets, n, NULL)


cdef object path_of(const char *octets, size_t n):
    """PATH_INFO: decoded, and never with two slashes first, as everywhere in http.server."""
    cdef bytes decoded
    cdef size_t i = 0
    if n == 1:
        return "/" if octets[0] == b"/" else PyUnicode_DecodeLatin1(octets, 1, NULL)
    if n > 1 and octets[0] == b"/" and octets[1] == b"/":
        while i + 1 < n and octets[i + 1] == b"/":
            i += 1
        octets += i
        n -= i
    if n == 0 or memchr(octets, b"%", n) == NULL:
        return PyUnicode_DecodeLatin1(octets, n, NULL)
    decoded = PyBytes_FromStringAndSize(NULL, n)
    n = ts_percent_decode(PyBytes_AS_STRING(decoded), octets, n)
    return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(decoded), n, NULL)


cdef int set_target(dict environ, const char *target, size_t n, ts_request *req) except -1:
    cdef const char *query
    cdef const char *at = target
    cdef size_t left = n
    if req.form == TS_TARGET_ABSOLUTE:
        # Only the path and what follows it; none is the root (RFC 9112, 3.2.2).
        left = n - (req.authority.off - req.target.off) - req.authority.len
        at = target + (n - left)
    query = <const char *>memchr(at, b"?", left)
    if query != NULL:
        PyDict_SetItem(environ, "QUERY_STRING",
                       PyUnicode_DecodeLatin1(query + 1, left - (query + 1 - at), NULL))
        left = query - at
    PyDict_SetItem(environ, "PATH_INFO",
                   "/" if left == 0 and req.form == TS_TARGET_ABSOLUTE else path_of(at, left))
    return 0


cdef int set_fields(dict environ, Connection conn, HandlerInfo info) except -1:
    cdef char *head = conn.head_start()
    cdef ts_request *req = conn.c.req
    cdef ts_field *field
    cdef Name *name
    cdef Name own
    cdef uint32_t i
    cdef uint8_t role
    cdef PyObject *present
    cdef bint typed = False, lengthy = False
    cdef Py_ssize_t size
    for i in range(req.n_fields):
        field = &req.fields[i]
        name = name_of(head + field.name.off, field.name.len, &own)
        role = name.role
        key = <object>name.key
        if name == &own:
            name.secret = True
            release(own.key)
        if (role == ROLE_LEFT_OUT or role == ROLE_DOUBTFUL and not info.gateway_underscores
                or role == ROLE_ROOT and not info.gateway_root):
            continue
        if role == ROLE_CODING and req.chunked and conn.c.content >= 0 and conn.rules.decode:
            # All of the body is here: it is one with a length, and was never coded.
            PyDict_SetItem(environ, "CONTENT_LENGTH", str(conn.c.content))
            continue
        value = value_of(name, head + field.value.off, field.value.len)
        if role == ROLE_TYPE:
            if not typed:
                PyDict_SetItem(environ, "CONTENT_TYPE", value)
                typed = True
        elif role == ROLE_LENGTH:
            if not lengthy:
                PyDict_SetItem(environ, "CONTENT_LENGTH", value)
                lengthy = True
        else:
            if role == ROLE_HOST and req.form == TS_TARGET_ABSOLUTE:
                value = conn.authority()
            size = PyDict_GET_SIZE(environ)
            present = PyDict_SetDefault(environ, key, value)
            if PyDict_GET_SIZE(environ) == size:    # it is there, from a field before
                PyDict_SetItem(environ, key, f"{<object>present},{value}")
    if req.form == TS_TARGET_ABSOLUTE and req.minor == 0:
        PyDict_SetDefault(environ, "HTTP_HOST", conn.authority())
    return 0


cdef dict environ_of(Connection conn, Template template, HandlerInfo info):
    cdef ts_request *req = conn.c.req
    cdef char *head = conn.head_start()
    cdef dict environ = PyDict_Copy(template.environ)
    if req.method.len != 3 or memcmp(head + req.method.off, b"GET", 3) != 0:
        PyDict_SetItem(environ, "REQUEST_METHOD", method_of(head + req.method.off, req.method.len))
    if req.minor != 1:
        PyDict_SetItem(environ, "SERVER_PROTOCOL", VERSIONS[req.minor])
    address = conn.client_address
    if info.gateway_raw:
        PyDict_SetItem(environ, "RAW_URI", PyUnicode_DecodeLatin1(head + req.target.off, req.target.len, NULL))
        if type(address) is tuple:
            PyDict_SetItem(environ, "REMOTE_PORT", str((<tuple>address)[1]))
    if type(address) is tuple:
        address = (<tuple>address)[0]
    if type(address) is str:
        PyDict_SetItem(environ, "REMOTE_ADDR", address)
    set_target(environ, head + req.target.off, req.target.len, req)
    set_fields(environ, conn, info)
    return environ
