"""Every intended difference from the standard library that the differential tests see, with its reason.

The key is the name of the case (file/case).  `check(reference, ours)` asserts what ours does instead.  The list is
strict: a case that is no longer different fails, and a difference that is not listed here is a bug.

Not listed, because no byte shows it: head and body of an answer leave in one packet.
"""
import dataclasses
import os
import re
from collections.abc import Callable


LANES = ("auto", "reactor", "blocking", "compatible")


@dataclasses.dataclass(frozen=True)
class Difference:
    """`lanes`: where it holds, by what TURBOSERVER_LANE asks for; in the others there must be none."""
    reason: str
    check: Callable
    lanes: tuple = LANES


def of(case):
    """The difference that holds for a case in this run, or None."""
    difference = KNOWN.get(case)
    lane = os.environ.get("TURBOSERVER_LANE") or "auto"
    return difference if difference and lane in difference.lanes else None


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
                     rest_not_a_request, lanes=("auto", "reactor"))

def timed_out_before_the_handler(reference, ours):
    """The request timed out with the same line in the log, and no handler ran."""
    assert ours.seen == [] and ours.answer == b""
    assert ours.log[-1].endswith("Request timed out: TimeoutError('timed out')")


def found_when_looked_for(reference, ours):
    """vars() of a handler shows what was looked at so far, not what could be."""
    assert len(ours.seen) == len(reference.seen)
    assert all(set(mine) <= set(theirs) for mine, theirs in zip(ours.seen, reference.seen))
    assert (ours.answer, ours.log) == (reference.answer, reference.log)


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
    "timeouts/caught in a short body": Difference(
        "a short body with a Content-Length is awaited before the handler runs, so that a slow client holds up nobody",
        timed_out_before_the_handler, lanes=("auto", "reactor")),
    "handlers/attributes of the handler": Difference(
        "what the engine supplies (command, path, headers, rfile, connection, ...) is made when it is looked at",
        found_when_looked_for, lanes=("auto", "reactor")),
}

#: Differences that tests without a reference know of: where it is noticed, and why.
ELSEWHERE = {
    "test_behaviour_requests.py: `Connection: close ` closes":
        "whitespace around a field value is not part of it (RFC 9110, 5.5)",
    "test_contract_handlers_streams.py: vars(handler) without a socket until it is looked at":
        "the event loop owns the socket between requests; a socket.socket is made for who asks",
    "test_contract_handlers_flow.py: TCP_NODELAY is on where disable_nagle_algorithm is False":
        "Nagle's algorithm against delayed acknowledgements stalls every second answer for 44 ms",
}
