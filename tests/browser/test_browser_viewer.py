"""The folder page in a real browser: thumbnails and the viewer of images."""
import pytest
from serving_folder import png, served

COLOURS = [((70, 120, 200), (240, 170, 120)), ((20, 60, 90), (120, 200, 190)), ((200, 120, 150), (250, 220, 180))]


@pytest.fixture
def album(tmp_path):
    """A served folder of three pictures among other files; one of them has a name that wants care."""
    for name, colours in zip(("Holiday 1.png", "Holiday 2 \"#?%.png", "Holiday 10.png"), COLOURS, strict=True):
        (tmp_path / name).write_bytes(png(900, 600, *colours))
    (tmp_path / "notes.txt").write_bytes(b"text")
    (tmp_path / "folder.png").mkdir()
    with served(tmp_path) as server:
        server.share = tmp_path
        yield server


def loaded(page, selector):
    """Whether the image there has been loaded and decoded, and how wide it is."""
    return page.locator(selector).evaluate("image => image.decode().then(() => image.naturalWidth)")


def focused(page):
    return page.evaluate("document.activeElement.textContent")


def test_thumbnails(album, opened):
    page = opened(album.url)
    assert page.locator(".rows img").count() == 3
    for number in range(3):
        assert loaded(page, f".rows img >> nth={number}") == 900
    assert page.locator(".rows a", has_text="notes").locator("img").count() == 0


def test_a_broken_image_has_an_icon(album, opened, picture):
    (album.share / "a broken one.png").write_bytes(b"no image")
    page = opened(album.url)
    page.locator(".rows tr", has_text="broken").locator("img").wait_for(state="detached")
    row = page.locator(".rows tr", has_text="broken")
    assert row.locator("a").evaluate("link => getComputedStyle(link, '::before').display") != "none"
    row.locator("a").click()
    page.get_by_text("This image cannot be shown.").wait_for()
    picture(page, "viewer-broken")


def test_viewer(album, opened, picture):
    page = opened(album.url)
    page.get_by_role("link", name="Holiday 1.png").press("Enter")
    dialog = page.get_by_role("dialog", name="Holiday 1.png")
    assert dialog.is_visible() and loaded(page, "#viewer-image") == 900
    assert page.get_by_text("1 of 3").is_visible()
    assert dialog.get_by_role("img", name="Holiday 1.png").is_visible()
    picture(page, "viewer")

    page.keyboard.press("ArrowRight")
    page.get_by_text("2 of 3").wait_for()
    assert page.get_by_role("dialog", name="Holiday 2 \"#?%.png").is_visible() and loaded(page, "#viewer-image") == 900
    page.keyboard.press("End")
    page.get_by_text("3 of 3").wait_for()
    page.keyboard.press("ArrowRight")       # round
    page.get_by_text("1 of 3").wait_for()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("3 of 3").wait_for()
    page.get_by_role("button", name="Previous image").click()
    page.get_by_text("2 of 3").wait_for()
    page.get_by_role("button", name="Next image").click()
    page.get_by_text("3 of 3").wait_for()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("link", name="Open").get_attribute("href") == album.url + "Holiday%202%20%22%23%3F%25.png"

    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert focused(page) == "Holiday 2 \"#?%.png"       # where one is, not where one began
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Close").click()
    assert focused(page) == "Holiday 2 \"#?%.png"
    assert page.url == album.url


@pytest.mark.parametrize("width, height", [(390, 844), (844, 390), (320, 480)])
def test_viewer_of_a_telephone(album, opened, picture, width, height):
    """All of it is in the window: the image as large as there is room, and what can be pressed."""
    page = opened(album.url, width, height, color_scheme="dark", has_touch=True)
    (album.share / ("a name that is " + "long " * 30 + ".png")).write_bytes(png(300, 1200, *COLOURS[0]))
    page.reload()
    page.get_by_role("link", name="a name that is").click()
    assert loaded(page, "#viewer-image") == 300
    for part in ("#viewer-image", "#viewer-close", "#viewer-save", "#viewer-back", "#viewer-next", "#viewer-place"):
        box = page.locator(part).bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, part
    assert page.locator("#viewer-image").bounding_box()["height"] > height / 3
    picture(page, f"viewer-{width}")
    page.locator("#viewer-next").tap()
    page.get_by_text("2 of 4").wait_for()
    page.locator("#viewer-close").tap()
    assert not page.locator("#viewer").is_visible()


def test_focus_stays_in_the_viewer(album, opened):
    page = opened(album.url)
    page.get_by_role("link", name="Holiday 1.png").click()
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || document.activeElement.closest('dialog') !== null")


def test_download(album, opened):
    page = opened(album.url)
    page.get_by_role("link", name="Holiday 1.png").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "Holiday 1.png"


def test_only_what_the_filter_shows(album, opened):
    page = opened(album.url)
    page.get_by_role("searchbox").fill("1")
    page.get_by_text("2 of 5 entries").wait_for()
    page.get_by_role("link", name="Holiday 10.png").click()
    page.get_by_text("2 of 2").wait_for()


def test_other_files_and_modified_clicks_are_links(album, opened):
    page = opened(album.url)
    with page.context.expect_page() as new:
        page.get_by_role("link", name="Holiday 1.png").click(modifiers=["ControlOrMeta"])
    assert new.value.url.endswith("/Holiday%201.png")
    assert not page.locator("#viewer").is_visible()
    page.get_by_role("link", name="folder.png").click()
    page.get_by_text("This folder is empty.").wait_for()


def test_without_script_an_image_is_a_link(album, opened):
    page = opened(album.url, java_script_enabled=False)
    assert not page.locator("#viewer").is_visible()
    page.get_by_role("link", name="Holiday 1.png").click()
    page.wait_for_url("**/Holiday%201.png")


def test_tiles(album, opened, picture):
    page = opened(album.url)
    page.get_by_label("Tiles").check()
    picture(page, "tiles")
    first, second = (page.locator(".rows tr").nth(number).bounding_box() for number in (1, 2))
    assert first["y"] == second["y"] and first["x"] < second["x"]
    assert page.get_by_role("link", name="Holiday 1.png").is_visible()
    page.reload()
    assert page.get_by_label("Tiles").is_checked()
    page.get_by_role("link", name="Holiday 1.png").click()
    assert page.get_by_text("1 of 3").is_visible()


def test_tiles_without_script(album, opened):
    page = opened(album.url, java_script_enabled=False)
    page.get_by_label("Tiles").check()
    first, second = (page.locator(".rows tr").nth(number).bounding_box() for number in (1, 2))
    assert first["y"] == second["y"]
