"""The speed check: what a request costs beyond what the kernel takes.

    python bench/hello.py [--seconds 3] [--rounds 5]

Servers of the same answer (two headers and 13 octets) are measured in the same run, in turns, so that what the machine
does meanwhile meets them all: `limit`, a C epoll loop that does not even parse; turboserver's ThreadingHTTPServer and
HTTPServer; and the standard library's ThreadingHTTPServer, as it comes and with Nagle's algorithm off. wrk keeps 32
connections busy from one core, the server has another one. Each is asked once and checked before it is measured, and
warmed up.

The figure that counts is server CPU for each request (user and system, of all threads), because it does not depend on
how fast wrk is; requests per second are what one core gives. Medians over the rounds, ratios to the limit's median.

Needs wrk and, for the limit, Linux and a C compiler.
"""

import argparse
import http.client
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
BODY = b"Hello, World!"
GOAL = 1.5  # times the limit's CPU for each request, for turboserver's ThreadingHTTPServer

LIMIT = "limit (C, epoll)"
TURBO_THREADING = "turboserver ThreadingHTTPServer"
TURBO = "turboserver HTTPServer"
STOCK_NODELAY = "http.server ThreadingHTTPServer, Nagle off"
STOCK = "http.server ThreadingHTTPServer"
SERVERS = [LIMIT, TURBO_THREADING, TURBO, STOCK_NODELAY, STOCK]


# ---------------------------------------------------------------- the servers


def serve(name):
    """Serve as `name` for ever; the first line of output is the port."""
    if name.startswith("turboserver"):
        from turboserver.http import server as module
    else:
        from http import server as module

    class Hello(module.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = name == STOCK_NODELAY

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "13")
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, format, *args):
            pass

    cls = module.HTTPServer if name == TURBO else module.ThreadingHTTPServer
    with cls(("127.0.0.1", 0), Hello) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def limit_command():
    """The limit's command, built if need be; RuntimeError says why there is none."""
    if sys.platform != "linux":
        raise RuntimeError("needs Linux (epoll)")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not shutil.which(compiler[0]):
        raise RuntimeError(f"needs a C compiler, and {compiler[0]} is not on PATH")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "limit"
    subprocess.run([*compiler, "-std=gnu11", "-O2", "-o", program, HERE / "limit.c"], check=True)
    return [str(program), "0", f"BaseHTTP/0.6 Python/{platform.python_version()}"]


class Server:
    """A server process on `core`, from start to stop. RuntimeError if it does not come up or answers wrongly."""

    def __init__(self, name, core):
        command = limit_command() if name == LIMIT else [sys.executable, __file__, "--serve", name]
        self.name = name
        self.samples = []  # (CPU seconds for each request, requests for each second)
        self.problems = set()
        # A file, not a pipe: nobody reads the tracebacks that wrk's disconnections cause.
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        pin(self.process.pid, core)
        try:
            line = self.process.stdout.readline()
            if not line.strip().isdigit():
                self.process.wait(5)
                self.errors.seek(0)
                raise RuntimeError((self.errors.read().strip() or "no output").splitlines()[-1])
            self.port = int(line)
            self.check()
        except BaseException:
            self.stop()
            raise

    def check(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        for _ in range(3):  # the connection must be kept, too
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
            names = [name.lower() for name, _ in response.getheaders()]
            if (response.status, response.version, body) != (200, 11, BODY):
                raise RuntimeError(f"wrong answer: {response.status} {body!r}")
            if names != ["server", "date", "content-type", "content-length"]:
                raise RuntimeError(f"wrong headers: {names}")
            if connection.sock is None:
                raise RuntimeError("the connection is not kept alive")
        connection.close()

    def measure(self, seconds, connections, core):
        before = cpu_seconds(self.process.pid)
        requests, rate, problems = run_wrk(self.port, seconds, connections, core)
        used = cpu_seconds(self.process.pid) - before
        self.problems.update(problems)
        if requests == 0:
            raise RuntimeError(f"{self.name}: wrk had no answer at all")
        return used / requests, rate

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


# ---------------------------------------------------------------- measuring


def pin(pid, core):
    if core is not None:
        os.sched_setaffinity(pid, {core})


def cores():
    """(for the server, for wrk); None where cores cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


def cpu_seconds(pid):
    """User and system time of all threads of a process, those that have ended included."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        # The second field, the name, may hold anything; utime and stime are the 14th and 15th.
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    shown = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True)
    total = 0.0
    for part in shown.stdout.strip().replace("-", ":").split(":"):
        total = total * 60 + float(part)
    return total


