/* units: buffer.c sock.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* The two buffers of a connection: ts_in against a copy of what it should hold,
 * ts_out over a socket pair whose kernel buffers are as small as they can be. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "buffer.h"
#include "sock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

static uint32_t seed = 1;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

/* The stream that every test sends: octet number n. Its period is no power of
 * two, so that a piece in the wrong place is noticed. */
static char octet(uint64_t n)
{
    return (char)(n % 251);
}

/* ---- incoming ---- */

/* `first`: which octet of the stream stands at in.head. */
static void check_in(const struct ts_in *in, uint64_t first)
{
    CHECK(in->head <= in->pos && in->pos <= in->end && in->end <= in->cap);
    for (uint32_t i = in->head; i < in->end; i++)
        CHECK(in->data[i] == octet(first + i - in->head));
}

/* The kernel's part (reserve, fill) and the program's (consume, next request)
 * in any order. */
static void test_in_keeps_what_it_holds(void)
{
    struct ts_in in = {0};
    uint64_t first = 0, arrived = 0;
    uint32_t most = 0;

    for (int step = 0; step < 20000; step++) {
        uint32_t want = 1 + rnd(step % 10 == 0 ? 40000 : 3000);
        uint32_t pos = in.pos - in.head, unread = ts_in_unread(&in);

        CHECK(ts_in_reserve(&in, want) == 0);
        CHECK(in.cap - in.end >= want);
        CHECK(in.pos - in.head == pos && ts_in_unread(&in) == unread);
        check_in(&in, first);
        for (uint32_t n = rnd(want + 1); n > 0; n--)
            in.data[in.end++] = octet(arrived++);
        if (in.end - in.head > most)
            most = in.end - in.head;
        in.pos += rnd(ts_in_unread(&in) + 1);
        if (rnd(4) == 0)
            in.pos = in.end; /* often everything: the usual case */
        if (rnd(3) == 0) {
            first += in.pos - in.head;
            ts_in_next_request(&in);
            CHECK(in.head == in.pos);
            CHECK(ts_in_unread(&in) > 0 || in.end == 0);
        }
        check_in(&in, first);
    }
    /* Consumed octets make room: it grew to what it held at once, no more. */
    CHECK(in.cap <= 4 * (most + 40000));
    ts_in_free(&in);
    CHECK(in.data == NULL && in.cap == 0 && in.end == 0);
}

static void test_in_stays_where_there_is_room(void)
{
    struct ts_in in = {0};

    CHECK(ts_in_reserve(&in, 1) == 0);
    CHECK(in.cap == TS_IN_FIRST);
    const char *data = in.data;

    in.end = in.cap;
    in.pos = in.head = in.cap - 10;
    CHECK(ts_in_reserve(&in, 1000) == 0);
    CHECK(in.data == data && in.head == 0 && in.pos == 0 && in.end == 10);
    ts_in_free(&in);
}

static void test_in_refuses_what_no_offset_can_name(void)
{
    struct ts_in in = {0};

    CHECK(ts_in_reserve(&in, UINT32_MAX) == -ENOMEM);
    CHECK(in.data == NULL);
    CHECK(ts_in_reserve(&in, 10) == 0);
    for (; in.end < 10; in.end++)
        in.data[in.end] = octet(in.end);
    CHECK(ts_in_reserve(&in, UINT32_MAX) == -ENOMEM);
    CHECK(in.end == 10 && in.cap == TS_IN_FIRST);
    check_in(&in, 0);
    ts_in_free(&in);
}

/* ---- outgoing ---- */

/* fds[0] is the server's end. The kernel keeps a few kilobytes between them. */
static void narrow_pair(int fds[2])
{
    int least = 1;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
}

static char *stream(size_t n)
{
    char *data = malloc(n);

    CHECK(data != NULL);
    for (size_t i = 0; i < n; i++)
        data[i] = octet(i);
    return data;
}

