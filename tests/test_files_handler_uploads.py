"""turboserver.files.handler over sockets, in each lane: what is uploaded, and what is refused of it."""
import json
import os

import pytest
from files_served import ask, put, root, serve  # noqa: F401: fixtures

from support import Client, connect, read_until_eof
from turboserver.files import auth, partials, upload
from turboserver.files.conditions import etag

BOUND = 100_000


def names(root):
    return sorted(name for name in os.listdir(root) if not name.startswith(".turboserver"))


def waiting(root):
    return [name for name in os.listdir(root) if name.startswith(".turboserver")]


# ---------------------------------------------------------------- PUT

def test_a_new_file(serve, root):
    answer = ask(serve(upload=True), "/sub/new%20%C3%A9.txt", method="PUT", body=b"content")
    path = root / "sub" / "new é.txt"
    assert (answer.status, answer.body) == (201, b"") and path.read_bytes() == b"content"
    assert answer.get("Location") == "/sub/new%20%C3%A9.txt" and answer.get("ETag") == etag(os.stat(path))


def test_a_file_is_replaced(serve, root):
    server = serve(upload=True)
    assert ask(server, "/a.txt", method="PUT", body=b"new").status == 204
    assert (root / "a.txt").read_bytes() == ask(server, "/a.txt").body == b"new"


def test_preconditions(serve, root):
    server = serve(upload=True)
    tag = ask(server, "/a.txt").get("ETag")
    for headers, status in (([("If-None-Match", "*")], 412), ([("If-Match", '"other"')], 412), ([("If-Match", tag)], 204),
                            ([("If-Match", tag)], 412)):
        assert ask(server, "/a.txt", headers, "PUT", b"new").status == status
    assert ask(server, "/new", [("If-None-Match", "*")], "PUT", b"x").status == 201
    assert ask(server, "/newer", [("If-Match", "*")], "PUT", b"x").status == 412
    assert "newer" not in names(root) and waiting(root) == []


