"""A desktop program's login by google-auth-oauthlib; this file plays the browser and the provider as well."""
import json
import os
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from google_auth_oauthlib.flow import InstalledAppFlow

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
pages, browsers = [], []


class Provider(BaseHTTPRequestHandler):
    """Sends the browser back with a code, and gives a token for that."""

    def do_GET(self):
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        answer = urllib.parse.urlencode({"code": "a code", "state": asked["state"][0], "scope": "one"})
        self.send_response(302)
        self.send_header("Location", asked["redirect_uri"][0] + "?" + answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        asked = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert asked["code"] == ["a code"], asked
        body = json.dumps({"access_token": "a token", "token_type": "Bearer", "expires_in": 3600, "scope": "one"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


provider = HTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=provider.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{provider.server_port}"


class Flow(InstalledAppFlow):
    def authorization_url(self, **more):
        address, state = super().authorization_url(**more)
        browsers.append(threading.Thread(target=lambda: pages.append(urllib.request.urlopen(address).read())))
        browsers[-1].start()
        return address, state


for number in range(3):
    flow = Flow.from_client_config({"installed": {
        "client_id": "an id", "client_secret": "a secret", "auth_uri": url + "/auth", "token_uri": url + "/token"}}, ["one"])
    credentials = flow.run_local_server(host="127.0.0.1", port=0, open_browser=False, timeout_seconds=20,
                                        success_message="You may close this")
    assert credentials.token == "a token"
for browser in browsers:
    browser.join(20)
assert pages == [b"You may close this"] * 3, pages
provider.shutdown()
