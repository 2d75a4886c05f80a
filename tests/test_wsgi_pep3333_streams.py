"""PEP 3333 as a checklist, fifth part: wsgi.input, wsgi.errors, and 100 Continue.

Each docstring names the section of the PEP.  What is asked of the native path alone is in wsgi_gateways.ONLY_NATIVE.
"""
import io
import random
import socket
import threading

import pytest

from support import DEADLINE, Client, connect, exchange, fetch, read_until, read_until_eof, wait_until
from wsgi_gateways import TEXT, answering, chunked, gateways, request, serve

BODY = b"line one\nline two\n\nno end" + b"x" * 300 + b"\n" + b"y" * 5000 + b"\r\nlast line without an end"

#: What an application may do with wsgi.input, and what it gives for BODY by the meaning that the methods have in files.
READS = {
    "all": lambda data: data.read(), "minus one": lambda data: data.read(-1), "too much": lambda data: data.read(10**6),
    "exactly": lambda data: data.read(len(BODY)), "nothing": lambda data: data.read(0),
    "pieces": lambda data: list(iter(lambda: data.read(100), b"")), "octets": lambda data: [data.read(1) for _ in range(50)],
    "lines": lambda data: list(iter(data.readline, b"")), "short lines": lambda data: list(iter(lambda: data.readline(10), b"")),
    "line of nothing": lambda data: data.readline(0), "line of any length": lambda data: data.readline(-1),
    "long line": lambda data: [data.readline(), data.readline(10**6)],
    "readlines": lambda data: data.readlines(), "readlines of all": lambda data: data.readlines(-1),
    "iteration": lambda data: list(data), "next": lambda data: [next(data), data.read(4), next(data)],
    "mixed": lambda data: [data.readline(), data.read(3), data.readlines(), data.read(), data.readline(), list(data)],
    "after the end": lambda data: [data.read(), data.read(), data.read(5), data.readline(), data.readlines(), list(data)],
}


def read_by(name, data):
    """The same as READS[name](data), with what is left, which must be exactly the rest."""
    return READS[name](data), data.read(), data.read(1)


def framings(body):
    """(head with a {} for the path, body on the wire) in each framing of a body."""
    head = "POST /{} HTTP/1.1\r\nHost: a\r\n"
    yield (head + f"Content-Length: {len(body)}\r\n\r\n").encode(), body
    coded = ("Transfer-Encoding: chunked\r\n\r\n").encode()
    yield head.encode() + coded, chunked(*[piece for piece in (body[:7], body[7:1000], body[1000:]) if piece])
    yield head.encode() + coded, chunked(body, extension=b";a=b", trailers=b"X-Trailer: z\r\n")


# ---------------------------------------------------------------- Input and Error Streams: wsgi.input

@gateways()
@pytest.mark.parametrize("late", (False, True), ids=("at once", "in two parts"))
def test_reading(kind, late):
    """Input and Error Streams: read(size), readline(), readlines(hint) and __iter__() "are as documented in the Python
    Library Reference"; "a server should allow read() to be called without an argument, and return the remainder"; for
    bodies with a length and chunked ones, and with another request behind."""
    results = {}

    def app(environ, start_response):
        name = environ["PATH_INFO"][1:]
        results[name] = name != "behind" and read_by(name.replace("-", " "), environ["wsgi.input"])
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server:
        for name in READS:
            for head, body in framings(BODY):
                data = head.replace(b"{}", name.replace(" ", "-").encode()) + body + b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
                cut = len(data) - 1500
                results.clear()
                answer = exchange(server, None, pieces=[data[:cut], data[cut:]] if late else [data])
                assert answer.startswith(b"HTTP/1."), name
                result, rest, end = results[name.replace(" ", "-")]
                assert (result, rest, end) == read_by(name, io.BytesIO(BODY)), name


