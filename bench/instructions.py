"""The regression gate that does not depend on the clock: instructions for each request, lane by lane.

    python bench/instructions.py [--check | --update] [--only NAME ...]

Each server of instructions_servers.py runs under valgrind's callgrind, which counts the instructions it executes in
user space. One client asks one thing at a time. Between marks lie few requests and many in turns, so that what a mark
costs, and what belongs to no request, falls out of the difference:

    instructions a request = median over the rounds of (many's count - few's count) / (many - few)

The engine's monitor thread is left out, because it ticks by the clock; so is the garbage collector, which is off. What
is left scatters by less than 1 % on a machine that does nothing else; the gate is at 5 %. A machine that is busy adds
wake-ups and hand-overs between threads (7 % were seen), and never takes any away: a figure above the gate is counted
again, twice at most, and the least of them counts. What has become dearer is so each time.

The figures to hold stand in instructions.json, by Python version and machine. They are of one build of Python and of
the extensions: most instructions are the interpreter's own, and between two builds of one version (profile-guided
optimisation or not) lay 6 to 18 %. So where the present build is not the one they were counted with, that is said:
a verdict then says little.

Exit status: 1 if a figure is more than 5 % above the committed one, if there is none for a case (--update), or if a
server did not come up or answered wrongly; else 0. Without valgrind, or without figures for this Python, nothing is
checked, and the last line begins with "not checked".
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "instructions.json"
SERVERS = HERE / "instructions_servers.py"

TOLERANCE = 0.05
ROUNDS = 5
AGAIN = 2  # times that a figure above the gate is counted once more
FEW, MANY, WARM_UP = 8, 48, 40  # exchanges
PAUSE = 0.001  # seconds after each answer: the server shall be waiting again, as it would be for a client that thinks
DEADLINE = 60  # seconds for anything that should happen
JOBS = 2  # servers at a time

HELLO = b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"
BROWSER = (HERE / "micro" / "browser.http").read_bytes()
POST = b"POST / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: 1024\r\n\r\n" + b"0123456789abcde\n" * 64
HELLO10 = b"GET / HTTP/1.0\r\nHost: localhost:8000\r\n\r\n"
LINE = b"a line of sixty-four octets, which comes back exactly as it is.\n"


class Case(NamedTuple):
    """What the client says to the server of the same name."""

    title: str
    request: bytes
    at_once: int = 1  # requests in one packet
    keep: bool = True  # a connection for all of them, or one for each


CASES = {
    "threading": Case("reactor, ThreadingHTTPServer: hello", HELLO),
    "single": Case("reactor, HTTPServer: hello", HELLO),
    "browser": Case("reactor: browser's request, no header read", BROWSER),
    "browser-headers": Case("reactor: browser's request, three headers read", BROWSER),
    "pipelined": Case("reactor: 16 requests at once", HELLO, at_once=16),
    "post": Case("reactor: POST of 1 KiB, echoed", POST),
    "connection": Case("reactor: a connection for each request", HELLO10, keep=False),
    "wsgi": Case("reactor: WSGI, get_environ overridden, HTTP/1.0", HELLO10, keep=False),
    "wsgi-hello": Case("native gateway, ThreadingWSGIServer: hello", HELLO),
    "wsgi-browser": Case("native gateway: browser's request, no header read", BROWSER),
    "wsgi-pipelined": Case("native gateway: 16 requests at once", HELLO, at_once=16),
    "blocking": Case("blocking: handle_one_request overridden", HELLO),
    "stream": Case("blocking: StreamRequestHandler, a line echoed", LINE),
    "compatible": Case("compatible: sockets are patched", HELLO),
}


# ---------------------------------------------------------------- counting


class Client:
    """Asks one thing at a time. RuntimeError for an answer that is wrong or unlike the first one."""

    def __init__(self, case, port):
        self.case, self.port = case, port
        self.packet = case.request * case.at_once
        self.sock = None
        self.length = None  # octets of one answer

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(PAUSE)  # or it would be chance whether the request is there when the server accepts
        return sock

    def exchange(self):
        sock = self.sock or self.connect()
        sock.sendall(self.packet)
        data = b""
        wanted = None if self.length is None else self.length * self.case.at_once
        while wanted is None or len(data) < wanted or not self.case.keep:
            more = sock.recv(65536)
            data += more
            if self.length is None and (length := answer_length(self.case.request, data)):
                self.length, wanted = length, length * self.case.at_once
            if not more:
                break
        if wanted is None or len(data) != wanted:
            raise RuntimeError(f"wrong answer: {data[:200]!r}")
        if self.case.keep:
            self.sock = sock
        else:
            sock.close()
        time.sleep(PAUSE)


def answer_length(request, data):
    """Octets of the first answer in `data`, 0 if it is not whole. RuntimeError if it is wrong."""
    if request is LINE:
        right, length = LINE.startswith(data), len(LINE)
    else:
        head, end, _ = data.partition(b"\r\n\r\n")
        if not end:
            return 0
        found = re.search(rb"\r\nContent-Length: (\d+)", head)
        right, length = b" 200 OK\r\n" in head and found, len(head) + 4 + int(found[1] if found else 0)
    if not right:
        raise RuntimeError(f"wrong answer: {data[:200]!r}")
    return length if len(data) >= length else 0


def environment():
    """Nothing that could choose another lane, poller, allocator or hash seed, and always as much: each environ of an
    application begins with a copy."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONHASHSEED": "0"}


