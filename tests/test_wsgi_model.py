"""Random applications beside a model of what must reach the client.

An application is a program: operations of its call (start_response, with and without exc_info, write(), reading, raising),
then those of its iterable (the same and blocks). `expected()` runs a program on paper, by PEP 3333 and RFC 9112, without a
socket or a gateway. What comes over a connection must be that: status, header fields and body, or an answer that the client
can tell to be broken off. A second request follows on the same connection: it is answered, and rightly, or the connection
ends, and only where the model lets it.

The model is wsgiref.handlers' too, but for what ONLY_NATIVE says of it: programs where that counts are not put to it.
"""
import contextlib
import dataclasses
import io
import sys
import types

import pytest

from support import Client, ResponseReader, connect, read_until_eof
from wsgi_gateways import KINDS, chunked, request, serve

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies

EXAMPLES = {"threads": 250, "single": 100, "overridden": 100}

FORGED = b"GET /forged HTTP/1.1\r\nHost: a\r\n\r\n"


# ---------------------------------------------------------------- programs

@dataclasses.dataclass(frozen=True)
class Program:
    """`call` and `steps` are tuples of operations, each (name, argument); `result` is what kind of iterable is returned."""
    call: tuple
    steps: tuple
    result: str         # "list", "generator", "object"

    def total(self):
        """The length of the body if everything is run."""
        return sum(len(argument) for name, argument in self.call + self.steps if name in ("write", "block"))


@dataclasses.dataclass(frozen=True)
class Head:
    """The arguments of start_response: a status, the value of a field, and how long the body is said to be."""
    status: str
    mark: str
    length: str         # "none", "right", "short", "long"

    def fields(self, total):
        """(name, value) tuples for a program whose body is `total` octets long."""
        said = {"none": None, "right": total, "short": max(0, total - 2), "long": total + 3}[self.length]
        return [("X-Mark", self.mark)] + [("Content-Length", str(said))] * (said is not None) + [("X-Last", "z")]


heads = st.builds(Head, st.sampled_from(["200 OK", "200 OK", "201 Made", "404 Not Found", "204 No Content",
                                         "304 Not Modified", "500 Mine"]),
                  st.sampled_from("abcdef"), st.sampled_from(["none", "none", "none", "right", "right", "short", "long"]))
data = st.sampled_from([b"", b"a", b"hello", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000, b"y" * 70_000])
starts = st.tuples(st.just("start"), heads)
again = st.tuples(st.just("again"), heads)
raises = st.tuples(st.just("raise"), st.none())
reads = st.tuples(st.just("read"), st.sampled_from([0, 1, 10, 1000]))
blocks = st.tuples(st.just("block"), data)
writes = st.tuples(st.just("write"), data.filter(bool))     # whether an empty one sends the head is left open
passes = st.tuples(st.just("pass"), st.none())


def usually(usual, *others):
    """One of `others` now and then."""
    return st.integers(0, 9).flatmap(lambda number: usual if number or not others else st.one_of(*others))


@st.composite
def programs(draw):
    result = draw(st.sampled_from(["list", "generator", "object"]))
    lazy = result != "list" and draw(st.booleans())
    call = [] if lazy else [draw(usually(starts, again, raises, writes, passes))]
    if not lazy:
        call += draw(st.lists(usually(st.one_of(writes, writes, reads, passes), raises, again, starts), max_size=3))
    if result == "list":
        steps = draw(st.lists(blocks, max_size=4))
    else:
        steps = [draw(usually(starts, again, raises, passes))] * lazy
        steps += draw(st.lists(usually(st.one_of(blocks, blocks, blocks, reads), raises, again, starts), max_size=5))
    return Program(tuple(call), tuple(steps), result)


@dataclasses.dataclass(frozen=True)
class Asking:
    """A request: what of it changes the framing of its answer."""
    method: str
    version: str
    keep_alive: bool
    body: str           # "none", "length", "chunked"

    def octets(self):
        headers = [("Connection", "keep-alive")] * self.keep_alive
        if self.body == "length":
            return request(self.method, "/program", headers, FORGED * 3, self.version)
        if self.body == "chunked" and self.version == "HTTP/1.1":
            return (request(self.method, "/program", headers + [("Transfer-Encoding", "chunked")])
                    + chunked(FORGED, b"0\r\n\r\n", FORGED))
        return request(self.method, "/program", headers, version=self.version)


