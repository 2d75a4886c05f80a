"""For the processes of tests/test_files_command.py and test_files_serving.py: another default port, and a handler as long as there is none."""
import importlib.util
import os
import sys
import types


def _handler_class(options):
    from turboserver.http.server import SimpleHTTPRequestHandler

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments, **more):
            super().__init__(*arguments, directory=options.directory, **more)

        def do_GET(self):
            if options.auth is not None:
                found = options.auth.check(self.headers.get("Authorization"), str(self.client_address))
                if found.user is None:
                    self.send_response(found.status)
                    for pair in found.headers:
                        self.send_header(*pair)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
            super().do_GET()

        def end_headers(self):
            for pair in options.headers:
                self.send_header(*pair)
            super().end_headers()

    return Handler


if importlib.util.find_spec("turboserver") and not importlib.util.find_spec("turboserver.files.handler"):
    sys.modules["turboserver.files.handler"] = types.SimpleNamespace(handler_class=_handler_class)

if "TEST_DEFAULT_PORT" in os.environ:
    from turboserver.files import arguments
    arguments.PORT = int(os.environ["TEST_DEFAULT_PORT"])

if "TEST_WITHOUT" in os.environ:        # names of packages that are not to be found
    for name in os.environ["TEST_WITHOUT"].split(","):
        sys.modules[name] = None
