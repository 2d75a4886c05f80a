"""One run: the scenarios in their order, on each server in turns, with everything started also stopped.

A server that fails is noted in the results with its reason and the others go on. What has been measured stands in
`results` at any time, so a run that is broken off has something to show.
"""

import time
from collections.abc import Iterable
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import loads
import measure
import special
from environment import Environment
from loads import Load
from results import Bar, Results, Sample, ServerResult
from results import Scenario as Outcome
from scenarios import REFERENCE, SCENARIOS, Scenario
from servers import SERVERS, Running, why_not

#: Seconds of the first load on each server, which does not count.
WARM_UP = 1


class TimeUp(Exception):
    """The run has lasted as long as it may."""


class Session:
    """What a run has and does; `quick` means fewer servers, no warm-up, and an end after `limit` seconds."""

    def __init__(
        self, environment: Environment, results: Results, console: Console, *, quick=False, only_servers=(), limit=None
    ):
        self.environment = environment
        self.results = results
        self.console = console
        self.quick = quick
        self.only_servers = only_servers
        self.until = time.monotonic() + limit if limit else None
        self.server_core, self.load_core = measure.cores()
        self.rounds, self.seconds = results.rounds, results.seconds
        #: What special.py noted for bars.
        self.figures: dict[str, float] = {}
        self.running: list[Running] = []
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def run(self, names: Iterable[str]) -> None:
        """Run the scenarios `names`; when time is up, those that are left have no figures."""
        names = list(names)
        self.results.missing.update(self.unplayable(names))
        with self.progress:
            overall = self.progress.add_task("", total=len(names))
            for number, name in enumerate(names):
                self.progress.update(overall, description=name, completed=number)
                if not self.console.is_terminal:
                    self.console.print(f"{name} ({number + 1} of {len(names)})", highlight=False)
                self.scenario(name)
            self.progress.update(overall, description="done", completed=len(names))

    def scenario(self, name: str) -> None:
        """Run one scenario; its outcome is in `results` from the beginning."""
        scenario = SCENARIOS[name]
        outcome = self.results.scenarios[name] = Outcome(scenario.title, scenario.text)
        try:
            self.remaining()
            if scenario.special:
                getattr(special, scenario.special)(self, scenario, outcome)
            else:
                self.rounds_of(scenario, outcome)
        except TimeUp:
            outcome.load += " (not finished: time was up)"
        except RuntimeError as error:
            outcome.load += f" (not measured: {error})"
        finally:
            self.stop_all()
            outcome.bars = [
                Bar(bar.text, bar.value(outcome, self.figures), bar.limit, bar.at_most) for bar in scenario.bars
            ]

    def rounds_of(self, scenario: Scenario, outcome: Outcome) -> None:
        """Start all servers, warm each up, and load them in turns."""
        with self.steps(scenario, len(self.players(scenario)) * (self.rounds + 2 - self.quick)) as step:
            up = [
                running
                for server in self.players(scenario)
                if (running := self.start(server, scenario, outcome, step)) is not None
            ]
            if not self.quick:
                for running in list(up):
                    step(f"{running.name}, warm-up")
                    if self.sample(running, scenario, outcome, WARM_UP) is None:
                        up.remove(running)
            self.in_turns(up, scenario, outcome, step)

    # ---- what a scenario does; special.py calls these, too

    def in_turns(self, up: list[Running], scenario: Scenario, outcome: Outcome, step) -> None:
        """The measured rounds of servers that are up; one that fails leaves the list."""
        for number in range(self.rounds):
            for running in list(up):
                step(f"{running.name}, round {number + 1}")
                sample = self.sample(running, scenario, outcome)
                if sample is None:
                    up.remove(running)
                else:
                    outcome.servers[running.name].samples.append(sample)

    def players(self, scenario: Scenario) -> list[str]:
        """The servers of a scenario that were asked for and are not missing."""
        chosen = scenario.quick if self.quick and not self.only_servers else scenario.servers
        return [
            name for name in chosen if self.asked_for(name) and not why_not(name, scenario.app, self.environment)
        ]

    def asked_for(self, server: str) -> bool:
        """Whether `server` is to be measured; a reference (X-hello) is wherever X is."""
        named = server.removesuffix("-hello") if SERVERS[server].always else server
        return not self.only_servers or named in self.only_servers or server in self.only_servers

    def start(self, server: str, scenario: Scenario, outcome: Outcome, step) -> Running | None:
        """Start and check a server, for `scenario` or as its reference; None, and the reason noted, if it fails."""
        self.remaining()
        step(f"{server}, starting")
        result = outcome.servers[server] = ServerResult()
        check = "get" if SERVERS[server].always else scenario.check
        try:
            if scenario.proof and scenario.proof[0] in SERVERS[server].apps:
                Running(server, *scenario.proof, self.environment, self.server_core, scenario.threads).stop()
            running = Running(server, scenario.app, check, self.environment, self.server_core, scenario.threads)
        except RuntimeError as error:
            self.failed(server, result, error)
            return None
        self.running.append(running)
        return running

    def sample(
        self, running: Running, scenario: Scenario, outcome: Outcome, seconds=None, load: Load | None = None
    ) -> Sample | None:
        """One load on a server; None, and the reason noted and the server stopped, if it fails."""
        patience = min(loads.PATIENCE, self.remaining())
        load = load or (REFERENCE if running.server.always else scenario.load)
        try:
            return loads.measured(running, load, seconds or self.seconds, self.load_core, patience)
        except RuntimeError as error:
            self.failed(running.name, outcome.servers[running.name], error)
            self.stop(running)
            return None

    def failed(self, server: str, result: ServerResult, error: Exception) -> None:
        result.failed = str(error)
        self.console.print(f"  {server}: {error}", style="yellow", highlight=False, markup=False)

    @contextmanager
    def steps(self, scenario: Scenario, total: int):
        """A second line of progress; gives a function to call with the name of each step."""
        task = self.progress.add_task("", total=total)

        def step(text: str) -> None:
            self.progress.update(task, description=f"  {text}", advance=1)

        try:
            yield step
        finally:
            self.progress.remove_task(task)

    def stop(self, running: Running) -> None:
        self.running.remove(running)
        running.stop()

    def stop_all(self) -> None:
        while self.running:
            self.running.pop().stop()

    def remaining(self) -> float:
        """Seconds until the end of a run that has one, or else many. Raises TimeUp."""
        if self.until is None:
            return 3600.0
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeUp
        return left

    def unplayable(self, names: Iterable[str]) -> dict[str, str]:
        """server -> why it cannot take part, of those that the scenarios want."""
        found = {}
        for name in names:
            for server in SCENARIOS[name].servers:
                reason = why_not(server, SCENARIOS[name].app, self.environment)
                if reason and self.asked_for(server):
                    found[server] = reason
        return found
