/* gate: see gate.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#include "gate.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool take_pass(struct ts_gate *g)
{
    uint32_t n = atomic_load_explicit(&g->passes, memory_order_relaxed);
    while (n > 0)
        if (atomic_compare_exchange_weak_explicit(&g->passes, &n, n - 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* Each leave that finds somebody waiting gives one pass, and each who had to wait
 * takes one: none is lost, whoever is first. */
void ts_gate_enter(struct ts_gate *g)
{
    if (TS_LIKELY(atomic_fetch_add_explicit(&g->within, 1, memory_order_acquire) == 0))
        return;
    while (!take_pass(g))
        syscall(SYS_futex, &g->passes, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

void ts_gate_leave(struct ts_gate *g)
{
    if (TS_LIKELY(atomic_fetch_sub_explicit(&g->within, 1, memory_order_release) == 1))
        return;
    atomic_fetch_add_explicit(&g->passes, 1, memory_order_release);
    syscall(SYS_futex, &g->passes, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#else

void ts_gate_enter(struct ts_gate *g)
{
    (void)g;
}

void ts_gate_leave(struct ts_gate *g)
{
    (void)g;
}

#endif
