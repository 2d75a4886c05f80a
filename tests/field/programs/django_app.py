"""A Django project in one file, with static files; run with `runserver`, or with `test`, which has a live server."""
import os
import sys
import time

import django
from django.conf import settings

HERE = os.path.dirname(os.path.abspath(__file__))
if not settings.configured:
    settings.configure(
        DEBUG=True, SECRET_KEY="not secret", ROOT_URLCONF="django_app", ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.staticfiles"], STATIC_URL="/static/",
        STATICFILES_DIRS=[path for path in [os.path.join(HERE, "assets")] if os.path.isdir(path)],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        WSGI_APPLICATION="django_app.application")
    django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import LiveServerTestCase  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402


def hello(request):
    return HttpResponse("hello", content_type="text/plain")


@csrf_exempt
def echo(request):
    return HttpResponse(str(len(request.body)))


def slow(request):
    time.sleep(0.5)
    return HttpResponse("slow")


def boom(request):
    raise RuntimeError("it is meant to fail")


urlpatterns = [path("hello", hello), path("echo", echo), path("slow", slow), path("boom", boom)]
application = get_wsgi_application()


class Live(LiveServerTestCase):
    """A browser's part is played by urllib."""

    def test_pages(self):
        from urllib.request import urlopen
        for unused in range(20):
            with urlopen(self.live_server_url + "/hello") as answer:
                self.assertEqual(answer.read(), b"hello")

    def test_upload(self):
        from urllib.request import Request, urlopen
        with urlopen(Request(self.live_server_url + "/echo", b"x" * 500_000)) as answer:
            self.assertEqual(answer.read(), b"500000")

    def test_which_server(self):
        """It is the one that is to be tested: turboserver's where that is loaded."""
        server = self.server_thread.httpd
        ours = [cls for cls in type(server).__mro__ if cls.__module__.startswith("turboserver.")]
        self.assertEqual(bool(ours), "turboserver" in sys.modules)


if __name__ == "__main__":
    # The module that the settings name is this one.
    sys.modules["django_app"] = sys.modules["__main__"]
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