@gateways()
def test_reading_in_any_order(kind):
    """The same, for whatever sequence of calls, beside a file of the same content."""
    seeds = range(40)

    def script(seed, data):
        choice = random.Random(seed)
        for _ in range(choice.randrange(1, 12)):
            size = choice.choice((0, 1, 2, 7, 100, 4000, 10_000))
            yield choice.choice((lambda: data.read(size), lambda: data.readline(size), data.readline,
                                 lambda: next(iter(data), b""), lambda: data.read(size)))()
        yield data.read()

    def app(environ, start_response):
        found.append(list(script(int(environ["QUERY_STRING"]), environ["wsgi.input"])))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    found = []
    with serve(app, kind) as server:
        for seed in seeds:
            coded = seed % 2 == 0
            headers = [("Transfer-Encoding", "chunked")] if coded else [("Content-Length", len(BODY))]
            data = request("PUT", f"/?{seed}", headers) + (chunked(BODY[:seed], BODY[seed:]) if coded and seed else
                                                           chunked(BODY) if coded else BODY)
            assert exchange(server, data).endswith(b"ok")
    assert found == [list(script(seed, io.BytesIO(BODY))) for seed in seeds]


def of_size(raw):
    """(content, chunked body of `raw` octets)."""
    rest = raw - len(chunked(b"one", b""))
    size = next(size for size in range(rest, 0, -1) if len(b"%x\r\n" % size) + size + 2 == rest)
    return b"one" + b"x" * size, chunked(b"one", b"x" * size)


# The longest that is awaited, and one octet more; the last one fills many a buffer.
CHUNKED = {"none": (b"", chunked()), "one octet": (b"x", chunked(b"x")),
           "extensions and trailers": (b"abcde", chunked(b"abc", b"de", extension=b";a=b", trailers=b"X-Trailer: z\r\n")),
           "a page": of_size(4096), "64 KiB": of_size(65536), "more": of_size(65537), "far more": of_size(300_000)}


@gateways()
@pytest.mark.parametrize("lane", ("auto", "blocking"))
@pytest.mark.parametrize("late", (False, True), ids=("at once", "in parts"))
def test_length_of_a_chunked_body(kind, lane, late, monkeypatch):
    """Input and Error Streams; RFC 9112, 7.1.3: a decoded body of up to 64 KiB has a Content-Length and no coding any
    more, for applications that go by CONTENT_LENGTH; a longer one is as it was sent, but decoded."""
    monkeypatch.setenv("TURBOSERVER_LANE", lane)
    seen = []

    def app(environ, start_response):
        data = environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/chunked":
            seen.append((environ["CONTENT_LENGTH"], environ.get("HTTP_TRANSFER_ENCODING"), data,
                         environ["wsgi.input_terminated"]))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server:
        for name, (content, body) in CHUNKED.items():
            data = request("POST", "/chunked", [("Transfer-Encoding", "chunked")]) + body
            if kind != "overridden" and lane == "auto":      # elsewhere it is the connection's only request
                data = request() + data + request()
            pieces = [data[:-2500], data[-2500:-3], data[-3:]] if late else [data]
            assert exchange(server, None, pieces=pieces).endswith(b"ok"), name
            known = len(body) <= 65536
            assert seen.pop() == (str(len(content)) if known else "", None if known else "chunked", content, True), name
            assert not seen


@gateways()
def test_a_chunked_body_that_is_not_decoded_has_no_length(kind):
    """The same: with turbo_decode_chunked = False it is the application that decodes."""
    seen = []

    def app(environ, start_response):
        seen.append((environ.get("CONTENT_LENGTH", ""), environ["HTTP_TRANSFER_ENCODING"], environ["wsgi.input"].read()))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind, handler={"turbo_decode_chunked": False}) as server:
        exchange(server, request("POST", headers=[("Transfer-Encoding", "chunked")]) + chunked(b"abc"))
    assert seen == [("", "chunked", chunked(b"abc"))]


