"""Applications that packages ship for testing servers, each at a path of its own."""
import wsgiref.simple_server

from falcon.bench import create
from webtest.debugapp import debug_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.testapp import test_app

BODY = b"x" * 10_000
HEADERS = {"X-Test": "Funky Chicken"}

application = DispatcherMiddleware(wsgiref.simple_server.demo_app, {
    "/werkzeug": test_app,
    "/webtest": debug_app,
    "/falcon": create.falcon(BODY, HEADERS),
    "/falcon-ext": create.falcon_ext(BODY, HEADERS),
    "/flask": create.flask(BODY, HEADERS),
    "/bottle": create.bottle(BODY, HEADERS),
})
