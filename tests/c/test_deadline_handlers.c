/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined; libs: -lpthread */
/* How long a handler may wait for its peer, and what holds when the rules change: for
 * those that wait, for those that are handled, and with several workers at it. */
#include "deadline_rig.h"

/* ---- waits in handlers ------------------------------------------------------ */

/* A streamed body that does not come: the handler's wait ends. */
static void test_wait_for_a_body(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    int fd = client(s);

    rules.body_ns = 300 * MS;
    set_rules(s, &rules);
    post_head(fd, "/read", 100000);
    put(fd, "12");
    uint64_t began = ts_monotonic_ns();

    while (atomic_load(&s->gave_up) == 0)
        next(s, 50 * (int64_t)MS);
    CHECK(s->waited_ns >= 300 * MS - COARSE);
    CHECK(ts_monotonic_ns() - began < 20 * SEC);
    expect(fd, "2");
    finish(s, fd);
}

static void *drip_body(void *arg)
{
    int fd = *(int *)arg;

    for (int i = 0; i < 400; i++) {
        if (send(fd, "b", 1, MSG_NOSIGNAL) <= 0)
            break;
        nap_ms(5);
    }
    return NULL;
}

/* Or drips: the rate ends it, over all the waits together. */
static void test_rate_in_a_handler(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    int fd = client(s);
    pthread_t thread;

    rules.body_ns = 20 * SEC;
    rules.grace_ns = 300 * MS;
    rules.min_rate = 100000;
    set_rules(s, &rules);
    post_head(fd, "/read", 1000000);
    uint64_t began = ts_monotonic_ns();

    CHECK(pthread_create(&thread, NULL, drip_body, &fd) == 0);
    while (atomic_load(&s->gave_up) == 0)
        next(s, 50 * (int64_t)MS);
    CHECK(ts_monotonic_ns() - began >= 300 * MS - COARSE);
    CHECK(s->last->input.moved < 400);
    CHECK(pthread_join(thread, NULL) == 0);
    expect(fd, NULL);
    finish(s, fd);
}

/* The answer that a handler writes and nobody takes. */
static void test_wait_for_the_peer(void)
{
    struct server *s = single(true);
    struct ts_rules rules = patient();
    int fd = connect_small(s, 2048);

    rules.write_ns = 300 * MS;
    set_rules(s, &rules);
    get_request(fd, "/longest");
    while (atomic_load(&s->gave_up) == 0)
        next(s, 50 * (int64_t)MS);
    CHECK(s->waited_ns >= 300 * MS - COARSE);
    finish(s, fd);
}

/* The arithmetic, without a peer: what the handler does between two waits is not the
 * peer's time, and a wait of the other kind begins anew. */
static void test_clock_of_waits(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    struct ts_conn *c = NULL;
    int fd = client(s);
    uint64_t first, second;

    rules.body_ns = 10 * SEC;
    rules.write_ns = 20 * SEC;
    rules.grace_ns = 5 * SEC;
    rules.min_rate = 100;
    set_rules(s, &rules);
    get_request(fd, "/a");
    while (c == NULL)
        CHECK(ts_reactor_next(s->r, &s->turn, true, (int64_t)SEC, &c) != TS_TASK_NONE);
    CHECK(c->input.began_ns == 0 && c->input.moved == 0);

    uint64_t now = ts_monotonic_ns();

    first = ts_reactor_wait_begins(s->r, c, false); /* by the rate: the grace */
    CHECK(first >= now + 5 * SEC && first <= ts_monotonic_ns() + 5 * SEC);
    nap_ms(20);
    ts_reactor_wait_ended(c, false);
    nap_ms(100);
    now = ts_monotonic_ns();
    second = ts_reactor_wait_begins(s->r, c, false);
    CHECK(second >= first + 100 * MS); /* the pause is given back, the wait is not */
    CHECK(second <= now + 5 * SEC - 20 * MS + 100 * MS);
    CHECK(second < now + 5 * SEC);
    ts_reactor_wait_ended(c, false);
    c->input.moved += 200; /* two seconds' worth */
    uint64_t third = ts_reactor_wait_begins(s->r, c, false);

    CHECK(third >= second + 2 * SEC && third <= second + 2 * SEC + 20 * SEC);
    ts_reactor_wait_ended(c, false);
    c->input.moved += 100000; /* now it is the silence that counts */
    now = ts_monotonic_ns();
    third = ts_reactor_wait_begins(s->r, c, false);
    CHECK(third <= ts_monotonic_ns() + 10 * SEC && third > now + 5 * SEC);
    ts_reactor_wait_ended(c, false);

    now = ts_monotonic_ns();
    first = ts_reactor_wait_begins(s->r, c, true);
    CHECK(c->output.moved == 0 && first >= now + 5 * SEC);
    CHECK(!ts_reactor_wait_ended(c, true));
    second = ts_reactor_wait_begins(s->r, c, false); /* its clock went on from where it was */
    CHECK(c->input.moved == 100200 && second >= third);
    ts_reactor_wait_ended(c, false);
    rules = patient();
    set_rules(s, &rules);
    CHECK(ts_reactor_wait_begins(s->r, c, false) == UINT64_MAX);
    ts_reactor_wait_ended(c, false);
    CHECK(ts_reactor_wait_begins(s->r, c, true) == UINT64_MAX);
    ts_reactor_wait_ended(c, true);
    serve(s, s->worker, &s->turn, c, TS_TASK_REQUEST);
    expect(fd, "/a");
    finish(s, fd);
}

