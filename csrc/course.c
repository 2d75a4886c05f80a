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
#include <fcntl.h>
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

static void enter(struct ts_conn *c, enum ts_phase phase)
{
    c->phase = (uint8_t)phase;
    ts_clock_reset(&c->input);
    ts_clock_reset(&c->output);
    c->has_room = c->stalled = false;
    c->offered = UINT32_MAX;
}

/* ---- parking and closing ------------------------------------------------ */

/* Where the poller has to look. A peer that is to read is not asked for more:
 * what it sends meanwhile is reported when the interest changes back. */
static int set_interest(struct ts_reactor *r, struct ts_conn *c)
{
    bool write = c->phase == TS_PHASE_FLUSH ||
                 (c->phase == TS_PHASE_HANDSHAKE && ts_out_unsent(&c->out) > 0);
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
    uint32_t gen = ts_conn_generation(atomic_load_explicit(&c->word, memory_order_relaxed));
    if (!ts_conn_release(c))
        return false;
    /* A stop that reaped before the release has not seen this one. One that
     * came since may have closed it, and another may live here by now. */
    if (TS_UNLIKELY(atomic_load(&r->stopping)) && ts_conn_claim_again(c, gen)) {
        c->broken = true;
        return false;
    }
    return true;
}

/* As ts_release. */
static bool park(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    ts_set_deadline(r, c);
    give_back(turn, c);
    if (TS_LIKELY(!c->stalled) && TS_UNLIKELY(set_interest(r, c) != 0)) {
        c->broken = true;
        return false;
    }
    return ts_release(r, c);
}

/* The peer is told, if it can hear: one that a stop found on its way to be parked is
 * broken, too. */
static void end_tls(struct ts_conn *c)
{
    ts_conn_end_tls(c, !c->aborts && c->error == 0 && c->out.error == 0);
}

