/* What the tests of cork share: cork.c, included so that its clock can be
 * stopped, its thread refused and its list looked at; TCP connections of the
 * loopback interface; and waiting without a time limit that a busy machine
 * could miss. */
#ifndef CORK_RIG_H
#define CORK_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"

static bool ticking(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until);
static int setting(int fd, int level, int name, const void *value,
                   socklen_t len);
static int starting(pthread_t *thread, const pthread_attr_t *attr,
                    void *(*run)(void *), void *arg);

#define ts_cond_wait_until ticking
#define pthread_create starting
#define setsockopt setting
#include "cork.c"
#undef ts_cond_wait_until
#undef pthread_create
#undef setsockopt

#include "sock.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#if defined(MSG_MORE) && defined(TCP_CORK)

#define MS 1000000ll

static _Atomic bool stopped; /* no tick ends */
static _Atomic bool refused; /* no thread starts */

static bool ticking(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until)
{
    if (!atomic_load(&stopped))
        return ts_cond_wait_until(cond, mu, until);
    ts_cond_wait_until(cond, mu, ts_deadline_in(1000000));
    return atomic_load(&stopped);
}

static int starting(pthread_t *thread, const pthread_attr_t *attr,
                    void *(*run)(void *), void *arg)
{
    return atomic_load(&refused) ? EAGAIN
                                 : pthread_create(thread, attr, run, arg);
}

/* Called by cork.c to push, by its thread under the lock. */
static void (*when_pushed)(void);

static int setting(int fd, int level, int name, const void *value,
                   socklen_t len)
{
    if (when_pushed != NULL)
        when_pushed();
    return setsockopt(fd, level, name, value, len);
}

/* ---- a connection ---- */

/* s[0] is the writer's end, without Nagle's algorithm. */
static void connect_pair(int s[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0);
    CHECK(bind(listener, (struct sockaddr *)&addr, sizeof addr) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&addr, &len) == 0);
    s[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(s[1], (struct sockaddr *)&addr, len) == 0);
    s[0] = accept(listener, NULL, NULL);
    CHECK(s[0] >= 0 && ts_set_nodelay(s[0]) == 0);
    close(listener);
}

static void close_pair(int s[2])
{
    close(s[0]);
    close(s[1]);
}

/* The kernel itself sends what it holds back after 200 ms: to a test that was
 * kept waiting for so long, silence or not says nothing. */
static int64_t written_at;

static void write_more(struct ts_corks *corks, struct ts_cork *cork, int fd,
                       const char *text)
{
    written_at = (int64_t)ts_monotonic_ns();
    CHECK(ts_send_more(corks, cork, fd, text, strlen(text)) ==
          (ssize_t)strlen(text));
}

static bool waits(int fd)
{
    char one;
    bool silent = recv(fd, &one, 1, MSG_DONTWAIT | MSG_PEEK) == -1 &&
                  errno == EAGAIN;

    return silent || (int64_t)ts_monotonic_ns() - written_at > 100 * MS;
}

/* Everything up to here, and nothing else, has come or comes. */
static void check_comes(int fd, const char *text)
{
    char got[64];
    size_t at = 0, n = strlen(text);

    CHECK(n < sizeof got);
    while (at < n) {
        CHECK(ts_wait_fd(fd, false, -1, 20000 * MS) == TS_WAIT_READY);
        ssize_t more = ts_recv(fd, got + at, n - at);
        CHECK(more > 0);
        at += (size_t)more;
    }
    CHECK(memcmp(got, text, n) == 0);
    CHECK(recv(fd, got, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static bool is_held(struct ts_corks *corks, struct ts_cork *cork)
{
    pthread_mutex_lock(&corks->mu);
    bool held = cork->at != NULL;
    pthread_mutex_unlock(&corks->mu);
    return held;
}

/* Until the thread has taken the entry out: it does so in the end. */
static void wait_until_pushed(struct ts_corks *corks, struct ts_cork *cork)
{
    for (int i = 0; is_held(corks, cork); i++) {
        CHECK(i < 20000);
        usleep(1000);
    }
}

static struct ts_corks *made(void)
{
    struct ts_corks *corks;

    atomic_store(&stopped, true);
    CHECK(ts_corks_new(&corks) == 0);
    return corks;
}

#endif

#endif
