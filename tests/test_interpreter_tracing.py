"""Debuggers, profilers and coverage see the lines of a handler, in every lane: on the thread of serve_forever(), on
the engine's threads, on those that a handler which waits has been left on, and on the one that leads afterwards.

Each is looked at on the original as well. The handler's own lines are counted by number, so a line that is left out, or
told twice, fails.
"""
import re
import signal
import subprocess
import sys

import pytest

import interpreter_programs

pytest_generate_tests = interpreter_programs.generate_tests

#: do_GET answers, in four lines; do_WAIT has another thread take the lead in its middle.
HANDLER = """
def do_GET(self):
    first = 1
    second = first + 1
    self.answer(b"%d" % second)
    last = None
def do_WAIT(self):
    before = 1
    waiting.set()
    time.sleep(0.05)
    after = 2
    self.answer(b"waited")
    last = None
waiting = threading.Event()
Handler.do_GET, Handler.do_WAIT = do_GET, do_WAIT
ThreadingHTTPServer.daemon_threads = False      # server_close() waits for a handler's last line, which runs after its answer
CODES = {do_GET.__code__: "GET", do_WAIT.__code__: "WAIT"}
CLOSE = b"Connection: close\\r\\n\\r\\n"
seen = []
def lines_of(name):
    return [line - code.co_firstlineno for code, line in seen if CODES[code] == name]
def trace(frame, event, argument):
    if frame.f_code not in CODES:
        return None
    if event == "line":
        seen.append((frame.f_code, frame.f_lineno))
    return trace
def call(server, client):
    "client() in a thread of its own, the server in this one."
    untraced = threading.Thread(target=lambda: (client(), server.shutdown()))
    untraced.start()
    server.serve_forever(0.05)
    untraced.join()
"""

GET_LINES, WAIT_LINES = [1, 2, 3, 4], [1, 2, 3, 4, 5, 6]


def says(lane, text, *expected, options=(), stdin=""):
    status, out, err = interpreter_programs.run(lane, HANDLER + text, *options, stdin=stdin)
    assert (status, err) == (0, ""), err
    assert out.splitlines() == [str(line) for line in expected]


def test_settrace_on_the_thread_of_serve_forever(lane):
    says(lane, """
server = HTTPServer(("127.0.0.1", 0), Handler)
sys.settrace(trace)
call(server, lambda: say(ask(server), ask(server, "WAIT"), ask(server)))
sys.settrace(None)
server.server_close()
say(lines_of("GET"))
say(lines_of("WAIT"))
""", "2 waited 2", GET_LINES * 2, WAIT_LINES)


def test_settrace_of_threads(lane, server):
    """threading.settrace() before serving: also threads that begin, or lead, only while a handler waits."""
    says(lane, f"""
threading.settrace(trace)
server = {server}(("127.0.0.1", 0), Handler)
thread = in_thread(server)
said = []
for unused in range(3):
    said.append(ask(server))
    waiting.clear()
    with begin(server, "WAIT", CLOSE) as sock:
        waiting.wait(20)
        said.append(ask(server))
        said.append(end(sock))
server.shutdown()
server.server_close()
threading.settrace(None)
say(*said)
say(sorted(lines_of("GET")) == sorted({GET_LINES} * 6), sorted(lines_of("WAIT")) == sorted({WAIT_LINES} * 3))
""", " ".join(["2 2 waited"] * 3), "True True")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="threading.settrace_all_threads() is of Python 3.12")
def test_a_debugger_that_attaches(lane, server):
    """To threads that serve already, as debuggers do that are told to attach."""
    says(lane, f"""
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
say(ask(server), ask(server, "WAIT"), seen)
threading.settrace_all_threads(trace)
said = [ask(server), ask(server, "WAIT"), ask(server)]
for unused in range(2000):      # a last line runs after its answer
    if len(seen) >= 14:
        break
    time.sleep(0.01)
threading.settrace_all_threads(None)
said.append(ask(server))
say(*said)
server.shutdown()
server.server_close()
say(sorted(lines_of("GET")))
say(sorted(lines_of("WAIT")))
""", "2 waited []", "2 waited 2 2", sorted(GET_LINES * 2), WAIT_LINES)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is of Python 3.12")
def test_monitoring(lane, server):
    says(lane, f"""
monitoring = sys.monitoring
monitoring.use_tool_id(monitoring.DEBUGGER_ID, "test")
monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.LINE,
                             lambda code, line: seen.append((code, line)))
for code in CODES:
    monitoring.set_local_events(monitoring.DEBUGGER_ID, code, monitoring.events.LINE)
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
say(ask(server), ask(server, "WAIT"), ask(server))
server.shutdown()
server.server_close()
say(sorted(lines_of("GET")))
say(sorted(lines_of("WAIT")))
""", "2 waited 2", sorted(GET_LINES * 2), WAIT_LINES)


def test_setprofile(lane, server):
    """Calls and returns of handlers, in pairs, on whatever thread."""
    says(lane, f"""
events = []
def profile(frame, event, argument):
    if frame.f_code in CODES and event in ("call", "return"):
        events.append((threading.get_ident(), event, CODES[frame.f_code]))
threading.setprofile(profile)
server = {server}(("127.0.0.1", 0), Handler)
thread = in_thread(server)
say(ask(server), ask(server, "WAIT"), ask(server))
server.shutdown()
server.server_close()
threading.setprofile(None)
for ident in dict.fromkeys(ident for ident, event, name in events):
    own = [(event, name) for thread, event, name in events if thread == ident]
    assert [event for event, name in own] == ["call", "return"] * (len(own) // 2), own
say(sorted(name for ident, event, name in events))
""", "2 waited 2", ["GET"] * 4 + ["WAIT"] * 2)


