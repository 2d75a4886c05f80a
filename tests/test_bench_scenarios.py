"""bench/: that every scenario can be played as its table says, and that checks see what is wrong with an answer.

No server of the benchmark runs here; checks talk to small ones that answer rightly or wrongly.
"""
import argparse
import re
import sys
import threading
from pathlib import Path

import pytest

from test_bench import bench_modules, environment, results, run  # noqa: F401 (fixtures)

# ---------------------------------------------------------------- scenarios and servers


def test_every_scenario_can_be_played():
    """Names in the tables mean something, so that no hour-long run finds out that one does not."""
    import special
    from apps import wsgi
    from checks import CHECKS
    from scenarios import SCENARIOS
    from servers import SERVERS

    for name, scenario in SCENARIOS.items():
        assert set(scenario.quick) <= set(scenario.servers), name
        assert scenario.special is None or callable(getattr(special, scenario.special)), name
        if scenario.load is None:
            continue
        app = scenario.app.split()[0]
        assert scenario.check in CHECKS, name
        for server in map(SERVERS.__getitem__, scenario.servers):
            assert server.always or app in server.apps, (name, server)
        if scenario.proof:
            served, check = scenario.proof
            assert check in CHECKS and any(served in SERVERS[server].apps for server in scenario.servers), name
    for app in (SERVERS["turbo-wsgi"].apps | SERVERS["bjoern"].apps) - {"flask", "django"}:
        assert callable(wsgi.application(app, "0.01")), app


def test_bars_against_the_best_peer_and_by_difference(run):
    import scenarios

    hello = run.scenarios["hello"]
    assert scenarios.of_best_peer("turbo")(hello, {}) == pytest.approx(2.4 / 5.5)
    assert scenarios.of_best_peer("turbo", "rate")(hello, {}) == pytest.approx(5.5 / 2.4)
    assert scenarios.of_best_peer("turbo")(run.scenarios["download"], {}) is None, "there is no peer"
    hello.servers["bjoern"].samples[:] = [type(hello.servers["bjoern"].samples[0])(5.0, rss_mib=10.0)]
    assert scenarios.more("turbo", "bjoern", "rss_mib")(hello, {}) == 10.5
    assert scenarios.more("turbo", "nobody", "rss_mib")(hello, {}) is None
    assert scenarios.more("nobody", "turbo", "rss_mib")(hello, {}) is None


def test_what_a_server_or_its_application_cannot_do_without(environment):
    from servers import why_not

    def reason(server, app, **missing):
        return why_not(server, app, environment.Environment(Path(sys.executable), missing))

    assert reason("turbo-gunicorn", "hello") is None
    assert reason("turbo-gunicorn", "hello", gunicorn="no gunicorn") == "no gunicorn"
    assert reason("turbo-gunicorn", "hello", turboserver="no compiler") == "no compiler"
    assert reason("bjoern", "flask", flask="no flask") == reason("stock-wsgi", "flask", flask="no flask") == "no flask"
    assert reason("bjoern", "django", flask="no flask") is None
    assert reason("limit", "hello", limit="no compiler") == "no compiler"
    assert reason("stock", "hello", limit="no compiler") is None


def test_a_reference_plays_where_its_server_does(environment, results):
    pytest.importorskip("rich", reason="rich shows the progress")
    from rich.console import Console
    from session import Session

    ready = environment.Environment(Path(sys.executable))
    session = Session(ready, results.Results("", {}, {}, [], 1, 1.0), Console(quiet=True), only_servers=["turbo-cli"])
    asked = [name for name in ("turbo", "turbo-hello", "turbo-wsgi-hello", "turbo-cli", "turbo-cli-hello") if
             session.asked_for(name)]
    assert asked == ["turbo-cli", "turbo-cli-hello"]


def test_nginx_is_told_the_file_and_the_log(tmp_path):
    from apps import nginx

    plain = nginx.write(tmp_path, 8000).read_text()
    assert 'return 200 "Hello, World!";' in plain and "access_log off;" in plain and "listen 127.0.0.1:8000 " in plain
    full = nginx.write(tmp_path, 8000, file="file.bin", log="access.log").read_text()
    assert "try_files /file.bin =404;" in full and f"access_log {tmp_path}/access.log combined;" in full
    assert "return 200" not in full and "sendfile on;" in full and f"root {tmp_path};" in full
    files = nginx.write(tmp_path, 8000, static=True, cached=True, secure=True).read_text()
    assert "location / {  }" in files and "open_file_cache max=" in files and "listen 127.0.0.1:8000 backlog=1024 ssl;" in files
    assert f"ssl_certificate {nginx.PEM};" in files and nginx.PEM.exists()
    assert "open_file_cache" not in plain and "ssl" not in plain


def test_a_server_that_shall_log_must(tmp_path, monkeypatch):
    """In its own file or, without one, on standard error; both are emptied between loads."""
    import checks
    import servers

    monkeypatch.setattr(checks, "SECONDS", 0.05)
    running = servers.Running.__new__(servers.Running)
    running.folder = argparse.Namespace(name=tmp_path)
    with open(tmp_path / "errors", "a+b", buffering=0) as running.errors:
        running.errors.write(b"one\ntwo\n")
        with pytest.raises(RuntimeError, match="2 lines in its log after 3 requests"):
            running.wait_until_logged()
        running.errors.write(b"three\n")
        running.wait_until_logged()
        (tmp_path / servers.LOG).touch()
        with pytest.raises(RuntimeError, match="0 lines"):
            running.wait_until_logged()
        (tmp_path / servers.LOG).write_text("1\n2\n3\n")
        running.wait_until_logged()
        running.forget()
    assert [(tmp_path / name).stat().st_size for name in ("errors", servers.LOG)] == [0, 0]


