"""The folder page in a real browser: what is listed, sorting, filter, keys; with script and without."""
import json
import os
import urllib.request

import pytest
from serving_folder import served

#: Octets of names, and what stands for them on the page. All of them are files with their own name in it.
ODD = [(b"caf\xe9.txt", r"caf\xe9.txt"), (b"line\nbreak.txt", r"line\x0abreak.txt"), (b"javascript:alert(1)", "javascript:alert(1)"),
       (b"<b onclick=alert(1)>\"'&amp;.txt", "<b onclick=alert(1)>\"'&amp;.txt"), (b"100% #1? a&b=c;d.txt", "100% #1? a&b=c;d.txt"),
       ("Дневник 日本.txt".encode(), "Дневник 日本.txt"), (b"%2e%2e", "%2e%2e"), (b" spaces  within ", " spaces  within "),
       (b"back\\slash", "back\\slash"), ("\u202eright to left.txt".encode(), r"\u202eright to left.txt"),
       (b"...", "..."), (b"{{title}}", "{{title}}"), (b"</script>".replace(b"/", b"\\"), "<\\script>")]
SORTED = [("name", "desc"), ("size", "asc"), ("size", "desc"), ("modified", "asc"), ("modified", "desc")]


@pytest.fixture
def shared(tmp_path):
    """A served folder: `share` with two folders and files of several sizes and times."""
    share = tmp_path / "share"
    share.mkdir()
    for name in ("Projects", "archive 10", "archive 9"):
        (share / name).mkdir()
    for number, (name, size) in enumerate([("b.txt", 20), ("A.py", 3000), ("a10.pdf", 5), ("a9.zip", 5), ("empty", 0)]):
        (share / name).write_bytes(b"x" * size)
        os.utime(share / name, (0, 1_700_000_000 + 1000 * (number * 7 % 5)))
    os.symlink("nowhere", share / "broken")
    with served(tmp_path) as server:
        server.share = share
        server.url += "share/"
        yield server


def expected(server, query=""):
    """The names that the server gives to programs, in its order."""
    with urllib.request.urlopen(f"{server.url}?format=json&{query}", timeout=20) as answer:
        return [entry["name"] for entry in json.load(answer)["entries"]]


def shown(page):
    return page.locator(".rows tr:not([hidden]) bdi").all_text_contents()


# ---------------------------------------------------------------- listing

def test_the_list(shared, opened):
    page = opened(shared.url)
    assert page.title() == "share"
    assert shown(page) == ["archive 9", "archive 10", "Projects", "A.py", "a9.zip", "a10.pdf", "b.txt", "broken", "empty"]
    assert page.locator(".rows tr").nth(3).locator("td").all_text_contents() == ["3.0 kB", "14 Nov 2023, 23:46"]
    assert page.locator("#summary").text_content() == "3 folders, 6 files, 3.0 kB"
    assert page.locator(".rows td").nth(6).get_attribute("title") == "3,000 bytes"


def test_the_tree_of_accessibility_is_a_table(shared, opened):
    page = opened(shared.url)
    table = page.get_by_role("table", name="Files")
    assert table.get_by_role("columnheader").count() == 3
    assert table.get_by_role("row").count() == 1 + 1 + 9     # its head, the parent folder, and what there is
    assert table.get_by_role("rowheader", name="A.py").count() == 1
    row = table.get_by_role("row").filter(has=page.get_by_role("link", name="b.txt"))
    assert row.get_by_role("cell").all_text_contents()[0] == "20 B"
    assert page.get_by_role("heading", level=1).text_content() == "share"
    assert page.get_by_role("search").get_by_role("searchbox", name="Filter by name").is_visible()
    assert page.get_by_role("navigation", name="Folders on the way here").get_by_role("link", name="Files").is_visible()


def test_every_name_is_shown_and_leads_to_its_file(shared, opened, picture):
    for octets, _ in ODD:
        with open(os.path.join(os.fsencode(shared.share), octets), "wb") as file:
            file.write(b"content of " + octets)
    page = opened(shared.url)
    picture(page, "names", full_page=True)
    for octets, text in ODD:
        link = page.locator(".rows a").nth(shown(page).index(text))
        assert link.locator("bdi").inner_text() == text     # with all of its spaces
        with urllib.request.urlopen(link.evaluate("link => link.href"), timeout=20) as answer:
            assert answer.read() == b"content of " + octets
    assert page.locator(".rows [onclick], .rows b, .rows script").count() == 0


