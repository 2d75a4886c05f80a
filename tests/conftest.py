"""Fixtures for all tests: the backend a test runs on, TLS material, and a guard against hangs."""
import faulthandler
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import warnings

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

pytest.register_assert_rewrite("support", "deployed", "differential", "known_differences")

if sysconfig.get_config_var("Py_GIL_DISABLED") and "PYTHON_GIL" not in os.environ:
    # The engine turns the GIL on, with a warning that would be an error here, and a line too many on the stderr of the
    # programs that tests start. test_interpreter_threads.py looks at it.
    os.environ["PYTHON_GIL"] = "1"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The global interpreter lock", RuntimeWarning)
        import turboserver

        turboserver.accelerated  # noqa: B018  (loads it)

import support  # noqa: E402

#: Seconds after which a test is interrupted; a minute later the run is given up with all stacks shown.
TEST_LIMIT = 120

_real_stderr = None


def pytest_configure(config):
    global _real_stderr
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job: the programs that tests start would inherit it, and not be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "cpython: CPython's own test suites, one test for each suite and lane")
    config.addinivalue_line("markers", "limit(seconds): time after which this test is taken to hang")
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        _real_stderr = os.dup(2)


def pytest_collection_modifyitems(items):
    # The one that takes longest by far does not begin when all others are nearly done (pytest-xdist).
    items.sort(key=lambda item: item.path.name != "test_sanitizers.py")


def pytest_unconfigure(config):
    if _real_stderr is not None:
        os.close(_real_stderr)


@pytest.fixture(autouse=True)
def no_hang(request):
    """Interrupt a test that hangs.  The second line of defence is for C code that looks at no signals."""
    marker = request.node.get_closest_marker("limit")
    limit = marker.args[0] if marker else TEST_LIMIT
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def interrupt(signum, frame):
        faulthandler.dump_traceback(_real_stderr)
        raise TimeoutError(f"test took longer than {limit} s")

    faulthandler.dump_traceback_later(limit + 60, exit=True, file=_real_stderr)
    if usable:
        previous = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        if usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=support.BACKENDS)
def backend(request):
    """Each of the two implementations: `.socketserver`, `.http_server`, `.simple_server`, `.name`."""
    return support.load_backend(request.param)


@pytest.fixture
def turbo():
    """Ours alone, for what it is expected to do better than the standard library."""
    return support.load_backend("turboserver")


@pytest.fixture(scope="session")
def tls():
    """(server context, client context) for a self-signed certificate of `localhost`."""
    ssl = pytest.importorskip("ssl", reason="this Python was built without TLS")
    pem = os.path.join(HERE, "data", "localhost.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(pem)
    return server, client


@pytest.fixture(scope="session")
def container():
    """The command that starts another as process 1."""
    try:
        done = subprocess.run([*support.CONTAINER, sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True,
                              text=True, timeout=support.DEADLINE)
    except FileNotFoundError:
        pytest.skip("there is no unshare(1), of Linux")
    if done.stdout != "1\n":
        pytest.skip(f"no PID namespace can be had: {done.stderr.strip()}")
    return support.CONTAINER
