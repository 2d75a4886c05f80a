"""The corpus of exchanges: its format, a client that plays it, and what is asked of the answers.

`load()` reads the files of tests/corpus/exchanges (the README there defines them) into `Case` objects.  `deliveries()`
says in which ways the octets of a case reach a server: whole, octet by octet, cut at every place, with a valid
request behind them.  `play()` has a hundred connections under way at once and returns what came back on each;
`judge()` says what is wrong with it, or None.

Nothing waits for a time to pass: every exchange ends with the server closing the connection.  That a connection
stayed open is shown by the request which follows being answered; that request asks for the close.
"""
import dataclasses
import json
import os
import re
import socket
import time
import zlib

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "exchanges")

#: The valid request that follows a case.
FOLLOWING = b"GET /following HTTP/1.1\r\nHost: following\r\nConnection: close\r\n\r\n"

#: Connections under way at once.
AT_ONCE = 100

#: Seconds for all connections that are under way at once, from the first octet to the last close.
PATIENCE = 10.0

#: Cases of at most that many octets are cut at every place.
ALL_CUTS = 400

#: Bodies longer than this are told by length and checksum.
LONG_BODY = 1024


# ---------------------------------------------------------------- the format

@dataclasses.dataclass
class Expected:
    """One answer: `status` ("200"; "0.9" is an answer without a head), what the handler saw, and `facts` about it."""
    status: str
    method: str = None
    target: str = None
    body: bytes = None
    facts: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Outcome:
    """What is expected: one of the sequences of answers, then the connection is open or closed."""
    answers: list
    open: bool

    def __str__(self):
        return f"{[answer.status for answer in self.answers]}, then {'open' if self.open else 'closed'}"

    def first_alone(self):
        """As it is where a connection has one request: its final answer, with what the handler saw, and the close."""
        final = [answer for answer in self.answers if not answer.status.startswith("1")][:1]
        return Outcome([dataclasses.replace(answer, facts=[fact for fact in answer.facts if fact[0] == "saw"])
                        for answer in final], False)


    def with_or_without_continue(self):
        """Also without a 100, which an application's first read has to wait to send, and with one first."""
        final = [answer for answer in self.answers if answer.status != "100"]
        return [self, Outcome(final, self.open), Outcome([Expected("100", None, None, None), *final], self.open)]


@dataclasses.dataclass
class Case:
    name: str
    file: str
    line: int
    why: str = ""
    octets: bytes = b""
    settings: list = dataclasses.field(default_factory=list)
    outcomes: dict = dataclasses.field(default_factory=dict)    # lane, or "" for all others, -> [Outcome]

    @property
    def raw(self):
        """Whether it is for the handler that gets chunked bodies as they are on the wire."""
        return "raw" in self.settings

    @property
    def shut(self):
        """Whether the client shuts its side after the octets."""
        return "shut" in self.settings

    def expected_in(self, lane):
        """The outcomes one of which is expected in a lane; none where the case is not for it."""
        words = "wsgi" if lane == "wsgiref" else lane
        if words + ":" in self.outcomes:
            outcomes = self.outcomes[words + ":"]
        else:
            outcomes = [] if f"not {words}" in self.settings else self.outcomes.get("", [])
        if lane == "wsgiref":
            return [each.first_alone() for each in outcomes]
        if lane == "wsgi" and b"100-continue" in self.octets.lower():
            return [variant for each in outcomes for variant in each.with_or_without_continue()]
        return outcomes


class FormatError(ValueError):
    """A file of the corpus is not as its README says."""


_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|\{(\d+)\*((?:[^\\}]|\\(?:x[0-9A-Fa-f]{2}|[rnt\\}]))+)\}|(.))")
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\", "}": "}"}


def unescape(text):
    """The octets that a text of the corpus stands for."""
    def one(match):
        code, count, repeated, letter = match.groups()
        if code:
            return chr(int(code, 16))
        if count:
            return _ESCAPE.sub(one, repeated) * int(count)
        if letter not in _PLAIN:
            raise FormatError(f"unknown escape \\{letter}")
        return _PLAIN[letter]
    return _ESCAPE.sub(one, text).encode("latin-1")


