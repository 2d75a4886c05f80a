/* units: leader.c crew.c clock.c monitor.c patience.c predictor.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* The predictor: what makes a key, how fast it learns and forgets, what two routes
 * on one entry do to each other, and that threads may use it at once. The key's
 * inputs end at a guard page. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE
#endif
#include "leader.h"
#include "predictor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                                     \
    do {                                                                             \
        if (!(x)) {                                                                  \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);          \
            abort();                                                                 \
        }                                                                            \
    } while (0)

static char *guarded_end; /* the first octet that must not be read */

static void map_guard(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(two != MAP_FAILED && mprotect(two + page, page, PROT_NONE) == 0);
    guarded_end = two + page;
}

static uint32_t key(const char *method, const char *path)
{
    size_t n = strlen(path);
    memcpy(guarded_end - n, path, n);
    uint32_t k = ts_predict_key(method, strlen(method), guarded_end - n, n);
    n = strlen(method);
    memcpy(guarded_end - n, method, n);
    CHECK(k == ts_predict_key(guarded_end - n, n, path, strlen(path)));
    return k;
}

static void test_keys(void)
{
    uint32_t user = key("GET", "/user/17");
    CHECK(user == key("GET", "/user/4"));
    CHECK(user == key("GET", "/user/4?a=b"));
    CHECK(user == key("GET", "/user/4?"));
    CHECK(user != key("POST", "/user/4"));
    CHECK(user != key("GET", "/user/4/"));
    CHECK(user != key("GET", "/user/x"));
    CHECK(user != key("GET", "/user/"));
    CHECK(key("GET", "/1a2") == key("GET", "/33a44"));
    CHECK(key("GET", "/1a2") != key("GET", "/12"));
    CHECK(key("GET", "/fast1") != key("GET", "/slow1"));
    CHECK(key("GETX", "") != key("GET", "X"));
    CHECK(key("", "") == key("", "?x"));
    CHECK(key("GET", "/\xff\x80") != key("GET", "/\xff\x81")); /* octets, unsigned */
    uint32_t all = 0; /* the top bits are the tag: they must move */
    for (char c = 'a'; c <= 'z'; c++) {
        char path[] = {'/', c, 0};
        all |= key("GET", path) ^ key("GET", "/");
    }
    CHECK(all == UINT32_MAX);
}

static unsigned runs_until(struct ts_predictor *p, uint32_t k, unsigned hint, bool slow,
                           bool blocked)
{
    for (unsigned runs = 0; runs < 100; runs++) {
        if (ts_predict(p, k) == hint)
            return runs;
        ts_predict_learn(p, k, slow, blocked);
    }
    return 100;
}