def count(name):
    """Instructions a request (float) of the case. RuntimeError if the server or an answer is wrong."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "errors"), "w+") as errors:
        dumps = Path(folder, "dump")
        process = subprocess.Popen(
            ["valgrind", "--quiet", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={dumps}",
             "--compress-strings=no", "--dump-line=no", sys.executable, str(SERVERS), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0, env=environment())  # fmt: skip
        try:
            try:
                converse(process, case)
            except (RuntimeError, OSError, ValueError) as error:
                errors.seek(0)
                raise RuntimeError(f"{name}: {error}\n{errors.read()[-2000:]}") from error
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        counts = [serving_instructions(Path(f"{dumps}.{number}")) for number in range(2, 2 + 2 * ROUNDS)]
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return statistics.median(many - few for few, many in pairs) / (MANY - FEW) / case.at_once


def converse(process, case):
    """All exchanges with the server; a mark behind the warm-up and behind each few and each many of them."""
    client = Client(case, int(process.stdout.readline()))
    try:
        for number in [WARM_UP] + [FEW, MANY] * ROUNDS:
            for _ in range(number):
                client.exchange()
            process.stdin.write(b".")
            if not process.stdout.read(1):
                raise RuntimeError("the server has ended")
    finally:
        if client.sock is not None:
            client.sock.close()


def serving_instructions(dump):
    """The total of a callgrind file (Path) without the monitor thread's. Its format: of a function, after `fn=`, come
    lines of position and cost, and after `calls=` one with the cost of what it called."""
    total = monitor = 0
    in_monitor = False
    with open(dump) as lines:
        for line in lines:
            if line.startswith("fn="):
                in_monitor = line.rstrip() == "fn=monitor_main"
            elif in_monitor and line[0] in "0123456789+-*":
                monitor += int(line.split()[1])
            elif line.startswith(("summary:", "totals:")):
                total = int(line.split()[1])
    if total == 0:
        raise RuntimeError(f"{dump.name} has no total")
    return total - monitor


# ---------------------------------------------------------------- the committed figures


def python_key():
    """Whose figures can be compared: "3.13 x86_64", "3.14t aarch64"."""
    free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{sys.version_info[0]}.{sys.version_info[1]}{free} {platform.machine()}"


def build():
    """What the counts depend on besides our source: dict of str."""
    import turboserver._engine as engine

    compiler = re.findall(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", Path(engine.__file__).read_bytes())
    return {
        "python": " ".join(sys.version.split()),
        "extensions": compiler[-1].decode() if compiler else "unknown compiler",
        "libc": " ".join(platform.libc_ver()),
        "valgrind": subprocess.run(["valgrind", "--version"], capture_output=True, text=True).stdout.strip(),
    }


class Row(NamedTuple):
    name: str
    committed: int | None
    counted: int
    verdict: str  # "", "more", "fewer" or "new"


def compare(counted, committed):
    """One Row for each case of `counted`. Both are dicts of case to instructions a request."""
    rows = []
    for name, now in counted.items():
        held = committed.get(name)
        if held is None:
            verdict = "new"
        else:
            verdict = "more" if now > held * (1 + TOLERANCE) else "fewer" if now < held * (1 - TOLERANCE) else ""
        rows.append(Row(name, held, now, verdict))
    return rows


def failed(rows):
    """Whether the gate is shut."""
    return any(row.verdict in ("more", "new") for row in rows)


WORDS = {"": "", "more": "TOO MANY", "fewer": "fewer: --update", "new": "NO FIGURE: --update"}


def table(rows):
    """The comparison as text."""
    lines = [f"{'instructions a request':50}{'committed':>11}{'now':>9}{'change':>9}"]
    for row in rows:
        held, change = "-", "-"
        if row.committed is not None:
            held, change = f"{row.committed:,}", f"{row.counted / row.committed - 1:+.1%}"
        title = f"{row.name:16}{CASES[row.name].title.partition(': ')[2] or CASES[row.name].title}"
        lines.append(f"{title:50}{held:>11}{row.counted:>9,}{change:>9}  {WORDS[row.verdict]}".rstrip())
    return "\n".join(lines)


def read_figures():
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {"format": 1, "pythons": {}}


# ---------------------------------------------------------------- the command


def why_not():
    """Why nothing can be counted here; None if it can."""
    if not shutil.which("valgrind"):
        return "valgrind is not installed (apt install valgrind)"
    try:
        import turboserver
    except ImportError:
        return f"turboserver is not installed for {sys.executable}"
    return None if turboserver.accelerated else "turboserver is here without its native engine"


def count_all(names):
    """dict of case to instructions a request (int), in the order of `names`; says each as it is known."""
    counted = {}
    with ThreadPoolExecutor(JOBS) as pool:
        for name, figure in zip(names, pool.map(count, names), strict=True):
            counted[name] = round(figure)
            print(f"{name:16}{counted[name]:>10,}", flush=True)
    return counted


def count_again(counted, committed, count=count):
    """The least of up to AGAIN further counts takes the place of each figure of `counted` that is above the gate."""
    for row in compare(counted, committed):
        for _ in range(AGAIN if row.verdict == "more" else 0):
            now = round(count(row.name))
            print(f"{row.name:16}{now:>10,}, counted again: {counted[row.name]:,} is above the gate", flush=True)
            counted[row.name] = min(counted[row.name], now)
            if compare({row.name: counted[row.name]}, committed)[0].verdict != "more":
                break


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="compare with the committed figures (the default)")
    group.add_argument("--update", action="store_true", help="put the figures of this Python into instructions.json")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help="of: " + ", ".join(CASES))
    options = parser.parse_args()

    reason, key, figures = why_not(), python_key(), read_figures()
    committed = figures["pythons"].get(key)
    if reason is None and committed is None and not options.update:
        reason = f"{FIGURES.name} has no figures for Python {key} (--update makes them)"
    if reason is not None:
        print(f"not checked: {reason}")
        return 1 if options.update else 0

    try:
        counted = count_all(options.only or list(CASES))
        if not options.update:
            count_again(counted, committed["instructions"])
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    present = build()
    if options.update:
        kept = {**committed["instructions"], **counted} if committed else counted
        in_order = {name: kept[name] for name in CASES if name in kept}
        figures["pythons"][key] = {"build": present, "instructions": in_order}
        figures["pythons"] = dict(sorted(figures["pythons"].items()))
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"{FIGURES.name} has the figures of Python {key}")
        return 0

    rows = compare(counted, committed["instructions"])
    print("\n" + table(rows))
    for part, value in present.items():
        if committed["build"].get(part) != value:
            print(f"another {part}: {value}; the figures were counted with {committed['build'].get(part)}")
    print("FAILED: more than 5 % above, or no figure" if failed(rows) else "passed")
    return 1 if failed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
