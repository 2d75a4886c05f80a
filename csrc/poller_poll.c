/* poller_poll: the poll(2) back-end of poller.h, for every platform.
 *
 * The state is a table indexed by fd and a dense list of the fds that are
 * armed, both under one mutex. A wait takes a snapshot of the armed ones and
 * polls it without the mutex; afterwards it believes an answer only if the fd
 * still is what it was in the snapshot (same key, still armed), so a removed
 * or a reused fd never speaks for another.
 *
 * Whoever changes the armed set while a wait is under way ends that wait (a
 * "kick"), for poll(2) looks at its array only once. That goes for removals
 * too: the kernel holds a reference to each file it polls, so a socket closed
 * meanwhile would not send its FIN before the wait is over.
 *
 * A wait costs time in proportion to the armed fds. That is poll(2). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* POLLRDHUP */
#endif
#include "poller.h"
#include "sock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

/* The table is sized for the largest fd there can be, so that it never grows.
 * Its pages cost nothing before they are used. */
#define MAX_FDS (1 << 20)

#ifdef POLLRDHUP
#define PEER_CLOSED POLLRDHUP
#else
#define PEER_CLOSED 0
#endif

struct slot {
    uint64_t key;
    int32_t place;     /* in armed[], or -1 */
    uint16_t interest; /* READ, WRITE, LEVEL */
    uint16_t present;
};

struct poll_poller {
    struct ts_poller base;
    struct ts_wakefd wakefd;
    pthread_mutex_t lock;
    pthread_cond_t returned; /* a wait is over */
    /* Guarded by lock. */
    bool waiting, kicked;
    uint64_t waits;     /* how many there have been */
    int armed_count;
    struct slot *slots; /* by fd, MAX_FDS or fewer: `size` */
    int *armed;         /* dense */
    /* The waiter's own: the snapshot. [0] is the wake-up descriptor. */
    struct pollfd *polled;
    uint64_t *keys;
    unsigned turn; /* where the next wait begins to look: fairness */
    int size;      /* constant */
};

static void poll_close(struct ts_poller *base)
{
    struct poll_poller *p = (struct poll_poller *)base;

    ts_wakefd_close(&p->wakefd);
    pthread_cond_destroy(&p->returned);
    pthread_mutex_destroy(&p->lock);
    free(p->slots);
    free(p->armed);
    free(p->polled);
    free(p->keys);
    free(p);
}

static int poll_open(struct ts_poller **out)
{
    struct poll_poller *p = calloc(1, sizeof *p);
    struct rlimit limit;
    int rc;

    if (!p)
        return -ENOMEM;
    p->base.ops = &ts_poller_poll_ops;
    p->wakefd.read_fd = p->wakefd.write_fd = -1;
    rc = pthread_mutex_init(&p->lock, NULL);
    if (rc == 0 && (rc = pthread_cond_init(&p->returned, NULL)) != 0)
        pthread_mutex_destroy(&p->lock);
    if (rc != 0) {
        free(p);
        return -rc;
    }
    p->size = MAX_FDS;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_max < (rlim_t)MAX_FDS)
        p->size = (int)limit.rlim_max;
    size_t n = (size_t)p->size + 1;
    p->slots = calloc(n, sizeof *p->slots);
    p->armed = calloc(n, sizeof *p->armed);
    p->polled = calloc(n, sizeof *p->polled);
    p->keys = calloc(n, sizeof *p->keys);
    if (!p->slots || !p->armed || !p->polled || !p->keys) {
        rc = -ENOMEM;
        goto fail;
    }
    rc = ts_wakefd_open(&p->wakefd);
    if (rc < 0)
        goto fail;
    *out = &p->base;
    return 0;
fail:
    poll_close(&p->base);
    return rc;
}

/* ---- With the lock held ---- */

static void kick(struct poll_poller *p)
{
    if (p->waiting && !p->kicked) {
        p->kicked = true;
        ts_wakefd_set(&p->wakefd);
    }
}

static void arm(struct poll_poller *p, int fd)
{
    struct slot *s = &p->slots[fd];

    if (s->place < 0 && (s->interest & (TS_POLL_READ | TS_POLL_WRITE))) {
        s->place = p->armed_count++;
        p->armed[s->place] = fd;
    }
    kick(p);
}

static void disarm(struct poll_poller *p, int fd)
{
    struct slot *s = &p->slots[fd];

    if (s->place >= 0) {
        int last = p->armed[--p->armed_count];

        p->armed[s->place] = last;
        p->slots[last].place = s->place;
        s->place = -1;
    }
}

static struct slot *find(struct poll_poller *p, int fd)
{
    return fd >= 0 && fd < p->size && p->slots[fd].present ? &p->slots[fd]
                                                           : NULL;
}

/* ---- The interface ---- */

