/* See predictor.h. An entry is one byte:
 *
 *   bits 4..7  tag: four more bits of the key. Without it a fast route that falls
 *              on a slow one's entry (200 routes: about one in twenty) would be
 *              handed over for ever; with it, one in three hundred. The byte has
 *              room for it, as the counter needs four bits only.
 *   bits 0..3  counter: 0 nothing known; 1..4 suspect; 5..12 blocks; 13..15 computes.
 *
 *   blocked            +4 (to 12)  0 -> 4 -> 8: two runs from nothing; one run
 *                                  from suspect, which is how a sleep shorter
 *                                  than a tick is learnt: slow, then measured
 *   slow, not blocked  -1; but from 1, where it was measured, to 13 -> 14 -> 15 -> 1:
 *                      what computes for long is measured once in four runs, for that
 *                      takes two system calls
 *   fast               -1; from 13 and up to 1
 *   blocked, from 13   as from 1
 *
 * So a route is taken to block as long as one run in five does. Known weakness:
 * identifiers with letters in the path (UUIDs) make each request a new route. */
#include "predictor.h"

#include "leader.h"

enum {
    COUNTER_MASK = 0x0f,
    COUNTER_MAX = 12,
    BLOCKS_FROM = 5,
    BLOCKED_STEP = 4,
    SUSPECT = 1,
    COMPUTES = 13, /* and up */
    COMPUTES_LAST = 15
};

static bool blocks(unsigned counter) { return counter >= BLOCKS_FROM && counter <= COUNTER_MAX; }

static unsigned entry_index(uint32_t key) { return key & (TS_PREDICT_ENTRIES - 1); }
static unsigned entry_tag(uint32_t key) { return (key >> 24) & 0xf0; }

void ts_predict_init(struct ts_predictor *p)
{
    for (size_t i = 0; i < TS_PREDICT_ENTRIES; i++)
        atomic_init(&p->entry[i], 0);
}

/* FNV-1a, byte by byte: folding the digits looks at each byte anyway, and a path
 * is short. */
uint32_t ts_predict_key(const char *method, size_t method_len, const char *path, size_t path_len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < method_len; i++)
        h = (h ^ (unsigned char)method[i]) * 16777619u;
    h = (h ^ ' ') * 16777619u; /* "GET" "X" is not "GETX" "" */
    bool in_digits = false;
    for (size_t i = 0; i < path_len; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c == '?')
            break;
        bool digit = (unsigned)c - '0' < 10;
        if (digit && in_digits)
            continue;
        in_digits = digit;
        h = (h ^ (digit ? '0' : c)) * 16777619u;
    }
    /* FNV leaves the last octets in the low bits only; index and tag want all. */
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    return h;
}

unsigned ts_predict(const struct ts_predictor *p, uint32_t key)
{
    unsigned e = atomic_load_explicit(&p->entry[entry_index(key)], memory_order_relaxed);
    unsigned counter = e & COUNTER_MASK;
    if (counter == 0 || counter >= COMPUTES || (e & ~(unsigned)COUNTER_MASK) != entry_tag(key))
        return TS_HINT_NONE;
    return blocks(counter) ? TS_HINT_BLOCKS : TS_HINT_SUSPECT;
}

/* Of the route whose entry it is. */
static unsigned next_counter(unsigned counter, bool slow, bool blocked)
{
    bool computes = counter >= COMPUTES;
    if (blocked) {
        counter = (computes ? SUSPECT : counter) + BLOCKED_STEP;
        return counter > COUNTER_MAX ? COUNTER_MAX : counter;
    }
    if (computes)
        return slow && counter < COMPUTES_LAST ? counter + 1 : SUSPECT;
    return slow && counter == SUSPECT ? COMPUTES : counter - 1;
}

void ts_predict_learn(struct ts_predictor *p, uint32_t key, bool slow, bool blocked)
{
    _Atomic uint8_t *entry = &p->entry[entry_index(key)];
    unsigned e = atomic_load_explicit(entry, memory_order_relaxed);
    unsigned tag = e & ~(unsigned)COUNTER_MASK;
    unsigned counter = e & COUNTER_MASK;

    if (counter == 0 || tag != entry_tag(key)) {
        if (!slow && !blocked)
            return; /* the usual case: nothing to say about a fast route */
        if (blocks(counter)) {
            counter--; /* another route's, and it blocks: outlive it first */
        } else {
            tag = entry_tag(key);
            counter = blocked ? BLOCKED_STEP : SUSPECT;
        }
    } else {
        counter = next_counter(counter, slow, blocked);
    }
    unsigned next = tag | counter;
    if (next != e) /* do not dirty the line for nothing */
        atomic_store_explicit(entry, (uint8_t)next, memory_order_relaxed);
}
