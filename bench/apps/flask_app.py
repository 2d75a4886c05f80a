"""The hello answer as a Flask application, `app`, as its first page in the documentation has it."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "Hello, World!", {"Content-Type": "text/plain"}
