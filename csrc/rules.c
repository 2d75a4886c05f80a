/* rules: see rules.h. */
#include "rules.h"

#include <string.h>

#define SECOND 1000000000ull

void ts_rules_init(struct ts_rules *rules)
{
    memset(rules, 0, sizeof *rules); /* padding too: they are compared whole */
    ts_limits_init(&rules->head);
    ts_chunk_limits_init(&rules->chunks);
    rules->idle_ns = 75 * SECOND;
    rules->head_ns = 30 * SECOND;
    rules->body_ns = 30 * SECOND;
    rules->write_ns = 30 * SECOND;
    rules->grace_ns = 5 * SECOND;
    rules->min_rate = 240;
    rules->drain_max = 262144;
    rules->drain_ns = 2 * SECOND;
    rules->body_max = -1;
}

bool ts_rules_equal(const struct ts_rules *a, const struct ts_rules *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

uint64_t ts_rules_due(const struct ts_rules *rules, uint64_t without_ns,
                      uint64_t began, uint64_t progress, uint64_t moved)
{
    uint64_t due = without_ns > 0 ? progress + without_ns : UINT64_MAX;
    if (rules->min_rate > 0) {
        /* A transfer of a terabyte is past any doubt. */
        uint64_t seconds = moved / rules->min_rate, rest = moved % rules->min_rate;
        uint64_t by_rate = UINT64_MAX;
        if (seconds < UINT64_MAX / SECOND / 4)
            by_rate = began + rules->grace_ns + seconds * SECOND +
                      rest * SECOND / rules->min_rate;
        if (by_rate < due)
            due = by_rate;
    }
    return due;
}
