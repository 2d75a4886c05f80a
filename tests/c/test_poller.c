/* units: poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* Every test runs on every back-end of the platform: one contract. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "poller.h"
#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                                            \
    do {                                                                    \
        if (!(x)) {                                                         \
            fprintf(stderr, "%s:%d: [%s] failed: %s (errno %d)\n", __FILE__, \
                    __LINE__, backend, #x, errno);                          \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

static const char *backend = "none"; /* of the test that runs */

/* Long enough that only a lost wake-up reaches it. */
#define LONG_MS 20000
#define PROMPT_MS 5000

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap_ms(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static struct ts_poller *open_poller(void)
{
    struct ts_poller *p;

    CHECK(ts_poller_open(&p, backend) == 0);
    CHECK(strcmp(ts_poller_name(p), backend) == 0);
    return p;
}

static void pair(int fds[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
}

static void put(int fd, const char *text)
{
    CHECK(ts_send(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void drain(int fd)
{
    char buf[256];
    ssize_t n;

    while ((n = ts_recv(fd, buf, sizeof buf)) > 0)
        ;
    CHECK(n == -EAGAIN || n == 0);
}

/* Waits past early returns; all flags seen for key by the first wait that
 * reports it, or 0. Any other key is a failure. */
static uint32_t flags_for(struct ts_poller *p, uint64_t key, int timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;

    for (;;) {
        struct ts_event ev[8];
        int64_t left = end - now_ms();
        int n = ts_poller_wait(p, ev, 8, left > 0 ? (int)left : 0);
        uint32_t flags = 0;

        CHECK(n >= 0);
        for (int i = 0; i < n; i++) {
            CHECK(ev[i].key == key);
            flags |= ev[i].flags;
        }
        if (flags || left <= 0)
            return flags;
    }
}

static uint32_t ready(struct ts_poller *p, uint64_t key)
{
    return flags_for(p, key, PROMPT_MS);
}

static bool silent(struct ts_poller *p, uint64_t key)
{
    return flags_for(p, key, 20) == 0;
}

/* ---- One thread ---- */

static void test_ready_when_added(void)
{
    struct ts_poller *p = open_poller();
    const uint64_t key = UINT64_C(0xfedcba9876543210);
    int s[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], key, TS_POLL_READ) == 0);
    CHECK(silent(p, key));
    put(s[1], "x");
    CHECK(ready(p, key) == TS_POLL_READ);
    CHECK(ts_poller_remove(p, s[0], key) == 0);

    CHECK(ts_poller_add(p, s[0], key, TS_POLL_READ | TS_POLL_WRITE) == 0);
    CHECK(ready(p, key) & TS_POLL_WRITE);
    if (strcmp(backend, "kqueue") != 0) {
        CHECK(ts_poller_add(p, s[0], key, TS_POLL_READ) == -EEXIST);
        CHECK(ts_poller_change(p, s[1], key, TS_POLL_READ) == -ENOENT);
    }
    CHECK(ts_poller_add(p, -1, key, TS_POLL_READ) == -EBADF);
    close(s[0]);
    close(s[1]);
    ts_poller_close(p);
}

/* Once reported, silence, though data is unread; then the next data. */
static void test_edge(void)
{
    struct ts_poller *p = open_poller();
    int s[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], 7, TS_POLL_READ) == 0);
    for (int i = 0; i < 3; i++) {
        put(s[1], "hello");
        CHECK(ready(p, 7) == TS_POLL_READ);
        CHECK(silent(p, 7));
        drain(s[0]);
        CHECK(silent(p, 7));
        CHECK(ts_poller_rearm(p, s[0], 7) == 0);
        CHECK(silent(p, 7));
    }
    ts_poller_close(p);
    close(s[0]);
    close(s[1]);
}

/* What arrives between the last recv and the rearm is not lost. */
static void test_data_before_rearm(void)
{
    struct ts_poller *p = open_poller();
    int s[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], 7, TS_POLL_READ) == 0);
    for (int i = 0; i < 3; i++) {
        put(s[1], "a");
        CHECK(ready(p, 7) == TS_POLL_READ);
        drain(s[0]);
        put(s[1], "b");
        CHECK(ts_poller_rearm(p, s[0], 7) == 0);
        CHECK(ready(p, 7) == TS_POLL_READ);
        drain(s[0]);
        CHECK(ts_poller_rearm(p, s[0], 7) == 0);
        CHECK(silent(p, 7));
    }
    ts_poller_close(p);
    close(s[0]);
    close(s[1]);
}

