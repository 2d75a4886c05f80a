"""The scenarios that are more, or other, than one load on each server.

Each function takes the session, the scenario and its outcome, and leaves its figures in the outcome, in the results'
series, and in session.figures for the bars.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import loads
import measure
from results import Sample, ServerResult

HERE = Path(__file__).resolve().parent
#: Idle connections at which memory is looked at. The last is what counts.
IDLE = (1_000, 2_500, 5_000, 10_000)
#: The most for servers that have a thread for each connection.
IDLE_THREADS = 1_000
THREAD_EACH = ("stock",)
#: Seconds for a server to settle after connections were opened.
SETTLE = 0.3
#: Seconds after which a thread that nobody needs is gone.
RETIRED = 12
COUNTS = (1, 8, 32, 128, 512, 1024)
QUICK_COUNTS = (1, 32, 1024)
IMPORTS = 21  # of each module
IMPORT = """
import time
before = time.process_time_ns()
import {module}
used = time.process_time_ns() - before
with open("/proc/self/status") as status:
    resident = next((int(line.split()[1]) for line in status if line.startswith("VmRSS:")), 0)
print(used / 1e3, resident / 1024)
"""


def idle(session, scenario, outcome):
    """Memory over idle connections, and hello beside them; `turbo-hello` has none and is measured in turns with turbo.

    Memory counts from after a warm-up, so that what a server keeps for any number of connections is not in it.
    """
    series = session.results.series.setdefault("idle", {})
    players = session.players(scenario)
    groups = [["turbo", "turbo-hello"]] if "turbo" in players else []
    groups += [[name] for name in players if name not in ("turbo", "turbo-hello")]
    with session.steps(scenario, sum(len(group) * (session.rounds + 2) for group in groups)) as step:
        for group in groups:
            kept = []
            try:
                beside(session, scenario, outcome, step, [name for name in group if name in players], series, kept)
            finally:
                for connections in kept:
                    connections.close()
                session.stop_all()


def beside(session, scenario, outcome, step, group, series, kept):
    """One server (and its reference): idle connections, put into `kept`, and the rounds of hello beside them."""
    up = []
    for name in group:
        running = session.start(name, scenario, outcome, step)
        if running is None:
            continue
        step(f"{name}, warm-up")
        if session.sample(running, scenario, outcome, 1) is None:
            continue
        if running.server.always is None:
            step(f"{name}, opening connections")
            try:
                memory(session, running, kept, series.setdefault(name, []))
            except RuntimeError as error:
                session.failed(name, outcome.servers[name], error)
                session.stop(running)
                continue
        up.append(running)
    session.in_turns(up, scenario, outcome, step)


def memory(session, running, kept, points):
    """Put [connections, octets of the process tree] from 0 to the most into `points`; note what turbo's bars need.

    RuntimeError if the server cannot keep as many; what it could is in `points`.
    """
    most = IDLE_THREADS if running.name.startswith(THREAD_EACH) else IDLE[-1]
    threads = measure.threads(running.pid)
    for count in [0, *(count for count in IDLE if count <= most)]:
        session.remaining()
        if count:
            kept.append(loads.Idle(running, count - points[-1][0], session.load_core))
        time.sleep(SETTLE)
        octets = measure.memory_octets(running.pid)
        if not octets:
            raise RuntimeError("its memory cannot be read")
        points.append([count, octets])
    if running.name == "turbo":
        session.figures["idle octets"] = (points[-1][1] - points[0][1]) / points[-1][0]
        # A handler that lost its processor while they were opened has cost a follower; such a thread ends after a while.
        deadline = time.monotonic() + min(RETIRED, session.remaining())
        while measure.threads(running.pid) > threads and time.monotonic() < deadline:
            time.sleep(SETTLE)
        session.figures["idle threads"] = measure.threads(running.pid) - threads


def connections(session, scenario, outcome):
    """hello at several numbers of connections; the samples of the greatest one are the scenario's own."""
    counts = QUICK_COUNTS if session.quick else COUNTS
    players = session.players(scenario)
    found = {}
    with session.steps(scenario, len(players) * (1 + len(counts) * session.rounds)) as step:
        up = [running for name in players if (running := session.start(name, scenario, outcome, step)) is not None]
        for _ in range(session.rounds):
            for count in counts:
                for running in list(up):
                    step(f"{running.name}, {count} connections")
                    load = replace(scenario.load, connections=count)
                    sample = session.sample(running, scenario, outcome, load=load)
                    if sample is None:
                        up.remove(running)
                        continue
                    found.setdefault(running.name, {}).setdefault(count, []).append(sample)
                    if count == counts[-1]:
                        outcome.servers[running.name].samples.append(sample)
    session.results.series["connections"] = {
        name: [
            [count, statistics.median(s.cpu_us for s in samples), statistics.median(s.rate for s in samples)]
            for count, samples in by_count.items()
        ]
        for name, by_count in found.items()
    }


def imports(session, scenario, outcome):
    """Import both modules in fresh interpreters, in turns; the first of each fills the caches and does not count."""
    modules = {"turbo": "turboserver.http.server", "stock": "http.server"}
    times = 7 if session.quick else IMPORTS
    players = session.players(scenario)
    for name in players:
        outcome.servers[name] = ServerResult()
    with session.steps(scenario, (times + 1) * len(players)) as step:
        for number in range(times + 1):
            for name in players:
                step(f"{name}, {number} of {times}")
                command = [session.environment.python, "-c", IMPORT.format(module=modules[name])]
                cpu, resident = map(float, output_of(session, command).split())
                if number:
                    outcome.servers[name].samples.append(Sample(cpu_us=cpu, rss_mib=resident))
    ours, original = outcome.median("turbo", "rss_mib"), outcome.median("stock", "rss_mib")
    if ours is not None and original is not None:
        session.figures["import MiB"] = ours - original


def scan(session, scenario, outcome):
    """The figures of bench/micro, which are those of its fastest rounds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "micro.json")
        output_of(session, [session.environment.python, HERE / "micro" / "run.py", "--only", "scan", "--json", file])
        found = json.loads(file.read_text())["scan"]
    without = "sse2" if "sse2" in found else "portable"
    for variant, name in (("avx2", "scan GB/s"), (without, "scan GB/s without AVX2")):
        if variant in found:
            session.figures[name] = found[variant]["gb_s"]


def output_of(session, command):
    """The output of a command on the servers' core. RuntimeError with its last line if it fails."""
    command = [os.fspath(part) for part in command]
    with measure.on_core(session.server_core):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=min(120, session.remaining()))
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{command[1]} did not end in time") from None
    if done.returncode != 0:
        raise RuntimeError(((done.stderr or done.stdout).strip().splitlines() or ["no output"])[-1])
    return done.stdout
