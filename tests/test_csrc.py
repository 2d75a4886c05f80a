"""Builds and runs the tests of csrc/, one case for each file and sanitizer group.

Every ``tests/c/test_*.c`` says in its first comment line what it needs, in parts separated by ``;``::

    /* units: scan.c scan_simd.c; sanitizers: address,undefined | thread; libs: -lpthread; flags: -DX=1

``units`` are files of csrc/, linked in; ``sanitizers`` are groups separated by ``|``, one build each (``none`` is a
plain build); ``libs`` and ``flags`` are optional. The program runs in the root of the repository and passes by
exiting with 0. ``CC`` and ``CFLAGS`` in the environment choose another compiler and add options.

A unit that several programs link with the same options is compiled once a run: that was most of the time.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
SOURCES = sorted((ROOT / "tests" / "c").glob("test_*.c"))
COMPILER = shlex.split(os.environ.get("CC") or "cc")
RUN_SECONDS = 300  # a sanitizer on a busy machine of few cores; more is a hang

pytestmark = pytest.mark.skipif(
    shutil.which(COMPILER[0]) is None, reason=f"no C compiler: {COMPILER[0]!r} is not on PATH"
)


def needs_of(source):
    """What the first line of `source` (a Path) asks for: dict of str to str; ValueError if that makes no sense."""
    with source.open(encoding="utf-8") as lines:
        first = lines.readline().strip()
    if not first.startswith("/*"):
        raise ValueError(f"{source}: the first line is no comment")
    needs = {}
    for part in first.removeprefix("/*").removesuffix("*/").split(";"):
        if part.strip():
            key, colon, value = part.partition(":")
            if not colon or key.strip() not in {"units", "sanitizers", "libs", "flags"}:
                raise ValueError(f"{source}: not understood in the first line: {part.strip()!r}")
            needs[key.strip()] = value.strip()
    if not needs.get("units"):
        raise ValueError(f"{source}: the first line names no units")
    return needs


def cases():
    for source in SOURCES:
        for group in needs_of(source).get("sanitizers", "none").split("|"):
            group = group.replace(" ", "")
            yield pytest.param(source, group, id=f"{source.stem}-{group}")


def run(command, **options):
    return subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        check=False, **options,
    )


def sanitizer_works(sanitize, tmp_path):
    """Whether an empty program can be built and started so: a library may be missing, or the kernel in its way."""
    source = tmp_path / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    program = tmp_path / "empty"
    built = run([*COMPILER, *sanitize, source, "-o", program])
    return built.returncode == 0 and run([program]).returncode == 0


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """A folder for object files, the same one in all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "csrc-objects"
    folder.mkdir(exist_ok=True)
    return folder


def compiled(unit, command, objects):
    """The object file of a unit (a Path); `command` is the compiler with its options."""
    key = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:16]
    made = objects / f"{unit.stem}-{key}.o"
    if not made.exists():
        # Two workers may be at it, and none is to find half of one.
        mine = objects / f"{made.name}.{os.getpid()}"
        built = run([*command, "-c", unit, "-o", mine])
        assert built.returncode == 0, f"{unit} does not build:\n{built.stdout}"
        mine.replace(made)
    return made


@pytest.mark.parametrize(("source", "group"), list(cases()))
def test_c(source, group, tmp_path, objects):
    needs = needs_of(source)
    sanitize = []
    if group != "none":
        sanitize = [f"-fsanitize={group}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
        if not sanitizer_works(sanitize, tmp_path):
            pytest.skip(f"{COMPILER[0]} cannot build or run -fsanitize={group} here")
    program = tmp_path / source.stem
    command = [
        *COMPILER, "-std=gnu11", "-g", "-O1", "-DTS_DEBUG", f"-I{CSRC}", *sanitize,
        *shlex.split(os.environ.get("CFLAGS", "")), *shlex.split(needs.get("flags", "")),
    ]  # fmt: skip
    built = run([
        *command, source, *(compiled(CSRC / unit, command, objects) for unit in needs["units"].split()),
        "-o", program, *shlex.split(needs.get("libs", "")),
    ])  # fmt: skip
    assert built.returncode == 0, f"does not build:\n{built.stdout}"
    ran = run([program], cwd=ROOT, timeout=RUN_SECONDS)
    assert ran.returncode == 0, f"exit status {ran.returncode}:\n{ran.stdout[-20000:]}"


def test_every_unit_named_exists():
    for source in SOURCES:
        for unit in needs_of(source)["units"].split():
            assert re.fullmatch(r"[\w./-]+\.c", unit) and (CSRC / unit).is_file(), f"{source}: no unit {unit}"
