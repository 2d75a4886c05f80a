"""What the applications of the five frameworks have in common, so that one list of questions fits all.

Each answers these paths, by its framework's own means:

    GET  /hello            "hello", text/plain; other methods: 405
    GET  /items/<int>      "item <int>"; anything else there: 404
    GET  /query            JSON {"a": all values of a, "b": the value of b}
    GET  /path/<text>      JSON {"path": the text}
    GET  /where            JSON of `where` below, and the framework's own idea of the URL under "url"
    ANY  /method           the method
    POST /form             "<name>" from an urlencoded form
    POST /upload           JSON of `described`, and field "title" from a multipart form
    POST /json             JSON {"sum": a + b}; 400 for what is no JSON
    POST /raw              JSON of `described`
    GET  /stream           PIECES, from a generator
    GET  /fails            one piece, then the generator raises
    GET  /error            raises before the answer begins
    GET  /redirect         302 to /hello
    GET  /cookies          JSON of the cookies received; sets one=1 and two=2
    GET  /session          how often this session was here, as text
    GET  /file             FILE, by the framework's own means for files
    GET  /nothing          204
    GET  /empty            200 with no body
    GET  /headers          many header fields, one with a character of latin-1
    GET  /server           JSON of `servers` below
"""
import atexit
import gc
import hashlib
import os
import shutil
import socketserver
import tempfile

PIECES = [b"piece %d\n" % number for number in range(50)]
MANY_HEADERS = [("X-Number-%d" % number, "value %d" % number) for number in range(60)] + [("X-Latin", "caf\xe9")]
MAX_BODY = 16 << 20

#: A file for each process, of a size that no single write takes.
FILE_BYTES = bytes(range(256)) * 1200
FOLDER = tempfile.mkdtemp(prefix="turboserver-site-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FILE = os.path.join(FOLDER, "file.bin")
with open(FILE, "wb") as _file:
    _file.write(FILE_BYTES)
os.utime(FILE, (1_600_000_000, 1_600_000_000))


def described(data, **more):
    """Size and digest of `data`, and `more`."""
    return {"size": len(data), "digest": hashlib.sha256(data).hexdigest(), **more}


def where(environ):
    """What the server told of itself and the client."""
    return {name: environ.get(name, "") for name in
            ("wsgi.url_scheme", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR")}


def failing():
    yield b"begun\n"
    raise RuntimeError("the stream fails, as it is meant to")


def servers():
    """[{"classes", "lane", "reasons"}] of every socket server in this process: what a program has started."""
    from turboserver import lanes
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), socketserver.BaseServer)]
    decisions = [lanes.decide(server) for server in found]
    return [{"classes": [f"{cls.__module__}.{cls.__qualname__}" for cls in type(server).__mro__],
             "lane": decision.lane, "reasons": [f"{reason.name}: {reason.where}" for reason in decision.reasons]}
            for server, decision in zip(found, decisions)]
