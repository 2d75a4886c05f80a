"""Answers with a file or a folder: which fields, which octets, and what becomes of the connection.

    send_file(handler, ...)     a file, or that the client has it, or parts of it
    send_folder(handler, ...)   the page of a folder, for people or for programs
    send_fields(handler, ...)   fields of an answer, and what options.headers and options.cors add to each

Invariants: what is said of a length is kept. A file that has become shorter meanwhile ends the connection before the
length that was said, or before the last chunk, so that the client can tell; of one that has become longer, as much goes
out as was said. What cannot be refused any more (a client that went away) ends the connection, too.

The handler's thread. What may not live here: opening files (opening.py), receiving them (receiving.py).
"""

import contextlib
import itertools
import os
import re
import time

from .. import accelerated
from . import as_json, codings, conditions, folder, page, partials, ranges
from .beneath import Refused, open_beneath
from .hooks import copies, guess, more, types
from .media_types import DEFAULT, MediaType, from_library, media_type
from .opening import Opened

if accelerated:
    from .._files import remember
else:
    def remember(*arguments, **options):
        """There is nobody to whom it would be of use."""

__all__ = ["LISTS", "common_fields", "send_as_original", "send_empty", "send_fields", "send_file", "send_folder", "send_piece"]

PIECE = 256 * 1024      # octets read at once: memory of a handler whose client is slow

# What scripts of other sites may look at (Fetch Standard, 3.3.3), beyond what they may anyway.
EXPOSED = "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag, Location, Upload-Length, Upload-Offset"
# These of ours give way to what somebody said in options.headers.
YIELDING = frozenset(("cache-control", "content-security-policy", "content-type", "referrer-policy",
                       "x-content-type-options"))
# Of these one more adds to what is there.
LISTS = frozenset(("link", "set-cookie", "vary"))
_json_wanted = re.compile(r"(?:^|,)[ \t]*application/json[ \t]*(?:;(?![ \t]*q=0(?:\.0*)?[ \t]*(?:,|$))[^,]*)?(?:,|$)",
                          re.IGNORECASE).search
_html_wanted = re.compile(r"(?:^|,)[ \t]*text/html[ \t]*(?:[;,]|$)", re.IGNORECASE).search


# ---- Fields ----

def common_fields(options):
    """What is added to each answer: a list of (name, value)."""
    fields = list(options.headers)
    if options.cors:
        fields += [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED)]
    return fields


def send_fields(handler, fields):
    """Send `fields`, pairs, then what is added to each answer. Of one name those that somebody asked for are sent,
    if ours can give way, else ours."""
    options = handler.turbo_files
    beside = more(handler)
    if not (options.headers or options.cors or beside):
        for name, value in fields:
            handler.send_header(name, value)
        return
    beside = [*common_fields(options), *beside]
    asked = {name.lower() for name, _ in beside} & YIELDING
    if any(name.lower() == "content-type" and value.startswith("multipart/byteranges") for name, value in fields):
        asked.discard("content-type")       # nobody could read the parts
        beside = [field for field in beside if field[0].lower() != "content-type"]
    sent = set()
    for name, value in fields:
        if name.lower() not in asked:
            handler.send_header(name, value)
            sent.add(name.lower())
    for name, value in beside:
        if name.lower() not in sent - LISTS:
            handler.send_header(name, value)


def send_as_original(handler, file):
    """What the original's do_GET and do_HEAD do with what send_head() or list_directory() has returned: the rest of a
    file object, which is closed, or None."""
    if file:
        try:
            if handler.command != "HEAD":
                handler.copyfile(file, handler.wfile)
        finally:
            file.close()


def send_empty(handler, status, fields=()):
    """A whole answer without a body. fields: pairs."""
    handler.send_response(status)
    length = () if status in (204, 304) else (("Content-Length", "0"),)
    send_fields(handler, (*fields, *length))
    handler.end_headers()


# ---- Files ----

