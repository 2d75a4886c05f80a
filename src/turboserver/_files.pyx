"""Files that were sent before: the same answer again, without Python, if nothing has changed.

turboserver.files decides what a request for a file is answered with. Where that would be the same for each
client, it has the answer remembered: an Entry for the octets of the path. As long as the file, the way to it and
what may lie beside it are what they were, the head is the same, and the octets are read anew.

    answer_with_file    200 or 304 for such a request, or False: it is Python's to answer
    remember            from turboserver.files.sending, while it puts that head together

What makes an Entry hold is looked at for each request, so nothing stale is sent:
    the path leads to that inode, and it has its size and its times (lstat);
    the folders between the root and the file are folders and no links (lstat each);
    where a compressed form beside it would be sent instead: none was there, and nothing has been put into
        the folder, or taken from it, since (the folder's time);
    the handler class is as it was (HandlerInfo), and so are `directory`, `extensions_map` and, for a type that
        mimetypes was asked for, its answer.
A file system's clock has ticks: what was changed in the last two seconds is not remembered. Nor is what lies in
a file system for which such looks are slow or mean nothing (ts_file_is_local).

The octets come from a descriptor that turboserver.files opened below the root, so there is nothing between
looking and reading: at worst they are of a file that was there a moment ago. Of files up to KEPT_SIZE it is kept (who
removes a large file wants its room); larger ones are opened again, below the root and through no link.

Entries belong to a HandlerInfo and to whoever holds the GIL; at most `most` of them. What may not live here: which
answer it is, ranges, and all that has to be decided.
"""

import os
import resource
from time import time_ns

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr, memcmp
from posix.unistd cimport close
from turboserver._connection cimport SMALL_FILE, STAGE_PLAIN, Connection, assigned, connection_of, shadows
from turboserver._handlers cimport HandlerInfo, Start
from turboserver._headers cimport same
from turboserver._native cimport *
from turboserver._response cimport asks_head, begin_natively, end_natively, fields_of, log_response, start_of


cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(dict d)


cdef enum:
    KEPT_SIZE = 1048576     # octets of a file whose descriptor is kept
    MOST_KEPT = 512         # entries

# The largest tick of a file system's clock: FAT's.
cdef int64_t clock_ns = 2_000_000_000


def set_clock(seconds):
    """For tests, which cannot wait: what was changed longer ago is remembered."""
    global clock_ns
    clock_ns = <int64_t>(<double>seconds * 1e9)


# What may be assigned on a handler object and has a say in the answer.
cdef tuple NAMES = (
    "do_GET", "do_HEAD", "translate_path", "send_head", "guess_type", "copyfile", "extensions_map", "index_pages",
    "default_content_type", "send_response", "send_response_only", "send_header", "end_headers", "flush_headers",
    "version_string", "date_time_string", "server_version", "sys_version", "protocol_version", "responses",
    "request_version", "_headers_buffer", "wfile", "path", "command", "headers", "turbo_files")

# Fields of 200 that 304 has no use for (RFC 9110, 15.4.5).
cdef frozenset ONLY_WHOLE = frozenset((b"content-type", b"content-length", b"content-encoding", b"accept-ranges",
                                       b"x-content-type-options"))


