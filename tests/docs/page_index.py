"""What the blocks of README.md and of docs/index.md, install.md, migrate.md, how.md and measurements.md have to do."""
from .checks import Checks, lines, run_transcript

readme = Checks("README.md")
index = Checks("docs/index.md")
install = Checks("docs/install.md")
migrate = Checks("docs/migrate.md")
contributing = Checks("CONTRIBUTING.md")


@readme("hello.py")
@index("hello.py")
def hello(stage):
    stage.program()
    answer = stage.curl("-i http://127.0.0.1:8000/")
    assert answer.startswith("HTTP/1.1 200 OK") and answer.endswith("\n\nHello, World!"), answer
    assert "Content-Type: text/plain" in answer


ORIGINAL = '''
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(type(self.server).__module__.encode())


with ThreadingHTTPServer(("127.0.0.1", 8000), Handler) as server:
    server.serve_forever()
'''


install("engine")(run_transcript)
Checks("docs/faq.md")("engine")(run_transcript)
contributing("lane")(run_transcript)


@readme("run")
@migrate("run")
def unchanged(stage):
    """A program of the original's, as it is, by `turboserver run`."""
    stage.write("script.py", stage.here(ORIGINAL))
    stage.write("package/__init__.py", "")
    stage.write("package/module.py", stage.here(ORIGINAL))
    for command in lines(stage.block):
        stage.start(command, code=-15)
        assert stage.curl("http://127.0.0.1:8000/") == "turboserver.http.server"
        stage.stop_all()


@migrate("installed.py", "installed.out")
def installed(stage):
    stage.write("installed.py")
    assert stage.run("python installed.py") == stage.named("installed.out").text


@migrate("slow.py", "explain")
def explained(stage):
    stage.write("slow.py")
    stage.transcript(stage.named("explain"))
