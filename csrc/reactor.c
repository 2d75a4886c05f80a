/* reactor: see reactor.h. */
#include "reactor_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often deadlines are looked at, while there are any. */
#define SWEEP_NS 100000000ull

/* When a deadline is looked at again that was written before its connection got
 * an owner: a handler runs, and may for long. */
#define OWNED_NS 1000000000ull

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
    atomic_store(&r->due, UINT64_MAX);
    struct ts_rules rules;
    ts_rules_init(&rules);
    if ((failed = ts_census_init(&r->census)) != 0)
        goto fail_census;
    if ((failed = ts_reactor_set_rules(r, &rules)) != 0)
        goto fail_rules;
    *out = r;
    return 0;

fail_rules:
    ts_census_free(&r->census);
fail_census:
    ts_acceptor_free(&r->acceptor);
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
    ts_census_free(&r->census);
    while (r->known_rules != NULL) {
        struct ts_known_rules *known = r->known_rules;
        r->known_rules = known->next;
        free(known);
    }
    free(r);
}

int ts_reactor_set_rules(struct ts_reactor *r, const struct ts_rules *rules)
{
    struct ts_known_rules *known = r->known_rules;
    while (known != NULL && !ts_rules_equal(&known->rules, rules))
        known = known->next;
    if (known == NULL) {
        /* Others may be reading the ones before, so they stay. */
        known = malloc(sizeof *known);
        if (known == NULL)
            return -ENOMEM;
        known->rules = *rules;
        known->next = r->known_rules;
        r->known_rules = known;
    }
    atomic_store_explicit(&r->rules, &known->rules, memory_order_release);
    return 0;
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
    if (r->max_open > 0 && atomic_load_explicit(&r->n_open, memory_order_relaxed) >=
                               r->max_open) {
        ts_acceptor_pause(&r->acceptor, r->poller, ts_monotonic_ns());
        return NULL;
    }
    struct ts_conn *c = ts_slots_take(&r->slots);
    int fd = c != NULL ? ts_acceptor_accept(&r->acceptor, &c->peer) : -ENOMEM;
    enum ts_census_says census = TS_CENSUS_NOT_COUNTED;
    while (fd >= 0 && r->max_per_address > 0 &&
           (census = ts_census_enter(&r->census, &c->peer, r->max_per_address)) ==
               TS_CENSUS_FULL) {
        close(fd);
        fd = ts_acceptor_accept(&r->acceptor, &c->peer);
    }
    if (fd >= 0) {
        ts_conn_open(c, fd);
        c->counted = census == TS_CENSUS_COUNTED;
        c->timeout_ns = r->timeout_ns;
        if (r->tls != NULL) {
            /* Who says nothing costs nothing: the poller tells what is here. */
            c->tls = r->tls;
            c->phase = TS_PHASE_HANDSHAKE;
            c->readable = false;
        }
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
    return ts_out_try_flush(&c->out, &c->fd) == TS_OUT_BLOCKED;
}

void ts_reactor_before_fork(struct ts_reactor *r)
{
    atomic_store(&r->shared, true);
    uint32_t n = ts_slots_count(&r->slots);
    for (uint32_t slot = 0; slot < n; slot++) {
        struct ts_conn *c = ts_slots_at(&r->slots, slot);
        if (ts_out_unsent(&c->out) > 0)
            ts_out_try_flush(&c->out, &c->fd);
    }
}

void ts_reactor_forked(struct ts_reactor *r)
{
    ts_acceptor_init(&r->acceptor);
    ts_census_init(&r->census);
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

void ts_reactor_shut(struct ts_reactor *r)
{
    uint32_t n = ts_slots_count(&r->slots);
    for (uint32_t slot = 0; slot < n; slot++) {
        struct ts_conn *c = ts_slots_at(&r->slots, slot);
        if (c->fd >= 0 && !c->lent)
            shutdown(c->fd, SHUT_RDWR);
    }
}

struct ts_conn *ts_reactor_reap_idle(struct ts_reactor *r, uint32_t *at)
{
    uint32_t n = ts_slots_count(&r->slots);
    while (*at < n) {
        struct ts_conn *c = ts_slots_at(&r->slots, (*at)++);
        if (!ts_conn_claim_parked(c))
            continue;
        if (c->phase == TS_PHASE_HEAD || c->phase == TS_PHASE_HANDSHAKE) {
            c->readable = true; /* so that it is looked at once more */
            return c;
        }
        if (!ts_release(r, c))
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
    if (r->sweep_at == 0) { /* lowered again by every deadline that is written */
        r->sweep_due = UINT64_MAX;
        atomic_exchange(&r->due, UINT64_MAX);
    }
    while (r->sweep_at < n) {
        struct ts_conn *c = ts_slots_at(&r->slots, r->sweep_at++);
        uint64_t deadline = atomic_load(&c->deadline);
        if (deadline == 0)
            continue;
        if (deadline <= now) {
            if (!ts_conn_claim_parked(c)) {
                deadline = now + OWNED_NS; /* an old one; it gets another */
            } else {
                deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
                if (deadline <= now || !ts_release(r, c))
                    return c;
            }
        }
        if (deadline < r->sweep_due)
            r->sweep_due = deadline;
    }
    r->sweep_at = 0;
    r->next_sweep = now + SWEEP_NS;
    ts_lower_due(r, r->sweep_due);
    return NULL;
}

static bool is_sweeping(const struct ts_reactor *r)
{
    return r->sweep_at != 0;
}

/* When the clock has to be looked at, however few events there are. */
static uint64_t next_look(struct ts_reactor *r)
{
    uint64_t when = atomic_load_explicit(&r->due, memory_order_relaxed);
    if (is_sweeping(r))
        return 0;
    if (when < r->next_sweep)
        when = r->next_sweep;
    if (r->acceptor.paused && r->acceptor.resume_at < when)
        when = r->acceptor.resume_at;
    return when;
}

/* Up to TS_SWEEP_ROW late connections are seen to without Python, or the first
 * one that needs it. */
static enum ts_task look_at_clock(struct ts_reactor *r, struct ts_turn *turn,
                                  uint64_t now, struct ts_conn **out)
{
    if (r->acceptor.paused && now >= r->acceptor.resume_at)
        ts_acceptor_resume(&r->acceptor, r->poller);
    if (!is_sweeping(r) &&
        (now < r->next_sweep ||
         now < atomic_load_explicit(&r->due, memory_order_relaxed)))
        return TS_TASK_NONE;
    for (int row = 0; row < TS_SWEEP_ROW; row++) {
        struct ts_conn *c = sweep(r, now);
        if (c == NULL)
            break;
        enum ts_task task = ts_too_late(r, turn, c, now);
        if (task != TS_TASK_NONE) {
            *out = c;
            return task;
        }
    }
    return TS_TASK_NONE;
}

/* How long the poller may wait, in ms: up to the caller's bound (UINT64_MAX:
 * none), the next sweep, the end of a pause in accepting. now: 0 if the clock has
 * not been looked at yet. */
static int wait_ms(struct ts_reactor *r, uint64_t until, uint64_t now)
{
    uint64_t look = next_look(r);
    if (look < until)
        until = look;
    if (until == UINT64_MAX)
        return -1;
    if (now == 0)
        now = ts_monotonic_coarse_ns();
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
        c->readable = c->has_room = true;
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

/* Whether the clock has to be looked at before the next wait. Cheap, for it is
 * asked before each. */
static bool is_timed(struct ts_reactor *r)
{
    return atomic_load_explicit(&r->due, memory_order_relaxed) != UINT64_MAX ||
           is_sweeping(r) || r->acceptor.paused;
}

enum ts_task ts_reactor_next(struct ts_reactor *r, struct ts_turn *turn,
                             bool block, int64_t wait_ns, struct ts_conn **out)
{
    uint64_t until = UINT64_MAX, now;
    for (;;) {
        now = 0;
        enum ts_task task = next_ready(r, turn, out);
        if (task != TS_TASK_NONE || !block)
            return task;
        /* Once after each wait: so no deadline holds up events; and after the events
         * that it brought, so nobody is late whose octets are here. */
        if (r->clock_is_next) {
            r->clock_is_next = false;
            now = ts_monotonic_coarse_ns();
            task = look_at_clock(r, turn, now, out);
            if (task != TS_TASK_NONE)
                return task;
            if (r->n_ready == 0 && !is_sweeping(r)) {
                atomic_exchange(&r->woken, false);
                return TS_TASK_WOKEN;
            }
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
        int n = ts_poller_wait(r->poller, r->ready, TS_READY_MAX, wait_ms(r, until, now));
        r->next_ready = 0;
        r->n_ready = n > 0 ? n : 0;
        if (n == -EINTR)
            return TS_TASK_INTERRUPTED;
        r->clock_is_next = is_timed(r);
        if (n <= 0 && !r->clock_is_next) {
            atomic_exchange(&r->woken, false);
            return TS_TASK_WOKEN;
        }
    }
}
