/* What the tests of the reactor share: a small server on the reactor and the leader,
 * over real sockets, on every back-end, whose handlers do what the target says; and
 * its client. One thread can be both in turn, so that each case is the same each
 * time; or there are workers, for the sanitizers to judge. */
#ifndef REACTOR_RIG_H
#define REACTOR_RIG_H

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

#define RIG static __attribute__((unused))

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

RIG void nap_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

RIG uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

RIG void watchdog(int sig)
{
    static const char text[] = "hangs: ";

    (void)sig;
    (void)!write(2, text, sizeof text - 1);
    (void)!write(2, running, strlen(running));
    (void)!write(2, "\n", 1);
    abort();
}

/* ---- the server ---- */

struct server {
    struct ts_reactor *r;
    struct ts_leader *l;
    int listener;
    struct sockaddr_in address;
    _Atomic unsigned owners;   /* connections that the handlers know of */
    _Atomic unsigned handled;  /* requests */
    _Atomic unsigned timeouts;
    _Atomic unsigned slow;     /* heads that took too long */
    _Atomic unsigned refused;
    _Atomic unsigned gave_up;  /* waits in handlers that came to nothing */
    _Atomic unsigned broken;
    _Atomic unsigned opened;
    bool forgets;              /* as Python does, before each close */
    enum ts_task (*shake)(struct server *s, struct ts_turn *turn, struct ts_conn *c);
    /* Of the server in one thread. */
    struct ts_worker *worker;
    struct ts_turn turn;
    struct ts_conn *last; /* whose handler ran last */
    uint64_t waited_ns;   /* its longest wait */
};

/* What Python would hold of a connection. */
struct owner {
    struct ts_conn *c;
    unsigned requests;
};

RIG void set_size(int fd, int option, int size)
{
    CHECK(setsockopt(fd, SOL_SOCKET, option, &size, sizeof size) == 0);
}

/* small: kernel buffers of a few kilobytes, for slow readers. */
RIG struct server *serve_on(unsigned threads, bool small)
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

RIG void server_free(struct server *s)
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

/* Waits as Python does, by the rules. False: nothing came of it. */
RIG bool wait_for(struct server *s, struct ts_conn *c, bool write)
{
    uint64_t began = ts_monotonic_ns();

    for (;;) {
        uint64_t due = ts_reactor_wait_begins(s->r, c, write);
        uint64_t now = ts_monotonic_ns();
        uint64_t ns = due <= now ? 0 : due - now < 20 * SEC ? due - now : 20 * SEC;
        int ready = ts_wait_fd(c->fd, write, -1, (int64_t)ns);
        bool moved = ts_reactor_wait_ended(c, write);

        uint64_t waited = ts_monotonic_ns() - began;

        if (waited > s->waited_ns)
            s->waited_ns = waited;
        if (ready == TS_WAIT_READY)
            return true;
        if (!moved) {
            atomic_fetch_add(&s->gave_up, 1);
            return false;
        }
    }
}

RIG void write_all(struct server *s, struct ts_worker *w, struct ts_conn *c,
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
        if (!wait_for(s, c, true))
            return;
    }
}

