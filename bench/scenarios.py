"""The scenarios as data: what servers serve, what is asked of them, who plays, and the bars to reach."""

from collections.abc import Callable
from dataclasses import dataclass

from loads import Load
from results import Scenario as Outcome

#: What a bar's value is computed from: the scenario's outcome, and the named figures that special.py adds.
Value = Callable[[Outcome, dict[str, float]], float | None]


@dataclass(frozen=True)
class Bar:
    """A figure to reach: `value` gives what was measured, or None; see results.Bar."""

    text: str
    limit: float
    value: Value
    at_most: bool = True


@dataclass(frozen=True)
class Scenario:
    title: str
    #: The load in words.
    text: str
    #: What the servers serve, with its argument (see apps/).
    app: str
    #: How a server is judged before (see checks.py).
    check: str
    load: Load | None
    servers: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    #: The servers of --quick.
    quick: tuple[str, ...] = ("limit", "turbo")
    #: Requests that wait in handlers at once: what servers with a pool of threads get.
    threads: int = 0
    #: An app and a check of the same servers that each must pass before: what answers under load do not show.
    #: A server that cannot serve the app passes.
    proof: tuple[str, str] | None = None
    #: The function of special.py that does it all, where it is not one load on each server.
    special: str | None = None


def ratio(a: str, b: str, figure: str = "cpu_us") -> Value:
    """The median `figure` of server `a` divided by that of `b`."""
    return lambda outcome, figures: outcome.ratio(a, b, figure)


def median(server: str, figure: str) -> Value:
    return lambda outcome, figures: outcome.median(server, figure)


def of_best_peer(server: str, figure: str = "cpu_us") -> Value:
    """The median `figure` of `server` divided by that of the peer that is best at it."""
    return lambda outcome, figures: outcome.ratio(server, outcome.best_peer(figure) or "", figure)


def more(a: str, b: str, figure: str) -> Value:
    """By how much the median `figure` of server `a` is above that of `b`."""

    def value(outcome, figures):
        ours, other = outcome.median(a, figure), outcome.median(b, figure)
        return ours - other if ours is not None and other is not None else None

    return value


def noted(name: str) -> Value:
    """A figure that special.py has noted by that name."""
    return lambda outcome, figures: figures.get(name)


PEERS = ("bjoern", "fastwsgi", "granian", "gunicorn", "waitress", "cheroot", "uvicorn", "werkzeug")
#: Those of them that keep connections.
KEEPING = tuple(peer for peer in PEERS if peer != "werkzeug")
STOCK = ("stock", "stock-nodelay")
#: Ours and others that run WSGI applications, and those of them that keep connections.
OWN_WSGI = ("turbo-wsgi", "turbo-wsgi-single", "turbo-cli", "turbo-gunicorn")
WSGI_PEERS = tuple(peer for peer in PEERS if peer != "uvicorn")
WSGI_KEEPING = tuple(peer for peer in KEEPING if peer != "uvicorn")
HELLO = Load("wrk", "hello", 32)
#: The load of `turbo-hello`, the reference that a scenario is compared with.
REFERENCE = HELLO


def sleeping(milliseconds: float, rate: float, p99: float) -> Scenario:
    seconds = milliseconds / 1e3
    return Scenario(
        title=f"The handler sleeps {milliseconds:g} ms",
        text="wrk, 100 keep-alive connections; pools have 100 threads",
        app=f"sleep {seconds:g}",
        check="get",
        load=Load("wrk", "hello", 100),
        servers=("turbo", "turbo-wsgi", *STOCK, *PEERS),
        quick=("turbo",),
        threads=100,
        bars=(
            Bar("turbo, requests/s", rate, median("turbo", "rate"), at_most=False),
            Bar("turbo, p99 in ms", p99, median("turbo", "p99_ms")),
        ),
    )


def framework(name: str, title: str) -> Scenario:
    return Scenario(
        title=title,
        text="wrk, 32 keep-alive connections; before, answers whose close() is called",
        app=name,
        check="get",
        proof=("closes", "closes"),
        load=HELLO,
        servers=(*OWN_WSGI, "stock-wsgi", *WSGI_PEERS),
        quick=("turbo-wsgi", "bjoern"),
        bars=(
            Bar("CPU of turbo-wsgi / best peer", 1.0, of_best_peer("turbo-wsgi")),
            Bar("requests/s of turbo-wsgi / best peer", 1.0, of_best_peer("turbo-wsgi", "rate"), at_most=False),
        ),
    )


