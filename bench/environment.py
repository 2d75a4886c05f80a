"""What the benchmark runs on, made under build/bench and nowhere else: nothing is installed on the system.

    venv/      tools and peers from PyPI at the versions of pins.py, and turboserver from this tree
    source/    the copy of the tree that turboserver is built in, so that no other build's switches or objects get in
    debian/    Debian packages that are not installed, unpacked; no root needed
    limit, stream, load     the C programs
    stamps/    what is finished, and from what it was made

A stamp is written after its work, never before, so whatever was broken off is made again. What cannot be had is a
reason in Environment.missing, not an error. Only the standard library is used: this runs before there is anything else.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pins

ROOT = Path(__file__).resolve().parent.parent
#: The C programs, each bench/NAME.c.
C_PROGRAMS = ("limit", "stream", "load")
C_FLAGS = ("-O2", "-std=gnu11", "-pthread")
#: What turboserver is built from; a change to one of SOURCES builds it again. README.md and LICENSE are metadata.
SOURCES = ("src", "csrc", "setup.py", "pyproject.toml")
METADATA = ("README.md", "LICENSE")
#: Left by other builds of the tree.
NOT_SOURCES = {".so", ".o", ".a", ".pyc", ".gcda", ".gcno"}
#: Seconds after which something that could not be installed is tried again.
RETRY_AFTER = 600
#: Seconds that one command may take.
COMMAND_LIMIT = 900

Say = Callable[[str], object]


class Failed(RuntimeError):
    """A command did not succeed; the message is its last meaningful line."""


@dataclass
class Environment:
    #: The Python of the environment.
    python: Path
    #: name of a server, program or tool -> why there is none
    missing: dict[str, str] = field(default_factory=dict)
    #: name -> version of all that is there; "Y (pinned X)" where it is not the pinned one
    versions: dict[str, str] = field(default_factory=dict)
    programs: dict[str, Path] = field(default_factory=dict)

    def program(self, name: str) -> Path | None:
        """The executable of wrk, nginx, limit, stream or load; None if there is none (see missing)."""
        return self.programs.get(name)


def prepare(say: Say = print, root: Path = ROOT) -> Environment:
    """Make what is not made yet and return all of it; `say` gets a line for each step that takes time.

    Raises RuntimeError if not even a virtual environment can be made.
    """
    build = Path(root) / "build" / "bench"
    build.mkdir(parents=True, exist_ok=True)
    with open(build / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run at the same time finds all made
        stamps = Stamps(build / "stamps")
        environment = Environment(make_venv(build, stamps, say))
        environment.versions["python"] = platform.python_version()
        tools = {name: {name: version} for name, version in pins.TOOLS.items()}
        install_packages(environment, tools, stamps, say)
        install_packages(environment, pins.FRAMEWORKS, stamps, say)
        find_debian_programs(environment, build, stamps, say)
        install_packages(
            environment, pins.PEERS, stamps, say, variables={"bjoern": lambda: libev_variables(build, stamps, say)}
        )
        install_turboserver(environment, Path(root), build, stamps, say)
        build_c_programs(environment, Path(root) / "bench", build, say)
    return environment


# ---------------------------------------------------------------- stamps and commands


class Stamps:
    """For each name what it was made from (the key) and facts about it, or why it failed; a JSON file each."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, name: str, key: str) -> dict | None:
        """The facts, with "failed" None or a reason; None if `name` is to be made (again)."""
        try:
            stamp = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return None
        if stamp["key"] != key or (stamp["failed"] is not None and time.time() - stamp["time"] > RETRY_AFTER):
            return None
        return stamp

    def put(self, name: str, key: str, failed: str | None = None, **facts) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{name}"
        unfinished.write_text(json.dumps({"key": key, "failed": failed, "time": time.time(), **facts}))
        unfinished.replace(self.folder / name)

    def drop(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


def run(command: Iterable[str | os.PathLike], variables: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """The output of `command`, stderr included. Raises Failed."""
    command = [os.fspath(part) for part in command]
    # A build is ours alone: no switches of turboserver's, no modules from elsewhere.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURBOSERVER_") and name not in ("PYTHONPATH", "PYTHONHOME")
    }
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=COMMAND_LIMIT,
            cwd=cwd,
            env={**inherited, "LC_ALL": "C", **(variables or {})},
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(command[0]).name} took longer than {COMMAND_LIMIT} s") from None
    if done.returncode != 0:
        raise Failed(reason(done.stdout) or f"{Path(command[0]).name} ended with {done.returncode}")
    return done.stdout


