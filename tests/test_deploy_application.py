"""turboserver.deploy.application: from MODULE:APP to an application, and one line for all that can go wrong."""
import os
import re
import sys

import pytest

from turboserver.deploy.application import ApplicationError, load, parse
from turboserver.deploy.signals import Stopped


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, from which modules can be imported and are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("deploy_"):
            del sys.modules[name]


def write(folder, text, name="deploy_it"):
    path = folder / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


APP = "def app(environ, start_response): return [b'plain']\n"


@pytest.mark.parametrize("text, module, path, arguments", [
    ("a:b", "a", ("b",), None),
    ("a.b.c:d.e", "a.b.c", ("d", "e"), None),
    ("a:make()", "a", ("make",), ([], {})),
    ("a:x.make('p', 2, key=[1])", "a", ("x", "make"), (["p", 2], {"key": [1]})),
    ("a: make( )", "a", ("make",), ([], {})),
])
def test_what_is_understood(text, module, path, arguments):
    target = parse(text)
    assert (target.module, target.path, target.arguments) == (module, path, arguments)
    assert str(target) == text


@pytest.mark.parametrize("text", [
    "", "a", ":", "a:", ":b", "a.:b", "a/b.py:c", "1a:b", "a:b[0]", "a:b()()", "a:b(c)", "a:b(**{})", "a:b(*[1])",
    "a:b.", "a:(", "a:b;c", "a:1", "a:b\0", "a b:c"])
def test_what_is_not(text):
    with pytest.raises(ValueError, match="is not of the form MODULE:APP or MODULE:FACTORY"):
        parse(text)


def test_an_application_and_a_dotted_one(folder):
    write(folder, APP + "class holder:\n    inner = app\n")
    import_of_it = load(parse("deploy_it:app"))
    assert import_of_it(None, None) == [b"plain"]
    assert load(parse("deploy_it:holder.inner")) is import_of_it
    assert sys.path[0] == os.getcwd()


def test_the_current_folder_comes_once(folder):
    write(folder, APP)
    load(parse("deploy_it:app"))
    load(parse("deploy_it:app"))
    assert sys.path.count(os.getcwd()) == 1


def test_factories(folder):
    write(folder, "def make(text='x', *, end=''):\n    return lambda environ, start_response: text + end\n")
    assert load(parse("deploy_it:make()"))(None, None) == "x"
    assert load(parse("deploy_it:make('a', end='b')"))(None, None) == "ab"


def test_a_package(folder):
    (folder / "deploy_pack").mkdir()
    write(folder, "", "deploy_pack/__init__")
    write(folder, APP, "deploy_pack/part")
    assert load(parse("deploy_pack.part:app"))(None, None) == [b"plain"]


@pytest.mark.parametrize("source, target, message", [
    (None, "deploy_none:app", r"no module named 'deploy_none', neither in .* nor installed"),
    ("", "deploy_it.part:app", r"no module named 'deploy_it.part', neither in .* nor installed"),
    ("import deploy_missing\n", "deploy_it:app",
     r"cannot import deploy_it: ModuleNotFoundError: No module named 'deploy_missing' \(.*deploy_it.py, line 1\)"),
    ("\n\nx = unknown\n", "deploy_it:app",
     r"cannot import deploy_it: NameError: name 'unknown' is not defined.* \(.*deploy_it.py, line 3\)"),
    ("def f():\n    raise ValueError('two\\nlines')\n\nf()\n", "deploy_it:app",
     r"cannot import deploy_it: ValueError: two lines \(.*deploy_it.py, line 2\)"),
    ("x = 1\ny = (\n", "deploy_it:app", r"cannot import deploy_it: SyntaxError: .* \(.*deploy_it.py, line \d\)"),
    ("class E(Exception):\n    def __str__(self): raise E()\nraise E()\n", "deploy_it:app",
     r"cannot import deploy_it: E \(.*deploy_it.py, line 3\)"),
    ("import sys\nsys.exit(3)\n", "deploy_it:app",
     r"cannot import deploy_it: it wants to end the process \(exit code 3\)"),
    ("", "deploy_it:app", "deploy_it has no attribute 'app'"),
    ("class a: pass\n", "deploy_it:a.b", "deploy_it:a has no attribute 'b'"),
    ("app = 'text'\n", "deploy_it:app",
     "deploy_it:app is no WSGI application but an object of type str, which cannot be called"),
    ("app = None\n", "deploy_it:app", "deploy_it:app is no WSGI application but None, which cannot be called"),
    ("app = 1\n", "deploy_it:app()", "deploy_it:app is no factory but an object of type int"),
    ("def make():\n    return {}['key']\n", "deploy_it:make()",
     r"deploy_it:make\(\) raised KeyError: 'key' \(.*deploy_it.py, line 2\)"),
    ("def make(needed): pass\n", "deploy_it:make()", r"deploy_it:make\(\) raised TypeError: make\(\) missing 1 .*"),
    ("def make(): pass\n", "deploy_it:make()",
     r"deploy_it:make\(\) is no WSGI application but None, which cannot be called"),
    ("def make(): raise SystemExit(2)\n", "deploy_it:make()",
     r"deploy_it:make\(\) wants to end the process \(exit code 2\)"),
    ("async def app(scope, receive, send): pass\n", "deploy_it:app",
     r"deploy_it:app is an ASGI application \(async\), not a WSGI one"),
    ("class A:\n    async def __call__(self, scope, receive, send): pass\napp = A()\n", "deploy_it:app",
     r"deploy_it:app is an ASGI application \(async\), not a WSGI one"),
])
def test_one_line_says_whose_fault_it_is(folder, source, target, message):
    if source is not None:
        write(folder, source)
    with pytest.raises(ApplicationError) as caught:
        load(parse(target))
    text = str(caught.value)
    assert "\n" not in text
    assert re.fullmatch(message, text), text


def test_a_signal_while_it_is_imported_is_no_error_of_the_module(folder):
    write(folder, "from turboserver.deploy.signals import Stopped\nraise Stopped(0)\n")
    with pytest.raises(Stopped):
        load(parse("deploy_it:app"))


def test_interrupts_are_not_caught(folder):
    write(folder, "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load(parse("deploy_it:app"))
