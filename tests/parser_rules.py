"""Why another parser may read a request otherwise than ours does: every disagreement has to have a rule here.

Three tables, each rule with octets to show it (so that one that has no cause any more is found):

LENIENT   theirs takes what ours refuses: the defects (request_defects.py) it is known to let pass, by parser
STRICT    theirs refuses what ours takes: the sentence of an RFC that lets ours take it
OTHERWISE both take it, and do not tell the same of it
"""
import dataclasses
import re

from request_defects import CODED, DEFECTS, Octets, chunked, defects_of, put

# ---------------------------------------------------------------- theirs takes it

EVERY_FIELD = "it looks at no field's value but Connection and Expect"
EMAIL = "the fields are read by the parser for mail, which leaves out or mends what is none"

#: {parser: {defect: the reason, or (the reason, an example of its own)}}
LENIENT = {
    "http.server": {
        "line": "any white space of Python's, and any number of it, between any octets that are none",
        "version": ("HTTP/0.9 too may be written as a version", put(line=b"PUT / HTTP/0.9")),
        "target": "any octets",
        "cut off": "the end of the stream ends the head",
        **dict.fromkeys(("bare LF", "fold", "first fold", "colon", "name", "value", "NUL", "bare CR"), EMAIL),
        **dict.fromkeys(("no host", "hosts", "host", "length", "length list", "huge length", "lengths", "coding of 1.0",
                         "both", "coding", "empty coding", "other coding", "expect"), EVERY_FIELD),
    },
    "h11": {
        "version": "HTTP/ DIGIT . DIGIT, whatever the digits",
        "target": "any VCHARs",
        "bare LF": "a line ends in LF; a CR before it is dropped",
        "fold": "it is replaced by SP, which is the other thing a server may do",
        "value": "a value is whatever has no white space but SP and HTAB, and no NUL",
        "fields": "octets are limited, not lines",
        "no host": ("it is asked for in HTTP/1.1, and not in HTTP/1.2", put(line=b"PUT / HTTP/1.2", host=b"")),
        "host": "its value is the program's affair",
        "length list": "it takes one value repeated, as it may",
        "coding of 1.0": "versions make no difference to it",
        "both": "Transfer-Encoding wins, as in RFC 7230, 3.3.3",
        "expect": "it leaves Expect to the program",
        "size line": "an extension is anything after \";\"",
        "space after size": "a deliberate leniency, for there are servers that pad sizes",
        "trailer fold": "as in a head",
        "trailer value": "as in a head",
        "trailer LF": "as in a head",
        "trailer name": "it tells the program all of them",
    },
    "httptools": {
        "blank line": "any CRs and LFs before a request are passed over",
        "line": "any number of SP before target or version; and HTTP/0.9 with any target and method GET",
        "version": "it knows HTTP/0.9 and HTTP/2.0",
        "target": "\"*\" with any method, and hosts and ports are not looked at",
        "fields": "there is no limit",
        **dict.fromkeys(("no host", "hosts", "host"), "Host is a field like others"),
        "coding of 1.0": "versions make no difference to it",
        "coding": ("it does not matter to CONNECT",
                   put(b"Transfer-Encoding: chunked a\r\n", line=b"CONNECT a:1 HTTP/1.1")),
        "empty coding": "it looks for chunked at the end, and takes what is before it for another coding",
        "other coding": "the program may know it",
        "expect": "it leaves Expect to the program",
        "size line": "an extension has no need of a name",
        "trailer name": "it tells the program all of them",
    },
}

# ---------------------------------------------------------------- theirs refuses it

@dataclasses.dataclass(frozen=True)
class Rule:
    """`holds(octets, theirs)`: whether it accounts for a disagreement."""
    parsers: tuple
    name: str
    words: str
    holds: object
    example: bytes


ALL, WIRE = ("http.server", "h11", "httptools"), ("h11", "httptools")
KNOWN_METHODS = frozenset(b"""
    DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND
    UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK
    SOURCE QUERY
    """.split())


def is_connect(octets, theirs):
    """It has fields that would frame a body."""
    return octets.method == b"CONNECT" and octets.values(b"content-length") + octets.values(b"transfer-encoding") != []


def upgrades(octets):
    return octets.values(b"upgrade") and b"upgrade" in map(bytes.lower, octets.elements(b"connection"))


def is_padded(octets, theirs):
    """There is white space about the ";" or "=" of a chunk's extension."""
    return "chunk" in theirs.why and re.search(rb"\n[0-9A-Fa-f]+[^\r\n]*([ \t][;=]|[;=][ \t])", octets.data)


def is_tabbed(octets, theirs):
    return "Transfer-Encoding" in theirs.why and re.search(rb"(?i)chunked *\t[ \t]*\r\n", octets.data)


