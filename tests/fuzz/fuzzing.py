"""Builds the fuzz targets, makes their seeds, replays what once crashed, and fuzzes.

    python tests/fuzz/fuzzing.py [--seconds N] [--log FILE] [TARGET ...]

Without targets: all. Exit status 1 if one found something; the input then lies in build/fuzz/found/ and, once it is
mended, belongs into regressions/<target>/. Inputs that reach something new are kept in build/fuzz/corpus/<target>/.
The targets in C need clang with libFuzzer; those in Python use atheris where it can be imported, and else a random
generator of their own. Prints a row for the table in README.md for each.
"""

import argparse
import dataclasses
import datetime
import functools
import hashlib
import importlib.util
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import seeds  # noqa: E402

ROOT = HERE.parent.parent
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "fuzz"
DICTIONARY = HERE / "http.dict"

CLANG = shlex.split(os.environ.get("FUZZ_CC") or "clang")
SANITIZE = "address,undefined"
CFLAGS = ["-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-Wall", "-Wextra",
          "-DTS_DEBUG", f"-I{CSRC}", f"-I{HERE}"]  # fmt: skip

#: name -> longest input. A head or body passes a limit by its form long before that; the limits of 64 KiB are for the
#: unit tests, where an input costs no more than once.
TARGETS_C = {"scan": 4096, "chunked": 16384, "conn": 4096}
TARGETS_PYTHON = {"lanes": 2048, "streams": 1024, "answers": 1024}
TARGETS = TARGETS_C | TARGETS_PYTHON


class CannotBuild(Exception):
    """A target cannot be had on this machine; the text says why."""


def run(command, **options):
    return subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        check=False, **options,
    )  # fmt: skip


@functools.cache
def why_not_c():
    """Why the targets in C cannot be built here; None if they can."""
    if shutil.which(CLANG[0]) is None:
        return f"no {CLANG[0]} on PATH"
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "probe.c", Path(folder) / "probe"
        source.write_text("int LLVMFuzzerTestOneInput(const char *p, long n) { return p == 0 && n; }\n")
        built = run([*CLANG, f"-fsanitize=fuzzer,{SANITIZE}", source, "-o", program])
        if built.returncode != 0:
            return f"{CLANG[0]} has no -fsanitize=fuzzer,{SANITIZE} here"
        ran = run([program, "-runs=1"])
    return None if ran.returncode == 0 else f"a program with -fsanitize=fuzzer,{SANITIZE} does not run here"


def compile_c(source, made):
    """Compiles unless that was done with the same text: times say little where trees are copied."""
    texts = [source, *sorted(CSRC.glob("*.h")), Path(__file__)]
    if source.parent == HERE:
        texts += [*sorted(HERE.glob("*.h")), CSRC / "clock.c"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()
    stamp = made.with_suffix(".stamp")
    if not (made.exists() and stamp.exists() and stamp.read_text() == digest):
        built = run([*CLANG, *CFLAGS, f"-fsanitize=fuzzer-no-link,{SANITIZE}", "-c", source, "-o", made])
        if built.returncode != 0:
            raise RuntimeError(f"{source.name} does not build:\n{built.stdout}")
        stamp.write_text(digest)
    return made


def build_c(name):
    """The program of a target in C (a Path)."""
    if why_not_c():
        raise CannotBuild(why_not_c())
    BUILD.mkdir(parents=True, exist_ok=True)
    # A library: a target that brings a unit of its own (a clock that can be stepped) is not given the other.
    units = [compile_c(source, BUILD / (source.stem + ".o")) for source in sorted(CSRC.glob("*.c"))]
    library = BUILD / "libcsrc.a"
    library.unlink(missing_ok=True)
    archived = run(["ar", "rcs", library, *units])
    if archived.returncode != 0:
        raise RuntimeError(archived.stdout)
    own = [compile_c(HERE / f"{stem}.c", BUILD / f"{stem}.o") for stem in (f"fuzz_{name}", "reference")]
    program = BUILD / f"fuzz_{name}"
    linked = run([*CLANG, f"-fsanitize=fuzzer,{SANITIZE}", *own, library, "-lpthread", "-o", program])
    if linked.returncode != 0:
        raise RuntimeError(f"fuzz_{name} does not link:\n{linked.stdout}")
    return program


def python_tree():
    """The folder from which the targets in Python import turboserver: with clang and atheris a copy of the package, with
    the extensions counting what they run; else the package as it was built."""
    atheris = importlib.util.find_spec("atheris")
    counter = atheris and next(Path(atheris.origin).parent.glob("core_with_libfuzzer*.so"), None)
    if counter is None or why_not_c():
        return ROOT / "src"
    tree = BUILD / f"tree-{sys.implementation.cache_tag}"
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "csrc", "src"):
        for path in [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"):
            made = tree / path.relative_to(ROOT)
            if not path.is_file() or path.suffix in (".so", ".pyc"):
                continue
            if not made.exists() or made.read_bytes() != path.read_bytes():
                made.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, made)
    # The extensions report to the libFuzzer within atheris, so they are linked to it.
    count = "-fsanitize=fuzzer-no-link"
    link = " ".join([*CLANG, "-shared", "-Wl,--no-as-needed", str(counter)])
    built = run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, env=os.environ | {
        "TURBOSERVER_DEBUG": "1", "CC": " ".join(CLANG), "LDSHARED": link, "CFLAGS": count,
    })  # fmt: skip
    if built.returncode != 0:
        raise RuntimeError(f"the extensions do not build with {count}:\n{built.stdout[-5000:]}")
    return tree / "src"