def load(file):
    """The cases of one file of the corpus, in order."""
    cases, lines = [], {}
    with open(os.path.join(FOLDER, file), encoding="ascii", newline="\n") as source:
        for number, line in enumerate(source, 1):
            mark, text = line[:1], line[2:].rstrip("\n")
            if line == "\n":
                continue
            if line[1:2] != " " or mark not in "*#@>=":
                raise FormatError(f"{file}:{number}: {line!r}")
            if mark == "*":
                cases.append(Case(text, file, number))
                lines[text] = []
            elif not cases:
                if mark != "#":
                    raise FormatError(f"{file}:{number}: no case has begun")
            elif mark == "#":
                cases[-1].why += text + "\n"
            elif mark == "@":
                cases[-1].settings += [word.strip() for word in text.split(",")]
            elif mark == ">":
                cases[-1].octets += unescape(text)
            else:
                lines[cases[-1].name].append((number, text))
    for case in cases:
        _read_outcomes(case, lines[case.name])
        if not (case.why and case.outcomes):
            raise FormatError(f"{file}:{case.line}: {case.name} says nothing about why, or about what is expected")
    return cases


_SECTION = re.compile(r"(?:([a-z]+:) ?)?(?:(or)(?: |\Z))?(.*)")


def _read_outcomes(case, lines):
    outcome, lane = None, ""
    for number, text in lines:
        section, other, rest = _SECTION.fullmatch(text).groups()
        if section or other or outcome is None:
            lane = section or lane
            outcome = Outcome([], None)
            case.outcomes.setdefault(lane, []).append(outcome)
        words = rest.split(" ", 3)
        if words[0] in ("open", "closed"):
            outcome.open = words[0] == "open"
        elif words[0] in ("saw", "has", "reason", "body", "stream"):
            outcome.answers[-1].facts.append((words[0], rest.partition(" ")[2]))
        elif re.fullmatch(r"\d{3}|0\.9", words[0]):
            words += [None] * (4 - len(words))
            seen = b"" if words[2] and words[3] is None else words[3] and unescape(words[3])
            outcome.answers.append(Expected(*words[:3], seen))
        elif rest or not (section or other):
            raise FormatError(f"{case.file}:{number}: {text!r}")
    for outcome in (each for several in case.outcomes.values() for each in several):
        if outcome.open is None:
            outcome.open = bool(outcome.answers) and outcome.answers[-1].status.startswith("2")
            outcome.open &= not case.shut


def files():
    """The names of the corpus's files."""
    return sorted(name for name in os.listdir(FOLDER) if name.endswith(".txt"))


# ---------------------------------------------------------------- deliveries

@dataclasses.dataclass
class Delivery:
    """One way to send a case: `pieces`, one send() each.  `patient`: what follows is sent after the answers came."""
    case: Case
    how: str
    pieces: list
    patient: bool = False
    got: bytes = b""
    problem: str = None


def deliveries(case, sparse=1, lane=""):
    """The ways in which a case is sent; of the cuts only one in `sparse`, other ones in each lane."""
    octets, following = case.octets, b"" if case.shut else FOLLOWING
    yield Delivery(case, "whole", [octets], patient=True)
    if following:
        yield Delivery(case, "followed", [octets + following])
    yield Delivery(case, "octet by octet", [*_octets(octets), *([following] if following else [])])
    for at in cuts(octets, sparse, zlib.crc32(case.name.encode()), zlib.crc32((case.name + lane).encode())):
        yield Delivery(case, f"cut at {at}", [octets[:at], octets[at:] + following])


def _octets(octets, edge=300):
    """Single octets; of a long case only the first and last, and the rest in odd pieces."""
    if len(octets) <= 2 * edge:
        return [octets[i:i + 1] for i in range(len(octets))]
    middle = octets[edge:-edge]
    return [*_octets(octets[:edge]), *(middle[i:i + 1021] for i in range(0, len(middle), 1021)),
            *_octets(octets[-edge:])]


