"""Real frameworks, middlewares and programs on the WSGI server, over real sockets; and behind real proxies.

Each application of frameworks/sites/ runs in a process of its own, in the environment that `make frameworks` makes,
on our server and on the standard library's at once; both are asked the same, and but for framing the answers must be
equal. Skipped without that environment.
"""
import os
import sys

import pytest

from support import Client, connect, read_until_eof

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "frameworks"))
pytest.register_assert_rewrite("asking", "questions")
import asking  # noqa: E402
import questions  # noqa: E402
from asking import Asker, Question  # noqa: E402
from questions import says  # noqa: E402

FRAMEWORKS = sorted(questions.SPECIAL)


@pytest.fixture(scope="module", autouse=True)
def environment():
    asking.require_environment()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A function (target) -> running Subject; each is started once and ends with the module."""
    import contextlib
    folder = tmp_path_factory.mktemp("frameworks")
    running = {}
    with contextlib.ExitStack() as stack:
        def start(target):
            if target not in running:
                running[target] = stack.enter_context(asking.subject(target, folder))
            return running[target]
        yield start


def ask_both(subject, asked):
    """Every question in order to both servers, on kept connections; the answers must be equal. Returns ours."""
    answers = []
    with Asker(subject.address("stdlib")) as theirs, Asker(subject.address()) as ours:
        for question in asked:
            answer = ours.ask(question)
            asking.assert_equal_answers(question, theirs.ask(question), answer)
            answers.append(answer)
    return answers


@pytest.mark.parametrize("site", FRAMEWORKS)
def test_the_same_answers(started, site):
    ask_both(started(site + "_site"), questions.of(site))


@pytest.mark.parametrize("site", FRAMEWORKS)
def test_sessions_go_on(started, site):
    """A cookie that the site has set comes back to it, on the connection that is kept and on others."""
    for server in asking.SERVERS:
        cookies = ()
        with Asker(started(site + "_site").address(server)) as visitor:
            for visit in (b"1", b"2", b"3"):
                answer = visitor.ask(Question("GET", "/session", headers=cookies))
                assert answer.status == 200 and answer.body == visit
                cookies = (("Cookie", answer.get("Set-Cookie").split(";")[0]),)


@pytest.mark.parametrize("site", FRAMEWORKS)
def test_a_stream_that_fails_is_no_whole_answer(started, site):
    """What was sent before comes through; nothing tells the client that it is all."""
    for server in asking.SERVERS:
        with connect(started(site + "_site").address(server)) as sock:
            sock.sendall(Question("GET", "/fails").encoded())
            head, _, body = read_until_eof(sock).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0] and b"begun\n" in body
        assert b"content-length" not in head.lower() and not body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("site", FRAMEWORKS)
def test_pipelined(started, site):
    """All that needs no body, sent at once: the same answers, in the same order."""
    subject = started(site + "_site")
    asked = [question for question in questions.of(site) if question.body is None and question.method == "GET"]
    with Asker(subject.address()) as one_by_one:
        expected = [one_by_one.ask(question) for question in asked]
    assert one_by_one.connections == 1, "the connection was kept"
    with Client(subject.address()) as client:
        client.send(b"".join(question.encoded() for question in asked))
        for question, answer in zip(asked, expected):
            assert asking.comparable(client.read()) == asking.comparable(answer), str(question)


def chunked(data, size=10_000):
    pieces = [data[at:at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def upload_in_chunks(subject, path, size):
    """Asserts that the application has read so many octets, which came in chunks."""
    data = questions.LARGE[:size]
    fields = (*questions.OCTETS, ("Transfer-Encoding", "chunked"))
    with Client(subject.address()) as client:
        client.send(Question("POST", path, headers=fields).encoded() + chunked(data))
        answer = client.read("POST")
        questions.says_json(questions.described(data))(answer)


@pytest.mark.parametrize("size", (0, 1000, 65_000))
@pytest.mark.parametrize("site", FRAMEWORKS)
def test_a_small_chunked_upload(started, site, size):
    """Whatever tells a framework that there is a body: to the application it is one with a length."""
    upload_in_chunks(started(site + "_site"), "/raw", size)


# Werkzeug (Flask) and WebOb (Pyramid) go by wsgi.input_terminated. Falcon's own idea of a body is
# CONTENT_LENGTH, and its request.stream is the server's.
CHUNKED = {"flask": "/raw", "pyramid": "/raw", "falcon": "/unbounded", "bottle": "/raw", "django": "/raw"}
UNREAD = {"bottle": "decodes chunks that wsgi.input has not any more; the same under gunicorn",
          "django": "reads CONTENT_LENGTH octets, so nothing where none is told"}


@pytest.mark.parametrize("site", [pytest.param(site, marks=[pytest.mark.xfail(
    raises=AssertionError, reason=f"{site} {UNREAD[site]}")] if site in UNREAD else []) for site in sorted(CHUNKED)])
def test_a_large_chunked_upload(started, site):
    upload_in_chunks(started(site + "_site"), CHUNKED[site], 200_000)


@pytest.mark.parametrize("size", (1000, 100_000, 1_000_000))
def test_a_body_that_nobody_reads(started, size):
    """The answer says that the connection ends, or it does not end."""
    with Client(started("flask_site").address()) as client:
        client.send(Question("POST", "/not/there", headers=questions.OCTETS, body=b"x" * size).encoded())
        answer = client.read("POST")
        assert answer.status == 404
        if not asking.ends_the_connection(answer):
            client.send(Question("GET", "/hello").encoded())
            assert client.read().body == b"hello"


# ---------------------------------------------------------------- shapes, images, what packages ship

BODY = b"onetwo"
SHAPES = [
    *(Question("GET", "/" + name, says(BODY)) for name in (
        "in_a_list", "with_a_length", "lazy", "empty_first", "written", "in_a_file", "in_an_object",
        "read_not_at_all", "no_header_at_all", "errors_told")),
    *(Question("HEAD", "/" + name, questions.head_of(6)) for name in (
        "in_a_list", "with_a_length", "lazy", "empty_first", "in_a_file", "in_an_object")),
    Question("GET", "/closed", says(b"closed")),
    Question("GET", "/in_a_real_file", says(questions.contract.FILE_BYTES)),
    Question("HEAD", "/in_a_real_file", questions.head_of(len(questions.contract.FILE_BYTES))),
    Question("GET", "/replaced", says(BODY, 500)),
    Question("POST", "/read_not_at_all", says(BODY), body=b"x" * 100_000),
    Question("POST", "/read_not_at_all", says(BODY), body=b""),
    Question("GET", "/bodyless", says(b"", 204)),
    Question("GET", "/not_modified", says(b"", 304)),
    Question("POST", "/webob_echo?a=1&a=2", headers=(*questions.FORM, ("Accept", "text/html;q=0.5, */*")), body=b"b=3"),
    Question("GET", "/webob_conditional", questions.status(304), (("If-None-Match", '"an-etag"'),)),
    Question("GET", "/webob_conditional", questions._part, (("Range", "bytes=5-99"),)),
    Question("GET", "/webob_gzip"),
    Question("GET", "/webob_forwards", says(BODY)),
    *questions.conditional("/webob_file"),
    *questions.conditional("/webob_folder/file.bin"),
    Question("GET", "/webob_folder/none", questions.status(404)),
    Question("GET", "/webob_folder/../../../etc/passwd", questions.status(403, 404)),
]


# wsgi.input has an end, which the standard library's has not: it waits for the client's.
TO_THE_END = [
    Question("POST", "/read_by_lines", says(b"three\ntwo\none\n"), body=b"one\ntwo\nthree\n"),
    Question("POST", "/read_to_the_end", says(b"60013 abcdef\nghi" + b"x" * 10), body=b"abcdef\nghi" + b"x" * 60_003),
    Question("GET", "/read_to_the_end", says(b"0 ")),
    Question("GET", "/read_by_lines", says(b"")),
    Question("POST", "/read_by_lines", says(b""), body=b""),
]


def test_every_shape_under_lint(started):
    """lint's complaints are 500s, or lines on stderr for a body that is not closed."""
    subject = started("shapes")
    ask_both(subject, SHAPES)
    with Asker(subject.address()) as ours:
        for question in TO_THE_END:
            answer = ours.ask(question)
            asking.check_framing(question, answer)
            question.check(answer)
        too_late = connect(subject.address())
        with too_late:
            too_late.sendall(Question("GET", "/too_late").encoded())
            assert b"onetwo" in read_until_eof(too_late)
        assert ours.ask(Question("GET", "/in_a_list")).body == BODY
    told = subject.errors()
    assert "told to wsgi.errors" in told and "AssertionError" not in told and "without being closed" not in told


