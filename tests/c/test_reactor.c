/* units: reactor.c course.c slots.c acceptor.c conn.c buffer.c chunked.c scan.c framing.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* A small server on the reactor and the leader, over real sockets, on every
 * back-end. First in one thread that is client and server in turn, so that each
 * case is the same each time; then with workers, for the sanitizers to judge. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "leader.h"
#include "reactor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *backend = "none"; /* of the test that runs */
static const char *running = "none";

#define CHECK(x)                                                            \
    do {                                                                    \
        if (!(x)) {                                                         \
            fprintf(stderr, "%s:%d: [%s, %s] failed: %s (errno %d)\n",      \
                    __FILE__, __LINE__, backend, running, #x, errno);       \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

#define MS UINT64_C(1000000)
#define SEC UINT64_C(1000000000)
#define WATCHDOG_SECONDS 60

static void nap_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

static void watchdog(int sig)
{
    static const char text[] = "test_reactor: hangs\n";

    (void)sig;
    (void)!write(2, text, sizeof text - 1);
    (void)!write(2, running, strlen(running));
    (void)!write(2, "\n", 1);
    abort();
}

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

/* ---- the server ---- */

struct server {
    struct ts_reactor *r;
    struct ts_leader *l;
    int listener;
    struct sockaddr_in address;
    _Atomic unsigned owners;   /* connections that the handlers know of */
    _Atomic unsigned handled;  /* requests */
    _Atomic unsigned timeouts;
    _Atomic unsigned broken;
    _Atomic unsigned opened;
    bool forgets;              /* as Python does, before each close */
    /* Of the server in one thread. */
    struct ts_worker *worker;
    struct ts_turn turn;
    struct ts_conn *last; /* whose handler ran last */
};

/* What Python would hold of a connection. */
struct owner {
    struct ts_conn *c;
    unsigned requests;
};

static void set_size(int fd, int option, int size)
{
    CHECK(setsockopt(fd, SOL_SOCKET, option, &size, sizeof size) == 0);
}

/* small: kernel buffers of a few kilobytes, for slow readers. */
static struct server *serve_on(unsigned threads, bool small)
{
    struct server *s = calloc(1, sizeof *s);
    struct ts_leader_config config = {.max_threads = threads,
                                      .flush = ts_reactor_flush};
    socklen_t len = sizeof s->address;

    CHECK(s != NULL);
    CHECK(ts_reactor_new(&s->r, backend) == 0);
    CHECK(ts_leader_new(&s->l, &config) == 0);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s->listener >= 0);
    s->address.sin_family = AF_INET;
    s->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (small)
        set_size(s->listener, SO_SNDBUF, 4096);
    CHECK(bind(s->listener, (struct sockaddr *)&s->address, len) == 0);
    CHECK(getsockname(s->listener, (struct sockaddr *)&s->address, &len) == 0);
    CHECK(listen(s->listener, 512) == 0);
    CHECK(ts_set_nonblock(s->listener, true, NULL) == 0);
    CHECK(ts_set_nodelay(s->listener) == 0);
    CHECK(ts_reactor_listen(s->r, s->listener) == 0);
    return s;
}

static void server_free(struct server *s)
{
    CHECK(atomic_load(&s->r->n_open) == 0);
    CHECK(atomic_load(&s->owners) == 0);
    ts_leader_free(s->l);
    ts_reactor_free(s->r);
    if (s->listener >= 0)
        close(s->listener);
    free(s);
}

/* ---- the handlers ---- */

static void write_all(struct server *s, struct ts_worker *w, struct ts_conn *c,
                      const char *data, size_t n)
{
    size_t taken;

    for (;;) {
        int result = ts_out_write(&c->out, c->fd, data, n, c->through, &taken);

        if (result == TS_OUT_FIRST)
            ts_handler_dirty(s->l, w);
        if (result != TS_OUT_BLOCKED)
            return;
        data += taken;
        n -= taken;
        if (ts_wait_fd(c->fd, true, -1, 20 * (int64_t)SEC) != TS_WAIT_READY)
            return;
    }
}

static void answer(struct server *s, struct ts_worker *w, struct ts_conn *c,
                   const char *body, size_t n)
{
    char head[128];
    int len = snprintf(head, sizeof head,
                       "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);

    write_all(s, w, c, head, (size_t)len);
    do { /* in pieces that are gathered */
        size_t piece = n < TS_OUT_DIRECT / 2 ? n : TS_OUT_DIRECT / 2;

        write_all(s, w, c, body, piece);
        body += piece;
        n -= piece;
    } while (n > 0);
}

/* Up to n octets of the body, 0 at its end (or the connection's). */
static size_t read_body(struct ts_conn *c, char *into, size_t n)
{
    while (!ts_conn_body_done(c)) {
        size_t have = ts_in_unread(&c->in);

        if (have > 0) {
            const char *from = c->in.data + c->in.pos;

            if (c->body == TS_BODY_LENGTH && (int64_t)have > c->body_left)
                have = (size_t)c->body_left;
            if (c->body == TS_BODY_CHUNKED)
                have = 1; /* not to take what follows its end */
            if (have > n)
                have = n;
            memcpy(into, from, have);
            c->in.pos += (uint32_t)have;
            ts_conn_took(c, into, have);
            return have;
        }
        if (c->eof || c->broken)
            return 0;
        CHECK(ts_conn_fill(c) == 0);
        if (ts_in_unread(&c->in) == 0 && !c->eof && !c->broken) {
            ts_out_flush(&c->out, c->fd);
            if (ts_wait_fd(c->fd, false, -1, 20 * (int64_t)SEC) != TS_WAIT_READY)
                return 0;
        }
    }
    return 0;
}

/* Octets now and then, around the monitor's ticks; then the handler stays until
 * the peer says that it has all of them. */
#define DRIPS 200

static void drip(struct server *s, struct ts_worker *w, struct ts_conn *c)
{
    uint32_t seed = 5;

    for (int i = 0; i < DRIPS; i++) {
        seed = seed * 1664525u + 1013904223u;
        struct timespec t = {.tv_nsec = (long)(seed >> 12) % 600000};

        nanosleep(&t, NULL);
        for (uint32_t n = 1 + (seed >> 10) % 3; n > 0; n--)
            write_all(s, w, c, "d", 1);
        write_all(s, w, c, "\n", 1);
        if (i % 20 == 19)
            CHECK(ts_wait_fd(c->fd, false, -1, 10 * (int64_t)SEC) ==
                      TS_WAIT_READY &&
                  ts_conn_fill(c) == 0);
    }
}

static void pump(struct server *s);

static char filler[60000]; /* the long answer; main() fills it */

/* As Python does it: the head is at in.head, the body begins after it. Whether
 * the connection may stay. The target says what to do, word by word. */
static bool handle(struct server *s, struct ts_worker *w, struct ts_conn *c,
                   enum ts_task task)
{
    const struct ts_request *req = c->req;
    char target[300], body[1000];
    bool keep = true;
    size_t n;

    atomic_fetch_add(&s->handled, 1);
    if (task == TS_TASK_GENERAL) {
        c->in.pos = c->in.end;
        answer(s, w, c, "general", 7);
        return false;
    }
    CHECK(c->in.pos == c->in.head);
    n = req->target.len < sizeof target ? req->target.len : sizeof target - 1;
    memcpy(target, c->in.data + c->in.head + req->target.off, n);
    target[n] = '\0';
    c->in.pos = c->in.head + req->head_len;
    if (req->chunked)
        ts_conn_begin_body(c, TS_BODY_CHUNKED, 0);
    else if (req->content_length > 0)
        ts_conn_begin_body(c, TS_BODY_LENGTH, req->content_length);
    else
        ts_conn_begin_body(c, TS_BODY_NONE, 0);

    if (strstr(target, "/nap"))
        nap_ms(strstr(target, "/nap20") ? 20 : 2);
    if (strstr(target, "/read")) {
        size_t got = 0;

        while ((n = read_body(c, body, sizeof body)) > 0)
            got += n;
        n = (size_t)snprintf(body, sizeof body, "%zu", got);
        answer(s, w, c, body, n);
    } else if (strstr(target, "/long")) {
        answer(s, w, c, filler, sizeof filler);
    } else if (strstr(target, "/stream")) {
        answer(s, w, c, "one", 3);
        CHECK(ts_wait_fd(c->fd, false, -1, 10 * (int64_t)SEC) == TS_WAIT_READY);
    } else if (strstr(target, "/hears")) { /* its own write fails */
        CHECK(ts_wait_fd(c->fd, false, -1, 10 * (int64_t)SEC) == TS_WAIT_READY);
        answer(s, w, c, filler, sizeof filler);
        answer(s, w, c, filler, sizeof filler);
        CHECK(c->out.error != 0);
    } else if (strstr(target, "/monitored")) { /* or the monitor's */
        CHECK(ts_wait_fd(c->fd, false, -1, 10 * (int64_t)SEC) == TS_WAIT_READY);
        answer(s, w, c, "x", 1);
        ts_reactor_flush(c, NULL);
        CHECK(c->out.error != 0);
    } else if (strstr(target, "/drip")) {
        drip(s, w, c);
    } else if (strstr(target, "/vanish")) {
        /* The program closes a socket that it was lent, and before the server
         * hears of it another connection gets the same descriptor. */
        c->lent = true;
        close(c->fd);
        CHECK(ts_reactor_listen(s->r, s->listener) == 0);
        pump(s);
        c->broken = true;
        keep = false;
    } else {
        answer(s, w, c, target, strlen(target));
    }
    if (strstr(target, "/through"))
        c->through = true;
    if (strstr(target, "/close"))
        keep = false;
    return keep;
}

static void serve(struct server *s, struct ts_worker *w, struct ts_turn *turn,
                  struct ts_conn *c, enum ts_task task)
{
    struct owner *o = c->owner;

    if (o == NULL) {
        c->owner = o = calloc(1, sizeof *o);
        CHECK(o != NULL);
        o->c = c;
        atomic_fetch_add(&s->owners, 1);
    }
    CHECK(o->c == c);
    while (task != TS_TASK_NONE) {
        bool keep;

        CHECK(atomic_load(&c->word) & TS_WORD_OWNED);
        switch (task) {
        case TS_TASK_REQUEST:
        case TS_TASK_GENERAL:
            o->requests++;
            if (w == s->worker)
                s->last = c;
            ts_handler_enter(s->l, w, c, TS_HINT_NONE);
            keep = handle(s, w, c, task);
            ts_handler_exit(s->l, w);
            task = ts_reactor_done(s->r, turn, c, keep);
            break;
        case TS_TASK_OPENED:
            atomic_fetch_add(&s->opened, 1);
            task = ts_reactor_go_on(s->r, turn, c);
            break;
        case TS_TASK_BROKEN:
            CHECK(c->out.error != 0);
            atomic_fetch_add(&s->broken, 1);
            task = TS_TASK_GONE;
            break;
        case TS_TASK_TIMEOUT:
            atomic_fetch_add(&s->timeouts, 1);
            task = TS_TASK_GONE;
            break;
        default:
            CHECK(task == TS_TASK_GONE);
            CHECK(c->owner == o);
            if (s->forgets)
                ts_reactor_forget(s->r, c);
            c->owner = NULL;
            free(o);
            atomic_fetch_sub(&s->owners, 1);
            ts_reactor_close(s->r, turn, c);
            return;
        }
    }
}

static void end_parked(struct server *s)
{
    struct ts_turn turn = {0};
    struct ts_conn *c;
    uint32_t at = 0;

    ts_reactor_unlisten(s->r);
    ts_reactor_stop(s->r);
    while ((c = ts_reactor_reap(s->r, &at)) != NULL) {
        if (c->owner != NULL) {
            free(c->owner);
            c->owner = NULL;
            atomic_fetch_sub(&s->owners, 1);
        }
        ts_reactor_close(s->r, &turn, c);
    }
    ts_turn_free(&turn);
}

/* ---- the server in one thread ---- */

static struct server *single(bool small)
{
    struct server *s = serve_on(1, small);

    s->worker = ts_worker_join(s->l);
    CHECK(s->worker != NULL);
    CHECK(ts_lead_wait(s->l, s->worker, 0) == TS_LEAD);
    return s;
}

static enum ts_task next(struct server *s, int64_t wait_ns)
{
    struct ts_conn *c = NULL;
    enum ts_task task = ts_reactor_next(s->r, &s->turn, true, wait_ns, &c);

    if (c != NULL)
        serve(s, s->worker, &s->turn, c, task);
    return task;
}

/* Serves until nothing has come for some milliseconds. */
static void pump(struct server *s)
{
    for (int quiet = 0; quiet < 2;)
        quiet = next(s, 3 * (int64_t)MS) == TS_TASK_WOKEN ? quiet + 1 : 0;
}

static void single_end(struct server *s)
{
    end_parked(s);
    ts_turn_free(&s->turn);
    ts_worker_leave(s->l, s->worker);
    server_free(s);
}

/* ---- the client ---- */

static int connect_small(const struct server *s, int rcvbuf)
{
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    CHECK(fd >= 0);
    if (rcvbuf)
        set_size(fd, SO_RCVBUF, rcvbuf);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    CHECK(connect(fd, (const struct sockaddr *)&s->address,
                  sizeof s->address) == 0);
    return fd;
}

static int client(const struct server *s)
{
    return connect_small(s, 0);
}

static void put_octets(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

        CHECK(sent > 0);
        data += sent;
        n -= (size_t)sent;
    }
}

static void put(int fd, const char *text)
{
    put_octets(fd, text, strlen(text));
}

static void get_request(int fd, const char *target)
{
    char text[400];

    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    put(fd, text);
}

static void post_head(int fd, const char *target, size_t length)
{
    char text[400];

    snprintf(text, sizeof text,
             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
             target, length);
    put(fd, text);
}

static void put_body(int fd, size_t n)
{
    char piece[10000];

    memset(piece, 'b', sizeof piece);
    while (n > 0) {
        size_t some = n < sizeof piece ? n : sizeof piece;

        put_octets(fd, piece, some);
        n -= some;
    }
}

static void get_octets(int fd, char *into, size_t n)
{
    while (n > 0) {
        ssize_t got = recv(fd, into, n, 0);

        CHECK(got > 0);
        into += got;
        n -= (size_t)got;
    }
}

/* One answer, whose body is to be `want` (NULL: any). Its length. */
static size_t expect(int fd, const char *want)
{
    char head[200], *body;
    size_t len = 0, n;

    do {
        CHECK(len < sizeof head - 1);
        get_octets(fd, head + len++, 1);
        head[len] = '\0';
    } while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0);
    CHECK(sscanf(head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n", &n) == 1);
    body = malloc(n + 1);
    CHECK(body != NULL);
    get_octets(fd, body, n);
    body[n] = '\0';
    if (want != NULL && strcmp(body, want) != 0)
        fprintf(stderr, "%.100s, not %.100s\n", body, want);
    CHECK(want == NULL || strcmp(body, want) == 0);
    free(body);
    return n;
}

static void expect_end(int fd)
{
    char one;

    CHECK(recv(fd, &one, 1, 0) == 0);
}

static void expect_nothing(int fd)
{
    char one;

    CHECK(recv(fd, &one, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static void reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(fd);
}

static unsigned n_open(struct server *s)
{
    return atomic_load(&s->r->n_open);
}

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
    CHECK(n_open(s) == 0);
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
    CHECK(n_open(s) == 0);
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
    CHECK(n_open(s) == 0);
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

    put(fd, "GET /a HTTP/1.1\r\n\r\nGET /b\r\n\r\n");
    pump(s);
    expect(fd, "/a");
    expect(fd, "general");
    expect_end(fd);
    close(fd);
    pump(s);
    CHECK(n_open(s) == 0);
    single_end(s);
}

static void test_half_closed(void)
{
    static const char *const heads[] = {
        "", "GET /a HTT", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /read HTTP/1.1\r\nContent-Length: 5\r\n\r\n12",
        "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n12",
        "POST /a HTTP/1.1\r\nContent-Length: 100000\r\n\r\n12",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12"};
    static const char *const answers[] = {"",   "general", "/a", "2",
                                          "/a", "/a",      "/a"};

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
        "", "GET /a HTT", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /long HTTP/1.1\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 50\r\n\r\n12"};

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        for (int apart = 0; apart < 2; apart++) {
            struct server *s = single(false);
            int fd = client(s);

            put(fd, heads[i]);
            if (apart)
                pump(s);
            reset(fd);
            pump(s);
            CHECK(n_open(s) == 0);
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

    put(fd, "POST /read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
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

    put(fd, "POST /left HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na");
    pump(s);
    expect(fd, "/left");
    put(fd, "bc\r\n0\r\n\r");
    pump(s);
    put(fd, "\nGET /d HTTP/1.1\r\n\r\n");
    pump(s);
    expect(fd, "/d");
    close(fd);
    pump(s);
    CHECK(n_open(s) == 0);
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
    s->r->idle_timeout_ns = 30 * SEC;
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
        put_body(fd, TS_SKIP_MAX);
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
    CHECK(n_open(s) == 0);
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

/* A deadline that ran out while the handler ran is not the linger's. */
static void test_linger_after_a_deadline(void)
{
    struct server *s = single(false);
    int fd = client(s);

    s->r->idle_timeout_ns = 10 * MS;
    pump(s); /* parked: the deadline is set */
    post_head(fd, "/nap20/close", 100000000);
    CHECK(next(s, (int64_t)SEC) == TS_TASK_REQUEST);
    nap_ms(120); /* past the time of the next sweep */
    next(s, 0);
    CHECK(n_open(s) == 1 && s->last->phase == TS_PHASE_LINGER);
    expect(fd, "/nap20/close");
    close(fd);
    pump(s);
    single_end(s);
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
    CHECK(ts_monotonic_ns() - began >= TS_LINGER_NS);
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
    CHECK(n_open(s) == 0 && atomic_load(&s->handled) == 1);
    close(fd);
    single_end(s);
}

/* ---- one thread: time ---- */

static void test_idle_deadline(void)
{
    static const char *const heads[] = {
        "", "GET /a HTT", "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n12",
        "POST /a HTTP/1.1\r\nContent-Length: 70000\r\n\r\n12"};

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct server *s = single(false);
        int fd = client(s);
        bool answered = i == 3; /* that one times out over the rest */
        uint64_t began;

        s->r->idle_timeout_ns = 200 * MS;
        get_request(fd, "/first");
        pump(s);
        expect(fd, "/first");
        put(fd, heads[i]);
        began = ts_monotonic_ns();
        while (atomic_load(&s->timeouts) == 0) {
            CHECK(ts_monotonic_ns() < began + 10 * SEC);
            next(s, (int64_t)SEC);
        }
        CHECK(ts_monotonic_ns() - began >= 190 * MS);
        CHECK(n_open(s) == 0);
        if (answered)
            expect(fd, "/a");
        expect_end(fd);
        close(fd);

        fd = client(s); /* another that goes before its deadline */
        pump(s);
        close(fd);
        pump(s);
        CHECK(n_open(s) == 0);
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

static void test_deadline_moves(void)
{
    struct server *s = single(false);
    int fd = client(s);

    s->r->idle_timeout_ns = 300 * MS;
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
    CHECK(n_open(s) == 0);
    single_end(s);
}

/* ---- one thread: slow readers ---- */

/* An answer stands before a peer that does not read. */
static int stuck(struct server *s, const char *target)
{
    int fd = connect_small(s, 2048);

    get_request(fd, target);
    pump(s);
    CHECK(s->last->phase == TS_PHASE_FLUSH);
    CHECK(ts_out_unsent(&s->last->out) > 0);
    return fd;
}

static void expect_slowly(struct server *s, int fd, size_t n)
{
    char piece[1000];

    while (n > 0) {
        ssize_t got = recv(fd, piece, n < sizeof piece ? n : sizeof piece,
                           MSG_DONTWAIT);

        CHECK(got > 0 || (got < 0 && errno == EAGAIN));
        if (got > 0)
            n -= (size_t)got;
        next(s, got > 0 ? 0 : (int64_t)MS);
    }
}

#define LONG_ANSWER (60000 + sizeof "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" - 1)

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
    CHECK(n_open(s) == 0);

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
    CHECK(n_open(s) == 0 && atomic_load(&s->broken) == 1);

    s->r->idle_timeout_ns = 200 * MS; /* or does not go */
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
        CHECK(n_open(s) == 0);
        CHECK((int)atomic_load(&s->broken) == monitored);
        single_end(s);
    }
}

/* ---- one thread: accepting ---- */

static void test_announce(void)
{
    struct server *s = single(false);
    int fd;

    s->r->announce = true;
    fd = client(s);
    pump(s);
    CHECK(atomic_load(&s->opened) == 1 && n_open(s) == 1);
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    CHECK(atomic_load(&s->opened) == 1);
    close(fd);
    pump(s);
    single_end(s);
}

static void test_unlisten(void)
{
    struct server *s = single(false);
    int fd = client(s), late;

    pump(s);
    ts_reactor_unlisten(s->r);
    ts_reactor_unlisten(s->r);
    late = client(s); /* the kernel has it */
    get_request(late, "/late");
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    CHECK(n_open(s) == 1);
    CHECK(ts_reactor_listen(s->r, s->listener) == 0);
    pump(s);
    expect(late, "/late");
    close(fd);
    close(late);
    pump(s);
    CHECK(n_open(s) == 0);
    single_end(s);
}

/* A flood of connections does not keep those that are open from their turn. */
static void test_accept_takes_turns(void)
{
    enum { FLOOD = 400 };
    static int flood[FLOOD];
    struct server *s = single(false);
    int fd = client(s), n = 0;
    char one;

    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    /* There is always one more in the queue, and each has its request. */
    for (; n < 20; n++)
        get_request(flood[n] = client(s), "/flood");
    CHECK(next(s, (int64_t)SEC) == TS_TASK_REQUEST);
    get_request(fd, "/b");
    while (n < FLOOD) {
        get_request(flood[n++] = client(s), "/flood");
        next(s, 0);
        if (recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
            break;
    }
    CHECK(n < FLOOD);
    expect(fd, "/b");
    pump(s);
    for (int i = 0; i < n; i++) {
        expect(flood[i], "/flood");
        close(flood[i]);
    }
    close(fd);
    pump(s);
    CHECK(n_open(s) == 0);
    single_end(s);
}

/* Runs in a child: its limit of descriptors is its own. */
static void out_of_descriptors(void)
{
    struct server *s = single(false);
    enum { WAITING = 8 };
    int fds[WAITING], spare, at_once = 0;
    struct rlimit limit;
    char one;

    for (int i = 0; i < WAITING; i++)
        get_request(fds[i] = client(s), "/a");
    spare = dup(0);
    CHECK(spare >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)spare + 4;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    close(spare);
    pump(s);
    for (int i = 0; i < WAITING; i++)
        at_once += recv(fds[i], &one, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    CHECK(at_once > 0 && at_once < WAITING);
    CHECK((int)n_open(s) == at_once);

    uint64_t cpu = cpu_ns(), began = ts_monotonic_ns();

    while (ts_monotonic_ns() < began + 300 * MS) /* no spinning */
        next(s, 100 * (int64_t)MS);
    CHECK(cpu_ns() - cpu < 150 * MS);
    CHECK((int)n_open(s) == at_once);
    for (int i = 0; i < WAITING; i++) { /* each end makes room for another */
        began = ts_monotonic_ns();
        while (recv(fds[i], &one, 1, MSG_PEEK | MSG_DONTWAIT) != 1) {
            CHECK(ts_monotonic_ns() < began + 10 * SEC);
            next(s, 20 * (int64_t)MS);
        }
        expect(fds[i], "/a");
        close(fds[i]);
    }
    pump(s);
    CHECK(n_open(s) == 0);

    /* Paused, and then no listener any more: the pause ends in nothing. */
    limit.rlim_cur = (rlim_t)spare + 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int fd = client(s);

    limit.rlim_cur = 3;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    pump(s);
    CHECK(n_open(s) == 0);
    ts_reactor_unlisten(s->r);
    nap_ms(60);
    pump(s);
    limit.rlim_cur = (rlim_t)spare + 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    nap_ms(60);
    pump(s);
    CHECK(n_open(s) == 0);
    CHECK(ts_reactor_listen(s->r, s->listener) == 0);
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    close(fd);
    pump(s);
    single_end(s);
}

static void test_out_of_descriptors(void)
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(WATCHDOG_SECONDS);
        out_of_descriptors();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A lent socket is closed by the program, its number used again at once. */
static void test_descriptor_used_again(void)
{
    struct server *s = single(false);
    int fd = client(s), other;

    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    int number = s->last->fd;

    ts_reactor_unlisten(s->r); /* the handler listens again */
    other = client(s);
    get_request(fd, "/vanish");
    pump(s);
    CHECK(n_open(s) == 1);
    expect_end(fd);
    get_request(other, "/b");
    pump(s);
    expect(other, "/b");
    CHECK(s->last->fd == number);
    close(fd);
    close(other);
    pump(s);
    CHECK(n_open(s) == 0);
    single_end(s);
}

/* ---- one thread: the end of the server ---- */

static void test_stop_ends_all_phases(void)
{
    struct server *s = single(true);
    int fds[6];

    fds[0] = client(s); /* nothing yet */
    put(fds[1] = client(s), "GET /a HT");
    post_head(fds[2] = client(s), "/a", 50); /* BODY */
    get_request(fds[3] = connect_small(s, 2048), "/long");
    post_head(fds[4] = client(s), "/left", 100000); /* DISCARD */
    post_head(fds[5] = client(s), "/close", 100000); /* LINGER */
    pump(s);
    CHECK(n_open(s) == 6);
    ts_reactor_stop(s->r);
    CHECK(next(s, -1) == TS_TASK_WOKEN);
    end_parked(s);
    CHECK(n_open(s) == 0);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    single_end(s);
}

/* A connection that parks after the sweep of the stop closes itself. */
static void test_stop_while_handling(void)
{
    struct server *s = single(false);
    struct ts_conn *c = NULL;
    int fd = client(s);

    get_request(fd, "/a");
    while (c == NULL)
        CHECK(ts_reactor_next(s->r, &s->turn, true, (int64_t)SEC, &c) !=
              TS_TASK_NONE);
    end_parked(s);
    CHECK(n_open(s) == 1);
    serve(s, s->worker, &s->turn, c, TS_TASK_REQUEST);
    CHECK(n_open(s) == 0);
    expect(fd, "/a");
    expect_end(fd);
    close(fd);
    single_end(s);
}

/* Around a fork: nothing gathered is there twice, and the child's copy has no
 * lock that somebody holds who is not there. */
static void test_fork(void)
{
    struct server *s = single(false);
    int fd = client(s), status;
    size_t taken;

    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    CHECK(ts_out_write(&s->last->out, s->last->fd, "gathered", 8, false,
                       &taken) == TS_OUT_FIRST);
    CHECK(pthread_mutex_lock(&s->r->slots.lock) == 0);
    CHECK(pthread_mutex_lock(&s->r->acceptor.lock) == 0);
    CHECK(!atomic_flag_test_and_set(&s->last->out.lock));
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(WATCHDOG_SECONDS);
        ts_leader_forked(s->l);
        ts_reactor_forked(s->r);
        CHECK(ts_slots_count(&s->r->slots) > 0);
        ts_reactor_free(s->r); /* which takes each of them */
        _exit(0);
    }
    atomic_flag_clear(&s->last->out.lock);
    CHECK(pthread_mutex_unlock(&s->r->acceptor.lock) == 0);
    CHECK(pthread_mutex_unlock(&s->r->slots.lock) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_nothing(fd);
    ts_reactor_before_fork(s->r);
    char text[8];

    get_octets(fd, text, 8);
    CHECK(memcmp(text, "gathered", 8) == 0);
    close(fd);
    pump(s);
    CHECK(n_open(s) == 0);
    single_end(s);
}

/* ---- workers ---- */

struct crew {
    struct server *s;
    unsigned n;
    pthread_t threads[8];
    _Atomic uint64_t beats; /* moves as long as somebody leads */
};

static void *work(void *arg)
{
    struct crew *crew = arg;
    struct server *s = crew->s;
    struct ts_worker *w = ts_worker_join(s->l);
    struct ts_turn turn = {0};

    if (w == NULL) { /* so late that all is over */
        CHECK(errno == ESHUTDOWN);
        return NULL;
    }
    while (ts_lead_wait(s->l, w, 0) == TS_LEAD) {
        while (ts_leads(w)) {
            struct ts_conn *c = NULL;
            enum ts_task task = ts_reactor_next(s->r, &turn, true, -1, &c);

            ts_worker_now(w);
            atomic_fetch_add(&crew->beats, 1);
            if (c != NULL)
                serve(s, w, &turn, c, task);
            else if (atomic_load(&s->r->stopping))
                break;
        }
        if (atomic_load(&s->r->stopping)) {
            ts_leader_stop(s->l);
            ts_lead_release(s->l, w);
        }
    }
    ts_turn_free(&turn);
    ts_worker_leave(s->l, w);
    return NULL;
}

static void hire(struct crew *crew, struct server *s, unsigned n)
{
    *crew = (struct crew){.s = s, .n = n};
    for (unsigned i = 0; i < n; i++)
        CHECK(pthread_create(&crew->threads[i], NULL, work, crew) == 0);
}

static void dismiss(struct crew *crew)
{
    ts_reactor_unlisten(crew->s->r);
    ts_reactor_stop(crew->s->r);
    end_parked(crew->s);
    ts_leader_stop(crew->s->l);
    for (unsigned i = 0; i < crew->n; i++)
        CHECK(pthread_join(crew->threads[i], NULL) == 0);
    CHECK(n_open(crew->s) == 0);
}

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
    s->r->idle_timeout_ns = 20 * SEC;
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

/* Every deadline is kept by whoever leads, also those set by other threads. */
static void test_deadlines_of_all_workers(void)
{
    enum { N = 20 };
    struct server *s = serve_on(4, false);
    struct crew crew;
    int fds[N];

    s->r->idle_timeout_ns = 150 * MS;
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
            static const char text[] = "GET /nap HTTP/1.1\r\n\r\nGET /b HTT";

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

        s->r->idle_timeout_ns = round % 2 ? 1 * MS : 20 * SEC;
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

static const struct test {
    const char *name;
    void (*run)(void);
} tests[] = {
#define TEST(name) {#name, test_##name}
    TEST(whole),
    TEST(bytewise),
    TEST(pipelined),
    TEST(general_after_plain),
    TEST(half_closed),
    TEST(reset),
    TEST(bodies),
    TEST(linger),
    TEST(linger_after_a_deadline),
    TEST(linger_ends),
    TEST(keep_or_close),
    TEST(idle_deadline),
    TEST(deadline_moves),
    TEST(wait_is_bounded),
    TEST(wait_is_bounded_under_events),
    TEST(wake_is_not_lost),
    TEST(slow_reader),
    TEST(slow_reader_with_a_body_left),
    TEST(stuck_reader_goes),
    TEST(broken_is_told_once),
    TEST(announce),
    TEST(unlisten),
    TEST(accept_takes_turns),
    TEST(out_of_descriptors),
    TEST(descriptor_used_again),
    TEST(stop_ends_all_phases),
    TEST(stop_while_handling),
    TEST(monitor_flushes),
    TEST(monitor_flushes_the_last),
    TEST(fork),
    TEST(deadlines_of_all_workers),
    TEST(unlisten_under_load),
    TEST(stop_under_load),
    TEST(workers),
};

/* test_reactor [name]: one test alone. */
int main(int argc, char **argv)
{
    static const char *const backends[] = {NULL, "poll"};

    memset(filler, 'x', sizeof filler);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, watchdog);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
            continue;
        running = tests[i].name;
        for (size_t k = 0; k < 2; k++) {
            uint64_t began = ts_monotonic_ns();

            backend = backends[k];
            alarm(WATCHDOG_SECONDS);
            tests[i].run();
            if (getenv("TS_VERBOSE"))
                printf("%-32s %-8s %6.0f ms\n", running,
                       backend ? backend : "default",
                       (double)(ts_monotonic_ns() - began) / 1e6);
        }
    }
    puts("reactor: all passed");
    return 0;
}
