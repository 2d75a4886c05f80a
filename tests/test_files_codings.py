"""turboserver.files.codings: which coding a client gets, and that it can be read again."""
import re
import subprocess
import sys
import time
import tracemalloc
from types import SimpleNamespace

import pytest

from codings_read import Reader, read
from turboserver.files.codings import BLOCK, EXTENSIONS, ON_THE_FLY, choose, compressed, parse, siblings, vary

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=500, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))
ALL = ("br", "zstd", "gzip")


# ---------------------------------------------------------------- the field (RFC 9110, 12.5.3)

@pytest.mark.parametrize("field, weights", [
    ("", {}), (" ", {}), (",", {}), (", ,\t,", {}), ("gzip", {"gzip": 1000}), ("GZip", {"gzip": 1000}), ("x-gzip", {"gzip": 1000}),
    ("gzip, br", {"gzip": 1000, "br": 1000}), ("gzip;q=0.5,br;q=0", {"gzip": 500, "br": 0}), ("gzip ;\tq=1.000 ,", {"gzip": 1000}),
    ("a;Q=0.001", {"a": 1}), ("a;q=0.", {"a": 0}), ("a;q=1.", {"a": 1000}), ("a;q=0.12", {"a": 120}), ("*;q=0", {"*": 0}), ("gzip,gzip;q=0", {"gzip": 1000}),
    ("gzip;q=0,x-gzip", {"gzip": 0}), ("identity;q=0.3", {"identity": 300}), ("!#$%&'*+.^_`|~0", {"!#$%&'*+.^_`|~0": 1000})])
def test_fields(field, weights):
    assert parse(field) == weights


@pytest.mark.parametrize("field", [
    "gzip br", "gzip;", "gzip;q", "gzip;q=", "gzip;q=2", "gzip;q=1.001", "gzip;q=0.1234", "gzip;q=-1", "gzip;q=.5", "gzip;q=0,5;", "gzip;q =1", "gzip;q= 1",
    "gzip;q=1;x=2", "gzip;x=2", "gz\u0131p", "gzip;q=\u0661", 'gzip;q="1"', "gzip;;q=1", "gz/ip", "gzip\n", "gzip\x0b, br", "\xa0gzip", ";q=1", "gzip;q=1 1",
    ",".join(["a"] * 65), "a" * 5000])
def test_malformed_fields(field):
    assert parse(field) is None
    assert choose(field, ALL) == "identity"


def test_the_work_for_a_field_is_linear():
    started = time.process_time()
    for hostile in (" " * 4000 + "x y", "," * 4096, "a;" * 2000, "a" * 4000 + " " + "b", " ,\t" * 1300 + "(", "a" + " " * 4000 + ";", "x" * 10**6):
        parse(hostile)
    assert time.process_time() - started < 1


# ---------------------------------------------------------------- the choice

@pytest.mark.parametrize("field, chosen", [
    (None, "identity"), ("", "identity"), ("*", "br"), ("gzip", "gzip"), ("gzip, deflate, br, zstd", "br"), ("gzip, deflate", "gzip"), ("zstd, gzip", "zstd"),
    ("gzip;q=1, br;q=0.9", "gzip"), ("br;q=0.5, gzip;q=0.5", "br"), ("br;q=0, gzip", "gzip"), ("br;q=0, *", "zstd"), ("gzip;q=0, br;q=0, zstd;q=0", "identity"),
    ("deflate", "identity"), ("identity", "identity"), ("identity, gzip", "gzip"), ("identity;q=1, gzip;q=0.5", "identity"), ("identity;q=0.5, gzip", "gzip"),
    ("identity;q=0.5, gzip;q=0.5", "gzip"), ("identity;q=0", None), ("*;q=0", None), ("identity;q=0, gzip", "gzip"), ("*;q=0, gzip", "gzip"),
    ("*;q=0, identity", "identity"), ("identity;q=0, deflate", None), ("gzip;q=0.001", "gzip"), ("gzip;q=0.001, identity;q=0.002", "identity"),
    ("*;q=0.5", "br"), ("br;q=0.1, *;q=0.5", "zstd"), ("x-gzip", "gzip")])
