/* Latencies, counted in a fixed space: log-linear, 128 buckets for each power
 * of two of nanoseconds, so that a bucket's middle is within 0.4 % of whatever
 * fell into it. The greatest is kept as it is. */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { BUCKETS = 38 * 128 /* up to 2^44 ns, near five hours */ };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[BUCKETS];
};

static void record(struct histogram *h, int64_t elapsed)
{
    uint64_t v = elapsed > 0 ? (uint64_t)elapsed : 0;
    unsigned shift = v < 256 ? 0 : 56 - (unsigned)__builtin_clzll(v);
    size_t i = shift * 128 + (size_t)(v >> shift);

    h->buckets[i < BUCKETS ? i : BUCKETS - 1]++;
    h->count++;
    if (v > h->max)
        h->max = v;
}

/* Microseconds. */
static double quantile(const struct histogram *h, double q)
{
    uint64_t seen = 0;
    double value = (double)h->max;

    for (size_t i = 0; i < BUCKETS; i++) {
        seen += h->buckets[i];
        if ((double)seen < q * (double)h->count)
            continue;
        unsigned shift = i < 256 ? 0 : (unsigned)(i / 128) - 1;
        uint64_t low = (uint64_t)(i - shift * 128) << shift;
        double middle = (double)low + (double)((UINT64_C(1) << shift) / 2);

        if (middle < value)
            value = middle;
        break;
    }
    return value / 1000;
}

static void print_latency(const char *name, const struct histogram *h)
{
    if (!h->count)
        printf("\"%s\": null", name);
    else
        printf("\"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
               "\"max\": %.1f}",
               name, quantile(h, 0.5), quantile(h, 0.99), quantile(h, 0.999),
               (double)h->max / 1000);
}

#endif
