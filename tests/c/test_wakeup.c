/* units: wakeup.c clock.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* No post is lost, several count as one, deadlines end a wait, and what came
 * before a post is seen after the wait (ThreadSanitizer). */
#include "check.h"
#include "wakeup.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

static uint64_t in_ms(uint64_t ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + ms * 1000000u;
}

static void test_posted_before_and_twice(void)
{
    struct ts_wakeup w;

    CHECK(ts_wakeup_init(&w) == 0);
    ts_wakeup_post(&w);
    ts_wakeup_post(&w);
    CHECK(ts_wakeup_wait(&w, UINT64_MAX));
    CHECK(!ts_wakeup_wait(&w, in_ms(1))); /* the two were one */
    CHECK(!ts_wakeup_wait(&w, 0));        /* past already */
    ts_wakeup_post(&w);
    CHECK(ts_wakeup_wait(&w, 0)); /* a post counts, however late it is looked at */
    ts_wakeup_destroy(&w);
}

enum { TURNS = 20000 };

struct pair {
    struct ts_wakeup there, back;
    int value; /* whose turn it is writes it */
};

static void *answer(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < TURNS; i++) {
        CHECK(ts_wakeup_wait(&p->there, i % 2 ? UINT64_MAX : in_ms(60000)));
        CHECK(p->value == 2 * i);
        p->value++;
        ts_wakeup_post(&p->back);
    }
    return NULL;
}

static void test_in_turns(void)
{
    struct pair p = {.value = -1};
    pthread_t thread;

    CHECK(ts_wakeup_init(&p.there) == 0 && ts_wakeup_init(&p.back) == 0);
    CHECK(pthread_create(&thread, NULL, answer, &p) == 0);
    for (int i = 0; i < TURNS; i++) {
        p.value = 2 * i;
        ts_wakeup_post(&p.there);
        CHECK(ts_wakeup_wait(&p.back, UINT64_MAX));
        CHECK(p.value == 2 * i + 1);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    ts_wakeup_destroy(&p.there);
    ts_wakeup_destroy(&p.back);
}

int main(void)
{
    test_posted_before_and_twice();
    test_in_turns();
    return 0;
}
