/* conn: see conn.h. */
#include "conn.h"

#include <errno.h>
#include <string.h>

/* ---- ownership ---------------------------------------------------------- */

bool ts_conn_claim(struct ts_conn *c, uint32_t gen, bool hup)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire);
    for (;;) {
        if (ts_conn_generation(word) != gen)
            return false;
        uint64_t next = word | TS_WORD_OWNED;
        if (word & TS_WORD_OWNED)
            next |= TS_WORD_PENDING | (hup ? TS_WORD_HUP : 0u);
        if (next == word)
            return false;
        if (atomic_compare_exchange_weak_explicit(&c->word, &word, next,
                                                  memory_order_acq_rel,
                                                  memory_order_acquire)) {
            if (word & TS_WORD_OWNED)
                return false;
            if (hup)
                c->hup = true;
            return true;
        }
    }
}

static bool claim_parked(struct ts_conn *c, bool any, uint32_t gen)
{
    /* seq_cst, as in release: who stops sets a flag and then looks here, who
     * parks does the reverse, and one of the two must see the other. */
    uint64_t word = atomic_load(&c->word);
    while (!(word & TS_WORD_OWNED) && (any || ts_conn_generation(word) == gen)) {
        if (atomic_compare_exchange_weak_explicit(&c->word, &word,
                                                  word | TS_WORD_OWNED,
                                                  memory_order_seq_cst,
                                                  memory_order_acquire))
            return true;
    }
    return false;
}

bool ts_conn_claim_parked(struct ts_conn *c)
{
    return claim_parked(c, true, 0);
}

bool ts_conn_claim_again(struct ts_conn *c, uint32_t gen)
{
    return claim_parked(c, false, gen);
}

bool ts_conn_release(struct ts_conn *c)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire);
    TS_ASSERT(word & TS_WORD_OWNED);
    for (;;) {
        bool pending = (word & TS_WORD_PENDING) != 0;
        uint64_t next = word & ~(uint64_t)0xff;
        if (pending)
            next |= TS_WORD_OWNED;
        if (atomic_compare_exchange_weak_explicit(&c->word, &word, next,
                                                  memory_order_seq_cst,
                                                  memory_order_acquire)) {
            if (!pending)
                return true;
            c->readable = true;
            if (word & TS_WORD_HUP)
                c->hup = true;
            return false;
        }
    }
}

/* ---- life --------------------------------------------------------------- */

void ts_conn_open(struct ts_conn *c, int fd)
{
    TS_ASSERT(c->in.data == NULL && c->req == NULL && c->owner == NULL);
    TS_ASSERT(atomic_load(&c->deadline) == 0 && ts_out_unsent(&c->out) == 0);
    c->fd = fd;
    c->phase = TS_PHASE_HEAD;
    c->scan = TS_SCAN_PARTIAL;
    ts_body_begin(&c->body, TS_BODY_NONE, 0);
    c->timeout_ns = 0;
    ts_clock_reset(&c->input);
    ts_clock_reset(&c->output);
    c->readable = true; /* the request often comes with the connection */
    c->hup = c->eof = c->broken = c->registered = c->wants_write = false;
    c->keep = c->through = c->lent = c->linger = c->blank = false;
    c->counted = c->aborts = c->has_room = c->stalled = false;
    c->skip_budget = 0;
    c->error = 0;
    c->tls = NULL;
    c->session = NULL;
}

void ts_conn_reset(struct ts_conn *c)
{
    TS_ASSERT(c->session == NULL);
    ts_in_free(&c->in);
    ts_out_free(&c->out);
    c->fd = -1;
    c->owner = NULL;
    atomic_store_explicit(&c->deadline, 0, memory_order_relaxed);
    uint64_t word = atomic_load_explicit(&c->word, memory_order_relaxed);
    uint64_t gen = (uint32_t)(ts_conn_generation(word) + 1);
    /* Free connections count as owned: no event, no sweep may claim them. */
    atomic_store_explicit(&c->word, gen << 8 | TS_WORD_OWNED,
                          memory_order_release);
}

/* ---- reading ------------------------------------------------------------ */

void ts_conn_end_tls(struct ts_conn *c, bool notify)
{
    if (c->session != NULL)
        c->tls->end(c, notify);
    TS_ASSERT(c->session == NULL);
    c->tls = NULL;
}

int ts_conn_fill(struct ts_conn *c)
{
    if (c->tls != NULL)
        return c->tls->fill(c);
    /* A full window doubles, so the cost stays linear in what arrives. */
    if (c->in.end == c->in.cap || c->in.data == NULL) {
        uint32_t used = c->in.end - c->in.head;
        int failed = ts_in_reserve(&c->in, used > TS_IN_FIRST / 2 ? used : TS_IN_FIRST / 2);
        if (failed)
            return failed;
    }
    uint32_t space = c->in.cap - c->in.end;
    ssize_t n = ts_recv(c->fd, c->in.data + c->in.end, space);
    if (n > 0) {
        c->in.end += (uint32_t)n;
        /* Fewer than there was room for: the kernel is empty, the next octet
         * brings a new edge. Not so for the end of the stream, if its edge
         * has been seen already. */
        if ((size_t)n < space && !c->hup)
            c->readable = false;
    } else {
        c->readable = false;
        if (n == 0)
            c->eof = true;
        else if (n != -EAGAIN) {
            c->broken = true;
            c->error = (int)-n;
        }
    }
    return 0;
}

/* ---- body --------------------------------------------------------------- */

int ts_conn_skip_body(struct ts_conn *c, const struct ts_chunk_limits *limits)
{
    uint32_t have = ts_in_unread(&c->in);
    size_t skip = 0;
    if (have > 0)
        skip = ts_body_skip(&c->body, c->in.data + c->in.pos, have, limits);
    c->in.pos += (uint32_t)skip;
    if (ts_body_done(&c->body))
        return 1;
    if (c->body.kind == TS_BODY_OPAQUE || c->body.kind == TS_BODY_BAD)
        return -1;
    /* Nothing of the head is wanted any more: make room without growing. */
    ts_in_next_request(&c->in);
    if (skip > c->skip_budget)
        return -1;
    c->skip_budget -= (uint32_t)skip;
    return 0;
}