def static(size: int, text: str, load: Load, nginx: float = 0.9, stock: float | None = 20, by_cpu: bool = False) -> Scenario:
    """A file of `size` octets. nginx, stock: what ours has at least of their requests/s; by_cpu: of nginx's CPU for each
    at the most."""
    figure, words = ("cpu_us", "CPU a request") if by_cpu else ("rate", "requests/s")
    bars = [
        Bar(f"{words} of {own} / {other}", nginx, ratio(own, other, figure), at_most=by_cpu)
        for own in ("turbo-files", "turbo-simple")
        for other in ("nginx", "nginx-cached")
    ]
    if stock is not None:
        bars.append(Bar("requests/s of turbo-simple / stock", stock, ratio("turbo-simple", "stock", "rate"), at_most=False))
    return Scenario(
        title=f"A file of {text}",
        text="wrk, 32 keep-alive connections" if load.program == "wrk" else "load download, 4 keep-alive connections",
        app=f"static {size}",
        check="static",
        load=load,
        servers=("turbo-files", "turbo-simple", "nginx", "nginx-cached", "stock", "stock-nodelay"),
        quick=("turbo-files", "nginx"),
        bars=tuple(bars),
    )


STATIC = Load("wrk", "static", 32)


def downloading(size: int) -> Load:
    """By a reader that throws away what it gets, so that it is not what is measured."""
    return Load("load", "download", 4, ("--size", str(size), "--path", "static.bin"))


#: The scenarios of files.
FILES: dict[str, Scenario] = {
    "file-13": static(13, "13 octets", STATIC),
    "file-10k": static(10 * 2**10, "10 KiB", STATIC),
    "file-1m": static(2**20, "1 MiB", downloading(2**20), stock=None),
    "file-100m": static(
        100 * 2**20, "100 MiB", downloading(100 * 2**20), nginx=1.0, stock=None, by_cpu=True
    ),
}

TLS_SERVERS = ("turbo-tls", "turbo-tls-single", "stock-tls", "stock-tls-nodelay", "nginx-tls")
TLS_BARS = (Bar("requests/s of turbo-tls / stock-tls", 3, ratio("turbo-tls", "stock-tls", "rate"), at_most=False),)
#: The scenarios by TLS, all with the same certificate, on connections that are kept.
TLS: dict[str, Scenario] = {
    "tls-hello": Scenario(
        title="TLS: two headers, 13 octets",
        text="wrk, 32 keep-alive connections",
        app="hello",
        check="get",
        load=HELLO,
        servers=TLS_SERVERS,
        quick=("turbo-tls", "stock-tls"),
        bars=TLS_BARS,
    ),
    "tls-1m": Scenario(
        title="TLS: a file of 1 MiB",
        text="wrk, 4 keep-alive connections",
        app=f"static {2**20}",
        check="static",
        load=Load("wrk", "static", 4),
        servers=TLS_SERVERS,
        quick=("turbo-tls", "stock-tls"),
        bars=TLS_BARS,
    ),
}