STRICT = (
    Rule(("http.server", "h11"), "empty line",
         "RFC 9112, 2.2: a server SHOULD ignore at least one empty line (CRLF) received prior to the request-line",
         lambda octets, theirs: octets.begins, b"\r\n" + put()),
    Rule(WIRE, "HTTP/0.9",
         "RFC 9112, C.1: support for HTTP/0.9 is expected no more, and not forbidden; http.server has it",
         lambda octets, theirs: octets.is_09, b"GET / \r\n"),
    Rule(("h11",), "digits of a length", "RFC 9110, 8.6: Content-Length = 1*DIGIT; zeros may lead",
         lambda octets, theirs: "Content-Length" in theirs.why and max(map(len, octets.values(b"content-length"))) > 20,
         put(b"Content-Length: 000000000000000000000\r\n")),
    Rule(("h11",), "digits of a size",
         "RFC 9112, 7.1: chunk-size = 1*HEXDIG; recipients MUST anticipate large numerals",
         lambda octets, theirs: "chunk" in theirs.why and re.search(rb"\n0[0-9A-Fa-f]{20}", octets.data),
         chunked(b"000000000000000000000\r\n\r\n")),
    Rule(WIRE, "BWS of an extension",
         "RFC 9112, 7.1.1: *( BWS \";\" BWS chunk-ext-name ...); RFC 9110, 5.6.3: MUST parse for such bad whitespace",
         is_padded, chunked(b"0 ;a\r\n\r\n")),
    Rule(("h11",), "content of CONNECT", "RFC 9110, 9.3.6: a CONNECT request does not have content",
         is_connect, put(CODED, line=b"CONNECT a:1 HTTP/1.1", after=b"not chunked\r\n")),
    Rule(("httptools",), "methods",
         "RFC 9110, 9.1: method = token; ours leaves it to the handler's do_ methods, which answer 501",
         lambda octets, theirs: "method" in theirs.why and octets.method not in KNOWN_METHODS,
         put(line=b"BREW / HTTP/1.1")),
    Rule(("httptools",), "minor versions",
         "RFC 9110, 2.5: a higher minor version SHOULD be processed as the highest one that is implemented",
         lambda octets, theirs: "version" in theirs.why and octets.minor > 1, put(line=b"PUT / HTTP/1.9")),
    Rule(("httptools",), "LF of a request line",
         "RFC 9112, 2.2: a recipient MAY recognize a single LF as a line terminator",
         lambda octets, theirs: "CRLF" in theirs.why and not octets.line.endswith(b"\r\n"),
         put()[:len(b"PUT / HTTP/1.1")] + put()[len(b"PUT / HTTP/1.1\r"):]),
    Rule(("httptools",), "targets without a slash",
         "RFC 9112, 3.2: an invalid one SHOULD be answered with 400 or 301: no MUST, and CPython's tests ask for them",
         lambda octets, theirs: "url" in theirs.why and octets.target[:1] != b"/" and not octets.is_absolute,
         put(line=b"PUT a HTTP/1.1")),
    Rule(("httptools",), "schemes and hosts",
         "RFC 3986, 3.1 and 3.2.2: a scheme has ALPHA DIGIT + - . and a reg-name unreserved, sub-delims, pct-encoded",
         lambda octets, theirs: "url" in theirs.why and octets.is_absolute, put(line=b"PUT x+y://a/ HTTP/1.1")),
    Rule(("httptools",), "equal lengths",
         "RFC 9110, 8.6: the same value repeated: MAY either reject, or replace it with a single valid one",
         lambda octets, theirs: "Duplicate" in theirs.why and len(octets.values(b"content-length")) > 1,
         put(b"Content-Length: 0\r\n" * 2)),
    Rule(("httptools",), "HTAB after chunked",
         "RFC 9110, 5.5: a field value does not include trailing whitespace, and that is SP / HTAB",
         is_tabbed,
         put(b"Transfer-Encoding: chunked\t\r\n", after=b"0\r\n\r\n")),
)


# ---------------------------------------------------------------- both take it

def with_authority(octets):
    """The fields of a request as ours gives them to handlers: RFC 9112, 3.2.2."""
    found = octets.is_absolute
    if not found:
        return octets.fields
    if not octets.values(b"host"):
        return [*octets.fields, (b"Host", found[1])]
    return [(name, found[1] if name.lower() == b"host" else value) for name, value in octets.fields]


def trimmed(fields):
    return [(name, value.rstrip(b" \t")) for name, value in fields]


def merged(fields):
    """As h11 tells them: one Content-Length, and codings in lower case."""
    out = []
    for name, value in fields:
        if name.lower() == b"transfer-encoding":
            value = value.lower()
        if name.lower() != b"content-length" or b"content-length" not in [other.lower() for other, _ in out]:
            out.append((name, value))
    return out


