/* units: gate.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* At most one thread is between enter and leave, each gets there, and none waits
 * for ever. What they share is unguarded, so that ThreadSanitizer proves it. */
#include "check.h"
#include "gate.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 16, TIMES = 2000 };

static struct ts_gate gate;
static unsigned count; /* only within */

static void *pass(void *arg)
{
    unsigned *own = arg;
    for (int i = 0; i < TIMES; i++) {
        ts_gate_enter(&gate);
        count++;
        if (i % 64 == 0)
            sched_yield(); /* the others queue */
        (*own)++;
        ts_gate_leave(&gate);
    }
    return NULL;
}

static void test_one_at_a_time(void)
{
    pthread_t threads[THREADS];
    unsigned own[THREADS] = {0};

    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, pass, &own[i]) == 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(own[i] == TIMES);
    }
    CHECK(count == THREADS * TIMES);
    CHECK(gate.within == 0 && gate.passes == 0);
}

static void test_alone(void)
{
    struct ts_gate g = {0};

    for (int i = 0; i < 3; i++) {
        ts_gate_enter(&g);
        CHECK(g.within == 1);
        ts_gate_leave(&g);
        CHECK(g.within == 0 && g.passes == 0);
    }
}

int main(void)
{
#if defined(__linux__) /* elsewhere it lets everybody in */
    test_alone();
    test_one_at_a_time();
#endif
    return 0;
}
