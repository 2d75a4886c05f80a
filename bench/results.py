"""Results as data: what a run measured, JSON both ways, medians and ratios, and the comparison with an older file.

Nothing is measured and nothing is shown here. Ratios are taken within one scenario of one run, where the servers met
the same machine; across runs there is only compare(). What was not measured is None, never 0.
"""

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

#: The "format" of the JSON; other ones are not read.
FORMAT = 1
#: Fields of Sample of which more is better; of the others less is.
MORE_IS_BETTER = frozenset({"rate", "octets_rate"})
#: Servers that are not peers, besides those of OWN and STOCK.
LIMIT = "limit"
OWN, STOCK = "turbo", "stock"


def is_own(server: str) -> bool:
    return server.split("-")[0] == OWN


def is_peer(server: str) -> bool:
    """Whether `server` is neither ours nor the standard library's nor the limit."""
    return server != LIMIT and server.split("-")[0] not in (OWN, STOCK)


@dataclass
class Sample:
    """One measurement of one server: one load for `seconds`."""

    #: Microseconds of CPU (user and system, the server's whole process tree) for each request.
    cpu_us: float | None = None
    #: Requests answered in each second.
    rate: float | None = None
    #: Milliseconds within which 50, 99 and 99.9 per cent of the answers came.
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    #: Answers that were wrong or did not come: a count.
    errors: int = 0
    #: MiB (2**20 octets): the largest resident size of the process tree.
    rss_mib: float | None = None
    #: Octets of bodies in each second; None where bodies are not what is measured.
    octets_rate: float | None = None


@dataclass
class ServerResult:
    """All samples of one server in one scenario. One that failed has a reason, and its samples do not count."""

    samples: list[Sample] = field(default_factory=list)
    #: Why there are no figures; None if there are.
    failed: str | None = None

    def values(self, name: str) -> list[float]:
        """Field `name` of each sample that has it, in the order of the rounds; nothing if the server failed."""
        if self.failed is not None:
            return []
        return [value for sample in self.samples if (value := getattr(sample, name)) is not None]

    def median(self, name: str) -> float | None:
        """The median of field `name` in its own unit; None without a sample."""
        values = self.values(name)
        return statistics.median(values) if values else None

    def spread(self, name: str) -> tuple[float, float] | None:
        """The smallest and largest of field `name` in its own unit; None without a sample."""
        values = self.values(name)
        return (min(values), max(values)) if values else None

    @property
    def errors(self) -> int:
        """Errors of all rounds together."""
        return sum(sample.errors for sample in self.samples)


@dataclass
class Bar:
    """A figure to reach. `value` and `limit` have the same unit, which `text` names."""

    text: str
    #: What was measured; None if it could not be computed.
    value: float | None
    limit: float
    #: Whether `limit` is the most that is allowed, or else the least.
    at_most: bool

    @property
    def verdict(self) -> str:
        """'met', 'missed' or, without a value, 'not shown'."""
        if self.value is None:
            return "not shown"
        return "met" if (self.value <= self.limit if self.at_most else self.value >= self.limit) else "missed"


@dataclass
class Scenario:
    title: str
    #: The load in words: how many connections, what is sent.
    load: str
    servers: dict[str, ServerResult] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)

    def median(self, server: str, name: str) -> float | None:
        """The median of field `name` of `server`; None if it did not play, failed or has no such figure."""
        return self.servers[server].median(name) if server in self.servers else None

    def spread(self, server: str, name: str) -> tuple[float, float] | None:
        """As median(), the smallest and the largest."""
        return self.servers[server].spread(name) if server in self.servers else None

    def ratio(self, server_a: str, server_b: str, name: str) -> float | None:
        """The median of `server_a` divided by that of `server_b`; None if either is missing or the latter is 0."""
        a, b = self.median(server_a, name), self.median(server_b, name)
        return a / b if a is not None and b else None

    def best_peer(self, name: str = "cpu_us") -> str | None:
        """The peer (see is_peer) with the best median of field `name`; None if no peer has one."""
        medians = {
            server: value
            for server in self.servers
            if is_peer(server) and (value := self.median(server, name)) is not None
        }
        if not medians:
            return None
        return (max if name in MORE_IS_BETTER else min)(medians, key=medians.__getitem__)

    def ranking(self, name: str = "cpu_us") -> list[str]:
        """The servers from the least to the greatest median of field `name`, those without one at the end."""

        def key(server: str) -> tuple[bool, float, str]:
            value = self.median(server, name)
            return (value is None, value or 0.0, server)

        return sorted(self.servers, key=key)


