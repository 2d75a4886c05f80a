"""turboserver.deploy.access_log: three formats, lines that nobody can forge, and none that is lost."""
import json
import os
import re
import threading
import time

import pytest

from support import DEADLINE
from turboserver.deploy import DeployError, access_log
from turboserver.deploy.access_log import AccessLog

ENVIRON = {
    "REMOTE_ADDR": "192.0.2.7", "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a/b", "QUERY_STRING": "x=1",
    "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_REFERER": "http://r/", "HTTP_USER_AGENT": "agent/1 (x; y)",
    "HTTP_HOST": "example.org", "wsgi.url_scheme": "http"}
TIME = r"\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"


def line(format, status="200 OK", sent=13, seconds=0.25, **changes):
    environ = {key: value for key, value in {**ENVIRON, **changes}.items() if value is not None}
    return access_log.FORMATS[format](environ, status, sent, seconds)


def test_common():
    assert re.fullmatch(rf'192\.0\.2\.7 - - {TIME} "GET /a/b\?x=1 HTTP/1\.1" 200 13', line("common"))


def test_combined():
    assert re.fullmatch(rf'192\.0\.2\.7 - me {TIME} "GET /a/b\?x=1 HTTP/1\.1" 304 - "http://r/" "agent/1 \(x; y\)"',
                        line("combined", "304 Not Modified", 0, REMOTE_USER="me"))


