"""`turboserver wsgi` in one process: what is asked for, where it serves, and how it ends."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

import turboserver
from deployed import APPLICATION, deployed, hanging, under_way
from support import Client, connect, fetch, needs_engine, read_until_eof, wait_until
from turboserver import lanes
from turboserver.deploy import command, serve

native = pytest.mark.skipif(not turboserver.accelerated, reason="the native engine is not loaded")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site_app.py").write_text(APPLICATION)
    return tmp_path


@native
def test_it_takes_the_reactor_lane():
    for server in (serve._ThreadingServer, serve._Server):
        decision = lanes.decide(server, serve.Handler)
        assert decision.lane == lanes.REACTOR, decision.reasons
        # Constants are looked at once; a method would be called for each request.
        assert decision.handler_hooks <= {"turbo_log", "turbo_os_environ"} and not decision.server_hooks


# ---------------------------------------------------------------- usage

def usage(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        command.main(["m:app", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].removeprefix("turboserver wsgi: error: ")


@pytest.mark.parametrize("arguments, message", [
    (["--bind", "nonsense"], "argument -b/--bind: 'nonsense' is no address: HOST:PORT, [IPV6]:PORT, :PORT, "
                             "unix:PATH or fd://N"),
    (["--port", "70000"], "port must be 0 to 65535, not 70000"),
    (["--port", "x"], "argument -p/--port: invalid int value: 'x'"),
    (["--workers", "0"], "argument -w/--workers: '0' is no number from 1 to 16000"),
    (["--threads", "-1"], "argument --threads: '-1' is no number from 1 to 16000"),
    (["--graceful-timeout", "nan"], "argument --graceful-timeout: 'nan' is no number of seconds from 0 to 86400"),
    (["--forwarded-allow-ips", "1.2.3"], "'1.2.3' is no address, no network, not '*' and not 'unix'"),
    (["--forwarded-fields", "x"], "--forwarded-fields: 'x' is none of for, proto, host, port, prefix, forwarded"),
    (["--root-path", "app"], "'app' is no path that begins with a slash"),
    (["--threads", "1", "-b", "a:1", "-b", "a:2"], "--threads 1 serves one address: each has a thread of its own"),
    (["--reuse-port"], "--reuse-port is for --workers"),
    (["--max-requests", "0"], "argument --max-requests: '0' is no number of requests"),
    (["--max-requests-jitter", "5"], "--max-requests-jitter is for --max-requests"),
    (["--reload-dir", "."], "--reload-dir is for --reload"),
], ids=lambda value: value[0] if isinstance(value, list) else None)
def test_usage(capsys, arguments, message):
    assert usage(capsys, *arguments) == message


def test_no_application(capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["module"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("'module' is not of the form MODULE:APP or MODULE:FACTORY()\n")


def test_help_says_how_it_ends(capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    assert caught.value.code == 0
    assert "SIGHUP" in capsys.readouterr().out


# ---------------------------------------------------------------- what cannot be done: one line, exit code 1

@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
@pytest.mark.parametrize("target, message", [
    ("nothing_here:app", "turboserver: no module named 'nothing_here', neither in {cwd} nor installed"),
    ("site_app:nothing", "turboserver: site_app has no attribute 'nothing'"),
    ("broken:app", "turboserver: cannot import broken: ZeroDivisionError: division by zero ({cwd}/broken.py, line 2)"),
    ("site_app:create_app(1, 2)", "turboserver: site_app:create_app(1, 2) raised TypeError: "),
])
def test_an_application_that_is_not_there(folder, workers, target, message):
    (folder / "broken.py").write_text("\n1 / 0\n")
    with deployed(target, "-p", "0", *workers, cwd=folder) as server:
        assert server.wait() == 1
        assert len(server.lines) == 1, server.lines
        assert server.lines[0].startswith(message.format(cwd=os.path.realpath(folder))), server.lines


def test_a_busy_port(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with deployed("site_app:app", "-p", str(port), cwd=folder) as server:
            assert server.wait() == 1
            assert server.lines == [f"turboserver: cannot listen on 127.0.0.1:{port}: the address is in use, "
                                    "by another server perhaps"]


@needs_engine
def test_a_log_that_cannot_be(folder):
    with deployed("site_app:app", "-p", "0", "--access-log", "none/log", cwd=folder) as server:
        assert server.wait() == 1
        assert server.lines == ["turboserver: cannot write the access log none/log: No such file or directory"]


# ---------------------------------------------------------------- serving

def test_an_application_a_factory_and_the_end(folder):
    with deployed("site_app:create_app('it')", "--host", "127.0.0.1", "--port", "0", cwd=folder) as server:
        assert server.ready().get("/") == "it"
        assert server.lines[0].endswith(f"/ (pid {server.process.pid})")
        assert server.stop() == 0


def test_environ(folder):
    with deployed("site_app:app", "-p", "0", "--root-path", "/root", "--forwarded-allow-ips", "127.0.0.1",
                  cwd=folder) as server:
        server.ready()
        environ = json.loads(server.get("/root/environ", headers=[
            ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "a.example")]))
        assert environ["SCRIPT_NAME"] == "/root" and environ["PATH_INFO"] == "/environ"
        assert environ["REMOTE_ADDR"] == "203.0.113.9" and environ["wsgi.url_scheme"] == "https"
        assert environ["HTTP_HOST"] == environ["SERVER_NAME"] == "a.example" and environ["SERVER_PORT"] == "443"
        assert environ["wsgi.multithread"] is True and environ["wsgi.multiprocess"] is False
        plain = json.loads(server.get("/environ"))
        assert plain["SERVER_PORT"] == str(server.addresses[0][1]) and plain["REMOTE_ADDR"] == "127.0.0.1"


def test_without_a_list_the_fields_are_the_applications(folder):
    with deployed("site_app:app", "-p", "0", cwd=folder) as server:
        server.ready()
        environ = json.loads(server.get("/environ", headers=[("X-Forwarded-For", "203.0.113.9")]))
        assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.9" and environ["REMOTE_ADDR"] == "127.0.0.1"


def test_the_list_may_be_in_the_environment(folder):
    with deployed("site_app:app", "-p", "0", cwd=folder, environ={"FORWARDED_ALLOW_IPS": "10.0.0.1"}) as server:
        server.ready()
        assert "HTTP_X_FORWARDED_FOR" not in server.get("/environ", headers=[("X-Forwarded-For", "203.0.113.9")])


def test_without_threads(folder):
    with deployed("site_app:app", "-p", "0", "--threads", "1", cwd=folder) as server:
        assert json.loads(server.ready().get("/environ"))["wsgi.multithread"] is False
        assert server.stop() == 0


def test_several_addresses(folder):
    binds = ["-b", "127.0.0.1:0", "-b", ":0"]
    with deployed("site_app:app", *binds, cwd=folder) as server:
        assert len(server.ready().addresses) == 2
        for address in server.addresses:
            assert fetch(address).body == b"ok"
        assert server.stop() == 0


def test_a_unix_socket_beside_a_port(folder):
    with deployed("site_app:app", "-p", "0", "--unix", str(folder / "s"), "--forwarded-allow-ips", "unix",
                  cwd=folder) as server:
        server.ready()
        assert server.addresses[1] == str(folder / "s")
        environ = json.loads(fetch(server.addresses[1], "/environ",
                                   headers=[("X-Forwarded-For", "203.0.113.9")]).body)
        assert environ["REMOTE_ADDR"] == "203.0.113.9" and environ["SERVER_NAME"] and environ["SERVER_PORT"]
        assert "HTTP_X_FORWARDED_FOR" not in server.get("/environ", headers=[("X-Forwarded-For", "203.0.113.9")])
        assert server.stop() == 0
    assert not (folder / "s").exists()


def test_a_stale_unix_socket(folder):
    with deployed("site_app:app", "--unix", "s", cwd=folder) as server:
        server.ready()
        server.process.kill()
        server.wait()
    assert (folder / "s").exists()
    with deployed("site_app:app", "--unix", "s", cwd=folder) as server:
        server.ready()
        assert fetch(str(folder / "s")).body == b"ok"
        with deployed("site_app:app", "--unix", "s", cwd=folder) as other:
            assert other.wait() == 1
            assert other.lines == ["turboserver: cannot listen on unix:s: the address is in use, by another "
                                   "server perhaps"]
        assert fetch(str(folder / "s")).body == b"ok"


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["alone", "workers"])
def test_sockets_of_systemd(folder, workers):
    """As a service manager does it: the number is the process's own, the socket descriptor 3."""
    start = ("import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.environ['LISTEN_FDS'] = '1'; "
             "os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, '-m', 'turboserver', 'wsgi', "
             "*sys.argv[2:]])")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = subprocess.Popen(
            [sys.executable, "-c", start, str(sock.fileno()), "site_app:app", *workers], cwd=folder,
            pass_fds=[sock.fileno()] + ([3] if sock.fileno() != 3 and _is_open(3) else []),
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            line = process.stderr.readline()
            assert f"http://127.0.0.1:{sock.getsockname()[1]}/" in line, line
            environ = json.loads(fetch(sock.getsockname(), "/environ").body)
            assert "LISTEN_FDS" not in environ
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait(20)
            process.stderr.close()


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- the access log

COMMON = r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a%22b\?q=1 HTTP/1\.1" 200 2'


@native
@pytest.mark.parametrize("format, pattern", [
    ("common", COMMON), ("combined", COMMON + r' "-" "evil\\x22 \\xe4"'), ("json", None)])
@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_a_line_for_each_answer(folder, format, pattern, workers):
    with deployed("site_app:app", "-p", "0", "--access-log", "log", "--access-log-format", format, *workers,
                  cwd=folder) as server:
        with Client(server.ready().addresses[0]) as client:
            for _ in range(20):
                client.request(path="/a%22b?q=1", headers=[("User-Agent", 'evil" \xe4')])
        assert server.stop() == 0
        assert len(server.lines) == 1, server.lines     # nothing of it on stderr
    lines = (folder / "log").read_text().splitlines()
    assert len(lines) == 20
    for line in lines:
        if pattern is not None:
            assert re.fullmatch(pattern, line), line
        else:
            found = json.loads(line)
            assert found["target"] == "/a%22b?q=1" and found["status"] == 200 and found["bytes"] == 2
            assert found["user_agent"] == 'evil" \xe4' and found["remote_addr"] == "127.0.0.1"
            assert 0 <= found["seconds"] < 60


@native
def test_standard_output_gets_it_without_a_path(folder):
    with deployed("site_app:app", "-p", "0", "--access-log", cwd=folder, stdout=subprocess.PIPE) as server:
        server.ready().get("/x")
        assert '"GET /x HTTP/1.1" 200 2 "-" "-"' in server.process.stdout.readline()


@native
def test_what_a_proxy_says_is_logged(folder):
    with deployed("site_app:app", "-p", "0", "--access-log", "log", "--forwarded-allow-ips", "127.0.0.1",
                  cwd=folder) as server:
        server.ready().get("/", headers=[("X-Forwarded-For", "203.0.113.9")])
        assert server.stop() == 0
    assert (folder / "log").read_text().startswith("203.0.113.9 - - [")


@native
@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_the_log_is_opened_again(folder, workers):
    """As logrotate does it: the file is moved away, then all write to a new one."""
    with deployed("site_app:app", "-p", "0", "--access-log", "log", *workers, cwd=folder) as server:
        server.ready().get("/before")
        wait_until(lambda: "/before" in (folder / "log").read_text())
        os.rename(folder / "log", folder / "old")
        server.send(signal.SIGUSR1)
        count = 0

        def there():
            nonlocal count
            count += 1
            server.get("/after")
            return (folder / "log").exists() and "/after" in (folder / "log").read_text()
        wait_until(there, "a line in the new file")
        assert server.stop() == 0
    lines = ((folder / "old").read_text() + (folder / "log").read_text()).splitlines()
    assert len(lines) == 1 + count


# ---------------------------------------------------------------- the end

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("threads", [[], ["--threads", "1"]], ids=["threads", "none"])
def test_what_is_under_way_is_answered(folder, number, threads):
    with deployed("site_app:app", "-p", "0", *threads, cwd=folder) as server:
        server.ready()
        with under_way(server, folder, last=True):
            server.send(number)
            if not threads:     # without, the one thread looks when the application has returned
                server.wait_for_refusal()
        assert server.wait() == 0


def test_nohup(folder):
    """Where SIGHUP was ignored before, it is so all the time."""
    with deployed("site_app:app", "-p", "0", cwd=folder,
                  preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as server:
        server.ready()
        with under_way(server, folder):
            server.send(signal.SIGHUP)
        assert fetch(server.addresses[0]).body == b"ok"
        assert server.stop() == 0


@native
@pytest.mark.parametrize("lane", ["blocking", "compatible"])
def test_in_the_other_lanes_too(folder, lane):
    with deployed("site_app:app", "-p", "0", cwd=folder, environ={lanes.LANE_VARIABLE: lane}) as server:
        with under_way(server.ready(), folder):
            server.send(signal.SIGTERM)
        assert server.wait() == 0


@native
@pytest.mark.parametrize("threads", [[], ["--threads", "1"]], ids=["threads", "none"])
def test_a_request_that_comes_right_after_the_signal_is_answered(folder, threads):
    """Its connection was accepted before; that is not known to the client, who may be half a second late."""
    (folder / "sitecustomize.py").write_text("from turboserver.deploy import adopting\n"
                                             "adopting._LAME_DUCK_SECONDS = 20.0\n")
    with deployed("site_app:app", "-p", "0", *threads, cwd=folder, environ={"PYTHONPATH": str(folder)}) as server:
        with Client(server.ready().addresses[0]) as client:
            server.get("/")         # so that the one before it has been accepted
            server.send(signal.SIGTERM)
            server.wait_for_refusal()
            time.sleep(0.3)         # without the wait the connection has ended by then
            assert client.request(path="/version").body == b"one"
            assert client.at_eof()
        assert server.wait() == 0


def test_connections_without_a_request_end(folder):
    with deployed("site_app:app", "-p", "0", cwd=folder) as server:
        with connect(server.ready().addresses[0]) as silent:
            server.get("/")
            assert server.stop() == 0
            assert read_until_eof(silent) == b""


@pytest.mark.parametrize("threads", [[], ["--threads", "1"]], ids=["threads", "none"])
def test_a_handler_that_hangs_does_not_keep_it(folder, threads):
    with deployed("site_app:app", "-p", "0", "--graceful-timeout", "0.2", *threads, cwd=folder) as server:
        with hanging(server.ready(), folder):
            assert server.stop() == 0


def test_a_thread_of_the_application_does_not_keep_it(folder):
    (folder / "stays.py").write_text("import threading, time\n"
                                     "threading.Thread(target=time.sleep, args=(600,)).start()\n"
                                     "from site_app import app\n")
    with deployed("stays:app", "-p", "0", "--graceful-timeout", "0", cwd=folder) as server:
        server.ready()
        assert server.stop() == -signal.SIGALRM


def test_interrupted_twice_it_ends_at_once(folder):
    with deployed("site_app:app", "-p", "0", cwd=folder) as server:
        with hanging(server.ready(), folder):
            server.send(signal.SIGINT)
            server.wait_for_refusal()
            assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["alone", "workers"])
def test_it_ends_while_the_application_is_imported(folder, workers):
    (folder / "slow.py").write_text("open('importing', 'w').close()\nimport time\ntime.sleep(600)\n")
    with deployed("slow:app", "--unix", "s", *workers, cwd=folder) as server:
        wait_until((folder / "importing").exists, "the import")
        assert server.stop() == 0
        assert server.lines == []
    assert not (folder / "s").exists()


def test_a_child_of_the_application_is_no_part_of_it(folder):
    """What a handler forks ends by SIGTERM, as without a server, and the server does not."""
    (folder / "forks.py").write_text("""
import os, signal, time


def app(environ, start_response):
    pid = os.fork()
    if pid == 0:
        time.sleep(10)
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    status = os.waitpid(pid, 0)[1]
    start_response("200 OK", [("Content-Length", "2")])
    return [b"%2d" % os.WTERMSIG(status)]
""")
    with deployed("forks:app", "-p", "0", cwd=folder, environ={"PYTHONWARNINGS": "ignore"}) as server:
        server.ready()
        for _ in range(3):
            assert server.get("/") == "15"
        assert server.stop() == 0