@gateways()
@pytest.mark.parametrize("body", (b"3\r\nabc\r\n", b"3\r\nabc\r\nnonsense\r\n"), ids=("cut off", "malformed"))
def test_a_chunked_body_that_is_amiss_has_no_length(kind, body, monkeypatch):
    """The same: what has no end has no length, and whatever reads it finds that out."""
    monkeypatch.setenv("TURBOSERVER_LANE", "blocking")      # the event loop answers by itself
    seen = []

    def app(environ, start_response):
        seen.append(environ.get("CONTENT_LENGTH", ""))
        environ["wsgi.input"].read()

    with serve(app, kind) as server, connect(server) as sock:
        sock.sendall(request("POST", headers=[("Transfer-Encoding", "chunked")]))
        sock.sendall(body)
        sock.shutdown(socket.SHUT_WR)
        assert b" 400 " in read_until_eof(sock).splitlines()[0]
    assert seen in ([], [""])


@gateways()
def test_readlines_with_a_hint(kind):
    """Input and Error Streams: "the hint argument to readlines() is optional for both caller and implementer"."""
    def app(environ, start_response):
        data = environ["wsgi.input"]
        lines = data.readlines(5)
        assert lines and b"".join(lines) == BODY[:len(b"".join(lines))]
        assert lines + data.readlines() == BODY.splitlines(True) or b"".join(lines) + data.read() == BODY
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server:
        assert fetch(server, method="POST", body=BODY).status == 200


@gateways()
@pytest.mark.parametrize("data", (request(), request("POST", body=b""), b"GET / HTTP/1.0\r\n\r\n", request("HEAD"),
                                  request("PUT", headers=[("Transfer-Encoding", "chunked")]) + chunked()),
                         ids=("get", "length 0", "http/1.0", "head", "chunked"))
def test_no_body(kind, data):
    """Input and Error Streams: "a server should return empty bytestrings from any attempt to read from an empty or
    exhausted input stream", and not wait for the client, which has not closed."""
    found = []

    def app(environ, start_response):
        data = environ["wsgi.input"]
        found.append([data.read(5), data.read(), data.readline(), data.readlines(), list(data), data.readline(3), data.read(-1)])
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server, Client(server) as client:
        client.send(data)
        assert client.read("HEAD" if data.startswith(b"HEAD") else "GET").status == 200
    assert found == [[b"", b"", b"", [], [], b"", b""]]


@gateways()
@pytest.mark.parametrize("coded", (False, True), ids=("length", "chunked"))
def test_large_body(kind, coded):
    """Input and Error Streams: bodies of more than a buffer, to the last octet."""
    body = random.Random(1).randbytes(3_000_000)
    found = []

    def app(environ, start_response):
        data = environ["wsgi.input"]
        found.append(b"".join([data.read(5), *iter(lambda: data.read(60_000), b"")]))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server, Client(server) as client:
        if coded:
            client.send(request("PUT", headers=[("Transfer-Encoding", "chunked")]))
            client.send(chunked(*(body[at:at + 70_001] for at in range(0, len(body), 70_001))))
        else:
            client.send(request("PUT", body=body))
        assert client.read().status == 200
    assert found == [body]


@gateways()
def test_read_waits_for_what_it_was_asked_for(kind):
    """Input and Error Streams: read(size) gives fewer octets only at the end, as a file's does."""
    entered, found = threading.Event(), []

    def app(environ, start_response):
        entered.set()
        found.append(environ["wsgi.input"].read(100_000))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server, Client(server) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10)
        assert entered.wait(DEADLINE)
        client.send(b"y" * 99_990)
        assert client.read().status == 200
    assert found == [b"x" * 10 + b"y" * 99_990]


CUT_SHORT = {
    "length": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this",
    "long": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nonly this",
    "chunk": b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nonly this",
    "last chunk": b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    "bad chunk": b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly thisGET / HTTP/1.1\r\n\r\n",
}


@gateways()
@pytest.mark.parametrize("name", CUT_SHORT)
def test_body_cut_short_does_not_look_complete(kind, name):
    """Input and Error Streams; RFC 9112, 8: what is not whole must not pass for it: reading raises, if the application
    is called at all, and nothing of it is answered with success."""
    found = []

    def app(environ, start_response):
        found.append(environ["wsgi.input"].read())
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server:
        answer = exchange(server, CUT_SHORT[name])
        assert found == [] and b" 200 " not in answer
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"