def send_file(handler, root, opened):
    """Answer GET or HEAD with the file `opened` (Opened below `root`), which stays the caller's. Raises Refused."""
    with contextlib.ExitStack() as stack:
        choice = _choose(handler, root, opened, stack)
        found, coding = choice.opened.found, choice.coding
        get_all = handler.headers.get_all
        tag = conditions.etag(found, coding, time.time_ns())
        if choice.made and not tag.startswith("W/"):
            # Another version of the library compresses in another way (RFC 9110, 8.8.1).
            tag = "W/" + tag
        fields = [("ETag", tag)]
        with contextlib.suppress(ValueError):
            # There are years that it cannot say.
            fields.insert(0, ("Last-Modified", conditions.format_date(found.st_mtime // 1)))
        if choice.varies:
            fields.append(("Vary", codings.vary()))
        verdict = conditions.evaluate(handler.command, get_all, tag, found.st_mtime)
        if verdict.status == 412:
            raise Refused(412, "the file is not as it was expected", fields)
        if verdict.status == 304:
            send_empty(handler, 304, fields + _cache_fields(handler.turbo_files))
            return
        if handler.turbo_files.nosniff:
            fields.append(("X-Content-Type-Options", "nosniff"))
        if choice.made:
            _send_compressed(handler, choice, fields)
        else:
            _send_plan(handler, root, choice, fields, verdict.ranges)


def _send_plan(handler, root, choice, fields, ranges_count):
    size, kind = choice.opened.found.st_size, choice.media.content_type
    asked = handler.headers.get_all("Range") or ()
    plan = ranges.plan(asked[0] if ranges_count and len(asked) == 1 else None, size, kind)
    fields.append(("Accept-Ranges", "bytes"))
    if plan.status == 416:
        raise Refused(416, "no such range", (*plan.headers, *fields))
    fields += _coding_fields(choice) + _cache_fields(handler.turbo_files)
    head = [("Content-type", kind), ("Content-Length", str(plan.length)), *plan.headers]
    if any(name == "Content-Type" for name, _ in plan.headers):
        del head[0]
    handler.send_response(plan.status)
    send_fields(handler, head + fields)
    if plan.status == 200 and choice.always and not handler._turbo_fields:
        names = choice.opened.names
        remember(handler, root, names, choice.opened.fd, beside=choice.media.compressible, library=from_library(names[-1]),
                 tag=_value(fields, "ETag"), modified=_value(fields, "Last-Modified"))
    handler.end_headers()
    if handler.command == "HEAD":
        return
    for piece in plan.pieces:
        if isinstance(piece, bytes):
            handler.wfile.write(piece)
            continue
        length = piece.stop - piece.start
        if send_piece(handler, choice.opened.fd, piece.start, length) < length:
            _cut_off(handler)
            return


def _value(fields, name):
    return next((value for other, value in fields if other == name), "")


def _cut_off(handler):
    """The answer ends here, short of what was said, and with it the connection."""
    handler.close_connection = True
    handler.log_error("%s", "the file became shorter while it was sent")


def send_piece(handler, fd, offset, length):
    """Send `length` octets of the file `fd` from `offset` on; the number of those that were sent, which is less if
    the file ends before. This is the one place where a file's octets become a body."""
    by_kernel = getattr(handler.wfile, "turbo_send_file", None)
    if by_kernel is not None and not copies(handler):
        return by_kernel(fd, offset, length)
    source = _Piece(fd, offset, length)
    if copies(handler):
        handler.copyfile(source, handler.wfile)
    else:
        while octets := source.read(PIECE):
            handler.wfile.write(octets)
    return length - source.left


class _Piece:
    """A part of a file, as copyfile() reads it. Its descriptor's own position is not touched."""

    def __init__(self, fd, offset, length):
        self._fd, self._at, self.left = fd, offset, length

    def read(self, size=-1):
        """Up to `size` octets, all that are left if it is negative or None; b"" at the end."""
        size = self.left if size is None or size < 0 else min(size, self.left)
        octets = os.pread(self._fd, size, self._at) if size else b""
        self._at += len(octets)
        self.left -= len(octets)
        return octets


# ---- Codings ----

class _Choice:
    """What of a file is sent. media: MediaType. coding: of the body. opened: what is read. made: it is compressed as it
    goes. varies: other clients get it in another coding. always: it is the same for each client, as long as nothing
    else lies beside it."""

    def __init__(self, media, opened, coding, made=False, varies=False, always=False):
        self.media, self.opened, self.coding, self.made, self.varies = media, opened, coding, made, varies
        self.always = always


def _choose(handler, root, opened, stack):
    media = _media_type(handler, opened)
    own = guess(handler) is not None
    if not media.compressible:
        # What is coded already, or cannot become smaller, is sent as it is.
        return _Choice(media, opened, media.coding or "identity", always=not own)
    options, beside = handler.turbo_files, {}

    def look(name):
        sibling = _sibling(root, (*opened.names[:-1], name), options.outside)
        if sibling is None:
            return None
        stack.enter_context(sibling)
        beside[sibling.names[-1]] = sibling
        return sibling.found

    name = opened.names[-1]
    there = codings.siblings(name, opened.found, look)
    made = _made(handler, opened) if options.compress else ()
    if not there and not made:
        return _Choice(media, opened, "identity", always=not own and not beside and not options.compress)
    asked = handler.headers.get_all("Accept-Encoding")
    # Of what is compressed as it goes there are no parts.
    here = () if "Range" in handler.headers else [coding for coding in made if coding not in there]
    chosen = codings.choose(None if asked is None else ",".join(asked), [*there, *here])
    if chosen is None:
        raise Refused(406, "no coding that is there is taken", (("Vary", codings.vary()),))
    if chosen in there:
        return _Choice(media, beside[name + codings.EXTENSIONS[chosen]], chosen, varies=True)
    return _Choice(media, opened, chosen, made=chosen != "identity", varies=True)


def _made(handler, opened):
    """Codings in which this answer may be made. Its length is not known then, so it needs chunks: to a client that has
    none, an answer that was cut off would look whole."""
    if opened.found.st_size < codings.MIN_SIZE or not _takes_chunks(handler):
        return ()
    return codings.ON_THE_FLY


def _sibling(root, names, outside):
    """The Opened regular file, or None: what cannot be read might as well not be there."""
    try:
        sibling = Opened(open_beneath(root.fd, names, allow_outside=outside), names)
    except OSError:
        return None
    if sibling.is_folder:
        sibling.close()
        return None
    return sibling


def _media_type(handler, opened):
    name = opened.names[-1]
    kind = guess(handler)
    if kind is not None:
        return MediaType(kind(os.path.join(handler.directory, *opened.names)), None, False)
    own, default = types(handler), getattr(handler, "default_content_type", DEFAULT)     # the latter is 3.15's
    try:
        return media_type(name, more=own, default=default)
    except ValueError:
        # The original sends whatever stands there.
        return MediaType(own.get(os.path.splitext(name)[1].lower(), default), None, False)


def _send_compressed(handler, choice, fields):
    size = choice.opened.found.st_size
    source = _Piece(choice.opened.fd, 0, size)
    fields += _coding_fields(choice) + _cache_fields(handler.turbo_files)
    handler.send_response(200)
    send_fields(handler, [("Content-type", choice.media.content_type), ("Transfer-Encoding", "chunked"), *fields])
    handler.end_headers()
    if handler.command == "HEAD":
        return
    blocks = iter(lambda: source.read(PIECE), b"")
    for block in codings.compressed(blocks, choice.coding):
        _write_chunk(handler, block)
    if source.left:
        _cut_off(handler)
    else:
        handler.wfile.write(b"0\r\n\r\n")


def _write_chunk(handler, block):
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))


def _takes_chunks(handler):
    return handler.protocol_version >= "HTTP/1.1" and handler.request_version >= "HTTP/1.1"


def _coding_fields(choice):
    return [] if choice.coding == "identity" else [("Content-Encoding", choice.coding)]


def _cache_fields(options):
    return [] if options.cache is None else [("Cache-Control", f"max-age={options.cache}")]


# ---- Folders ----

def send_folder(handler, opened, target):
    """Answer GET or HEAD with the page of a folder: its entries as JSON if the query or Accept asks for that."""
    options, query = handler.turbo_files, folder.Query.of(target.path + target.query)
    json = query.format == "json" or _prefers_json(handler, target)
    # It has no validators: whoever keeps it has to ask again.
    fields = [*(as_json.headers() if json else page.headers(options.upload)), ("Cache-Control", "no-cache"),
              ("Vary", codings.vary("Accept") if options.compress else "Accept")]
    try:
        if handler.command == "HEAD":
            # What only the entries would tell is left out (RFC 9110, 9.3.2).
            os.scandir(opened.fd).close()
            content = None
        else:
            content = folder.read(opened.fd)
    except OSError:
        raise Refused(404, "No permission to list directory") from None
    if content is None:
        handler.send_response(200)
        send_fields(handler, fields)
        handler.end_headers()
        return
    content = content._replace(entries=[entry for entry in content.entries if not partials.is_reserved(entry.name)])
    blocks = (as_json.as_json(content, target.path, query) if json
              else page.render(content, target.path, query, options.upload))
    _send_blocks(handler, fields, blocks, _folder_coding(handler, query))


def _folder_coding(handler, query):
    """The coding for a page that is made. A filter is what whoever asks has chosen, and would stand beside names: by the
    length of what is compressed together one tells more of it than it shows."""
    if not handler.turbo_files.compress or query.filter or not _takes_chunks(handler):
        return "identity"
    asked = handler.headers.get_all("Accept-Encoding")
    return codings.choose(None if asked is None else ",".join(asked), codings.ON_THE_FLY) or "identity"


def _prefers_json(handler, target):
    accept = ",".join(handler.headers.get_all("Accept") or ())
    return bool(_json_wanted(accept)) and not _html_wanted(accept) and "format=" not in target.query


def _send_blocks(handler, fields, blocks, coding):
    """Send blocks of bytes whose length nobody knows before they are made; one alone has a length."""
    first, second = next(blocks, b""), next(blocks, None)
    if coding != "identity" and (second is not None or len(first) >= codings.MIN_SIZE):
        fields = [*fields, ("Content-Encoding", coding)]
        blocks = codings.compressed(_again(first, second, blocks), coding)
        first, second = next(blocks), next(blocks, None)
    chunked = second is not None and _takes_chunks(handler)
    handler.send_response(200)
    if second is None:
        fields = [*fields, ("Content-Length", str(len(first)))]
    else:
        fields = [*fields, ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")]
    send_fields(handler, fields)
    handler.end_headers()
    write = (lambda block: _write_chunk(handler, block)) if chunked else handler.wfile.write
    for block in _again(first, second, blocks):
        write(block)
    if chunked:
        handler.wfile.write(b"0\r\n\r\n")


def _again(first, second, rest):
    """What was taken from the front of an iterator, then the rest of it. None is what it did not have."""
    return itertools.chain((block for block in (first, second) if block is not None), rest)
