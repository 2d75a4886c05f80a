"""The scenarios' answers as WSGI applications, and the servers that are started by a call rather than a command.

    python wsgi.py SERVER THREADS APP [ARGUMENT]

prints the port and serves. Servers with a command of their own take `wsgi:app`, and the application's name and argument
from the variable BENCH_APP.
"""

import gc
import importlib
import os
import socket
import sys
import time

BODY = b"Hello, World!"
BULK = 10 * 2**20  # octets of a download
PIECE = b"0123456789abcdef" * 4096  # 64 KiB
#: Open connections and seconds of idleness that no server may refuse.
MANY, LONG = 20_000, 600
#: What `file` sends: in the current folder, put there before the server starts.
FILE = "file.bin"


def application(name, argument=None):
    """The application that the scenarios call `name`; `argument` as for handlers.py. KeyError if there is none."""
    if os.environ.get("BENCH_NO_GC"):
        gc.disable()
    if name in ("flask", "django"):
        return importlib.import_module(f"{name}_app").app

    def answer(start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
        return [BODY]

    def refuse(start_response):
        start_response("400 Bad Request", [("Content-Length", "0")])
        return [b""]

    def hello(environ, start_response):
        return answer(start_response)

    def headers(environ, start_response):
        get = environ.get
        if get("HTTP_USER_AGENT") and get("HTTP_ACCEPT_LANGUAGE") and get("HTTP_COOKIE"):
            return answer(start_response)
        return refuse(start_response)

    def sleep(environ, start_response):
        time.sleep(seconds)
        return answer(start_response)

    def mixed(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            time.sleep(0.1)
        return answer(start_response)

    def post(environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        octets = str(len(body))
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", octets)])
        return [body]

    def download(environ, start_response):
        octets = str(BULK)
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", octets)])
        return (PIECE for _ in range(BULK // len(PIECE)))

    def upload(environ, start_response):
        read, left = environ["wsgi.input"].read, int(environ["CONTENT_LENGTH"])
        while left:
            piece = read(min(left, 65536))
            if not piece:
                return refuse(start_response)
            left -= len(piece)
        return answer(start_response)

    def checksum(environ, start_response):
        """The body is the CRC-32 of the request's, which is read at once."""
        import zlib

        body = b"%08x" % zlib.crc32(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])
        return [body]

    def numbered(environ, start_response):
        """The body is the path, so that answers can be told apart."""
        body = environ["PATH_INFO"].encode("latin-1")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    closed = []

    class Closed:
        """An answer of one block that notes its close()."""

        def __init__(self, body):
            self.body = body

        def __iter__(self):
            yield self.body

        def close(self):
            closed.append(self)

    def closes(environ, start_response):
        """The body says how many answers have been closed so far, as PEP 3333 wants each to be."""
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])
        return Closed(b"%08d" % len(closed))

    def file(environ, start_response):
        opened = open(FILE, "rb")
        octets = str(os.fstat(opened.fileno()).st_size)
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", octets)])
        return environ["wsgi.file_wrapper"](opened, 65536) if "wsgi.file_wrapper" in environ else pieces(opened)

    def pieces(opened):
        with opened:
            while piece := opened.read(65536):
                yield piece

    seconds = float(argument) if name == "sleep" else 0.0
    return {
        "hello": hello,
        "closing": hello,  # a request of HTTP/1.0 is all it takes
        "logged": hello,  # it is the server that logs
        "headers": headers,
        "sleep": sleep,
        "mixed": mixed,
        "post": post,
        "download": download,
        "upload": upload,
        "checksum": checksum,
        "numbered": numbered,
        "closes": closes,
        "file": file,
    }[name]


# ---------------------------------------------------------------- servers


def listening():
    """A socket that listens on a free port of the loopback interface, which has been printed."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    announce(sock.getsockname()[1])
    return sock


def announce(port):
    print(port, flush=True)


def bjoern(app, threads):
    import bjoern as module

    sock = listening()
    sock.setblocking(False)
    module.server_run(sock, app)


def fastwsgi(app, threads):
    import fastwsgi as module

    module.server.backlog = 1024
    module.server.tcp_nodelay = 1
    with socket.socket() as probe:  # it cannot say which port it has
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    announce(port)
    module.run(app, host="127.0.0.1", port=port, loglevel=1)


def waitress(app, threads):
    from waitress.server import create_server

    create_server(
        app,
        sockets=[listening()],
        threads=threads or 4,
        backlog=1024,
        connection_limit=MANY,
        channel_timeout=LONG,
        asyncore_use_poll=True,
    ).run()


def cheroot(app, threads):
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), app, numthreads=threads or 10, request_queue_size=1024, timeout=LONG)
    server.keep_alive_conn_limit = MANY
    server.prepare()
    announce(server.bind_addr[1])
    server.serve()


def werkzeug(app, threads):
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

    class Quiet(Handler):
        def log(self, type, message, *args):
            pass

    handler = Handler if "logged" in sys.argv else Quiet
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=handler)
    announce(server.server_address[1])
    server.serve_forever()


def main():
    server, threads, *names = sys.argv[1:]
    {"bjoern": bjoern, "fastwsgi": fastwsgi, "waitress": waitress, "cheroot": cheroot, "werkzeug": werkzeug}[server](
        application(*names), int(threads)
    )


if __name__ == "__main__":
    main()
elif "BENCH_APP" in os.environ:
    app = application(*os.environ["BENCH_APP"].split())
