"""Pyramid: contract.py's application; what Pyramid answers is WebOb's."""
import contract
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPFound
from pyramid.response import FileIter, FileResponse, Response
from pyramid.session import SignedCookieSessionFactory


def text(body, **options):
    return Response(body, content_type="text/plain", charset="utf-8", **options)


def hello(request):
    return text("hello")


def item(request):
    return text("item %d" % int(request.matchdict["number"]))


def query(request):
    return {"a": request.GET.getall("a"), "b": request.GET["b"]}


def path(request):
    return {"path": "/".join(request.matchdict["text"])}


def where(request):
    return {**contract.where(request.environ), "url": request.url, "hello": request.route_url("hello")}


def method(request):
    return text(request.method)


def form(request):
    return text(request.POST["name"])


def upload(request):
    file = request.POST["file"]
    return contract.described(file.file.read(), name=file.filename, title=request.POST["title"])


def json(request):
    try:
        data = request.json_body
    except ValueError:
        raise HTTPBadRequest("no JSON") from None
    return {"sum": data["a"] + data["b"]}


def raw(request):
    return contract.described(request.body)


def stream(request):
    return Response(app_iter=iter(contract.PIECES), content_type="text/plain")


def fails(request):
    return Response(app_iter=contract.failing(), content_type="text/plain")


def error(request):
    raise RuntimeError("as it is meant to")


def redirected(request):
    return HTTPFound(request.route_path("hello"))


def cookies(request):
    request.response.set_cookie("one", "1")
    request.response.set_cookie("two", "2", httponly=True)
    return dict(request.cookies)


def counted(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return text(str(request.session["visits"]))


def file(request):
    """FileResponse, which asks for wsgi.file_wrapper; conditional, so with ranges."""
    return FileResponse(contract.FILE, request=request, content_type="application/octet-stream")


def conditional(request):
    response = Response(app_iter=FileIter(open(contract.FILE, "rb")), conditional_response=True, etag="an-etag",
                        content_type="application/octet-stream", content_length=len(contract.FILE_BYTES))
    return response


def nothing(request):
    return Response(status=204)


def empty(request):
    return text("")


def headers(request):
    return Response(b"many", headerlist=[("Content-Type", "text/plain"), *contract.MANY_HEADERS])


def server(request):
    return contract.servers()


def make():
    views = {
        "/hello": (hello, "GET"), "/items/{number:\\d+}": item, "/query": (query, "GET"), "/path/*text": path,
        "/where": where, "/method": method, "/form": (form, "POST"), "/upload": (upload, "POST"),
        "/json": (json, "POST"), "/raw": (raw, "POST"), "/stream": stream, "/fails": fails, "/error": error,
        "/redirect": redirected, "/cookies": cookies, "/session": counted, "/file": file,
        "/conditional": conditional, "/nothing": nothing, "/empty": empty, "/headers": headers, "/server": server,
    }
    in_json = {query, path, where, upload, json, raw, cookies, server}
    with Configurator(session_factory=SignedCookieSessionFactory("not secret")) as config:
        config.add_static_view("static", contract.FOLDER)
        for pattern, view in views.items():
            view, only = view if isinstance(view, tuple) else (view, None)
            config.add_route(view.__name__, pattern)
            config.add_view(view, route_name=view.__name__, renderer="json" if view in in_json else None,
                            **({"request_method": only} if only else {}))
        return config.make_wsgi_app()


app = application = make()
