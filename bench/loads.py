"""Loads a running server with wrk or with load.c, and gives what came of it as a Sample.

The server's CPU is taken around the whole life of the load generator, connecting included. Of what wrk reports, errors
of every kind are added up, and the octets for each request must be those of the answer that was checked before.

wrk takes the time from a request to its answer, without connecting, and adds what requests would have waited that a
late answer held back (coordinated omission). It reckons that from answers, of which a batch has 16, so pipelined
requests have no latencies here.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import measure
from environment import Environment
from results import Sample
from servers import Running

HERE = Path(__file__).resolve().parent
#: Seconds that a load may take longer than it was told to.
PATIENCE = 30
#: How far the octets of an answer, on the average, may be from the checked one's: one may be cut off at the end.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Load:
    """What is asked of a server: `what` by `program` on `connections`."""

    #: "wrk" or "load"
    program: str
    #: Of wrk the request's name in wrk.lua, of load its mode.
    what: str
    connections: int
    #: More arguments for load.
    arguments: tuple[str, ...] = ()

    def command(self, environment: Environment, port: int, seconds: float, secure: bool = False) -> list[str]:
        """RuntimeError if the program is missing. secure: by TLS, which only wrk speaks."""
        program = environment.program(self.program)
        if program is None:
            raise RuntimeError(f"{self.program} is missing: {environment.missing.get(self.program, 'not found')}")
        if self.program == "load":
            options = ["--port", str(port), "--connections", str(self.connections), "--seconds", f"{seconds:g}"]
            return [str(program), self.what, *options, *self.arguments]
        # wrk takes whole seconds only.
        options = ["-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        return [str(program), *options, "-s", str(HERE / "wrk.lua"), f"{'https' if secure else 'http'}://127.0.0.1:{port}/", "--", self.what]


def measured(running: Running, load: Load, seconds: float, core: int | None, patience: float = PATIENCE) -> Sample:
    """Put `load`, bound to `core`, on a server for `seconds`. RuntimeError if nothing useful came of it."""
    command = load.command(running.environment, running.port, seconds, running.server.secure)
    before = measure.cpu_seconds(running.pid)
    said = run(command, core, seconds + patience)
    used = measure.cpu_seconds(running.pid) - before
    peak = measure.peak_mib(running.pid)
    if running.process.poll() is not None:
        raise RuntimeError(f"the server ended with {running.process.returncode} under load")
    running.forget()
    requests, errors = said["requests"], said["errors"]
    if isinstance(errors, dict):
        errors = sum(errors.values())
    if requests == 0:
        raise RuntimeError(f"no answer within {seconds:g} s, {errors} errors")
    if load.program == "wrk" and running.answer and requests >= 1000:
        octets = said["octets"] / requests
        if abs(octets / running.answer - 1) > TOLERANCE:
            raise RuntimeError(f"answers of {octets:.0f} octets instead of {running.answer}")
    latency = {} if load.what == "pipelined" else said["latency_us"]
    return Sample(
        cpu_us=used / requests * 1e6,
        rate=requests / said["seconds"],
        p50_ms=latency["p50"] / 1e3 if latency else None,
        p99_ms=latency["p99"] / 1e3 if latency else None,
        p999_ms=latency["p999"] / 1e3 if latency else None,
        errors=errors,
        rss_mib=peak,
        octets_rate=said["octets"] / said["seconds"] if load.what in ("download", "upload") else None,
    )


def run(command: list[str], core: int | None, limit: float) -> dict:
    """What a load generator said: the last line of its output, which is JSON. RuntimeError if there is none."""
    with measure.on_core(core):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{os.path.basename(command[0])} did not end within {limit:.0f} s") from None
    finally:
        process.kill()
        process.wait()
    lines = output.decode(errors="replace").strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        words = (errors or output).decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{os.path.basename(command[0])}: {words[-1] if words else 'no output'}") from None


class Idle:
    """Connections to a server that were answered once and are now kept without a request, until close()."""

    def __init__(self, running: Running, connections: int, core: int | None):
        """RuntimeError if not all could be opened."""
        command = Load("load", "idle", connections).command(running.environment, running.port, PATIENCE)
        with measure.on_core(core):
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        line = self.process.stdout.readline()
        if line != b"ready\n":
            self.process.kill()
            _, errors = self.process.communicate()
            words = errors.decode(errors="replace").strip().splitlines() or [line.decode(errors="replace").strip()]
            raise RuntimeError(f"{connections} idle connections could not be opened: {words[-1]}")

    def close(self) -> None:
        """Close them all."""
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()
            self.process.communicate()
