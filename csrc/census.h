/* census: how many connections there are from each address.
 *
 * A table that grows with the addresses that are present, not with those that
 * ever were. An IPv6 address counts by its first 64 bits, for those are what a
 * peer has to itself; UNIX peers are not counted.
 *
 * Threads: any; a lock of its own. What may not live here: what to do about it.
 */
#ifndef TS_CENSUS_H
#define TS_CENSUS_H

#include "sock.h"
#include "ts.h"

#include <pthread.h>

struct ts_census_entry {
    uint64_t address;
    uint32_t count; /* 0: free */
};

struct ts_census {
    pthread_mutex_t lock;
    struct ts_census_entry *entries;
    uint32_t cap; /* a power of two, or 0 */
    uint32_t used;
};

/* In zeroed memory. 0 or -errno. */
int ts_census_init(struct ts_census *census);
void ts_census_free(struct ts_census *census);

enum ts_census_says { TS_CENSUS_FULL, TS_CENSUS_COUNTED, TS_CENSUS_NOT_COUNTED };

/* One more from there: counted, unless there are `max` already. It is let in
 * without being counted if it has no address, or there is no memory for it. */
enum ts_census_says ts_census_enter(struct ts_census *census, const struct ts_addr *peer, uint32_t max);
/* One that was counted has gone. */
void ts_census_leave(struct ts_census *census, const struct ts_addr *peer);

#endif
