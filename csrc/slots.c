/* slots: see slots.h. */
#include "slots.h"

#include <stdlib.h>

int ts_slots_init(struct ts_slots *slots)
{
    return -pthread_mutex_init(&slots->lock, NULL);
}

void ts_slots_free(struct ts_slots *slots)
{
    for (uint32_t i = 0; i < slots->n; i++) {
        struct ts_conn *c = ts_slots_at(slots, i);
        free(c->req);
        ts_in_free(&c->in);
        ts_out_free(&c->out);
    }
    for (uint32_t i = 0; i * TS_SLOTS_CHUNK < slots->n; i++)
        free(slots->chunks[i]);
    pthread_mutex_destroy(&slots->lock);
}

void ts_slots_forked(struct ts_slots *slots)
{
    pthread_mutex_init(&slots->lock, NULL);
    for (uint32_t i = 0; i < slots->n; i++) {
        struct ts_conn *c = ts_slots_at(slots, i);
        atomic_flag_clear(&c->out.lock);
        /* What was gathered is the parent's to send. What the child writes leaves
         * at once: no monitor is here, and it may end by _exit() or exec. */
        c->out.pos = c->out.end = 0;
        atomic_store(&c->out.unsent, 0);
        c->through = true;
    }
}

/* Under the lock: one more chunk, if there is memory for it. */
static void grow(struct ts_slots *slots)
{
    struct ts_conn *chunk = calloc(TS_SLOTS_CHUNK, sizeof *chunk);
    if (chunk == NULL)
        return;
    slots->chunks[slots->n / TS_SLOTS_CHUNK] = chunk;
    for (uint32_t i = TS_SLOTS_CHUNK; i-- > 0;) {
        chunk[i].slot = slots->n + i;
        chunk[i].fd = -1;
        atomic_store(&chunk[i].word, TS_WORD_OWNED);
        ts_out_init(&chunk[i].out);
        chunk[i].next_free = slots->free;
        slots->free = &chunk[i];
    }
    slots->n += TS_SLOTS_CHUNK;
}

struct ts_conn *ts_slots_take(struct ts_slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    if (slots->free == NULL && slots->n < TS_SLOTS_CHUNK * TS_CHUNKS_MAX)
        grow(slots);
    struct ts_conn *c = slots->free;
    if (c != NULL)
        slots->free = c->next_free;
    pthread_mutex_unlock(&slots->lock);
    return c;
}

void ts_slots_give(struct ts_slots *slots, struct ts_conn *c)
{
    TS_ASSERT(atomic_load(&c->word) & TS_WORD_OWNED);
    pthread_mutex_lock(&slots->lock);
    c->next_free = slots->free;
    slots->free = c;
    pthread_mutex_unlock(&slots->lock);
}

uint32_t ts_slots_count(struct ts_slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    uint32_t n = slots->n;
    pthread_mutex_unlock(&slots->lock);
    return n;
}
