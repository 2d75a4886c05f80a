"""A small application that serves images: from memory and by wsgi.file_wrapper, conditionally and in ranges."""
import email.utils
import os
import re
import struct
import zlib
from wsgiref.util import FileWrapper

import contract

MODIFIED = 1_600_000_000


def png(width, height, colour):
    """Bytes of a PNG of one colour (three integers)."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(colour) * width) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


IMAGES = {"/red.png": png(8, 8, (255, 0, 0)), "/large.png": png(700, 500, (0, 128, 255))}
for _name, _data in IMAGES.items():
    with open(contract.FOLDER + _name, "wb") as _file:
        _file.write(_data)


class _Part:
    """`count` bytes of a file from where it stands; closes it."""

    def __init__(self, file, count):
        self.file, self.count = file, count

    def __iter__(self):
        while self.count and (data := self.file.read(min(self.count, 65536))):
            self.count -= len(data)
            yield data

    def close(self):
        self.file.close()


def application(environ, start_response):
    """GET and HEAD of /memory/NAME, /file/NAME (file_wrapper) and /plain/NAME (FileWrapper without the server)."""
    kind, _, name = environ["PATH_INFO"][1:].partition("/")
    data = IMAGES.get("/" + name)
    if data is None:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []
    headers = [("Content-Type", "image/png"), ("Last-Modified", email.utils.formatdate(MODIFIED, usegmt=True)),
               ("ETag", f'"{zlib.crc32(data):x}"'), ("Accept-Ranges", "bytes")]
    if environ.get("HTTP_IF_NONE_MATCH") == dict(headers)["ETag"] or (
            environ.get("HTTP_IF_MODIFIED_SINCE") == dict(headers)["Last-Modified"]):
        start_response("304 Not Modified", headers)
        return []
    status, start, end = "200 OK", 0, len(data)
    if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", environ.get("HTTP_RANGE", "")):
        start, end = int(wanted[1]), min(int(wanted[2] or end) + 1, end)
        if start >= end:
            start_response("416 Range Not Satisfiable", [("Content-Range", f"bytes */{len(data)}")])
            return []
        status = "206 Partial Content"
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{len(data)}"))
    start_response(status, [*headers, ("Content-Length", str(end - start))])
    if kind == "memory":
        return [data[start:end]]
    file = open(os.path.join(contract.FOLDER, name), "rb")
    file.seek(start)
    if end < len(data):
        return _Part(file, end - start)
    # From where the file stands to its end: the wrapper must not begin at 0.
    return (environ["wsgi.file_wrapper"] if kind == "file" else FileWrapper)(file, 65536)