def run_wrk(port, seconds, connections, core):
    """(requests answered, requests for each second, what went wrong: a list of str)"""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pin(process.pid, core)  # wrk sleeps while it connects, so this is in time
    for task in Path(f"/proc/{process.pid}/task").glob("*"):
        try:
            pin(int(task.name), core)
        except ProcessLookupError:
            pass
    output, _ = process.communicate(timeout=seconds + 60)
    if process.returncode != 0:
        raise RuntimeError(f"wrk failed: {output.strip()}")
    count = re.search(r"(\d+) requests in ", output)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    problems = re.findall(r"(Socket errors: .*|Non-2xx or 3xx responses: .*)", output)
    return int(count[1]), float(rate[1]), problems


def table(servers, missing):
    """Print the figures; the ratio of TURBO_THREADING to the limit, or None."""
    medians = {
        server.name: tuple(statistics.median(column) for column in zip(*server.samples, strict=True))
        for server in servers
    }
    base = medians.get(LIMIT)
    print(f"\n{'':44}{'CPU us/request':>24}{'x limit':>9}{'requests/s':>12}{'x limit':>9}")
    for name in SERVERS:
        if name not in medians:
            print(f"{name:44}  not measured: {missing[name]}")
            continue
        server = next(server for server in servers if server.name == name)
        cpu, rate = medians[name]
        spread = [sample[0] * 1e6 for sample in server.samples]
        figures = f"{cpu * 1e6:.2f} ({min(spread):.2f}..{max(spread):.2f})"
        ratios = (f"{cpu / base[0]:.2f}", f"{rate / base[1]:.3f}") if base else ("-", "-")
        print(f"{name:44}{figures:>24}{ratios[0]:>9}{rate:>12,.0f}{ratios[1]:>9}")
        for problem in sorted(server.problems):
            print(f"{'':4}{problem}")
    if base and TURBO_THREADING in medians:
        return medians[TURBO_THREADING][0] / base[0]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each server (default: 5)")
    parser.add_argument("--connections", type=int, default=32, help="kept-alive connections (default: 32)")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    if not shutil.which("wrk"):
        sys.exit("bench/hello.py needs wrk, which is not on PATH:  apt install wrk  or  brew install wrk")

    server_core, wrk_core = cores()
    if server_core is None:
        print("cores cannot be chosen on this system: expect figures that scatter")
    elif server_core == wrk_core:
        print("only one core is usable: server and wrk share it, requests/s mean little")
    else:
        print(f"server on core {server_core}, wrk -t1 -c{options.connections} on core {wrk_core}", end="; ")
        print(f"{options.rounds} rounds of {options.seconds} s; Python {platform.python_version()}")

    servers, missing = [], {}
    try:
        for name in SERVERS:
            try:
                servers.append(Server(name, server_core))
            except RuntimeError as error:
                missing[name] = error
        for server in servers:
            server.measure(1, options.connections, wrk_core)  # warm-up
            server.problems.clear()
        for number in range(options.rounds):
            for server in servers:
                started = time.monotonic()
                sample = server.measure(options.seconds, options.connections, wrk_core)
                server.samples.append(sample)
                print(
                    f"round {number + 1}: {server.name:44}{sample[0] * 1e6:9.2f} us {sample[1]:12,.0f}/s"
                    f"  ({time.monotonic() - started:.1f} s)"
                )
        ratio = table(servers, missing)
    finally:
        for server in servers:
            server.stop()
    if ratio is not None:
        print(f"\ngoal: at most {GOAL} x the limit's CPU; this is {ratio:.2f}: {'met' if ratio <= GOAL else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
