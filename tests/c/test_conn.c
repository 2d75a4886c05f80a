/* units: conn.c buffer.c body.c chunked.c scan_simd.c sock.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* Who owns a connection, one rule at a time and then with many threads that
 * fight for it; reading; and what is left of a body. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "conn.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* As the table of connections makes one: free, which counts as owned. */
static void make(struct ts_conn *c, int fd)
{
    memset(c, 0, sizeof *c);
    atomic_store(&c->word, TS_WORD_OWNED);
    atomic_flag_clear(&c->out.lock);
    ts_conn_open(c, fd);
}

static uint32_t generation(struct ts_conn *c)
{
    return ts_conn_generation(atomic_load(&c->word));
}

/* ---- ownership, one thread ---- */

static void test_key_names_slot_and_generation(void)
{
    struct ts_conn c;

    make(&c, -1);
    c.slot = 7;
    CHECK(ts_conn_key(&c) == 7);
    ts_conn_reset(&c);
    CHECK(ts_conn_key(&c) == (UINT64_C(1) << 32 | 7));
}

static void test_parked_is_claimed_once(void)
{
    struct ts_conn c;

    make(&c, -1);
    uint32_t gen = generation(&c);

    CHECK(!ts_conn_claim_parked(&c)); /* it is ours */
    CHECK(ts_conn_release(&c));
    CHECK(ts_conn_claim(&c, gen, false));
    CHECK(!c.hup);
    CHECK(!ts_conn_claim_parked(&c));
    CHECK(!ts_conn_claim(&c, gen, false)); /* remembered: */
    c.readable = false;
    CHECK(!ts_conn_release(&c)); /* the news is ours, and so is c */
    CHECK(c.readable && !c.hup);
    CHECK(!ts_conn_claim_parked(&c));
    CHECK(ts_conn_release(&c)); /* told once */
    CHECK(ts_conn_claim_parked(&c));
    CHECK(ts_conn_release(&c));
}

static void test_hup_is_remembered(void)
{
    struct ts_conn c;

    make(&c, -1);
    uint32_t gen = generation(&c);

    CHECK(!ts_conn_claim(&c, gen, true));
    CHECK(!ts_conn_release(&c));
    CHECK(c.hup);

    make(&c, -1); /* in two events, in either order */
    CHECK(!ts_conn_claim(&c, gen, false));
    CHECK(!ts_conn_claim(&c, gen, true));
    CHECK(!ts_conn_claim(&c, gen, false));
    CHECK(!ts_conn_release(&c));
    CHECK(c.hup && c.readable);

    make(&c, -1);
    CHECK(ts_conn_release(&c));
    CHECK(ts_conn_claim(&c, gen, true));
    CHECK(c.hup);
}

static void test_stale_events_do_nothing(void)
{
    struct ts_conn c;

    make(&c, -1);
    uint32_t gen = generation(&c);

    CHECK(!ts_conn_claim(&c, gen, true)); /* pending, as it is closed */
    ts_conn_reset(&c);
    CHECK(generation(&c) == gen + 1);
    CHECK(!ts_conn_claim(&c, gen, true)); /* free: nobody gets it */
    CHECK(!ts_conn_claim(&c, gen + 1, true));
    CHECK(!ts_conn_claim_parked(&c));

    ts_conn_reset(&c);
    ts_conn_open(&c, -1);
    CHECK(!ts_conn_claim(&c, gen, true));
    CHECK(!ts_conn_claim(&c, gen + 1, true));
    CHECK(ts_conn_release(&c) && !c.hup); /* none of it stuck */
    CHECK(!ts_conn_claim(&c, gen + 1, true));
    CHECK(ts_conn_claim(&c, gen + 2, false));

    /* The generation comes round in 32 bits, as keys have them. */
    atomic_store(&c.word, (uint64_t)UINT32_MAX << 8 | TS_WORD_OWNED);
    ts_conn_reset(&c);
    CHECK(generation(&c) == 0 && atomic_load(&c.word) == TS_WORD_OWNED);
}

/* Nothing is left of the connection before, whatever it was at. */
static void test_opened_afresh(void)
{
    struct ts_conn c;

    make(&c, -1);
    c.timeout_ns = c.input.began_ns = c.input.moved = c.output.began_ns = 5;
    c.phase = TS_PHASE_LINGER;
    c.scan = TS_SCAN_REFUSED;
    c.readable = false;
    c.hup = c.eof = c.broken = c.registered = c.wants_write = true;
    c.keep = c.through = c.lent = c.linger = c.blank = true;
    c.skip_budget = 7;
    c.error = ECONNRESET;
    ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
    ts_conn_reset(&c);
    ts_conn_open(&c, 9);
    CHECK(c.fd == 9 && c.phase == TS_PHASE_HEAD && c.scan == TS_SCAN_PARTIAL);
    CHECK(c.timeout_ns == 0 && c.input.began_ns == 0 && c.input.moved == 0);
    CHECK(c.output.began_ns == 0);
    CHECK(c.readable && !c.hup && !c.eof && !c.broken && !c.registered);
    CHECK(!c.wants_write && !c.keep && !c.through && !c.lent && !c.linger);
    CHECK(!c.blank && c.skip_budget == 0 && c.error == 0);
    CHECK(ts_body_done(&c.body));
    c.input.began_ns = c.input.moved = 5;
    ts_clock_reset(&c.input);
    CHECK(c.input.began_ns == 0 && c.input.moved == 0);
    ts_conn_reset(&c);
}

