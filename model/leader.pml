/* The protocol of csrc/leader.c: one leader, followers, a monitor that takes the
 * lead away from a handler that stays. README.md says how to run it, and what is
 * and is not proved.
 *
 * One Promela step is one atomic access of the C. What the C does under `mu` is
 * one atomic block: nothing it reads there is written without `mu`, but for the
 * lead word, and that stands still while nobody leads.
 *
 * Wider than the C, so that what holds here holds there:
 *   - which idle follower is woken is anybody's guess (C: the latest);
 *   - a tick may come at any time, and the monitor may fall asleep after one tick
 *     without news (C: twenty);
 *   - the sequence is the busy bit alone, so it wraps all the time (C: 16 bits);
 * Narrower: N workers and ITEMS requests; and the steps come in one order that all
 * processes agree on, which the C must see to with its memory orders.
 *
 * Ghosts, which only the assertions read: owner, alive. */

#ifndef N
#define N 3 /* a leader and two followers */
#endif
#ifndef ITEMS
#define ITEMS 3
#endif
#define NONE 255

#ifdef FLUSH
#define TO_FLUSH(i) (busy[i] && (!visited[i] || dirty[i]))
#endif

#define BUSY(w) ((w) & 1)
#define GEN(w) ((w) >> 1)
#define NEXT_SEQ(w) ((w) ^ 1)

/* The C counts generations and has 48 bits for it: none comes again. So here: any
 * number will do that nobody remembers, which keeps the states few. */
#if N == 3
#define HELD(g) (gen[0] == g || gen[1] == g || gen[2] == g || GEN(word) == g || GEN(seen_word) == g)
#else
#define HELD(g) (gen[0] == g || gen[1] == g || GEN(word) == g || GEN(seen_word) == g)
#endif
inline next_gen() {
    if
    :: !HELD(1) -> word = 1 << 1
    :: HELD(1) && !HELD(2) -> word = 2 << 1
    :: HELD(1) && HELD(2) && !HELD(3) -> word = 3 << 1
    :: HELD(1) && HELD(2) && HELD(3) && !HELD(4) -> word = 4 << 1
    :: HELD(1) && HELD(2) && HELD(3) && HELD(4) && !HELD(5) -> word = 5 << 1
    :: else -> word = 6 << 1 /* one of six is always free */
    fi
}

byte word = 2;      /* generation 1, even: nobody inside a handler */
byte owner = NONE;  /* ghost: who was given this generation */

/* under mu */
bool vacant = true;
bool stopping;
bool idle[N];
byte nidle;
byte waking = NONE; /* a follower that was called and has not looked yet */
bool woken[N];      /* the worker's wake-up was posted */
byte gen[N];        /* the worker's own */
#ifndef RETIRES
#define RETIRES 1
#endif
byte retires = RETIRES; /* how often a follower may still find that it idled for long */

/* spare followers */
byte started = 1;
bool coming;

/* each worker's slot and what hangs on it */
bool busy[N];       /* slot: inside a handler */
bool news[N];       /* slot: another value than at the monitor's last look (the C's
                     * count has 62 bits, so "another" is all there is to know) */
bool locked[N];     /* the monitor is flushing */
bool alive[N];      /* ghost: the connection exists */
bool pending[N];    /* the handler wrote, and nobody sent it */
bool visited[N];
bool dirty[N];

bool asleep = true; /* the monitor: at first because it has not been started */
bool idle_waiter, idle_waiting;

/* the work: requests given to handlers, handlers that returned */
byte given, handled;
byte seen_word;     /* the monitor's: the lead word at its last look */

byte nlong;         /* workers inside a handler that waits for the others */

inline grant(i) {
    assert(owner == NONE && !BUSY(word) && !vacant);
    owner = i;
    gen[i] = GEN(word)
}

/* By whoever has just changed the generation. The lead is left for whoever comes
 * first: the follower that is called here, or a worker whose handler has ended. */
inline pass_on() {
    atomic {
        assert(!vacant && owner == NONE);
        vacant = true;
        if
        :: !stopping && nidle > 0 && waking == NONE -> select_idle(); waking = pick
        :: else -> pick = NONE
        fi
    };
    atomic { /* after unlocking: it may have looked by itself meanwhile, even have left */
        if
        :: pick != NONE -> woken[pick] = true
        :: else
        fi;
        pick = 0
    }
}

inline select_idle() {
    if
    :: idle[0] -> pick = 0
    :: idle[1] -> pick = 1
#if N > 2
    :: idle[2] -> pick = 2
#endif
#if N > 3
    :: idle[3] -> pick = 3
#endif
    fi
}

inline release() {
    assert(gen[me] == GEN(word) && owner == me && !BUSY(word));
    atomic { owner = NONE; next_gen(); gen[me] = 0 };
    pass_on()
}

/* The handler adds octets under the connection's lock; then ts_handler_dirty(). */
inline write_some() {
    pending[me] = true;
    if
    :: !visited[me]
    :: else ->
        dirty[me] = true;
        if
        :: asleep -> asleep = false
        :: else
        fi
    fi
}

