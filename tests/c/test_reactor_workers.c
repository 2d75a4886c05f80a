/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* Many threads on one reactor, for the sanitizers to judge. */
#include "reactor_rig.h"

#if defined(__linux__) && !defined(TS_PORTABLE)
/* In the place of the C library's: the leader loses its processor between the
 * decision to accept and the call, if asked to. */
#include <sys/syscall.h>

static _Atomic bool dawdles;

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    if (atomic_load(&dawdles))
        nap_ms(2);
    return (int)syscall(SYS_accept4, fd, addr, len, flags);
}
#else
static bool dawdles;
#endif

/* ---- workers ---- */

struct visitor {
    struct server *s;
    uint32_t seed;
    unsigned rounds;
    bool may_be_cut; /* the server stops meanwhile: no answer is owed */
    pthread_t thread;
};

static uint32_t pick(struct visitor *v, uint32_t below)
{
    v->seed = v->seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)v->seed * below) >> 32);
}

static void in_pieces(struct visitor *v, int fd, const char *text, uint32_t most)
{
    size_t len = strlen(text);

    for (size_t at = 0; at < len;) {
        size_t some = 1 + pick(v, most);

        if (some > len - at)
            some = len - at;
        put_octets(fd, text + at, some);
        at += some;
        if (pick(v, 4) == 0)
            sched_yield();
    }
}

/* One connection, from its opening to one of its endings. */
static void visit(struct visitor *v)
{
    static const char *const targets[] = {"/a", "/nap", "/b", "/nap/nap"};
    int fd = client(v->s);
    bool open = true;

    for (uint32_t n = pick(v, 6); open && n > 0; n--) {
        char text[2000];
        const char *target = targets[pick(v, pick(v, 3) == 0 ? 4 : 1)];
        uint32_t count = 1 + pick(v, 5);

        switch (pick(v, 8)) {
        case 0: /* in pieces */
            snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
            in_pieces(v, fd, text, 5);
            expect(fd, target);
            break;
        case 1: { /* pipelined, in pieces */
            size_t len = 0;

            for (uint32_t i = 0; i < count; i++)
                len += (size_t)snprintf(text + len, sizeof text - len,
                                        "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
            in_pieces(v, fd, text, 60);
            for (uint32_t i = 0; i < count; i++)
                expect(fd, target);
            break;
        }
        case 2: /* a body that is read */
            post_head(fd, "/read", 3000);
            put_body(fd, 3000);
            expect(fd, "3000");
            break;
        case 3: /* and one that is not */
            post_head(fd, target, 100000);
            put_body(fd, 100000);
            expect(fd, target);
            break;
        case 4:
            get_request(fd, "/a/close");
            expect(fd, "/a/close");
            expect_end(fd);
            open = false;
            break;
        case 5: /* goes without its answer */
            get_request(fd, pick(v, 2) ? "/nap" : "/long");
            if (pick(v, 2))
                reset(fd);
            else
                close(fd);
            return;
        case 6:
            get_request(fd, target);
            CHECK(shutdown(fd, SHUT_WR) == 0);
            expect(fd, target);
            expect_end(fd);
            open = false;
            break;
        default:
            get_request(fd, target);
            expect(fd, target);
        }
    }
    if (pick(v, 4) == 0)
        reset(fd);
    else
        close(fd);
}

static void *visit_often(void *arg)
{
    struct visitor *v = arg;

    for (unsigned i = 0; i < v->rounds; i++)
        visit(v);
    return NULL;
}

static void test_workers(void)
{
    enum { VISITORS = 6 };
    struct server *s = serve_on(8, false);
    struct visitor visitors[VISITORS];
    struct crew crew;

    s->forgets = true;
    s->r->timeout_ns = 20 * SEC;
    hire(&crew, s, 5);
    for (unsigned i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){.s = s, .seed = i * 7919 + 1, .rounds = 150};
        CHECK(pthread_create(&visitors[i].thread, NULL, visit_often,
                             &visitors[i]) == 0);
    }
    for (unsigned i = 0; i < VISITORS; i++)
        CHECK(pthread_join(visitors[i].thread, NULL) == 0);
    for (unsigned i = 0; n_open(s) > 0; i++) { /* the last ones notice */
        CHECK(i < 10000);
        nap_ms(1);
    }
    CHECK(atomic_load(&s->timeouts) == 0);
    dismiss(&crew);
    server_free(s);
}