/* ---- other rules meanwhile -------------------------------------------------- */

/* Rules hold from the next wait on; those before stay for who reads them; the same
 * ones are the same struct. */
static void test_rules_replaced(void)
{
    struct server *s = single(false);
    struct ts_rules strict = patient(), lax = patient();
    int fd = client(s);

    strict.idle_ns = 100 * MS;
    lax.idle_ns = 20 * SEC;
    set_rules(s, &lax);
    const struct ts_rules *first = ts_reactor_rules(s->r);

    CHECK(first != &lax && ts_rules_equal(first, &lax));
    set_rules(s, &strict);
    CHECK(ts_reactor_rules(s->r) != first && ts_rules_equal(first, &lax));
    for (int i = 0; i < 1000; i++) {
        set_rules(s, &lax);
        CHECK(ts_reactor_rules(s->r) == first);
        set_rules(s, &strict);
    }
    set_rules(s, &lax);
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    set_rules(s, &strict);
    serve_for(s, 400);
    CHECK(n_open(s) == 1); /* it waits by the ones before */
    get_request(fd, "/b");
    pump(s);
    uint64_t began = ts_monotonic_ns() - 20 * MS;

    expect(fd, "/b");
    serve_until(s, &s->r->n_open, 0, began, 100 * MS);
    finish(s, fd);

    /* Limits of the head are those at the time of its octets; or it is scanned
     * again. */
    s = single(false);
    fd = client(s);
    strict = rules_of(s);
    lax = strict;
    strict.head.max_headers = 2;
    struct ts_conn *c = NULL;

    put(fd, "GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n");
    pump(s);
    put(fd, "\r\n");
    while (c == NULL)
        CHECK(ts_reactor_next(s->r, &s->turn, true, (int64_t)SEC, &c) == TS_TASK_REQUEST);
    set_rules(s, &strict);
    CHECK(ts_reactor_rescan(s->r, c) == TS_TASK_GENERAL);
    CHECK(c->scan == TS_SCAN_REFUSED && c->req->refusal == TS_REFUSE_FIELDS);
    set_rules(s, &lax);
    CHECK(ts_reactor_rescan(s->r, c) == TS_TASK_REQUEST);
    CHECK(c->scan == TS_SCAN_COMPLETE && c->req->refusal == TS_REFUSE_NONE);
    serve(s, s->worker, &s->turn, c, TS_TASK_REQUEST);
    expect(fd, "/a");
    finish(s, fd);
}

/* ---- workers ----------------------------------------------------------------- */

/* Every deadline is kept by whoever leads, also those set by other threads. */
static void test_deadlines_of_all_workers(void)
{
    enum { N = 20 };
    struct server *s = serve_on(4, false);
    struct crew crew;
    int fds[N];

    s->r->timeout_ns = 150 * MS;
    hire(&crew, s, 4);
    for (int i = 0; i < N; i++)
        get_request(fds[i] = client(s), i % 2 ? "/nap" : "/a");
    for (int i = 0; i < N; i++) {
        expect(fds[i], i % 2 ? "/nap" : "/a");
        expect_end(fds[i]);
        close(fds[i]);
    }
    CHECK(atomic_load(&s->timeouts) == N);
    dismiss(&crew);
    server_free(s);
}

struct changer {
    struct server *s;
    _Atomic bool ended;
};

static void *change_rules(void *arg)
{
    struct changer *changer = arg;

    for (unsigned i = 0; !atomic_load(&changer->ended); i++) {
        struct ts_rules rules = patient();

        rules.idle_ns = (i % 7 + 10) * SEC;
        rules.write_ns = (i % 3) * 10 * SEC;
        rules.min_rate = i % 2;
        rules.grace_ns = 20 * SEC;
        set_rules(changer->s, &rules);
        sched_yield();
    }
    return NULL;
}

/* Replaced while everybody reads them: the sanitizer is the judge. */
static void test_rules_replaced_under_load(void)
{
    enum { N = 8 };
    struct server *s = serve_on(4, false);
    struct changer changer = {.s = s};
    struct crew crew;
    pthread_t thread;
    int fds[N];

    hire(&crew, s, 3);
    CHECK(pthread_create(&thread, NULL, change_rules, &changer) == 0);
    for (int i = 0; i < N; i++)
        fds[i] = client(s);
    for (int round = 0; round < 60; round++)
        for (int i = 0; i < N; i++) {
            if (i % 2)
                get_request(fds[i], "/a");
            else {
                post_head(fds[i], "/read", 3000);
                put_body(fds[i], 3000);
            }
            expect(fds[i], i % 2 ? "/a" : "3000");
        }
    atomic_store(&changer.ended, true);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    for (unsigned i = 0; n_open(s) > 0; i++) {
        CHECK(i < 10000);
        nap_ms(1);
    }
    CHECK(atomic_load(&s->timeouts) == 0 && atomic_load(&s->slow) == 0);
    dismiss(&crew);
    server_free(s);
}

/* ---- all of them ---- */

static const struct test tests[] = {
    TEST(wait_for_a_body),
    TEST(rate_in_a_handler),
    TEST(wait_for_the_peer),
    TEST(clock_of_waits),
    TEST(rules_replaced),
    TEST(deadlines_of_all_workers),
    TEST(rules_replaced_under_load),
};

int main(int argc, char **argv)
{
    return run_tests_together(tests, sizeof tests / sizeof *tests, argc, argv);
}
