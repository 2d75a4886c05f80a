"""The tests that say most about memory and hand-overs once more, with the native engine under sanitizers.

`make sanitize` runs nearly all tests so; see tests/sanitize.py.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sanitize

LIMIT = 900     # seconds, on a busy machine: a hang, not a speed limit
# The C units run under ThreadSanitizer in any case (test_csrc.py).
GROUPS = sanitize.SHORT if os.environ.get("TURBOSERVER_LONG") == "1" else ["address,undefined"]


@pytest.mark.limit(LIMIT + 30)
@pytest.mark.parametrize("group", GROUPS)
def test_short_form(group):
    done = subprocess.run(
        [sys.executable, Path(sanitize.__file__), f"--sanitize={group}", "--short", "-q"], timeout=LIMIT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode == sanitize.UNAVAILABLE:
        pytest.skip(done.stdout.strip().partition("\n")[0])
    assert done.returncode == 0, done.stdout[-30000:]


def test_every_test_named_exists():
    unsuitable = [test for tests in sanitize.UNSUITABLE_FOR.values() for test in tests]
    for test in (*sanitize.UNSUITABLE, *unsuitable, *sum(sanitize.SHORT.values(), ())):
        path, *parts = test.partition("[")[0].split("::")
        text = (sanitize.ROOT / path).read_text()
        assert all(re.search(rf"^ *(class|def) {part}\b", text, re.MULTILINE) for part in parts), f"no test {test}"
