"""turboserver.gunicorn.Worker under a real gunicorn: what its settings promise, and what a client loses when a worker
ends, is replaced or is killed: nothing but what that worker had in hand.
"""
import collections
import contextlib
import os
import signal
import socket
import sys
import time
import types

import pytest

from gunicorn_process import GET, HERE, Gunicorn, Loop, Waiting, listening
from support import DEADLINE, Client, connect, fetch, read_until_eof, wait_until

config = pytest.importorskip("gunicorn.config", reason="gunicorn is not installed")
from turboserver.gunicorn import requests, settings    # noqa: E402


@pytest.fixture
def start(tmp_path):
    """start(**settings): a running Gunicorn, ended with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **values: stack.enter_context(Gunicorn(tmp_path, *arguments, **values))


# ---------------------------------------------------------------- settings

def test_every_setting_is_decided():
    names = [setting.name for setting in config.KNOWN_SETTINGS]
    assert [name for name in names if settings.group_of(name) is None] == []
    groups = [settings.HONOURED, settings.GUNICORNS, settings.MEANINGLESS, settings.REFUSED]
    counted = collections.Counter(name for group in groups for name in group)
    assert [name for name, count in counted.items() if count > 1] == []


def test_the_defaults_can_be_served():
    assert settings.check(config.Config()) == []


@pytest.mark.parametrize("name, value", [
    ("proxy_protocol", True), ("permit_obsolete_folding", True), ("strip_header_spaces", True),
    ("permit_unconventional_http_version", True), ("casefold_http_method", True), ("header_map", "refuse"),
    ("protocol", "uwsgi"), ("http_protocols", "h2,h1"), ("forwarder_headers", "X_USER")])
def test_what_cannot_be_done_is_refused(name, value):
    cfg = config.Config()
    if name not in cfg.settings:
        pytest.skip(f"this gunicorn has no {name}")
    cfg.set(name, value)
    with pytest.raises(settings.Unservable, match=name):
        settings.check(cfg)


def test_refusal_is_one_line_when_gunicorn_starts(start):
    server = start(casefold_http_method=True)
    assert server.process.wait(DEADLINE) == 1
    assert "Error: casefold_http_method = True cannot be honoured" in server.log()
    assert "Traceback" not in server.log()


# ---------------------------------------------------------------- serving

def test_hello_and_environ(start):
    server = start(raw_env=["FLAVOUR=vanilla"])
    assert fetch(server.address).body == b"hello"
    seen = dict(line.partition("=")[::2] for line in fetch(server.address, "/environ?a=b").body.decode().splitlines())
    assert seen["QUERY_STRING"] == "a=b" and seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["SERVER_NAME"] == "127.0.0.1" and seen["SERVER_PORT"] == str(server.address[1])
    assert seen["wsgi.url_scheme"] == "http" and seen["SCRIPT_NAME"] == ""
    assert seen["SERVER_SOFTWARE"].startswith("gunicorn/")
    assert seen["wsgi.multithread"] == "True" and seen["wsgi.multiprocess"] == "False"


def test_a_blocking_application_needs_no_number_of_threads(start):
    server = start()
    socks = [connect(server.address) for unused in range(16)]
    for sock in socks:
        sock.sendall(GET % b"meeting")
    for sock in socks:
        assert b" 200 " in Client(None, sock=sock).read().raw
        sock.close()


def test_threads_bounds_them(start):
    server = start(threads=3)
    socks = [connect(server.address) for unused in range(12)]
    for sock in socks:
        sock.sendall(GET % b"count")
    most = [int(Client(None, sock=sock).read().body) for sock in socks]
    for sock in socks:
        sock.close()
    assert 1 < max(most) <= 3


def test_several_listeners(start):
    with listening() as second:
        server = start(more=[second])
        assert fetch(server.address).body == fetch(second.getsockname()).body == b"hello"


def test_unix_socket(start, tmp_path):
    path = str(tmp_path / "s")
    server = start(sock=listening(socket.AF_UNIX, path), secure_scheme_headers={"X-FORWARDED-PROTO": "https"})
    answer = fetch(path, "/environ", headers=[("X-Forwarded-Proto", "https")]).body.decode().splitlines()
    assert "wsgi.url_scheme=https" in answer      # who can open the socket is trusted
    assert "SERVER_NAME=test" in answer and "SERVER_PORT=443" in answer and "REMOTE_ADDR=" in answer
    assert server.process.poll() is None


# LISTEN_PID is the process that gunicorn becomes; its sockets begin with 3.
SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_of_systemd(tmp_path):
    with listening() as sock:
        prefix = (sys.executable, "-c", SYSTEMD, str(sock.fileno()))
        with Gunicorn(tmp_path, sock=sock, bind="127.0.0.1:1", prefix=prefix) as server:
            assert fetch(server.address).body == b"hello"


def test_tls(start, tls, tmp_path):
    pem, access = str(HERE / "data" / "localhost.pem"), tmp_path / "access"
    server = start(certfile=pem, keyfile=pem, accesslog=str(access), access_log_format="%(r)s %(s)s")
    for path in "/environ?a=b", "/error":
        sock = tls[1].wrap_socket(connect(server.address), server_hostname="localhost")
        with Client(None, sock=sock) as client:
            answer = client.request(path=path, headers=[("X_OTHER", "1")])
            if path == "/error":
                assert answer.status == 500
            else:
                seen = answer.body.splitlines()
                assert b"wsgi.url_scheme=https" in seen and b"RAW_URI=/environ?a=b" in seen
                assert b"HTTP_X_OTHER=1" not in seen and not any(line.startswith(b"PATH=") for line in seen)
    server.await_log("Error handling request /error")
    wait_until(lambda: access.read_text().count("\n") == 2, "two lines")
    assert access.read_text() == "GET /environ?a=b HTTP/1.1 200\nGET /error HTTP/1.1 500\n"


def test_tls_over_a_unix_socket(start, tls, tmp_path):
    pem, path = str(HERE / "data" / "localhost.pem"), str(tmp_path / "s")
    start(sock=listening(socket.AF_UNIX, path), certfile=pem, keyfile=pem)
    with Client(None, sock=tls[1].wrap_socket(connect(path), server_hostname="localhost")) as client:
        assert b"REMOTE_ADDR=" in client.request(path="/environ").body.splitlines()


@pytest.mark.parametrize("keepalive, kept", [(60, True), (0, False)])
def test_keepalive(start, keepalive, kept):
    server = start(keepalive=keepalive)
    with Client(server.address) as client:
        answer = client.request()
        assert (answer.get("Connection") == "close") is not kept
        if kept:
            assert client.request().status == 200
        else:
            assert client.at_eof()


def test_idle_connections_end_after_keepalive(start):
    server = start(keepalive=1)
    with Client(server.address) as client:
        assert client.request().status == 200
        assert client.at_eof()


def test_environ_and_answer_are_those_of_gunicorn(start):
    """What goes beyond PEP 3333, or is laxer."""
    server = start()
    with Client(server.address) as client:
        port = client.sock.getsockname()[1]
        seen = client.request(path="//environ?a=%62").body.splitlines()
        assert b"RAW_URI=//environ?a=%62" in seen and b"REMOTE_PORT=%d" % port in seen
        answer = client.request(path="/hop")
        assert answer.status == 200 and answer.get("Connection") is None and answer.get("X-Kept") == "yes"


def test_preloaded_application(start):
    server = start(preload_app=True, workers=2)
    assert b"wsgi.multiprocess=True" in fetch(server.address, "/environ").body.splitlines()


@pytest.mark.parametrize("allowed, names, root", [
    ("127.0.0.1", "SCRIPT_NAME,PATH_INFO", "/prefix"), ("127.0.0.1", "PATH_INFO", ""),
    ("10.0.0.1", "SCRIPT_NAME,PATH_INFO", ""), ("", "SCRIPT_NAME,PATH_INFO", "")])
def test_root_that_a_proxy_tells(start, allowed, names, root):
    server = start(forwarded_allow_ips=allowed, forwarder_headers=names)
    # With a hyphen it is anybody's.
    headers = [("Script-Name", "/pre"), ("SCRIPT_NAME", "/prefix"), ("X_OTHER", "1")]
    answer = fetch(server.address, "/prefix/environ", headers=headers)
    assert answer.status == (200 if root else 404)
    if root:
        seen = answer.body.splitlines()
        assert b"SCRIPT_NAME=/prefix" in seen and b"PATH_INFO=/environ" in seen and b"HTTP_X_OTHER=1" not in seen


def test_root_of_the_application(start):
    server = start(raw_env=["SCRIPT_NAME=/prefix"])
    answer = fetch(server.address, "/prefix/environ").body.splitlines()
    assert b"SCRIPT_NAME=/prefix" in answer and b"PATH_INFO=/environ" in answer
    assert fetch(server.address, "/environ").status == 500


# ---------------------------------------------------------------- limits

def test_limits(start):
    server = start(limit_request_line=100, limit_request_field_size=100, limit_request_fields=100)
    line, field = b"GET /hello?%s HTTP/1.1\r\n", b"X: %s\r\n"
    for text, expected in ((line % (b"x" * 80), 200), (line % (b"x" * 81), 414),
                           (line % b"" + field % (b"v" * 95), 200), (line % b"" + field % (b"v" * 96), 431),
                           (line % b"" + field % b"v" * 99, 200), (line % b"" + field % b"v" * 100, 431)):
        with connect(server.address) as sock:
            sock.sendall(text + b"Host: test\r\n\r\n")
            assert Client(None, sock=sock).read().status == expected, text
    wait_until(lambda: server.log().count("Invalid request from ip=127.0.0.1") == 3, "three lines in the log")


def test_many_fields_where_they_are_allowed(start):
    server = start(limit_request_fields=300)
    assert fetch(server.address, headers=[(f"X-{i}", "v") for i in range(299)]).status == 200


# ---------------------------------------------------------------- proxies

@pytest.mark.parametrize("allowed, sent, scheme", [
    ("127.0.0.1", {"X-Forwarded-Proto": "https"}, "https"), ("127.0.0.1", {"X-Forwarded-Proto": "http"}, "http"),
    ("127.0.0.1", {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on"}, "https"),
    ("10.0.0.1", {"X-Forwarded-Proto": "https"}, "http"), ("", {"X-Forwarded-Proto": "https"}, "http"),
    ("*", {"X-Forwarded-Ssl": "on"}, "https"), ("*", {"X-Forwarded-Proto": "https,https"}, "https"),
    ("*", {"X-Forwarded-Proto": "https, http"}, "http"), ("*", {}, "http"),
    ("*", {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}, None)])
def test_scheme(allowed, sent, scheme):
    cfg = config.Config()
    cfg.set("forwarded_allow_ips", allowed)
    environ = {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http",
               **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in sent.items()}}
    refusal = requests.forwarded_step(cfg)(environ)
    if scheme is None:
        assert refusal == "400 Bad Request"
    else:
        assert refusal is None and environ["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("allowed, address, trusted", [
    ("10.0.0.0/8", "10.1.2.3", True), ("10.0.0.0/8", "11.1.2.3", False), ("::1", "::1", True),
    ("10.0.0.0/8", "::1", False), ("10.0.0.0/8", "", True), ("10.0.0.0/8", "no address", False)])
def test_trust(allowed, address, trusted):
    trusts = requests.trust(allowed.split(","))
    assert trusts(address) is trusted and trusts(address) is trusted     # and once more, remembered


def test_forwarded_scheme(start):
    server = start(forwarded_allow_ips="127.0.0.1")
    headers = [("X-Forwarded-Proto", "https")]
    assert b"wsgi.url_scheme=https" in fetch(server.address, "/environ", headers=headers).body
    # A name that could pass for it.
    headers = [("X_Forwarded_Proto", "https")]
    assert b"wsgi.url_scheme=http\n" in fetch(server.address, "/environ", headers=headers).body + b"\n"


# ---------------------------------------------------------------- ends

def test_sigterm_answers_what_is_in_hand(start):
    server = start(loglevel="debug")
    with Client(server.address) as idle:
        assert idle.request().status == 200
        waiting = Waiting(server)
        server.process.send_signal(signal.SIGTERM)
        server.await_log("Draining: 2 connections")
        answer = waiting.go()
        assert b" 200 " in answer.splitlines()[0] and answer.endswith(str(server.pids()[0]).encode())
        assert b"Connection: close" in answer.splitlines()
        assert idle.at_eof()
    assert server.process.wait(DEADLINE) == 0


def test_sigterm_does_not_wait_for_ever(start):
    server = start(graceful_timeout=1)
    waiting = Waiting(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(DEADLINE) == 0
    assert read_until_eof(waiting.sock) == b""
    waiting.sock.close()


@pytest.mark.parametrize("name", ("SIGQUIT", "SIGINT"))
def test_quick_end(start, name):
    server = start("def worker_int(worker): worker.log.info('hook: worker_int')\n"
                   "def worker_exit(server, worker): worker.log.info('hook: worker_exit')")
    waiting = Waiting(server)
    server.process.send_signal(getattr(signal, name))
    assert server.process.wait(DEADLINE) == 0
    assert read_until_eof(waiting.sock) == b""
    waiting.sock.close()
    assert "hook: worker_int" in server.log() and "hook: worker_exit" in server.log()


@pytest.mark.parametrize("workers", (1, 2))
def test_sighup_loses_no_request(start, workers):
    server = start(workers=workers)
    server.await_worker()
    wait_until(lambda: len(server.pids()) == workers, "the workers")
    old = server.pids()
    with Loop(server) as loop:
        wait_until(lambda: set(loop.pids) & set(old), "answers of the old workers")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.ended() >= set(old), "the end of the old workers")
        count = len(loop.pids)
        wait_until(lambda: len(loop.pids) > count + 50, "more answers")
    assert loop.lost == []
    # Each client may have had the last answer of an old worker in its hands.
    assert set(loop.pids[count + len(loop.threads):]) & set(old) == set()
    wait_until(lambda: len(server.pids()) == 2 * workers, "a line about each worker")


@pytest.mark.parametrize("workers", (1, 2))
def test_max_requests_loses_no_request(start, workers):
    server = start(workers=workers, max_requests=20, max_requests_jitter=5)
    with Loop(server) as loop:
        wait_until(lambda: len(server.pids()) >= 3 + workers and len(loop.pids) > 100, "more workers")
    assert loop.lost == []
    assert "Autorestarting worker" in server.log()


@pytest.mark.parametrize("workers", (1, 2))
def test_a_socket_that_is_shared_stays_as_it_is(start, workers):
    """The flag O_NONBLOCK belongs to all who have the socket: were it cleared by a worker that ends, another one would
    wait in accept() for ever."""
    server = start(workers=workers)
    pid = server.await_worker()
    assert not os.get_blocking(server.sock.fileno())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: pid in server.ended(), "its end")
    server.await_worker(old={pid})
    assert not os.get_blocking(server.sock.fileno())


def test_a_worker_that_is_killed_loses_what_it_had_in_hand(start):
    server = start(workers=2)
    wait_until(lambda: server.await_worker() and len(server.pids()) == 2, "both workers")
    waiting = [Waiting(server, f"gate{number}") for number in range(6)]
    victim = server.await_worker()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(server.pids()) == 3, "its successor")
    assert victim not in {server.await_worker() for unused in range(20)}
    for answer in [each.go() for each in waiting]:
        assert answer == b"" or b" 200 " in answer.splitlines()[0] and not answer.endswith(str(victim).encode())


def test_a_worker_that_hangs_is_killed(start):
    server = start(timeout=2)
    pid = server.await_worker()
    with connect(server.address) as sock:
        sock.sendall(GET % b"hang")
        server.await_log("WORKER TIMEOUT")
        assert read_until_eof(sock) == b""
    assert server.await_worker(old={pid}) != pid


def test_a_handler_that_is_slow_is_not(start):
    server = start(timeout=1)
    pid = server.await_worker()
    assert fetch(server.address, "/slow?3").body == b"slow"
    assert server.await_worker() == pid and "WORKER TIMEOUT" not in server.log()


def test_a_worker_whose_engine_fails_says_so_and_ends(start):
    server = start(raw_env=["TURBOSERVER_POLLER=broken on purpose"])
    server.await_log("'broken on purpose' is not a poller")
    wait_until(lambda: len(server.pids()) >= 2 and server.ended(), "its successor")


def test_a_certificate_that_is_none_is_said(start, tmp_path):
    (tmp_path / "none.pem").write_text("on purpose")
    server = start(certfile=str(tmp_path / "none.pem"))
    assert server.process.wait(DEADLINE) == 3
    assert "Worker failed to boot" in server.log()
    server._log.write_text("")


def test_reload(start, tmp_path):
    extra = tmp_path / "extra.txt"
    extra.write_text("1")
    server = start(reload=True, reload_engine="poll", reload_extra_files=[str(extra)])
    pid = server.await_worker()

    def changed():
        extra.write_text("2")
        os.utime(extra, (time.time(), time.time() + 10))
        return "modified" in server.log()

    wait_until(changed, "the reloader")
    assert server.await_worker(old={pid}) != pid


# ---------------------------------------------------------------- logs and hooks

def test_access_log(start, tmp_path):
    path = tmp_path / "access"
    server = start(accesslog=str(path), access_log_format='%(h)s "%(r)s" %(s)s %(b)s %(m)s %(U)s %(q)s %(T)s '
                   '%({x-asks}i)s %({x-kind}o)s %({wsgi.url_scheme}e)s "%(a)s"')
    fetch(server.address, "/hello?a=b", headers=[("X-Asks", "me"), ("User-Agent", "test/1")])
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), "the line")
    assert path.read_text() == '127.0.0.1 "GET /hello?a=b HTTP/1.1" 200 5 GET /hello a=b 0 me test http "test/1"\n'
    # SIGUSR1: the file was renamed, and is written anew.
    path.rename(tmp_path / "access.1")
    server.process.send_signal(signal.SIGUSR1)

    wait_until(lambda: fetch(server.address) and path.exists() and path.read_text(), "a line in the new file")


def test_without_an_access_log_nothing_is_logged(start):
    server = start()
    fetch(server.address, "/hello?nobody-wants-to-know")
    assert "nobody-wants-to-know" not in server.log()


def test_statsd(start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(DEADLINE)
        server = start(statsd_host="127.0.0.1:%d" % collector.getsockname()[1], statsd_prefix="site")
        fetch(server.address)
        seen = set()
        while not seen >= {"site.gunicorn.requests:1|c|@1.0", "site.gunicorn.request.status.200:1|c|@1.0"}:
            seen.add(collector.recv(1000).decode())
        assert any(text.startswith("site.gunicorn.request.duration:") for text in seen)


HOOKS = """
def pre_request(worker, req):
    req.mark = "kept"
    worker.log.info("pre %s %s %s", req.method, req.path, dict(req.headers)["X-ASKS"])

