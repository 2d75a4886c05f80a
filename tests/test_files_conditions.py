"""turboserver.files.conditions: entity tags, dates, and the order in which they count."""
import calendar
import datetime
import email.utils
import itertools
import os
import re
import time
from types import SimpleNamespace

import pytest

from turboserver.files.conditions import etag, evaluate, format_date, parse_date, parse_tags

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=300, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))

NOW = 1_700_000_000                 # Tue, 14 Nov 2023 22:13:20 GMT
MODIFIED = NOW - 1000
TAG = '"a"'


def verdict(method="GET", tag=TAG, modified=MODIFIED, now=NOW, **fields):
    """Fields are given as If_Match="..." or a list of values."""
    fields = {name.replace("_", "-"): [value] if isinstance(value, str) else value for name, value in fields.items()}
    return evaluate(method, fields.get, tag, modified, now)


def status(*args, **fields):
    return verdict(*args, **fields).status


def at(seconds):
    return email.utils.formatdate(seconds, usegmt=True)


# ---------------------------------------------------------------- entity tags

def test_a_tag_is_strong_and_says_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    found = os.stat(path)
    tag = etag(found)
    assert re.fullmatch('"[0-9a-f]{24}"', tag) and etag(os.stat(path)) == tag
    assert str(found.st_ino) not in tag and f"{found.st_ino:x}" not in tag


def test_whatever_changes_changes_the_tag():
    base = {"st_dev": 1, "st_ino": 2, "st_size": 3, "st_mtime_ns": 4}
    variants = [base] + [{**base, name: value} for name in base for value in (7, 2**40)]
    variants += [{**base, "st_mtime_ns": -1}, {**base, "st_ino": 2**64 - 1}, {**base, "st_dev": -1}]
    tags = {etag(SimpleNamespace(**variant), coding) for variant in variants for coding in ("identity", "gzip", "br", "zstd")}
    assert len(tags) == len(variants) * 4
    assert etag(SimpleNamespace(**base)) == etag(SimpleNamespace(**base), "Identity")


def test_the_tag_of_a_new_file_is_weak_where_time_counts():
    found = SimpleNamespace(st_dev=1, st_ino=2, st_size=3, st_mtime_ns=NOW * 10**9)
    assert etag(found, now_ns=NOW * 10**9 + 1) == "W/" + etag(found)
    assert etag(found, now_ns=(NOW + 2) * 10**9) == etag(found)
    assert etag(found, now_ns=(NOW - 100) * 10**9) == "W/" + etag(found)       # from the future


@pytest.mark.parametrize("field, tags", [
    ('"a"', [(False, '"a"')]), ('W/"a"', [(True, '"a"')]), ('""', [(False, '""')]), ("*", "*"), (" * ", "*"),
    ('"a","b"', [(False, '"a"'), (False, '"b"')]), ('"a" , W/"b"', [(False, '"a"'), (True, '"b"')]),
    ('"a,b", "c"', [(False, '"a,b"'), (False, '"c"')]), ('"W/"', [(False, '"W/"')]), ('"*"', [(False, '"*"')]),
    (',, "a",\t,"b",', [(False, '"a"'), (False, '"b"')]), ('"\\"', [(False, '"\\"')]), ('"\xff"', [(False, '"\xff"')])])
def test_lists_of_tags(field, tags):
    assert parse_tags(field) == tags


@pytest.mark.parametrize("field", [
    "", ",", " ", "a", '"a', 'a"', "'a'", 'w/"a"', 'W/ "a"', 'W"a"', '"a" "b"', '"a""b"', '"a";"b"', '*,"a"', '"a",*', "**", '"a b"', '"a\tb"',
    '"a"b', '"a\x7f"', '"\u0100"', '"a","b', 'W/', '"a"\n', '"' + "a" * 20000 + '"'])
def test_malformed_lists_of_tags(field):
    assert parse_tags(field) is None


def test_the_work_for_tags_is_linear():
    started = time.process_time()
    for hostile in (('"a",' * 4000), '"' * 16000, "," * 16000 + "x", '"a"' + " " * 16000 + '"', ", " * 8000, "W/" * 8000, '"' * 10**6):
        parse_tags(hostile)
    assert time.process_time() - started < 1


TAG_TEXTS = st.tuples(st.booleans(), st.text(st.sampled_from("ab,W/*!\\\xe9"), max_size=4).map('"{}"'.format))


@SETTINGS
@hypothesis.given(st.lists(TAG_TEXTS, min_size=1, max_size=5), st.lists(st.sampled_from([",", " ,", ", ", ",,", "\t,\t, "]), min_size=6,
                                                                        max_size=6))
def test_tags_come_back(tags, commas):
    field = "".join(("W/" if weak else "") + opaque + comma for (weak, opaque), comma in zip(tags, commas, strict=False))
    assert parse_tags(field) == tags
    assert parse_tags(field.rstrip(", \t")) == tags
    for malformed in (field + "x", "x" + field, field + '"', field + "*", field.rstrip(", \t") + ' "a"'):
        assert parse_tags(malformed) is None


