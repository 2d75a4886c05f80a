/* units: rules.c chunked.c scan.c framing.c target.c scan_simd.c; sanitizers: address,undefined
 *
 * The rules of a connection: their defaults, when two are the same, and by when a
 * transfer has to go on.
 */
#include "check.h"
#include "rules.h"

#include <string.h>

#define SEC UINT64_C(1000000000)
#define LONGEST (1000000000 * SEC) /* what a program can ask for */

/* As one that was built elsewhere, in memory that was not clean. */
static struct ts_rules fresh(int dirt)
{
    struct ts_rules rules;

    memset(&rules, dirt, sizeof rules);
    ts_rules_init(&rules);
    return rules;
}

static void test_defaults(void)
{
    struct ts_rules rules = fresh(0xff);

    CHECK(rules.head.max_request_line == 65536 && rules.head.max_line == 65536);
    CHECK(rules.head.max_headers == 100 && rules.head.max_head == 65536);
    CHECK(rules.head.simd == ts_simd_best() && !rules.head.bare_09);
    CHECK(rules.chunks.line == TS_CHUNK_LINE_MAX);
    CHECK(rules.chunks.extensions == TS_CHUNK_EXTENSIONS_MAX);
    CHECK(rules.chunks.trailers == TS_CHUNK_TRAILER_MAX);
    CHECK(rules.idle_ns == 75 * SEC && rules.head_ns == 30 * SEC);
    CHECK(rules.body_ns == 30 * SEC && rules.write_ns == 30 * SEC);
    CHECK(rules.grace_ns == 5 * SEC && rules.min_rate == 240);
    CHECK(rules.drain_max == 262144 && rules.drain_ns == 2 * SEC);
    CHECK(rules.body_max == -1);
}

static void test_equality(void)
{
    struct ts_rules a = fresh(0), b = fresh(0xa5), copy = b;

    CHECK(ts_rules_equal(&a, &b));
    CHECK(ts_rules_equal(&copy, &a));
#define DIFFERS(member)                    \
    do {                                   \
        b = fresh(0x5a);                   \
        b.member ^= 1;                     \
        CHECK(!ts_rules_equal(&a, &b));    \
        CHECK(!ts_rules_equal(&b, &a));    \
        b.member ^= 1;                     \
        CHECK(ts_rules_equal(&a, &b));     \
    } while (0)
    DIFFERS(head.max_request_line);
    DIFFERS(head.max_line);
    DIFFERS(head.max_headers);
    DIFFERS(head.max_head);
    DIFFERS(head.bare_09);
    DIFFERS(chunks.line);
    DIFFERS(chunks.extensions);
    DIFFERS(chunks.trailers);
    DIFFERS(idle_ns);
    DIFFERS(head_ns);
    DIFFERS(body_ns);
    DIFFERS(write_ns);
    DIFFERS(grace_ns);
    DIFFERS(min_rate);
    DIFFERS(drain_max);
    DIFFERS(drain_ns);
    DIFFERS(body_max);
    b.head.simd = ts_simd_nth(0);
    CHECK(ts_rules_equal(&a, &b) == (ts_simd_nth(0) == ts_simd_best()));
}

/* ---- due ------------------------------------------------------------------ */

static struct ts_rules rules;

static uint64_t due(uint64_t without, uint64_t began, uint64_t progress, uint64_t moved)
{
    return ts_rules_due(&rules, without, began, progress, moved);
}

static void test_without_a_rate(void)
{
    rules = fresh(0);
    rules.min_rate = 0;
    CHECK(due(0, 0, 0, 0) == UINT64_MAX);
    CHECK(due(0, 5 * SEC, 9 * SEC, UINT64_MAX) == UINT64_MAX);
    CHECK(due(3 * SEC, 5 * SEC, 9 * SEC, 0) == 12 * SEC);
    CHECK(due(1, 5, 9, 1000000) == 10);
}

