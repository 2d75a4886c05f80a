"""Serving leaves nothing behind: as many objects, references (a debug build of Python) and descriptors after many requests as
after a few, in each lane; also of requests that go wrong.

Each lane is a program of its own: what other tests leave in the process is not counted.
"""
import pytest

import interpreter_programs
from interpreter_programs import OURS

ROUNDS = """
import io
Handler.protocol_version = "HTTP/1.1"

def do_POST(self):
    self.answer(self.rfile.read(int(self.headers["Content-Length"])))
def do_FAIL(self):
    raise LookupError
def do_STREAM(self):
    self.send_response(200)
    self.end_headers()
    for unused in range(3):
        self.wfile.write(b"x" * 1000)
        self.wfile.flush()
    self.close_connection = True
def do_TAKE(self):
    self.connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\ntaken")
    self.close_connection = True
Handler.do_POST, Handler.do_FAIL, Handler.do_STREAM, Handler.do_TAKE = do_POST, do_FAIL, do_STREAM, do_TAKE

CLOSE = b"Connection: close\\r\\n\\r\\n"
class Silent(io.StringIO):
    def write(self, text):
        return len(text)

def conversation(server):
    for unused in range(3):
        ask(server)
        ask(server, "POST", b"Content-Length: 5\\r\\n" + CLOSE + b"octet")
        ask(server, "FAIL")
        ask(server, "STREAM")
        ask(server, "TAKE")
        ask(server, "NONE")
        ask(server, rest=b"Broken\\r\\n\\r\\n")
    with begin(server, rest=b"\\r\\n") as kept:
        for unused in range(5):
            end(kept)
            kept.sendall(b"GET /again HTTP/1.1\\r\\nHost: a\\r\\nX-Some: thing\\r\\n\\r\\n")
        end(kept)
    begin(server, rest=b"half").close()

def counts():
    for unused in range(3):
        gc.collect()
    return [len(gc.get_objects()), len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0,
            threading.active_count(), getattr(sys, "gettotalrefcount", int)()]

def serve_one():
    server = SERVER(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = in_thread(server)
    for unused in range(4):
        conversation(server)
    server.shutdown()
    server.server_close()
    thread.join()

said, sys.stderr = sys.stderr, Silent()
seen = []
for unused in range(8):
    serve_one()
    seen.append(counts())
sys.stderr = said
# Tables fill and threads come to their number in the first rounds; what leaks grows in each.
grown = [[later - earlier for earlier, later in zip(before, after)] for before, after in zip(seen[3:], seen[4:])]
for column, most in enumerate((4, 0, 0, 12)):
    assert min(row[column] for row in grown) <= most and sum(row[column] for row in grown) <= 3 * most, (column, grown)
say("nothing")
"""


@pytest.mark.parametrize("server", ("HTTPServer", "ThreadingHTTPServer"))
@pytest.mark.parametrize("lane", OURS)
def test_nothing_is_left(lane, server):
    """A leak of one object a request would be 90 a round and more."""
    assert interpreter_programs.run(lane, f"SERVER = {server}\n" + ROUNDS) == (0, "nothing\n", "")