def test_a_body_in_chunks(serve, root):
    with Client(serve(upload=True)) as client:
        client.send(b"PUT /new HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert client.read().status == 201 and (root / "new").read_bytes() == b"abcde"
        assert client.request(path="/new").body == b"abcde"


def test_a_large_body(serve, root):
    content = os.urandom(2_500_000)
    server = serve(upload=True)
    assert ask(server, "/large", method="PUT", body=content).status == 201
    assert (root / "large").read_bytes() == content


@pytest.mark.parametrize("path, status", [
    ("/", 405), ("/sub/", 405), ("/sub", 409), ("/none/new", 409), ("/a.txt/new", 409), ("/out/new", 409),
    ("/a%0ab", 400), ("/%00", 400), ("/.turboserver-upload-x", 404), ("/.turboserver-upload-x/y", 404), ("/../new", 400),
    ("/%2e%2e/new", 400), ("/..%2fnew", 404), ("/" + "x" * 300, 400), ("/link", 409)])
def test_where_nothing_can_be_put(serve, root, path, status):
    (root / "out").symlink_to(root.parent)
    (root / "link").symlink_to(root.parent / "secret.txt")
    before = [*names(root), *names(root.parent)]
    answer = ask(serve(upload=True), path, method="PUT", body=b"x")
    assert answer.status == status
    assert [*names(root), *names(root.parent)] == before and waiting(root) == []
    assert (root.parent / "secret.txt").read_bytes() == b"secret"
    if status == 405:
        assert answer.get("Allow") == "GET, HEAD, PUT, POST, OPTIONS"


def test_bounds(serve, root, monkeypatch):
    server = serve(upload=True, upload_bound=BOUND)
    assert ask(server, "/new", method="PUT", body=bytes(BOUND)).status == 201
    assert ask(server, "/newer", method="PUT", body=bytes(BOUND + 1)).status == 413
    with Client(server) as client:
        client.send(b"PUT /newer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
                    % (BOUND + 1, bytes(BOUND + 1)))
        assert client.read().status == 413
    with Client(server) as client:
        client.send(b"PUT /newer HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000000\r\n\r\n")
        assert client.read().status == 413
    monkeypatch.setattr(upload, "KEEP_FREE", 1 << 60)
    monkeypatch.setitem(upload.Upload.__init__.__kwdefaults__, "keep_free", 1 << 60)
    assert ask(server, "/newer", method="PUT", body=b"x").status == 507
    assert "newer" not in names(root) and waiting(root) == []


def test_a_length_is_wanted(serve):
    with Client(serve(upload=True)) as client:
        assert client.request("PUT", "/new").status == 411


def test_gone_on_with(serve, root):
    """What came before the connection broke is not sent again."""
    content = bytes(range(256)) * 300
    server = serve(upload=True)
    with connect(server) as sock:
        sock.sendall(b"PUT /new HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content) + content[:70000])
        sock.shutdown(1)
        assert read_until_eof(sock).startswith(b"HTTP/1.1 400 ")
    assert "new" not in names(root) and len(waiting(root)) == 1
    head = ask(server, "/new", method="HEAD")
    offset = int(head.get("Upload-Offset"))
    assert (head.status, head.get("Upload-Length")) == (204, str(len(content))) and 0 < offset <= 70000
    assert ask(server, "/new", [("Upload-Length", "5")], method="HEAD").status == 404
    assert ask(server, "/new").status == 404
    part = [("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")]
    wrong = [("Content-Range", f"bytes {offset - 1}-{len(content) - 1}/{len(content)}")]
    answer = ask(server, "/new", wrong, "PUT", content[offset - 1:])
    assert answer.status == 409 and answer.get("Upload-Offset") == str(offset)
    middle = [("Content-Range", f"bytes {offset}-{offset + 9}/{len(content)}")]
    answer = ask(server, "/new", middle, "PUT", content[offset:offset + 10])
    assert (answer.status, answer.get("Upload-Offset")) == (202, str(offset + 10))
    part = [("Content-Range", f"bytes {offset + 10}-{len(content) - 1}/{len(content)}")]
    assert ask(server, "/new", part, "PUT", content[offset + 10:]).status == 201
    assert (root / "new").read_bytes() == content and waiting(root) == []
    assert ask(server, "/new", method="HEAD").get("Upload-Offset") is None
    assert ask(server, "/x", [("Content-Range", "bytes 0-/5")], "PUT", b"12345").status == 400


def test_parts_of_another_user_are_not_gone_on_with(serve, root):
    import base64

    class Users:
        slow = False

        def verify(self, user, password):
            return password == b"right"
    server = serve(upload=True, auth=auth.Basic(Users()))
    anna, otto = ([("Authorization", "Basic " + base64.b64encode(user + b":right").decode())] for user in (b"anna", b"otto"))
    part = [("Content-Range", "bytes 0-4/10")]
    assert ask(server, "/new", [*anna, *part], "PUT", b"01234").status == 202
    assert ask(server, "/new", anna, "HEAD").get("Upload-Offset") == "5"
    assert ask(server, "/new", otto, "HEAD").status == 404
    assert [would(server, "/new", 10, *who).get("Upload-Offset") for who in (anna, otto)] == ["5", "0"]
    rest = [("Content-Range", "bytes 5-9/10")]
    assert ask(server, "/new", [*otto, *rest], "PUT", b"56789").status == 409


# ---------------------------------------------------------------- asking before sending

def would(server, path, length, *fields):
    """The answer to who asks whether a file of so many octets would be taken."""
    return ask(server, path, [("Content-Range", f"bytes */{length}"), *fields], "PUT", b"")


def test_asking_is_refused_as_the_file_would_be(serve, root, monkeypatch):
    """Nothing has been sent then, so the answer arrives, however large the file is."""
    new = ("If-None-Match", "*")
    server = serve(upload=True, upload_bound=BOUND)
    before = [*names(root), *names(root / "sub")]
    for path, length, fields, status in (
            ("/new", BOUND, (), 202), ("/new", 0, (new,), 202), ("/new", BOUND + 1, (), 413), ("/a.txt", 5, (), 202),
            ("/a.txt", 5, (new,), 412), ("/sub", 5, (new,), 409), ("/none/new", 5, (), 409), ("/", 5, (), 405),
            ("/new", 5, (("Origin", "http://evil.example"),), 403), ("/.turboserver-upload-x", 5, (), 404)):
        answer = would(server, path, length, *fields)
        assert (answer.status, answer.get("Upload-Offset")) == (status, "0" if status == 202 else None), path
    monkeypatch.setitem(upload.Upload.__init__.__kwdefaults__, "keep_free", 1 << 60)
    assert would(server, "/new", 5).status == 507
    assert [*names(root), *names(root / "sub")] == before and waiting(root) == []
    assert (root / "a.txt").read_bytes() == b"0123456789"
    assert would(serve(), "/new", 5).status == 501
    guarded = serve(upload=True, auth=auth.Basic(auth.users_of("anna:right")))
    assert would(guarded, "/new", 5).status == 401


def test_asking_tells_what_is_there_and_leaves_it(serve, root):
    server = serve(upload=True)
    part = [("Content-Range", "bytes 0-4/10")]
    assert ask(server, "/new", part, "PUT", b"01234").status == 202
    assert would(server, "/new", 10).get("Upload-Offset") == "5"
    assert would(server, "/new", 11).get("Upload-Offset") == "0"
    assert ask(server, "/new", [("Content-Range", "bytes 5-9/10")], "PUT", b"56789").status == 201
    assert (root / "new").read_bytes() == b"0123456789" and waiting(root) == []


@pytest.mark.parametrize("field", ["bytes */", "bytes */-1", "bytes */x", "bytes */*", "bytes */" + "9" * 20, "bytes 0-0/*"])
def test_asking_wants_a_length(serve, root, field):
    assert ask(serve(upload=True), "/new", [("Content-Range", field)], "PUT", b"").status == 400
    assert waiting(root) == [] and "new" not in names(root)


def test_asking_has_no_body(serve, root):
    assert ask(serve(upload=True), "/new", [("Content-Range", "bytes */1")], "PUT", b"x").status == 400
    assert waiting(root) == [] and "new" not in names(root)


def test_head_of_what_is_there_looks_through_no_folder(serve, monkeypatch):
    """A program that asks for each of many files would read the folder as often."""
    server, listed = serve(upload=True), []
    real = os.listdir
    monkeypatch.setattr(partials.os, "listdir", lambda *place: (listed.append(place), real(*place))[1])
    assert ask(server, "/a.txt", method="HEAD", then=False).status == 200 and not listed
    assert ask(server, "/a.txt", [("Upload-Length", "7")], "HEAD", then=False).status == 200 and not listed
    assert ask(server, "/new", method="HEAD", then=False).status == 404 and listed


def test_of_what_is_there_an_upload_with_its_length_is_told(serve):
    server = serve(upload=True)
    assert ask(server, "/a.txt", [("Content-Range", "bytes 0-4/20")], "PUT", b"01234").status == 202
    answer = ask(server, "/a.txt", [("Upload-Length", "20")], "HEAD")
    assert (answer.status, answer.get("Upload-Offset"), answer.get("Content-Length")) == (200, "5", "10")


# ---------------------------------------------------------------- who waits for 100 Continue

def expecting(client, path, *fields, length=BOUND, method="PUT"):
    """Send a head alone, whose body waits; the answer that is no interim one, and whether 100 came before."""
    client.send("".join(f"{line}\r\n" for line in (
        f"{method} {path} HTTP/1.1", "Host: test", "Expect: 100-continue", f"Content-Length: {length}", *fields, "")).encode())
    answer = client.read(method)
    if answer.status == 100:
        client.send(b"x" * length)
        return client.read(method), True
    return answer, False


def test_a_refusal_comes_before_the_body(serve, root):
    """RFC 9110, 10.1.1: who waits for 100 has sent nothing yet, and does not have to."""
    guarded = serve(upload=True, auth=auth.Basic(auth.users_of("anna:right")))
    anna = "Authorization: Basic YW5uYTpyaWdodA=="
    for server, path, fields, status, method in (
            (guarded, "/new", (), 401, "PUT"), (guarded, "/new", ("Authorization: Basic YW5uYTp3cm9uZw==",), 401, "PUT"),
            (guarded, "/?upload", (), 401, "POST"), (guarded, "/sub", (anna,), 409, "PUT"),
            (guarded, "/a.txt", (anna, "If-None-Match: *"), 412, "PUT"), (guarded, "/none/new", (anna,), 409, "PUT"),
            (guarded, "/", (anna,), 405, "POST"), (guarded, "/?upload", (anna,), 415, "POST"),
            (serve(upload=True, upload_bound=BOUND - 1), "/new", (), 413, "PUT"), (serve(), "/new", (), 501, "PUT")):
        with Client(server) as client:
            answer, continued = expecting(client, path, *fields, method=method)
            assert (answer.status, continued) == (status, False), path
            assert answer.get("Connection") == "close"      # whether the body comes yet nobody knows
    assert "new" not in names(root) and waiting(root) == []


def test_what_is_taken_is_asked_for(serve, root):
    server = serve(upload=True)
    with Client(server) as client:
        for name, length in (("new", BOUND), ("newer", 5), ("newest", 1_000_000)):
            answer, continued = expecting(client, f"/{name}", length=length)
            assert (answer.status, continued) == (201, True)
            assert (root / name).read_bytes() == b"x" * length
        assert client.request(path="/a.txt").body == b"0123456789"
        headers, body = form((b"form.txt", b"1"))
        client.send(b"POST /?upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
                    % (headers[0][1].encode(), len(body)))
        assert client.read().status == 100
        client.send(body)
        assert client.read().status == 303 and (root / "form.txt").read_bytes() == b"1"


def test_what_one_request_expects_is_not_the_next_one_s(serve):
    """Who asks about a file has no body, so nothing is waited for, and the connection is kept."""
    with Client(serve(upload=True)) as client:
        answer, continued = expecting(client, "/new", "Content-Range: bytes */5", length=0)
        assert (answer.status, continued) == (202, False)
        assert client.request("PUT", "/new", body=b"12345").status == 201


def test_reading_goes_on_as_before(serve):
    """A GET with a body, which nobody wants, is asked for it; then the connection is in order."""
    with Client(serve(upload=True)) as client:
        answer, continued = expecting(client, "/a.txt", length=10, method="GET")
        assert (answer.body, continued) == (b"0123456789", True)
        assert client.request(path="/a.txt").body == b"0123456789"


# ---------------------------------------------------------------- forms

def form(*files, boundary=b"xyz"):
    """(fields, body) of a form with (name, content) of files."""
    body = b"".join(b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b\r\n'
                    % (boundary, name, content) for name, content in files)
    return [("Content-Type", f"multipart/form-data; boundary={boundary.decode()}")], body + b"--%b--\r\n" % boundary


def test_a_form(serve, root):
    server = serve(upload=True)
    headers, body = form((b"one.txt", b"1"), (b"two.txt", b"22"))
    answer = ask(server, "/sub/?upload", headers, "POST", body)
    assert (answer.status, answer.get("Location"), answer.get("Content-Length")) == (303, "./", "0")
    assert (root / "sub" / "one.txt").read_bytes() == b"1" and (root / "sub" / "two.txt").read_bytes() == b"22"
    assert ask(server, "/sub/?upload", headers, "POST", body).status == 409        # there already
    answer = ask(server, "/site?upload", headers, "POST", body)
    assert (answer.status, answer.get("Location")) == (303, "/site/")


def test_forms_that_are_refused(serve, root):
    server = serve(upload=True, upload_bound=1000)
    headers, body = form((b"new.txt", b"1"))
    for path, sent, octets, status in (
            ("/", headers, body, 405), ("/?uploads", headers, body, 405), ("/a.txt?upload", headers, body, 409),
            ("/none/?upload", headers, body, 409), ("/?upload", [], body, 415), ("/?upload", headers, b"--xyz", 400),
            ("/?upload", headers, body[:-20], 400), ("/?upload", *form((b"new.txt", b"x" * 1001)), 413),
            ("/?upload", *form((b".turboserver-upload-1", b"x")), 403), ("/..?upload", headers, body, 400),
            ("/?upload", *form((b"new.txt", b"1"), (b"new.txt", b"2")), 400)):
        assert ask(server, path, sent, "POST", octets).status == status, path
    assert "new.txt" not in names(root) and waiting(root) == []


def test_a_name_in_a_form_is_one_name(serve, root):
    server = serve(upload=True)
    for name in (b"../new.txt", b"/etc/new.txt", b"..", b"a\\..\\new.txt"):
        headers, body = form((name, b"1"))
        assert ask(server, "/sub/?upload", headers, "POST", body).status in (303, 400)
    assert "new.txt" not in names(root) + names(root.parent)


# ---------------------------------------------------------------- other sites, and what is offered

@pytest.mark.parametrize("sent, allowed", [
    ([("Origin", "http://test")], True), ([("Origin", "https://TEST")], True), ([("Sec-Fetch-Site", "same-origin")], True),
    ([("Sec-Fetch-Site", "none")], True), ([], True), ([("Origin", "http://evil.example")], False),
    ([("Origin", "null")], False), ([("Origin", "http://test.evil.example")], False), ([("Origin", "http://test:81")], False),
    ([("Origin", "")], False), ([("Sec-Fetch-Site", "cross-site"), ("Origin", "http://test")], False),
    ([("Sec-Fetch-Site", "same-site")], False)])
def test_pages_of_other_sites(serve, root, sent, allowed):
    server = serve(upload=True, cors=True)
    headers, body = form((b"form.txt", b"1"))
    assert ask(server, "/?upload", [*headers, *sent], "POST", body).status == (303 if allowed else 403)
    assert ask(server, "/put.txt", sent, "PUT", b"x").status == (201 if allowed else 403)
    assert {"form.txt", "put.txt"} <= set(names(root)) if allowed else not {"form.txt", "put.txt"} & set(names(root))


def test_what_is_offered(serve):
    server = serve(upload=True)
    answer = ask(server, "/a.txt", method="OPTIONS")
    assert (answer.status, answer.get("Allow")) == (204, "GET, HEAD, PUT, POST, OPTIONS")
    assert ask(server, "*", method="OPTIONS").status == 204
    assert ask(server, "/a.txt", method="DELETE").status == 501


def test_nothing_without_uploads(serve, root):
    server = serve()
    headers, body = form((b"form.txt", b"1"))
    assert ask(server, "/?upload", headers, "POST", body).status == 501
    assert ask(server, "/a.txt", method="PUT", body=b"new").status == 501
    put(root / ".turboserver-upload-0", b"x")
    assert ask(server, "/new", method="HEAD").status == 404
    assert (root / "a.txt").read_bytes() == b"0123456789" and "form.txt" not in names(root)


def test_a_refusal_reaches_who_still_sends(serve):
    """10 MB that nobody reads: the client sends all of them, then reads why."""
    with Client(serve(upload=True)) as client:
        assert client.request("PUT", "/none/new", body=bytes(10_000_000)).status == 409


def test_the_list_has_what_came(serve):
    server = serve(upload=True)
    with Client(server) as client:
        assert client.request("PUT", "/new.txt", body=b"x").status == 201
        found = json.loads(client.request(path="/?format=json").body)["entries"]
        assert "new.txt" in [entry["name"] for entry in found]
