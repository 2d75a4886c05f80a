"""Programs under gevent and eventlet, which put sockets and threads of their own in place: they keep the original's code.

The server is one of socketserver and one of http.server in a process; many connections are held at once by greenlets.
"""
import contextlib
import socket

from row import DEADLINE, Row, program, together


def check_patched(place):
    socks = [socket.create_connection(place.address, DEADLINE) for unused in range(200)]
    with contextlib.ExitStack() as stack:
        for sock in socks:
            stack.enter_context(sock)
        for word in (b"one\n", b"two\n"):
            for sock in reversed(socks):
                sock.sendall(word)
            for sock in socks:
                assert sock.recv(100) == word.upper()
    told = socket.create_connection(place.address, DEADLINE)
    with told:
        told.sendall(b"which\n")
        port, name = told.recv(1000).split()
    assert name == b"patched", name
    web = type(place)(int(port), place.folder)
    assert web.page("/hello") == b"hello"
    answers, seconds = together([lambda: web.page("/slow")] * 8)
    assert set(answers) == {b"slow"} and seconds < 3, f"eight of 0.5 s each took {seconds}"
    assert web.ask("/echo", "POST", b"x" * 300_000).body == b"300000"


def echo_by_line(place):
    return place.trips(b"hello\n", b"HELLO\n")


def patched(name, *how, **more):
    return Row(name, "patched", program("patched.py", *how), check_patched, "compatible", echo_by_line, "lines",
               server="Lines", **more)


ROWS = [
    patched("gevent under turboserver run", "gevent"),
    patched("gevent, servers imported before it patches", "gevent", "late"),
    patched("gevent, install() behind it", "gevent", installs=True),
    patched("eventlet under turboserver run", "eventlet"),
    patched("eventlet, install() behind it", "eventlet", installs=True),
]
