"""PEP 3333 as a checklist, first part: what an application is called with, and its environ.

Each docstring names the section of the PEP.  What is asked of the native path alone is in wsgi_gateways.ONLY_NATIVE.
"""
import functools
import os
import urllib.parse
import wsgiref.util

import pytest

from support import Client, exchange
from wsgi_gateways import TEXT, chunked, gateways, request, serve


def environs(kind, *requests, **classes):
    """Copies of what an application is given for each of these requests."""
    seen = []

    def app(environ, start_response):
        seen.append(dict(environ))
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    with serve(app, kind, **classes) as server:
        for data in requests:
            exchange(server, data)
    assert len(seen) == len(requests)
    return seen


def environ_of(kind, *arguments, classes={}, **named):
    return environs(kind, request(*arguments, **named), **classes)[0]


# ---------------------------------------------------------------- The Application/Framework Side

def from_a_function(environ, start_response):
    start_response("200 OK", [*TEXT])
    return [b"called"]


class FromAClass:
    """The PEP's example: making an instance is the call, iterating over it the answer."""

    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        self.start("200 OK", [*TEXT])
        yield b"called"


class FromAnInstance:
    def __call__(self, environ, start_response):
        return from_a_function(environ, start_response)

    def method(self, environ, start_response):
        return from_a_function(environ, start_response)

    @staticmethod
    def static(environ, start_response):
        return from_a_function(environ, start_response)


APPLICATIONS = {
    "function": from_a_function, "class": FromAClass, "instance": FromAnInstance(), "method": FromAnInstance().method,
    "static method": FromAnInstance.static, "partial": functools.partial(from_a_function),
    "lambda": lambda *arguments: from_a_function(*arguments),
}


@gateways()
@pytest.mark.parametrize("name", APPLICATIONS)
def test_application_is_any_callable(kind, name):
    """The Application/Framework Side: "a callable object that accepts two arguments"; not introspected."""
    with serve(APPLICATIONS[name], kind) as server, Client(server) as client:
        assert client.request().body == b"called"


@gateways()
def test_called_with_two_positional_arguments(kind):
    """Specification Details: "The server or gateway must invoke the application object using positional (not
    keyword) arguments"; once for each request."""
    calls = []

    def app(*arguments, **named):
        calls.append((len(arguments), named))
        return from_a_function(*arguments)

    with serve(app, kind) as server:
        for number in range(3):
            exchange(server, request())
    assert calls == [(2, {})] * 3


@gateways()
def test_application_may_be_replaced(kind):
    """The Server/Gateway Side: the application is the one that the server has when a request comes."""
    with serve(from_a_function, kind) as server:
        assert exchange(server, request()).endswith(b"called")

        def other(environ, start_response):
            start_response("200 OK", [*TEXT])
            return [b"another"]

        server.set_app(other)
        assert exchange(server, request()).endswith(b"another")


# ---------------------------------------------------------------- environ Variables: the dictionary

@gateways()
def test_environ_is_a_builtin_dictionary(kind):
    """Specification Details: "a builtin Python dictionary (not a subclass, UserDict or other dictionary emulation)"."""
    types = []

    def app(environ, start_response):
        types.append(type(environ))
        return from_a_function(environ, start_response)

    with serve(app, kind) as server:
        exchange(server, request())
    assert types == [dict]


