"""Django: contract.py's application, in one module; sessions are signed cookies, so no database is needed."""
import json as json_module

import contract
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path as route
from django.urls import reverse
from django.views.decorators.http import condition, require_POST, require_safe
from django.views.static import serve

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY="not secret",
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        DATA_UPLOAD_MAX_MEMORY_SIZE=contract.MAX_BODY,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=["django.middleware.security.SecurityMiddleware",
                    "django.contrib.sessions.middleware.SessionMiddleware",
                    "django.middleware.http.ConditionalGetMiddleware",
                    "django.middleware.common.CommonMiddleware"],
        USE_TZ=True,
        WSGI_APPLICATION=__name__ + ".application",     # for runserver
    )
    django.setup()


@require_safe
def hello(request):
    return HttpResponse("hello", content_type="text/plain")


def item(request, number):
    return HttpResponse(f"item {number}")


def query(request):
    return JsonResponse({"a": request.GET.getlist("a"), "b": request.GET["b"]})


def path(request, text):
    return JsonResponse({"path": text})


def where(request):
    return JsonResponse({**contract.where(request.META), "url": request.build_absolute_uri(),
                         "hello": request.build_absolute_uri(reverse("hello"))})


def method(request):
    return HttpResponse(request.method)


@require_POST
def form(request):
    return HttpResponse(request.POST["name"])


@require_POST
def upload(request):
    file = request.FILES["file"]
    return JsonResponse(contract.described(file.read(), name=file.name, title=request.POST["title"]))


@require_POST
def json(request):
    try:
        data = json_module.loads(request.body)
    except ValueError:
        return HttpResponse("no JSON", status=400)
    return JsonResponse({"sum": data["a"] + data["b"]})


@require_POST
def raw(request):
    return JsonResponse(contract.described(request.body))


def stream(request):
    return StreamingHttpResponse(iter(contract.PIECES), content_type="text/plain")


def fails(request):
    return StreamingHttpResponse(contract.failing(), content_type="text/plain")


def error(request):
    raise RuntimeError("as it is meant to")


def redirected(request):
    return redirect("hello")


def cookies(request):
    response = JsonResponse(request.COOKIES)
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return response


def counted(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def file(request):
    """FileResponse, which asks for wsgi.file_wrapper."""
    return FileResponse(open(contract.FILE, "rb"))


def static(request, name):
    """The view that serves static files in development, with If-Modified-Since."""
    return serve(request, name, document_root=contract.FOLDER)


@condition(etag_func=lambda request: '"an-etag"')
def tagged(request):
    return HttpResponse("tagged")


def nothing(request):
    return HttpResponse(status=204)


def empty(request):
    return HttpResponse("")


def headers(request):
    response = HttpResponse("many")
    for name, value in contract.MANY_HEADERS:
        # Django writes what is beyond ASCII as an encoded word.
        response[name] = value
    return response


def server(request):
    return JsonResponse(contract.servers(), safe=False)


urlpatterns = [
    route("hello", hello, name="hello"), route("items/<int:number>", item), route("query", query),
    route("path/<path:text>", path), route("where", where), route("method", method), route("form", form),
    route("upload", upload), route("json", json), route("raw", raw), route("stream", stream),
    route("fails", fails), route("error", error), route("redirect", redirected), route("cookies", cookies),
    route("session", counted), route("file", file), route("static/<path:name>", static),
    route("tagged", tagged), route("nothing", nothing), route("empty", empty), route("headers", headers),
    route("server", server),
]
application = get_wsgi_application()
