"""The tests that programs of the field have of their own, as far as they start servers; what each needs to run.

A test that fails under turboserver must fail under the standard library as well, or stand in DIFFERENCES with the
reason. The archives are fetched by `make field` (requirements/suites).

Left out are pdoc's, whose requests are of HTTP/1.1 without a Host, which is 400 here (ARCHITECTURE.md); pynetdicom's, which
take for granted that shutdown() lasts half a second, in which other threads end; and those that need older tools.

What may not live here: tests of frameworks, which tests/test_frameworks_suites.py runs.
"""
import dataclasses
import os
import subprocess
import xml.etree.ElementTree

import running

SUITES = running.BUILD / "suites"
#: Seconds that one suite may take.
LIMIT = 300


@dataclasses.dataclass(frozen=True)
class Suite:
    folder: str             # of the archive
    group: str              # environment
    arguments: tuple        # of pytest
    fewest: int             # tests that must pass under turboserver: else it was not what we think that ran


#: Without a configuration of its own a suite must not get ours.
ALONE = ("-c", os.devnull, "--rootdir=.")
CASES = {
    "dnslib": Suite("dnslib-0.9.26", "lines", (*ALONE, "--doctest-modules", "dnslib/server.py"), 1),
    # Some of its tests need a module that its archive has not.
    "jsonrpclib": Suite("jsonrpclib_pelix-1.2.0", "lines", (*ALONE, "tests", "--continue-on-collection-errors"), 60),
    "MkDocs": Suite("mkdocs-1.6.1", "documents", (*ALONE, "mkdocs/tests/livereload_tests.py"), 20),
    "Pelican": Suite("pelican-4.12.0", "documents", (*ALONE, "pelican/tests/test_server.py"), 2),
    "prometheus_client": Suite("prometheus_client-0.26.0", "web", (*ALONE, "tests"), 290),
    "pyModbusTCP": Suite("pymodbustcp-0.3.1", "lines", (*ALONE, "tests"), 18),
    # The test that is left out looks at what its server says behind its closing of the connection, which comes as it comes.
    "pytest-httpbin": Suite("pytest_httpbin-2.1.0", "web",
                            ("tests", "--deselect=tests/test_server.py::test_dont_crash_on_handshake_timeout"), 20),
    "pytest-httpserver": Suite("pytest_httpserver-1.2.0", "web", ("tests",), 130),
    "pytest-localserver": Suite("pytest_localserver-0.10.0.post0", "web", (*ALONE, "tests"), 50),
    "Werkzeug, its server": Suite("werkzeug-3.1.9", "web", ("tests/test_serving.py",), 20),
}

#: (suite, the end of a test's name) -> why it fails under turboserver alone.
DIFFERENCES = {}


def run(suite, mode, report):
    """({test: "passed", "skipped" or what went wrong}, what pytest said). report: a path that is not there yet."""
    begin = ["-m", "turboserver", "run"] if mode == "turboserver" else []
    done = subprocess.run(
        [running.python_of(suite.group), "-W", "ignore", *begin, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short",
         "--timeout=60", "-o", "addopts=", f"--junitxml={report}", *suite.arguments],
        cwd=SUITES / suite.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=LIMIT, env=running.environ_of() | {"PYTHONDONTWRITEBYTECODE": "1"})
    outcomes = {}
    if report.exists():
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            outcomes[f"{case.get('classname')}.{case.get('name')}"] = outcome(case)
    return outcomes, done.stdout.decode(errors="replace")


def outcome(case):
    """Of a <testcase> of JUnit's XML."""
    for child in case:
        if child.tag in ("failure", "error"):
            return f"{child.get('message')}\n{child.text}"
    return "passed" if case.find("skipped") is None else "skipped"
