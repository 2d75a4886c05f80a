"""The stages that are measured in Python: ours through the real classes, and the peers of all of them.

`variants(stage, browser)` gives (variant, measure) pairs; measure(rounds) returns (fastest ns, median ns, octets or 0)
and raises ImportError where what it needs is not installed.

Two ways of measuring. `timed` calls a function over and over and takes the empty loop off. `inside` measures within
the handler of a server that is asked many times, because header objects and response heads exist only there; the cost
of looking at the clock is taken off.
"""

import functools
import http.client
import http.server
import io
import queue
import socket
import socketserver
import statistics
import threading
import time

ROUND_NS = 5_000_000
LINE = b"a line of sixty-four octets, which comes back exactly as it is.\n"
LINES = 64  # at once through the socket
PIECE = b"Hello, World!"
BODY = 65536
INSIDE = 100  # requests a round


# ---------------------------------------------------------------- ways of measuring


def summary(values, octets=0):
    return min(values), statistics.median(values), octets


def loop_ns(function, n):
    began = time.perf_counter_ns()
    for _ in range(n):
        function()
    return time.perf_counter_ns() - began


def nothing():
    pass


def timed(function, rounds, octets=0):
    """Figures of one call of the function."""
    n = 1
    while loop_ns(function, n) < ROUND_NS / 2:
        n *= 2
    empty = min(loop_ns(nothing, n) for _ in range(3)) / n
    return summary([loop_ns(function, n) / n - empty for _ in range(rounds)], octets)


def clock_ns():
    """What two looks at the clock cost between them."""
    gaps = []
    for _ in range(1000):
        began = time.perf_counter_ns()
        gaps.append(time.perf_counter_ns() - began)
    return statistics.median(gaps)


