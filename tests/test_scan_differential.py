"""Generated requests, read by our parser and by http.server's, h11's and httptools': every disagreement has a name.

Ours has to take a request exactly if request_defects.py finds nothing wrong with it, and to read the same of it
whether it comes whole or in pieces.  Where another parser reads something else, one of the rules of parser_rules.py has
to say why: by the section of an RFC, or as a leniency the other one is known for.

TURBOSERVER_LONG=1 takes two hundred thousand requests, other ones each time, instead of some thousands.
"""
import collections
import http.client
import itertools
import os
from unittest import mock

import pytest

pytest.importorskip("h11", reason="h11 is not installed")
pytest.importorskip("httptools", reason="httptools is not installed")
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

import parsers  # noqa: E402
from parser_rules import examples, explain  # noqa: E402
from request_defects import DEFECTS, TOLERATED, Octets, defects_of  # noqa: E402
from request_strategies import CLIENTS, SEEDS, requests, sizes  # noqa: E402
from support import load_backend  # noqa: E402

LONG = os.environ.get("TURBOSERVER_LONG") == "1"
REQUESTS = 200_000 if LONG else 3000
LIMIT = 7200 if LONG else 120  # seconds for a test: a hang, not a speed limit

OTHERS = {"http.server": parsers.original, "h11": parsers.by_h11, "httptools": parsers.by_httptools}


# ---------------------------------------------------------------- judging

def judge_ours(data, pieces):
    """Our Reading of `data`, after it has been compared with the octets themselves and with itself in pieces."""
    ours, defects = parsers.ours(data), defects_of(data)
    assert ours.body == (not defects), f"ours: {ours}\nwrong with it: {defects}"
    in_pieces = parsers.ours(data, itertools.cycle(pieces))
    if defects:
        assert any(ours.status in DEFECTS[defect].statuses for defect in defects), f"{ours}, {defects}"
        assert (in_pieces.body, in_pieces.status) == (False, ours.status)
        return ours
    assert in_pieces == ours
    octets = Octets(data)
    if not octets.is_09:
        after = data[octets.head_end:]
        raw = parsers.ours(data, decode=False)
        assert raw.content + raw.rest == after
        assert raw.rest == ours.rest
        assert (raw.content == ours.content) == (ours.framing != "chunked")
    return ours


def judge(data, pieces=(7,)):
    """{(parser, rule)} for what is not the same to all.  AssertionError if there is no such rule."""
    ours = judge_ours(data, pieces)
    octets, used = Octets(data), set()
    for parser, read in OTHERS.items():
        theirs = read(data)
        used |= {(parser, rule) for rule in explain(parser, data, ours, theirs)}
        if parser == "http.server" and ours.body and theirs.head and not octets.is_09:
            assert theirs.after_head == data[octets.head_end:]
    return used, ours.body


# ---------------------------------------------------------------- tests

@pytest.mark.parametrize("data", CLIENTS)
def test_plain_requests_are_read_natively(data):
    """http.client.parse_headers() is not asked; so it is the scanner that the other tests are about."""
    load_backend("turboserver")  # it asks for a sample
    with mock.patch.object(http.client, "parse_headers", side_effect=AssertionError("the general parser")):
        assert parsers.ours(data).body


@pytest.mark.parametrize("name", DEFECTS)
def test_defects(name):
    """Each is found, alone, in its example, and ours refuses that for it."""
    example = DEFECTS[name].example
    assert defects_of(example) == [name]
    assert judge_ours(example, (7,)).status in DEFECTS[name].statuses


@pytest.mark.parametrize("name", TOLERATED)
def test_tolerated(name):
    assert judge(TOLERATED[name][1])[1]


@pytest.mark.parametrize(("parser", "rule", "data"), list(examples()))
def test_rules(parser, rule, data):
    """None is stale: each has octets for which it is needed."""
    assert (parser, rule) in judge(data)[0]


def test_seeds():
    for data in SEEDS:
        judge(data)


@pytest.mark.limit(LIMIT)
def test_generated():
    count = collections.Counter()

    @hypothesis.settings(max_examples=REQUESTS, derandomize=not LONG, database=None, deadline=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(requests(), sizes)
    def generated(data, pieces):
        used, taken = judge(data, pieces)
        count.update(used)
        count["taken" if taken else "refused"] += 1

    generated()
    # Nobody had an easy time: the requests are neither all right nor all broken, and most rules were wanted.
    assert count["taken"] > REQUESTS / 5 and count["refused"] > REQUESTS / 5
    assert len(count) > 40