static void test_learning(void)
{
    static struct ts_predictor p; /* zeroed is initialised */
    uint32_t k = key("GET", "/sleep");

    CHECK(ts_predict(&p, k) == TS_HINT_NONE);
    ts_predict_learn(&p, k, false, false);
    CHECK(ts_predict(&p, k) == TS_HINT_NONE);

    /* Blocks for long: the monitor tells, twice. */
    ts_predict_learn(&p, k, true, true);
    CHECK(ts_predict(&p, k) == TS_HINT_SUSPECT);
    ts_predict_learn(&p, k, true, true);
    CHECK(ts_predict(&p, k) == TS_HINT_BLOCKS);
    for (int i = 0; i < 100; i++)
        ts_predict_learn(&p, k, true, true);
    unsigned forgets = runs_until(&p, k, TS_HINT_SUSPECT, false, false);
    CHECK(forgets >= 4 && forgets <= 10);
    CHECK(runs_until(&p, k, TS_HINT_NONE, false, false) <= 10);

    /* Blocks for less than a tick: slow, then measured, then known. */
    ts_predict_init(&p);
    ts_predict_learn(&p, k, true, false);
    CHECK(ts_predict(&p, k) == TS_HINT_SUSPECT);
    ts_predict_learn(&p, k, true, true);
    CHECK(ts_predict(&p, k) == TS_HINT_BLOCKS);

    /* Slow without waiting: never handed over, and measured once in four runs. */
    ts_predict_init(&p);
    unsigned measured = 0;
    for (int i = 0; i < 400; i++) {
        ts_predict_learn(&p, k, true, false);
        unsigned hint = ts_predict(&p, k);
        CHECK(hint != TS_HINT_BLOCKS);
        measured += hint == TS_HINT_SUSPECT;
    }
    CHECK(measured == 100);
    for (int i = 0; i < 2; i++)
        ts_predict_learn(&p, k, false, false);
    CHECK(ts_predict(&p, k) == TS_HINT_NONE);
    CHECK(runs_until(&p, k, TS_HINT_SUSPECT, true, false) == 1); /* it has forgotten */

    /* It begins to wait: the next measurement finds it, or the monitor, in between. */
    for (int runs = 1; runs <= 4; runs++) {
        ts_predict_init(&p);
        for (int i = 0; i < runs; i++)
            ts_predict_learn(&p, k, true, false);
        ts_predict_learn(&p, k, true, true);
        CHECK(ts_predict(&p, k) == TS_HINT_BLOCKS);
    }

    /* One run in four blocks: it stays known. One in ten: it never gets there. */
    ts_predict_init(&p);
    for (int i = 0; i < 400; i++) {
        ts_predict_learn(&p, k, i % 4 == 0, i % 4 == 0);
        CHECK(i < 100 || ts_predict(&p, k) == TS_HINT_BLOCKS);
    }
    ts_predict_init(&p);
    for (int i = 0; i < 400; i++) {
        ts_predict_learn(&p, k, i % 10 == 0, i % 10 == 0);
        CHECK(ts_predict(&p, k) != TS_HINT_BLOCKS);
    }
}

static void test_sharing_an_entry(void)
{
    static struct ts_predictor p;
    uint32_t a = 0x10000123, b = 0x20000123, same = 0x1f000123; /* one index; tags 1, 2, 1 */

    for (int i = 0; i < 3; i++)
        ts_predict_learn(&p, a, true, true);
    CHECK(ts_predict(&p, a) == TS_HINT_BLOCKS && ts_predict(&p, b) == TS_HINT_NONE);
    CHECK(ts_predict(&p, same) == TS_HINT_BLOCKS); /* admitted: the tag has four bits */
    for (int i = 0; i < 100; i++)
        ts_predict_learn(&p, b, false, false);
    CHECK(ts_predict(&p, a) == TS_HINT_BLOCKS); /* a fast stranger changes nothing */

    /* One that blocks has it in the end, once the other has stopped coming. */
    CHECK(runs_until(&p, b, TS_HINT_BLOCKS, true, true) <= 12);
    CHECK(ts_predict(&p, a) == TS_HINT_NONE);
}

static struct ts_predictor shared;

static void *teach(void *arg)
{
    uint32_t k = *(uint32_t *)arg;
    for (int i = 0; i < 200000; i++) {
        if (ts_predict(&shared, k) > TS_HINT_BLOCKS)
            abort();
        ts_predict_learn(&shared, k, i & 1, i & 1);
    }
    return NULL;
}

static void test_threads(void)
{
    uint32_t k[4] = {0x10000001, 0x20000001, 0x10000001, 0x10000002};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, teach, &k[i]) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
    for (int i = 0; i < 3; i++)
        teach(&k[0]);
    CHECK(ts_predict(&shared, k[0]) == TS_HINT_BLOCKS);
}

static void measure(void)
{
    enum { RUNS = 1000000 };
    static struct ts_predictor p;
    const char *path = "/api/v1/users/12345?verbose=1";
    struct timespec a, b;
    unsigned sum = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < RUNS; i++) {
        uint32_t k = ts_predict_key("GET", 3, path, strlen(path));
        sum += ts_predict(&p, k);
        ts_predict_learn(&p, k, false, false);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
    printf("key + predict + learn, 29 octets: %.1f ns (%u)\n", ns / RUNS, sum);
}

int main(void)
{
    map_guard();
    test_keys();
    test_learning();
    test_sharing_an_entry();
    test_threads();
    measure();
    puts("ok");
    return 0;
}
