/* slots: the table of connections, and where free ones wait.
 *
 * It grows in chunks that never move and are never given back while the table
 * lives: whoever has a stale key finds a connection of another generation, and
 * nothing else. A connection that is in no use has its word OWNED (conn.h), so
 * that no event and no sweep may claim it.
 *
 * Threads: any; take, give and count hold the lock for a few instructions.
 *
 * What may not live here: descriptors, and who owns a connection in use.
 */
#ifndef TS_SLOTS_H
#define TS_SLOTS_H

#include "conn.h"
#include "ts.h"

#include <pthread.h>

#define TS_SLOTS_CHUNK 256u
#define TS_CHUNKS_MAX 4096u

struct ts_slots {
    pthread_mutex_t lock;
    uint32_t n; /* slots there are, free ones included */
    struct ts_conn *free;
    struct ts_conn *chunks[TS_CHUNKS_MAX];
};

/* In zeroed memory. 0 or -errno. */
int ts_slots_init(struct ts_slots *slots);
/* Frees the connections and what they hold. No thread inside. */
void ts_slots_free(struct ts_slots *slots);

/* In the child after fork(): no lock is held, whoever held one is not here. */
void ts_slots_forked(struct ts_slots *slots);

/* A free connection, owned by the caller, or NULL: no memory, or TS_CHUNKS_MAX
 * chunks are full. */
struct ts_conn *ts_slots_take(struct ts_slots *slots);
/* Takes back a connection that is reset or was never opened. */
void ts_slots_give(struct ts_slots *slots, struct ts_conn *c);

/* How many slots there are now. */
uint32_t ts_slots_count(struct ts_slots *slots);

/* The connection of a slot below a count that this thread has seen, or of a key
 * that it was handed. */
static inline struct ts_conn *ts_slots_at(struct ts_slots *slots, uint32_t slot)
{
    return &slots->chunks[slot / TS_SLOTS_CHUNK][slot % TS_SLOTS_CHUNK];
}

#endif
