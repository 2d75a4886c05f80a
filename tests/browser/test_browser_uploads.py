"""The folder page in a real browser: files that are sent, by drop, by the file dialog and without script."""
import pytest
from serving_folder import served

PROGRESS = """document.querySelector("#sending progress").value"""


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "there.txt").write_bytes(b"before")
    with served(tmp_path) as server:
        server.change(upload=True)
        server.share = tmp_path
        yield server
        server.gate.set()


def a_file(name, content=b"content"):
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


@pytest.fixture
def large(tmp_path_factory):
    """large(name, size): a file on the disk, which reaches the browser faster than octets do."""
    folder = tmp_path_factory.mktemp("large")

    def make(name, size):
        (folder / name).write_bytes(b"x" * size)
        return folder / name
    return make


def line(page, name):
    return page.locator("#sending li").filter(has=page.get_by_text(name, exact=True))


def drop(page, files):
    """Drop files, {name: text}, on the page as the browser would."""
    page.evaluate("""files => {
        const data = new DataTransfer();
        for (const [name, text] of Object.entries(files)) data.items.add(new File([text], name));
        window.data = data;
        dispatchEvent(new DragEvent("dragenter", {dataTransfer: data, cancelable: true}));
    }""", files)
    assert page.get_by_text("Drop files to upload them here").is_visible()


def let_go(page):
    return page.evaluate("""() => {
        const over = new DragEvent("dragover", {dataTransfer: data, cancelable: true});
        const drop = new DragEvent("drop", {dataTransfer: data, cancelable: true});
        dispatchEvent(over);
        dispatchEvent(drop);
        return [over.defaultPrevented, drop.defaultPrevented];
    }""")


def test_files_of_the_dialog(inbox, opened):
    page = opened(inbox.url)
    names = ["new.txt", "a b #?%é.bin", "<b>'\".html", "javascript:x"]
    page.get_by_label("Add files").set_input_files([a_file(name, name.encode()) for name in names])
    for name in names:
        line(page, name).get_by_text("Done").wait_for()
        assert (inbox.share / name).read_bytes() == name.encode()
        page.locator(".rows").get_by_role("link", name=name, exact=True).wait_for()      # the list has them, too
    assert page.locator("#summary").text_content().startswith("5 files")


def test_progress(inbox, large, opened, picture):
    """The server stops reading in the middle: the bar stands in the middle, too, and ends when the server goes on."""
    page = opened(inbox.url)
    inbox.gate.clear()
    size = 40_000_000
    page.get_by_label("Add files").set_input_files(large("large.bin", size))
    assert inbox.started.wait(20)
    page.locator("#sending .state", has_text=" %").wait_for()
    page.locator("#sending progress[aria-label='Upload of large.bin']").wait_for()
    values = [page.evaluate(PROGRESS)]
    assert 0 <= values[0] < 1
    picture(page, "upload-progress")
    inbox.gate.set()
    line(page, "large.bin").get_by_text("Done").wait_for()
    assert page.evaluate(PROGRESS) == 1
    assert (inbox.share / "large.bin").stat().st_size == size


def test_the_bar_moves(inbox, large, opened):
    page = opened(inbox.url)
    page.evaluate("""() => {
        window.values = [];
        new MutationObserver(() => values.push(document.querySelector("#sending progress")?.value)).observe(
            document.getElementById("sending"), {subtree: true, childList: true, attributes: true});
    }""")
    page.get_by_label("Add files").set_input_files(large("large.bin", 40_000_000))
    line(page, "large.bin").get_by_text("Done").wait_for()
    values = page.evaluate("values")
    assert values == sorted(values) and values[0] == 0 and values[-1] == 1
    assert any(0 < value < 1 for value in values)


def test_drop(inbox, opened, picture):
    page = opened(inbox.url)
    drop(page, {"one.txt": "1", "two.txt": "22"})
    picture(page, "drop")
    assert let_go(page) == [True, True]
    assert not page.get_by_text("Drop files to upload them here").is_visible()
    for name, content in (("one.txt", b"1"), ("two.txt", b"22")):
        line(page, name).get_by_text("Done").wait_for()
        assert (inbox.share / name).read_bytes() == content


def test_a_drop_that_is_taken_away(inbox, opened):
    page = opened(inbox.url)
    drop(page, {"one.txt": "1"})
    page.evaluate("dispatchEvent(new DragEvent('dragleave', {dataTransfer: data}))")
    page.get_by_text("Drop files to upload them here").wait_for(state="hidden")
    assert page.locator("#sending li").count() == 0


