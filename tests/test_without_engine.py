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