def reason(output: str) -> str:
    """The line of a failed command's output that says most: a compiler's first error, or the last line of substance."""
    lines = [line.strip(" \t╰─>│×|") for line in output.splitlines()]
    for line in lines:
        if re.search(r":\d+: (fatal )?error: ", line) or line.startswith("E: "):
            return line
    noise = re.compile(
        r"$|\[notice\]|WARNING|W: |hint:|note:|\[?end of output|ERROR: Failed (building|to build)|error: (failed-wheel|"
        r"subprocess-exited|metadata-generation)|Failed to build|Building wheel|See above|compilation terminated"
    )
    lines = [line for line in lines if not noise.match(line)]
    errors = [line for line in lines if re.match(r"(ERROR|error|\w*Error)\b", line)]
    return (errors or lines or [""])[-1]


# ---------------------------------------------------------------- PyPI


def make_venv(build: Path, stamps: Stamps, say: Say) -> Path:
    """The Python of build/bench/venv. RuntimeError if it cannot be made."""
    folder = build / "venv"
    python = folder / "bin" / "python"
    key = f"{sys.version} {sys.base_prefix} {folder}"
    if stamps.get("venv", key) and python.exists():
        return python
    say(f"making {folder} (Python {platform.python_version()})")
    shutil.rmtree(stamps.folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", folder])
    except Failed as error:
        raise RuntimeError(f"no virtual environment (on Debian, apt install python3-venv): {error}") from None
    stamps.put("venv", key)
    return python


def pip_install(python: Path, arguments: Iterable[str | os.PathLike], variables: dict[str, str] | None = None) -> None:
    """Raises Failed with the last meaningful line of pip."""
    options = ["--disable-pip-version-check", "--no-input", "--retries", "1"]
    run([python, "-m", "pip", "install", "--quiet", *options, *arguments], variables)


def install_packages(
    environment: Environment,
    wanted: dict[str, dict[str, str]],
    stamps: Stamps,
    say: Say,
    variables: dict[str, Callable[[], dict[str, str]]] | None = None,
) -> None:
    """Install each of `wanted` (name -> package -> version) by its own call of pip.

    One that cannot be installed, or not imported then, goes to environment.missing with the reason and holds up nobody.
    `variables` gives for a name the function that returns the environment variables to build it with.
    """
    for name, packages in wanted.items():
        requirements = [f"{package}=={version}" for package, version in packages.items()]
        key = " ".join(requirements)
        stamp = stamps.get(name, key)
        if stamp is None:
            say(f"installing {key}")
            stamps.drop(name)
            failed = None
            try:
                extra = variables[name]() if variables and name in variables else {}
                # A wheel that was built with paths of this folder is nobody else's, and the other way round.
                pip_install(environment.python, [*(["--no-cache-dir"] if extra else []), *requirements], extra)
                for package in packages:
                    run([environment.python, "-c", f"import {package}"])
            except Failed as error:
                failed = str(error)
                say(f"{name} is skipped: {failed}")
            stamps.put(name, key, failed)
        else:
            failed = stamp["failed"]
            if failed is not None:
                say(f"{name} is skipped, tried again {RETRY_AFTER // 60} minutes after: {failed}")
        if failed is None:
            environment.versions.update(packages)
        else:
            environment.missing[name] = failed


def install_turboserver(environment: Environment, root: Path, build: Path, stamps: Stamps, say: Say) -> None:
    """Install turboserver from the tree if its sources are not those that are installed."""
    key = tree_hash(root)
    if stamps.get("turboserver", key) is None:
        say("building turboserver")
        stamps.drop("turboserver")
        try:
            source = build / "source"
            copy_sources(root, source)
            project = tomllib.loads((root / "pyproject.toml").read_text())
            pip_install(environment.python, project["build-system"]["requires"])
            options = ["--no-deps", "--no-build-isolation", "--force-reinstall"]
            pip_install(environment.python, [*options, source])
            check = "import sys, turboserver; sys.exit(not turboserver.accelerated and 'it has no native engine')"
            run([environment.python, "-c", check])
        except Failed as error:
            environment.missing["turboserver"] = str(error)
            say(f"turboserver is skipped: {error}")
            return
        stamps.put("turboserver", key)
    environment.versions["turboserver"] = own_version(root)


def sources(root: Path) -> Iterable[Path]:
    for name in SOURCES:
        for path in [root / name] if (root / name).is_file() else sorted((root / name).rglob("*")):
            if path.is_file() and path.suffix not in NOT_SOURCES and not path.parent.name.endswith(".egg-info"):
                yield path


def tree_hash(root: Path) -> str:
    """Changes with the name or content of any source of turboserver."""
    digest = hashlib.sha256()
    for path in sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def copy_sources(root: Path, target: Path) -> None:
    """Make `target` a copy that keeps its objects: only what differs is written, so only that is compiled again."""
    wanted = {path.relative_to(root): path for path in sources(root)}
    wanted |= {Path(name): root / name for name in METADATA if (root / name).exists()}
    target.mkdir(parents=True, exist_ok=True)
    for leftover in (target / "build").glob("lib*"):  # setuptools would pack modules that are gone
        shutil.rmtree(leftover)
    for path in [path for name in SOURCES for path in (target / name).rglob("*") if path.is_file()]:
        if path.relative_to(target) not in wanted:
            path.unlink()
    for name, path in wanted.items():
        copy = target / name
        content = path.read_bytes()
        if not copy.exists() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)