def same_fields(*ways):
    """A rule of fields: what theirs tells is what the octets have, but for the ways of its own."""
    def holds(octets, ours, theirs):
        expected, told = octets.fields, theirs.fields
        for way in ways:
            expected, told = way(expected), way(told)
        return expected == told and ours.fields == with_authority(octets)
    return holds


@dataclasses.dataclass(frozen=True)
class Difference(Rule):
    """`holds(octets, ours, theirs)`: whether that is why they tell different `aspects`."""
    aspects: tuple = ()


OTHERWISE = (
    Difference(WIRE, "slashes", "gh-87389: http.server, and so ours, makes one slash of several at the beginning",
               lambda octets, ours, theirs: theirs.target == octets.target
               and ours.target == b"/" + octets.target.lstrip(b"/"),
               put(line=b"PUT //a HTTP/1.1"), ("target",)),
    Difference(ALL, "authority",
               "RFC 9112, 3.2.2: a server MUST replace Host with the host information of an absolute-form",
               lambda octets, ours, theirs: octets.is_absolute and same_fields(trimmed, merged)(octets, ours, theirs),
               put(line=b"PUT http://b/ HTTP/1.1"), ("fields",)),
    Difference(("http.server", "httptools"), "trailing space",
               "RFC 9110, 5.5: a field value does not include trailing whitespace",
               same_fields(trimmed), put(b"A: b \r\n"), ("fields",)),
    Difference(("h11",), "merged",
               "RFC 9110, 8.6: equal lengths may be replaced by one; RFC 9112, 7: names of codings have no case",
               same_fields(merged), put(b"Content-Length: 0\r\n" * 2), ("fields",)),
    Difference(WIRE, "content of CONNECT", "RFC 9110, 9.3.6: a CONNECT request does not have content",
               lambda octets, ours, theirs: is_connect(octets, theirs) and ours.content == b"",
               put(b"Content-Length: 1\r\n", line=b"CONNECT a:1 HTTP/1.1", after=b"b"), ("framing", "content", "rest")),
    Difference(("httptools",), "content of HTTP/0.9", "RFC 9112, C.1: HTTP/0.9 has no fields, and so no content",
               lambda octets, ours, theirs: octets.is_09 and ours.content == b"",
               b"GET /\r\nContent-Length: 1\r\n\r\na", ("fields", "framing", "content", "rest")),
    Difference(("httptools",), "content before an upgrade",
               "RFC 9110, 7.8: a client cannot change the protocol before it has completely sent the request message",
               lambda octets, ours, theirs: upgrades(octets) and theirs.content == b"",
               put(b"Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n", after=b"b"), ("content", "rest")),
)


# ---------------------------------------------------------------- judging

def examples():
    """(parser, name of a rule, octets that show it)."""
    for parser, defects in LENIENT.items():
        for defect, why in defects.items():
            yield parser, defect, why[1] if isinstance(why, tuple) else DEFECTS[defect].example
    for rule in (*STRICT, *OTHERWISE):
        for parser in rule.parsers:
            yield parser, rule.name, rule.example


def explain(parser, data, ours, theirs):
    """The names of the rules by which `theirs` differs from `ours`.  AssertionError if there is none."""
    defects, octets = defects_of(data), Octets(data)
    if defects:
        if parser == "http.server" and DEFECTS[defects[0]].in_body:
            return ()  # it has no idea of bodies
        if parser == "httptools" and DEFECTS[defects[0]].in_body and theirs.body and upgrades(octets):
            return ("content before an upgrade",)
        taken = theirs.head if parser == "http.server" else theirs.body
        unknown = set(defects) - LENIENT[parser].keys() if taken else ()
        assert not unknown, f"{parser} takes what ours refuses, and is not known to: {sorted(unknown)}"
        return defects if taken else ()
    if not (theirs.head if parser == "http.server" else theirs.body):
        for rule in STRICT:
            if parser in rule.parsers and rule.holds(octets, theirs):
                return (rule.name,)
        raise AssertionError(f"ours takes what {parser} refuses: {theirs.why}")
    names = []
    for aspect in ("method", "target", "version", "fields", "framing", "content", "rest"):
        if getattr(theirs, aspect) is None or getattr(ours, aspect) == getattr(theirs, aspect):
            continue
        found = [rule.name for rule in OTHERWISE if parser in rule.parsers and aspect in rule.aspects
                 and rule.holds(octets, ours, theirs)]  # fmt: skip
        assert found, f"{aspect}: ours has {getattr(ours, aspect)}, {parser} {getattr(theirs, aspect)}"
        names.append(found[0])
    return names
