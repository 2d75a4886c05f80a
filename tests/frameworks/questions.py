"""What every framework's site is asked (see sites/contract.py), and what the answers must be.

`of(site)` gives the Questions: the common ones with the few points in which frameworks differ by their own design,
and then those for one framework alone.
"""
import hashlib
import json
import os
import sys

from asking import Question

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sites"))
import contract  # noqa: E402

LARGE = bytes(range(251)) * (3 << 20 >> 8)
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
JSON = (("Content-Type", "application/json"),)
OCTETS = (("Content-Type", "application/octet-stream"),)
MODIFIED = "Sun, 13 Sep 2020 12:26:40 GMT"


def says(body, status=200):
    def check(response):
        assert (response.status, response.body) == (status, body)
    return check


def says_json(value, status=200):
    def check(response):
        assert response.status == status and json.loads(response.body) == value, response.body[:500]
    return check


def status(*statuses):
    def check(response):
        assert response.status in statuses, response.status
    return check


def head_of(length):
    def check(response):
        assert response.status == 200 and response.body == b""
        # Where an application leaves the body out itself, wsgiref.handlers takes the length for 0.
        wrong = ("0",) if response.version == "HTTP/1.0" else ()
        assert response.get("Content-Length") in (None, str(length), *wrong)
    return check


def multipart(*parts):
    """(fields, body) of a form: parts are (name, file name or None, bytes)."""
    lines = []
    for name, filename, data in parts:
        shown = f'; filename="{filename}"' if filename else ""
        more = "\r\nContent-Type: application/octet-stream" if filename else ""
        lines += [f'--boundary-1\r\nContent-Disposition: form-data; name="{name}"{shown}{more}\r\n\r\n'.encode(),
                  data, b"\r\n"]
    return (("Content-Type", "multipart/form-data; boundary=boundary-1"),), b"".join(lines) + b"--boundary-1--\r\n"


def described(data, **more):
    return {"size": len(data), "digest": hashlib.sha256(data).hexdigest(), **more}


def _where(response):
    told = json.loads(response.body)
    assert told["wsgi.url_scheme"] == "http" and told["HTTP_HOST"] == "site.example:8080"
    assert (told["SCRIPT_NAME"], told["PATH_INFO"], told["QUERY_STRING"]) == ("", "/where", "x=1")
    assert told["url"] == "http://site.example:8080/where?x=1" and told["hello"] == "http://site.example:8080/hello"
    assert told["REMOTE_ADDR"] == "127.0.0.1"


def _redirect(response):
    assert response.status in (302, 303)
    assert response.get("Location") in ("/hello", "http://site.example:8080/hello")


def _cookies(response):
    assert json.loads(response.body) == {"one": "old", "other": "a b"}
    names = [value.split("=")[0] for name, value in response.headers if name.lower() == "set-cookie"]
    assert sorted(names) == ["one", "two"]


def _headers(response):
    assert (response.status, response.body) == (200, b"many")
    got = {name.lower(): value for name, value in response.headers}
    assert all(got[name.lower()] == value for name, value in contract.MANY_HEADERS[:-1])


