/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined; libs: -lpthread */
/* How long a connection may take for what it is at, by rules that are short here: a
 * deadline that has passed is seen within seconds on a busy machine, and never before
 * its time. Then what does not depend on how fast anything is: deadlines that have to
 * be left alone, that come again, and that come all at once. */
#include "deadline_rig.h"

/* ---- by the rules --------------------------------------------------------- */

/* Nothing of a request: before the first one, and after one. Nobody is told. */
static void test_idle(void)
{
    for (int again = 0; again < 2; again++) {
        struct server *s = single(false);
        struct ts_rules rules = patient();
        uint64_t began = ts_monotonic_ns();
        int fd = client(s);

        rules.idle_ns = 200 * MS;
        set_rules(s, &rules);
        if (again) {
            get_request(fd, "/first");
            pump(s);
            began = ts_monotonic_ns() - 20 * MS; /* it was parked in there */
            expect(fd, "/first");
        } else {
            pump(s);
        }
        CHECK(n_open(s) == 1);
        serve_until(s, &s->r->n_open, 0, began, 200 * MS);
        expect_end(fd);
        CHECK(atomic_load(&s->timeouts) == 0 && atomic_load(&s->handled) == (unsigned)again);
        finish(s, fd);
    }
}

/* A head that does not end, whether its octets keep coming or not. */
static void test_slow_head(void)
{
    static const char text[] = "GET /a HTTP/1.1\r\nHost: x\r\nA: ";

    for (int drips = 0; drips < 2; drips++)
        for (int again = 0; again < 2; again++) {
            struct server *s = single(false);
            struct ts_rules rules = patient();
            int fd = client(s);

            rules.head_ns = 300 * MS;
            set_rules(s, &rules);
            if (again) {
                get_request(fd, "/first");
                pump(s);
                expect(fd, "/first");
                serve_for(s, 350); /* the time before the first octet does not count */
            }
            uint64_t began = ts_monotonic_ns();

            put(fd, text);
            while (drips && atomic_load(&s->slow) == 0) {
                CHECK(ts_monotonic_ns() < began + 20 * SEC);
                (void)!send(fd, "a", 1, MSG_NOSIGNAL);
                next(s, 5 * (int64_t)MS);
            }
            serve_until(s, &s->slow, 1, began, 300 * MS);
            pump(s);
            expect(fd, "slow");
            expect_end(fd);
            CHECK(atomic_load(&s->timeouts) == 0);
            finish(s, fd);
        }
}

/* A head in time is not slow, whatever time the connection has been there. */
static void test_heads_in_time(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    int fd = client(s);

    rules.head_ns = rules.idle_ns = 2 * SEC;
    set_rules(s, &rules);
    for (int i = 0; i < 5; i++) {
        put(fd, "GET /a HTTP/1.1\r\n");
        serve_for(s, 150);
        put(fd, "Host: x\r\n");
        serve_for(s, 150);
        put(fd, "\r\n");
        pump(s);
        expect(fd, "/a");
        serve_for(s, 150);
    }
    CHECK(atomic_load(&s->slow) == 0 && n_open(s) == 1);
    finish(s, fd);
}

static const char *const heads[] = {
    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n12",
    "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n12",
};

/* A body that is awaited, and does not come any more. */
static void test_slow_body(void)
{
    for (size_t i = 0; i < 2; i++)
        for (int apart = 0; apart < 2; apart++) {
            struct server *s = single(false);
            struct ts_rules rules = patient();
            int fd = client(s);

            rules.body_ns = 300 * MS;
            set_rules(s, &rules);
            put(fd, heads[i]);
            uint64_t began = ts_monotonic_ns();

            for (int k = 0; k < 4 && apart; k++) { /* as long as octets come */
                serve_for(s, 100);
                CHECK(atomic_load(&s->refused) == 0 ||
                      ts_monotonic_ns() >= began + 300 * MS - COARSE);
                if (atomic_load(&s->refused) > 0)
                    break; /* a very busy machine */
                began = ts_monotonic_ns();
                put(fd, "3");
            }
            serve_until(s, &s->refused, 1, began, 300 * MS);
            pump(s);
            expect(fd, "Request body took too long");
            expect_end(fd);
            CHECK(atomic_load(&s->timeouts) == 0 && atomic_load(&s->handled) == 1);
            finish(s, fd);
        }
}

