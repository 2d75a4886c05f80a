/* deadline: until when a connection may wait, and what it means that it has
 * waited so long. reactor.h and rules.h have the contracts.
 *
 *   HEAD      idle_ns for the first octet, head_ns from then on
 *   BODY      body_ns without an octet, and the rate
 *   FLUSH     write_ns without the peer taking an octet, and the rate
 *             ... at most TS_STALLED_NS where the kernel is out of memory for sockets: it
 *             reports that there is room, and takes nothing. So it is not asked.
 *   DISCARD   drain_ns        LINGER   TS_LINGER_NS
 *   HANDSHAKE handshake_ns for all of it
 *
 * and the handler's own time-out, for each wait in HEAD, BODY and FLUSH, where it
 * has one. The deadline is written when the connection is parked, by its owner;
 * the leader's sweep reads it.
 *
 * Threads: the owner of the connection. What may not live here: the sweep
 * (reactor.c).
 */
#include "reactor_private.h"

static uint64_t after(uint64_t start, uint64_t ns)
{
    return ns > 0 ? start + ns : UINT64_MAX;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void begin(struct ts_clock *clock, uint64_t now)
{
    if (clock->began_ns == 0)
        clock->began_ns = clock->progress_ns = now;
}

/* Notes how far the answer has come, by what the peer has not taken of it. */
static void look_at_answer(struct ts_conn *c, uint64_t now)
{
    uint32_t left = ts_out_unsent(&c->out) + ts_unacknowledged(c->fd);
    if (c->output.began_ns == 0)
        c->untaken = left;
    begin(&c->output, now);
    if (left < c->untaken) {
        c->output.moved += c->untaken - left;
        c->output.progress_ns = now;
    }
    c->untaken = left;
}

static uint64_t due_by_clock(const struct ts_rules *rules, uint64_t without_ns,
                             const struct ts_clock *clock)
{
    return ts_rules_due(rules, without_ns, clock->began_ns, clock->progress_ns,
                        clock->moved);
}

/* As for due(), without the handler's own time-out. */
static uint64_t due_by_rules(struct ts_reactor *r, struct ts_conn *c, uint64_t now)
{
    const struct ts_rules *rules = ts_reactor_rules(r);
    struct ts_clock *in = &c->input;
    uint64_t moved;

    switch (c->phase) {
    case TS_PHASE_HEAD:
        if (c->in.end == c->in.head)
            return after(now, rules->idle_ns);
        begin(in, now);
        return after(in->began_ns, rules->head_ns);
    case TS_PHASE_BODY:
        begin(in, now);
        moved = c->in.end - c->in.head - c->req->head_len;
        if (moved > in->moved)
            in->progress_ns = now;
        in->moved = moved;
        return due_by_clock(rules, rules->body_ns, in);
    case TS_PHASE_FLUSH:
        look_at_answer(c, now);
        return due_by_clock(rules, rules->write_ns, &c->output);
    case TS_PHASE_DISCARD:
        begin(in, now);
        return after(in->began_ns, rules->drain_ns);
    case TS_PHASE_HANDSHAKE:
        begin(in, now);
        return after(in->began_ns, r->handshake_ns);
    default:
        begin(in, now);
        return after(in->began_ns, TS_LINGER_NS);
    }
}

/* When a connection that waits from `now` on has waited too long. */
static uint64_t due(struct ts_reactor *r, struct ts_conn *c, uint64_t now)
{
    uint64_t by_rules;
    if (c->stalled)
        return earlier(due_by_rules(r, c, now), now + TS_STALLED_NS);
    if (c->timeout_ns == 0 || c->phase >= TS_PHASE_DISCARD)
        return due_by_rules(r, c, now);
    if (c->phase == TS_PHASE_HEAD && c->in.end == c->in.head)
        return now + c->timeout_ns;
    by_rules = due_by_rules(r, c, now);
    return earlier(by_rules, now + c->timeout_ns);
}

void ts_set_deadline(struct ts_reactor *r, struct ts_conn *c)
{
    uint64_t old = atomic_load_explicit(&c->deadline, memory_order_relaxed);
    uint64_t new = due(r, c, ts_monotonic_coarse_ns());

    if (old != 0 && old <= new) {
        /* Who looks for the old one finds this one then. */
        atomic_store_explicit(&c->deadline, new, memory_order_relaxed);
        return;
    }
    /* A sweep that begins after this sees the deadline; one that began before
     * has left r->due at UINT64_MAX, to be lowered here. A leader that waits for
     * longer is told. */
    atomic_store(&c->deadline, new);
    if (ts_lower_due(r, new))
        ts_poller_wake(r->poller);
}

bool ts_lower_due(struct ts_reactor *r, uint64_t when)
{
    uint64_t due = atomic_load(&r->due);
    while (when < due)
        if (atomic_compare_exchange_weak(&r->due, &due, when))
            return true;
    return false;
}

enum ts_late ts_is_late(struct ts_reactor *r, struct ts_conn *c, uint64_t now)
{
    uint64_t own = c->timeout_ns, by_rules;

    if (c->phase == TS_PHASE_HEAD && c->in.end == c->in.head)
        return own > 0 ? TS_LATE_OWN : TS_LATE;
    by_rules = due_by_rules(r, c, now);
    if (by_rules <= now)
        return TS_LATE;
    if (own > 0 && c->phase < TS_PHASE_DISCARD &&
        (c->phase != TS_PHASE_FLUSH || c->output.progress_ns + own <= now))
        return TS_LATE_OWN;
    return TS_LATE_NOT;
}

/* ---- waits inside a handler ---------------------------------------------- */

uint64_t ts_reactor_wait_begins(struct ts_reactor *r, struct ts_conn *c, bool write)
{
    const struct ts_rules *rules = ts_reactor_rules(r);
    struct ts_clock *clock = write ? &c->output : &c->input;
    uint64_t now = ts_monotonic_ns();

    if (clock->began_ns != 0) {
        /* What the handler did in between is not the peer's time. */
        clock->began_ns += now - clock->paused_ns;
        clock->progress_ns += now - clock->paused_ns;
    }
    begin(clock, now);
    if (write)
        look_at_answer(c, now);
    return due_by_clock(rules, write ? rules->write_ns : rules->body_ns, clock);
}

bool ts_reactor_wait_ended(struct ts_conn *c, bool write)
{
    struct ts_clock *clock = write ? &c->output : &c->input;
    uint64_t before = clock->moved;

    clock->paused_ns = ts_monotonic_ns();
    if (write)
        look_at_answer(c, clock->paused_ns);
    else
        clock->progress_ns = clock->paused_ns;
    return clock->moved > before;
}
