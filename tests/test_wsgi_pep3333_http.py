"""PEP 3333 as a checklist, seventh part: what the server owes to HTTP whatever an application does.

The section Other HTTP Features says that servers "must handle ... by themselves" what RFC 9112 and RFC 9110 ask of an
origin server: versions, persistent connections, transfer codings, and answers that have no body.  Each docstring names
the section that it is about.  What is asked of the native path alone is in wsgi_gateways.ONLY_NATIVE.
"""
import contextlib
import io
import threading

import pytest

from support import DEADLINE, Client, exchange, fetch, load_backend, serving
from wsgi_gateways import TEXT, Body, chunked, gateways, request, serve


def echo(environ, start_response):
    """Answers with the path and the body of the request; how, says the query string."""
    how = environ["QUERY_STRING"]
    blocks = [environ["PATH_INFO"].encode("latin-1") + b" ", environ["wsgi.input"].read()]
    headers = [*TEXT]
    if how == "length":
        headers.append(("Content-Length", str(len(b"".join(blocks)))))
    write = start_response("200 OK", headers)
    if how == "write":
        for block in blocks:
            write(block)
        return []
    return iter(blocks) if how in ("generator", "length") else [b"".join(blocks)] if how == "one" else blocks


HOWS = ("one", "list", "generator", "length", "write")


def kept(response):
    return "close" not in (response.get("Connection") or "").lower()


# ---------------------------------------------------------------- RFC 9112, 9.3: persistent connections

@gateways("kept connections")
@pytest.mark.parametrize("how", HOWS)
def test_connection_is_kept(kind, how):
    """RFC 9112, 9.3: HTTP/1.1 keeps the connection, for whatever body, and however long it is."""
    with serve(echo, kind) as server, Client(server) as client:
        for number in range(5):
            response = client.request("PUT", f"/{number}?{how}", body=b"x" * number * 1000)
            assert (response.version, response.status, kept(response)) == ("HTTP/1.1", 200, True)
            assert response.body == b"/%d " % number + b"x" * number * 1000
            assert (response.get("Content-Length") is None) is (response.get("Transfer-Encoding") == "chunked")


@gateways()
@pytest.mark.parametrize("how", HOWS)
def test_connection_is_closed_if_asked(kind, how):
    """RFC 9112, 9.6: "close" in a request: the answer says so, too, and is the last."""
    with serve(echo, kind) as server, Client(server) as client:
        response = client.request(path=f"/x?{how}", headers=[("Connection", "close")])
        assert response.body == b"/x " and (response.version == "HTTP/1.0" or not kept(response))
        assert client.at_eof()


@gateways()
@pytest.mark.parametrize("how", HOWS)
def test_http_1_0(kind, how):
    """RFC 9112, 9.3 and 6.1: HTTP/1.0 without keep-alive closes; and never a transfer coding."""
    with serve(echo, kind) as server, Client(server) as client:
        response = client.request(path=f"/x?{how}", version="HTTP/1.0")
        assert response.body == b"/x " and response.get("Transfer-Encoding") is None
        assert client.at_eof()


@gateways()
@pytest.mark.parametrize("how", HOWS)
def test_http_0_9(kind, how):
    """RFC 1945, 5: a request without a version is answered with the body alone, here by a client
    that ends its head with the connection."""
    with serve(echo, kind) as server:
        assert exchange(server, f"GET /x?{how}\r\n".encode()) == b"/x "


@gateways("kept connections")
@pytest.mark.parametrize("how", HOWS)
def test_http_1_0_with_keep_alive(kind, how):
    """RFC 9112, appendix C.2.2: kept if the body has a length, and then the answer says keep-alive; else it closes."""
    with serve(echo, kind) as server, Client(server) as client:
        for number in range(3):
            response = client.request(path=f"/{number}?{how}", headers=[("Connection", "keep-alive")], version="HTTP/1.0")
            assert response.body == b"/%d " % number and response.get("Transfer-Encoding") is None
            if (response.get("Connection") or "").lower() != "keep-alive":
                assert client.at_eof()
                assert how not in ("one", "length")
                break
            assert response.get("Content-Length") is not None


@gateways("kept connections")
def test_pipelining(kind):
    """RFC 9112, 9.3.2: answers in the order of the requests, whatever bodies they have, in one packet or in pieces."""
    requests, expected = [], []
    for number in range(40):
        body = b"%d" % number * (number % 7)
        target = f"/{number}?{HOWS[number % len(HOWS)]}"
        if number % 3 == 0:
            requests.append(request("POST", target, [("Transfer-Encoding", "chunked")]) + chunked(*[body] * bool(body), b"end"))
            body += b"end"
        elif number % 3 == 1:
            requests.append(request("POST", target, body=body))
        else:
            requests.append(request(target=target))
            body = b""
        expected.append(b"/%d " % number + body)
    stream = b"".join(requests)
    with serve(echo, kind) as server:
        for size in (len(stream), 1000, 37):
            with Client(server) as client:
                sender = threading.Thread(target=lambda: [
                    client.send(stream[at:at + size]) for at in range(0, len(stream), size)], daemon=True)
                sender.start()
                assert [client.read().body for number in range(40)] == expected
                sender.join(DEADLINE)


