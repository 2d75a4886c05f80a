"""The Python tests with the native engine under sanitizers: builds it so, apart from every other build, and runs pytest.

    python tests/sanitize.py [--sanitize=address,undefined|thread] [--short] [what pytest is to be given]

`address,undefined` is AddressSanitizer, UBSan and LeakSanitizer; `thread` is ThreadSanitizer. The invariants of csrc/
are checked as well. The interpreter is not instrumented, but its runtime is preloaded into it, so that what it
allocates and which locks it takes is known. It takes every object from malloc(), so that one used after its end is seen.

What a process reports, also one that a test starts, goes into a file; all are shown at the end, and one is enough to
fail. Status 3 says, with the reason, that this cannot be had here. More options of the run-times can be given as usual
(ASAN_OPTIONS=fast_unwind_on_malloc=0 has whole stacks of allocations, and takes four times as long).

LeakSanitizer looks at the process of pytest. What the garbage collector of CPython knows, it takes for reachable; so at
the end of a file of tests no connection, stream or engine may be left.
"""

import argparse
import collections
import gc
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNAVAILABLE = 3

#: Beginnings of node ids that are left out, with the reason.
UNSUITABLE = {
    "tests/test_sanitizers.py": "runs this",
    "tests/test_csrc.py": "has sanitizers of its own, without Python",
    "tests/test_model.py": "runs spin, nothing of the engine",
    "tests/test_bench.py": "about programs that measure, and servers of others",
    "tests/test_instructions.py": "counts instructions, under valgrind",
    "tests/test_behaviour_requests.py::test_bad[long-method": "slow, the original's answer is lost by its reset",
    "tests/test_behaviour_requests.py::test_bad[far-too-many-headers": "as well",
    "tests/test_clients.py::TestCurl": "curl does not start with a run-time preloaded",
    "tests/test_clients.py::test_browser": "nor do browsers",
    "tests/test_concurrency_process.py::TestBackPressure::test_client_that_does_not_read": "measures memory",
    "tests/test_stress.py::TestWaiting::test_waiting_for_a_reader_costs_no_processor_time": "measures time",
}

UNSUITABLE_FOR = {
    "address,undefined": {},
    "thread": {
        "tests/test_concurrency_process.py::TestFork::test_server_made_in_a_child_of_a_serving_process":
            "its run-time mistakes the threads of a child for those of its parent",
    },
}  # fmt: skip

#: What --short runs: most of the memory and most of the hand-overs, in a minute or two.
SHORT = {
    "address,undefined": (
        "tests/test_behaviour_requests.py",
        "tests/test_behaviour_bodies.py",
        "tests/test_behaviour_blocking.py",
        "tests/test_contract_handlers_streams.py",
        "tests/test_stress.py::TestMemory",
    ),
    "thread": (
        "tests/test_concurrency.py",
        "tests/test_concurrency_endings.py",
        "tests/test_stress.py::TestMemory",
        "tests/test_stress.py::TestEndings",
    ),
}


class Unavailable(Exception):
    """Why a sanitizer cannot be had here."""