cdef class Entry:
    cdef bytes path             # of the file, from where `directory` begins
    cdef tuple folders          # ... of those on the way, without the root
    cdef bytes parent           # ... of the one that it is in
    cdef bytes top              # ... of the root
    cdef bint beside            # what is in that has a say
    cdef ts_file_look look
    cdef ts_file_look parent_look
    cdef object root            # opening.Root: keeps its descriptor open
    cdef bytes relative         # the path from the root on
    cdef int fd                 # -1: it is opened each time
    cdef object directory
    cdef Py_ssize_t n_types     # of extensions_map, as it was
    cdef str extension          # ... of which this one is this name's
    cdef object type            # ... None if it has none
    cdef tuple library          # (extension, type) if mimetypes was asked, else None
    cdef bytes fields           # of 200, behind Date
    cdef bytes unchanged        # ... of 304
    cdef bytes tag
    cdef bytes modified         # Last-Modified; b"" if it has none
    cdef bint used              # since it was looked for the last time what may go

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    cdef bint holds(self, object cls):
        """Whether the file, the way to it and what is beside it are as they were."""
        cdef ts_file_look now
        cdef Py_ssize_t last = len(self.folders) - 1
        cdef dict types = cls.extensions_map
        cdef PyObject *type = PyDict_GetItemWithError(types, self.extension)
        if PyDict_GET_SIZE(types) != self.n_types or (type != <PyObject *>self.type if type != NULL else self.type is not None):
            return False
        if self.library is not None and ask_library(self.library[0]) != self.library[1]:
            return False
        if self.fd >= 0 and (ts_file_look_at(<char *>self.path, False, &now) != 0
                             or not ts_file_same(&now, &self.look)):
            return False
        for i, folder in enumerate(self.folders):
            if ts_file_look_at(<char *><bytes>folder, False, &now) != 0 or now.kind != TS_FILE_FOLDER:
                return False
            if i == last and self.beside and not ts_file_same(&now, &self.parent_look):
                return False
        if last < 0 and self.beside or self.fd < 0:
            if ts_file_look_at(<char *>self.top, True, &now) != 0:
                return False
            if last < 0 and self.beside and not ts_file_same(&now, &self.parent_look):
                return False
            if self.fd < 0 and (now.device, now.inode) != self.root.identity:
                return False
        return True

    cdef int opened(self):
        """A descriptor of the file as it was, -1 if there is none. It is the caller's if it is another than `fd`."""
        cdef ts_file_look now
        cdef int fd = self.fd
        if fd >= 0:
            return fd
        fd = ts_file_open_beneath(self.root.fd, <char *>self.relative)
        if fd >= 0 and (ts_file_look_fd(fd, &now) != 0 or not ts_file_same(&now, &self.look)):
            close(fd)
            fd = -1
        return max(fd, -1)

    cdef bint can_be_opened(self):
        cdef int fd = self.opened()
        if fd >= 0:
            close(fd)
        return fd >= 0


# ---- answering --------------------------------------------------------------------

cdef enum Wanted:
    WHOLE
    UNCHANGED
    OTHER


cdef inline bint is_named(const char *head, ts_field *field, const char *name, uint32_t n) noexcept:
    return field.name.len == n and same(<const unsigned char *>head + field.name.off, <const unsigned char *>name, n)


cdef inline bint is_value(const char *head, ts_field *field, bytes value) noexcept:
    return (field.value.len == <uint32_t>PyBytes_GET_SIZE(value)
            and memcmp(head + field.value.off, PyBytes_AS_STRING(value), field.value.len) == 0)


cdef Wanted wanted(Connection conn, Entry entry) noexcept:
    """What the request's preconditions ask for, as far as that is plain (RFC 9110, 13.2.2)."""
    cdef const char *head = conn.head_start()
    cdef ts_request *req = conn.c.req
    cdef ts_field *field
    cdef ts_field *tags = NULL
    cdef ts_field *date = NULL
    cdef uint32_t i
    cdef char first
    for i in range(req.n_fields):
        field = &req.fields[i]
        first = head[field.name.off] | 0x20
        if first == c"r" and is_named(head, field, b"range", 5):
            return OTHER
        if first != c"i":
            continue
        if is_named(head, field, b"if-none-match", 13):
            if tags != NULL:
                return OTHER
            tags = field
        elif is_named(head, field, b"if-modified-since", 17):
            if date != NULL:
                return OTHER
            date = field
        elif field.name.len > 3 and head[field.name.off + 2] == c"-":
            return OTHER
    if tags != NULL:
        return UNCHANGED if is_value(head, tags, entry.tag) else OTHER
    if date != NULL:
        return UNCHANGED if is_value(head, date, entry.modified) else OTHER
    return WHOLE


cdef Entry entry_for(Connection conn):
    """What is remembered of the request's path, or None."""
    cdef ts_request *req = conn.c.req
    cdef char *target
    cdef char *end
    cdef Py_ssize_t n
    cdef PyObject *found
    if req.form != TS_TARGET_ORIGIN or not conn.info.files:
        return None
    target = conn.head_start() + req.target.off
    n = req.target.len
    end = <char *>memchr(target, c"?", n)
    if end != NULL:
        n = end - target
    found = PyDict_GetItemWithError(conn.info.files, PyBytes_FromStringAndSize(target, n))
    return None if found == NULL else <Entry>found


