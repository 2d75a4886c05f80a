"""Which check a block has: a function of its page's module, by the block's name; or what every line of a shell says.

    checks = Checks("docs/handlers.md")

    @checks("stream.py")
    def streams(stage): ...

What may not live here: what a page's programs are to do (page_*.py).
"""

import re
import shlex
import subprocess
import tomllib

from packaging.requirements import Requirement

from .blocks import ROOT, blocks, pages
from .stage import need

#: page -> {name of a block: its check}
_OF_PAGES = {}


class Checks:
    """A decorator for the checks of one page. A block's check gets a Stage."""

    def __init__(self, page):
        self._checks = _OF_PAGES.setdefault(page, {})

    def __call__(self, *names):
        def register(check):
            for name in names:
                assert name not in self._checks, name
                self._checks[name] = check
            return check
        return register


def without_block():
    """Checks of blocks that are no longer there."""
    there = {(page, block.name) for page in pages() for block in blocks(page)}
    return sorted({(page, name) for page, checks in _OF_PAGES.items() for name in checks} - there)


def check_of(block):
    """A function of a Stage, or None: nobody checks this block."""
    if block.name:
        return _OF_PAGES.get(block.page, {}).get(block.name)
    return _each_line if block.language == "sh" else None


# ---- shell without a name: each line is a command that is known here ----------------

def _each_line(stage):
    for line in lines(stage.block):
        check_line(stage, line)


def lines(block):
    """The commands of a shell block, without comments, after bash has looked at all of it."""
    subprocess.run([need("bash"), "-n"], input=block.text, text=True, check=True, capture_output=True)
    joined = block.text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if shlex.split(line, comments=True)]


def check_line(stage, line):
    words = shlex.split(line, comments=True)
    if words[:1] in (["python"], ["python3"]) and words[1:2] == ["-m"]:
        words = words[2:]
    known = {"pip": _pip, "make": _make, "turboserver": _turboserver, "python": _python,
             ".venv/bin/python": _pytest}.get(words[0])
    assert known, f"{stage.block.id}: nobody checks `{line}`"
    known(stage, words)


def _pip(stage, words):
    """An install of this project, as it is called and with extras that it has."""
    assert words[1] == "install", words
    with open(f"{ROOT}/pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    asked = [word for word in words[2:] if not word.startswith("-")]
    assert set(words[2:]) - set(asked) <= {"--no-binary", "--no-cache-dir", "-r"}, words
    for word in asked:
        if word.endswith(".txt"):
            continue
        requirement = Requirement(word)
        assert requirement.name == project["name"], words
        assert requirement.extras <= set(project["optional-dependencies"]), words


def _make(stage, words):
    """A target that there is, with variables that the Makefile knows."""
    with open(f"{ROOT}/Makefile") as file:
        makefile = file.read()
    for word in words[1:]:
        variable, equals, _ = word.partition("=")
        if equals:
            assert re.search(rf"^{re.escape(variable)} \?=", makefile, re.M), words
        else:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.M), words


def _python(stage, words):
    """A program of the repository, asked for its help."""
    assert words[2:] == ["--help"], words
    stage.run(f"python {shlex.quote(f'{ROOT}/{words[1]}')} --help")


def _pytest(stage, words):
    """The tests that are named are there."""
    assert words[1:3] == ["-m", "pytest"], words
    stage.run(f"cd {shlex.quote(ROOT)} && ls {shlex.join(word for word in words[3:] if not word.startswith('-'))}")


def _turboserver(stage, words):
    """The command is started, asked, and ended."""
    kind = words[1] if words[1:2] in (["wsgi"], ["run"], ["explain"]) else "folder"
    if kind == "wsgi":
        stage.write("package/__init__.py", "")
        stage.write("package/module.py", APPLICATION)
        if not {"-b", "--bind", "-p", "--port", "--unix"} & set(words):
            words += ["-p", "8000"]
        stage.start(shlex.join(words))
        assert stage.curl("-i http://127.0.0.1:8000/there").endswith("/there")
        for word in words:
            if word.startswith("unix:"):
                assert stage.curl(f"--unix-socket {word[5:]} http://a/there").endswith("/there")
        stage.stop_all()
        if "--access-log" in words and (stage.folder / "access.log").exists():
            assert '"GET /there HTTP/1.1" 200' in (stage.folder / "access.log").read_text()
    elif kind == "folder":
        for name in ("site", "dist", "."):
            stage.write(f"{name}/index.html", "<p>the page</p>")
        stage.start(shlex.join([*words, "-p", "8000"]))
        tls = "--tls-self-signed" in words
        credentials = f"-u {words[words.index('--auth') + 1]}" if "--auth" in words else ""
        url = f"{'https' if tls else 'http'}://127.0.0.1:8000/"
        assert stage.curl(f"-k {credentials} {url}") == "<p>the page</p>"
        if credentials:
            assert stage.curl(f"-k -o /dev/null -w '%{{http_code}}' {url}") == "401"
        stage.stop_all()
    else:
        raise AssertionError(f"{stage.block.id}: {words} is to have a check of its own")


APPLICATION = '''
def app(environ, start_response):
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def create_app():
    return app
'''


def run_transcript(stage):
    """A check for a console block whose commands need nothing beside them."""
    stage.transcript()


__all__ = ["APPLICATION", "Checks", "check_line", "check_of", "lines", "run_transcript", "without_block"]
