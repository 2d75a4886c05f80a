"""Web frameworks' own servers, and what is built on them: development servers, metrics, logins, fixtures of tests.

As applications on our WSGI server the frameworks are in tests/test_frameworks.py; here they bring their servers along.
"""
import json
import re
import zipfile

from row import CERTIFICATE, Row, change, copied, free_port, later, program, together


# ---------------------------------------------------------------- Flask

def flask(*options):
    def command(folder):
        copied("flask_app.py", folder)
        return ["-m", "flask", "--app", "flask_app", "run", "--port", free_port(), *options]
    return command


def check_flask(place):
    assert place.page("/hello") == b"hello"
    assert place.ask("/echo", "POST", b"x" * 300_000).body == b"300000"
    assert place.page("/static/none", 404)
    assert place.page("/stream") == b"".join(b"line %d\n" % number for number in range(100))
    answers, seconds = together([lambda: place.page("/slow")] * 4)
    assert set(answers) == {b"slow"} and seconds < 1.5, f"four of 0.5 s each took {seconds}"
    assert b'"GET /hello HTTP/1.1" 200 -' in place.said().encode()


def changed(place, source):
    """What place.until() waits for: the program answers as its changed source says."""
    tries = iter(range(1 << 30))

    def has():
        # A reloader that had not yet looked at the file when it was changed sees nothing new in it.
        if next(tries) % 40 == 39:
            later(source)
        return place.page("/hello") == b"changed"

    return has


def check_flask_debug(place):
    check_flask(place)
    check_debugger(place)
    source = place.folder / "flask_app.py"
    change(source, '"hello"', '"changed"')
    place.until(changed(place, source), "the reloader")
    change(source, "def hello():", "def hello(:")
    place.until(lambda: b"SyntaxError" in place.ask("/hello").body or b"SyntaxError" in place.said().encode(),
                "what is wrong with the source")


def check_debugger(place):
    """The page of an exception; its console asks for the PIN that the log has, and then runs what is typed."""
    page = place.page("/boom", 500).decode()
    assert "Werkzeug Debugger" in page and "it is meant to fail" in page
    secret = re.search(r'SECRET = "(\w+)"', page)[1]
    frame = re.findall(r'id="frame-(\d+)"', page)[-1]
    ask = f"/boom?__debugger__=yes&s={secret}"
    assert b"2" not in place.ask(f"{ask}&cmd=1%2B1&frm={frame}").body[:3], "without the PIN"
    assert json.loads(place.page(f"{ask}&cmd=pinauth&pin=000-000-000")) == {"auth": False, "exhausted": False}
    pin = re.findall(r"Debugger PIN: ([\d-]+)", place.said())[-1]
    answer = place.ask(f"{ask}&cmd=pinauth&pin={pin}")
    assert json.loads(answer.body)["auth"] is True, answer
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert b"42" in place.page(f"{ask}&cmd=6*7&frm={frame}", Cookie=cookie)
    assert place.page("/boom?__debugger__=yes&cmd=resource&f=style.css").startswith(b"body")


# ---------------------------------------------------------------- Django

def django(*options):
    def command(folder):
        copied("django_app.py", folder)
        (folder / "assets").mkdir()
        (folder / "assets" / "site.css").write_text("body { color: red }")
        return ["django_app.py", "runserver", "127.0.0.1:" + free_port(), *options]
    return command


def check_django(place):
    assert place.page("/hello") == b"hello"
    assert place.ask("/echo", "POST", b"x" * 300_000).body == b"300000"
    style = place.ask("/static/site.css")
    assert style.status == 200 and style.body == b"body { color: red }" and style.headers["Content-Type"] == "text/css"
    assert place.ask("/static/site.css", If_Modified_Since=style.headers["Last-Modified"]).status == 304
    assert place.page("/static/none.css", 404)
    assert b"it is meant to fail" in place.page("/boom", 500)
    answers, seconds = together([lambda: place.page("/slow")] * 4)
    assert set(answers) == {b"slow"} and seconds < 1.5, f"four of 0.5 s each took {seconds}"
    assert '"GET /hello HTTP/1.1" 200 5' in place.said()


def check_django_reload(place):
    check_django(place)
    source = place.folder / "django_app.py"
    change(source, 'HttpResponse("hello"', 'HttpResponse("changed"')
    place.until(changed(place, source), "the reloader")
    assert place.page("/static/site.css")


# ---------------------------------------------------------------- metrics, small servers

