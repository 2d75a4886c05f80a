/* leader_private: the state that leader.c (the workers' side), monitor.c and crew.c share.
 *
 * Who may change the lead word:
 *   even ("not in a handler")  only the leader: to odd (enter), or to the next
 *                              generation (release, predicted hand-over)
 *   odd  ("in a handler")      the leader to even (exit) and the monitor to the
 *                              next generation: both by compare-and-swap
 * Whoever changes the generation owes the hand-over: ts_pass_on(), exactly once.
 * It leaves the lead vacant, for whoever comes first, and calls a follower to look
 * (`waking`), unless one that was called before has not looked yet. A worker
 * whose handler has ended is mostly there before: it goes on at once, and nobody
 * had to be woken. Under `mu`: vacant implies that a follower is on its way, or
 * none is idle, or we are stopping; so no lead is left lying.
 *
 * Who may change a worker's slot: the worker (enter, exit); the monitor only to
 * set LOCKED on a slot that is BUSY, and to take it off again. Exit waits for
 * that, so a connection never goes away under a flush.
 *
 * Locks: `mu` (idle stack, vacancy, joining) and `mon_mu` (the monitor's sleep)
 * are never held together, nor during a flush; both are held for a few
 * instructions only, so they may be taken with the GIL held. */
#ifndef TS_LEADER_PRIVATE_H
#define TS_LEADER_PRIVATE_H

#include "clock.h"
#include "leader.h"
#include "patience.h"
#include "wakeup.h"

#include <pthread.h>
#include <stdatomic.h>

/* 16 bits of sequence: the monitor can mistake one handler for another only if
 * exactly 32768 of them ran between two looks, and then a fast handler loses the
 * lead, which is safe. 48 bits of generation: these must never come round while
 * an old leader sits in its handler; at 100,000 hand-overs a second, 89 years. */
#define SEQ_BITS 16
#define SEQ_MASK ((UINT64_C(1) << SEQ_BITS) - 1)
#define WORD_BUSY UINT64_C(1)

/* A slot: count of handlers << 2 | LOCKED | BUSY. */
#define SLOT_BUSY UINT64_C(1)
#define SLOT_LOCKED UINT64_C(2)
#define SLOT_STEP UINT64_C(4)

#define CACHE_LINE 64

struct ts_worker {
    /* Line one: every request. Only the worker writes here, but for `slot`
     * (LOCKED), visited and dirty. */
    _Alignas(CACHE_LINE) _Atomic uint64_t slot;
    void *conn;          /* written while the slot is free, read under LOCKED */
    struct ts_leader *l;
    uint64_t gen;        /* generation under which it was given the lead; 0: none */
    uint64_t entered;    /* the odd lead word it stored; 0: entered as no leader */
    uint64_t now;        /* last timestamp */
    uint64_t began;      /* `now` at enter */
    uint64_t mark;       /* waited_mark() at enter, if measured */
    bool measured;
    struct ts_patience patience;
    _Atomic bool visited; /* the monitor has flushed during this handler */
    _Atomic bool dirty;   /* and there is something new to flush */

    /* Line two: the monitor's own, then what `mu` guards. */
    _Alignas(CACHE_LINE) uint64_t seen; /* slot at the last look */
    bool unsent;                        /* the last flush left something */
    bool joined;
    bool fresh;   /* has not been to ts_lead_wait() yet */
    struct ts_worker *above, *below; /* in the idle stack */
    struct ts_wakeup wake;
};

struct ts_leader {
    _Alignas(CACHE_LINE) _Atomic uint64_t word; /* generation << SEQ_BITS | seq */

    /* Read by each request, written rarely. */
    _Alignas(CACHE_LINE) _Atomic bool asleep; /* a handler must wake the monitor */
    _Atomic unsigned idle_waiters; /* threads in ts_leader_wait_idle() */
    _Atomic unsigned nidle;        /* these three: written under mu */
    _Atomic unsigned nthreads;
    _Atomic bool stopping;
    _Atomic bool spare_coming; /* wants_spare said true, nobody came yet */
    _Atomic unsigned high;     /* workers[high..] have not joined */
    bool inert;                /* written in a forked child only */
    struct ts_leader_config config;
    struct ts_worker *workers; /* max_threads of them; never move. Their memory is
                                  taken when they are first used. */
    void *workers_memory;

    _Alignas(CACHE_LINE) pthread_mutex_t mu;
    bool vacant;
    unsigned used;       /* workers[used..] have never joined */
    unsigned first_free; /* workers[..first_free) have joined */
    struct ts_worker *idle_top;
    struct ts_worker *waking; /* a follower that was called and has not looked yet */
    pthread_cond_t idle_cond; /* a handler ended and idle_waiters > 0 */

    pthread_mutex_t mon_mu;
    pthread_cond_t mon_cond;
    pthread_t monitor;
    bool mon_started;
    bool mon_quit;
    uint64_t seen_word; /* the monitor's own: lead word at the last look */
};

/* --- the lead word ------------------------------------------------------------ */

static inline uint64_t word_gen(uint64_t word) { return word >> SEQ_BITS; }
static inline uint64_t word_next_gen(uint64_t word) { return (word_gen(word) + 1) << SEQ_BITS; }

/* The sequence wraps within its bits and never carries into the generation. */
static inline uint64_t word_next_seq(uint64_t word)
{
    return (word & ~SEQ_MASK) | ((word + 1) & SEQ_MASK);
}

/* Whether so many workers have something to do that they meet (patience.h). */
static inline bool ts_crowded(struct ts_leader *l)
{
    return atomic_load_explicit(&l->nthreads, memory_order_relaxed)
           >= atomic_load_explicit(&l->nidle, memory_order_relaxed) + TS_PATIENCE_FROM;
}

/* --- leader.c, for the monitor ---------------------------------------------------- */

/* To be called once by whoever has just changed the generation. */
void ts_pass_on(struct ts_leader *l);

/* --- leader.c, for crew.c ----------------------------------------------------- */

/* Under mu. Ends the wait for a spare that ts_lead_wants_spare() ordered. */
void ts_has_come(struct ts_leader *l, struct ts_worker *w);

/* --- monitor.c, for the workers ----------------------------------------------------- */

/* A handler has begun, or has something to flush, and the monitor is asleep: ends
 * that, or starts its thread. */
void ts_monitor_wake(struct ts_leader *l);
/* Ends and joins it, if it was ever started. */
void ts_monitor_end(struct ts_leader *l);

#endif
