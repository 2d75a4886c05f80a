"""Films and sounds in a real browser: they play, and whoever winds on gets the part that is wanted (206), as the log says."""
import os
import re
import subprocess
import wave

import pytest
from serving_folder import served

SECONDS = 90
#: Octets of a film a second; with these a film is longer than what a browser fetches ahead at once.
RATE = 400_000


def film(path):
    """A WebM whose pictures are noise, so that it is large; its index is at its end, as encoders write it."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="no imageio-ffmpeg; `make browser` installs it").get_ffmpeg_exe()
    source = f"testsrc=size=320x180:rate=10:duration={SECONDS},noise=alls=90:allf=t"
    subprocess.run([ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", source, "-c:v", "libvpx", "-b:v", f"{8 * RATE}",
                    "-minrate", f"{8 * RATE}", "-maxrate", f"{8 * RATE}", "-bufsize", f"{4 * RATE}", "-deadline", "realtime",
                    "-cpu-used", "8", "-g", "10", path], check=True, timeout=120, stdin=subprocess.DEVNULL)


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 96_000, 0, "NONE", None))
        file.writeframes(bytes(4 * 96_000 * SECONDS))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(name, make): the file of this name that make(path) has made, once for all tests."""
    folder = tmp_path_factory.mktemp("media")

    def once(name, make):
        if not (folder / name).exists():
            make(folder / name)
        return folder / name
    return once


@pytest.fixture(params=[("video", "film.webm", film), ("audio", "sound.wav", sound)], ids=lambda medium: medium[0])
def medium(request, made, tmp_path):
    """A server of one film or sound: `element`, `name` and `size` say of which."""
    element, name, make = request.param
    os.link(made(name, make), tmp_path / name)
    with served(tmp_path) as server:
        server.element, server.name, server.size = element, name, (tmp_path / name).stat().st_size
        yield server


def parts(server):
    """(status, first octet asked for) of each request for the medium, as the log has them."""
    return [(status, int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else None)
            for path, status, asked in server.answers if path == f"/{server.name}"]


def test_winding_on_and_back(medium, opened):
    page = opened(medium.url)
    page.get_by_role("link", name=medium.name).click()
    element = page.locator("video")         # a page of a sound has one, too
    element.evaluate("element => element.muted = true")
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    assert abs(element.evaluate("element => element.duration") - SECONDS) < 1
    assert element.evaluate("element => element.videoWidth") == (320 if medium.element == "video" else 0)
    assert element.evaluate("element => element.seekable.length && element.seekable.end(0)") > SECONDS - 1
    for second in (SECONDS - 10, SECONDS // 2, 5):
        wind(element, second)
    # The link itself asks for the whole, and is broken off when the browser sees what it is.
    assert parts(medium)[0] == (200, None)
    sent = parts(medium)[1:]
    assert all(status in (206, 304) for status, _ in sent), sent
    for place in (SECONDS - 10, SECONDS // 2, 5):
        near = medium.size * place // SECONDS
        assert any(status == 206 and abs(first - near) < medium.size * 0.08 for status, first in sent), (place, near, sent)


def wind(element, second):
    """Go there, and play on from there."""
    reached = element.evaluate("""async (element, second) => {
        element.pause();
        const sought = new Promise((done, failed) => {
            element.addEventListener("seeked", done, {once: true});
            element.addEventListener("error", () => failed(element.error.message), {once: true});
        });
        element.currentTime = second;
        await sought;
        const at = element.currentTime;
        await element.play();
        const end = Date.now() + 20000;
        while (element.currentTime <= at && Date.now() < end) await new Promise(done => setTimeout(done, 20));
        element.pause();
        return element.currentTime;
    }""", second)
    assert second < reached < second + 25


def test_a_medium_in_somebody_s_page(medium, opened):
    """An element as people write it, in an index page beside the file."""
    (medium.share / "index.html").write_text(
        f'<!doctype html><title>x</title><{medium.element} src="{medium.name}" controls preload="metadata" muted></{medium.element}>')
    page = opened(medium.url)
    element = page.locator(medium.element)
    page.wait_for_function("name => document.querySelector(name).readyState >= 1", arg=medium.element)
    wind(element, SECONDS - 10)
    # 304: the browser has that part already, and asks whether the file is still the same.
    asked = parts(medium)
    assert all(status in (206, 304) for status, _ in asked), asked
    assert any(status == 206 and first > medium.size * 0.8 for status, first in asked), asked
