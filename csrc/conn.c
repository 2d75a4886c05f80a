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

bool ts_conn_claim_parked(struct ts_conn *c)
{
    /* seq_cst, as in release: who stops sets a flag and then looks here, who
     * parks does the reverse, and one of the two must see the other. */
    uint64_t word = atomic_load(&c->word);
    while (!(word & TS_WORD_OWNED)) {
        if (atomic_compare_exchange_weak_explicit(&c->word, &word,
                                                  word | TS_WORD_OWNED,
                                                  memory_order_seq_cst,
                                                  memory_order_acquire))
            return true;
    }
    return false;
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
    c->body = TS_BODY_NONE;
    c->body_left = 0;
    c->readable = true; /* the request often comes with the connection */
    c->hup = c->eof = c->broken = c->registered = c->wants_write = false;
    c->keep = c->through = c->lent = c->linger = false;
    c->skip_budget = 0;
    c->error = 0;
}

void ts_conn_reset(struct ts_conn *c)
{
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

int ts_conn_fill(struct ts_conn *c)
{
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

void ts_conn_begin_body(struct ts_conn *c, enum ts_body body, int64_t length)
{
    c->body = (uint8_t)body;
    c->body_left = body == TS_BODY_LENGTH ? length : 0;
    if (body == TS_BODY_CHUNKED)
        ts_chunked_init(&c->chunked);
}

/* Follows the chunked framing over [data, data+n). The octets that belong to
 * the body; sets body to NONE at its end, OPAQUE (which closes) when it is
 * malformed. */
static size_t follow_chunked(struct ts_conn *c, const char *data, size_t n)
{
    size_t at = 0;
    while (at < n && c->body == TS_BODY_CHUNKED) {
        size_t used = 0;
        struct ts_span piece;
        switch (ts_chunked_next(&c->chunked, data + at, n - at, &used, &piece)) {
        case TS_CHUNK_DONE:
            c->body = TS_BODY_NONE;
            break;
        case TS_CHUNK_BAD:
            c->body = TS_BODY_OPAQUE;
            break;
        case TS_CHUNK_MORE:
        case TS_CHUNK_DATA:
            break;
        }
        at += used;
    }
    return at;
}

void ts_conn_took(struct ts_conn *c, const char *data, size_t n)
{
    if (c->body == TS_BODY_LENGTH) {
        c->body_left -= (int64_t)n < c->body_left ? (int64_t)n : c->body_left;
        if (c->body_left == 0)
            c->body = TS_BODY_NONE;
    } else if (c->body == TS_BODY_CHUNKED) {
        follow_chunked(c, data, n);
    }
}

bool ts_conn_body_done(const struct ts_conn *c)
{
    return c->body == TS_BODY_NONE;
}

int ts_conn_skip_body(struct ts_conn *c)
{
    uint32_t have = ts_in_unread(&c->in);
    size_t skip = have;
    if (c->body == TS_BODY_LENGTH) {
        if ((int64_t)skip > c->body_left)
            skip = (size_t)c->body_left;
        c->body_left -= (int64_t)skip;
        if (c->body_left == 0)
            c->body = TS_BODY_NONE;
    } else if (c->body == TS_BODY_CHUNKED) {
        skip = have > 0 ? follow_chunked(c, c->in.data + c->in.pos, have) : 0;
    } else {
        skip = 0;
    }
    c->in.pos += (uint32_t)skip;
    if (c->body == TS_BODY_OPAQUE)
        return -1;
    if (c->body == TS_BODY_NONE)
        return 1;
    /* Nothing of the head is wanted any more: make room without growing. */
    ts_in_next_request(&c->in);
    if (skip > c->skip_budget)
        return -1;
    c->skip_budget -= (uint32_t)skip;
    return 0;
}
