"""Attacks by many slow connections, and what a well-behaved client notices of them.

    python tests/attacks.py                                     # all attacks, 10,000 connections each: ten minutes
    python tests/attacks.py slow-head idle --connections 1000 --deadlines 0.1

For each attack there are three processes: a server (stress/served.py), the attacker (stress/attacker.py), and this one,
the client that sends one request after the other on a kept connection. It prints the client's latency before and
during the attack, what the server needs meanwhile, and whether everything is given back within the server's deadlines
plus 5 s. The exit status is 0 if every request was answered rightly and everything was given back, else 1.

The deadlines are the server's own unless --deadlines makes them shorter. Loopback only.
"""
import argparse
import contextlib
import dataclasses
import sys
import time

import support
from stress import processes

#: The server's deadlines in seconds.
DEADLINES = {"head": 30.0, "body": 30.0, "write": 30.0, "rate_after": 5.0, "idle": 75.0, "drain": 2.0}

#: Each attack, and which deadlines end it. slow-read: an answer of so many octets in one write or in many, read
#: octet by octet; what the kernel has taken as a whole leaves the connection waiting for its next request.
ATTACKS = {
    "slow-head": ("head",),
    "slow-body": ("body", "rate_after"),
    "slow-long-body": ("body", "rate_after"),
    "slow-read-plain-13": ("idle",),
    "slow-read-whole-262144": ("write", "rate_after", "idle"),
    "slow-read-many-262144": ("write", "rate_after", "idle"),
    "slow-read-whole-4194304": ("write", "rate_after"),
    "slow-read-many-4194304": ("write", "rate_after"),
    "idle": ("idle",),
    "kept": ("idle",),
}

#: Seconds that everything may take longer than the deadlines.
SLACK = 5.0

#: Seconds that a thread of the server stays with nothing to do, and some.
THREADS_GO = 15.0

#: Seconds after which an answer is taken to be lost, and for which an attack that does not end is watched further.
PATIENCE = 120.0

REQUEST = b"GET /plain-/7/13 HTTP/1.1\r\nHost: h\r\n\r\n"
BODY = b"<7><7><7><7><"


