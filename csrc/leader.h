/* Leader and followers, promoted late: which thread may wait in the poller.
 *
 * One worker leads: it polls, reads, parses and runs the handler itself. A
 * monitor thread of our own (it never takes the GIL) looks every tick whether
 * the leader is still inside the same handler; if so it takes the lead away by
 * one compare-and-swap and wakes an idle follower. The old leader finds out at
 * ts_handler_exit(). A handler that is predicted to block is run after the lead
 * has been handed over. Nobody idle: the lead is vacant, and whoever asks next
 * has it.
 *
 * The lead word is (generation, sequence). The generation changes each time the
 * lead is lost, and a worker keeps the one under which it was given the lead:
 * that is why a worker that lost the lead can never use it or give it away
 * later. The sequence moves at each enter and exit; odd is "inside a handler".
 * model/leader.pml is the proof; leader.c says which line stands for which.
 *
 * What leadership guards (poller, connection table, ready list) needs no lock:
 * each hand-over is a release/acquire pair. But from ts_handler_enter() on the
 * lead may go at any moment, so whatever the next leader needs must be in order
 * *before* enter, and nothing that leadership guards may be touched again until
 * exit has said `leads`.
 *
 * What may not live here: connections, sockets, Python. A connection is an
 * opaque pointer that is handed back to `flush`. */
#ifndef TS_LEADER_H
#define TS_LEADER_H

#include "ts.h"

struct ts_leader; /* one a reactor: a lead word, the workers, the monitor */
struct ts_worker; /* one a thread; belongs to the thread that joined */

/* A tick: a handler is taken for blocking when two ticks saw it (0.5 to 1 ms). */
#define TS_TICK_NS 500000u
/* A handler that took longer is `slow`, and worth two getrusage() next time. */
#define TS_SLOW_NS 50000u

struct ts_leader_config {
    unsigned max_threads; /* >= 1. 1: the lead never moves, hints are ignored */
    uint32_t tick_ns;     /* 0: TS_TICK_NS */
    /* Sends what the handler on `conn` has written so far. Called by the monitor
     * with that worker held inside its handler (exit waits for it), so `conn`
     * lives. Must not block, must not take the GIL, must not call anything of
     * this header; it has its own lock against the handler's writes. Returns
     * true if something is left unsent (the socket is full): it is called again,
     * ever more rarely. NULL: no flushing by time. */
    bool (*flush)(void *conn, void *ctx);
    void *ctx; /* for flush */
};

/* 0, or -EINVAL, -ENOMEM, -errno. Starts no thread: the monitor starts with the
 * first handler, and only if there is anything for it (max_threads > 1, or
 * flush). */
int ts_leader_new(struct ts_leader **out, const struct ts_leader_config *config);
/* After every worker has left. Joins the monitor, so call it without the GIL if
 * flush could be running something long. NULL is allowed. */
void ts_leader_free(struct ts_leader *l);

/* --- a worker's life: each call by the thread itself, GIL held or not -------- */

/* NULL with errno EAGAIN (max_threads have joined) or ESHUTDOWN (stopping). */
struct ts_worker *ts_worker_join(struct ts_leader *l);
/* Not inside a handler. Releases the lead first if the worker has it. */
void ts_worker_leave(struct ts_leader *l, struct ts_worker *w);

enum ts_lead {
    TS_LEAD,       /* the caller leads now */
    TS_LEAD_STOP,  /* ts_leader_stop() was called; the caller does not lead */
    TS_LEAD_RETIRE /* idle for idle_ns, and another follower is idle too: leave */
};
/* Blocks until one of the above: call it without the GIL. idle_ns 0: never
 * retires. A worker that leads already gets TS_LEAD back at once (or steps down
 * and gets TS_LEAD_STOP). */
enum ts_lead ts_lead_wait(struct ts_leader *l, struct ts_worker *w, uint64_t idle_ns);

/* The same without waiting, and so with or without the GIL: whether the caller
 * leads now. False when stopping; ts_lead_wait() says why. */
bool ts_lead_try(struct ts_leader *l, struct ts_worker *w);

