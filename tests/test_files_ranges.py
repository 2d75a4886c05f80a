"""turboserver.files.ranges: what a Range field asks for, and what is sent for it."""
import email.parser
import itertools
import re
import time

import pytest

from turboserver.files.ranges import MAX_RANGES, Span, parse, plan

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=400, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))


# ---------------------------------------------------------------- what is asked for (RFC 9110, 14.1)

@pytest.mark.parametrize("field, size, spans", [
    ("bytes=0-0", 10, [(0, 1)]), ("bytes=0-9", 10, [(0, 10)]), ("bytes=0-10", 10, [(0, 10)]), ("bytes=9-", 10, [(9, 10)]),
    ("bytes=0-", 10, [(0, 10)]), ("bytes=3-5", 10, [(3, 6)]), ("bytes=-1", 10, [(9, 10)]), ("bytes=-10", 10, [(0, 10)]),
    ("bytes=-11", 10, [(0, 10)]), ("BYTES=0-0", 10, [(0, 1)]), ("Bytes=0-0", 10, [(0, 1)]), (" bytes=0-0\t", 10, [(0, 1)]),
    ("bytes=007-0008", 10, [(7, 9)]), ("bytes=0-9223372036854775807", 10, [(0, 10)]), ("bytes=-9999999999999999999", 5, [(0, 5)]),
    ("bytes=0-0,-1", 10, [(0, 1), (9, 10)]), ("bytes=5-6 , 1-2", 10, [(5, 7), (1, 3)]), ("bytes=,0-0,,\t2-3,", 10, [(0, 1), (2, 4)]),
    ("bytes= ,0-0", 10, [(0, 1)]), ("bytes=\t, \t,0-0", 10, [(0, 1)]),
    ("bytes=0-0,20-30", 10, [(0, 1)]), ("bytes=0-0,0-0", 10, [(0, 1), (0, 1)]),
    ("bytes=10-", 10, []), ("bytes=10-10", 10, []), ("bytes=-0", 10, []), ("bytes=99-,-0", 10, []),
    ("bytes=9223372036854775807-", 10, []), ("bytes=9999999999999999999-", 10, [])])
def test_ranges(field, size, spans):
    assert parse(field, size) == spans


@pytest.mark.parametrize("field", [
    "", "bytes", "bytes=", "bytes=,", "bytes= ,", "bytes=-", "bytes=a-b", "bytes=1", "bytes=1-2-3", "bytes=--1", "bytes=5-4",
    "bytes=0-0,5-4", "bytes=0-0,x", "bytes=0-0;1-1", "bytes=0-0 1-1", "bytes =0-0", "bytes= 0-0", "bytes:0-0", "bytes=0 -0", "bytes=0- 0",
    "bytes=+1-2", "bytes=1-+2", "bytes=1_0-", "bytes=0x1-", "bytes=1e1-", "bytes=1.0-", "bytes=٣-", "bytes=0-٣", "bytes=-²", "bytes=１-",
    "bytes=00000000000000000000-0", "bytes=0-99999999999999999999", "bytes=-00000000000000000001", "bytes=0-0\n", "bytes=0\n-0",
    "bytes=0-0,bytes=1-1", "octets=0-0", "seconds=1-2", "none", "=0-0", "bytes==0-0", "bytes=\x0b0-0", "bytes=0-0\xa0", "bytes=*", "\u017fytes=0-0"])
def test_fields_that_are_ignored(field):
    assert parse(field, 10) is None
    assert plan(field, 10) == plan(None, 10) == (200, (), (Span(0, 10),), 10)


def test_of_nothing_there_is_no_part():
    for field in ("bytes=0-", "bytes=-5", "bytes=0-0", "bytes=5-"):
        assert plan(field, 0) == (200, (), (Span(0, 0),), 0)


def test_the_number_of_ranges_is_bounded():
    many = ",".join(f"{100 * number}-{100 * number}" for number in range(MAX_RANGES))
    assert len(parse("bytes=" + many, 10**6)) == MAX_RANGES
    assert parse("bytes=" + many + ",-1", 10**6) is None
    assert parse("bytes=" + many + ",99999999-", 10**6) is None     # what is not satisfiable counts, too
    assert parse("bytes=0-,0-", 10, max_ranges=1) is None and parse("bytes=0-", 10, max_ranges=1) == [(0, 10)]
    assert parse("bytes=" + "," * 5000 + "0-0", 10) is None


