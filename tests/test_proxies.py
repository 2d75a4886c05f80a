"""An application on the WSGI server behind Apache httpd and behind nginx: scheme, host, address and path, bodies.

The proxies' configuration is in frameworks/proxies.py. Each is skipped where it is not installed.
"""
import hashlib
import importlib
import json
import os
import socket
import ssl
import sys
import tempfile

import pytest

from support import DEADLINE, Client, serving

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "frameworks"))
import proxies  # noqa: E402

LARGE = bytes(range(251)) * (1 << 20 >> 8) + b"rest"
TOLD = ("wsgi.url_scheme", "HTTP_HOST", "REMOTE_ADDR", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
        "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PREFIX")
BINARY = [("Content-Type", "application/octet-stream")]


def application(environ, start_response):
    """/file and /stream: LARGE; POST: what came; anything else: what environ tells."""
    path, body = environ["PATH_INFO"], b""
    if environ["REQUEST_METHOD"] == "POST":
        digest, size = hashlib.sha256(), 0
        while piece := environ["wsgi.input"].read(10_000):
            digest.update(piece)
            size += len(piece)
        body = json.dumps({"size": size, "digest": digest.hexdigest()}).encode()
    elif path == "/file":
        file = tempfile.TemporaryFile()
        file.write(LARGE)
        file.seek(0)
        start_response("200 OK", [*BINARY, ("Content-Length", str(len(LARGE)))])
        return environ["wsgi.file_wrapper"](file)
    elif path == "/stream":
        start_response("200 OK", list(BINARY))
        return (LARGE[at:at + 9999] for at in range(0, len(LARGE), 9999))
    else:
        body = json.dumps({name: environ.get(name) for name in TOLD}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture(scope="module", params=("apache", "nginx"))
def behind(request, tmp_path_factory):
    """(the proxy, the relay between it and our server)."""
    lacking = proxies.missing(request.param)
    if lacking:
        pytest.skip(lacking)
    simple_server = importlib.import_module("turboserver.wsgiref.simple_server")

    class Quiet(simple_server.WSGIRequestHandler):
        def log_message(self, *arguments):
            """The log is nothing that is looked at."""

    def switching(environ, start_response):
        return served[0](environ, start_response)

    served = [application]
    server = simple_server.make_server("127.0.0.1", 0, switching, simple_server.ThreadingWSGIServer, Quiet)
    # Apache runs as another user, and must get into the folder.
    folder = tmp_path_factory.mktemp("proxy")
    with serving(server), proxies.Relay(server.server_address) as relay, \
            proxies.running(request.param, str(folder), relay.port) as proxy:
        proxy.served = served
        yield proxy, relay


@pytest.fixture
def trusting(behind, request):
    """Behind a proxy whose X-Forwarded fields are believed, if it is at 127.0.0.1."""
    forwarded = pytest.importorskip("turboserver.deploy.forwarded", reason="turboserver.deploy is not here yet")
    proxy, _ = behind
    proxy.served[0] = forwarded.Forwarded(application, forwarded.Trust("127.0.0.1"))
    yield proxy
    proxy.served[0] = application


def client_of(address, source="127.0.0.1", tls=False):
    sock = socket.create_connection(address, DEADLINE, (source, 0))
    if tls:
        context = ssl.create_default_context(cafile=proxies.CERTIFICATE)
        sock = context.wrap_socket(sock, server_hostname="localhost")
    return Client(address, sock=sock)


def ask(client, path, method="GET", headers=(), body=None):
    """The answer to a request whose Host is site.example:8080; body: bytes, sent with its length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: site.example:8080"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    client.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
    return client.read(method)


def told(response):
    assert response.status == 200, response
    return json.loads(response.body)


def test_what_the_server_sees_itself(behind):
    """Without trust: the proxy's address, plain HTTP, the host that was asked for, and the proxy's fields."""
    proxy, _ = behind
    with client_of(proxy.address, source="127.0.0.2") as client:
        seen = told(ask(client, "/a%20b/%E2%98%83?x=%20y"))
    assert seen["wsgi.url_scheme"] == "http" and seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["HTTP_HOST"] == "site.example:8080" and seen["SCRIPT_NAME"] == ""
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/a b/☃" and seen["QUERY_STRING"] == "x=%20y"
    assert seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.2" and seen["HTTP_X_FORWARDED_HOST"] == "site.example:8080"
    assert seen["HTTP_X_FORWARDED_PROTO"] == "http" and seen["HTTP_X_FORWARDED_PREFIX"] is None


@pytest.mark.parametrize("tls", (False, True), ids=("clear", "TLS"))
@pytest.mark.parametrize("lies", ((), (("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "gopher"),
                                       ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Prefix", "/evil"),
                                       ("X_Forwarded_For", "203.0.113.10"))), ids=("honest", "lying"))
def test_what_the_client_asked_for(trusting, tls, lies):
    """Scheme, host, address and path are those of the client's request, whatever the client says of itself."""
    address = trusting.tls_address if tls else trusting.address
    with client_of(address, "127.0.0.2", tls) as client:
        plain = told(ask(client, "/some/path?x=1", headers=lies))
        mounted = told(ask(client, "/mounted/some/path?x=1", headers=lies))
    for seen in (plain, mounted):
        assert seen["wsgi.url_scheme"] == ("https" if tls else "http")
        assert seen["HTTP_HOST"] == "site.example:8080" and seen["REMOTE_ADDR"] == "127.0.0.2"
        assert seen["PATH_INFO"] == "/some/path" and seen["QUERY_STRING"] == "x=1"
    assert plain["SCRIPT_NAME"] == "" and mounted["SCRIPT_NAME"] == "/mounted"


def test_a_client_without_a_proxy_is_not_believed(trusting, behind):
    """Trust is in an address: who comes from another one tells nothing."""
    forwarded = importlib.import_module("turboserver.deploy.forwarded")
    trusting.served[0] = forwarded.Forwarded(application, forwarded.Trust("127.0.0.9"))
    with client_of(trusting.address, "127.0.0.2") as client:
        seen = told(ask(client, "/x"))
    assert seen["REMOTE_ADDR"] == "127.0.0.1" and seen["HTTP_X_FORWARDED_FOR"] is None


def digest(data):
    return {"size": len(data), "digest": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", (0, 1, 5000, len(LARGE)))
@pytest.mark.parametrize("path", ("/post", "/unbuffered/post"))
def test_uploads(behind, path, size):
    proxy, _ = behind
    with client_of(proxy.address) as client:
        assert told(ask(client, path, "POST", BINARY, LARGE[:size])) == digest(LARGE[:size])
        assert told(ask(client, "/again"))["PATH_INFO"] == "/again"


@pytest.mark.parametrize("path", ("/post", "/unbuffered/post"))
def test_chunked_uploads(behind, path):
    """The proxy gives the chunks on, or gathers them and tells a length: the application reads the same."""
    proxy, relay = behind
    before = len(relay.received)
    with client_of(proxy.address) as client:
        client.send(f"POST {path} HTTP/1.1\r\nHost: site.example:8080\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(LARGE), 50_000):
            piece = LARGE[at:at + 50_000]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert told(client.read("POST")) == digest(LARGE)
    if path.startswith("/unbuffered"):
        assert b"transfer-encoding: chunked" in bytes(relay.received[before:before + 2000]).lower()


@pytest.mark.parametrize("path", ("/file", "/stream", "/unbuffered/file", "/unbuffered/stream"))
def test_downloads(behind, path):
    proxy, _ = behind
    with client_of(proxy.address) as client:
        answer = ask(client, path)
        assert answer.status == 200 and answer.body == LARGE
        assert ask(client, path, "HEAD").body == b""
        assert told(ask(client, "/again"))["PATH_INFO"] == "/again"


def test_connections_are_kept(behind):
    """One after the other, requests go over one connection to the server behind the proxy."""
    proxy, relay = behind
    with client_of(proxy.address) as client:
        version = _version_behind(relay, client)
        if version == b"HTTP/1.0":
            pytest.skip("the slower lane ends each connection with its answer")
        before = relay.connections
        for number in range(20):
            assert told(ask(client, f"/{number}"))["PATH_INFO"] == f"/{number}"
    # nginx has one worker here; Apache keeps a connection for each of its threads, of which one serves a client.
    assert relay.connections - before <= 1


def _version_behind(relay, client):
    """The HTTP version in which the server answers the relay."""
    relay.answered.clear()
    ask(client, "/version")
    return bytes(relay.answered[:8])


def test_a_server_that_is_gone_is_told_by_the_proxy(tmp_path, request):
    """502 or 503, not a hang: what a restart looks like from outside."""
    for name in ("apache", "nginx"):
        if proxies.missing(name):
            continue
        with socket.socket() as taken:      # bound and not listening: nobody else gets the port
            taken.bind(("127.0.0.1", 0))
            with proxies.running(name, str(tmp_path), taken.getsockname()[1]) as proxy, \
                    client_of(proxy.address) as client:
                assert ask(client, "/").status in (502, 503)
