"""bench/: results as data, their words and pictures, and what the environment does with a peer that cannot be had.

One short run shows that a figure comes out; nothing is judged by it, and nothing comes from the network.
"""
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"


@pytest.fixture(autouse=True)
def bench_modules(monkeypatch):
    """bench/ is a folder of scripts that import each other by plain name; nothing of it stays for other tests."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(BENCH)):
            del sys.modules[name]


@pytest.fixture
def results():
    import results

    return results


@pytest.fixture
def environment():
    pytest.importorskip("fcntl", reason="the benchmark is for POSIX systems")
    import environment

    return environment


@pytest.fixture
def run(results):
    """A small run with all that can be: figures, none, a failure, bars of each verdict, both series."""
    sample = results.Sample

    def server(*cpu):
        return results.ServerResult([sample(value, 1e6 / value, 0.5, 2.0, 4.0, 0, 20.5) for value in cpu])

    hello = results.Scenario(
        "13 octets",
        "32 connections",
        {
            "limit": server(2.0, 1.9, 2.4),
            "turbo": server(2.5, 2.2, 2.4),
            "stock": server(170.0, 180.0),
            "bjoern": server(5.0, 6.0, 5.5),
            "waitress": server(80.0),
            "granian": results.ServerResult([sample(0.1, 9e9)], failed="wrong answer: 500 | no body"),
        },
        [
            results.Bar("CPU, x the limit", 1.2, 1.25, True),
            results.Bar("CPU, x bjoern", 0.95, 0.9, True),
            results.Bar("requests/s, x stock", None, 8.0, False),
        ],
    )
    download = results.Scenario(
        "10 MiB",
        "4 connections",
        {"turbo": results.ServerResult([sample(rate=100.0, octets_rate=2.0**30, errors=2)])},
    )
    return results.Results(
        "2025-01-02",
        {"cpu": "A|B", "cores": 2, "memory_gib": 4, "kernel": "6.1", "system": "Linux"},
        {"python": "3.11.7", "nginx": "1.22.1-9 (pinned 1.22.1-8)"},
        ["rounds interleaved", "median and spread"],
        3,
        1.5,
        {"nginx": "not installed"},
        {"hello": hello, "download": download},
        {
            "connections": {"turbo": [[1, 3.0, 1e5], [64, 2.0, 4e5]], "stock": [[1, 150.0, 6e3], [64, 170.0, 5e3]]},
            "idle": {"turbo": [[0, 2**24], [10000, 2**25]]},
        },
    )


# ---------------------------------------------------------------- results


def test_json_there_and_back_is_the_same(run, results, tmp_path):
    again = results.Results.from_json(run.to_json())
    assert again == run
    assert isinstance(again.scenarios["hello"].servers["turbo"].samples[0], results.Sample)
    run.save(tmp_path / "new" / "results.json")
    assert results.Results.load(tmp_path / "new" / "results.json") == run
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


def test_json_has_the_documented_names(run):
    data = json.loads(run.to_json())
    assert data["format"] == 1 and data["rounds"] == 3 and data["missing"] == {"nginx": "not installed"}
    hello = data["scenarios"]["hello"]
    assert hello["servers"]["turbo"]["failed"] is None
    assert set(hello["servers"]["turbo"]["samples"][0]) == {
        "cpu_us", "rate", "p50_ms", "p99_ms", "p999_ms", "errors", "rss_mib", "octets_rate",
    }
    assert hello["bars"][2] == {"text": "requests/s, x stock", "value": None, "limit": 8.0, "at_most": False}
    assert data["series"]["idle"]["turbo"] == [[0, 2**24], [10000, 2**25]]


@pytest.mark.parametrize("change", [
    lambda data: data.update(format=2),
    lambda data: data.pop("format"),
    lambda data: data.pop("date"),
    lambda data: data.update(surprise=1),
    lambda data: data["scenarios"]["hello"].update(surprise=1),
    lambda data: data["scenarios"]["hello"]["bars"][0].pop("limit"),
    lambda data: data["scenarios"]["hello"]["servers"].update(turbo=[]),
])
def test_other_json_is_refused(run, results, change):
    data = json.loads(run.to_json())
    change(data)
    with pytest.raises(ValueError):
        results.Results.from_json(json.dumps(data))


def test_figures_that_are_no_numbers_are_not_written(run):
    run.scenarios["hello"].servers["turbo"].samples[0].cpu_us = float("nan")
    with pytest.raises(ValueError):
        run.to_json()


def test_medians_spread_and_errors(run, results):
    hello, download = run.scenarios["hello"], run.scenarios["download"]
    assert hello.median("limit", "cpu_us") == 2.0 and hello.spread("limit", "cpu_us") == (1.9, 2.4)
    assert hello.median("stock", "cpu_us") == 175.0
    assert hello.median("limit", "octets_rate") is None and hello.spread("limit", "octets_rate") is None
    assert hello.median("nobody", "cpu_us") is None and hello.spread("nobody", "cpu_us") is None
    assert hello.median("granian", "cpu_us") is None, "figures of a server that failed"
    assert download.median("turbo", "cpu_us") is None and download.servers["turbo"].errors == 2
    assert results.ServerResult().median("rate") is None


def test_ratio_and_best_peer(run, results):
    hello = run.scenarios["hello"]
    assert hello.ratio("turbo", "limit", "cpu_us") == pytest.approx(1.2)
    assert hello.ratio("turbo", "nobody", "cpu_us") is None and hello.ratio("nobody", "turbo", "cpu_us") is None
    assert hello.ratio("granian", "turbo", "cpu_us") is None and hello.ratio("turbo", "granian", "cpu_us") is None
    hello.servers["zero"] = results.ServerResult([results.Sample(0.0, 0.0)])
    assert hello.ratio("turbo", "zero", "cpu_us") is None and hello.ratio("zero", "turbo", "cpu_us") == 0
    del hello.servers["zero"]
    assert hello.best_peer() == hello.best_peer("rate") == "bjoern"
    assert run.scenarios["download"].best_peer() is None
    assert hello.ranking() == ["limit", "turbo", "bjoern", "waitress", "stock", "granian"]
    peers = [name for name in ("limit", "turbo", "turbo-wsgi", "stock", "stock-nodelay", "nginx") if
             results.is_peer(name)]
    assert peers == ["nginx"]


@pytest.mark.parametrize("value,at_most,verdict", [
    (1.0, True, "met"), (1.01, True, "missed"), (0.99, False, "missed"), (1.0, False, "met"),
    (None, True, "not shown"), (None, False, "not shown"), (0.0, True, "met"), (0.0, False, "missed"),
])
def test_a_bar_without_a_value_is_never_met(results, value, at_most, verdict):
    assert results.Bar("", value, 1.0, at_most).verdict == verdict


def test_compare(run, results):
    new = results.Results.from_json(run.to_json())
    for sample in new.scenarios["hello"].servers["turbo"].samples:
        sample.cpu_us *= 0.9
        sample.rate *= 1.2
    del new.scenarios["hello"].servers["waitress"], run.scenarios["hello"].servers["stock"]
    new.scenarios["hello"].servers["bjoern"].failed = "gone"
    rows = {(row.scenario, row.server): row for row in results.compare(run, new)}
    assert set(rows) == {("hello", "limit"), ("hello", "turbo"), ("download", "turbo")}
    assert rows["hello", "limit"].cpu_percent == rows["hello", "limit"].rate_percent == 0
    turbo = rows["hello", "turbo"]
    assert (turbo.cpu_old, turbo.cpu_new) == (2.4, pytest.approx(2.16))
    assert turbo.cpu_percent == pytest.approx(-10) and turbo.rate_percent == pytest.approx(20)
    download = rows["download", "turbo"]
    assert download.cpu_old is download.cpu_new is download.cpu_percent is None and download.rate_percent == 0
    del new.scenarios["download"], new.scenarios["hello"]
    assert results.compare(run, new) == []


# ---------------------------------------------------------------- words and pictures


def test_markdown_says_all(run):
    import report

    text = report.markdown(run)
    for name, scenario in run.scenarios.items():
        assert f"## {name}: {scenario.title}" in text and scenario.load in text
        for server in scenario.servers:
            assert server in text
    for needed in ("2025-01-02", "A|B", "3.11.7", "1.22.1-9 (pinned 1.22.1-8)", "rounds interleaved",
                   "nginx: not installed", "1 met, 1 missed, 1 not shown"):
        assert needed in text
    row = next(line for line in text.splitlines() if line.startswith("| **turbo** | 2.40"))
    assert row == "| **turbo** | 2.40 (2.20..2.50) | 1.20 | 0.44 | 416,667 | 0.50 | 2.00 | 4.00 | 0 | 20.5 |"
    assert "| **turbo** | 100 | 1,024 | 2 |" in text  # columns without a figure are left out
    assert "granian is not shown: wrong answer: 500 | no body" in text
    assert "| hello | requests/s, x stock | - | at least 8 | not shown |" in text
    for line in text.splitlines():  # every row of a table has as many cells as its head
        if line.startswith("| ---") or line.startswith("|  |") or line.startswith("| server"):
            width = line.count("|")
        elif line.startswith("|") and not line.startswith("| scenario"):
            assert line.replace("\\|", "").count("|") in (width, 6)


def test_markdown_of_an_empty_run(results):
    import report

    text = report.markdown(results.Results("2025-01-02", {}, {}, [], 1, 1.0))
    assert "2025-01-02" in text and "Bars" not in text


@pytest.mark.parametrize("value,text", [
    (None, "-"), (0, "0"), (0.01234, "0.012"), (0.5, "0.50"), (5.678, "5.68"), (56.78, "56.8"), (567.8, "568"),
    (1234567.8, "1,234,568"),
])
def test_figures(value, text):
    import report

    assert report.figure(value) == text


def test_a_bar_just_missed_does_not_look_met():
    import report

    assert report.figure(1.252) == "1.25" and report.measured(1.252) == "1.252"
    assert report.measured(9499.9) == "9,499.9" and report.measured(None) == "-"


def test_terminal(run, results):
    rich = pytest.importorskip("rich.console", reason="the tables need rich")
    import report

    console = rich.Console(width=200, record=True, file=open(os.devnull, "w"))
    with console.file:
        report.terminal(run, console)
        report.comparison(results.compare(run, run), console)
        report.comparison([], console)
    text = console.export_text()
    for server in run.scenarios["hello"].servers:
        assert server in text
    for needed in ("2.40 (2.20..2.50)", "best peer: bjoern", "1 met, 1 missed, 1 not shown", "+0.0 %",
                   "nginx could not take part: not installed", "no figure in common"):
        assert needed in text


def test_plots(run, tmp_path):
    pytest.importorskip("matplotlib", reason="the plots need matplotlib")
    import plots

    paths = plots.all(run, tmp_path / "a")
    assert {path.name for path in paths} == {
        f"{name}.{suffix}" for name in ("cpu", "connections", "latency", "idle") for suffix in ("png", "svg")
    }
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    for path in plots.all(run, tmp_path / "b"):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name
    run.scenarios, run.series = {}, {}
    assert plots.all(run, tmp_path / "c") == []


# ---------------------------------------------------------------- environment

#: Takes the place of a virtual environment's Python: pip knows no bjoern, cannot compile fastwsgi, installs the others;
#: what it was asked is kept. Of what was installed waitress cannot be imported.
FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in
*pip*bjoern*) echo "WARNING: noise"; echo "ERROR: No matching distribution found for bjoern"; echo; exit 1;;
*pip*fastwsgi*) echo "  fastwsgi.c:3:10: fatal error: uv.h: No such file or directory"; echo "  compilation terminated."
    echo "ERROR: Failed building wheel for fastwsgi"; exit 1;;
*import*waitress*) echo "Traceback (most recent call last):"; echo "ImportError: no such symbol"; exit 1;;
esac
"""


