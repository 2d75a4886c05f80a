"""The folder page for people: one HTML document that needs nothing else, in blocks of bytes.

    page.html   its frame; {{name}} stands for what is filled in
    page.css, page.js   stand inside it as they are, so that the Content-Security-Policy can name their hashes
    rows        groups of rows (tbody), in each what the script needs: rank, size, time (page.js says how)

Without script all of it works by links and forms: sorting and filtering by the query, upload by multipart/form-data.
The frame is filled in one pass, so what is filled in is never looked at again; every text goes through names.readable()
and is escaped, every reference to a file is names.url().

No more of a page is in memory than one block. Any thread. What may not live here: reading folders, HTTP.
"""

import base64
import functools
import hashlib
import re
from datetime import datetime, timedelta, timezone
from html import escape
from importlib import resources

from .folder import BROKEN, FILE, FOLDER
from .names import kind, name_of, readable, url, viewable

__all__ = ["THUMBNAIL_SIZE", "headers", "in_blocks", "render", "size_text", "time_of"]

# A thumbnail is the image itself, so it costs as much as that does.
THUMBNAIL_SIZE = 2 * 1024 * 1024
_BLOCK = 16 * 1024      # characters of a block, roughly: few writes, little memory
# Browsers lay out what is near the window, a group at a time (content-visibility in page.css).
_GROUP = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_COLUMNS = (("name", "Name", "asc"), ("size", "Size", "desc"), ("modified", "Modified", "desc"))
_mark = re.compile(r"\{\{(\w+)\}\}")
_comments = re.compile(r"^\s*(?://.*|/\*.*\*/)\n|^[ ]+", re.MULTILINE)


def headers(uploads=False):
    """The header fields that belong to the page: a list of (name, value).

    Nothing runs but the page's own script, nothing is asked for but images from the same server and, with uploads,
    what the script sends there; markup cannot be made of strings (Content Security Policy 3; Trusted Types).
    """
    assets = _assets()
    policy = ["default-src 'none'", f"script-src '{assets.script_hash}'", f"style-src '{assets.style_hash}'",
              "img-src 'self' data:", *(("connect-src 'self'",) if uploads else ()), "form-action 'self'",
              "base-uri 'none'", "frame-ancestors 'self'", "require-trusted-types-for 'script'", "trusted-types 'none'"]
    return [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", "; ".join(policy)),
            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin")]


def render(folder, target, query, uploads=False, thumbnails=THUMBNAIL_SIZE, home="Files"):
    """The page, as an iterator of bytes.

    folder: folder.Folder. target: the request target, whose path ends with "/". query: folder.Query of it.
    uploads: whether the page offers to send files here. thumbnails: octets up to which an image is shown beside its
    name. home: what the folder at "/" is called.
    """
    crumbs = _crumbs(target, home)
    ranks = folder.order(query)
    frame = _assets().uploading if uploads else _assets().plain
    filled = {
        "title": escape(crumbs[-1][0]), "crumbs": "".join(_crumb(*crumb) for crumb in crumbs[:-1]),
        "here": escape(crumbs[-1][0]), "summary": escape(_summary(folder, ranks, query)), "columns": _columns(query),
        "filter": escape(query.filter), "kept": _kept(query),
        "unfiltered": _unfiltered(query),
        "json": escape(query.reference(format="json")), "plain": escape(query.reference(format="plain")),
        "up": _UP if len(crumbs) > 1 else "", "empty": "" if ranks else _nothing(query),
    }
    return in_blocks(_pieces(frame, filled, folder.entries, ranks, thumbnails))


def _pieces(frame, filled, entries, ranks, thumbnails):
    """The page in pieces of text."""
    before, after = frame
    yield _fill(before, filled)
    for start in range(0, len(ranks), _GROUP):
        yield '<tbody role="rowgroup" class="rows">\n'
        for rank in ranks[start:start + _GROUP]:
            yield _row(rank, entries[rank], thumbnails)
        yield "</tbody>\n"
    yield _fill(after, filled)


def in_blocks(pieces):
    """Pieces of text joined to blocks of bytes."""
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting).encode()


# ---------------------------------------------------------------- rows

def _row(rank, entry, thumbnails):
    """One row. Its roles are said aloud because the style sheet takes the display of a table from it."""
    name, text = entry.name, escape(readable(entry.name))
    data, size, time, picture, view = f'data-n="{rank}"', "", "", "", ""
    icon = entry.type
    if entry.type == FILE:
        icon = kind(name)
        if entry.size is not None:
            data += f' data-s="{entry.size}"'
            size = size_text(entry.size)
            if entry.size and viewable(name):
                view = " data-view"
                if entry.size <= thumbnails:
                    picture = (f'<img src="{url(name)}" alt="" width="36" height="36" loading="lazy"'
                               ' decoding="async">')
    elif entry.type == BROKEN:
        size = "broken link"
    if entry.modified is not None:
        data += f' data-m="{entry.modified}"'
        time = time_of(entry.modified)
        time = time.isoformat(" ", "minutes")[:16] if time else ""
    return (f'<tr role="row" class="{icon}{" linked" if entry.link else ""}" {data}>'
            f'<th role="rowheader" scope="row"><a href="{url(name, entry.type == FOLDER)}"{view}>{picture}'
            f'<bdi>{text}</bdi></a></th><td role="cell">{size}</td><td role="cell">{time}</td></tr>\n')


