"""PEP 3333 as a checklist, sixth part: wsgi.file_wrapper.

"If the application returns the wrapper, the server may send the file by means of the platform's": whatever those are, the
client must get what iterating over the wrapper gives, and close() must be called.  Each docstring names what is told
apart.  All of it is in the section Optional Platform-Specific File Handling.
"""
import gzip
import io
import os
import random
import tempfile
import threading

import pytest

from support import DEADLINE, Client, connect, exchange, fetch, read_until, read_until_eof, wait_until
from wsgi_gateways import TEXT, answering, gateways, request, serve

DATA = bytes(range(256)) * 400       # more than any buffer of a file object


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


class Noted:
    """A file-like object around another, that counts what is done to it; `without` names what it does not have."""

    def __init__(self, file, *without):
        self._file, self._without, self.closed_times = file, without, 0

    def __getattr__(self, name):
        if name in self._without:
            raise AttributeError(name)
        return getattr(self._file, name)

    def close(self):
        self.closed_times += 1
        self._file.close()


class OnlyReads:
    """The least that the PEP asks for: read(size)."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, size):
        return self._file.read(size)


def sending(kind, make_file, *, block=None, headers=TEXT, method="GET", version="HTTP/1.1"):
    """The response of an application that returns file_wrapper(make_file())."""
    def app(environ, start_response):
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](make_file(), *([block] if block else []))

    with serve(app, kind) as server:
        return fetch(server, method=method, version=version)


def moved(file, to):
    file.seek(to)
    return file


def partly_read(file, count):
    file.read(count)
    return file


def temporary():
    file = tempfile.TemporaryFile()
    file.write(DATA)
    file.seek(0)
    return file


def spooled():
    file = tempfile.SpooledTemporaryFile(max_size=10)
    file.write(DATA)
    file.seek(5)
    return file


FILES = {
    "file": lambda path: (open(path, "rb"), DATA),
    "unbuffered": lambda path: (open(path, "rb", buffering=0), DATA),
    "for reading and writing": lambda path: (open(path, "r+b"), DATA),
    "at an offset": lambda path: (moved(open(path, "rb"), 1000), DATA[1000:]),
    "unbuffered at an offset": lambda path: (moved(open(path, "rb", buffering=0), 70_000), DATA[70_000:]),
    "partly read into a buffer": lambda path: (partly_read(open(path, "rb"), 3), DATA[3:]),
    "at its end": lambda path: (moved(open(path, "rb"), len(DATA)), b""),
    "beyond its end": lambda path: (moved(open(path, "rb"), len(DATA) + 5), b""),
    "temporary": lambda path: (temporary(), DATA),
    "spooled": lambda path: (spooled(), DATA[5:]),
    "in memory": lambda path: (io.BytesIO(DATA), DATA),
    "in memory at an offset": lambda path: (moved(io.BytesIO(DATA), 500), DATA[500:]),
    "in memory and empty": lambda path: (io.BytesIO(), b""),
    "only read": lambda path: (OnlyReads(DATA), DATA),
    "without fileno": lambda path: (Noted(open(path, "rb"), "fileno"), DATA),
    "without tell": lambda path: (Noted(open(path, "rb"), "tell", "seek"), DATA),
    "without close": lambda path: (OnlyReads(DATA[:10]), DATA[:10]),
}


@gateways()
@pytest.mark.parametrize("version", ("HTTP/1.0", "HTTP/1.1"))
def test_files(kind, version, path):
    """Any object with read(): one that has a descriptor or not, at whatever position it stands."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        return environ["wsgi.file_wrapper"](FILES[environ["QUERY_STRING"].replace("-", " ")](path)[0])

    with serve(app, kind) as server:
        for name, make_file in FILES.items():
            file, expected = make_file(path)
            getattr(file, "close", lambda: None)()
            response = fetch(server, "/?" + name.replace(" ", "-"), version=version)
            assert (response.status, response.body == expected) == (200, True), name