def test_choices(field, chosen):
    assert choose(field, ALL) == chosen


def test_what_there_is_counts():
    assert choose("br, gzip", ("gzip",)) == "gzip" and choose("br", ("gzip",)) == choose("gzip", ()) == "identity"
    assert choose("gzip, br", ("gzip", "br")) == "gzip"
    assert choose("identity;q=0, br", ("gzip",)) is None
    assert choose("gzip;q=0.5, *", ("gzip",)) == "identity"


_CODINGS = st.sampled_from(["gzip", "br", "zstd", "deflate", "identity", "*", "x-gzip"])
_WEIGHTS = st.one_of(st.none(), st.integers(0, 1000), st.sampled_from([0, 0, 500, 1000]))


@SETTINGS
@hypothesis.given(st.lists(st.tuples(_CODINGS, _WEIGHTS), max_size=6), st.permutations(["gzip", "br", "zstd"]), st.integers(0, 3), st.randoms())
def test_choices_as_the_model_has_them(elements, order, count, chance):
    there = order[:count]
    field = chance.choice([",", ", ", " ,\t", ",,"]).join(
        coding.upper() if chance.random() < 0.2 else coding if weight is None
        else f"{coding};q={weight / 1000:.3f}" for coding, weight in elements)
    said = {}
    for text in filter(None, re.split("[ \t,]+", field)):
        coding, _, weight = text.lower().partition(";q=")
        said.setdefault(coding.replace("x-gzip", "gzip"), float(weight or 1))

    def weight(coding):
        if coding in said:
            return said[coding]
        if "*" in said:
            return said["*"]
        return 0.0001 if coding == "identity" else 0
    candidates = [*there, "identity"]
    expected = max(candidates, key=lambda coding: (weight(coding), -candidates.index(coding)))
    assert choose(field, there) == (expected if weight(expected) else None)


@pytest.mark.parametrize("value, expected", [
    (None, "Accept-Encoding"), ("", "Accept-Encoding"), ("Origin", "Origin, Accept-Encoding"), ("*", "*"), ("accept-encoding", "accept-encoding"),
    ("Origin ,Accept-Encoding", "Origin, Accept-Encoding"), ("Accept-Encoding-2", "Accept-Encoding-2, Accept-Encoding")])
def test_vary(value, expected):
    assert vary(value) == expected


def test_siblings():
    def at(seconds):
        return SimpleNamespace(st_mtime_ns=seconds)
    folder = {"a.js": at(5), "a.js.gz": at(5), "a.js.br": at(6), "a.js.zst": at(4), "b.js.gz": at(9)}
    asked = []
    found = siblings("a.js", folder["a.js"], lambda name: asked.append(name) or folder.get(name))
    assert list(found.items()) == [("br", folder["a.js.br"]), ("gzip", folder["a.js.gz"])]
    assert asked == ["a.js.br", "a.js.zst", "a.js.gz"] and siblings("a", at(1), folder.get) == {}
    assert set(ON_THE_FLY) <= set(EXTENSIONS) and ON_THE_FLY[-1] == "gzip"


# ---------------------------------------------------------------- compressing

def test_what_is_installed_is_there():
    """Here the extra is installed; what is missing then would be missed silently."""
    pytest.importorskip("brotli", reason="turboserver[compression] is not installed")
    if sys.version_info < (3, 14):
        pytest.importorskip("zstandard", reason="turboserver[compression] is not installed")
    assert ON_THE_FLY == ("zstd", "br", "gzip")


