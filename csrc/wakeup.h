/* wakeup: one thread waits, others post.
 *
 * A post that comes before the wait is not lost, and several count as one. On
 * Linux it is a futex of its own: with a condition variable each wait ends in a
 * mutex that is marked as contended, and so in a system call more. Elsewhere it
 * is that condition variable.
 *
 * Threads: one waits at a time; any posts, also one that holds a lock. What
 * happened before a post is seen by the thread whose wait it ends. */
#ifndef TS_WAKEUP_H
#define TS_WAKEUP_H

#include "ts.h"

#include <stdatomic.h>
#if !defined(__linux__)
#include <pthread.h>
#endif

struct ts_wakeup {
    _Atomic uint32_t posted;
#if !defined(__linux__)
    pthread_mutex_t mu;
    pthread_cond_t cond;
#endif
};

/* 0 or an errno (positive, as pthread's). */
int ts_wakeup_init(struct ts_wakeup *w);
void ts_wakeup_destroy(struct ts_wakeup *w);

void ts_wakeup_post(struct ts_wakeup *w);

/* True after a post, false once the deadline has passed: CLOCK_MONOTONIC in ns,
 * UINT64_MAX for never. Not with the GIL. */
bool ts_wakeup_wait(struct ts_wakeup *w, uint64_t deadline);

#endif