static int poll_add(struct ts_poller *base, int fd, uint64_t key,
                    uint32_t interest)
{
    struct poll_poller *p = (struct poll_poller *)base;
    int rc = 0;

    if (fd < 0)
        return -EBADF;
    if (fd >= p->size)
        return -ENOSPC;
    pthread_mutex_lock(&p->lock);
    if (p->slots[fd].present) {
        rc = -EEXIST;
    } else {
        p->slots[fd] = (struct slot){.key = key,
                                     .place = -1,
                                     .interest = (uint16_t)interest,
                                     .present = 1};
        arm(p, fd);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static int poll_change(struct ts_poller *base, int fd, uint64_t key,
                       uint32_t interest)
{
    struct poll_poller *p = (struct poll_poller *)base;
    struct slot *s;

    pthread_mutex_lock(&p->lock);
    s = find(p, fd);
    if (s) {
        disarm(p, fd);
        s->key = key;
        s->interest = (uint16_t)interest;
        arm(p, fd);
    }
    pthread_mutex_unlock(&p->lock);
    return s ? 0 : -ENOENT;
}

static int poll_rearm(struct ts_poller *base, int fd, uint64_t key)
{
    struct poll_poller *p = (struct poll_poller *)base;
    struct slot *s;

    pthread_mutex_lock(&p->lock);
    s = find(p, fd);
    if (s && s->key != key)
        s = NULL;
    if (s && s->place < 0)
        arm(p, fd);
    pthread_mutex_unlock(&p->lock);
    return s ? 0 : -ENOENT;
}

static void take_out(struct poll_poller *p, int fd)
{
    if (p->slots[fd].place >= 0)
        kick(p);
    disarm(p, fd);
    p->slots[fd].present = 0;
}

static int poll_remove(struct ts_poller *base, int fd, uint64_t key)
{
    struct poll_poller *p = (struct poll_poller *)base;
    struct slot *s;

    (void)key; /* as for epoll, where the fd alone decides */
    pthread_mutex_lock(&p->lock);
    s = find(p, fd);
    if (s) {
        bool polled = p->waiting && s->place >= 0;
        uint64_t waits = p->waits;

        take_out(p, fd);
        /* The kernel holds the file as long as it is polled: a port would stay
         * taken for a moment after the close. */
        while (polled && p->waiting && p->waits == waits)
            pthread_cond_wait(&p->returned, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return s ? 0 : -ENOENT;
}

static int poll_closing(struct ts_poller *base, int fd, uint64_t key)
{
    struct poll_poller *p = (struct poll_poller *)base;
    struct slot *s;

    pthread_mutex_lock(&p->lock);
    s = find(p, fd);
    if (s && s->key == key)
        take_out(p, fd);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

/* The snapshot. Its length, wake-up descriptor included. */
static int snapshot(struct poll_poller *p)
{
    p->polled[0].fd = p->wakefd.read_fd;
    p->polled[0].events = POLLIN;
    for (int i = 0; i < p->armed_count; i++) {
        int fd = p->armed[i];
        const struct slot *s = &p->slots[fd];
        short wanted = 0;

        if (s->interest & TS_POLL_READ)
            wanted |= POLLIN | PEER_CLOSED;
        if (s->interest & TS_POLL_WRITE)
            wanted |= POLLOUT;
        p->polled[i + 1].fd = fd;
        p->polled[i + 1].events = wanted;
        p->keys[i + 1] = s->key;
    }
    return p->armed_count + 1;
}

static uint32_t flags_of(short revents)
{
    uint32_t flags = 0;

    if (revents & POLLIN)
        flags |= TS_POLL_READ;
    if (revents & POLLOUT)
        flags |= TS_POLL_WRITE;
    if (revents & (POLLHUP | POLLERR | POLLNVAL | PEER_CLOSED))
        flags |= TS_POLL_HUP | TS_POLL_READ;
    return flags;
}

static int poll_wait(struct ts_poller *base, struct ts_event *events, int max,
                     int timeout_ms)
{
    struct poll_poller *p = (struct poll_poller *)base;
    int n, ready, rc = 0;

    pthread_mutex_lock(&p->lock);
    n = snapshot(p);
    p->waiting = true;
    p->waits++;
    pthread_mutex_unlock(&p->lock);

    ready = poll(p->polled, (nfds_t)n, timeout_ms);
    if (ready < 0)
        rc = -errno;

    pthread_mutex_lock(&p->lock);
    p->waiting = false;
    pthread_cond_broadcast(&p->returned);
    if (p->kicked || (ready > 0 && p->polled[0].revents)) {
        p->kicked = false;
        ts_wakefd_clear(&p->wakefd);
    }
    if (ready > 0 && n > 1) {
        unsigned others = (unsigned)n - 1, first = p->turn++ % others;

        for (unsigned k = 0; k < others && rc < max; k++) {
            unsigned i = 1 + (first + k) % others;
            struct slot *s = &p->slots[p->polled[i].fd];

            if (!p->polled[i].revents || !s->present || s->place < 0 ||
                s->key != p->keys[i])
                continue;
            events[rc].key = s->key;
            events[rc].flags = flags_of(p->polled[i].revents);
            rc++;
            if (!(s->interest & TS_POLL_LEVEL))
                disarm(p, p->polled[i].fd);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static int poll_wake(struct ts_poller *base)
{
    return ts_wakefd_set(&((struct poll_poller *)base)->wakefd);
}

const struct ts_poller_ops ts_poller_poll_ops = {
    .name = "poll",
    .open = poll_open,
    .close = poll_close,
    .add = poll_add,
    .change = poll_change,
    .rearm = poll_rearm,
    .remove = poll_remove,
    .closing = poll_closing,
    .wait = poll_wait,
    .wake = poll_wake,
};