/* Everything the kernel holds; *at counts the octets of the stream so far. */
static void drain(int fd, uint64_t *at)
{
    char buf[4096];
    ssize_t n;

    while ((n = ts_recv(fd, buf, sizeof buf)) > 0)
        for (ssize_t i = 0; i < n; i++)
            CHECK(buf[i] == octet((*at)++));
    CHECK(n == -EAGAIN);
}

static bool is_silent(int fd)
{
    char one;

    return ts_recv(fd, &one, 1) == -EAGAIN;
}

/* What is flushed as a part waits, for a moment, for what follows, and both arrive in order. */
static void test_out_part(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), peer = socket(AF_INET, SOCK_STREAM, 0);
    struct ts_out out;
    size_t taken;
    char got[8];

    CHECK(bind(listener, (struct sockaddr *)&here, sizeof here) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&here, &len) == 0);
    CHECK(connect(peer, (struct sockaddr *)&here, sizeof here) == 0);
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0 && ts_set_nodelay(fd) == 0);
    ts_out_init(&out);
    CHECK(ts_out_flush_part(&out, fd) == TS_OUT_SENT);
    CHECK(ts_out_write(&out, fd, "head", 4, false, &taken) == TS_OUT_FIRST);
    CHECK(ts_out_flush_part(&out, fd) == TS_OUT_SENT && ts_out_unsent(&out) == 0);
#if defined(MSG_MORE)
    CHECK(recv(peer, got, 4, MSG_DONTWAIT) == -1 && errno == EAGAIN);
#endif
    CHECK(ts_send(fd, "body", 4) == 4);
    CHECK(recv(peer, got, 8, MSG_WAITALL) == 8 && memcmp(got, "headbody", 8) == 0);
    /* ... or for the push. */
    CHECK(ts_out_write(&out, fd, "more", 4, false, &taken) == TS_OUT_FIRST);
    CHECK(ts_out_flush_part(&out, fd) == TS_OUT_SENT && ts_set_nodelay(fd) == 0);
    CHECK(recv(peer, got, 4, MSG_WAITALL) == 4 && memcmp(got, "more", 4) == 0);
    close(peer);
    close(fd);
    close(listener);
    ts_out_free(&out);
}

static void test_out_gathers(void)
{
    struct ts_out out;
    char *data = stream(TS_OUT_GATHER + 1);
    uint64_t at = 0, sent = 0;
    size_t taken;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    int large = 1 << 20;

    CHECK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof large) == 0);
    ts_out_init(&out);
    CHECK(ts_out_flush(&out, s[0]) == TS_OUT_SENT);
    while (sent < TS_OUT_GATHER) {
        size_t n = 1 + rnd(700);

        if (n > TS_OUT_GATHER - sent)
            n = TS_OUT_GATHER - sent;
        CHECK(ts_out_write(&out, s[0], data + sent, n, false, &taken) ==
              (sent == 0 ? TS_OUT_FIRST : TS_OUT_KEPT));
        CHECK(taken == n);
        sent += n;
        CHECK(ts_out_unsent(&out) == sent);
        CHECK(is_silent(s[1]));
    }
    /* One more than is gathered: all of it leaves. */
    CHECK(ts_out_write(&out, s[0], data + sent, 1, false, &taken) ==
          TS_OUT_SENT);
    CHECK(taken == 1 && ts_out_unsent(&out) == 0);
    drain(s[1], &at);
    CHECK(at == TS_OUT_GATHER + 1);
    ts_out_free(&out);
    free(data);
    close(s[0]);
    close(s[1]);
}

static void test_out_writes_through(void)
{
    struct ts_out out;
    char *data = stream(20);
    uint64_t at = 0;
    size_t taken;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    ts_out_init(&out);
    CHECK(ts_out_write(&out, s[0], data, 5, true, &taken) == TS_OUT_SENT);
    CHECK(taken == 5 && ts_out_unsent(&out) == 0);
    drain(s[1], &at);
    CHECK(at == 5);
    CHECK(ts_out_write(&out, s[0], data + 5, 5, false, &taken) == TS_OUT_FIRST);
    CHECK(is_silent(s[1]));
    CHECK(ts_out_write(&out, s[0], data + 10, 10, true, &taken) == TS_OUT_SENT);
    CHECK(taken == 10);
    drain(s[1], &at); /* what was gathered went before */
    CHECK(at == 20);
    ts_out_free(&out);
    free(data);
    close(s[0]);
    close(s[1]);
}

