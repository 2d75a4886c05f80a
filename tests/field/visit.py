"""Asks a running program, in the environment in which its own client is.

    visit.py ROW check PORT FOLDER                      exit code 0 if all asserts held
    visit.py ROW load PORT FOLDER SECONDS THREADS       prints round trips a second (float)

Only what needs the program's own client is loaded from here; what is plain HTTP, wrk loads (measure.py).
"""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rows  # noqa: E402
from row import Place  # noqa: E402


def load(row, place, seconds, threads):
    """Round trips a second, by so many threads, each with a connection of its own."""
    made, errors = [0] * threads, []
    barrier = threading.Barrier(threads + 1)
    over = threading.Event()

    def go(number):
        try:
            trip = row.load(place)
            trip()
            barrier.wait()
            while not over.is_set():
                trip()
                made[number] += 1
        except BaseException as error:
            errors.append(error)
            barrier.abort()
            raise

    workers = [threading.Thread(target=go, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    begin = time.monotonic()
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join(20)
    taken = time.monotonic() - begin
    if errors:
        raise errors[0]
    return sum(made) / taken


def main(name, what, port, folder, *arguments):
    row = rows.named(name)
    place = Place(int(port) if port.isdigit() else port, folder, row.tls)
    if what == "check":
        row.check(place)
    else:
        seconds, threads = arguments
        print(load(row, place, float(seconds), int(threads)))


if __name__ == "__main__":
    main(*sys.argv[1:])
