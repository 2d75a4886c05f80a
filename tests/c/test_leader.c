/* units: leader.c crew.c clock.c monitor.c patience.c predictor.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* Each rule of leader.h once, then stress: workers that come and go share plain,
 * unguarded memory that only the leader touches, so that ThreadSanitizer proves
 * the exclusion and the hand-over's memory order, and connections that are freed
 * right after exit, so that AddressSanitizer proves that no flush outlives it.
 * Prints the cost of enter + exit. Takes a few seconds; a hang is an abort. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE
#endif
#include "leader.h"
#include "predictor.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                                     \
    do {                                                                             \
        if (!(x)) {                                                                  \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);          \
            abort();                                                                 \
        }                                                                            \
    } while (0)

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SEC UINT64_C(1000000000)
#define WATCHDOG_SECONDS 120

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / SEC), (long)(ns % SEC)};
    while (nanosleep(&t, &t) && errno == EINTR) {
    }
}

static void spin_ns(uint64_t ns)
{
    for (uint64_t end = now_ns() + ns; now_ns() < end;) {
    }
}

static struct ts_leader *make(unsigned max_threads, uint32_t tick_ns,
                              bool (*flush)(void *, void *), void *ctx)
{
    struct ts_leader_config config = {max_threads, tick_ns, flush, ctx};
    struct ts_leader *l = NULL;
    CHECK(ts_leader_new(&l, &config) == 0 && l);
    return l;
}

static pthread_t start(void *(*main)(void *), void *arg)
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, main, arg) == 0);
    return t;
}

/* --- a second worker under the test's command ----------------------------------- */

struct follower {
    struct ts_leader *l;
    uint64_t idle_ns;
    _Atomic int result;   /* enum ts_lead, or -1 while it waits */
    _Atomic bool go_on;   /* then it leaves */
    _Atomic bool waiting;
};

static void *follower_main(void *arg)
{
    struct follower *f = arg;
    struct ts_worker *w = ts_worker_join(f->l);
    CHECK(w);
    f->waiting = true;
    enum ts_lead result = ts_lead_wait(f->l, w, f->idle_ns);
    CHECK(ts_leads(w) == (result == TS_LEAD));
    f->result = (int)result;
    while (!f->go_on)
        sleep_ns(100 * US);
    ts_worker_leave(f->l, w);
    return NULL;
}

static pthread_t follow(struct follower *f, struct ts_leader *l, uint64_t idle_ns)
{
    f->l = l;
    f->idle_ns = idle_ns;
    f->result = -1;
    f->go_on = f->waiting = false;
    pthread_t t = start(follower_main, f);
    while (!f->waiting)
        sleep_ns(100 * US);
    sleep_ns(5 * MS); /* and now it is in ts_lead_wait(), as good as certainly */
    return t;
}

static int result_within(struct follower *f, uint64_t ns)
{
    for (uint64_t end = now_ns() + ns; f->result < 0 && now_ns() < end;)
        sleep_ns(100 * US);
    return f->result;
}

static void dismiss(struct follower *f, pthread_t t)
{
    f->go_on = true;
    CHECK(pthread_join(t, NULL) == 0);
}

/* --- one rule at a time ------------------------------------------------------------ */

static void test_joining(void)
{
    struct ts_leader *l = NULL;
    struct ts_leader_config none = {0, 0, NULL, NULL};
    CHECK(ts_leader_new(&l, &none) == -EINVAL && !l);
    ts_leader_free(NULL);

    l = make(2, 0, NULL, NULL);
    struct ts_worker *a = ts_worker_join(l), *b = ts_worker_join(l);
    CHECK(a && b && a != b && ts_leader_threads(l) == 2);
    errno = 0;
    CHECK(!ts_worker_join(l) && errno == EAGAIN);
    ts_worker_leave(l, a);
    CHECK(ts_leader_threads(l) == 1);
    a = ts_worker_join(l);
    CHECK(a);
    ts_worker_leave(l, a);
    ts_leader_stop(l);
    errno = 0;
    CHECK(!ts_worker_join(l) && errno == ESHUTDOWN);
    CHECK(ts_lead_wait(l, b, 0) == TS_LEAD_STOP);
    ts_worker_leave(l, b);
    ts_leader_free(l);
}