def test_folders_lead_on_and_back(shared, opened):
    name = os.fsdecode(b"caf\xe9 <b>")
    (shared.share / name / "inner").mkdir(parents=True)
    page = opened(shared.url)
    page.get_by_role("link", name=r"caf\xe9 <b>").click()
    page.get_by_role("link", name="inner").click()
    assert page.get_by_role("navigation").get_by_role("listitem").all_text_contents() == ["Files", "share", r"caf\xe9 <b>", "inner"]
    page.get_by_role("link", name="Parent folder").click()
    assert page.url == shared.url + "caf%E9%20%3Cb%3E/"
    page.get_by_role("navigation").get_by_role("link", name="share").click()
    assert page.url == shared.url
    page.get_by_role("navigation").get_by_role("link", name="Files").click()
    assert page.url == shared.url.removesuffix("share/")
    assert page.get_by_role("link", name="Parent folder").count() == 0


def test_an_empty_folder(shared, opened, picture):
    page = opened(shared.url + "Projects/")
    assert page.get_by_text("This folder is empty.").is_visible()
    picture(page, "empty")


# ---------------------------------------------------------------- sorting

@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_sorting(shared, opened, script):
    page = opened(shared.url, java_script_enabled=script)
    page.evaluate("window.same = true") if script else None
    for column, order in [("size", "desc"), ("size", "asc"), ("modified", "desc"), ("modified", "asc"), ("name", "asc"),
                          ("name", "desc")]:
        page.get_by_role("columnheader", name=column.capitalize()).get_by_role("link").click()
        page.locator(f'[data-sort="{column}"][aria-sort="{order}ending"]').wait_for()
        assert shown(page) == expected(shared, f"sort={column}&order={order}")
        assert page.locator("[aria-sort]").count() == 1
    if script:
        assert page.evaluate("window.same") is True     # it was no new page


@pytest.mark.parametrize("column, order", SORTED)
def test_a_reload_keeps_the_order(shared, opened, column, order):
    page = opened(f"{shared.url}?sort={column}&order={order}")
    assert shown(page) == expected(shared, f"sort={column}&order={order}")
    page.get_by_role("columnheader", name="Size").get_by_role("link").click()
    before = shown(page)
    page.reload()
    assert shown(page) == before


def test_dates_are_those_of_the_place_after_sorting_too(shared, opened):
    page = opened(shared.url)
    page.get_by_role("columnheader", name="Modified").get_by_role("link").click()
    page.get_by_text("14 Nov 2023, 23:46").wait_for()
    assert not page.get_by_text("UTC").is_visible()


# ---------------------------------------------------------------- filter and keys

def test_filter(shared, opened, picture):
    page = opened(shared.url)
    page.keyboard.press("/")
    page.keyboard.type("ARCH")
    page.get_by_text("2 of 9 entries").wait_for()
    assert shown(page) == ["archive 9", "archive 10"]
    picture(page, "filter")
    page.get_by_role("columnheader", name="Name").get_by_role("link").click()
    assert shown(page) == ["archive 10", "archive 9"]
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_text("Nothing here has that in its name.").wait_for()
    assert shown(page) == []
    page.get_by_role("searchbox").press("Escape")
    page.get_by_text("3 folders, 6 files").wait_for()
    assert len(shown(page)) == 9
    page.get_by_role("searchbox").fill("a10")
    page.get_by_text("1 of 9 entries").wait_for()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "a10.pdf"


def test_filter_without_script(shared, opened):
    page = opened(shared.url + "?sort=size&order=desc", java_script_enabled=False)
    page.get_by_role("searchbox").fill("A")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Show all").wait_for()
    assert shown(page) == expected(shared, "filter=a&sort=size&order=desc")
    assert len(shown(page)) == 5
    page.get_by_role("link", name="Show all").click()
    page.get_by_text("3 folders, 6 files").wait_for()
    assert shown(page) == expected(shared, "sort=size&order=desc")


def test_a_page_that_the_server_filtered_asks_it_again(shared, opened):
    page = opened(shared.url + "?filter=arch")
    page.get_by_role("searchbox").fill("a10")
    assert shown(page) == ["archive 9", "archive 10"]
    page.get_by_role("searchbox").press("Enter")
    page.get_by_text("1 file").wait_for()
    assert shown(page) == ["a10.pdf"]


