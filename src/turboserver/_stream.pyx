"""rfile and wfile: file objects over a Channel.

RequestReader behaves as the io.BufferedReader of socket.makefile('rb'), ResponseWriter
as the unbuffered writer of socketserver: same methods, results and exceptions. Both
are registered as io.BufferedIOBase, so isinstance() and TextIOWrapper accept them.

One thread at a time reads; writers may be several (the GIL orders them, and the
octets of one write stay together unless the kernel's buffer is full).

What may not live here: sockets, time-outs, protocol.
"""

import io
import os
import socket
import sys

from cpython.buffer cimport (
    PyBUF_CONTIG, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from libc.string cimport memchr, memcpy
from libc.stdint cimport int64_t, uint32_t
from turboserver._channel cimport Channel, MUTE_NOT, speaks
from turboserver._rules cimport DEFAULTS
from turboserver._native cimport TS_BODY_CHUNKED, TS_BODY_LENGTH, ts_in, ts_in_unread


cdef enum:
    CHUNK = 65536           # a read of unknown length takes this much at a time
    FIRST = 1 << 20         # a longer one takes memory as the octets come, from this on
    REQUEST_LINE = 65537    # the limit of readline() for a request line


cdef inline object taken(Channel channel, Py_ssize_t n):
    """The next n buffered octets, consumed."""
    cdef ts_in *b = channel.buffer
    cdef char *start = b.data + b.pos
    cdef bytes result = PyBytes_FromStringAndSize(start, n)
    b.pos += <uint32_t>n
    channel.took(start, n)
    return result


cdef Py_ssize_t size_of(object n) except -2:
    """-1 for None and negative numbers."""
    cdef Py_ssize_t size
    if n is None:
        return -1
    size = n
    return size if size >= 0 else -1


cdef class RequestReader:
    """The request's octets: a readable, buffered, unseekable binary file."""

    def __init__(self, Channel channel not None):
        self.channel = channel

    cdef Channel source(self):
        if self.channel is None or self.channel.buffer == NULL:
            raise ValueError("I/O operation on closed file.")
        return self.channel

    cdef Channel reading(self):
        """The channel, for who is about to touch its buffer."""
        cdef Channel channel = self.source()
        if channel.parked:
            raise ValueError("read of a request whose handler has returned")
        return channel

    cdef Py_ssize_t more(self) except -2:
        """One receive into the buffer: its size, 0 at the end, -1 would wait. BodyError at
        an end in the middle of a body."""
        if self.error is not None:
            raise OSError("cannot read from timed out object")
        # Another thread may have closed the file while this one waited.
        cdef Channel channel = self.reading()
        cdef Py_ssize_t got
        try:
            got = channel.refill()
        except TimeoutError as error:
            self.error = error
            raise
        if got == 0:
            channel.cut_off()
        return got

    cdef Py_ssize_t some(self) except -2:
        """shown(), after one receive if there is nothing; 0 at the end, -1 would wait."""
        cdef Channel channel = self.reading()
        cdef Py_ssize_t have = channel.shown()
        cdef Py_ssize_t got
        while have == 0:
            got = self.more()
            if got <= 0:
                return got
            have = channel.shown()
        return max(have, 0)

    def read(self, n=-1, /):
        """Up to n octets, fewer only at the end; all there are for None or -1. None if
        the socket is non-blocking and has nothing. TimeoutError, OSError (BodyError)."""
        cdef Channel channel = self.reading()
        cdef Py_ssize_t want = size_of(n)
        cdef Py_ssize_t have, at
        cdef bytes result
        if want == 0:
            return b""
        if want < 0:
            return self._read_all()
        have = channel.shown()
        if want <= have:
            return taken(channel, want)
        if have < 0 and channel.patience() == 0:
            return None     # a program that looks whether there is something
        # One copy for what is buffered, none for the rest; and no more memory than is due.
        if channel.body.kind == TS_BODY_LENGTH and want > channel.body.left:
            want = channel.body.left
        if want > FIRST:
            return self._read_long(want)
        result = PyBytes_FromStringAndSize(NULL, want)
        at = self._into(PyBytes_AS_STRING(result), want)
        if at < 0:
            return None
        return result if at == want else result[:at]

    def _read_long(self, Py_ssize_t want):
        """read() of so many octets that memory is taken as they come."""
        cdef list parts = []
        cdef bytes part
        cdef Py_ssize_t size = FIRST
        cdef Py_ssize_t at
        while want > 0:
            size = min(size, want)
            part = PyBytes_FromStringAndSize(NULL, size)
            at = self._into(PyBytes_AS_STRING(part), size)
            if at < 0:
                if not parts:
                    return None
                break
            parts.append(part if at == size else part[:at])
            if at < size:
                break
            want -= size
            size *= 2
        return b"".join(parts) if len(parts) != 1 else parts[0]

    cdef Py_ssize_t _into(self, char *into, Py_ssize_t want) except -2:
        """Fills into[0:want]: the count, smaller at the end or where it would have to
        wait; -1 if that is so for the first octet."""
        cdef Channel channel = self.channel
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t got, room
        cdef ts_in *b
        while at < want:
            got = channel.shown()
            if got < 0:
                return at
            room = want - at
            if got > 0:
                if got > room:
                    got = room
                b = channel.buffer
                memcpy(into + at, b.data + b.pos, got)
                b.pos += <uint32_t>got
            elif room >= CHUNK // 4 and channel.body.kind != TS_BODY_CHUNKED:
                if self.error is not None:
                    raise OSError("cannot read from timed out object")
                if channel.body.kind == TS_BODY_LENGTH and room > channel.body.left:
                    room = channel.body.left
                try:
                    got = channel.receive(into + at, room)
                except TimeoutError as error:
                    self.error = error
                    raise
                if got == 0:
                    channel.cut_off()
                if got <= 0:
                    return at if at > 0 else got
            else:
                got = self.more()
                if got <= 0:
                    return at if at > 0 else got
                continue
            channel.took(into + at, got)
            at += got
        return at

    def _read_all(self):
        cdef Channel channel = self.channel
        cdef Py_ssize_t got = 0
        cdef list parts = []
        while True:
            got = channel.shown()
            if got > 0:
                parts.append(taken(channel, got))
                continue
            if got == 0:
                got = self.more()
                if got > 0:
                    continue
                if got < 0 and not parts:
                    return None
            break
        return b"".join(parts)

    def read1(self, n=-1, /):
        """Up to n octets (bytes) with one receive at the most, as many as there are for -1; b'' at the end,
        and where the socket is non-blocking and has nothing. TimeoutError, OSError (BodyError)."""
        cdef Py_ssize_t want = size_of(n)
        cdef Py_ssize_t have
        self.reading()
        if want == 0:
            return b""
        have = self.some()
        if have <= 0:
            return b""
        return taken(self.channel, have if want < 0 or want > have else want)

    def peek(self, n=0, /):
        """Buffered octets without consuming them, after one receive if there are none."""
        cdef Py_ssize_t have = self.some()
        cdef Channel channel = self.channel
        if have <= 0:
            return b""
        return PyBytes_FromStringAndSize(channel.buffer.data + channel.buffer.pos, have)

    def readinto(self, buffer, /):
        """Fills the writable buffer: the count, smaller only at the end; None if the
        socket is non-blocking and has nothing."""
        cdef Py_buffer view
        cdef Py_ssize_t got
        self.reading()
        PyObject_GetBuffer(buffer, &view, PyBUF_CONTIG)
        try:
            got = self._into(<char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return None if got < 0 else got

    def readinto1(self, buffer, /):
        """As readinto(), with one receive at the most."""
        cdef Py_buffer view
        cdef Py_ssize_t got
        self.reading()
        PyObject_GetBuffer(buffer, &view, PyBUF_CONTIG)
        try:
            if view.len == 0:
                return 0
            got = self.some()
            if got <= 0:
                return None if got < 0 else 0
            return self._into(<char *>view.buf, min(got, view.len))
        finally:
            PyBuffer_Release(&view)

    def readline(self, limit=-1, /):
        """The octets up to and including the next LF, limit octets at the most, fewer
        at the end of the stream.

        A limit of 65537 is http.server's when it wants a request line. In a program's own
        copy of that code the next request then begins, after an answer or at the end of a
        body, if what is left of the body can be dropped.
        """
        cdef Channel channel = self.reading()
        cdef Py_ssize_t want = size_of(limit)
        cdef Py_ssize_t seen = 0
        cdef Py_ssize_t have, look
        cdef char *start
        cdef char *found
        cdef bytes line
        if want == REQUEST_LINE and channel.own_loop and not channel.wants_request():
            return b""
        if channel.body.kind == TS_BODY_CHUNKED:
            return self._readline_chunked(want)
        while True:
            have = channel.shown()
            look = have if want < 0 or want > have else want
            if look > seen:
                start = channel.buffer.data + channel.buffer.pos
                found = <char *>memchr(start + seen, 10, look - seen)
                if found != NULL:
                    seen = found - start + 1
                    break
                seen = look
            if (seen == want or have < 0 or channel.body.kind == TS_BODY_LENGTH and have >= channel.body.left
                    or self.more() <= 0):
                # Another thread may have read, too, while this one waited.
                seen = min(seen, max(channel.shown(), 0))
                break
            if ts_in_unread(channel.buffer) < seen:
                seen = 0
        line = taken(channel, seen)
        if seen == want == REQUEST_LINE and channel.heading and channel.rules is not DEFAULTS:
            # Of HTTP: a request line that is too long, or a part of it.
            channel.note_head(PyBytes_AS_STRING(line), seen)
            channel.end_requests()
        return line

    def _readline_chunked(self, Py_ssize_t want):
        """readline() of a body that does not lie in one piece, or whose end only its
        decoder knows."""
        cdef Channel channel = self.channel
        cdef Py_ssize_t have
        cdef char *start
        cdef char *found
        cdef list parts = []
        while want != 0:
            have = self.some()
            if have <= 0:
                break
            if 0 < want < have:
                have = want
            start = channel.buffer.data + channel.buffer.pos
            found = <char *>memchr(start, 10, have)
            if found != NULL:
                have = found - start + 1
            parts.append(taken(channel, have))
            if found != NULL:
                break
            if want > 0:
                want -= have
        return b"".join(parts)

    def readlines(self, hint=-1, /):
        """A list of the remaining lines; stops after hint octets if that is positive."""
        cdef Py_ssize_t enough = size_of(hint)
        cdef Py_ssize_t total = 0
        cdef list lines = []
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < enough <= total:
                break
        return lines

    def __iter__(self):
        self.source()
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def __enter__(self):
        self.source()
        return self

    def __exit__(self, *details):
        self.close()

    def close(self):
        """Ends reading; the connection itself stays open. May be repeated."""
        channel, self.channel = self.channel, None
        if channel is not None:
            (<Channel>channel).shut()

    def turbo_linger(self, wfile):
        """To be called before the connection is closed, by who closes it (handler.finish())."""
        if self.channel is not None and self.channel.buffer != NULL:
            self.channel.linger(wfile)

    @property
    def closed(self):
        """Whether close() was called, or the connection has ended (bool)."""
        return self.channel is None or self.channel.buffer == NULL

    @property
    def name(self):
        """The socket's descriptor (int), as of any file that was made of one."""
        return self.fileno()

    @property
    def mode(self):
        """Always "rb"."""
        return "rb"

    @property
    def raw(self):
        """An unbuffered file of the socket."""
        sock = self.source().socket()
        sock._io_refs += 1      # until it is closed or forgotten
        return socket.SocketIO(sock, "r")

    def readable(self):
        """True. ValueError if it is closed."""
        self.source()
        return True

    def writable(self):
        """False. ValueError if it is closed."""
        self.source()
        return False

    def seekable(self):
        """False. ValueError if it is closed."""
        self.source()
        return False

    def isatty(self):
        """False. ValueError if it is closed."""
        self.source()
        return False

    def flush(self):
        """Does nothing. ValueError if it is closed."""
        self.source()

    def fileno(self):
        """The socket's descriptor."""
        return self.source().expose()

    def write(self, data, /):
        """Raises io.UnsupportedOperation: this one reads."""
        raise io.UnsupportedOperation("write")

    def writelines(self, lines, /):
        """Raises io.UnsupportedOperation: this one reads."""
        raise io.UnsupportedOperation("write")

    def seek(self, offset, whence=0, /):
        """Raises io.UnsupportedOperation: it is a stream."""
        raise io.UnsupportedOperation("File or stream is not seekable.")

    def tell(self):
        """Raises io.UnsupportedOperation: it is a stream."""
        raise io.UnsupportedOperation("seek")

    def truncate(self, size=None, /):
        """Raises io.UnsupportedOperation: it is a stream."""
        raise io.UnsupportedOperation("truncate")

    def detach(self):
        """Raises io.UnsupportedOperation: there is no file below that could be had alone."""
        raise io.UnsupportedOperation("detach")


cdef class ResponseWriter:
    """The response's octets: a writable, unseekable binary file. What is written
    reaches the client as if it were sent at once."""

    def __init__(self, Channel channel not None):
        self.channel = channel

    cdef Channel sink(self):
        if self.channel is None or self.channel.buffer == NULL:
            raise ValueError("I/O operation on closed file.")
        return self.channel

    def write(self, data, /):
        """Writes all of a bytes-like object and returns its length in octets.
        TimeoutError, OSError (BrokenPipeError, ConnectionResetError, ...)."""
        cdef Py_buffer view
        cdef Py_ssize_t n
        cdef Channel channel = self.sink()
        if type(data) is bytes:
            n = PyBytes_GET_SIZE(data)
            if channel.mute == MUTE_NOT or speaks(channel, PyBytes_AS_STRING(data), n):
                channel.send_all(PyBytes_AS_STRING(data), n)
            return n
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if channel.mute == MUTE_NOT or speaks(channel, <char *>view.buf, view.len):
                channel.send_all(<char *>view.buf, view.len)
            return view.len
        finally:
            PyBuffer_Release(&view)

    def turbo_send_file(self, int file, offset, count, /):
        """Writes up to `count` octets of the regular file with that descriptor, from `offset` on,
        by sendfile() where that is possible; returns how many, which are fewer if the file ends
        before. TimeoutError, OSError."""
        cdef Channel channel = self.sink()
        cdef int64_t at = offset
        cdef int64_t n = count
        if at < 0 or n < 0:
            raise ValueError("offset and count must not be negative")
        if channel.mute != MUTE_NOT:
            return min(n, max(0, os.fstat(file).st_size - at))     # as write() says of what it drops
        return channel.send_file(file, at, n)

    cdef int write_part(self, bytes data) except -1:
        """write(), of what more will follow soon: a response head."""
        cdef Channel channel = self.sink()
        if channel.mute != MUTE_NOT and not speaks(channel, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
            return 0
        return channel.send_part(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def writelines(self, lines, /):
        """Writes each bytes-like object of an iterable."""
        self.sink()
        for line in lines:
            self.write(line)

    def flush(self):
        """Sends what is gathered now."""
        self.sink().flush()

    def close(self):
        """Flushes and ends writing; the connection itself stays open. May be
        repeated."""
        if self.channel is None:
            return
        try:
            if self.channel.buffer != NULL:
                self.channel.flush()
        finally:
            channel, self.channel = self.channel, None
            (<Channel>channel).shut()

    def __enter__(self):
        self.sink()
        return self

    def __exit__(self, *details):
        self.close()

    @property
    def closed(self):
        """Whether close() was called, or the connection has ended (bool)."""
        return self.channel is None or self.channel.buffer == NULL

    def readable(self):
        """False. ValueError if it is closed."""
        self.sink()
        return False

    def writable(self):
        """True. ValueError if it is closed."""
        self.sink()
        return True

    def seekable(self):
        """False. ValueError if it is closed."""
        self.sink()
        return False

    def isatty(self):
        """False. ValueError if it is closed."""
        self.sink()
        return False

    def fileno(self):
        """The socket's descriptor; what was written before is sent first."""
        return self.sink().expose()

    def __iter__(self):
        raise io.UnsupportedOperation("not readable")

    def read(self, n=-1, /):
        """Raises io.UnsupportedOperation: this one writes."""
        raise io.UnsupportedOperation("read")

    def readline(self, limit=-1, /):
        """Raises io.UnsupportedOperation: this one writes."""
        raise io.UnsupportedOperation("readline")

    def seek(self, offset, whence=0, /):
        """Raises io.UnsupportedOperation: it is a stream."""
        raise io.UnsupportedOperation("seek")

    def tell(self):
        """Raises io.UnsupportedOperation: it is a stream."""
        raise io.UnsupportedOperation("tell")

    def truncate(self, size=None, /):
        """Raises io.UnsupportedOperation: it is a stream."""
        raise io.UnsupportedOperation("truncate")

    def detach(self):
        """Raises io.UnsupportedOperation: there is no file below that could be had alone."""
        raise io.UnsupportedOperation("detach")


io.BufferedIOBase.register(RequestReader)
io.BufferedIOBase.register(ResponseWriter)


cpdef object plain_file(object filelike):
    """The file object below it whose read() gives what its descriptor has; None: there is
    none, or it may give something else."""
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None and type(filelike) is tempfile._TemporaryFileWrapper:
        filelike = filelike.file
    if type(filelike) is io.BufferedReader or type(filelike) is io.BufferedRandom:
        return filelike if type(filelike.raw) is io.FileIO else None
    return filelike if type(filelike) is io.FileIO else None
