"""What the blocks of docs/faq.md and docs/tune.md have to do."""
from support import fetch

from .checks import Checks

faq = Checks("docs/faq.md")
tune = Checks("docs/tune.md")


@faq("busy")
def busy(stage):
    stage.write("other.py", stage.here(OTHER))
    stage.start("python other.py", code=-15)
    stage.transcript()


OTHER = '''
import socketserver
socketserver.TCPServer.allow_reuse_address = True
with socketserver.TCPServer(("127.0.0.1", 8000), socketserver.BaseRequestHandler) as server:
    server.serve_forever()
'''


@faq("module")
def module(stage):
    stage.transcript()


@faq("asgi")
def asgi(stage):
    stage.write("asynchronous.py", "async def app(scope, receive, send):\n    pass\n")
    stage.transcript()


@faq("strict")
def strict(stage):
    stage.start("turboserver -b 127.0.0.1:8000")
    stage.transcript()


@tune("tuned.py")
def tuned(stage):
    """A body at the bound, and one above it."""
    stage.program()
    address = ("127.0.0.1", stage.port())
    bound = 10 * 2**20
    assert fetch(address, method="POST", body=bytes(bound)).get("X-Octets") == str(bound)
    assert fetch(address, method="POST", headers=[("Content-Length", str(bound + 1))]).status == 413