static void test_a_free_one_has_no_deadline(void)
{
    struct ts_conn c;

    make(&c, -1);
    atomic_store(&c.deadline, 5);
    ts_conn_reset(&c);
    CHECK(atomic_load(&c.deadline) == 0); /* or a sweep would come back for it */
}

/* ---- ownership, many threads ---- */

/* What the owner alone may touch, unguarded: ThreadSanitizer is the judge. */
struct fight {
    struct ts_conn c;
    uint64_t owned; /* times somebody had it */
    uint32_t gen;   /* of the connection; only its owner ends it */
    _Atomic uint64_t key_gen; /* what posters read: may be stale when used */
    _Atomic bool ended;
    _Atomic int inside;
};

/* The owner's work, up to parking it, or to closing and opening it anew. */
static void own(struct fight *f)
{
    bool again = false;

    do {
        CHECK(atomic_fetch_add(&f->inside, 1) == 0);
        CHECK(f->gen == generation(&f->c));
        if (++f->owned % 64 == 0) {
            ts_conn_reset(&f->c);
            f->gen++;
            ts_conn_open(&f->c, -1);
            atomic_store(&f->key_gen, f->gen);
        }
        if (f->owned % 7 == 0)
            sched_yield();
        CHECK(atomic_fetch_sub(&f->inside, 1) == 1);
        again = !ts_conn_release(&f->c);
    } while (again);
}

static void *poster(void *arg)
{
    struct fight *f = arg;

    for (int i = 0; i < 200000; i++) {
        uint32_t gen = (uint32_t)atomic_load(&f->key_gen);

        if (ts_conn_claim(&f->c, gen, i % 16 == 0))
            own(f);
    }
    return NULL;
}

static void *sweeper(void *arg)
{
    struct fight *f = arg;

    while (!atomic_load(&f->ended)) {
        if (ts_conn_claim_parked(&f->c))
            own(f);
        sched_yield();
    }
    return NULL;
}

