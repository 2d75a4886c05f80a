"""The fuzz targets (tests/fuzz/): what once crashed them, their seeds, and a few seconds of new inputs for each.

A target that cannot be built here is skipped, with the reason. The lines that are printed (inputs, edges) are for the
log; `make fuzz` runs for longer. FUZZ_TEST_SECONDS changes the few seconds, 0 leaves them out.
"""

import os
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parent / "fuzz"
sys.path.insert(0, str(FUZZ))

import fuzzing  # noqa: E402
import support  # noqa: E402

SECONDS = int(os.environ.get("FUZZ_TEST_SECONDS", "8"))
SLOW_MACHINE = 240  # seconds in which a build, or a replay, has ended


def tried(name, capsys):
    """Replays and fuzzes a target; fails with the target's own words."""
    try:
        seeds = fuzzing.seeds_of(name)
        results = [fuzzing.replay(name, [*fuzzing.regressions_of(name), *sorted(seeds.iterdir())], SLOW_MACHINE)]
        if results[0].status == 0 and SECONDS > 0:
            # The same ones each time: what is found here is to be found again. `make fuzz` looks for new ones.
            results.append(fuzzing.fuzz(name, SECONDS, SLOW_MACHINE, seed=1))
    except fuzzing.CannotBuild as reason:
        pytest.skip(str(reason))
    with capsys.disabled():
        print(f"\nfuzz: {name}: {results[-1].runs} inputs, {results[-1].edges or 'unknown'} edges, "
              f"{results[-1].cpu:.0f} s", end=" ")  # fmt: skip
    for result in results:
        assert result.status == 0, result.output[-20000:]


@pytest.mark.limit(600)
@pytest.mark.parametrize("name", fuzzing.TARGETS_C)
def test_c(name, capsys):
    tried(name, capsys)


@pytest.mark.limit(600)
@pytest.mark.parametrize("name", fuzzing.TARGETS_PYTHON)
def test_python(name, capsys):
    if not support.has_turboserver():
        pytest.skip("the native engine is not there")
    tried(name, capsys)


def test_each_target_is_there():
    sources = {path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.*")}
    assert sources == set(fuzzing.TARGETS)
    for folder in (FUZZ / "regressions").iterdir():
        assert folder.name in fuzzing.TARGETS or folder.name.startswith("."), folder