def test_a_folder_cannot_be_sent(inbox, opened):
    """Its File cannot be read; the entry is what tells."""
    page = opened(inbox.url)
    page.evaluate("DataTransferItem.prototype.webkitGetAsEntry = () => ({isDirectory: true})")
    drop(page, {"folder": ""})
    let_go(page)
    line(page, "folder").get_by_text("Folders cannot be sent").wait_for()
    assert not (inbox.share / "folder").exists()


def test_what_happens_is_said_and_the_focus_stays(inbox, opened):
    page = opened(inbox.url)
    page.get_by_role("link", name="there.txt").focus()
    drop(page, {"one.txt": "1"})
    let_go(page)
    page.get_by_role("status").filter(has_text="one.txt: Done").wait_for()
    page.locator(".rows").get_by_role("link", name="one.txt").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "there.txt"


def test_the_whole_list_comes_again(inbox, opened):
    """Below the first folder, and of several groups of rows, in the order that was chosen."""
    folder = inbox.share / "folder"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number}.txt").write_bytes(b"x" * number)
    page = opened(inbox.url + "folder/")
    page.get_by_role("columnheader", name="Size").get_by_role("link").click()
    page.get_by_label("Add files").set_input_files([a_file("new.txt", b"x" * 100)])
    page.locator(".rows bdi", has_text="new.txt").wait_for()
    names = page.locator("tbody bdi").all_text_contents()
    assert names == ["Parent folder", *(f"{number}.txt" for number in range(249, 99, -1)), "new.txt",
                     *(f"{number}.txt" for number in range(99, -1, -1))]


def test_what_is_no_file_is_left_to_the_browser(inbox, opened):
    page = opened(inbox.url)
    prevented = page.evaluate("""() => {
        const data = new DataTransfer();
        data.setData("text/plain", "text");
        const over = new DragEvent("dragover", {dataTransfer: data, cancelable: true});
        dispatchEvent(new DragEvent("dragenter", {dataTransfer: data}));
        dispatchEvent(over);
        return over.defaultPrevented;
    }""")
    assert prevented is False and not page.locator("#drop").is_visible()


def test_what_is_there_is_replaced_only_on_demand(inbox, opened, picture):
    page = opened(inbox.url)
    page.get_by_label("Add files").set_input_files([a_file("there.txt", b"after")])
    line(page, "there.txt").get_by_text("A file of that name is here already").wait_for()
    assert (inbox.share / "there.txt").read_bytes() == b"before"
    picture(page, "upload-exists")
    line(page, "there.txt").get_by_role("button", name="Replace").click()
    line(page, "there.txt").get_by_text("Done").wait_for()
    assert (inbox.share / "there.txt").read_bytes() == b"after"
    assert not line(page, "there.txt").get_by_role("button", name="Replace").is_visible()
    line(page, "there.txt").get_by_role("button", name="Dismiss").click()
    assert not page.locator("#sending").is_visible()
    opened.complaints[:] = [text for text in opened.complaints if "412" not in text]


def test_cancel(inbox, large, opened):
    """One that is under way, one that waits its turn; the next one goes on."""
    page = opened(inbox.url)
    inbox.gate.clear()
    page.get_by_label("Add files").set_input_files([large(f"{number}.bin", 20_000_000) for number in range(4)])
    assert inbox.started.wait(20)
    line(page, "3.bin").get_by_role("button", name="Cancel").click()
    assert line(page, "3.bin").count() == 0
    line(page, "0.bin").get_by_role("button", name="Cancel").click()
    line(page, "0.bin").get_by_text("Cancelled").wait_for()
    inbox.gate.set()
    for name in ("1.bin", "2.bin"):
        line(page, name).get_by_text("Done").wait_for()
    assert sorted(path.name for path in inbox.share.iterdir() if path.suffix == ".bin") == ["1.bin", "2.bin"]


def test_a_refusal_is_said(inbox, opened):
    page = opened(inbox.url)
    page.route("**/no.txt", lambda route: route.fulfill(status=507, body=""))
    page.get_by_label("Add files").set_input_files([a_file("no.txt")])
    line(page, "no.txt").get_by_text("Refused: 507").wait_for()
    page.route("**/gone.txt", lambda route: route.abort())
    page.get_by_label("Add files").set_input_files([a_file("gone.txt")])
    line(page, "gone.txt").get_by_text("The connection failed").wait_for()
    opened.complaints[:] = [text for text in opened.complaints if "507" not in text and "ERR_FAILED" not in text]


