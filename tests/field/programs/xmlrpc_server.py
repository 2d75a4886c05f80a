"""An XML-RPC server as its documentation has it; with `doc`, one that documents itself and has threads."""
import socketserver
import sys
from xmlrpc.server import DocXMLRPCServer, SimpleXMLRPCRequestHandler, SimpleXMLRPCServer


class RequestHandler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/", "/RPC2")


class ThreadingDocServer(socketserver.ThreadingMixIn, DocXMLRPCServer):
    daemon_threads = True


def add(a, b):
    """The sum of two numbers."""
    return a + b


def fails():
    raise ValueError("it is meant to")


if sys.argv[1:] == ["doc"]:
    server = ThreadingDocServer(("127.0.0.1", 0), logRequests=False)
    server.set_server_title("A server of the field")
else:
    server = SimpleXMLRPCServer(("127.0.0.1", 0), RequestHandler, logRequests=False, allow_none=True)
with server:
    server.register_introspection_functions()
    server.register_multicall_functions()
    server.register_function(add)
    server.register_function(lambda thing: thing, "echo")
    server.register_function(fails)
    server.serve_forever()