RIG void answer(struct server *s, struct ts_worker *w, struct ts_conn *c,
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

/* Up to n octets of the body, 0 at its end, where there is none to be known, where
 * the connection ends, or when they do not come. */
RIG size_t read_body(struct server *s, struct ts_conn *c, char *into, size_t n)
{
    const struct ts_chunk_limits *limits = &ts_reactor_rules(s->r)->chunks;

    while (!ts_body_done(&c->body)) {
        uint32_t have = ts_in_unread(&c->in), before;

        if (have > 0) {
            size_t skip, shown;

            ts_body_peek(&c->body, c->in.data + c->in.pos, have, limits, &skip, &shown);
            c->in.pos += (uint32_t)skip;
            if (shown > n)
                shown = n;
            if (shown > 0) {
                memcpy(into, c->in.data + c->in.pos, shown);
                ts_body_took(&c->body, into, shown, limits);
                c->in.pos += (uint32_t)shown;
                return shown;
            }
            if (c->body.kind == TS_BODY_BAD)
                return 0;
            continue;
        }
        if (c->eof || c->broken)
            return 0;
        before = c->in.end;
        CHECK(ts_conn_fill(c) == 0);
        c->input.moved += c->in.end - before;
        if (ts_in_unread(&c->in) == 0 && !c->eof && !c->broken) {
            ts_out_flush(&c->out, c->fd);
            if (!wait_for(s, c, false))
                return 0;
        }
    }
    return 0;
}

/* Octets now and then, around the monitor's ticks; then the handler stays until
 * the peer says that it has all of them. */
#define DRIPS 200

RIG void drip(struct server *s, struct ts_worker *w, struct ts_conn *c)
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

RIG void pump(struct server *s);

static char filler[60000]; /* the long answer; main() fills it */

/* An answer and the end: what else comes is nobody's. */
RIG bool refuse(struct server *s, struct ts_worker *w, struct ts_conn *c,
                const char *why)
{
    c->in.pos = c->in.end;
    ts_body_begin(&c->body, TS_BODY_OPAQUE, 1);
    answer(s, w, c, why, strlen(why));
    return false;
}

/* As Python does it: the head is at in.head, the body begins after it. Whether
 * the connection may stay. The target says what to do, word by word. */
RIG bool handle(struct server *s, struct ts_worker *w, struct ts_conn *c,
                   enum ts_task task)
{
    const struct ts_request *req = c->req;
    char target[300], body[1000];
    bool keep = true;
    size_t n;

    atomic_fetch_add(&s->handled, 1);
    if (task == TS_TASK_SLOW) {
        CHECK(c->scan == TS_SCAN_PARTIAL && c->in.end > c->in.head);
        atomic_fetch_add(&s->slow, 1);
        return refuse(s, w, c, "slow");
    }
    if (task == TS_TASK_GENERAL)
        return refuse(s, w, c, c->scan == TS_SCAN_REFUSED ? "refused" : "general");
    if (req->refusal != TS_REFUSE_NONE) {
        atomic_fetch_add(&s->refused, 1);
        return refuse(s, w, c, ts_refusal_reason(req->refusal));
    }
    CHECK(c->in.pos == c->in.head);
    n = req->target.len < sizeof target ? req->target.len : sizeof target - 1;
    memcpy(target, c->in.data + c->in.head + req->target.off, n);
    target[n] = '\0';
    c->in.pos = c->in.head + req->head_len;
    if (req->form == TS_TARGET_AUTHORITY)
        ts_body_begin(&c->body, TS_BODY_OPAQUE, 1);
    else if (req->chunked)
        ts_body_begin(&c->body, TS_BODY_CHUNKED, 0);
    else if (req->content_length > 0)
        ts_body_begin(&c->body, TS_BODY_LENGTH, req->content_length);
    else
        ts_body_begin(&c->body, TS_BODY_NONE, 0);
    c->body.decode = strstr(target, "/decode") != NULL;

    if (strstr(target, "/nap"))
        nap_ms(strstr(target, "/nap20") ? 20 : 2);
    if (strstr(target, "/read")) {
        size_t got = 0;

        while ((n = read_body(s, c, body, sizeof body)) > 0)
            got += n;
        n = (size_t)snprintf(body, sizeof body, "%zu", got);
        answer(s, w, c, body, n);
    } else if (strstr(target, "/longest")) { /* more than is gathered */
        for (int i = 0; i < 20 && atomic_load(&s->gave_up) == 0; i++)
            answer(s, w, c, filler, sizeof filler);
        c->through = true;
        keep = false;
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

RIG void serve(struct server *s, struct ts_worker *w, struct ts_turn *turn,
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
        case TS_TASK_SLOW:
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
        case TS_TASK_HANDSHAKE:
            CHECK(s->shake != NULL);
            task = s->shake(s, turn, c);
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

RIG void end_parked(struct server *s)
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

static struct server *served_here; /* its client is in the same thread */

RIG struct server *single(bool small)
{
    struct server *s = serve_on(1, small);

    served_here = s;

    s->worker = ts_worker_join(s->l);
    CHECK(s->worker != NULL);
    CHECK(ts_lead_wait(s->l, s->worker, 0) == TS_LEAD);
    return s;
}

RIG enum ts_task next(struct server *s, int64_t wait_ns)
{
    struct ts_conn *c = NULL;
    enum ts_task task = ts_reactor_next(s->r, &s->turn, true, wait_ns, &c);

    if (c != NULL)
        serve(s, s->worker, &s->turn, c, task);
    return task;
}

/* Serves until nothing has come for some milliseconds. */
RIG void pump(struct server *s)
{
    for (int quiet = 0; quiet < 2;) {
        uint64_t began = ts_monotonic_ns();

        if (next(s, 3 * (int64_t)MS) != TS_TASK_WOKEN)
            quiet = 0;
        else if (ts_monotonic_ns() - began >= 2 * MS) /* else it was woken */
            quiet++;
    }
}

RIG void single_end(struct server *s)
{
    served_here = NULL;
    end_parked(s);
    ts_turn_free(&s->turn);
    ts_worker_leave(s->l, s->worker);
    server_free(s);
}

/* ---- the client ---- */

RIG int connect_small(const struct server *s, int rcvbuf)
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

RIG int client(const struct server *s)
{
    return connect_small(s, 0);
}

RIG void put_octets(int fd, const char *data, size_t n)
{
    uint64_t began = ts_monotonic_ns();

    while (n > 0) {
        int here = served_here != NULL ? MSG_DONTWAIT : 0;
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL | here);

        if (sent < 0 && errno == EAGAIN && here) {
            CHECK(ts_monotonic_ns() < began + 20 * SEC);
            next(served_here, 2 * (int64_t)MS);
            continue;
        }
        CHECK(sent > 0);
        data += sent;
        n -= (size_t)sent;
    }
}

RIG void put(int fd, const char *text)
{
    put_octets(fd, text, strlen(text));
}

RIG void get_request(int fd, const char *target)
{
    char text[400];

    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    put(fd, text);
}

RIG void post_head(int fd, const char *target, size_t length)
{
    char text[400];

    snprintf(text, sizeof text,
             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
             target, length);
    put(fd, text);
}

RIG void put_body(int fd, size_t n)
{
    char piece[10000];

    memset(piece, 'b', sizeof piece);
    while (n > 0) {
        size_t some = n < sizeof piece ? n : sizeof piece;

        put_octets(fd, piece, some);
        n -= some;
    }
}

/* recv() that serves meanwhile: on a busy machine octets may take their time from
 * one end of a connection to the other, longer than pump() waits. */
RIG ssize_t receive(int fd, char *into, size_t n)
{
    uint64_t began = ts_monotonic_ns();

    while (served_here != NULL) {
        ssize_t got = recv(fd, into, n, MSG_DONTWAIT);

        if (got >= 0 || errno != EAGAIN || ts_monotonic_ns() > began + 20 * SEC)
            return got;
        next(served_here, 2 * (int64_t)MS);
    }
    return recv(fd, into, n, 0);
}

RIG void get_octets(int fd, char *into, size_t n)
{
    while (n > 0) {
        ssize_t got = receive(fd, into, n);

        CHECK(got > 0);
        into += got;
        n -= (size_t)got;
    }
}

/* One answer, whose body is to be `want` (NULL: any). Its length. */
RIG size_t expect(int fd, const char *want)
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

RIG void expect_end(int fd)
{
    char one;

    CHECK(receive(fd, &one, 1) == 0);
}

RIG void expect_nothing(int fd)
{
    char one;

    CHECK(recv(fd, &one, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

RIG void reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(fd);
}

/* The rules there are, but for some of them. */
RIG struct ts_rules rules_of(struct server *s)
{
    return *ts_reactor_rules(s->r);
}

RIG void set_rules(struct server *s, const struct ts_rules *rules)
{
    CHECK(ts_reactor_set_rules(s->r, rules) == 0);
}

RIG unsigned n_open(struct server *s)
{
    return atomic_load(&s->r->n_open);
}

/* Whether every connection ends, as soon as the server hears of it. */
RIG bool all_close(struct server *s)
{
    uint64_t began = ts_monotonic_ns();

    while (n_open(s) > 0 && ts_monotonic_ns() < began + 10 * SEC)
        next(s, 2 * (int64_t)MS);
    return n_open(s) == 0;
}

/* ---- an answer that is not read ---- */

/* An answer stands before a peer that does not read. */
RIG int stuck(struct server *s, const char *target)
{
    int fd = connect_small(s, 2048);

    get_request(fd, target);
    pump(s);
    CHECK(s->last->phase == TS_PHASE_FLUSH);
    CHECK(ts_out_unsent(&s->last->out) > 0);
    return fd;
}

RIG void expect_slowly(struct server *s, int fd, size_t n)
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

/* ---- workers ---- */

struct crew {
    struct server *s;
    unsigned n;
    pthread_t threads[8];
    _Atomic uint64_t beats; /* moves as long as somebody leads */
};

RIG void *work(void *arg)
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

RIG void hire(struct crew *crew, struct server *s, unsigned n)
{
    *crew = (struct crew){.s = s, .n = n};
    for (unsigned i = 0; i < n; i++)
        CHECK(pthread_create(&crew->threads[i], NULL, work, crew) == 0);
}

RIG void dismiss(struct crew *crew)
{
    ts_reactor_unlisten(crew->s->r);
    ts_reactor_stop(crew->s->r);
    end_parked(crew->s);
    ts_leader_stop(crew->s->l);
    for (unsigned i = 0; i < crew->n; i++)
        CHECK(pthread_join(crew->threads[i], NULL) == 0);
    CHECK(n_open(crew->s) == 0);
}

/* ---- running them -------------------------------------------------------- */

struct test {
    const char *name;
    void (*run)(void);
};

#define TEST(name) {#name, test_##name}

static void run_test(const struct test *test, const char *on)
{
    uint64_t began = ts_monotonic_ns();

    running = test->name;
    backend = on;
    alarm(WATCHDOG_SECONDS);
    test->run();
    if (getenv("TS_VERBOSE"))
        printf("%-32s %-8s %6.0f ms\n", running, backend ? backend : "default",
               (double)(ts_monotonic_ns() - began) / 1e6);
}

/* True if one of `together` processes that run tests has ended; fails with it. */
static bool one_has_ended(unsigned together)
{
    int status;

    if (together == 0)
        return false;
    CHECK(wait(&status) > 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

/* On each back-end. test_... [name]: one test alone. most: processes at a time; 0: this
 * one alone. */
RIG int run_some(const struct test *tests, size_t n, int argc, char **argv, unsigned most)
{
    static const char *const backends[] = {NULL, "poll"};
    unsigned together = 0;

    memset(filler, 'x', sizeof filler);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, watchdog);
    for (size_t i = 0; i < 2 * n; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i / 2].name) != 0)
            continue;
        if (most == 0) {
            run_test(&tests[i / 2], backends[i % 2]);
            continue;
        }
        if (together == most)
            together -= one_has_ended(together);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            run_test(&tests[i / 2], backends[i % 2]);
            exit(0); /* and look for leaks */
        }
        together++;
    }
    while (one_has_ended(together))
        together--;
    puts("all passed");
    return 0;
}

RIG int run_tests(const struct test *tests, size_t n, int argc, char **argv)
{
    return run_some(tests, n, argc, argv, 0);
}

/* For tests that mostly wait: each in a process of its own, several at a time. */
RIG int run_tests_together(const struct test *tests, size_t n, int argc, char **argv)
{
    return run_some(tests, n, argc, argv, 8);
}

#endif
