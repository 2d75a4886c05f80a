/* wakeup: see wakeup.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#include "wakeup.h"

#include "clock.h"

#include <errno.h>

static bool take_post(struct ts_wakeup *w)
{
    return atomic_exchange_explicit(&w->posted, 0, memory_order_acquire) != 0;
}

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int ts_wakeup_init(struct ts_wakeup *w)
{
    atomic_init(&w->posted, 0);
    return 0;
}

void ts_wakeup_destroy(struct ts_wakeup *w)
{
    (void)w;
}

void ts_wakeup_post(struct ts_wakeup *w)
{
    if (atomic_exchange_explicit(&w->posted, 1, memory_order_release) == 0)
        syscall(SYS_futex, &w->posted, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool ts_wakeup_wait(struct ts_wakeup *w, uint64_t deadline)
{
    struct timespec until = ts_timespec(deadline);
    while (!take_post(w)) {
        /* WAIT_BITSET takes a point in time, on the monotonic clock. */
        long failed = syscall(SYS_futex, &w->posted, FUTEX_WAIT_BITSET_PRIVATE, 0,
                              deadline == UINT64_MAX ? NULL : &until, NULL,
                              FUTEX_BITSET_MATCH_ANY);
        if (failed && errno == ETIMEDOUT)
            return take_post(w);
    }
    return true;
}

#else

int ts_wakeup_init(struct ts_wakeup *w)
{
    atomic_init(&w->posted, 0);
    int err = pthread_mutex_init(&w->mu, NULL);
    if (err)
        return err;
    err = ts_cond_init(&w->cond);
    if (err)
        pthread_mutex_destroy(&w->mu);
    return err;
}

void ts_wakeup_destroy(struct ts_wakeup *w)
{
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->mu);
}

void ts_wakeup_post(struct ts_wakeup *w)
{
    pthread_mutex_lock(&w->mu);
    atomic_store_explicit(&w->posted, 1, memory_order_release);
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mu);
}

bool ts_wakeup_wait(struct ts_wakeup *w, uint64_t deadline)
{
    bool posted;
    pthread_mutex_lock(&w->mu);
    while (!(posted = take_post(w)) && ts_cond_wait_until(&w->cond, &w->mu, deadline)) {
    }
    posted = posted || take_post(w);
    pthread_mutex_unlock(&w->mu);
    return posted;
}

#endif
