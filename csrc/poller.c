/* poller: the choice of the back-end, and the way to it. See poller.h. */
#include "poller.h"

#include <errno.h>
#include <string.h>

/* Best first. */
static const struct ts_poller_ops *const backends[] = {
#if defined(__linux__)
    &ts_poller_epoll_ops,
#elif defined(TS_HAVE_KQUEUE)
    &ts_poller_kqueue_ops,
#endif
    &ts_poller_poll_ops,
};

int ts_poller_open(struct ts_poller **out, const char *backend)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (!backend || strcmp(backend, backends[i]->name) == 0)
            return backends[i]->open(out);
    return -EINVAL;
}

const char *ts_poller_name(const struct ts_poller *p)
{
    return p->ops->name;
}

void ts_poller_close(struct ts_poller *p)
{
    if (p)
        p->ops->close(p);
}

int ts_poller_add(struct ts_poller *p, int fd, uint64_t key, uint32_t interest)
{
    TS_ASSERT(key != TS_POLLER_KEY_WAKE);
    TS_ASSERT(interest & (TS_POLL_READ | TS_POLL_WRITE));
    return p->ops->add(p, fd, key, interest);
}

int ts_poller_change(struct ts_poller *p, int fd, uint64_t key,
                     uint32_t interest)
{
    TS_ASSERT(key != TS_POLLER_KEY_WAKE);
    return p->ops->change(p, fd, key, interest);
}

int ts_poller_rearm(struct ts_poller *p, int fd, uint64_t key)
{
    return p->ops->rearm ? p->ops->rearm(p, fd, key) : 0;
}

int ts_poller_remove(struct ts_poller *p, int fd, uint64_t key)
{
    return p->ops->remove(p, fd, key);
}

int ts_poller_closing(struct ts_poller *p, int fd, uint64_t key)
{
    return p->ops->closing ? p->ops->closing(p, fd, key) : 0;
}

int ts_poller_wait(struct ts_poller *p, struct ts_event *events, int max,
                   int timeout_ms)
{
    TS_ASSERT(max >= 1);
    return p->ops->wait(p, events, max, timeout_ms);
}

int ts_poller_wake(struct ts_poller *p)
{
    return p->ops->wake(p);
}
