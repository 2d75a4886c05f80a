"""The tests that frameworks have of their own, over real sockets, on the WSGI server.

frameworks/bridge.py puts the server between a framework's test client and the application; Django starts servers in
its tests itself. A test that fails on our server must fail on the standard library's, too (a test may look at what no
server gives it, as the type of wsgi.input). `make frameworks` fetches them; skipped without.
"""
import json
import os
import re
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "frameworks"))
import asking  # noqa: E402

SUITES = os.path.join(asking.ENVIRONMENT, "suites")
SUITE_LIMIT = 600
#: Some look at what a server may or may not have closed at that moment: they fail on the standard library's now and then.
RUNS_OF_THEIRS = 4

#: Without a configuration of its own a suite must not get ours.
ALONE = ["-c", os.devnull, "--rootdir=."]
#: Suite -> (folder, options, arguments, fewest tests that must pass, fewest requests that must go over the wire).
CASES = {
    "bottle": ("bottle-0.13.4", ALONE, ["test"], 365, 180),
    "Falcon": ("falcon-4.4.0", [], ["tests", "--ignore=tests/asgi", "-k", "not asgi and not ASGI and not wsgi_servers"],
               2200, 1100),
    "Flask": ("flask-3.1.3", [], ["tests"], 470, 470),
    "Pyramid": ("pyramid-2.1", [], ["tests"], 2600, 160),
    "WebOb": ("webob-1.8.11", [], ["tests"], 2400, 100),
    "WebTest": ("webtest-3.0.7", [], ["tests"], 165, 300),
    "Werkzeug": ("werkzeug-3.1.9", [], ["tests", "--ignore=tests/test_serving.py"], 880, 140),
}
#: Where ours differs by intent: start_response refuses what would break a head, and a field that is no pair (a str of
#: two characters is one to the standard library).
MEANT = ("ValueError: control character in", "AssertionError: not an answer: '200 OK', ['fo']")
#: WebOb's tests put a handle_error of their own into wsgiref's ServerHandler: the slower lane, HTTP/1.0.
NOT_KEPT = {"WebOb"}
#: One folder of Django's tests each, those in which servers are started or wsgiref is looked at.
DJANGO = ("django-5.2.19/tests", ["servers", "builtin_server", "wsgi", "staticfiles_tests.test_liveserver",
                                  "file_uploads", "handlers"], 110)

pytestmark = pytest.mark.limit(3 * SUITE_LIMIT)


@pytest.fixture(scope="module", autouse=True)
def environment():
    asking.require_environment()
    if not os.path.exists(os.path.join(asking.ENVIRONMENT, ".suites")):
        pytest.skip("the frameworks' own tests are not here: `make frameworks` fetches them")


def run(folder, arguments, **more):
    """Output of Python with `arguments` in a folder of SUITES; in a process of its own, ended at SUITE_LIMIT."""
    done = subprocess.run([asking.PYTHON, "-W", "ignore", *arguments], cwd=os.path.join(SUITES, folder),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=asking.program_environ(**more), timeout=SUITE_LIMIT)
    return done.stdout.decode(errors="replace")


def run_bridged(server, folder, arguments, report):
    """What bridge.py reports of a run of pytest in `folder`."""
    said = run(folder, ["-m", "pytest", "-p", "bridge", "-q", "--tb=short", "-p", "no:cacheprovider", "--timeout=60",
                        "--continue-on-collection-errors", *arguments],
               BRIDGE=server, BRIDGE_REPORT=str(report))
    assert os.path.exists(report), said[-3000:]
    with open(report) as file:
        return json.load(file)


@pytest.mark.parametrize("suite", CASES)
def test_suite(suite, tmp_path):
    folder, options, arguments, fewest_passed, fewest_requests = CASES[suite]
    ours = run_bridged("turboserver", folder, [*options, *arguments], tmp_path / "ours")
    assert len(ours["passed"]) >= fewest_passed and ours["over_the_wire"] >= fewest_requests, ours
    assert suite in NOT_KEPT or ours["kept"] > ours["over_the_wire"] * 0.8, "a kept connection is the rule"
    failed = {name: reason for name, reason in ours["failed"].items() if not any(meant in reason for meant in MEANT)}
    theirs = {}
    for number in range(RUNS_OF_THEIRS):
        if failed.keys() <= theirs.keys():
            break
        # Only these are run on the other server.
        theirs |= run_bridged("stdlib", folder, [*options, *sorted(failed)], tmp_path / f"theirs{number}")["failed"]
    ours_alone = failed.keys() - theirs.keys()
    assert not ours_alone, "\n\n".join(f"{name}:\n{failed[name]}" for name in sorted(ours_alone))


def django_failures(*command):
    folder, labels, fewest = DJANGO
    said = run(folder, [*command, "runtests.py", "--parallel=1", *labels])
    ran = re.search(r"^Ran (\d+) tests", said, re.M)
    assert ran and int(ran[1]) >= fewest, said[-3000:]
    return set(re.findall(r"^(?:FAIL|ERROR): (.*)", said, re.M)), said


def test_django():
    """Live servers, the built-in server, uploads."""
    failed, said = django_failures("-m", "turboserver", "run")
    if failed:
        assert failed <= django_failures()[0], said[-5000:]
