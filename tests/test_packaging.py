"""What is released: the source archive, a wheel made of it and installed, the looks that both have to stand, the workflows.

The short form of `make wheel`, once, on the oldest Python. The wheel is linked of the objects that are in build/ if those
are newer than their sources, so that nothing is compiled twice. Tools come from PyPI into build/wheels-env.
"""
import fcntl
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "wheels-env" / "bin"
pytestmark = [
    pytest.mark.limit(900),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="once, on the oldest Python; `make wheel` does it on each"),
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="these tests are not beside the sources"),
]


def module(name, path=None):
    """One of the scripts of the build as a module."""
    specification = importlib.util.spec_from_file_location(name, path or ROOT / "wheels" / f"{name}.py")
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found


def run(*command, **options):
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=800, **options)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-3000:]
    return ran.stdout


@pytest.fixture(scope="session")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, make) -> a folder that `make(folder)` has filled; one for all workers of a run (pytest-xdist)."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name, make):
        folder, done = base / f"packaging-{name}", base / f"packaging-{name}-done"
        with open(base / "packaging-lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder
    return once


@pytest.fixture(scope="session")
def tools(once):
    """The folder of programs of the group `wheel`."""
    def make(folder):
        made = subprocess.run(["make", "build/wheels-env/.ready", f"PYTHON={sys.executable}"], cwd=ROOT, capture_output=True, text=True)
        (folder / "said").write_text(made.stderr if made.returncode else "")
    said = (once("tools", make) / "said").read_text()
    if said:
        pytest.skip(f"tools cannot be fetched from PyPI: {said.strip()[-200:]}")
    return TOOLS


def make_source(folder):
    """The source archive, as it is released but for the tools, which are those of this environment."""
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=ROOT, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})


@pytest.fixture(scope="session")
def source(once):
    (archive,) = once("source", make_source).iterdir()
    return archive


@pytest.fixture(scope="session")
def unpacked(source, once):
    """The folder of the unpacked archive, in which a wheel was built."""
    def make(folder):
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
    (folder,) = once("unpacked", make).iterdir()
    return folder


@pytest.fixture(scope="session")
def wheel(unpacked, once):
    """A wheel, built in the unpacked archive."""
    def make(folder):
        mode = module("setup", ROOT / "setup.py").MODE
        for name in ("cython", f"core-{mode}", f"temp-{mode}"):
            if (ROOT / "build" / name).is_dir():
                shutil.copytree(ROOT / "build" / name, unpacked / "build" / name)
        run(sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", folder, cwd=unpacked)
    (path,) = once("wheel", make).iterdir()
    return path


@pytest.fixture
def check(tools):
    """check(path, *options) -> what wheels/check.py says, whether it is content or not."""
    def check(path, *options):
        ran = subprocess.run([tools / "python", ROOT / "wheels" / "check.py", *options, path], capture_output=True, text=True)
        assert "Traceback" not in ran.stderr, ran.stderr
        assert (ran.returncode == 0) == ("as it should be" in ran.stdout)
        return ran.stdout
    return check


# ---------------------------------------------------------------- the source archive

def test_the_archive_has_all_that_is_tracked_and_nothing_else(source):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("git does not know this folder")
    # What is deleted and not yet committed is not missed.
    tracked = {name for name in listed.stdout.split("\n") if name and (ROOT / name).exists()}
    with tarfile.open(source) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert tracked - packed == {name for name in tracked if re.fullmatch(r"\.gitignore|bench/results/[\w-]+\.png", name)}
    untracked = {name for name in packed - tracked if not name.startswith("src/turboserver.egg-info/")} - {"PKG-INFO", "setup.cfg"}
    ignored = subprocess.run(["git", "check-ignore", "--stdin"], cwd=ROOT, input="\n".join(untracked), capture_output=True, text=True)
    assert not ignored.stdout.split(), "what git ignores is packed"


def test_the_archive_is_the_same_when_it_is_made_again(source, once):
    assert (once("again", make_source) / source.name).read_bytes() == source.read_bytes()
    with tarfile.open(source) as archive:
        members = archive.getmembers()
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(1700000000, 0, "")}


def test_the_archive_stands_the_look(source, check, tools):
    assert "as it should be" in check(source)
    run(tools / "python", "-m", "twine", "check", "--strict", source)