@gateways("kept connections")
def test_pipelined_requests_wait_for_each_other(kind):
    """RFC 9112, 9.3.2: the second is not answered before the first, though it takes its time."""
    release, order = threading.Event(), []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            assert release.wait(DEADLINE)
        order.append(environ["PATH_INFO"])
        start_response("200 OK", [*TEXT])
        return [environ["PATH_INFO"].encode()]

    with serve(app, kind) as server, Client(server) as client:
        client.send(request(target="/slow") + request(target="/fast") * 3)
        release.set()
        assert [client.read().body for number in range(4)] == [b"/slow", b"/fast", b"/fast", b"/fast"]
    assert order == ["/slow", "/fast", "/fast", "/fast"]


@gateways("kept connections")
def test_pipelining_is_not_held_up_by_a_stream(kind):
    """Buffering and Streaming: blocks of the first answer go out though a second request has been read."""
    go_on = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        yield b"first block "
        assert environ["PATH_INFO"] != "/slow" or go_on.wait(DEADLINE)
        yield b"second block"

    with serve(app, kind) as server, Client(server) as client:
        client.send(request(target="/slow") + request())
        seen = b""
        while b"first block " not in seen:
            seen += client.sock.recv(1000)
        go_on.set()
        client.sock.sendall(request(headers=[("Connection", "close")]))
        while data := client.sock.recv(1000):
            seen += data
    assert seen.count(b"HTTP/1.1 200 ") == seen.count(b"second block") == 3


@gateways("kept connections")
def test_many_connections(kind):
    """RFC 9112, 9.4: connections do not get each other's answers."""
    with serve(echo, kind) as server:
        clients = [Client(server) for number in range(20)]
        for times in range(3):
            for number, client in enumerate(clients):
                client.send(request("POST", f"/{number}?{HOWS[number % 5]}", body=b"%d" % times))
            for number, client in enumerate(clients):
                assert client.read().body == b"/%d %d" % (number, times)
        for client in clients:
            client.close()


# ---------------------------------------------------------------- RFC 9112, 7: chunked answers

@gateways("HTTP/1.1")
def test_answer_without_a_length_is_chunked(kind):
    """RFC 9112, 6.1 and 7.1: chunks of what the application gives, none of them empty but the last."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        yield from (b"", b"one", b"", b"two" * 10_000, b"", b"")

    with serve(app, kind) as server:
        answer = exchange(server, request())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head and b"content-length" not in head.lower()
    assert body.endswith(b"\r\n0\r\n\r\n") and body.count(b"\r\n0\r\n") == 1


# ---------------------------------------------------------------- RFC 9112, 6.3: answers without a body

BODILESS = {"HEAD": ("HEAD", "200 OK"), "204": ("GET", "204 No Content"), "304": ("GET", "304 Not Modified"),
            "HEAD 404": ("HEAD", "404 Not Found"), "POST 204": ("POST", "204 No Content")}
BODIES = {"one": lambda: [b"12345"], "generator": lambda: Body(b"123", b"45"), "none": lambda: [], "empty": lambda: Body(),
          "large": lambda: Body(*[b"x" * 50_000] * 20), "write": None}


@gateways()
@pytest.mark.parametrize("how", BODIES)
@pytest.mark.parametrize("name", BODILESS)
def test_no_body(kind, name, how):
    """RFC 9112, 6.3, and RFC 9110, 9.3.2: HEAD, 204 and 304 have no body, whatever the application gives, and what
    follows is the next answer; no chunked coding in 204 (RFC 9112, 6.1)."""
    method, status = BODILESS[name]

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [*TEXT])
            return [b"next"]
        write = start_response(status, [("X", "kept")])
        if how == "write":
            write(b"12345")
            return [b"67"]
        return BODIES[how]()

    with serve(app, kind) as server:
        answer = exchange(server, request(method) + request(target="/next"))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.partition(b" ")[2].startswith(status.encode()) and b"\r\nX: kept" in head
    if method != "HEAD":
        assert b"\r\ntransfer-encoding" not in head.lower()
    if kind == "overridden":
        assert rest == b""
    else:
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.endswith(b"\r\n\r\nnext")


@gateways()
def test_head_is_as_that_of_get(kind):
    """RFC 9110, 9.3.2: the fields of HEAD are those of GET: the length among them, where the application gives it, or
    where it is known; it is never another."""
    def app(environ, start_response):
        headers = [("X", "y"), ("Content-Length", "12345")] if environ["PATH_INFO"] == "/given" else [("X", "y")]
        start_response("200 OK", headers)
        return [b"x" * 12345] if environ["PATH_INFO"] != "/empty" else []

    with serve(app, kind) as server:
        for path in ("/given", "/one"):
            get, head = fetch(server, path), fetch(server, path, method="HEAD")
            assert get.get("Content-Length") == "12345" and head.get("X") == "y"
            assert head.get("Content-Length") == "12345" if path == "/given" else head.get("Content-Length") in (None, "12345")


@gateways("no length of what is not sent")
@pytest.mark.parametrize("name", BODILESS)
def test_no_length_of_what_is_not_known(kind, name):
    """RFC 9110, 8.6: "a server MUST NOT send a Content-Length header field in any response with a status code of ...
    204", nor to HEAD or in 304 one that GET, or 200, would not have."""
    method, status = BODILESS[name]

    def app(environ, start_response):
        start_response(status, [("Content-Length", "5")] if environ["PATH_INFO"] == "/given" else [])
        return []

    with serve(app, kind) as server:
        assert fetch(server, method=method).get("Content-Length") is None
        if status.startswith("204"):
            assert fetch(server, "/given", method=method).get("Content-Length") is None


