"""turboserver.deploy.forwarded and root_path: what is believed of a proxy, and of whom."""
import pytest

from turboserver.deploy import root_path
from turboserver.deploy.forwarded import FIELDS, Forwarded, Trust

ENVIRON = {"REMOTE_ADDR": "10.0.0.1", "HTTP_HOST": "inner:8000", "SERVER_NAME": "inner", "SERVER_PORT": "8000",
           "SCRIPT_NAME": "", "PATH_INFO": "/x", "wsgi.url_scheme": "http"}
TRUSTED = "10.0.0.0/8,::1"


def seen(allowed=TRUSTED, fields=tuple(FIELDS), peer="10.0.0.1", **headers):
    """What the application gets, of what differs from ENVIRON."""
    found = []
    middleware = Forwarded(lambda environ, start_response: found.append(environ) or [], Trust(allowed), fields)
    environ = {**ENVIRON, "REMOTE_ADDR": peer}
    environ.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
    before = dict(ENVIRON)
    assert middleware(environ, None) == []
    return {name: value for name, value in found[0].items()
            if before.get(name) != value and not name.startswith(("HTTP_X", "HTTP_F"))}


def address(peer="10.0.0.1", allowed=TRUSTED, **headers):
    return seen(allowed, peer=peer, **headers).get("REMOTE_ADDR", "10.0.0.1")


# ---------------------------------------------------------------- who is believed

@pytest.mark.parametrize("allowed, peer, trusted", [
    ("10.0.0.1", "10.0.0.1", True), ("10.0.0.1", "10.0.0.2", False), ("10.0.0.0/24", "10.0.0.9", True),
    ("10.0.0.9/24", "10.0.0.1", True), ("10.0.0.0/24", "10.0.1.1", False), ("10.0.0.1 , ::1", "::1", True),
    ("2001:db8::/32", "2001:db8:1::7", True), ("2001:db8::/32", "2001:db9::1", False),
    ("10.0.0.1", "::ffff:10.0.0.1", True), ("10.0.0.0/8", "::ffff:11.0.0.1", False), ("0.0.0.0/0", "::1", False),
    ("*", "203.0.113.5", True), ("*", "", True), ("unix", "", True), ("unix", "10.0.0.1", False),
    ("10.0.0.1", "", False), ("", "10.0.0.1", False), ("", "", False), ("10.0.0.1", "nonsense", False),
])
def test_who_is_trusted(allowed, peer, trusted):
    assert Trust(allowed).peer(peer) is trusted
    assert (address(peer, allowed, x_forwarded_for="203.0.113.9") == "203.0.113.9") is trusted


@pytest.mark.parametrize("allowed", ["10.0.0.256", "10.0.0.1/33", "host", "10.0.0.1;10.0.0.2", "**"])
def test_lists_that_are_none(allowed):
    with pytest.raises(ValueError, match="is no address, no network, not"):
        Trust(allowed)


ALL = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https", "x_forwarded_host": "outer.example",
       "x_forwarded_port": "8443", "x_forwarded_prefix": "/app"}
FORWARDED = "for=203.0.113.9;proto=https;host=outer.example"


def test_all_from_a_trusted_one():
    assert seen(**ALL) == {
        "REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "https", "HTTP_HOST": "outer.example:8443",
        "SERVER_NAME": "outer.example", "SERVER_PORT": "8443", "SCRIPT_NAME": "/app"}
    assert seen(forwarded=FORWARDED) == {
        "REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "https", "HTTP_HOST": "outer.example",
        "SERVER_NAME": "outer.example", "SERVER_PORT": "443"}


def test_nothing_from_anybody_else_and_the_fields_are_gone():
    found = []
    environ = {**ENVIRON, "REMOTE_ADDR": "203.0.113.1", "HTTP_FORWARDED": FORWARDED, "HTTP_X_REAL_IP": "1.1.1.1",
               "HTTP_X_FORWARDED_SSL": "on", "HTTP_X_OTHER": "kept",
               **{f"HTTP_{name.upper()}": value for name, value in ALL.items()}}
    Forwarded(lambda environ, start_response: found.append(environ), Trust(TRUSTED))(environ, None)
    assert found == [{**ENVIRON, "REMOTE_ADDR": "203.0.113.1", "HTTP_X_OTHER": "kept"}]