askings = st.builds(Asking, st.sampled_from(["GET", "GET", "HEAD", "POST"]),
                    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]), st.booleans(),
                    st.sampled_from(["none", "length", "chunked"]))


# ---------------------------------------------------------------- the model

@dataclasses.dataclass
class Expected:
    """What must reach the client. `head` is None for the gateway's own 500; `body` is the octets of the body, all of
    them, or those before the end where `broken`; `kept`: whether the connection must go on ("must", "may", "cannot")."""
    head: Head = None
    body: bytes = b""
    broken: bool = False
    kept: str = "must"
    told: bool = False      # that the client can tell a broken answer
    returned: bool = False  # that there is an iterable to close


class Failed(Exception):
    """An exception that the application lets out."""


def expected(program, asking):
    """Run the program on paper. ValueError where PEP 3333 leaves open what must come of it."""
    head, sent, body, returned, failed = None, False, b"", False, False
    try:
        for name, argument in program.call + (("return", None),) + program.steps:
            if name == "start":
                if head is not None:
                    raise Failed
                head = argument
            elif name == "again":
                if sent:
                    raise Failed
                head = argument
            elif name == "raise":
                raise Failed
            elif name in ("write", "block"):
                if head is None and not argument:
                    raise ValueError("an empty block before start_response")
                if head is None:
                    raise Failed
                if argument:
                    sent = True
                    body += argument
            elif name == "return":
                returned = True
        if head is None:
            raise Failed
    except Failed:
        failed = True
    if failed and not sent:
        return Expected(kept="may", returned=returned)

    answer = Expected(head, body, returned=returned)
    bodiless = asking.method == "HEAD" or head.status[:3] in ("204", "304")
    fields = dict(head.fields(program.total()))
    length = int(fields["Content-Length"]) if "Content-Length" in fields else None
    if bodiless:
        answer.body = b""
    elif length is not None:
        answer.body = body[:length]
        answer.broken = len(body) < length
    answer.broken = answer.broken or failed and not bodiless and (length is None or len(body) < length)
    answer.told = length is not None or asking.version == "HTTP/1.1"
    if answer.broken:
        answer.kept = "cannot"
    elif failed or asking.version == "HTTP/1.0" or length is not None and length != len(body) and not bodiless:
        answer.kept = "may"
    return answer


def concerns_wsgiref(program, answer):
    """Whether wsgiref.handlers does by design something else with it than the model; see ONLY_NATIVE."""
    operations = program.call + program.steps
    return (any(name == "block" and not argument for name, argument in operations)
            or answer.head is not None and answer.head.length in ("short", "long"))


# ---------------------------------------------------------------- the application

class Planned(Exception):
    """What a program raises."""


class Stage:
    """The application of a server: runs `program`, and counts how its iterable is closed."""

    def __init__(self):
        self.program, self.closed = None, 0

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] != "/program":
            start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
            return [b"after"]
        program, total = self.program, self.program.total()
        write = None

        def run(name, argument):
            nonlocal write
            if name == "start":
                write = start_response(argument.status, argument.fields(total))
            elif name == "again":
                try:
                    raise Planned("replaced")
                except Planned:
                    write = start_response(argument.status, argument.fields(total), sys.exc_info())
            elif name == "write":
                write(argument)         # a TypeError where start_response was not called
            elif name == "read":
                environ["wsgi.input"].read(argument)
            elif name == "raise":
                raise Planned("raised")

        def steps():
            for name, argument in program.steps:
                if name == "block":
                    yield argument
                else:
                    run(name, argument)

        for operation in program.call:
            run(*operation)
        if program.result == "list":
            return [argument for name, argument in program.steps]
        return steps() if program.result == "generator" else Closing(self, steps())


class Closing:
    def __init__(self, stage, steps):
        self.stage, self.steps = stage, steps

    def __iter__(self):
        return self.steps

    def close(self):
        self.stage.closed += 1


# ---------------------------------------------------------------- beside each other

AFTER = request(target="/after", headers=[("Connection", "close")])


