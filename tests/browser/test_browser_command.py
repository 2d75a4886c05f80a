"""What `turboserver [DIR]` serves, in a real browser: behind a password, by HTTPS, an application of one page; odd names."""
import re

import pytest
from file_server import LOCAL, file_server
from serving_folder import png

COLOURS = (70, 120, 200), (240, 170, 120)
#: What leads somewhere else in careless hands.
ODD = ('"quoted" \'twice\'', "line\nbreak", "javascript:alert(1)", "Дневник 日本", "<img src=x onerror=alert(1)>", "a%2fb", " ", "#?&=;")


@pytest.fixture
def folder(tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    (share / "a.txt").write_text("text")
    (share / "picture.png").write_bytes(png(300, 200, *COLOURS))
    return share


@pytest.fixture
def start(folder):
    """start(*arguments): the URL of the folder, served by the command."""
    running = []

    def begin(*arguments):
        manager = file_server(str(folder), *LOCAL, *arguments, cwd=folder.parent)
        server = manager.__enter__()
        running.append(manager)
        return server.ready().urls[0]
    yield begin
    for manager in running:
        manager.__exit__(None, None, None)


# ---------------------------------------------------------------- a password

def test_with_the_password_all_of_the_page_works(start, folder, opened, picture):
    page = opened(start("--auth", "anna:right", "--upload"), http_credentials={"username": "anna", "password": "right"})
    assert page.locator(".rows bdi").all_text_contents() == ["a.txt", "picture.png"]
    assert page.locator(".rows img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
    page.get_by_label("Add files").set_input_files([{"name": "new.txt", "mimeType": "text/plain", "buffer": b"new"}])
    page.locator(".rows").get_by_role("link", name="new.txt").wait_for()
    assert (folder / "new.txt").read_bytes() == b"new"
    page.get_by_role("link", name="picture.png").click()
    assert page.locator("#viewer-image").evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
    page.keyboard.press("Escape")
    page.get_by_role("link", name="JSON").click()
    assert '"name": "new.txt"' in page.content()


@pytest.mark.parametrize("credentials", [{"username": "anna", "password": "wrong"}, {"username": "", "password": ""}])
def test_without_it_there_is_nothing_to_be_seen(start, opened, picture, credentials):
    page = opened("about:blank", http_credentials=credentials)
    answer = page.goto(start("--auth", "anna:right", "--upload"))
    assert answer.status == 401 and answer.header_value("WWW-Authenticate") == 'Basic realm="files", charset="UTF-8"'
    assert page.locator("h1").text_content() == "Error response" and "picture" not in page.content()
    picture(page, "password-wanted")
    opened.allowed.append("401")


def test_the_browser_asks_for_it(start, opened):
    """Nobody is there to answer; a browser without a window says so in its way."""
    page = opened("about:blank")
    with pytest.raises(Exception, match="ERR_INVALID_AUTH_CREDENTIALS"):
        page.goto(start("--auth", "anna:right"))
    opened.allowed.append("401")


def test_a_password_that_is_mistyped_can_be_typed_again(start, opened):
    url = start("--auth", "änna:pass wörd:€")
    wrong = opened("about:blank", http_credentials={"username": "änna", "password": "pass word"})
    assert wrong.goto(url).status == 401
    right = opened(url, http_credentials={"username": "änna", "password": "pass wörd:€"})
    assert right.locator(".rows bdi").first.text_content() == "a.txt"
    opened.allowed.append("401")


# ---------------------------------------------------------------- HTTPS

def test_a_certificate_that_signs_itself(start, folder, opened):
    url = start("--tls-self-signed", "--upload")
    assert url.startswith("https://")
    page = opened("about:blank")
    with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(url)
    page = opened(url, ignore_https_errors=True)
    assert page.evaluate("isSecureContext") and page.locator(".rows bdi").first.text_content() == "a.txt"
    assert page.locator(".rows img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
    content = bytes(range(256)) * 20_000
    page.get_by_label("Add files").set_input_files(
        [{"name": name, "mimeType": "text/plain", "buffer": content} for name in ("new.bin", "a.txt")])
    page.locator("#sending li", has_text="new.bin").get_by_text("Done").wait_for()
    page.locator("#sending li", has_text="a.txt").get_by_text("A file of that name is here already").wait_for()
    assert (folder / "new.bin").read_bytes() == content and (folder / "a.txt").read_text() == "text"
    opened.allowed.append("412")


def test_a_password_by_https(start, opened):
    page = opened(start("--tls-self-signed", "--auth", "anna:right"), ignore_https_errors=True,
                  http_credentials={"username": "anna", "password": "right"})
    page.get_by_role("link", name="a.txt").click()
    page.wait_for_url("**/a.txt")
    assert page.locator("body").inner_text() == "text"


# ---------------------------------------------------------------- an application of one page

APPLICATION = """<!doctype html><title>App</title><base href="/"><nav><a href="/users/7">User 7</a></nav><h1></h1>
<script src="/app.js"></script>"""
SCRIPT = """
const show = () => { document.querySelector("h1").textContent = "at " + location.pathname; };
addEventListener("popstate", show);
document.querySelector("a").addEventListener("click", event => {
  event.preventDefault();
  history.pushState(null, "", event.target.href);
  show();
});
show();
"""


def test_an_application_of_one_page(start, folder, opened):
    (folder / "index.html").write_text(APPLICATION)
    (folder / "app.js").write_text(SCRIPT)
    (folder / "docs").mkdir()
    (folder / "docs" / "guide.txt").write_text("guide")
    url = start("--spa", "--cache", "0")
    page = opened(url)
    heading = page.locator("h1")
    assert heading.text_content() == "at /"
    page.get_by_role("link", name="User 7").click()
    assert heading.text_content() == "at /users/7"
    assert page.reload().status == 200 and heading.text_content() == "at /users/7"
    page.go_back()
    assert heading.text_content() == "at /"
    for path in ("users/7/edit?x=1#top", "v1/%C3%BC", "users/"):       # deep links
        assert page.goto(url + path).status == 200
        assert heading.text_content() == "at /" + re.sub("[?#].*", "", path)
    for path in ("missing.js", "users/7/missing.png", "docs/missing.css"):     # an asset is no route
        assert page.goto(url + path).status == 404
    assert page.goto(url + "docs/guide.txt").text() == "guide"
    assert page.goto(url + "docs/").text().count("guide.txt")           # a folder stays one
    opened.allowed.append("404")


# ---------------------------------------------------------------- names

def test_folders_of_odd_names_lead_to_each_other(start, folder, opened, picture):
    """Down through all of them, up by the way that is shown, and back again."""
    inner = folder
    for name in ODD:
        inner = inner / name.replace("/", "")
        inner.mkdir()
    (inner / "end.txt").write_text("the end")
    url = start()
    page = opened(url)
    for _ in ODD:
        page.locator(".rows tr.folder a").click()
    crumbs = page.get_by_role("navigation").get_by_role("listitem").all_text_contents()
    assert crumbs == ["Files", *(name.replace("\n", "\\x0a") for name in ODD)]
    picture(page, "odd-folders")
    page.get_by_role("link", name="end.txt").click()
    assert page.locator("body").inner_text() == "the end"
    page.go_back()
    for _ in ODD:
        page.get_by_role("link", name="Parent folder").click()
    assert page.url == url
    assert page.evaluate("window.alerted ?? null") is None


def test_files_of_odd_names_are_sent_shown_and_fetched(start, folder, opened):
    page = opened(start("--upload"))
    names = [f"{name}.png" for name in ODD if "\n" not in name and name != " "]
    content = png(40, 30, *COLOURS)
    page.get_by_label("Add files").set_input_files([{"name": name, "mimeType": "image/png", "buffer": content} for name in names])
    for name in names:
        page.locator("#sending li").filter(has=page.get_by_text(name, exact=True)).get_by_text("Done").wait_for()
        assert (folder / name).read_bytes() == content
        link = page.locator(".rows").get_by_role("link", name=name, exact=True)
        link.click()
        assert page.locator("#viewer-image").evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.path().read_bytes() == content
        page.keyboard.press("Escape")
