/* reactor: the event loop's stages up to the handler, and after it.
 *
 *     accept -> read -> scan  =>  a task for Python  =>  flush -> park
 *
 * One struct ts_reactor a server. ts_reactor_next() is the leader's: it takes
 * ready connections one by one, goes with each as far as it can without Python,
 * and returns when one needs Python. ts_reactor_done() is the owner's of that
 * connection, leader or not: it takes it from the end of the handler to the
 * next request that is already there, or parks it.
 *
 * Threads: fields under "leader" change hands with the leadership (leader.h
 * orders the accesses). The listener and the table of connections have their
 * own locks (acceptor.h, slots.h). The rest is constant or atomic. Every thread
 * brings its own struct ts_turn: the spare buffers that make idle connections
 * cost nothing.
 *
 * What may not live here: Python, who leads, what an answer looks like.
 */
#ifndef TS_REACTOR_H
#define TS_REACTOR_H

#include "acceptor.h"
#include "census.h"
#include "clock.h"
#include "conn.h"
#include "poller.h"
#include "rules.h"
#include "slots.h"
#include "ts.h"

enum ts_task {
    TS_TASK_NONE,        /* nothing for Python (next: would have to wait) */
    TS_TASK_WOKEN,       /* the wait ended by wake-up or time: look around */
    TS_TASK_INTERRUPTED, /* a signal: look at it */
    TS_TASK_OPENED,      /* a new connection, to be verified (if asked for) */
    TS_TASK_HANDSHAKE,   /* there is news for the TLS handshake */
    TS_TASK_REQUEST,     /* a plain request, small body included, is there */
    TS_TASK_GENERAL,     /* not plain, or refused: the handler's parse_request()
                            can decide without waiting */
    TS_TASK_TIMEOUT,     /* nothing came for the handler's own time-out */
    TS_TASK_SLOW,        /* the head took too long */
    TS_TASK_BROKEN,      /* the answer could not be sent (out.error), and the
                            handler has not heard of it */
    TS_TASK_GONE         /* over: tidy up, then ts_reactor_close() */
};

/* A body up to this length is awaited before the handler runs: most forms and
 * API calls, at a bounded cost in memory a connection. A larger one streams. */
#define TS_SMALL_BODY 65536

/* How long the peer has to read an answer that ends its connection. */
#define TS_LINGER_NS 2000000000ull

#define TS_READY_MAX 256

/* Deadlines that have passed, in a row, before ready connections have a turn. */
#define TS_SWEEP_ROW 16

struct ts_turn {
    char *spare_in; /* TS_IN_FIRST-class buffer, spare_cap octets, or NULL */
    uint32_t spare_cap;
    struct ts_request *spare_req;
};

struct ts_reactor {
    struct ts_poller *poller;
    uint64_t timeout_ns;  /* what a new connection's timeout_ns is */
    uint32_t max_open;    /* connections; 0: any number */
    uint32_t max_per_address; /* ... of one peer; 0: any number */
    bool announce;        /* TASK_OPENED for every new connection */
    const struct ts_tls *tls; /* what every new connection has; NULL: no TLS */
    uint64_t handshake_ns; /* ... for all of its handshake; 0: no deadline */

    /* leader */
    struct ts_event ready[TS_READY_MAX];
    int n_ready;
    int next_ready;
    uint64_t next_sweep;
    uint64_t sweep_due; /* the first deadline that the present sweep has left */
    uint32_t sweep_at; /* slot the present sweep goes on with; 0: none */
    bool clock_is_next; /* a wait has ended, and deadlines have not been looked at */

    /* shared */
    _Atomic(const struct ts_rules *) rules; /* the present ones */
    struct ts_known_rules *known_rules; /* all that have been; the GIL's */
    struct ts_acceptor acceptor;
    struct ts_slots slots;
    struct ts_census census;
    _Atomic bool stopping;
    _Atomic bool draining; /* what is answered now is the last of its connection */
    _Atomic bool pressed;  /* threads are scarce: who sends a body that has to stream
                              is to show that it sends, before a handler waits for it */
    _Atomic bool ending;   /* ... and connections without a request end at once */
    _Atomic bool woken; /* ts_reactor_wake() was called and not told yet */
    _Atomic bool shared; /* a fork has given the descriptors to another process */
    _Atomic uint64_t due; /* when deadlines are to be looked at: none of a parked
                             connection is before, but for a second where a sweep
                             found it owned. UINT64_MAX: there is none */
    _Atomic uint32_t n_open;
};

/* backend: as ts_poller_open. 0 or -errno. */
int ts_reactor_new(struct ts_reactor **out, const char *backend);
/* No thread inside, every connection closed. NULL is allowed. */
void ts_reactor_free(struct ts_reactor *r);

void ts_turn_free(struct ts_turn *turn);

/* Starts and ends accepting from a non-blocking listener. Any thread. */
int ts_reactor_listen(struct ts_reactor *r, int fd);
void ts_reactor_unlisten(struct ts_reactor *r);