void ts_destroy(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c)
{
    ts_reactor_forget(r, c);
    end_tls(c);
    if (c->counted)
        ts_census_leave(&r->census, &c->peer);
    ts_out_free(&c->out); /* before the number can be another file's */
    if (!c->lent) {
        if (TS_UNLIKELY(c->aborts))
            ts_set_reset(c->fd);
        close(c->fd);
    }
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
    /* What still comes is dropped as it is. */
    end_tls(c);
    bool lingers = c->linger && !c->lent && !c->eof && !c->broken &&
                   !atomic_load(&r->stopping);
    /* close() says it as well, unless a child process has the descriptor, too. */
    if (!c->lent && !c->broken && (lingers || atomic_load(&r->shared)))
        shutdown(c->fd, SHUT_WR);
    if (lingers) {
        enter(c, TS_PHASE_LINGER);
        c->readable = true;
        c->skip_budget = ts_reactor_rules(r)->drain_max;
        c->in.head = c->in.pos = c->in.end = 0;
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

int ts_reactor_second(struct ts_reactor *r, struct ts_conn *c)
{
    int fd;
    TS_ASSERT(c->lent);
    if (!c->linger || c->eof || c->broken || c->body.kind == TS_BODY_OPAQUE ||
        atomic_load(&r->stopping))
        return -1;
    fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    /* The close of the first will not be the last one, which takes it out. */
    if (fd >= 0 && c->registered) {
        ts_poller_remove(r->poller, c->fd, ts_conn_key(c));
        c->registered = false;
    }
    return fd;
}

void ts_reactor_take_back(struct ts_conn *c, int fd)
{
    c->fd = fd;
    c->lent = false;
}

/* ---- from octets to a task ---------------------------------------------- */

/* The octets of the present request's body that are there. */
static uint32_t body_octets(const struct ts_conn *c)
{
    return c->in.end - c->in.head - c->req->head_len;
}

enum awaited { IS_THERE, IS_AWAITED, IS_STREAMED, IS_BAD };

/* How far a body with a Content-Length is. */
static enum awaited await_length(struct ts_reactor *r, const struct ts_conn *c)
{
    const struct ts_request *req = c->req;
    if (body_octets(c) >= (uint64_t)req->content_length)
        return IS_THERE;
    if (req->content_length > TS_SMALL_BODY &&
        (body_octets(c) >= TS_SMALL_BODY ||
         !atomic_load_explicit(&r->pressed, memory_order_relaxed)))
        return IS_STREAMED;
    return IS_AWAITED;
}

/* The same for a chunked one, of which no octet is looked at twice here. */
static enum awaited await_chunked(const struct ts_rules *rules, struct ts_conn *c)
{
    uint32_t all = c->in.end - c->in.head;
    if (c->phase != TS_PHASE_BODY) {
        ts_body_begin(&c->body, TS_BODY_CHUNKED, 0);
        c->looked = c->req->head_len;
        c->content = -1;
    }
    c->looked += (uint32_t)ts_body_skip(&c->body, c->in.data + c->in.head + c->looked,
                                        all - c->looked, &rules->chunks);
    if (ts_body_done(&c->body)) {
        /* By its size alone, not by how much happened to come at once. */
        if (c->looked - c->req->head_len <= TS_SMALL_BODY)
            c->content = c->body.content;
        return IS_THERE;
    }
    if (c->body.kind == TS_BODY_BAD)
        return IS_BAD;
    return body_octets(c) < TS_SMALL_BODY ? IS_AWAITED : IS_STREAMED;
}

/* Whether a head is complete, with nothing wrong in it, and a body follows. */
static bool has_body(const struct ts_conn *c)
{
    const struct ts_request *req = c->req;
    return c->scan == TS_SCAN_COMPLETE && (req->content_length > 0 || req->chunked) &&
           req->refusal == TS_REFUSE_NONE && req->form != TS_TARGET_AUTHORITY;
}

/* How far that body is. What is wrong with it so far becomes the refusal. */
static enum awaited look_at_body(struct ts_reactor *r, struct ts_conn *c)
{
    const struct ts_rules *rules = ts_reactor_rules(r);
    struct ts_request *req = c->req;
    enum awaited body;

    if (rules->body_max >= 0 && req->content_length > rules->body_max) {
        req->refusal = TS_REFUSE_BODY_LENGTH;
        return IS_BAD;
    }
    body = req->chunked ? await_chunked(rules, c) : await_length(r, c);
    if (body == IS_BAD) {
        req->refusal = TS_REFUSE_BODY_CHUNKED;
    } else if (body == IS_AWAITED && c->eof) {
        req->refusal = TS_REFUSE_BODY_CUT_OFF;
        return IS_BAD;
    }
    return body;
}

/* A small body is waited for in BODY (NONE). */
static enum ts_task await_body(struct ts_reactor *r, struct ts_conn *c)
{
    if (look_at_body(r, c) != IS_AWAITED || c->req->expect_continue)
        return TS_TASK_REQUEST;
    if (c->phase != TS_PHASE_BODY)
        enter(c, TS_PHASE_BODY);
    return TS_TASK_NONE;
}

/* The head is complete: is the request? */
static enum ts_task scanned(struct ts_reactor *r, struct ts_conn *c)
{
    enum ts_task task = TS_TASK_REQUEST;
    if (c->scan != TS_SCAN_COMPLETE)
        task = TS_TASK_GENERAL;
    else if (has_body(c))
        task = await_body(r, c);
    if (task != TS_TASK_NONE)
        enter(c, TS_PHASE_HANDLER);
    return task;
}

/* One empty line before a request is passed over (RFC 9112, 2.2). True: more
 * octets are needed to tell. */
static bool skip_blank(struct ts_conn *c)
{
    const char *p = c->in.data + c->in.head;
    if (TS_LIKELY(*p != '\r') || c->blank)
        return false;
    if (c->in.end - c->in.head < 2)
        return true;
    if (p[1] == '\n') {
        c->blank = true;
        ts_clock_reset(&c->input);
        c->in.head += 2;
        c->in.pos = c->in.head;
    }
    return c->in.head == c->in.end;
}

static enum ts_task scan(struct ts_reactor *r, struct ts_turn *turn,
                         struct ts_conn *c)
{
    if (c->req == NULL && !take_req(turn, c)) {
        c->broken = true;
        return TS_TASK_GONE;
    }
    if (c->scan == TS_SCAN_PARTIAL) {
        if (c->req->at == 0 && skip_blank(c))
            return TS_TASK_NONE;
        c->scan = (uint8_t)ts_scan(c->req, c->in.data + c->in.head,
                                   c->in.end - c->in.head,
                                   &ts_reactor_rules(r)->head);
    }
    return c->scan == TS_SCAN_PARTIAL ? TS_TASK_NONE : scanned(r, c);
}

enum ts_task ts_reactor_rescan(struct ts_reactor *r, struct ts_conn *c)
{
    bool slow = c->req->refusal == TS_REFUSE_BODY_SLOW;
    ts_request_reset(c->req);
    c->scan = (uint8_t)ts_scan(c->req, c->in.data + c->in.head,
                               c->in.end - c->in.head,
                               &ts_reactor_rules(r)->head);
    if (c->scan != TS_SCAN_COMPLETE)
        return TS_TASK_GENERAL;
    /* It has been awaited already: what is missing the handler finds missing. */
    if (has_body(c) && look_at_body(r, c) == IS_AWAITED && slow)
        c->req->refusal = TS_REFUSE_BODY_SLOW;
    return TS_TASK_REQUEST;
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
    enter(c, TS_PHASE_HEAD);
    c->scan = TS_SCAN_PARTIAL;
    if (c->req != NULL)
        ts_request_reset(c->req);
}

/* Whether it is a connection without a request that the server, which is about to
 * end, does not wait for. */
static bool ends_idle(struct ts_reactor *r, const struct ts_conn *c)
{
    return atomic_load_explicit(&r->ending, memory_order_relaxed) &&
           (c->phase == TS_PHASE_HEAD || c->phase == TS_PHASE_HANDSHAKE) &&
           !c->readable && c->in.end == c->in.head;
}

/* HANDSHAKE: what Python has to say to the peer leaves first. NONE: it is to wait. */
static enum ts_task handshake(struct ts_conn *c, bool *is_full)
{
    int sent = ts_out_unsent(&c->out) > 0 ? ts_out_flush(&c->out, c->fd) : TS_OUT_SENT;
    *is_full = sent == TS_OUT_BLOCKED;
    if (sent < 0)
        c->broken = true;
    return sent == TS_OUT_SENT && c->readable ? TS_TASK_HANDSHAKE : TS_TASK_NONE;
}

void ts_reactor_shaken(struct ts_conn *c)
{
    TS_ASSERT(c->phase == TS_PHASE_HANDSHAKE);
    enter(c, TS_PHASE_HEAD);
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
                c->scan = TS_SCAN_REFUSED;
                c->req->refusal = TS_REFUSE_CUT_OFF;
                return scanned(r, c);
            }
            break;
        case TS_PHASE_BODY:
            task = scanned(r, c);
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
                uint32_t left = ts_out_unsent(&c->out);
                c->stalled = (c->stalled || c->has_room) && left == c->offered;
                c->has_room = false;
                c->offered = left;
                if (park(r, turn, c))
                    return TS_TASK_NONE;
                continue;
            }
            if (!c->keep)
                return gone(r, turn, c);
            enter(c, TS_PHASE_DISCARD);
            continue;
        }
        case TS_PHASE_DISCARD: {
            int done = ts_conn_skip_body(c, &ts_reactor_rules(r)->chunks);
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
        case TS_PHASE_HANDSHAKE: {
            bool is_full;
            task = handshake(c, &is_full);
            if (task != TS_TASK_NONE)
                return task;
            if (is_full) {
                if (park(r, turn, c))
                    return TS_TASK_NONE;
                continue;
            }
            if (c->broken)
                continue;
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
        if (TS_UNLIKELY(ends_idle(r, c)))
            return gone(r, turn, c);
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
    bool stopping = atomic_load_explicit(&r->stopping, memory_order_relaxed);
    c->keep = keep;
    c->blank = false; /* of the request that was handled */
    c->skip_budget = ts_reactor_rules(r)->drain_max;
    if (c->keep && ts_body_done(&c->body)) {
        next_request(c);
        if (c->in.end > c->in.head &&
            ((ts_out_unsent(&c->out) <= TS_OUT_GATHER / 2 && !c->through) || stopping)) {
            enum ts_task task = scan(r, turn, c);
            if (task == TS_TASK_REQUEST)
                return task; /* stopping or not: it has been read */
            if (task == TS_TASK_GENERAL)
                enter(c, TS_PHASE_HEAD); /* the answers before it go first */
        }
        c->keep = !stopping;
    } else if (stopping) {
        c->keep = false;
    }
    if (!c->keep && (!ts_body_done(&c->body) || ts_in_unread(&c->in) > 0)) {
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
            if (c->phase != TS_PHASE_HANDLER) /* the next request is begun anew */
                ts_body_begin(&c->body, TS_BODY_NONE, 0);
            enter(c, TS_PHASE_FLUSH);
            return ts_reactor_go_on(r, turn, c);
        }
    }
    if (!c->keep)
        return gone(r, turn, c);
    if (c->phase == TS_PHASE_HANDLER)
        enter(c, TS_PHASE_DISCARD);
    return ts_reactor_go_on(r, turn, c);
}

