/* cork: see cork.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* MSG_MORE */
#endif
#include "cork.h"
#include "clock.h"
#include "patience.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#if defined(MSG_MORE) && defined(TCP_CORK)

#define TICK_NS 500000
/* Ticks without an entry after which the thread sleeps until there is one. */
#define QUIET_TICKS 20

struct ts_corks {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    pthread_t thread;
    struct ts_cork *first;
    uint32_t tick;
    bool started, asleep, quit;
    _Atomic bool inert; /* the child of a fork: the thread is the parent's */
};

int ts_corks_new(struct ts_corks **out)
{
    *out = NULL;
    struct ts_corks *corks = calloc(1, sizeof *corks);
    if (corks == NULL)
        return -ENOMEM;
    int err = ts_cond_init(&corks->cond);
    if (!err && (err = pthread_mutex_init(&corks->mu, NULL)))
        pthread_cond_destroy(&corks->cond);
    if (err) {
        free(corks);
        return -err;
    }
    *out = corks;
    return 0;
}

void ts_corks_free(struct ts_corks *corks)
{
    if (corks == NULL)
        return;
    if (!corks->inert) {
        pthread_mutex_lock(&corks->mu);
        TS_ASSERT(corks->first == NULL);
        corks->quit = true;
        pthread_cond_signal(&corks->cond);
        pthread_mutex_unlock(&corks->mu);
        if (corks->started)
            pthread_join(corks->thread, NULL);
        pthread_cond_destroy(&corks->cond);
        pthread_mutex_destroy(&corks->mu);
    }
    free(corks);
}

void ts_corks_forked(struct ts_corks *corks)
{
    corks->inert = true;
}

/* ---- the list, under mu --------------------------------------------------- */

static void insert(struct ts_corks *corks, struct ts_cork *cork, int fd)
{
    cork->fd = fd;
    cork->tick = corks->tick;
    cork->next = corks->first;
    if (cork->next != NULL)
        cork->next->at = &cork->next;
    corks->first = cork;
    cork->at = &corks->first;
}

static void take_out(struct ts_cork *cork)
{
    *cork->at = cork->next;
    if (cork->next != NULL)
        cork->next->at = cork->at;
    cork->next = NULL;
    cork->at = NULL;
}

/* As if the octets had been written only now: Nagle's algorithm, where it is on,
 * has its say. */
static void uncork(int fd)
{
    int off = 0;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
}

/* ---- the thread ------------------------------------------------------------ */

static void wait_a_tick(struct ts_corks *corks)
{
    uint64_t until = ts_deadline_in(TICK_NS);
    while (!corks->quit && ts_cond_wait_until(&corks->cond, &corks->mu, until)) {
    }
}

static void *push_late_ones(void *arg)
{
    struct ts_corks *corks = arg;
    unsigned quiet = 0;
    struct ts_patience patience = {0};

    ts_patience_set(&patience, true);
    pthread_mutex_lock(&corks->mu);
    while (!corks->quit) {
        if (quiet >= QUIET_TICKS) {
            corks->asleep = true;
            while (corks->asleep && !corks->quit)
                pthread_cond_wait(&corks->cond, &corks->mu);
            quiet = 0;
            continue;
        }
        wait_a_tick(corks);
        quiet = corks->first == NULL ? quiet + 1 : 0;
        corks->tick++;
        struct ts_cork *next;
        for (struct ts_cork *cork = corks->first; cork != NULL; cork = next) {
            next = cork->next;
            /* Two ticks on: it has waited for one whole tick at least. The lock
             * is what keeps the descriptor from being closed meanwhile. */
            if (corks->tick - cork->tick >= 2) {
                uncork(cork->fd);
                take_out(cork);
            }
        }
    }
    pthread_mutex_unlock(&corks->mu);
    return NULL;
}

/* Under mu: somebody will look at the list in time. All signals are blocked in
 * the thread: they are for the program's. */
static bool awake(struct ts_corks *corks)
{
    if (!corks->started) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        corks->started =
            !pthread_create(&corks->thread, NULL, push_late_ones, corks);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    } else if (corks->asleep) {
        corks->asleep = false;
        pthread_cond_signal(&corks->cond);
    }
    return corks->started;
}

/* ---- for the writers ------------------------------------------------------- */

ssize_t ts_send_more(struct ts_corks *corks, struct ts_cork *cork, int fd,
                     const void *buf, size_t len)
{
    ssize_t n;
    int more = corks->inert ? 0 : MSG_MORE;
    do
        n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL | more);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (!more)
        return n;
    /* After the send: an entry that was pushed before its octets came would be
     * none for them. */
    pthread_mutex_lock(&corks->mu);
    bool watched = cork->at != NULL;
    if (!watched && awake(corks)) {
        insert(corks, cork, fd);
        watched = true;
    }
    pthread_mutex_unlock(&corks->mu);
    if (!watched)
        uncork(fd);
    return n;
}

static bool was_held(struct ts_corks *corks, struct ts_cork *cork)
{
    if (corks->inert)
        return false;
    pthread_mutex_lock(&corks->mu);
    bool held = cork->at != NULL;
    if (held)
        take_out(cork);
    pthread_mutex_unlock(&corks->mu);
    return held;
}

void ts_cork_done(struct ts_corks *corks, struct ts_cork *cork)
{
    was_held(corks, cork);
}

void ts_cork_push(struct ts_corks *corks, struct ts_cork *cork)
{
    int fd = cork->fd;
    if (was_held(corks, cork))
        uncork(fd);
}

#else

int ts_corks_new(struct ts_corks **out)
{
    *out = NULL;
    return -ENOSYS;
}

void ts_corks_free(struct ts_corks *corks) { (void)corks; }
void ts_corks_forked(struct ts_corks *corks) { (void)corks; }

ssize_t ts_send_more(struct ts_corks *corks, struct ts_cork *cork, int fd,
                     const void *buf, size_t len)
{
    (void)corks, (void)cork, (void)fd, (void)buf, (void)len;
    return -ENOSYS;
}

void ts_cork_done(struct ts_corks *corks, struct ts_cork *cork)
{
    (void)corks, (void)cork;
}

void ts_cork_push(struct ts_corks *corks, struct ts_cork *cork)
{
    (void)corks, (void)cork;
}

#endif