/* Whether w leads at this moment. Outside a handler this is stable: only the
 * worker itself can lose it there. */
bool ts_leads(const struct ts_worker *w);

/* The leader is going to wait in the poller, where it must not be patient
 * (patience.h). */
void ts_lead_polls(struct ts_worker *w);

/* The leader steps down by its own will, outside a handler; a follower is woken
 * or the lead is vacant. Without effect on a worker that does not lead. */
void ts_lead_release(struct ts_leader *l, struct ts_worker *w);

/* True if a follower should be started: none is idle, none is on its way,
 * threads < max_threads, not stopping. True is an order: it is given once, and
 * not again until the new thread has come to ts_lead_wait() (or left, or
 * ts_lead_spare_failed() was called because it could not be started).
 * The leader asks before *each* handler (three relaxed loads): once it is inside
 * and blocked, no thread may be left that could ask. */
bool ts_lead_wants_spare(struct ts_leader *l);
void ts_lead_spare_failed(struct ts_leader *l);

/* --- around each handler: by the worker, GIL held or not; no system call ------ */

/* Hints to ts_handler_enter(), as ts_predict() gives them. */
enum {
    TS_HINT_NONE = 0,
    TS_HINT_SUSPECT = 1, /* was slow lately: measure whether it waits */
    TS_HINT_BLOCKS = 2   /* hand the lead over first, and measure */
};
/* A handler for `conn` is about to run, by the leader or by any other worker.
 * With TS_HINT_BLOCKS a leader has lost the lead when this returns. The time
 * starts at the worker's last timestamp (ts_worker_now, ts_handler_exit,
 * ts_lead_wait), so that a request costs one look at the clock. */
void ts_handler_enter(struct ts_leader *l, struct ts_worker *w, void *conn, unsigned hint);

struct ts_handler_exit {
    bool leads;   /* still leads: go on. Otherwise: park conn, ts_lead_wait() */
    bool slow;    /* took TS_SLOW_NS or longer */
    bool blocked; /* lost the lead to the monitor, or took two ticks, or (with a
                   * hint) was slow and gave up the processor while it ran */
};
/* The handler has returned (or raised). Waits out a flush of this connection
 * that is under way, so afterwards nobody but the caller knows `conn`. */
struct ts_handler_exit ts_handler_exit(struct ts_leader *l, struct ts_worker *w);

/* The handler has put octets into an empty output buffer: the monitor shall
 * flush them should the handler still be running a tick later. By any thread
 * while w is inside the handler, after the octets were added under the lock that
 * flush takes (holding it or not). Until the monitor has seen this handler once
 * this is one load, for then it will come by anyway. */
void ts_handler_dirty(struct ts_leader *l, struct ts_worker *w);

/* Reads CLOCK_MONOTONIC (ns) and keeps it: call after a poll, before enter. */
uint64_t ts_worker_now(struct ts_worker *w);

/* --- the server's side: any thread -------------------------------------------- */

/* Every follower that waits returns TS_LEAD_STOP, now and later; nobody can join.
 * A leader keeps its lead until it releases it: wake it through its poller. */
void ts_leader_stop(struct ts_leader *l);
unsigned ts_leader_threads(struct ts_leader *l); /* workers joined */
unsigned ts_leader_busy(struct ts_leader *l);    /* workers inside handlers */
/* Waits until no worker is inside a handler: true; false after timeout_ns (0:
 * only looks; UINT64_MAX: for ever). Not from inside a handler, not with the
 * GIL. Whether new handlers begin meanwhile is the caller's to prevent. */
bool ts_leader_wait_idle(struct ts_leader *l, uint64_t timeout_ns);

/* In the child after fork(), before anything else of this header: makes l inert.
 * No lock is touched and no thread joined from then on: nobody leads, wait gives
 * TS_LEAD_STOP, join NULL, enter and exit do nothing, free only frees memory.
 * (A flush may have been under way in the parent: conn's own lock may be held
 * in the child for ever; that is for the owner of conn to reset.) */
void ts_leader_forked(struct ts_leader *l);

#endif
