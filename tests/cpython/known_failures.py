"""Tests of CPython's own suites that are allowed to fail after turboserver.install(), each with its reason.

The aim is that this stays empty.  The list is strict: a test listed here that passes is a failure too, so that
an entry goes when its reason goes.  Tests that fail on the plain standard library on the same machine (no
network, say) are found out when the suites run and do not belong here.

    KNOWN = [
        Known("test_httpservers", "SimpleHTTPServerTestCase.test_get", "why it must differ",
              lanes=("reactor",), when=sys.version_info >= (3, 14)),
    ]
"""
import dataclasses
import sys  # noqa: F401  (for the conditions of entries)

LANES = ("auto", "reactor", "blocking", "compatible")


@dataclasses.dataclass(frozen=True)
class Known:
    """One excused test: `test` is "Class.method" as in the suite; `lanes` and `when` narrow the excuse."""
    suite: str
    test: str
    reason: str
    lanes: tuple = LANES
    when: bool = True


_MODULE_NAMES = ("it compares __all__ with the classes whose __module__ is the standard module's name; after install() "
                 "the module holds ours, which say truthfully that they are turboserver's")

KNOWN: list[Known] = [
    Known("test_socketserver", "MiscTestCase.test_all", _MODULE_NAMES),
    Known("test_httpservers", "MiscTestCase.test_all", _MODULE_NAMES),
    Known("test_httpservers", "SimpleHTTPServerTestCase.test_browser_cache_with_If_None_Match_header",
          "it wants 200 for If-None-Match: *, which the original does not look at; of a file that is there that is 304 "
          "(RFC 9110, 13.1.2)"),
]


def known_failures(suite, lane):
    """{"Class.method": reason} for a suite in a lane under the running Python."""
    return {entry.test: entry.reason for entry in KNOWN
            if entry.suite == suite and lane in entry.lanes and entry.when}