#: "Compiles" by copying the source to what follows -o; load.c has an error.
FAKE_COMPILER = """#!/bin/sh
for last; do :; done
case "$last" in
*/load.c) echo "load.c:1:2: error: no"; exit 1;;
--version) echo "cc 1.0"; exit;;
esac
while [ "$1" != -o ]; do shift; done
cp "$last" "$2"
"""


@pytest.fixture
def fake(environment, tmp_path):
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    log = tmp_path / "python.log"
    said = []

    def install(names=("bjoern", "fastwsgi", "waitress", "cheroot")):
        """(the environment, what was said, what pip and Python were asked)"""
        log.unlink(missing_ok=True)
        said.clear()
        made = environment.Environment(python)
        wanted = {name: {name: "1.0"} for name in names}
        environment.install_packages(made, wanted, environment.Stamps(tmp_path / "stamps"), said.append)
        return made, said, log.read_text().splitlines() if log.exists() else []

    return install


def test_a_peer_that_cannot_be_installed_is_reported_and_skipped(fake):
    made, said, asked = fake()
    assert made.missing == {
        "bjoern": "ERROR: No matching distribution found for bjoern",
        "fastwsgi": "fastwsgi.c:3:10: fatal error: uv.h: No such file or directory",
        "waitress": "ImportError: no such symbol",
    }
    assert made.versions == {"cheroot": "1.0"}
    for name, reason in made.missing.items():
        assert f"{name} is skipped: {reason}" in said
    calls = [line for line in asked if "pip install" in line]
    assert [line.split()[-1] for line in calls] == ["bjoern==1.0", "fastwsgi==1.0", "waitress==1.0", "cheroot==1.0"]


