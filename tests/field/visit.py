"""Asks a running program, in the environment in which its own client is.

    visit.py ROW check PORT FOLDER                      exit code 0 if all asserts held
    visit.py ROW load PORT FOLDER SECONDS               prints round trips a second (float)

Only what needs the program's own client is loaded from here; what is plain HTTP, wrk loads (measure.py).
"""
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rows  # noqa: E402
from row import Place  # noqa: E402


def load(row, place, seconds):
    """Round trips a second, one after the other on one connection: with more of them the client would be measured."""
    trip = row.load(place)
    trip()
    made, begin = 0, time.monotonic()
    while time.monotonic() < begin + seconds:
        trip()
        made += 1
    return made / (time.monotonic() - begin)


def main(name, what, port, folder, *arguments):
    row = rows.named(name)
    place = Place(int(port) if port.isdigit() else port, folder, row.tls)
    if what == "check":
        row.check(place)
    else:
        print(load(row, place, float(*arguments)), flush=True)
        # Some clients have threads that would wait a minute for more to do.
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
