"""A JSON-RPC server of jsonrpclib; with `pool`, the one with a pool of threads."""
import sys

from jsonrpclib.SimpleJSONRPCServer import PooledJSONRPCServer, SimpleJSONRPCServer

made = PooledJSONRPCServer if sys.argv[1:] == ["pool"] else SimpleJSONRPCServer
server = made(("127.0.0.1", 0), logRequests=False)
server.register_function(lambda a, b: a + b, "add")
server.register_function(lambda thing: thing, "echo")
try:
    server.serve_forever()
except KeyboardInterrupt:
    server.server_close()
