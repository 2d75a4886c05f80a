/* reactor: see reactor.h. */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How often deadlines are looked at, while there are any. */
#define SWEEP_NS 100000000ull

uint64_t ts_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

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

/* ---- spare buffers ------------------------------------------------------ */

void ts_turn_free(struct ts_turn *turn)
{
    free(turn->spare_in);
    free(turn->spare_req);
    memset(turn, 0, sizeof *turn);
}

static void take_spare_in(struct ts_turn *turn, struct ts_conn *c)
{
    if (c->in.data == NULL && turn->spare_in != NULL) {
        c->in.data = turn->spare_in;
        c->in.cap = turn->spare_cap;
        turn->spare_in = NULL;
    }
}

static bool take_req(struct ts_turn *turn, struct ts_conn *c)
{
    c->req = turn->spare_req;
    turn->spare_req = NULL;
    if (c->req == NULL)
        c->req = malloc(sizeof *c->req);
    if (c->req != NULL)
        ts_request_reset(c->req);
    return c->req != NULL;
}

/* An idle connection holds no buffers: they wait with the thread. */
static void give_back(struct ts_turn *turn, struct ts_conn *c)
{
    if (c->in.data != NULL && c->in.head == c->in.end) {
        if (turn->spare_in == NULL && c->in.cap <= 4 * TS_IN_FIRST) {
            turn->spare_in = c->in.data;
            turn->spare_cap = c->in.cap;
            memset(&c->in, 0, sizeof c->in);
        } else {
            ts_in_free(&c->in);
        }
    }
    if (c->req != NULL && c->in.data == NULL) {
        if (turn->spare_req == NULL)
            turn->spare_req = c->req;
        else
            free(c->req);
        c->req = NULL;
    }
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

/* ---- parking and closing ------------------------------------------------ */

/* How long a connection may wait in the poller, from now on. */
static void set_deadline(struct ts_reactor *r, struct ts_conn *c)
{
    uint64_t wait = c->phase == TS_PHASE_LINGER ? TS_LINGER_NS : c->idle_ns;
    if (wait == 0) {
        atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
        return;
    }
    if (c->phase == TS_PHASE_LINGER &&
        atomic_load_explicit(&c->deadline, memory_order_relaxed) != 0)
        return; /* one for the whole of it, however much the peer sends */
    atomic_store_explicit(&c->deadline, ts_monotonic_ns() + wait,
                          memory_order_relaxed);
    /* A sweep sees the deadline, or its own exchange came before this one and
     * the next sweep sees it. A leader that waits without an end is told. */
    if (!atomic_exchange_explicit(&r->timed, true, memory_order_acq_rel))
        ts_poller_wake(r->poller);
}

/* Where the poller has to look. A peer that is to read is not asked for more:
 * what it sends meanwhile is reported when the interest changes back. */
static int set_interest(struct ts_reactor *r, struct ts_conn *c)
{
    bool write = c->phase == TS_PHASE_FLUSH;
    uint32_t interest = write ? TS_POLL_WRITE : TS_POLL_READ;
    int failed;
    if (!c->registered) {
        failed = ts_poller_add(r->poller, c->fd, ts_conn_key(c), interest);
        /* In already: forgotten, but not closed yet; or a program closed it
         * that it was lent to, and the kernel has used its number again. */
        if (failed == -EEXIST)
            failed = ts_poller_change(r->poller, c->fd, ts_conn_key(c), interest);
        c->registered = failed == 0;
    } else if (c->wants_write != write) {
        failed = ts_poller_change(r->poller, c->fd, ts_conn_key(c), interest);
    } else {
        failed = ts_poller_rearm(r->poller, c->fd, ts_conn_key(c));
    }
    c->wants_write = write;
    return failed;
}

/* False: the caller still owns the connection, which has news or is broken. */
static bool release(struct ts_reactor *r, struct ts_conn *c)
{
    if (!ts_conn_release(c))
        return false;
    /* A stop that reaped before the release has not seen this one. */
    if (TS_UNLIKELY(atomic_load(&r->stopping)) && ts_conn_claim_parked(c)) {
        c->broken = true;
        return false;
    }
    return true;
}

/* As release. */
static bool park(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    set_deadline(r, c);
    give_back(turn, c);
    if (TS_UNLIKELY(set_interest(r, c) != 0)) {
        c->broken = true;
        return false;
    }
    return release(r, c);
}

static void destroy(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    ts_reactor_forget(r, c);
    if (!c->lent)
        close(c->fd);
    c->in.head = c->in.pos = c->in.end = 0;
    give_back(turn, c);
    free(c->req);
    c->req = NULL;
    ts_conn_reset(c);
    ts_slots_give(&r->slots, c);
    atomic_fetch_sub(&r->n_open, 1);
}

void ts_reactor_close(struct ts_reactor *r, struct ts_turn *turn,
                      struct ts_conn *c)
{
    TS_ASSERT(c->owner == NULL);
    if (!c->lent && !c->broken)
        shutdown(c->fd, SHUT_WR);
    if (c->linger && !c->lent && !c->eof && !c->broken &&
        !atomic_load(&r->stopping)) {
        c->phase = TS_PHASE_LINGER;
        c->body = TS_BODY_NONE;
        c->readable = true;
        c->skip_budget = TS_SKIP_MAX;
        c->in.head = c->in.pos = c->in.end = 0;
        atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
        ts_reactor_go_on(r, turn, c);
        return;
    }
    destroy(r, turn, c);
}

void ts_reactor_forget(struct ts_reactor *r, struct ts_conn *c)
{
    if (c->registered)
        ts_poller_closing(r->poller, c->fd, ts_conn_key(c));
    c->registered = false;
}

bool ts_reactor_flush(void *conn, void *ctx)
{
    struct ts_conn *c = conn;
    (void)ctx;
    return ts_out_try_flush(&c->out, c->fd) == TS_OUT_BLOCKED;
}

void ts_reactor_before_fork(struct ts_reactor *r)
{
    uint32_t n = slots_in_use(r);
    for (uint32_t slot = 0; slot < n; slot++) {
        struct ts_conn *c = slot_conn(r, slot);
        if (c->fd >= 0 && ts_out_unsent(&c->out) > 0)
            ts_out_try_flush(&c->out, c->fd);
    }
}

void ts_reactor_forked(struct ts_reactor *r)
{
    pthread_mutex_init(&r->slots_lock, NULL);
    for (uint32_t slot = 0; slot < r->n_slots; slot++)
        atomic_flag_clear(&slot_conn(r, slot)->out.lock);
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

/* ---- from octets to a task ---------------------------------------------- */

/* The head is complete: is the request? PARTIAL bodies wait in BODY. */
static enum ts_task scanned(struct ts_conn *c)
{
    const struct ts_request *req = c->req;
    if (c->scan == TS_SCAN_GENERAL) {
        c->phase = TS_PHASE_HANDLER;
        return TS_TASK_GENERAL;
    }
    if (req->content_length > 0 && req->content_length <= TS_SMALL_BODY &&
        !req->expect_continue && req->refusal == TS_REFUSE_NONE && !c->eof &&
        c->in.end - c->in.head < req->head_len + (uint64_t)req->content_length) {
        c->phase = TS_PHASE_BODY;
        return TS_TASK_NONE;
    }
    c->phase = TS_PHASE_HANDLER;
    return TS_TASK_REQUEST;
}

static enum ts_task scan(struct ts_reactor *r, struct ts_turn *turn,
                         struct ts_conn *c)
{
    if (c->req == NULL && !take_req(turn, c)) {
        c->broken = true;
        return TS_TASK_GONE;
    }
    if (c->scan == TS_SCAN_PARTIAL)
        c->scan = (uint8_t)ts_scan(c->req, c->in.data + c->in.head,
                                   c->in.end - c->in.head, &r->limits);
    return c->scan == TS_SCAN_PARTIAL ? TS_TASK_NONE : scanned(c);
}

enum ts_task ts_reactor_rescan(struct ts_reactor *r, struct ts_conn *c)
{
    ts_request_reset(c->req);
    c->scan = (uint8_t)ts_scan(c->req, c->in.data + c->in.head,
                               c->in.end - c->in.head, &r->limits);
    return c->scan == TS_SCAN_COMPLETE ? TS_TASK_REQUEST : TS_TASK_GENERAL;
}

/* Python may hold nothing of it: then there is nobody to tell. */
static enum ts_task gone(struct ts_reactor *r, struct ts_turn *turn,
                         struct ts_conn *c)
{
    if (c->owner != NULL)
        return TS_TASK_GONE;
    destroy(r, turn, c);
    return TS_TASK_NONE;
}

static void next_request(struct ts_conn *c)
{
    ts_in_next_request(&c->in);
    c->phase = TS_PHASE_HEAD;
    c->scan = TS_SCAN_PARTIAL;
    if (c->req != NULL)
        ts_request_reset(c->req);
}

enum ts_task ts_reactor_go_on(struct ts_reactor *r, struct ts_turn *turn,
                              struct ts_conn *c)
{
    for (;;) {
        enum ts_task task;
        if (TS_UNLIKELY(c->broken))
            return gone(r, turn, c);
        switch (c->phase) {
        case TS_PHASE_HEAD:
            if (c->in.end > c->in.head) {
                task = scan(r, turn, c);
                if (task != TS_TASK_NONE)
                    return task;
                if (c->phase == TS_PHASE_BODY)
                    continue;
            }
            if (c->eof) {
                if (c->in.end == c->in.head)
                    return gone(r, turn, c);
                c->scan = TS_SCAN_GENERAL; /* cut off: the parser decides */
                return scanned(c);
            }
            break;
        case TS_PHASE_BODY:
            task = scanned(c);
            if (task != TS_TASK_NONE)
                return task;
            break;
        case TS_PHASE_FLUSH: {
            int sent = ts_out_flush(&c->out, c->fd);
            if (sent < 0) {
                c->broken = true;
                return TS_TASK_BROKEN;
            }
            if (sent == TS_OUT_BLOCKED) {
                if (park(r, turn, c))
                    return TS_TASK_NONE;
                continue;
            }
            if (!c->keep)
                return gone(r, turn, c);
            c->phase = TS_PHASE_DISCARD;
            continue;
        }
        case TS_PHASE_DISCARD: {
            int done = ts_conn_skip_body(c);
            if (done > 0) {
                next_request(c);
                continue;
            }
            if (done < 0 || c->eof) {
                c->linger = done < 0;
                return gone(r, turn, c);
            }
            break;
        }
        case TS_PHASE_LINGER:
            if (c->in.end > c->skip_budget || c->eof) {
                destroy(r, turn, c);
                return TS_TASK_NONE;
            }
            c->skip_budget -= c->in.end;
            c->in.head = c->in.pos = c->in.end = 0;
            break;
        default:
            TS_ASSERT(!"a handled connection cannot go on");
            return TS_TASK_NONE;
        }
        /* More input is needed. */
        if (c->readable) {
            take_spare_in(turn, c);
            if (ts_conn_fill(c) != 0)
                c->broken = true;
        } else if (park(r, turn, c)) {
            return TS_TASK_NONE;
        }
    }
}

enum ts_task ts_reactor_done(struct ts_reactor *r, struct ts_turn *turn,
                             struct ts_conn *c, bool keep)
{
    TS_ASSERT(c->phase == TS_PHASE_HANDLER);
    /* Nothing can be sent any more; a lent descriptor may be closed, even be
     * another file by now. */
    if (TS_UNLIKELY(c->broken))
        return gone(r, turn, c);
    c->keep = keep && !atomic_load_explicit(&r->stopping, memory_order_relaxed);
    c->skip_budget = TS_SKIP_MAX;
    if (c->keep && ts_conn_body_done(c)) {
        next_request(c);
        if (c->in.end > c->in.head &&
            ts_out_unsent(&c->out) <= TS_OUT_GATHER / 2 && !c->through) {
            enum ts_task task = scan(r, turn, c);
            if (task == TS_TASK_REQUEST)
                return task;
            if (task == TS_TASK_GENERAL)
                c->phase = TS_PHASE_HEAD; /* the answers before it go first */
        }
    } else if (!c->keep && !ts_conn_body_done(c)) {
        c->linger = true;
    }
    if (ts_out_unsent(&c->out) > 0 || c->out.error != 0) {
        int sent = ts_out_flush(&c->out, c->fd);
        if (sent < 0) {
            c->broken = true;
            c->phase = TS_PHASE_HANDLER;
            return TS_TASK_BROKEN;
        }
        if (sent == TS_OUT_BLOCKED) {
            c->phase = TS_PHASE_FLUSH;
            return ts_reactor_go_on(r, turn, c);
        }
    }
    if (!c->keep)
        return gone(r, turn, c);
    if (c->phase == TS_PHASE_HANDLER)
        c->phase = TS_PHASE_DISCARD;
    return ts_reactor_go_on(r, turn, c);
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
        if (!release(r, c))
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
        destroy(r, turn, c);
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
