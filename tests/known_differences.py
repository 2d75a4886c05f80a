"""Every intended difference from the standard library that the differential tests see, with its reason.

The key is the name of the case (file/case).  `check(reference, ours)` asserts what ours does instead.  The list is
strict: a case that is no longer different fails, and a difference that is not listed here is a bug.

Not listed, because no byte shows it: head and body of an answer leave in one packet.
"""
import dataclasses
import re
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Difference:
    reason: str
    check: Callable


def refused(reference, ours, status=400):
    """One answer with this status, "Connection: close", a logged line; the handler saw nothing of it."""
    answers = re.findall(rb"^HTTP/1\.[01] (\d+) ", ours.answer, re.M)
    assert answers == [b"%d" % status]
    assert b"\r\nConnection: close\r\n" in ours.answer
    assert ours.seen == []
    assert any(f"code {status}, message " in line for line in ours.log)


def rest_not_a_request(reference, ours):
    """What was left of the body is drained, or the connection is closed; it is never taken for a request."""
    assert any("smuggled" in repr(request) for request in reference.seen), "the original's weakness"
    assert not any("smuggled" in str(request[1]) for request in ours.seen)
    assert ours.seen[0] == reference.seen[0]
    assert "smuggled" not in "".join(ours.log)


_FRAMING = Difference("two parsers could read the end of this request differently (RFC 9112, 6.1 and 6.3)", refused)
_UNREAD = Difference("what a handler left of a body never becomes the next request (RFC 9112, 9.3)",
                     rest_not_a_request)

KNOWN: dict[str, Difference] = {
    "requests/length and chunked": _FRAMING,
    "requests/chunked and length": _FRAMING,
    "requests/differing lengths": _FRAMING,
    "requests/differing lengths in one line": _FRAMING,
    "requests/length is no number": _FRAMING,
    "requests/length is negative": _FRAMING,
    "requests/length with a plus": _FRAMING,
    "requests/length with an underscore": _FRAMING,
    "requests/length is hexadecimal": _FRAMING,
    "requests/length is empty": _FRAMING,
    "requests/length of many digits": _FRAMING,
    "requests/chunked in HTTP/1.0": _FRAMING,
    "requests/chunked is not last": _FRAMING,
    "requests/chunked twice": _FRAMING,
    "requests/unread body": _UNREAD,
    "requests/unread body of a GET": _UNREAD,
    "requests/half-read body": _UNREAD,
    "requests/body of an unknown method": _UNREAD,
}
