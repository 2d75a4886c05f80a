"""Programs that show files and pages: site generators, API documentation, viewers, file servers."""
import json

from row import PROGRAMS, Row, change, copied, free_port, together


# ---------------------------------------------------------------- MkDocs

def mkdocs(folder):
    (folder / "docs").mkdir()
    (folder / "mkdocs.yml").write_text("site_name: A site\ntheme:\n  name: mkdocs\n")
    (folder / "docs" / "index.md").write_text("# Title\n\nThe first text\n")
    (folder / "docs" / "other.md").write_text("# Other\n")
    return ["-m", "mkdocs", "serve", "--livereload", "-a", "127.0.0.1:" + free_port()]


def check_mkdocs(place):
    page = place.page("/").decode()
    assert "The first text" in page
    epoch, number = page.partition("livereload(")[2].rpartition("livereload(")[2].partition(");")[0].split(", ")
    assert place.page("/css/base.css") and place.ask("/css/base.css").headers["Content-Type"] == "text/css"
    assert place.ask("/other").headers["Location"] == "/other/"
    assert b"404" in place.page("/not/there/", 404)
    source = place.folder / "docs" / "index.md"

    def edit():
        # The polls of the pages that are open come first.
        place.until(lambda: "Browser connected" in place.said(), "the poll")
        change(source, "The first text", "The second text")

    polls = [lambda: place.page(f"/livereload/{epoch}/{number}")] * 3
    answers, seconds = together([*polls, edit])
    assert all(int(answer) > int(epoch) for answer in answers[:3]), answers
    assert b"The second text" in place.page("/")


# ---------------------------------------------------------------- Pelican

def pelican(folder):
    (folder / "content").mkdir()
    (folder / "content" / "one.md").write_text("Title: One\nDate: 2026-01-01\n\nThe first text\n")
    (folder / "pelicanconf.py").write_text("SITENAME = 'A site'\nSITEURL = ''\nTIMEZONE = 'UTC'\nPATH = 'content'\n")
    return ["-m", "pelican", "--listen", "--autoreload", "-b", "127.0.0.1", "-p", free_port()]


def check_pelican(place):
    place.until(lambda: place.ask("/one.html").status == 200, "the page that is generated")
    assert b"The first text" in place.page("/one.html")
    assert place.page("/one") == place.page("/one.html?query")
    assert place.ask("/theme/css/main.css").headers["Content-Type"] == "text/css"
    change(place.folder / "content" / "one.md", "The first text", "The second text")
    place.until(lambda: b"The second text" in place.ask("/one.html").body, "the page that is changed")
    assert b"A site" in place.page("/")


# ---------------------------------------------------------------- pdoc

def pdoc(folder):
    copied("xmlrpc_server.py", folder, "documented.py").write_text('"""A module."""\ndef one():\n    """Does one thing."""\n')
    return ["-m", "pdoc", "-n", "-h", "127.0.0.1", "-p", free_port(), "./documented.py", "json"]


def check_pdoc(place):
    assert b"documented" in place.page("/")
    assert b"Does one thing." in place.page("/documented.html") and b"Does one thing." in place.page("/documented")
    assert b"JSONDecoder" in place.page("/json.html")
    assert float(place.page("/documented.html?mtime=1")) > 0
    change(place.folder / "documented.py", "one thing", "another thing")
    assert b"Does another thing." in place.page("/documented.html")
    assert b"docs" in place.page("/search.js")
    assert place.page("/not_there.html", 404) and place.page("/json.decoder", 404)
    assert place.ask("/", "HEAD").body == b""


# ---------------------------------------------------------------- file servers

LETTERS = b"".join(b"%09d\n" % number for number in range(10_000))


def files(*command):
    def made(folder):
        (folder / "shown").mkdir()
        (folder / "shown" / "numbers.txt").write_bytes(LETTERS)
        (folder / "shown" / "inner").mkdir()
        return [word.format(folder=folder, port=free_port(), programs=PROGRAMS) for word in command]
    return made


def check_range(place):
    assert place.page("/shown/numbers.txt") == LETTERS
    for asked, expected in (("bytes=0-9", LETTERS[:10]), ("bytes=99990-", LETTERS[99990:]), ("bytes=5-5", LETTERS[5:6]),
                            ("bytes=10000-89999", LETTERS[10000:90000])):
        part = place.ask("/shown/numbers.txt", Range=asked)
        assert part.status == 206 and part.body == expected, (asked, part)
        assert part.headers["Content-Range"].endswith(f"/{len(LETTERS)}") and part.headers["Accept-Ranges"] == "bytes"
    assert place.ask("/shown/numbers.txt", Range="bytes=200000-").status == 416
    assert place.ask("/shown/numbers.txt", Range="bytes=9-2").status == 400
    assert b"numbers.txt" in place.page("/shown/")


