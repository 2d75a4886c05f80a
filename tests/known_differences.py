"""Every intended difference from the standard library that the differential tests see, with its reason.

The key is the name of the case (file/case).  `check(reference, ours)` asserts what ours does instead.  The list is
strict: a case that is no longer different fails, and a difference that is not listed here is a bug.

Not listed, because no byte shows it: head and body of an answer leave in one packet.
"""
import dataclasses
import http.server
import io
import os
import re
from collections.abc import Callable


LANES = ("auto", "reactor", "blocking", "compatible")
NATIVE = ("auto", "reactor")


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


# ---------------------------------------------------------------- refusals

#: The head of an error answer.
_ERROR = re.compile(rb"HTTP/\d\.\d ([45]\d\d) ([^\r\n]*)\r\n((?:[^\r\n]+\r\n)*)\r\n")


def lines(log):
    return [line for line in log if line]


def status_instead(status, body):
    """Each answer has that status, and that body if it is not None."""
    def check(reference, ours):
        assert ours.log == [re.sub(r'" \d+ -$', f'" {status} -', line) for line in reference.log]
        answers = [answer for answer in re.split(rb"HTTP/1\.1 (?=\d{3} )", ours.answer) if answer]
        assert len(answers) == len(ours.log)
        for answer in answers:
            assert answer.startswith(b"%d " % status)
            assert body is None or answer.partition(b"\r\n\r\n")[2] == body
    return check


def refused(message, status=400, before=0):
    """After `before` requests that both served alike: one error answer, which says that the connection closes; two
    lines in the log, of which the second has the request line as the original has it; the handler saw nothing."""
    def check(reference, ours):
        (error,) = _ERROR.finditer(ours.answer)
        assert (int(error[1]), error[2].decode("latin-1")) == (status, message)
        assert b"Connection: close" in error[3].split(b"\r\n")
        has_page = '] "HEAD ' not in lines(ours.log)[-1]
        assert has_page == (f"Content-Length: {len(ours.answer) - error.end()}".encode() in error[3].split(b"\r\n"))
        assert has_page or ours.answer.endswith(b"\r\n\r\n")
        assert reference.answer.startswith(ours.answer[:error.start()])
        assert ours.answer[:error.start()].count(b"HTTP/1.") == before
        assert ours.seen == reference.seen[:before]
        served = [line for line in reference.log if line.endswith(" -")]
        *earlier, code, line = lines(ours.log)
        assert earlier == served[:before]
        assert code == f"127.0.0.1 - - [now] code {status}, message {escaped(message)}"
        if before < len(served):    # the original may have raised
            assert line == re.sub(r" \d{3} -$", f" {status} -", served[before])

    return check


def escaped(message):
    """As log_message() writes it: controls are escaped already where repr() shows them."""
    return message.replace("\\", "\\\\")


