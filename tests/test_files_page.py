"""turboserver.files.page and as_json: the page is taken apart again, and must be exactly what is in the folder."""
import base64
import fnmatch
import hashlib
import html.parser
import json
import os
import re
import tomllib
import tracemalloc
from importlib import resources
from pathlib import Path
from urllib.parse import urljoin

import pytest
from file_strategies import UNHURRIED, entries, names
from hypothesis import example, given
from hypothesis import strategies as st

from turboserver.files import as_json, page
from turboserver.files.folder import BROKEN, FILE, FOLDER, OTHER, Entry, Folder, Query
from turboserver.files.names import decoded, kind, name_of, readable, url

ROOT = Path(__file__).parents[1]
queries = st.builds(Query, st.sampled_from(["name", "size", "modified"]), st.sampled_from(["asc", "desc"]))


class Taken(html.parser.HTMLParser):
    """A page taken apart: `rows` as dicts, every element as (tag, attributes), texts of some elements."""

    VOID = {"meta", "link", "input", "img"}

    def __init__(self, data):
        super().__init__(convert_charrefs=True)
        self.elements, self.rows, self.texts, self._open = [], [], {}, []
        self.feed(data.decode("utf-8"))
        self.close()
        assert self._open == [], "elements that are not ended"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in self.VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "tr" and "data-n" in attributes:
            self.rows.append({"tr": attributes, "a": None, "img": None, "cells": []})
        elif self.rows and self._open[:5] == ["html", "body", "div", "main", "table"]:
            if tag in ("a", "img"):
                self.rows[-1][tag] = attributes
            elif tag in ("th", "td"):
                self.rows[-1]["cells"].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]][-1] += data
        if self.rows and {"th", "td"} & set(self._open):
            self.rows[-1]["cells"][-1] += data


def rendered(listed, target="/", **options):
    content = listed if isinstance(listed, Folder) else Folder(list(listed))
    return b"".join(page.render(content, target, Query.of(target), **options))


def taken(listed, target="/", **options):
    return Taken(rendered(listed, target, **options))


def links(parsed):
    """Where the links of a page lead, in their order."""
    return [attributes["href"] for tag, attributes in parsed.elements if tag == "a" and "href" in attributes]


def policy(uploads=False):
    text = dict(page.headers(uploads))["Content-Security-Policy"]
    return {directive.split()[0]: directive.split()[1:] for directive in text.split("; ")}


# ---------------------------------------------------------------- rows

@UNHURRIED
@given(st.lists(entries, max_size=8), queries)
@example([Entry(name, FILE, 1, 0) for name in ("javascript:alert(1)", "//host", "</script><script>x", "{{style}}",
                                               "<!--rows-->", "--><b>", "&lt;", "a\r\nb", "\udcff", "'\"` onx=y")], Query())
def test_the_rows_are_the_entries(listed, query):
    content = Folder(listed)
    parsed = Taken(b"".join(page.render(content, "/", query)))
    ranks = list(content.order(query))
    assert [int(row["tr"]["data-n"]) for row in parsed.rows] == ranks
    for row, rank in zip(parsed.rows, ranks, strict=True):
        entry = listed[rank]
        reference, view = row["a"]["href"], "data-view" in row["a"]
        assert reference == url(entry.name, entry.type == FOLDER)
        assert name_of(reference[2:].removesuffix("/" if entry.type == FOLDER else "")) == entry.name
        assert row["cells"][0] == readable(entry.name)
        number = row["tr"].get("data-s")
        assert (number and int(number)) == (entry.size if entry.type == FILE else None)
        number = row["tr"].get("data-m")
        assert (number and int(number)) == entry.modified
        classes = row["tr"]["class"].split()
        assert classes[0] == (kind(entry.name) if entry.type == FILE else entry.type)
        assert ("linked" in classes) is entry.link
        assert view or row["img"] is None


@UNHURRIED
@given(st.lists(names, max_size=5))
@example(["<script>", "<img src=x onerror=y>", "\"><svg/onload=z>", "' style='", "<template>", "<!--", "]]>"])
def test_names_make_no_markup(listed):
    """Whatever the names, the page has the elements and attributes of one with plain names."""
    def shape(parsed):
        return [(tag, sorted(attributes)) for tag, attributes in parsed.elements]
    plain = [Entry("x", OTHER, None, 0) for _ in listed]
    target = "/" + "/".join(url(name)[2:] for name in listed) + "/"
    level = "/x" * len(listed) + "/"
    odd = taken([Entry(name, OTHER, None, 0) for name in listed], target)
    assert shape(odd) == shape(taken(plain, level))
    assert {tag for tag, _ in odd.elements} & {"script", "style"} == {"script", "style"}