def test_what_was_built_is_seen_in_an_archive(source, check, tmp_path):
    broken = tmp_path / source.name
    with tarfile.open(source) as old, tarfile.open(broken, "w:gz") as new:
        for member in old.getmembers():
            if not member.name.endswith("/csrc/scan.c"):
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        top = member.name.partition("/")[0]
        for name in ("src/turboserver/_engine.so", "src/turboserver/_engine.c", "build/x"):
            new.addfile(tarfile.TarInfo(f"{top}/{name}"), io.BytesIO())
    said = check(broken)
    assert "csrc/scan.c is missing" in said and "_engine.so was built" in said
    assert "_engine.c is Cython's" in said and "build/x was built" in said


# ---------------------------------------------------------------- a wheel

def test_the_wheel_stands_the_look(wheel, check, tools):
    assert "as it should be" in check(wheel, "--local")
    assert "not repaired" in check(wheel) or sys.platform != "linux"
    run(tools / "python", "-m", "twine", "check", "--strict", wheel)
    run(tools / "check-wheel-contents", wheel)


def altered(wheel, folder, change):
    """A copy of the wheel whose files are `change({name: octets})`."""
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    path = folder / wheel.name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in change(content).items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("change, words", [
    (lambda content: {**content, "turboserver/_engine.pyx": b""}, "_engine.pyx is no part of the package"),
    (lambda content: {**content, "tests/test_x.py": b""}, "tests/test_x.py is no part of the package"),
    (lambda content: {name: data for name, data in content.items() if "/page.html" not in name}, "page.html is missing"),
    (lambda content: {name: data for name, data in content.items() if "/_engine." not in name}, "the extension _engine is missing"),
    (lambda content: {**content, "turboserver/_engine.cpython-312-x86_64-linux-gnu.so": b"\x7fELF"}, "of two Pythons"),
    (lambda content: {**content, "turboserver/_other.cpython-311-x86_64-linux-gnu.so": b"MZ"}, "_other has no source"),
    (lambda content: {**content, "turboserver/py.typed": b"x" * (3 << 19)}, "1,572,864 are allowed"),
    (lambda content: {name: data for name, data in content.items() if not name.endswith("/LICENSE")}, "the licence is missing"),
    (lambda content: {name: data.replace(b"\0\0libc.so.6\0", b"\0\0libX.so.6\0").replace(b"\0libc.so.6\0", b"\0libX.so.6\0")
                      for name, data in content.items()}, "asks for libX.so.6"),
    (lambda content: {name: data + b"/home/someone/build/x" for name, data in content.items()}, "names a place of the machine"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_wheel_that_is_wrong_is_seen(wheel, check, tmp_path, change, words):
    assert words in check(altered(wheel, tmp_path, change), "--local")


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_an_extension_that_is_not_stripped_is_seen(wheel, check, tmp_path):
    import turboserver._address

    with open(turboserver._address.__file__, "rb") as file:
        unstripped = file.read()
    broken = altered(wheel, tmp_path, lambda content: {
        name: unstripped if "/_address." in name else data for name, data in content.items()})
    assert "not stripped: .symtab" in check(broken, "--local")


@pytest.fixture
def installed(wheel, tmp_path):
    """The Python of a new environment in which the wheel is, and in which this environment's pytest can be found."""
    folder = tmp_path / "installed"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel)
    (packages,) = folder.glob("lib/python3*/site-packages")
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py"):
        found = importlib.util.find_spec(name)
        place = found.submodule_search_locations[0] if found.submodule_search_locations else found.origin
        os.symlink(place, packages / os.path.basename(place))
    return python


def test_tests_pass_on_the_installed_wheel(installed, unpacked):
    said = run(installed, unpacked / "wheels" / "try_installed.py", unpacked / "tests", "--quick")
    assert int(re.search(r"(\d+) passed", said)[1]) >= 30 and "failed" not in said


def test_the_sources_are_not_taken_for_what_is_installed(unpacked):
    """Here it is the folder of the sources that is imported."""
    ran = subprocess.run([sys.executable, ROOT / "wheels" / "try_installed.py", unpacked / "tests", "--quick"], capture_output=True, text=True)
    assert ran.returncode and "not what was installed" in ran.stderr


def test_without_a_compiler_the_archive_installs_the_fallback(unpacked, tmp_path):
    """As pip does it, but for building in an environment of its own."""
    folder = tmp_path / "tools"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "LDSHARED", "CFLAGS")} | {"PATH": str(folder)}
    sources = tmp_path / "sources"
    shutil.copytree(unpacked, sources, ignore=shutil.ignore_patterns("build", "bench", "docs", "tests", "*.egg-info"))
    said = run(sys.executable, "setup.py", "bdist_wheel", "--dist-dir", tmp_path, cwd=sources, env=environment)
    assert "no working C compiler was found; installing without the native engine" in said
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyx", ".c"))]
        archive.extractall(tmp_path / "lib")
    said = run(sys.executable, "-P", "-c", "import turboserver, turboserver.http.server; print(turboserver.__file__, turboserver.accelerated)",
               env={**environment, "PYTHONPATH": str(tmp_path / "lib")})
    assert said.split() == [str(tmp_path / "lib" / "turboserver" / "__init__.py"), "False"]


