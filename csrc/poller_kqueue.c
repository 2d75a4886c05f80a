/* poller_kqueue: the kqueue back-end of poller.h (macOS, FreeBSD).
 *
 * EV_CLEAR is kqueue's edge trigger. READ and WRITE are two filters, so they
 * come as two events. The kernel does the locking. Wake-ups are a user event,
 * which needs no descriptor; kevent() is a bare system call, so that is
 * async-signal-safe. */
#include "poller.h"

#if defined(TS_HAVE_KQUEUE)

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

_Static_assert(sizeof(void *) >= sizeof(uint64_t), "a key travels in udata");

/* Events taken from the kernel in one call: 8 KiB of stack. */
#define BATCH 256

struct kqueue_poller {
    struct ts_poller base;
    int kq;
    pid_t owner; /* kqueues are not inherited over fork: in a child the number
                  * kq is closed, or another file's */
};

static void kqueue_close(struct ts_poller *base)
{
    struct kqueue_poller *p = (struct kqueue_poller *)base;

    if (p->kq >= 0 && p->owner == getpid())
        close(p->kq);
    free(p);
}

static int kqueue_open(struct ts_poller **out)
{
    struct kqueue_poller *p = calloc(1, sizeof *p);
    struct kevent user;
    int rc;

    if (!p)
        return -ENOMEM;
    p->base.ops = &ts_poller_kqueue_ops;
    p->owner = getpid();
    p->kq = kqueue();
    if (p->kq < 0 || fcntl(p->kq, F_SETFD, FD_CLOEXEC) < 0) {
        rc = -errno;
        goto fail;
    }
    EV_SET(&user, 0, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
    if (kevent(p->kq, &user, 1, NULL, 0, NULL) < 0) {
        rc = -errno;
        goto fail;
    }
    *out = &p->base;
    return 0;
fail:
    kqueue_close(&p->base);
    return rc;
}

/* Makes the two filters of fd be what interest says. A filter that stays is
 * deleted and added, in one call: the one way by which every kqueue reports
 * afresh what is ready. *deleted counts those that were there. */
static int set_filters(struct ts_poller *base, int fd, uint64_t key,
                       uint32_t interest, int *deleted)
{
    struct kqueue_poller *p = (struct kqueue_poller *)base;
    uint16_t add =
        EV_ADD | EV_RECEIPT | (interest & TS_POLL_LEVEL ? 0 : EV_CLEAR);
    struct kevent changes[4], receipts[4];
    int n = 0, rc = 0;

    EV_SET(&changes[n++], fd, EVFILT_READ, EV_DELETE | EV_RECEIPT, 0, 0, NULL);
    EV_SET(&changes[n++], fd, EVFILT_WRITE, EV_DELETE | EV_RECEIPT, 0, 0, NULL);
    if (interest & TS_POLL_READ)
        EV_SET(&changes[n++], fd, EVFILT_READ, add, 0, 0,
               (void *)(uintptr_t)key);
    if (interest & TS_POLL_WRITE)
        EV_SET(&changes[n++], fd, EVFILT_WRITE, add, 0, 0,
               (void *)(uintptr_t)key);
    /* EV_RECEIPT: each change answers with its own result, in order, and no
     * event is taken. It cannot wait, so EINTR cannot happen. */
    int got = kevent(p->kq, changes, n, receipts, n, NULL);
    if (got < 0)
        return -errno;
    *deleted = 0;
    for (int i = 0; i < got; i++) {
        if (i < 2)
            *deleted += receipts[i].data == 0;
        else if (receipts[i].data != 0 && rc == 0)
            rc = -(int)receipts[i].data;
    }
    return rc;
}

static int kqueue_set(struct ts_poller *p, int fd, uint64_t key,
                      uint32_t interest)
{
    int deleted;

    return set_filters(p, fd, key, interest, &deleted);
}

static int kqueue_remove(struct ts_poller *p, int fd, uint64_t key)
{
    int deleted, rc = set_filters(p, fd, key, 0, &deleted);

    if (rc < 0)
        return rc;
    return deleted ? 0 : -ENOENT;
}

static int kqueue_wait(struct ts_poller *base, struct ts_event *events, int max,
                       int timeout_ms)
{
    struct kqueue_poller *p = (struct kqueue_poller *)base;
    struct kevent got[BATCH];
    struct timespec limit = {.tv_sec = timeout_ms / 1000,
                             .tv_nsec = (timeout_ms % 1000) * 1000000L};
    int n = kevent(p->kq, NULL, 0, got, max < BATCH ? max : BATCH,
                   timeout_ms < 0 ? NULL : &limit);
    int count = 0;

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        uint32_t flags;

        if (got[i].filter == EVFILT_USER)
            continue;
        flags = got[i].filter == EVFILT_WRITE ? TS_POLL_WRITE : TS_POLL_READ;
        if (got[i].flags & EV_EOF)
            flags |= TS_POLL_HUP | TS_POLL_READ;
        events[count].key = (uint64_t)(uintptr_t)got[i].udata;
        events[count].flags = flags;
        count++;
    }
    return count;
}

static int kqueue_wake(struct ts_poller *base)
{
    struct kevent user;

    EV_SET(&user, 0, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
    return kevent(((struct kqueue_poller *)base)->kq, &user, 1, NULL, 0,
                  NULL) < 0
               ? -errno
               : 0;
}

const struct ts_poller_ops ts_poller_kqueue_ops = {
    .name = "kqueue",
    .open = kqueue_open,
    .close = kqueue_close,
    .add = kqueue_set,
    .change = kqueue_set,
    .remove = kqueue_remove,
    .wait = kqueue_wait,
    .wake = kqueue_wake,
};

#endif
