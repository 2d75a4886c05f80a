"""The benchmark: turboserver beside the standard library, a limit in C and its peers, on this machine.

    python bench/run.py                            all scenarios and servers, about two and a half hours
    python bench/run.py --quick                    all scenarios, few servers of each: within 2 minutes
    python bench/run.py --only hello,post --servers turbo,limit --rounds 3
    python bench/run.py --list

The first run makes an environment under build/bench (see environment.py), for which any Python from 3.11 on is enough,
and starts itself again with the Python of it. What is measured is in scenarios.py, what is served in servers.py.
"""

import argparse
import datetime
import os
import platform
import shutil
import signal
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Set for the process that was started again: the Python it was started with.
INSIDE = "BENCH_INSIDE"
#: Seconds that --quick may measure, which leaves some for the end.
QUICK_LIMIT = 105
METHOD = [
    "The servers run on one core, the load generator on another; a server is up for one scenario only.",
    "Each server's answers are checked for status, length and body before it counts, and their octets under load.",
    "Rounds are interleaved: each server once, then each once more; before them each is warmed up.",
    "CPU is user and system time of the server's whole process tree, as the operating system counts it, by request.",
    "Figures are medians over the rounds, with the smallest and the largest; ratios are of medians within this run.",
    "Latencies of wrk do not include connecting, and are corrected for coordinated omission as wrk does it.",
    "The standard library's servers are as they come: with a listen queue of 5, so of many connections some come late.",
    "Servers have a few environment variables, as services have: wsgiref's servers copy them for each request.",
    "Peers have their access log off, room for all connections and as many threads as requests wait at once.",
]


def main() -> int:
    options = arguments()
    if options.list:
        return show_list()
    if wrong := mistake(options):
        return f"bench/run.py: {wrong}"
    import environment

    if options.no_environment:
        ready = as_it_is()
    else:
        try:
            ready = environment.prepare(lambda line: print(line, flush=True))
        except RuntimeError as error:
            return f"bench/run.py: {error}"
        # Not sys.executable: that of a virtual environment is a link to the one it was made with.
        if Path(sys.prefix) != ready.python.parent.parent:
            if os.environ.get(INSIDE):
                return f"bench/run.py: {ready.python} is not the Python of its environment"
            os.environ[INSIDE] = sys.executable
            os.execv(ready.python, [ready.python, os.fspath(Path(__file__).resolve()), *sys.argv[1:]])
    return measured(options, ready)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="NAMES are those of --list, separated by commas or given repeatedly.",
    )
    names = {"action": "extend", "type": lambda text: text.split(","), "default": [], "metavar": "NAMES"}
    parser.add_argument("--list", action="store_true", help="show the scenarios, servers and bars, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="fewer servers, one round of 1 s: within 2 minutes")
    parser.add_argument("--only", **names, help="run these scenarios")
    parser.add_argument("--servers", **names, help="measure these servers")
    parser.add_argument("--rounds", type=positive(int), metavar="N", help="measurements of each server (default: 5)")
    parser.add_argument("--seconds", type=positive(float), metavar="S", help="length of a measurement (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write them for people")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw them, as PNG and SVG")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="show what has changed since that file")
    parser.add_argument(
        "--no-environment", action="store_true", help="use this Python and the programs on PATH as they are"
    )
    return parser.parse_args()


def positive(kind):
    def convert(text):
        value = kind(text)
        if value <= 0:
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


def mistake(options) -> str | None:
    """What is wrong with the names and files in `options`; found before an environment is made."""
    from results import Results
    from scenarios import SCENARIOS
    from servers import SERVERS

    for given, known, what in ((options.only, SCENARIOS, "scenario"), (options.servers, SERVERS, "server")):
        if unknown := [name for name in given if name not in known]:
            return f"there is no {what} {', '.join(unknown)}; see --list"
    try:
        options.older = Results.load(options.compare) if options.compare else None
    except (OSError, ValueError) as error:
        return f"{options.compare}: {error}"
    if options.no_environment and not find_spec("rich"):
        return "--no-environment needs a Python that has rich"
    return None


def show_list() -> int:
    """Scenarios, servers and bars; needs nothing but the standard library."""
    from scenarios import SCENARIOS
    from servers import SERVERS

    for name, scenario in SCENARIOS.items():
        print(f"{name:16}{scenario.title}\n{'':16}{scenario.text}\n{'':16}{' '.join(scenario.servers)}")
        for bar in scenario.bars:
            print(f"{'':16}bar: {bar.text}: at {'most' if bar.at_most else 'least'} {bar.limit:,g}")
    print()
    for name, server in SERVERS.items():
        print(f"{name:24}{server.title}")
    return 0


def as_it_is():
    """The Environment of this Python and PATH; the C programs are compiled under build/bench if need be."""
    import environment
    import pins

    ready = environment.Environment(Path(sys.executable))
    ready.versions["python"] = platform.python_version()
    wanted = pins.PEERS | pins.FRAMEWORKS
    packages = {name: next(iter(parts)) for name, parts in wanted.items()} | {"turboserver": "turboserver"}
    for name, package in packages.items():
        try:
            ready.versions[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            ready.missing[name] = "not installed"
    places = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    for name in pins.DEBIAN_PROGRAMS:
        if found := shutil.which(name, path=places):
            ready.programs[name] = Path(found)
            ready.versions[name] = environment.program_version(name, Path(found))
        else:
            ready.missing[name] = "not on PATH"
    build = HERE.parent / "build" / "bench"
    build.mkdir(parents=True, exist_ok=True)
    environment.build_c_programs(ready, HERE, build, print)
    return ready


def measured(options, ready) -> int:
    """Run what `options` choose and show it; 0 even if bars are missed, 130 if it was broken off."""
    from rich.console import Console

    import measure
    from results import Results
    from scenarios import SCENARIOS
    from session import Session

    results = Results(
        date=datetime.date.today().isoformat(),
        machine=measure.machine(),
        versions=dict(ready.versions),
        method=list(METHOD),
        rounds=options.rounds or (1 if options.quick else 5),
        seconds=options.seconds or (1.0 if options.quick else 3.0),
        missing=dict(ready.missing),
    )
    if options.quick:
        results.method.append("This was --quick: no warm-up, few servers and short rounds: nothing here is a result.")
    server_core, load_core = measure.cores()
    if server_core is None or server_core == load_core:
        results.method[0] = "Cores could not be chosen or there is only one: the figures scatter."
    measure.allow_files()
    # Tables are as wide as they are where nobody looks at a terminal.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    session = Session(
        ready,
        results,
        console,
        quick=options.quick,
        only_servers=options.servers,
        limit=QUICK_LIMIT if options.quick else None,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    ended = 0
    try:
        session.run([name for name in SCENARIOS if not options.only or name in options.only])
    except KeyboardInterrupt:
        console.print("broken off: this is what there is", style="yellow")
        results.method.append("This run was broken off: not all rounds were measured.")
        ended = 130
    finally:
        session.stop_all()
    show(options, results, console)
    return ended


def show(options, results, console) -> None:
    """Write and print what was asked for."""
    import report
    from results import compare

    if options.json:  # first: it cannot be had again
        results.save(options.json)
    report.terminal(results, console)
    if options.older is not None:
        report.comparison(compare(options.older, results), console)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(report.markdown(results), encoding="utf-8")
    if options.plots:
        import plots

        plots.all(results, options.plots)


if __name__ == "__main__":
    sys.exit(main())