def with_a_head(reference, ours):
    """The same error page and the same log, but after a head, from which a client learns what it is."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    (error,) = _ERROR.finditer(ours.answer)
    assert f"code {error[1].decode()}, message " in lines(ours.log)[-2]
    assert b"Connection: close" in error[3].split(b"\r\n")
    assert f"Content-Length: {len(ours.answer) - error.end()}".encode() in error[3].split(b"\r\n")
    assert ours.answer[:error.start()] + ours.answer[error.end():] == reference.answer


# ---------------------------------------------------------------- other differences

def rest_not_a_request(reference, ours):
    """What was left of the body is drained, or the connection is closed; it is never taken for a request."""
    assert any("smuggled" in repr(request) for request in reference.seen), "the original's weakness"
    assert not any("smuggled" in str(request[1]) for request in ours.seen)
    assert ours.seen[0] == reference.seen[0]
    assert "smuggled" not in "".join(ours.log)
    assert [request[1] for request in ours.seen] == [
        request[1] for request in reference.seen if "smuggled" not in repr(request)]


def closed_after_the_first(reference, ours):
    """The first answer alone: the connection closes, and what came after it is not read."""
    assert len(ours.seen) == 1 and len(reference.seen) == 2
    *same, close, body = ours.seen[0]
    assert (*same, close, body) == (*reference.seen[0][:-2], True, reference.seen[0][-1])
    assert ours.log == reference.log[:1]
    assert reference.answer == ours.answer * 2


def closed_by_a_trimmed_value(reference, ours):
    """"close", not "close ": the first answer alone."""
    assert [request[5:7] for request in reference.seen] == [
        ([("Host", "a"), ("Connection", "close ")], False), ([("Host", "a")], False)]
    assert [request[5:7] for request in ours.seen] == [([("Host", "a"), ("Connection", "close")], True)]
    assert ours.log == reference.log[:1] and reference.answer == ours.answer * 2


def chunks_not_a_request(reference, ours):
    """The chunks are dropped, the next request is answered; the original takes the size of a chunk for one."""
    assert "Bad request syntax ('" in reference.log[1], "the original's weakness"
    assert ours.seen[:1] == reference.seen and ours.log[:1] == reference.log[:1]
    assert [request[1] for request in ours.seen] == ["/first", "/next"] and len(ours.log) == 2
    assert ours.answer.count(b"HTTP/1.1 200 OK\r\n") == 2


def goes_on(reference, ours):
    """The second request is answered, too, where the original closed silently."""
    assert ours.seen[:1] == reference.seen and ours.log[:1] == reference.log
    assert [request[1] for request in ours.seen] == ["/", "/second"] and len(ours.log) == 2
    assert ours.answer.startswith(reference.answer) and ours.answer.count(b"HTTP/1.1 200 OK\r\n") == 2


def host_of_the_target(reference, ours):
    """Host is what the request target says, where there was none as well; all else is equal, the path being the whole
    target still."""
    assert (ours.answer, ours.log) == (reference.answer, reference.log)
    (mine,), (theirs,) = ours.seen, reference.seen
    assert (mine[:5], mine[6:]) == (theirs[:5], theirs[6:])
    assert (theirs[5], mine[5]) == ([("Host", "a")] if theirs[5] else [], [("Host", "a.example:80")])


def found_below_the_authority(reference, ours):
    """The file, where the original looks for one with the whole target as its name."""
    assert re.match(rb"HTTP/1\.[01] 404 File not found\r\n", reference.answer) and len(reference.log) == 2
    assert re.match(rb"HTTP/1\.[01] 200 OK\r\n", ours.answer) and ours.seen == reference.seen == []
    assert set(ours.log) == {reference.log[1].replace(" 404 -", " 200 -")}


def says_that_it_closes(reference, ours):
    """The second answer says that it is the last."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    assert reference.answer.endswith(b"\r\n\r\nok") and reference.answer.count(b"\r\n\r\nok") == 2
    assert ours.answer == reference.answer[:-6] + b"\r\nConnection: close" + reference.answer[-6:]


def closed_by_the_client(reference, ours):
    """One answer, of the two that are the same."""
    assert (reference.seen, ours.seen) == ([False, False], [True])
    assert reference.answer == ours.answer * 2 and reference.log == ours.log * 2


def not_found(reference, ours):
    """404 where the original has a traceback and no answer."""
    assert reference.answer == b"" and "ValueError: embedded null byte" in reference.log
    assert re.match(rb"HTTP/1\.[01] 404 File not found\r\n", ours.answer) and ours.seen == reference.seen == []
    assert "code 404, message File not found" in ours.log[0]


def closes_all_the_same(reference, ours):
    """`close_connection` is true where the original's became False by the header; all else is equal."""
    def differences(theirs, mine):
        if isinstance(theirs, (list, tuple)):
            assert len(mine) == len(theirs)
            return sum(map(differences, theirs, mine))
        assert mine == theirs or (mine, theirs) == (True, False)
        return mine != theirs

    assert (ours.answer, ours.log) == (reference.answer, reference.log)
    assert differences(reference.seen, ours.seen) > 0


def trimmed(reference, ours):
    """Values end before the white space at the end of the line; all else is equal."""
    def as_lists(value, text):
        if isinstance(value, (list, tuple)):
            return [as_lists(item, text) for item in value]
        return text(value) if isinstance(value, str) else value

    def cut(text):
        return re.sub(r"(?<=\w)(?:[ \t]|\\t)+(?=$|['\r\n])", "", text)

    assert (ours.answer, ours.log) == (reference.answer, reference.log)
    assert as_lists(ours.seen, str) == as_lists(reference.seen, cut)


