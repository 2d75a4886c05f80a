/* acceptor: see acceptor.h. */
#include "acceptor.h"

#include <errno.h>

int ts_acceptor_init(struct ts_acceptor *a)
{
    atomic_store(&a->fd, -1);
    return -pthread_mutex_init(&a->lock, NULL);
}

void ts_acceptor_free(struct ts_acceptor *a)
{
    pthread_mutex_destroy(&a->lock);
}

int ts_acceptor_listen(struct ts_acceptor *a, struct ts_poller *p, int fd)
{
    pthread_mutex_lock(&a->lock);
    int failed = ts_poller_add(p, fd, TS_KEY_LISTENER,
                               TS_POLL_READ | TS_POLL_LEVEL);
    atomic_store(&a->fd, failed ? -1 : fd);
    a->early = true;
    pthread_mutex_unlock(&a->lock);
    return failed;
}

void ts_acceptor_unlisten(struct ts_acceptor *a, struct ts_poller *p)
{
    pthread_mutex_lock(&a->lock);
    int fd = atomic_exchange(&a->fd, -1);
    if (fd >= 0)
        ts_poller_remove(p, fd, TS_KEY_LISTENER);
    pthread_mutex_unlock(&a->lock);
}

int ts_acceptor_accept(struct ts_acceptor *a, struct ts_addr *peer)
{
    int got = -EAGAIN;
    pthread_mutex_lock(&a->lock);
    int fd = atomic_load(&a->fd);
    if (fd >= 0 && a->left > 0) {
        got = ts_accept(fd, peer);
        if (got >= 0 && a->early)
            ts_set_nodelay(got);
        else if (got == -EAGAIN)
            a->early = false;
    }
    pthread_mutex_unlock(&a->lock);
    a->left = got < 0 ? 0 : a->left - 1;
    return got;
}

/* The listener is level-triggered: what it had to say it says again. 0 or -errno. */
static int hear(struct ts_acceptor *a, struct ts_poller *p, uint32_t interest)
{
    pthread_mutex_lock(&a->lock);
    int fd = atomic_load(&a->fd);
    int failed = 0;
    if (fd >= 0)
        failed = ts_poller_change(p, fd, TS_KEY_LISTENER, interest | TS_POLL_LEVEL);
    pthread_mutex_unlock(&a->lock);
    return failed;
}

void ts_acceptor_pause(struct ts_acceptor *a, struct ts_poller *p, uint64_t now)
{
    a->left = 0;
    a->paused = true;
    a->resume_at = now + TS_ACCEPT_PAUSE_NS;
    hear(a, p, 0);
}

void ts_acceptor_resume(struct ts_acceptor *a, struct ts_poller *p)
{
    /* No memory for that either: or nobody would hear it ever again. */
    a->paused = hear(a, p, TS_POLL_READ) == -ENOMEM;
    a->resume_at += TS_ACCEPT_PAUSE_NS;
}
