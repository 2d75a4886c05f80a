"""The tests that programs of the field have of their own, under `turboserver run` and, where one fails, without.

Which they are stands in field/suites.py. They need minutes, and archives that `make field` fetches: it runs them.
"""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "field"))
import running  # noqa: E402
import suites  # noqa: E402

#: Some hang on the moment: they fail under the standard library now and then.
RUNS_OF_THEIRS = 4

pytestmark = [pytest.mark.limit((RUNS_OF_THEIRS + 1) * suites.LIMIT),
              pytest.mark.skipif(os.environ.get("FIELD") != "whole", reason="takes minutes: `make field` runs it")]


@pytest.mark.parametrize("name", suites.CASES)
def test_suite(name, tmp_path):
    suite = suites.CASES[name]
    try:
        running.python_of(suite.group)
    except running.Absent as absent:
        pytest.skip(str(absent))
    if not (running.BUILD / ".suites").exists():
        pytest.skip("the programs' own tests are not here: `make field` fetches them")
    outcomes, said = suites.run(suite, "turboserver", tmp_path / "ours")
    passed = [test for test, outcome in outcomes.items() if outcome == "passed"]
    assert len(passed) >= suite.fewest, said[-5000:]
    bad = {test: outcome for test, outcome in outcomes.items()
           if outcome not in ("passed", "skipped") and not known(name, test)}
    for number in range(RUNS_OF_THEIRS):
        if not bad:
            break
        theirs, unused = suites.run(suite, "stdlib", tmp_path / f"theirs{number}")
        bad = {test: outcome for test, outcome in bad.items() if theirs.get(test) in ("passed", "skipped")}
    assert not bad, "\n\n".join(f"{test}:\n{outcome}" for test, outcome in sorted(bad.items()))


def known(name, test):
    return any(suite == name and test.endswith(end) for suite, end in suites.DIFFERENCES)
