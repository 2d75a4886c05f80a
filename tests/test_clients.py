"""Real clients on turboserver: http.client, urllib, requests, curl, a browser; uploads; many threads at once.

Clients that may be missing on a machine are skipped with that reason.
"""
import concurrent.futures
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest

from support import DEADLINE, Client, connect, read_until_eof, respond, serving

SIZES = (0, 1, 1000, 65_535, 65_536, 200_000, 5_000_000)


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server(turbo, request):
    class Handler(turbo.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path == "/redirect":
                respond(self, b"", 302, [("Location", "/target")])
            elif self.path == "/chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for chunk in (b"one ", b"two ", b"three", b""):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            elif self.path == "/close":
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(b"until the end")
            elif self.path.startswith("/size/"):
                respond(self, b"x" * int(self.path[6:]))
            elif self.path == "/page":
                respond(self, b"<html><head><title>t</title><script>document.title='scripted'</script></head>"
                              b"<body>hello<img src=/size/10></body></html>", headers=[("Content-Type", "text/html")])
            else:
                respond(self, json.dumps({"path": self.path, "headers": self.headers.items()}).encode())

        do_HEAD = do_GET

        def do_POST(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = {"method": self.command, "length": len(body), "digest": hashlib.sha256(body).hexdigest()}
            respond(self, json.dumps(answer).encode())

        do_PUT = do_POST

    with serving(getattr(turbo.http_server, request.param)(("127.0.0.1", 0), Handler)) as server:
        server.url = "http://127.0.0.1:%d" % server.server_port
        yield server


def body_of(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def check_upload(answer, method, size):
    expected = hashlib.sha256(body_of(size)).hexdigest()
    assert answer == {"method": method, "length": size, "digest": expected}


class TestHttpClient:
    """http.client."""

    @pytest.fixture
    def connection(self, server):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=DEADLINE)
        yield connection
        connection.close()

    def ask(self, connection, method, path, **options):
        connection.request(method, path, **options)
        response = connection.getresponse()
        return response.status, response.read()

    def test_keep_alive(self, connection):
        connection.connect()
        sock = connection.sock
        for number in range(20):
            status, body = self.ask(connection, "GET", f"/{number}")
            assert status == 200 and json.loads(body)["path"] == f"/{number}"
            assert connection.sock is sock

    def test_chunked_and_close_delimited_answers(self, connection):
        assert self.ask(connection, "GET", "/chunked") == (200, b"one two three")
        assert self.ask(connection, "GET", "/close") == (200, b"until the end")
        assert self.ask(connection, "GET", "/size/5") == (200, b"xxxxx"), "on a new connection"

    def test_head(self, connection):
        assert self.ask(connection, "HEAD", "/x") == (200, b"")
        assert self.ask(connection, "GET", "/size/3") == (200, b"xxx")

    def test_sizes_of_answers(self, connection):
        for size in SIZES:
            assert self.ask(connection, "GET", f"/size/{size}") == (200, b"x" * size)

    @pytest.mark.parametrize("method", ("POST", "PUT"))
    def test_uploads(self, connection, method):
        for size in SIZES:
            status, body = self.ask(connection, method, "/", body=body_of(size))
            check_upload(json.loads(body), method, size)

    @pytest.mark.parametrize("size", SIZES)
    def test_chunked_uploads(self, connection, size):
        body = body_of(size)
        pieces = [body[start:start + 10_000] for start in range(0, size, 10_000)]
        status, answer = self.ask(connection, "POST", "/", body=iter(pieces), encode_chunked=True,
                                  headers={"Transfer-Encoding": "chunked"})
        check_upload(json.loads(answer), "POST", size)
        assert self.ask(connection, "GET", "/size/1") == (200, b"x")

    def test_unsupported_method(self, connection):
        assert self.ask(connection, "DELETE", "/")[0] == 501
        assert self.ask(connection, "GET", "/size/1") == (200, b"x")

    def test_many_threads(self, turbo, server):
        def work(number):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=DEADLINE)
            try:
                for turn in range(30):
                    size = (number * 31 + turn) * 37 % 3000
                    assert self.ask(connection, "GET", f"/size/{size}") == (200, b"x" * size)
                    check_upload(json.loads(self.ask(connection, "POST", "/", body=body_of(size))[1]), "POST", size)
            finally:
                connection.close()
            return True

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(16)))


