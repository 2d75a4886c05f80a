/* reactor: see reactor.h. */
#include "reactor_private.h"

#include <errno.h>
#include <stdlib.h>

/* How often deadlines are looked at, while there are any. */
#define SWEEP_NS 100000000ull

/* ---- life of the reactor ------------------------------------------------ */

int ts_reactor_new(struct ts_reactor **out, const char *backend)
{
    *out = NULL;
    struct ts_reactor *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    int failed = ts_poller_open(&r->poller, backend);
    if (failed) {
        free(r);
        return failed;
    }
    if ((failed = ts_slots_init(&r->slots)) != 0)
        goto fail_slots;
    if ((failed = ts_acceptor_init(&r->acceptor)) != 0)
        goto fail_acceptor;
    ts_limits_init(&r->limits);
    *out = r;
    return 0;

fail_acceptor:
    ts_slots_free(&r->slots);
fail_slots:
    ts_poller_close(r->poller);
    free(r);
    return failed;
}

void ts_reactor_free(struct ts_reactor *r)
{
    if (r == NULL)
        return;
    ts_poller_close(r->poller);
    ts_acceptor_free(&r->acceptor);
    ts_slots_free(&r->slots);
    free(r);
}

/* ---- accepting ---------------------------------------------------------- */

int ts_reactor_listen(struct ts_reactor *r, int fd)
{
    return ts_acceptor_listen(&r->acceptor, r->poller, fd);
}

void ts_reactor_unlisten(struct ts_reactor *r)
{
    ts_acceptor_unlisten(&r->acceptor, r->poller);
}

/* The next waiting connection, or NULL when there is none for now. */
static struct ts_conn *accept_one(struct ts_reactor *r)
{
    struct ts_conn *c = ts_slots_take(&r->slots);
    int fd = c != NULL ? ts_acceptor_accept(&r->acceptor, &c->peer) : -ENOMEM;
    if (fd >= 0) {
        ts_conn_open(c, fd);
        c->idle_ns = r->idle_timeout_ns;
        atomic_fetch_add(&r->n_open, 1);
        return c;
    }
    if (fd != -EAGAIN)
        ts_acceptor_pause(&r->acceptor, r->poller, ts_monotonic_ns());
    if (c != NULL)
        ts_slots_give(&r->slots, c);
    return NULL;
}

/* ---- for the rest of the server ------------------------------------------ */

bool ts_reactor_flush(void *conn, void *ctx)
{
    struct ts_conn *c = conn;
    (void)ctx;
    return ts_out_try_flush(&c->out, c->fd) == TS_OUT_BLOCKED;
}

void ts_reactor_before_fork(struct ts_reactor *r)
{
    atomic_store(&r->shared, true);
    uint32_t n = ts_slots_count(&r->slots);
    for (uint32_t slot = 0; slot < n; slot++) {
        struct ts_conn *c = ts_slots_at(&r->slots, slot);
        if (c->fd >= 0 && ts_out_unsent(&c->out) > 0)
            ts_out_try_flush(&c->out, c->fd);
    }
}

void ts_reactor_forked(struct ts_reactor *r)
{
    ts_acceptor_init(&r->acceptor);
    ts_slots_forked(&r->slots);
}

void ts_reactor_wake(struct ts_reactor *r)
{
    atomic_store(&r->woken, true);
    ts_poller_wake(r->poller);
}

void ts_reactor_stop(struct ts_reactor *r)
{
    atomic_store(&r->stopping, true);
    ts_poller_wake(r->poller);
}

struct ts_conn *ts_reactor_reap_unsent(struct ts_reactor *r, uint32_t *at)
{
    uint32_t n = ts_slots_count(&r->slots);
    while (*at < n) {
        struct ts_conn *c = ts_slots_at(&r->slots, (*at)++);
        if (ts_conn_claim_parked(c) &&
            (c->phase == TS_PHASE_FLUSH || !ts_release(r, c)))
            return c;
    }
    return NULL;
}

struct ts_conn *ts_reactor_reap(struct ts_reactor *r, uint32_t *at)
{
    uint32_t n = ts_slots_count(&r->slots);
    while (*at < n) {
        struct ts_conn *c = ts_slots_at(&r->slots, (*at)++);
        if (ts_conn_claim_parked(c))
            return c;
    }
    return NULL;
}

/* ---- the leader's loop -------------------------------------------------- */

static enum ts_task opened(struct ts_reactor *r, struct ts_turn *turn,
                           struct ts_conn *c)
{
    return r->announce ? TS_TASK_OPENED : ts_reactor_go_on(r, turn, c);
}

/* One connection whose deadline has passed, or NULL when the sweep is through.
 * It goes on where the one before stopped. */
static struct ts_conn *sweep(struct ts_reactor *r, uint64_t now)
{
    uint32_t n = ts_slots_count(&r->slots);
    if (r->sweep_at == 0) /* set again by every deadline that is left */
        atomic_exchange_explicit(&r->timed, false, memory_order_acq_rel);
    while (r->sweep_at < n) {
        struct ts_conn *c = ts_slots_at(&r->slots, r->sweep_at++);
        uint64_t deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
        if (deadline == 0)
            continue;
        if (deadline > now || !ts_conn_claim_parked(c)) {
            if (!atomic_load_explicit(&r->timed, memory_order_relaxed))
                atomic_exchange_explicit(&r->timed, true, memory_order_acq_rel);
            continue;
        }
        deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
        if (deadline != 0 && deadline <= now)
            return c;
        if (!ts_release(r, c))
            return c;
    }
    r->sweep_at = 0;
    r->next_sweep = now + SWEEP_NS;
    return NULL;
}