def test_a_second_call_installs_nothing_and_says_the_same(fake):
    first, _, _ = fake()
    again, said, asked = fake()
    assert asked == [] and again.missing == first.missing and again.versions == first.versions
    assert len(said) == 3 and all("is skipped" in line for line in said)


def test_what_failed_is_tried_again_later(fake, environment, monkeypatch):
    fake()
    monkeypatch.setattr(environment, "RETRY_AFTER", -1)
    _, _, asked = fake()
    assert sum("pip install" in line for line in asked) == 3 and not any("cheroot" in line for line in asked)


def test_stamps_hold_for_their_key_alone_and_broken_ones_do_not_count(environment, tmp_path):
    stamps = environment.Stamps(tmp_path / "stamps")
    assert stamps.get("x", "1") is None
    stamps.put("x", "1", versions={"a": "2"})
    assert stamps.get("x", "1")["versions"] == {"a": "2"} and stamps.get("x", "2") is None
    (tmp_path / "stamps" / "x").write_text('{"key": "1", ')
    assert stamps.get("x", "1") is None
    stamps.put("x", "1")
    stamps.drop("x")
    assert stamps.get("x", "1") is None


def test_turboserver_is_built_again_when_its_sources_change(environment, tmp_path):
    root, copy = tmp_path / "tree", tmp_path / "copy"
    (root / "src" / "p").mkdir(parents=True)
    (root / "csrc").mkdir()
    for name in ("src/p/a.py", "src/p/gone.py", "csrc/b.c", "setup.py", "pyproject.toml", "README.md"):
        (root / name).write_text(name)
    first = environment.tree_hash(root)
    (root / "src" / "p" / "_a.so").write_text("built elsewhere")
    (root / "README.md").write_text("other words")
    assert environment.tree_hash(root) == first
    environment.copy_sources(root, copy)
    assert not (copy / "src" / "p" / "_a.so").exists() and (copy / "README.md").read_text() == "other words"
    os.utime(copy / "csrc" / "b.c", (1, 1))
    (root / "src" / "p" / "a.py").write_text("changed")
    (root / "src" / "p" / "gone.py").unlink()
    assert environment.tree_hash(root) != first
    environment.copy_sources(root, copy)
    assert (copy / "src" / "p" / "a.py").read_text() == "changed" and not (copy / "src" / "p" / "gone.py").exists()
    assert (copy / "csrc" / "b.c").stat().st_mtime == 1, "what did not change is not compiled again"