def post_request(worker, req, environ, resp):
    worker.log.info("post %s %s %s %s %s", req.mark, req.uri, resp.status, resp.sent, dict(resp.headers)["X-Kind"])

def post_worker_init(worker):
    worker.log.info("post_worker_init")
"""


def test_hooks(start):
    server = start(HOOKS)
    fetch(server.address, "/hello?q", headers=[("X-Asks", "me")])
    server.await_log("pre GET /hello me")
    server.await_log("post kept /hello?q 200 OK 5 test")
    assert "post_worker_init" in server.log()


def test_errors_go_into_the_error_log(start, tmp_path):
    path = tmp_path / "errors"
    server = start(errorlog=str(path))
    wait_until(lambda: path.exists() and "Booting" in path.read_text(), "gunicorn")
    assert fetch(server.address, "/error").status == 500
    assert fetch(server.address, "/errors").body == b"said"
    text = path.read_text()
    assert "Error handling request /error" in text and "ZeroDivisionError: on purpose" in text
    assert "said by the application" in text
    assert "on purpose" not in server.log()      # once, and there
    server._log.write_text("on purpose")


def test_request_and_response_objects():
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a b\xc3\xa9", "QUERY_STRING": "x=1",
               "SERVER_PROTOCOL": "HTTP/1.0", "REMOTE_ADDR": "::1", "REMOTE_PORT": "5", "HTTP_X_ASKS": "me",
               "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "", "wsgi.url_scheme": "https"}
    request = requests.Request(environ)
    assert (request.method, request.uri, request.path, request.query) == ("GET", "/a%20b%C3%A9?x=1", "/a%20b%C3%A9", "x=1")
    assert request.version == (1, 0) and request.scheme == "https" and request.peer_addr == ("::1", "5")
    assert request.headers == [("X-ASKS", "me"), ("CONTENT-TYPE", "text/plain")]
    response = requests.Response("404 Not Found", 3, [("A", "b")])
    assert (response.status_code, response.sent, response.headers) == (404, 3, [("A", "b")])


@pytest.mark.parametrize("values, wanted", [
    ({}, False), ({"accesslog": "-"}, True), ({"syslog": True}, True),
    ({"syslog": True, "disable_redirect_access_to_syslog": True}, False), ({"logconfig_dict": {"version": 1}}, True)])
def test_who_wants_the_access_log(values, wanted):
    cfg = config.Config()
    for name, value in values.items():
        cfg.set(name, value)
    from gunicorn.glogging import Logger
    log = Logger.__new__(Logger)
    assert requests.wants_access(cfg, log) is wanted
    worker = types.SimpleNamespace(cfg=cfg, log=log)
    assert (requests.access_log(worker) is not None) is wanted
