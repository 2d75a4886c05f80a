/* Who owns a connection, and until when it may wait: csrc/conn.c (the word), the
 * parking and closing of csrc/course.c, csrc/deadline.c, and the leader's loop with
 * its sweep in csrc/reactor.c. README.md says how to run it, and what is and is not
 * proved.
 *
 * One Promela step is one atomic access of the C to what another thread may write;
 * what only the owner of a connection, or only the leader, reads and writes goes with
 * the step before.
 *
 * Wider than the C, so that what holds here holds there:
 *   - what the leader claims it hands to a worker and goes on at once, and the workers
 *     accept: as if the lead changed hands each time (leader.pml is about that);
 *   - an event of a connection that is closed may come at any time later;
 *   - a handler takes as long as it likes, or no time, and may close;
 *   - a sweep may stop after any late connection, and the clock may advance between
 *     any two steps.
 * Narrower: SLOTS places for CONNS connections one after the other, W workers,
 * SENDS + FINS things that peers do, T ticks of the clock, deadlines of one or two
 * ticks or none, and generations that do not come round.
 *
 * Ghosts, which only the assertions read: owner, cur, parked_at, looking, waiting,
 * coming. */

#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef CONNS
#define CONNS 2
#endif
#ifndef W
#define W 2
#endif
#ifndef SENDS
#define SENDS 2
#endif
#ifndef FINS
#define FINS 1
#endif
#ifndef T
#define T 2
#endif
#define SWEEP 1 /* SWEEP_NS */
#ifndef OWNED_NS
#define OWNED_NS 2
#endif

#define NONE 255
#define INF 250
#define LATER(a, b) ((a) > (b) -> (a) : (b))

#define OWNED 1
#define PENDING 2
#define HUP 4
#define GEN(w) ((w) >> 3)

/* owners; workers are 0 to W - 1, and W is "under way to one" */
#define LEADER (W + 1)
#define STOPPER (W + 2)

/* the clock */
byte now = 1; /* 0 is "no deadline" */

/* of the reactor */
bool stopping;
byte due = INF;
bool wake;       /* ts_poller_wake() */
byte n_open;

/* of the leader */
bool sweeping;
byte at;         /* the slot that the sweep looks at next */
byte sweep_due;
byte next_sweep;
byte until;      /* how long it waits in the poller */
byte ev = NONE;  /* an event, taken from the poller and not seen to */
byte coming;     /* ghost: who has lowered `due` and is about to wake the leader */
bool waiting;    /* ghost: it is in the poller */
bool looking;    /* ghost: the sweep has read the deadline before `at`, and is not done */

/* of the connections' places */
byte word[SLOTS] = OWNED;
byte deadline[SLOTS];
bool readable[SLOTS];
bool hup[SLOTS];
bool broken[SLOTS];
bool vacant[SLOTS] = true;  /* ts_slots has it */
byte cur[SLOTS] = NONE;     /* ghost: the connection that lives there */
byte owner[SLOTS] = NONE;   /* ghost: who owns it; W: under way to a worker */
byte parked_at[SLOTS];      /* ghost: when it was parked */

/* of the kernel: by connection, whatever its place */
byte opened;                /* how many have been accepted */
bool open[CONNS];
bool octets[CONNS];         /* unread */
bool fin[CONNS];            /* the peer has ended its side */
bool registered[CONNS];     /* in the poller */
bool armed[CONNS];          /* ONESHOT: and not silent */
bool edge[CONNS];           /* an event is ready */
byte key[CONNS];            /* the generation that the event will carry */
byte place[CONNS];          /* and the slot */
byte sends = SENDS, fins = FINS;

chan job = [0] of { byte, bool }; /* a place; whether its deadline has passed */

/* ---- the word ---- */

/* A load and a compare-and-swap that is tried until it succeeds, with nothing done in
 * between: one step, when it succeeds. */

inline won(s, who) {
    assert(owner[s] == NONE && !vacant[s] && cur[s] != NONE && open[cur[s]]);
    owner[s] = who; parked_at[s] = 0
}

/* ts_conn_claim_parked(), ts_conn_claim_again(): ok is whether. */
#define WHATEVER true
inline claim_parked(s, who, which) {
    atomic {
        if
        :: !(word[s] & OWNED) && (which) -> word[s] = word[s] | OWNED; won(s, who); ok = true
        :: else -> ok = false
        fi
    }
}