static void test_level(void)
{
    struct ts_poller *p = open_poller();
    int s[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], 9, TS_POLL_READ | TS_POLL_LEVEL) == 0);
    put(s[1], "x");
    for (int i = 0; i < 3; i++)
        CHECK(ready(p, 9) == TS_POLL_READ);
    drain(s[0]);
    CHECK(silent(p, 9));
    put(s[1], "x");
    CHECK(ready(p, 9) == TS_POLL_READ);
    /* A listener out of descriptors is silenced so, and comes back. */
    CHECK(ts_poller_change(p, s[0], 9, TS_POLL_LEVEL) == 0);
    CHECK(silent(p, 9));
    CHECK(ts_poller_change(p, s[0], 9, TS_POLL_READ | TS_POLL_LEVEL) == 0);
    CHECK(ready(p, 9) == TS_POLL_READ);
    close(s[1]);
    CHECK(ready(p, 9) & TS_POLL_HUP);
    /* Silence means that the hang-up does not spin either. */
    CHECK(ts_poller_change(p, s[0], 9, TS_POLL_LEVEL) == 0);
    (void)flags_for(p, 9, 20);
    CHECK(silent(p, 9));
    ts_poller_close(p);
    close(s[0]);
}

static void test_change(void)
{
    struct ts_poller *p = open_poller();
    char block[65536];
    int s[2];

    memset(block, 'x', sizeof block);
    pair(s);
    CHECK(ts_poller_add(p, s[0], 1, TS_POLL_READ) == 0);
    while (ts_send(s[0], block, sizeof block) > 0)
        ;
    CHECK(ts_poller_change(p, s[0], 2, TS_POLL_READ | TS_POLL_WRITE) == 0);
    CHECK(silent(p, 2)); /* full */
    drain(s[1]);
    CHECK(ready(p, 2) == TS_POLL_WRITE);
    /* WRITE goes, and what is unread is reported again. */
    put(s[1], "x");
    CHECK(ts_poller_change(p, s[0], 2, TS_POLL_READ) == 0);
    CHECK(ready(p, 2) == TS_POLL_READ);
    CHECK(silent(p, 2));
    CHECK(ts_poller_change(p, s[0], 3, TS_POLL_READ) == 0);
    CHECK(ready(p, 3) == TS_POLL_READ);
    /* Back-pressure: only WRITE, then nothing at all. */
    CHECK(ts_poller_change(p, s[0], 3, TS_POLL_WRITE) == 0);
    CHECK(ready(p, 3) == TS_POLL_WRITE);
    CHECK(ts_poller_change(p, s[0], 3, 0) == 0);
    CHECK(silent(p, 3));
    CHECK(ts_poller_change(p, s[0], 3, TS_POLL_READ) == 0);
    CHECK(ready(p, 3) == TS_POLL_READ);
    ts_poller_close(p);
    close(s[0]);
    close(s[1]);
}

static void test_hup(void)
{
    struct ts_poller *p = open_poller();
    char buf[8];
    int s[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], 5, TS_POLL_READ) == 0);
    put(s[1], "last");
    CHECK(shutdown(s[1], SHUT_WR) == 0);
    uint32_t flags = ready(p, 5);
    CHECK(flags & TS_POLL_READ);
#if defined(__linux__)
    CHECK(flags & TS_POLL_HUP);