@pytest.mark.parametrize("coding", ON_THE_FLY)
@pytest.mark.parametrize("streams", [False, True])
def test_it_can_be_read_again(coding, streams):
    text = b"All work and no play makes Jack a dull boy. " * 20000

    @hypothesis.settings(SETTINGS, max_examples=60)
    @hypothesis.given(st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 300_000)), max_size=6))
    def check(parts):
        blocks = [part if isinstance(part, bytes) else text[:part] for part in parts]
        sent = list(compressed(iter(blocks), coding, streams=streams))
        assert all(type(octets) is bytes and octets for octets in sent)
        assert read(sent, coding) == b"".join(blocks)
    check()
    assert len(b"".join(compressed([text], coding, streams=streams))) < len(text) / 50
    assert b"".join(compressed([text], coding)) == b"".join(compressed([text], coding)), "the same file, other octets"
    # What does not stream is held back until it is worth while.
    pieces = [text[at:at + 100] for at in range(0, len(text), 100)]
    assert (len(b"".join(compressed(pieces, coding, streams=streams))) > 2 * len(b"".join(compressed([text], coding)))) is streams
    for kind in (bytearray, memoryview):
        assert read(compressed([kind(b"abc")], coding, streams=streams), coding) == b"abc"
    assert read(compressed([], coding, streams=streams), coding) == b""


@pytest.mark.parametrize("coding", ON_THE_FLY)
def test_what_streams_arrives_before_the_next(coding):
    reader, arrived, asked = Reader(coding), [], []

    def lines():
        for number in range(5):
            if number:
                assert arrived and b"".join(arrived).endswith(b"line %d\n" % (number - 1))
            asked.append(number)
            yield b"line %d\n" % number
            yield b""
    for octets in compressed(lines(), coding, streams=True):
        arrived.append(reader.read(octets))
    assert b"".join(arrived) == b"".join(b"line %d\n" % number for number in range(5)) and len(asked) == 5 and reader.ended()


@pytest.mark.parametrize("coding", ON_THE_FLY)
def test_memory_is_bounded(coding):
    """One block of any size, or many of them; what comes out is taken piece by piece."""
    def endless():
        for number in range(400):
            yield bytes([number % 256]) * BLOCK
    block = bytes(range(256)) * (48 * 4096)     # 48 MiB
    list(compressed([b"x"], coding))
    tracemalloc.start()
    try:
        assert sum(map(len, compressed(endless(), coding))) < 2**20
        assert max(map(len, compressed([block], coding))) < 4 * BLOCK
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_what_is_compressed_is_closed():
    class Blocks:
        def __init__(self, *blocks):
            self.blocks, self.closed = iter(blocks), 0

        def __iter__(self):
            return self.blocks

        def close(self):
            self.closed += 1

    def failing():
        yield b"x"
        raise ZeroDivisionError
    whole, left = Blocks(b"a"), Blocks(*[b"a"] * 9)
    list(compressed(whole, "gzip"))
    half = compressed(left, "gzip", streams=True)
    next(half)
    half.close()
    assert whole.closed == left.closed == 1
    broken = Blocks()
    broken.blocks = failing()
    with pytest.raises(ZeroDivisionError):
        list(compressed(broken, "gzip"))
    assert broken.closed == 1


@pytest.mark.parametrize("coding", ["identity", "deflate", "", "GZIP"])
def test_other_codings(coding):
    with pytest.raises(ValueError):
        compressed([b"x"], coding)


@pytest.mark.parametrize("missing", [
    ["brotli"], ["zstandard"], ["compression"], ["brotli", "zstandard"], ["zstandard", "compression"], ["brotli", "zstandard", "compression"]])
def test_without_the_libraries(missing):
    """In a process of its own, for what is there is found out once."""
    program = (f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
               "from turboserver.files.codings import ON_THE_FLY, compressed; import zlib\n"
               "assert all(list(compressed([b'x'], coding)) for coding in ON_THE_FLY)\n"
               "print(*ON_THE_FLY)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    here = set(ON_THE_FLY)
    if "brotli" in missing:
        here.discard("br")
    # Before 3.14 there is zstandard alone; since then one of two is enough.
    if {"zstandard", "compression"} <= set(missing) or "zstandard" in missing and sys.version_info < (3, 14):
        here.discard("zstd")
    assert set(done.stdout.split()) == here
