/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* The way of a connection through the reactor: requests whole and in pieces, their
 * bodies, and how connections end. One thread is client and server in turn. */
#include "reactor_rig.h"

/* ---- one thread: requests ---- */

static void test_whole(void)
{
    struct server *s = single(false);
    int fd = client(s);

    for (int i = 0; i < 5; i++) {
        get_request(fd, "/a");
        pump(s);
        expect(fd, "/a");
    }
    CHECK(n_open(s) == 1 && atomic_load(&s->owners) == 1);
    /* It waits without a buffer, and the thread has them. */
    CHECK(s->last->in.data == NULL && s->last->req == NULL);
    CHECK(s->turn.spare_in != NULL && s->turn.spare_req != NULL);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

static void test_bytewise(void)
{
    const char *text = "GET /slow HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
    struct server *s = single(false);
    int fd = client(s);

    for (int i = 0; i < 2; i++) {
        for (const char *p = text; *p; p++) {
            expect_nothing(fd);
            put_octets(fd, p, 1);
            while (next(s, 0) != TS_TASK_WOKEN)
                ;
        }
        pump(s);
        expect(fd, "/slow");
    }
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* n requests cut at random; every answer comes, in order. */
static void pipelined(unsigned n, uint32_t piece, const char *more)
{
    struct server *s = single(false);
    int fd = client(s);
    size_t len = 0;
    char *text = malloc(n * 100 + 1);
    uint32_t seed = 7;

    CHECK(text != NULL);
    for (unsigned i = 0; i < n; i++)
        len += (size_t)sprintf(
            text + len, "POST /%u%s HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n%.*s",
            i, more, i % 4, (int)(i % 4), "bcd");
    for (size_t at = 0; at < len;) {
        seed = seed * 1664525u + 1013904223u;
        size_t some = piece ? 1 + (seed >> 8) % piece : len;

        if (some > len - at)
            some = len - at;
        put_octets(fd, text + at, some);
        if (piece)
            while (next(s, 0) != TS_TASK_WOKEN)
                ;
        at += some;
    }
    pump(s);
    for (unsigned i = 0; i < n; i++) {
        char want[40];

        snprintf(want, sizeof want, "/%u%s", i, more);
        expect(fd, want);
    }
    expect_nothing(fd);
    free(text);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

static void test_pipelined(void)
{
    pipelined(500, 0, "");
    pipelined(300, 150, "");
    pipelined(100, 20, "");
    pipelined(100, 0, "/through");
}

/* What the general parser has to see is not answered before what came first. */
static void test_general_after_plain(void)
{
    struct server *s = single(false);
    int fd = client(s);

    put(fd, "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b\r\n\r\n");
    pump(s);
    expect(fd, "/a");
    expect(fd, "general");
    expect_end(fd);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

static void test_half_closed(void)
{
    static const char *const heads[] = {
        "", "GET /a HTT", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n12",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12"};
    static const char *const answers[] = {
        "", "refused", "/a", "Incomplete body", "Incomplete body", "/a", "Incomplete body"};

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        for (int first = 0; first < 3; first++) { /* after a request; apart */
            struct server *s = single(false);
            int fd = client(s);

            if (first == 1) {
                get_request(fd, "/first");
                pump(s);
                expect(fd, "/first");
            }
            put(fd, heads[i]);
            if (first == 2)
                pump(s);
            CHECK(shutdown(fd, SHUT_WR) == 0);
            pump(s);
            if (*answers[i])
                expect(fd, answers[i]);
            expect_end(fd);
            CHECK(n_open(s) == 0);
            close(fd);
            single_end(s);
        }
}

static void test_reset(void)
{
    static const char *const heads[] = {
        "", "GET /a HTT", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /long HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n12"};

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        for (int apart = 0; apart < 2; apart++) {
            struct server *s = single(false);
            int fd = client(s);

            put(fd, heads[i]);
            if (apart)
                pump(s);
            reset(fd);
            pump(s);
            CHECK(all_close(s));
            single_end(s);
        }
}

static void test_bodies(void)
{
    struct server *s = single(false);
    int fd = client(s);

    post_head(fd, "/read", 5); /* small: awaited */
    put(fd, "12");
    pump(s);
    CHECK(atomic_load(&s->handled) == 0);
    put(fd, "345");
    pump(s);
    expect(fd, "5");

    put(fd, "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    pump(s);
    expect(fd, "13"); /* this handler reads the coding as it is */
    expect(fd, "/next");

    post_head(fd, "/left", 5); /* unread, all of it here */
    put(fd, "12345");
    get_request(fd, "/b");
    pump(s);
    expect(fd, "/left");
    expect(fd, "/b");

    post_head(fd, "/left", 100000); /* unread, most of it to come */
    put(fd, "12345");
    pump(s);
    expect(fd, "/left");
    put_body(fd, 50000);
    pump(s);
    put_body(fd, 100000 - 50000 - 5);
    get_request(fd, "/c");
    pump(s);
    expect(fd, "/c");

    put(fd, "POST /left HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na");
    pump(s); /* awaited, too */
    expect_nothing(fd);
    put(fd, "bc\r\n0\r\n\r");
    pump(s);
    expect_nothing(fd);
    put(fd, "\nGET /d HTTP/1.1\r\nHost: x\r\n\r\n");
    pump(s);
    expect(fd, "/left");
    expect(fd, "/d");
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

static unsigned refused(struct server *s)
{
    return atomic_load(&s->refused);
}

/* A chunked body that is too long to be awaited: the handler has what there is. */
static void test_long_chunked(void)
{
    static char chunk[70000];
    struct server *s = single(false);
    int fd = client(s);

    memset(chunk, 'c', sizeof chunk);
    for (int decode = 0; decode < 2; decode++)
        for (int read = 0; read < 2; read++) {
            const char *target = read ? decode ? "/read/decode" : "/read" : "/left";
            char text[200];

            snprintf(text, sizeof text,
                     "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "%zx;a=b\r\n", target, sizeof chunk);
            put(fd, text);
            put_octets(fd, chunk, sizeof chunk);
            put(fd, "\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n");
            get_request(fd, "/next");
            pump(s);
            snprintf(text, sizeof text, "%zu",
                     decode ? sizeof chunk + 3 : 11 + sizeof chunk + 2 + 8 + 3 + 6 + 2);
            expect(fd, read ? text : "/left");
            expect(fd, "/next");
        }
    CHECK(refused(s) == 0);
    close(fd);
    pump(s);
    single_end(s);
}

/* What is wrong with a small body is known before the handler runs, and nothing
 * after it is a request. */
static void test_bodies_refused(void)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
         "Invalid chunked body"},
        {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
         "Invalid chunked body"},
        {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
         "Expect: 100-continue\r\n\r\nx", "Invalid chunked body"},
        {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n12", "Body too long"},
        {"POST /a HTTP/1.1\r\nHost: x\r\nExpect: gold\r\n\r\n", "Unsupported expectation"},
        {"GET /a HTTP/1.1\r\n\r\n", "Missing Host"},
        {"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", "Invalid Content-Length"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int bytewise = 0; bytewise < 3; bytewise++) {
            struct server *s = single(false);
            struct ts_rules rules = rules_of(s);
            int fd = client(s);

            if (bytewise == 1 && strstr(cases[i].text, "100-continue"))
                bytewise = 2; /* its handler would not wait for the body */
            rules.body_max = 100;
            set_rules(s, &rules);
            if (bytewise == 2) { /* behind another one */
                get_request(fd, "/first");
                put(fd, cases[i].text);
                get_request(fd, "/smuggled");
                pump(s);
                expect(fd, "/first");
            } else if (bytewise) {
                for (const char *p = cases[i].text; *p; p++) {
                    put_octets(fd, p, 1);
                    while (next(s, 0) != TS_TASK_WOKEN)
                        ;
                }
            } else {
                put(fd, cases[i].text);
                get_request(fd, "/smuggled");
                pump(s);
            }
            expect(fd, cases[i].why);
            expect_end(fd);
            CHECK(refused(s) == 1);
            CHECK(atomic_load(&s->handled) == 1u + (bytewise == 2));
            close(fd);
            pump(s);
            CHECK(all_close(s));
            single_end(s);
        }
}

/* A body up to the limit is right; a chunked one is the handler's to count. */
static void test_longest_body(void)
{
    struct server *s = single(false);
    struct ts_rules rules = rules_of(s);
    int fd = client(s);

    rules.body_max = 5;
    set_rules(s, &rules);
    post_head(fd, "/read", 5);
    put(fd, "12345");
    pump(s);
    expect(fd, "5");
    rules.body_max = 0;
    set_rules(s, &rules);
    post_head(fd, "/read", 0);
    pump(s);
    expect(fd, "0");
    post_head(fd, "/read", 1);
    pump(s);
    expect(fd, "Body too long");
    expect_end(fd);
    close(fd);
    pump(s);
    single_end(s);
}

/* Not awaited: the client waits itself, or what follows is no body. */
static void test_not_awaited(void)
{
    struct server *s = single(false);
    int fd = client(s);

    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    pump(s);
    expect(fd, "/a");
    put(fd, "12345");
    get_request(fd, "/next");
    pump(s);
    expect(fd, "/next");
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Expect: 100-continue\r\n\r\n");
    pump(s);
    expect(fd, "/a");
    put(fd, "0\r\n\r\n");
    get_request(fd, "/next");
    pump(s);
    expect(fd, "/next");
    put(fd, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\n");
    pump(s);
    expect(fd, "a:80");
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* One empty line before a request is passed over, in however many pieces. */
static void test_empty_line_before(void)
{
    struct server *s = single(false);
    int fd = client(s);

    for (int i = 0; i < 3; i++) {
        const char *text = "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n";

        for (const char *p = text; *p; p++) {
            put_octets(fd, p, 1);
            if (i == 1)
                while (next(s, 0) != TS_TASK_WOKEN)
                    ;
        }
        pump(s);
        expect(fd, "/a");
    }
    put(fd, "\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    pump(s);
    expect(fd, "refused");
    expect_end(fd);
    CHECK(atomic_load(&s->handled) == 4);
    close(fd);
    pump(s);

    fd = client(s); /* and nothing after it */
    put(fd, "\r\n");
    pump(s);
    CHECK(n_open(s) == 1);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    pump(s);
    expect_end(fd);
    CHECK(n_open(s) == 0 && atomic_load(&s->handled) == 4);
    close(fd);

    fd = client(s); /* not quite one */
    put(fd, "\rGET /a HTTP/1.1\r\n\r\n");
    pump(s);
    expect(fd, "refused");
    expect_end(fd);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* ---- one thread: endings ---- */

/* The peer is still sending when its answer and the end come: it gets both.
 * again: not the first request, so that the poller knows the descriptor. */
static void lingers(const char *target, bool again, bool forgets)
{
    struct server *s = single(false);
    int fd = client(s);

    s->forgets = forgets;
    s->r->timeout_ns = 30 * SEC;
    if (again) {
        get_request(fd, "/first");
        pump(s);
        expect(fd, "/first");
    }
    post_head(fd, target, 100000000);
    put_body(fd, 70000);
    pump(s);
    struct ts_conn *c = s->last;

    if (strstr(target, "/close") == NULL) /* it has to be seen to be too long */
        put_body(fd, ts_reactor_rules(s->r)->drain_max);
    pump(s);
    CHECK(n_open(s) == 1 && c->phase == TS_PHASE_LINGER);
    CHECK(atomic_load(&s->owners) == 0);
    uint64_t deadline = atomic_load(&c->deadline), now = ts_monotonic_ns();

    CHECK(deadline > now && deadline <= now + TS_LINGER_NS);
    put_body(fd, 50000); /* is read: it makes no reset */
    pump(s);
    CHECK(n_open(s) == 1);
    CHECK(atomic_load(&c->deadline) == deadline); /* and buys no time */
    expect(fd, target);
    expect_end(fd);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

static void test_linger(void)
{
    for (int forgets = 0; forgets < 2; forgets++)
        for (int again = 0; again < 2; again++) {
            lingers("/close", again, forgets);
            lingers("/left", again, forgets);
        }
}

static void test_linger_ends(void)
{
    struct server *s = single(false);
    int fd = client(s);
    uint64_t began = ts_monotonic_ns();

    post_head(fd, "/close", 100000000);
    while (next(s, (int64_t)SEC) != TS_TASK_REQUEST)
        ;
    while (n_open(s) > 0 && ts_monotonic_ns() < began + 2 * TS_LINGER_NS)
        next(s, (int64_t)SEC);
    CHECK(n_open(s) == 0);
    CHECK(ts_monotonic_ns() - began >= TS_LINGER_NS - 10000000ull);
    close(fd);

    fd = client(s); /* or when it has had enough */
    post_head(fd, "/close", 100000000);
    pump(s);
    for (int i = 0; i < 100 && n_open(s) > 0; i++) {
        char piece[10000] = {0};

        (void)!send(fd, piece, sizeof piece, MSG_NOSIGNAL);
        pump(s);
    }
    CHECK(n_open(s) == 0);
    close(fd);
    single_end(s);
}

static void test_keep_or_close(void)
{
    struct server *s = single(false);
    int fd = client(s);

    get_request(fd, "/a/close");
    get_request(fd, "/never");
    pump(s);
    expect(fd, "/a/close");
    expect_end(fd);
    close(fd);
    pump(s); /* it lingered: what came is no request any more */
    CHECK(n_open(s) == 0 && atomic_load(&s->handled) == 1);
    single_end(s);
}

/* ---- all of them ---- */

static const struct test tests[] = {
    TEST(whole),
    TEST(bytewise),
    TEST(pipelined),
    TEST(general_after_plain),
    TEST(half_closed),
    TEST(reset),
    TEST(bodies),
    TEST(long_chunked),
    TEST(bodies_refused),
    TEST(longest_body),
    TEST(not_awaited),
    TEST(empty_line_before),
    TEST(linger),
    TEST(linger_ends),
    TEST(keep_or_close),
};

int main(int argc, char **argv)
{
    return run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
}