/* A late connection that waits for input: what the kernel has for it. The request
 * that is complete with that, or NONE. */
static enum ts_task look_once_more(struct ts_reactor *r, struct ts_turn *turn,
                                   struct ts_conn *c)
{
    if (c->phase != TS_PHASE_HEAD && c->phase != TS_PHASE_BODY)
        return TS_TASK_NONE;
    take_spare_in(turn, c);
    if (ts_conn_fill(c) != 0)
        c->broken = true;
    if (c->broken || c->eof || c->in.end == c->in.head)
        return TS_TASK_NONE;
    return c->phase == TS_PHASE_HEAD ? scan(r, turn, c) : scanned(r, c);
}

enum ts_task ts_too_late(struct ts_reactor *r, struct ts_turn *turn,
                         struct ts_conn *c, uint64_t now)
{
    enum ts_late late = TS_LATE_NOT;
    enum ts_task task;
    /* The sweep is past this one, so nobody looks for it any more: whatever deadline
     * comes next is to be noted like a first one. */
    uint64_t deadline = atomic_exchange_explicit(&c->deadline, 0, memory_order_relaxed);
    if (deadline <= now) {
        /* Octets may be here that nobody has had the time to look at. */
        task = look_once_more(r, turn, c);
        if (task != TS_TASK_NONE)
            return task;
        if (!c->broken && !c->eof)
            late = ts_is_late(r, c, now);
    }
    if (late == TS_LATE_NOT)
        return ts_reactor_go_on(r, turn, c);
    if (late == TS_LATE_OWN)
        return TS_TASK_TIMEOUT;
    if (c->phase == TS_PHASE_HEAD && c->in.end > c->in.head) {
        enter(c, TS_PHASE_HANDLER);
        return TS_TASK_SLOW;
    }
    if (c->phase == TS_PHASE_BODY) {
        c->req->refusal = TS_REFUSE_BODY_SLOW;
        enter(c, TS_PHASE_HANDLER);
        return TS_TASK_REQUEST;
    }
    if (c->phase == TS_PHASE_FLUSH)
        c->broken = c->aborts = true; /* nothing more of it will be taken */
    return gone(r, turn, c);
}