def timed_out_before_the_handler(reference, ours):
    """The request timed out with the same line in the log, and no handler ran."""
    assert ours.seen == [] and ours.answer == b""
    assert ours.log[-1].endswith("Request timed out: TimeoutError('timed out')")


def no_body_to_wait_for(reference, ours):
    """Reads give the end at once, and the same answer follows."""
    assert (ours.answer, ours.log, ours.seen) == (reference.answer, reference.log, [])
    assert len(reference.seen) == 2


def found_when_looked_for(reference, ours):
    """vars() of a handler shows what was looked at so far, not what could be."""
    assert len(ours.seen) == len(reference.seen)
    assert all(set(mine) <= set(theirs) for mine, theirs in zip(ours.seen, reference.seen))
    assert (ours.answer, ours.log) == (reference.answer, reference.log)


def nothing_injected(reference, ours):
    """ValueError out of send_header(), and out of the handler; nothing of the head was sent."""
    has_head = bool(reference.answer)   # HTTP/0.9 has none
    assert has_head == (b"\r\nX-Injected: 2\r\n" in reference.answer), "the original's weakness"
    assert ours.answer == b"" and ours.seen == []
    assert ours.log[0] == reference.log[0]
    assert "ValueError: control character in the header 'X-A': '1\\r\\nX-Injected: 2'" in ours.log


def refuses_each_value(reference, ours):
    """ValueError for each of the headers, of which nothing is in the head; all else is equal."""
    assert set(reference.seen) == {"None"} and ours.seen == ["ValueError"] * len(reference.seen)
    assert ours.log == reference.log
    has_head = bool(reference.answer)   # HTTP/0.9 has none
    assert has_head == (b"X-Injected" in reference.answer), "the original's weakness"
    assert ours.answer == re.sub(rb"(?s)(\r\nDate: \(now\)\r\n).*?(Content-Length: 0\r\n)", rb"\1\2", reference.answer)


def blank_reason(reference, ours):
    """Control characters of the reason phrase, CR and LF among them, are blanks; all else is equal."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    start = re.compile(rb"(HTTP/1\.[01] \d{3} )(.*?)(?=\r\nServer: )", re.S)
    assert ours.answer == start.sub(
        lambda match: match[1] + re.sub(rb"[\0-\x08\n-\x1f\x7f]", b" ", match[2]), reference.answer)


def without_content(reference, ours):
    """The same heads; what the handler wrote after them is dropped."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    assert b"never" in reference.answer, "the original's weakness"
    assert ours.answer == reference.answer.replace(b"never", b"")


def without_spare_lines(reference, ours):
    """No empty line behind the heads of the answers to HEAD, which are the first two."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    assert ours.answer == reference.answer.replace(b"\r\n\r\n\r\n", b"\r\n\r\n", 2)


def without_more_lines(reference, ours):
    """Nothing of the header lines that follow the end of the head."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    assert reference.answer.count(b"X-Never: never\r\n\r\n") == 2
    lengths = rb"|Content-Length: 0\r\n" if b" 204 " in ours.answer else rb""
    assert ours.answer == re.sub(rb"X-Never: never\r\n\r\n" + lengths, b"", reference.answer)


def without_interim(reference, ours):
    """The final answer alone."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    interim, end, answer = reference.answer.partition(b"\r\n\r\n")
    assert interim.startswith(b"HTTP/1.1 10") or interim.startswith(b"HTTP/1.0 10")
    assert ours.answer == answer


def without_what_the_application_gave(reference, ours):
    """The head alone, Content-Length and all."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    head, end, content = reference.answer.partition(b"\r\n\r\n")
    assert ours.answer == head + end and content