def test_work_is_linear():
    started = time.process_time()
    for hostile in ("bytes=" + " " * 4000 + "x", "bytes=" + "0-," * 2000, "bytes=0-0" + " \t" * 2000 + "x", "bytes=" + "," * 4000,
                    "bytes=" + "1" * 10**6 + "-", "bytes=" + " ," * 10**6):
        parse(hostile, 10)
    assert time.process_time() - started < 1


# ---------------------------------------------------------------- what is sent

def test_one_part():
    assert plan("bytes=3-5", 10, "a/b") == (206, (("Content-Range", "bytes 3-5/10"),), (Span(3, 6),), 3)
    assert plan("bytes=-3", 10) == (206, (("Content-Range", "bytes 7-9/10"),), (Span(7, 10),), 3)
    assert plan("bytes=0-", 10) == (206, (("Content-Range", "bytes 0-9/10"),), (Span(0, 10),), 10)
    # One that is satisfiable of several is no multipart either.
    assert plan("bytes=3-5,50-", 10) == plan("bytes=3-5", 10)


def test_not_satisfiable():
    assert plan("bytes=10-", 10) == (416, (("Content-Range", "bytes */10"),), (), 0)
    assert plan("bytes=-0", 7) == (416, (("Content-Range", "bytes */7"),), (), 0)


def test_ranges_that_overlap_or_lie_close_are_one():
    assert plan("bytes=0-5,3-8", 10**6) == plan("bytes=0-8", 10**6)
    assert plan("bytes=3-8,0-5", 10**6) == plan("bytes=0-8", 10**6)
    assert plan("bytes=0-4,5-9", 10**6) == plan("bytes=0-9", 10**6)
    assert plan("bytes=0-0,40-40", 10**6) == plan("bytes=0-40", 10**6)
    assert plan("bytes=" + ",".join(["0-"] * MAX_RANGES), 10**6) == plan("bytes=0-", 10**6)


def test_ranges_are_one_where_that_is_shorter():
    """The further they lie apart the longer the answer, octet by octet, until a part of its own costs as much."""
    lengths = [plan(f"bytes=100000-100009,{100010 + gap}-{100019 + gap},900000-900009", 999_999, "a/b").length for gap in range(200)]
    assert {later - earlier for earlier, later in itertools.pairwise(lengths)} == {0, 1} and lengths[-1] == lengths[-50]


def test_the_order_is_the_one_asked_for():
    file = bytes(range(256)) * 40
    parts = parts_of(plan("bytes=9000-9001,0-1,5000-5001,1-2", len(file)), file)
    assert [start for start, _ in parts] == [9000, 0, 5000]
    # What has become one stands where the first of its ranges stood, wherever that is in the file.
    for field, starts in (("8-9,9000-9001,5-8", [5, 9000]), ("9000-9001,8-9,5-8", [9000, 5]), ("5-8,9000-9001,8-9", [5, 9000])):
        assert [start for start, _ in parts_of(plan("bytes=" + field, len(file)), file)] == starts


def test_boundaries_cannot_be_foretold():
    plans = [plan("bytes=0-0,-1", 10**6) for _ in range(50)]
    boundaries = {boundary_of(each) for each in plans}
    assert len(boundaries) == 50 and all(len(boundary) == 32 for boundary in boundaries)
    assert len({each.length for each in plans}) == 1


def test_a_type_is_one_line():
    for content_type in ("a/b\r\nX: y", "a/b\n", "a\0b", "a/b\x7f"):
        with pytest.raises(ValueError):
            plan("bytes=0-0,-1", 10**6, content_type)


def body_of(answer, file):
    return b"".join(piece if isinstance(piece, bytes) else file[piece.start:piece.stop] for piece in answer.pieces)


def boundary_of(answer):
    (name, value), = answer.headers
    assert name == "Content-Type"
    return re.fullmatch(r"multipart/byteranges; boundary=([0-9a-f]+)", value)[1]


