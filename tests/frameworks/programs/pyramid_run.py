"""Pyramid on make_server, as its own first page of documentation starts it."""
from wsgiref.simple_server import make_server

from pyramid_site import application

with make_server("127.0.0.1", 0, application) as server:
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
