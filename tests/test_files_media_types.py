"""turboserver.files.media_types: what a file is, by its name."""
import http.server
import mimetypes
import os
import re

import pytest

from turboserver.files import media_types
from turboserver.files.media_types import TYPES, MediaType, media_type

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=300, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))


@pytest.fixture(autouse=True)
def no_system(monkeypatch):
    """mimetypes as it comes, without what this system knows."""
    monkeypatch.setattr(mimetypes, "_db", mimetypes.MimeTypes())


@pytest.mark.parametrize("name, content_type, compressible", [
    ("index.html", "text/html; charset=utf-8", True), ("a.htm", "text/html; charset=utf-8", True), ("a.css", "text/css; charset=utf-8", True),
    ("a.js", "text/javascript; charset=utf-8", True), ("a.mjs", "text/javascript; charset=utf-8", True), ("a.json", "application/json", True),
    ("a.js.map", "application/json", True), ("a.webmanifest", "application/manifest+json", True), ("a.wasm", "application/wasm", True),
    ("a.svg", "image/svg+xml", True), ("a.xml", "text/xml", True), ("a.xhtml", "application/xhtml+xml", True), ("a.md", "text/markdown; charset=utf-8", True),
    ("a.toml", "application/toml", True), ("a.txt", "text/plain; charset=utf-8", True), ("a.csv", "text/csv; charset=utf-8", True),
    ("a.avif", "image/avif", False), ("a.webp", "image/webp", False), ("a.jxl", "image/jxl", False), ("a.png", "image/png", False),
    ("a.jpg", "image/jpeg", False), ("a.ico", "image/vnd.microsoft.icon", True), ("a.bmp", "image/bmp", True), ("a.woff2", "font/woff2", False), ("a.woff", "font/woff", False),
    ("a.ttf", "font/ttf", True), ("a.opus", "audio/ogg", False), ("a.mp4", "video/mp4", False), ("a.webm", "video/webm", False), ("a.pdf", "application/pdf", False),
    ("a.zip", "application/zip", False), ("a.tar", "application/x-tar", True), ("a.gz", "application/gzip", False), ("a.tar.gz", "application/gzip", False),
    ("a.tgz", "application/gzip", False), ("a.js.gz", "application/gzip", False), ("a.js.br", "application/octet-stream", False), ("a.zst", "application/zstd", False),
    ("a.tar.bz2", "application/x-bzip2", False), ("a.tar.xz", "application/x-xz", False), ("a.Z", "application/octet-stream", False),
    ("README", "application/octet-stream", False), ("a.", "application/octet-stream", False), (".html", "application/octet-stream", False),
    (".config.html", "text/html; charset=utf-8", True), ("a.unknown", "application/octet-stream", False), ("a.html.unknown", "application/octet-stream", False),
    ("a b.html", "text/html; charset=utf-8", True), ("folder.html/file", "application/octet-stream", False), ("folder/file.html", "text/html; charset=utf-8", True),
    ("\udcff.html", "text/html; charset=utf-8", True), ("", "application/octet-stream", False), ("a.html\n", "application/octet-stream", False)])
def test_types(name, content_type, compressible):
    assert media_type(name) == MediaType(content_type, None, compressible)


@pytest.mark.parametrize("name", ["a.HTML", "A.Html", "a.hTmL"])
def test_case_does_not_count(name):
    assert media_type(name) == media_type("a.html")


def test_every_entry_whatever_its_case():
    for extension, kind in TYPES.items():
        assert extension == extension.lower() and re.fullmatch("[a-z]+/[a-z0-9.+-]+", kind), extension
        assert media_type("x" + extension.upper()) == media_type("x" + extension)
        assert media_type("x" + extension).content_type.partition(";")[0] == kind


def test_pictures_that_are_stored_compressed():
    assert media_type("a.svgz") == MediaType("image/svg+xml", "gzip", False)


