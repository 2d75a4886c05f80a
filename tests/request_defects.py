"""What may be wrong with a request, by name: a reading of the grammar that shares nothing with the scanner.

`defects_of` names what RFC 9110, 9112 and 3986 (or a limit of http.client's) let a server refuse in the octets of a
request, with the regular expressions of the grammar.  Ours has to take a request exactly if there is none, so a
defect that is missing here shows itself as well as one that is missing there.
"""
import dataclasses
import ipaddress
import re

from parsers import original

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r?\n" % TOKEN)
LINE_09 = re.compile(rb"(GET) ((?:/|http://)[\x21-\x7e]*) ?\r?\n")
FIELD = re.compile(rb"(%b):[ \t]*(%b?)[ \t]*\r\n" % (TOKEN, TEXT))
REG_NAME = rb"(?:[\-._~!$&'()*+,;=0-9A-Za-z]|%[0-9A-Fa-f]{2})+"
HOST = re.compile(rb"(%b|\[([^\]]*)\])(?::([0-9]*))?" % REG_NAME)
FUTURE = re.compile(rb"[vV][0-9A-Fa-f]+\.[\-._~!$&'()*+,;=:0-9A-Za-z]+")
ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*://([^/?]*).*", re.DOTALL)
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (TOKEN, TOKEN, QUOTED)
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]+)((?:%b)*)\r\n" % EXTENSION)
TRAILER = re.compile(rb"(%b):%b\r\n" % (TOKEN, TEXT))

NOT_IN_TRAILERS = frozenset(b"""
    content-length transfer-encoding host trailer connection keep-alive proxy-connection upgrade te cache-control expect
    max-forwards pragma range if-match if-none-match if-modified-since if-unmodified-since if-range forwarded
    x-forwarded-for x-forwarded-host x-forwarded-proto authorization proxy-authorization cookie set-cookie
    www-authenticate proxy-authenticate authentication-info content-encoding content-type content-range content-location
    content-language""".split())

BARE_09 = original(b"GET /\r\nA: b\r\n").after_head != b""  # http.server reads no field lines: from 3.14 on
MAX_LINES = 100  # http.client._MAXHEADERS
LONGEST = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Defect:
    """`statuses`: one of them is ours (None: the connection closes silently).  `example` has this defect alone."""
    section: str
    words: str
    example: bytes
    statuses: object = (400,)
    in_body: bool = False


def put(*lines, line=b"PUT / HTTP/1.1", host=b"Host: a\r\n", after=b""):
    return line + b"\r\n" + host + b"".join(lines) + b"\r\n" + after


OF_A_LINE = (400, 505)  # by what seems to be its version, as http.server has it
CODED = b"Transfer-Encoding: chunked\r\n"


def chunked(octets):
    return put(CODED, after=octets)


