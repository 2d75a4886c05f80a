/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* Connections with TLS, as the reactor knows them: a handshake before the first
 * request, octets that are here although the kernel has none, and an end that is
 * told. What stands for TLS here changes no octet. One thread is client and server
 * in turn. */
#include "reactor_rig.h"

/* ---- what stands for TLS ---- */

struct session {
    char data[4096]; /* received, and not given out from pos on */
    uint32_t pos, end;
    bool empty; /* the kernel was, at the last look */
    bool greeted, shaken;
};

static struct {
    unsigned begun, ended, told;
    size_t flight; /* octets of the server's answer to "hi" */
} tls;

static struct session *session_of(struct ts_conn *c)
{
    if (c->session == NULL) {
        c->session = calloc(1, sizeof(struct session));
        CHECK(c->session != NULL);
        tls.begun++;
    }
    return c->session;
}

/* More octets in the session; 0 at the end, -EAGAIN. */
static ssize_t feed(struct ts_conn *c)
{
    struct session *session = session_of(c);
    uint32_t room = sizeof session->data - session->end;
    ssize_t n = ts_recv(c->fd, session->data + session->end, room);

    session->empty = n < (ssize_t)room;
    if (n > 0)
        session->end += (uint32_t)n;
    return n;
}

/* Seven octets at a time, however many there are. */
static int fake_fill(struct ts_conn *c)
{
    struct session *session = session_of(c);
    uint32_t n;

    CHECK(atomic_load(&c->word) & TS_WORD_OWNED);
    if (session->pos == session->end) {
        session->pos = session->end = 0;
        ssize_t got = feed(c);

        c->eof = got == 0;
        c->broken = got < 0 && got != -EAGAIN;
        c->error = c->broken ? (int)-got : 0;
    }
    n = session->end - session->pos;
    if (n > 7)
        n = 7;
    if (n > 0 && ts_in_reserve(&c->in, n) != 0)
        return -ENOMEM;
    if (n > 0)
        memcpy(c->in.data + c->in.end, session->data + session->pos, n);
    c->in.end += n;
    session->pos += n;
    if (session->pos == session->end && session->empty && (!c->hup || n == 0))
        c->readable = false;
    return 0;
}

static void fake_end(struct ts_conn *c, int notify)
{
    tls.ended++;
    if (notify && ((struct session *)c->session)->shaken) {
        tls.told++;
        ts_send(c->fd, "bye", 3);
    }
    free(c->session);
    c->session = NULL;
}

static const struct ts_tls fake = {fake_fill, fake_end};

/* "hi", to which the flight is the answer, then "ok". Anything else is none. */
static enum ts_task fake_shake(struct server *s, struct ts_turn *turn, struct ts_conn *c)
{
    static char flight[1 << 20];
    struct session *session = session_of(c);

    CHECK(c->phase == TS_PHASE_HANDSHAKE && ts_out_unsent(&c->out) == 0);
    c->readable = feed(c) > 0 && !session->empty;
    if (session->end - session->pos < 2)
        return c->hup ? TS_TASK_GONE : ts_reactor_go_on(s->r, turn, c);
    if (memcmp(session->data + session->pos, session->greeted ? "ok" : "hi", 2) != 0) {
        c->linger = true;
        return TS_TASK_GONE;
    }
    session->pos += 2;
    if (!session->greeted) {
        session->greeted = true;
        memset(flight, 'f', tls.flight);
        CHECK(ts_out_add(&c->out, flight, tls.flight) == TS_OUT_FIRST);
        return ts_reactor_go_on(s->r, turn, c); /* which sends it */
    }
    session->shaken = true;
    ts_reactor_shaken(c);
    c->readable = true;
    return ts_reactor_go_on(s->r, turn, c);
}

static struct server *with_tls(bool small)
{
    struct server *s = single(small);

    memset(&tls, 0, sizeof tls);
    tls.flight = 5;
    s->r->tls = &fake;
    s->shake = fake_shake;
    return s;
}

static void expect_octets(int fd, const char *want)
{
    char got[100];

    get_octets(fd, got, strlen(want));
    CHECK(memcmp(got, want, strlen(want)) == 0);
}

static int shaken_client(struct server *s)
{
    int fd = client(s);

    put(fd, "hi");
    expect_octets(fd, "fffff");
    put(fd, "ok");
    pump(s);
    return fd;
}

/* ---- handshakes ---- */

static void test_silence_costs_nothing(void)
{
    struct server *s = with_tls(false);
    int fd = client(s);

    pump(s);
    CHECK(n_open(s) == 1 && tls.begun == 0 && atomic_load(&s->owners) == 0);
    put(fd, "h");
    pump(s);
    CHECK(tls.begun == 1);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    CHECK(tls.ended == 1);
    single_end(s);
}

/* The last of the handshake and the first requests in one packet, of which the
 * session gives seven octets at a time: the kernel tells nothing of the rest. */