def test_a_charset_is_said_for_text_alone():
    """Not for what says it itself, or has no such parameter (RFC 7303, RFC 8259)."""
    for extension in TYPES:
        content_type = media_type("x" + extension).content_type
        assert ("charset" in content_type) is (content_type.startswith("text/") and extension != ".xml"), extension
    assert media_type("a.html", charset=None).content_type == "text/html"
    assert media_type("a.html", charset="iso-8859-1").content_type == "text/html; charset=iso-8859-1"
    assert media_type("a.x", more={".x": "text/xml"}) == MediaType("text/xml", None, True)


def test_names_that_look_like_something_else():
    """mimetypes takes URLs, and would believe what a name says."""
    for name in ("data:text/html,x", "data:text/html;base64,a.unknown", "http://host/a.unknown?b.html", "a.unknown?.css#.html", "a.unknown;b"):
        assert media_type(name).content_type in ("application/octet-stream", "text/html; charset=utf-8")
        assert ("html" in media_type(name).content_type) is name.endswith(".html")


def test_what_mimetypes_knows(monkeypatch):
    assert media_type("a.tex").content_type == "application/x-tex"
    assert media_type("a.vcf").content_type == "text/x-vcard; charset=utf-8"
    mimetypes.add_type("application/x-new", ".new")
    assert media_type("a.new") == MediaType("application/x-new", None, False)
    # A system's files may have anything.
    for wrong in ("no type", "a/b\r\nX: y", "a/b c", "\u00e9/b", ""):
        monkeypatch.setattr(mimetypes, "guess_type", lambda name, wrong=wrong: (wrong, None))
        assert media_type("a.odd").content_type == "application/octet-stream"
    monkeypatch.setattr(mimetypes, "guess_type", lambda name: ("text/plain", "compress"))
    assert media_type("a.odd").content_type == "application/octet-stream"


def test_more_types_come_first():
    more = {".html": "text/x-own", ".x": 'text/plain; charset="utf-16"', ".svgz": "application/x-own", ".y": "application/x-own+json"}
    assert media_type("a.HTML", more=more) == MediaType("text/x-own", None, True)
    assert media_type("a.x", more=more) == MediaType('text/plain; charset="utf-16"', None, True)
    assert media_type("a.svgz", more=more) == MediaType("application/x-own", None, False)
    assert media_type("a.y", more=more) == MediaType("application/x-own+json", None, True)
    assert media_type("a.css", more=more) == media_type("a.css")
    for wrong in ("html", "text/", "/html", "text/html\r\nX: y", "text/html;", "text/html; charset", 'a/b; c="\n"', ""):
        with pytest.raises(ValueError, match="is no media type"):
            media_type("a.x", more={".x": wrong})


def test_as_http_server_has_it():
    """The same type as the original's, where that is one that browsers take today."""
    handler = object.__new__(http.server.SimpleHTTPRequestHandler)
    handler.extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map
    names = ["a" + extension for extension in {**mimetypes.types_map, **handler.extensions_map, **TYPES}]
    names += ["a.tar.gz", "a.tar.Z", "a.tar.bz2", "a.tar.xz", "README", "a.unknown", "folder/a.html", ".bashrc"]
    different = {os.path.splitext(name)[1]: handler.guess_type(name) for name in names
                 if media_type(name).content_type.partition(";")[0] != handler.guess_type(name)}
    # Names that it does not know in this version are no difference, they are why the table is there.
    known = {extension for extension, kind in different.items() if kind != media_types.DEFAULT}
    # RFC 9239 and RFC 7845 are younger than Python 3.11's table; and a compressed archive is no plain one.
    assert known - {".js", ".mjs"} == {".opus", ".wav", ".tgz", ".taz", ".tbz2", ".txz"}


@SETTINGS
@hypothesis.given(st.one_of(st.text(max_size=20), st.builds(lambda name, extension: name + extension, st.text(max_size=5), st.sampled_from(sorted(TYPES)))))
def test_whatever_the_name_it_is_a_field(name):
    found = media_type(name)
    assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?", found.content_type) and found.coding in (None, "gzip")
    assert media_type("folder/" + name) == found or "/" in name or not name.strip(".")
    # What http.server calls the extension is what counts.
    assert os.path.splitext(name)[1] or found == MediaType(media_types.DEFAULT, None, False)