/* What has been written leaves by time, though the handler is still at it. */
static void test_monitor_flushes(void)
{
    struct server *s = serve_on(2, false);
    struct crew crew;
    int fd;

    hire(&crew, s, 2);
    fd = client(s);
    get_request(fd, "/stream");
    expect(fd, "one"); /* the handler waits for the next octets */
    get_request(fd, "/a");
    expect(fd, "/a");
    close(fd);
    dismiss(&crew);
    server_free(s);
}

static void *drink(void *arg)
{
    struct server *s = arg;
    int fd = client(s);
    char one;

    get_request(fd, "/drip/close");
    for (int lines = 0; lines < DRIPS;) {
        get_octets(fd, &one, 1);
        if (one == '\n' && ++lines % 20 == 0)
            put(fd, "y");
    }
    expect_end(fd);
    close(fd);
    return NULL;
}

/* Nor is anything left when it is written while the monitor is at it. */
static void test_monitor_flushes_the_last(void)
{
    struct server *s = serve_on(4, false);
    pthread_t threads[4];
    struct crew crew;

    hire(&crew, s, 4);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, drink, s) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    dismiss(&crew);
    server_free(s);
}

static void *visit_until_cut(void *arg)
{
    struct visitor *v = arg;
    char buf[500];

    for (unsigned i = 0; i < v->rounds; i++) {
        struct timeval limit = {.tv_sec = 20};
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        CHECK(fd >= 0);
        CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
        if (connect(fd, (const struct sockaddr *)&v->s->address,
                    sizeof v->s->address) != 0) {
            close(fd);
            break;
        }
        for (int k = 0; k < 3; k++) {
            static const char text[] = "GET /nap HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTT";

            if (send(fd, text, sizeof text - 1 - pick(v, 15), MSG_NOSIGNAL) <= 0)
                break;
            ssize_t n = recv(fd, buf, sizeof buf, 0);

            CHECK(n >= 0 || errno == ECONNRESET);
            if (n <= 0)
                break;
        }
        close(fd);
    }
    return NULL;
}

/* The server ends in the middle of it: each connection ends once, none stays. */
static void test_stop_under_load(void)
{
    enum { VISITORS = 4 };

    for (unsigned round = 0; round < 6; round++) {
        struct server *s = serve_on(4, false);
        struct visitor visitors[VISITORS];
        struct crew crew;

        s->r->timeout_ns = round % 2 ? 1 * MS : 20 * SEC;
        hire(&crew, s, 4);
        for (unsigned i = 0; i < VISITORS; i++) {
            visitors[i] = (struct visitor){.s = s, .seed = i + round * 31,
                                           .rounds = 100000};
            CHECK(pthread_create(&visitors[i].thread, NULL, visit_until_cut,
                                 &visitors[i]) == 0);
        }
        nap_ms(100 + 17 * round);
        dismiss(&crew);
        CHECK(shutdown(s->listener, SHUT_RDWR) == 0);
        close(s->listener); /* resets who is in its queue */
        s->listener = -1;
        for (unsigned i = 0; i < VISITORS; i++)
            CHECK(pthread_join(visitors[i].thread, NULL) == 0);
        server_free(s);
    }
}

/* After unlisten the listener is the program's again, and may block: nobody
 * may be in accept() then, or it would take the lead with it. */
static void test_unlisten_under_load(void)
{
    struct server *s = serve_on(2, false);
    struct crew crew;

    hire(&crew, s, 1);
    dawdles = true;
    for (unsigned i = 0; i < 200; i++) {
        int fd = client(s);

        struct timespec t = {.tv_nsec = i * 37 % 500 * 10000L}; /* up to 5 ms */

        nanosleep(&t, NULL);
        ts_reactor_unlisten(s->r);
        CHECK(ts_set_nonblock(s->listener, false, NULL) == 0);
        uint64_t beats = atomic_load(&crew.beats), began = ts_monotonic_ns();

        ts_reactor_wake(s->r);
        while (atomic_load(&crew.beats) < beats + 1) {
            CHECK(ts_monotonic_ns() < began + 10 * SEC);
            sched_yield();
        }
        CHECK(ts_set_nonblock(s->listener, true, NULL) == 0);
        CHECK(ts_reactor_listen(s->r, s->listener) == 0);
        close(fd);
    }
    dawdles = false;
    for (unsigned i = 0; n_open(s) > 0; i++) {
        CHECK(i < 10000);
        nap_ms(1);
    }
    dismiss(&crew);
    server_free(s);
}

/* ---- all of them ---- */

static const struct test tests[] = {
    TEST(workers),
    TEST(monitor_flushes),
    TEST(monitor_flushes_the_last),
    TEST(stop_under_load),
    TEST(unlisten_under_load),
};

int main(int argc, char **argv)
{
    return run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
}