/* Octets keep coming, but too few of them; or enough. */
static void test_rate_of_a_body(void)
{
    for (int enough = 0; enough < 2; enough++) {
        struct server *s = single(false);
        struct ts_rules rules = patient();
        int fd = client(s);

        rules.body_ns = 20 * SEC;
        rules.grace_ns = 300 * MS;
        rules.min_rate = 1000;
        set_rules(s, &rules);
        uint64_t began = ts_monotonic_ns();

        post_head(fd, "/read", 60000);
        if (enough) { /* 10 s are paid for; some 3 s after the grace would be needed */
            put_body(fd, 10000);
            serve_for(s, 900);
            CHECK(atomic_load(&s->handled) == 0 && n_open(s) == 1);
            put_body(fd, 50000);
            pump(s);
            expect(fd, "60000");
        } else {
            while (atomic_load(&s->refused) == 0) {
                CHECK(ts_monotonic_ns() < began + 15 * SEC);
                (void)!send(fd, "b", 1, MSG_NOSIGNAL);
                next(s, 10 * (int64_t)MS);
            }
            CHECK(ts_monotonic_ns() + COARSE >= began + 300 * MS);
            pump(s);
            expect(fd, "Request body took too long");
            expect_end(fd);
        }
        CHECK(atomic_load(&s->handled) == 1);
        finish(s, fd);
    }
}

/* An answer that the peer does not take: the handler's owner hears that it is over. */
static void test_answer_not_taken(void)
{
    for (int by_rate = 0; by_rate < 2; by_rate++) {
        struct server *s = single(true);
        struct ts_rules rules = patient();

        if (by_rate) {
            rules.grace_ns = 300 * MS;
            rules.min_rate = 1000000000;
        } else {
            rules.write_ns = 300 * MS;
        }
        set_rules(s, &rules);
        uint64_t began = ts_monotonic_ns();
        int fd = stuck(s, "/long");

        CHECK(atomic_load(&s->owners) == 1);
        serve_until(s, &s->r->n_open, 0, began, 300 * MS);
        CHECK(atomic_load(&s->owners) == 0);
        CHECK(atomic_load(&s->timeouts) == 0 && atomic_load(&s->broken) == 0);
        finish(s, fd);
    }
}

/* But one that is taken slowly is left alone, as long as it goes on. */
static void test_answer_taken_slowly(void)
{
    struct server *s = single(true);
    struct ts_rules rules = patient();
    char piece[8000];
    size_t left = LONG_ANSWER;

    rules.write_ns = 3 * SEC;
    set_rules(s, &rules);
    int fd = stuck(s, "/long");

    while (left > 0) {
        ssize_t got = recv(fd, piece, left < sizeof piece ? left : sizeof piece, MSG_DONTWAIT);

        CHECK(got > 0 || (got < 0 && errno == EAGAIN));
        left -= got > 0 ? (size_t)got : 0;
        serve_for(s, got > 0 ? 100 : 1);
    }
    pump(s);
    CHECK(n_open(s) == 1 && s->last->phase == TS_PHASE_HEAD);
    get_request(fd, "/next");
    pump(s);
    expect(fd, "/next");
    finish(s, fd);
}

/* What the handler left of a body has to come soon, though its octets do come. */
static void test_drain(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    int fd = client(s);

    rules.drain_ns = 300 * MS;
    set_rules(s, &rules);
    post_head(fd, "/left", 100000);
    uint64_t began = ts_monotonic_ns();

    pump(s);
    expect(fd, "/left");
    CHECK(s->last->phase == TS_PHASE_DISCARD);
    while (n_open(s) > 0) {
        CHECK(ts_monotonic_ns() < began + 20 * SEC);
        (void)!send(fd, "b", 1, MSG_NOSIGNAL);
        next(s, 10 * (int64_t)MS);
    }
    CHECK(ts_monotonic_ns() + COARSE >= began + 300 * MS);
    CHECK(atomic_load(&s->owners) == 0 && atomic_load(&s->handled) == 1);
    finish(s, fd);

    s = single(false); /* in time */
    rules.drain_ns = 10 * SEC;
    set_rules(s, &rules);
    fd = client(s);
    post_head(fd, "/left", 100000);
    pump(s);
    expect(fd, "/left");
    put_body(fd, 100000);
    get_request(fd, "/next");
    pump(s);
    expect(fd, "/next");
    finish(s, fd);
}