def test_json():
    found = json.loads(line("json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", found.pop("time"))
    assert found == {
        "remote_addr": "192.0.2.7", "remote_user": "", "method": "GET", "scheme": "http", "host": "example.org",
        "target": "/a/b?x=1", "protocol": "HTTP/1.1", "status": 200, "bytes": 13, "seconds": 0.25,
        "referer": "http://r/", "user_agent": "agent/1 (x; y)"}


@pytest.mark.parametrize("format", access_log.FORMATS)
def test_what_is_missing(format):
    text = access_log.FORMATS[format]({}, "", 0, 0.0)
    if format == "json":
        assert json.loads(text)["target"] == "/" and json.loads(text)["status"] == 0
    else:
        assert re.fullmatch(rf'- - - {TIME} "- / -" 0 -(?: "-" "-")?', text)


@pytest.mark.parametrize("name, text, shown", [
    ("HTTP_USER_AGENT", 'a" 200 1 "b', r'"a\x22 200 1 \x22b"'),
    ("HTTP_USER_AGENT", "a\\", r'"a\x5c"'),
    ("HTTP_USER_AGENT", "a\r\n1.2.3.4 - -", r'"a\x0d\x0a1.2.3.4 - -"'),
    ("HTTP_USER_AGENT", "\x1b[2J\x00\x7f\x9b", r'"\x1b[2J\x00\x7f\x9b"'),
    ("HTTP_REFERER", "\xc3\xa4", r'"\xc3\xa4"'),
    ("HTTP_REFERER", "\u2028", '"?"'),
    ("REMOTE_USER", "root 1", r" - root\x201 ["),
    ("REMOTE_USER", 'x" [', r" - x\x22\x20[ ["),
    ("PATH_INFO", '/a" b\n\xe4%', '"GET /a%22%20b%0A%E4%25?x=1 HTTP/1.1"'),
    ("SCRIPT_NAME", "/s p", '"GET /s%20p/a/b?x=1 HTTP/1.1"'),
    ("QUERY_STRING", 'a="\n', r'"GET /a/b?a=\x22\x0a HTTP/1.1"'),
    ("REQUEST_METHOD", 'G"\n', r'"G\x22\x0a /a/b?x=1 HTTP/1.1"'),
    ("REMOTE_ADDR", "1.1.1.1 - x\n", r"1.1.1.1\x20-\x20x\x0a - - ["),
])
def test_no_line_is_forged(name, text, shown):
    found = line("combined", **{name: text})
    assert shown in found
    assert all(" " <= ch <= "~" for ch in found) and found.count('"') == 6
    value = json.loads(line("json", **{name: text}))
    assert len(line("json", **{name: text}).splitlines()) == 1
    assert all(" " <= ch <= "~" for ch in line("json", **{name: text}))
    key = {"HTTP_USER_AGENT": "user_agent", "HTTP_REFERER": "referer", "REMOTE_USER": "remote_user",
           "REQUEST_METHOD": "method", "REMOTE_ADDR": "remote_addr"}.get(name)
    if key:
        assert value[key] == text


def test_a_user_that_is_no_text():
    class User:
        def __str__(self):
            return "some one"
    assert r" - some\x20one [" in line("common", REMOTE_USER=User())
    assert json.loads(line("json", REMOTE_USER=User()))["remote_user"] == "some one"


def test_the_time_is_this_second_and_its_offset(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 86400.0 * 364)
    monkeypatch.setattr(time, "localtime", lambda second: time.struct_time(
        (1970, 12, 31, 0, 0, 9, 3, 365, 0), {"tm_gmtoff": -12600, "tm_zone": "x"}))
    assert "[31/Dec/1970:00:00:09 -0330]" in line("common")
    assert json.loads(line("json"))["time"] == "1970-12-31T00:00:09-03:30"
    monkeypatch.setattr(time, "time", lambda: 86400.0 * 364 + 0.9)
    monkeypatch.setattr(time, "localtime", None)        # it is not made again
    assert "[31/Dec/1970:00:00:09 -0330]" in line("common")


# ---------------------------------------------------------------- the file

@pytest.fixture
def log(tmp_path):
    made = AccessLog(str(tmp_path / "log"), "common")
    yield made
    made.close()


def test_it_is_appended_to(tmp_path):
    path = tmp_path / "log"
    for number in (1, 2):
        made = AccessLog(str(path), "common")
        made(ENVIRON, "200 OK", number, 0.0)
        made.close()
    assert [entry.rpartition(" ")[2] for entry in path.read_text().splitlines()] == ["1", "2"]


def test_each_line_is_there_at_once(log):
    log(ENVIRON, "200 OK", 1, 0.0)
    with open(log.path) as file:
        assert file.read().endswith('" 200 1\n')


def test_it_is_opened_again(log, tmp_path):
    log(ENVIRON, "200 OK", 1, 0.0)
    os.rename(log.path, tmp_path / "old")
    log(ENVIRON, "200 OK", 2, 0.0)
    log.reopen()
    log(ENVIRON, "200 OK", 3, 0.0)
    assert (tmp_path / "old").read_text().count("\n") == 2
    assert (tmp_path / "log").read_text().endswith(" 3\n") and (tmp_path / "log").read_text().count("\n") == 1


def test_while_others_write_none_is_lost(log, tmp_path):
    def write():
        for number in range(300):
            log(ENVIRON, "200 OK", 1 + number, 0.0)
    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        os.rename(log.path, tmp_path / f"old{number}")
        log.reopen()
    for thread in threads:
        thread.join(DEADLINE)
    lines = [entry for file in tmp_path.iterdir() for entry in file.read_text().splitlines()]
    assert len(lines) == 1200 and all(re.search(r'" 200 \d+$', entry) for entry in lines)


def test_where_it_cannot_be_opened_again_the_old_one_stays(log, tmp_path, capsys):
    os.rename(log.path, tmp_path / "old")
    os.mkdir(log.path)
    log.reopen()
    log(ENVIRON, "200 OK", 1, 0.0)
    assert (tmp_path / "old").read_text().count("\n") == 1
    assert "cannot write the access log" in capsys.readouterr().err


def test_a_file_that_cannot_be(tmp_path):
    with pytest.raises(DeployError) as caught:
        AccessLog(str(tmp_path / "none" / "log"))
    assert str(caught.value) == f"cannot write the access log {tmp_path}/none/log: No such file or directory"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said_once_and_fails_no_answer(capsys):
    made = AccessLog("/dev/full")
    made(ENVIRON, "200 OK", 1, 0.0)
    made(ENVIRON, "200 OK", 2, 0.0)
    made.close()
    assert capsys.readouterr().err == "turboserver: cannot write the access log /dev/full: No space left on device\n"


def test_a_pipe_whose_reader_is_late(log):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.dup2(writer, log._fd)
    os.close(writer)
    agent = "x" * 3000
    count = 200         # more than a pipe holds
    thread = threading.Thread(target=lambda: [
        log(dict(ENVIRON, HTTP_USER_AGENT=agent, PATH_INFO="/" + agent), "200 OK", 1, 0.0) for _ in range(count)])
    thread.start()
    data = b""
    while data.count(b"\n") < count:
        data += os.read(reader, 1000)
    thread.join(DEADLINE)
    os.close(reader)
    assert all(entry.endswith(b" 200 1") for entry in data.splitlines())


def test_a_reader_that_takes_nothing_holds_up_answers_for_a_while_only(log, monkeypatch, capsys):
    monkeypatch.setattr(access_log, "_STALL_SECONDS", 0.01)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.dup2(writer, log._fd)
    os.close(writer)
    for _ in range(2000):
        log(ENVIRON, "200 OK", 1, 0.0)
    os.close(reader)
    log(ENVIRON, "200 OK", 1, 0.0)
    assert capsys.readouterr().err.count("its reader takes nothing") == 1


def test_standard_output(capfd):
    made = AccessLog("-", "common")
    made.reopen()
    made(ENVIRON, "200 OK", 1, 0.0)
    made.close()
    assert capfd.readouterr().out.endswith('" 200 1\n')
