"""Holds a server under a mixed load for minutes or hours and looks for what is left of it afterwards.

    python tests/soak.py --minutes 3
    python tests/soak.py --hours 8 --server single --lane reactor --seed 7

The server is a child process (stress/served.py), the clients (stress/clients.py) are threads here: good ones, whose
answers are checked, and slow, broken and hostile ones, which the server has to end within its deadlines. The load
comes in rounds. After each, when all clients have gone, everything they cost must have been given back: connections,
descriptors, threads, child processes. Objects and memory may not have grown since the first round, which is for
warming up. Prints a report; the exit status is 0 if all was well, else 1.
"""
import argparse
import collections
import random
import statistics
import sys
import threading
import time

from stress import clients, processes, served

#: Deadlines of the server in seconds, short, so that clients meet them often. --deadlines N makes them N times as long.
DEADLINES = {"head": 2.0, "body": 2.0, "write": 2.0, "rate_after": 1.5, "idle": 3.0, "drain": 1.0}

#: Octets a second that a client must keep up.
MIN_RATE = 240

#: Seconds after which a thread of the server that has nothing to do is gone, and some for a busy machine.
THREADS_GO = 20.0

#: What a round may leave beyond what the first has left. Objects: those the collector knows; blocks: of Python's
#: allocator; heap: octets of malloc(), of which each of the interpreter's 256 KiB arenas counts as a whole.
GROWTH = {"objects": 200, "blocks": 3000, "heap": 1 << 20, "rss": 4 << 20}

#: The same for the number of objects of one of our types.
GROWTH_OF_TYPE = 4

#: For malloc() of the server: what becomes of a large piece that is freed may not follow from those before, or the
#: sizes of two rounds cannot be compared.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