/* ts_conn_claim() for an event: ok is whether. */
inline claim(s) {
    atomic {
        if
        :: GEN(word[s]) == key[ev] && !(word[s] & OWNED) ->
            word[s] = word[s] | OWNED;
            won(s, LEADER);
            assert(cur[s] == ev);
            hup[s] = hup[s] || has_hup; readable[s] = true;
            ok = true
        :: GEN(word[s]) == key[ev] && (word[s] & OWNED) ->
            assert(cur[s] == ev);
            word[s] = word[s] | PENDING | (has_hup -> HUP : 0);
            ok = false
        :: else -> ok = false /* stale */
        fi;
        ev = NONE; has_hup = false
    }
}

/* ts_conn_release(): ok is whether. */
inline conn_release(s, who) {
    atomic {
        assert(owner[s] == who && (word[s] & OWNED));
        if
        :: word[s] & PENDING ->
            readable[s] = true; hup[s] = hup[s] || (word[s] & HUP); ok = false;
            word[s] = (GEN(word[s]) << 3) | OWNED
        :: else ->
            owner[s] = NONE; parked_at[s] = now; ok = true;
            word[s] = GEN(word[s]) << 3
        fi
    }
}

/* ts_release() */
inline release(s, who) {
    gen = GEN(word[s]); /* the owner's, until the release */
    conn_release(s, who);
    if
    :: ok && stopping ->
        claim_parked(s, who, GEN(word[s]) == gen);
        if
        :: ok -> broken[s] = true; ok = false
        :: else -> ok = true
        fi
    :: else
    fi;
    gen = 0
}

/* ---- deadlines ---- */

/* ts_lower_due(): ok is whether. */
inline lower_due(when, wakes) {
    atomic {
        if
        :: when < due -> due = when; coming = coming + wakes; ok = true
        :: else -> ok = false
        fi
    }
}

/* ---- kernel, peers, clock ---- */

inline report(c) {
    if
#ifdef ONESHOT
    :: registered[c] && armed[c] -> edge[c] = true
#else
    :: registered[c] -> edge[c] = true
#endif
    :: else
    fi
}

#define CAN_DO(c) (open[c] && !fin[c] && (sends > 0 || fins > 0))

active proctype peers()
{
    byte c;
end_peers:
    do
    :: atomic {
            if
            :: CAN_DO(0) -> c = 0
#if CONNS > 1
            :: CAN_DO(1) -> c = 1
#endif
#if CONNS > 2
            :: CAN_DO(2) -> c = 2
#endif
            fi;
            if
            :: sends > 0 -> sends--; octets[c] = true
            :: fins > 0 -> fins--; fin[c] = true
            fi;
            report(c);
            c = 0
        }
    od
}

active proctype clock()
{
end_clock:
    do
    :: now < T -> now++
    od
}

/* ---- whoever owns a connection ---- */

/* ts_conn_fill() */
inline fill() {
    atomic {
        assert(owner[s] == me && open[cur[s]]);
        if
        :: octets[cur[s]] ->
            octets[cur[s]] = false; got = true;
            readable[s] = hup[s] /* all of it was taken; with HUP, on to the end */
        :: !octets[cur[s]] && fin[cur[s]] -> readable[s] = false; eof = true
        :: else -> readable[s] = false
        fi
    }
}

inline set_deadline() {
    atomic { /* the clock is read; the old deadline is the owner's */
        assert(owner[s] == me);
        if
        :: new = now + 1
        :: new = now + 2
        :: new = INF
        fi
    };
    if
    :: deadline[s] != 0 && deadline[s] <= new -> deadline[s] = new
    :: else ->
        deadline[s] = new;
        lower_due(new, 1);
        if
        :: ok -> atomic { wake = true; coming-- }
        :: else
        fi
    fi
}

inline set_interest() {
    atomic {
        assert(owner[s] == me && open[cur[s]]);
        key[cur[s]] = GEN(word[s]); place[cur[s]] = s;
#ifdef ONESHOT
        armed[cur[s]] = true;
        registered[cur[s]] = true;
        if
        :: octets[cur[s]] || fin[cur[s]] -> edge[cur[s]] = true
        :: else
        fi
#else
        if
        :: !registered[cur[s]] && (octets[cur[s]] || fin[cur[s]]) -> edge[cur[s]] = true
        :: else
        fi;
        registered[cur[s]] = true
#endif
    }
}

