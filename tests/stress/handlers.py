"""Handlers of a server under stress: those of conversations.py, ones that misbehave in further ways, and a WSGI
application that understands the same paths, /what-how/number/size, as far as one can.

Nothing here knows processes or pytest.
"""
import functools
import io
import socket
import threading
import time
import zlib

from . import conversations
from .conversations import payload

#: Answers of handlers that many ask for, so that memory is that of the server alone.
shared = functools.lru_cache(8)(payload)


def chunks(handler, stream):
    """The content of a chunked body."""
    data = stream.read()
    if getattr(handler, "turbo_decode_chunked", False):
        return data
    return conversations.unchunk(data, 0)[0]


def handler_class(base, kept=None):
    """A handler class on `base`, a BaseHTTPRequestHandler. kept: a list that some handlers are put into."""

    class Handler(conversations.answers(base, kept=kept)):

        def answer(self, body):
            self.begin(len(body))
            self.wfile.write(body)

        def on_chunks(self, how, number, size):
            body = chunks(self, self.rfile)
            self.answer(b"%d %d" % (len(body), zlib.crc32(body)))

        def on_whole(self, how, number, size):
            """An answer of any size in one write."""
            self.answer(shared(number, size))

        def on_many(self, how, number, size):
            """An answer of any size in many writes."""
            self.begin(size)
            data = memoryview(shared(number, size))
            for start in range(0, size, 4096):
                self.wfile.write(data[start:start + 4096])

        def on_hangup(self, how, number, size):
            """The connection ends without an answer."""
            if how == "shutdown":
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.connection.close()
            self.close_connection = True

        def on_short(self, how, number, size):
            """Less than was announced."""
            self.begin(size)
            self.wfile.write(b"x" * (size // 2))

        def on_late(self, how, number, size):
            """Another thread writes the rest when the handler has returned."""
            data = payload(number, size)
            self.begin(size)
            self.wfile.write(data[:size // 2])
            wfile = self.wfile

            def write():
                time.sleep(0.005)
                try:
                    wfile.write(data[size // 2:])
                    wfile.flush()
                except (OSError, ValueError):
                    pass    # the connection has ended meanwhile

            threading.Thread(target=write).start()

    return Handler


def application(unexpected):
    """A WSGI application. unexpected: is called with each exception that nobody has asked for."""

    def run(environ, start_response):
        try:
            _, what, number, size = environ["PATH_INFO"].split("/")
            what, _, how = what.partition("-")
            body = work(environ, what, how, int(number), int(size))
        except (OSError, conversations.ENDINGS["value"]):
            raise   # the client has gone, or it was asked for
        except Exception as problem:
            unexpected(problem)
            raise
        whole = isinstance(body, bytes)
        start_response("200 OK", [("Content-Length", str(len(body)) if whole else size), ("X-Path", environ["PATH_INFO"])])
        return [body] if whole else body

    def work(environ, what, how, number, size):
        if what in ("plain", "whole"):
            return shared(number, size)
        if what in ("pieces", "many"):
            data = shared(number, size)
            return (data[start:start + 997] for start in range(0, size, 997))
        if what == "sleep":
            time.sleep(size / 1e6)
            return payload(number, 100)
        if what == "raise":
            raise conversations.ENDINGS["value"]("asked for")
        stream = environ["wsgi.input"]
        if what == "chunks":
            body = chunks(run, stream)
            return b"%d %d" % (len(body), zlib.crc32(body))
        length = int(environ["CONTENT_LENGTH"])
        body = stream.read({"read": length, "part": length // 2, "none": 0}[how])
        return b"%d %d" % (len(body), zlib.crc32(body))

    return run


class Silent(io.TextIOBase):
    """Takes what is written and forgets it."""

    def write(self, text):
        return len(text)
