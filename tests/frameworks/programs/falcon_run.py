"""Falcon on make_server with threads, as its tutorial starts it; the class is the program's own."""
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

import contract
import falcon_site


class ThreadingWSGIServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Server:
    def on_get(self, request, response):
        response.media = contract.servers()


falcon_site.application.add_route("/server", Server())
with make_server("127.0.0.1", 0, falcon_site.application, server_class=ThreadingWSGIServer) as server:
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
