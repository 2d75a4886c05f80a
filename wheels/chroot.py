"""The archives in a Debian that has Python, its venv module and nothing else: no compiler, no headers, no network.

Debian is laid into a folder by debootstrap, from the server that this machine's apt asks; what pip needs in there is fetched
outside, and given as files. It needs root and debootstrap; where these are missing, `both()` says so instead.

The folder is removed afterwards, and /proc in it unmounted before that, whatever happens. What may not live here: anything
that would be left behind, and which tests run (try_installed.py).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RELEASE, PYTHON = "bookworm", "3.11"
INSTALLED = "python3,python3-venv,ca-certificates"
COMPILERS = "for name in cc gcc clang c99 tcc x86_64-linux-gnu-gcc; do command -v $name && exit 1; done; exit 0"


def why_not(wheels):
    """Why it cannot be done here; None if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "skipped: it needs root"
    if not shutil.which("debootstrap"):
        return "skipped: it needs debootstrap (apt install debootstrap)"
    if not any("-cp311-cp311-manylinux" in wheel.name for wheel in wheels):
        return f"skipped: no wheel for Python {PYTHON}, which is this Debian's, was built"
    return None


def server():
    """The address of the Debian archive that apt asks on this machine; debootstrap's own if it does not say."""
    if not shutil.which("apt-get"):
        return []
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(SITE) $(REPO_URI)"],
        capture_output=True, text=True, check=False,
    ).stdout
    found = re.search(rf"^{RELEASE} main \S+ (\S*debian/?)$", said, re.MULTILINE)
    return [found[1]] if found else []


def both(archive, wheels, steps, out, requires):
    """Yields (what, what pytest said or why it was skipped) of the wheel, which has the engine, and of the archive, which has not."""
    reason = why_not(wheels)
    if reason:
        yield f"in a Debian {RELEASE}", reason
        return
    wheel = next(wheel for wheel in wheels if "-cp311-cp311-manylinux" in wheel.name)
    # Not beneath build/: a folder there would make pip, and tests, look into what this one has.
    root = Path(tempfile.mkdtemp(prefix="turboserver-debian-"))
    root.chmod(0o755)
    mounted = False
    try:
        steps.run("debootstrap", [
            "debootstrap", "--variant=minbase", f"--include={INSTALLED}", RELEASE, root, *server()])
        subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
        mounted = True
        # As an installed Debian has it; the original's WSGI server asks for the name of 127.0.0.1.
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        files = root / "files"
        files.mkdir()
        steps.run("debian-download", [
            sys.executable, "-m", "pip", "download", "--quiet", "--dest", files, "--python-version", PYTHON,
            "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none", "--platform", "manylinux2014_" + os.uname().machine,
            "--platform", "manylinux_2_28_" + os.uname().machine, "--only-binary", ":all:", "pip", "wheel", *requires])
        for path in (archive, wheel):
            shutil.copy(path, files)
        tests = out / "source" / archive.name.removesuffix(".tar.gz")
        (root / "archive").mkdir()
        shutil.copytree(tests / "tests", root / "archive" / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(tests / "pyproject.toml", root / "archive")
        shutil.copy(Path(__file__).with_name("try_installed.py"), root / "archive")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}

        def inside(name, command):
            return steps.run(name, ["chroot", root, "sh", "-c", command], environment)

        inside("debian-compilers", COMPILERS)
        pip = "bin/python -m pip install --quiet --no-index --find-links /files"
        inside("debian-wheel", f"python3 -m venv /wheel && cd /wheel && {pip} pytest /files/{wheel.name}")
        yield f"the wheel in a Debian {RELEASE}", inside("debian-wheel-tests", "/wheel/bin/python /archive/try_installed.py /archive/tests")
        # setuptools, Cython: what pip makes an environment of to build in.
        inside("debian-source", f"python3 -m venv /source && cd /source && {pip} pytest /files/{archive.name}")
        yield f"the source in a Debian {RELEASE}", inside(
            "debian-source-tests", "/source/bin/python /archive/try_installed.py /archive/tests --pure")
    finally:
        if mounted:
            subprocess.run(["umount", root / "proc"], check=False)
        # Never through a mount that stayed.
        if not os.path.ismount(root / "proc"):
            shutil.rmtree(root, ignore_errors=True)
