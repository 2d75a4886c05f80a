"""An application on Paste's server, with its pool of threads or with a thread for each connection."""
import sys

from paste import httpserver


def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        body = str(len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))).encode()
    else:
        body = b"hello"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


httpserver.serve(application, "127.0.0.1", "0", use_threadpool=sys.argv[1:] == ["pool"], protocol_version="HTTP/1.1")
