"""An application for `flask run`."""
import time

from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/hello")
def hello():
    return "hello"


@app.post("/echo")
def echo():
    return str(len(request.get_data()))


@app.get("/stream")
def stream():
    return Response(f"line {number}\n" for number in range(100))


@app.get("/slow")
def slow():
    time.sleep(0.5)
    return "slow"


@app.get("/boom")
def boom():
    raise RuntimeError("it is meant to fail")