def without_a_length(reference, ours):
    """No Content-Length: 0 for an answer that has no body in any case."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    assert ours.answer == reference.answer.replace(b"Content-Length: 0\r\n", b"")


def without_the_name_with_an_underscore(reference, ours):
    """X-Y: 1 alone, without the X_Y: 2 that would be its second value."""
    def cut(seen):
        return [[(key, "1" if (key, value) == ("HTTP_X_Y", "1,2") else value) for key, value in seen[0]], *seen[1:]]

    assert cut(reference.seen) != reference.seen and ours.seen == cut(reference.seen)
    assert ours.log == reference.log


def without_framing(reference, ours):
    """The same, and neither Content-Length nor Transfer-Encoding in the head."""
    assert (ours.seen, ours.log) == (reference.seen, reference.log)
    assert ours.answer == re.sub(rb"Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n|never", b"", reference.answer)


# ---------------------------------------------------------------- the list

def syntax(line):
    return f"Bad request syntax ({line!r})"


_SYNTAX = "a request line is method SP target SP version, of visible ASCII characters (RFC 9112, 3)"
_VERSION = "a version is HTTP/DIGIT.DIGIT (RFC 9112, 2.3), and HTTP/0.9 is not spelt out"
_TARGET = "a request target has one of four forms, of which * is of OPTIONS alone (RFC 9112, 3.2)"
_FIELD = "a field line is a token, a colon and a value, not folded, without controls (RFC 9112, 5; RFC 9110, 5.5)"
_LINE_END = "a bare CR or LF ends no field line (RFC 9112, 2.2)"
_HOST = "a request of HTTP/1.1 has one valid Host, one of HTTP/1.0 one or none (RFC 9112, 3.2)"
_FRAMING = "two parsers could read the end of this request differently (RFC 9112, 6.1 and 6.3)"
_CONTROL = "control characters in a header are invalid, CR, LF and NUL dangerous (RFC 9110, 5.5)"
_CODING = "a transfer coding that is not understood is told, not taken for no body (RFC 9112, 6.1)"
_CUT = "a message that is cut off is incomplete, and not acted on (RFC 9112, 8)"
_EXPECT = "an expectation that cannot be met is told (RFC 9110, 10.1.1)"
_LARGE = "all header lines of a request are 65,536 octets together at most (RFC 6585, 5)"

#: Reason -> case -> message of the error answer, whose status is 400.
_REFUSED = {
    _SYNTAX: {
        "requests/8-bit path": syntax("GET /\xc3\xbc\xe2\x82\xac HTTP/1.1"),
        "requests/several blanks": syntax("GET    /x   HTTP/1.1  "),
        "requests/tabs": syntax("GET\t/x\tHTTP/1.1"),
        "requests/leading blank": syntax(" GET /x HTTP/1.1"),
        "requests/other blanks": syntax("GET\x0b/x\x0cHTTP/1.1"),
        "requests/8-bit blanks": syntax("GET\xa0/x\x85HTTP/1.1"),
        "requests/cr in the request line": syntax("GET /x HTTP/1.1"),
        "requests/nul in the request line": syntax("GET /\0x HTTP/1.1"),
        "requests/controls in the request line": syntax("GET /\x1b[31m\x07 HTTP/1.1"),
        "requests/percent in a refusal": syntax("%s%d%(x)s / HTTP/1.1"),
        "requests/method with odd characters": syntax("G\"E<T> / HTTP/1.1"),
        "requests/http/0.9 without slash": syntax("GET nothing"),
        "requests/method with 8 bits": syntax("G\xcbT / HTTP/1.1"),
        "log/escape sequence": syntax("GET /\x1b[31mred HTTP/1.1"),
        "log/each control character": syntax(
            "GET /" + "".join(map(chr, sorted(set(range(0x20)) - set(b"\t\n\v\f\r ")))) + " HTTP/1.1"),
        "log/DEL and C1": syntax("GET /\x7f\x80\x9b\x9f HTTP/1.1"),
        "log/Latin-1": syntax("GET /caf\xe9\xff HTTP/1.1"),
        "log/UTF-8": syntax("GET /caf\xc3\xa9\xe2\x82\xac HTTP/1.1"),
        "wsgi/environment 8-bit path": syntax("GET /%C3%BC/\xc3\xbc?%C3%BC HTTP/1.1"),
    },
    _VERSION: {
        "requests/http/1.10": "Bad request version ('HTTP/1.10')",
        "requests/http/01.1": "Bad request version ('HTTP/01.1')",
    },
    _TARGET: dict.fromkeys((
        "files/*", "requests/asterisk of a GET", "requests/user information", "requests/connect with a path",
        "requests/connect without a port", "requests/absolute uri without host", "requests/scheme without slashes",
        "requests/fragment of an authority"), "Invalid request target"),
    _HOST: {
        "requests/no host": "Missing Host",
        "requests/no host among others": "Missing Host",
        "headers/no fields": "Missing Host",
        "wsgi/no host": "Missing Host",
        **dict.fromkeys((
            "requests/empty host", "requests/two hosts", "requests/same host twice", "requests/two hosts in one line",
            "requests/two hosts http/1.0", "requests/host with a path", "requests/host with user information",
            "requests/host with a blank", "requests/host with 8 bits", "requests/host with a port too large",
            "requests/host with a port of letters", "requests/host with half a bracket",
            "requests/ipv6 without brackets", "requests/ipv6 with a zone", "headers/empty host"), "Invalid Host"),
    },
    _FIELD: {
        **dict.fromkeys((
            "requests/8-bit names", "requests/blank before the colon", "requests/line without colon",
            "requests/only a colon", "requests/name with blank", "requests/name with tab", "requests/unix from line",
            "requests/unix from line first", "headers/Latin-1 name", "headers/space before the colon",
            "bodies/blank before the colon", "bodies/no colon", "bodies/From", "bodies/no name"),
            "Invalid header name"),
        "requests/word without colon": "Header line without a colon",
        "headers/no colon": "Header line without a colon",
        **dict.fromkeys((
            "requests/obs-fold", "requests/obs-fold of blanks", "requests/obs-fold of nothing", "requests/fold first",
            "headers/folded", "bodies/folded"), "Folded header line"),
        **dict.fromkeys((
            "requests/line separators in values", "requests/nul in value", "requests/control characters",
            "headers/control characters", "bodies/control characters"), "Invalid header value"),
    },
    _LINE_END: {
        **dict.fromkeys((
            "requests/cr in value", "requests/cr before crlf", "requests/cr as the only line end"),
            "Invalid header value"),
        **dict.fromkeys((
            "requests/bare lf", "requests/bare lf in a header", "requests/bare lf at the end",
            "headers/line feeds alone"), "Header line not ended by CRLF"),
    },
    _CUT: {
        **dict.fromkeys((
            "requests/http/0.9, eof in the line", "requests/no blank line, eof", "requests/eof in the request line",
            "requests/eof after the request line", "requests/eof in a header", "requests/eof after a cr"),
            "Incomplete request"),
        "requests/eof in the body": "Incomplete body",
    },
    _FRAMING: {
        "requests/length and chunked": "Both Content-Length and Transfer-Encoding",
        "requests/chunked and length": "Both Content-Length and Transfer-Encoding",
        "requests/differing lengths": "Differing Content-Length",
        "requests/same length, other digits": "Differing Content-Length",
        **dict.fromkeys((
            "requests/differing lengths in one line", "requests/same length twice in one line",
            "requests/length is no number", "requests/length is negative",
            "requests/length with a plus", "requests/length with an underscore", "requests/length is hexadecimal",
            "requests/length is empty", "requests/length of many digits"), "Invalid Content-Length"),
        **dict.fromkeys((
            "requests/chunked is not last", "requests/chunked twice",
            "requests/chunked with a parameter", "requests/coding without a name"), "Invalid Transfer-Encoding"),
        "requests/chunked in HTTP/1.0": "Transfer-Encoding in HTTP/1.0",
        "requests/malformed chunk": "Invalid chunked body",
    },
}

def _original_has_a_head():
    """Whether the original's refusal of what is no request line has one: newer ones do (3.14.7)."""
    handler = object.__new__(http.server.BaseHTTPRequestHandler)
    handler.raw_requestline, handler.wfile, handler.client_address = b"X\r\n", io.BytesIO(), ("", 0)
    handler.log_message = lambda *arguments: None
    assert not handler.parse_request()
    return handler.wfile.getvalue().startswith(b"HTTP/")