def check_prometheus(place):
    for path in ("/metrics", "/", "/metrics?name[]=asked_total"):
        assert b'asked_total{path="/hello"} 3.0' in place.page(path)
    packed = place.ask("/metrics", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip" and packed.body[:2] == b"\x1f\x8b"
    assert place.ask("/metrics", "HEAD").body == b""
    assert place.ask("/metrics", "OPTIONS").status == 200 and place.ask("/metrics", "POST", b"").status == 405
    kinds = place.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kinds.headers["Content-Type"].startswith("application/openmetrics-text")
    assert kinds.body.endswith(b"# EOF\n")
    assert {page.count(b"# HELP") > 1 for page in together([lambda: place.page("/metrics")] * 8)[0]} == {True}


def check_bottle(place):
    assert place.page("/hello") == b"hello" and place.page("/items/7") == b"item 7"
    assert place.page("/file")[:3] == b"\0\1\2"
    assert place.page("/nothing/here", 404)


def check_paste(place):
    assert place.page("/") == b"hello"
    assert place.ask("/echo", "POST", b"x" * 300_000).body == b"300000"
    connection = place.connection()
    for number in range(5):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello", number
    connection.close()
    assert set(together([lambda: place.page("/")] * 20)[0]) == {b"hello"}


def packages(folder):
    (folder / "packages").mkdir()
    wheel = folder / "packages" / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny.py", "")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    return ["-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", free_port(), "--server", "wsgiref", "-P", ".", "-a", ".",
            str(folder / "packages")]


def check_pypiserver(place):
    assert b"tiny" in place.page("/simple/")
    wheel = place.folder / "packages" / "tiny-1.0-py3-none-any.whl"
    assert place.page("/packages/tiny-1.0-py3-none-any.whl") == wheel.read_bytes()
    assert b"tiny-1.0" in place.page("/simple/tiny/")
    assert place.ask("/simple/tiny").status in (301, 302, 303, 308)
    parts = {":action": b"file_upload", "name": b"other", "version": b"2.0"}
    body = b"".join(b'--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
                    for name, value in parts.items())
    body += (b'--cut\r\nContent-Disposition: form-data; name="content"; filename="other-2.0-py3-none-any.whl"\r\n'
             b"Content-Type: application/octet-stream\r\n\r\n" + wheel.read_bytes() + b"\r\n--cut--\r\n")
    answer = place.ask("/", "POST", body, Content_Type="multipart/form-data; boundary=cut")
    assert answer.status == 200, answer
    assert (place.folder / "packages" / "other-2.0-py3-none-any.whl").read_bytes() == wheel.read_bytes()
    assert b"other-2.0" in place.page("/simple/other/")


# ---------------------------------------------------------------- inside of other programs

ROWS = [
    Row("flask run", "web", flask(), check_flask, "blocking", "/hello", short=True),
    Row("flask run --debug: reloader, debugger", "web", flask("--debug"), check_flask_debug, "blocking", short=True),
    Row("Django runserver --noreload", "web", django("--noreload"), check_django, "blocking", "/hello", short=True),
    Row("Django runserver: autoreload", "web", django(), check_django_reload, "blocking"),
    Row("Django LiveServerTestCase", "web", lambda folder: [copied("django_app.py", folder), "test", "django_app"],
        note="its own tests are in make frameworks", short=True),
    Row("prometheus_client", "web", program("prometheus.py"), check_prometheus, "reactor", "/metrics", short=True),
    Row("prometheus_client, TLS", "web", program("prometheus.py", str(CERTIFICATE)), check_prometheus, "reactor",
        "/metrics", tls=True, short=True),
    Row("bottle, server='wsgiref'", "web", lambda folder: ["-m", "bottle", "-b", "127.0.0.1:0", "bottle_site:application"],
        check_bottle, "reactor", "/hello", short=True),
    Row("Paste, httpserver with its pool of threads", "web", program("paste_serve.py", "pool"), check_paste, "blocking",
        "/", short=True),
    Row("Paste, httpserver with a thread for each", "web", program("paste_serve.py"), check_paste, "blocking", "/",
        short=True),
    Row("pypiserver", "web", packages, check_pypiserver, "reactor", "/simple/", short=True),
    Row("google-auth-oauthlib, InstalledAppFlow", "web", program("oauth_flow.py"), note="one handle_request()", short=True),
    Row("msal, AuthCodeReceiver", "web", program("msal_flow.py"), note="handle_request() until the code is there",
        short=True),
]