class Soak:
    """One run. problems: what was not as it must be."""

    def __init__(self, options):
        self.options = options
        self.deadlines = {name: seconds * options.deadlines for name, seconds in DEADLINES.items()}
        self.problems = []
        self.counts = collections.Counter()     # (client, outcome): how many
        self.visits = 0
        self.lock = threading.Lock()
        self.occupying = threading.Semaphore(1 if options.server == "single" else options.bad)
        self.looks = []     # (usage, look) after each round

    def attributes(self):
        d = self.deadlines
        return {
            "server": self.options.server,
            "handler_attributes": {
                "turbo_head_timeout": d["head"], "turbo_body_timeout": d["body"], "turbo_write_timeout": d["write"],
                "turbo_min_rate": MIN_RATE, "turbo_min_rate_after": d["rate_after"], "turbo_idle_timeout": d["idle"],
                "turbo_drain_timeout": d["drain"], "turbo_decode_chunked": bool(self.options.seed % 2)},
            "server_attributes": {"turbo_shutdown_timeout": 5.0},
        }

    def run(self):
        """The whole run. Whether all was well."""
        lane = {"reactor": "", "auto": ""}.get(self.options.lane, self.options.lane)
        with processes.Child("stress.served", {"TURBOSERVER_LANE": lane, **MALLOC}, **self.attributes()) as self.server:
            self.address = self.server.ready["address"]
            if self.options.lane not in ("auto", self.server.ready["lane"]):
                self.problems.append(f"the server is in the lane {self.server.ready['lane']}")
            try:
                self.rounds()
                self.ending()
            except processes.Failed as failed:
                self.problems.append(str(failed))
        return not self.problems

    # ---- load

    def rounds(self):
        """Load and calm in turns until the time is over. The first round is for warming up."""
        self.visit("browser", clients.good["browser"], 0)   # what a server has that is ready
        self.before = self.server.usage()
        end = time.monotonic() + self.options.seconds
        warm = min(self.options.round, self.options.seconds / 3)
        number = 0
        while number < 2 or time.monotonic() < end - 1:
            left = end - time.monotonic()
            seconds = warm if number == 0 else max(1.0, min(self.options.round, left))
            self.load(number, seconds)
            self.calm(number, last=time.monotonic() >= end - 1)
            number += 1
            if len(self.problems) >= self.options.problems:
                return

    def load(self, number, seconds):
        end = time.monotonic() + seconds
        before, visits = self.server.usage(), self.visits
        threads = [threading.Thread(target=self.hold, args=(kind, f"{self.options.seed}/{number}/{index}", end))
                   for index in range(self.options.good + self.options.bad)
                   for kind in [clients.good if index < self.options.good else clients.bad]]
        for thread in threads:
            thread.start()
        peak = before
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            now = self.server.usage()
            peak = processes.Usage(now.cpu, *(max(a, b) for a, b in zip(
                (peak.rss, peak.threads, peak.descriptors, peak.children),
                (now.rss, now.threads, now.descriptors, now.children))))
        self.say(f"round {number}: {self.visits - visits} visits in {seconds:.0f} s, {now.cpu - before.cpu:.1f} s CPU; "
                 f"at most {peak.rss / 2**20:.1f} MiB, {peak.threads} threads, {peak.descriptors} descriptors"
                 + f", {peak.children} children" * (self.options.server == "forking"))

    def hold(self, kind, seed, end):
        """Visit the server until `end`, as one client after another of a kind."""
        rng = random.Random(seed)
        wsgi = self.options.server == "wsgi"
        names = [name for name, client in kind.items()
                 if (client.applications or not wsgi) and name in self.options.clients]
        weights = [kind[name].weight for name in names]
        while names and time.monotonic() < end and len(self.problems) < self.options.problems:
            name = rng.choices(names, weights)[0]
            self.visit(name, kind[name], rng.randrange(10 ** 9))

    def visit(self, name, client, seed):
        if client.occupies and not self.occupying.acquire(blocking=False):
            return
        try:
            outcome = client.run(clients.Visit(self.address, seed, {**self.deadlines, "min_rate": MIN_RATE},
                                               self.options.server))
        except Exception as problem:
            outcome = "WRONG"
            with self.lock:
                self.problems.append(f"{name} {seed}: {type(problem).__name__}: {problem}")
        finally:
            if client.occupies:
                self.occupying.release()
        with self.lock:
            self.visits += 1
            self.counts[name, outcome] += 1

    # ---- what is left

    def calm(self, number, last):
        """Wait until what the clients had is given back, and note what there is then. Threads that wait for
        something to do may stay a while: they are looked at after the last round."""
        end = time.monotonic() + max(self.deadlines.values()) + clients.SLACK + (THREADS_GO if last else 0)
        # A server makes some when it is first needed: poller, wakers.
        descriptors = min((usage.descriptors for usage, _ in self.looks), default=self.before.descriptors + 8)
        while True:
            look = self.server.ask("look")
            usage = self.server.usage()
            left = {
                "connections": look["connections"] or 0,
                "descriptors": max(0, usage.descriptors - descriptors),
                "children": usage.children,
                "threads": max(0, usage.threads - self.before.threads - 2) if last else 0,
            }
            if not any(left.values()):
                break
            if time.monotonic() > end:
                self.problems.append(f"round {number}: not given back: "
                                     + ", ".join(f"{count} {name}" for name, count in left.items() if count))
                break
            time.sleep(0.25)
        self.looks.append((usage, look))
        self.say(f"  left: {usage}; {look['objects']} objects, {look['blocks']} blocks, "
                 f"{(look['heap'] or 0) / 2**20:.2f} MiB of malloc()")

    def growth(self):
        """What the last round has left beyond what the first has, by name, with what it may be."""
        (usage, first), (usage_now, now) = self.looks[0], self.looks[-1]
        for name in ("objects", "blocks", "heap"):
            if first[name] is not None:
                yield name, now[name] - first[name], GROWTH[name]
        allowed = self.options.rss * 2**20 if self.options.rss else GROWTH["rss"]
        yield "rss", usage_now.rss - usage.rss, allowed
        for name, count in now["ours"].items():
            if (grown := count - first["ours"].get(name, 0)) > GROWTH_OF_TYPE:
                yield name, grown, GROWTH_OF_TYPE

    def ending(self):
        for name, grown, allowed in self.growth():
            self.say(f"{name}: {grown:+d} since the first round, {allowed} are allowed")
            if grown > allowed:
                self.problems.append(f"{name} grew by {grown}, more than {allowed}, "
                                     f"in {self.visits} visits; round by round: {self.course(name)}")
        last, status, seconds = self.server.stop()
        self.say(f"shut down in {seconds:.2f} s; exceptions that handlers raised: {last['errors']}")
        if status:
            self.problems.append(f"the server ended with {status}")
        self.problems += [f"not asked for, {what}" for what in last["unexpected"]]
        if last["connections"]:
            self.problems.append(f"{last['connections']} connections after server_close()")
        if complaints := self.server.complaints():
            self.problems.append(f"on standard error: {complaints}")

    def course(self, name):
        values = [usage.rss if name == "rss" else look.get(name, look["ours"].get(name)) for usage, look in self.looks]
        return f"{values}, median {statistics.median(v or 0 for v in values)}"

    # ---- report

    def say(self, text):
        if not self.options.quiet:
            print(text, flush=True)

    def report(self):
        """Who visited, how it ended, and what was wrong."""
        lines = [f"{self.visits} visits to a {self.options.server} server, lane {self.options.lane}, "
                 f"seed {self.options.seed}"]
        for name in sorted({name for name, _ in self.counts}):
            outcomes = ", ".join(f"{count} {outcome}" for (who, outcome), count in sorted(self.counts.items())
                                 if who == name)
            lines.append(f"  {name:22}{outcomes}")
        lines += [f"PROBLEM: {problem}" for problem in self.problems]
        lines.append(f"{len(self.problems)} problems" if self.problems else "all was well")
        return "\n".join(lines)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="in all, about (3)")
    parser.add_argument("--hours", type=float, help="the same in hours")
    parser.add_argument("--round", type=float, default=60.0, metavar="SECONDS", help="of load between two looks (60)")
    parser.add_argument("--seed", type=int, default=None, help="of everything that is chosen (from the clock)")
    parser.add_argument("--server", choices=served.SERVERS, default="threading")
    parser.add_argument("--lane", choices=("auto", "reactor", "blocking"), default="auto")
    parser.add_argument("--good", type=int, default=6, metavar="N", help="good clients at a time (6)")
    parser.add_argument("--bad", type=int, default=24, metavar="N", help="others at a time (24)")
    every = [*clients.good, *clients.bad]
    parser.add_argument("--clients", nargs="+", choices=every, default=every, metavar="NAME",
                        help="only these: " + ", ".join(every))
    parser.add_argument("--deadlines", type=float, default=1.0, metavar="N", help="make the server's N times as long")
    parser.add_argument("--rss", type=float, metavar="MIB", help=f"growth allowed ({GROWTH['rss'] >> 20})")
    parser.add_argument("--problems", type=int, default=20, metavar="N", help="give up when so many were found (20)")
    parser.add_argument("--quiet", action="store_true", help="the report alone")
    options = parser.parse_args(arguments)
    options.seconds = options.hours * 3600 if options.hours else options.minutes * 60
    if options.seed is None:
        options.seed = int(time.time())
    if options.lane == "blocking" and options.server == "single":
        parser.error("a single server in the blocking lane serves one connection at a time, "
                     "so that one bad client is all it can have")
    if not processes.USABLE:
        parser.error("needs Linux: /proc and epoll")
    return options


def main():
    soak = Soak(parse())
    try:
        well = soak.run()
    except KeyboardInterrupt:
        well = False
        soak.problems.append("interrupted")
    print(soak.report())
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
