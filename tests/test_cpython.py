"""CPython's own suites after turboserver.install(): one test for each suite, lane and poller.

Nothing may fail that is not listed in cpython/known_failures.py, what is listed there must fail, and enough must
have run.  A test that also fails on the plain standard library on this machine is excused, and said so.
Select or leave out with `-m cpython`; by hand: `python tests/cpython/run.py --help`.
"""
import concurrent.futures
import os
import sys

import pytest

import support

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "cpython"))
import known_failures  # noqa: E402
import run as runner  # noqa: E402

#: Suite -> (fewest tests that must have run, lanes).  TURBOSERVER_LANE can hold a program in a slower lane and never
#: puts it in a faster one, so "reactor" would be "auto" once more.  Root cannot run the CGI tests of test_httpservers.
SUITES = {
    "test_socketserver": (25, ("auto", "blocking", "compatible")),
    "test_httpservers": (40, ("auto", "blocking", "compatible")),
    "test_wsgiref": (30, ("auto", "blocking", "compatible")),
    "test_xmlrpc": (80, ("auto", "blocking", "compatible")),
    "test_docxmlrpc": (8, ("auto", "blocking", "compatible")),
    "test_urllib2_localnet": (18, ("auto", "blocking", "compatible")),
    "test_logging": (200, ("auto", "compatible")),
}
CASES = [(suite, lane, None) for suite, (unused, lanes) in SUITES.items() for lane in lanes]
CASES += [(suite, "auto", "poll") for suite in ("test_socketserver", "test_httpservers", "test_xmlrpc")]

#: Suites at once: they mostly wait.
JOBS = 3

pytestmark = [pytest.mark.cpython, pytest.mark.limit(len(CASES) * runner.SUITE_LIMIT)]


@pytest.fixture(scope="module")
def reports(request):
    """report(case), for the cases selected in this run."""
    support.load_backend("turboserver")
    if "PYTEST_XDIST_WORKER" in os.environ:     # which selects them all, and is to run a few
        yield lambda case: runner.run(*case)
        return
    selected = {item.callspec.params["case"] for item in request.session.items
                if item.name.startswith("test_suite[") and item.module is request.module}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        running = {case: pool.submit(runner.run, *case) for case in CASES if case in selected}
        yield lambda case: running[case].result()
        pool.shutdown(cancel_futures=True)


def show(report, failed):
    lines = [f"{name}:\n{report['reasons'].get(name, '(it was running when the process ended)')}" for name in failed]
    if report["error"]:
        lines += [report["error"]] + report["output"].splitlines()[-60:]
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(filter(None, case)))
def test_suite(case, reports, capsys):
    suite, lane, poller = case
    report = reports(case)
    if report["missing"]:
        pytest.skip(f"this Python ships no test.{suite} (on Debian: libpython3-testsuite)")
    failed = runner.names(report, "failed", "running")
    if not report["error"] and report["installed"] is False and not support.REQUIRE_TURBOSERVER:
        pytest.skip("turboserver.install() replaced nothing: the native engine is not loaded")
    assert not report["error"], show(report, failed)
    assert report["installed"], "turboserver.install() replaced nothing"

    known = known_failures.known_failures(suite, lane)
    unlisted = [name for name in failed if name not in known]
    if unlisted and not any("(" in name for name in unlisted):
        baseline = runner.run(suite, stdlib=True, tests=unlisted)
        excused = [name for name in unlisted if baseline["outcomes"].get(name) == "failed"]
        if excused:
            with capsys.disabled():
                print(f"\n{suite}: fail on the plain standard library on this machine too: {', '.join(excused)}")
        unlisted = [name for name in unlisted if name not in excused]
    assert not unlisted, show(report, unlisted)

    passed = runner.names(report, "passed")
    assert not set(known) & set(passed), "listed in known_failures.py, but passed"
    assert not set(known) - set(report["outcomes"]), "listed in known_failures.py, but not in this suite"
    assert len(passed) + len(failed) >= SUITES[suite][0], "too few tests ran"


@pytest.mark.parametrize("entry", known_failures.KNOWN, ids=lambda entry: f"{entry.suite}-{entry.test}")
def test_known_failures_are_in_order(entry):
    assert entry.suite in SUITES and entry.reason and set(entry.lanes) <= set(known_failures.LANES)
