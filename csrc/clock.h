/* clock: the monotonic clock in nanoseconds, and waiting by it.
 *
 * A deadline is a point on that clock; UINT64_MAX is "never".
 *
 * Threads: any. */
#ifndef TS_CLOCK_H
#define TS_CLOCK_H

#include "ts.h"

#include <pthread.h>
#include <time.h>

uint64_t ts_monotonic_ns(void);
/* The same clock, read cheaply: a few ms behind at the most. For deadlines. */
uint64_t ts_monotonic_coarse_ns(void);
/* ns from now. */
uint64_t ts_deadline_in(uint64_t ns);
struct timespec ts_timespec(uint64_t ns);

/* A condition for ts_cond_wait_until(). 0 or an errno (positive). */
int ts_cond_init(pthread_cond_t *cond);
/* False once the deadline has passed; may wake early, as any condition. */
bool ts_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t deadline);

#endif
