/* poller_epoll: the epoll back-end of poller.h (Linux).
 *
 * Connections are added once, edge-triggered, and never touched again until
 * they are closed. The kernel does the locking, so nothing here has a lock. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "poller.h"

#if defined(__linux__)

#include "sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Events taken from the kernel in one call: 3 KiB of stack. */
#define BATCH 256

struct epoll_poller {
    struct ts_poller base;
    int epfd;
    struct ts_wakefd wakefd;
};

static void epoll_close(struct ts_poller *base)
{
    struct epoll_poller *p = (struct epoll_poller *)base;

    if (p->epfd >= 0)
        close(p->epfd);
    ts_wakefd_close(&p->wakefd);
    free(p);
}

static int epoll_open(struct ts_poller **out)
{
    struct epoll_poller *p = calloc(1, sizeof *p);
    int rc;

    if (!p)
        return -ENOMEM;
    p->base.ops = &ts_poller_epoll_ops;
    p->wakefd.read_fd = p->wakefd.write_fd = -1;
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epfd < 0) {
        rc = -errno;
        goto fail;
    }
    rc = ts_wakefd_open(&p->wakefd);
    if (rc < 0)
        goto fail;
    /* Level-triggered, so that it is right for a pipe too, which must be
     * drained to make room. */
    struct epoll_event ev = {.events = EPOLLIN,
                             .data.u64 = TS_POLLER_KEY_WAKE};
    if (epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->wakefd.read_fd, &ev) < 0) {
        rc = -errno;
        goto fail;
    }
    *out = &p->base;
    return 0;
fail:
    epoll_close(&p->base);
    return rc;
}

static int control(struct ts_poller *base, int op, int fd, uint64_t key,
                   uint32_t interest)
{
    struct epoll_poller *p = (struct epoll_poller *)base;
    struct epoll_event ev = {.data.u64 = key};

    if (interest & TS_POLL_READ)
        ev.events |= EPOLLIN | EPOLLRDHUP;
    if (interest & TS_POLL_WRITE)
        ev.events |= EPOLLOUT;
    if (!(interest & TS_POLL_LEVEL) ||
        !(interest & (TS_POLL_READ | TS_POLL_WRITE)))
        ev.events |= EPOLLET; /* a silenced fd must not repeat its HUP */
    return epoll_ctl(p->epfd, op, fd, &ev) < 0 ? -errno : 0;
}

static int epoll_add(struct ts_poller *p, int fd, uint64_t key,
                     uint32_t interest)
{
    return control(p, EPOLL_CTL_ADD, fd, key, interest);
}

static int epoll_change(struct ts_poller *p, int fd, uint64_t key,
                        uint32_t interest)
{
    return control(p, EPOLL_CTL_MOD, fd, key, interest);
}

static int epoll_remove(struct ts_poller *p, int fd, uint64_t key)
{
    return control(p, EPOLL_CTL_DEL, fd, key, 0);
}

static int epoll_wait_events(struct ts_poller *base, struct ts_event *events,
                             int max, int timeout_ms)
{
    struct epoll_poller *p = (struct epoll_poller *)base;
    struct epoll_event got[BATCH];
    int n = epoll_wait(p->epfd, got, max < BATCH ? max : BATCH, timeout_ms);
    int count = 0;

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        uint32_t flags = 0;

        if (got[i].data.u64 == TS_POLLER_KEY_WAKE) {
            ts_wakefd_clear(&p->wakefd);
            continue;
        }
        if (got[i].events & EPOLLIN)
            flags |= TS_POLL_READ;
        if (got[i].events & EPOLLOUT)
            flags |= TS_POLL_WRITE;
        if (got[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            flags |= TS_POLL_HUP | TS_POLL_READ;
        events[count].key = got[i].data.u64;
        events[count].flags = flags;
        count++;
    }
    return count;
}

static int epoll_wake(struct ts_poller *base)
{
    return ts_wakefd_set(&((struct epoll_poller *)base)->wakefd);
}

const struct ts_poller_ops ts_poller_epoll_ops = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .add = epoll_add,
    .change = epoll_change,
    .remove = epoll_remove,
    .wait = epoll_wait_events,
    .wake = epoll_wake,
};

#endif
