"""Results for people: tables on the terminal (rich) and in Markdown, with the same rows.

What is shown is computed in results.py; here it only gets its words. rich is imported where it is used, so that
Markdown can be had without it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from results import LIMIT, Bar, Change, Results, Scenario, is_own

if TYPE_CHECKING:
    from rich.console import Console

#: For each verdict how the terminal shows it.
STYLES = {"met": "green", "missed": "bold red", "not shown": "yellow"}
#: Changes of less per cent than this are noise and get no colour.
NOTEWORTHY = 5.0
NOTHING = "-"


def terminal(results: Results, console: "Console") -> None:
    """Print a table for each scenario and the table of bars."""
    from rich.table import Table
    from rich.text import Text

    for name, scenario in results.scenarios.items():
        headers, rows = scenario_table(scenario)
        table = Table(title=Text(f"{name}: {scenario.title} ({scenario.load})"), title_justify="left")
        for number, header in enumerate(headers):
            table.add_column(header, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row), style="bold cyan" if is_own(row[0]) else None)
        if rows:
            console.print(table)
        else:
            console.print(Text(f"{name}: {scenario.title}: no figures"))
        for line in notes(scenario):
            console.print(Text("  " + line, style="dim"))
        console.print()
    headers, rows = bar_table(results)
    if rows:
        table = Table(title=Text(f"Bars: {tally(results.bars)}"), title_justify="left")
        for number, header in enumerate(headers):
            table.add_column(header, justify="right" if number in (2, 3) else "left")
        for row in rows:
            table.add_row(*map(Text, row[:-1]), Text(row[-1], style=STYLES[row[-1]]))
        console.print(table)
    for name, reason in results.missing.items():
        console.print(Text(f"{name} could not take part: {reason}", style="yellow"))


def markdown(results: Results) -> str:
    """All of a run as Markdown: the machine, the versions, the date, the method, and the tables of terminal()."""
    machine = results.machine
    parts = [
        "# Benchmark results",
        f"Produced by `bench/run.py` on {results.date}: {results.rounds} rounds of {results.seconds:g} s.",
        "## Machine",
        bullets(f"{key.replace('_gib', ' (GiB)')}: {value}" for key, value in machine.items()),
        "## Method",
        bullets(results.method),
        "## Versions",
        markdown_table(["", "version"], [[name, version] for name, version in sorted(results.versions.items())]),
    ]
    if results.missing:
        parts += ["## Could not take part", bullets(f"{name}: {why}" for name, why in results.missing.items())]
    if results.bars:
        headers, rows = bar_table(results)
        parts += [f"## Bars: {tally(results.bars)}", markdown_table(headers, rows, right=(2, 3))]
    for name, scenario in results.scenarios.items():
        headers, rows = scenario_table(scenario)
        parts += [f"## {name}: {scenario.title}", scenario.load]
        if rows:
            rows = [[f"**{row[0]}**" if is_own(row[0]) else row[0], *row[1:]] for row in rows]
            parts.append(markdown_table(headers, rows, right=range(1, len(headers))))
        if lines := notes(scenario):
            parts.append(bullets(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison(rows: Iterable[Change], console: "Console") -> None:
    """Print what results.compare() found. The machine was not the same twice: a few per cent say little."""
    from rich.table import Table
    from rich.text import Text

    def percent(value: float | None, better: int) -> Text:
        if value is None:
            return Text(NOTHING)
        style = "" if abs(value) < NOTEWORTHY else "green" if value * better > 0 else "bold red"
        return Text(f"{value:+.1f} %", style=style)

    rows = list(rows)
    if not rows:
        console.print("The two runs have no figure in common.")
        return
    table = Table(title="Compared with the older run", title_justify="left")
    headers = "scenario", "server", "CPU us before", "now", "change", "requests/s before", "now", "change"
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number > 1 else "left", no_wrap=True)
    for row in rows:
        cpu = [figure(row.cpu_old), figure(row.cpu_new), percent(row.cpu_percent, -1)]
        rate = [figure(row.rate_old), figure(row.rate_new), percent(row.rate_percent, +1)]
        table.add_row(row.scenario, row.server, *cpu, *rate)
    console.print(table)


# ---------------------------------------------------------------- rows


def scenario_table(scenario: Scenario) -> tuple[list[str], list[list[str]]]:
    """(headers, rows of as many cells), sorted by CPU. Columns without any figure are left out, as are the servers."""
    peer = scenario.best_peer()
    headers = ["server", "CPU us/request", "x limit", "x best peer", "requests/s", "MiB/s"]
    headers += ["p50 ms", "p99 ms", "p99.9 ms", "errors", "peak RSS MiB"]
    rows = []
    for server in scenario.ranking():
        result = scenario.servers[server]
        if result.failed is not None or not result.samples:
            continue
        cpu, octets = figure(result.median("cpu_us")), result.median("octets_rate")
        if spread := result.spread("cpu_us"):
            cpu += f" ({figure(spread[0])}..{figure(spread[1])})"
        row = [server, cpu]
        row += [figure(scenario.ratio(server, other, "cpu_us")) if other else NOTHING for other in (LIMIT, peer)]
        row += [figure(result.median("rate")), figure(octets / 2**20 if octets is not None else None)]
        row += [figure(result.median(name)) for name in ("p50_ms", "p99_ms", "p999_ms")]
        row += [f"{result.errors:,}", figure(result.median("rss_mib"))]
        rows.append(row)
    kept = [index for index in range(len(headers)) if any(row[index] != NOTHING for row in rows)]
    return [headers[index] for index in kept], [[row[index] for index in kept] for row in rows]


def bar_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """(headers, rows of as many cells)"""
    rows = []
    for name, bar in results.bars:
        wanted = f"{'at most' if bar.at_most else 'at least'} {bar.limit:,.10g}"
        rows.append([name, bar.text, measured(bar.value), wanted, bar.verdict])
    return ["scenario", "bar", "measured", "wanted", "verdict"], rows


def notes(scenario: Scenario) -> list[str]:
    """What stands below a scenario's table: who the best peer is and who has no figures, with the reason."""
    lines = [f"best peer: {peer}"] if (peer := scenario.best_peer()) else []
    for server, result in scenario.servers.items():
        if result.failed is not None or not result.samples:
            lines.append(f"{server} is not shown: {result.failed or 'not measured'}")
    return lines


def tally(bars: Iterable[tuple[str, Bar]]) -> str:
    verdicts = [bar.verdict for _, bar in bars]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in STYLES)


# ---------------------------------------------------------------- words


def figure(value: float | None) -> str:
    """Three digits that count, or all of them before the point."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def measured(value: float | None) -> str:
    """With more digits than figure(), so that one that just missed its bar does not look as if it had met it."""
    return NOTHING if value is None else f"{round(value, 3 if abs(value) < 100 else 1):,.10g}"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def markdown_table(headers: list[str], rows: list[list[str]], right: Iterable[int] = ()) -> str:
    right = set(right)
    lines = [headers, ["---:" if index in right else "---" for index in range(len(headers))], *rows]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)
