#!/usr/bin/env python3
"""Run CPython's own test suites against turboserver, each in a process of its own.

    python tests/cpython/run.py [--lane LANE] [--poller NAME] [--stdlib] [--json] [--test NAME]... SUITE...

In the child, `turboserver.install()` comes before anything else is imported, so that the suite, and the modules
it tests (xmlrpc.server, logging.config), get our classes; with --stdlib it is left out, which gives the
baseline.  Without a suite, all of them run.  The exit status is 1 if anything failed.

The report of a suite is a dictionary:
    suite, lane, poller, stdlib     what was asked for
    python                          version of the interpreter
    installed                       whether http.server.HTTPServer is ours (None with --stdlib)
    outcomes                        {"Class.method": "passed" | "failed" | "skipped" | "running"}
    reasons                         {"Class.method": traceback or reason of the skip}
    seconds                         how long it took
    error                           why the process came to no end (crash, hang, import error), or None
    missing                         true if this interpreter ships no test package
    output                          what it wrote, for people
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

SUITES = ("test_socketserver", "test_httpservers", "test_wsgiref", "test_xmlrpc", "test_docxmlrpc",
          "test_urllib2_localnet", "test_logging")
LANES = ("auto", "reactor", "blocking", "compatible")

#: Seconds a suite may take; the slowest takes half a minute on the plain standard library.
SUITE_LIMIT = 400


# ---------------------------------------------------------------- in the child

def report_into(path, report):
    with open(path + ".new", "w") as file:
        json.dump(report, file)
    os.replace(path + ".new", path)


def child(suite, stdlib, tests, path):
    """Install, import the suite, run it; keep the report on disk up to date, for the case of a crash."""
    import faulthandler
    faulthandler.enable()
    faulthandler.dump_traceback_later(SUITE_LIMIT - 10, exit=True)
    report = {"installed": None, "outcomes": {}, "reasons": {}, "missing": False, "done": False}
    if not stdlib:
        import turboserver
        turboserver.install()
        import http.server
        report["installed"] = http.server.HTTPServer.__module__.startswith("turboserver.")
    import unittest
    try:
        import test.support  # noqa: F401
        import importlib
        module = importlib.import_module("test." + suite)
    except ImportError as error:
        report["missing"] = error.name in ("test", "test.support", "test." + suite)
        report_into(path, report)
        if report["missing"]:
            return 0
        raise

    def name_of(test):
        test = getattr(test, "test_case", test)  # of a subTest
        return ".".join(test.id().rsplit(".", 2)[-2:]) if "(" not in test.id() else test.id()

    class Result(unittest.TextTestResult):
        def note(self, test, outcome, reason=None):
            name = name_of(test)
            if report["outcomes"].get(name) != "failed":
                report["outcomes"][name] = outcome
            if reason:
                report["reasons"][name] = reason
            report_into(path, report)

        def startTest(self, test):
            super().startTest(test)
            self.note(test, "running")

        def addSuccess(self, test):
            super().addSuccess(test)
            self.note(test, "passed")

        def addExpectedFailure(self, test, err):
            super().addExpectedFailure(test, err)
            self.note(test, "passed")

        def addFailure(self, test, err):
            super().addFailure(test, err)
            self.note(test, "failed", self._exc_info_to_string(err, test))

        def addError(self, test, err):
            super().addError(test, err)
            text = self._exc_info_to_string(err, test) if hasattr(test, "failureException") else repr(err[1])
            self.note(test, "failed", text)

        def addUnexpectedSuccess(self, test):
            super().addUnexpectedSuccess(test)
            self.note(test, "failed", "unexpected success")

        def addSubTest(self, test, subtest, err):
            super().addSubTest(test, subtest, err)
            if err is not None:
                self.note(test, "failed", self._exc_info_to_string(err, test))

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            self.note(test, "skipped", reason)

    loader = unittest.defaultTestLoader
    if tests:
        chosen = loader.loadTestsFromNames(tests, module)
    else:
        chosen = loader.loadTestsFromModule(module)
    unittest.TextTestRunner(stream=sys.stderr, verbosity=2, resultclass=Result).run(chosen)
    report["done"] = True
    report_into(path, report)
    return 0


# ---------------------------------------------------------------- in the parent

def run(suite, lane="auto", poller=None, stdlib=False, tests=()):
    """Run one suite in a subprocess and return its report (see the module's docstring)."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("TURBOSERVER_LANE", "TURBOSERVER_POLLER", "PYTHONWARNINGS")}
    if lane != "auto":
        environment["TURBOSERVER_LANE"] = lane
    if poller:
        environment["TURBOSERVER_POLLER"] = poller
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cpython-suite-") as folder:
        path = os.path.join(folder, "report.json")
        cwd = os.path.join(folder, "cwd")
        os.mkdir(cwd)
        command = [sys.executable, os.path.abspath(__file__), "--child", path, suite]
        command += ["--stdlib"] if stdlib else []
        for test in tests:
            command += ["--test", test]
        error = None
        try:
            process = subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SUITE_LIMIT)
            output = process.stdout.decode(errors="replace")
            if process.returncode:
                error = f"exit status {process.returncode}"
        except subprocess.TimeoutExpired as expired:
            output = (expired.stdout or b"").decode(errors="replace")
            error = f"no end within {SUITE_LIMIT} s"
        try:
            with open(path) as file:
                report = json.load(file)
        except FileNotFoundError:
            report = {"installed": None, "outcomes": {}, "reasons": {}, "missing": False, "done": False}
            error = error or "no report"
    if not report.pop("done") and not report["missing"]:
        error = error or "ended within the suite"
    report.update(suite=suite, lane=lane, poller=poller, stdlib=stdlib, python=sys.version.split()[0],
                  seconds=round(time.monotonic() - begin, 1), error=error, output=output)
    return report


def names(report, *outcomes):
    """The tests of a report with one of these outcomes."""
    return sorted(name for name, outcome in report["outcomes"].items() if outcome in outcomes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: " + " ".join(SUITES))
    parser.add_argument("--lane", choices=LANES, default="auto")
    parser.add_argument("--poller", help="epoll, kqueue or poll")
    parser.add_argument("--stdlib", action="store_true", help="do not install turboserver: the baseline")
    parser.add_argument("--json", action="store_true", help="print the reports, a line each")
    parser.add_argument("--test", action="append", default=[], help='only this test ("Class.method")')
    parser.add_argument("--child", metavar="REPORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.suites[0], options.stdlib, options.test, options.child)
    bad = False
    for suite in options.suites or SUITES:
        report = run(suite, options.lane, options.poller, options.stdlib, options.test)
        failed = names(report, "failed", "running")
        bad = bad or bool(failed or report["error"])
        if options.json:
            print(json.dumps(report))
            continue
        where = "stdlib" if options.stdlib else f"lane {options.lane}"
        print(f"{suite} ({where}, Python {report['python']}, {report['seconds']} s): "
              f"{len(names(report, 'passed'))} passed, {len(failed)} failed, "
              f"{len(names(report, 'skipped'))} skipped"
              + (", no test package in this Python" if report["missing"] else "")
              + (f", {report['error']}" if report["error"] else ""))
        for name in failed:
            print(f"  {report['outcomes'][name].upper()} {name}")
            print("    " + report["reasons"].get(name, "").strip().replace("\n", "\n    "))
        if report["error"]:
            print("  end of the output:\n    " + "\n    ".join(report["output"].splitlines()[-40:]))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