# ---------------------------------------------------------------- how it is compiled

def test_no_processor_is_asked_for_and_what_is_installed_is_stripped():
    setup = module("setup", ROOT / "setup.py")
    compiler, linker = setup.flags()
    assert not [flag for flag in compiler + linker if re.match("-m(arch|tune|cpu|avx|sse)|-flto|-fPIE|-Ofast|-ffast", flag)]
    assert "-g0" in compiler and setup.strip_flags(), "names for a debugger are for TURBOSERVER_DEBUG"


@pytest.mark.skipif(os.uname().machine != "x86_64" or not shutil.which("objdump"), reason="needs x86-64 and objdump (binutils)")
def test_objects_run_on_every_processor(wheel, unpacked):
    said = run(sys.executable, ROOT / "wheels" / "processors.py", unpacked / "build")
    assert re.match(r"\d\d objects", said)


@pytest.mark.skipif(os.uname().machine != "x86_64" or not shutil.which("objdump") or not shutil.which("cc"), reason="needs x86-64, objdump, cc")
def test_an_object_for_this_processor_alone_is_seen(tmp_path):
    processors = module("processors")
    assert {"mark_avx2", "skip_text_avx2"} <= processors.chosen()
    (tmp_path / "a.c").write_text("void plain(float *a) { for (int i = 0; i < 64; i++) a[i] *= 2; }\n")
    run("cc", "-O3", "-mavx2", "-c", "a.c", cwd=tmp_path)
    ran = subprocess.run([sys.executable, ROOT / "wheels" / "processors.py", tmp_path], capture_output=True, text=True)
    assert ran.returncode and "plain" in ran.stderr


# ---------------------------------------------------------------- releases

def test_the_wheels_there_will_be_are_those_of_the_list(tools):
    found = []
    for system, processors in (("linux", "x86_64,aarch64"), ("macos", "x86_64,arm64")):
        found += run(tools / "cibuildwheel", "--print-build-identifiers", "--platform", system, "--archs", processors, cwd=ROOT).split()
    assert sorted(found) == (ROOT / "wheels" / "identifiers.txt").read_text().split()


def test_each_supported_python_is_a_classifier_and_has_wheels(project):
    versions = {line.rpartition(" ")[2] for line in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)}
    wheels = {re.match(r"cp3(\d+)", name)[1] for name in (ROOT / "wheels" / "identifiers.txt").read_text().split()}
    assert versions == {f"3.{minor}" for minor in wheels}
    assert "Typing :: Typed" in project["project"]["classifiers"] and project["project"]["dependencies"] == []


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_name_actions_by_commit_and_ask_for_no_right_they_do_not_use(path):
    text = path.read_text()
    assert not re.findall(r"uses: (?!\./)\S+@(?![0-9a-f]{40} # v\d+\.\d+\.\d+\n).*", text)
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE) and re.search("^concurrency:", text, re.MULTILINE)
    jobs = re.split(r"^  (\w+):\n", text.partition("\njobs:\n")[2], flags=re.MULTILINE)[1:]
    for name, job in zip(jobs[::2], jobs[1::2], strict=True):
        assert "timeout-minutes:" in job, name
        rights = re.findall(r"^      ([\w-]+): (read|write|none)", job, re.MULTILINE)
        assert rights == ([("id-token", "write")] if name == "publish" else [("contents", "read")]), name
        if name == "publish":
            assert "if: github.ref_type == 'tag'" in job and "environment:" in job and "password" not in job
        elif "actions/checkout" in job:
            assert "persist-credentials: false" in job


def test_workflows_are_valid(tools):
    run(tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run(tools / "zizmor", "--offline", "--no-progress", *WORKFLOWS)