@gateways()
def test_length_of_what_is_not_modified(kind):
    """RFC 9110, 8.6: 304 may have the length that 200 would have; it must not be made 0."""
    def app(environ, start_response):
        start_response("304 Not Modified", [("Content-Length", "12345"), ("ETag", '"x"')])
        return []

    with serve(app, kind) as server:
        response = fetch(server)
        assert response.get("Content-Length") in (None, "12345") and response.get("ETag") == '"x"'


@gateways("kept connections")
def test_head_of_an_application_that_obeys(kind):
    """RFC 9110, 9.3.2: an application that gives the length of GET and, to HEAD, no body, is not short of anything."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"12345"]

    with serve(app, kind) as server, Client(server) as client:
        for method in ("HEAD", "GET", "HEAD", "HEAD", "GET"):
            response = client.request(method)
            assert response.get("Content-Length") == "5" and kept(response)
            assert response.body == (b"12345" if method == "GET" else b"")
    assert "Content-Length" not in server.errors.getvalue()


# ---------------------------------------------------------------- Thread Support

@pytest.mark.parametrize("kind", ("threads", "overridden"))
def test_environ_is_not_shared_by_threads(kind):
    """Thread Support: requests that run at once each have their own environ."""
    together, wrong = threading.Barrier(4), []

    def app(environ, start_response):
        name = environ["PATH_INFO"]
        environ["mine"] = name
        together.wait(DEADLINE)
        environ["HTTP_X_" + name[1:]] = name
        together.wait(DEADLINE)
        others = [key for key in environ if key.startswith("HTTP_X_") and key != "HTTP_X_" + name[1:]]
        if environ["mine"] != name or others:
            wrong.append((name, others))
        return echo(environ, start_response)

    with serve(app, kind) as server:
        clients = [Client(server) for number in range(4)]
        for number, client in enumerate(clients):
            client.send(request(target=f"/{number}"))
        for client in clients:
            assert client.read().status == 200
            client.close()
    assert not wrong


def test_single_is_single():
    """Thread Support: where wsgi.multithread is false, the application is never called twice at once."""
    running, most, lock = [], [], threading.Lock()

    def app(environ, start_response):
        with lock:
            running.append(1)
            most.append(len(running))
        threading.Event().wait(0.01)
        with lock:
            running.pop()
        return echo(environ, start_response)

    with serve(app, "single") as server:
        clients = [Client(server) for number in range(5)]
        for client in clients:
            client.send(request())
        for client in clients:
            assert client.read().status == 200
            client.close()
    assert most == [1] * 5


@pytest.mark.parametrize("kind", ("threads", "overridden"))
def test_threads_are_threads(kind):
    """Thread Support: where wsgi.multithread is true, one request that waits keeps no other waiting."""
    together = threading.Barrier(3)

    def app(environ, start_response):
        together.wait(DEADLINE)
        return echo(environ, start_response)

    with serve(app, kind) as server:
        clients = [Client(server) for number in range(3)]
        for client in clients:
            client.send(request())
        for client in clients:
            assert client.read().status == 200
            client.close()


def test_servers_of_one_handler_class():
    """environ Variables: what is true to one server is not said by another which has the same handler class."""
    ours = load_backend("turboserver").simple_server
    handler = type("Handler", (ours.WSGIRequestHandler,), {})
    seen = []

    def app(environ, start_response):
        seen.append((environ["wsgi.multithread"], environ["wsgi.url_scheme"], environ["SERVER_PORT"]))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        expected = []
        servers = []
        for server_class, https in ((ours.WSGIServer, ""), (ours.ThreadingWSGIServer, ""), (ours.WSGIServer, "on")):
            server = ours.make_server("127.0.0.1", 0, app, server_class, handler)
            server.base_environ["HTTPS"] = https
            expected.append((server_class is not ours.WSGIServer, "https" if https else "http", str(server.server_port)))
            servers.append(stack.enter_context(serving(server)))
        for server in servers * 2:
            assert fetch(server).status == 200
    assert seen == expected * 2
