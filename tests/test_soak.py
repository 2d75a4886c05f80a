"""The short form of soak.py: a mixed load for some seconds, and nothing of it is left."""
import os

import pytest

import soak
from stress import processes
from turboserver.http.server import BaseHTTPRequestHandler

USABLE = processes.USABLE and hasattr(BaseHTTPRequestHandler, "turbo_head_timeout")
pytestmark = pytest.mark.skipif(not USABLE, reason="needs the deadlines of the native engine, /proc and epoll")


# The others take their time, most of it to wait until all has ended.
KINDS = [("threading", "auto", 6), ("single", "auto", 3)]
if os.environ.get("TURBOSERVER_LONG") == "1":
    KINDS += [("threading", "blocking", 3), ("wsgi", "auto", 3), ("forking", "auto", 3)]


@pytest.mark.parametrize("server, lane, seconds", KINDS)
def test_nothing_is_left_of_a_mixed_load(server, lane, seconds):
    run = soak.Soak(soak.parse(["--minutes", str(seconds / 60), "--seed", "1", "--server", server, "--lane", lane,
                                "--good", "4", "--bad", "12", "--deadlines", "0.4", "--quiet"]))
    assert run.run(), run.report()
    assert run.visits > 20
