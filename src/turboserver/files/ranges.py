"""Range requests (RFC 9110, 14): from the field Range and a size to what is sent.

    parse(field, size)  -> the ranges that are asked for, as the client ordered them
    plan(field, size)   -> status, header fields, and the pieces of the body with its exact length

A Range that is malformed is ignored, as is one that asks for too much work: the answer is then the whole, which is
right for every client (14.2). What is sent never has an octet twice, so an answer is never longer than the file and
what it takes to name MAX_RANGES parts.

Any thread. What may not live here: whether Range counts at all (conditions.py), and reading the file.
"""

import re
import secrets
from http import HTTPStatus
from typing import NamedTuple

__all__ = ["MAX_RANGES", "Plan", "Span", "parse", "plan"]

MAX_RANGES = 64         # a reader of documents asks for some dozens of pages; each costs a part's head and a read
_MAX_FIELD = 4096       # 64 ranges of two positions of 19 digits, and room for spaces
# RFC 9110, 14.1.1 and 14.1.2, with a bound for numbers: what has no 63 bits is no position in a file.
_range_spec = re.compile(r"([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19})").fullmatch
# RFC 9110, 5.6.1: elements of a list may be empty, and have spaces around them.
_separator = re.compile(r"[ \t]*,[ \t]*")
_LARGEST = 2**63 - 1


class Span(NamedTuple):
    """Octets of the file from `start` up to but without `stop`."""
    start: int
    stop: int


class Plan(NamedTuple):
    """An answer.

    status: HTTPStatus OK, PARTIAL_CONTENT or REQUESTED_RANGE_NOT_SATISFIABLE.
    headers: ((name, value), ...) that replace those of the whole; Content-Length is not among them.
    pieces: what is sent one after another: Span of the file, or bytes.
    length: of all pieces, for Content-Length. For 416 there are none: the body is the caller's.
    """
    status: HTTPStatus
    headers: tuple
    pieces: tuple
    length: int


def parse(field, size, *, max_ranges=MAX_RANGES):
    """The satisfiable ranges of a Range field for a file of `size` octets: a list of Span, in the field's order.

    None where the field is to be ignored: another unit (14.1), malformed, more than max_ranges, or there is nothing
    to have a part of. An empty list where all of it is right and nothing satisfiable (14.1.2).
    """
    if len(field) > _MAX_FIELD or size == 0:
        return None
    unit, _, ranges = field.strip(" \t").partition("=")
    if unit.lower() != "bytes":
        return None
    spans = []
    count = 0
    for spec in _separator.split(ranges):
        if not spec:
            continue
        match = _range_spec(spec)
        count += 1
        if match is None or count > max_ranges:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, stop = max(size - int(suffix), 0), size
        else:
            start, stop = int(first), min(int(last or _LARGEST) + 1, size)
            if last is not None and int(last) < start:
                return None
        if start < stop:
            spans.append(Span(start, stop))
    return spans if count else None


def plan(field, size, content_type=None, *, max_ranges=MAX_RANGES):
    """The Plan for a Range field (None: there is none, or it does not count) and a file of `size` octets.

    content_type: of the file, for the parts of multipart/byteranges (15.3.7.2); raises ValueError if it has
    a control character.
    """
    spans = None if field is None else parse(field, size, max_ranges=max_ranges)
    if spans is None:
        return Plan(HTTPStatus.OK, (), (Span(0, size),), size)
    if not spans:
        return Plan(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, (("Content-Range", f"bytes */{size}"),), (), 0)
    overhead = len(_part_head("0" * 32, Span(size, size), size, content_type)) + 2
    spans = _coalesce(spans, overhead)
    if len(spans) == 1:
        return Plan(HTTPStatus.PARTIAL_CONTENT, (("Content-Range", _content_range(spans[0], size)),), (spans[0],),
                    spans[0].stop - spans[0].start)
    return _multipart(spans, size, content_type)


def _coalesce(spans, gap):
    """`spans` without those that overlap, or lie closer than `gap`: these are one. Their order is that of the first
    range in each (15.3.7.2)."""
    groups = []
    for number, span in sorted(enumerate(spans), key=lambda pair: pair[1]):
        if groups and span.start - groups[-1][1].stop < gap:
            first, before = groups[-1]
            groups[-1] = min(first, number), Span(before.start, max(before.stop, span.stop))
        else:
            groups.append((number, span))
    return [span for _, span in sorted(groups)]


def _multipart(spans, size, content_type):
    # Nobody who chooses what is in the file can know it, so no part can hold what looks like its end.
    boundary = secrets.token_hex(16)
    pieces, length = [], 0
    for span in spans:
        head = _part_head(boundary, span, size, content_type)
        # The line end before a boundary belongs to the boundary (RFC 2046, 5.1.1).
        pieces += [head if not pieces else b"\r\n" + head, span]
        length += len(pieces[-2]) + span.stop - span.start
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    length += len(pieces[-1])
    headers = (("Content-Type", f"multipart/byteranges; boundary={boundary}"),)
    return Plan(HTTPStatus.PARTIAL_CONTENT, headers, tuple(pieces), length)


def _part_head(boundary, span, size, content_type):
    type_line = ""
    if content_type is not None:
        if any(character < " " or character == "\x7f" for character in content_type):
            raise ValueError("a control character in a content type")
        type_line = f"Content-Type: {content_type}\r\n"
    return f"--{boundary}\r\n{type_line}Content-Range: {_content_range(span, size)}\r\n\r\n".encode("latin-1")


def _content_range(span, size):
    return f"bytes {span.start}-{span.stop - 1}/{size}"