@gateways("environ is not read again")
def test_environ_may_be_modified(kind):
    """Specification Details: "the application is allowed to modify the dictionary in any way it desires"; what it
    does to one is not seen in the next, nor by the server."""
    seen = []

    def app(environ, start_response):
        seen.append(dict(environ))
        path = environ["PATH_INFO"]
        if path == "/fill":
            environ.update({"wsgi.version": None, "HTTP_X_ADDED": "1", "PATH_INFO": 5, 7: 8, "REMOTE_ADDR": b""})
        elif path == "/clear":
            environ.clear()
        elif path == "/take":
            for name in ("wsgi.input", "wsgi.errors", "REQUEST_METHOD", "SERVER_PROTOCOL", "HTTP_HOST"):
                environ[name] = None
        start_response("200 OK", [*TEXT])
        return [b"ok"]

    paths = ("/1", "/fill", "/2", "/clear", "/3", "/take", "/4")
    with serve(app, kind) as server:
        answer = exchange(server, b"".join(request(target=path) for path in paths))
    assert answer.count(b"HTTP/1.1 200 OK") == len(paths)
    variable = {"PATH_INFO", "wsgi.input", "REMOTE_PORT"}
    plain = [{name: value for name, value in environ.items() if name not in variable} for environ in seen]
    assert [environ["PATH_INFO"] for environ in seen] == list(paths)
    assert all(environ == plain[0] for environ in plain)


@gateways()
def test_environ_may_be_kept(kind):
    """Specification Details: the dictionary is the application's; it stays as it was when the answer is out."""
    kept = []

    def app(environ, start_response):
        kept.append((environ, dict(environ)))
        return from_a_function(environ, start_response)

    with serve(app, kind) as server:
        for number in range(3):
            exchange(server, request(target=f"/{number}", headers=[("X-Number", number)]))
    assert len({id(environ) for environ, copy in kept}) == 3
    assert all(environ == copy for environ, copy in kept)
    assert [environ["HTTP_X_NUMBER"] for environ, copy in kept] == ["0", "1", "2"]


def strings(environ):
    """What of an environ are CGI variables: PEP 3333 has dots in the names of all others."""
    return {name: value for name, value in environ.items() if "." not in name}


SHAPES = {
    "get": request(), "http/1.0": b"GET / HTTP/1.0\r\n\r\n", "head": request("HEAD"), "post": request("POST", body=b"x"),
    "8-bit": request(target="/%ff%C3%BC?%ff", headers=[("X-8", "\xe9\xff"), ("Content-Type", "\xe9")]),
    "chunked": request("PUT", headers=[("Transfer-Encoding", "chunked")]) + chunked(b"x"),
    "empty fields": request(headers=[("X-Empty", ""), ("Content-Type", "")]),
}


@gateways()
@pytest.mark.parametrize("shape", SHAPES)
def test_required_variables_are_there_and_are_strings(kind, shape):
    """environ Variables: "the environ dictionary is required to contain these CGI environment variables"; "all
    CGI-defined variables must be native strings"."""
    environ, = environs(kind, SHAPES[shape])
    assert {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT",
            "SERVER_PROTOCOL"} <= environ.keys()
    assert {"wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess",
            "wsgi.run_once"} <= environ.keys()
    assert all(type(name) is str for name in environ)
    assert {name: value for name, value in strings(environ).items() if type(value) is not str} == {}
    for name in ("REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"):
        assert environ[name], f"{name} can never be empty"


@gateways()
@pytest.mark.parametrize("shape", SHAPES)
def test_strings_are_octets(kind, shape):
    """Unicode Issues: what comes from the request is octets decoded as ISO-8859-1, whatever they mean."""
    environ, = environs(kind, SHAPES[shape])
    for name, value in strings(environ).items():
        if name not in os.environ:
            value.encode("latin-1")
    if shape == "8-bit":
        assert environ["PATH_INFO"].encode("latin-1") == b"/\xff\xc3\xbc"
        assert environ["QUERY_STRING"] == "%ff"
        assert environ["HTTP_X_8"] == "\xe9\xff" and environ["CONTENT_TYPE"] == "\xe9"


# ---------------------------------------------------------------- environ Variables: one by one

METHODS = ("GET", "POST", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "get", "M-SEARCH", "X")


@gateways()
def test_request_method(kind):
    """environ Variables, REQUEST_METHOD: as sent, letter by letter, and whatever it is."""
    seen = environs(kind, *(request(method) for method in METHODS))
    assert [environ["REQUEST_METHOD"] for environ in seen] == list(METHODS)


