"""The folder page in a real browser: light and dark, wide and narrow, less motion. The pictures are to be looked at."""
import os

import pytest
from serving_folder import png, served

FILES = {"Annual report 2026.pdf": 1_834_222, "backup.tar.gz": 83_000_000, "interview.mp3": 5_200_000, "main.py": 4312,
         "talk.mp4": 64_000_000, "README.md": 1500, "notes.txt": 0, "data.bin": 999, "Дневник, «черновик».txt": 2222,
         "a-very-long-name-" + "without-any-space-" * 9 + ".txt": 77}
COLOURS = [((70, 120, 200), (240, 170, 120)), ((20, 60, 90), (120, 200, 190)), ((200, 120, 150), (250, 220, 180))]


@pytest.fixture
def everything(tmp_path):
    """One of each kind, thumbnails, links, and a name that is as long as can be."""
    share = tmp_path / "Shared files"
    for name in ("Photos", "Projects"):
        (share / name).mkdir(parents=True)
    for name, size in FILES.items():
        with open(share / name, "wb") as file:
            file.truncate(size)
    for number, colours in enumerate(COLOURS, 1):
        (share / f"Holiday {number}.png").write_bytes(png(900, 600, *colours))
    os.symlink("nowhere", share / "broken")
    os.symlink("Photos", share / "Pictures")
    with served(tmp_path) as server:
        server.change(upload=True)
        server.url += "Shared%20files/"
        yield server
        server.gate.set()


def luminance(page, selector, of="color"):
    """WCAG 2.2's relative luminance of a colour that is worked out for an element."""
    return page.locator(selector).first.evaluate("""(element, of) => {
        const canvas = document.createElement("canvas").getContext("2d");
        let at = element, colour = getComputedStyle(at)[of];
        while (of === "backgroundColor" && colour === "rgba(0, 0, 0, 0)") colour = getComputedStyle(at = at.parentElement)[of];
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }""", of)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width, height", [(1200, 900), (390, 844), (320, 640)])
def test_light_and_dark_wide_and_narrow(everything, opened, picture, scheme, width, height):
    page = opened(everything.url, width, height, color_scheme=scheme)
    page.wait_for_load_state("networkidle")
    ground = luminance(page, "body", "backgroundColor")
    assert ground > 0.85 if scheme == "light" else ground < 0.05
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "there is something to scroll sideways"
    picture(page, f"{scheme}-{width}", full_page=True)


@pytest.mark.parametrize("scheme, width, height", [("light", 1200, 900), ("dark", 390, 844), ("light", 320, 640)])
def test_uploads_wide_and_narrow(everything, opened, picture, scheme, width, height):
    """One under way, one that is done, one whose name is taken, one that is refused, and one with a long name."""
    page = opened(everything.url, width, height, color_scheme=scheme)
    everything.change(upload_bound=100_000)

    def add(name, size=1000):
        page.get_by_label("Add files").set_input_files([{"name": name, "mimeType": "text/plain", "buffer": b"x" * size}])
        return page.locator("#sending li").filter(has=page.get_by_text(name, exact=True)).locator(".state")
    add("done.txt").get_by_text("Done").wait_for()
    add("README.md").get_by_text("is here already").wait_for()
    add("large.bin", 100_001).get_by_text("Refused: 413").wait_for()
    everything.gate.clear()
    add("a-long-name-" + "without-any-space-" * 6 + ".txt", 100_000).get_by_text("Finishing").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "there is something to scroll sideways"
    for line in page.locator("#sending li").all():
        box = line.bounding_box()
        for part in line.locator(".name, .state, button:visible").all():
            inner = part.bounding_box()
            assert inner["x"] >= box["x"] and inner["x"] + inner["width"] <= box["x"] + box["width"] + 0.5
    picture(page, f"uploads-{scheme}-{width}")
    everything.gate.set()
    opened.allowed += ["412", "413"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(everything, opened, scheme):
    """A contrast of 4.5 : 1 (WCAG 2.2, 1.4.3)."""
    page = opened(everything.url, color_scheme=scheme, reduced_motion="reduce")
    page.get_by_label("Tiles").check()
    for selector in ("h1", ".crumbs a", "thead th:nth-child(1) a", "thead th:nth-child(2) a", ".rows bdi", ".rows td",
                     ".up bdi", ".link a", ".link td", ".hint", ".button", "#summary", "footer a", "#filter", ".toggle span"):
        one, other = sorted((luminance(page, selector), luminance(page, selector, "backgroundColor")))
        assert (other + 0.05) / (one + 0.05) >= 4.5, selector


def test_the_sizes_and_dates_of_a_narrow_page(everything, opened):
    page = opened(everything.url, 390, 844)
    row = page.locator(".rows tr", has_text="main.py")
    assert row.get_by_text("4.3 kB").is_visible() and row.locator("td").nth(1).is_visible()


@pytest.mark.parametrize("motion, duration", [("reduce", "0s"), ("no-preference", "0.12s")])
def test_motion(everything, opened, motion, duration):
    page = opened(everything.url, reduced_motion=motion)
    assert duration in page.locator(".rows tr").first.evaluate("row => getComputedStyle(row).transitionDuration")


def test_forced_colours_keep_the_icons(everything, opened, picture):
    page = opened(everything.url, forced_colors="active")
    assert page.locator(".rows a").first.evaluate("link => getComputedStyle(link, '::before').maskImage") != "none"
    picture(page, "forced-colours")


def test_tiles_in_the_dark(everything, opened, picture):
    page = opened(everything.url, 1200, 900, color_scheme="dark")
    page.get_by_label("Tiles").check()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, "tiles-dark", full_page=True)


def test_the_page_is_one_request(everything, opened):
    """Nothing but the page itself and the images that are in the folder."""
    page = opened("about:blank")
    asked = []
    page.on("request", lambda request: asked.append((request.resource_type, request.url)))
    page.goto(everything.url)
    page.wait_for_load_state("networkidle")
    asked = [url for kind, url in asked if not url.startswith("data:")]
    assert asked[0] == everything.url and sorted(asked[1:]) == [f"{everything.url}Holiday%20{number}.png" for number in (1, 2, 3)]