#endif
    CHECK(ts_recv(s[0], buf, sizeof buf) == 4);
    CHECK(ts_recv(s[0], buf, sizeof buf) == 0);
    close(s[0]);
    close(s[1]);

    pair(s);
    CHECK(ts_poller_closing(p, s[0], 5) == 0);
    (void)ts_poller_remove(p, s[0], 5); /* poll: the number is reused */
    CHECK(ts_poller_add(p, s[0], 6, TS_POLL_READ) == 0);
    close(s[1]);
    CHECK((ready(p, 6) & (TS_POLL_READ | TS_POLL_HUP)) ==
          (TS_POLL_READ | TS_POLL_HUP));
    CHECK(silent(p, 6));
    ts_poller_close(p);
    close(s[0]);
}

static void test_remove(void)
{
    struct ts_poller *p = open_poller();
    int s[2], t[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], 1, TS_POLL_READ) == 0);
    CHECK(ts_poller_remove(p, s[0], 1) == 0);
    CHECK(ts_poller_remove(p, s[0], 1) == -ENOENT);
    put(s[1], "x");
    CHECK(silent(p, 1));
    CHECK(ts_poller_add(p, s[0], 1, TS_POLL_READ) == 0);
    CHECK(ready(p, 1) == TS_POLL_READ);

    /* The number of a closed fd is soon another connection's. */
    int old = s[0];

    CHECK(ts_poller_rearm(p, s[0], 1) == 0);
    CHECK(ts_poller_closing(p, s[0], 1) == 0);
    close(s[0]);
    close(s[1]);
    pair(t);
    if (t[0] != old) {
        CHECK(dup2(t[0], old) == old);
        close(t[0]);
        t[0] = old;
    }
    CHECK(ts_poller_add(p, t[0], 2, TS_POLL_READ) == 0);
    CHECK(silent(p, 2));
    CHECK(ts_poller_closing(p, t[0], 1) == 0); /* late, and not its fd */
    put(t[1], "x");
    CHECK(ready(p, 2) == TS_POLL_READ);
    if (strcmp(backend, "poll") == 0)
        CHECK(ts_poller_rearm(p, t[0], 1) == -ENOENT);
    ts_poller_close(p);
    close(t[0]);
    close(t[1]);
}

/* More are ready than are asked for, beside a listener that always is. */
static void test_fair(void)
{
    enum { N = 20 };
    struct ts_poller *p = open_poller();
    int s[N][2], seen[N] = {0}, left = N - 1;

    for (int i = 0; i < N; i++) {
        pair(s[i]);
        CHECK(ts_poller_add(p, s[i][0], (uint64_t)i,
                            i ? TS_POLL_READ
                              : TS_POLL_READ | TS_POLL_LEVEL) == 0);
        put(s[i][1], "x");
    }
    for (int round = 0; left > 0; round++) {
        struct ts_event ev[2];
        int n = ts_poller_wait(p, ev, 1 + round % 2, PROMPT_MS);

        CHECK(round < 10 * N);
        CHECK(n >= 0 && n <= 1 + round % 2);
        for (int i = 0; i < n; i++) {
            CHECK(ev[i].key < N && ev[i].flags == TS_POLL_READ);
            if (ev[i].key > 0) {
                CHECK(!seen[ev[i].key]);
                seen[ev[i].key] = 1;
                left--;
            }
        }
    }
    ts_poller_close(p);
    for (int i = 0; i < N; i++) {
        close(s[i][0]);
        close(s[i][1]);
    }
}

static void test_descriptors(void)
{
    enum { N = 256 };
    bool before[N];
    int opened = 0;

    for (int fd = 0; fd < N; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    struct ts_poller *p = open_poller();
    for (int fd = 0; fd < N; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && !before[fd]) {
            CHECK(flags & FD_CLOEXEC);
            opened++;
        }
    }
    CHECK(opened >= 1);
    ts_poller_close(p);
    for (int fd = 0; fd < N; fd++)
        CHECK((fcntl(fd, F_GETFD) >= 0) == before[fd]);
}