# ---------------------------------------------------------------- dates

@pytest.mark.parametrize("text, seconds", [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777), ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
    ("Sun Nov  6 08:49:37 1994", 784111777), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), (" Thu, 01 Jan 1970 00:00:01 GMT\t", 1),
    ("Mon, 29 Feb 2016 00:00:00 GMT", 1456704000), ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800), ("Sun Nov 16 08:49:37 1994", 784975777),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799), ("Wed, 31 Dec 1969 23:59:59 GMT", -1), ("Mon, 01 Jan 0001 00:00:00 GMT", -62135596800)])
def test_dates(text, seconds):
    assert parse_date(text, NOW) == seconds


@pytest.mark.parametrize("text", [
    "", "0", "784111777", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000",
    "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT", "SUN, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 29 Feb 1900 00:00:00 GMT",
    "Sun,06 Nov 1994 08:49:37 GMT", "Sun, 06  Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "Sun, 06-Nov-94 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994", "Sun Nov 06 08:49:37 1994 GMT", "Sun Nov  6 08:49:37 94", "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, ٠٦ Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT; length=5", "Sun, 06 Nov 1994 08:49:37 GMT\n", "Xxx, 06 Nov 1994 08:49:37 GMT"])
def test_what_is_no_date(text):
    assert parse_date(text, NOW) is None


def test_years_of_two_digits():
    """RFC 9110, 5.6.7: more than 50 years ahead is the past."""
    def year(text):
        return time.gmtime(parse_date(text, NOW)).tm_year
    assert [year(f"Sunday, 01-Jan-{digits} 00:00:00 GMT") for digits in ("00", "23", "73", "74", "99")] == [2000, 2023, 2073, 1974, 1999]
    # Late in a century the next one is near.
    late = calendar.timegm((2090, 6, 1, 0, 0, 0))
    for digits, expected in (("89", 2089), ("99", 2099), ("00", 2100), ("39", 2139), ("41", 2041)):
        assert time.gmtime(parse_date(f"Sunday, 01-Jan-{digits} 00:00:00 GMT", late)).tm_year == expected
    assert year("Tuesday, 14-Nov-73 22:13:20 GMT") == 2073 and year("Tuesday, 14-Nov-73 22:13:21 GMT") == 1973


def test_the_clock_is_asked_if_no_time_is_given():
    assert parse_date(time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(NOW))) == NOW


@SETTINGS
@hypothesis.given(st.integers(-62135596800, 253402300799))
def test_each_form_of_each_second(seconds):
    date = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    fixdate = email.utils.format_datetime(date, usegmt=True)
    assert format_date(seconds) == fixdate
    assert parse_date(fixdate, NOW) == seconds
    assert parse_date(date.ctime(), NOW) == seconds
    if 1973 < date.year < 2073:
        assert parse_date(f"{date:%A, %d-%b-%y %H:%M:%S} GMT", NOW) == seconds


def test_what_cannot_be_said_as_a_date():
    for seconds in (-62135596801, 253402300800, 2**63, -2**63):
        with pytest.raises(ValueError):
            format_date(seconds)


# ---------------------------------------------------------------- each field alone

@pytest.mark.parametrize("field, get, put", [
    ('"a"', 200, 200), ('"b"', 412, 412), ('W/"a"', 412, 412), ('"b", "a"', 200, 200), ("*", 200, 200), ("", 412, 412), ("a", 412, 412),
    ('"a', 412, 412)])
def test_if_match(field, get, put):
    assert status("GET", If_Match=field) == status("HEAD", If_Match=field) == get
    assert status("PUT", If_Match=field) == put
    assert status("PUT", tag=None, modified=None, If_Match=field) == 412
    assert status("GET", tag='W/"a"', If_Match=field) == (200 if field == "*" else 412)


@pytest.mark.parametrize("field, get, put", [
    ('"a"', 304, 412), ('"b"', 200, 200), ('W/"a"', 304, 412), ('"b", W/"a"', 304, 412), ("*", 304, 412), ("", 200, 412), ("a", 200, 412),
    ('"a", b', 200, 412)])
def test_if_none_match(field, get, put):
    assert status("GET", If_None_Match=field) == status("HEAD", If_None_Match=field) == get
    assert status("PUT", If_None_Match=field) == status("DELETE", If_None_Match=field) == put
    assert status("GET", tag='W/"a"', If_None_Match=field) == get


def test_if_none_match_where_nothing_is():
    assert status("PUT", tag=None, modified=None, If_None_Match="*") == 200
    assert status("PUT", tag=None, modified=None, If_None_Match='"a"') == 200
    assert status("PUT", tag=None, modified=None, If_None_Match="a") == 412


def test_lines_of_a_list_are_one_list():
    assert status(If_None_Match=['"b"', '"a"']) == 304
    assert status(If_None_Match=['"b"', "x"]) == 200
    assert status("PUT", If_Match=['"b"', '"a"']) == 200
    assert status(If_None_Match=["*", '"b"']) == 200            # malformed together


@pytest.mark.parametrize("date, since, unmodified", [
    (at(MODIFIED), 304, 200), (at(MODIFIED - 1), 200, 412), (at(MODIFIED + 1), 304, 200), (at(NOW + 10**6), 304, 200),
    ("nonsense", 200, 200), ("", 200, 200), (at(0), 200, 412), ("0", 200, 200)])
def test_dates_alone(date, since, unmodified):
    assert status(If_Modified_Since=date) == status("HEAD", If_Modified_Since=date) == since
    assert status("PUT", If_Modified_Since=date) == 200
    for method in ("GET", "HEAD", "PUT"):
        assert status(method, If_Unmodified_Since=date) == unmodified
    # A file has more than seconds, a date has not.
    assert status(modified=MODIFIED + 0.9, If_Modified_Since=date) == since
    assert status(modified=None, If_Modified_Since=date) == status(modified=None, If_Unmodified_Since=date) == 200


def test_times_before_1970_are_cut_downwards():
    assert status(modified=-0.5, If_Modified_Since=at(-1)) == 304
    assert status(modified=-0.5, If_Modified_Since=at(-2)) == 200


def test_several_dates_are_none():
    assert status(If_Modified_Since=[at(MODIFIED), at(MODIFIED)]) == 200
    assert status(If_Unmodified_Since=[at(0), at(0)]) == 200


@pytest.mark.parametrize("field, tag, counts", [
    ('"a"', '"a"', True), ('"b"', '"a"', False), ('W/"a"', '"a"', False), ('W/"a"', 'W/"a"', False), ('"a"', 'W/"a"', False),
    ("*", '"a"', False), ('"a", "b"', '"a"', False), ("a", '"a"', False), ("", '"a"', False), (' "a" ', '"a"', True),
    (at(MODIFIED), '"a"', True), (at(MODIFIED + 1), '"a"', False), (at(MODIFIED - 1), '"a"', False), (at(MODIFIED), 'W/"a"', True)])
def test_if_range(field, tag, counts):
    assert verdict(tag=tag, If_Range=field) == (200, counts)
    assert verdict("HEAD", tag=tag, If_Range=field) == (200, False)


def test_a_date_for_a_range_must_be_strong():
    """RFC 9110, 8.8.2.2: what may have changed once more in that second has it still."""
    for age, counts in ((-1, False), (0, False), (1, False), (2, True), (100, True)):
        assert verdict(modified=NOW - age, If_Range=at(NOW - age)).ranges is counts
    assert not verdict(If_Range=[at(MODIFIED), at(MODIFIED)]).ranges


def test_ranges_without_if_range():
    assert verdict() == (200, True)
    assert verdict("HEAD") == verdict("PUT") == verdict("POST") == (200, False)
    assert verdict(tag=None, modified=None) == (200, False)
    assert verdict(If_None_Match='"a"') == (304, False)


# ---------------------------------------------------------------- together: RFC 9110, 13.2.2, step by step

_MATCH = [None, '"a"', '"b"', "*", "bad"]
_DATES = [None, at(MODIFIED), at(MODIFIED - 1), "bad"]
_RANGES = [None, '"a"', '"b"', at(MODIFIED)]


def steps(method, there, match, unmodified, none_match, modified_since, if_range):
    """13.2.2 in its own words, for the values above: a table of truths, no parsing."""
    holds = {'"a"': there, '"b"': False, "*": there, "bad": False}
    if match is not None:                                               # step 1
        if not holds[match]:
            return 412, False
    elif unmodified == at(MODIFIED - 1) and there:                      # step 2
        return 412, False
    if none_match is not None:                                          # step 3
        if holds[none_match] or (none_match == "bad" and method == "PUT"):
            return (304 if method in ("GET", "HEAD") else 412), False
    elif method in ("GET", "HEAD") and modified_since == at(MODIFIED) and there:        # step 4
        return 304, False
    return 200, method == "GET" and there and if_range in (None, '"a"', at(MODIFIED))    # steps 5 and 6


def test_precedence():
    outcomes = set()
    for case in itertools.product(["GET", "HEAD", "PUT"], [True, False], _MATCH, _DATES, _MATCH, _DATES, _RANGES):
        method, there, *values = case
        names = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since", "If-Range")
        fields = {name: [value] for name, value in zip(names, values, strict=True) if value is not None}
        found = evaluate(method, fields.get, TAG if there else None, MODIFIED if there else None, NOW)
        assert found == steps(*case), case
        outcomes.add(found)
    assert outcomes == {(200, True), (200, False), (304, False), (412, False)}


@SETTINGS
@hypothesis.given(st.dictionaries(st.sampled_from(["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"]),
                                  st.lists(st.one_of(st.text(max_size=12), st.text(st.sampled_from('"W/a*, \t'), max_size=8),
                                                     st.just(at(MODIFIED))), max_size=3)),
                  st.sampled_from(["GET", "HEAD", "PUT"]))
def test_no_field_is_an_exception(fields, method):
    found = evaluate(method, fields.get, TAG, MODIFIED, NOW)
    assert found.status in (200, 304, 412) and (found.status == 200 or not found.ranges)
