"""Tests of the turboserver that is installed for this Python: `python wheels/try_installed.py TESTS [--pure] [--quick]`.

TESTS is the folder tests/ of the archive. It is copied, with pyproject.toml beside it, to where no src/ is, so that nothing
but what is installed can be imported. First a page is served, so that an installation that cannot do this says so in one
line; then a choice of the tests runs that needs no other package than pytest: about 20 seconds of CPU, 3 with --quick.

--pure expects the installation without the engine, and runs the tests for it.

What may not live here: building, installing, and whatever needs more than the standard library and pytest: this runs in
containers of musl, on macOS, and in a Debian that has nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import urllib.request
from pathlib import Path

#: Each lane's choice, the classes' contract, WSGI, TLS, and programs that are not to be changed.
ENGINE = (
    "test_lanes.py",
    "test_contract_classes.py",
    "test_behaviour_wsgi.py",
    "test_behaviour_blocking.py",
    "test_wsgi.py",
    "test_tls.py",
    "test_install.py",
)
ENGINE_QUICK = ("test_lanes.py", "test_wsgi.py")
PURE = ("test_without_engine.py", "test_install.py")
PURE_QUICK = ("test_without_engine.py",)


def places():
    """The folders in which pip installs packages."""
    return {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}


def look(pure):
    """SystemExit with the reason unless what is imported was installed, and is with the engine or, by `pure`, without."""
    import turboserver

    package = Path(turboserver.__file__).resolve().parent
    if package.parent not in places():
        sys.exit(f"not what was installed: {package}")
    natives = sorted(path.name for path in package.rglob("*.so"))
    if turboserver.accelerated == pure or bool(natives) == pure:
        sys.exit(f"turboserver.accelerated is {turboserver.accelerated}, with {len(natives)} extensions in {package}")


def serve():
    """A page by the names of the standard library."""
    from turboserver.http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{server.server_address[1]}/", timeout=20) as answer:
                if answer.read() != b"hello":
                    sys.exit("a page was served, and not the one that was written")
        finally:
            server.shutdown()
            thread.join(20)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tests", type=Path)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()
    tests = arguments.tests.resolve()
    for folder in (os.getcwd(), str(Path(__file__).parent), ""):
        while folder in sys.path:
            sys.path.remove(folder)
    look(arguments.pure)
    serve()
    choice = {(False, False): ENGINE, (False, True): ENGINE_QUICK, (True, False): PURE, (True, True): PURE_QUICK}
    with tempfile.TemporaryDirectory(prefix="turboserver-installed-") as root:
        shutil.copytree(tests, Path(root, "tests"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(tests.parent / "pyproject.toml", root)
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TURBOSERVER_LANE")}
        ran = subprocess.run(
            # -P: the folder that pytest is started in is not where modules are looked for.
            [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments.pytest]
            + [os.path.join("tests", name) for name in choice[arguments.pure, arguments.quick]],
            cwd=root,
            env=environment,
        )
    sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