cdef bint asks_get(Connection conn) noexcept:
    return conn.c.req.method.len == 3 and memcmp(conn.head_start() + conn.c.req.method.off, b"GET", 3) == 0


cdef bint is_directory(Connection conn, Entry entry) except -1:
    """Whether it is below the directory of this handler."""
    cdef PyObject *found = PyDict_GetItemWithError(conn.attrs, "directory")
    return found != NULL and (found == <PyObject *>entry.directory or <object>found == entry.directory)


cdef bint has_more_fields(Connection conn):
    """Whether this handler's answers were given fields, by 3.15's attribute: each __init__ assigns it there. What its
    class gives is asked for when a file is remembered, and holds as long as the class is the same."""
    cdef PyObject *found = PyDict_GetItemWithError(conn.attrs, "extra_response_headers")
    return found != NULL and bool(<object>found)


cdef bint answer_with_file(Connection conn) except -1:
    """Answer GET or HEAD from what is remembered. False, with nothing done, if the handler has to."""
    cdef HandlerInfo info = conn.info
    cdef Entry entry = entry_for(conn)
    cdef bint is_head = asks_head(conn)
    cdef Wanted what
    if entry is None or not ts_body_done(conn.body) or not (info.sends_heads if is_head else asks_get(conn)):
        return False
    if not is_directory(conn, entry) or has_more_fields(conn) or shadows(conn, NAMES):
        return False
    what = wanted(conn, entry)
    if what == OTHER or what == UNCHANGED and entry.unchanged is None:
        return False
    if not entry.holds(info.cls):
        info.files.pop(key_of(conn), None)
        return False
    entry.used = True
    try:
        return send(conn, entry, what, is_head)
    except ConnectionError:
        if not info.silent_aborts:
            raise
        conn.close_connection = True
        return True


cdef bint send(Connection conn, Entry entry, Wanted what, bint is_head) except -1:
    cdef char body[SMALL_FILE]
    cdef int64_t size = entry.look.size
    cdef Py_ssize_t got
    cdef int fd
    if what == UNCHANGED or is_head:
        send_head(conn, 304 if what == UNCHANGED else 200, entry.unchanged if what == UNCHANGED else entry.fields)
        return True
    fd = entry.opened()
    if fd < 0:
        return False
    try:
        if size >= SMALL_FILE:
            send_head(conn, 200, entry.fields)
            if conn.send_file(fd, 0, size) < size:
                conn.close_connection = True
                conn.handler.log_error("%s", "the file became shorter while it was sent")
            return True
        got = ts_file_read_now(fd, body, <size_t>size, 0)
        if got < 0:
            with nogil:
                got = ts_file_read(fd, body, <size_t>size, 0)
            conn.handle()       # it may have been closed meanwhile
        if got != size:
            return False
        send_head(conn, 200, entry.fields)
        if size > 0:
            conn.send_all(body, got)
        return True
    finally:
        if fd != entry.fd:
            close(fd)


cdef int send_head(Connection conn, int code, bytes fields) except -1:
    """Log, and the whole head."""
    cdef HandlerInfo info = conn.info
    cdef Start start = start_of(info, code)
    log_response(info, conn.handler, conn.attrs, conn, code, start)
    conn.handle()               # a log of the program's own may do anything
    begin_natively(conn, info, code, None, start)
    if ts_head_add(&conn.head, PyBytes_AS_STRING(fields), PyBytes_GET_SIZE(fields)) != 0:
        raise MemoryError
    return end_natively(conn.handler, conn)


# ---- remembering --------------------------------------------------------------------

cdef Py_ssize_t most = 0
cdef object ask_library = None


