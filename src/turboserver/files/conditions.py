"""Conditional requests (RFC 9110, 13): entity tags, dates, and whether the request is carried out.

    etag(found)         the entity tag of a file
    evaluate(...)       200, 304 or 412, and whether Range counts, in the order of 13.2.2

What a field that is malformed means is what does no harm: a tag list that cannot be read matches nothing for reading
(the client gets the file) and fails for writing (nothing is lost); a date that cannot be read is no field (13.1.3,
13.1.4). Dates after today are dates: If-Modified-Since of next year is 304, as RFC 9110 and http.server have it.

Known weakness: a file that is changed twice within the clock of its file system, to the same size, keeps its tag.
Where that matters give etag() the time, and the tag of a file that is new is weak.

Any thread. What may not live here: the file system; the caller has asked it.
"""

import calendar
import datetime
import hashlib
import re
import struct
import time
from http import HTTPStatus
from typing import NamedTuple

__all__ = ["Verdict", "etag", "evaluate", "format_date", "parse_date", "parse_tags"]

# A file system's clock: 2 s on FAT, 1 s on HFS+, some milliseconds elsewhere.
_CLOCK_NS = 2 * 10**9
_MAX_FIELD = 16384      # some hundred tags

# RFC 9110, 8.8.3. A comma may be within a tag; "W/" is case-sensitive.
_tag = re.compile(r'(W/)?("[!#-~\x80-\xff]*")')
_between = re.compile(r"[ \t]*(?:,[ \t]*)*")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
# RFC 9110, 5.6.7: IMF-fixdate, rfc850-date, asctime-date. They are case-sensitive.
_dates = tuple(re.compile(pattern).fullmatch for pattern in (
    f"(?:{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
    f"(?:{'|'.join(_LONG_DAYS)}), (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
    f"(?:{'|'.join(_DAYS)}) {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"))


class Verdict(NamedTuple):
    """status: HTTPStatus OK (carry the request out), NOT_MODIFIED or PRECONDITION_FAILED.
    ranges: whether a field Range counts."""
    status: HTTPStatus
    ranges: bool


def etag(found, coding="identity", now_ns=None):
    """The entity tag of a file in a content coding, with its quotes (RFC 9110, 8.8.3).

    found: os.stat_result. Device, inode, size and time go into it, and nobody can read them there.
    now_ns: time.time_ns(); where it is given, the tag of a file that may still change unseen is weak (8.8.1).
    """
    # Some file systems have times of more than 64 bits.
    octets = struct.pack("<QQQQ", found.st_dev % 2**64, found.st_ino % 2**64, found.st_size, found.st_mtime_ns % 2**64)
    tag = f'"{hashlib.blake2b(octets + coding.lower().encode("latin-1"), digest_size=12).hexdigest()}"'
    if now_ns is not None and now_ns - found.st_mtime_ns < _CLOCK_NS:
        tag = "W/" + tag
    return tag


def parse_tags(field):
    """The entity tags of If-Match or If-None-Match: a list of (weak, opaque tag with its quotes), or "*".
    None if the field is malformed, or too long."""
    field = field.strip(" \t")
    if field == "*":
        return "*"
    if len(field) > _MAX_FIELD:
        return None
    tags = []
    at = _between.match(field).end()
    while at < len(field):
        match = _tag.match(field, at)
        if match is None:
            return None
        tags.append((match[1] is not None, match[2]))
        at = _between.match(field, match.end()).end()
        if at < len(field) and "," not in field[match.end():at]:
            return None
    return tags or None


def parse_date(field, now=None):
    """Seconds since 1970 that an HTTP-date (RFC 9110, 5.6.7) means, or None if it is none.

    now: what time it is (seconds, default time.time()): a year of two digits that would be more than 50 years ahead
    is in the past.
    """
    field = field.strip(" \t")
    match = next(filter(None, (date(field) for date in _dates)), None)
    if match is None:
        return None
    year, day, hour, minute, second = (int(match[name]) for name in ("year", "day", "hour", "minute", "second"))
    month = _MONTHS.index(match["month"]) + 1
    if len(match["year"]) == 2:
        today = datetime.datetime.fromtimestamp(time.time() if now is None else now, datetime.timezone.utc)
        year += today.year // 100 * 100 + 100
        while (year, month, day, hour, minute, second) > (today.year + 50, *today.timetuple()[1:6]):
            year -= 100
    try:
        # A minute may have 61 seconds.
        datetime.datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return None
    return calendar.timegm((year, month, day, hour, minute, second)) if second <= 60 else None


def format_date(seconds):
    """The IMF-fixdate for whole seconds since 1970. Raises ValueError for years that it cannot say."""
    try:
        date = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(seconds))
    except OverflowError:
        raise ValueError(f"{seconds} seconds is no date") from None
    return (f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} {date.year:04} "
            f"{date.hour:02}:{date.minute:02}:{date.second:02} GMT")


def evaluate(method, get_all, tag, modified, now=None):
    """The Verdict on a request's preconditions (RFC 9110, 13.2.2).

    get_all: called with a field's name; gives its values, a list, or None (as Message.get_all).
    tag: of what is there and would be sent, as etag() makes it; None if nothing is there.
    modified: its time, seconds since 1970; None if there is none. now: time.time() if it is left out.
    """
    now = time.time() if now is None else now
    modified = None if modified is None else int(modified // 1)
    read = method in ("GET", "HEAD")

    matching = _tags_of(get_all("If-Match"))
    if matching is not _ABSENT:
        if not _matches(matching, tag, strong=True):
            return _FAILED
    else:
        date = _date_of(get_all("If-Unmodified-Since"), now)
        if date is not None and modified is not None and modified > date:
            return _FAILED

    matching = _tags_of(get_all("If-None-Match"))
    if matching is not _ABSENT:
        # What cannot be read must not let anything be overwritten.
        if _matches(matching, tag, strong=False) or matching is None and not read:
            return _UNCHANGED if read else _FAILED
    elif read:
        date = _date_of(get_all("If-Modified-Since"), now)
        if date is not None and modified is not None and modified <= date:
            return _UNCHANGED

    ranges = method == "GET" and tag is not None
    if ranges:
        values = get_all("If-Range")
        ranges = values is None or len(values) == 1 and _if_range(values[0].strip(" \t"), tag, modified, now)
    return Verdict(HTTPStatus.OK, ranges)


_FAILED = Verdict(HTTPStatus.PRECONDITION_FAILED, False)
_UNCHANGED = Verdict(HTTPStatus.NOT_MODIFIED, False)
_ABSENT = object()


def _tags_of(values):
    # Several lines of a list are one list (5.3).
    return parse_tags(",".join(values)) if values else _ABSENT


def _date_of(values, now):
    """None also for several: that is no date (13.1.3)."""
    return parse_date(values[0], now) if values and len(values) == 1 else None


def _matches(tags, current, strong):
    """Comparison of 8.8.3.2; "*" is matched by whatever is there, a malformed list (None) by nothing."""
    if current is None or tags is None:
        return False
    if tags == "*":
        return True
    weak, opaque = current.startswith("W/"), current.removeprefix("W/")
    return any(other == opaque and not (strong and (weak or other_weak)) for other_weak, other in tags)


def _if_range(value, tag, modified, now):
    """13.1.5: a tag by strong comparison; a date only if it is the very one and no later change can have it, too
    (8.8.2.2)."""
    if value.startswith(('"', "W/")):
        match = _tag.fullmatch(value)
        return match is not None and match[1] is None and value == tag
    date = parse_date(value, now)
    return date is not None and date == modified and now >= modified + _CLOCK_NS // 10**9
