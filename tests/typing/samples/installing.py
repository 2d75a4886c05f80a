"""Programs that are not changed: our classes in place of the originals; the command; which lane."""

import sys
from typing import assert_type

import turboserver
from turboserver import install, lanes, uninstall
from turboserver.cli import main
from turboserver.http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

install()
try:
    assert_type(turboserver.accelerated, bool)
    assert_type(turboserver.__version__, str)
finally:
    uninstall()

decision = lanes.decide(ThreadingHTTPServer, BaseHTTPRequestHandler)
for reason in decision.reasons:
    assert_type(reason.why, str)
assert_type(decision.handler_hooks, frozenset[str])
print(lanes.explain(BaseHTTPRequestHandler, server=ThreadingHTTPServer))
if decision.lane == lanes.REACTOR:
    sys.exit(main(["explain", "program:Handler"]))