static void test_octets_that_the_kernel_has_not(void)
{
    struct server *s = with_tls(false);
    int fd = client(s);

    put(fd, "hi");
    expect_octets(fd, "fffff");
    put(fd, "okGET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"
            "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
            "012345678901234567890123456789GET /c HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, "/a");
    expect(fd, "/b");
    expect(fd, "30");
    expect(fd, "/c");
    get_request(fd, "/close");
    expect(fd, "/close");
    expect_octets(fd, "bye");
    expect_end(fd);
    close(fd);
    CHECK(tls.begun == 1 && tls.ended == 1 && tls.told == 1);
    CHECK(all_close(s));
    single_end(s);
}

static void test_what_is_no_handshake(void)
{
    struct server *s = with_tls(false);
    int fd = client(s), other = shaken_client(s);

    put(fd, "GET / HTTP/1.1\r\n\r\n");
    pump(s);
    expect_end(fd); /* our side is shut */
    CHECK(tls.ended == 1 && tls.told == 0 && n_open(s) == 2); /* what lingers has no session */
    put(fd, "more of it");
    get_request(other, "/a");
    expect(other, "/a");
    close(fd);
    close(other);
    pump(s);
    CHECK(all_close(s));
    CHECK(tls.ended == 2);
    single_end(s);
}

/* What the kernel does not take of a flight leaves when it does, without Python. */
static void test_a_flight_larger_than_the_kernel(void)
{
    struct server *s = with_tls(true);
    int fd = connect_small(s, 4096);
    static char flight[400000];

    tls.flight = sizeof flight;
    put(fd, "hi");
    pump(s);
    CHECK(ts_out_unsent(&ts_slots_at(&s->r->slots, 0)->out) > 0);
    put(fd, "okGET /a HTTP/1.1\r\nHost: x\r\n\r\n"); /* too early, and not lost */
    pump(s);
    CHECK(atomic_load(&s->handled) == 0);
    get_octets(fd, flight, sizeof flight);
    expect(fd, "/a");
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

static void test_deadline(void)
{
    for (int drips = 0; drips < 2; drips++) {
        struct server *s = with_tls(false);
        int fd = client(s);
        uint64_t began = ts_monotonic_ns();

        s->r->handshake_ns = 300 * MS;
        s->r->timeout_ns = 20 * MS; /* the handler's own is for requests */
        pump(s);
        while (n_open(s) > 0) {
            CHECK(ts_monotonic_ns() < began + 10 * SEC);
            if (drips == 1) {
                drips++;
                put(fd, "h"); /* does not prolong it */
            }
            next(s, 50 * (int64_t)MS);
        }
        CHECK(ts_monotonic_ns() - began >= 250 * MS && atomic_load(&s->timeouts) == 0);
        close(fd);
        single_end(s);
    }
}

/* ---- the end ---- */

static void test_who_has_no_request_ends(void)
{
    struct server *s = with_tls(false);
    int silent = client(s), begun = client(s), idle;
    uint32_t at = 0;
    struct ts_conn *c;

    put(begun, "h");
    idle = shaken_client(s);
    pump(s);
    CHECK(n_open(s) == 3);
    ts_reactor_drain(s->r, true, true);
    while ((c = ts_reactor_reap_idle(s->r, &at)) != NULL) {
        enum ts_task task = ts_reactor_go_on(s->r, &s->turn, c);

        if (task != TS_TASK_NONE)
            serve(s, s->worker, &s->turn, c, task);
    }
    CHECK(n_open(s) == 0);
    expect_octets(idle, "bye");
    expect_end(idle);
    expect_end(silent);
    close(silent);
    close(begun);
    close(idle);
    CHECK(tls.begun == tls.ended);
    single_end(s);
}

static void test_stop_in_a_handshake(void)
{
    struct server *s = with_tls(false);
    int silent = client(s), begun = client(s), idle = shaken_client(s);

    put(begun, "h");
    pump(s);
    CHECK(n_open(s) == 3);
    end_parked(s);
    CHECK(n_open(s) == 0 && tls.begun == tls.ended && tls.begun == 3 - 1);
    close(silent);
    close(begun);
    close(idle);
    single_end(s);
}

static void test_broken_connections_are_told_nothing(void)
{
    struct server *s = with_tls(false);
    int fd = shaken_client(s);
    struct linger at_once = {1, 0};

    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    CHECK(tls.ended == 1 && tls.told == 0);
    single_end(s);
}

static const struct test tests[] = {
    TEST(silence_costs_nothing),
    TEST(octets_that_the_kernel_has_not),
    TEST(what_is_no_handshake),
    TEST(a_flight_larger_than_the_kernel),
    TEST(deadline),
    TEST(who_has_no_request_ends),
    TEST(stop_in_a_handshake),
    TEST(broken_connections_are_told_nothing),
};

int main(int argc, char **argv)
{
    return run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
}