PATHS = ("/", "/a", "/a/b/", "/a%20b", "/a+b", "/a%2Fb", "/a;b=c", "/%C3%BC", "/%ff%80", "/%", "/%z1", "/%4", "/a%00b", "/%3Fa",
         "/%25%32%30", "/a//b", "/a/../b", "/~a:@!$&'()*,", "/" + "long%2f" * 500)


@gateways()
def test_path_info(kind):
    """environ Variables, SCRIPT_NAME and PATH_INFO: the application is the root, so one is empty and the other the
    path, its escapes decoded once, into octets."""
    for path, environ in zip(PATHS, environs(kind, *(request(target=path + "?q=%20") for path in PATHS))):
        assert environ["SCRIPT_NAME"] == ""
        assert environ["PATH_INFO"].encode("latin-1") == urllib.parse.unquote_to_bytes(path)
        assert environ["QUERY_STRING"] == "q=%20"


@gateways("absolute targets")
def test_path_of_an_absolute_target(kind):
    """environ Variables, PATH_INFO: "the remainder of the request URL's path"; RFC 9112, 3.2.2, for the host."""
    data = b"GET http://other.example:81/a%20b?c HTTP/1.1\r\nHost: example.org\r\n\r\n"
    environ, = environs(kind, data)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "c")
    assert environ["HTTP_HOST"] == "other.example:81"


@gateways()
def test_script_name_of_the_server(kind):
    """environ Variables, SCRIPT_NAME: what the server says of where the application is, if it says so."""
    def setup_environ(self):
        super(type(self), self).setup_environ()
        self.base_environ["SCRIPT_NAME"] = "/mounted"

    environ = environ_of(kind, target="/a", classes={"server": {"setup_environ": setup_environ}})
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mounted", "/a")


QUERIES = (("/", ""), ("/?", ""), ("/?a=1&b=2", "a=1&b=2"), ("/?a?b", "a?b"), ("/?%C3%BC+%20", "%C3%BC+%20"),
           ("/?/../", "/../"), ("/a%3Fb?c%3Fd", "c%3Fd"))


@gateways()
def test_query_string(kind):
    """environ Variables, QUERY_STRING: "the portion of the request URL that follows the '?', if any", as sent."""
    seen = environs(kind, *(request(target=target) for target, query in QUERIES))
    assert [environ["QUERY_STRING"] for environ in seen] == [query for target, query in QUERIES]


@gateways()
def test_content_type(kind):
    """environ Variables, CONTENT_TYPE: the field's content, not as HTTP_CONTENT_TYPE; "may be empty or absent".

    Absent it is text/plain in the original, of which no application may conclude anything."""
    environ = environ_of(kind, "POST", headers=[("Content-Type", " text/x; y=\"Z\" ")], body=b"x")
    assert environ["CONTENT_TYPE"] == 'text/x; y="Z"'
    assert environ_of(kind).get("CONTENT_TYPE", "") in ("", "text/plain")
    assert "HTTP_CONTENT_TYPE" not in environ


@gateways()
def test_content_length(kind):
    """environ Variables, CONTENT_LENGTH: the field's content, not as HTTP_CONTENT_LENGTH; "may be empty or absent"."""
    assert environ_of(kind).get("CONTENT_LENGTH", "") == ""
    for body in (b"", b"x", b"x" * 100_000):
        environ = environ_of(kind, "POST", body=body)
        assert environ["CONTENT_LENGTH"] == str(len(body))
        assert "HTTP_CONTENT_LENGTH" not in environ


@gateways()
def test_content_length_of_a_chunked_body(kind):
    """environ Variables, CONTENT_LENGTH: the octets of its content; wsgi.input_terminated says that wsgi.input ends by
    itself. A long body has none (test_wsgi_pep3333_streams.py)."""
    environ, = environs(kind, SHAPES["chunked"])
    assert environ["CONTENT_LENGTH"] == "1" and "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input_terminated"] is True