active [N] proctype worker()
{
    byte me = _pid;
    byte pick;
    byte entered; /* the odd word it stored; 0: entered as no leader */
    bool late;    /* it has idled for long */

    atomic { started > me || stopping ->
        if
        :: stopping -> goto left
        :: else
        fi };

follow:
    atomic { /* ts_lead_wait() */
        coming = false; /* C: only at the first call; wider */
        if
        :: stopping -> goto left
        :: !stopping && vacant -> vacant = false; grant(me); goto lead
        :: !stopping && !vacant -> idle[me] = true; nidle++
        fi
    };
wait_on:
    atomic { /* ts_wakeup_wait() */
        if
        :: woken[me] -> woken[me] = false
        :: !woken[me] && retires > 0 -> retires--; late = true
        fi
    };
    atomic {
        if
        :: waking == me -> waking = NONE
        :: else
        fi;
        if
        :: stopping -> idle[me] = false; nidle--; late = false; goto left
        :: !stopping && vacant ->
            vacant = false; idle[me] = false; nidle--; late = false; grant(me)
        :: !stopping && !vacant && late && nidle > 1 ->
            idle[me] = false; nidle--; late = false; /* leaves, and another joins */
            goto follow
        :: else -> late = false; goto wait_on
        fi
    };

lead:
    atomic {
        assert(owner == me && gen[me] == GEN(word) && !BUSY(word));
        entered = 0;
        if
        :: stopping -> goto step_down
        :: !stopping && given < ITEMS -> given++
        fi; /* neither: it waits in the poller, which stop() will wake */
        if /* ts_lead_wants_spare() */
        :: nidle == 0 && !coming && started < N -> coming = true; started++
        :: else
        fi;
        alive[me] = true; pending[me] = false; visited[me] = false; dirty[me] = false;
        if
        :: goto enter
        :: skip /* predicted to block */
        fi
    };
    release();
    goto follower_enter;

enter: /* ts_handler_enter() */
    atomic {
        assert(gen[me] == GEN(word) && owner == me && !BUSY(word));
        entered = NEXT_SEQ(word);
        word = entered
    };
follower_enter:
    atomic { busy[me] = true; news[me] = true };
    if
    :: asleep -> asleep = false
    :: else
    fi;

    /* The handler: returns at once; or writes, sooner or later, and waits for that
     * to be sent; or waits for all the other requests to be under way (if there
     * are workers for them). */
    if
    :: skip
#ifdef FLUSH
    :: write_some(); !pending[me]
#endif
    :: nlong++; atomic { (given == ITEMS || nlong == N || stopping) -> nlong-- }
    fi;

    /* ts_handler_exit() */
    atomic { !locked[me] -> busy[me] = false; news[me] = true; alive[me] = false };
    if
    :: idle_waiter -> idle_waiting = false
    :: else
    fi;
    atomic {
        handled++;
        if
        :: entered != 0 && word == entered ->
            assert(owner == me); word = NEXT_SEQ(word); goto lead
        :: else
        fi;
        /* Never again: neither ts_leads() nor ts_lead_release() would find it
         * leading. */
        assert(gen[me] != GEN(word));
        gen[me] = 0;
        entered = 0;
        goto follow
    };

step_down:
    release();
    goto follow;

left:
    assert(owner != me && !busy[me])
}

active proctype monitor()
{
    byte i, pick;
    bool quiet;

    goto wait; /* `asleep` is set, as the first handler is to start us */

tick:
    quiet = true;
    if
    :: atomic { seen_word != word || !BUSY(word) -> seen_word = word }
    :: atomic { seen_word == word && BUSY(word) -> i = 0 }; /* seen, and not yet taken */
        atomic {
            if
            :: word == seen_word -> owner = NONE; next_gen()
            :: else -> seen_word = word; goto workers
            fi
        };
        pass_on()
    fi;
workers:
    do
#ifdef FLUSH
    :: atomic { i < N && news[i] -> news[i] = false; quiet = false; i++ }
    :: atomic { i < N && !news[i] && !TO_FLUSH(i) -> i++ }
    :: atomic { i < N && !news[i] && TO_FLUSH(i) -> quiet = false };
        atomic {
            if
            :: !news[i] -> locked[i] = true
            :: else -> i++; goto workers /* it has just ended */
            fi
        };
        visited[i] = true;
        dirty[i] = false;
        atomic { assert(alive[i] && busy[i]); pending[i] = false }; /* flush() */
        atomic { assert(alive[i] && busy[i]); locked[i] = false; i++ }
    :: atomic { i == N -> i = 0; if :: goto tick :: quiet fi }; break
#else /* nothing to do for them: whether there is news, may_sleep() looks again */
    :: goto tick
    :: break
#endif
    od;

    asleep = true;
    do /* may_sleep() */
    :: atomic { i < N ->
            if
            :: news[i] -> news[i] = false; quiet = false
            :: else
            fi;
            if
            :: busy[i] && dirty[i] -> quiet = false
            :: else
            fi;
            i++ }
    :: atomic { i == N -> i = 0; seen_word = word }; break
    od;
    if
    :: BUSY(seen_word) || !quiet -> asleep = false; goto tick
    :: else
    fi;
wait:
end_asleep:
    atomic { !asleep;
        for (i : 0 .. N - 1) {
            news[i] = false
        };
        i = 0;
        seen_word = word };
    goto tick
}

/* Calls ts_leader_stop(): with EARLY_STOP at any time, otherwise only after all the
 * work is done, so that it saves nothing that hangs. Then ts_leader_wait_idle(). */
active proctype server()
{
    byte i;

#ifndef EARLY_STOP
    handled == ITEMS;
#endif
    atomic {
        stopping = true;
        for (i : 0 .. N - 1) {
            woken[i] = woken[i] || idle[i]
        };
        i = 0
    };
    idle_waiter = true;
    do
    :: atomic { /* under mu, as is the broadcast */
            for (i : 0 .. N - 1) {
                if
                :: busy[i] -> idle_waiting = true
                :: else
                fi
            };
            i = 0;
            if
            :: !idle_waiting -> break
            :: else
            fi };
        !idle_waiting
    od;
    idle_waiter = false
}

/* Some worker takes each request, unless it is all stopped before. */
ltl served { <>(handled == ITEMS || stopping) }
