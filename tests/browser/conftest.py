"""A browser for the tests of the folder page: Debian's Chromium, led by Playwright (`make browser`)."""
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

#: Where pictures of the page are left, to be looked at.
PICTURES = Path(HERE).parents[1] / "build" / "browser"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
#: Milliseconds after which something that should have happened is taken to hang. Never a speed limit: a browser
#: shares the processors with its server and with other tests.
DEADLINE = 60_000
#: Seconds for a test, for the same reason.
LIMIT = 400


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(HERE) and item.get_closest_marker("limit") is None:
            item.add_marker(pytest.mark.limit(LIMIT))


@pytest.fixture(scope="session")
def chromium():
    """The browser itself; tests that need it are skipped, with the reason, where it cannot be had."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright; `make browser` installs it")
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH (apt install chromium)")
    playwright.expect.set_options(timeout=DEADLINE)
    with playwright.sync_playwright() as running:
        # root, in CI and in containers, has no sandbox to use.
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """opened(url, **context): a page there. In the end no page may have complained of anything, and its
    Content-Security-Policy not either; what a test expects of complaints it takes out of `.complaints`, or names
    a part of it in `.allowed`, where it may come late.

    It is asked for after the server (tests name it last), so that pages are gone when that closes."""
    contexts, complaints = [], []

    def note(message):
        # What the browser asks for beside a picture that is opened alone is not the page's.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    def open_page(url, width=1100, height=800, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, locale="en-GB",
                                       timezone_id="Europe/Paris", **options)
        context.set_default_timeout(DEADLINE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    open_page.complaints, open_page.allowed = complaints, []
    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(part in text for part in open_page.allowed)] == []


@pytest.fixture
def picture():
    """picture(page, name): a screenshot as build/browser/NAME.png."""
    PICTURES.mkdir(parents=True, exist_ok=True)

    def take(page, name, **options):
        page.screenshot(path=PICTURES / f"{name}.png", **options)
    return take