static void test_out_takes_nothing_from_an_empty_write(void)
{
    struct ts_out out;
    size_t taken = 9;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    ts_out_init(&out);
    CHECK(ts_out_write(&out, s[0], "", 0, false, &taken) >= 0 && taken == 0);
    CHECK(ts_out_write(&out, s[0], "", 0, true, &taken) == TS_OUT_SENT);
    CHECK(taken == 0 && ts_out_unsent(&out) == 0 && is_silent(s[1]));
    ts_out_free(&out);
    close(s[0]);
    close(s[1]);
}

/* A peer that reads slowly gets every octet once, in order, and the buffer
 * never holds more than it gathers. */
static void test_out_is_blocked(bool through)
{
    enum { TOTAL = 1000000 };
    struct ts_out out;
    char *data = stream(TOTAL);
    uint64_t at = 0, offered = 0;
    int s[2], blocked = 0;
    size_t taken;

    narrow_pair(s);
    ts_out_init(&out);
    while (offered < TOTAL) {
        size_t n = 1 + rnd(rnd(4) == 0 ? 200000 : 20000);

        if (n > TOTAL - offered)
            n = TOTAL - offered;
        for (int result = TS_OUT_BLOCKED; result == TS_OUT_BLOCKED;) {
            result = ts_out_write(&out, s[0], data + offered, n, through, &taken);
            CHECK(result >= 0 && taken <= n);
            CHECK(result == TS_OUT_BLOCKED || taken == n);
            CHECK(result != TS_OUT_SENT || ts_out_unsent(&out) == 0);
            CHECK(!through || result == TS_OUT_SENT || result == TS_OUT_BLOCKED);
            CHECK(ts_out_unsent(&out) <= TS_OUT_GATHER);
            CHECK(out.cap <= 2 * TS_OUT_GATHER);
            offered += taken;
            n -= taken;
            if (result == TS_OUT_BLOCKED) {
                blocked++;
                drain(s[1], &at);
            }
        }
    }
    while (ts_out_flush(&out, s[0]) == TS_OUT_BLOCKED)
        drain(s[1], &at);
    drain(s[1], &at);
    CHECK(at == TOTAL && ts_out_unsent(&out) == 0);
    CHECK(blocked > 10);
    ts_out_free(&out);
    free(data);
    close(s[0]);
    close(s[1]);
}

static void test_out_breaks_once_and_for_all(void)
{
    struct ts_out out;
    size_t taken;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    ts_out_init(&out);
    CHECK(ts_out_write(&out, s[0], "abc", 3, false, &taken) == TS_OUT_FIRST);
    close(s[1]);
    CHECK(ts_out_try_flush(&out, &s[0]) == -EPIPE);
    CHECK(ts_out_untold(&out) == EPIPE); /* that was the monitor */
    CHECK(ts_out_flush(&out, s[0]) == -EPIPE);
    CHECK(ts_out_untold(&out) == 0);
    CHECK(out.error == EPIPE && ts_out_unsent(&out) == 0);
    CHECK(ts_out_flush(&out, s[0]) == -EPIPE);
    CHECK(ts_out_try_flush(&out, &s[0]) == -EPIPE);
    CHECK(ts_out_write(&out, s[0], "abc", 3, false, &taken) == -EPIPE);
    CHECK(taken == 0 && ts_out_unsent(&out) == 0);
    ts_out_free(&out);
    CHECK(out.error == 0);
    CHECK(ts_out_write(&out, s[0], "abc", 3, true, &taken) == -EPIPE);
    CHECK(out.error == EPIPE && ts_out_untold(&out) == 0);
    ts_out_free(&out);
    close(s[0]);
}