static void test_leading_alone(void)
{
    struct ts_leader *l = make(1, 0, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(!ts_leads(w));
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD && ts_leads(w));
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD && ts_leads(w)); /* again: at once */
    CHECK(!ts_lead_wants_spare(l));
    ts_handler_enter(l, w, l, TS_HINT_BLOCKS); /* nobody to hand it to: ignored */
    CHECK(ts_leads(w) && ts_leader_busy(l) == 1);
    sleep_ns(5 * MS);
    struct ts_handler_exit end = ts_handler_exit(l, w);
    CHECK(end.leads && end.slow && end.blocked && ts_leader_busy(l) == 0);
    ts_lead_release(l, w);
    CHECK(!ts_leads(w));
    ts_lead_release(l, w); /* not ours any more: nothing happens */
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    ts_leader_stop(l);
    CHECK(ts_leads(w)); /* until it lets go */
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD_STOP && !ts_leads(w));
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

/* More handlers than the sequence has numbers: it must not carry. */
static void test_sequence_wraps(void)
{
    struct ts_leader *l = make(1, 0, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    for (int i = 0; i < 100000; i++) {
        ts_handler_enter(l, w, l, TS_HINT_NONE);
        CHECK(ts_handler_exit(l, w).leads);
    }
    CHECK(ts_leads(w));
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

static void test_late_promotion(void)
{
    struct ts_leader *l = make(2, 0, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    struct follower f;
    pthread_t t = follow(&f, l, 0);
    CHECK(f.result == -1);

    ts_worker_now(w);
    ts_handler_enter(l, w, l, TS_HINT_NONE);
    CHECK(result_within(&f, 5 * SEC) == TS_LEAD); /* the monitor has seen to it */
    CHECK(!ts_leads(w));
    struct ts_handler_exit end = ts_handler_exit(l, w);
    CHECK(!end.leads && end.blocked && !ts_leads(w));
    ts_lead_release(l, w); /* must not take it from the new leader */
    CHECK(!ts_leads(w));

    /* And back, vacant this time, as w is not waiting while f leaves. */
    dismiss(&f, t);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

static void test_predicted_hand_over(void)
{
    struct ts_leader *l = make(2, UINT32_MAX, NULL, NULL); /* the monitor is out of it */
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    struct follower f;
    pthread_t t = follow(&f, l, 0);
    ts_handler_enter(l, w, l, TS_HINT_BLOCKS);
    CHECK(!ts_leads(w) && ts_leader_busy(l) == 1);
    CHECK(result_within(&f, 5 * SEC) == TS_LEAD);
    sleep_ns(2 * MS);
    struct ts_handler_exit end = ts_handler_exit(l, w);
    CHECK(!end.leads && end.slow && end.blocked);
    dismiss(&f, t);

    /* Nobody idle: vacant, and whoever asks has it. */
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    ts_handler_enter(l, w, l, TS_HINT_BLOCKS);
    CHECK(!ts_leads(w));
    end = ts_handler_exit(l, w);
    CHECK(!end.leads);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    ts_worker_leave(l, w);

    /* tick_ns is only waited out once the monitor was told to quit: not at all. */
    uint64_t before = now_ns();
    ts_leader_free(l);
    CHECK(now_ns() - before < 2 * SEC);
}

/* A sleep shorter than a tick is told from work by the switches it costs. */
static void test_measuring(void)
{
    struct ts_leader *l = make(2, 1000 * (uint32_t)MS, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);

    ts_worker_now(w);
    ts_handler_enter(l, w, l, TS_HINT_NONE);
    sleep_ns(200 * US);
    struct ts_handler_exit end = ts_handler_exit(l, w);
    CHECK(end.leads && end.slow && !end.blocked); /* nobody measured */

    ts_handler_enter(l, w, l, TS_HINT_SUSPECT);
    sleep_ns(200 * US);
    end = ts_handler_exit(l, w);
    CHECK(end.leads && end.slow && end.blocked);

    bool told_apart = false; /* a busy machine may make us wait now and then */
    for (int i = 0; i < 50 && !told_apart; i++) {
        ts_worker_now(w);
        ts_handler_enter(l, w, l, TS_HINT_SUSPECT);
        spin_ns(200 * US);
        end = ts_handler_exit(l, w);
        CHECK(end.slow);
        told_apart = !end.blocked;
    }
    CHECK(told_apart);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

static void test_spare(void)
{
    struct ts_leader *l = make(2, 0, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    CHECK(ts_lead_wants_spare(l));
    CHECK(!ts_lead_wants_spare(l)); /* said once */
    ts_lead_spare_failed(l);
    CHECK(ts_lead_wants_spare(l));
    struct follower f;
    pthread_t t = follow(&f, l, 0);
    CHECK(!ts_lead_wants_spare(l)); /* it is idle now */
    ts_leader_stop(l);
    CHECK(result_within(&f, 5 * SEC) == TS_LEAD_STOP);
    dismiss(&f, t);
    CHECK(!ts_lead_wants_spare(l));
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

static void test_retiring(void)
{
    struct ts_leader *l = make(4, 0, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    struct follower f[3];
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        t[i] = follow(&f[i], l, 20 * MS);
    uint64_t end = now_ns() + 5 * SEC;
    int retired = 0;
    while (retired < 2 && now_ns() < end) {
        sleep_ns(MS);
        retired = 0;
        for (int i = 0; i < 3; i++)
            retired += f[i].result == TS_LEAD_RETIRE;
    }
    sleep_ns(60 * MS); /* the last one stays however long it takes */
    int waiting = 0;
    for (int i = 0; i < 3; i++)
        waiting += f[i].result == -1;
    CHECK(retired == 2 && waiting == 1);
    ts_lead_release(l, w); /* and gets the lead when there is one */
    for (int i = 0; i < 3; i++)
        CHECK(result_within(&f[i], 5 * SEC) >= 0);
    for (int i = 0; i < 3; i++)
        dismiss(&f[i], t[i]);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

struct sink {
    _Atomic unsigned calls;
    _Atomic bool full;
};

static bool count_flush(void *conn, void *ctx)
{
    (void)ctx;
    struct sink *s = conn;
    s->calls++;
    return s->full;
}

static bool calls_reach(struct sink *s, unsigned n)
{
    for (uint64_t end = now_ns() + 5 * SEC; s->calls < n && now_ns() < end;)
        sleep_ns(100 * US);
    return s->calls >= n;
}

static long switches(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_nvcsw;
}

/* One thread, as a server without ThreadingMixIn: it is flushed all the same. */
static void test_flush_by_time(void)
{
    struct sink s = {0, false};
    struct ts_leader *l = make(1, 0, count_flush, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    ts_handler_enter(l, w, &s, TS_HINT_NONE);
    CHECK(calls_reach(&s, 1));

    /* Stuck with nothing to send: left alone, and the monitor sleeps. */
    sleep_ns(50 * MS);
    CHECK(s.calls == 1);
    long before = switches();
    sleep_ns(200 * MS); /* would be 400 ticks */
    CHECK(switches() - before < 60);

    for (unsigned n = 2; n < 6; n++) { /* asleep: woken by each */
        ts_handler_dirty(l, w);
        CHECK(calls_reach(&s, n));
        sleep_ns(n % 2 ? 20 * MS : 0);
    }

    /* The socket is full: again and again, but ever more rarely. */
    sleep_ns(20 * MS);
    unsigned calls = s.calls;
    s.full = true;
    ts_handler_dirty(l, w);
    sleep_ns(400 * MS); /* 800 ticks */
    calls = s.calls - calls;
    CHECK(calls >= 5 && calls < 100);
    s.full = false;
    sleep_ns(100 * MS);
    calls = s.calls;
    sleep_ns(100 * MS);
    CHECK(s.calls == calls);

    CHECK(ts_handler_exit(l, w).leads); /* alone: never taken */
    calls = s.calls;
    sleep_ns(5 * MS);
    CHECK(s.calls == calls);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

static void *idle_waiter(void *arg)
{
    CHECK(ts_leader_wait_idle(arg, UINT64_MAX));
    return NULL;
}

static void test_waiting_for_idle(void)
{
    struct ts_leader *l = make(2, 0, NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_leader_wait_idle(l, 0));
    ts_handler_enter(l, w, l, TS_HINT_NONE); /* leading or not */
    CHECK(!ts_leader_wait_idle(l, 0));
    uint64_t before = now_ns();
    CHECK(!ts_leader_wait_idle(l, 20 * MS) && now_ns() - before >= 20 * MS);
    pthread_t t = start(idle_waiter, l);
    sleep_ns(10 * MS);
    ts_handler_exit(l, w);
    CHECK(pthread_join(t, NULL) == 0);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

/* Forked inside a handler, with a monitor and a follower that the child has not. */
static void test_fork(void)
{
    struct sink s = {0, false};
    struct ts_leader *l = make(3, 0, count_flush, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    struct follower f;
    pthread_t t = follow(&f, l, 0);
    ts_handler_enter(l, w, &s, TS_HINT_NONE);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        ts_leader_forked(l);
        bool ok = !ts_leads(w) && !ts_handler_exit(l, w).leads && !ts_worker_join(l)
                  && errno == ESHUTDOWN && ts_lead_wait(l, w, 0) == TS_LEAD_STOP;
        ts_handler_enter(l, w, &s, TS_HINT_BLOCKS);
        ts_handler_dirty(l, w);
        ts_handler_exit(l, w);
        ts_lead_release(l, w);
        ok = ok && !ts_lead_wants_spare(l) && ts_leader_threads(l) == 0;
        ok = ok && ts_leader_busy(l) == 0 && ts_leader_wait_idle(l, UINT64_MAX);
        ts_leader_stop(l);
        ts_worker_leave(l, w);
        ts_leader_free(l);
        _exit(ok ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    ts_handler_exit(l, w);
    ts_leader_stop(l);
    CHECK(result_within(&f, 5 * SEC) >= 0);
    dismiss(&f, t);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

/* Handlers that begin just when the monitor goes to sleep: none is overlooked. */
static void test_sleep_handshake(void)
{
    struct sink s = {0, false};
    uint32_t tick = 10 * (uint32_t)US; /* with the timer's slack, some 65 us */
    struct ts_leader *l = make(2, tick, count_flush, NULL);
    struct ts_worker *w = ts_worker_join(l);
    uint64_t end = now_ns() + SEC;
    for (unsigned i = 0; now_ns() < end; i++) {
        if (ts_lead_wait(l, w, 0) != TS_LEAD)
            abort();
        unsigned calls = s.calls;
        ts_handler_enter(l, w, &s, TS_HINT_NONE);
        while (s.calls == calls || ts_leads(w))
            sleep_ns(20 * US); /* flushed, and the lead taken: or the watchdog bites */
        CHECK(!ts_handler_exit(l, w).leads);
        spin_ns(i * 7919 % 2000 * US); /* 0 to 2 ms: across the 20 ticks */
    }
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

/* --- stress --------------------------------------------------------------------------- */

enum { ITEMS = 20000, MAX_THREADS = 12 };

struct stress {
    struct ts_leader *l;
    struct ts_predictor predictor;
    _Atomic bool stop;
    _Atomic unsigned live;
    _Atomic unsigned seed;
    _Atomic unsigned flushed, taken, predicted, retired, started;
    _Atomic unsigned char handled[ITEMS];
    bool slow_ones;
    /* Plain, and guarded by nothing but the lead. */
    unsigned next;
    unsigned leaders;
};

struct conn {
    pthread_mutex_t mu;
    unsigned pending, sent;
    struct stress *stress;
};

static bool stress_flush(void *arg, void *ctx)
{
    struct conn *c = arg;
    CHECK(ctx == c->stress);
    pthread_mutex_lock(&c->mu);
    if (c->pending)
        c->stress->flushed++;
    c->sent += c->pending;
    c->pending = 0;
    pthread_mutex_unlock(&c->mu);
    return false;
}

static void stress_write(struct conn *c, struct ts_worker *w)
{
    pthread_mutex_lock(&c->mu);
    if (c->pending++ == 0)
        ts_handler_dirty(c->stress->l, w);
    pthread_mutex_unlock(&c->mu);
}

static void until_all_sent(struct conn *c)
{
    for (;;) {
        pthread_mutex_lock(&c->mu);
        bool all = c->pending == 0;
        pthread_mutex_unlock(&c->mu);
        if (all)
            return;
        sleep_ns(200 * US); /* or the watchdog bites */
    }
}

static void stress_handler(struct conn *c, struct ts_worker *w, unsigned kind, bool slow_ones)
{
    stress_write(c, w);
    if (kind == 0 && slow_ones) {
        stress_write(c, w);
        sleep_ns(10 * MS);
        stress_write(c, w);
        until_all_sent(c); /* a streaming handler: must be flushed, and again */
        stress_write(c, w);
        until_all_sent(c);
    } else if (kind == 1) {
        sleep_ns(MS);
    } else if (kind < 6) {
        sleep_ns(100 * US);
    } else if (kind < 20) {
        spin_ns(20 * US);
    } else if (kind == 20 && slow_ones) {
        spin_ns(3 * MS);
    }
}

static void *stress_main(void *arg);

static void stress_start(struct stress *s)
{
    s->live++;
    s->started++;
    pthread_t t = start(stress_main, s);
    CHECK(pthread_detach(t) == 0);
}

/* One turn of a leader: false when it does not lead any more. */
static bool stress_turn(struct stress *s, struct ts_worker *w, unsigned *random)
{
    CHECK(s->leaders == 1);
    if (s->next == ITEMS || s->stop) {
        ts_leader_stop(s->l);
        s->leaders--;
        ts_lead_release(s->l, w);
        return false;
    }
    unsigned item = s->next++;
    if (ts_lead_wants_spare(s->l))
        stress_start(s);

    *random = *random * 1664525u + 1013904223u;
    unsigned kind = (*random >> 16) % 300;
    struct conn *c = calloc(1, sizeof *c);
    CHECK(c && pthread_mutex_init(&c->mu, NULL) == 0);
    c->stress = s;
    unsigned hint = (*random >> 8) % 64 == 0 ? TS_HINT_BLOCKS : ts_predict(&s->predictor, kind);
    s->predicted += hint == TS_HINT_BLOCKS;

    /* From here on another may lead; if it still is us after exit, it was us all
     * the time. The count must be right for both. */
    s->leaders--;
    ts_worker_now(w);
    ts_handler_enter(s->l, w, c, hint);
    stress_handler(c, w, kind, s->slow_ones);
    struct ts_handler_exit end = ts_handler_exit(s->l, w);
    if (end.leads)
        s->leaders++;
    else if (hint != TS_HINT_BLOCKS)
        s->taken++;
    ts_predict_learn(&s->predictor, kind, end.slow, end.blocked);
    pthread_mutex_destroy(&c->mu);
    memset(c, 0x5a, sizeof *c);
    free(c);
    s->handled[item]++;
    CHECK(end.leads == ts_leads(w));
    return end.leads;
}

static void *stress_main(void *arg)
{
    struct stress *s = arg;
    struct ts_worker *w = ts_worker_join(s->l);
    unsigned random = atomic_fetch_add(&s->seed, 2654435761u);
    enum ts_lead lead = TS_LEAD_STOP;

    while (w && (lead = ts_lead_wait(s->l, w, 2 * MS)) == TS_LEAD) {
        s->leaders++;
        while (stress_turn(s, w, &random)) {
        }
        if (random % 50 == 0)
            break; /* some leave on their own account */
    }
    s->retired += lead == TS_LEAD_RETIRE;
    if (w) {
        ts_worker_leave(s->l, w);
        /* One that leaves must not be the last that could lead. */
        if (lead == TS_LEAD && !s->stop && ts_leader_threads(s->l) == 0)
            stress_start(s);
    }
    s->live--;
    return NULL;
}

static void stress(unsigned seed, bool slow_ones, uint64_t stop_after, unsigned threads)
{
    struct stress *s = calloc(1, sizeof *s);
    CHECK(s);
    ts_predict_init(&s->predictor);
    s->seed = seed;
    s->slow_ones = slow_ones;
    s->l = make(threads, 0, stress_flush, s);
    for (unsigned i = 0; i < threads / 3 + 1; i++)
        stress_start(s);
    /* On a busy machine the first handler may come late. */
    for (uint64_t end = now_ns() + stop_after; s->live && (now_ns() < end || !s->handled[0]);)
        sleep_ns(MS);
    s->stop = true;
    ts_leader_stop(s->l); /* in the middle, unless everything is done */
    CHECK(ts_leader_wait_idle(s->l, UINT64_MAX));
    while (s->live)
        sleep_ns(MS);
    CHECK(ts_leader_busy(s->l) == 0 && ts_leader_threads(s->l) == 0);
    CHECK(s->leaders == 0);
    for (unsigned i = 0; i < ITEMS; i++)
        CHECK(s->handled[i] == (i < s->next));
    printf("stress: %u threads: %u handled, %u predicted, %u taken, %u flushed, %u retired, "
           "%u started\n",
           threads, s->next, s->predicted, s->taken, s->flushed, s->retired, s->started);
    CHECK(s->next > 0);
    if (slow_ones && s->next > 2000)
        CHECK(s->flushed > 0 && s->predicted > 0);
    ts_leader_free(s->l);
    free(s);
}

/* --- what it costs ---------------------------------------------------------------------- */

static void measure(const char *what, unsigned hint, bool with_monitor)
{
    struct sink s = {0, false};
    enum { RUNS = 300000 };
    struct ts_leader *l = make(with_monitor ? 2 : 1, 0, with_monitor ? count_flush : NULL, NULL);
    struct ts_worker *w = ts_worker_join(l);
    CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 3; round++) {
        uint64_t before = now_ns();
        for (int i = 0; i < RUNS; i++) {
            ts_handler_enter(l, w, &s, hint);
            if (!ts_handler_exit(l, w).leads)
                CHECK(ts_lead_wait(l, w, 0) == TS_LEAD);
        }
        uint64_t took = now_ns() - before;
        best = took < best ? took : best;
    }
    printf("enter + exit, %s: %.1f ns\n", what, (double)best / RUNS);
    ts_worker_leave(l, w);
    ts_leader_free(l);
}

int main(void)
{
    alarm(WATCHDOG_SECONDS);
    test_joining();
    test_leading_alone();
    test_sequence_wraps();
    test_late_promotion();
    test_predicted_hand_over();
    test_measuring();
    test_spare();
    test_retiring();
    test_flush_by_time();
    test_waiting_for_idle();
    test_fork();
    test_sleep_handshake();
    stress(1, true, 3 * SEC, MAX_THREADS);
    stress(2, false, SEC, MAX_THREADS);
    for (unsigned i = 0; i < 20; i++)
        stress(3 + i, i % 2, (5 + i) * MS, 1 + i % MAX_THREADS);
    uint64_t before = now_ns();
    for (int i = 0; i < 1000000; i++)
        now_ns();
    printf("one look at the clock: %.1f ns\n", (double)(now_ns() - before) / 1e6);
    measure("alone", TS_HINT_NONE, false);
    measure("monitor ticking", TS_HINT_NONE, true);
    measure("suspect", TS_HINT_SUSPECT, true);
    measure("handed over to nobody and back", TS_HINT_BLOCKS, true);
    puts("ok");
    return 0;
}