@dataclass
class Results:
    """All of one run."""

    #: YYYY-MM-DD
    date: str
    #: "cpu", "cores", "memory_gib", "kernel", "system"
    machine: dict[str, str | int | float]
    #: name -> version, of everything that took part
    versions: dict[str, str]
    #: How it was measured, a sentence each.
    method: list[str]
    rounds: int
    #: Length of one sample.
    seconds: float
    #: server -> why it could not take part
    missing: dict[str, str] = field(default_factory=dict)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    #: "connections": server -> [connections, cpu_us, rate]; "idle": server -> [connections, resident octets]
    series: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)

    @property
    def bars(self) -> list[tuple[str, Bar]]:
        """Each bar with the name of its scenario."""
        return [(name, bar) for name, scenario in self.scenarios.items() for bar in scenario.bars]

    def to_json(self) -> str:
        """ValueError for a figure that is infinite or not a number."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Results":
        """ValueError if `text` is not what to_json() writes; fields that have a default may be absent."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"not results of format {FORMAT}")
        results = _make(cls, {key: value for key, value in data.items() if key != "format"})
        results.scenarios = {name: _scenario(value) for name, value in results.scenarios.items()}
        return results

    def save(self, path: str | os.PathLike) -> None:
        """Write the JSON to `path`, which is complete or untouched. OSError, ValueError as of to_json()."""
        text, path = self.to_json(), Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".new")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Results":
        """OSError, ValueError as of from_json()."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _make(cls, data):
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__} is not an object")
    if unknown := data.keys() - {item.name for item in fields(cls)}:
        raise ValueError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
    try:
        return cls(**data)
    except TypeError as error:
        raise ValueError(f"{cls.__name__} is not complete: {error}") from None


def _scenario(data):
    scenario = _make(Scenario, data)
    scenario.bars = [_make(Bar, bar) for bar in scenario.bars]
    scenario.servers = {name: _make(ServerResult, server) for name, server in scenario.servers.items()}
    for server in scenario.servers.values():
        server.samples = [_make(Sample, sample) for sample in server.samples]
    return scenario


# ---------------------------------------------------------------- two runs


@dataclass
class Change:
    """What became of one server in one scenario. Figures that only one of the runs has are None."""

    scenario: str
    server: str
    #: Medians of cpu_us (microseconds), and the change in per cent; below 0 is less CPU.
    cpu_old: float | None = None
    cpu_new: float | None = None
    cpu_percent: float | None = None
    #: Medians of rate (requests/s), and the change in per cent; above 0 is more requests.
    rate_old: float | None = None
    rate_new: float | None = None
    rate_percent: float | None = None


def compare(old: Results, new: Results) -> list[Change]:
    """A row for each server and scenario that has the CPU or the rate in both runs, in the order of `new`."""
    return list(_changes(old, new))


def _changes(old: Results, new: Results) -> Iterable[Change]:
    for name, scenario in new.scenarios.items():
        if name not in old.scenarios:
            continue
        for server in scenario.servers:
            row = Change(name, server)
            row.cpu_old, row.cpu_new, row.cpu_percent = _change(old.scenarios[name], scenario, server, "cpu_us")
            row.rate_old, row.rate_new, row.rate_percent = _change(old.scenarios[name], scenario, server, "rate")
            if row.cpu_percent is not None or row.rate_percent is not None:
                yield row


def _change(old, new, server, name):
    before, after = old.median(server, name), new.median(server, name)
    if not before or after is None:
        return None, None, None
    return before, after, (after / before - 1) * 100