def test_cprofile(lane):
    """Of the program that serves in its main thread: how often a handler ran, and in whose time."""
    says(lane, """
import cProfile, pstats
server = HTTPServer(("127.0.0.1", 0), Handler)
profile = cProfile.Profile()
profile.enable()
call(server, lambda: say(ask(server), ask(server, "WAIT"), ask(server)))
profile.disable()
server.server_close()
stats = {name: (calls, total) for (file, line, name), (calls, unused, own, total, callers)
         in pstats.Stats(profile).stats.items() if name in ("do_GET", "do_WAIT")}
say(stats["do_GET"][0], stats["do_WAIT"][0], stats["do_WAIT"][1] > 0.04)
""", "2 waited 2", "2 1 True")


@pytest.mark.parametrize("core", ("ctrace", "pytrace", "sysmon"))
def test_coverage(lane, server, core, tmp_path):
    """Every line of a handler, and the one that did not run."""
    coverage = pytest.importorskip("coverage", reason="coverage.py is not installed")
    if core == "sysmon" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring is of Python 3.12")
    if core == "ctrace" and not coverage.env.CPYTHON:
        pytest.skip("coverage.py's tracer in C is for CPython")
    program = tmp_path / "covered.py"
    program.write_text(interpreter_programs.PRELUDE + f"""
def do_GET(self):
    if self.path == "/other":
        never = 1
    waiting = time.sleep(0.05)
    self.answer()
Handler.do_GET = do_GET
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
say(ask(server), ask(server))
server.shutdown()
server.server_close()
""")
    lines = program.read_text().splitlines()
    beginning = lines.index("def do_GET(self):", lines.index("def say(*what):")) + 1
    done = subprocess.run(
        [sys.executable, "-m", "coverage", "run", f"--data-file={tmp_path / 'data'}", program], text=True,
        capture_output=True, timeout=60, check=False, cwd=tmp_path,
        env=interpreter_programs.environment(lane, COVERAGE_CORE=core))
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok ok\n", "")
    data = coverage.CoverageData(tmp_path / "data")
    data.read()
    covered = set(data.lines(str(program)))
    assert {line - beginning for line in covered if beginning < line < beginning + 5} == {1, 3, 4}


def test_breakpoint_in_the_main_thread(lane):
    """pdb's prompt in a handler; what it shows, and that serving goes on."""
    status, out, err = interpreter_programs.run(lane, HANDLER + """
def stop(self):
    secret = 40 + 2
    breakpoint()
    self.answer(b"%d" % secret)
Handler.do_STOP = stop
server = HTTPServer(("127.0.0.1", 0), Handler)
call(server, lambda: say(ask(server, "STOP"), ask(server)))
server.server_close()
""", stdin="p secret\np self.path\nwhere\nsecret = 7\nc\n")
    assert (status, err) == (0, "")
    assert re.search(r"\(Pdb\) 42\n", out) and re.search(r"\(Pdb\) '/path'\n", out) and "stop()" in out
    assert out.endswith("7 2\n")


def test_breakpoint_in_a_thread(lane):
    """While a handler is at its prompt the others are answered."""
    status, out, err = interpreter_programs.run(lane, HANDLER + """
def stop(self):
    secret = 40 + 2
    waiting.set()
    breakpoint()
    self.answer(b"%d" % secret)
Handler.do_STOP = stop
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
in_thread(server)
pipe, prompt = os.pipe()
sys.stdin = os.fdopen(pipe)
with begin(server, "STOP", CLOSE) as sock:
    waiting.wait(20)
    say(ask(server), ask(server))
    os.write(prompt, b"p secret\\nc\\n")
    say(end(sock))
server.shutdown()
server.server_close()
os.close(prompt)
sys.stdin.close()
""")
    assert (status, err) == (0, "")
    assert re.search(r"2 2\n", out) and re.search(r"\(Pdb\) 42\n", out) and out.endswith("42\n")


def test_faulthandler(lane, server):
    """All stacks, from another thread: the handler that waits is in them, as sys._current_frames() has it."""
    says(lane, f"""
import faulthandler, tempfile
go = threading.Event()
def hold(self):
    waiting.set()
    go.wait(20)
    self.answer(b"held")
Handler.do_HOLD = hold
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
with begin(server, "HOLD", CLOSE) as sock, tempfile.TemporaryFile() as file:
    waiting.wait(20)
    time.sleep(0.05)
    faulthandler.dump_traceback(file, all_threads=True)
    frames = []
    for frame in sys._current_frames().values():
        while frame:
            frames.append(frame.f_code.co_name)
            frame = frame.f_back
    go.set()
    say(end(sock), ask(server))
    file.seek(0)
    say(file.read().decode().count(" in hold\\n"), frames.count("hold"))
server.shutdown()
server.server_close()
""", "held 2", "1 1")


def test_a_crash_in_a_handler_names_it(lane, server):
    """By faulthandler, as PYTHONFAULTHANDLER and -X faulthandler have it."""
    status, out, err = interpreter_programs.run(lane, f"""
import faulthandler, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
def crash(self):
    faulthandler._sigsegv()
Handler.do_CRASH = crash
server = {server}(("127.0.0.1", 0), Handler)
in_thread(server)
ask(server, "CRASH")
""", "-X", "faulthandler")
    assert status == -signal.SIGSEGV and out == ""
    assert "Fatal Python error: Segmentation fault" in err and " in crash\n" in err