DEFECTS = {
    "blank line": Defect("9112, 2.2", "a server SHOULD ignore at least one empty line (CRLF); ours ignores just one",
                         b"\r\n\r\n" + put(), (None,)),
    "line": Defect("9112, 3", "request-line = method SP request-target SP HTTP-version", put(line=b"PUT  / HTTP/1.1"),
                   OF_A_LINE),
    "version": Defect("9110, 15.6.6", "a major version that is not 1", put(line=b"PUT / HTTP/2.0"), (505,)),
    "target": Defect("9112, 3.2", "none of the four forms, or not one for this method", put(line=b"PUT * HTTP/1.1")),
    "cut off": Defect("9112, 8", "the stream ends in the head", put()[:-2], OF_A_LINE),
    "bare LF": Defect("9112, 2.2", "a field line ends in CRLF; a recipient MAY take LF, and need not", put(b"A: b\n")),
    "fold": Defect("9112, 5.2", "a server that gets obs-fold MUST either reject or replace it", put(b"A: b\r\n c\r\n")),
    "first fold": Defect("9112, 2.2", "white space before the first field: MUST reject, or drop such lines",
                         put(host=b" A: b\r\nHost: a\r\n")),
    "colon": Defect("9112, 5", "field-line = field-name \":\" OWS field-value OWS", put(b"A\r\n")),
    "name": Defect("9112, 5.1", "a name is a token, and nothing is between it and the colon: MUST reject",
                   put(b"A : b\r\n")),
    "value": Defect("9110, 5.5", "CR and NUL in a value MUST be rejected or replaced; other CTLs are invalid",
                    put(b"A: b\x01\r\n")),
    "NUL": Defect("9110, 5.5", "as before", put(b"A: b\x00c\r\n")),
    "bare CR": Defect("9112, 2.2", "MUST be taken for invalid, or replaced by SP", put(b"A: b\rc\r\n")),
    "fields": Defect("9110, 5.4", "http.client._MAXHEADERS", put(b"A: b\r\n" * 100), (431,)),
    "no host": Defect("9112, 3.2", "MUST answer 400 to HTTP/1.1 without Host", put(host=b"")),
    "hosts": Defect("9112, 3.2", "MUST answer 400 to more than one Host", put(b"Host: a\r\n")),
    "host": Defect("9112, 3.2", "MUST answer 400 to a Host with an invalid value", put(host=b"Host: a b\r\n")),
    "length": Defect("9112, 6.3", "Content-Length = 1*DIGIT; a list of one value repeated MAY be taken",
                     put(b"Content-Length: +0\r\n")),
    "length list": Defect("9110, 8.6", "a list of one value repeated: MAY either reject or replace it",
                          put(b"Content-Length: 0, 0\r\n")),
    "huge length": Defect("9110, 8.6", "a recipient MUST anticipate large numbers; none past 63 bits can be kept",
                          put(b"Content-Length: 99999999999999999999\r\n")),
    "lengths": Defect("9112, 6.3", "several, and they differ", put(b"Content-Length: 0\r\nContent-Length: 1\r\n")),
    "coding of 1.0": Defect("9112, 6.1", "Transfer-Encoding in HTTP/1.0: MUST treat the framing as faulty",
                            put(CODED, line=b"PUT / HTTP/1.0", after=b"0\r\n\r\n")),
    "both": Defect("9112, 6.3", "Content-Length with Transfer-Encoding: ought to be handled as an error",
                   put(b"Content-Length: 5\r\n", CODED, after=b"0\r\n\r\n")),
    "coding": Defect("9112, 6.3", "chunked is not the last coding, is there twice or has parameters: MUST answer 400",
                     put(b"Transfer-Encoding: identity\r\n")),
    "empty coding": Defect("9110, 5.6.1.2", "empty elements of a list are to be ignored; ours does not in this one, "
                           "for not everybody does, and it says where the request ends",
                           put(b"Transfer-Encoding: , chunked\r\n", after=b"0\r\n\r\n")),
    "other coding": Defect("9112, 6.1", "a coding that is not understood: SHOULD answer 501",
                           put(b"Transfer-Encoding: gzip, chunked\r\n", after=b"0\r\n\r\n"), (501,)),
    "expect": Defect("9110, 10.1.1", "an expectation other than 100-continue: MAY answer 417",
                     put(b"Expect: a\r\n"), (417,)),
    "body cut off": Defect("9112, 8", "incomplete", put(b"Content-Length: 2\r\n", after=b"1"), in_body=True),
    "chunk size": Defect("9112, 7.1", "chunk-size = 1*HEXDIG", chunked(b"x\r\n"), in_body=True),
    "huge chunk": Defect("9112, 7.1", "MUST prevent overflows; none past 63 bits", chunked(b"8" + b"0" * 15 + b"\r\n"),
                         in_body=True),
    "size line": Defect("9112, 7.1.1", "what follows a size is no extension and no CRLF",
                        chunked(b"0;=\r\n\r\n"), in_body=True),
    "space after size": Defect("9112, 7.1.1", "BWS is for before the \";\" of an extension",
                               chunked(b"0 \r\n\r\n"), in_body=True),
    "chunk end": Defect("9112, 7.1", "CRLF has to follow the data of a chunk", chunked(b"1\r\na\n0\r\n\r\n"),
                        in_body=True),
    "trailer": Defect("9112, 7.1.2", "trailer-section = *( field-line CRLF )", chunked(b"0\r\na b: c\r\n\r\n"),
                      in_body=True),
    "trailer fold": Defect("9112, 5.2", "as in a head", chunked(b"0\r\na: c\r\n d\r\n\r\n"), in_body=True),
    "trailer value": Defect("9110, 5.5", "as in a head", chunked(b"0\r\na: \x01\r\n\r\n"), in_body=True),
    "trailer LF": Defect("9112, 2.2", "as in a head", chunked(b"0\r\na: c\n\r\n"), in_body=True),
    "trailer name": Defect("9110, 6.5.1", "a field that frames, routes, authenticates or describes content",
                           chunked(b"0\r\nHost: c\r\n\r\n"), in_body=True),
}

