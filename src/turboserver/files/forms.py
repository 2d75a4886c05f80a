"""A plain form that sends files: multipart/form-data (RFC 7578), streamed into uploads.

The format is read by the library `multipart` (the extra turboserver[upload]): it is fed pieces and gives pieces, has
a bound for each thing that a client could make large, and has no dependencies. Its strict mode is not used: what that
refuses depends on how the octets are cut. A form begins with its boundary, instead; what follows the last one is
dropped. The library python-multipart was looked at, too; it works by callbacks and once had the same module name.

All or nothing until the form has come to its end: then the files get their names, one after the other. Fields that are no files are dropped, and so
is an input without a file (its file name is empty).

One thread at a time. What may not live here: what a file goes through (upload.py).
"""

import contextlib
import re

from .beneath import Refused
from .upload import BLOCK, KEEP_FREE, Upload

__all__ = ["MAX_FILES", "check", "receive_form"]

MAX_FILES = 100         # files in one form: each is a descriptor until the end
_MAX_PARTS = 1000       # parts of every kind
_MAX_FIELD = 64 * 1024  # octets in a part that is no file
_MAX_BOUNDARY = 70      # RFC 2046, 5.1.1, which has the characters, too
_boundary = re.compile(rf"[0-9A-Za-z'()+_,./:=? -]{{0,{_MAX_BOUNDARY - 1}}}[0-9A-Za-z'()+_,./:=?-]").fullmatch


def receive_form(stream, content_type, directory, *, size_bound, length=None, keep_free=KEEP_FREE, **options):
    """Receive the files of a form into the folder that the descriptor `directory` is of.

    stream: its read(n) gives the body, b"" at the end. content_type: the field of the request.
    length: Content-Length, None if it is not known. size_bound: octets that all files together may have.
    options: those of Upload for each file: replace, sync, mode, lifetime.

    Gives [(name, Answer), ...]. Raises Refused: 400 malformed or cut short, 413 too much of anything, 415 no such form,
    501 the library is not installed, and those of Upload.
    """
    parser, begin = _parser(content_type, length)
    with contextlib.ExitStack() as stack:
        form = _Form(stack, directory, size_bound, {"keep_free": keep_free, **options})
        left, ahead = length, b""
        while left is None or left > 0:
            octets = stream.read(BLOCK if left is None else min(BLOCK, left))
            if not octets:
                break
            left = None if left is None else left - len(octets)
            if ahead is not None:
                ahead += octets
                if len(ahead) < len(begin):
                    continue
                if not ahead.startswith(begin):
                    raise Refused(400, "no form begins like this")
                octets, ahead = ahead, None
            with _errors():
                for event in parser.parse(octets):
                    form.take(event)
        if left:
            raise Refused(400, "the body was cut short")
        with _errors():
            parser.close()
        return [(name, upload.finish()) for name, upload in form.uploads.items()]


def check(content_type):
    """Raises Refused (400, 415, 501) for what receive_form() would refuse before it has read anything."""
    _parser(content_type, None)


class _Form:
    """What the parser's events mean. uploads: {file name: Upload}, all received, none in its place."""

    def __init__(self, stack, directory, size_bound, options):
        self._stack, self._directory, self._bound, self._options = stack, directory, size_bound, options
        self.uploads = {}
        self._upload = None         # the one that is being received
        self._received = self._field = 0

    def take(self, event):
        """A segment's head, octets of it (bytes-like), or None at its end."""
        if event is None:
            self._upload = None
        elif isinstance(event, (bytes, bytearray)):
            self._octets(event)
        elif event.filename:
            self._begin(event.filename)
        else:
            self._field = 0

    def _begin(self, name):
        if name in self.uploads:
            raise Refused(400, "two files of one name")
        if len(self.uploads) >= MAX_FILES:
            raise Refused(413, f"a form may have {MAX_FILES} files")
        self._upload = self._stack.enter_context(
            Upload(self._directory, name, size_bound=self._bound - self._received, **self._options))
        self.uploads[name] = self._upload

    def _octets(self, octets):
        if self._upload is not None:
            self._upload.write(octets)
            self._received += len(octets)
            return
        self._field += len(octets)
        if self._field > _MAX_FIELD:
            raise Refused(413, f"a field may have {_MAX_FIELD} octets")


def _library():
    try:
        import multipart
    except ImportError:
        multipart = None
    # Old releases of python-multipart have the same name.
    if not hasattr(multipart, "PushMultipartParser"):
        raise Refused(501, "forms need turboserver[upload]")
    return multipart


def _parser(content_type, length):
    """(the library's parser, the octets that the body begins with)"""
    multipart = _library()
    kind, options = multipart.parse_options_header(content_type or "")
    if kind != "multipart/form-data":
        raise Refused(415, "not multipart/form-data")
    boundary = options.get("boundary", "")
    if not _boundary(boundary):
        raise Refused(400, "no boundary")
    parser = multipart.PushMultipartParser(boundary, content_length=-1 if length is None else length,
                                           max_segment_count=_MAX_PARTS)
    return parser, b"--" + boundary.encode()


@contextlib.contextmanager
def _errors():
    """What the library finds wrong is a Refused."""
    import multipart
    try:
        yield
    except multipart.ParserLimitReached as error:
        raise Refused(413, str(error.args[0])) from error
    except multipart.MultipartError as error:
        raise Refused(400, str(error.args[0])) from error
