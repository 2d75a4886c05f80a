"""What the blocks of docs/wsgi.md have to do."""
import hashlib
import os
import time

from support import Client

from .checks import Checks

checks = Checks("docs/wsgi.md")
DATA = os.urandom(300_000)


@checks("serve.py")
def in_a_program(stage):
    stage.program()
    assert stage.curl("http://127.0.0.1:8000/") == "Hello, World!"


def by_command(stage):
    stage.write(stage.block.name)
    return stage.start(f"turboserver wsgi {stage.block.name.removesuffix('.py')}:app -b 127.0.0.1:8000")


@checks("digest.py")
def reads_all(stage):
    """With a length and in chunks."""
    by_command(stage)
    stage.write("data", DATA)
    expected = f"{len(DATA)} {hashlib.sha256(DATA).hexdigest()}\n"
    for header in ("A: b", "Transfer-Encoding: chunked"):
        assert stage.curl(f"-H '{header}' --data-binary @data http://127.0.0.1:8000/") == expected


@checks("report.py")
def a_file(stage):
    stage.write("report.bin", DATA)
    by_command(stage)
    stage.curl("-o got http://127.0.0.1:8000/")
    assert (stage.folder / "got").read_bytes() == DATA


@checks("numbers.py")
def streams(stage):
    """Blocks come when they are yielded; close() is called at the end, and for a client that has gone."""
    started = by_command(stage)
    with Client(("127.0.0.1", stage.port())) as client:
        began = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        first = b""
        while b"\n\r\n" not in first.partition(b"\r\n\r\n")[2]:
            first += client.sock.recv(1000)
        assert b"chunked" in first and b"2\n" not in first.partition(b"\r\n\r\n")[2] and time.monotonic() - began < 5
    started.wait_for(lambda: "closed" in started.said())
    assert stage.curl("http://127.0.0.1:8000/") == "0\n1\n2\n"
    started.wait_for(lambda: started.said().count("closed") == 2)
