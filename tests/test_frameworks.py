"""Real frameworks, middlewares and programs on the WSGI server, over real sockets; and behind real proxies.

Each application of frameworks/sites/ runs in a process of its own, in the environment that `make frameworks` makes,
on our server and on the standard library's at once; both are asked the same, and but for framing the answers must be
equal. Skipped without that environment.
"""
import os
import sys

import pytest

from support import Client, connect, read_until_eof

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "frameworks"))
pytest.register_assert_rewrite("asking", "questions")
import asking  # noqa: E402
import questions  # noqa: E402
from asking import Asker, Question  # noqa: E402
from questions import says  # noqa: E402

FRAMEWORKS = sorted(questions.SPECIAL)


@pytest.fixture(scope="module", autouse=True)
def environment():
    asking.require_environment()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A function (target) -> running Subject; each is started once and ends with the module."""
    import contextlib
    folder = tmp_path_factory.mktemp("frameworks")
    running = {}
    with contextlib.ExitStack() as stack:
        def start(target):
            if target not in running:
                running[target] = stack.enter_context(asking.subject(target, folder))
            return running[target]
        yield start


def ask_both(subject, asked):
    """Every question in order to both servers, on kept connections; the answers must be equal. Returns ours."""
    answers = []
    with Asker(subject.address("stdlib")) as theirs, Asker(subject.address()) as ours:
        for question in asked:
            answer = ours.ask(question)
            asking.assert_equal_answers(question, theirs.ask(question), answer)
            answers.append(answer)
    return answers


@pytest.mark.parametrize("site", FRAMEWORKS)
def test_the_same_answers(started, site):
    ask_both(started(site + "_site"), questions.of(site))