/* So has a peer to read its last answer; and there may be deadlines before that. */
static void test_linger(void)
{
    for (int way = 0; way < 3; way++) {
        struct server *s = single(false);
        struct ts_rules rules = patient();
        int fd = client(s);

        rules.head_ns = rules.body_ns = way < 2 ? 100 * MS : 0;
        s->r->timeout_ns = way == 2 ? 100 * MS : 0; /* not while it lingers */
        set_rules(s, &rules);
        if (way == 0)
            put(fd, "GET /a HT"); /* slow */
        else if (way == 1)
            put(fd, heads[0]);
        else
            post_head(fd, "/close", 100000000);
        while (atomic_load(&s->handled) == 0)
            next(s, 50 * (int64_t)MS);
        uint64_t began = ts_monotonic_ns();

        pump(s);
        CHECK(n_open(s) == 1 && s->last->phase == TS_PHASE_LINGER);
        CHECK(atomic_load(&s->owners) == 0);
        expect(fd, NULL);
        expect_end(fd);
        serve_until(s, &s->r->n_open, 0, began, TS_LINGER_NS);
        CHECK(atomic_load(&s->timeouts) == 0);
        finish(s, fd);
    }
}

/* ---- by the handler's own time-out ---------------------------------------- */

static void test_own(void)
{
    static const char *const heads[] = {
        "", "GET /a HTT", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12"};

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct server *s = single(false);
        int fd = client(s);
        uint64_t began;

        s->r->timeout_ns = 200 * MS;
        get_request(fd, "/first");
        pump(s);
        expect(fd, "/first");
        put(fd, heads[i]);
        began = ts_monotonic_ns();
        while (atomic_load(&s->timeouts) == 0) {
            CHECK(ts_monotonic_ns() < began + 10 * SEC);
            next(s, (int64_t)SEC);
        }
        CHECK(ts_monotonic_ns() - began >= 170 * MS); /* parked a bit before */
        CHECK(n_open(s) == 0);
        expect_end(fd);
        close(fd);

        fd = client(s); /* another that goes before its deadline */
        pump(s);
        close(fd);
        pump(s);
        CHECK(all_close(s));
        /* Nothing is left that would have to be looked at: it sleeps. */
        for (int k = 0; k < 3; k++) {
            nap_ms(120);
            next(s, 0);
        }
        began = ts_monotonic_ns();
        CHECK(next(s, 400 * (int64_t)MS) == TS_TASK_WOKEN);
        CHECK(ts_monotonic_ns() - began >= 390 * MS);
        single_end(s);
    }
}

static void test_own_moves(void)
{
    struct server *s = single(false);
    int fd = client(s);

    s->r->timeout_ns = 300 * MS;
    for (int i = 0; i < 8; i++) {
        uint64_t began = ts_monotonic_ns();

        if (i < 4)
            get_request(fd, "/a");
        else
            put(fd, "G");
        while (ts_monotonic_ns() < began + 100 * MS)
            next(s, 20 * (int64_t)MS);
        if (i < 4)
            expect(fd, "/a");
        CHECK(n_open(s) == 1);
    }
    close(fd);
    pump(s);
    single_end(s);
}

/* The earlier one of the two counts. */
static void test_own_and_rules(void)
{
    static const char *const texts[] = {"GET /a HT", NULL, NULL};

    for (int own = 0; own < 2; own++)
        for (int i = 0; i < 3; i++) {
            struct server *s = single(i == 2);
            struct ts_rules rules = patient();
            uint64_t began = ts_monotonic_ns();
            int fd;

            rules.head_ns = rules.body_ns = rules.write_ns = own ? 20 * SEC : 200 * MS;
            set_rules(s, &rules);
            s->r->timeout_ns = own ? 200 * MS : 20 * SEC;
            if (i == 2) {
                fd = stuck(s, "/long");
            } else {
                fd = client(s);
                put(fd, i == 0 ? texts[0] : heads[0]);
            }
            while (n_open(s) == 0)
                next(s, 50 * (int64_t)MS);
            while (n_open(s) > 0 && atomic_load(&s->handled) == (unsigned)(i == 2)) {
                CHECK(ts_monotonic_ns() < began + 10 * SEC);
                next(s, 50 * (int64_t)MS);
            }
            CHECK(ts_monotonic_ns() + COARSE >= began + 200 * MS);
            CHECK(atomic_load(&s->timeouts) == (unsigned)own);
            CHECK(atomic_load(&s->slow) == (unsigned)(!own && i == 0));
            CHECK(atomic_load(&s->refused) == (unsigned)(!own && i == 1));
            finish(s, fd);
        }
}

