"""Plots of results (matplotlib), each as PNG and as SVG, for README.

Colour says only what kind a server is: ours, a peer, the standard library's, the limit. Which one it is stands beside
its mark. The ground is white everywhere, so that the pictures can be read on dark pages too. The same results give the
same SVG, octet by octet.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.axis import Axis  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: E402

from report import figure  # noqa: E402
from results import LIMIT, STOCK, Results, Scenario, is_own  # noqa: E402

#: Kind -> colour: from the palette of Okabe and Ito, which the colour-blind can tell apart.
COLOURS = {"ours": "#D55E00", "peer": "#56B4E9", "standard library": "#999999", "limit": "#222222"}
LATENCIES = {"p50_ms": ("p50", "o"), "p99_ms": ("p99", "s"), "p999_ms": ("p99.9", "^")}
#: Greatest divided by least from which on an axis is logarithmic.
LOG_FROM = 20
COLUMNS = 3
#: Inches of white around a picture.
PADDING = 0.25
STYLE = {
    "svg.hashsalt": "turboserver",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def all(results: Results, folder: str | os.PathLike) -> list[Path]:
    """Write every plot for which there are figures to `folder`; the paths, PNG and SVG of each. OSError."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, draw in PLOTS.items():
            drawing = draw(results)
            if drawing is None:
                continue
            for suffix in ("png", "svg"):
                path = folder / f"{name}.{suffix}"
                # Without the date and the version of matplotlib, which would change with nothing changed.
                metadata = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
                drawing.savefig(path, dpi=150, metadata=metadata)
                paths.append(path)
    return paths


def kind(server: str) -> str:
    if is_own(server):
        return "ours"
    if server == LIMIT:
        return "limit"
    return "standard library" if server.split("-")[0] == STOCK else "peer"


# ---------------------------------------------------------------- by scenario