def test_what_rows_say():
    listed = [Entry("d", FOLDER, None, 0), Entry("a.png", FILE, 1500, 1_764_360_949_123), Entry("l", BROKEN, None, 0, True),
              Entry("p", OTHER), Entry("late", FILE, 0, 10 ** 18), Entry("early", FILE, None, -10 ** 18)]
    parsed = taken(listed)
    assert [row["cells"][1:] for row in parsed.rows] == [
        ["", "1970-01-01 00:00"], ["1.5 kB", "2025-11-28 20:15"], ["broken link", "1970-01-01 00:00"], ["", ""],
        ["0 B", ""], ["", ""]]
    assert all(row["tr"]["role"] == "row" for row in parsed.rows)


def test_thumbnails_are_for_small_images_that_browsers_show():
    def pictures(*entries, **options):
        rows = taken(entries, **options).rows
        return [row["img"] and row["img"]["src"] for row in sorted(rows, key=lambda row: int(row["tr"]["data-n"]))]
    limit = page.THUMBNAIL_SIZE
    assert pictures(Entry("a b.png", FILE, limit), Entry("b.png", FILE, limit + 1), Entry("c.heic", FILE, 9),
                    Entry("d.png", FILE, 0), Entry("e.png", FILE), Entry("f.png", FOLDER), Entry("g.svg", FILE, 9)) == [
        "./a%20b.png", None, None, None, None, None, "./g.svg"]
    assert pictures(Entry("a.png", FILE, 10), thumbnails=9) == [None]
    row, = taken([Entry("b.png", FILE, limit + 1)]).rows
    assert "data-view" in row["a"]
    picture = taken([Entry("a.png", FILE, 1)]).rows[0]["img"]
    assert picture["loading"] == "lazy" and picture["alt"] == ""


@pytest.mark.parametrize("octets, text", [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1234, "1.2 kB"), (9949, "9.9 kB"), (9950, "10 kB"), (99_499, "99 kB"),
    (999_499, "999 kB"), (999_500, "1.0 MB"), (34_000_000, "34 MB"), (10 ** 9, "1.0 GB"), (10 ** 12, "1.0 TB"),
    (10 ** 15, "1.0 PB"), (1 << 63, "9.2 EB"), (1 << 70, "1181 EB"),
])
def test_sizes(octets, text):
    assert page.size_text(octets) == text


# ---------------------------------------------------------------- around the rows

@UNHURRIED
@given(st.lists(names.filter(lambda name: name not in (".", "..")), max_size=4), st.sampled_from(["", "?sort=size", "#x?y"]))
def test_breadcrumbs_lead_to_the_folders_on_the_way(path, rest):
    segments = [url(name)[2:] for name in path]
    base = "http://host/prefix" + "".join("/" + segment for segment in segments) + "/"
    parsed = taken([], "/" + "".join(segment + "/" for segment in segments) + rest, home="Home")
    crumbs = [link for link in links(parsed) if link.startswith("../")]
    up = crumbs.pop() if path else None     # the row "Parent folder"
    assert up == ("../" if path else None)
    assert [urljoin(base, crumb) for crumb in crumbs] == [
        "http://host/prefix/" + "".join(segment + "/" for segment in segments[:level]) for level in range(len(segments))]
    assert parsed.texts["bdi"][:len(path) + 1] == ["Home", *map(readable, path)]
    assert parsed.texts["title"] == [readable(path[-1]) if path else "Home"]


def test_empty_segments_count_as_levels():
    # "/", "/a/" and, in the row of the parent folder, "/a//". Browsers go up by segments (RFC 3986, 5.2.4).
    assert [link for link in links(taken([], "/a//b/")) if link.startswith("../")] == ["../../../", "../../", "../"]


def columns(target):
    parsed = taken([Entry("a", FILE)], target)
    heads = [attributes for tag, attributes in parsed.elements if tag == "th" and "data-sort" in attributes]
    # The first link skips to the list; the next ones are the columns'.
    return [(head["data-sort"], head.get("aria-sort")) for head in heads], list(map(Query.of, links(parsed)[1:4]))


def test_columns_sort_by_links():
    heads, queries = columns("/")
    assert heads == [("name", "ascending"), ("size", None), ("modified", None)]
    assert queries == [Query("name", "desc"), Query("size", "desc"), Query("modified", "desc")]
    heads, queries = columns("/?sort=size&order=desc")
    assert heads == [("name", None), ("size", "descending"), ("modified", None)]
    assert queries == [Query("name"), Query("size", "asc"), Query("modified", "desc")]


