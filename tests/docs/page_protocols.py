"""What the blocks of docs/protocols.md have to do."""
import socket
import ssl
import time

from support import DEADLINE, Client, read_until, read_until_eof

from .certificates import authority, certificate, write_pair
from .checks import Checks

checks = Checks("docs/protocols.md")


@checks("lines.py")
def lines(stage):
    stage.program(port=9000)
    with stage.connection(9000) as sock:
        sock.sendall(b"one\ntwo\n")
        assert read_until(sock, b"TWO\n") == b"ONE\nTWO\n"
        sock.sendall(b"quit\n")
        assert read_until_eof(sock) == b"bye\n"
    with stage.connection(9000) as sock:
        sock.sendall(b"x" * 1001)
        assert read_until_eof(sock) == b""


@checks("datagrams.py")
def datagrams(stage):
    port = stage.port(9000)
    stage.program(port=None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.2)
        end = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < end
            try:
                sock.send(b"abc")
                assert sock.recv(100) == b"ABC"
                break
            except (ConnectionRefusedError, TimeoutError):
                time.sleep(0.02)


@checks("unix.py")
def unix(stage):
    started = stage.program(port=None)
    path = stage.folder / "count.sock"
    started.wait_for(path.exists)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        started.wait_for(lambda: sock.connect_ex(str(path)) == 0)
        sock.sendall(b"x" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        assert read_until_eof(sock) == b"100000\n"


@checks("https.py")
def https(stage):
    """A client that trusts the certificate gets the file."""
    ca = authority(stage.folder / "ca.pem")
    write_pair(stage.folder, "server", certificate(ca, "localhost"))
    stage.write("index.html", "<p>secret")
    stage.program(port=8443)
    assert stage.curl("--cacert ca.pem https://localhost:8443/index.html --resolve localhost:8443:127.0.0.1") == "<p>secret"


@checks("clients.py")
def clients(stage):
    """Who has a certificate is known by it; who has none, or one of somebody else, is not served."""
    server_ca, clients_ca = authority(stage.folder / "ca.pem"), authority(stage.folder / "clients-ca.pem")
    write_pair(stage.folder, "server", certificate(server_ca, "localhost"))
    write_pair(stage.folder, "anna", certificate(clients_ca, "anna"))
    write_pair(stage.folder, "eve", certificate(server_ca, "eve"))
    stage.program(port=8443)

    def ask(name):
        context = ssl.create_default_context(cafile=stage.folder / "ca.pem")
        if name:
            context.load_cert_chain(stage.folder / f"{name}.pem", stage.folder / f"{name}.key")
        with context.wrap_socket(stage.connection(8443), server_hostname="localhost") as sock:
            return Client(None, sock=sock).request().body

    assert ask("anna") == b"anna"
    for name in (None, "eve"):
        try:
            said = ask(name)
        except (OSError, EOFError):
            said = None
        assert said is None, (name, said)


@checks("forks.py")
def forks(stage):
    started = stage.program()
    pids = {int(stage.curl("http://127.0.0.1:8000/")) for _ in range(2)}
    assert len(pids) == 2 and started.process.pid not in pids


