"""The end of the interpreter, forks and exceptions that are no errors: no crash, no hang, and nothing said on stderr.

Programs as a user writes them, each on the original and in each of our lanes. What test_concurrency_process.py
(signals, descriptors, forks of one handler) and test_ends.py (SIGTERM, shutdown()) have is not here again.
"""
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

import interpreter_programs
from interpreter_programs import OURS

pytest_generate_tests = interpreter_programs.generate_tests
#: CPython 3.12 and later warn of it; here it is the subject.
QUIET = ("-W", "ignore:This process:DeprecationWarning")


@pytest.fixture(params=OURS)
def our_lane(request):
    return request.param


def ends_quietly(lane, text, said, status=0, **more):
    assert interpreter_programs.run(lane, text, *QUIET, **more) == (status, said, "")


# A connection that stays open. One would hold up a server without threads, but in the reactor lane.
KEPT = {
    "ThreadingHTTPServer": "kept = begin(server)\nsay(end(kept))",
    "HTTPServer": "kept = begin(server, rest=b'\\r\\n' if LANE == 'reactor' else b'Connection: close\\r\\n\\r\\n')\nsay(end(kept))",
}


# ---------------------------------------------------------------- the end of the program

ENDINGS = {
    "falls off the end": "",
    "shutdown in atexit": "",       # registered first, see below
    "with": "server.shutdown()\nserver.__exit__(None, None, None)\n",
    "sys.exit in another thread": "t = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()\n",
    "server and names are gone": "del server, Handler, kept\ngc.collect()\n",
    "a cycle": "server.itself = server\nHandler.server_of_all = server\ndel server\ngc.collect()\n",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_with_a_server_in_a_daemon_thread(lane, server, ending):
    ends_quietly(lane, f"""
warnings.simplefilter("ignore", ResourceWarning)
server = {server}(("127.0.0.1", 0), Handler)
if {ending!r} == "shutdown in atexit":
    atexit.register(server.server_close)
    atexit.register(server.shutdown)
in_thread(server)
say(ask(server))
{KEPT[server]}
{ENDINGS[ending]}
say("last")
""", "ok\nok\nlast\n")


def test_atexit_ends_a_server_whose_thread_is_no_daemon(lane, server):
    """atexit comes after the threads have been joined: the program says by threading's own way that it ends."""
    ends_quietly(lane, f"""
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server, daemon=False)
say(ask(server))
threading._register_atexit(server.shutdown)
atexit.register(say, "atexit")
say("last")
""", "ok\nlast\natexit\n")


def test_atexit_serves_once_more(lane):
    """Handlers run in the main thread, which is all there is by then."""
    ends_quietly(lane, """
server = HTTPServer(("127.0.0.1", 0), Handler)
def serve_last():
    sock = begin(server, rest=b"Connection: close\\r\\n\\r\\n")
    server.handle_request()
    say(end(sock))
    sock.close()
    server.server_close()
atexit.register(serve_last)
say("last")
""", "last\nok\n")


def test_a_handler_under_way_in_a_daemon_thread(our_lane, server):
    """It is cut off, as daemon threads are. (The original's server without threads is cut off in `selectors`.)"""
    ends_quietly(our_lane, f"""
entered = threading.Event()
def wait(self):
    entered.set()
    time.sleep(600)
Handler.do_GET = wait
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
kept = begin(server)
entered.wait()
say("last")
""", "last\n")


def test_handlers_that_are_no_daemons_are_waited_for(lane):
    ends_quietly(lane, """
entered = threading.Event()
def wait(self):
    entered.set()
    time.sleep(0.3)
    self.answer(b"late")
    say("handler")
Handler.do_GET = wait
class Server(ThreadingHTTPServer):
    daemon_threads = False
server = Server(("127.0.0.1", 0), Handler)
in_thread(server)
kept = begin(server, rest=b"Connection: close\\r\\n\\r\\n")
entered.wait()
say("last")
atexit.register(lambda: say(end(kept)))
""", "last\nhandler\nlate\n")


def test_a_thread_that_a_handler_began_lives_longer(lane, server):
    """It is no daemon where its handler's thread is none: the program ends after it."""
    ends_quietly(lane, f"""
def later():
    time.sleep(0.2)
    say("thread")
def begin_thread(self):
    threading.Thread(target=later, daemon=False).start()
    self.answer()
Handler.do_GET = begin_thread
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
say(ask(server))
server.shutdown()
server.server_close()
say("last")
""", "ok\nlast\nthread\n")


def test_an_exception_in_the_thread_of_serve_forever(lane, server):
    """It is told by threading, and the program ends as it would."""
    status, out, err = interpreter_programs.run(lane, f"""
class Server({server}):
    def service_actions(self):
        raise LookupError("of the program's")
server = Server(("127.0.0.1", 0), Handler)
thread = in_thread(server)
thread.join(20)
say(thread.is_alive())
server.server_close()
""")
    assert (status, out) == (0, "False\n")
    assert err.startswith("Exception in thread ") and err.endswith("LookupError: of the program's\n")


PROGRAMS = {
    "one request": ("""
with HTTPServer(("127.0.0.1", 0), Handler) as server:
    sock = begin(server, rest=b"Connection: close\\r\\n\\r\\n")
    server.handle_request()
    say(end(sock))
    sock.close()
""", "ok\n"),
    "as many as there are": ("""
with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    server.timeout = 0
    server.handle_timeout = lambda: say("none")
    server.handle_request()
""", "none\n"),
    "never served": ("""
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.server_close()
server.server_close()
""", ""),
    "served in turn": ("""
for kind in HTTPServer, ThreadingHTTPServer:
    for unused in range(3):
        with kind(("127.0.0.1", 0), Handler) as server:
            thread = in_thread(server)
            say(ask(server))
            server.shutdown()
            thread.join()
""", "ok\n" * 6),
    "ended by a handler's thread": ("""
def end_it(self):
    self.close_connection = True
    self.answer(b"bye")
    threading.Thread(target=self.server.shutdown).start()
Handler.do_GET = end_it
with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(server)))
    asking.start()
    server.serve_forever()
    asking.join()
    say(*answers)
""", "bye\n"),
    "ended by Ctrl-C": ("""
with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    def interrupt():
        say(ask(server))
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted")
    thread.join()
""", "ok\ninterrupted\n"),
    "a server in each of some threads": ("""
servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for unused in range(5)]
threads = [in_thread(server, daemon=False) for server in servers]
say(*map(ask, servers))
for server in servers:
    server.shutdown()
    server.server_close()
""", "ok ok ok ok ok\n"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(lane, name):
    """With warnings as errors: what such a program leaves open is closed."""
    text, said = PROGRAMS[name]
    assert interpreter_programs.run(lane, text, "-X", "dev", "-W", "error") == (0, said, "")


def test_tls_connections_are_open(server):
    """Of each kind: shaken hands and idle, in the middle of that, in a handler. In our lanes alone: HTTPSServer is ours."""
    pem = os.path.join(os.path.dirname(__file__), "data", "localhost.pem")
    for lane in OURS:
        ends_quietly(lane, f"""
import ssl
from turboserver.http.server import HTTPSServer, ThreadingHTTPSServer
entered = threading.Event()
def wait(self):
    entered.set()
    time.sleep(600)
Handler.do_WAIT = wait
server = {server.replace("HTTP", "HTTPS")}(("127.0.0.1", 0), Handler, certfile={pem!r})
in_thread(server)
context = ssl.create_default_context(cafile={pem!r})
def connect():
    return context.wrap_socket(socket.create_connection(server.server_address), server_hostname="localhost")
idle = connect()
idle.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
say(end(idle))
if LANE == "reactor" or {server!r}.startswith("Threading"):
    half = socket.create_connection(server.server_address)
    half.sendall(b"\\x16\\x03\\x01")
    busy = connect()
    busy.sendall(b"WAIT / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    entered.wait()
say("last")
""", "ok\nlast\n")


# ---------------------------------------------------------------- exceptions that are no errors

@pytest.mark.parametrize("raised", ("SystemExit(3)", "KeyboardInterrupt()"))
def test_raised_by_a_handler_of_the_main_thread(lane, raised):
    """It ends serve_forever(), and so the program."""
    status, out, err = interpreter_programs.run(lane, f"""
def leave(self):
    raise {raised}
Handler.do_GET = leave
with HTTPServer(("127.0.0.1", 0), Handler) as server:
    def client():
        with begin(server) as sock:
            sock.recv(1)
    thread = threading.Thread(target=client)
    thread.start()
    try:
        server.serve_forever()
    finally:
        thread.join()
        say("left")
""")
    assert out == "left\n"
    if raised.startswith("SystemExit"):
        assert (status, err) == (3, "")
    else:
        assert status == -signal.SIGINT and err.endswith("KeyboardInterrupt\n")


def test_sys_exit_in_a_handler_of_a_thread(lane):
    """Ends that connection, and nothing else: not the server, not the thread of others."""
    ends_quietly(lane, """
def leave(self):
    sys.exit(3)
Handler.do_LEAVE = leave
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
in_thread(server)
for unused in range(5):
    say(repr(ask(server, "LEAVE")), ask(server))
server.shutdown()
server.server_close()
""", "'' ok\n" * 5)


def test_an_interrupt_raised_by_a_handler_of_a_thread(lane):
    """threading tells it, as of any thread; the others are served on."""
    status, out, err = interpreter_programs.run(lane, """
def leave(self):
    raise KeyboardInterrupt
Handler.do_LEAVE = leave
class Server(ThreadingHTTPServer):
    daemon_threads = False
server = Server(("127.0.0.1", 0), Handler)
in_thread(server)
say(repr(ask(server, "LEAVE")), ask(server))
server.shutdown()
server.server_close()
""")
    assert (status, out) == (0, "'' ok\n")
    assert err.startswith("Exception in thread ") and err.endswith("KeyboardInterrupt\n") and err.count("Traceback") == 1


# ---------------------------------------------------------------- forks

FORK = """
def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@pytest.mark.parametrize("child", (
    "sys.exit(7)", "raise SystemExit(7)", "server.server_close(); sys.exit(7)", "del server; gc.collect(); os._exit(7)",
    "server.__exit__(None, None, None); os._exit(7)",
))
def test_fork_of_the_main_thread_while_another_serves(lane, server, child):
    """The child ends in whatever way; the parent serves on. (The original's shutdown() in the child would wait for a
    thread that is not there, so a child does not call it.)"""
    ends_quietly(lane, FORK + f"""
warnings.simplefilter("ignore", ResourceWarning)
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
{KEPT[server]}
for unused in range(3):
    pid = os.fork()
    if not pid:
        {child}
    say(reap(pid), ask(server))
server.shutdown()
server.server_close()
""", "ok\n" + "7 ok\n" * 3)


def test_fork_of_another_thread(lane, server):
    ends_quietly(lane, FORK + f"""
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
def fork():
    pid = os.fork()
    if not pid:
        os._exit(7)
    say(reap(pid), ask(server))
for unused in range(3):
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
server.shutdown()
server.server_close()
""", "7 ok\n" * 3)


def test_the_child_of_a_handler_serves_anew(lane, server):
    """A server of its own, of the same class, in the child: nothing of the parent's is in its way."""
    ends_quietly(lane, FORK + f"""
def fork(self):
    self.wfile.flush()
    pid = os.fork()
    if not pid:
        own = {server}(("127.0.0.1", 0), Handler)
        thread = in_thread(own)
        said = ask(own)
        own.shutdown()
        own.server_close()
        thread.join()
        os._exit(7 if said == "ok" else 8)
    self.answer(b"%d" % reap(pid))
Handler.do_FORK = fork
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
for unused in range(3):
    say(ask(server, "FORK"), ask(server))
server.shutdown()
server.server_close()
""", "7 ok\n" * 3)


def test_sys_exit_in_the_child_of_a_handler_in_the_main_thread():
    """As in any program: the child unwinds, and goes; what the parent has open is the parent's. (In the other lanes, as in
    the original, the child shuts the connection that is the parent's as well.)"""
    ends_quietly("reactor", FORK + """
parent = os.getpid()
def fork(self):
    self.wfile.flush()
    pid = os.fork()
    if not pid:
        sys.exit(7)
    self.close_connection = True
    self.answer(b"%d" % reap(pid))
Handler.do_FORK = fork
server = HTTPServer(("127.0.0.1", 0), Handler)
def client():
    say(ask(server, "FORK"), ask(server))
    server.shutdown()
thread = threading.Thread(target=client)
thread.start()
try:
    server.serve_forever(0.05)
finally:
    if os.getpid() == parent:
        thread.join()
        server.server_close()
""", "7 ok\n")


# ---------------------------------------------------------------- multiprocessing

METHODS = multiprocessing.get_all_start_methods()

# multiprocessing's children import __main__, so these programs are files.
POOLED = """
import multiprocessing, os, sys, threading, warnings
sys.path.insert(0, os.environ["PROGRAM_FOLDER"])
import interpreter_programs
exec(interpreter_programs.PRELUDE)

def double(n):
    return 2 * n

def serve_in_child(pipe):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = in_thread(server)
    pipe.send((ask(server), server.server_address))
    pipe.recv()
    server.shutdown()
    server.server_close()
    thread.join()

def main():
    context = multiprocessing.get_context(sys.argv[1])
"""

MULTIPROCESSING = {
    "a pool in a handler": ("""
    def compute(self):
        with context.Pool(2) as pool:
            total = sum(pool.map(double, range(10)))
            pool.close()
            pool.join()     # or its semaphores may be left over at the end, and that is told
        self.answer(b"%d" % total)
    Handler.do_GET = compute
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    in_thread(server)
    say(ask(server), ask(server))
    server.shutdown()
    server.server_close()
""", "90 90\n"),
    "a process of a handler of the main thread": ("""
    def compute(self):
        self.close_connection = True
        process = context.Process(target=double, args=(3,))
        process.start()
        process.join()
        self.answer(b"%d" % process.exitcode)
    Handler.do_GET = compute
    server = HTTPServer(("127.0.0.1", 0), Handler)
    asking = threading.Thread(target=lambda: (say(ask(server), ask(server)), server.shutdown()))
    asking.start()
    server.serve_forever(0.05)
    asking.join()
    server.server_close()
""", "0 0\n"),
    "a server in a child, beside one": ("""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    in_thread(server)
    kept = begin(server)
    say(end(kept))
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_in_child, args=(theirs,))
    process.start()
    said, address = ours.recv()
    say(said, ask(server))
    server.server_address = address
    say(ask(server))
    ours.send(None)
    process.join()
    say(process.exitcode)
    kept.close()
    server.shutdown()
    server.server_close()
""", "ok\nok ok\nok\n0\n"),
}


@pytest.mark.parametrize("where, method", [("original", METHODS[0]), *(
    (lane, method) for lane in ("reactor", "blocking") for method in METHODS)])
@pytest.mark.parametrize("name", MULTIPROCESSING)
def test_multiprocessing(where, name, method, tmp_path):
    text, said = MULTIPROCESSING[name]
    path = tmp_path / "program.py"
    path.write_text(POOLED + text + "\nif __name__ == '__main__':\n    main()\n")
    folder = os.path.dirname(interpreter_programs.__file__)
    done = subprocess.run(
        [sys.executable, *QUIET, path, method], capture_output=True, text=True, timeout=60, check=False,
        env=interpreter_programs.environment(where, PROGRAM_FOLDER=folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