def own_version(root: Path) -> str:
    """As '0.1.0 (1a2b3c4)', or '(1a2b3c4, changed)' where the sources are not those of the commit."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    try:
        commit = run(["git", "-C", root, "rev-parse", "--short", "HEAD"]).strip()
        changed = run(["git", "-C", root, "status", "--porcelain", "--", *SOURCES]).strip()
    except Failed:
        return version  # not a clone
    return f"{version} ({commit}{', changed' if changed else ''})"


# ---------------------------------------------------------------- Debian


def find_debian_programs(environment: Environment, build: Path, stamps: Stamps, say: Say) -> None:
    """wrk and nginx: those of the system, or Debian's packages unpacked."""
    places = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    for name, packages in pins.DEBIAN_PROGRAMS.items():
        pinned = packages[name]
        found = shutil.which(name, path=places)
        try:
            if found:
                version = program_version(name, Path(found))
            else:
                folder, versions = unpacked(name, packages, build, stamps, say)
                found, version = wrapper(name, folder), versions[name]
        except Failed as error:
            environment.missing[name] = str(error)
            say(f"{name} is skipped: {error}")
            continue
        environment.programs[name] = Path(found)
        if version not in (pinned, upstream(pinned)):
            say(f"{name}: pinned {pinned}, found {version}")
            version += f" (pinned {pinned})"
        environment.versions[name] = version


def upstream(version: str) -> str:
    """'1.22.1' of '1:1.22.1-9+deb12u11'."""
    return version.partition(":")[2].rpartition("-")[0] if ":" in version else version.rpartition("-")[0]


