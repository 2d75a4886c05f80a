"""A server under stress, in a process of its own (see processes.py).

Commands: `look` answers with what the process has left of everything that a server could leak, `stop` shuts the
server down. Which server, handlers and attributes is in the options, JSON in the first argument.
"""
import collections
import ctypes
import gc
import json
import sys
import threading
import time

from turboserver import lanes, socketserver
from turboserver.http import server as http_server
from turboserver.wsgiref import simple_server

from . import handlers, processes

SERVERS = ("threading", "single", "wsgi", "forking")


class Errors:
    """The exceptions that reached a hook: how many by name, and the first that nobody had asked for."""

    #: What clients and the handlers of handlers.py bring about; the latter's say "asked for".
    USUAL = (ConnectionError, TimeoutError)

    def __init__(self):
        self.counts = collections.Counter()
        self.unexpected = []
        sys.unraisablehook = lambda args: self.note(args.exc_value, "unraisable, " + repr(args.object))
        threading.excepthook = lambda args: self.note(args.exc_value, "in a thread")

    def note(self, problem, where="in a handler"):
        self.counts[type(problem).__name__] += 1
        if not isinstance(problem, self.USUAL) and "asked for" not in str(problem) and len(self.unexpected) < 10:
            self.unexpected.append(f"{where}: {problem!r}")


class Heap(ctypes.Structure):
    """What mallinfo2() of glibc returns."""
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def heap():
    """Octets that malloc() has given out, or None where it cannot be asked. What is free goes back to the system, so
    that the size of the process says what is needed."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return None
    libc.malloc_trim.argtypes = [ctypes.c_size_t]
    libc.malloc_trim(0)
    libc.mallinfo2.restype = Heap
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd


def make(options, errors, kept):
    """The server that the options name. kept: gets some of its handlers."""
    kind = options["server"]
    members = {"handle_error": lambda self, request, address: errors.note(sys.exc_info()[1]),
               "request_queue_size": 1024, **options.get("server_attributes", {})}
    attributes = {"log_message": lambda self, *args: None, **options.get("handler_attributes", {})}
    address = "127.0.0.1", 0
    if kind == "wsgi":
        attributes["get_stderr"] = lambda self: handlers.Silent()
        handler = type("Handler", (simple_server.WSGIRequestHandler,), attributes)
        server = type("Server", (simple_server.ThreadingWSGIServer,), members)(address, handler)
        application = handlers.application(errors.note)
        server.set_app(application)
        application.turbo_decode_chunked = getattr(handler, "turbo_decode_chunked", False)
        return server
    handler = type("Handler", (handlers.handler_class(http_server.BaseHTTPRequestHandler, kept),), attributes)
    base = {"threading": http_server.ThreadingHTTPServer, "single": http_server.HTTPServer}.get(kind)
    bases = (base,) if base else (socketserver.ForkingMixIn, http_server.HTTPServer)
    return type("Server", bases, members)(address, handler)


def examine(kept):
    """Whoever keeps a handler may look at it at any moment."""
    while True:
        time.sleep(0.005)
        for handler in list(kept):
            for name in ("path", "headers", "command", "requestline", "close_connection", "rfile", "wfile"):
                getattr(handler, name, None)


def look(server, errors, kept):
    """What there is now, without what the handlers keep."""
    kept.clear()
    handlers.shared.cache_clear()
    for _ in range(3):
        gc.collect()
    counts = collections.Counter()
    for thing in gc.get_objects():
        counts[f"{type(thing).__module__}.{type(thing).__qualname__}"] += 1
    engine = getattr(server, "_turbo_engine", None)
    return {
        "connections": getattr(engine, "connections", None),
        "threads": threading.active_count(),
        "objects": sum(counts.values()),
        "ours": {name: count for name, count in counts.items()
                 if name.startswith(("turboserver.", "stress.", "__main__.", "socket.", "threading."))},
        "blocks": sys.getallocatedblocks(),
        "heap": heap(),
        "errors": dict(errors.counts),
        "unexpected": errors.unexpected,
    }


def obey(server, *about):
    """Do what the standard input says, until it ends."""
    for line in sys.stdin:
        command = line.strip()
        if command == "look":
            processes.say(**look(server, *about))
        elif command == "stop":
            break
    server.shutdown()
    server.server_close()
    processes.say(**look(server, *about))


def main():
    options = json.loads(sys.argv[1])
    processes.raise_limit()
    errors, kept = Errors(), []
    server = make(options, errors, kept)
    if options["server"] in ("threading", "single"):
        threading.Thread(target=examine, args=(kept,), daemon=True).start()
    obeying = threading.Thread(target=obey, args=(server, errors, kept))
    obeying.start()
    processes.say(address=server.server_address, lane=lanes.decide(server).lane)
    server.serve_forever(0.05)
    obeying.join()


if __name__ == "__main__":
    main()
