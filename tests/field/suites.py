"""The tests that programs of the field have of their own, as far as they start servers; what each needs to run.

A test that fails under turboserver must fail under the standard library as well, or stand in DIFFERENCES with the
reason. The archives are fetched by `make field` (requirements/suites).

What may not live here: tests of frameworks, which tests/test_frameworks_suites.py runs.
"""
import dataclasses
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


CASES = {
    "dnslib": Suite("dnslib-0.9.26", "lines", ("--doctest-modules", "dnslib/server.py"), 1),
    "fakeredis": Suite("fakeredis-2.41.0", "lines", ("test/test_tcp_server",), 10),
    "jsonrpclib": Suite("jsonrpclib_pelix-1.2.0", "lines", ("tests",), 100),
    "MkDocs": Suite("mkdocs-1.6.1", "documents", ("mkdocs/tests/livereload_tests.py",), 20),
    "Paste": Suite("paste-3.10.1", "web", ("tests/test_httpserver.py", "tests/test_proxy.py"), 5),
    "pdoc": Suite("pdoc-16.0.0", "documents", ("test/test_web.py",), 3),
    "Pelican": Suite("pelican-4.12.0", "documents", ("pelican/tests/test_server.py",), 3),
    "prometheus_client": Suite("prometheus_client-0.26.0", "web", ("tests",), 300),
    "pyModbusTCP": Suite("pymodbustcp-0.3.1", "lines", ("tests",), 20),
    "pynetdicom": Suite("pynetdicom-3.0.4", "lines", ("pynetdicom/tests/test_transport.py", "pynetdicom/tests/test_ae.py"),
                        80),
    "pytest-httpbin": Suite("pytest_httpbin-2.1.0", "web", ("tests",), 10),
    "pytest-httpserver": Suite("pytest_httpserver-1.2.0", "web", ("tests",), 100),
    "pytest-localserver": Suite("pytest_localserver-0.10.0.post0", "web", ("tests",), 20),
    "python-lsp-server": Suite("python_lsp_server-1.15.0", "lines", ("test/test_language_server.py",), 1),
    "requests": Suite("requests-2.34.2", "web", ("tests",), 300),
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
