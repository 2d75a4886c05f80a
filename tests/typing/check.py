"""Whether the types that turboserver ships are right: `make types`.

    python tests/typing/check.py [--short] [--without-pyright]
    python tests/typing/check.py --prepare

    samples/        programs on turboserver: mypy and pyright, both strict, find nothing in them, on each Python;
                    in refused.py they find an error wherever a comment says so
    programs/       programs on the standard library: nothing is found in them as they are, and nothing after their
                    imports have become ours
    stubtest        what the stubs say is what the running modules have, but for allowed.txt
    verifytypes     pyright knows the type of every public name of the modules that have stubs
    docstrings.py   docutils, and so Sphinx's autodoc, can read the docstrings of those modules

--short is mypy on the running Python's version, stubtest and the docstrings. The checkers are of the versions that
pyproject.toml pins (the group `types`), in an environment of their own under build/types, in which the package lies as
if it were installed; --prepare makes that and nothing more. Ends with 0 if nothing was found.

What may not live here: expectations, which stand in the samples.
"""

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "types"
PLACE = BUILD / sys.implementation.cache_tag
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")

# How a program turns to us, line by line.
SWAPS = (
    (r"^import socketserver$", "from turboserver import socketserver"),
    (r"^import http\.server as (\w+)$", r"import turboserver.http.server as \1"),
    (r"^from (socketserver|http\.server|wsgiref\.simple_server) import", r"from turboserver.\1 import"),
)


class Unavailable(Exception):
    """The checkers cannot be had here; the text says why."""


def environment():
    """The Python of the environment with the checkers (a Path), made if it is not there. Raises Unavailable."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["types"]
    python, stamp = PLACE / "bin" / "python", PLACE / "wanted"
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)      # several processes of tests may want it at once
        if stamp.exists() and stamp.read_text() == repr(wanted):
            return python
        shutil.rmtree(PLACE, ignore_errors=True)
        _install([sys.executable, "-m", "venv", PLACE])
        _install([python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--only-binary", ":all:",
                  *wanted])
        paths = sysconfig.get_path("purelib", vars={"base": str(PLACE), "platbase": str(PLACE)})
        Path(paths, "turboserver").symlink_to(ROOT / "src" / "turboserver")
        stamp.write_text(repr(wanted))
    return python


def _install(command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise Unavailable(f"the type checkers cannot be installed (PyPI): {said[-1]}")


def swapped():
    """The folder (a Path) with the programs after their imports have become ours."""
    folder = BUILD / "swapped"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for program in sorted((HERE / "programs").glob("*.py")):
        text = program.read_text()
        ours = text
        for pattern, replacement in SWAPS:
            ours = re.sub(pattern, replacement, ours, flags=re.MULTILINE)
        if ours == text or re.search(r"^(import|from) (socketserver|http\.server|wsgiref\.simple_server)\b", ours, re.M):
            raise ValueError(f"{program.name}: an import that SWAPS does not know")
        (folder / program.name).write_text(ours)
    return folder


def run(*command):
    """Run a checker; return what it found (str), "" if nothing."""
    done = subprocess.run([os.fspath(part) for part in command], cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "PYRIGHT_PYTHON_CACHE_DIR": str(BUILD / "pyright"),
                               "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})
    return "" if done.returncode == 0 else done.stdout.strip() or f"{command[0]} ended with {done.returncode}"


def folders():
    return HERE / "samples", HERE / "programs", swapped()


def mypy(python, version):
    """What mypy finds, strict, as if on this version of Python (text)."""
    return "\n".join(filter(None, (
        run(python, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--python-version", version,
            "--cache-dir", BUILD / "mypy", *sorted(folder.glob("*.py")))
        for folder in folders())))


def pyright(python, version):
    """What pyright finds, strict, as if on this version of Python (text)."""
    project = BUILD / "pyrightconfig.json"
    project.write_text(json.dumps({
        "include": [os.path.relpath(folder, BUILD) for folder in folders()], "pythonVersion": version,
        "typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": "error"}))
    return run(python, "-m", "pyright", "--pythonpath", python, "--project", project)


def stubtest(python):
    """Where the stubs are not what the running modules are (text)."""
    return run(python, "-m", "mypy.stubtest", "turboserver", "--concise", "--mypy-config-file", HERE / "stubtest.ini",
               "--allowlist", HERE / "allowed.txt")


def docstrings(python):
    """Docstrings that are no reStructuredText (text)."""
    return run(python, HERE / "docstrings.py")


def verifytypes(python):
    """Public names of the modules with a stub whose type pyright does not know (text)."""
    # With --verifytypes it takes the first Python on PATH, whatever --pythonpath says.
    done = subprocess.run([python, "-m", "pyright", "--verifytypes", "turboserver", "--ignoreexternal", "--outputjson"],
                          capture_output=True, text=True, cwd=BUILD, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYRIGHT_PYTHON_CACHE_DIR": str(BUILD / "pyright"),
                               "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"})
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    package = ROOT / "src" / "turboserver"
    modules = {".".join(("turboserver", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__"):
               path.with_suffix(".pyi").exists() for path in package.rglob("*.py*") if path.suffix in (".py", ".pyi")}
    ours = [symbol for symbol in symbols if modules[_module_of(symbol["name"], modules)]]
    if len(ours) < 100:
        return f"verifytypes saw {len(ours)} names only"
    return "\n".join(f"{symbol['name']}: its type is not known" for symbol in ours
                     if symbol["isExported"] and not symbol["isTypeKnown"])


def _module_of(name, modules):
    while name not in modules:
        name = name.rpartition(".")[0]
    return name


def main():
    parser = argparse.ArgumentParser(description="Check the types that turboserver ships.")
    parser.add_argument("--short", action="store_true", help="mypy on this version of Python, and stubtest")
    parser.add_argument("--without-pyright", action="store_true", help="mypy and stubtest alone")
    parser.add_argument("--prepare", action="store_true", help="make the environment with the checkers, and check nothing")
    arguments = parser.parse_args()
    try:
        python = environment()
    except Unavailable as reason:
        sys.exit(f"types: {reason}")
    if arguments.prepare:
        return
    steps = [("docstrings", docstrings, ()), ("stubtest", stubtest, ())]
    steps += [(f"mypy, {version}", mypy, (version,))
              for version in (("%d.%d" % sys.version_info[:2],) if arguments.short else VERSIONS)]
    if shutil.which("node") is None:
        print("types: pyright is skipped: it needs Node.js (node)")
    elif not (arguments.short or arguments.without_pyright):
        steps += [(f"pyright, {version}", pyright, (version,)) for version in VERSIONS]
        steps.append(("pyright --verifytypes", verifytypes, ()))
    failed = 0
    for name, step, details in steps:
        found = step(python, *details)
        failed += bool(found)
        print(f"types: {name}: {'found' if found else 'nothing found'}", *([found] if found else []), sep="\n", flush=True)
    print(f"{len(steps) - failed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