#: What is no defect to ours though the grammar does not have it: (the sentence or the reason, an example).
TOLERATED = {
    "empty line": ("RFC 9112, 2.2: SHOULD ignore at least one", b"\r\n" + put()),
    "LF of a request line": ("RFC 9112, 2.2: a recipient MAY", b"PUT / HTTP/1.1\nHost: a\r\n\r\n"),
    "later minor version": ("RFC 9110, 2.5: SHOULD process it as the highest one", put(line=b"PUT / HTTP/1.9")),
    "no slash": ("RFC 9112, 3.2: SHOULD answer 400 or 301, no MUST; CPython's tests want it served",
                 put(line=b"PUT a HTTP/1.1")),
    "fragment": ("the same", put(line=b"PUT /a#b HTTP/1.1")),
    "HTTP/0.9": ("RFC 9112, C.1: not expected any more; http.server answers it and closes", b"GET /\r\n\r\n"),
    "equal lengths": ("RFC 9110, 8.6: MAY replace them with one", put(b"Content-Length: 0\r\n" * 2)),
    "empty expectations": ("RFC 9110, 5.6.1.2: a recipient MUST parse and ignore empty elements",
                           put(b"Expect: , 100-continue,\r\n")),
}


class Octets:
    """The parts of a request, as far as its lines can be told apart."""

    def __init__(self, data):
        self.data = data
        self.begins = data[:2] == b"\r\n"  # with an empty line
        at = 2 if self.begins else 0
        self.head_end, self.lines = None, []
        line = take_line(data, at)
        self.line_end = at + len(line)
        self.line = line
        self.match = LINE.fullmatch(line)
        self.is_09 = not self.match and LINE_09.fullmatch(line)
        self.method, self.target = (self.match or self.is_09).group(1, 2) if self.match or self.is_09 else (None, None)
        self.minor = int(self.match[4]) if self.match else 0
        at = self.line_end
        while line.endswith(b"\n") and at < len(data):
            line = take_line(data, at)
            at += len(line)
            self.lines.append(line)
            if line in (b"\r\n", b"\n"):
                self.head_end = at
                break
        found = [FIELD.fullmatch(line) for line in self.lines]
        self.fields = [(field[1], field[2].rstrip(b" \t")) for field in found if field]

    def values(self, name):
        return [value for other, value in self.fields if other.lower() == name]

    def elements(self, name):
        return [element.strip(b" \t") for value in self.values(name) for element in value.split(b",")]

    @property
    def is_absolute(self):
        return self.match and self.method != b"CONNECT" and ABSOLUTE.fullmatch(self.target)


def take_line(data, at):
    end = data.find(b"\n", at)
    return data[at:] if end < 0 else data[at:end + 1]


def is_host(text):
    found = HOST.fullmatch(text)
    if not found or (found[3] and int(found[3]) > 65535):
        return False
    if found[2] is None or FUTURE.fullmatch(found[2]):
        return True
    try:
        ipaddress.IPv6Address(found[2].decode("latin-1"))
    except ValueError:
        return False
    return b"%" not in found[2]


def is_target(method, target):
    if method == b"CONNECT":
        port = target.rpartition(b":")[2]
        return is_host(target) and target != port and port.strip(b"0") != b"" and not target.endswith(b"]")
    if target == b"*":
        return method == b"OPTIONS"
    if target.startswith(b"/"):
        return True
    if found := ABSOLUTE.fullmatch(target):
        if is_host(found[1]):
            return True
    return b":" not in re.split(rb"[/?]", target, maxsplit=1)[0]


def line_defect(line, first):
    """What is wrong with a field line that is not as FIELD has it."""
    if not line.endswith(b"\n"):
        return "cut off"
    if not line.endswith(b"\r\n"):
        return "bare LF"
    if line[:1] in b" \t":
        return "first fold" if first else "fold"
    name, colon, value = line[:-2].partition(b":")
    if not colon:
        return "colon"
    if not re.fullmatch(TOKEN, name):
        return "name"
    return "NUL" if b"\0" in value else "bare CR" if b"\r" in value else "value"


