/* deadline_rig: what the tests of deadlines share: short rules, and serving until something
 * has happened that may not happen too soon. */
#ifndef DEADLINE_RIG_H
#define DEADLINE_RIG_H

#include "reactor_rig.h"

/* The clock that deadlines are set by may be behind by so much. */
#define COARSE (10 * MS)

/* Rules that let anything take its time. */
RIG struct ts_rules patient(void)
{
    struct ts_rules rules;

    ts_rules_init(&rules);
    rules.idle_ns = rules.head_ns = rules.body_ns = rules.write_ns = 0;
    rules.min_rate = 0;
    rules.drain_ns = 0;
    return rules;
}

/* Serves until that many milliseconds are over. */
RIG void serve_for(struct server *s, uint64_t ms)
{
    uint64_t until = ts_monotonic_ns() + ms * MS;

    while (ts_monotonic_ns() < until)
        next(s, 5 * (int64_t)MS);
}

/* Serves until *count is n, which must not be before `since` + ns. */
RIG void serve_until(struct server *s, _Atomic unsigned *count, unsigned n,
                        uint64_t since, uint64_t ns)
{
    while (atomic_load(count) != n) {
        CHECK(ts_monotonic_ns() < since + ns + 20 * SEC);
        next(s, 50 * (int64_t)MS);
    }
    CHECK(ts_monotonic_ns() + COARSE >= since + ns);
}

RIG void finish(struct server *s, int fd)
{
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

#endif