def test_images(started):
    """Bytes, wsgi.file_wrapper and a plain FileWrapper; conditional requests and ranges."""
    subject = started("images")
    answers = {}
    for kind in ("memory", "file", "plain"):
        for image in ("red.png", "large.png"):
            path = f"/{kind}/{image}"
            whole, head, part, rest, beyond, never = ask_both(subject, [
                Question("GET", path), Question("HEAD", path),
                Question("GET", path, headers=(("Range", "bytes=10-59"),)),
                Question("GET", path, headers=(("Range", "bytes=10-"),)),
                Question("GET", path, headers=(("Range", "bytes=9999999-"),)),
                Question("GET", path + "x")])
            assert whole.status == 200 and whole.body.startswith(b"\x89PNG") and whole.body.endswith(b"IEND\xaeB`\x82")
            assert whole.get("Content-Length") == head.get("Content-Length") == str(len(whole.body))
            assert whole.get("Content-Type") == "image/png" and head.body == b""
            assert part.status == rest.status == 206 and beyond.status == 416 and never.status == 404
            assert part.body == whole.body[10:60] and rest.body == whole.body[10:]
            for name, field in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
                again, = ask_both(subject, [Question("GET", path, says(b"", 304), ((name, whole.get(field)),))])
                assert again.get("ETag") == whole.get("ETag")
            assert answers.setdefault(image, whole.body) == whole.body


