/* rules: every limit and every deadline of a connection, in one struct.
 *
 * Constant once it is in use: a reactor that gets new rules gets another struct
 * (reactor.h), so any thread may read the one it has.
 *
 * Times are in ns and 0 is "for ever"; counts are octets unless said otherwise.
 * What may not live here: who enforces them.
 */
#ifndef TS_RULES_H
#define TS_RULES_H

#include "chunked.h"
#include "scan.h"
#include "ts.h"

struct ts_rules {
    struct ts_limits head;
    struct ts_chunk_limits chunks;
    uint64_t idle_ns;  /* without the first octet of a request */
    uint64_t head_ns;  /* for a head, from its first octet */
    uint64_t body_ns;  /* without an octet of a body */
    uint64_t write_ns; /* without the peer taking an octet of an answer */
    uint64_t grace_ns; /* ... and so long before the rate counts */
    uint32_t min_rate; /* octets/s of a body or an answer; 0: any */
    uint32_t drain_max; /* of a body that the handler left, or after an error */
    uint64_t drain_ns;
    int64_t body_max;  /* of a body; -1: any */
};

/* The defaults, for each of which SECURITY.md has the reason. */
void ts_rules_init(struct ts_rules *rules);

/* Whether two are the same. */
bool ts_rules_equal(const struct ts_rules *a, const struct ts_rules *b);

/* Times are below 2^62 ns. By when a transfer that began at `began`, was last seen to go on at
 * `progress`, and has moved `moved` octets, must go on; UINT64_MAX: never.
 * without_ns: body_ns or write_ns. */
uint64_t ts_rules_due(const struct ts_rules *rules, uint64_t without_ns,
                      uint64_t began, uint64_t progress, uint64_t moved);

#endif