/* Where the handler has one, it is the one for idle connections, longer or not. */
static void test_own_instead_of_idle(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    int fd = client(s);

    rules.idle_ns = 100 * MS;
    set_rules(s, &rules);
    s->r->timeout_ns = 20 * SEC;
    serve_for(s, 500);
    CHECK(n_open(s) == 1 && atomic_load(&s->timeouts) == 0);
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    finish(s, fd);
}

/* ---- deadlines that are not of this moment --------------------------------- */

/* A deadline that ran out while the handler ran is not the linger's. */
static void test_linger_after_a_deadline(void)
{
    struct server *s = single(false);
    int fd = client(s);

    struct ts_conn *c = NULL;

    s->r->timeout_ns = 300 * MS;
    pump(s); /* parked: the deadline is set */
    post_head(fd, "/close", 100000000);
    while (c == NULL)
        CHECK(ts_reactor_next(s->r, &s->turn, true, (int64_t)SEC, &c) != TS_TASK_NONE);
    CHECK(c->phase == TS_PHASE_HANDLER && atomic_load(&s->timeouts) == 0);
    nap_ms(400); /* past the deadline, and the time of a sweep */
    serve(s, s->worker, &s->turn, c, TS_TASK_REQUEST);
    pump(s);
    CHECK(n_open(s) == 1 && c->phase == TS_PHASE_LINGER);
    CHECK(atomic_load(&s->timeouts) == 0);
    expect(fd, "/close");
    close(fd);
    pump(s);
    single_end(s);
}

/* Nobody is late whose octets are here, though nobody has looked for long. */
static void test_late_but_ready(void)
{
    static const char *const texts[] = {"", "GET /a HTTP/1.1\r\nHo"};
    const char *text = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

    for (int own = 0; own < 2; own++)
        for (int i = 0; i < 2; i++) {
            struct server *s = single(false);
            struct ts_rules rules = patient();
            int fd = client(s);

            rules.idle_ns = rules.head_ns = own ? 0 : 200 * MS;
            s->r->timeout_ns = own ? 200 * MS : 0;
            set_rules(s, &rules);
            pump(s);
            put(fd, texts[i]);
            pump(s);
            CHECK(n_open(s) == 1);
            put(fd, text + strlen(texts[i]));
            nap_ms(400);
            pump(s);
            CHECK(atomic_load(&s->timeouts) == 0 && atomic_load(&s->slow) == 0);
            expect(fd, "/a");
            finish(s, fd);
        }
}

/* One that passes while the handler runs is nobody's: the connection is left alone,
 * and has another one afterwards, which is kept. */
static void test_stale_in_a_handler(void)
{
    struct server *s = single(false);
    struct ts_rules rules = patient();
    struct ts_conn *c = NULL;
    int fd = client(s), other;

    rules.idle_ns = 100 * MS;
    set_rules(s, &rules);
    pump(s); /* parked: the deadline is set */
    CHECK(n_open(s) == 1);
    get_request(fd, "/a");
    while (c == NULL)
        CHECK(ts_reactor_next(s->r, &s->turn, true, (int64_t)SEC, &c) != TS_TASK_NONE);
    CHECK(c->phase == TS_PHASE_HANDLER);
    for (int i = 0; i < 8; i++) { /* sweeps; another has its handler in them */
        nap_ms(50);
        other = client(s);
        get_request(other, "/b");
        pump(s);
        expect(other, "/b");
        close(other);
        CHECK(c->phase == TS_PHASE_HANDLER && n_open(s) >= 1);
    }
    uint64_t cpu = cpu_ns();

    serve_for(s, 300); /* and it is not looked at all the time */
    CHECK(cpu_ns() - cpu < 150 * MS);
    serve(s, s->worker, &s->turn, c, TS_TASK_REQUEST);
    uint64_t began = ts_monotonic_ns();

    expect(fd, "/a");
    serve_until(s, &s->r->n_open, 0, began, 100 * MS);
    expect_end(fd);
    finish(s, fd);
}