/* A child that closes its copy leaves the parent's poller as it was. */
static void test_fork(void)
{
    struct ts_poller *p = open_poller();
    int s[2], status;

    pair(s);
    CHECK(ts_poller_add(p, s[0], 4, TS_POLL_READ) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        ts_poller_close(p);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    put(s[1], "x");
    CHECK(ready(p, 4) == TS_POLL_READ);
    ts_poller_close(p);
    close(s[0]);
    close(s[1]);
}

/* ---- Wake-ups and signals ---- */

static struct ts_poller *signalled;
static atomic_int signal_result;

static void on_signal(int number)
{
    (void)number;
    if (signalled)
        atomic_store(&signal_result, ts_poller_wake(signalled));
}

static void catch_signal(int number)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    CHECK(sigaction(number, &sa, NULL) == 0);
}

static void test_wake(void)
{
    struct ts_poller *p = open_poller();
    struct ts_event ev[4];
    int64_t start = now_ms();

    for (int i = 0; i < 1000; i++)
        CHECK(ts_poller_wake(p) == 0);
    CHECK(ts_poller_wait(p, ev, 4, LONG_MS) == 0);
    CHECK(now_ms() - start < PROMPT_MS);
    /* They did not add up. */
    start = now_ms();
    CHECK(ts_poller_wait(p, ev, 4, 50) == 0);
    CHECK(now_ms() - start >= 45);

    /* From a signal handler. */
    signalled = p;
    CHECK(raise(SIGUSR1) == 0);
    signalled = NULL;
    CHECK(atomic_load(&signal_result) == 0);
    start = now_ms();
    CHECK(ts_poller_wait(p, ev, 4, LONG_MS) == 0);
    CHECK(now_ms() - start < PROMPT_MS);

    /* A wake-up hides no event, whatever the order. */
    int s[2];

    pair(s);
    CHECK(ts_poller_add(p, s[0], 3, TS_POLL_READ) == 0);
    put(s[1], "x");
    CHECK(ts_poller_wake(p) == 0);
    CHECK(ready(p, 3) == TS_POLL_READ);
    ts_poller_close(p);
    close(s[0]);
    close(s[1]);
}

/* ---- Two threads ---- */

struct waiter {
    struct ts_poller *p;
    struct ts_event ev[8];
    int n;
    int64_t took_ms;
    atomic_bool started;
    pthread_t thread;
};

/* One wait; an early return with nothing is waited for again, once: that is
 * how a kick looks. */
static void *wait_once(void *arg)
{
    struct waiter *w = arg;
    int64_t start = now_ms();

    atomic_store(&w->started, true);
    w->n = ts_poller_wait(w->p, w->ev, 8, LONG_MS);
    if (w->n == 0)
        w->n = ts_poller_wait(w->p, w->ev, 8, PROMPT_MS);
    w->took_ms = now_ms() - start;
    return NULL;
}

static void *wait_for_wake(void *arg)
{
    struct waiter *w = arg;
    int64_t start = now_ms();

    atomic_store(&w->started, true);
    w->n = ts_poller_wait(w->p, w->ev, 8, LONG_MS);
    w->took_ms = now_ms() - start;
    return NULL;
}

static void begin(struct waiter *w, struct ts_poller *p, void *(*run)(void *))
{
    memset(w, 0, sizeof *w);
    w->p = p;
    CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
    while (!atomic_load(&w->started))
        nap_ms(1);
    nap_ms(30); /* now it is most likely inside the wait; right if not, too */
}

static void ends_with(struct waiter *w, uint64_t key, uint32_t flag)
{
    CHECK(pthread_join(w->thread, NULL) == 0);
    CHECK(w->n == 1);
    CHECK(w->ev[0].key == key);
    CHECK(w->ev[0].flags & flag);
    CHECK(w->took_ms < PROMPT_MS);
}

