"""bottle: contract.py's application."""
import json as json_module

import bottle
import contract
from bottle import HTTPError, HTTPResponse, redirect, request, response, static_file

app = application = bottle.Bottle()
bottle.BaseRequest.MEMFILE_MAX = contract.MAX_BODY


@app.get("/hello")
def hello():
    response.content_type = "text/plain"
    return "hello"


@app.get("/items/<number:int>")
def item(number):
    return f"item {number}"


@app.get("/query")
def query():
    return {"a": request.query.decode().getall("a"), "b": request.query.decode()["b"]}


@app.get("/path/<text:path>")
def path(text):
    return {"path": text}


@app.get("/where")
def where():
    parts = request.urlparts
    return {**contract.where(request.environ), "url": request.url,
            "hello": f"{parts.scheme}://{parts.netloc}{app.get_url('/hello')}"}


@app.route("/method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def method():
    return request.method


@app.post("/form")
def form():
    return request.forms.decode()["name"]


@app.post("/upload")
def upload():
    file = request.files["file"]
    return contract.described(file.file.read(), name=file.raw_filename, title=request.forms["title"])


@app.post("/json")
def json():
    return {"sum": request.json["a"] + request.json["b"]}


@app.post("/raw")
def raw():
    return contract.described(request.body.read())


@app.get("/stream")
def stream():
    response.content_type = "text/plain"
    return iter(contract.PIECES)


@app.get("/fails")
def fails():
    response.content_type = "text/plain"
    return contract.failing()


@app.get("/error")
def error():
    raise RuntimeError("as it is meant to")


@app.get("/redirect")
def redirected():
    redirect("/hello", 302)


@app.get("/cookies")
def cookies():
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return dict(request.cookies)


@app.get("/session")
def counted():
    """bottle has no sessions: a signed cookie counts."""
    visits = request.get_cookie("session", 0, secret="not secret") + 1
    response.set_cookie("session", visits, secret="not secret")
    return str(visits)


@app.get("/file")
def file():
    return static_file("file.bin", contract.FOLDER)


@app.get("/nothing")
def nothing():
    return HTTPResponse(status=204)


@app.get("/empty")
def empty():
    return ""


@app.get("/headers")
def headers():
    for name, value in contract.MANY_HEADERS:
        response.add_header(name, value)
    return "many"


@app.get("/server")
def server():
    response.content_type = "application/json"
    return json_module.dumps(contract.servers())


@app.get("/refused")
def refused():
    raise HTTPError(403, "no entrance")
