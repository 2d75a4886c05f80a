"""Flask: contract.py's application. `test_application` is the one Werkzeug ships for testing servers."""
import contract
from flask import Flask, Response, jsonify, redirect, request, send_file, session, url_for
from werkzeug.middleware.lint import LintMiddleware

app = application = Flask(__name__)
app.secret_key = "not secret"
app.config["MAX_CONTENT_LENGTH"] = contract.MAX_BODY
app.config["PROPAGATE_EXCEPTIONS"] = False


@app.get("/hello")
def hello():
    return Response("hello", mimetype="text/plain")


@app.get("/items/<int:number>")
def item(number):
    return f"item {number}"


@app.get("/query")
def query():
    return {"a": request.args.getlist("a"), "b": request.args["b"]}


@app.get("/path/<path:text>")
def path(text):
    return {"path": text}


@app.get("/where")
def where():
    return {**contract.where(request.environ), "url": request.url, "hello": url_for("hello", _external=True)}


@app.route("/method", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def method():
    return request.method


@app.post("/form")
def form():
    return request.form["name"]


@app.post("/upload")
def upload():
    file = request.files["file"]
    return contract.described(file.read(), name=file.filename, title=request.form["title"])


@app.post("/json")
def json():
    return jsonify(sum=request.json["a"] + request.json["b"])


@app.post("/raw")
def raw():
    return contract.described(request.get_data())


@app.get("/stream")
def stream():
    return Response(iter(contract.PIECES), mimetype="text/plain")


@app.get("/fails")
def fails():
    return Response(contract.failing(), mimetype="text/plain")


@app.get("/error")
def error():
    raise RuntimeError("as it is meant to")


@app.get("/redirect")
def redirected():
    return redirect(url_for("hello"))


@app.get("/cookies")
def cookies():
    response = jsonify(request.cookies)
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return response


@app.get("/session")
def counted():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/file")
def file():
    return send_file(contract.FILE, conditional=True)


@app.get("/nothing")
def nothing():
    return "", 204


@app.get("/empty")
def empty():
    return ""


@app.get("/headers")
def headers():
    return Response("many", headers=contract.MANY_HEADERS)


@app.get("/server")
def server():
    return contract.servers()


#: Under Werkzeug's own lint.
linted = LintMiddleware(application)