cdef int find_most() except -1:
    """As many entries as leave the descriptors to the connections."""
    global most, ask_library
    from turboserver.files.media_types import ask_library   # loaded already, by who remembers
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = MOST_KEPT if soft < 0 else max(1, min(MOST_KEPT, soft // 8))
    return 0


cdef bytes key_of(Connection conn):
    return conn.head_start()[conn.c.req.target.off:conn.c.req.target.off + conn.c.req.target.len].partition(b"?")[0]


cdef bytes fields_unchanged(bytes fields):
    """The fields of 304 among those of 200; None if that is not plain."""
    lines = fields.splitlines(True)
    names = [line.partition(b":")[0].lower() for line in lines]
    if len(set(names)) < len(names):
        return None
    return b"".join([line for name, line in zip(names, lines) if name not in ONLY_WHOLE])


cdef int make_room(dict files) except -1:
    """One entry goes, if there are so many: the oldest that was not used since it was looked at here."""
    cdef Entry entry
    if most == 0:
        find_most()
    while len(files) >= most:
        key = next(iter(files))
        entry = files.pop(key)
        if entry.used:
            entry.used = False
            files[key] = entry
    return 0


def remember(handler, root, tuple names, int fd, *, bint beside, library, tag, modified):
    """The head that `handler` has put together, all but its end, is that of each answer with this file.

    root, names: opening.Root, and the names (str) from there on. fd: an open descriptor of it. beside: that no
    compressed form lies beside it counts. library: media_types.from_library(). tag, modified: values (str) of ETag and Last-Modified ("" if there is none).
    Does nothing where the answer may be another one next time.
    """
    cdef Connection conn = connection_of(handler)
    cdef HandlerInfo info
    cdef Entry entry
    cdef ts_file_look now
    cdef int64_t late
    if conn is None or conn.stage != STAGE_PLAIN or not conn.info.sends_files or tag.startswith("W/"):
        return
    info = conn.info
    directory = conn.attrs.get("directory")
    if (conn.c.req.form != TS_TARGET_ORIGIN or type(directory) is not str or assigned(conn.attrs, NAMES) or not names
            or type(info.cls.extensions_map) is not dict or has_more_fields(conn)
            or getattr(info.cls, "extra_response_headers", None)):
        return
    fields = fields_of(conn, info, 200)
    key = key_of(conn)
    if fields is None or b"#" in key:
        return
    entry = Entry.__new__(Entry)
    # What is at a folder's own path is an index page, and a better one may come.
    entry.directory, entry.root, entry.beside = directory, root, beside or key.endswith(b"/")
    entry.library, entry.extension = library, os.path.splitext(names[len(names) - 1])[1].lower()
    entry.n_types, entry.type = len(info.cls.extensions_map), info.cls.extensions_map.get(entry.extension)
    if any([extension != entry.extension and extension.lower() == entry.extension for extension in info.cls.extensions_map]):
        return      # several have a say
    entry.path = os.fsencode(os.path.join(directory, *names))
    entry.relative = os.fsencode("/".join(names))
    entry.folders = tuple([os.fsencode(os.path.join(directory, *names[:i])) for i in range(1, len(names))])
    entry.top = os.fsencode(directory)
    entry.parent = entry.folders[len(entry.folders) - 1] if entry.folders else entry.top
    if (ts_file_look_fd(fd, &entry.look) != 0 or ts_file_look_at(<char *>entry.path, False, &now) != 0
            or not ts_file_same(&now, &entry.look) or now.kind != TS_FILE_REGULAR or not ts_file_is_local(fd)
            or ts_file_look_at(<char *>entry.parent, True, &entry.parent_look) != 0):
        return
    late = <int64_t>time_ns() - clock_ns
    if max(entry.look.modified_ns, entry.look.changed_ns) > late:
        return
    if entry.beside and max(entry.parent_look.modified_ns, entry.parent_look.changed_ns) > late:
        return
    entry.fields, entry.unchanged = fields, fields_unchanged(fields)
    entry.tag, entry.modified = tag.encode("latin-1"), modified.encode("latin-1")
    make_room(info.files)
    if entry.look.size <= KEPT_SIZE:
        entry.fd = ts_file_again(fd)
        if entry.fd < 0:
            return
    elif not entry.can_be_opened():
        return
    if entry.holds(info.cls):
        info.files.pop(key, None)
        info.files[key] = entry