@gateways("kept connections")
def test_kept_input_does_not_read_the_next_request(kind):
    """Input and Error Streams: a stream that an application keeps is that of its own request for ever."""
    kept, found = [], []

    def app(environ, start_response):
        for stream in kept:
            try:
                found.append(stream.read(10) + stream.readline())
            except ValueError:
                found.append(b"")
        kept.append(environ["wsgi.input"])
        body = environ["wsgi.input"].read() if environ["PATH_INFO"] == "/read" else b"unread"
        start_response("200 OK", [*TEXT])
        return [body]

    with serve(app, kind) as server, Client(server) as client:
        bodies = [client.request("POST", path, body=b"body of " + path.encode()).body
                  for path in ("/read", "/read", "/unread", "/read", "/read")]
    assert bodies == [b"body of /read", b"body of /read", b"unread", b"body of /read", b"body of /read"]
    assert set(found) == {b""}


FORGED = b"GET /forged HTTP/1.1\r\nHost: a\r\n\r\n"


@gateways()
@pytest.mark.parametrize("size", (0, 1, 300_000, 3_000_000))
@pytest.mark.parametrize("coded", (False, True), ids=("length", "chunked"))
def test_unread_body_is_not_the_next_request(kind, size, coded):
    """Input and Error Streams: "applications ... should not attempt to read" what they do not need, so that the server
    has to drop it: what is left is never taken for a request, though the connection may close."""
    called = []
    body = FORGED + b"x" * size + FORGED * 3

    def app(environ, start_response):
        called.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/some":
            environ["wsgi.input"].readline()
        start_response("200 OK", [*TEXT])
        return [environ["PATH_INFO"].encode()]

    with serve(app, kind) as server:
        for path in ("/none", "/some"):
            if coded:
                data = request("POST", path, [("Transfer-Encoding", "chunked")]) + chunked(body)
            else:
                data = request("POST", path, body=body)
            answer = exchange(server, data + request(target="/next"))
            if size < 2:
                assert path.encode() in answer
            if kind != "overridden" and size < 2:
                assert answer.count(b"HTTP/1.1 200 ") == 2 and b"/next" in answer
    assert set(called) <= {"/none", "/some", "/next"} and "/none" in called


# ---------------------------------------------------------------- Input and Error Streams: wsgi.errors

@gateways()
def test_errors(kind):
    """Input and Error Streams: "text mode": write(), writelines() and flush(), str, lines end with "\\n"."""
    def app(environ, start_response):
        errors = environ["wsgi.errors"]
        errors.write("one line\n")
        errors.writelines(["two ", "and \u2713\n", "three\n"])
        errors.flush()
        with pytest.raises(TypeError):
            errors.write(b"octets")
        start_response("200 OK", [*TEXT])
        print("while iterating", file=errors)
        yield b"ok"

    with serve(app, kind) as server:
        assert fetch(server).body == b"ok"
    log = server.errors.getvalue()
    assert "one line\ntwo and \u2713\nthree\nwhile iterating\n" in log


@gateways()
def test_errors_is_what_the_handler_says(kind):
    """environ Variables, wsgi.errors: get_stderr() of the handler class, where it is overridden; what the application
    does not catch goes there as well."""
    own = io.StringIO()

    def app(environ, start_response):
        environ["wsgi.errors"].write("by the application\n")
        raise LookupError("not caught")

    with serve(app, kind, handler={"get_stderr": lambda self: own}) as server:
        assert fetch(server).status == 500
    assert "by the application" in own.getvalue() and "not caught" in own.getvalue()
    assert "not caught" not in server.errors.getvalue()


# ---------------------------------------------------------------- HTTP 1.1 Expect/Continue

def expecting(target="/", length=4, version="HTTP/1.1"):
    return request("POST", target, [("Expect", "100-continue"), ("Content-Length", length)], version=version)


FIRST_READS = {
    "read": lambda data: data.read(), "size": lambda data: data.read(4), "readline": lambda data: data.readline(),
    "readlines": lambda data: b"".join(data.readlines()), "iteration": lambda data: b"".join(data),
    "next": lambda data: next(data), "octets": lambda data: b"".join(data.read(1) for _ in range(4)),
}