/* A connection that got on just before it was late goes on, and is late later. */
static void test_late_again(void)
{
    struct server *s = single(true);
    struct ts_rules rules = patient();
    char piece[1000];

    rules.write_ns = 250 * MS;
    set_rules(s, &rules);
    int fd = stuck(s, "/long");
    struct ts_conn *c = s->last;
    uint64_t began = ts_monotonic_ns();

    /* It takes some, so little that the kernel does not tell of it. */
    for (int i = 0; i < 3 && n_open(s) == 1; i++) {
        while (ts_monotonic_ns() < began + 150 * MS && n_open(s) == 1)
            next(s, 5 * (int64_t)MS);
        if (recv(fd, piece, 100, MSG_DONTWAIT) > 0)
            began = ts_monotonic_ns();
    }
    CHECK(c == s->last);
    began = ts_monotonic_ns();
    while (n_open(s) > 0) { /* the last time it does not */
        CHECK(ts_monotonic_ns() < began + 20 * SEC);
        next(s, 50 * (int64_t)MS);
    }
    finish(s, fd);
}

/* ---- all at once ----------------------------------------------------------- */

enum { CROWD = 1000 };

/* A thousand are late together: each ends, with or without a handler's task; and one
 * that is ready has its turns all the while. */
static void crowd(bool told)
{
    static int fds[CROWD];
    struct server *s = single(false);
    struct ts_rules rules = patient();
    unsigned turns = 0;
    int ready = client(s);

    rules.idle_ns = told ? 0 : 600 * MS;
    rules.head_ns = told ? 600 * MS : 0;
    set_rules(s, &rules);
    get_request(ready, "/a");
    pump(s);
    expect(ready, "/a");
    for (int i = 0; i < CROWD; i++) {
        fds[i] = client(s);
        if (told)
            put(fds[i], "GET /late");
        if (i % 50 == 49)
            pump(s);
    }
    pump(s);
    nap_ms(700); /* whoever is left is late now */
    get_request(ready, "/first"); /* keeps that one from being so */
    while (n_open(s) > 1 && (!told || atomic_load(&s->slow) < CROWD)) {
        unsigned before = n_open(s), slow = atomic_load(&s->slow);

        next(s, 0);
        if (recv(ready, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) != 1) {
            /* Not yet: but soon, whoever else is late. */
            CHECK(before - n_open(s) <= 2 * TS_SWEEP_ROW + 2);
            continue;
        }
        expect(ready, NULL);
        turns++;
        CHECK(atomic_load(&s->slow) - slow <= 1);
        get_request(ready, "/again");
    }
    CHECK(turns >= CROWD / TS_SWEEP_ROW / 4);
    for (int i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
    for (int i = 0; i < 50 && n_open(s) > 1; i++)
        pump(s);
    CHECK(told ? atomic_load(&s->slow) == CROWD : atomic_load(&s->slow) == 0);
    CHECK(n_open(s) <= 1); /* the ready one */
    finish(s, ready);
}

static void test_crowd(void)
{
    struct rlimit limit;

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 2 * CROWD + 50) {
        limit.rlim_cur = 2 * CROWD + 50;
        if (limit.rlim_cur > limit.rlim_max || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            puts("crowd: too few descriptors for it");
            return;
        }
    }
    crowd(false);
    crowd(true);
}

/* ---- all of them ---- */

static const struct test tests[] = {
    TEST(idle),
    TEST(slow_head),
    TEST(heads_in_time),
    TEST(slow_body),
    TEST(rate_of_a_body),
    TEST(answer_not_taken),
    TEST(answer_taken_slowly),
    TEST(drain),
    TEST(linger),
    TEST(own),
    TEST(own_moves),
    TEST(own_and_rules),
    TEST(own_instead_of_idle),
    TEST(linger_after_a_deadline),
    TEST(late_but_ready),
    TEST(stale_in_a_handler),
    TEST(late_again),
    TEST(crowd),
};

int main(int argc, char **argv)
{
    return run_tests_together(tests, sizeof tests / sizeof *tests, argc, argv);
}