def cuts(octets, sparse=1, seed=0, which=0):
    """Where a case is cut in two: everywhere, or for a long one beside its line ends and here and there; of these
    places one in `sparse`, and `which` says from where on."""
    if len(octets) <= ALL_CUTS:
        places = range(1, len(octets))
    else:
        ends = [match.start() for match in re.finditer(rb"[\r\n]", octets)]
        near = {end + offset for end in ends[:12] + ends[-12:] for offset in (0, 1)}
        places = sorted(near | {1, len(octets) - 1} | set(range(seed % 997 + 1, len(octets), len(octets) // 16)))
        places = [place for place in places if 0 < place < len(octets)]
    return places[which % sparse::sparse]


# ---------------------------------------------------------------- the client

def play(address, items, lane):
    """Send all deliveries and note what came back; AT_ONCE connections are under way at a time."""
    items, hangs = list(items), 0
    for start in range(0, len(items), AT_ONCE):
        batch = items[start:start + AT_ONCE]
        _play_at_once(address, batch, lane, PATIENCE if not hangs else 1.0)
        hangs += sum(item.problem is not None for item in batch)
        if hangs > AT_ONCE:
            del items[start + AT_ONCE:]
    return items


def _play_at_once(address, batch, lane, patience):
    deadline = time.monotonic() + patience
    socks = []
    try:
        for item in batch:
            sock = socket.create_connection(address, timeout=patience)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            socks.append(sock)
        # One piece each, in turn: between two pieces of a connection the server serves the others.
        left = list(zip(batch, socks))
        turn = 0
        while left:
            left = [(item, sock) for item, sock in left
                    if turn < len(item.pieces) and _send(sock, item.pieces[turn])]
            turn += 1
        for item, sock in zip(batch, socks):
            if item.case.shut:
                _shut(sock)
        for item, sock in zip(batch, socks):
            try:
                _receive(sock, item, lane, deadline)
            except TimeoutError:
                item.problem = "nothing happens any more"
    finally:
        for sock in socks:
            sock.close()


def _send(sock, data):
    """False when the server has closed (or takes nothing), after which it needs no more."""
    try:
        sock.sendall(data)
    except OSError:
        return False
    return True


def _shut(sock):
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _receive(sock, item, lane, deadline):
    """Everything until the server closes; what follows a case in one piece is sent when its answers are there."""
    outcomes = item.case.expected_in(lane) if item.patient and not item.case.shut else ()
    waiting = [outcome for outcome in outcomes if outcome.open]
    while True:
        if waiting and any(len(parse(item.got, outcome.answers)[0]) >= len(outcome.answers) for outcome in waiting):
            outcomes = waiting = ()
            _send(sock, FOLLOWING)
        if outcomes and not any(_may_become(item.got, outcome.answers) for outcome in outcomes):
            return              # wrong already: nobody need wait for the rest
        sock.settimeout(max(0.005, deadline - time.monotonic()))
        try:
            data = sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            return
        if not data:
            return
        item.got += data


# ---------------------------------------------------------------- the answers

@dataclasses.dataclass
class Answer:
    """An answer as it stood on the wire; `whole` unless the connection ended within it."""
    status: str
    version: str = ""
    reason: bytes = b""
    fields: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    whole: bool = True

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]


_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")


def parse(data, expected):
    """(answers, rest): the complete answers in `data`, and what is left.  `expected` says which methods they answer."""
    answers = []
    while data:
        asked = expected[len(answers)] if len(answers) < len(expected) else Expected("200")
        if asked.status == "0.9":
            return [*answers, Answer("0.9", body=data)], b""
        answer, rest = _parse_one(data, asked)
        if answer is None:
            break
        answers.append(answer)
        data = rest
    return answers, data


def _parse_one(data, asked):
    head, end, rest = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    first, fields = _STATUS_LINE.fullmatch(line), [_FIELD.fullmatch(each) for each in lines]
    if not end or first is None or None in fields:
        return None, data
    answer = Answer(first[2].decode(), first[1].decode(), first[3],
                    [(field[1].decode("latin-1"), field[2].decode("latin-1")) for field in fields])
    lengths = answer.all("Content-Length")
    if answer.status == "101" or asked.method == "CONNECT" and answer.status[0] == "2":
        answer.body, rest = rest, b""
    elif asked.method == "HEAD" or answer.status[0] == "1" or answer.status in ("204", "304"):
        pass
    elif answer.all("Transfer-Encoding"):
        match = re.match(rb"(?s)(?:([0-9a-f]+)\r\n(.*?)\r\n)*?0\r\n\r\n", rest)
        if match is None:
            return None, data
        answer.body, rest = rest[:match.end()], rest[match.end():]
    elif lengths:
        length = int(lengths[0])
        if len(rest) < length:
            return None, data
        answer.body, rest = rest[:length], rest[length:]
    else:
        answer.body, rest = rest, b""
    return answer, rest


def _may_become(data, expected):
    answers, _ = parse(data, expected)
    return [answer.status for answer in answers] == [asked.status for asked in expected[:len(answers)]]


def describe(body):
    """A body as handlers tell what they read."""
    return f"{len(body)} octets, {zlib.crc32(body):08x}" if len(body) > LONG_BODY else body.decode("latin-1")


def judge(item, lane):
    """What is wrong with what came back, or None."""
    if item.problem:
        return item.problem
    problems = []
    for outcome in item.case.expected_in(lane):
        expected = list(outcome.answers)
        if outcome.open:
            expected.append(Expected("200", "GET", "/following", b""))
        problem = _compare(item.got, expected, lane)
        if problem is None:
            return None
        problems.append(problem)
    return "; or ".join(problems)


def _compare(data, expected, lane):
    answers, rest = parse(data, expected)
    statuses, wanted = [a.status for a in answers], [e.status for e in expected]
    if statuses != wanted and (not rest or statuses != wanted[:len(statuses)]):
        return f"answers {statuses}, expected {wanted}"
    if rest:
        return f"answers {statuses} and octets that are no answer"
    for answer, asked in zip(answers, expected):
        problem = _always(answer) or _as_seen(answer, asked, lane)
        for kind, text in asked.facts:
            problem = problem or _FACTS[kind](answer, text)
        if problem:
            return f"answer {answer.status}: {problem}"
    return None


_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}"
                   r" \d\d:\d\d:\d\d GMT")