def common(site):
    """The questions for every site; `site` is the module's name without _site."""
    refused = {"pyramid": (404,)}.get(site, (405,))     # there a method chooses among views
    fields, form = multipart(("title", None, "Höhe".encode()), ("file", "naïve.bin", LARGE[:300_000]))
    ask = Question
    return [
        ask("GET", "/hello", says(b"hello")),
        ask("HEAD", "/hello", head_of(5)),
        ask("POST", "/hello", status(*refused), body=b"x=1", headers=FORM),
        ask("OPTIONS", "/hello"),
        ask("GET", "/items/42", says(b"item 42")),
        ask("GET", "/items/none", status(404)),
        ask("GET", "/not/there?at=all", status(404)),
        ask("HEAD", "/not/there", status(404)),
        ask("GET", "/query?a=1&b=%C3%BC+b&a=2", says_json({"a": ["1", "2"], "b": "ü b"})),
        ask("GET", "/path/na%C3%AFve%20%E2%98%83/%2Fx", says_json({"path": "naïve ☃//x"})
            if site not in ("pyramid",) else None),
        ask("GET", "/where?x=1", _where),
        *(ask(method, "/method", says(method.encode()), body=b"" if method in ("POST", "PUT", "PATCH") else None)
          for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
        ask("POST", "/form", says("Jürgen & M".encode()), FORM, b"name=J%C3%BCrgen+%26+M&more=" + b"y" * 20_000),
        ask("POST", "/upload", says_json(described(LARGE[:300_000], name="naïve.bin", title="Höhe")), fields, form),
        ask("POST", "/json", says_json({"sum": 5}), JSON, b'{"a": 2, "b": 3}'),
        ask("POST", "/json", status(400), JSON, b'{"a": 2, '),
        ask("POST", "/raw", says_json(described(LARGE)), OCTETS, LARGE),
        ask("POST", "/raw", says_json(described(b"")), OCTETS, b""),
        ask("GET", "/stream", says(b"".join(contract.PIECES))),
        ask("HEAD", "/stream", head_of(len(b"".join(contract.PIECES)))),
        ask("GET", "/error", status(500)),
        ask("GET", "/redirect", _redirect),
        ask("GET", "/cookies", _cookies, (("Cookie", 'one=old; other="a b"'),)),
        ask("GET", "/file", says(contract.FILE_BYTES)),
        ask("HEAD", "/file", head_of(len(contract.FILE_BYTES))),
        ask("GET", "/nothing", says(b"", 204)),
        ask("GET", "/empty", says(b"")),
        ask("GET", "/headers", _headers),
        # Bodies that nobody reads must not be taken for the next request.
        ask("POST", "/not/there", status(404), OCTETS, b"GET /hello HTTP/1.1\r\n\r\n" * 500),
        ask("GET", "/hello", says(b"hello"), body=b"a body where none is looked for"),
        ask("GET", "/hello", says(b"hello")),
    ]


def _part(response):
    assert (response.status, response.body) == (206, contract.FILE_BYTES[5:100])
    assert response.get("Content-Range") == f"bytes 5-99/{len(contract.FILE_BYTES)}"


def conditional(path, *, ranges=True):
    """What is asked of a path that serves contract.FILE with Last-Modified and, perhaps, in ranges."""
    questions = [
        Question("GET", path, says(b"", 304), (("If-Modified-Since", MODIFIED),)),
        Question("GET", path, says(contract.FILE_BYTES), (("If-Modified-Since", "Sun, 13 Sep 2015 12:26:40 GMT"),)),
        Question("HEAD", path, head_of(len(contract.FILE_BYTES))),
    ]
    if ranges:
        questions += [
            Question("GET", path, _part, (("Range", "bytes=5-99"),)),
            Question("GET", path, status(416), (("Range", f"bytes={len(contract.FILE_BYTES) + 5}-"),)),
        ]
    return questions


SPECIAL = {
    "flask": [*conditional("/file"), Question("GET", "/static/none.css", status(404))],
    "django": [*conditional("/static/file.bin", ranges=False),
               Question("GET", "/tagged", says(b"tagged")),
               Question("GET", "/tagged", says(b"", 304), (("If-None-Match", '"an-etag"'),)),
               Question("GET", "/static/../settings.py", status(400, 404)),
               Question("GET", "/hello", says(b"hello"), (("Accept-Encoding", "gzip"),))],
    "falcon": [Question("GET", "/static/file.bin", says(contract.FILE_BYTES)),
               Question("GET", "/static/file.bin", _part, (("Range", "bytes=5-99"),)),
               Question("GET", "/query?a=1&a=2", says_json({"a": ["1", "2"], "b": None})),
               Question("PROPFIND", "/hello", status(400, 405))],
    "bottle": [*conditional("/file"), Question("GET", "/refused", status(403))],
    "pyramid": [*conditional("/file"), *conditional("/conditional")[2:],
                Question("GET", "/conditional", says(b"", 304), (("If-None-Match", '"an-etag"'),)),
                Question("GET", "/static/file.bin", says(contract.FILE_BYTES)),
                Question("GET", "/path/a/b%20c", says_json({"path": "a/b c"}))],
}


def of(site):
    return common(site) + SPECIAL[site]