static void test_while_waiting(void)
{
    struct ts_poller *p = open_poller();
    struct waiter w;
    char byte;
    int s[2];

    pair(s);
    put(s[1], "x");
    begin(&w, p, wait_once);
    CHECK(ts_poller_add(p, s[0], 1, TS_POLL_READ) == 0);
    ends_with(&w, 1, TS_POLL_READ);

    /* The owner reads, more arrives, it rearms: another thread is told. */
    drain(s[0]);
    put(s[1], "y");
    if (strcmp(backend, "poll") != 0)
        CHECK(ready(p, 1) == TS_POLL_READ);
    begin(&w, p, wait_once);
    CHECK(ts_poller_rearm(p, s[0], 1) == 0);
    if (strcmp(backend, "poll") != 0)
        put(s[1], "z");
    ends_with(&w, 1, TS_POLL_READ);

    drain(s[0]);
    CHECK(ts_poller_rearm(p, s[0], 1) == 0);
    begin(&w, p, wait_once);
    put(s[1], "x");
    ends_with(&w, 1, TS_POLL_READ);

    drain(s[0]);
    CHECK(ts_poller_rearm(p, s[0], 1) == 0);
    begin(&w, p, wait_once);
    CHECK(ts_poller_change(p, s[0], 2, TS_POLL_READ | TS_POLL_WRITE) == 0);
    ends_with(&w, 2, TS_POLL_WRITE);

    /* Closed under the waiter: the peer learns it at once. */
    CHECK(ts_poller_change(p, s[0], 2, TS_POLL_READ) == 0);
    begin(&w, p, wait_for_wake);
    CHECK(ts_poller_closing(p, s[0], 2) == 0);
    CHECK(close(s[0]) == 0);
    CHECK(ts_wait_fd(s[1], false, -1, PROMPT_MS * INT64_C(1000000)) ==
          TS_WAIT_READY);
    CHECK(ts_recv(s[1], &byte, 1) == 0);
    CHECK(ts_poller_wake(p) == 0);
    CHECK(pthread_join(w.thread, NULL) == 0);
    CHECK(w.n == 0);
    CHECK(w.took_ms < PROMPT_MS);
    close(s[1]);
    ts_poller_close(p);
}

static void test_wake_while_waiting(void)
{
    struct ts_poller *p = open_poller();
    struct waiter w;

    for (int i = 0; i < 3; i++) {
        begin(&w, p, wait_for_wake);
        CHECK(ts_poller_wake(p) == 0);
        CHECK(pthread_join(w.thread, NULL) == 0);
        CHECK(w.n == 0);
        CHECK(w.took_ms < PROMPT_MS);
    }
    /* A signal in the waiting thread; sent until it hits the wait itself. */
    begin(&w, p, wait_for_wake);
    CHECK(pthread_kill(w.thread, SIGUSR1) == 0);
    CHECK(pthread_join(w.thread, NULL) == 0);
    CHECK(w.n == -EINTR);
    ts_poller_close(p);
}

/* ---- Many threads: echo with owners, generations, and reuse of numbers ----
 *
 * One thread waits, WORKERS own and answer, DRIVERS ask and wait for each
 * answer. Every CLOSE_EVERYth question is answered by a close, after which the
 * driver makes a new connection, most often with the same fd numbers. A lost
 * edge or rearm is a driver that waits for ever: alarm() ends that. */

enum { PAIRS = 16, WORKERS = 3, DRIVERS = 2, ROUNDS = 300, CLOSE_EVERY = 37 };
enum { PARKED, OWNED, AGAIN };

/* Generation and state are one word, so that an event of a closed connection
 * cannot take the ownership of its successor. */
struct place {
    atomic_int fd;
    atomic_uint word; /* generation << 2 | state */
};

static uint64_t key_of(unsigned word, int i)
{
    return (uint64_t)(word >> 2) << 32 | (uint64_t)i;
}

