"""Programs that nobody here wrote, unchanged, under turboserver: that they work, and in which lane.

What is asked of each stands beside it, in field/rows_*.py. `make field` makes the environments, runs all rows under the
standard library as well, so that a check which could not fail there is seen, and measures (field/measure.py). Without it
the rows of the short form run, as far as their environments are there.
"""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "field"))
import rows  # noqa: E402
import running  # noqa: E402

WHOLE = os.environ.get("FIELD") == "whole"
CASES = [pytest.param(row, mode, id=f"{row.id}-{mode}") for row in rows.ROWS for mode in reversed(running.MODES)
         if WHOLE or row.short and mode == "turboserver"]


@pytest.mark.parametrize("row, mode", CASES)
def test_program(row, mode, tmp_path):
    try:
        running.python_of(row.group)
    except running.Absent as absent:
        pytest.skip(str(absent))
    if row.check is None:
        running.run_once(row, mode, tmp_path)
        return
    with running.running(row, mode, tmp_path) as program:
        program.visit("check")
        server = program.servers()[-1]
    assert server["lane"] == (row.lane if mode == "turboserver" else None), server
