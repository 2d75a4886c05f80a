"""What is not the same on every Python."""

import sys

from turboserver import socketserver
from turboserver.http import server

if sys.version_info >= (3, 12):
    pages = server.SimpleHTTPRequestHandler.index_pages
    forking: type[socketserver.ForkingUnixStreamServer] = socketserver.ForkingUnixStreamServer
    datagrams: type[socketserver.ForkingUnixDatagramServer] = socketserver.ForkingUnixDatagramServer

if sys.version_info >= (3, 14):
    import http.server

    https: type[http.server.HTTPSServer] = server.HTTPSServer
    threads: type[http.server.ThreadingHTTPSServer] = server.ThreadingHTTPSServer

if sys.version_info >= (3, 15):

    class Handler(server.SimpleHTTPRequestHandler):
        default_content_type = "text/plain"


# HTTPS is ours before that.
plain: type[server.HTTPServer] = server.HTTPSServer