def test_the_filter_is_kept_and_keeps():
    listed = [Entry("b \"q\"&.txt", FILE, 1), Entry("other", FILE, 2)]
    parsed = taken(listed, "/?filter=%22q%22%26&sort=size&order=desc")
    inputs = {attributes.get("name"): attributes for tag, attributes in parsed.elements if tag == "input"}
    assert [row["cells"][0] for row in parsed.rows] == ["b \"q\"&.txt"]
    assert inputs["filter"]["value"] == '"q"&'
    assert (inputs["sort"]["value"], inputs["order"]["value"]) == ("size", "desc")
    back, = [attributes["href"] for tag, attributes in parsed.elements if attributes.get("id") == "unfiltered"]
    assert Query.of(back) == Query("size", "desc")
    # The columns', the plain list's and JSON's.
    assert [Query.of(link).filter for link in links(parsed) if "?" in link and link != back] == ['"q"&'] * 5
    assert b'id="unfiltered"' not in rendered(listed)


def test_summary():
    def summary(listed, target="/"):
        return next(text for text in taken(listed, target).texts["p"] if re.match(r"[\d,]+ (folder|file)s?, ", text))
    many = [Entry("d", FOLDER), *(Entry(f"{number}.x", FILE, 1000) for number in range(2000))]
    assert summary(many) == "1 folder, 2,000 files, 2.0 MB"
    assert summary([]) == "0 files, 0 B"
    assert summary([Entry("a", FILE, 1), Entry("b", FILE, 1)], "/?filter=a") == "1 file, 1 B of 2 entries"
    assert summary(Folder([Entry("a", FILE, 1)], True)) == "1 file, 1 B. There are more: only 1 were read."


def test_what_stands_where_no_rows_are():
    assert "This folder is empty." in taken([]).texts["p"]
    assert "Nothing here has that in its name." in taken([Entry("a", FILE)], "/?filter=b").texts["p"]
    assert not {"This folder is empty.", "Nothing here has that in its name."} & set(taken([Entry("a", FILE)]).texts["p"])


# ---------------------------------------------------------------- the policy, and that the page keeps it

@pytest.mark.parametrize("uploads", [False, True])
def test_the_policy_names_the_one_style_and_the_one_script(uploads):
    parsed = taken([Entry("a", FILE)], uploads=uploads)
    for tag in ("script", "style"):
        text, = parsed.texts[tag]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy(uploads)[f"{tag}-src"] == [f"'sha256-{digest}'"]
        assert len(text) > 1000


