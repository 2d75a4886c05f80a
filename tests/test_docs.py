"""What the documents say in tables, links and in line is what there is: options, attributes and their defaults, files.

The pages as Sphinx makes them are looked at where `make docs` has made its environment (build/docs-env).
"""
import functools
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from docs import blocks  # noqa: E402

ROOT = blocks.ROOT
LINKED = [*blocks.pages(), "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"]


# ---- docs/tune.md beside the code -----------------------------------------------------

#: Heading of a table -> (module, class).
CLASSES = {
    "BaseHTTPRequestHandler": "http.server", "SimpleHTTPRequestHandler": "http.server", "HTTPSServer": "http.server",
    "StreamRequestHandler": "socketserver", "BaseServer": "socketserver", "TCPServer": "socketserver",
    "ThreadingMixIn": "socketserver", "WSGIRequestHandler": "wsgiref.simple_server",
    "WSGIServer": "wsgiref.simple_server", "ServerHandler": "wsgiref.simple_server"}


def class_of(name):
    return getattr(importlib.import_module(f"turboserver.{CLASSES[name]}"), name)


def own(cls):
    """{attribute: value} of what a class adds itself, or of its mixin that adds nothing else."""
    return {name: getattr(cls, name) for base in cls.__mro__ if base is cls or base.__name__ == "TLSMixIn"
            for name in vars(base) if name.startswith("turbo_") or name == "request_queue_size" and base is cls}


def in_words(value):
    """A default as tune.md writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{int(value):,}" if isinstance(value, (int, float)) else None


def tables_of_tune():
    return {heading: {row[0].strip("`"): row for row in rows} for heading, rows in blocks.tables("docs/tune.md")}


@pytest.mark.parametrize("name", CLASSES)
def test_every_attribute_and_no_other(name):
    rows, attributes = tables_of_tune()[name], own(class_of(name))
    assert set(rows) == set(attributes)
    for attribute, value in attributes.items():
        if in_words(value) is not None:
            assert rows[attribute][2] == in_words(value), attribute


def test_no_class_is_left_out():
    """Whatever public class of ours sets a turbo_ attribute has its table, or sets one that has."""
    for module in ("http.server", "socketserver", "wsgiref.simple_server"):
        for name, cls in vars(importlib.import_module(f"turboserver.{module}")).items():
            if isinstance(cls, type) and cls.__module__ == f"turboserver.{module}" and not name.startswith("_"):
                if any(attribute.startswith("turbo_") for attribute in vars(cls)):
                    assert name in CLASSES, name


def test_files_of_a_handler():
    """rfile and wfile have no other methods of ours."""
    stream = importlib.import_module("turboserver._stream")
    there = {name: kind for kind, cls in (("rfile", stream.RequestReader), ("wfile", stream.ResponseWriter))
             for name in dir(cls) if name.startswith("turbo_")}
    rows = tables_of_tune()["The files"]
    assert {name: row[1].strip("`") for name, row in rows.items()} == there


def test_names_in_line_exist():
    """Each `turbo_...` and each option that a page names is there."""
    known = {name for cls in CLASSES for name in own(class_of(cls))} | {"turbo_send_file", "turbo_linger", "turbo_"}
    for page in LINKED:
        for code in blocks.inline_code(page):
            for name in re.findall(r"(?<![_\w])turbo_\w*", code):
                assert name in known, (page, code)


# ---- options -----------------------------------------------------------------------

@functools.cache
def parsers():
    from turboserver.cli import _explain_parser
    from turboserver.deploy.command import _parser as wsgi
    from turboserver.files.arguments import parser as folder
    return {"wsgi": wsgi(), "explain": _explain_parser(), "folder": folder()}


def options_of(parser):
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help", "--version"}


@pytest.mark.parametrize("page, kind", (("docs/folder.md", "folder"), ("docs/wsgi.md", "wsgi")))
def test_every_option_and_no_other(page, kind):
    told = {name for _, rows in blocks.tables(page) for row in rows for code in re.findall(r"`([^`]+)`", row[0])
            for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code + " ") if code.startswith("-")}
    short = {"-H"} if kind == "folder" else set()
    assert told | short == options_of(parsers()[kind])


@pytest.mark.parametrize("page", LINKED)
def test_commands_in_line(page):
    """What is said of a command in the text or in a table names options that it has."""
    for code in blocks.inline_code(page):
        words = shlex.split(code) if code.startswith("turboserver ") else []
        if words[1:2] != ["run"]:
            kind = words[1] if words[1:2] in (["wsgi"], ["explain"]) else "folder"
            assert {word for word in words[1:] if word.startswith("-")} <= options_of(parsers()[kind]), (page, code)


def test_extras():
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        there = set(tomllib.load(file)["project"]["optional-dependencies"]) - {"test"}
    rows = next(rows for heading, rows in blocks.tables("docs/install.md") if heading == "Extras")
    assert {re.search(r"\[(.*)\]", row[0])[1] for row in rows} == there


# ---- links, lengths, pages ---------------------------------------------------------

def slug(heading):
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKED)
def test_links(page):
    for link in blocks.links(page):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        full = os.path.normpath(os.path.join(ROOT, os.path.dirname(page), path)) if path else os.path.join(ROOT, page)
        assert os.path.exists(full), link
        if anchor:
            assert anchor in map(slug, blocks.headings(os.path.relpath(full, ROOT))), link


def test_readme_stays_short():
    """What is longer belongs into docs/."""
    assert blocks.text_of("README.md").count("\n") <= 150
    for target in ("make serve", "make test"):
        assert target in blocks.text_of("README.md")


def test_figures_are_those_of_their_run():
    """The first table of docs/measurements.md is what bench/results/closely.md has, rounded."""
    with open(os.path.join(ROOT, "bench/results/closely.md")) as file:
        text = file.read().partition("## hello:")[2].partition("\n## ")[0]
    measured = {cells[1].strip(" *"): cells[2:] for cells in (line.split("|") for line in text.splitlines())
                if len(cells) > 4}
    names = {"C limit": "limit", "nginx, `return 200`": "nginx", "turboserver `HTTPServer`": "turbo-single",
             "turboserver `ThreadingHTTPServer`": "turbo", "bjoern": "bjoern",
             "standard library, Nagle's algorithm off": "stock-nodelay"}
    rows = next(rows for heading, rows in blocks.tables("docs/measurements.md") if heading == "A short answer")
    assert {row[0] for row in rows} == set(names)
    for name, cpu, ratio, rate in rows:
        cells = measured[names[name]]
        assert float(cells[0].split()[0]) == float(cpu) and float(cells[1]) == float(ratio), name
        measured_rate, told = (float(text.replace(",", "")) for text in (cells[3], rate))
        assert abs(told / measured_rate - 1) < 0.006, name      # to the thousand


@pytest.mark.limit(300)
def test_pages_are_built(tmp_path):
    """Sphinx finds nothing to warn of."""
    python = os.path.join(blocks.DOCS_ENV, "bin", "python")
    version = "python%d.%d" % sys.version_info[:2]
    if not os.path.exists(os.path.join(blocks.DOCS_ENV, "lib", version)):
        pytest.skip("build/docs-env is not there, or for another Python (make docs)")
    done = subprocess.run(
        [python, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", str(tmp_path / "trees"),
         os.path.join(ROOT, "docs"), str(tmp_path / "pages")],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "DOCS_INTERSPHINX": ""}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    for page in blocks.pages():
        if page.startswith("docs/"):
            assert (tmp_path / "pages" / (page[5:-3] + ".html")).exists(), page
