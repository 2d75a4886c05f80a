"""Builds without the GIL: the engine does not say that it is safe there, so importing it turns the GIL on, which the interpreter
says by its own warning; all works as elsewhere. ARCHITECTURE.md (Interpreters) has what is missing for more.
"""
import os
import subprocess
import sys
import sysconfig

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = os.path.join(HERE, "free_threading.py")

free_threaded = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python cannot run without the GIL")


def run(*arguments, **more):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON_GIL", "TURBOSERVER_LANE")}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=100, check=False,
                          env={**environment, **more})
    return done.returncode, done.stdout, done.stderr


@free_threaded
def test_importing_the_engine_turns_the_gil_on_and_says_so():
    """One warning, of the first extension; importing the package alone loads none."""
    status, out, err = run("-c", """
import sys, turboserver
print(sys._is_gil_enabled())
import turboserver.http.server, turboserver.wsgiref.simple_server
print(turboserver.accelerated, sys._is_gil_enabled())
""")
    assert (status, out) == (0, "False\nTrue True\n")
    assert err.count("RuntimeWarning") == 1 and "The global interpreter lock (GIL) has been enabled to load module 'turboserver." in err


@free_threaded
def test_without_a_warning_where_the_gil_is_asked_for():
    assert run("-W", "error", "-c", "import turboserver.http.server as s, sys; print(sys._is_gil_enabled())", PYTHON_GIL="1") == (
        0, "True\n", "")


@free_threaded
@pytest.mark.limit(120)
def test_every_lane_under_load_with_the_gil_that_importing_turns_on():
    status, out, err = run("-W", "ignore::RuntimeWarning", LOAD, "--seconds", "1", "--gil", "on")
    assert (status, out.count("nothing wrong")) == (0, 7), out + err
