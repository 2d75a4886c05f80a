#!/usr/bin/env python3
"""Measures the field: each program under the standard library beside the same under turboserver; writes docs/field.md.

    python tests/field/measure.py [--rounds 3] [--seconds 1] [--only WORD]... [--to FILE]

Both run at the same time, and are loaded in turn: one round of each, then the next. What is given is the median of the
rounds, and the CPU time of the program's processes for each request in all of them. Programs have one half of the
processors and what loads them the other, where there is more than one (Linux). Plain HTTP is loaded by wrk, which keeps
connections where the program does; all else by the program's own client, in one process of Python, whose own work is part
of each round trip (visit.py). Before, each program is checked as in tests/test_field.py; one that fails is not measured, and
the exit code is 1.
"""
import argparse
import contextlib
import datetime
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rows  # noqa: E402
import running  # noqa: E402
from row import HERE  # noqa: E402

#: Of wrk: no more than the original's listening queue of 5 takes.
CONNECTIONS = 4
#: Seconds of CPU below which the kernel's account, in hundredths of a second, says too little.
CPU_ENOUGH = 0.2
RESULTS = HERE.parent.parent / "docs" / "field.md"


def halves():
    """Processors for the programs, and for what loads them; None, None where they cannot be divided."""
    every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    middle = len(every) // 2
    return (every[:middle], every[middle:]) if middle else (None, None)


PROGRAMS_ON, LOAD_ON = halves()


@contextlib.contextmanager
def on(processors):
    """What is started within runs on these."""
    if processors is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_of(program):
    """Seconds of CPU that the program's processes have used so far."""
    ticks = 0
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == program.process.pid:   # its group
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def loaded(program, seconds):
    """Requests or round trips a second of one round."""
    row = program.row
    if callable(row.load):
        return float(program.visit("load", str(seconds)))
    said = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", program.place.url + row.load],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout
    rate = re.search(r"^Requests/sec:\s*([\d.]+)", said, re.M)
    if rate is None or "Non-2xx" in said:
        raise running.Broken(f"wrk {row.load}:\n{said}")
    return float(rate[1])


def measured(row, rounds, seconds, folder):
    """{"lane", "reasons", "rates", "cpu"} of a row: both {mode: median of the rates, or seconds of CPU for each request},
    with None for what is not known."""
    unknown = dict.fromkeys(running.MODES)
    for mode in running.MODES:
        (folder / mode).mkdir()
    if row.check is None:
        for mode in running.MODES:
            running.run_once(row, mode, folder / mode)
        return {"lane": "", "reasons": [], "rates": unknown, "cpu": unknown}
    with on(PROGRAMS_ON), running.running(row, "stdlib", folder / "stdlib") as theirs, \
            running.running(row, "turboserver", folder / "turboserver") as ours, on(LOAD_ON):
        for program in (theirs, ours):
            program.visit("check")
        rates, cpu = unknown, unknown
        if row.load is not None:
            rates, cpu = rounds_of((theirs, ours), rounds, seconds)
        server = ours.servers()[-1]
    return {"lane": server["lane"], "reasons": server["reasons"], "rates": rates, "cpu": cpu}


def rounds_of(programs, rounds, seconds):
    """({mode: median of the rates}, {mode: seconds of CPU for each request, or None})."""
    rates = {program.mode: [] for program in programs}
    used = dict.fromkeys(rates, 0.0)
    for unused in range(rounds):
        for program in programs:
            before = cpu_of(program)
            rates[program.mode].append(loaded(program, seconds))
            used[program.mode] += cpu_of(program) - before
    return ({mode: statistics.median(rate) for mode, rate in rates.items()},
            {mode: used[mode] / (sum(rate) * seconds) if used[mode] >= CPU_ENOUGH else None for mode, rate in rates.items()})


def why(reasons):
    """What decides the lane, in few words: the names of what is overridden."""
    names = []
    for reason in reasons:
        name, _, where = reason.partition(": ")
        short = {"handler": "no HTTP handler", "environment": "patched", "socket_type": "datagrams",
                 "get_request": "" if "turboserver." in where else "get_request"}.get(name, name)
        if short and short not in names:
            names.append(short)
    return ", ".join(names)


def number(rate):
    return "" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if ours and theirs else ""


def line(row, result):
    if isinstance(result, running.Broken):
        return f"| {row.name} | **no** | | | | | | |"
    rates, cpu = ([values[mode] for mode in ("turboserver", "stdlib")] for values in (result["rates"], result["cpu"]))
    lane = result["lane"] + (f" ({why(result['reasons'])})" if result["reasons"] else "")
    unit = row.unit if row.load is not None else row.note
    return (f"| {row.name} | yes | {lane} | {number(rates[1])} | {number(rates[0])} | {ratio(*rates)} | {ratio(*cpu)} "
            f"| {unit} |")


def machine():
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            found = re.search(r"^model name\s*:\s*(.*)", file.read(), re.M)
            model = f", {found[1]}" if found else ""
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} processors{model}"


def versions():
    """The packages whose programs are run, as they are pinned."""
    for path in sorted((HERE / "requirements").glob("*.txt")):
        for word in path.read_text().partition("\n\n")[0].splitlines():
            if not word.startswith("#"):
                yield word.replace("==", " ")


def page(lines, arguments):
    return "\n".join([
        "# Programs of the field", "",
        "Written by `make field` (`tests/field/measure.py`): programs that nobody here wrote, unchanged, under `turboserver run`.",
        "", f"- {datetime.date.today()}, {machine()}, {platform.python_implementation()} {platform.python_version()}",
        f"- rounds: {arguments.rounds} of {arguments.seconds} s for each, in turn; the median. Both programs run at the "
        "same time, on the same half of the processors; what loads them has the other half. Only ratios count.",
        f"- load: wrk with {CONNECTIONS} connections where a plain GET is enough; else one client of the program's own, in "
        "Python, by whose work most such ratios are near 1",
        "- CPU: of the program's processes for each request, in the standard library's; empty where it was too little to be "
        "measured",
        f"- programs: {', '.join(versions())}", "",
        "Lanes are those of [ARCHITECTURE.md](../ARCHITECTURE.md); in brackets what a program overrides that decides it.",
        "In the compatible lane the loop, the sockets and the threads are those of the program's patches under both; rfile, wfile and parsing are turboserver's.",
        "Rates are a second. The original's HTTP with a head and a body in two packets waits for delayed acknowledgements "
        "where connections are kept (some 25 requests a second for each of them); that is where the largest ratios are from.", "",
        "| program | works | lane | standard library | turboserver | ratio | CPU | what is counted |",
        "|---|---|---|---:|---:|---:|---:|---|", *lines, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=1, help="of each round (default: 1)")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="rows with this in their name")
    parser.add_argument("--to", type=pathlib.Path, default=RESULTS, metavar="FILE")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        parser.exit(2, "measure.py needs wrk:  apt install wrk\n")
    lines, broken = [], 0
    for row in rows.ROWS:
        if arguments.only and not any(word in row.name for word in arguments.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = measured(row, arguments.rounds, arguments.seconds, pathlib.Path(folder))
            except running.Absent as absent:
                parser.exit(2, f"{absent}\n")
            except running.Broken as error:
                result, broken = error, broken + 1
                print(error, file=sys.stderr)
        lines.append(line(row, result))
        print(lines[-1], flush=True)
    arguments.to.parent.mkdir(exist_ok=True)
    arguments.to.write_text(page(lines, arguments))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
