"""turboserver.deploy.binds: addresses, the sockets behind them, and one line for each that cannot be had."""
import os
import signal
import socket
import stat
import threading

import pytest

from turboserver.deploy import binds
from turboserver.deploy.binds import Bind, BindError
from turboserver.deploy.signals import WORKER, Signals, Stopped


def opened(*texts, **options):
    return binds.opened([binds.parse(text) for text in texts], **options)


def complaint(*texts):
    with pytest.raises(BindError) as caught, opened(*texts):
        pass
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("text, kind, value", [
    ("127.0.0.1:80", "tcp", ("127.0.0.1", 80)), ("localhost:0", "tcp", ("localhost", 0)), (":8000", "tcp", ("", 8000)),
    ("[::1]:65535", "tcp", ("::1", 65535)), ("[fe80::1%lo]:1", "tcp", ("fe80::1%lo", 1)),
    ("unix:/run/a b.sock", "unix", "/run/a b.sock"), ("unix:rel", "unix", "rel"), ("unix:@name", "unix", "\0name"),
    ("fd://3", "fd", 3)])
def test_addresses(text, kind, value):
    assert binds.parse(text) == Bind(kind, value, text)


@pytest.mark.parametrize("text", [
    "", "8000", "host", "host:", "host:x", "host:-1", "host:65536", "host:1234567", "::1:80", "[::1]", "[]:80",
    "http://a:80", "a/b:80", "unix:", "unix:a\0b", "fd://", "fd://x", "fd://-1", "fd://99999999999", "host:٣"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError):
        binds.parse(text)


def test_sockets_listen_do_not_block_and_stay_here():
    with opened("127.0.0.1:0") as (listener,):
        sock = listener.socket_for(0)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0
        assert not os.get_blocking(sock.fileno()) and not os.get_inheritable(sock.fileno())
        assert listener.socket_for(7) is sock
        assert listener.url == "http://127.0.0.1:%d/" % sock.getsockname()[1]
        socket.create_connection(sock.getsockname()).close()
    assert sock.fileno() == -1


def test_every_address_is_for_both_protocols_and_can_be_clicked_on():
    with opened(":0") as (listener,):
        port = listener.socket_for(0).getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        if socket.has_dualstack_ipv6():
            assert listener.url == f"http://[::1]:{port}/"
        else:
            assert listener.url == f"http://127.0.0.1:{port}/"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_both_protocols_side_by_side():
    with opened("0.0.0.0:0") as (first,):
        port = first.socket_for(0).getsockname()[1]
        with opened(f"[::]:{port}") as (second,):
            assert second.socket_for(0).getsockname()[1] == port


def test_a_name_of_both_protocols_is_the_older_one():
    with opened("localhost:0") as (listener,):
        assert listener.url.startswith("http://127.0.0.1:")


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")
def test_a_socket_for_each_worker():
    with opened("127.0.0.1:0", workers=3, reuse_port=True) as (listener,):
        assert len({listener.socket_for(number).fileno() for number in range(3)}) == 3
        assert len({listener.socket_for(number).getsockname() for number in range(3)}) == 1
        assert "is in use" in complaint("127.0.0.1:%d" % listener.socket_for(0).getsockname()[1])


# ---------------------------------------------------------------- what cannot be had

def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = "127.0.0.1:%d" % taken.getsockname()[1]
        assert complaint(text) == f"cannot listen on {text}: the address is in use, by another server perhaps"


def test_those_before_it_are_closed(tmp_path):
    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        complaint(f"unix:{path}", "127.0.0.1:%d" % taken.getsockname()[1])
    assert not path.exists()


def test_an_address_of_somebody_else():
    assert complaint("192.0.2.1:0") == "cannot listen on 192.0.2.1:0: this machine has no such address"


def test_no_such_name(monkeypatch):
    def unknown(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert complaint("nowhere:80") == "cannot listen on nowhere:80: nowhere: Name or service not known"


def test_a_name_that_is_none():
    assert complaint("a..b:80").startswith("cannot listen on a..b:80: a..b: ")


def test_no_permission(monkeypatch):
    class Forbidden(socket.socket):
        def bind(self, address):
            raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(socket, "socket", Forbidden)
    assert complaint("127.0.0.1:80") == ("cannot listen on 127.0.0.1:80: permission denied "
                                         "(ports below 1024 are the system's)")
    assert complaint("127.0.0.1:8000") == "cannot listen on 127.0.0.1:8000: permission denied"


# ---------------------------------------------------------------- Unix sockets

def test_a_unix_socket_goes_at_the_end(tmp_path):
    path = str(tmp_path / "s")
    with opened(f"unix:{path}") as (listener,):
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert listener.url == f"unix:{path}"
    assert not os.path.exists(path)


def test_a_stale_one_is_replaced(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(path)
        old.listen()
    assert os.path.exists(path)
    with opened(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


@pytest.mark.parametrize("full", [False, True])
def test_one_that_is_served_is_not(tmp_path, full):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(path)
        other.listen(0)
        if full:
            client.setblocking(False)
            client.connect(path)
        assert complaint(f"unix:{path}") == (
            f"cannot listen on unix:{path}: the address is in use, by another server perhaps")
        assert os.path.exists(path)


def test_what_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    assert complaint(f"unix:{path}") == f"cannot listen on unix:{path}: the file exists and is no socket"
    assert path.read_text() == "precious"


def test_one_that_another_server_has_put_there_stays(tmp_path):
    path = str(tmp_path / "s")
    with opened(f"unix:{path}"):
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            keep = os.stat(path).st_ino
    assert os.stat(path).st_ino == keep


def test_a_child_process_does_not_remove_it(tmp_path):
    path = str(tmp_path / "s")
    with opened(f"unix:{path}") as (listener,):
        pid = os.fork()
        if pid == 0:
            listener.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.path.exists(path)


@pytest.mark.parametrize("method", ["bind", "listen", "setblocking"])
def test_a_signal_meanwhile_leaves_no_file(tmp_path, monkeypatch, method):
    """Right after each step of making the socket, and another one while that is cleared up."""
    path = str(tmp_path / "s")
    came = []

    def interrupt():
        # This thread: another one, of whoever runs the tests, lets the signal through that this one has blocked.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    class Socket(socket.socket):
        def close(self):
            interrupt()
            super().close()

    def interrupted(self, *arguments):
        getattr(super(Socket, self), method)(*arguments)
        came.append(os.path.exists(path))
        interrupt()

    setattr(Socket, method, interrupted)
    signals = Signals(WORKER)
    try:
        signals.end_at_once([signal.SIGTERM])
        monkeypatch.setattr(binds.socket, "socket", Socket)
        monkeypatch.setattr(binds, "_remove_stale", lambda bind, path: None)     # which makes a socket, too
        with pytest.raises(Stopped), opened(f"unix:{path}"):
            pass
    finally:
        signals.close()
    assert came == [True] and not os.path.exists(path)


def test_unix_paths_that_cannot_be(tmp_path):
    assert complaint(f"unix:{tmp_path}/none/s") == f"cannot listen on unix:{tmp_path}/none/s: no such folder"
    long = f"unix:/{'x' * 200}"
    assert complaint(long) == f"cannot listen on {long}: the path is too long for a Unix socket"


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="abstract names are Linux's")
def test_an_abstract_name():
    name = f"turboserver-test-{os.getpid()}"
    with opened(f"unix:@{name}") as (listener,), socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)
        assert listener.url == f"unix:@{name}"


# ---------------------------------------------------------------- descriptors

def test_a_descriptor():
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    with opened(f"fd://{sock.detach()}") as (listener,):
        assert listener.socket_for(0).getsockname() == address
        assert not os.get_blocking(listener.socket_for(0).fileno())


def test_descriptors_that_are_nothing_to_listen_on(tmp_path):
    assert complaint("fd://9999") == "cannot listen on fd://9999: descriptor 9999 is not open"
    with open(tmp_path / "file", "w") as file:
        number = file.fileno()
        assert complaint(f"fd://{number}") == f"cannot listen on fd://{number}: descriptor {number} is no socket"
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as sock:
            number = sock.fileno()
            assert complaint(f"fd://{number}") == (
                f"cannot listen on fd://{number}: descriptor {number} is no listening stream socket")
            sock.getsockname()      # it is still open


@pytest.mark.parametrize("pid, count, found", [
    (None, None, []), ("own", "2", ["fd://3", "fd://4"]), ("1", "2", []), ("own", "x", []), ("own", None, []),
    ("own", "0", [])])
def test_what_systemd_passes(monkeypatch, pid, count, found):
    for name, value in (("LISTEN_PID", str(os.getpid()) if pid == "own" else pid), ("LISTEN_FDS", count),
                        ("LISTEN_FDNAMES", "a:b")):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert [bind.text for bind in binds.passed_by_systemd()] == found
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
