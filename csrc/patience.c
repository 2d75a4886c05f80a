/* See patience.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* SCHED_BATCH, syscall */
#endif
#include "patience.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's own calls, for one thread: musl's functions only say ENOSYS. */
static bool set_policy(int policy)
{
    struct sched_param param = {0};
    return syscall(SYS_sched_setscheduler, 0, policy, &param) == 0;
}

void ts_patience_set(struct ts_patience *p, bool on)
{
    if (TS_LIKELY(p->on == on) || p->fixed)
        return;
    if (!p->asked) {
        p->asked = true;
        p->fixed = syscall(SYS_sched_getscheduler, 0) != SCHED_OTHER;
    }
    if (!p->fixed)
        p->fixed = !set_policy(on ? SCHED_BATCH : SCHED_OTHER);
    p->on = on && !p->fixed;
}
#else
void ts_patience_set(struct ts_patience *p, bool on)
{
    (void)p;
    (void)on;
}
#endif