SHIPPED = [
    Question("GET", "/webtest/some/path?x=1&header-x-more=1"),
    Question("POST", "/webtest/some/path", questions.status(200), questions.FORM, b"a=1&b=2"),
    Question("GET", "/webtest/form.html", questions.status(200)),
    Question("GET", "/webtest/?error=1", questions.status(500)),
    Question("GET", "/webtest/?status=204%20Nothing", says(b"", 204)),
    *(Question("GET", f"/{name}/hello/584/test?limit=10", says(b"x" * 10_000), (("User-Agent", "a"),))
      for name in ("falcon", "flask", "bottle")),
    Question("GET", "/falcon-ext/v1/480924/queues/x/messages?limit=1&marker=2", questions.status(200, 400, 404)),
    Question("HEAD", "/flask/hello/584/test", questions.head_of(10_000), (("User-Agent", "a"),)),
]


def test_what_packages_ship_for_testing_servers(started):
    """Werkzeug's test application, WebTest's debug application, those of Falcon's benchmark, the demo application."""
    subject = started("ready_made")
    with Asker(subject.address("stdlib")) as theirs, Asker(subject.address()) as ours:
        for question in SHIPPED:
            pair = [_without_what_differs(asker.ask(question)) for asker in (theirs, ours)]
            asking.assert_equal_answers(question, *pair)
        page = ours.ask(Question("GET", "/werkzeug/sub/path?q=1"))
        assert page.status == 200 and b"wsgi.multithread" in page.body and b"/werkzeug" in page.body
        assert ours.ask(Question("GET", "/any")).body.startswith(b"Hello world!")


def _without_what_differs(response):
    """An answer that shows its environ, without the lines that name the server or are about one request."""
    lines = [line for line in response.body.splitlines()
             if not line.startswith((b"SERVER_", b"REMOTE_", b"wsgi.", b"HTTP_HOST", b"CONTENT_LENGTH", b"WERKZEUG_"))]
    response.body = b"\n".join(lines)
    response.headers = [(name, value) for name, value in response.headers if name.lower() != "content-length"]
    return response