def head_defects(octets):
    if not octets.line.decode("latin-1").split():
        yield "blank line"
        return
    if not octets.line.endswith(b"\n"):
        yield "cut off"
        return
    if not (octets.match or octets.is_09):
        yield "line"
    elif octets.match and octets.match[3] != b"1":
        yield "version"
    elif not is_target(octets.method, octets.target):
        yield "target"
    if octets.is_09 and BARE_09:
        return
    broken = [line_defect(line, number == 0) for number, line in enumerate(octets.lines)
              if line != b"\r\n" and not FIELD.fullmatch(line)]  # fmt: skip
    yield from (defect for defect in broken if not (octets.is_09 and defect == "cut off"))
    if octets.head_end is None and not octets.is_09:
        yield "cut off"
    if len(octets.lines) > MAX_LINES:
        yield "fields"
    if not (octets.is_09 or broken):  # else nobody knows what its fields are
        yield from field_defects(octets)


def field_defects(octets):
    hosts, lengths = octets.values(b"host"), octets.values(b"content-length")
    if not hosts and octets.minor > 0:
        yield "no host"
    if len(hosts) > 1:
        yield "hosts"
    if not all(map(is_host, hosts)):
        yield "host"
    for length in lengths:
        if not re.fullmatch(rb"[0-9]+", length):
            parts = {part.strip(b" \t") for part in length.split(b",")}
            yield "length list" if len(parts) == 1 and parts.pop().isdigit() else "length"
        elif int(length) > LONGEST:
            yield "huge length"
    if len(set(lengths)) > 1:
        yield "lengths"
    if octets.values(b"transfer-encoding"):
        if octets.minor == 0:
            yield "coding of 1.0"
        if lengths:
            yield "both"
        codings = [coding.lower() for coding in octets.elements(b"transfer-encoding")]
        if codings != [b"chunked"]:
            good = all(re.fullmatch(rb"%b([ \t]*;[^\"]*)?" % TOKEN, coding) for coding in codings)
            names = [re.split(rb"[ \t;]", coding)[0] for coding in codings]
            once = names.count(b"chunked") == 1 and codings[-1] == b"chunked"
            empty = [coding for coding in codings if coding] == [b"chunked"]
            yield "empty coding" if empty else "other coding" if good and once else "coding"
    if octets.minor > 0 and not {element.lower() for element in octets.elements(b"expect")} <= {b"", b"100-continue"}:
        yield "expect"


def body_defect(octets):
    """The first thing that is wrong with the body of a head that is right, or None."""
    data, at = octets.data, octets.head_end
    if octets.is_09 or octets.method == b"CONNECT":
        return None
    if not octets.values(b"transfer-encoding"):
        lengths = octets.values(b"content-length")
        return "body cut off" if lengths and len(data) - at < int(lengths[0]) else None
    while True:
        line = take_line(data, at)
        size = SIZE_LINE.fullmatch(line)
        if not size:
            return size_defect(line)
        if int(size[1], 16) > LONGEST:
            return "huge chunk"
        at += len(line) + int(size[1], 16)
        if int(size[1], 16) == 0:
            return trailer_defect(data, at)
        if data[at:at + 2] != b"\r\n":
            return "body cut off" if b"\r\n".startswith(data[at:]) else "chunk end"
        at += 2


def size_defect(line):
    digits = re.match(rb"[0-9A-Fa-f]*", line)[0]
    if digits and int(digits, 16) > LONGEST:
        return "huge chunk"
    if not digits and line:
        return "chunk size"
    if not line.endswith(b"\n"):
        return "body cut off"
    return "space after size" if re.fullmatch(rb"[^;\r]*[ \t]+\r\n", line) else "size line"


def trailer_defect(data, at):
    first = True
    while (line := take_line(data, at)) != b"\r\n":
        at += len(line)
        name = line.partition(b":")[0].lower()
        if not TRAILER.fullmatch(line):
            wrong = line_defect(line, False)
            return {"cut off": "body cut off", "bare LF": "trailer LF", "value": "trailer value",
                    "fold": "trailer" if first else "trailer fold"}.get(wrong, "trailer")  # fmt: skip
        if name in NOT_IN_TRAILERS:
            return "trailer name"
        first = False
    return None


def defects_of(data):
    """The names of what is wrong with a request, those of the body only if the head is right."""
    octets = Octets(data)
    found = list(dict.fromkeys(head_defects(octets)))
    if not found and (defect := body_defect(octets)):
        found.append(defect)
    return found