def panels(scenarios: dict[str, list[str]]) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each scenario (name -> its servers, from the top), COLUMNS in a row, as high as the longest needs."""
    names = list(scenarios)
    columns = min(COLUMNS, len(names))
    rows = [names[start : start + columns] for start in range(0, len(names), columns)]
    lengths = [max(len(scenarios[name]) for name in row) for row in rows]
    whole = Figure(figsize=(max(3.9 * columns, 6.0), 0.21 * sum(lengths) + 0.6 * len(rows) + 0.6), layout="constrained")
    whole.get_layout_engine().set(h_pad=PADDING / 2, w_pad=PADDING / 2, rect=(0.01, 0.01, 0.98, 0.98))
    grid = whole.add_gridspec(len(rows), columns, height_ratios=lengths)
    axes = {}
    for number, name in enumerate(names):
        panel = axes[name] = whole.add_subplot(grid[number // columns, number % columns])
        panel.set_title(name, pad=6)
        servers = scenarios[name]
        panel.set_yticks(range(len(servers)), servers)
        # A panel with few servers has bars as thick as the others.
        panel.set_ylim(lengths[number // columns] - 0.4, -0.6)
        panel.tick_params(axis="y", length=0)
        panel.spines[["left", "bottom"]].set_visible(False)
        for label, server in zip(panel.get_yticklabels(), servers, strict=True):
            if is_own(server):
                label.set(fontweight="bold", color=COLOURS["ours"])
    return whole, axes


def heading(whole: Figure, title: str, servers: set[str], marks: Iterable[Line2D] = ()) -> None:
    """The title, and under it what the colours and `marks` mean."""
    kinds = {kind(server) for server in servers}
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items() if name in kinds]
    whole.legend(
        handles=[*handles, *marks],
        title=title,
        title_fontproperties={"size": 12, "weight": "bold"},
        loc="outside upper left",
        alignment="left",
        ncols=len(COLOURS) + len(LATENCIES),
        frameon=False,
        handlelength=0.8,
        handleheight=0.8,
        handletextpad=0.4,
        columnspacing=1.5,
        borderpad=0.0,
        borderaxespad=PADDING * 72 / STYLE["font.size"],
    )


def with_figures(scenario: Scenario, name: str) -> list[str]:
    return [server for server in scenario.ranking(name) if scenario.median(server, name) is not None]


def cpu(results: Results) -> Figure | None:
    shown = {name: with_figures(scenario, "cpu_us") for name, scenario in results.scenarios.items()}
    shown = {name: servers for name, servers in shown.items() if servers}
    if not shown:
        return None
    whole, axes = panels(shown)
    servers = {server for servers in shown.values() for server in servers}
    heading(whole, "Server CPU per request, microseconds (less is better)", servers)
    for name, servers in shown.items():
        panel, scenario = axes[name], results.scenarios[name]
        medians = [scenario.median(server, "cpu_us") for server in servers]
        logarithmic = min(medians) > 0 and max(medians) / min(medians) > LOG_FROM
        left = min(medians) / 3 if logarithmic else 0
        panel.barh(
            range(len(servers)),
            [value - left for value in medians],
            left=left,
            height=0.72,
            color=[COLOURS[kind(server)] for server in servers],
        )
        for row, (server, value) in enumerate(zip(servers, medians, strict=True)):
            low, high = scenario.spread(server, "cpu_us")
            panel.plot([low, high], [row, row], color="#000000", linewidth=0.8, alpha=0.6, solid_capstyle="butt")
            weight = "bold" if is_own(server) else "normal"
            panel.annotate(
                figure(value), (max(value, high), row), (3, 0), textcoords="offset points", va="center", fontsize=8,
                fontweight=weight,
            )  # fmt: skip
        if logarithmic:
            panel.set_xscale("log")
            panel.set_xlim(left, max(medians) * (max(medians) / left) ** 0.22)
            panel.set_title("logarithmic", loc="right", fontsize=8, fontweight="normal", color="#666666")
        else:
            panel.set_xlim(0, max(medians) * 1.22)
        panel.xaxis.set_visible(False)  # each bar says its figure
    return whole


def latency(results: Results) -> Figure | None:
    shown = {
        name: with_figures(scenario, "p99_ms")
        for name, scenario in results.scenarios.items()
        if name == "hello" or name.startswith("sleep")
    }
    shown = {name: servers for name, servers in shown.items() if servers}
    if not shown:
        return None
    whole, axes = panels(shown)
    servers = {server for servers in shown.values() for server in servers}
    marks = [
        Line2D([], [], color="#444444", linestyle="", marker=marker, markersize=5, label=label)
        for label, marker in LATENCIES.values()
    ]
    heading(whole, "Latency, milliseconds, logarithmic (less is better)", servers, marks)
    for name, servers in shown.items():
        panel, scenario = axes[name], results.scenarios[name]
        for row, server in enumerate(servers):
            points = {field: value for field in LATENCIES if (value := scenario.median(server, field))}
            colour = COLOURS[kind(server)]
            panel.plot(list(points.values()), [row] * len(points), color=colour, linewidth=2, alpha=0.45)
            for field, value in points.items():
                panel.plot(value, row, LATENCIES[field][1], color=colour, markersize=5)
        panel.set_xscale("log")
        plain(panel.xaxis)
        panel.grid(axis="x")
        panel.tick_params(axis="x", which="both", top=False, bottom=False, labeltop=True, labelbottom=False, pad=0)
        panel.tick_params(axis="x", labelsize=8, labelcolor="#666666")
    return whole


# ---------------------------------------------------------------- over connections


def connections(results: Results) -> Figure | None:
    lines = {
        server: [(point[0], point[2]) for point in points if point[2] is not None]
        for server, points in results.series.get("connections", {}).items()
    }
    return over_connections(lines, "Requests per second over connections (more is better)", lambda points: "", True)


def idle(results: Results) -> Figure | None:
    lines = {
        server: [(point[0], point[1] / 2**20) for point in points]
        for server, points in results.series.get("idle", {}).items()
    }

    def each(points: list[tuple[float, float]]) -> str:
        (first, low), (last, high) = points[0], points[-1]
        return f"  {figure(max(high - low, 0) * 1024 / (last - first))} KiB each" if last > first else ""

    return over_connections(lines, "Resident memory over idle connections, MiB (less is better)", each, False)


def over_connections(
    lines: dict[str, list[tuple[float, float]]], title: str, note: Callable[[list], str], logarithmic: bool
) -> Figure | None:
    """One line for each server, with its name and `note` at the right end; `logarithmic` is about the connections."""
    lines = {server: sorted(points) for server, points in lines.items() if points}
    if not lines:
        return None
    whole = Figure(figsize=(9.5, 4.8), layout="constrained")
    whole.get_layout_engine().set(h_pad=PADDING, w_pad=PADDING)
    axes = whole.add_subplot()
    axes.set_title(title, fontsize=12, pad=12)
    axes.set_xlabel("connections")
    axes.grid()
    axes.margins(x=0.02)
    if logarithmic:
        axes.set_xscale("log", base=2)
    values = [value for points in lines.values() for _, value in points]
    if min(values) > 0 and max(values) / min(values) > LOG_FROM:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(values) * 1.08)
    for server, points in lines.items():
        own = is_own(server)
        axes.plot(
            *zip(*points, strict=True),
            color=COLOURS[kind(server)],
            linewidth=2.6 if own else 1.4,
            marker="o",
            markersize=5 if own else 3.5,
            linestyle="--" if server == LIMIT else "-",
            zorder=3 if own else 2,
        )
    for axis in (axes.xaxis, axes.yaxis):
        plain(axis)
    end_labels(axes, lines, note)
    return whole


def end_labels(axes: Axes, lines: dict[str, list[tuple[float, float]]], note: Callable[[list], str]) -> None:
    """Names to the right of the lines' ends, moved apart where they would overlap, with a thin line to each."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # what is drawn here must not move them
    to_fraction = axes.transScale + axes.transLimits  # from figures to 0..1 of the axes
    ends = sorted((to_fraction.transform(points[-1])[1], server) for server, points in lines.items())
    distance = 0.042
    places: list[float] = []
    for height, _ in ends:
        places.append(max(height, places[-1] + distance) if places else height)
    excess = max(places[-1] - 1.0, 0)
    for index in reversed(range(len(places))):  # not above the top: push back down
        top = 1.0 if excess else float("inf")
        places[index] = min(places[index], top if index == len(places) - 1 else places[index + 1] - distance)
    for place, (height, server) in zip(places, ends, strict=True):
        end_x = to_fraction.transform(lines[server][-1])[0]
        colour = COLOURS[kind(server)]
        axes.plot(
            [end_x + 0.01, 1.025], [height, place], transform=axes.transAxes, clip_on=False, color=colour, linewidth=0.6
        )
        axes.text(
            1.03, place, server + note(lines[server]), transform=axes.transAxes, va="center", fontsize=8.5,
            color=COLOURS["ours"] if is_own(server) else "#333333", fontweight="bold" if is_own(server) else "normal",
        )  # fmt: skip


def plain(axis: Axis) -> None:
    """Numbers as 10,000 and 0.5, not as powers; 1, 2, 5 of each decade where there are few decades."""
    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() == "log" and axis.get_transform().base == 10:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


PLOTS: dict[str, Callable[[Results], Figure | None]] = {
    "cpu": cpu,
    "connections": connections,
    "latency": latency,
    "idle": idle,
}
