"""How the body of a request is framed, read from parsed headers (RFC 9112, section 6).

For the requests that the general parser took. Plain ones are judged while they are
scanned (csrc/scan.c), by the same rules and with the same words.

What may not live here: reading bodies, anything per octet.
"""

import re

__all__ = ["BadFraming", "body_framing"]

_DIGITS = re.compile(r"[0-9]+\Z")
_LENGTH_MAX = 2**63 - 1


class BadFraming(ValueError):
    """The request's end is open to doubt. `status` is what to answer."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status


def body_framing(headers, request_version):
    """Return (length, chunked) of the body: length in octets or None, chunked a bool.

    headers: a message with get_all(), or {} (of HTTP/0.9 from 3.14 on); request_version: as
    "HTTP/1.1". Raises BadFraming.
    """
    if not headers:
        return None, False
    codings = headers.get_all("Transfer-Encoding") or ()
    lengths = headers.get_all("Content-Length") or ()
    length = _length(lengths) if lengths else None
    if not codings:
        return length, False
    if lengths:
        raise BadFraming("Both Content-Length and Transfer-Encoding")
    if request_version in ("HTTP/0.9", "HTTP/1.0"):
        raise BadFraming("Transfer-Encoding in HTTP/1.0")
    names = [name.strip(" \t").lower() for value in codings for name in value.split(",")]
    if names[-1] != "chunked" or names.count("chunked") > 1:
        raise BadFraming("Invalid Transfer-Encoding")
    if len(names) > 1:
        raise BadFraming("Unsupported transfer coding", 501)
    return None, True


def _length(values):
    values = {value.strip(" \t\r\n") for value in values}
    if len(values) > 1:
        raise BadFraming("Differing Content-Length")
    text = values.pop()
    if not _DIGITS.match(text) or len(text) > 40 or int(text) > _LENGTH_MAX:
        raise BadFraming("Invalid Content-Length")
    return int(text)
