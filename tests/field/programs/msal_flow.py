"""msal's receiver of an authorization code; this file plays the browser, which asks wrong things first."""
import threading
import urllib.error
import urllib.parse
import urllib.request

from msal.oauth2cli.authcode import AuthCodeReceiver

pages = []


def browse(port):
    url = f"http://127.0.0.1:{port}/"

    def ask(path="", form=None):
        body = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            with urllib.request.urlopen(url + path, body) as answer:
                pages.append((answer.status, answer.read()))
        except urllib.error.HTTPError as error:
            pages.append((error.code, error.read()))

    ask("?welcome=true")
    ask("?code=by-get")
    ask(form={"code": "wrong", "state": "another"})
    ask(form={"code": "a code", "state": "a state"})


with AuthCodeReceiver(port=0) as receiver:
    threading.Thread(target=browse, args=(receiver.get_port(),), daemon=True).start()
    answer = receiver.get_auth_response(state="a state", timeout=20, success_template="Got $code", welcome_template="Welcome")
assert answer == {"code": "a code", "state": "a state"}, answer
while len(pages) < 4:
    pass
assert [status for status, page in pages] == [200, 400, 400, 200], pages
assert pages[0][1] == b"Welcome" and pages[3][1] == b"Got a code", pages