static struct {
    struct ts_poller *p;
    struct place places[PAIRS];
    pthread_mutex_t lock;
    pthread_cond_t filled;
    int queue[PAIRS * 4];
    int head, tail;
    bool stop;
    atomic_int drivers_left;
} echo;

static void enqueue(int i)
{
    pthread_mutex_lock(&echo.lock);
    echo.queue[echo.tail++ % (PAIRS * 4)] = i;
    pthread_cond_signal(&echo.filled);
    pthread_mutex_unlock(&echo.lock);
}

/* Answers what there is. False: closed. */
static bool serve(int i, uint64_t key, int fd)
{
    char c;
    ssize_t n;

    while ((n = ts_recv(fd, &c, 1)) == 1) {
        if (c == 'q') {
            CHECK(ts_poller_closing(echo.p, fd, key) == 0);
            /* Before the close: the driver may use i right after it. */
            atomic_store(&echo.places[i].word,
                         ((unsigned)(key >> 32) + 1) << 2 | PARKED);
            CHECK(close(fd) == 0);
            return false;
        }
        CHECK(ts_send(fd, &c, 1) == 1);
    }
    CHECK(n == -EAGAIN);
    return true;
}

static void *worker(void *arg)
{
    (void)arg;
    for (;;) {
        pthread_mutex_lock(&echo.lock);
        while (echo.head == echo.tail && !echo.stop)
            pthread_cond_wait(&echo.filled, &echo.lock);
        if (echo.stop) {
            pthread_mutex_unlock(&echo.lock);
            return NULL;
        }
        int i = echo.queue[echo.head++ % (PAIRS * 4)];
        pthread_mutex_unlock(&echo.lock);

        struct place *place = &echo.places[i];
        int fd = atomic_load(&place->fd);
        unsigned owned = (atomic_load(&place->word) & ~3u) | OWNED;
        uint64_t key = key_of(owned, i);

        while (serve(i, key, fd)) {
            unsigned expected = owned;

            CHECK(ts_poller_rearm(echo.p, fd, key) == 0);
            if (atomic_compare_exchange_strong(&place->word, &expected,
                                               (owned & ~3u) | PARKED))
                break;
            atomic_store(&place->word, owned); /* an edge came meanwhile */
        }
    }
}

static int new_connection(int i)
{
    struct place *place = &echo.places[i];
    unsigned word = ((atomic_load(&place->word) >> 2) + 1) << 2 | PARKED;
    int s[2];

    pair(s);
    atomic_store(&place->fd, s[0]);
    atomic_store(&place->word, word);
    CHECK(ts_poller_add(echo.p, s[0], key_of(word, i), TS_POLL_READ) == 0);
    return s[1];
}

static char answer(int fd)
{
    char c = 0;

    for (;;) {
        ssize_t n = ts_recv(fd, &c, 1);

        if (n == 1)
            return c;
        if (n == 0)
            return 'q';
        CHECK(n == -EAGAIN);
        CHECK(ts_wait_fd(fd, false, -1, -1) == TS_WAIT_READY);
    }
}

static void *driver(void *arg)
{
    int first = (int)(intptr_t)arg, fds[PAIRS], asked = 0;

    for (int i = first; i < PAIRS; i += DRIVERS)
        fds[i] = new_connection(i);
    for (int round = 0; round < ROUNDS; round++) {
        char sent[PAIRS];

        for (int i = first; i < PAIRS; i += DRIVERS) {
            sent[i] = ++asked % CLOSE_EVERY ? 'e' : 'q';
            CHECK(ts_send(fds[i], &sent[i], 1) == 1);
        }
        for (int i = first; i < PAIRS; i += DRIVERS) {
            CHECK(answer(fds[i]) == sent[i]);
            if (sent[i] == 'q') {
                close(fds[i]);
                fds[i] = new_connection(i);
            }
        }
    }
    for (int i = first; i < PAIRS; i += DRIVERS) {
        put(fds[i], "q");
        CHECK(answer(fds[i]) == 'q');
        close(fds[i]);
    }
    atomic_fetch_sub(&echo.drivers_left, 1);
    CHECK(ts_poller_wake(echo.p) == 0);
    return NULL;
}