def converse(server, asking, answer, pipelined):
    """(first response or None where it is broken off, its octets, second response or None where there is none)."""
    if not pipelined and not answer.broken:
        with Client(server) as client:
            client.send(asking.octets())
            first = client.read(asking.method)
            with contextlib.suppress(ConnectionError):
                client.send(AFTER)
            try:
                return first, first.raw, client.read()
            except (EOFError, ConnectionError):
                return first, first.raw, None
    with connect(server) as sock:
        sock.sendall(asking.octets() + AFTER)
        raw = read_until_eof(sock)
    reader = ResponseReader(types.SimpleNamespace(recv=io.BytesIO(raw).read))
    try:
        first = reader.read(asking.method)
    except EOFError:
        return None, raw, None
    return first, first.raw, None if reader.at_eof() else reader.read()


def body_of_what_came(raw):
    """The octets of the body in an answer that is broken off."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        return rest
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[:int(size, 16)]
        rest = rest[int(size, 16) + 2:]
    return body


def check_head(answer, program, lines):
    """The status line and the fields are those of the model, and frame the body in one way."""
    status, *fields = [line.decode("latin-1") for line in lines]
    fields = [tuple(field.split(": ", 1)) for field in fields]
    status = status.split(" ", 1)[1]
    if answer.head is None:
        assert status.startswith("500 ") and "X-Mark" not in dict(fields)
        return
    own = [field for field in answer.head.fields(program.total()) if field[0] != "Content-Length"]
    assert status == answer.head.status
    assert [field for field in fields if field[0].startswith("X-")] == own
    names = [name.lower() for name, value in fields]
    for name in ("date", "server", "content-length", "transfer-encoding"):
        assert names.count(name) == (1 if name in ("date", "server") else min(1, names.count(name)))
    assert not {"content-length", "transfer-encoding"} <= set(names)
    said = dict(answer.head.fields(program.total())).get("Content-Length")
    if said is not None and not status.startswith("204"):
        assert dict(fields)["Content-Length"] == said


@pytest.fixture(scope="module", params=KINDS)
def staged(request):
    """(kind, server, stage) with one server for all examples."""
    stage = Stage()
    with serve(stage, request.param) as server:
        yield request.param, server, stage


def test_programs(staged):
    kind, server, stage = staged

    @hypothesis.settings(max_examples=EXAMPLES[kind], derandomize=True, database=None, deadline=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(programs(), askings, st.booleans())
    def check(program, asking, pipelined):
        try:
            answer = expected(program, asking)
        except ValueError:
            hypothesis.reject()
        if kind == "overridden":
            hypothesis.assume(not concerns_wsgiref(program, answer))
            answer.kept = "cannot"
            answer.told = answer.head is not None and answer.head.length != "none"
        stage.program, stage.closed = program, 0
        first, raw, second = converse(server, asking, answer, pipelined)
        check_head(answer, program, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))
        if answer.broken and answer.told:
            assert first is None, "the client could not tell that it is broken off"
        if answer.broken:
            assert body_of_what_came(raw) == answer.body
        elif answer.head is not None:
            assert first.body == answer.body
        if second is not None:
            assert answer.kept != "cannot" and (second.status, second.get("X-Path"), second.body) == (200, "/after", b"after")
        else:
            assert answer.kept != "must"
        if second is not None and program.result == "object":
            assert stage.closed == answer.returned

    check()


def test_model_knows_what_it_is_about():
    """The model on programs whose outcome is plain, so that it cannot say yes to everything."""
    ok, sized = Head("200 OK", "a", "none"), Head("200 OK", "b", "long")
    get = Asking("GET", "HTTP/1.1", False, "none")

    def outcome(*operations, call=(("start", ok),), asking=get):
        answer = expected(Program(call, operations, "generator"), asking)
        return answer.head and answer.head.mark, answer.body, answer.broken, answer.kept

    assert outcome(("block", b"x")) == ("a", b"x", False, "must")
    assert outcome(("block", b"x"), ("raise", None)) == ("a", b"x", True, "cannot")
    assert outcome(("block", b""), ("raise", None)) == (None, b"", False, "may")
    assert outcome(("again", sized), ("block", b"x" * 5)) == ("b", b"x" * 5, True, "cannot")
    assert outcome(("block", b"x"), ("again", sized)) == ("a", b"x", True, "cannot")
    assert outcome(("start", ok)) == (None, b"", False, "may")
    assert outcome(call=()) == (None, b"", False, "may")
    head = dataclasses.replace(get, method="HEAD")
    assert outcome(("again", sized), ("block", b"x"), asking=head) == ("b", b"", False, "must")
