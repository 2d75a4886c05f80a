"""The header fields of a request, as the object that handlers ask.

`build_headers` makes the MessageClass instance from the spans of a scanned head, when
somebody looks. `HTTPMessage` is http.client's, with the look-up by name compiled: a
field is found without making a lower-case copy of each name on the way.

What may not live here: grammar (csrc/scan.h), what a field means.
"""

import http.client
import io

from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_GET_LENGTH
from libc.stdint cimport uint32_t
from turboserver._native cimport ts_field, ts_request


cdef extern from "Python.h":
    enum:
        PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    bint PyUnicode_IS_ASCII(object text)


cdef object Original = http.client.HTTPMessage
cdef object COMPAT32 = Original().policy    # email.policy.compat32, without its module's imports
cdef object MISSING = object()


# ---- looking up -----------------------------------------------------------

cdef inline unsigned char lower(unsigned char c):
    return c | 0x20 if c'A' <= c <= c'Z' else c


cdef bint same(const unsigned char *a, const unsigned char *b, Py_ssize_t n):
    """Whether two ASCII names are one, whatever their case."""
    cdef Py_ssize_t i
    for i in range(n):
        if a[i] != b[i] and lower(a[i]) != lower(b[i]):
            return False
    return True


cdef object find(message, name):
    """The value of the first field of that name; MISSING if there is none, and
    NotImplemented if only the original can tell: another policy, or something in the
    way that no parser put there."""
    cdef Py_ssize_t length
    cdef tuple field
    if type(name) is not str or not PyUnicode_IS_ASCII(name) or message.policy is not COMPAT32:
        return NotImplemented
    fields = message._headers
    if type(fields) is not list:
        return NotImplemented
    length = PyUnicode_GET_LENGTH(name)
    for item in <list>fields:
        if type(item) is not tuple or len(<tuple>item) != 2:
            return NotImplemented
        field = item
        known = field[0]
        if type(known) is not str:
            return NotImplemented
        if known is name or PyUnicode_IS_ASCII(known) and (
                PyUnicode_GET_LENGTH(known) == length
                and same(<unsigned char *>PyUnicode_DATA(known), <unsigned char *>PyUnicode_DATA(name), length)):
            value = field[1]
            # Wider text may hold what was undecodable, which the policy shows otherwise.
            if type(value) is not str or PyUnicode_KIND(value) != PyUnicode_1BYTE_KIND:
                return NotImplemented
            return value
        if not PyUnicode_IS_ASCII(known) and PyUnicode_KIND(known) != PyUnicode_1BYTE_KIND:
            return NotImplemented   # some such letters have an ASCII one for lower case
    return MISSING


class HTTPMessage(Original):
    """http.client.HTTPMessage, the class of `BaseHTTPRequestHandler.headers`, with a
    native look-up by name (str, case-insensitive)."""

    def get(self, name, failobj=None):
        """The first value of the field `name` (str), or failobj if there is none."""
        value = find(self, name)
        if value is MISSING:
            return failobj
        if value is NotImplemented:
            return Original.get(self, name, failobj)
        return value

    def __getitem__(self, name):
        # The original asks get(), which a subclass may have.
        value = find(self, name) if type(self) is HTTPMessage else NotImplemented
        if value is MISSING:
            return None
        if value is NotImplemented:
            return Original.__getitem__(self, name)
        return value

    def __contains__(self, name):
        value = find(self, name)
        if value is NotImplemented:
            return Original.__contains__(self, name)
        return value is not MISSING


# ---- making it ------------------------------------------------------------

def _pristine_message():
    """The state of a parsed HTTPMessage, whatever this Python's email parser sets."""
    message = http.client.parse_headers(io.BytesIO(b"a: b\r\n\r\n"))
    state = dict(vars(message))
    assert state.pop("_headers") == [("a", "b")] and state.pop("defects") == []
    return state

cdef dict PRISTINE = _pristine_message()
cdef dict NAMES = {}    # octets of a field name -> str, for the names that recur

# Names come from the peer: bounded.
cdef enum:
    NAMES_MAX = 512


cdef bint is_plain_class(message_class):
    """Whether instances are made here, not by the email parser."""
    return message_class is HTTPMessage or message_class is Original


cdef object field_name(char *start, uint32_t length):
    cdef bytes key = start[:length]
    name = NAMES.get(key)
    if name is None:
        name = PyUnicode_DecodeLatin1(start, length, NULL)
        if len(NAMES) < NAMES_MAX and length <= 32:
            NAMES[key] = name
    return name


cdef object build_headers(char *head, ts_request *req, message_class, authority):
    """A message of the scanned fields, equal in every attribute to what
    http.client.parse_headers() makes of them. authority: str that takes the place of
    Host, or None."""
    cdef uint32_t i
    cdef ts_field *field
    cdef list fields = []
    if not is_plain_class(message_class):
        return parse_headers(head, req, message_class, authority)
    for i in range(req.n_fields):
        field = &req.fields[i]
        name = field_name(head + field.name.off, field.name.len)
        value = PyUnicode_DecodeLatin1(head + field.value.off, field.value.len, NULL)
        if field.name.len == 12 and name.lower() == "content-type":
            # The email parser looks into these types while it parses.
            kind = value.lower()
            if kind.startswith(("multipart", "message")):
                return parse_headers(head, req, message_class, authority)
        if authority is not None and field.name.len == 4 and name.lower() == "host":
            value = authority
        fields.append((name, value))
    if authority is not None and req.minor == 0 and not any([name.lower() == "host" for name, value in fields]):
        fields.append(("Host", authority))
    message = message_class.__new__(message_class)
    state = message.__dict__
    state.update(PRISTINE)
    state["_headers"] = fields
    state["defects"] = []
    return message


cdef object parse_headers(char *head, ts_request *req, message_class, authority):
    cdef uint32_t i
    cdef ts_field *field
    cdef list lines = []
    for i in range(req.n_fields):
        field = &req.fields[i]
        lines.append(b"%b: %b\r\n" % (head[field.name.off:field.name.off + field.name.len],
                                      head[field.value.off:field.value.off + field.value.len]))
    lines.append(b"\r\n")
    message = http.client.parse_headers(io.BytesIO(b"".join(lines)), _class=message_class)
    if authority is not None:
        replace_host(message, authority)
    return message


def replace_host(message, authority):
    """The Host field's value becomes that of an absolute-form target (RFC 9112, 3.2.2)."""
    if "Host" in message:
        message.replace_header("Host", authority)
    else:
        message["Host"] = authority
