/* Patience: a thread that wakes up does not push another off its processor.
 *
 * A handler that waited for something wakes up while another thread holds the
 * GIL, more often than not. The kernel likes to run it at once, in the other's
 * place, only for it to find the GIL taken and go back to sleep: four switches
 * and six futex calls for a request that sleeps, where one switch is needed, and
 * with many threads a convoy behind the mutex within the GIL. Under SCHED_BATCH
 * it waits until the other one waits.
 *
 * Only threads inside a handler that is known to wait are patient, and only
 * while TS_PATIENCE_FROM of them are under way. A leader in the poller never is:
 * beside other programs that keep the processor busy, a request must be noticed
 * at once. What a patient thread starts is patient, too.
 *
 * What may not live here: who is to be patient when (leader.c). */
#ifndef TS_PATIENCE_H
#define TS_PATIENCE_H

#include "ts.h"

/* Fewer threads than this do not get into each other's way. */
#define TS_PATIENCE_FROM 4

/* A thread's own; all zeros to begin with. */
struct ts_patience {
    bool asked;  /* whether it may be changed at all is known */
    bool fixed;  /* it may not: another policy, or the kernel said no */
    bool on;
};

/* By the thread itself. Without effect on a thread that runs under any other
 * policy than the usual one, and where the system has nothing of the kind. A
 * system call if, and only if, something changes. */
void ts_patience_set(struct ts_patience *p, bool on);

#endif