def program_version(name: str, path: Path) -> str:
    """As Debian counts if the package is installed, or else as the program says; 'unknown' if neither."""
    try:
        if path.parent in (Path("/usr/bin"), Path("/usr/sbin")):
            return run(["dpkg-query", "--show", "--showformat=${Version}", name]).strip()
    except Failed:
        pass
    # wrk ends with 1 when it has said its version.
    shown = subprocess.run([path, "-v"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    version = re.search(r"\d+\.[\w.+:~-]*", shown.stdout + shown.stderr)
    return version[0] if version else "unknown"


def unpacked(
    group: str, packages: dict[str, str], build: Path, stamps: Stamps, say: Say
) -> tuple[Path, dict[str, str]]:
    """The folder in which `packages` (name -> pinned version) are unpacked, with the libraries that the system does
    not have, and the version of each package that was found. Raises Failed."""
    folder = build / "debian" / group
    key = json.dumps([packages, pins.DEBIAN_LIBRARIES, str(folder)])
    stamp = stamps.get(f"debian-{group}", key)
    if stamp and folder.is_dir():
        return folder, stamp["versions"]
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Failed(f"not installed, and without {tool} its Debian package cannot be had")
    stamps.drop(f"debian-{group}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    versions = {}
    for package, pinned in packages.items():
        versions[package] = unpack(package, pinned, folder, say)
    for program in (folder / "usr").glob("*bin/*"):
        while missing := missing_libraries(program, folder):
            known = pins.DEBIAN_LIBRARIES.get(missing[0], {})
            if not known or known.keys() <= versions.keys():
                raise Failed(f"{program.name} needs {missing[0]}, which this system does not have")
            for package, pinned in known.items():
                versions[package] = unpack(package, pinned, folder, say)
    stamps.put(f"debian-{group}", key, versions=versions)
    return folder, versions


def unpack(package: str, pinned: str, folder: Path, say: Say) -> str:
    """Unpack the pinned version of a Debian package into `folder`, or else the one that is offered; its version."""
    say(f"unpacking the Debian package {package}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        lists = folder.parent / "apt"
        # First with the system's lists; they may be old or not there, then with fresh ones of our own.
        private = [f"-oDir::State::lists={lists}/lists", f"-oDir::Cache={lists}/cache", "-oAPT::Sandbox::User="]
        for attempt in (
            ["apt-get", "download", f"{package}={pinned}"],
            ["apt-get", *private, "update"],
            ["apt-get", *private, "download", f"{package}={pinned}"],
            ["apt-get", *private, "download", package],
        ):
            failed = None
            try:
                if "update" in attempt:
                    (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
                    (lists / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
                run(attempt, cwd=Path(place))
            except Failed as error:
                failed = error
            if archives := list(Path(place).glob("*.deb")):
                run(["dpkg-deb", "-x", archives[0], folder])
                return run(["dpkg-deb", "-f", archives[0], "Version"]).strip()
        raise failed or Failed(f"apt-get downloads nothing for {package}")


def library_folders(folder: Path) -> list[Path]:
    return sorted({path.parent for path in folder.glob("**/lib/**/*.so*")})


def missing_libraries(program: Path, folder: Path) -> list[str]:
    """The libraries, by name, that neither the system nor `folder` has for `program`."""
    shown = run(["ldd", program], {"LD_LIBRARY_PATH": ":".join(map(str, library_folders(folder)))})
    return re.findall(r"^\s*(\S+) => not found", shown, re.MULTILINE)


def wrapper(name: str, folder: Path) -> Path:
    """A script that starts the unpacked program with its libraries, as the same process. Raises Failed."""
    program = next((path for path in (folder / "usr").glob(f"*bin/{name}")), None)
    if program is None:
        raise Failed(f"the Debian package has no program {name}")
    libraries = ":".join(map(str, library_folders(folder)))
    script = folder / name
    text = f"#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec {shlex.quote(str(program))} \"$@\"\n"
    if not script.exists() or script.read_text() != text:
        script.write_text(text)
        script.chmod(0o755)
    return script


def libev_variables(build: Path, stamps: Stamps, say: Say) -> dict[str, str]:
    """What bjoern is to be built with: nothing if libev is installed, or else where its package is unpacked."""
    with tempfile.TemporaryDirectory() as place:
        probe = Path(place, "probe.c")
        probe.write_text("#include <ev.h>\nint main(void) { return ev_version_major() < 4; }\n")
        try:
            run([*compiler(), probe, "-o", Path(place, "probe"), "-lev"])
            return {}
        except Failed:
            pass
    try:
        folder, _ = unpacked("libev", pins.DEBIAN_LIBEV, build, stamps, say)
    except Failed as error:
        raise Failed(f"libev: {error}") from None
    libraries = library_folders(folder)
    return {
        "CFLAGS": shlex.quote(f"-I{folder}/usr/include"),
        "LDFLAGS": " ".join(shlex.quote(f"-L{path}") + " " + shlex.quote(f"-Wl,-rpath,{path}") for path in libraries),
    }


# ---------------------------------------------------------------- C


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "")) or ["cc"]


def build_c_programs(environment: Environment, folder: Path, build: Path, say: Say) -> None:
    """Compile each of C_PROGRAMS whose source, or a header, in `folder` is newer than its program."""
    headers = list(folder.glob("*.h"))
    for name in C_PROGRAMS:
        source, program = folder / f"{name}.c", build / name
        try:
            if not source.exists():
                raise Failed(f"there is no {source.name}")
            newest = max(path.stat().st_mtime for path in (source, *headers))
            if not program.exists() or program.stat().st_mtime <= newest:
                say(f"compiling {source.name}")
                unfinished = build / f".{name}"
                run([*compiler(), *C_FLAGS, "-o", unfinished, source])
                unfinished.replace(program)
        except Failed as error:
            environment.missing[name] = str(error)
            say(f"{name} is skipped: {error}")
            continue
        environment.programs[name] = program
    if environment.programs.keys() & set(C_PROGRAMS):
        try:
            environment.versions["cc"] = run([*compiler(), "--version"]).splitlines()[0]
        except Failed:
            pass  # compiled earlier
