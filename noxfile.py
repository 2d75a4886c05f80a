"""The tests on every Python that is here, and in the other ways in which they are run: `make test-all`.

`make test` is all tests on one Python. What of them hangs on the interpreter is run on each other one, in an environment
of its own (.nox/); a Python that is not here is named in nox's summary, as skipped. An environment is made once: what
has changed since is compiled when it is used again, and `nox -R` leaves even that out.

    nox                                      everything
    nox -s tests-3.13 -- tests/test_ends.py  some tests on one Python
    nox --list                               which sessions there are

What may not live here: what an environment of `make test` is (Makefile), which tests there are (tests/).
"""

import os
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed

# 3.14t and 3.15t are the builds without the GIL.
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t")

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False

# pyenv's own commands stand on PATH for each version, and only some of them start; the interpreters themselves do.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, sorted(PYENV.glob("3.*/bin")))])

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
BUILD = PROJECT["build-system"]["requires"]
TEST = [*PROJECT["project"]["optional-dependencies"]["test"], "coverage>=7.6"]

# ---- which tests hang on the interpreter ---------------------------------------------------------------------------------

# What knows no Python, and what takes minutes: `make test` has it, on one Python. So it is with what the interpreter has
# no part in of the file server, and all that stands on the frameworks' and other programs' own versions.
ONCE = (
    *("csrc", "model", "sanitizers", "fuzz", "soak", "attacks", "bench*", "instructions", "scan_differential", "proxies"),
    *("wsgi_model", "frameworks*", "docs*", "field*", "packaging*", "typing"),
    *(f"files_{part}" for part in (
        "auth", "beneath*", "codings", "conditions", "folder", "forms", "media_types", "page", "partials", "ranges",
        "throttle", "upload", "handler_clients", "handler_folders", "handler_refusals", "handler_uploads",
    )),
)  # fmt: skip
# Whole folders of that kind.
ONCE_FOLDERS = ("browser", "field", "typing")
# What stands a little farther from the interpreter: on the newest Python alone. Those between run the rest.
NEWEST = ("deploy_*", "files_*", "gunicorn", "wsgi_pep3333*", "concurrency*", "stress")
# Where an error of ours in memory or in what is left open shows.
ENGINE = ("contract_*", "behaviour_*", "exchanges", "interpreter_*", "ends", "tls*", "wsgi", "stress", "concurrency*")
# The fallback without the engine is the standard library's classes and ours that need no engine (files_again does).
FALLBACK = (
    *("without_engine", "cli", "deploy_*"),
    *("files_a[!g]*", "files_[bcmpt]*", "files_folder", "files_forms", "files_ranges"),
)


def without(*patterns):
    return [f"--ignore-glob=*/test_{pattern}.py" for pattern in patterns]


def only(*patterns):
    return sorted({str(path) for pattern in patterns for path in Path("tests").glob(f"test_{pattern}.py")})


# ---- the sessions ----------------------------------------------------------------------------------------------------------


def prepare(session, *, engine=True):
    """What `make test` has in its environment; the engine is compiled into src/, beside those of other Pythons."""
    session.install("pip", *BUILD)
    try:
        session.install("--only-binary", ":all:", *TEST)
    except CommandFailed:
        # A new Python: not everything is there for it yet. Tests of that are skipped, with the reason.
        for requirement in TEST:
            try:
                session.install("--only-binary", ":all:", requirement)
            except CommandFailed:
                session.warn(f"{requirement} is not to be had for this Python; what tests it is skipped")
    # The metadata alone, for an editable installation compiles everything each time.
    session.install("--no-build-isolation", "--no-deps", "--editable", ".", env={"TURBOSERVER_PURE": "1"})
    if engine:
        session.run_install("python", "setup.py", "--quiet", "build_ext", "--inplace", silent=True)


def pytest(session, *arguments, options=(), **env):
    """Most tests wait for something, so several at a time do not disturb each other."""
    folders = [f"--ignore=tests/{folder}" for folder in ONCE_FOLDERS]
    session.run("python", *options, "-m", "pytest", "-q", "-n", "4", "--dist", "worksteal", "-p", "no:cacheprovider",
                *(session.posargs or (*folders, *arguments)), env=env)  # fmt: skip


def apart(session, name, **switches):
    """The package built with these switches, in a folder of its own: it finds no extension of another build."""
    folder = Path("build", f"lib-{name}")
    session.run_install("python", "setup.py", "--quiet", "build", "--build-lib", str(folder), env=switches, silent=True)
    return {"PYTHONPATH": os.pathsep.join([str(folder.resolve()), str(Path("tests").resolve())])}


def newest_here():
    """The newest Python with a GIL for which there is a command."""
    from shutil import which

    return next((version for version in reversed(PYTHONS) if which(f"python{version}") and not version.endswith("t")), None)


@nox.session(python=PYTHONS)
def tests(session):
    """What hangs on the interpreter: all of that on the oldest and the newest one, the nearest on those between."""
    prepare(session)
    between = session.python not in (PYTHONS[0], newest_here())
    pytest(session, *without(*ONCE, *(NEWEST if between else ())))


@nox.session
def dev(session):
    """The engine's tests in Python's development mode: debugging allocators, and whatever is left open is told."""
    prepare(session)
    pytest(session, *only(*ENGINE), options=("-X", "dev", "-W", "error"), PYTHONDEVMODE="1")


@nox.session
def debug(session):
    """The engine's tests with the invariants of csrc/ asserted (TURBOSERVER_DEBUG=1)."""
    prepare(session, engine=False)
    pytest(session, *only(*ENGINE), **apart(session, "debug", TURBOSERVER_DEBUG="1"))


@nox.session
def pure(session):
    """The fallback without the engine, as it is installed where there is no compiler (TURBOSERVER_PURE=1)."""
    prepare(session, engine=False)
    pytest(session, *only(*FALLBACK), **apart(session, "pure", TURBOSERVER_PURE="1"))
