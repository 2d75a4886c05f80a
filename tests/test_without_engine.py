"""Where no extension can be loaded: the standard library's classes by our names, and a file server all the same."""
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import turboserver


@pytest.fixture
def plain(tmp_path):
    """Variables of the environment of a Python that finds turboserver without its extensions."""
    def no_extensions(folder, names):
        return [name for name in names if name.endswith((".so", ".pyd", ".pyx", ".pxd")) or name == "__pycache__"]

    shutil.copytree(Path(turboserver.__file__).parent, tmp_path / "lib" / "turboserver", ignore=no_extensions)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}


def run(plain, code):
    return subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True).stdout


def test_the_classes_are_the_originals(plain):
    assert run(plain, "import http.server, turboserver, turboserver.http.server as ours; print(turboserver.accelerated, "
                      "ours.SimpleHTTPRequestHandler is http.server.SimpleHTTPRequestHandler, "
                      "ours.ThreadingHTTPServer is http.server.ThreadingHTTPServer)").split() == ["False", "True", "True"]


def test_a_folder_is_served(plain, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "site" / "out").symlink_to("/etc/hostname")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "turboserver", str(tmp_path / "site"), "--bind", "127.0.0.1", "-p", "0"], env=plain,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        url = next(match[0] for match in map(re.compile(r"http://127\.0\.0\.1:\d+/").search, process.stdout) if match)
        request = urllib.request.Request(url + "a.txt", headers={"Range": "bytes=2-4"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert (answer.status, answer.read()) == (206, b"234") and answer.headers["ETag"]
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"a.txt" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url + "out", timeout=20)
        refused.value.close()
        assert refused.value.code == 404
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("kept", [False, True], ids=["a request", "nothing"])
def test_the_end_waits_for_a_request_and_not_for_a_connection(plain, kept):
    """By deploy.adopting, on which both commands stand: an idle connection ends at once, an answer is finished."""
    said = run(plain, f"""
import http.client, http.server, math, socket, threading, time
from turboserver.deploy.adopting import Adopting
entered = threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            entered.set()
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *arguments):
        pass
class Server(Adopting, http.server.ThreadingHTTPServer):
    pass
listener = socket.create_server(("127.0.0.1", 0))
server = Server(listener, Handler)
serving = threading.Thread(target=server.serve_forever, args=(0.02,))
serving.start()
client = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=20)
client.request("GET", "/")
assert client.getresponse().read() == b"ok"
if not {kept}:
    client.request("GET", "/slow")
    entered.wait(20)
server.shutdown()
begun = time.monotonic()
server.finish(begun + 15)
took = time.monotonic() - begun
if not {kept}:
    assert client.getresponse().read() == b"ok"
print(client.sock is None or client.sock.recv(1) == b"", took < 10)
""")
    assert said.split() == ["True", "True"]
