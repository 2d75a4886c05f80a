"""What a row of the field suite is: one program that nobody here wrote, how it is started, asked and loaded.

A row's functions run in the environment of its group (visit.py), where the program's own client is; this module and
those of the rows therefore import nothing but the standard library at their top.

    command(folder)     what follows `python` in the program's command line. folder: pathlib.Path, the program's
                        working directory, into which it may write what the program needs.
    check(place)        asserts that the program works. place: Place.
    load                a path that wrk asks for, or a function (place) that gives a function which makes one round trip.

What may not live here: anything about one program.
"""
import contextlib
import dataclasses
import http.client
import os
import pathlib
import shutil
import socket
import ssl
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
CERTIFICATE = HERE.parent / "data" / "localhost.pem"
#: Seconds after which what should have happened is taken not to happen.
DEADLINE = 30.0


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    group: str                      # its environment: requirements/GROUP.txt; "library" needs none
    command: object
    check: object = None            # None: the program ends by itself, with exit code 0 if all went well
    lane: str = "reactor"           # which lane it takes; one that becomes slower, or faster, is seen
    load: object = None             # None: there is nothing to measure
    unit: str = "requests"
    short: bool = False             # in the short form, which CI runs
    server: str = ""                # which of several servers of the program: the end of its class's name
    tls: bool = False
    installs: bool = False          # the program is told by a last argument, `install`, to call turboserver.install()
    note: str = ""                  # for the table

    @property
    def id(self):
        """The name as a word."""
        return "".join(c if c.isalnum() or c in "._" else "-" for c in self.name)


class Answer:
    """status (int), reason (str), headers (http.client.HTTPMessage), body (bytes)."""

    def __init__(self, response):
        self.status, self.reason, self.headers = response.status, response.reason, response.headers
        self.body = response.read()

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.body[:300]!r}>"


class Place:
    """Where a program runs: its port, its folder, and what it has said so far."""
    host = "127.0.0.1"

    def __init__(self, port, folder, tls=False):
        self.port, self.folder, self.tls = port, pathlib.Path(folder), tls

    @property
    def address(self):
        return self.host, self.port

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}"

    def said(self):
        return (self.folder / "said").read_text(errors="replace")

    def connection(self):
        """An http.client connection to it."""
        if not self.tls:
            return http.client.HTTPConnection(*self.address, timeout=DEADLINE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(*self.address, timeout=DEADLINE, context=context)

    def ask(self, path, method="GET", body=None, **headers):
        """The Answer on a connection of its own. headers: `_` in a name stands for `-`."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return Answer(connection.getresponse())

    def page(self, path, status=200, **headers):
        """The body of a GET, whose status must be `status`."""
        answer = self.ask(path, **headers)
        assert answer.status == status, f"{path}: {answer}\n{self.said()[-3000:]}"
        return answer.body

    def trips(self, sent, wanted):
        """A function that makes one round trip, on one connection for all of them: octets that are sent, and that come."""
        sock = socket.create_connection(self.address, DEADLINE)

        def trip():
            sock.sendall(sent)
            assert sock.recv(100) == wanted

        return trip

    def until(self, condition, what):
        """Ask condition() until it is true; what a server that restarts does not answer counts as false. Its value."""
        end = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                value = condition()
                if value:
                    return value
            assert time.monotonic() < end, f"waited in vain for {what}:\n{self.said()[-3000:]}"
            time.sleep(0.05)


def free_port():
    """A port that nobody has at this moment, for programs that do not take 0 for one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def program(name, *arguments):
    """command() of a file of programs/, which runs where it is."""
    return lambda folder: [str(PROGRAMS / name), *arguments]


def copied(name, folder, to=None):
    """Copy a file of programs/ into the folder; its path there."""
    return pathlib.Path(shutil.copy(PROGRAMS / name, folder / (to or name)))


def change(path, old, new):
    """Replace text in a file, whose time differs then from what a reloader may have seen."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new))
    later(path)


def later(path):
    os.utime(path, (path.stat().st_mtime + 5,) * 2)


def together(trips):
    """Run all of these functions at once, each in a thread; their results, and seconds until the last came back."""
    import concurrent.futures
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(trips)) as pool:
        results = [future.result() for future in [pool.submit(trip) for trip in trips]]
    return results, time.monotonic() - begin
