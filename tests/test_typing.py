"""The types that we ship, in short: mypy, strict, over tests/typing, and stubtest. `make types` is the whole.

And what the checks themselves are worth: each of them finds what is put wrong for it.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import turboserver

HERE = Path(__file__).resolve().parent
PACKAGE = Path(turboserver.__file__).resolve().parent

_spec = importlib.util.spec_from_file_location("typing_check", HERE / "typing" / "check.py")
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

pytestmark = [
    # One version is enough for each run of the tests: mypy plays the others, and a stub says what differs.
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="make types checks the types on other versions"),
    pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded, which the stubs describe"),
]


@pytest.fixture(scope="module")
def python():
    try:
        return check.environment()
    except check.Unavailable as reason:
        pytest.skip(str(reason))


def samples():
    return sorted((HERE / "typing" / "samples").glob("*.py"))


@pytest.mark.limit(300)
def test_samples_and_programs_have_the_types_that_they_need(python):
    assert check.mypy(python, "3.11") == ""


@pytest.mark.limit(300)
def test_stubs_say_what_the_modules_have(python):
    assert check.stubtest(python) == ""


@pytest.mark.limit(300)
@pytest.mark.parametrize("name, error", [("handlers", "[assignment]"), ("servers", "[attr-defined]"), ("wsgi", "[arg-type]")])
def test_what_is_wrong_in_a_sample_is_found(python, tmp_path, name, error):
    wrong = {"handlers": ("turbo_max_trailers = 1024", 'turbo_max_trailers = "1024"'),
             "servers": ("server.turbo_max_threads = 20", "server.turbo_most_threads = 20"),
             "wsgi": ('make_server("", 8000, app)', 'make_server("", 8000, access)')}[name]
    text = (HERE / "typing" / "samples" / f"{name}.py").read_text()
    assert wrong[0] in text
    (tmp_path / f"{name}.py").write_text(text.replace(*wrong))
    found = check.run(python, "-m", "mypy", "--config-file", check.ROOT / "pyproject.toml", "--cache-dir",
                      check.BUILD / "mypy", tmp_path / f"{name}.py")
    assert error in found and found.count("error:") == 1, found


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_samples_name_what_is_there(path):
    """What a sample imports and names of ours is there at run time, too: a stub cannot make it up."""
    text = path.read_text()
    imports = re.findall(r"^from (turboserver[\w.]*) import (\([^)]*\)|.*)$", text, re.MULTILINE)
    assert imports or "import turboserver" in text
    for module, names in imports:
        if module == "turboserver.gunicorn":
            pytest.importorskip("gunicorn", reason="gunicorn is not installed")
        found = importlib.import_module(module)
        for name in re.findall(r"\w+", names):
            assert hasattr(found, name) or importlib.import_module(f"{module}.{name}")


def test_every_limit_of_a_class_has_a_type_and_a_sample():
    from turboserver.http.server import BaseHTTPRequestHandler, HTTPSServer, ThreadingHTTPServer
    from turboserver.wsgiref.simple_server import ThreadingWSGIServer, WSGIRequestHandler
    stubs = "".join(path.read_text() for path in PACKAGE.rglob("*.pyi"))
    used = "".join(path.read_text() for path in samples())
    classes = (BaseHTTPRequestHandler, WSGIRequestHandler, ThreadingHTTPServer, HTTPSServer, ThreadingWSGIServer)
    names = {name for cls in classes for name in dir(cls) if name.startswith("turbo_")}
    assert len(names) > 30
    for name in names:
        assert re.search(rf"\b{name}\b", stubs), f"{name} has no type"
        assert re.search(rf"\b{name}\b", used), f"{name} has no sample"


def test_a_wheel_has_the_stubs(tmp_path):
    """Built without the engine, which takes a second: what stands in the package is the same."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 is not installed")
    copy = tmp_path / "source"
    shutil.copytree(check.ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(check.ROOT / name, copy)
    done = subprocess.run([sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('.')"],
                          cwd=copy, env={**os.environ, "TURBOSERVER_PURE": "1"}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    wheel, = copy.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        inside = {name.partition("/")[2] for name in file.namelist() if name.startswith("turboserver/")}
    stubs = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.pyi")}
    assert stubs | {"py.typed"} <= inside
