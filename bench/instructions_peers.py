"""Instructions of a request of a WSGI application, ours beside the peers': what a noisy machine cannot blur.

    python bench/instructions_peers.py [APP ...]        (hello, flask, django)

Each server of SERVERS runs under callgrind in the environment of run.py (build/bench), which has to be there already. One
client asks one thing at a time; what is counted, in user space, lies between two dumps with REQUESTS requests between
them. Ours is the server without threads, for the monitor's thread counts by the clock. The garbage collector is off in all of
them: when it runs is chance.

Instructions are not time. What the kernel does is not among them, nor are caches, and a server that does less of what PEP 3333
wants has fewer of them: fastwsgi does not call close(), so with Django and Flask it leaves out what an
application does at the end of a request (checks.closes()).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import checks
from environment import ROOT
from instructions import serving_instructions

HERE = Path(__file__).resolve().parent
PYTHON = ROOT / "build" / "bench" / "venv" / "bin" / "python"
SERVERS = {
    "turboserver": ["handlers.py", "turbo", "wsgi-single", "wsgi"],
    "bjoern": ["wsgi.py", "bjoern", "0"],
    "fastwsgi": ["wsgi.py", "fastwsgi", "0"],
}
WARM_UP, REQUESTS = 60, 200
PATIENCE = 60  # seconds for a server to come up


def count(command: list[str]) -> float:
    """Instructions a request of a server. RuntimeError if it does not come up or answers wrongly."""
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE / "apps"), "PYTHONHASHSEED": "0", "BENCH_NO_GC": "1"}
        process = subprocess.Popen(
            [*valgrind, PYTHON, *command], cwd=HERE / "apps", env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            port = int(process.stdout.readline() or b"0")
            with client_of(port) as client:
                ask(client, WARM_UP)
                dump(process)
                ask(client, REQUESTS)
                dump(process)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        last = max(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        return serving_instructions(last) / REQUESTS


def client_of(port: int) -> checks.Client:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return checks.Client(port)
        except OSError:
            if time.monotonic() > until:
                raise RuntimeError(f"not up within {PATIENCE} s") from None
            time.sleep(0.2)


def ask(client: checks.Client, times: int) -> None:
    client.socket.settimeout(PATIENCE)
    for _ in range(times):
        client.socket.sendall(checks.GET)
        if client.answer()[0] != 200:
            raise RuntimeError("wrong answer")


def dump(process: subprocess.Popen) -> None:
    subprocess.run(["callgrind_control", "-d", str(process.pid)], check=True, capture_output=True)


def main():
    if not PYTHON.exists():
        sys.exit("instructions_peers.py: there is no build/bench yet: make bench")
    for app in sys.argv[1:] or ("hello", "flask", "django"):
        counted = {name: count([*command, app]) for name, command in SERVERS.items()}
        ours = counted["turboserver"]
        for name, instructions in counted.items():
            print(f"{app:8} {name:12} {instructions:12,.0f}  turboserver has {ours / instructions:.3f} of that")


if __name__ == "__main__":
    main()
