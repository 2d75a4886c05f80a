"""`turboserver wsgi --reload`: what is written is served, and what cannot be imported waits to be mended."""
import importlib.util
import signal

import pytest

from deployed import APPLICATION, deployed
from support import wait_until
from turboserver.deploy import DeployError, reload

watchfiles = pytest.mark.skipif(importlib.util.find_spec("watchfiles") is None, reason="watchfiles is not installed")
NEXT = APPLICATION.replace('"one"', '"two"')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site_app.py").write_text(APPLICATION)
    return tmp_path


def change(server, path, text, condition):
    """Write `text` again and again, for the watcher may not have begun to look, until the condition holds."""
    times = 0

    def changed():
        nonlocal times
        if times % 200 == 0:        # a second; longer than changes are gathered for
            path.write_text(f"{text}# {times}\n")
        times += 1
        return condition()
    wait_until(changed, f"the change; it said {server.lines}")


@watchfiles
def test_a_change_is_served(folder):
    with deployed("site_app:app", "-p", "0", "--reload", cwd=folder) as server:
        assert server.ready().get("/version") == "one"
        change(server, folder / "site_app.py", NEXT, lambda: server.get("/version") == "two")
        assert server.said("turboserver: reloading")
        assert server.stop() == 0


@watchfiles
def test_what_cannot_be_imported_waits_for_the_next_change(folder):
    (folder / "site_app.py").write_text("nonsense!\n")
    with deployed("site_app:app", "-p", "0", "--reload", cwd=folder) as server:
        wait_until(lambda: server.said("waiting for a change"))
        assert server.said("cannot import site_app: SyntaxError")
        change(server, folder / "site_app.py", APPLICATION, lambda: server.said(": serving "))
        assert server.get("/version") == "one"
        change(server, folder / "site_app.py", "import nonsense_that_is_not_there\n",
               lambda: server.said("No module named 'nonsense_that_is_not_there'"))
        change(server, folder / "site_app.py", NEXT, lambda: server.get("/version") == "two")
        assert server.stop() == 0


@watchfiles
def test_other_folders_and_other_signals(folder):
    (folder / "elsewhere").mkdir()
    with deployed("site_app:app", "-p", "0", "--reload", "--reload-dir", "elsewhere", "--workers", "2",
                  cwd=folder) as server:
        server.ready()
        change(server, folder / "elsewhere" / "part.py", "", lambda: server.said("reloading"))
        before = len(server.lines)
        server.send(signal.SIGHUP)
        wait_until(lambda: len(server.lines) > before)
        assert server.get("/version") == "one"
        assert server.stop(signal.SIGINT) == 0


def test_without_watchfiles(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeployError) as caught:
        reload.check(["."])
    assert str(caught.value) == "--reload needs watchfiles: pip install 'turboserver[reload]'"


@watchfiles
def test_a_folder_that_is_not_there(folder):
    with deployed("site_app:app", "-p", "0", "--reload", "--reload-dir", "none", cwd=folder) as server:
        assert server.wait() == 1
        assert server.lines == ["turboserver: cannot watch none: no such folder"]