@gateways("HTTP/1.1")
@pytest.mark.parametrize("name", FIRST_READS)
def test_continue_with_the_first_read(kind, name):
    """HTTP 1.1 Expect/Continue, 2: "proceed with the request normally, but provide the application with a wsgi.input
    stream that will send the "100 Continue" response if/when the application first attempts to read"; once."""
    found, may_read = [], threading.Event()

    def app(environ, start_response):
        assert may_read.wait(DEADLINE)
        found.append(FIRST_READS[name](environ["wsgi.input"]))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind) as server, Client(server) as client:
        for times in (1, 2):
            may_read.clear()
            client.send(expecting())
            client.sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.sock.recv(1, socket.MSG_PEEK)
            client.sock.settimeout(DEADLINE)
            may_read.set()
            assert client.read().raw == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"body")
            response = client.read()
            assert (response.status, response.body) == (200, b"ok")
    assert found == [b"body"] * 2


@gateways()
def test_no_continue_without_reading(kind):
    """HTTP 1.1 Expect/Continue: an application that does not read refuses the body: no 100; RFC 9110, 10.1.1: the
    client, which may or may not send it, is told whether the connection goes on."""
    with serve(answering(b"no"), kind) as server, Client(server) as client:
        client.send(expecting())
        response = client.read()
        assert (response.status, response.body) == (200, b"no")
        if response.version == "HTTP/1.0" or (response.get("Connection") or "").lower() == "close":
            assert client.at_eof()
        else:
            client.send(b"body" + request())
            assert client.read().body == b"no"


@gateways()
@pytest.mark.parametrize("data", (expecting(version="HTTP/1.0") + b"body", request(headers=[("Expect", "100-continue")]),
                                  request("POST", headers=[("Expect", "100-continue")], body=b"")),
                         ids=("http/1.0", "no body", "empty body"))
def test_no_continue_where_none_is_due(kind, data):
    """HTTP 1.1 Expect/Continue: "these behavior restrictions do not apply for HTTP 1.0 requests, or for requests that
    are not directed to an application object"; RFC 9110, 10.1.1: nor where there is no body; reading does not wait."""
    def app(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [*TEXT])
        return [b"got ", body]

    with serve(app, kind) as server, Client(server) as client:
        client.send(data)
        response = client.read()
        assert (response.status, response.body) == (200, b"got " + (b"body" if b"HTTP/1.0" in data else b""))


@gateways("HTTP/1.1")
def test_body_that_does_not_wait_for_the_continue(kind):
    """RFC 9110, 10.1.1: a client may send its body at once; then 100 is a matter of taste, and the body that body."""
    def app(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [*TEXT])
        return [b"got ", body]

    with serve(app, kind) as server, Client(server) as client:
        for number in range(3):
            client.send(expecting() + b"body")
            response = client.read()
            if response.status == 100:
                response = client.read()
            assert (response.status, response.body) == (200, b"got body")


@gateways("HTTP/1.1")
def test_no_continue_within_an_answer(kind):
    """HTTP 1.1 Expect/Continue; RFC 9110, 15.2: 100 comes before the final answer or not at all."""
    def app(environ, start_response):
        start_response("200 OK", [*TEXT])
        yield b"first "
        yield environ["wsgi.input"].read()

    with serve(app, kind) as server, Client(server) as client:
        client.send(expecting())
        head = read_until(client.sock, b"first ")
        assert head.startswith(b"HTTP/1.1 200 ") and head.count(b"HTTP/1.1") == 1
        client.sock.sendall(b"body")
        client.sock.shutdown(socket.SHUT_WR)
        rest = read_until_eof(client.sock)
        assert b"HTTP/1.1 100" not in rest and b"body" in rest


@gateways("HTTP/1.1")
def test_client_that_gives_up_after_the_continue(kind):
    """HTTP 1.1 Expect/Continue: reading raises, and the server goes on."""
    raised = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
            raise
        return [b"never"]

    with serve(app, kind) as server:
        with connect(server) as sock:
            sock.sendall(expecting())
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        wait_until(lambda: raised)
        server.set_app(answering(b"goes on"))
        assert fetch(server).body == b"goes on"