/* park(): ok is whether. */
inline park() {
    set_deadline();
    set_interest();
    id = cur[s];
    release(s, me);
    atomic {
        /* The caller goes on with what it has parked, or with nothing. */
        assert(ok || cur[s] == id);
        id = 0; new = 0
    }
}

/* ts_destroy() */
inline destroy(s, who) {
    atomic {
        assert(owner[s] == who && open[cur[s]] && !vacant[s]);
        open[cur[s]] = false; registered[cur[s]] = false; armed[cur[s]] = false;
        octets[cur[s]] = false; fin[cur[s]] = false
    };
    deadline[s] = 0;
    /* ts_conn_reset(): a store, for nobody changes the word of a place that is free */
    atomic { assert(owner[s] == who); owner[s] = NONE; cur[s] = NONE;
             word[s] = ((GEN(word[s]) + 1) << 3) | OWNED };
    atomic { assert(!vacant[s]); vacant[s] = true; n_open-- }
}

inline accept() {
    atomic {
        vacant[s] = false; cur[s] = opened; owner[s] = me; open[opened] = true;
        opened++; n_open++;
        assert(deadline[s] == 0 && (word[s] & OWNED));
        readable[s] = true; hup[s] = false; broken[s] = false
    }
}

active [W] proctype worker()
{
    byte me = _pid - 2;
    byte s, id, gen, new, seen_due;
    bool ok, late, got, eof;

end_idle:
    atomic {
        if
        :: opened < CONNS && vacant[0] -> s = 0; accept()
#if SLOTS > 1
        :: opened < CONNS && vacant[1] -> s = 1; accept()
#endif
        :: job?s, late -> assert(owner[s] == W); owner[s] = me
        fi
    };
    if
    :: late -> /* ts_too_late() */
        atomic { seen_due = deadline[s]; deadline[s] = 0; late = false };
        if
        :: !broken[s] && seen_due <= now ->
            fill();
            if
            :: !got -> goto close /* late */
            :: true
            fi
        :: else
        fi;
        seen_due = 0; got = false
    :: else
    fi;

go_on: /* ts_reactor_go_on() and ts_reactor_done() */
    if
    :: broken[s] || eof -> goto close
    :: !broken[s] && !eof && readable[s] ->
        fill();
        if
        :: got -> goto close /* the handler, which is the end of it */
        :: true /* the handler and on; or not a request yet */
        fi;
        got = false;
        goto go_on
    :: else ->
        park();
        if
        :: !ok -> goto go_on
        :: else -> goto done
        fi
    fi;

close:
    destroy(s, me);
done:
    atomic { s = 0; ok = false; eof = false; got = false; seen_due = 0; goto end_idle }
}

/* ---- the leader ---- */

inline hand_over(how) {
    atomic { owner[s] = W; job!s, how }
}