/* Leader only. block: may wait, for wait_ns at most (-1: no bound); then it may
 * be called without the GIL. *out is owned by the caller for every task that
 * names a connection. */
enum ts_task ts_reactor_next(struct ts_reactor *r, struct ts_turn *turn,
                             bool block, int64_t wait_ns, struct ts_conn **out);

/* Owner: goes on with a connection that was just opened or handled elsewhere,
 * up to its next task, or parks it (NONE: do not touch it any more). */
enum ts_task ts_reactor_go_on(struct ts_reactor *r, struct ts_turn *turn,
                              struct ts_conn *c);

/* Owner, after the handler. keep: the connection stays open. The answer leaves,
 * unless the next request is here already and the two answers can share a
 * packet. As ts_reactor_go_on. */
enum ts_task ts_reactor_done(struct ts_reactor *r, struct ts_turn *turn,
                             struct ts_conn *c, bool keep);

/* Owner, in HANDSHAKE: it is done. What goes on is ts_reactor_go_on(). */
void ts_reactor_shaken(struct ts_conn *c);

/* The rules from now on; a copy is made. One caller at a time. 0 or -ENOMEM. */
int ts_reactor_set_rules(struct ts_reactor *r, const struct ts_rules *rules);

static inline const struct ts_rules *ts_reactor_rules(struct ts_reactor *r)
{
    return atomic_load_explicit(&r->rules, memory_order_acquire);
}

/* Owner, the rules having changed since the scan: scans again, and looks again at
 * what there is of the body. */
enum ts_task ts_reactor_rescan(struct ts_reactor *r, struct ts_conn *c);

/* Owner, in the handler: it is about to wait for more of the body (write: for the
 * peer to take more of the answer). When that has to have come to something,
 * monotonic ns; UINT64_MAX: never. */
uint64_t ts_reactor_wait_begins(struct ts_reactor *r, struct ts_conn *c, bool write);
/* The wait has ended. write: true if the peer has taken something meanwhile. */
bool ts_reactor_wait_ended(struct ts_conn *c, bool write);

/* Owner, everything tidied: closes (after a short drain if c->linger), or, if
 * c->lent, leaves the fd to whom it was lent. */
void ts_reactor_close(struct ts_reactor *r, struct ts_turn *turn,
                      struct ts_conn *c);

/* The descriptor is about to be closed by somebody else (c->lent). Owner. */
void ts_reactor_forget(struct ts_reactor *r, struct ts_conn *c);

/* Owner, the connection being lent and about to be closed: a second descriptor of its
 * socket if it is to linger, -1 if not (or if there is none to be had). */
int ts_reactor_second(struct ts_reactor *r, struct ts_conn *c);
/* The first one has been closed: it is the engine's again, with the second. */
void ts_reactor_take_back(struct ts_conn *c, int fd);

/* For ts_leader_config.flush: sends what the handler on a ts_conn has gathered.
 * True: something is left, the kernel is full. */
bool ts_reactor_flush(void *conn, void *ctx);

/* Around fork(). Before: what any handler has gathered leaves, so that the child
 * has no copy to send. In the child: locks that other threads held are open. */
void ts_reactor_before_fork(struct ts_reactor *r);
void ts_reactor_forked(struct ts_reactor *r);

/* Makes a leader that waits come back (WOKEN). Any thread. */
void ts_reactor_wake(struct ts_reactor *r);
/* No more waiting, no more keeping: every connection closes when its handler
 * ends; the parked ones are for ts_reactor_reap. Any thread. */
void ts_reactor_stop(struct ts_reactor *r);

/* Draining: for who writes answers. Ending: a connection that comes to wait for a
 * request, with nothing of one here, ends; ts_reactor_reap_idle() for those that
 * wait already. Any thread. */
static inline void ts_reactor_drain(struct ts_reactor *r, bool draining, bool ending)
{
    atomic_store(&r->draining, draining);
    atomic_store(&r->ending, ending);
}

/* Shuts the socket of every connection that is open and ours, both ways, whoever has
 * it: reads and writes on it fail. After a stop; the caller knows that none is closed
 * now. */
void ts_reactor_shut(struct ts_reactor *r);

/* Every parked connection that waits for a request, one a call: owned by the
 * caller, who goes on with it; NULL when there is none left. *at starts as 0. */
struct ts_conn *ts_reactor_reap_idle(struct ts_reactor *r, uint32_t *at);

/* Every parked connection whose answer the kernel has not taken whole, one a call
 * (or one that has news and is not parked any more): owned by the caller, who goes
 * on with it; NULL when there is none left. *at starts as 0. */
struct ts_conn *ts_reactor_reap_unsent(struct ts_reactor *r, uint32_t *at);

/* Every parked connection, one a call, for the end of the server: owned by the
 * caller; NULL when there is none left. *at starts as 0. */
struct ts_conn *ts_reactor_reap(struct ts_reactor *r, uint32_t *at);

#endif