def command_of(name):
    """The command line of a target, to which libFuzzer's options and inputs can be added."""
    if name in TARGETS_C:
        return [build_c(name)]
    return [sys.executable, HERE / f"fuzz_{name}.py"]


def seeds_of(name):
    """A folder with the seeds of a target, made anew."""
    folder = BUILD / "seeds" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for label, octets in seeds.of(name):
        (folder / label).write_bytes(octets)
    return folder


def regressions_of(name):
    """The inputs that once crashed a target, in order."""
    return sorted(path for path in (HERE / "regressions" / name).glob("*") if path.name[0] != ".")


@dataclasses.dataclass
class Result:
    """What a run of a target came to."""

    target: str
    status: int
    output: str
    cpu: float
    runs: int
    edges: int  # 0: not known

    @property
    def row(self):
        found = "none" if self.status == 0 else f"exit status {self.status}"
        return (f"| {datetime.date.today()} | {self.target} | {self.cpu:.0f} | {self.runs} | {self.edges or '-'} "
                f"| {found} |")  # fmt: skip


def number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def invoke(name, arguments, timeout):
    command = [*command_of(name), *arguments]
    env = os.environ | ({"PYTHONPATH": str(python_tree())} if name in TARGETS_PYTHON else {})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = run(command, cwd=ROOT, timeout=timeout, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Result(
        name, ran.returncode, ran.stdout,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        number(r"(?:number_of_executed_units: +|Done )(\d+)", ran.stdout), number(r" cov: (\d+)", ran.stdout),
    )  # fmt: skip


def replay(name, inputs, timeout=300):
    """Each input once."""
    return invoke(name, [*inputs], timeout)


def fuzz(name, seconds, grace=120, seed=None):
    """New inputs for so many seconds, from the seeds and what earlier runs have kept. seed: of
    the order in which they come; by default another each time."""
    corpus, found = BUILD / "corpus" / name, BUILD / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    return invoke(name, [
        *([f"-seed={seed}"] if seed else []), f"-max_total_time={seconds}", f"-max_len={TARGETS[name]}", f"-dict={DICTIONARY}", "-timeout=20",
        "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={found}/{name}-",
        corpus, seeds_of(name), *([HERE / "regressions" / name] if regressions_of(name) else []),
    ], seconds + grace)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--log", type=Path, help="a file to which the whole output is added")
    options = parser.parse_args()
    status = 0
    for name in options.targets or TARGETS:
        if name not in TARGETS:
            parser.error(f"there is no target {name}")
        try:
            inputs = regressions_of(name)
            results = [replay(name, inputs)] if inputs else []
            if not results or results[0].status == 0:
                results.append(fuzz(name, options.seconds))
        except CannotBuild as reason:
            print(f"{name}: skipped: {reason}", flush=True)
            continue
        result = results[-1]
        if options.log:
            with options.log.open("a") as log:
                log.write(f"==== {name}, {datetime.datetime.now():%F %T}\n{result.output}\n")
        if result.status != 0:
            status = 1
            print(result.output[-8000:])
        print(result.row, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