#: The scenarios of WSGI applications alone.
WSGI: dict[str, Scenario] = {
    "wsgi-hello": Scenario(
        title="WSGI: two headers, 13 octets",
        text="wrk, 32 keep-alive connections",
        app="hello",
        check="get",
        load=HELLO,
        servers=("limit", *OWN_WSGI, "stock-wsgi", *WSGI_PEERS),
        quick=("turbo-wsgi", "bjoern", "fastwsgi"),
        bars=(
            Bar("CPU of turbo-wsgi / bjoern", 0.95, ratio("turbo-wsgi", "bjoern")),
            Bar("CPU of turbo-wsgi / fastwsgi", 0.95, ratio("turbo-wsgi", "fastwsgi")),
            Bar("peak RSS of turbo-wsgi above bjoern's, in MiB", 8, more("turbo-wsgi", "bjoern", "rss_mib")),
        ),
    ),
    "wsgi-browser": Scenario(
        title="WSGI: a browser's request, no header looked at",
        text="wrk, 32 keep-alive connections, 12 headers, 700 octets",
        app="hello",
        check="browser",
        load=Load("wrk", "browser", 32),
        servers=("limit", *OWN_WSGI, "stock-wsgi", *WSGI_PEERS),
        quick=("turbo-wsgi", "bjoern"),
        bars=(Bar("CPU of turbo-wsgi / bjoern", 0.8, ratio("turbo-wsgi", "bjoern")),),
    ),
    "wsgi-pipelined": Scenario(
        title="WSGI: 16 requests pipelined",
        text="wrk, 32 keep-alive connections, batches of 16 requests; before, paths answered in their order",
        app="hello",
        check="pipelined",
        proof=("numbered", "numbered"),
        load=Load("wrk", "pipelined", 32),
        servers=("limit", *OWN_WSGI, *WSGI_KEEPING),
        quick=("turbo-wsgi",),
        bars=(Bar("CPU of turbo-wsgi, us a request", 1.2, median("turbo-wsgi", "cpu_us")),),
    ),
    "wsgi-sleep": Scenario(
        title="WSGI: the application sleeps 10 ms",
        text="wrk, 100 keep-alive connections; pools of others have 100 threads",
        app="sleep 0.01",
        check="get",
        load=Load("wrk", "hello", 100),
        servers=("turbo-wsgi", "turbo-cli", "turbo-gunicorn", "stock-wsgi", *WSGI_PEERS),
        quick=("turbo-wsgi",),
        threads=100,
        bars=(Bar("turbo-wsgi, requests/s", 9_500, median("turbo-wsgi", "rate"), at_most=False),),
    ),
    "wsgi-flask": framework("flask", "Flask: 13 octets"),
    "wsgi-django": framework("django", "Django: 13 octets, the middleware that needs no database"),
    "wsgi-file": Scenario(
        title="WSGI: a file of 1 MiB by wsgi.file_wrapper",
        text="load download, 4 keep-alive connections; nginx with sendfile",
        app="file",
        check="file",
        load=Load("load", "download", 4, ("--size", str(2**20))),
        servers=("nginx", *OWN_WSGI, "stock-wsgi", *WSGI_PEERS),
        quick=("turbo-wsgi", "nginx"),
        bars=(Bar("octets/s of turbo-wsgi / nginx", 0.9, ratio("turbo-wsgi", "nginx", "octets_rate"), at_most=False),),
    ),
    "wsgi-upload": Scenario(
        title="WSGI: a request of 10 MiB in reads of 64 KiB",
        text="load upload, 4 keep-alive connections; before, one whose checksum is the answer",
        app="upload",
        check="upload",
        proof=("checksum", "checksum"),
        load=Load("load", "upload", 4, ("--size", str(10 * 2**20))),
        servers=(*OWN_WSGI, "stock-wsgi", *WSGI_PEERS),
        quick=("turbo-wsgi", "bjoern"),
        bars=(
            Bar("octets/s of turbo-wsgi / best peer", 1.0, of_best_peer("turbo-wsgi", "octets_rate"), at_most=False),
        ),
    ),
    "wsgi-logged": Scenario(
        title="WSGI: the access log on, to a file",
        text="wrk, 32 keep-alive connections; combined from the two commands, gunicorn and nginx, others as it comes",
        app="logged",
        check="get",
        load=HELLO,
        servers=(*OWN_WSGI, "turbo-wsgi-hello", "turbo-cli-hello", "stock-wsgi", "nginx", "gunicorn", "werkzeug"),
        quick=("turbo-cli", "turbo-cli-hello"),
        bars=(Bar("CPU of turbo-cli / turbo-cli at hello", 1.5, ratio("turbo-cli", "turbo-cli-hello")),),
    ),
}