def _always(answer):
    """What holds for every answer."""
    if answer.status == "0.9":
        return "a head where HTTP/0.9 has none" if answer.body.startswith(b"HTTP/") else None
    # 500 is wsgiref's: its answers are of HTTP/1.0, and say nothing.
    if answer.status >= "400" and answer.status != "500" and answer.all("Connection") != ["close"]:
        return "a refusal without Connection: close"
    if answer.status >= "200" and not (len(answer.all("Date")) == 1 and _DATE.fullmatch(answer.all("Date")[0])):
        return "no date, or no proper one"
    if len(answer.all("Content-Length")) + len(answer.all("Transfer-Encoding")) > 1:
        return "framed twice"
    if answer.status < "200" or answer.status == "204":
        if answer.all("Content-Length") or answer.all("Transfer-Encoding"):
            return "framing where no body can be"
    return None


def _as_seen(answer, asked, lane):
    """Whether the handler saw what was expected; a HEAD is told by a field."""
    if asked.target is None:
        return None
    seen = _seen(answer)
    if seen is None:
        return f"no word of what the handler saw: {answer.body[:100]!r}"
    if seen["method"] != unescape(asked.method).decode("latin-1"):
        return f"the handler saw {seen['method']}, expected {asked.method}"
    if not lane.startswith("wsgi") and seen["target"] != unescape(asked.target).decode("latin-1"):
        return f"the handler saw {seen['target']}, expected {asked.target}"
    if asked.body is not None and seen["body"] != describe(asked.body):
        return f"the handler read {seen['body']!r}, expected {describe(asked.body)!r}"
    return None


def _seen(answer):
    try:
        return json.loads(answer.all("X-Saw")[0] if answer.all("X-Saw") else answer.body)
    except ValueError:
        return None


def _name(name):
    """A field's name as far as every interface keeps it."""
    return name.lower().replace("_", "-")


def _saw(answer, text):
    fields = (_seen(answer) or {}).get("fields", ())
    name, colon, value = text.partition(": ")
    if name.startswith("no "):
        return f"the handler {text}" if any(_name(key) == _name(name[3:]) for key, _ in fields) else None
    values = [each for key, each in fields if _name(key) == _name(name)]
    value = unescape(value).decode("latin-1")
    return None if ",".join(values) == value else f"the handler saw {name} as {values}, expected {value!r}"


def _has(answer, text):
    name, colon, value = text.partition(": ")
    if name.startswith("no "):
        return f"has {name[3:]}" if answer.all(name[3:]) else None
    values = answer.all(name)
    if not values or colon and values != [value]:
        return f"{name} is {values}, expected {value!r}"
    return None


def _reason(answer, text):
    return None if answer.reason == unescape(text) else f"reason {answer.reason!r}, expected {text!r}"


def _body(answer, text):
    return None if answer.body == unescape(text) else f"body {answer.body[:200]!r}, expected {text!r}"


_FACTS = {"saw": _saw, "has": _has, "reason": _reason, "body": _body, "stream": _body}


def report(failures, lane):
    """A readable account of (delivery, problem) pairs: the first of each case in full."""
    by_case = {}
    for item, problem in failures:
        by_case.setdefault(item.case.name, []).append((item, problem))
    parts = [f"{len(by_case)} cases fail in the {lane} lane:"]
    for name, several in by_case.items():
        item, problem = several[0]
        also = f" (and {len(several) - 1} other deliveries)" if several[1:] else ""
        expected = item.case.expected_in(lane)
        parts.append(f"\n* {name} ({item.case.file}:{item.case.line}), {item.how}{also}\n"
                     f"  problem:  {problem}\n  sent:     {_shown(item.pieces)}\n"
                     f"  received: {_shown([item.got])}\n"
                     + "".join(f"  expected: {each}\n" for each in expected))
    return "".join(parts)


def _shown(pieces, most=700):
    text = repr(b"".join(pieces)) if len(pieces) > 3 else " ".join(map(repr, pieces))
    return text if len(text) <= most else f"{text[:most // 2]} ... {text[-most // 2:]}"