# ---------------------------------------------------------------- middlewares

def test_profiled(started):
    subject = started("middlewares:profiled")
    for answer in ask_both(subject, [Question("GET", f"/{number}", says(b"total 45")) for number in range(3)]):
        assert answer.get("Content-Type") == "text/plain"
    lines, = ask_both(subject, [Question("GET", "/lines")])
    counted = [line for line in lines.body.splitlines() if b"this line is counted" in line]
    assert len(counted) == 6 and all(b" 10 " in line for line in counted), lines.body.decode()


def test_cached(started):
    subject = started("middlewares:cached")
    for server in asking.SERVERS:
        with Asker(subject.address(server)) as visitor:
            first = visitor.ask(Question("GET", "/page"))
            cookie = (("Cookie", first.get("Set-Cookie").split(";")[0]),)
            again = visitor.ask(Question("GET", "/page", headers=cookie))
            other = visitor.ask(Question("GET", "/other", headers=cookie))
            assert first.body == again.body and first.body.startswith(b"computed for /page, computed")
            assert other.body.startswith(b"computed for /other") and other.body[-8:] != first.body[-8:]
            assert [answer.get("X-Visits") for answer in (first, again, other)] == ["1", "2", "3"]


def test_graphql(started):
    from urllib.parse import quote
    asked = [
        Question("GET", "/", says(b"beside GraphQL")),
        Question("POST", "/graphql/", questions.says_json({"data": {"hello": "hello you from 127.0.0.1"}}),
                 questions.JSON, b'{"query": "query($n: String) { hello(name: $n) }", "variables": {"n": "you"}}'),
        Question("GET", "/graphql/?query=" + quote('{ hello(name: "☃") }'),
                 questions.says_json({"data": {"hello": "hello ☃ from 127.0.0.1"}})),
        Question("POST", "/graphql/", questions.status(200), questions.JSON, b'{"query": "{ long(count: 3000) }"}'),
        Question("POST", "/graphql/", questions.status(200), questions.JSON, b'{"query": "{ broken }"}'),
        Question("POST", "/graphql/", questions.status(400), questions.JSON, b'{"query": "{ nothing }"}'),
        Question("POST", "/graphql/", questions.status(400), questions.JSON, b"{"),
        Question("GET", "/graphql/", questions.status(200), (("Accept", "text/html"),)),
        # Its answer to other methods has an int among the headers: start_response raises, as PEP 3333 has it.
        Question("PUT", "/graphql/", questions.status(500), body=b""),
    ]
    ask_both(started("middlewares:graph"), asked)


def test_split(started):
    subject = started("middlewares:split")
    person = ("User-Agent", "a person's browser"), ("Accept-Language", "en")    # bots get no experiments
    seen = set()
    for server in asking.SERVERS:
        for _ in range(12):
            with Asker(subject.address(server)) as visitor:
                first = visitor.ask(Question("GET", "/", headers=person))
                cookie = ("Cookie", first.get("Set-Cookie").split(";")[0])
                assert first.status == 200 and first.get("Cache-Control") == "no-cache" and first.get("ETag") is None
                again = visitor.ask(Question("GET", "/", headers=(*person, cookie)))
                assert first.body[:10] == again.body[:10] and again.get("Set-Cookie") is None
                seen.add(first.body.partition(b"<script>")[0])
                assert visitor.ask(Question("GET", "/signup", headers=(*person, cookie))).body == b"thank you"
                assert visitor.ask(Question("GET", "/swab/r.js?e=button", headers=(*person, cookie))).status == 200
    assert seen == {b"<body>red", b"<body>blue"}
    results, = ask_both(subject, [Question("GET", "/swab/results")])
    assert b"button" in results.body


def test_one_around_the_other(started):
    ask_both(started("middlewares:stacked"), [
        Question("GET", "/", says(questions.contract.FILE_BYTES[:1000] + b"red"), (("User-Agent", "a browser"),)),
        Question("POST", "/graphql/", questions.says_json({"data": {"hello": "hello world from 127.0.0.1"}}),
                 questions.JSON, b'{"query": "{ hello }"}'),
    ])
