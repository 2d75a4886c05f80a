"""What the blocks of docs/handlers.md have to do."""
import base64
import hashlib
import os
import struct
import time

from support import Client, fetch, read_exactly, read_until, read_until_eof

from .checks import Checks, run_transcript

checks = Checks("docs/handlers.md")
DATA = os.urandom(300_000)


@checks("stream.py")
def streams(stage):
    """The first chunk is here before the last one is written."""
    stage.program()
    with stage.connection() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        seen = read_until(sock, b"2\r\n0\n\r\n")
        began = time.monotonic()
        rest = read_until(sock, b"0\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in seen and rest == b"2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"
    assert time.monotonic() - began > 0.2
    assert stage.curl("http://127.0.0.1:8000/") == "0\n1\n2\n"


@checks("upload.py")
def uploads(stage):
    """By length and in chunks; memory does not grow with the body; 413 beyond the bound; a body cut short is none."""
    started = stage.program()
    stage.write("data", DATA)
    for header in ("A: b", "Transfer-Encoding: chunked"):
        said = stage.curl(f"-H '{header}' -T data http://127.0.0.1:8000/")
        assert said == hashlib.sha256(DATA).hexdigest()
    before = memory(started.process.pid)
    with Client(("127.0.0.1", stage.port())) as client:
        size = 40 * 2**20
        client.send(f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 20):
            client.send(bytes(2**20))
        assert client.read("PUT").status == 201
    assert memory(started.process.pid) - before < 8 * 2**20
    with Client(("127.0.0.1", stage.port())) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 104857601\r\n\r\n")
        assert client.read("PUT").status == 413
    with Client(("127.0.0.1", stage.port())) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n")
        assert client.read("PUT").status == 400


def memory(pid):
    """Resident octets at their highest; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return 0


@checks("refuse.py")
def refuses(stage):
    stage.program()
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
    with Client(("127.0.0.1", stage.port())) as client:
        client.send(head + b"\r\n")
        assert client.read("PUT").status == 401
    with Client(("127.0.0.1", stage.port())) as client:
        client.send(head + b"Authorization: yes\r\n\r\n")
        assert client.read("PUT").status == 100
        client.send(b"hello")
        answer = client.read("PUT")
        assert answer.status == 204 and answer.get("X-Octets") == "5"


@checks("site.py")
def parts(stage):
    stage.write("site/words.txt", "alpha beta")
    stage.program()
    answer = stage.curl("-i -r 6- http://127.0.0.1:8000/words.txt")
    assert answer.startswith("HTTP/1.1 206") and answer.endswith("\n\nbeta") and "Cache-Control: max-age=60" in answer


@checks("slice.py")
def half(stage):
    stage.write("report.bin", DATA)
    stage.program()
    assert fetch(("127.0.0.1", stage.port())).body == DATA[len(DATA) // 2:]


@checks("events.py", "listen", "tell")
def events(stage):
    """What one client tells, the other hears at once; one that has gone is forgotten."""
    stage.write("events.py")
    stage.start("python events.py", code=-15)
    with stage.connection() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"text/event-stream" in read_until(sock, b"\r\n\r\n")
        stage.run(stage.named("tell").text)
        assert read_until(sock, b"\n\n") == b"data: good morning\n\n"
    command = stage.named("listen").text.strip()
    said = stage.run(f"(sleep 0.5; {stage.named('tell').text.strip()}; "
                     f"{stage.named('tell').text.strip()}) & timeout 1.5 {command}; wait")
    assert said == "data: good morning\n\n" * 2


def websocket(sock):
    """Shake hands; RFC 6455, 1.3."""
    key = base64.b64encode(os.urandom(16))
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % key)
    head = read_until(sock, b"\r\n\r\n")
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    assert head.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Accept: %b\r\n" % accept in head


def frame(code, data, last=True, masked=True):
    size = len(data)
    length = bytes([size]) if size < 126 else (
        b"\x7e" + struct.pack("!H", size) if size < 65536 else b"\x7f" + struct.pack("!Q", size))
    length = bytes([length[0] | 0x80 * masked]) + length[1:]
    mask = os.urandom(4)
    body = mask + bytes(octet ^ mask[at % 4] for at, octet in enumerate(data)) if masked else data
    return bytes([0x80 * last | code]) + length + body


def heard(sock):
    first, size = read_exactly(sock, 2)
    if size > 125:
        size = int.from_bytes(read_exactly(sock, 2 if size == 126 else 8), "big")
    return first & 0x0F, read_exactly(sock, size)


@checks("websocket.py")
def speaks_websocket(stage):
    stage.program()
    assert stage.curl("-o /dev/null -w '%{http_code}' http://127.0.0.1:8000/") == "426"
    with stage.connection() as sock:
        websocket(sock)
        for size in (0, 1, 125, 126, 127, 65535, 65536, 70001):
            data = os.urandom(size)
            sock.sendall(frame(2, data))
            assert heard(sock) == (2, data)
        text = frame(1, b"one ", last=False) + frame(9, b"there?") + frame(0, b"two")
        for octet in range(len(text)):
            sock.sendall(text[octet:octet + 1])
        assert heard(sock) == (10, b"there?") and heard(sock) == (1, b"one two")
        sock.sendall(frame(8, b"\x03\xe8bye"))
        assert heard(sock) == (8, b"\x03\xe8") and read_until_eof(sock) == b""
    for wrong, code in ((frame(1, b"a", masked=False), 1002), (frame(0, b"a"), 1002), (frame(3, b"a"), 1002),
                        (b"\xf2" + frame(2, b"a")[1:], 1002), (b"\x82\xff" + struct.pack("!Q", 2**40), 1009)):
        with stage.connection() as sock:
            websocket(sock)
            sock.sendall(wrong)
            assert heard(sock) == (8, struct.pack("!H", code))


@checks("mixin.py")
def mixed(stage):
    stage.program()
    assert stage.curl("-H 'X-Word: sesame' http://127.0.0.1:8000/a") == '{"path": "/a"}'
    assert stage.curl("-o /dev/null -w '%{http_code}' http://127.0.0.1:8000/a") == "403"


@checks("lane")
def lane(stage):
    stage.write("mixin.py")
    run_transcript(stage)


@checks("test_mixin.py")
def tests_of_a_handler(stage):
    """They pass, and fail for another handler."""
    stage.write("test_mixin.py")
    program = stage.write("mixin.py")
    assert "Ran 2 tests" in stage.run("python -m unittest test_mixin")
    program.write_text(program.read_text().replace("sesame", "barley"))
    stage.run("python -m unittest test_mixin", code=1)
