/* course: the way of one connection, from its octets to a task for Python, and
 * from the end of the handler to where it waits again, or ends. reactor.h has
 * the contracts; conn.h the phases.
 *
 * Threads: the owner of the connection, leader or not. So nothing here touches
 * what belongs to the leader, but for the limits (ts_reactor_rescan).
 *
 * What may not live here: which connection is next (reactor.c).
 */
#include "reactor_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
    ts_out_trim(&c->out);
    if (c->req != NULL && c->in.data == NULL) {
        if (turn->spare_req == NULL)
            turn->spare_req = c->req;
        else
            free(c->req);
        c->req = NULL;
    }
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

bool ts_release(struct ts_reactor *r, struct ts_conn *c)
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

/* As ts_release. */
static bool park(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    set_deadline(r, c);
    give_back(turn, c);
    if (TS_UNLIKELY(set_interest(r, c) != 0)) {
        c->broken = true;
        return false;
    }
    return ts_release(r, c);
}

void ts_destroy(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    ts_reactor_forget(r, c);
    ts_out_free(&c->out); /* before the number can be another file's */
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
    bool lingers = c->linger && !c->lent && !c->eof && !c->broken &&
                   !atomic_load(&r->stopping);
    /* close() says it as well, unless a child process has the descriptor, too. */
    if (!c->lent && !c->broken && (lingers || atomic_load(&r->shared)))
        shutdown(c->fd, SHUT_WR);
    if (lingers) {
        c->phase = TS_PHASE_LINGER;
        c->body = TS_BODY_NONE;
        c->readable = true;
        c->skip_budget = TS_SKIP_MAX;
        c->in.head = c->in.pos = c->in.end = 0;
        atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
        ts_reactor_go_on(r, turn, c);
        return;
    }
    ts_destroy(r, turn, c);
}

void ts_reactor_forget(struct ts_reactor *r, struct ts_conn *c)
{
    if (c->registered)
        ts_poller_closing(r->poller, c->fd, ts_conn_key(c));
    c->registered = false;
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
    ts_destroy(r, turn, c);
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
                ts_destroy(r, turn, c);
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
    if (TS_UNLIKELY(c->out.error != 0 && ts_out_untold(&c->out) == 0))
        c->broken = true; /* the handler has been told, by its own write */
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