active proctype leader()
{
    byte s, gen, d, looked_at;
    bool ok, has_hup, timed;

loop: /* ts_reactor_next() */
#ifdef STOP
    if
    :: goto left /* shutdown() */
    :: stopping -> goto left
    :: !stopping
    fi;
#endif
    atomic { /* how long to wait: next_look() */
        if
        :: sweeping -> until = 0
        :: !sweeping && due == INF -> until = INF
        :: else -> until = LATER(due, next_sweep)
        fi;
        waiting = true };
#ifndef STOP
end_wait:
#endif
    /* ts_poller_wait() */
    atomic {
        if
        :: edge[0] -> ev = 0
#if CONNS > 1
        :: edge[1] -> ev = 1
#endif
#if CONNS > 2
        :: edge[2] -> ev = 2
#endif
        :: wake -> wake = false
        :: now >= until -> skip
        fi;
        waiting = false; until = 0;
        if
        :: ev != NONE -> edge[ev] = false; armed[ev] = false; has_hup = fin[ev]
        :: else
        fi
    };
    timed = (due != INF || sweeping);
    if
    :: ev != NONE ->
        s = place[ev];
        claim(s);
        if
        :: ok -> hand_over(false)
        :: else
        fi
    :: else
    fi;
    if
    :: !timed -> goto loop
    :: else
    fi;

    /* look_at_clock() */
    atomic { timed = false; looked_at = now };
    if
    :: !sweeping && (looked_at < next_sweep || looked_at < due) -> looked_at = 0; goto loop
    :: else
    fi;

sweep:
    if
    :: !sweeping -> atomic { sweeping = true; at = 0; sweep_due = INF; due = INF }
    :: else
    fi;
    do
    :: atomic { at < SLOTS -> s = at; at++; d = deadline[s]; looking = true;
            if
            :: d == 0 || d > looked_at -> goto looked
            :: else
            fi };
        claim_parked(s, LEADER, WHATEVER);
        atomic {
            if
            :: !ok -> d = looked_at + OWNED_NS; goto looked /* an old one */
            :: else -> d = deadline[s]
            fi };
        if
        :: d <= looked_at
        :: else ->
            /* still `looking`: sweep_due gets it below */
            release(s, LEADER);
            if
            :: ok -> goto looked
            :: else
            fi
        fi;
        atomic { looking = false; d = 0; owner[s] = W; job!s, true };
        if
        :: looked_at = now; goto sweep /* the next in the row */
        :: looked_at = 0; goto loop
        fi;
looked:
        atomic {
            if
            :: d != 0 && d < sweep_due -> sweep_due = d
            :: else
            fi;
            looking = false; d = 0 }
    :: at == SLOTS -> break
    od;
    lower_due(sweep_due, 0);
    atomic { next_sweep = looked_at + SWEEP; sweeping = false; at = 0; sweep_due = 0;
             s = 0; ok = false; looked_at = 0 };
    goto loop;

left: /* ts_reactor_reap_unsent(), by who has led last */
#ifdef STOP
    s = 0;
    do
    :: s < SLOTS ->
        claim_parked(s, LEADER, WHATEVER);
        if
        :: ok -> /* its answer is to be sent: it ends; or it is none of those */
            if
            :: ok = false
            :: release(s, LEADER)
            fi;
            if
            :: !ok -> hand_over(false)
            :: else
            fi
        :: else
        fi;
        s++
    :: else -> break
    od
#else
    skip
#endif
}

/* ---- the end of the server ---- */

#ifdef STOP
active proctype stopper()
{
    byte s;
    bool ok;

    stopping = true; /* ts_reactor_stop() */
    wake = true;
    do
    :: s < SLOTS -> /* ts_reactor_reap() */
        claim_parked(s, STOPPER, WHATEVER);
        if
        :: ok -> destroy(s, STOPPER)
        :: else
        fi;
        s++
    :: else -> break
    od;
    /* Everything ends, also what is accepted only now. */
    (opened == CONNS && n_open == 0)
}
#endif

/* ---- what must hold in every state ---- */

#define PARKED(s) (!(word[s] & OWNED))

/* Its peer has done something, and nobody will ever look. */
#define FORGOTTEN(s) (PARKED(s) && (octets[cur[s]] || fin[cur[s]]) && !edge[cur[s]] && ev != cur[s])

/* When a parked connection is looked for at the latest: at its deadline, or, if the
 * sweep has found it owned, OWNED_NS later. */
#define BOUND(s) LATER(deadline[s], parked_at[s] + OWNED_NS)

/* Neither r->due nor the sweep that is under way knows of its deadline. */
#define NOTED(s) (deadline[s] == INF || due <= BOUND(s) || \
    (sweeping && (at <= s || (looking && at == s + 1) || sweep_due <= BOUND(s))))

/* The leader waits for longer, and for longer than until its next sweep, and nobody
 * is about to wake it. */
#define OVERSLEEPS(s) (deadline[s] != INF && waiting && !wake && coming == 0 && \
    until > LATER(BOUND(s), next_sweep))

#define FINE(s) (stopping || !PARKED(s) || \
    (!FORGOTTEN(s) && deadline[s] != 0 && NOTED(s) && !OVERSLEEPS(s)))

active proctype watch()
{
end_watch:
    atomic {
#if SLOTS > 1
        !FINE(0) || !FINE(1) ->
        assert(FINE(1));
#else
        !FINE(0) ->
#endif
        assert(!FORGOTTEN(0));
        assert(deadline[0] != 0);
        assert(NOTED(0));
        assert(!OVERSLEEPS(0))
    }
}