static void test_one_owner_at_a_time(void)
{
    enum { POSTERS = 3 };
    struct fight f = {.ended = false};
    pthread_t threads[POSTERS + 1];

    make(&f.c, -1);
    CHECK(ts_conn_release(&f.c));
    CHECK(pthread_create(&threads[POSTERS], NULL, sweeper, &f) == 0);
    for (int i = 0; i < POSTERS; i++)
        CHECK(pthread_create(&threads[i], NULL, poster, &f) == 0);
    for (int i = 0; i < POSTERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    atomic_store(&f.ended, true);
    CHECK(pthread_join(threads[POSTERS], NULL) == 0);
    CHECK(ts_conn_claim_parked(&f.c)); /* everybody has let go of it */
    CHECK(f.owned > 0);
}

/* No event is lost: a poster counts, then claims; after its claim either it or
 * the owner of that moment sees the count. One generation, so none is stale. */
struct edge {
    struct ts_conn c;
    _Atomic uint64_t posted;
    _Atomic uint64_t seen;
    _Atomic bool ended;
};

static void edge_own(struct edge *e)
{
    do
        atomic_store(&e->seen, atomic_load(&e->posted));
    while (!ts_conn_release(&e->c));
}

static void *edge_owner(void *arg)
{
    struct edge *e = arg;

    while (!atomic_load(&e->ended))
        if (ts_conn_claim_parked(&e->c))
            edge_own(e);
    return NULL;
}

static void test_no_edge_is_lost(void)
{
    struct edge e = {.ended = false};
    pthread_t thread;

    make(&e.c, -1);
    CHECK(ts_conn_release(&e.c));
    CHECK(pthread_create(&thread, NULL, edge_owner, &e) == 0);
    for (uint64_t i = 1; i <= 200000; i++) {
        atomic_store(&e.posted, i);
        if (ts_conn_claim(&e.c, 0, false))
            edge_own(&e);
        for (unsigned spins = 0; atomic_load(&e.seen) != i; spins++) {
            CHECK(spins < 100000000u);
            sched_yield();
        }
    }
    atomic_store(&e.ended, true);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- reading ---- */

static void put(int fd, const char *data, size_t n)
{
    CHECK(send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n);
}

static void test_fill(void)
{
    struct ts_conn c;
    char data[3 * TS_IN_FIRST];
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    make(&c, s[0]);
    CHECK(c.readable);
    CHECK(ts_conn_fill(&c) == 0); /* nothing yet */
    CHECK(!c.readable && !c.eof && !c.broken && c.in.end == 0);

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i % 251);
    put(s[1], data, sizeof data);
    c.readable = true;
    CHECK(ts_conn_fill(&c) == 0);
    CHECK(c.readable && c.in.end == TS_IN_FIRST); /* full: there may be more */
    while (c.readable)
        CHECK(ts_conn_fill(&c) == 0);
    CHECK(c.in.end == sizeof data && memcmp(c.in.data, data, sizeof data) == 0);
    CHECK(c.in.cap < 2 * sizeof data);

    /* The end behind data, its edge already seen: it is read on. */
    c.in.head = c.in.pos = c.in.end;
    put(s[1], "x", 1);
    close(s[1]);
    c.hup = c.readable = true; /* as the event sets them */
    CHECK(ts_conn_fill(&c) == 0);
    CHECK(c.in.data[c.in.end - 1] == 'x' && c.readable && !c.eof);
    CHECK(ts_conn_fill(&c) == 0);
    CHECK(c.eof && !c.readable && !c.broken);
    ts_conn_reset(&c);
    CHECK(c.in.data == NULL && c.fd == -1);
    close(s[0]);
}

static void test_fill_of_a_broken_one(void)
{
    struct ts_conn c;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    put(s[0], "unread", 6); /* makes the close below a reset */
    close(s[1]);
    make(&c, s[0]);
    CHECK(ts_conn_fill(&c) == 0);
    CHECK(c.broken && c.error == ECONNRESET && !c.readable && !c.eof);
    ts_conn_reset(&c);
    close(s[0]);
}

/* ---- what is left of a body ---- */

static struct ts_chunk_limits limits;

/* In the window: this. The head of the request was a "H". */
static void hold(struct ts_conn *c, const char *octets)
{
    size_t n = strlen(octets);

    make(c, -1);
    c->skip_budget = 100;
    CHECK(ts_in_reserve(&c->in, (uint32_t)n + 1) == 0);
    c->in.data[0] = 'H';
    memcpy(c->in.data + 1, octets, n);
    c->in.pos = 1;
    c->in.end = 1 + (uint32_t)n;
}

static void more(struct ts_conn *c, const char *octets)
{
    size_t n = strlen(octets);

    CHECK(ts_in_reserve(&c->in, (uint32_t)n) == 0);
    memcpy(c->in.data + c->in.end, octets, n);
    c->in.end += (uint32_t)n;
}

static void unread_is(const struct ts_conn *c, const char *want)
{
    CHECK(ts_in_unread(&c->in) == strlen(want));
    CHECK(memcmp(c->in.data + c->in.pos, want, strlen(want)) == 0);
}

static void test_no_body(void)
{
    struct ts_conn c;

    hold(&c, "next");
    ts_body_begin(&c.body, TS_BODY_NONE, 0);
    CHECK(ts_body_done(&c.body));
    CHECK(ts_conn_skip_body(&c, &limits) == 1);
    unread_is(&c, "next");
    ts_conn_reset(&c);

    make(&c, -1); /* nothing buffered either */
    CHECK(ts_conn_skip_body(&c, &limits) == 1);
    ts_conn_reset(&c);
}

static void test_length(void)
{
    struct ts_conn c;

    hold(&c, "12345next");
    ts_body_begin(&c.body, TS_BODY_LENGTH, 5);
    CHECK(!ts_body_done(&c.body));
    CHECK(ts_conn_skip_body(&c, &limits) == 1);
    CHECK(ts_body_done(&c.body));
    unread_is(&c, "next");
    ts_conn_reset(&c);

    /* Half of it taken by the handler, the rest comes in pieces. */
    hold(&c, "123");
    ts_body_begin(&c.body, TS_BODY_LENGTH, 8);
    c.in.pos += 2;
    ts_body_took(&c.body, c.in.data + 1, 2, &limits);
    CHECK(c.body.left == 6);
    CHECK(ts_conn_skip_body(&c, &limits) == 0);
    CHECK(c.body.left == 5 && c.skip_budget == 99);
    CHECK(c.in.head == c.in.pos); /* nothing is kept of what is skipped */
    more(&c, "45678GET");
    CHECK(ts_conn_skip_body(&c, &limits) == 1);
    unread_is(&c, "GET");
    ts_conn_reset(&c);

    /* All of it taken, and no more is shown. */
    size_t skip, n;

    hold(&c, "123");
    ts_body_begin(&c.body, TS_BODY_LENGTH, 2);
    ts_body_peek(&c.body, c.in.data + 1, 3, &limits, &skip, &n);
    CHECK(skip == 0 && n == 2);
    c.in.pos += 2;
    ts_body_took(&c.body, c.in.data + 1, 2, &limits);
    CHECK(ts_body_done(&c.body) && c.body.left == 0);
    CHECK(ts_conn_skip_body(&c, &limits) == 1);
    unread_is(&c, "3");
    ts_conn_reset(&c);
}

static const char chunks[] = "4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\nT: t\r\n\r\n";

static void test_chunked(void)
{
    size_t n = sizeof chunks - 1;
    struct ts_conn c;

    /* Cut at each place: taken by the handler up to there, then skipped. */
    for (size_t cut = 0; cut <= n; cut++) {
        char text[64];

        snprintf(text, sizeof text, "%sGET", chunks);
        hold(&c, text);
        ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
        ts_body_took(&c.body, c.in.data + c.in.pos, cut, &limits);
        c.in.pos += (uint32_t)cut;
        CHECK(ts_body_done(&c.body) == (cut == n));
        CHECK(ts_conn_skip_body(&c, &limits) == 1);
        CHECK(ts_body_done(&c.body));
        unread_is(&c, "GET");
        ts_conn_reset(&c);
    }
    /* One octet at a time. */
    hold(&c, "");
    ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
    for (size_t i = 0; i < n; i++) {
        char one[2] = {chunks[i], '\0'};

        CHECK(ts_conn_skip_body(&c, &limits) == 0);
        more(&c, one);
        CHECK(ts_conn_skip_body(&c, &limits) == (i + 1 == n));
    }
    unread_is(&c, "");
    ts_conn_reset(&c);
    /* Nothing in the window, and no window. */
    make(&c, -1);
    ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
    CHECK(ts_conn_skip_body(&c, &limits) == 0);
    ts_conn_reset(&c);
}

static void test_malformed_or_opaque(void)
{
    struct ts_conn c;

    hold(&c, "2\r\nabXX0\r\n\r\n");
    ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
    CHECK(ts_conn_skip_body(&c, &limits) == -1);
    CHECK(!ts_body_done(&c.body));
    CHECK(ts_conn_skip_body(&c, &limits) == -1);
    ts_conn_reset(&c);

    hold(&c, "2\r\nabXX0\r\n\r\n"); /* found while the handler reads */
    ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
    ts_body_took(&c.body, c.in.data + c.in.pos, 5, &limits);
    c.in.pos += 5;
    size_t skip, n;

    ts_body_peek(&c.body, c.in.data + c.in.pos, 7, &limits, &skip, &n);
    CHECK(skip == 0 && n == 0);
    CHECK(!ts_body_done(&c.body) && ts_conn_skip_body(&c, &limits) == -1);
    ts_conn_reset(&c);

    hold(&c, "whatever");
    ts_body_begin(&c.body, TS_BODY_OPAQUE, 1);
    CHECK(!ts_body_done(&c.body));
    CHECK(ts_conn_skip_body(&c, &limits) == -1);
    unread_is(&c, "whatever");
    ts_conn_reset(&c);

    hold(&c, "next"); /* nothing was taken of it */
    ts_body_begin(&c.body, TS_BODY_OPAQUE, 0);
    CHECK(ts_conn_skip_body(&c, &limits) == 1);
    unread_is(&c, "next");
    ts_conn_reset(&c);
}

static void test_budget(void)
{
    struct ts_conn c;

    hold(&c, "123456");
    c.skip_budget = 6;
    ts_body_begin(&c.body, TS_BODY_LENGTH, 20);
    CHECK(ts_conn_skip_body(&c, &limits) == 0);
    CHECK(c.skip_budget == 0);
    more(&c, "7");
    CHECK(ts_conn_skip_body(&c, &limits) == -1);
    ts_conn_reset(&c);

    hold(&c, "5\r\nabcde\r\n5\r\n");
    c.skip_budget = 12;
    ts_body_begin(&c.body, TS_BODY_CHUNKED, 0);
    CHECK(ts_conn_skip_body(&c, &limits) == -1); /* framing counts too */
    ts_conn_reset(&c);
}

int main(void)
{
    ts_chunk_limits_init(&limits);
    test_key_names_slot_and_generation();
    test_parked_is_claimed_once();
    test_hup_is_remembered();
    test_stale_events_do_nothing();
    test_a_free_one_has_no_deadline();
    test_opened_afresh();
    test_one_owner_at_a_time();
    test_no_edge_is_lost();
    test_fill();
    test_fill_of_a_broken_one();
    test_no_body();
    test_length();
    test_chunked();
    test_malformed_or_opaque();
    test_budget();
    puts("conn: all passed");
    return 0;
}