def test_the_policy_allows_nothing_else():
    for uploads in (False, True):
        directives = policy(uploads)
        del directives["script-src"], directives["style-src"]
        assert directives.pop("connect-src", None) == (["'self'"] if uploads else None)
        assert directives == {
            "default-src": ["'none'"], "img-src": ["'self'", "data:"], "form-action": ["'self'"], "base-uri": ["'none'"],
            "frame-ancestors": ["'self'"], "require-trusted-types-for": ["'script'"], "trusted-types": ["'none'"]}
    assert dict(page.headers())["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("uploads", [False, True])
def test_nothing_from_elsewhere_and_nothing_inline(uploads):
    parsed = taken([Entry("a.png", FILE, 5, 0), Entry("d", FOLDER)], "/a/?filter=", uploads=uploads)
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("href", "src", "action", "srcset", "data", "poster", "formaction", "xlink:href"):
            if attributes.get(name) is not None and attributes[name]:
                assert re.match(r"\./|\.\./|#|data:image/svg\+xml,", attributes[name]), (tag, attributes)
    style, = parsed.texts["style"]
    assert set(re.findall(r"url\(\"(.{5})", style)) == {"data:"} and "@import" not in style
    assert "http" not in re.sub(r"xmlns='http://www\.w3\.org/2000/svg'", "", style)


def test_the_script_makes_no_markup_of_strings():
    script, = taken([]).texts["script"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|eval\(|Function\(|setAttribute\(\"on", script)


def test_nothing_is_left_of_what_is_filled_in():
    for uploads in (False, True):
        text = rendered([Entry("{{title}}", FILE)], uploads=uploads).decode()
        assert re.findall(r"\{\{\w+\}\}", text) == ["{{title}}"]
        assert "<!--" not in text


def test_what_is_for_uploads_is_there_with_uploads_alone():
    def forms(uploads):
        return [attributes for tag, attributes in taken([], uploads=uploads).elements if tag == "form"]
    assert [form["action"] for form in forms(False)] == ["./"]
    form = forms(True)[1]
    assert (form["method"], form["action"], form["enctype"]) == ("post", "./?upload", "multipart/form-data")


@pytest.mark.parametrize("name, end", [("page.css", "</style"), ("page.js", "</script")])
def test_parts_do_not_end_early_and_lose_only_comments(name, end):
    """Lines that are nothing but comments, and indentation, are taken out: no text may span lines."""
    text = resources.files("turboserver.files").joinpath(name).read_text("utf-8")
    assert end not in text.lower() and "<!--" not in text
    for line in text.splitlines():
        assert line.count("`") % 2 == 0 and line.count('"') % 2 == 0, line
        assert line.count("/*") == line.count("*/"), line


def test_the_parts_are_in_wheel_and_sdist():
    parts = [path.name for path in (ROOT / "src/turboserver/files").iterdir() if path.suffix in (".html", ".css", ".js")]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["turboserver.files"]
    assert sorted(parts) == sorted(declared) == ["page.css", "page.html", "page.js"]
    patterns = re.search("^recursive-include src (.*)$", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE)[1].split()
    assert all(any(fnmatch.fnmatch(part, pattern) for pattern in patterns) for part in parts)


# ---------------------------------------------------------------- blocks and memory

MANY = 50_000


@pytest.fixture(scope="module")
def many():
    return Folder([Entry(f"file number {number}.txt", FILE, number, number * 1000) for number in range(MANY)])


@pytest.mark.parametrize("target", ["/", "/?sort=size&order=desc"])
def test_fifty_thousand_entries_in_blocks(many, target):
    total = largest = rows = 0
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for block in page.render(many, target, Query.of(target)):
            total += len(block)
            largest = max(largest, len(block))
            rows += block.count(b"<tr ")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == MANY + 1     # the head of the table is one
    assert largest < 64 * 1024
    assert peak - before < 60 * MANY < total / 4     # ranks, which are numbers; not rows


def test_json_of_fifty_thousand_entries_in_blocks(many):
    tracemalloc.start()
    try:
        sizes = [len(block) for block in as_json.as_json(many, "/", Query())]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(sizes) < 64 * 1024
    assert peak < 60 * MANY < sum(sizes)


def test_the_head_comes_before_any_row_is_made(many):
    """Only what the first block holds is asked for; nothing was there to be asked for more."""
    made = []

    class Entries(list):
        def __getitem__(self, rank):
            made.append(rank)
            return many.entries[rank]
    content = Folder(Entries(many.entries))
    blocks = page.render(content, "/", Query())
    made.clear()        # the summary looks at all of them
    assert next(blocks).startswith(b"<!doctype html>")
    assert len(made) <= 100


# ---------------------------------------------------------------- JSON

def as_object(listed, target="/"):
    content = listed if isinstance(listed, Folder) else Folder(list(listed))
    return json.loads(b"".join(as_json.as_json(content, target, Query.of(target))).decode("utf-8"))


def test_json():
    listed = [Entry("d", FOLDER, None, 0), Entry("caf\udce9\n", FILE, 5, 1_764_360_949_123, True), Entry("l", BROKEN),
              Entry("p", OTHER, None, 10 ** 18)]
    assert as_object(listed, "/a%20b/c%E9/?format=json") == {
        "path": "/a b/c\ufffd/", "more": False, "entries": [
            {"name": "d", "type": "folder", "size": None, "modified": "1970-01-01T00:00:00.000Z", "url": "./d/"},
            {"name": "caf\ufffd\n", "type": "file", "size": 5, "modified": "2025-11-28T20:15:49.123Z", "url": "./caf%E9%0A"},
            {"name": "l", "type": "link", "size": None, "modified": None, "url": "./l"},
            {"name": "p", "type": "other", "size": None, "modified": None, "url": "./p"}]}
    assert as_object(Folder([], True)) == {"path": "/", "more": True, "entries": []}
    assert dict(as_json.headers())["Content-Type"] == "application/json"


@UNHURRIED
@given(st.lists(entries, max_size=8), queries)
def test_json_has_the_entries_of_the_page(listed, query):
    content = Folder(listed)
    result = json.loads(b"".join(as_json.as_json(content, "/", query)))["entries"]
    assert [item["url"] for item in result] == [row["a"]["href"] for row in Taken(b"".join(page.render(content, "/", query))).rows]
    for item, rank in zip(result, content.order(query), strict=True):
        entry = listed[rank]
        assert (item["name"], item["type"], item["size"]) == (decoded(entry.name), entry.type, entry.size)
        assert item["modified"] is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["modified"])
        assert os.fsencode(name_of(item["url"][2:].removesuffix("/"))) == os.fsencode(entry.name)
