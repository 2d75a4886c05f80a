"""The stages of a request alone: what each costs, in nanoseconds, beside what others take for the same.

    python bench/micro/run.py [--only NAME ...] [--json FILE] [--rounds N]

Stages in C are programs of this folder, linked with csrc/ and compiled as setup.py compiles it; stages in Python
(stages.py) go through the real classes. Each variant runs for some milliseconds a round, the rounds of one stage one
after the other. Shown are the fastest round, which is what the stage costs when nothing disturbs it, and the median.
GB/s are octets of input by the fastest round. The peers stand in the same table: the standard library's code for the
same work, and httptools where it is installed.

--json writes {stage: {variant: {"ns": float, "median_ns": float, "gb_s": float or null}}}.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import stages

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent.parent / "csrc"
BUILD = HERE.parent.parent / "build" / "bench" / "micro"
BROWSER = HERE / "browser.http"

FLAGS = ["-std=gnu11", "-O2", "-DNDEBUG", "-fvisibility=hidden", "-pthread"]
OTHER_SYSTEMS = {"poller_epoll.c": "linux", "poller_kqueue.c": "darwin"}

WIDTH = 96  # columns of the table, where the terminal does not say or has fewer

# stage -> (title, arguments of its C program or None)
STAGES = {
    "scan": ("scan of a browser's request of 700 octets", [BROWSER]),
    "chunked": ("chunked body of 64 KiB, decoded and copied out", []),
    "headers": ("header object of that request, three fields looked up", None),
    "head": ("response head: send_response, two send_header, end_headers", None),
    "readline": ("rfile.readline, lines of 64 octets", None),
    "write": ("wfile.write of 13 octets", None),
    "predictor": ("will this handler block?", []),
    "handoff": ("the lead, from one thread to another", []),
}


# ---------------------------------------------------------------- C


def compiler():
    """The C compiler as a list of words. RuntimeError if there is none."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not shutil.which(words[0]):
        raise RuntimeError(f"needs a C compiler, and {words[0]} is not on PATH")
    return words


def compile_object(source, newest_header):
    """The object file of a C source (Path), compiled if it is out of date."""
    result = BUILD / f"{source.parent.name}-{source.stem}.o"
    if not result.exists() or result.stat().st_mtime <= max(source.stat().st_mtime, newest_header):
        command = [*compiler(), *FLAGS, f"-I{CSRC}", f"-I{HERE}", "-c", source, "-o", result]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{source.name} does not compile:\n{done.stderr}")
    return result


def program(name):
    """The path of the built program of a stage. RuntimeError if it cannot be built."""
    BUILD.mkdir(parents=True, exist_ok=True)
    newest_header = max(path.stat().st_mtime for path in [*CSRC.glob("*.h"), *HERE.glob("*.h")])
    sources = [path for path in sorted(CSRC.glob("*.c")) if OTHER_SYSTEMS.get(path.name, sys.platform) == sys.platform]
    objects = [compile_object(source, newest_header) for source in [*sources, HERE / f"{name}.c"]]
    result = BUILD / name
    command = [*compiler(), "-pthread", *objects, "-o", result]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} cannot be linked:\n{done.stderr}")
    return result


def run_program(name, arguments, rounds):
    """What the program of a stage measured: (variant, fastest ns, median ns, octets or 0), ..."""
    command = [program(name), *arguments, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        variant, fastest, median, octets = line.split()
        yield variant, float(fastest), float(median), int(octets)


# ---------------------------------------------------------------- the command


def measure(name, rounds, missing):
    """dict of variant to figures. Adds to `missing` (dict) what could not be measured, with the reason."""
    arguments = STAGES[name][1]
    found = []
    if arguments is not None:
        try:
            found += run_program(name, arguments, rounds)
        except RuntimeError as error:
            missing[f"{name}, ours"] = str(error)
    for variant, stage in stages.variants(name, BROWSER.read_bytes()):
        try:
            found.append((variant, *stage(rounds)))
        except ImportError as error:
            missing[f"{name}, {variant}"] = str(error)
    return {
        variant: {"ns": fastest, "median_ns": median, "gb_s": octets / fastest if octets else None}
        for variant, fastest, median, octets in found
    }


def plain_row(cells):
    print(f"{cells[0]:10}{cells[1]:36}{cells[2]:>14}{cells[3]:>14}{cells[4]:>8}{cells[5]:>10}", flush=True)


def show(results):
    """The table, by rich if that is installed."""
    head = ("stage", "variant", "ns", "median", "GB/s", "x first")
    rows = []
    for name, variants in results.items():
        first = next(iter(variants.values()), None)
        for number, (variant, figures) in enumerate(variants.items()):
            rate = "" if figures["gb_s"] is None else f"{figures['gb_s']:.2f}"
            rows.append((name if number == 0 else "", variant, f"{figures['ns']:,.1f}", f"{figures['median_ns']:,.1f}",
                         rate, f"{figures['ns'] / first['ns']:.2f}"))  # fmt: skip
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in [head, *rows]:
            plain_row(row)
        return
    table = Table(caption="ns: the fastest round")
    for number, title in enumerate(head):
        table.add_column(title, justify="left" if number < 2 else "right", no_wrap=True)
    for row in rows:
        if row[0] and row is not rows[0]:
            table.add_section()
        table.add_row(*row)
    Console(width=max(Console().width, WIDTH)).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=STAGES, metavar="NAME", help="of: " + ", ".join(STAGES))
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each variant (default: 21)")
    options = parser.parse_args()
    if not 1 <= options.rounds <= 1000:
        parser.error("--rounds: 1 to 1000")

    results, missing = {}, {}
    for name in options.only or STAGES:
        print(f"{name}: {STAGES[name][0]}", file=sys.stderr, flush=True)
        results[name] = measure(name, options.rounds, missing)
    show(results)
    for what, reason in missing.items():
        print(f"not measured: {what}: {reason}")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")
    return 1 if any(what.endswith(", ours") for what in missing) else 0


if __name__ == "__main__":
    sys.exit(main())
