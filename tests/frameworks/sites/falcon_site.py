"""Falcon: contract.py's application."""
import contract
import falcon

TEXT = falcon.MEDIA_TEXT


class Hello:
    def on_get(self, request, response):
        response.content_type = TEXT
        response.text = "hello"


class Item:
    def on_get(self, request, response, number):
        response.text = f"item {number}"


class Query:
    def on_get(self, request, response):
        response.media = {"a": request.get_param_as_list("a"), "b": request.get_param("b")}


class Path:
    def on_get(self, request, response, text):
        response.media = {"path": text}


class Where:
    def on_get(self, request, response):
        response.media = {**contract.where(request.env), "url": request.url, "hello": request.prefix + "/hello"}


class Method:
    def on_get(self, request, response):
        response.text = request.method

    on_post = on_put = on_patch = on_delete = on_options = on_get


class Form:
    def on_post(self, request, response):
        response.text = request.get_media()["name"]


class Upload:
    def on_post(self, request, response):
        fields = {}
        for part in request.get_media():
            if part.name == "file":
                fields.update(contract.described(part.stream.read(), name=part.filename))
            else:
                fields[part.name] = part.text
        response.media = fields


class Json:
    def on_post(self, request, response):
        data = request.get_media()
        response.media = {"sum": data["a"] + data["b"]}


class Raw:
    def on_post(self, request, response):
        response.media = contract.described(request.bounded_stream.read())


class Unbounded:
    """The server's own stream, to its end: for bodies of which no length is told."""

    def on_post(self, request, response):
        response.media = contract.described(request.stream.read())


class Stream:
    def on_get(self, request, response):
        response.content_type = TEXT
        response.stream = iter(contract.PIECES)


class Fails:
    def on_get(self, request, response):
        response.content_type = TEXT
        response.stream = contract.failing()


class Error:
    def on_get(self, request, response):
        raise RuntimeError("as it is meant to")


class Redirect:
    def on_get(self, request, response):
        raise falcon.HTTPFound("/hello")


class Cookies:
    def on_get(self, request, response):
        response.media = request.cookies
        response.set_cookie("one", "1", secure=False)
        response.set_cookie("two", "2", secure=False, http_only=True)


class Session:
    """Falcon has no sessions: a cookie counts."""

    def on_get(self, request, response):
        visits = int(request.cookies.get("session", 0)) + 1
        response.set_cookie("session", str(visits), secure=False)
        response.text = str(visits)


class File:
    """A stream that has a file behind it goes through wsgi.file_wrapper."""

    def on_get(self, request, response):
        response.content_type = "application/octet-stream"
        response.set_stream(open(contract.FILE, "rb"), len(contract.FILE_BYTES))


class Nothing:
    def on_get(self, request, response):
        response.status = falcon.HTTP_204


class Empty:
    def on_get(self, request, response):
        response.text = ""


class Headers:
    def on_get(self, request, response):
        response.text = "many"
        for name, value in contract.MANY_HEADERS:
            response.append_header(name, value)


app = application = falcon.App()
for template, resource in (
        ("/hello", Hello()), ("/items/{number:int}", Item()), ("/query", Query()), ("/path/{text:path}", Path()),
        ("/where", Where()), ("/method", Method()), ("/form", Form()), ("/upload", Upload()), ("/json", Json()),
        ("/raw", Raw()), ("/unbounded", Unbounded()), ("/stream", Stream()), ("/fails", Fails()),
        ("/error", Error()), ("/redirect", Redirect()), ("/cookies", Cookies()), ("/session", Session()),
        ("/file", File()), ("/nothing", Nothing()), ("/empty", Empty()), ("/headers", Headers())):
    if hasattr(resource, "on_get"):
        resource.on_head = resource.on_get      # Falcon answers HEAD only where a resource does
    app.add_route(template, resource)
app.add_static_route("/static", contract.FOLDER)
