/* wakeup: see wakeup.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE /* pthread_cond_timedwait_relative_np */
#endif
#include "wakeup.h"

#include <errno.h>
#include <time.h>

static bool take_post(struct ts_wakeup *w)
{
    return atomic_exchange_explicit(&w->posted, 0, memory_order_acquire) != 0;
}

static struct timespec to_timespec(uint64_t ns)
{
    struct timespec t;
    t.tv_sec = (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
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
    struct timespec until = to_timespec(deadline);
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
    pthread_condattr_t attr;
    err = pthread_condattr_init(&attr);
    if (!err) {
#ifndef __APPLE__
        err = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        if (!err)
#endif
            err = pthread_cond_init(&w->cond, &attr);
        pthread_condattr_destroy(&attr);
    }
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

/* Under mu. False: the deadline has passed. */
static bool wait_once(struct ts_wakeup *w, uint64_t deadline)
{
    if (deadline == UINT64_MAX)
        return pthread_cond_wait(&w->cond, &w->mu) == 0;
#ifdef __APPLE__
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (ns >= deadline)
        return false;
    struct timespec left = to_timespec(deadline - ns);
    return pthread_cond_timedwait_relative_np(&w->cond, &w->mu, &left) != ETIMEDOUT;
#else
    struct timespec until = to_timespec(deadline);
    return pthread_cond_timedwait(&w->cond, &w->mu, &until) != ETIMEDOUT;
#endif
}

bool ts_wakeup_wait(struct ts_wakeup *w, uint64_t deadline)
{
    bool posted;
    pthread_mutex_lock(&w->mu);
    while (!(posted = take_post(w)) && wait_once(w, deadline)) {
    }
    posted = posted || take_post(w);
    pthread_mutex_unlock(&w->mu);
    return posted;
}

#endif
