"""What the blocks of docs/proxies.md have to do: the configuration is right to the proxy, and serves through it.

The proxies run in a folder, so what the system's own configuration holds around a page's is written here.
"""
import json
import os
import sys

import pytest

from support import Client, connect

from .blocks import blocks
from .checks import Checks, lines
from .stage import need

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "frameworks"))
import proxies  # noqa: E402

checks = Checks("docs/proxies.md")

TELLING = '''
import json

def app(environ, start_response):
    body = json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
'''


def behind(stage, command):
    """Run the proxy by `command` and our server as the page says; ask as a client that lies about itself."""
    stage.write("package/__init__.py", "")
    stage.write("package/module.py", TELLING)
    ours = next(line for block in blocks(stage.block.page) for line in lines(block) if line.startswith("turboserver wsgi"))
    stage.start(f"{ours} -b 127.0.0.1:8000")
    stage.start(command, port=8080, code=None)
    with Client(None, sock=connect(("127.0.0.1", stage.port(8080)))) as client:
        for _ in range(2):      # and again, on the connection that is kept
            seen = json.loads(client.request(path="/a%20b?x=1", headers=[
                ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Prefix", "/evil"), ("Forwarded", "for=203.0.113.8;proto=https")]).body)
            assert seen["REMOTE_ADDR"] == "127.0.0.1" and seen["wsgi.url_scheme"] == "http"
            assert seen["HTTP_HOST"] == "test" and seen["SCRIPT_NAME"] == "" and seen["PATH_INFO"] == "/a b"
            assert not {"HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PREFIX", "HTTP_FORWARDED"} & set(seen), seen
        data = bytes(200_000)
        assert client.request("POST", "/", body=data).status == 200


@checks("nginx.conf")
def nginx(stage):
    program = need("nginx")
    folder = stage.folder
    site = stage.write("site.conf", stage.here(stage.block.text).replace("listen ", "listen 127.0.0.1:"))
    user = "user root;" if os.geteuid() == 0 else ""
    paths = " ".join(f"{name}_temp_path {folder}/{name};" for name in (
        "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = stage.write("nginx.conf", f"daemon off; pid {folder}/pid; error_log {folder}/log; {user} events {{}} "
                                     f"http {{ access_log off; {paths} include {site}; }}")
    command = f"{program} -c {conf} -p {folder} -e {folder}/log"
    assert "test is successful" in stage.run(f"{command} -t")
    behind(stage, command)


@checks("haproxy.cfg")
def haproxy(stage):
    program = need("haproxy")
    stage.write("haproxy.cfg", stage.here(stage.block.text).replace("bind :", "bind 127.0.0.1:"))
    said = stage.run(f"{program} -c -V -f haproxy.cfg")
    assert "valid" in said and "WARNING" not in said, said
    behind(stage, f"{program} -db -f haproxy.cfg")


@checks("apache.conf")
def apache(stage):
    lacking = proxies.missing("apache")
    if lacking:
        pytest.skip(lacking)
    program, folder = need("apache2"), stage.folder
    modules = "\n".join(f"LoadModule {name}_module {proxies.MODULES}/mod_{name}.so" for name in (
        "mpm_event", "authz_core", "proxy", "proxy_http", "headers"))
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    stage.write("apache.conf", stage.here(f"""
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
ErrorLog {folder}/log
Mutex posixsem
{modules}
{user}
Listen 127.0.0.1:8080
{stage.block.text}"""))
    command = f"{program} -f {folder}/apache.conf -d {folder}"
    assert "Syntax OK" in stage.run(f"{command} -t")
    behind(stage, f"{command} -DFOREGROUND")