KNOWN: dict[str, Difference] = {
    **{case: Difference(reason, refused(message))
       for reason, cases in _REFUSED.items() for case, message in cases.items()},
    "requests/http/0.9 spelt out": Difference(_VERSION, refused("Invalid HTTP version (0.9)", 505)),
    "requests/expect other": Difference(_EXPECT, refused("Unsupported expectation", 417)),
    "requests/expect 100 and other": Difference(_EXPECT, refused("Unsupported expectation", 417)),
    "requests/65536 octets": Difference(_LARGE, refused("Headers too long", 431)),
    "requests/many octets in many headers": Difference(_LARGE, refused("Headers too long", 431)),
    "requests/other coding": Difference(_CODING, refused("Unsupported Transfer-Encoding", 501)),
    "requests/eof in the second head": Difference(_CUT, refused("Incomplete request", before=1)),
    "requests/eof in the body of the second": Difference(_CUT, refused("Incomplete body", before=1)),
    "log/line with blanks": Difference(_SYNTAX, refused(syntax("GET  /one  HTTP/1.1"), before=1)),
    "log/line with tabs": Difference(_SYNTAX, refused(syntax("GET\t/one\tHTTP/1.1"), before=1)),
    "log/line with two cr": Difference(_SYNTAX, refused(syntax("GET /one HTTP/1.1"), before=1)),
    "log/line with control in the method": Difference(_SYNTAX, refused(syntax("G\x1bT / HTTP/1.1"), before=1)),
    "requests/second without host": Difference(_HOST, refused("Missing Host", before=1)),
    **dict.fromkeys(() if _original_has_a_head() else (
        "requests/one word", "requests/eof in the method", "requests/post http/0.9", "requests/no http", "requests/lower-case http",
        "requests/version without dot", "requests/version of three numbers", "requests/version with letters",
        "requests/version with a minus", "requests/version with a plus", "requests/version with an underscore",
        "requests/version with odd digits", "requests/version of many digits", "requests/version of eleven digits",
        "requests/version empty", "requests/version 2.0", "requests/version 9.9", "requests/http/2 preface",
        "requests/tls client hello", "requests/binary", "requests/garbage after get", "handlers/malformed",
        "blocking/malformed", "log/malformed", "wsgi/malformed", *(
            f"handlers/attribute {name} in a refusal" for name in (
                "server_version", "sys_version", "error_message_format", "error_content_type", "protocol_version",
                "responses", "monthname", "weekdayname"))), Difference(
        "an error answer to what is no request of HTTP/0.9 has a head (RFC 9112, 2.3 and 3)", with_a_head)),
    **dict.fromkeys(("requests/connection list", "requests/two connection headers"), Difference(
        "Connection is a list over all its field lines, in which close counts (RFC 9112, 9.3 and 9.6)",
        closed_after_the_first)),
    "requests/space after connection close": Difference(
        "white space around a field value is not part of it (RFC 9110, 5.5)", closed_by_a_trimmed_value),
    "requests/body and crlf": Difference("an empty line before a request is ignored (RFC 9112, 2.2)", goes_on),
    **dict.fromkeys(("requests/absolute uri", "requests/absolute uri http/1.0"), Difference(
        "the authority of the target counts, not Host (RFC 9112, 3.2.2)", host_of_the_target)),
    "files/If-None-Match: *": Difference(
        "of what is there any tag is the one (RFC 9110, 13.1.2)", status_instead(304, b"")),
    "files/Range: bytes=0-3": Difference("a part is sent where one is asked for (RFC 9110, 14.2)", status_instead(206, None)),
    "files/If-Modified-Since: Sun, 09 Sep 2001 01:46:40 -0000": Difference(
        "that is no date of HTTP (RFC 9110, 5.6.7), so there is no such field", status_instead(200, None)),
    "files/http://a/plain.txt": Difference(
        "scheme and authority of a target are no part of its path (RFC 9112, 3.2.2)", found_below_the_authority),
    "servers/after shutdown": Difference(
        "who is about to close a connection says so (RFC 9112, 9.6)", says_that_it_closes),
    "bodies/message class hides a close": Difference(
        "what a client says of the end of its connection counts (RFC 9112, 9.6)", closed_by_the_client),
    "handlers/keep-alive to a client that closes": Difference(
        "a client that closes is not kept, whatever the answer says (RFC 9112, 9.6)", closes_all_the_same),
    **dict.fromkeys(("files/%00", "files/plain.txt%00"), Difference(
        "a name that can be no file's is not found; there is an answer", not_found)),
    **dict.fromkeys(("requests/blanks after values", "headers/space after"), Difference(
        "white space around a field value is not part of it (RFC 9110, 5.5)", trimmed)),
    **dict.fromkeys((
        "requests/unread body", "requests/unread body of a GET", "requests/half-read body",
        "requests/body of an unknown method"), Difference(
        "what a handler left of a body never becomes the next request (RFC 9112, 9.3)", rest_not_a_request)),
    "requests/unread chunked body": Difference(
        "what a handler left of a body never becomes the next request (RFC 9112, 9.3)", chunks_not_a_request),
    "timeouts/caught without a body": Difference(
        "a request without Content-Length has no body, and its end is not waited for (RFC 9112, 6.3)",
        no_body_to_wait_for),
    "timeouts/caught in a short body": Difference(
        "a short body with a Content-Length is awaited before the handler runs, so that a slow client holds up nobody",
        timed_out_before_the_handler, lanes=NATIVE),
    "handlers/attributes of the handler": Difference(
        "what the engine supplies (command, path, headers, rfile, connection, ...) is made when it is looked at",
        found_when_looked_for, lanes=NATIVE),
    "handlers/crlf in a header": Difference(_CONTROL, nothing_injected),
    **dict.fromkeys(("handlers/refused headers", "blocking/refused headers"), Difference(
        _CONTROL, refuses_each_value)),
    **dict.fromkeys((
        "handlers/send error with control characters", "handlers/crlf in a reason", "log/control in a reason"),
        Difference(
        "a reason phrase has no control characters (RFC 9112, 4)", blank_reason)),
    **dict.fromkeys(("handlers/head lines after HEAD", "handlers/head lines after 304"), Difference(
        "an answer to HEAD, and 304, has no content (RFC 9110, 6.4.1)", without_more_lines)),
    "handlers/head lines after 204": Difference(
        "204 has no content, and nothing that frames one (RFC 9110, 6.4.1 and 8.6; RFC 9112, 6.1)", without_more_lines),
    **dict.fromkeys(("handlers/content after HEAD", "handlers/content after 304"), Difference(
        "an answer to HEAD, and 304, has no content (RFC 9110, 6.4.1)", without_content)),
    "blocking/end_headers twice after HEAD": Difference(
        "an answer to HEAD, and 304, has no content (RFC 9110, 6.4.1)", without_spare_lines),
    "handlers/interim answer to HTTP/1.0": Difference(
        "there is no 1xx in HTTP/1.0 (RFC 9110, 15.2)", without_interim),
    "wsgi/nothing": Difference("204 has no Content-Length (RFC 9110, 8.6)", without_a_length),
    "wsgi/environment odd headers": Difference(
        "a name with an underscore would become another field's, which a proxy has looked at",
        without_the_name_with_an_underscore),
    "wsgi/content of HEAD": Difference(
        "an answer to HEAD has no content (RFC 9110, 6.4.1)", without_what_the_application_gave),
    **dict.fromkeys(("handlers/content after 204", "handlers/content after 103"), Difference(
        "1xx and 204 have no content, and nothing that frames one (RFC 9110, 6.4.1 and 8.6; RFC 9112, 6.1)",
        without_framing)),
}

#: Differences that tests without a reference know of: where it is noticed, and why.
ELSEWHERE = {
    "test_behaviour_handlers.py: request_version is empty in send_error() of what is no request line":
        "with HTTP/0.9, as the original has it, the error answer would have no head",
    "test_contract_handlers_streams.py: vars(handler) without a socket until it is looked at":
        "the event loop owns the socket between requests; a socket.socket is made for who asks",
    "test_contract_handlers_flow.py: TCP_NODELAY is on where disable_nagle_algorithm is False":
        "Nagle's algorithm against delayed acknowledgements stalls every second answer for 44 ms",
}
