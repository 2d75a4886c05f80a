/* units: patience.c; sanitizers: address,undefined */
/* The policy of the calling thread follows, and nobody else's policy is touched. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* SCHED_BATCH, SCHED_IDLE */
#endif
#include "check.h"
#include "patience.h"

#include <sched.h>

#if defined(__linux__)
static void test_on_and_off(void)
{
    struct ts_patience p = {0};

    CHECK(sched_getscheduler(0) == SCHED_OTHER);
    ts_patience_set(&p, false);
    CHECK(!p.asked); /* nothing to change: nothing asked */
    for (int i = 0; i < 2; i++) {
        ts_patience_set(&p, true);
        CHECK(p.on && sched_getscheduler(0) == SCHED_BATCH);
        ts_patience_set(&p, true);
        CHECK(p.on && sched_getscheduler(0) == SCHED_BATCH);
        ts_patience_set(&p, false);
        CHECK(!p.on && sched_getscheduler(0) == SCHED_OTHER);
    }
}

/* The program's own choice of a policy stands. */
static void test_another_policy_is_left_alone(void)
{
    struct ts_patience p = {0};
    struct sched_param param = {0};

    CHECK(sched_setscheduler(0, SCHED_IDLE, &param) == 0);
    ts_patience_set(&p, true);
    CHECK(!p.on && p.fixed && sched_getscheduler(0) == SCHED_IDLE);
    ts_patience_set(&p, false);
    CHECK(sched_getscheduler(0) == SCHED_IDLE);
}
#endif

int main(void)
{
#if defined(__linux__) /* elsewhere there is nothing of the kind */
    test_on_and_off();
    test_another_policy_is_left_alone();
#endif
    return 0;
}