def test_a_large_file_whose_name_is_taken(inbox, large, opened):
    """It is refused before it was read, and that is heard; then it can take the place."""
    page = opened(inbox.url)
    path = large("there.txt", 60_000_000)
    page.get_by_label("Add files").set_input_files(path)
    line(page, "there.txt").get_by_text("A file of that name is here already").wait_for()
    assert (inbox.share / "there.txt").read_bytes() == b"before"
    line(page, "there.txt").get_by_role("button", name="Replace").click()
    line(page, "there.txt").get_by_text("Done").wait_for()
    assert (inbox.share / "there.txt").stat().st_size == 60_000_000
    opened.complaints[:] = [text for text in opened.complaints if "412" not in text]


def test_each_refusal_is_told_for_what_it_is(inbox, large, opened, picture):
    """409 is not always a file that could be replaced; nor does the size of what is refused matter."""
    (inbox.share / "folder.txt").mkdir()
    page = opened(inbox.url)
    page.get_by_label("Add files").set_input_files([large("folder.txt", 60_000_000)])
    line(page, "folder.txt").get_by_text("Refused: 409 what has this name is no file").wait_for()
    assert not line(page, "folder.txt").get_by_role("button", name="Replace").is_visible()
    inbox.change(upload_bound=50_000_000)
    page.get_by_label("Add files").set_input_files([large("large.txt", 60_000_000)])
    line(page, "large.txt").get_by_text("Refused: 413 the file may have 50000000 octets").wait_for()
    picture(page, "upload-refused")
    opened.complaints[:] = [text for text in opened.complaints if "409" not in text and "413" not in text]


def test_a_refusal_in_the_middle_is_asked_for(inbox, large, opened):
    """Somebody makes a folder of that name meanwhile; the connection ends, and why the server says when it is asked."""
    page = opened(inbox.url)
    asked = []

    def answer(route):
        asked.append(route.request.headers.get("content-range"))
        if asked[-1] is None:
            (inbox.share / "new.txt").mkdir()
            route.abort()
        else:
            route.continue_()
    page.route("**/new.txt", answer)
    page.get_by_label("Add files").set_input_files([a_file("new.txt")])
    line(page, "new.txt").get_by_text("Refused: 409 what has this name is no file").wait_for()
    assert asked == ["bytes */7", None, "bytes */7"]
    opened.complaints[:] = [text for text in opened.complaints if "409" not in text and "ERR_FAILED" not in text]


def test_the_filter_holds_for_what_is_new(inbox, opened):
    page = opened(inbox.url)
    page.get_by_role("searchbox").fill("new")
    page.get_by_label("Add files").set_input_files([a_file("new.txt"), a_file("other.txt")])
    line(page, "other.txt").get_by_text("Done").wait_for()
    page.get_by_text("1 of 3 entries").wait_for()
    assert page.locator(".rows tr:not([hidden]) bdi").all_text_contents() == ["new.txt"]


def test_without_script(inbox, opened, picture):
    page = opened(inbox.url, java_script_enabled=False)
    picture(page, "upload-without-script")
    page.locator("#files").set_input_files([a_file("form.txt", b"by a form"), a_file("second.txt", b"2")])
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("link", name="form.txt").wait_for()
    assert (inbox.share / "form.txt").read_bytes() == b"by a form"
    assert (inbox.share / "second.txt").read_bytes() == b"2"


def test_a_refusal_without_script(inbox, large, opened):
    """A form asks nobody before it sends; the server lets it come to its end, within bounds, so that it is heard."""
    page = opened(inbox.url, java_script_enabled=False)
    page.locator("#files").set_input_files(large("there.txt", 12_000_000))
    page.get_by_role("button", name="Upload").click()
    page.get_by_text("Error code: 409").wait_for()
    assert (inbox.share / "there.txt").read_bytes() == b"before"
    opened.allowed.append("409")


def test_nothing_of_it_without_uploads(inbox, opened):
    inbox.change(upload=False)
    page = opened(inbox.url)
    assert page.locator("#upload, #sending, #drop, #sent").count() == 0
    page.evaluate("dispatchEvent(new DragEvent('dragenter', {dataTransfer: new DataTransfer()}))")
    assert page.evaluate("document.forms.length") == 1