static enum ts_task swept(struct ts_reactor *r, struct ts_turn *turn,
                          struct ts_conn *c, uint64_t now)
{
    uint64_t deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
    if (deadline == 0 || deadline > now)
        return ts_reactor_go_on(r, turn, c); /* an event came meanwhile */
    atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
    if (c->phase == TS_PHASE_LINGER) {
        ts_destroy(r, turn, c);
        return TS_TASK_NONE;
    }
    return TS_TASK_TIMEOUT;
}

/* Whether the clock has to be looked at before the next wait. */
static bool is_timed(struct ts_reactor *r)
{
    return atomic_load_explicit(&r->timed, memory_order_relaxed) ||
           r->sweep_at != 0 || r->acceptor.paused;
}

static enum ts_task look_at_clock(struct ts_reactor *r, struct ts_turn *turn,
                                  struct ts_conn **out)
{
    uint64_t now = ts_monotonic_ns();
    if (r->acceptor.paused && now >= r->acceptor.resume_at)
        ts_acceptor_resume(&r->acceptor, r->poller);
    if (r->sweep_at == 0 &&
        (!atomic_load_explicit(&r->timed, memory_order_relaxed) || now < r->next_sweep))
        return TS_TASK_NONE;
    struct ts_conn *c;
    while ((c = sweep(r, now)) != NULL) {
        enum ts_task task = swept(r, turn, c, now);
        if (task != TS_TASK_NONE) {
            *out = c;
            return task;
        }
    }
    return TS_TASK_NONE;
}

/* How long the poller may wait, in ms: up to the caller's bound (UINT64_MAX:
 * none), the next sweep, the end of a pause in accepting. */
static int wait_ms(struct ts_reactor *r, uint64_t until)
{
    if (atomic_load_explicit(&r->timed, memory_order_relaxed) &&
        r->next_sweep < until)
        until = r->next_sweep;
    if (r->acceptor.paused && r->acceptor.resume_at < until)
        until = r->acceptor.resume_at;
    if (until == UINT64_MAX)
        return -1;
    uint64_t now = ts_monotonic_ns();
    uint64_t ms = until > now ? (until - now + 999999) / 1000000 : 0;
    return ms > 3600000 ? 3600000 : (int)ms;
}

/* The ready connections that are left, then those that wait to be accepted. */
static enum ts_task next_ready(struct ts_reactor *r, struct ts_turn *turn,
                               struct ts_conn **out)
{
    while (r->next_ready < r->n_ready) {
        struct ts_event event = r->ready[r->next_ready++];
        if (event.key == TS_KEY_LISTENER) {
            ts_acceptor_ready(&r->acceptor);
            continue;
        }
        struct ts_conn *c = ts_slots_at(&r->slots, (uint32_t)event.key);
        if (!ts_conn_claim(c, (uint32_t)(event.key >> 32),
                           (event.flags & TS_POLL_HUP) != 0))
            continue;
        c->readable = true;
        enum ts_task task = ts_reactor_go_on(r, turn, c);
        if (task != TS_TASK_NONE) {
            *out = c;
            return task;
        }
    }
    while (r->acceptor.left > 0) {
        struct ts_conn *c = accept_one(r);
        if (c == NULL)
            break;
        enum ts_task task = opened(r, turn, c);
        if (task != TS_TASK_NONE) {
            *out = c;
            return task;
        }
    }
    return TS_TASK_NONE;
}

enum ts_task ts_reactor_next(struct ts_reactor *r, struct ts_turn *turn,
                             bool block, int64_t wait_ns, struct ts_conn **out)
{
    uint64_t until = UINT64_MAX;
    for (;;) {
        enum ts_task task = next_ready(r, turn, out);
        if (task != TS_TASK_NONE || !block)
            return task;
        if (TS_UNLIKELY(is_timed(r))) {
            task = look_at_clock(r, turn, out);
            if (task != TS_TASK_NONE)
                return task;
        }
        /* A wake-up may have come with events: the poller tells of those. */
        if (TS_UNLIKELY(atomic_load(&r->woken))) {
            atomic_exchange(&r->woken, false);
            return TS_TASK_WOKEN;
        }
        if (TS_UNLIKELY(atomic_load(&r->stopping)))
            return TS_TASK_WOKEN;
        if (wait_ns >= 0) {
            if (until == UINT64_MAX)
                until = ts_monotonic_ns() + (uint64_t)wait_ns;
            else if (ts_monotonic_ns() >= until)
                return TS_TASK_WOKEN; /* events enough, but no task */
        }
        int n = ts_poller_wait(r->poller, r->ready, TS_READY_MAX, wait_ms(r, until));
        r->next_ready = 0;
        r->n_ready = n > 0 ? n : 0;
        if (n == -EINTR)
            return TS_TASK_INTERRUPTED;
        if (n <= 0) {
            if (is_timed(r)) {
                task = look_at_clock(r, turn, out);
                if (task != TS_TASK_NONE)
                    return task;
            }
            atomic_exchange(&r->woken, false);
            return TS_TASK_WOKEN;
        }
    }
}