_UP = ('<tbody role="rowgroup"><tr role="row" class="folder up"><th role="rowheader" scope="row"><a href="../">'
       '<bdi>Parent folder</bdi></a></th><td role="cell"></td><td role="cell"></td></tr></tbody>')


def size_text(octets):
    """A size as people read it: "0 B", "999 B", "1.2 kB", "34 MB" (powers of 1000, two digits or more)."""
    if octets < 1000:
        return f"{octets} B"
    value = octets
    for unit in ("kB", "MB", "GB", "TB", "PB", "EB"):
        value /= 1000
        if value < 999.5 or unit == "EB":
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def time_of(milliseconds):
    """A datetime in UTC for milliseconds since 1970, or None for a time that no calendar here has."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


# ---------------------------------------------------------------- around the rows

def _crumbs(target, home):
    """(text, relative reference) of each folder on the way to the one at `target`, which is the last of them.

    The references are "../" as often as it takes, so that they hold below whatever prefix a proxy has put there.
    """
    path = target.partition("#")[0].partition("?")[0]
    segments = path.split("/")[1:-1]
    levels = [(home, 0)] + [(readable(name_of(segment)), level) for level, segment in enumerate(segments, 1) if segment]
    return [(text, "../" * (len(segments) - level) or "./") for text, level in levels]


def _crumb(text, reference):
    return f'<li><a href="{reference}"><bdi>{escape(text)}</bdi></a></li>'


def _count(number, one, many):
    return f"{number:,} {one if number == 1 else many}"


def _summary(folder, ranks, query):
    shown = [folder.entries[rank] for rank in ranks]
    folders = sum(entry.type == FOLDER for entry in shown)
    size = sum(entry.size or 0 for entry in shown)
    files = len(shown) - folders
    text = f"{_count(folders, 'folder', 'folders')}, " if folders else ""
    text += f"{_count(files, 'file', 'files')}, {size_text(size)}"
    if query.filter:
        text += f" of {_count(len(folder.entries), 'entry', 'entries')}"
    if folder.more:
        text += f". There are more: only {len(folder.entries):,} were read."
    return text


def _columns(query):
    """Heads of columns: each is a link that sorts by it, and the other way round if that is so already."""
    result = []
    for name, text, first in _COLUMNS:
        now, state = name == query.sort, ""
        order = first
        if now:
            order = "asc" if query.order == "desc" else "desc"
            state = f' aria-sort="{query.order}ending"'
        result.append(f'<th role="columnheader" scope="col"{state} data-sort="{name}" data-first="{first}">'
                      f'<a href="{escape(query.reference(sort=name, order=order))}">{text}</a></th>')
    return "".join(result)


def _kept(query):
    """What the form of the filter has to keep of the query."""
    return "".join(f'<input type="hidden" name="{name}" value="{getattr(query, name)}">'
                   for name in ("sort", "order") if getattr(query, name) != query._field_defaults[name])


def _unfiltered(query):
    """A way back for who has filtered without script; page.js knows by it that rows are missing."""
    if not query.filter:
        return ""
    return f'<a id="unfiltered" href="{escape(query.reference(filter=""))}">Show all</a>'


def _nothing(query):
    return "Nothing here has that in its name." if query.filter else "This folder is empty."


# ---------------------------------------------------------------- the frame

class _Assets:
    """page.html with style and script in it, cut where the rows stand; with and without what is for uploads."""

    def __init__(self):
        html, style, script = (_text(f"page.{kind}") for kind in ("html", "css", "js"))
        style, script = _comments.sub("", style), _comments.sub("", script)
        self.style_hash, self.script_hash = _hash(style), _hash(script)
        inlined = {"style": style, "script": script}
        uploading, plain = html, re.sub(r"(?s)<!--uploads-->.*?<!--/uploads-->\n?", "", html)
        self.uploading, self.plain = (
            tuple(_fill(part, inlined) for part in text.replace("<!--uploads-->\n", "").replace("<!--/uploads-->\n", "")
                  .split("<!--rows-->\n")) for text in (uploading, plain))


@functools.cache
def _assets():
    return _Assets()


def _text(name):
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text):
    """As a Content-Security-Policy names what stands inside the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _fill(text, values):
    """`text` with the marks that `values` has in place; others are left for the next pass."""
    return _mark.sub(lambda match: values.get(match[1], match[0]), text)