def parts_of(answer, file, content_type=None):
    """[(first position, octets)] of a 206, read by the library's parser as a client would."""
    body = body_of(answer, file)
    assert len(body) == answer.length
    if answer.headers[0][0] == "Content-Range":
        return [(checked_range(answer.headers[0][1], body, file), body)]
    boundary = boundary_of(answer)
    assert body.startswith(b"--" + boundary.encode()) and body.endswith(b"\r\n--" + boundary.encode() + b"--\r\n")
    message = email.parser.BytesParser().parsebytes(
        b"Content-Type: multipart/byteranges; boundary=" + boundary.encode() + b"\r\n\r\n" + body)
    assert message.is_multipart() and not message.defects
    found = []
    for part, raw in zip(message.get_payload(), body.split(b"--" + boundary.encode())[1:-1], strict=True):
        assert part.get("Content-Type") == content_type
        octets = raw.partition(b"\r\n\r\n")[2][:-2]
        found.append((checked_range(part["Content-Range"], octets, file), octets))
    assert len(found) > 1
    return found


def checked_range(value, octets, file):
    first, last, size = map(int, re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", value).groups())
    assert size == len(file) and file[first:last + 1] == octets and octets
    return first


# ---------------------------------------------------------------- beside a model that looks at every octet

NUMBERS = st.one_of(st.integers(0, 12), st.integers(0, 1500), st.sampled_from([2**63 - 1, 10**19 - 1])).map(str)
SPECS = st.one_of(st.builds("{}-{}".format, NUMBERS, NUMBERS), NUMBERS.map("{}-".format), NUMBERS.map("-{}".format),
                  st.sampled_from(["", "-", "x", "1--2", "+1-2"]))
GOOD = st.one_of(st.builds(lambda first, more: f"{first}-{first + more}", st.integers(0, 1500), st.integers(0, 90)),
                 NUMBERS.map("{}-".format), NUMBERS.map("-{}".format), st.just(""))
APART = st.lists(st.integers(0, 6).map(lambda number: f"{number * 230}-{number * 230 + 9}"), min_size=2, max_size=5)
FIELDS = st.builds(lambda unit, specs: unit + ",".join(specs), st.sampled_from(["bytes="] * 8 + ["Bytes=", "bytes", "b="]),
                   st.one_of(APART, APART, st.lists(GOOD, min_size=2, max_size=6), st.lists(GOOD, min_size=1, max_size=3), st.lists(SPECS, max_size=5)))


def wanted(field, size):
    """For each octet of the file whether a range has it; None if the field is to be ignored."""
    match = re.fullmatch(r"(?i:bytes)=(.*)", field)
    if not match or size == 0:
        return None
    octets, any_spec = [False] * size, False
    for spec in match[1].split(","):
        if spec == "":
            continue
        any_spec = True
        if re.fullmatch("[0-9]+-[0-9]+", spec):
            first, last = map(int, spec.split("-"))
            if last < first:
                return None
            inside = lambda at: first <= at <= last                         # noqa: E731
        elif re.fullmatch("[0-9]+-", spec):
            first = int(spec[:-1])
            inside = lambda at: first <= at                                 # noqa: E731
        elif re.fullmatch("-[0-9]+", spec):
            count = int(spec[1:])
            inside = lambda at: at >= size - count                          # noqa: E731
        else:
            return None
        octets = [have or inside(at) for at, have in enumerate(octets)]
    return octets if any_spec else None


def test_plans():
    statuses = {}

    @SETTINGS
    @hypothesis.given(FIELDS, st.one_of(st.integers(0, 1500), st.just(1500)), st.sampled_from([None, "text/plain; charset=utf-8"]))
    def check(field, size, content_type):
        file = bytes(at * 7 % 251 for at in range(size))
        octets = wanted(field, size)
        answer = plan(field, size, content_type)
        kind = answer.status if len(answer.pieces) < 2 else "parts"
        statuses[kind] = statuses.get(kind, 0) + 1
        if octets is None:
            assert answer == plan(None, size) and body_of(answer, file) == file
        elif not any(octets):
            assert answer == (416, (("Content-Range", f"bytes */{size}"),), (), 0)
        else:
            assert answer.status == 206
            sent = [0] * size
            for first, part in parts_of(answer, file, content_type):
                for at in range(first, first + len(part)):
                    sent[at] += 1
            assert max(sent) == 1, "an octet was sent twice"
            assert all(count for count, want in zip(sent, octets, strict=True) if want), "an octet is missing"
            # What was sent and not wanted fills gaps that are smaller than the head of a part.
            marks = "".join("w" if want else "s" if count else " " for count, want in zip(sent, octets, strict=True))
            for gap in re.finditer("s+", marks):
                assert marks[gap.start() - 1] == marks[gap.end()] == "w" and len(gap[0]) < 150

    check()
    assert min(statuses[kind] for kind in (200, 206, 416, "parts")) >= 8, statuses