def compiler():
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def runtime(group):
    """Path of the run-time that has to be there before anything else."""
    if sys.platform != "linux":
        raise Unavailable("run-times are only preloaded on Linux")
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise Unavailable("this Python has no PYTHONMALLOC=malloc")
    if not shutil.which(compiler()[0]):
        raise Unavailable(f"no C compiler: {compiler()[0]!r} is not on PATH")
    short = "tsan" if group == "thread" else "asan"
    for name in (f"lib{short}.so", f"libclang_rt.{short}-{platform.machine()}.so", f"libclang_rt.{short}.so"):
        found = subprocess.run([*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        path = found.stdout.strip()
        if os.path.isabs(path) and os.path.exists(path):
            return os.path.realpath(path)
    raise Unavailable(f"{compiler()[0]} has no shared run-time for {group}")


def environment(group, library, reports):
    """For a process under the sanitizers; its reports go to `reports`, a folder."""

    def options(name, *ours, kind=None):
        if kind:
            ours = (f"log_path={reports}/{kind}", "log_exe_name=1", *ours)
        return {name: ":".join(filter(None, (*ours, os.environ.get(name))))}

    return {
        **os.environ,
        "LD_PRELOAD": " ".join(filter(None, (library, os.environ.get("LD_PRELOAD")))),
        "PYTHONMALLOC": "malloc",
        **options(
            "ASAN_OPTIONS", "detect_leaks=1", "detect_stack_use_after_return=1", "strict_string_checks=1",
            "quarantine_size_mb=64", kind="address",
        ),
        **options("LSAN_OPTIONS", f"suppressions={ROOT}/tests/lsan.supp", "print_suppressions=0"),
        **options("UBSAN_OPTIONS", "halt_on_error=1", "print_stacktrace=1", kind="undefined"),
        # A forked child may start threads, as it may without.
        **options("TSAN_OPTIONS", "die_after_fork=0", "second_deadlock_stack=1", kind="thread"),
    }  # fmt: skip


#: Faults that have to be seen, or nothing that is not seen means anything.
FAULTS = {
    "address,undefined": {
        "leak": "libc.malloc(size(77))",
        "heap-use-after-free": "page = pointer(libc.malloc(size(77))); libc.free(page); ctypes.string_at(page, 8)",
    },
    "thread": {
        # Two threads wait for octets to come to the same place.
        "data race": """
page, (out, into) = ctypes.create_string_buffer(8), os.pipe()
threads = [threading.Thread(target=libc.read, args=(out, page, size(8))) for unused in range(2)]
for thread in threads:
    thread.start()
time.sleep(0.2)
os.write(into, bytes(16))
for thread in threads:
    thread.join()
""",
    },
}


def probe(group, library):
    """Unavailable unless Python starts with the run-time, and faults are seen."""
    begin = (
        "import ctypes, os, threading, time\n"
        "libc, size, pointer = ctypes.CDLL(None), ctypes.c_size_t, ctypes.c_void_p\n"
        "libc.malloc.restype = pointer\n"
    )
    for fault, code in {"": "", **FAULTS[group]}.items():
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", begin + code], env=environment(group, library, folder), timeout=60,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
            )  # fmt: skip
            said = done.stdout + reports_in(folder)
        if not fault and (done.returncode or said):
            raise Unavailable(f"Python does not run with {library}:\n{said[-2000:]}")
        if fault and not (done.returncode and fault in said):
            raise Unavailable(f"a {fault} is not noticed here:\n{said[-2000:]}")


def build(group):
    """Folder to import turboserver from. Only what changed is compiled."""
    if subprocess.run([sys.executable, "-c", "import Cython, setuptools"], stderr=subprocess.DEVNULL).returncode:
        raise Unavailable("building needs setuptools and Cython")
    library = ROOT / "build" / f"lib-{sys.implementation.cache_tag}-{group.replace(',', '+')}"
    switches = {"TURBOSERVER_SANITIZE": group, "TURBOSERVER_DEBUG": "1", "TURBOSERVER_PURE": "", "TURBOSERVER_COVERAGE": ""}
    done = subprocess.run(
        [sys.executable, "setup.py", "build", "--build-lib", library], cwd=ROOT, env={**os.environ, **switches},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout}\nsanitize: does not build")
    return library


def reports_in(folder):
    """What Python processes reported. Other programs are not ours, and leak as they please."""
    files = sorted(path for path in Path(folder).iterdir() if path.name.split(".")[1].startswith("python"))
    return "\n".join(path.read_text(errors="replace") for path in files)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sanitize", choices=SHORT, default="address,undefined", dest="group")
    parser.add_argument("--short", action="store_true", help="only what says most in a minute")
    chosen, arguments = parser.parse_known_args()
    group = chosen.group
    try:
        library = runtime(group)
        probe(group, library)
        package = build(group)
    except Unavailable as why:
        print(f"sanitize: {why}")
        return UNAVAILABLE
    if chosen.short:
        arguments += SHORT[group]
    for test, why in (UNSUITABLE | UNSUITABLE_FOR[group]).items():
        print(f"sanitize: without {test}: {why}")
        arguments.append(f"--deselect={test}" if ":" in test else f"--ignore={test}")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join(filter(None, (str(package), str(ROOT / "tests"), os.environ.get("PYTHONPATH"))))
        status = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "sanitize", *arguments], cwd=ROOT,
            env={**environment(group, library, folder), "PYTHONPATH": path}, check=False,
        ).returncode  # fmt: skip
        said = reports_in(folder)
    if said:
        print(said)
        print("sanitize: there are reports, above")
    elif not status:
        print(f"sanitize: no reports of {group}")
    return 1 if said or status else 0


# ---------------------------------------------------------------- in pytest, as a plugin

#: Modules of the types whose instances live no longer than a connection or a server. Others are kept with classes.
PASSING = {f"turboserver._{name}" for name in ("channel", "connection", "datagram", "engine", "stream")}


def pytest_sessionstart(session):
    import turboserver

    assert turboserver.accelerated, "the native engine is not loaded"
    assert Path(turboserver.__file__).is_relative_to(ROOT / "build"), f"not what was built: {turboserver.__file__}"
    # A process that a test starts may end while threads serve, and what those had at hand is nobody's then.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"


@pytest.hookimpl(trylast=True)  # after the fixtures
def pytest_runtest_teardown(item, nextitem):
    """After a file of tests none of PASSING is alive, unless a thread or a failed test may have it."""
    if nextitem is not None and nextitem.path == item.path or item.session.testsfailed:
        return
    end = time.monotonic() + 2
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    gc.collect()
    kept = collections.Counter(str(cls) for cls in map(type, gc.get_objects()) if str(cls.__module__) in PASSING)
    assert not kept or threading.active_count() > 1, f"still there after {item.path.name}: {dict(kept)}"


if __name__ == "__main__":
    sys.exit(main())
