"""What becomes of a file's name: a URL that means exactly this file, a text that can be shown, and a kind.

A name is what os.scandir() gives: a str in which octets that the system's encoding does not know are lone
surrogates (PEP 383). It may hold anything but "/" and NUL, so each way out of here is a function of its own:

    url       the octets, all but a few letters of them percent-encoded, and "./" before them: neither a scheme
              ("javascript:") nor a host ("//") can begin there (RFC 3986, 4.2)
    readable  for HTML: one line, without anything that is invisible or turns the line round; not yet escaped
    decoded   for JSON: the name itself, U+FFFD for each octet that cannot be decoded

Pure functions, any thread. What may not live here: HTML, JSON, files.
"""

import os
import re
from urllib.parse import unquote_to_bytes

__all__ = ["decoded", "kind", "name_of", "readable", "url", "viewable"]

# Controls, surrogates, line separators, marks that change the direction of what follows (UAX #9), and other
# characters that show nothing: two names that differ in these are to look different. Not the joiners, with
# which Persian and emoji are spelled, and not the many kinds of spaces.
_unshown = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
                      "\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff\ud800-\udfff]")
# RFC 3986, 2.3: what is unreserved means the same with and without encoding. Looked at as latin-1, an octet each.
_encoded = {chr(octet): f"%{octet:02X}" for octet in range(256)}
_reserved = re.compile(r"[^A-Za-z0-9._~-]")
_surrogate = re.compile("[\ud800-\udfff]")
_OCTETS = range(0xDC80, 0xDD00)     # PEP 383: an octet of 0x80 and more, which no character begins with or belongs to

# By the end of a name, in lower case.
_SHOWN_IMAGES = "apng avif bmp gif ico jfif jpe jpeg jpg png svg webp"
_ENDINGS = {
    "image": _SHOWN_IMAGES + " ai cr2 dng eps heic heif jxl nef psd raw tif tiff xcf",
    "video": "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg ogv webm wmv",
    "audio": "aac aif aiff flac m4a mid midi mp3 oga ogg opus wav wma",
    "text": "adoc csv doc docx epub log markdown md odp ods odt org ppt pptx rst rtf tex text tsv txt xls xlsx",
    "code": "bash bat c cc cfg clj cmake conf cpp cs css cxx d dart diff el erl ex fish go h hpp hs htm html hxx "
            "ini ipynb java js json jsx kt less lisp lua m mjs ml nix patch php pl proto ps1 pxd py pyi pyx r rb rs "
            "sass scala scss sh sql swift toml ts tsx vim vue xhtml xml yaml yml zig zsh",
    "archive": "7z apk br bz2 cab deb dmg gz iso jar lz4 lzma rar rpm tar tbz tgz txz whl xz zip zst",
    "pdf": "pdf",
}
_VIEWABLE = frozenset(_SHOWN_IMAGES.split())
_KINDS = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}
# Names that have no ending, or one that says nothing.
_KINDS_OF_NAMES = {"makefile": "code", "dockerfile": "code", "readme": "text", "license": "text", "copying": "text",
                   "changelog": "text"}


def url(name, folder=False):
    """A reference to `name` from the folder it is in, such as "./a%20b" or, for a folder, "./a%20b/"."""
    octets = os.fsencode(name).decode("latin-1")
    return f"./{_reserved.sub(lambda match: _encoded[match[0]], octets)}{'/' if folder else ''}"


def name_of(segment):
    """The name that a segment of a URL's path means: url() backwards, without "./" and "/".

    segment: str of ASCII. Nothing is raised; whether the name is one that may be opened ("..", or with "/" or NUL
    in it) is for the caller to see.
    """
    return os.fsdecode(unquote_to_bytes(segment))


def readable(name):
    """`name` on one line, as people can read it and tell it from others; `\\x1b` for what cannot be seen."""
    return _unshown.sub(_escape, name)


def _escape(match):
    code = ord(match[0])
    if code in _OCTETS:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def decoded(name):
    """`name` without surrogates: can be encoded in UTF-8, and is the name itself if that could be."""
    return _surrogate.sub("\ufffd", name)


def kind(name):
    """What a file is by its name: image, video, audio, text, code, archive, pdf or other."""
    name = name.lower()
    return (_KINDS if "." in name else _KINDS_OF_NAMES).get(name.rpartition(".")[2], "other")


def viewable(name):
    """Whether browsers in general show the file `name` as an image."""
    return name.lower().rpartition(".")[2] in _VIEWABLE and "." in name