/* The waiter's half: the connection becomes owned, or its owner is told. */
static void take_or_mark(int i, uint64_t key)
{
    struct place *place = &echo.places[i];
    unsigned word = atomic_load(&place->word);

    while (key_of(word, i) == key) { /* or else it is stale */
        if ((word & 3) == AGAIN)
            return;
        if ((word & 3) == PARKED) {
            if (atomic_compare_exchange_weak(&place->word, &word,
                                             (word & ~3u) | OWNED)) {
                enqueue(i);
                return;
            }
        } else if (atomic_compare_exchange_weak(&place->word, &word,
                                                (word & ~3u) | AGAIN)) {
            return;
        }
    }
}

static void test_stress(void)
{
    pthread_t workers[WORKERS], drivers[DRIVERS];

    memset(&echo, 0, sizeof echo);
    pthread_mutex_init(&echo.lock, NULL);
    pthread_cond_init(&echo.filled, NULL);
    echo.p = open_poller();
    atomic_store(&echo.drivers_left, DRIVERS);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&workers[i], NULL, worker, NULL) == 0);
    for (int i = 0; i < DRIVERS; i++)
        CHECK(pthread_create(&drivers[i], NULL, driver, (void *)(intptr_t)i) ==
              0);
    while (atomic_load(&echo.drivers_left) > 0) {
        struct ts_event ev[4];
        int n = ts_poller_wait(echo.p, ev, 4, -1);

        CHECK(n >= 0);
        for (int k = 0; k < n; k++) {
            int i = (int)(ev[k].key & 0xffffffff);
            CHECK(i < PAIRS);
            take_or_mark(i, ev[k].key);
        }
    }
    for (int i = 0; i < DRIVERS; i++)
        CHECK(pthread_join(drivers[i], NULL) == 0);
    pthread_mutex_lock(&echo.lock);
    echo.stop = true;
    pthread_cond_broadcast(&echo.filled);
    pthread_mutex_unlock(&echo.lock);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
    ts_poller_close(echo.p);
    pthread_mutex_destroy(&echo.lock);
    pthread_cond_destroy(&echo.filled);
}

static void test_open(void)
{
    struct ts_poller *p = (struct ts_poller *)&p;

    CHECK(ts_poller_open(&p, "select") == -EINVAL && !p);
    CHECK(ts_poller_open(&p, "") == -EINVAL && !p);
#if defined(__linux__)
    CHECK(ts_poller_open(&p, "kqueue") == -EINVAL && !p);
    CHECK(ts_poller_open(&p, NULL) == 0);
    CHECK(strcmp(ts_poller_name(p), "epoll") == 0);
#else
    CHECK(ts_poller_open(&p, "epoll") == -EINVAL && !p);
    CHECK(ts_poller_open(&p, NULL) == 0);
#endif
    ts_poller_close(p);
    ts_poller_close(NULL);
}

int main(void)
{
    const char *const names[] = {"epoll", "kqueue", "poll"};

    alarm(300);
    catch_signal(SIGUSR1);
    test_open();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct ts_poller *p;

        if (ts_poller_open(&p, names[i]) == -EINVAL)
            continue; /* not of this platform; test_open() says which */
        ts_poller_close(p);
        backend = names[i];
        test_ready_when_added();
        test_edge();
        test_data_before_rearm();
        test_level();
        test_change();
        test_hup();
        test_remove();
        test_fair();
        test_descriptors();
        test_fork();
        test_wake();
        test_while_waiting();
        test_wake_while_waiting();
        test_stress();
        printf("poller %s: ok\n", backend);
        fflush(stdout);
    }
    return 0;
}
