"""What the operating system says of a process and its children: CPU seconds, memory, threads; and cores to run on.

A tree is a process and all that descend from it now. Linux counts exactly (see cpu_seconds); elsewhere `ps` is asked,
memory comes from it too, and cores cannot be chosen.
"""

import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

LINUX = sys.platform == "linux"
PROC = Path("/proc")
#: Open files that the idle scenario needs, with room for everything else.
FILES = 12_000


# ---------------------------------------------------------------- processes


def tree(pid: int) -> list[int]:
    """`pid` and its descendants; those that end meanwhile may be missing."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _parents():
    if not LINUX:
        shown = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        yield from (tuple(map(int, line.split())) for line in shown.splitlines())
        return
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            yield int(folder.name), int(fields[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on; nothing if the process has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the second field, the name, may hold anything


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree of `pid`, with threads that have ended and children that were waited for."""
    return sum(map(_cpu_seconds, tree(pid)))


def _cpu_seconds(pid: int) -> float:
    if not LINUX:
        return _ps_seconds(pid)
    fields = _stat(pid)
    if not fields:
        return 0.0
    tick = os.sysconf("SC_CLK_TCK")
    waited_for = (int(fields[13]) + int(fields[14])) / tick
    try:
        # The CPU clock of another process (clock_getcpuclockid): nanoseconds, where stat has hundredths of a second.
        return time.clock_gettime(~pid << 3 | 2) + waited_for
    except OSError:
        return (int(fields[11]) + int(fields[12])) / tick + waited_for


def _ps_seconds(pid: int) -> float:
    shown = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True).stdout
    total = 0.0
    for part in shown.strip().replace("-", ":").split(":"):
        total = total * 60 + float(part or 0)
    return total


def peak_mib(pid: int) -> float | None:
    """MiB: the largest resident sizes of the tree's processes together; None where it is not known."""
    return _memory(pid, "status", "VmHWM:", 2**20)


def memory_octets(pid: int) -> float | None:
    """Octets the tree occupies now, what processes share divided among them; None where it is not known."""
    shared = _memory(pid, "smaps_rollup", "Pss:", 1)
    return shared if shared is not None else _memory(pid, "status", "VmRSS:", 1)


def _memory(pid, file, name, unit):
    found = []
    for process in tree(pid):
        with contextlib.suppress(OSError):
            text = (PROC / str(process) / file).read_text()
            found += [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(name)]
    if not found:
        return _ps_octets(pid) / unit if not LINUX else None
    return sum(found) / unit


def _ps_octets(pid):
    pids = ",".join(map(str, tree(pid)))
    shown = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True).stdout
    return sum(map(int, shown.split())) * 1024


def threads(pid: int) -> int:
    """Threads of the tree now."""
    if not LINUX:
        return 0
    # After the state, fields 4 to 20 of the manual page; the 20th is num_threads.
    return sum(int(fields[17]) for process in tree(pid) if (fields := _stat(process)))


# ---------------------------------------------------------------- the machine


def cores() -> tuple[int | None, int | None]:
    """(for the servers, for the load): the first and the last usable one; None, None where they cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextlib.contextmanager
def on_core(core: int | None):
    """A process started inside is bound to `core` from its first instruction on, and so is all that it starts."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_files() -> int:
    """Raise the limit of open files, for this process and all it starts, to FILES if the system lets us; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def machine() -> dict[str, str | int | float]:
    """What the figures were taken on: "cpu", "cores" (usable), "memory_gib", "kernel", "system"."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = f"{platform.system()} {platform.mac_ver()[0]}".strip()
    return {
        "cpu": _cpu_name(),
        "cores": usable or 1,
        "memory_gib": round(memory / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": system,
    }


def _cpu_name():
    with contextlib.suppress(OSError):
        for line in (PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()
