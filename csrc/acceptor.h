/* acceptor: the listening socket in the poller, and what to do when there is
 * no room for one more descriptor.
 *
 * The listener is the program's. From ts_acceptor_unlisten() on it may be made
 * blocking, closed, or its number used for another file, so whatever the leader
 * does with it (accept, silence it, hear it again) it does under the lock.
 *
 * Threads: listen and unlisten any; the others, and the fields under "leader",
 * are the leader's.
 *
 * What may not live here: what becomes of an accepted connection.
 */
#ifndef TS_ACCEPTOR_H
#define TS_ACCEPTOR_H

#include "poller.h"
#include "sock.h"
#include "ts.h"

#include <pthread.h>
#include <stdatomic.h>

/* The listener's key; no connection has it (slots.h: so many there are not). */
#define TS_KEY_LISTENER (UINT64_MAX - 1)

/* After -EMFILE and its like: how long until the next accept. */
#define TS_ACCEPT_PAUSE_NS 100000000ull

/* Connections taken before those that are open have their turn again. */
#define TS_ACCEPT_BATCH 64u

struct ts_acceptor {
    pthread_mutex_t lock;
    _Atomic int fd; /* -1: not accepting. Changes under the lock. */
    bool early;     /* under the lock: some may be waiting since before listen() */

    /* leader */
    uint32_t left; /* of the present batch; 0: the poller has to say so first */
    bool paused;
    uint64_t resume_at; /* if paused */
};

/* In zeroed memory. 0 or -errno. */
int ts_acceptor_init(struct ts_acceptor *a);
void ts_acceptor_free(struct ts_acceptor *a);

/* Starts with a listener, which is O_NONBLOCK. Connections have its TCP_NODELAY,
 * which is on; those that are older than that get it. 0 or -errno. */
int ts_acceptor_listen(struct ts_acceptor *a, struct ts_poller *p, int fd);
/* Ends it. When this returns nobody uses the listener any more. */
void ts_acceptor_unlisten(struct ts_acceptor *a, struct ts_poller *p);

/* The poller has named TS_KEY_LISTENER. */
static inline void ts_acceptor_ready(struct ts_acceptor *a)
{
    a->left = TS_ACCEPT_BATCH;
}

/* The next connection of the batch, and its peer. -EAGAIN: the batch has ended.
 * Another -errno: so it has, for want of room most likely: pause. */
int ts_acceptor_accept(struct ts_acceptor *a, struct ts_addr *peer);

/* There is no room at `now` (monotonic ns): the listener is silent until
 * resume_at, and then until resume() is called. */
void ts_acceptor_pause(struct ts_acceptor *a, struct ts_poller *p, uint64_t now);
void ts_acceptor_resume(struct ts_acceptor *a, struct ts_poller *p);

#endif