# ---------------------------------------------------------------- applications and checks


def asked(app, path="/", body=b"", length=None):
    """(status, body) of the application called `app`"""
    import io

    from apps import wsgi

    environ = {"PATH_INFO": path, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(length or len(body))}
    said = []
    answer = wsgi.application(app)(environ, lambda status, headers: said.append((status, dict(headers))))
    whole = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    ((status, headers),) = said
    assert int(headers["Content-Length"]) == len(whole)
    return status, whole


def test_applications_that_can_be_judged(tmp_path, monkeypatch):
    import checks
    from apps import wsgi

    assert asked("numbered", "/1-2-3") == ("200 OK", b"/1-2-3")
    assert asked("checksum", body=b"123456789") == ("200 OK", b"cbf43926")
    assert asked("upload", body=b"all of it") == ("200 OK", checks.BODY)
    assert asked("upload", body=b"some of it", length=100)[0] == "400 Bad Request"
    assert asked("logged") == asked("hello") == ("200 OK", checks.BODY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / wsgi.FILE).write_bytes(checks.FILE)
    assert asked("file") == ("200 OK", checks.FILE) and len(checks.FILE) == 2**20


@pytest.fixture
def playing():
    """A function that starts a server: `reply` makes of each request (head, body) the octets that are sent, until it
    returns None, which ends the connection. What is pipelined is answered in one piece. Gives the port."""
    import socketserver

    servers = []

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 32
        daemon_threads = True

        def handle_error(self, request, client_address):
            """Clients may leave when they have seen enough."""

    def play(reply):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while head := self.request_head():
                    length = re.search(rb"Content-Length: (\d+)", head)
                    answer = reply(head, self.rfile.read(int(length[1])) if length else b"")
                    if answer is None:
                        break
                    self.wfile.write(answer)

            def request_head(self):
                head = b""
                while (line := self.rfile.readline()) not in (b"", b"\r\n"):
                    head += line
                return head

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return server.server_address[1]

    yield play
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(body, status=200):
    return b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def the_path(head, body):
    return answer(head.split()[1])


def test_pipelined_answers_in_their_order_pass(playing):
    import checks

    checks.numbered(playing(the_path), True)


def late(head, body):
    """Those of requests 4 and 5 of a batch (the last number of the path) come in each other's place."""
    number = int(head.split()[1].rpartition(b"-")[2])
    return answer(head.split()[1].rpartition(b"-")[0] + b"-%d" % {4: 5, 5: 4}.get(number, number))


@pytest.mark.parametrize("reply,message", [
    (late, "2 of 16 pipelined answers are wrong or missing: answer 5: 200 b'/0-0-5'"),
    (lambda head, body: None if b"-9 " in head else the_path(head, body),
     "7 of 16 pipelined answers are wrong or missing: answer 10: the connection ended"),
    (lambda head, body: the_path(head, body) * (1 + (b"-15 " in head)),
     "1 of 16 pipelined answers are wrong or missing: octets after the last: b'HTTP"),
    (lambda head, body: answer(head.split()[1], 500 if b"-2 " in head else 200),
     "1 of 16 pipelined answers are wrong or missing: answer 3: 500 b'/0-0-2'"),
])
def test_wrong_pipelined_answers_are_counted(playing, reply, message):
    import checks

    with pytest.raises(RuntimeError) as raised:
        checks.numbered(playing(reply), True)
    assert str(raised.value).startswith(message)


def test_a_server_that_answers_the_first_of_a_batch_alone_is_told(playing, monkeypatch):
    import checks

    monkeypatch.setattr(checks, "SECONDS", 0.5)  # of a busy machine even the first may come too late
    with pytest.raises(RuntimeError, match="1[56] of 16 pipelined answers are wrong or missing: answer [12]: timed"):
        checks.numbered(playing(lambda head, body: the_path(head, body) if b"-0 " in head else b""), True)


def test_answers_that_are_not_closed_are_told(playing, monkeypatch):
    import checks
    from apps import wsgi

    monkeypatch.setattr(checks, "SECONDS", 0.2)
    with pytest.raises(RuntimeError, match=r"close\(\) was called for 0 of \d+ answers"):
        checks.closes(playing(lambda head, body: answer(b"%08d" % 0)), True)
    app = wsgi.application("closes")

    def closing(head, body):
        blocks = app({}, lambda status, headers: None)
        octets = b"".join(blocks)
        blocks.close()
        return answer(octets)

    checks.closes(playing(closing), True)


def test_by_tls_the_same_is_asked(playing):
    """A port that is said to be secure is spoken to by TLS, which one without it cannot answer."""
    import checks

    port = playing(lambda head, body: answer(checks.BODY))
    checks.get(port, True)
    with pytest.raises(OSError):
        checks.get(checks.SecurePort(port), True)


def test_bodies_are_judged_by_content(playing):
    import zlib

    import checks

    checks.file(playing(lambda head, body: answer(checks.FILE)), True)
    other = checks.FILE[:-9] + b"x" + checks.FILE[-8:]
    with pytest.raises(RuntimeError, match="wrong answer: 200, 1048576 octets"):
        checks.file(playing(lambda head, body: answer(other)), True)
    checks.checksum(playing(lambda head, body: answer(b"%08x" % zlib.crc32(body))), True)
    with pytest.raises(RuntimeError, match="wrong answer: 200, 8 octets"):
        checks.checksum(playing(lambda head, body: answer(b"%08x" % zlib.crc32(body[:-1]))), True)
