"""Content codings read again, as a client does; asserts that they have come to their end."""
import zlib


class Reader:
    """Reads a coding piece by piece, as a client does: by the library, or by zlib."""

    def __init__(self, coding):
        if coding == "gzip":
            self._reader = zlib.decompressobj(31)
            self.read = self._reader.decompress
        elif coding == "br":
            import brotli
            self._reader = brotli.Decompressor()
            self.read = self._reader.process
        else:
            self._reader = _zstd_reader()
            self.read = self._reader.decompress

    def ended(self):
        return self._reader.is_finished() if hasattr(self._reader, "is_finished") else self._reader.eof


def _zstd_reader():
    try:
        from compression import zstd
    except ImportError:
        import zstandard
        return zstandard.ZstdDecompressor().decompressobj()
    return zstd.ZstdDecompressor()


def read(blocks, coding):
    reader = Reader(coding)
    octets = b"".join(map(reader.read, blocks))
    assert reader.ended()
    return octets
