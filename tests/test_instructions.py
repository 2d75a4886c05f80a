"""The gate of bench/instructions.py: it holds for this Python, and it can fail.

Needs valgrind and committed figures for the running Python, and is skipped, with the reason, where they are missing.
"""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture(scope="module")
def gate():
    sys.path.insert(0, str(BENCH))
    try:
        import instructions
        yield instructions
    finally:
        sys.path.remove(str(BENCH))


@pytest.mark.limit(300)
def test_no_lane_has_become_dearer():
    ran = subprocess.run([sys.executable, BENCH / "instructions.py", "--check"], capture_output=True, text=True,
                         check=False)  # fmt: skip
    last = (ran.stdout.splitlines() or [""])[-1]
    if ran.returncode == 0 and last.startswith("not checked"):
        pytest.skip(last)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    print(ran.stdout)


@pytest.mark.parametrize(
    ("now", "verdict", "shut"),
    [
        (10_600, "more", True),
        (10_400, "", False),
        (10_000, "", False),
        (9_600, "", False),
        (9_400, "fewer", False),
    ],
)
def test_verdict(gate, now, verdict, shut):
    counted = {"single": now, "threading": 10_000}
    rows = gate.compare(counted, {"single": 10_000, "threading": 10_000, "wsgi": 1})
    assert [(row.name, row.verdict) for row in rows] == [("single", verdict), ("threading", "")]
    assert gate.failed(rows) == shut
    assert f"{now:,}" in gate.table(rows)


@pytest.mark.parametrize(
    ("again", "kept", "asked"),
    [([10_100], 10_100, 1), ([10_700, 10_300], 10_300, 2), ([10_600, 10_800], 10_600, 2), ([10_900, 10_700], 10_700, 2)],
)
def test_the_least_of_three_counts_where_one_is_above(gate, again, kept, asked):
    answers = iter(again)
    named = []
    counted = {"single": 10_750, "threading": 10_400}
    gate.count_again(counted, {"single": 10_000, "threading": 10_000}, lambda name: named.append(name) or next(answers))
    assert counted == {"single": kept, "threading": 10_400} and named == ["single"] * asked


def test_a_case_without_a_figure_fails(gate):
    rows = gate.compare({"single": 10_000}, {})
    assert rows[0].verdict == "new" and gate.failed(rows)
    assert "NO FIGURE" in gate.table(rows)


def test_the_monitor_is_left_out(gate, tmp_path):
    dump = tmp_path / "dump.2"
    dump.write_text(
        "# callgrind format\npositions: line\nevents: Ir\nsummary: 1000\n\n"
        "fn=work\n0 700\ncfn=monitor_main\ncalls=1 0\n0 300\n\n"
        "fn=monitor_main\n0 20\ncfn=look\ncalls=4 0\n0 30\n\nfn=look\n0 30\n"
    )
    assert gate.serving_instructions(dump) == 950


def test_every_case_has_its_server(gate):
    servers = (BENCH / "instructions_servers.py").read_text()
    for name in gate.CASES:
        assert f'    "{name}": (' in servers