static void test_rate_alone(void)
{
    rules = fresh(0);
    rules.grace_ns = 5 * SEC;
    rules.min_rate = 240;
    CHECK(due(0, 10 * SEC, 11 * SEC, 0) == 15 * SEC);
    CHECK(due(0, 10 * SEC, 99 * SEC, 0) == 15 * SEC); /* progress is not asked */
    CHECK(due(0, 10 * SEC, 11 * SEC, 239) == 15 * SEC + 239 * SEC / 240);
    CHECK(due(0, 10 * SEC, 11 * SEC, 240) == 16 * SEC);
    CHECK(due(0, 10 * SEC, 11 * SEC, 24120) == 115 * SEC + SEC / 2);
    rules.grace_ns = 0;
    CHECK(due(0, 10 * SEC, 11 * SEC, 0) == 10 * SEC);
    rules.min_rate = 1;
    CHECK(due(0, 10 * SEC, 11 * SEC, 77) == 87 * SEC);
    rules.min_rate = UINT32_MAX;
    CHECK(due(0, 0, 0, UINT32_MAX) == SEC);
    CHECK(due(0, 0, 0, UINT32_MAX - UINT64_C(1)) == SEC - 1);
}

static void test_the_earlier_one(void)
{
    rules = fresh(0);
    rules.grace_ns = 5 * SEC;
    rules.min_rate = 100;
    CHECK(due(3 * SEC, 10 * SEC, 11 * SEC, 0) == 14 * SEC);
    CHECK(due(3 * SEC, 10 * SEC, 12 * SEC, 0) == 15 * SEC);
    CHECK(due(3 * SEC, 10 * SEC, 14 * SEC, 0) == 15 * SEC);
    CHECK(due(3 * SEC, 10 * SEC, 14 * SEC, 200) == 17 * SEC);
    CHECK(due(3 * SEC, 10 * SEC, 14 * SEC, 201) == 17 * SEC);
    CHECK(due(3 * SEC, 10 * SEC, 14 * SEC, 199) == 17 * SEC - SEC / 100);
}

/* More octets, a later begin or progress, more grace: never an earlier end; and no
 * sum goes round. */
static void test_extremes(void)
{
    static const uint64_t times[] = {0, 1, SEC, 3600 * SEC, LONGEST - 1, LONGEST};
    static const uint64_t octets[] = {0, 1, 239, 240, 65536, UINT64_C(1) << 40,
                                      UINT64_C(1) << 62, UINT64_MAX - 1, UINT64_MAX};
    static const uint32_t rates[] = {1, 240, 1000000, UINT32_MAX};
    const uint64_t began = 1000 * SEC, progress = 2000 * SEC;
    const size_t n_times = sizeof times / sizeof *times;

    rules = fresh(0);
    for (size_t rate = 0; rate < 4; rate++)
        for (size_t grace = 0; grace < n_times; grace++)
            for (size_t without = 0; without < n_times; without++) {
                uint64_t before = 0;

                rules.min_rate = rates[rate];
                rules.grace_ns = times[grace];
                for (size_t i = 0; i < sizeof octets / sizeof *octets; i++) {
                    uint64_t when = due(times[without], began, progress, octets[i]);

                    CHECK(when >= before);
                    CHECK(when >= began);
                    if (times[without] == 0 && octets[i] == 0)
                        CHECK(when >= times[grace]);
                    before = when;
                }
                if (times[without] > 0) /* after so many, it is all that counts */
                    CHECK(before == progress + times[without]);
            }
    rules.min_rate = 0;
    for (size_t without = 1; without < n_times; without++)
        CHECK(due(times[without], began, progress, 0) >= times[without]);
}

int main(void)
{
    test_defaults();
    test_equality();
    test_without_a_rate();
    test_rate_alone();
    test_the_earlier_one();
    test_extremes();
    puts("rules: all passed");
    return 0;
}
