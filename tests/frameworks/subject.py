"""One application, served on our server and on the standard library's: `python subject.py SITE[:NAME]`.

SITE is a module of sites/, NAME its application (default: `application`). Runs in the environment of
`make frameworks`, as a process of its own, so that what frameworks do to a process stays there.

One line of JSON on stdout says that both listen: {"turboserver": port, "stdlib": port, "lane": ...,
"reasons": [...]}. The end of stdin ends it: both servers are shut down and closed, and the exit code is 0
if that went through.
"""
import importlib
import json
import os
import socketserver
import sys
import threading
import wsgiref.simple_server

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "sites"))

from turboserver import lanes  # noqa: E402
from turboserver.wsgiref.simple_server import ThreadingWSGIServer, make_server  # noqa: E402


class StandardServer(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class StandardHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *arguments):
        """Its log is nothing that is looked at."""


def main(target):
    module, _, name = target.partition(":")
    application = getattr(importlib.import_module(module), name or "application")
    ours = make_server("127.0.0.1", 0, application, ThreadingWSGIServer)
    theirs = wsgiref.simple_server.make_server("127.0.0.1", 0, application, StandardServer, StandardHandler)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in (ours, theirs)]
    for thread in threads:
        thread.start()
    decision = lanes.decide(ours)
    print(json.dumps({"turboserver": ours.server_port, "stdlib": theirs.server_port, "lane": decision.lane,
                      "reasons": [reason.name for reason in decision.reasons]}), flush=True)
    sys.stdin.read()
    for server in (ours, theirs):
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