def check_uploadserver(place):
    assert place.page("/numbers.txt") == LETTERS
    listing = place.ask("/")
    assert b"/upload" in listing.body and b"numbers.txt" in listing.body, "its link stands in the list"
    assert int(listing.headers["Content-Length"]) == len(listing.body)
    assert b"<form" in place.page("/upload")
    body = (b'--cut\r\nContent-Disposition: form-data; name="files"; filename="sent.bin"\r\n\r\n' + LETTERS * 30
            + b"\r\n--cut--\r\n")
    for name in ("sent.bin", "sent (1).bin"):
        answer = place.ask("/upload", "POST", body, Content_Type="multipart/form-data; boundary=cut")
        assert answer.status == 204, (answer, place.said())
        found = [path for path in (place.folder / "shown").glob("sent*") if path.read_bytes() == LETTERS * 30]
        assert len(found) == (1 if name == "sent.bin" else 2), list((place.folder / "shown").iterdir())
    assert place.ask("/other", "POST", b"").status == 404
    connection = place.connection()
    for path in ("/", "/numbers.txt", "/", "/upload", "/numbers.txt"):
        connection.request("GET", path)
        assert connection.getresponse().read(), path
    connection.close()


# ---------------------------------------------------------------- viewers

TRACE = {"traceEvents": [{"ph": "X", "name": "a", "ts": 1, "dur": 2, "pid": 1, "tid": 1}], "file_info": {"files": {}}}


def vizviewer(folder):
    (folder / "trace.json").write_text(json.dumps(TRACE))
    return ["-m", "viztracer.viewer", "--server_only", "-p", free_port(), str(folder / "trace.json")]


def check_vizviewer(place):
    assert b"<html" in place.page("/").lower()
    assert json.loads(place.page("/localtrace")) == TRACE
    assert json.loads(place.page("/file_info")) == {"files": {}}
    assert place.page("/vizviewer_info") == b"{}"
    assert place.ask("/localtrace").headers["Cache-Control"] == "no-store"
    assert place.page("/none.js", 404)


def netron(folder):
    (folder / "model.json").write_text(json.dumps({"format": "a model"}))
    return ["-c", "import netron; netron.main()", "--host", "127.0.0.1", "-p", free_port(), "model.json"]


def check_netron(place):
    assert b'content="/data/model.json"' in place.page("/")
    assert json.loads(place.page("/data/model.json")) == {"format": "a model"}
    assert place.ask("/index.js").headers["Content-Type"] == "text/javascript"
    assert place.page("/nothing", 404) == b"404"
    assert place.ask("/", "HEAD").body == b""
    assert place.page("/data/../../etc/passwd", 404)
    assert len(set(together([lambda: place.page("/view.js")] * 8)[0])) == 1


def vprof(folder):
    stats = {"version": "0.38", "c": {"objectName": "a program", "callStats": []}}
    (folder / "profile.json").write_text(json.dumps(stats))
    return ["-m", "vprof", "-n", "-H", "127.0.0.1", "-p", free_port(), "--input-file", str(folder / "profile.json")]


def check_vprof(place):
    import gzip
    page = place.ask("/")
    assert page.headers["Content-Encoding"] == "gzip" and b"<html" in gzip.decompress(page.body).lower()
    assert b"a program" in gzip.decompress(place.page("/profile"))
    more = gzip.compress(json.dumps({"m": {"objectName": "more of it"}}).encode())
    connection = place.connection()
    connection.request("POST", "/", more)
    answer = connection.getresponse()
    # It names a length and sends nothing: what comes is the end of the connection.
    assert answer.status == 200
    connection.close()
    assert b"more of it" in gzip.decompress(place.page("/profile"))
    assert gzip.decompress(place.page("/css/vprof.css"))


ROWS = [
    Row("MkDocs serve: live reload", "documents", mkdocs, check_mkdocs, "reactor", "/", short=True),
    Row("Pelican --listen --autoreload", "documents", pelican, check_pelican, "reactor", "/one.html", short=True),
    Row("pdoc, its live server", "documents", pdoc, check_pdoc, "reactor", "/documented.html?mtime=1", short=True),
    Row("RangeHTTPServer", "documents", files("-m", "RangeHTTPServer", "--bind", "127.0.0.1", "0"), check_range, "reactor",
        "/shown/numbers.txt", short=True),
    Row("uploadserver", "documents", files("-m", "uploadserver", "--bind", "127.0.0.1", "-d", "{folder}/shown", "0"),
        check_uploadserver, "reactor", "/", short=True),
    Row("vizviewer (VizTracer)", "documents", vizviewer, check_vizviewer, "blocking", "/localtrace", short=True),
    Row("Netron", "documents", netron, check_netron, "blocking", "/data/model.json", short=True),
    Row("vprof", "documents", vprof, check_vprof, "blocking", "/profile", short=True),
]