def test_a_c_source_that_is_missing_or_wrong_is_a_reason(environment, tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    compiler.write_text(FAKE_COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    for name in ("limit.c", "load.c"):
        (tmp_path / name).write_text("source")
        os.utime(tmp_path / name, (1, 1))
    build = tmp_path / "build"
    build.mkdir()
    said = []

    def made():
        said.clear()
        new = environment.Environment(Path(sys.executable))
        environment.build_c_programs(new, tmp_path, build, said.append)
        return new

    first = made()
    assert first.missing == {"stream": "there is no stream.c", "load": "load.c:1:2: error: no"}
    assert first.program("limit") == build / "limit" and first.program("stream") is None
    assert first.versions == {"cc": "cc 1.0"} and "compiling limit.c" in said
    made()
    assert "compiling limit.c" not in said
    (tmp_path / "limit.c").write_text("newer source")
    os.utime(tmp_path / "limit.c", (2**32 - 1, 2**32 - 1))
    made()
    assert "compiling limit.c" in said and (build / "limit").read_text() == "newer source"


def test_debian_packages_without_apt_are_a_reason(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name, path=None: None)
    made, said = environment.Environment(Path(sys.executable)), []
    environment.find_debian_programs(made, tmp_path, environment.Stamps(tmp_path / "stamps"), said.append)
    reason = "not installed, and without apt-get its Debian package cannot be had"
    assert made.missing == {"wrk": reason, "nginx": reason} and not made.programs and not made.versions


def test_another_version_than_the_pinned_one_is_said(environment, tmp_path, monkeypatch):
    program = tmp_path / "wrk"
    program.write_text("#!/bin/sh\necho 'wrk 9.8.7 [epoll]'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(environment.pins, "DEBIAN_PROGRAMS", {"wrk": {"wrk": "4.1.0-3"}})
    made, said = environment.Environment(Path(sys.executable)), []
    environment.find_debian_programs(made, tmp_path, environment.Stamps(tmp_path / "stamps"), said.append)
    assert made.program("wrk") == program and made.versions == {"wrk": "9.8.7 (pinned 4.1.0-3)"}
    assert said == ["wrk: pinned 4.1.0-3, found 9.8.7"]
    assert environment.upstream("1:1.22.1-9+deb12u11") == "1.22.1" and environment.upstream("4.1.0-3+b2") == "4.1.0"


# ---------------------------------------------------------------- the command


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not on PATH")
def test_a_short_run(tmp_path):
    """A server that is up, checked, loaded and stopped, and what is written of it."""
    pytest.importorskip("rich", reason="rich shows the progress and the tables")
    written = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, BENCH / "run.py", "--no-environment", "--only", "hello", "--servers", "turbo,stock-nodelay",
         "--rounds", "1", "--seconds", "1", "--json", written, "--markdown", tmp_path / "results.md"],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    servers = json.loads(written.read_text())["scenarios"]["hello"]["servers"]
    for name in ("turbo", "stock-nodelay"):
        (sample,) = servers[name]["samples"]
        assert servers[name]["failed"] is None and sample["cpu_us"] > 0 and sample["rate"] > 0
    assert "turbo" in (tmp_path / "results.md").read_text()


def test_list():
    done = subprocess.run([sys.executable, BENCH / "run.py", "--list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in ("hello", "pipelined", "sleep-10ms", "echo-1000", "turbo", "limit", "bjoern", "nginx",
                 "wsgi-hello", "wsgi-flask", "wsgi-file", "turbo-gunicorn"):
        assert name in done.stdout, name


def test_the_modules_here_need_the_standard_library_alone():
    for name in ("results", "environment", "pins", "report"):
        if name == "environment" and not importlib.util.find_spec("fcntl"):
            continue
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(BENCH)!r}); import {name}"],
            capture_output=True, text=True, timeout=60,
        )
        assert done.returncode == 0, done.stderr
