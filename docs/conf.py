"""How Sphinx makes the pages: `make docs`, with warnings as errors and without a network.

Markdown by MyST, the reference from docstrings by autodoc. Links to files of the repository lead to their page where
they have one (PAGES), and are a plain file name elsewhere; a link to what does not exist fails the build. Links into Python's own
documentation are looked up where DOCS_INTERSPHINX is set, which needs a network.

What may not live here: text of a page.
"""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "src"))

import turboserver  # noqa: E402
from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.util import logging  # noqa: E402

if not turboserver.accelerated:
    raise SystemExit("docs: the engine is not built for this Python, and the reference would be the standard library's")

project = "turboserver"
author = copyright = "the turboserver authors"
release = version = turboserver.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"turboserver {release}"
myst_heading_anchors = 4
default_role = "literal"
autodoc_typehints = "description"
autodoc_mock_imports = ["gunicorn"]

if os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {"python": ("https://docs.python.org/3", None)}

#: Files of the repository that are pages: each page is the file's text.
PAGES = {"architecture": "ARCHITECTURE.md", "promises": "SECURITY.md", "changelog": "CHANGELOG.md",
         "contributing": "CONTRIBUTING.md"}
_DOCUMENTS = {os.path.join(ROOT, name): page for page, name in PAGES.items()}
_DOCUMENTS[os.path.join(ROOT, "README.md")] = "index"

_link = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_fence = re.compile(r"^(```+|~~~+).*?^\1\s*?$", re.M | re.S)


def read_page(app, docname, source):
    """The page's text, with links that Sphinx can follow."""
    folder = os.path.dirname(app.env.doc2path(docname))
    if docname in PAGES:
        path = os.path.join(ROOT, PAGES[docname])
        folder = ROOT
        app.env.note_dependency(path)
        with open(path, encoding="utf-8") as file:
            source[0] = file.read()

    if docname == "index" and not os.path.exists(os.path.join(HERE, "field.md")):
        # Only `make field` writes that page.
        source[0] = source[0].replace("\nfield\n", "\n")

    def relinked(match):
        image, text, target = match.groups()
        path, _, anchor = target.partition("#")
        if ":" in path or not path:
            return match[0]
        full = os.path.normpath(os.path.join(folder, path))
        if not os.path.exists(full):
            logging.getLogger(__name__).warning("no such file: %s", target, location=docname)
            return text
        if image:
            return f"![{text}]({os.path.relpath(full, HERE)})"
        page = _DOCUMENTS.get(full)
        if page is None and os.path.dirname(full) == HERE:
            page = os.path.splitext(os.path.basename(full))[0]
        if page is None:
            return text if "`" in text else f"`{text}`"
        return f"[{text}]({page}.md{'#' + anchor if anchor else ''})"

    kept, at = [], 0
    for fence in _fence.finditer(source[0]):
        kept += [_link.sub(relinked, source[0][at:fence.start()]), fence[0]]
        at = fence.end()
    source[0] = "".join([*kept, _link.sub(relinked, source[0][at:])])


def plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text: what is aligned stays as it stands, and nothing in the rest is markup but `code`."""
    text, aligned = "\n".join(lines).strip("\n"), []
    for paragraph in re.split(r"\n\s*\n", text):
        rows = paragraph.split("\n")
        if any(row.startswith(" ") or re.search(r"\S {2,}\S", row) for row in rows):
            aligned += ["::", "", *["    " + row for row in rows], ""]
        else:
            aligned += [_escaped(row) for row in rows] + [""]
    lines[:] = aligned


def _escaped(row):
    parts = re.split(r"(`[^`]+`)", row)
    return "".join("`" + part + "`" if part.startswith("`") else re.sub(r"([*|\\]|_(?![A-Za-z0-9]))", r"\\\1", part)
                   for part in parts)


def setup(app):
    app.add_lexer("haproxy", TextLexer)     # Pygments knows none
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", plain_docstring)