def inside(module, piece, request, rounds, times=1):
    """Figures of piece(handler) as it runs in do_GET of a handler of `module` (an http.server or ours), divided by
    `times`. The piece may write what it likes: the answer is not looked at, only its end."""
    spent = []

    class Handler(module.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            began = time.perf_counter_ns()
            piece(self)
            spent.append(time.perf_counter_ns() - began)
            self.wfile.write(b"\r\nEND.")

        def log_message(self, format, *args):
            pass

    with module.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        with socket.create_connection(server.server_address[:2], 20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range((rounds + 1) * INSIDE):
                client.sendall(request)
                data = b""
                while not data.endswith(b"END."):
                    more = client.recv(65536)
                    if not more:
                        raise RuntimeError(f"{module.__name__}: the connection has ended: {data[:200]!r}")
                    data = data[-3:] + more
        server.shutdown()
        thread.join()
    clock = clock_ns()
    starts = range(INSIDE, len(spent), INSIDE)  # the first round warms up
    return summary([(statistics.mean(spent[at : at + INSIDE]) - clock) / times for at in starts])


def our_http():
    import turboserver.http.server as module

    if not module.accelerated:
        raise ImportError("turboserver is here without its native engine")
    return module


# ---------------------------------------------------------------- scan


def scan_stock(browser, rounds):
    handler = object.__new__(http.server.BaseHTTPRequestHandler)
    stream = io.BytesIO(browser)
    handler.rfile = stream

    def parse():
        stream.seek(0)
        handler.raw_requestline = stream.readline(65537)
        if not handler.parse_request():
            raise RuntimeError("the request is refused")

    return timed(parse, rounds, len(browser))


class Kept:
    """What a server with httptools keeps of a request."""

    def __init__(self):
        self.fields = []

    def on_url(self, url):
        self.url = url

    def on_header(self, name, value):
        self.fields.append((name, value))

    def on_message_complete(self):
        self.fields.clear()


def scan_httptools(browser, rounds, keeps):
    import httptools

    feed = httptools.HttpRequestParser(Kept() if keeps else object()).feed_data
    # The request asks for an upgrade of insecure requests, not of the protocol: nothing is raised.
    return timed(lambda: feed(browser), rounds, len(browser))


# ---------------------------------------------------------------- chunked


def chunked_wire(chunk):
    return b"".join(b"%x\r\n%s\r\n" % (chunk, b"a" * chunk) for _ in range(BODY // chunk)) + b"0\r\n\r\n"


class Source:
    """A socket for http.client, which decodes chunks only in answers."""

    def __init__(self, octets):
        self.octets = octets

    def makefile(self, mode):
        return io.BytesIO(self.octets)


def chunked_stock(chunk, rounds):
    wire = chunked_wire(chunk)
    source = Source(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)

    def read():
        response = http.client.HTTPResponse(source)
        response.begin()
        if len(response.read()) != BODY:
            raise RuntimeError("the body is not whole")

    return timed(read, rounds, len(wire))


def chunked_httptools(chunk, rounds):
    import httptools

    class Body:
        def __init__(self):
            self.parts = []

        def on_body(self, data):
            self.parts.append(data)

        def on_message_complete(self):
            self.parts.clear()

    wire = chunked_wire(chunk)
    feed = httptools.HttpRequestParser(Body()).feed_data
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    def decode():
        feed(head)
        feed(wire)

    return timed(decode, rounds, len(wire))


# ---------------------------------------------------------------- the header object, the response head


def look_up(headers):
    return headers["Host"], headers["User-Agent"], headers["Cookie"]


def headers_ours(browser, rounds):
    return inside(our_http(), lambda handler: look_up(handler.headers), browser, rounds)


def headers_stock(browser, rounds):
    octets = browser.partition(b"\r\n")[2]
    return timed(lambda: look_up(http.client.parse_headers(io.BytesIO(octets))), rounds)


def response_head(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Content-Length", "13")
    handler.end_headers()


class Nowhere:
    def write(self, data):
        return len(data)


def head_stock(rounds):
    # Into nowhere: ours only gathers it, and the system call is not what this is about.
    handler = object.__new__(http.server.BaseHTTPRequestHandler)
    handler.request_version, handler.requestline, handler.wfile = "HTTP/1.1", "GET / HTTP/1.1", Nowhere()
    handler.log_message = lambda format, *args: None
    return timed(functools.partial(response_head, handler), rounds)


def head_ours(browser, rounds):
    return inside(our_http(), response_head, browser, rounds)


# ---------------------------------------------------------------- rfile and wfile


def readline(make, rounds):
    """Lines are sent LINES at once, untimed, and read one by one."""
    near, far = socket.socketpair()
    with near, far, make(near) as stream:
        block, read, values = LINE * LINES, stream.readline, []
        for _ in range(rounds * 10):
            far.sendall(block)
            began = time.perf_counter_ns()
            for _ in range(LINES):
                line = read()
            values.append((time.perf_counter_ns() - began) / LINES)
            if line != LINE:
                raise RuntimeError(f"another line: {line!r}")
    return summary([statistics.median(values[at : at + 10]) for at in range(0, len(values), 10)], len(LINE))


def write(make, rounds):
    near, far = socket.socketpair()
    with near, far, make(near) as stream:
        put, values = stream.write, []
        for _ in range(rounds * 10):
            began = time.perf_counter_ns()
            for _ in range(LINES):
                put(PIECE)
            values.append((time.perf_counter_ns() - began) / LINES)
            left = LINES * len(PIECE)
            while left > 0:
                left -= len(far.recv(left))
    return summary([statistics.median(values[at : at + 10]) for at in range(0, len(values), 10)])


def our_reader(sock):
    from turboserver._channel import SocketChannel
    from turboserver._stream import RequestReader

    return RequestReader(SocketChannel(sock, True))


def our_writer(sock):
    from turboserver._channel import SocketChannel
    from turboserver._stream import ResponseWriter

    return ResponseWriter(SocketChannel(sock, False))


def write_gathered(browser, rounds):
    def pieces(handler):
        for _ in range(LINES):
            handler.wfile.write(PIECE)

    return inside(our_http(), pieces, browser, rounds, LINES)


# ---------------------------------------------------------------- hand-off


def handoff_thread(rounds):
    """From start() until the new thread runs: what ThreadingMixIn does for each connection."""

    def once():
        ran = []
        began = time.perf_counter_ns()
        thread = threading.Thread(target=lambda: ran.append(time.perf_counter_ns()))
        thread.start()
        thread.join()
        return ran[0] - began

    return summary([statistics.median(once() for _ in range(50)) for _ in range(rounds)])


def handoff_queue(rounds):
    """From put() until the waiting thread has it: what a pool of threads does for each request."""
    tasks, values = queue.SimpleQueue(), []

    def work():
        while (began := tasks.get()) is not None:
            values.append(time.perf_counter_ns() - began)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for _ in range(rounds * 50):
        time.sleep(0.0001)
        tasks.put(time.perf_counter_ns())
    tasks.put(None)
    thread.join()
    return summary([statistics.median(values[at : at + 50]) for at in range(0, len(values), 50)])


# ---------------------------------------------------------------- all of them


def variants(stage, browser):
    """[(variant, measure), ...] of a stage, ours first."""
    bind = functools.partial
    return {
        "scan": [
            ("httptools, no callback", bind(scan_httptools, browser, keeps=False)),
            ("httptools, fields kept", bind(scan_httptools, browser, keeps=True)),
            ("http.server parse_request", bind(scan_stock, browser)),
        ],
        "chunked": [
            ("httptools, chunks of 16", bind(chunked_httptools, 16)),
            ("httptools, chunks of 1024", bind(chunked_httptools, 1024)),
            ("http.client, chunks of 1024", bind(chunked_stock, 1024)),
        ],
        "headers": [
            ("self.headers", bind(headers_ours, browser)),
            ("http.client.parse_headers", bind(headers_stock, browser)),
        ],
        "head": [
            ("reactor lane", bind(head_ours, browser)),
            ("http.server, sent nowhere", head_stock),
        ],
        "readline": [
            ("blocking lane", bind(readline, our_reader)),
            ("io.BufferedReader", bind(readline, lambda sock: sock.makefile("rb"))),
        ],
        "write": [
            ("reactor lane, gathered", bind(write_gathered, browser)),
            ("blocking lane, a send each", bind(write, our_writer)),
            ("socketserver, a send each", bind(write, socketserver._SocketWriter)),
        ],
        "handoff": [
            ("threading.Thread", handoff_thread),
            ("queue.SimpleQueue", handoff_queue),
        ],
    }.get(stage, [])
