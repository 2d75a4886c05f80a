/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* The leader's waiting, wake-ups, and answers that the peer does not take or that
 * cannot be sent. One thread is client and server in turn. */
#include "reactor_rig.h"

/* ---- one thread: time ---- */

static void test_wait_is_bounded(void)
{
    struct server *s = single(false);
    uint64_t began = ts_monotonic_ns();

    CHECK(next(s, 50 * (int64_t)MS) == TS_TASK_WOKEN);
    CHECK(ts_monotonic_ns() - began >= 50 * MS);
    CHECK(ts_monotonic_ns() - began < 5 * SEC);
    ts_reactor_wake(s->r);
    CHECK(next(s, -1) == TS_TASK_WOKEN);
    ts_reactor_wake(s->r);
    CHECK(next(s, INT64_MAX) == TS_TASK_WOKEN);
    single_end(s);
}

/* A wake-up that comes together with events is told all the same. */
static void test_wake_is_not_lost(void)
{
    struct server *s = single(false);
    int fd = client(s);
    uint64_t began;

    pump(s);
    put(fd, "GET /a");
    nap_ms(20);
    ts_reactor_wake(s->r);
    began = ts_monotonic_ns();
    CHECK(next(s, 10 * (int64_t)SEC) == TS_TASK_WOKEN);
    CHECK(ts_monotonic_ns() - began < 5 * SEC);
    close(fd);
    pump(s);
    single_end(s);
}

static void *trickle(void *arg)
{
    int fd = *(int *)arg;

    for (int i = 0; i < 300; i++) {
        put(fd, "x");
        nap_ms(2);
    }
    return NULL;
}

/* Events that come to nothing do not make the wait longer. */
static void test_wait_is_bounded_under_events(void)
{
    struct server *s = single(false);
    int fd = client(s);
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, trickle, &fd) == 0);
    for (int i = 0; i < 5; i++) {
        uint64_t began = ts_monotonic_ns();

        CHECK(next(s, 50 * (int64_t)MS) == TS_TASK_WOKEN);
        CHECK(ts_monotonic_ns() - began < 400 * MS);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* ---- one thread: slow readers ---- */

static void test_slow_reader(void)
{
    struct server *s = single(true);
    int fd = stuck(s, "/long");

    get_request(fd, "/next"); /* waits for its turn */
    pump(s);
    CHECK(atomic_load(&s->handled) == 1);
    uint64_t cpu = cpu_ns(), began = ts_monotonic_ns();

    while (ts_monotonic_ns() < began + 200 * MS) /* and wakes nobody */
        next(s, 50 * (int64_t)MS);
    CHECK(cpu_ns() - cpu < 100 * MS);
    expect_slowly(s, fd, LONG_ANSWER);
    pump(s);
    expect(fd, "/next");
    CHECK(atomic_load(&s->handled) == 2);
    close(fd);
    pump(s);
    CHECK(all_close(s));

    fd = stuck(s, "/long/close");
    CHECK(shutdown(fd, SHUT_WR) == 0); /* sends no more, but reads */
    cpu = cpu_ns();
    began = ts_monotonic_ns();
    while (ts_monotonic_ns() < began + 200 * MS)
        next(s, 50 * (int64_t)MS);
    CHECK(cpu_ns() - cpu < 100 * MS);
    CHECK(n_open(s) == 1);
    expect_slowly(s, fd, LONG_ANSWER);
    pump(s);
    expect_end(fd);
    CHECK(n_open(s) == 0);
    close(fd);
    single_end(s);
}

static void test_slow_reader_with_a_body_left(void)
{
    struct server *s = single(true);
    int fd = connect_small(s, 2048);

    post_head(fd, "/long", 100000);
    put(fd, "abc");
    pump(s);
    CHECK(s->last->phase == TS_PHASE_FLUSH);
    expect_slowly(s, fd, LONG_ANSWER);
    put_body(fd, 100000 - 3);
    get_request(fd, "/next");
    pump(s);
    expect(fd, "/next");
    close(fd);
    pump(s);
    single_end(s);
}

static void test_stuck_reader_goes(void)
{
    struct server *s = single(true);
    int fd = stuck(s, "/long");

    reset(fd);
    pump(s);
    CHECK(all_close(s) && atomic_load(&s->broken) == 1);

    s->r->timeout_ns = 200 * MS; /* or does not go */
    fd = stuck(s, "/long");
    uint64_t began = ts_monotonic_ns();

    while (n_open(s) > 0 && ts_monotonic_ns() < began + 3 * SEC)
        next(s, 100 * (int64_t)MS);
    CHECK(n_open(s) == 0 && atomic_load(&s->timeouts) == 1);
    close(fd);
    single_end(s);
}

static void *reset_later(void *arg)
{
    nap_ms(50);
    reset(*(int *)arg);
    return NULL;
}

/* An answer that cannot be sent is told once: by the write, or else afterwards. */
static void test_broken_is_told_once(void)
{
    for (int monitored = 0; monitored < 2; monitored++) {
        struct server *s = single(false);
        int fd = client(s);
        pthread_t thread;

        get_request(fd, monitored ? "/monitored" : "/hears");
        CHECK(pthread_create(&thread, NULL, reset_later, &fd) == 0);
        while (atomic_load(&s->handled) == 0)
            next(s, (int64_t)SEC);
        CHECK(pthread_join(thread, NULL) == 0);
        pump(s);
        CHECK(all_close(s));
        CHECK((int)atomic_load(&s->broken) == monitored);
        single_end(s);
    }
}

/* ---- all of them ---- */

static const struct test tests[] = {
    TEST(wait_is_bounded),
    TEST(wake_is_not_lost),
    TEST(wait_is_bounded_under_events),
    TEST(slow_reader),
    TEST(slow_reader_with_a_body_left),
    TEST(stuck_reader_goes),
    TEST(broken_is_told_once),
};

int main(int argc, char **argv)
{
    return run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
}