SCENARIOS: dict[str, Scenario] = {
    "hello": Scenario(
        title="do_GET, two headers, 13 octets",
        text="wrk, 32 keep-alive connections",
        app="hello",
        check="get",
        load=HELLO,
        servers=("limit", "turbo", "turbo-single", "turbo-wsgi", *STOCK, "stock-wsgi", "nginx", *PEERS),
        quick=("limit", "turbo", "turbo-single", "bjoern"),
        bars=(
            Bar("CPU of turbo / C limit", 1.25, ratio("turbo", "limit")),
            Bar("CPU of turbo / bjoern", 0.9, ratio("turbo", "bjoern")),
            Bar("CPU of turbo-single / turbo", 1.0, ratio("turbo-single", "turbo")),
        ),
    ),
    "browser": Scenario(
        title="A browser's request, no header looked at",
        text="wrk, 32 keep-alive connections, 12 headers, 700 octets",
        app="hello",
        check="browser",
        load=Load("wrk", "browser", 32),
        servers=("limit", "turbo", "turbo-single", *STOCK, "nginx", *PEERS),
        quick=("turbo", "nginx"),
        bars=(Bar("CPU of turbo / nginx", 1.15, ratio("turbo", "nginx")),),
    ),
    "browser-headers": Scenario(
        title="A browser's request, three headers looked at",
        text="wrk, 32 keep-alive connections, 12 headers, 700 octets",
        app="headers",
        check="browser",
        load=Load("wrk", "browser", 32),
        servers=("limit", "turbo", "turbo-wsgi", *STOCK, "nginx", *PEERS),
        quick=("turbo", "nginx"),
        bars=(Bar("CPU of turbo / nginx", 1.5, ratio("turbo", "nginx")),),
    ),
    "pipelined": Scenario(
        title="16 requests pipelined",
        text="wrk, 32 keep-alive connections, batches of 16 requests",
        app="hello",
        check="pipelined",
        load=Load("wrk", "pipelined", 32),
        servers=("limit", "turbo", "turbo-single", *STOCK, "nginx", *KEEPING),
        bars=(Bar("CPU of turbo / C limit (1.0 us where it needs 0.35)", round(1 / 0.35, 2), ratio("turbo", "limit")),),
    ),
    "connection": Scenario(
        title="A connection for each request, HTTP/1.0",
        text="wrk, 32 connections at a time",
        app="closing",
        check="closing",
        load=Load("wrk", "connection", 32),
        servers=("limit", "turbo", "turbo-single", "turbo-wsgi", *STOCK, "stock-single", "stock-wsgi", "nginx", *PEERS),
        quick=("limit", "turbo", "stock"),
        bars=(
            Bar("CPU of turbo / C limit", 1.2, ratio("turbo", "limit")),
            Bar("requests/s of turbo / stock", 8, ratio("turbo", "stock", "rate"), at_most=False),
        ),
    ),
    "sleep-10ms": sleeping(10, 9_500, 13),
    "sleep-1ms": sleeping(1, 45_000, 4),
    "sleep-0.1ms": sleeping(0.1, 30_000, 6),
    "mixed": Scenario(
        title="1 request in 100 sleeps 100 ms; latencies are of the others",
        text="load mixed, 64 keep-alive connections; pools have 64 threads",
        app="mixed",
        check="mixed",
        load=Load("load", "mixed", 64, ("--slow-every", "100")),
        servers=("turbo", "turbo-wsgi", *STOCK, *PEERS),
        quick=("turbo",),
        threads=64,
        bars=(Bar("turbo, p99 of the fast path in ms", 3, median("turbo", "p99_ms")),),
    ),
    "post": Scenario(
        title="POST of 1 KiB, read and echoed",
        text="wrk, 32 keep-alive connections",
        app="post",
        check="post",
        load=Load("wrk", "post", 32),
        servers=("turbo", "turbo-hello", "turbo-wsgi", *STOCK, *PEERS),
        quick=("turbo", "turbo-hello"),
        bars=(Bar("CPU of turbo / turbo at hello", 1.6, ratio("turbo", "turbo-hello")),),
    ),
    "download": Scenario(
        title="A response of 10 MiB in writes of 64 KiB",
        text="load download, 4 keep-alive connections",
        app="download",
        check="download",
        load=Load("load", "download", 4, ("--size", str(10 * 2**20))),
        servers=("limit", "turbo", "turbo-wsgi", *STOCK, *PEERS),
        bars=(Bar("octets/s of turbo / C send loop", 0.9, ratio("turbo", "limit", "octets_rate"), at_most=False),),
    ),
    "upload": Scenario(
        title="A request of 10 MiB in reads of 64 KiB",
        text="load upload, 4 keep-alive connections",
        app="upload",
        check="upload",
        load=Load("load", "upload", 4, ("--size", str(10 * 2**20))),
        servers=("limit", "turbo", "turbo-wsgi", *STOCK, *PEERS),
        bars=(Bar("octets/s of turbo / C recv loop", 0.9, ratio("turbo", "limit", "octets_rate"), at_most=False),),
    ),
    "logging": Scenario(
        title="Request logging as it comes, to a file",
        text="wrk, 32 keep-alive connections",
        app="logging",
        check="get",
        load=HELLO,
        servers=("turbo", "turbo-hello", *STOCK),
        quick=("turbo", "turbo-hello"),
        bars=(Bar("CPU of turbo / turbo at hello", 1.5, ratio("turbo", "turbo-hello")),),
    ),
    "idle": Scenario(
        title="hello beside 10,000 idle connections",
        text="load idle; then wrk, 32 keep-alive connections. Servers with a thread each have 1,000 idle ones",
        app="hello",
        check="get",
        load=HELLO,
        servers=("limit", "turbo", "turbo-hello", "stock-nodelay", "nginx", *KEEPING),
        quick=("turbo", "turbo-hello"),
        special="idle",
        bars=(
            Bar("turbo, octets of memory for each connection", 2048, noted("idle octets")),
            Bar("turbo, more threads than before", 0, noted("idle threads")),
            Bar("CPU of turbo beside them / without", 1.05, ratio("turbo", "turbo-hello")),
        ),
    ),
    "blocking": Scenario(
        title="handle_one_request overridden",
        text="wrk, 32 keep-alive connections",
        app="hello",
        check="get",
        load=HELLO,
        servers=("turbo-blocking", "stock-blocking", "stock-blocking-nodelay"),
        quick=("turbo-blocking", "stock-blocking", "stock-blocking-nodelay"),
        bars=(
            Bar("requests/s of turbo / stock", 4, ratio("turbo-blocking", "stock-blocking", "rate"), at_most=False),
            Bar(
                "requests/s of turbo / stock with Nagle's algorithm off",
                4,
                ratio("turbo-blocking", "stock-blocking-nodelay", "rate"),
                at_most=False,
            ),
        ),
    ),
    "echo-1": Scenario(
        title="StreamRequestHandler echoes lines, one connection",
        text="load echo, 64 octets",
        app="echo",
        check="echo",
        load=Load("load", "echo", 1),
        servers=("limit", "turbo", "stock"),
        quick=("turbo", "stock"),
        bars=(Bar("requests/s of turbo / stock", 3, ratio("turbo", "stock", "rate"), at_most=False),),
    ),
    "echo-together": Scenario(
        title="StreamRequestHandler echoes lines, one connection, 64 lines in flight",
        text="load echo, 64 octets; latencies are of 64 lines",
        app="echo",
        check="echo",
        load=Load("load", "echo", 1, ("--together", "64")),
        servers=("limit", "turbo", "stock"),
        quick=("turbo", "stock"),
        bars=(Bar("requests/s of turbo / stock", 3, ratio("turbo", "stock", "rate"), at_most=False),),
    ),
    "echo-1000": Scenario(
        title="StreamRequestHandler echoes lines, 1,000 connections",
        text="load echo, 64 octets",
        app="echo",
        check="echo",
        load=Load("load", "echo", 1000),
        servers=("limit", "turbo", "stock"),
        quick=("turbo", "stock"),
        bars=(Bar("requests/s of turbo / stock", 3, ratio("turbo", "stock", "rate"), at_most=False),),
    ),
    "udp": Scenario(
        title="UDPServer echoes datagrams",
        text="load udp, 32 sockets, 64 octets",
        app="udp",
        check="udp",
        load=Load("load", "udp", 32),
        servers=("limit", "turbo", "stock"),
        quick=("turbo", "stock"),
        bars=(Bar("requests/s of turbo / stock", 3, ratio("turbo", "stock", "rate"), at_most=False),),
    ),
    "connections": Scenario(
        title="hello over the number of connections (here: the most)",
        text="wrk, 1 to 1,024 keep-alive connections",
        app="hello",
        check="get",
        load=HELLO,
        servers=("limit", "turbo", "stock-nodelay", "nginx", *PEERS),
        quick=("turbo",),
        special="connections",
    ),
    "scan": Scenario(
        title="Scan of a browser's request of 700 octets",
        text="bench/micro, no server; the fastest of its rounds",
        app="",
        check="",
        load=None,
        servers=(),
        quick=(),
        special="scan",
        bars=(
            Bar("GB/s with AVX2", 4, noted("scan GB/s"), at_most=False),
            Bar("GB/s without AVX2", 1.5, noted("scan GB/s without AVX2"), at_most=False),
        ),
    ),
    "import": Scenario(
        title="import http.server, turboserver's and the original",
        text="fresh interpreters in turns; CPU of the import, resident memory after it",
        app="",
        check="",
        load=None,
        servers=("turbo", "stock"),
        quick=("turbo", "stock"),
        special="imports",
        bars=(
            Bar("CPU of turboserver.http.server / http.server", 1.25, ratio("turbo", "stock")),
            Bar("more resident memory, in MiB", 3, noted("import MiB")),
        ),
    ),
    **FILES,
    **TLS,
    **WSGI,
}