static void test_out_is_not_waited_for_by_the_monitor(void)
{
    struct ts_out out;
    uint64_t at = 0;
    char data[1] = {octet(0)};
    size_t taken;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    ts_out_init(&out);
    CHECK(ts_out_write(&out, s[0], data, 1, false, &taken) == TS_OUT_FIRST);
    CHECK(!atomic_flag_test_and_set(&out.lock));
    CHECK(ts_out_try_flush(&out, &s[0]) == TS_OUT_BLOCKED);
    CHECK(is_silent(s[1]));
    atomic_flag_clear(&out.lock);
    CHECK(ts_out_try_flush(&out, &s[0]) == TS_OUT_SENT);
    drain(s[1], &at);
    CHECK(at == 1);
    ts_out_free(&out);
    close(s[0]);
    close(s[1]);
}

/* ---- threads ---- */

#define STREAM_OCTETS 3000000u
#define RECORD 64u

struct shared {
    struct ts_out out;
    int fd;
    _Atomic bool ended;
    _Atomic unsigned flushed;
};

static void *flusher(void *arg)
{
    struct shared *s = arg;

    while (!atomic_load(&s->ended)) {
        if (ts_out_unsent(&s->out) > 0 && s->out.error == 0 &&
            ts_out_try_flush(&s->out, &s->fd) == TS_OUT_SENT)
            atomic_fetch_add(&s->flushed, 1);
        sched_yield();
    }
    return NULL;
}

static void *reader(void *arg)
{
    int fd = *(int *)arg;
    char buf[5000];
    uint64_t at = 0;

    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);

        CHECK(n >= 0);
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            CHECK(buf[i] == octet(at++));
    }
    CHECK(at == STREAM_OCTETS);
    return NULL;
}

static void test_out_with_a_flusher(void)
{
    struct shared shared = {.ended = false};
    char *data = stream(STREAM_OCTETS);
    pthread_t threads[3];
    uint64_t sent = 0;
    int s[2];

    narrow_pair(s);
    ts_out_init(&shared.out);
    shared.fd = s[0];
    CHECK(pthread_create(&threads[0], NULL, flusher, &shared) == 0);
    CHECK(pthread_create(&threads[1], NULL, flusher, &shared) == 0);
    CHECK(pthread_create(&threads[2], NULL, reader, &s[1]) == 0);
    while (sent < STREAM_OCTETS) {
        size_t n = 1 + rnd(rnd(16) == 0 ? 100000 : 500), taken;

        if (n > STREAM_OCTETS - sent)
            n = STREAM_OCTETS - sent;
        int result = ts_out_write(&shared.out, s[0], data + sent, n,
                                  rnd(8) == 0, &taken);

        CHECK(result >= 0);
        sent += taken;
        if (result == TS_OUT_BLOCKED)
            CHECK(ts_wait_fd(s[0], true, -1, -1) == TS_WAIT_READY);
        else if (rnd(32) == 0)
            sched_yield();
    }
    while (ts_out_flush(&shared.out, s[0]) == TS_OUT_BLOCKED)
        CHECK(ts_wait_fd(s[0], true, -1, -1) == TS_WAIT_READY);
    CHECK(ts_out_unsent(&shared.out) == 0);
    atomic_store(&shared.ended, true);
    close(s[0]);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(atomic_load(&shared.flushed) > 0);
    ts_out_free(&shared.out);
    free(data);
    close(s[1]);
}

/* Several writers: each write that was kept or sent whole is whole. */
struct writer {
    struct shared *shared;
    char name;
};

static void *writer(void *arg)
{
    struct writer *w = arg;
    char record[RECORD];
    size_t taken;

    memset(record, w->name, sizeof record);
    for (int i = 0; i < 3000; i++) {
        int result = ts_out_write(&w->shared->out, w->shared->fd, record,
                                  sizeof record, false, &taken);

        if (result == TS_OUT_BLOCKED && taken == 0) {
            CHECK(ts_wait_fd(w->shared->fd, true, -1, -1) == TS_WAIT_READY);
            i--;
            continue;
        }
        CHECK(result != TS_OUT_BLOCKED && taken == sizeof record);
    }
    return NULL;
}