@gateways()
def test_server_name_and_port(kind):
    """environ Variables, SERVER_NAME and SERVER_PORT: "can never be empty strings, and so are always required"; the
    server's own, whatever the client says."""
    with serve(from_a_function, kind) as server:
        port = server.server_port
    assert port
    for data in (request(), b"GET / HTTP/1.0\r\n\r\n", request(headers=[("Server-Name", "forged"), ("Server-Port", "1")])):
        environ, = environs(kind, data)
        assert environ["SERVER_NAME"] not in ("", "forged", "example.org")
        assert int(environ["SERVER_PORT"]) > 1


@gateways()
def test_server_protocol(kind):
    """environ Variables, SERVER_PROTOCOL: "the version of the protocol the client used to send the request"."""
    for version in ("HTTP/1.0", "HTTP/1.1"):
        assert environ_of(kind, version=version)["SERVER_PROTOCOL"] == version


@gateways()
def test_remote_address(kind):
    """environ Variables: "as many other CGI variables as are applicable"; the client's address among them, and not
    what a header field of that name says."""
    environ = environ_of(kind, headers=[("Remote-Addr", "6.6.6.6"), ("Remote-User", "root"), ("Gateway-Interface", "x")])
    assert environ["REMOTE_ADDR"] == "127.0.0.1" and environ["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert environ.get("REMOTE_USER") == os.environ.get("REMOTE_USER")


@gateways()
def test_header_fields(kind):
    """environ Variables, HTTP_: "the presence or absence of these variables should correspond with the presence or
    absence of the appropriate HTTP header in the request"."""
    environ = environ_of(kind, headers=[("X-One", "1"), ("x-tWo", " padded\t"), ("X-Empty", ""), ("X", "a, b;c=\"d\""),
                                        ("X-9!#$%&'*+.^`|~", "odd"), ("Cookie", "a=b; c=d")])
    fields = {name: value for name, value in environ.items() if name.startswith("HTTP_") and name not in os.environ}
    assert fields == {"HTTP_HOST": "example.org", "HTTP_X_ONE": "1", "HTTP_X_TWO": "padded", "HTTP_X_EMPTY": "",
                      "HTTP_X": 'a, b;c="d"', "HTTP_X_9!#$%&'*+.^`|~": "odd", "HTTP_COOKIE": "a=b; c=d"}


@gateways()
def test_repeated_header_fields(kind):
    """environ Variables, HTTP_; RFC 9110, 5.2: joined with commas, in order."""
    environ = environ_of(kind, headers=[("X-A", "1"), ("Y", "0"), ("x-a", "2,3"), ("X-A", ""), ("X-a", "4")])
    assert [item.strip() for item in environ["HTTP_X_A"].split(",")] == ["1", "2", "3", "", "4"]


@gateways()
def test_many_header_fields(kind):
    """environ Variables, HTTP_: no field is lost, and none gets the value of another."""
    fields = [(f"X-Field-{number}", f"value {number}") for number in range(80)]
    environ = environ_of(kind, headers=fields)
    for name, value in fields:
        assert environ["HTTP_" + name.upper().replace("-", "_")] == value


@gateways("underscores")
@pytest.mark.parametrize("name", ("X_Real", "Content_Length", "Content_Type", "_", "Host_"))
def test_names_with_an_underscore(kind, name):
    """environ Variables, HTTP_: a name with an underscore would pass for the one with a hyphen, so that it is dropped;
    this is the server's own rule, the PEP has none."""
    headers = [("X-Real", "good"), (name, "77"), ("Content-Type", "text/good")]
    environ = environ_of(kind, "POST", headers=headers, body=b"body")
    assert (environ["HTTP_X_REAL"], environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("good", "text/good", "4")
    assert not [key for key, value in environ.items() if value == "77"]


@gateways()
def test_names_with_an_underscore_if_wanted(kind):
    """The same with turbo_underscores: what is not HTTP_ stays what it is, even then."""
    headers = [("X_Real", "kept"), ("Content_Length", "77"), ("Content_Type", "text/forged")]
    environ = environ_of(kind, "POST", headers=headers, body=b"body", classes={"handler": {"turbo_underscores": True}})
    assert environ["HTTP_X_REAL"] == "kept" and environ["CONTENT_LENGTH"] == "4"
    assert environ.get("CONTENT_TYPE", "") != "text/forged"


@gateways()
def test_names_of_the_gateway_are_not_for_clients(kind):
    """environ Variables: no header field sets what is not HTTP_."""
    names = ("wsgi.input", "wsgi.url_scheme", "Wsgi.Version", "Path-Info", "Script-Name", "Request-Method", "HTTPS")
    plain = environ_of(kind)
    forged = environ_of(kind, headers=[(name, "forged") for name in names])
    more = {name for name in forged if name not in plain}
    assert all(name.startswith("HTTP_") for name in more)
    assert not [name for name in plain if forged[name] == "forged"]


@gateways()
def test_environment_of_the_process(kind):
    """environ Variables: "may also contain arbitrary operating-system environment variables"; a copy."""
    environ = environ_of(kind)
    assert environ["PATH"] == os.environ["PATH"]
    before = dict(os.environ)

    def app(environ, start_response):
        environ["PATH"] = "changed"
        environ["ADDED_BY_THE_APPLICATION"] = "1"
        return from_a_function(environ, start_response)

    with serve(app, kind) as server:
        exchange(server, request())
    assert dict(os.environ) == before


@gateways("environ without the system's")
def test_environment_of_the_process_left_out(kind):
    """environ Variables: the same, where the handler class says turbo_os_environ = False."""
    environ = environ_of(kind, classes={"handler": {"turbo_os_environ": False}})
    assert "PATH" not in environ and environ["PATH_INFO"] == "/"


# ---------------------------------------------------------------- environ Variables: wsgi.

@gateways()
def test_wsgi_version_and_scheme(kind):
    """environ Variables: "the tuple (1, 0)"; the scheme is that by which the application is called."""
    environ = environ_of(kind)
    assert environ["wsgi.version"] == (1, 0) and type(environ["wsgi.version"]) is tuple
    assert environ["wsgi.url_scheme"] == "http" and type(environ["wsgi.url_scheme"]) is str


@gateways()
def test_wsgi_concurrency(kind):
    """environ Variables: wsgi.multithread, wsgi.multiprocess and wsgi.run_once are true to the server."""
    environ = environ_of(kind)
    assert bool(environ["wsgi.multithread"]) is (kind != "single")
    assert not environ["wsgi.multiprocess"] and not environ["wsgi.run_once"]


@gateways("server knows it is one of several")
def test_wsgi_multiprocess(kind):
    """environ Variables, wsgi.multiprocess: true where the server says turbo_multiprocess = True."""
    environ = environ_of(kind, classes={"server": {"turbo_multiprocess": True}})
    assert environ["wsgi.multiprocess"] is True


# ---------------------------------------------------------------- URL Reconstruction

@gateways()
def test_url_reconstruction(kind):
    """URL Reconstruction: what the PEP's algorithm makes of environ is the URL that was asked for."""
    targets = ("/", "/a/b?c=d&e", "/a%20b", "/%C3%BC")
    for target, environ in zip(targets, environs(kind, *(request(target=target) for target in targets))):
        assert wsgiref.util.request_uri(environ) == "http://example.org" + target
    nameless = environs(kind, *(f"GET {target} HTTP/1.0\r\n\r\n".encode() for target in targets))
    for target, environ in zip(targets, nameless):
        uri = urllib.parse.urlsplit(wsgiref.util.request_uri(environ))
        assert uri.netloc == f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        assert uri.path + "?" * bool(uri.query) + uri.query == target
