"""`turboserver wsgi` as a container starts it: as process 1, which no signal ends that it has not asked for."""
import os
import signal

import pytest
from deployed import APPLICATION, deployed
from support import DEADLINE, first_of

# A thread that nobody ends, and that the end of the interpreter waits for.
STAYS = APPLICATION + "\n\nthreading.Thread(target=threading.Event().wait).start()\n"

OPTIONS = ("--bind", "127.0.0.1:0", "--graceful-timeout", "0.2")


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "workers"])
def test_sigterm_ends_it(tmp_path, container, workers):
    (tmp_path / "application.py").write_text(APPLICATION)
    with deployed("application:app", *OPTIONS, *workers, cwd=tmp_path, within=container) as server:
        server.ready()
        assert server.get("/pid") == "1" if not workers else server.get("/version") == "one"
        os.kill(first_of(server.process), signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0


def test_a_program_that_stays_is_ended_and_says_where_it_was(tmp_path, container):
    (tmp_path / "application.py").write_text(STAYS)
    with deployed("application:app", *OPTIONS, cwd=tmp_path, within=container) as server:
        server.ready()
        os.kill(first_of(server.process), signal.SIGTERM)
        assert server.wait() == 1
        assert server.said("Timeout (") and server.said("threading.py")


def test_elsewhere_a_signal_ends_it(tmp_path):
    (tmp_path / "application.py").write_text(STAYS)
    with deployed("application:app", *OPTIONS, cwd=tmp_path) as server:
        assert server.ready().stop() == -signal.SIGALRM