static void test_out_with_several_writers(void)
{
    enum { WRITERS = 3 };
    struct shared shared = {.ended = false};
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS + 1];
    unsigned seen[WRITERS] = {0};
    int s[2], large = 1 << 22;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof large) == 0);
    ts_out_init(&shared.out);
    shared.fd = s[0];
    CHECK(pthread_create(&threads[WRITERS], NULL, flusher, &shared) == 0);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&shared, (char)('a' + i)};
        CHECK(pthread_create(&threads[i], NULL, writer, &writers[i]) == 0);
    }
    for (int total = 0; total < WRITERS * 3000; total++) {
        char record[RECORD];

        CHECK(recv(s[1], record, sizeof record, MSG_WAITALL) == sizeof record);
        for (size_t i = 1; i < sizeof record; i++)
            CHECK(record[i] == record[0]);
        seen[record[0] - 'a']++;
    }
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0 && seen[i] == 3000);
    atomic_store(&shared.ended, true); /* not before: it sends the last ones */
    CHECK(pthread_join(threads[WRITERS], NULL) == 0);
    ts_out_free(&shared.out);
    close(s[0]);
    close(s[1]);
}

static void test_out_gives_its_memory_back_when_idle(void)
{
    struct ts_out out;
    char *data = stream(TS_OUT_GATHER);
    size_t taken;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    ts_out_init(&out);
    CHECK(ts_out_write(&out, s[0], data, 100, false, &taken) == TS_OUT_FIRST);
    ts_out_trim(&out);
    CHECK(ts_out_unsent(&out) == 100 && out.data != NULL); /* in use: kept */
    CHECK(ts_out_flush(&out, s[0]) == TS_OUT_SENT);
    ts_out_trim(&out);
    CHECK(out.data == NULL && out.cap == 0);
    CHECK(ts_out_write(&out, s[0], data, 1, false, &taken) == TS_OUT_FIRST);
    ts_out_free(&out);
    close(s[0]);
    close(s[1]);
    free(data);
}

/* However much is there already, in order, and not at all once it is broken. */
static void test_out_adds_without_a_bound(void)
{
    enum { PIECE = 30000, ALL = 10 * PIECE };
    struct ts_out out;
    char *data = stream(ALL);
    uint64_t at = 0;
    size_t taken;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    ts_out_init(&out);
    for (size_t n = 0; n < ALL; n += PIECE)
        CHECK(ts_out_add(&out, data + n, PIECE) == (n == 0 ? TS_OUT_FIRST : TS_OUT_KEPT));
    CHECK(ts_out_unsent(&out) == ALL);
    while (at < ALL) {
        CHECK(ts_out_flush(&out, s[0]) >= 0);
        drain(s[1], &at);
    }
    CHECK(ts_out_add(&out, data, 0) == TS_OUT_FIRST);
    close(s[1]);
    CHECK(ts_out_write(&out, s[0], data, 1, true, &taken) == -EPIPE);
    CHECK(ts_out_add(&out, data, 1) == -EPIPE && ts_out_untold(&out) == 0);
    ts_out_free(&out);
    /* More than can be said: the stream has ended, for nothing can follow. */
    CHECK(ts_out_add(&out, data, (size_t)UINT32_MAX) == -ENOMEM);
    CHECK(ts_out_add(&out, data, 1) == -ENOMEM && ts_out_unsent(&out) == 0);
    ts_out_free(&out);
    close(s[0]);
    free(data);
}

int main(void)
{
    test_out_adds_without_a_bound();
    test_out_gives_its_memory_back_when_idle();
    test_in_keeps_what_it_holds();
    test_in_stays_where_there_is_room();
    test_in_refuses_what_no_offset_can_name();
    test_out_part();
    test_out_gathers();
    test_out_writes_through();
    test_out_takes_nothing_from_an_empty_write();
    test_out_is_blocked(false);
    test_out_is_blocked(true);
    test_out_breaks_once_and_for_all();
    test_out_is_not_waited_for_by_the_monitor();
    test_out_with_a_flusher();
    test_out_with_several_writers();
    puts("buffer: all passed");
    return 0;
}
