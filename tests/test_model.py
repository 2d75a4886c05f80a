"""The models of the leader protocol (model/leader.pml) and of who owns a connection
(model/connection.pml), checked exhaustively by spin.

Two halves: a model as it is has no error in any of its configurations, and each
of a list of plausible mistakes, made in the model, is found. The second half is
what makes the first worth something.

Needs spin and a C compiler, and is skipped, with the reason, where one is missing.
With TURBOSERVER_LONG=1 the large configurations run, too (minutes, 2 GB).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parent.parent / "model" / "leader.pml"
CONNECTION = MODEL.with_name("connection.pml")
CC = os.environ.get("CC", "cc").split()
TIMEOUT = 600  # seconds, for one verifier

pytestmark = [
    pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not installed"),
    pytest.mark.skipif(shutil.which(CC[0]) is None, reason="no C compiler"),
]
long_only = pytest.mark.skipif(
    os.environ.get("TURBOSERVER_LONG") != "1", reason="set TURBOSERVER_LONG=1 to run it"
)

SAFETY = ["-DSAFETY", "-DNOCLAIM"]
LIVENESS = ["-DNFAIR=3"]
SERVED = ["-a", "-f", "-N", "served"]  # the ltl claim, under weak fairness

# Mistakes that are found after a long search; all others are found in less time than pan takes to compile.
FOUND_LATE = {
    "the lead is given up and forgotten", "stop does not wake the leader", "who parks looks at stopping first",
}  # fmt: skip

FLUSH = ["-DN=2", "-DITEMS=2", "-DFLUSH"]
FLUSH_STOP = ["-DN=2", "-DITEMS=2", "-DFLUSH", "-DEARLY_STOP", "-DRETIRES=0"]


def smaller(defines):
    """One connection less: half a minute instead of two."""
    return [define.replace("-DITEMS=2", "-DITEMS=1") for define in defines]



def verify(source, tmp_path, defines, compiled, arguments=(), quick=False):
    """Returns what the exhaustive verifier of `source` prints. quick: it has little to do, so that its compiler, which
    need not optimise, has the most."""
    (tmp_path / "model.pml").write_text(source)
    pan = ["-O0" if quick else "-O1", "-w", "-DCOLLAPSE", "-DVECTORSZ=2048", *compiled, "-o", "pan", "pan.c"]
    run = ["./pan", "-m1000000", *arguments]
    for command in (["spin", *defines, "-a", "model.pml"], [*CC, *pan], run):
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def errors(report):
    # A search that was cut short proves nothing.
    assert "max search depth too small" not in report, report
    assert "Search not completed" not in report or "pan:1:" in report, report
    return int(re.search(r"errors: (\d+)", report)[1])


@pytest.mark.parametrize(
    ("defines", "compiled", "arguments"),
    [
        pytest.param(["-DN=3", "-DITEMS=2", "-DRETIRES=0"], SAFETY, [], id="lead"),
        pytest.param(["-DN=2", "-DITEMS=3"], SAFETY, [], id="retire"),
        pytest.param(smaller(FLUSH), SAFETY, [], id="flush"),
        pytest.param(smaller(FLUSH_STOP), SAFETY, [], id="stop"),
        pytest.param(["-DN=2", "-DITEMS=2"], LIVENESS, SERVED, id="served"),
        pytest.param([*FLUSH, "-DRETIRES=0"], LIVENESS, SERVED, id="served-flush"),
        pytest.param(["-DN=3", "-DITEMS=2"], SAFETY, [], id="lead-long", marks=long_only),
        pytest.param(FLUSH, SAFETY, [], id="flush-long", marks=long_only),
        pytest.param(FLUSH_STOP, SAFETY, [], id="flush-stop-long", marks=long_only),
        pytest.param(
            ["-DN=3", "-DITEMS=2", "-DEARLY_STOP"], SAFETY, [], id="stop-long", marks=long_only
        ),
    ],
)
def test_no_error(tmp_path, defines, compiled, arguments):
    report = verify(MODEL.read_text(), tmp_path, defines, compiled, arguments)
    assert errors(report) == 0, report


WAKE = "    if\n    :: asleep -> asleep = false\n    :: else\n    fi;\n"
ENTER = "    atomic { busy[me] = true; news[me] = true };\n"
EXIT = "    atomic { !locked[me] -> busy[me] = false; news[me] = true; alive[me] = false };\n"
TELL = "    if\n    :: idle_waiter -> idle_waiting = false\n    :: else\n    fi;\n"
CLEAN = "        dirty[i] = false;\n"
SEND = "        atomic { assert(alive[i] && busy[i]); pending[i] = false }; /* flush() */\n"
TAKE = ":: word == seen_word -> owner = NONE; next_gen()"

# What somebody might get wrong in leader.c: (in the model, instead, configuration).
MISTAKES = {
    "exit stores instead of comparing": ("entered != 0 && word == entered", "entered != 0", FLUSH),
    "the monitor stores instead of comparing": (
        TAKE + "\n            :: else -> seen_word = word; goto workers",
        ":: true -> owner = NONE; next_gen()",
        FLUSH,
    ),
    "the lead is given up and forgotten": (
        "vacant = true;\n        if\n        :: !stopping",
        "vacant = nidle > 0;\n        if\n        :: !stopping",
        FLUSH,
    ),
    "a follower is called and not woken": ("woken[pick] = true", "skip", FLUSH),
    "a call is taken for pending for ever": (
        ":: waking == me -> waking = NONE", ":: false", ["-DN=2", "-DITEMS=3"]
    ),
    "whoever else takes the lead ends the call": (
        ":: !stopping && vacant -> vacant = false; grant(me); goto lead",
        ":: !stopping && vacant -> vacant = false; waking = N; grant(me); goto lead",
        FLUSH,
    ),
    "no spare follower": ("coming = true; started++", "skip", FLUSH),
    "stop wakes no follower": ("woken[i] = woken[i] || idle[i]", "skip", FLUSH),
    "enter does not wake the monitor": (ENTER + WAKE, ENTER, FLUSH),
    "enter looks before it stores": (ENTER + WAKE, WAKE + ENTER, FLUSH),
    "the monitor does not look again before it sleeps": (
        ":: news[i] -> news[i] = false; quiet = false\n            :: else",
        ":: else",
        FLUSH,
    ),
    "new output does not wake the monitor": (
        "        :: asleep -> asleep = false\n        :: else\n        fi\n    fi\n}",
        "        :: skip\n        fi\n    fi\n}",
        FLUSH,
    ),
    "dirty is cleared after the flush": (CLEAN + SEND, SEND + CLEAN, FLUSH),
    "exit does not wait for a flush": ("!locked[me] -> busy", "busy", FLUSH),
    "exit tells no waiter": (TELL, "", FLUSH_STOP),
    "exit looks for waiters too early": (EXIT + TELL, TELL + EXIT, FLUSH_STOP),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_found(tmp_path, mistake):
    right, wrong, defines = MISTAKES[mistake]
    source = MODEL.read_text()
    assert source.count(right) == 1, "the model has changed: adapt the mistake"
    report = verify(source.replace(right, wrong), tmp_path, defines, SAFETY, quick=mistake not in FOUND_LATE)
    assert errors(report) == 1, report


def test_monitor_that_never_takes_is_found(tmp_path):
    """Ticking for ever is no dead end: only the liveness claim sees it."""
    source = MODEL.read_text()
    assert source.count(TAKE) == 1
    source = source.replace(TAKE, TAKE.replace("word == seen_word", "false"))
    report = verify(source, tmp_path, ["-DN=2", "-DITEMS=2"], LIVENESS, SERVED)
    assert errors(report) == 1, report


# ---- who owns a connection, and its deadline ----

RUN = ["-DSENDS=1", "-DFINS=1", "-DT=2"]
STOP = ["-DSTOP", "-DSENDS=1", "-DFINS=1", "-DT=1"]


@pytest.mark.parametrize(
    "defines",
    [
        pytest.param(RUN, id="run"),
        pytest.param(["-DSENDS=2", "-DFINS=1", "-DT=2"], id="run-long", marks=long_only),
        pytest.param(["-DSENDS=1", "-DFINS=0", "-DT=3"], id="late"),
        pytest.param(["-DSENDS=1", "-DFINS=0", "-DT=4"], id="late-long", marks=long_only),
        pytest.param(["-DCONNS=3", "-DSENDS=1", "-DFINS=1", "-DT=2"], id="reuse"),
        pytest.param(["-DSLOTS=2", "-DW=1", "-DSENDS=1", "-DFINS=0", "-DT=2"], id="slots"),
        pytest.param(["-DONESHOT", *RUN], id="oneshot"),
        pytest.param(["-DSTOP", "-DSENDS=1", "-DFINS=0", "-DT=1"], id="stop"),
        pytest.param(STOP, id="stop-long", marks=long_only),
        pytest.param(["-DSTOP", "-DSENDS=0", "-DFINS=0", "-DT=2"], id="stop-late"),
        pytest.param(["-DSTOP", "-DSENDS=1", "-DFINS=0", "-DT=2"], id="stop-late-long", marks=long_only),
        pytest.param(
            ["-DSTOP", "-DSLOTS=2", "-DW=1", "-DSENDS=0", "-DFINS=0", "-DT=1"], id="stop-slots"
        ),
    ],
)
def test_connection_has_no_error(tmp_path, defines):
    report = verify(CONNECTION.read_text(), tmp_path, defines, SAFETY)
    assert errors(report) == 0, report


RELEASE = "    conn_release(s, who);\n    if\n    :: ok && stopping ->"
STORE_AND_LOWER = "        deadline[s] = new;\n        lower_due(new, 1);\n"
STOPS = "    stopping = true; /* ts_reactor_stop() */\n"
REAPED = "    /* Everything ends, also what is accepted only now. */\n"

# As above, for conn.c, course.c, deadline.c and reactor.c.
CONNECTION_MISTAKES = {
    "claim is a load and a store": (
        "inline claim_parked(s, who, which) {\n    atomic {",
        "inline claim_parked(s, who, which) {\n    {",
        STOP,
    ),
    "release is a load and a store": (
        "inline conn_release(s, who) {\n    atomic {", "inline conn_release(s, who) {\n    {", RUN
    ),
    "release does not look for an event": (
        ":: word[s] & PENDING ->", ":: false ->", RUN
    ),
    "an event while it is owned is not noted": ("word[s] | PENDING | (", "word[s] | (", RUN),
    "an event while it is owned loses the end": ("(has_hup -> HUP : 0)", "0", RUN),
    "the event that was noted is not read": (
        "readable[s] = true; hup[s] = hup[s] || (word[s] & HUP); ok = false;", "ok = false;", RUN
    ),
    "claim does not look at the generation": (
        ":: GEN(word[s]) == key[ev] && !(word[s] & OWNED) ->", ":: !(word[s] & OWNED) ->", RUN
    ),
    "close does not begin a generation": ("(GEN(word[s]) + 1) << 3", "GEN(word[s]) << 3", RUN),
    "a free place is not owned": (
        "((GEN(word[s]) + 1) << 3) | OWNED }", "((GEN(word[s]) + 1) << 3) }", STOP
    ),
    "close leaves the deadline": ("    deadline[s] = 0;\n    /* ts_conn_reset", "    /*", RUN),
    "the socket is looked at before it is in the poller": (
        ":: !registered[cur[s]] && (octets[cur[s]] || fin[cur[s]]) -> edge[cur[s]] = true",
        ":: false",
        RUN,
    ),
    "the deadline is stored after due was looked at": (
        STORE_AND_LOWER, "        lower_due(new, 1);\n        deadline[s] = new;\n", RUN
    ),
    "due is emptied after the walk": (
        "    lower_due(sweep_due, 0);\n", "    due = INF;\n    lower_due(sweep_due, 0);\n", RUN
    ),
    "the sweep stores due": ("    lower_due(sweep_due, 0);\n", "    due = sweep_due;\n", RUN),
    "the sweep leaves the deadline of what it hands over": (
        "seen_due = deadline[s]; deadline[s] = 0; late", "seen_due = deadline[s]; late", RUN
    ),
    "the sweep passes over what is owned": ("d = looked_at + OWNED_NS;", "d = 0;", RUN),
    "the sweep forgets what it gives back": (
        "            if\n            :: ok -> goto looked\n",
        "            if\n            :: ok -> d = 0; goto looked\n",
        RUN,
    ),
    "a deadline is not lowered": (
        "deadline[s] != 0 && deadline[s] <= new", "deadline[s] != 0", RUN
    ),
    "an earlier deadline does not wake the leader": (
        "{ wake = true; coming-- }", "{ coming-- }", RUN
    ),
    "who parks looks at stopping first": (
        RELEASE,
        "    broken[s] = stopping;\n" + RELEASE.replace("stopping", "broken[s]"),
        STOP,
    ),
    "who parks does not look at stopping": (RELEASE, RELEASE.replace("stopping", "false"), STOP),
    "who looks at stopping does not claim": (
        "        claim_parked(s, who, GEN(word[s]) == gen);\n        if\n        :: ok -> broken",
        "        ok = true;\n        if\n        :: ok -> broken",
        STOP,
    ),
    "who parks claims again whatever is in the place": ("(s, who, GEN(word[s]) == gen)", "(s, who, WHATEVER)", STOP),
    "stop does not wake the leader": (STOPS + "    wake = true;\n", STOPS, STOP),
}


def test_stop_that_reaps_too_early_is_found(tmp_path):
    source = CONNECTION.read_text()
    assert source.count(STOPS) == source.count(REAPED) == 1
    source = source.replace(STOPS, "").replace(REAPED, STOPS)
    report = verify(source.replace(STOPS, STOPS + "    wake = true;\n"), tmp_path, STOP, SAFETY)
    assert errors(report) == 1, report


@pytest.mark.parametrize("mistake", CONNECTION_MISTAKES)
def test_connection_mistake_is_found(tmp_path, mistake):
    right, wrong, defines = CONNECTION_MISTAKES[mistake]
    source = CONNECTION.read_text()
    assert source.count(right) == 1, "the model has changed: adapt the mistake"
    report = verify(source.replace(right, wrong), tmp_path, defines, SAFETY, quick=mistake not in FOUND_LATE)
    assert errors(report) == 1, report


def test_names_of_those_found_late():
    assert FOUND_LATE <= MISTAKES.keys() | CONNECTION_MISTAKES.keys()