class Phase:
    """Latencies in milliseconds, and what the server was seen to need."""

    def __init__(self, server):
        self.latencies = []
        self.began = time.monotonic()
        self.first = self.last = self.peak = server.usage()

    def see(self, usage):
        self.last = usage
        self.peak = processes.Usage(usage.cpu, *(max(getattr(self.peak, name), getattr(usage, name))
                                                 for name in ("rss", "threads", "descriptors", "children")))

    def close(self):
        self.seconds = time.monotonic() - self.began

    def share(self, hundredth):
        """The latency that so many of a hundred did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, len(ordered) * hundredth // 100)] if ordered else float("nan")

    def __str__(self):
        cpu = 100 * (self.last.cpu - self.first.cpu) / self.seconds
        return (f"{len(self.latencies):7d} requests  median {self.share(50):8.3f}  p99 {self.share(99):8.3f}  "
                f"worst {self.share(100):9.3f} ms  server {cpu:4.0f} % CPU, {self.peak.rss / 2**20:7.1f} MiB, "
                f"{self.peak.threads:5d} threads, {self.peak.descriptors:6d} descriptors")


class Good:
    """The well-behaved client: one connection while it lasts, one request after the other, each answer checked."""

    def __init__(self, server, every):
        self.server = server
        self.every = every      # seconds between two looks at the server
        self.client = None
        self.problems = []
        self.reconnected = -1

    def ask(self):
        """One request. Its latency in milliseconds."""
        began = time.perf_counter()
        try:
            if self.client is None:
                self.reconnected += 1
                self.client = support.Client(tuple(self.server.ready["address"]), PATIENCE)
            self.client.send(REQUEST)
            response = self.client.read()
            if (response.status, response.body) != (200, BODY):
                self.problems.append(f"{response.raw[:200]!r} to a good request")
        except (OSError, EOFError) as error:
            self.problems.append(f"a good request failed: {type(error).__name__}: {error}")
            self.close()
        return 1000 * (time.perf_counter() - began)

    def during(self, seconds, until=lambda usage: False):
        """Ask for so many seconds, or until something is seen. The Phase."""
        phase = Phase(self.server)
        end, look = phase.began + seconds, phase.began + self.every
        while (now := time.monotonic()) < end and len(self.problems) < 10:
            phase.latencies.append(self.ask())
            if now >= look:
                usage = self.server.usage()
                phase.see(usage)
                if until(usage):
                    break
                look = time.monotonic() + self.every
        phase.see(self.server.usage())
        phase.close()
        return phase

    def close(self):
        if self.client is not None:
            self.client.close()
            self.client = None


@dataclasses.dataclass
class Result:
    """What an attack has shown."""
    kind: str
    count: int
    allowed: float                  # seconds, from the last connection on, for all to be given back
    phases: dict = dataclasses.field(default_factory=dict)
    connected: int = 0
    failed: int = 0
    connecting: float = 0.0         # seconds
    endings: dict = dataclasses.field(default_factory=dict)
    reclaimed: float | None = None  # seconds from the last connection on until only the good one was left
    threads: tuple = ()             # of the server before and at the end
    rss: tuple = ()
    problems: list = dataclasses.field(default_factory=list)

    def report(self):
        lines = [f"{self.kind}: {self.connected} connections in {self.connecting:.1f} s, {self.failed} failed"]
        lines += [f"  {name:10} {phase}" for name, phase in self.phases.items()]
        for name in ("connecting", "during"):
            if name in self.phases:
                before, phase = self.phases["before"], self.phases[name]
                lines.append(f"  {name} / before: median {phase.share(50) / before.share(50):.2f}, "
                             f"p99 {phase.share(99) / before.share(99):.2f}")
        lines.append(f"  how they ended: {self.endings}")
        if self.rss:
            lines.append(f"  given back after {self.reclaimed or float('nan'):.1f} s ({self.allowed:.1f} are allowed); "
                         "threads {} -> {}, ".format(*self.threads)
                         + "{:.1f} -> {:.1f} MiB".format(*(size / 2**20 for size in self.rss)))
        return "\n".join(lines + [f"  PROBLEM: {problem}" for problem in self.problems])


def attributes(deadlines):
    return {"turbo_head_timeout": deadlines["head"], "turbo_body_timeout": deadlines["body"],
            "turbo_write_timeout": deadlines["write"], "turbo_min_rate_after": deadlines["rate_after"],
            "turbo_idle_timeout": deadlines["idle"], "turbo_drain_timeout": deadlines["drain"]}


def attack(kind, *, count, seconds=5.0, pace=5.0, deadlines=DEADLINES, lane="", server="threading", again=False,
           server_attributes=None, every=0.5, threads_go=THREADS_GO):
    """Attack a server of its own, and return the Result. Bounded in time, and leaves no process.

    threads_go: seconds for the server's threads to go at the end; 0: they are not looked at.
    """
    result = Result(kind, count, max(deadlines[name] for name in ATTACKS[kind]) + SLACK)
    options = {"server": server, "handler_attributes": attributes(deadlines) if deadlines is not DEADLINES else {},
               "server_attributes": server_attributes or {}}
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(processes.Child("stress.served", {"TURBOSERVER_LANE": lane}, **options))
        good = Good(target, every)
        stack.callback(good.close)
        try:
            good.ask()
            measure(result, stack, target, good, seconds, pace, again, threads_go)
            good.close()
            last, status, took = target.stop()
            if status or last["unexpected"]:
                result.problems.append(f"the server ended with {status}; not asked for: {last['unexpected']}")
        except processes.Failed as failed:
            result.problems.append(str(failed))
        result.problems += good.problems
        if good.reconnected:
            result.problems.append(f"the good client had to connect {good.reconnected} times more")
    return result


def measure(result, stack, target, good, seconds, pace, again, threads_go):
    phases = result.phases
    good.during(min(1.0, seconds / 4))      # for warming up
    phases["before"] = good.during(seconds)
    base = phases["before"].last
    attacker = stack.enter_context(processes.Child(
        "stress.attacker", address=target.ready["address"], kind=result.kind, count=result.count, pace=pace,
        again=again))
    phases["connecting"] = good.during(PATIENCE, until=lambda usage: attacker.answered())
    if not attacker.answered():
        result.problems.append(f"the attacker could not connect all in {PATIENCE:.0f} s")
        return
    answer = attacker.answer()
    result.connected, result.failed, result.connecting = answer["connected"], answer["failed"], answer["seconds"]
    since = answer["at"]
    phases["during"] = good.during(seconds)
    if again:
        result.endings = attacker.ask("stop")["endings"]
        since = time.monotonic()

    # The good client's own connection is in `base`. A server makes a few descriptors when it is first needed.
    def given_back(usage):
        return usage.descriptors <= base.descriptors + 4 and usage.children <= base.children

    phases["ending"] = good.during(result.allowed + PATIENCE, until=given_back)
    if given_back(phases["ending"].last):
        result.reclaimed = time.monotonic() - since
    if not result.reclaimed or result.reclaimed > result.allowed:
        left = phases["ending"].last.descriptors - base.descriptors
        result.problems.append(f"{left} descriptors left after {time.monotonic() - since:.0f} s" if not result.reclaimed
                               else f"given back after {result.reclaimed:.1f} s, {result.allowed:.1f} are allowed")
    if not again:
        result.endings = attacker.ask("stop")["endings"]
    phases["after"] = good.during(seconds)
    if threads_go:
        good.during(threads_go, until=lambda usage: usage.threads <= base.threads + 2)
    now = target.usage()
    result.threads, result.rss = (base.threads, now.threads), (base.rss, now.rss)
    if threads_go and now.threads > base.threads + 2:
        result.problems.append(f"{now.threads - base.threads} threads are left")


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="of " + ", ".join(ATTACKS) + " (all)")
    parser.add_argument("--connections", type=int, default=10000, metavar="N", help="of the attacker (10000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring before, during and after (5)")
    parser.add_argument("--pace", type=float, default=5.0, metavar="SECONDS", help="between two octets (5)")
    parser.add_argument("--deadlines", type=float, metavar="N", help="make the server's N times as long")
    parser.add_argument("--again", action="store_true", help="replace each connection that ends while measuring")
    parser.add_argument("--server", choices=("threading", "single", "forking"), default="threading")
    parser.add_argument("--lane", choices=("auto", "blocking"), default="auto")
    parser.add_argument("--threads", type=int, metavar="N", help="turbo_max_threads of the server")
    parser.add_argument("--per-address", type=int, metavar="N", help="turbo_max_connections_per_address")
    options = parser.parse_args(arguments)
    for name in options.attacks:
        if name not in ATTACKS:
            parser.error(f"no attack is called {name}: {', '.join(ATTACKS)}")
    if not processes.USABLE:
        parser.error("needs Linux: /proc and epoll")
    most = processes.raise_limit() - 200
    if options.connections > most:
        parser.error(f"a process may have {most} connections here")
    return options


def main():
    options = parse()
    deadlines = DEADLINES
    if options.deadlines:
        deadlines = {name: seconds * options.deadlines for name, seconds in DEADLINES.items()}
    server_attributes = {name: value for name, value in (
        ("turbo_max_threads", options.threads), ("turbo_max_connections_per_address", options.per_address)) if value}
    well = True
    for kind in options.attacks or ATTACKS:
        result = attack(kind, count=options.connections, seconds=options.seconds, pace=options.pace,
                        deadlines=deadlines, lane={"auto": ""}.get(options.lane, options.lane), server=options.server,
                        again=options.again, server_attributes=server_attributes)
        print(result.report(), flush=True)
        well = well and not result.problems
    print("all was well" if well else "not all was well")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
