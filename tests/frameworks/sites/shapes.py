"""Applications of every shape PEP 3333 knows, each under WebTest's lint; and WebOb's own kinds of response.

lint raises AssertionError for what server or application do wrong: the answer is then a 500, or, for a body
that is not closed, a line on stderr.
"""
import io
import sys

import contract
from webob import Request, Response
from webob.dec import wsgify
from webob.static import DirectoryApp, FileApp
from webtest import lint

#: Copied for each answer: a server may change the list that it is given.
TEXT = [("Content-Type", "text/plain")]
SHAPES = {}


def shape(application):
    name = getattr(application, "__name__", None) or application.func.__name__     # wsgify keeps the function
    SHAPES["/" + name] = application
    return application


@shape
def in_a_list(environ, start_response):
    start_response("200 OK", [*TEXT])
    return [b"one", b"", b"two"]


@shape
def with_a_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "6")])
    return (b"one", b"two")


@shape
def lazy(environ, start_response):
    """start_response is called when the first piece is asked for."""
    start_response("200 OK", [*TEXT])
    yield b"one"
    yield b""
    yield b"two"


@shape
def empty_first(environ, start_response):
    start_response("200 OK", [*TEXT])
    return iter([b"", b"onetwo"])


@shape
def written(environ, start_response):
    write = start_response("200 OK", [*TEXT])
    write(b"one")
    write(b"tw")
    return [b"o"]


@shape
def in_a_file(environ, start_response):
    start_response("200 OK", [*TEXT])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"onetwo"), 4)


@shape
def in_a_real_file(environ, start_response):
    start_response("200 OK", [*TEXT])
    return environ["wsgi.file_wrapper"](open(contract.FILE, "rb"), 8192)


class Body:
    """An iterable that is no list, has a length, and counts its closings."""

    closed = 0

    def __len__(self):
        return 1

    def __iter__(self):
        return iter([b"onetwo"])

    def close(self):
        Body.closed += 1


@shape
def in_an_object(environ, start_response):
    start_response("200 OK", [*TEXT])
    return Body()


@shape
def closed(environ, start_response):
    """Whether any `in_an_object` before was closed."""
    start_response("200 OK", [*TEXT])
    return [b"closed" if Body.closed else b"never"]


@shape
def replaced(environ, start_response):
    """An error before the head is out: the second start_response counts."""
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise ValueError("before the head")
    except ValueError:
        start_response("500 Replaced", [*TEXT], sys.exc_info())
    return [b"onetwo"]


@shape
def too_late(environ, start_response):
    """An error after the head is out: start_response raises it again."""
    write = start_response("200 OK", [*TEXT])
    write(b"onetwo")
    try:
        raise ValueError("after the head, as it is meant to be")
    except ValueError:
        start_response("500 Too Late", [*TEXT], sys.exc_info())
    return [b"never"]


@shape
def read_by_lines(environ, start_response):
    lines = list(environ["wsgi.input"])
    start_response("200 OK", [*TEXT])
    return lines[::-1]


@shape
def read_to_the_end(environ, start_response):
    data = environ["wsgi.input"].read(3) + environ["wsgi.input"].readline() + environ["wsgi.input"].read()
    start_response("200 OK", [*TEXT])
    return [b"%d" % len(data), b" ", data[:20]]


@shape
def read_not_at_all(environ, start_response):
    start_response("200 OK", [*TEXT])
    return [b"onetwo"]


@shape
def bodyless(environ, start_response):
    start_response("204 No Content", [])
    return []


@shape
def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


@shape
def no_header_at_all(environ, start_response):
    """What is left of HTTP's rules to the server: lint wants a Content-Type, which is empty here."""
    start_response("200 OK", [("Content-Type", "")])
    return [b"onetwo"]


@shape
def errors_told(environ, start_response):
    environ["wsgi.errors"].writelines(["told to ", "wsgi.errors\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", [*TEXT])
    return [b"onetwo"]


@shape
@wsgify
def webob_echo(request):
    return Response(json={"method": request.method, "params": list(request.params.items()), "body": request.text,
                          "accept": str(request.accept), "url": request.url})


@shape
@wsgify
def webob_conditional(request):
    return Response(body=contract.FILE_BYTES, conditional_response=True, etag="an-etag",
                    content_type="application/octet-stream", last_modified=1_600_000_000)


@shape
@wsgify
def webob_gzip(request):
    response = Response(body=b"again and " * 500, content_type="text/plain")
    response.encode_content("gzip")
    return response


@shape
@wsgify
def webob_forwards(request):
    """Asks another application and passes its answer on."""
    return Request.blank("/in_a_list").get_response(application)


SHAPES["/webob_file"] = FileApp(contract.FILE)
SHAPES["/webob_folder"] = DirectoryApp(contract.FOLDER)


def unlinted(environ, start_response):
    first, _, rest = environ["PATH_INFO"][1:].partition("/")
    if first == "webob_folder":
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/" + first, "/" + rest
    return SHAPES["/" + first](environ, start_response)


application = lint.middleware(unlinted)
