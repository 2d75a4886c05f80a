"""Apache httpd and nginx in front of a server: a configuration in a folder of its own, a child in the foreground.

Both listen on loopback, once in clear and once with TLS, pass / on and /mounted/ without its prefix, keep
connections to what is behind them, and set X-Forwarded-For, -Host, -Proto and -Prefix. /unbuffered/ goes on while
it comes in, chunked if it comes chunked.
"""
import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import threading
import time

from support import DEADLINE, connect

CERTIFICATE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "localhost.pem")
MODULES = "/usr/lib/apache2/modules"

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/log warn; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; server_tokens off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 100m;
    upstream behind {{ server 127.0.0.1:{upstream}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        set $prefix "";
        proxy_set_header X-Forwarded-Prefix $prefix;
        location / {{ proxy_pass http://behind; }}
        location /mounted/ {{ set $prefix /mounted; proxy_pass http://behind/; }}
        location /unbuffered/ {{ proxy_request_buffering off; proxy_buffering off; proxy_pass http://behind/; }}
    }}
}}
"""

APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
ErrorLog {folder}/log
LogLevel warn
Mutex posixsem
{modules}
{user}
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{tls_port}
StartServers 1
ServerLimit 2
ThreadsPerChild 8
MaxRequestWorkers 16
KeepAlive On
ProxyPreserveHost On
RequestHeader set X-Forwarded-Proto expr=%{{REQUEST_SCHEME}}
RequestHeader unset X-Forwarded-Prefix
<Location /mounted/>
    RequestHeader set X-Forwarded-Prefix /mounted
</Location>
<Location /unbuffered/>
    SetEnv proxy-sendchunked 1
</Location>
ProxyPass /mounted/ http://127.0.0.1:{upstream}/
ProxyPass /unbuffered/ http://127.0.0.1:{upstream}/
ProxyPass / http://127.0.0.1:{upstream}/
<VirtualHost 127.0.0.1:{tls_port}>
    SSLEngine on
    SSLCertificateFile {certificate}
    SSLCertificateKeyFile {certificate}
    ProxyPass /mounted/ http://127.0.0.1:{upstream}/
    ProxyPass / http://127.0.0.1:{upstream}/
</VirtualHost>
"""
APACHE_MODULES = ("mpm_event", "authz_core", "headers", "env", "proxy", "proxy_http", "ssl", "socache_shmcb")


@dataclasses.dataclass
class Proxy:
    name: str
    address: tuple
    tls_address: tuple


def missing(name):
    """Why the proxy cannot be run here, or None."""
    if name == "nginx":
        return None if shutil.which("nginx", path=_path()) else "nginx is not installed (apt install nginx)"
    if not shutil.which("apache2", path=_path()):
        return "Apache httpd is not installed as Debian has it (apt install apache2)"
    lacking = [module for module in APACHE_MODULES if not os.path.exists(_module(module))]
    return f"Apache lacks {', '.join(lacking)}" if lacking else None


def _path():
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def _module(name):
    return f"{MODULES}/mod_{name}.so"


def _configured(name, folder, **values):
    """(command line, configuration file's text)."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    program = shutil.which("nginx" if name == "nginx" else "apache2", path=_path())
    file = os.path.join(folder, "conf")
    values.update(folder=folder, certificate=CERTIFICATE)
    if name == "nginx":
        return ([program, "-c", file, "-p", folder, "-e", os.path.join(folder, "log")],
                NGINX.format(user="user root;" if root else "", **values))
    modules = "\n".join(f"LoadModule {module}_module {_module(module)}" for module in APACHE_MODULES)
    return ([program, "-f", file, "-d", folder, "-DFOREGROUND"],
            APACHE.format(modules=modules, user="User www-data\nGroup www-data" if root else "", **values))


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


@contextlib.contextmanager
def running(name, folder, upstream):
    """Run proxy `name` in front of port `upstream` until the block ends; its files go into `folder`."""
    for attempt in range(3):        # another program may take a port in between
        port, tls_port = _free_ports(2)
        own = os.path.join(folder, f"{name}-{attempt}")
        os.mkdir(own)
        command, text = _configured(name, own, upstream=upstream, port=port, tls_port=tls_port)
        with open(os.path.join(own, "conf"), "w") as file:
            file.write(text)
        with open(os.path.join(own, "output"), "w") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            if _is_up(process, [port, tls_port]):
                yield Proxy(name, ("127.0.0.1", port), ("127.0.0.1", tls_port))
                return
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    said = "".join(open(os.path.join(own, name)).read() for name in ("output", "log")
                   if os.path.exists(os.path.join(own, name)))
    raise RuntimeError(f"{name} did not start:\n{said}")


def _is_up(process, ports):
    end = time.monotonic() + DEADLINE
    while process.poll() is None and time.monotonic() < end:
        try:
            for port in ports:
                connect(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False


class Relay:
    """Passes connections on to `upstream`: how a proxy treats the server behind it.

    connections: how many there were; received, answered: all that went upstream and came back.
    """

    def __init__(self, upstream):
        self.connections = 0
        self.received, self.answered = bytearray(), bytearray()
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            server = connect(self._upstream, timeout=None)
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, self.received), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, self.answered), daemon=True).start()

    @staticmethod
    def _pass(source, target, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