class TestUrllib:
    """urllib.request."""

    def test_get_and_redirect(self, server):
        with urllib.request.urlopen(server.url + "/redirect", timeout=DEADLINE) as response:
            assert response.geturl() == server.url + "/target"
            assert json.loads(response.read())["path"] == "/target"

    def test_post(self, server):
        with urllib.request.urlopen(server.url, data=body_of(70_000), timeout=DEADLINE) as response:
            check_upload(json.loads(response.read()), "POST", 70_000)

    def test_error(self, server):
        request = urllib.request.Request(server.url, method="DELETE")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=DEADLINE)
        with caught.value as error:
            assert error.code == 501 and b"Unsupported method" in error.read()


class TestRequests:
    """requests."""

    @pytest.fixture
    def session(self):
        requests = pytest.importorskip("requests", reason="requests is not installed")
        with requests.Session() as session:
            session.trust_env = False
            yield session

    def test_session(self, server, session):
        for number in range(10):
            assert session.get(f"{server.url}/{number}", timeout=DEADLINE).json()["path"] == f"/{number}"

    def test_uploads(self, server, session):
        for size in SIZES:
            for method in ("POST", "PUT"):
                answer = session.request(method, server.url, data=body_of(size), timeout=DEADLINE,
                                         headers=None if size else {"Content-Length": "0"})
                check_upload(answer.json(), method, size)

    def test_chunked_upload(self, server, session):
        answer = session.post(server.url, data=iter([b"a", b"b" * 100_000, b"c"]), timeout=DEADLINE).json()
        assert answer["length"] == 100_002

    def test_streamed_answer(self, server, session):
        with session.get(server.url + "/chunked", stream=True, timeout=DEADLINE) as answer:
            assert b"".join(answer.iter_content(3)) == b"one two three"


class TestCurl:
    """curl."""

    @pytest.fixture
    def curl(self, server):
        if not shutil.which("curl"):
            pytest.skip("curl is not on PATH")

        def curl(*arguments, data=None):
            result = subprocess.run(["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60",
                                     *arguments],
                                    input=data, capture_output=True)
            assert result.returncode == 0, result.stderr
            return result.stdout

        return curl

    def test_several_on_one_connection(self, server, curl):
        out = curl("--write-out", "%{num_connects} ", server.url + "/size/1", server.url + "/size/2",
                   server.url + "/size/3", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null")
        assert out.split() == [b"1", b"0", b"0"]

    def test_upload_with_expect(self, server, curl):
        answer = curl("--data-binary", "@-", "--header", "Expect: 100-continue", server.url, data=body_of(2_000_000))
        check_upload(json.loads(answer), "POST", 2_000_000)

    def test_chunked_upload(self, server, curl):
        answer = curl("--upload-file", "-", "--header", "Transfer-Encoding: chunked", server.url + "/",
                      data=body_of(300_000))
        check_upload(json.loads(answer), "PUT", 300_000)

    def test_head_and_http_1_0(self, server, curl):
        assert curl("--head", server.url).startswith(b"HTTP/1.1 200 OK\r\n")
        assert curl("--http1.0", server.url + "/size/4") == b"xxxx"

    def test_http_0_9_answer_is_not_needed(self, server, curl):
        assert curl("--include", server.url + "/close").endswith(b"\r\n\r\nuntil the end")


class TestRawUploads:
    """Chunked uploads as raw bytes, cut in odd places."""

    DATA = (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n")

    @pytest.mark.parametrize("step", (1, 2, 7, 1000))
    def test_cut(self, server, step):
        with Client(server) as client:
            for unused in range(2):
                for start in range(0, len(self.DATA), step):
                    client.send(self.DATA[start:start + step])
                answer = json.loads(client.read().body)
                assert answer["digest"] == hashlib.sha256(b"hello world").hexdigest()


def test_browser(server):
    """A page with a script and an image in a headless browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium on PATH")
    result = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--dump-dom",
                             server.url + "/page"], capture_output=True, timeout=60,
                            env={**os.environ, "no_proxy": "*"})
    assert b"<title>scripted</title>" in result.stdout and b"hello" in result.stdout


def test_a_thousand_connections_in_a_row(server):
    for unused in range(1000):
        with connect(server) as sock:
            sock.sendall(b"GET /size/10 HTTP/1.0\r\n\r\n")
            assert read_until_eof(sock).endswith(b"\r\n\r\nxxxxxxxxxx")
