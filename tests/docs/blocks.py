"""The blocks of code in the documents, what is said in line, and the tables: found by markdown-it, not by patterns.

A fenced block's first line is its language and its name: ```python stream.py. The name is how tests find it, and where
it is a file the name it has in the folder that a page's programs run in (stage.py).

What may not live here: what becomes of a block.
"""

import dataclasses
import functools
import os

from markdown_it import MarkdownIt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: Where `make docs` has its environment.
DOCS_ENV = os.path.join(ROOT, "build", "docs-env")

#: Written by a program (`make field`): what stands there are results.
_MADE = ("docs/field.md",)


@dataclasses.dataclass(frozen=True)
class Block:
    page: str           # from the root of the repository
    line: int
    language: str       # "" for one that is indented
    name: str           # "" without one
    text: str

    @property
    def id(self):
        return f"{self.page}:{self.name or self.line}"


@functools.cache
def pages():
    """All documents whose blocks are checked."""
    found = ["README.md", "CONTRIBUTING.md"]
    for folder, _, names in os.walk(os.path.join(ROOT, "docs")):
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names if name.endswith(".md")]
    return sorted(set(found) - set(_MADE))


@functools.cache
def text_of(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


@functools.cache
def _tokens(page):
    return MarkdownIt("commonmark").enable("table").parse(text_of(page))


@functools.cache
def blocks(page):
    """Each Block of a page, in its order. What Sphinx is told ({toctree}, {eval-rst}) is no code."""
    found = []
    for token in _tokens(page):
        if token.type == "fence":
            language, _, name = token.info.strip().partition(" ")
            if not language.startswith("{"):
                found.append(Block(page, token.map[0] + 1, language, name.strip(), token.content))
        elif token.type == "code_block":
            found.append(Block(page, token.map[0] + 1, "", "", token.content))
    return found


@functools.cache
def inline_code(page):
    """Each `piece` of code in the text and in the tables of a page."""
    return [child.content for token in _tokens(page) for child in token.children or () if child.type == "code_inline"]


@functools.cache
def links(page):
    """Where the links and pictures of a page lead."""
    return [child.attrs["href" if child.type == "link_open" else "src"]
            for token in _tokens(page) for child in token.children or () if child.type in ("link_open", "image")]


@functools.cache
def headings(page):
    """The texts of the headings of a page, without markup, in their order."""
    tokens = _tokens(page)
    return ["".join(child.content for child in following.children if child.type in ("text", "code_inline"))
            for token, following in zip(tokens, tokens[1:]) if token.type == "heading_open"]


def tables(page):
    """(heading above it, rows) of each table; a row is its cells, as Markdown, the head left out."""
    found, heading, rows = [], "", None
    tokens = _tokens(page)
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[at + 1].content
        elif token.type == "tbody_open":
            rows = []
            found.append((heading, rows))
        elif token.type == "tr_open" and rows is not None:
            rows.append([])
        elif token.type == "td_open":
            rows[-1].append(tokens[at + 1].content)
        elif token.type == "table_close":
            rows = None
    return found
