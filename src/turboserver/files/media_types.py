"""What a file is, by its name: the media type, whether its octets are coded already, whether compressing is worth it.

The library's mimetypes is asked for what is not in the tables here; it reads the system's files, too, which differ.
The tables have what the web is made of, so that a page works everywhere, and what http.server has in extensions_map.

A charset is said for text/* alone, text/javascript among it: without one, browsers guess by their user's language. It
is not said where the file itself does or where there is no such parameter: XML and SVG have a declaration, which a
charset would overrule (RFC 7303, 3); JSON is always UTF-8 and has no parameter (RFC 8259, 11). text/html can declare
one, too, but most do not, and UTF-8 is what they are written in; who serves old pages gives another charset, or None.

Any thread. What may not live here: looking into files, and whether it is there.
"""

import mimetypes
import os.path
import re
from typing import NamedTuple

__all__ = ["MediaType", "ask_library", "from_library", "media_type"]

DEFAULT = "application/octet-stream"

# By extension, in small letters. Each is registered with IANA (x- and vnd. excepted) or what browsers ask for.
TYPES = {
    # pages
    ".html": "text/html", ".htm": "text/html", ".xhtml": "application/xhtml+xml", ".css": "text/css",
    ".js": "text/javascript", ".mjs": "text/javascript", ".cjs": "text/javascript", ".json": "application/json",
    ".map": "application/json", ".webmanifest": "application/manifest+json", ".wasm": "application/wasm",
    ".svg": "image/svg+xml", ".xml": "text/xml", ".rss": "application/rss+xml", ".atom": "application/atom+xml",
    ".jsonld": "application/ld+json", ".geojson": "application/geo+json", ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson", ".vtt": "text/vtt", ".ics": "text/calendar",
    ".appcache": "text/cache-manifest",
    # text
    ".txt": "text/plain", ".log": "text/plain", ".text": "text/plain", ".md": "text/markdown",
    ".markdown": "text/markdown", ".csv": "text/csv", ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml", ".ini": "text/plain",
    ".cfg": "text/plain", ".conf": "text/plain", ".rst": "text/x-rst", ".py": "text/x-python", ".c": "text/plain",
    ".h": "text/plain", ".diff": "text/x-diff", ".patch": "text/x-diff",
    # pictures
    ".png": "image/png", ".apng": "image/apng", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
    ".avif": "image/avif", ".webp": "image/webp", ".jxl": "image/jxl", ".heic": "image/heic", ".heif": "image/heif",
    ".bmp": "image/bmp", ".ico": "image/vnd.microsoft.icon", ".tif": "image/tiff", ".tiff": "image/tiff",
    # sound and films
    ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
    ".wav": "audio/wav", ".weba": "audio/webm", ".m4a": "audio/mp4", ".aac": "audio/aac", ".mid": "audio/midi",
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mov": "video/quicktime",
    ".mkv": "video/matroska", ".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml",
    # fonts
    ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf",
    ".ttc": "font/collection", ".eot": "application/vnd.ms-fontobject",
    # documents, models, programs
    ".pdf": "application/pdf", ".epub": "application/epub+zip", ".gltf": "model/gltf+json",
    ".glb": "model/gltf-binary", ".stl": "model/stl", ".apk": "application/vnd.android.package-archive",
    # archives: a file that is one whole, also where mimetypes sees a coding (.tar.gz), as in http.server
    ".gz": "application/gzip", ".tgz": "application/gzip", ".taz": "application/gzip", ".z": DEFAULT,
    ".bz2": "application/x-bzip2", ".tbz2": "application/x-bzip2", ".xz": "application/x-xz",
    ".txz": "application/x-xz", ".zst": "application/zstd", ".br": DEFAULT, ".tar": "application/x-tar",
    ".bin": DEFAULT, ".dat": DEFAULT, ".iso": DEFAULT, ".exe": DEFAULT, ".dmg": DEFAULT, ".img": DEFAULT,
    ".zip": "application/zip", ".7z": "application/x-7z-compressed", ".whl": "application/zip",
}
# Pictures that are stored compressed, and of no use otherwise.
_CODED = {".svgz": ("image/svg+xml", "gzip")}

_compressible = re.compile(
    r"text/.+|.+\+(?:xml|json)|application/(?:json|xml|yaml|toml|wasm|rtf|javascript|ecmascript|x-javascript"
    r"|x-ndjson|x-sh|sql|x-sql|x-tar|vnd\.ms-fontobject|vnd\.apple\.mpegurl|postscript|dash\+xml|graphql)"
    r"|image/(?:bmp|x-ms-bmp|x-icon|vnd\.microsoft\.icon|tiff)|font/(?:ttf|otf|collection)"
    r"|audio/(?:wav|x-wav|midi)|model/(?:stl|obj)").fullmatch
# A type with parameters (RFC 9110, 8.3.1), without white space that nobody needs.
_TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_content_type = re.compile(rf'{_TOKEN}/{_TOKEN}(?: ?; ?{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*"))*').fullmatch


class MediaType(NamedTuple):
    """content_type: the field's value. coding: Content-Encoding of the file as it lies there, or None.
    compressible: whether compressing it is worth the time."""
    content_type: str
    coding: str | None
    compressible: bool


def media_type(name, *, charset="utf-8", more=None, default=DEFAULT):
    """The MediaType of a file called `name` (its last name or a path).

    charset: said for text/*; None: nowhere. more: {extension in small letters with its dot: type}, which comes first.
    default: the type of what nothing is known of. These are taken as they are. Raises ValueError for one that is no type.
    """
    extension = os.path.splitext(name)[1].lower()
    coding = None
    if more and extension in more:
        kind, charset = more[extension], None
        if not _content_type(kind):
            raise ValueError(f"{kind!r} is no media type")
    elif extension in _CODED:
        kind, coding = _CODED[extension]
    elif extension in TYPES:
        kind = TYPES[extension]
    else:
        kind = ask_library(extension)
        if kind == DEFAULT != default:
            kind, charset = default, None
            if not _content_type(kind):
                raise ValueError(f"{kind!r} is no media type")
    essence = kind.partition(";")[0].strip().lower()
    if charset is not None and ";" not in kind and essence.startswith("text/") and essence != "text/xml":
        kind = f"{kind}; charset={charset}"
    return MediaType(kind, coding, coding is None and _compressible(essence) is not None)


def from_library(name):
    """(extension, type) if the library was asked for the type of a file called so; else None. Programs add to what it
    knows, so the answer may be another one next time."""
    extension = os.path.splitext(name)[1].lower()
    if not extension or extension in TYPES or extension in _CODED:
        return None
    return extension, ask_library(extension)


def ask_library(extension):
    """What mimetypes says of an extension with its dot, in small letters."""
    # Not the name itself: it would be taken for a URL, "data:text/html,.x" for its type.
    kind, coding = mimetypes.guess_type("x" + extension) if extension else (None, None)
    # What is coded in a way that is not known here is octets; the system's files are not known either.
    return kind if kind is not None and coding is None and _content_type(kind) else DEFAULT
