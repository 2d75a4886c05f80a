/* reactor: see reactor.h. */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEY_LISTENER (UINT64_MAX - 1)

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
    pthread_mutex_init(&r->slots_lock, NULL);
    ts_limits_init(&r->limits);
    atomic_store(&r->listener, -1);
    *out = r;
    return 0;
}

void ts_reactor_free(struct ts_reactor *r)
{
    if (r == NULL)
        return;
    ts_poller_close(r->poller);
    for (uint32_t i = 0; i < r->n_slots; i++) {
        struct ts_conn *c = &r->chunks[i / TS_SLOTS_CHUNK][i % TS_SLOTS_CHUNK];
        free(c->req);
        ts_in_free(&c->in);
        ts_out_free(&c->out);
    }
    for (uint32_t i = 0; i * TS_SLOTS_CHUNK < r->n_slots; i++)
        free(r->chunks[i]);
    pthread_mutex_destroy(&r->slots_lock);
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

/* ---- slots -------------------------------------------------------------- */

static struct ts_conn *slot_conn(struct ts_reactor *r, uint32_t slot)
{
    return &r->chunks[slot / TS_SLOTS_CHUNK][slot % TS_SLOTS_CHUNK];
}

static struct ts_conn *slot_take(struct ts_reactor *r)
{
    pthread_mutex_lock(&r->slots_lock);
    if (r->free == NULL && r->n_slots < TS_SLOTS_CHUNK * TS_CHUNKS_MAX) {
        struct ts_conn *chunk = calloc(TS_SLOTS_CHUNK, sizeof *chunk);
        if (chunk != NULL) {
            r->chunks[r->n_slots / TS_SLOTS_CHUNK] = chunk;
            for (uint32_t i = TS_SLOTS_CHUNK; i-- > 0;) {
                chunk[i].slot = r->n_slots + i;
                chunk[i].fd = -1;
                atomic_store(&chunk[i].word, TS_WORD_OWNED);
                atomic_flag_clear(&chunk[i].out.lock);
                chunk[i].next_free = r->free;
                r->free = &chunk[i];
            }
            r->n_slots += TS_SLOTS_CHUNK;
        }
    }
    struct ts_conn *c = r->free;
    if (c != NULL)
        r->free = c->next_free;
    pthread_mutex_unlock(&r->slots_lock);
    return c;
}

static void slot_give(struct ts_reactor *r, struct ts_conn *c)
{
    ts_conn_reset(c);
    pthread_mutex_lock(&r->slots_lock);
    c->next_free = r->free;
    r->free = c;
    pthread_mutex_unlock(&r->slots_lock);
    atomic_fetch_sub(&r->n_open, 1);
}

static uint32_t slots_in_use(struct ts_reactor *r)
{
    pthread_mutex_lock(&r->slots_lock);
    uint32_t n = r->n_slots;
    pthread_mutex_unlock(&r->slots_lock);
    return n;
}

/* ---- accepting ---------------------------------------------------------- */

int ts_reactor_listen(struct ts_reactor *r, int fd)
{
    atomic_store(&r->listener, fd);
    int failed = ts_poller_add(r->poller, fd, KEY_LISTENER,
                               TS_POLL_READ | TS_POLL_LEVEL);
    if (failed)
        atomic_store(&r->listener, -1);
    return failed;
}

void ts_reactor_unlisten(struct ts_reactor *r)
{
    int fd = atomic_exchange(&r->listener, -1);
    if (fd >= 0)
        ts_poller_remove(r->poller, fd, KEY_LISTENER);
}

static void pause_accept(struct ts_reactor *r, int fd)
{
    r->accept_paused = true;
    r->accept_resume = ts_monotonic_ns() + TS_ACCEPT_PAUSE_NS;
    ts_poller_change(r->poller, fd, KEY_LISTENER, TS_POLL_LEVEL);
}

static void resume_accept(struct ts_reactor *r)
{
    int fd = atomic_load(&r->listener);
    r->accept_paused = false;
    if (fd >= 0)
        ts_poller_change(r->poller, fd, KEY_LISTENER,
                         TS_POLL_READ | TS_POLL_LEVEL);
}

/* The next waiting connection, or NULL when there is none for now. */
static struct ts_conn *accept_one(struct ts_reactor *r)
{
    int listener = atomic_load(&r->listener);
    if (listener < 0)
        return NULL;
    struct ts_conn *c = slot_take(r);
    if (c == NULL) {
        pause_accept(r, listener);
        return NULL;
    }
    int fd = ts_accept(listener, &c->peer);
    if (fd < 0) {
        if (fd != -EAGAIN)
            pause_accept(r, listener);
        pthread_mutex_lock(&r->slots_lock);
        c->next_free = r->free;
        r->free = c;
        pthread_mutex_unlock(&r->slots_lock);
        return NULL;
    }
    ts_conn_open(c, fd);
    c->idle_ns = r->idle_timeout_ns;
    atomic_fetch_add(&r->n_open, 1);
    return c;
}

/* ---- parking and closing ------------------------------------------------ */

/* False: the caller still owns the connection, which has news or is broken. */
static bool park(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    bool write = c->phase == TS_PHASE_FLUSH;
    uint64_t wait = c->phase == TS_PHASE_LINGER ? TS_LINGER_NS
        : c->phase == TS_PHASE_FLUSH            ? 0
                                                : c->idle_ns;
    if (wait > 0 && !(c->phase == TS_PHASE_LINGER &&
                      atomic_load_explicit(&c->deadline, memory_order_relaxed))) {
        atomic_store_explicit(&c->deadline, ts_monotonic_ns() + wait,
                              memory_order_relaxed);
        atomic_store_explicit(&r->timed, true, memory_order_relaxed);
    } else if (wait == 0) {
        atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
    }
    give_back(turn, c);
    int failed = 0;
    uint32_t interest = TS_POLL_READ | (write ? TS_POLL_WRITE : 0u);
    if (!c->registered) {
        failed = ts_poller_add(r->poller, c->fd, ts_conn_key(c), interest);
        c->registered = failed == 0;
        c->wants_write = write;
    } else if (c->wants_write != write) {
        failed = ts_poller_change(r->poller, c->fd, ts_conn_key(c), interest);
        c->wants_write = write;
    } else {
        failed = ts_poller_rearm(r->poller, c->fd, ts_conn_key(c));
    }
    if (TS_UNLIKELY(failed)) {
        c->broken = true;
        return false;
    }
    if (!ts_conn_release(c))
        return false;
    /* A stop that swept before the release has not seen this one. */
    if (TS_UNLIKELY(atomic_load(&r->stopping)) && ts_conn_claim_parked(c)) {
        c->broken = true;
        return false;
    }
    return true;
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
    slot_give(r, c);
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
    ts_poller_wake(r->poller);
}

void ts_reactor_stop(struct ts_reactor *r)
{
    atomic_store(&r->stopping, true);
    ts_poller_wake(r->poller);
}

struct ts_conn *ts_reactor_reap(struct ts_reactor *r, uint32_t *at)
{
    uint32_t n = slots_in_use(r);
    while (*at < n) {
        struct ts_conn *c = slot_conn(r, (*at)++);
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
    c->keep = keep && !c->broken && !atomic_load_explicit(&r->stopping, memory_order_relaxed);
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

/* One connection whose deadline has passed, or NULL. */
static struct ts_conn *sweep(struct ts_reactor *r, uint64_t now)
{
    uint32_t n = slots_in_use(r);
    if (r->sweep_at == 0) /* set again by every deadline that is left */
        atomic_store_explicit(&r->timed, false, memory_order_relaxed);
    while (r->sweep_at < n) {
        struct ts_conn *c = slot_conn(r, r->sweep_at++);
        uint64_t deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
        if (deadline == 0)
            continue;
        if (deadline > now || !ts_conn_claim_parked(c)) {
            atomic_store_explicit(&r->timed, true, memory_order_relaxed);
            continue;
        }
        deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
        if (deadline != 0 && deadline <= now)
            return c;
        if (!ts_conn_release(c))
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

/* How long the poller may wait, in ms: the caller's bound, the next sweep, the
 * end of a pause in accepting. */
static int wait_ms(struct ts_reactor *r, int64_t wait_ns)
{
    if (atomic_load_explicit(&r->timed, memory_order_relaxed) || r->accept_paused) {
        uint64_t now = ts_monotonic_ns();
        uint64_t until = UINT64_MAX;
        if (atomic_load_explicit(&r->timed, memory_order_relaxed))
            until = r->next_sweep;
        if (r->accept_paused && r->accept_resume < until)
            until = r->accept_resume;
        int64_t left = until > now ? (int64_t)(until - now) : 0;
        if (wait_ns < 0 || left < wait_ns)
            wait_ns = left;
    }
    if (wait_ns < 0)
        return -1;
    int64_t ms = (wait_ns + 999999) / 1000000;
    return ms > 3600000 ? 3600000 : (int)ms;
}

static enum ts_task look_at_clock(struct ts_reactor *r, struct ts_turn *turn,
                                  struct ts_conn **out)
{
    uint64_t now = ts_monotonic_ns();
    if (r->accept_paused && now >= r->accept_resume)
        resume_accept(r);
    if (!atomic_load_explicit(&r->timed, memory_order_relaxed) || now < r->next_sweep)
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

enum ts_task ts_reactor_next(struct ts_reactor *r, struct ts_turn *turn,
                             bool block, int64_t wait_ns, struct ts_conn **out)
{
    for (;;) {
        enum ts_task task;
        while (r->next_ready < r->n_ready) {
            struct ts_event event = r->ready[r->next_ready++];
            if (event.key == KEY_LISTENER) {
                r->accept_ready = true;
                continue;
            }
            uint32_t slot = (uint32_t)event.key;
            struct ts_conn *c = slot_conn(r, slot);
            if (!ts_conn_claim(c, (uint32_t)(event.key >> 32),
                               (event.flags & TS_POLL_HUP) != 0))
                continue;
            c->readable = true;
            task = ts_reactor_go_on(r, turn, c);
            if (task != TS_TASK_NONE) {
                *out = c;
                return task;
            }
        }
        while (r->accept_ready) {
            struct ts_conn *c = accept_one(r);
            if (c == NULL) {
                r->accept_ready = false;
                break;
            }
            task = opened(r, turn, c);
            if (task != TS_TASK_NONE) {
                *out = c;
                return task;
            }
        }
        if (!block)
            return TS_TASK_NONE;
        if (TS_UNLIKELY(atomic_load_explicit(&r->timed, memory_order_relaxed) || r->accept_paused)) {
            task = look_at_clock(r, turn, out);
            if (task != TS_TASK_NONE)
                return task;
        }
        if (TS_UNLIKELY(atomic_load(&r->stopping)))
            return TS_TASK_WOKEN;
        int n = ts_poller_wait(r->poller, r->ready, TS_READY_MAX, wait_ms(r, wait_ns));
        r->next_ready = 0;
        r->n_ready = n > 0 ? n : 0;
        if (n == -EINTR)
            return TS_TASK_INTERRUPTED;
        if (n <= 0) {
            if (n == 0 && atomic_load_explicit(&r->timed, memory_order_relaxed)) {
                task = look_at_clock(r, turn, out);
                if (task != TS_TASK_NONE)
                    return task;
            }
            return TS_TASK_WOKEN;
        }
    }
}
