"""Content codings: which one a client gets (RFC 9110, 12.5.3), and compressing what is sent.

    choose(field, codings)      -> the best of those that there are
    siblings(name, ...)         -> codings for which a file lies beside it: app.js.br, app.js.zst, app.js.gz
    vary(value)                 -> Vary, which says that the answer depends on it
    compressed(blocks, coding)  -> the blocks compressed, one by one

gzip is always there, by zlib. br and zstd are if Python has them (compression.zstd of 3.14) or the extra
turboserver[compression] is installed: brotli and zstandard, the bindings that the formats' own projects name.

Invariants: a field that is malformed asks for nothing: the answer is not compressed. compressed() holds one block and
the window of its format, no more, whatever comes in.

Any thread; an encoder belongs to one at a time. What may not live here: which files are worth it (media_types.py),
entity tags (conditions.py), and secrets: what holds one beside what a client sent is never compressed; files are,
and pages of folders in which nobody's choice stands beside the names (sending.py).
"""

import re
import zlib

__all__ = ["EXTENSIONS", "MIN_SIZE", "ON_THE_FLY", "choose", "compressed", "parse", "siblings", "vary"]

# In the order of what is smaller, for files that were compressed at leisure.
EXTENSIONS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
MIN_SIZE = 1024             # octets; less fits into a packet as it is
BLOCK = 64 * 1024           # octets compressed at once
_MAX_FIELD = 4096
_MAX_CODINGS = 64           # elements of a field; there are about ten codings in the world
_GZIP_LEVEL = 6
_BROTLI_QUALITY = 5         # as fast as gzip, and smaller; above that it is for leisure
_ZSTD_LEVEL = 3             # its own default; the window is 2 MiB, RFC 9659 allows 8

# RFC 9110, 12.5.3 and 12.4.2: codings [ weight ], and the list of 5.6.1.
_TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WEIGHT = r"[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)"
_element = re.compile(rf"[ \t]*(?:({_TOKEN})(?:{_WEIGHT})?)?[ \t]*(?:,|\Z)").match


def parse(field):
    """{coding in small letters: weight in thousandths} of Accept-Encoding; None if it is malformed.
    Of a coding that is there twice the first counts; x-gzip is gzip (8.4.1.3)."""
    if len(field) > _MAX_FIELD:
        return None
    weights, at, count = {}, 0, 0
    while at < len(field):
        match = _element(field, at)
        if match is None:
            return None
        at = match.end()
        if match[1] is not None:
            count += 1
            if count > _MAX_CODINGS:
                return None
            coding = match[1].lower()
            weights.setdefault("gzip" if coding == "x-gzip" else coding, _thousandths(match[2] or "1"))
    return weights


def _thousandths(weight):
    whole, _, fraction = weight.partition(".")
    return 1000 if whole == "1" else int((fraction + "000")[:3])


def choose(field, codings):
    """The coding for a client: one of `codings` (in the order of what the server likes better), or "identity"; None
    if the client takes none of these (406).

    field: Accept-Encoding, its lines joined with commas; None if there is none: then it is identity.
    """
    weights = parse(field) if field is not None else None
    if weights is None:
        return "identity"
    any_other = weights.get("*")
    # What is not spoken of is acceptable, if nothing better is (12.5.3).
    plain = weights.get("identity", any_other if any_other is not None else 0.5)
    best, weight = "identity", plain
    for coding in reversed(codings):
        wanted = weights.get(coding, any_other or 0)
        if wanted >= weight:
            best, weight = coding, wanted
    return best if weight else None


def vary(value=None):
    """Vary for an answer that there is in several codings, whichever it is. value: what the field has already."""
    names = [name.strip() for name in (value or "").split(",") if name.strip()]
    if "*" not in names and "accept-encoding" not in (name.lower() for name in names):
        names.append("Accept-Encoding")
    return ", ".join(names)


def siblings(name, found, look):
    """{coding: what `look` gave} for the file `name`, in the order of EXTENSIONS.

    found: its os.stat_result. look: called with a name in the same folder; gives the os.stat_result of a regular
    file, or None. One that is older than the file is of another version of it.
    """
    there = {}
    for coding, extension in EXTENSIONS.items():
        sibling = look(name + extension)
        if sibling is not None and sibling.st_mtime_ns >= found.st_mtime_ns:
            there[coding] = sibling
    return there


# ---- Compressing ----

class _Gzip:
    def __init__(self):
        # 31: a gzip header without a name or a time, so the same file gives the same octets.
        self._stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
        self.add = self._stream.compress

    def flush(self):
        return self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self):
        return self._stream.flush(zlib.Z_FINISH)


def _brotli():
    try:
        import brotli
    except ImportError:
        return None

    class Brotli:
        def __init__(self):
            self._stream = brotli.Compressor(quality=_BROTLI_QUALITY)
            self.add, self.flush, self.finish = self._stream.process, self._stream.flush, self._stream.finish
    return Brotli


def _zstd():
    try:
        from compression import zstd
    except ImportError:
        return _zstandard()

    class Zstd:
        def __init__(self):
            self._stream = zstd.ZstdCompressor(_ZSTD_LEVEL)
            self.add = self._stream.compress

        def flush(self):
            return self._stream.flush(self._stream.FLUSH_BLOCK)

        def finish(self):
            return self._stream.flush(self._stream.FLUSH_FRAME)
    return Zstd


def _zstandard():
    try:
        import zstandard
    except ImportError:
        return None

    class Zstandard:
        def __init__(self):
            self._stream = zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj()
            self.add = self._stream.compress

        def flush(self):
            return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

        def finish(self):
            return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)
    return Zstandard


# In the order of speed.
_encoders = {coding: encoder for coding, encoder in (("zstd", _zstd()), ("br", _brotli()), ("gzip", _Gzip))
             if encoder is not None}
ON_THE_FLY = tuple(_encoders)


def compressed(blocks, coding, *, streams=False):
    """An iterator of bytes, none of them empty: `blocks` (an iterable of bytes-like) in a coding of ON_THE_FLY.

    streams: the blocks come as they are made, and somebody waits for each: it can be read whole when the next is asked
    for. Otherwise as much is held back as makes the result small. Raises ValueError for another coding, and what
    `blocks` raises; close() of `blocks` is called at the end, if there is one.
    """
    if coding not in _encoders:
        raise ValueError(f"{coding!r} is no coding that can be made here")
    return _compressed(blocks, _encoders[coding](), streams)


def _compressed(blocks, encoder, streams):
    try:
        for block in blocks:
            view = memoryview(block).cast("B")
            for at in range(0, len(view), BLOCK):
                # Some take bytes alone.
                octets = encoder.add(bytes(view[at:at + BLOCK]))
                if octets:
                    yield octets
            if streams and view:
                octets = encoder.flush()
                if octets:
                    yield octets
        octets = encoder.finish()
        if octets:
            yield octets
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()
