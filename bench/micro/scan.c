/* scan: a request head through csrc/scan.c, by each instruction set the processor has.
 *
 *     scan FILE [ROUNDS]        FILE holds one whole request head
 *
 * There are COPIES of the head, at different alignments; one after the other is scanned, each with a request state that
 * was reset. Nothing is known of a head from the time before but what the processor's branch predictors remember. That
 * these see the same few lines for ever is as kind as it is to every scanner; `one-octet` and `two-halves` show what
 * resuming costs: the same head as it comes from a slow client. */
#include "scan.h"
#include "timing.h"

#include <string.h>

enum { COPIES = 16, STRIDE_SPARE = 13 };

struct scan {
    struct ts_limits limits;
    struct ts_request request;
    const char *copy[COPIES];
    size_t length;
    size_t step; /* octets that each call has more than the one before */
};

static uint64_t scan(void *context, uint64_t n)
{
    struct scan *s = context;
    struct ts_request *r = &s->request;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < n; i++) {
        enum ts_scan result = TS_SCAN_PARTIAL;
        ts_request_reset(r);
        for (size_t have = 0; result == TS_SCAN_PARTIAL && have < s->length;) {
            have = s->length - have > s->step ? have + s->step : s->length;
            result = ts_scan(r, s->copy[i % COPIES], have, &s->limits);
        }
        if (result != TS_SCAN_COMPLETE)
            timing_fail("the head is not plain and whole");
        sum += r->n_fields + r->fields[r->n_fields - 1].value.len + r->connection;
    }
    return sum;
}

int main(int argc, char **argv)
{
    static struct scan s;
    size_t stride, kinds = 0;
    char *head, *copies;
    int rounds = timing_rounds(argc, argv, 2);

    head = timing_file(argc > 1 ? argv[1] : "", &s.length, 0);
    stride = s.length + STRIDE_SPARE;
    copies = malloc(COPIES * stride);
    if (copies == NULL)
        timing_fail("no memory");
    for (size_t i = 0; i < COPIES; i++)
        s.copy[i] = memcpy(copies + i * stride, head, s.length);

    ts_limits_init(&s.limits);
    while (ts_simd_nth(kinds) != NULL)
        kinds++;
    while (kinds-- > 0) { /* the fastest first */
        s.limits.simd = ts_simd_nth(kinds);
        s.step = s.length;
        timing_run(s.limits.simd->name, scan, &s, rounds, s.length);
    }
    s.limits.simd = ts_simd_best();
    s.step = s.length / 2;
    timing_run("two-halves", scan, &s, rounds, s.length);
    s.step = 1;
    timing_run("one-octet", scan, &s, rounds, s.length);
    return 0;
}