def test_keys(shared, opened, picture):
    page = opened(shared.url)

    def focused():
        return page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Tab")
    assert focused() == "Skip to the list"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert focused() == "Parent folder"
    for name in ("archive 9", "archive 10", "Projects", "A.py"):
        page.keyboard.press("ArrowDown")
        assert focused() == name
    picture(page, "keys")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.get_by_text("This folder is empty.").wait_for()
    page.go_back()
    page.get_by_role("searchbox").press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "filter"


def test_all_controls_can_be_reached_by_tab(shared, opened):
    shared.change(upload=True)
    page = opened(shared.url)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        outline = page.evaluate("""(() => { const at = document.activeElement, near = at.nextElementSibling;
            return [at, near].some(e => e && getComputedStyle(e).outlineStyle !== 'none'); })()""")
        assert outline, f"no focus to be seen on {reached[-1]}"
        if reached[-1] == "JSON":
            break
    assert reached == ["Skip to the list", "Files", "filter", "tiles", "files", "Name", "Size", "Modified", "Parent folder",
                       "archive 9", "archive 10", "Projects", "A.py", "a9.zip", "a10.pdf", "b.txt", "broken", "empty",
                       "Plain list", "JSON"]


# ---------------------------------------------------------------- many, and the policy

def test_fifty_thousand(opened, tmp_path):
    """Only what is near the window is laid out, and the script has done its part with no group it has not seen."""
    for number in range(50_000):
        os.close(os.open(tmp_path / f"file number {number}.txt", os.O_CREAT, 0o644))
    with served(tmp_path) as server:
        page = opened(server.url)
        assert page.locator(".rows").count() == 500
        rendered = page.evaluate("""[...document.querySelectorAll('.rows')].filter(group =>
            group.rows[0].cells[0].checkVisibility({contentVisibilityAuto: true})).length""")
        assert 1 <= rendered <= 20
        assert page.locator(".rows td[title]").count() <= 2 * 20 * 100
        # Not by role or text, which Playwright looks for in each of so many elements.
        page.locator("#filter").fill("number 4999")
        page.locator("#summary", has_text="11 of 50,000 entries").wait_for()
        assert page.locator(".rows:not([hidden])").count() == 2
        page.locator("#filter").fill("")
        page.locator("#summary", has_text="50,000 files").wait_for()
        page.locator("thead a").first.click()
        assert page.locator(".rows bdi").first.text_content() == "file number 49999.txt"
        page.locator("h1").click()
        page.keyboard.press("End")
        last = page.locator(".rows").last.locator("tr").last
        assert last.text_content().startswith("file number 0.txt")
        last.scroll_into_view_if_needed()
        page.wait_for_function("""() => document.querySelector(".rows:last-child tr:last-child td[title]") !== null""")


def test_the_policy_holds(shared, opened):
    """Should markup ever get into the page, it could not run, and the script cannot make any of strings."""
    page = opened(shared.url)
    refused = page.evaluate("""async () => {
        const seen = [];
        document.addEventListener("securitypolicyviolation", event => seen.push(event.effectiveDirective));
        const attempts = {
            text() { document.createElement("script").text = "window.ran = 1"; },
            node() { const made = document.createElement("script"); made.append("window.ran = 2"); document.body.append(made); },
            markup() { document.body.innerHTML += "<p>"; },
            attribute() { document.body.setAttribute("onclick", "window.ran = 3"); document.body.click(); },
            style() { document.body.setAttribute("style", "color: red"); },
            image() { document.body.append(Object.assign(new Image(), {src: "http://localhost:9/x.png"})); },
        };
        const thrown = [];
        for (const [name, attempt] of Object.entries(attempts)) {
            try { attempt(); } catch (error) { thrown.push(name + " " + error.name); }
        }
        const end = Date.now() + 20000;
        while (!seen.includes("img-src") && Date.now() < end) await new Promise(done => setTimeout(done, 20));
        return {ran: window.ran ?? null, thrown, seen: [...new Set(seen)].sort(), colour: document.body.style.color};
    }""")
    assert refused["ran"] is None and refused["colour"] == ""
    assert {"text TypeError", "markup TypeError"} <= set(refused["thrown"])
    assert {"img-src", "require-trusted-types-for", "style-src-attr"} <= set(refused["seen"])
    assert page.evaluate("""fetch("./").then(() => "answered", error => error.name)""") == "TypeError"   # no connect-src
    assert opened.complaints and all("Content Security Policy" in text or "Trusted" in text for text in opened.complaints)
    opened.complaints.clear()