def test_without_such_fields_nothing_changes():
    assert seen() == {}


# ---------------------------------------------------------------- the address

@pytest.mark.parametrize("chain, client", [
    ("203.0.113.9", "203.0.113.9"),
    ("198.51.100.1, 203.0.113.9", "203.0.113.9"),               # what is left of the client is the client's word
    ("203.0.113.9, 10.0.0.2", "203.0.113.9"),
    ("6.6.6.6, 203.0.113.9, 10.0.0.3 ,10.0.0.2", "203.0.113.9"),
    ("10.0.0.3, 10.0.0.2", "10.0.0.3"),                         # all are trusted
    ("2001:db8::1", "2001:db8::1"), ("[2001:DB8::1]:4711", "2001:db8::1"), ("203.0.113.9:80", "203.0.113.9"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("203.0.113.9, ::1", "203.0.113.9"),
    # malformed: no further than what is known
    ("", "10.0.0.1"), ("unknown", "10.0.0.1"), ("1.2.3", "10.0.0.1"), ("203.0.113.9, x", "10.0.0.1"),
    ("evil, 10.0.0.2", "10.0.0.2"), ("203.0.113.9,", "10.0.0.1"), ("203.0.113.9:x", "10.0.0.1"),
    ("203.0.113.9 10.0.0.2", "10.0.0.1"), ("<script>", "10.0.0.1"), ("203.0.113.9\t", "203.0.113.9"),
    ("0203.0.113.9", "10.0.0.1"), ("[::1", "10.0.0.1"), ("٣.1.1.1", "10.0.0.1"),
])
def test_x_forwarded_for(chain, client):
    assert address(x_forwarded_for=chain) == client


def test_everybody_is_trusted():
    assert address(allowed="*", x_forwarded_for="198.51.100.1, 203.0.113.9") == "198.51.100.1"


def test_a_chain_without_an_end():
    assert address(x_forwarded_for="203.0.113.9," + ",".join(["10.0.0.2"] * 200)) == "10.0.0.2"


def test_what_was_the_peers_goes():
    found = []
    environ = {**ENVIRON, "REMOTE_HOST": "proxy", "REMOTE_PORT": "9", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    Forwarded(lambda environ, start_response: found.append(environ), Trust(TRUSTED))(environ, None)
    assert "REMOTE_HOST" not in found[0] and "REMOTE_PORT" not in found[0]


# ---------------------------------------------------------------- scheme, host, port, prefix

@pytest.mark.parametrize("headers, changed", [
    ({"x_forwarded_proto": "https"}, {"wsgi.url_scheme": "https"}),
    ({"x_forwarded_proto": "HTTPS"}, {"wsgi.url_scheme": "https"}),
    ({"x_forwarded_proto": "wss"}, {"wsgi.url_scheme": "https"}),
    ({"x_forwarded_proto": "https, http"}, {}),                 # the first is the client's word
    ({"x_forwarded_proto": "http,https"}, {"wsgi.url_scheme": "https"}),
    ({"x_forwarded_proto": "ftp"}, {}), ({"x_forwarded_proto": ""}, {}), ({"x_forwarded_proto": "https;"}, {}),
    ({"x_forwarded_host": "a.example"}, {"HTTP_HOST": "a.example", "SERVER_NAME": "a.example", "SERVER_PORT": "80"}),
    ({"x_forwarded_host": "evil, a.example:81"},
     {"HTTP_HOST": "a.example:81", "SERVER_NAME": "a.example", "SERVER_PORT": "81"}),
    ({"x_forwarded_host": "[::2]:81"}, {"HTTP_HOST": "[::2]:81", "SERVER_NAME": "[::2]", "SERVER_PORT": "81"}),
    ({"x_forwarded_host": "a.example", "x_forwarded_proto": "https"},
     {"wsgi.url_scheme": "https", "HTTP_HOST": "a.example", "SERVER_NAME": "a.example", "SERVER_PORT": "443"}),
    ({"x_forwarded_host": "a.example", "x_forwarded_port": "443", "x_forwarded_proto": "https"},
     {"wsgi.url_scheme": "https", "HTTP_HOST": "a.example", "SERVER_NAME": "a.example", "SERVER_PORT": "443"}),
    ({"x_forwarded_host": "a.example:1", "x_forwarded_port": "2"},
     {"HTTP_HOST": "a.example:2", "SERVER_NAME": "a.example", "SERVER_PORT": "2"}),
    ({"x_forwarded_port": "2"}, {"HTTP_HOST": "inner:2", "SERVER_PORT": "2"}),
    ({"x_forwarded_host": "a/b"}, {}), ({"x_forwarded_host": "a b"}, {}), ({"x_forwarded_host": "u@a"}, {}),
    ({"x_forwarded_host": "a:99999"}, {}), ({"x_forwarded_host": "a:0"}, {}), ({"x_forwarded_host": "-"}, {}),
    ({"x_forwarded_host": "a\nb"}, {}), ({"x_forwarded_host": "<a>"}, {}), ({"x_forwarded_host": "a.example,"}, {}),
    ({"x_forwarded_port": "0"}, {}), ({"x_forwarded_port": "65536"}, {}), ({"x_forwarded_port": "-1"}, {}),
    ({"x_forwarded_port": "٣"}, {}), ({"x_forwarded_port": "080"}, {}),
    ({"x_forwarded_prefix": "/a/b/"}, {"SCRIPT_NAME": "/a/b"}), ({"x_forwarded_prefix": "/"}, {}),
    ({"x_forwarded_prefix": "/a%20b"}, {"SCRIPT_NAME": "/a b"}),
    ({"x_forwarded_prefix": "/%c3%85"}, {"SCRIPT_NAME": "/\xc3\x85"}),
    ({"x_forwarded_prefix": "/evil, /a"}, {"SCRIPT_NAME": "/a"}),
    ({"x_forwarded_prefix": "a"}, {}), ({"x_forwarded_prefix": "//evil.example"}, {}),
    ({"x_forwarded_prefix": "/a/../b"}, {}), ({"x_forwarded_prefix": "/a/%2e%2e/b"}, {}),
    ({"x_forwarded_prefix": "/a?b"}, {}), ({"x_forwarded_prefix": "/%0a"}, {}), ({"x_forwarded_prefix": "/%2Fa"}, {}),
    ({"x_forwarded_prefix": "http://evil"}, {}),
])
def test_the_rest(headers, changed):
    assert seen(**headers) == changed


def test_a_malformed_field_does_not_reach_the_application():
    found = []
    environ = {**ENVIRON, "HTTP_X_FORWARDED_FOR": "x", "HTTP_X_FORWARDED_PROTO": "x", "HTTP_X_FORWARDED_HOST": "<>",
               "HTTP_X_FORWARDED_PORT": "x", "HTTP_X_FORWARDED_PREFIX": "x"}
    Forwarded(lambda environ, start_response: found.append(environ), Trust(TRUSTED))(environ, None)
    assert found == [ENVIRON]


def test_no_host_at_all():
    found = []
    environ = {name: value for name, value in ENVIRON.items() if name != "HTTP_HOST"}
    environ.update(HTTP_X_FORWARDED_PROTO="https", HTTP_X_FORWARDED_PORT="444")
    Forwarded(lambda environ, start_response: found.append(environ), Trust(TRUSTED))(environ, None)
    assert found[0]["SERVER_PORT"] == "444" and "HTTP_HOST" not in found[0]


def test_only_fields_that_count():
    assert seen(fields=("for",), **ALL) == {"REMOTE_ADDR": "203.0.113.9"}
    assert seen(fields=("proto",), **ALL) == {"wsgi.url_scheme": "https"}
    assert seen(fields=("for",), forwarded=FORWARDED) == {}
    assert seen(fields=("forwarded",), **ALL) == {}
    assert seen(fields=("forwarded",), forwarded=FORWARDED, **ALL)["REMOTE_ADDR"] == "203.0.113.9"


# ---------------------------------------------------------------- Forwarded (RFC 7239)

@pytest.mark.parametrize("field, changed", [
    ("for=203.0.113.9", {"REMOTE_ADDR": "203.0.113.9"}),
    ("For = 203.0.113.9", {}),                                  # no space about the equals sign
    ("FOR=203.0.113.9 ; By=10.0.0.1", {"REMOTE_ADDR": "203.0.113.9"}),
    ('for="[2001:db8::1]:4711"', {"REMOTE_ADDR": "2001:db8::1"}),
    ('for="203.0.113.9:_port"', {"REMOTE_ADDR": "203.0.113.9"}),
    ('for="20\\3.0.113.9"', {"REMOTE_ADDR": "203.0.113.9"}),
    ("for=6.6.6.6;proto=ftp, for=203.0.113.9;proto=https", {"REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "https"}),
    ("for=203.0.113.9;proto=https, for=10.0.0.2;proto=http",
     {"REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "https"}),
    ("for=6.6.6.6;host=evil, for=203.0.113.9", {"REMOTE_ADDR": "203.0.113.9"}),
    ("for=unknown;proto=https", {"wsgi.url_scheme": "https"}),
    ("for=_hidden, for=10.0.0.2;proto=https", {"REMOTE_ADDR": "10.0.0.2", "wsgi.url_scheme": "https"}),
    (", for=203.0.113.9,,", {"REMOTE_ADDR": "203.0.113.9"}),
    ('host="a.example:81";for=203.0.113.9',
     {"REMOTE_ADDR": "203.0.113.9", "HTTP_HOST": "a.example:81", "SERVER_NAME": "a.example", "SERVER_PORT": "81"}),
    ('for="a, for=203.0.113.9', {}), ("for=203.0.113.9;for=6.6.6.6", {}), ("for=", {}), ("=x", {}), ("for", {}),
    ("", {}), ("for=203.0.113.9 x", {}), ("for=[::2]", {}), ("for=203.0.113.9;proto=ht tp", {}), ('for=""', {}),
])
def test_forwarded(field, changed):
    assert seen(forwarded=field) == changed


def test_one_kind_of_field_only():
    """A proxy that writes one passes on the other as the client wrote it."""
    assert seen(forwarded="for=6.6.6.6;proto=https;host=evil", x_forwarded_for="203.0.113.9") == {
        "REMOTE_ADDR": "203.0.113.9"}
    assert seen(forwarded="for=6.6.6.6;host=evil", x_forwarded_proto="https") == {"wsgi.url_scheme": "https"}


# ---------------------------------------------------------------- the root path

@pytest.mark.parametrize("path, expected", [
    ("/app/x", ("/app", "/x")), ("/x", ("/app", "/x")), ("/app", ("/app", "")), ("/app/", ("/app", "/")),
    ("/apple", ("/app", "/apple")), ("", ("/app", "")), ("/app/app/x", ("/app", "/app/x"))])
def test_root_path(path, expected):
    found = []
    middleware = root_path.RootPath(lambda environ, start_response: found.append(environ), root_path.checked("/app/"))
    middleware({**ENVIRON, "PATH_INFO": path}, None)
    assert (found[0]["SCRIPT_NAME"], found[0]["PATH_INFO"]) == expected


def test_root_paths_that_are_none():
    assert root_path.checked("/") == ""
    assert root_path.checked("/\xe4") == "/\xc3\xa4"
    for path in ("app", "//app", "/a//b", "/a?b", "/a#b", "/a\n", "http://a/"):
        with pytest.raises(ValueError, match="no path that begins with a slash"):
            root_path.checked(path)


def test_a_prefix_of_a_trusted_proxy_comes_before_the_root_path():
    found = []
    inner = Forwarded(lambda environ, start_response: found.append(environ), Trust(TRUSTED))
    root_path.RootPath(inner, "/root")({**ENVIRON, "HTTP_X_FORWARDED_PREFIX": "/app", "PATH_INFO": "/root/x"}, None)
    assert (found[0]["SCRIPT_NAME"], found[0]["PATH_INFO"]) == ("/app", "/x")