@gateways()
@pytest.mark.parametrize("size", (100, 200_000))
def test_what_the_descriptor_has_is_not_what_is_read(kind, path, size):
    """A file object whose read() gives something else than its descriptor: its fileno() must not be relied upon."""
    noise = random.Random(1).randbytes(size)        # so that it is not small when it is packed
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(noise))
    assert sending(kind, lambda: gzip.open(packed)).body == noise

    class Upper(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    path.write_bytes(b"lower case" * size)
    assert sending(kind, lambda: Upper(path)).body == b"LOWER CASE" * size


@gateways()
@pytest.mark.parametrize("size", (100, 200_000))
def test_text_is_refused(kind, path, size):
    """A file that is opened as text: read() gives str, which is an error of the application's."""
    path.write_text("x" * size)
    assert sending(kind, lambda: open(path)).status == 500


@gateways()
def test_pipe(kind):
    """A descriptor that has no position and no size."""
    def make_file():
        reading, writing = os.pipe()
        os.write(writing, b"through a pipe")
        os.close(writing)
        return open(reading, "rb")

    assert sending(kind, make_file).body == b"through a pipe"


@gateways()
def test_block_sizes(kind, path):
    """The second argument: the size of a block, for whom it matters."""
    for block in (1000, 8192, 1 << 20):
        assert sending(kind, lambda: open(path, "rb"), block=block).body == DATA
        assert sending(kind, lambda: io.BytesIO(DATA), block=block).body == DATA


@gateways()
def test_large_file(kind, path):
    """More than the socket takes at once, in whatever way it is sent."""
    with open(path, "r+b") as file:
        file.truncate(5_000_000)
        file.seek(4_999_990)
        file.write(b"at the end")
    body = sending(kind, lambda: open(path, "rb")).body
    assert len(body) == 5_000_000 and body.startswith(DATA) and body.endswith(b"\0at the end")


@gateways()
def test_length_of_the_whole(kind, path):
    """Content-Length as the application says it: sent once, no other framing."""
    headers = [*TEXT, ("Content-Length", str(len(DATA)))]
    for make_file in (lambda: open(path, "rb"), lambda: io.BytesIO(DATA)):
        response = sending(kind, make_file, headers=headers)
        assert response.body == DATA and response.get("Transfer-Encoding") is None
        assert [name for name, value in response.headers].count("Content-Length") == 1


@gateways("length is a bound")
@pytest.mark.parametrize("start", (0, 1000))
def test_length_smaller_than_the_file(kind, path, start):
    """Content-Length is "the most that is sent", for a part of a file from where it stands, and 0 is a length."""
    for size in (0, 1, 500, 90_000):
        headers = [*TEXT, ("Content-Length", str(size))]
        for make_file in (lambda: moved(open(path, "rb"), start), lambda: moved(io.BytesIO(DATA), start)):
            with serve(answering(b"x"), kind) as server, Client(server) as client:
                server.set_app(lambda environ, start_response: (
                    start_response("206 Partial Content", list(headers)), environ["wsgi.file_wrapper"](make_file()))[1])
                for times in (1, 2):
                    assert client.request().body == DATA[start:start + size]


@gateways("short is told")
def test_length_larger_than_the_file(kind, path):
    """A file that has less than the application said: the connection ends, so that the client can tell."""
    for make_file in (lambda: open(path, "rb"), lambda: io.BytesIO(DATA)):
        def app(environ, start_response):
            start_response("200 OK", [*TEXT, ("Content-Length", str(len(DATA) + 10))])
            return environ["wsgi.file_wrapper"](make_file())

        with serve(app, kind) as server:
            answer = exchange(server, request() + request(), half_close=False)
        assert answer.count(b"HTTP/1.1 ") == 1 and answer.endswith(b"\r\n\r\n" + DATA)


@gateways()
def test_file_that_shrinks(kind, path):
    """A file that is cut while it is sent: not what the application said, and the client can tell; no harm else."""
    size = 64 << 20
    with open(path, "r+b") as file:
        file.truncate(size)
    begun = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", str(size))])
        begun.set()
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with serve(app, kind) as server:
        with connect(server) as sock:
            sock.sendall(request())
            assert begun.wait(DEADLINE)
            head = read_until(sock, b"\r\n\r\n")
            os.truncate(path, 10)       # no kernel has taken all of it by now
            rest = read_until_eof(sock)
        assert b"Content-Length: %d" % size in head and len(rest) < size
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"


@gateways()
@pytest.mark.parametrize("method", ("GET", "HEAD"))
def test_close_of_the_file(kind, path, method):
    """"The wrapper's close() must invoke the wrapped object's": once, when all is sent, and for HEAD."""
    for without in ((), ("fileno",)):
        files = []

        def make_file():
            files.append(Noted(open(path, "rb"), *without))
            return files[-1]

        response = sending(kind, make_file, method=method)
        assert response.body == (DATA if method == "GET" else b"")
        wait_until(lambda: files[0].closed_times)
        assert files[0].closed_times == 1
        real = []
        sending(kind, lambda: real.append(open(path, "rb")) or real[0], method=method)
        wait_until(lambda: real[0].closed)


@gateways()
def test_close_when_the_client_goes(kind, path):
    """The same, for a client that does not wait for the end."""
    os.truncate(path, 64 << 20)
    files = []

    def app(environ, start_response):
        files.append(open(path, "rb"))
        start_response("200 OK", [*TEXT])
        return environ["wsgi.file_wrapper"](files[-1])

    with serve(app, kind) as server:
        with connect(server) as sock:
            sock.sendall(request())
            read_until(sock, b"\r\n\r\n")
        wait_until(lambda: files[0].closed)
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"


@gateways()
def test_wrapper_is_an_iterable(kind, path):
    """"The object returned must be iterable": middleware iterates over it, and what it makes of it is what counts."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        wrapper = environ["wsgi.file_wrapper"](open(path, "rb"), 1000)
        try:
            return [block[::-1] for block in wrapper]
        finally:
            wrapper.close()

    with serve(app, kind) as server:
        assert fetch(server).body == b"".join(DATA[at:at + 1000][::-1] for at in range(0, len(DATA), 1000))


@gateways()
def test_wrapper_that_is_not_returned(kind, path):
    """"The server must use it only if the application returns it": making one sends nothing and closes nothing."""
    files = []

    def app(environ, start_response):
        files.append(open(path, "rb"))
        environ["wsgi.file_wrapper"](files[-1])
        start_response("200 OK", [*TEXT])
        return [b"no file"]

    with serve(app, kind) as server:
        assert fetch(server).body == b"no file"
    assert not files[0].closed
    files[0].close()


@gateways()
def test_written_before_the_file(kind, path):
    """What was written comes first, and counts in the length."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(DATA) + 8))])(b"written ")
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with serve(app, kind) as server:
        assert fetch(server).body == b"written " + DATA


@gateways()
def test_read_fails(kind):
    """A file whose read() raises at once: 500; later: broken off."""
    class Failing:
        def __init__(self, *results):
            self.results, self.closed = list(results), 0

        def read(self, size):
            if not self.results:
                raise OSError("read failed")
            return self.results.pop(0)

        def close(self):
            self.closed += 1

    files = [Failing(), Failing(b"begun")]

    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "100")])
        return environ["wsgi.file_wrapper"](files[int(environ["PATH_INFO"][1:])])

    with serve(app, kind) as server:
        assert fetch(server, "/0").status == 500
        answer = exchange(server, request(target="/1"), half_close=False)
        assert b" 200 OK" in answer and answer.endswith(b"\r\n\r\nbegun")
        wait_until(lambda: files[1].closed)
    assert [file.closed for file in files] == [1, 1] and "read failed" in server.errors.getvalue()


@gateways("kept connections")
def test_files_between_other_answers(kind, path):
    """Pipelined: files, blocks and files again, in order."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "50000")])
        what = environ["PATH_INFO"]
        if what == "/file":
            return environ["wsgi.file_wrapper"](open(path, "rb"))
        if what == "/memory":
            return environ["wsgi.file_wrapper"](io.BytesIO(DATA))
        return [DATA[:50_000]]

    with serve(app, kind) as server, Client(server) as client:
        client.send(b"".join(request(target=target) for target in ("/file", "/", "/memory", "/file", "/file", "/")))
        for number in range(6):
            assert client.read().body == DATA[:50_000]
