/* clock: see clock.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* pthread_condattr_setclock */
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE /* pthread_cond_timedwait_relative_np */
#endif
#include "clock.h"

#include <errno.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t ts_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t ts_monotonic_coarse_ns(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    return read_clock(CLOCK_MONOTONIC_COARSE);
#else
    return read_clock(CLOCK_MONOTONIC);
#endif
}

uint64_t ts_deadline_in(uint64_t ns)
{
    uint64_t now = ts_monotonic_ns();
    return ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
}

struct timespec ts_timespec(uint64_t ns)
{
    struct timespec t;
    t.tv_sec = (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

int ts_cond_init(pthread_cond_t *cond)
{
#ifdef __APPLE__
    return pthread_cond_init(cond, NULL);
#else
    pthread_condattr_t attr;
    int err = pthread_condattr_init(&attr);
    if (err)
        return err;
    err = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (!err)
        err = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return err;
#endif
}

bool ts_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t deadline)
{
    if (deadline == UINT64_MAX) {
        pthread_cond_wait(cond, mu);
        return true;
    }
#ifdef __APPLE__
    uint64_t now = ts_monotonic_ns();
    if (now >= deadline)
        return false;
    struct timespec t = ts_timespec(deadline - now);
    return pthread_cond_timedwait_relative_np(cond, mu, &t) != ETIMEDOUT;
#else
    struct timespec t = ts_timespec(deadline);
    return pthread_cond_timedwait(cond, mu, &t) != ETIMEDOUT;
#endif
}
