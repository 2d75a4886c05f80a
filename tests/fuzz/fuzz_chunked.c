/* Fuzz target: the decoder of the chunked coding (chunked.h).
 *
 * The input is a body, followed by three octets that say in which pieces it comes
 * as well. Whole, octet by octet and in pieces the result has to be the same; and
 * verdict, end and data have to be those of a second reading (reference.h).
 */
#include "chunked.h"
#include "fuzz.h"
#include "reference.h"

struct outcome {
    enum ts_chunk result;
    size_t at; /* octets used */
    size_t n;
    char *data;
};

/* In pieces of 1 to `most` octets; 0: whole. */
static void feed(struct outcome *out, const char *in, size_t len, uint32_t most,
                 uint32_t seed)
{
    struct ts_chunk_limits limits;
    struct ts_chunked c;

    ts_chunk_limits_init(&limits);
    ts_chunked_init(&c);
    out->at = out->n = 0;
    out->result = TS_CHUNK_MORE;
    while (out->at < len && out->result == TS_CHUNK_MORE) {
        size_t n = most == 0 ? len : 1 + any(&seed, most), off = 0;
        char *piece;

        if (n > len - out->at)
            n = len - out->at;
        piece = exactly(in + out->at, n);
        do {
            struct ts_span data = {UINT32_MAX, UINT32_MAX};
            uint64_t left = c.left;
            size_t used = SIZE_MAX;

            out->result =
                ts_chunked_next(&c, piece + off, n - off, &limits, &used, &data);
            CHECK(used <= n - off);
            if (left > 0 && n > off)
                CHECK(out->result == TS_CHUNK_DATA && data.off == 0);
            if (out->result == TS_CHUNK_DATA) {
                CHECK(data.len > 0 && data.off + data.len == used);
                CHECK(out->n + data.len <= len);
                memcpy(out->data + out->n, piece + off + data.off, data.len);
                out->n += data.len;
            }
            CHECK(c.left <= (uint64_t)INT64_MAX);
            off += used;
        } while (out->result == TS_CHUNK_DATA);
        CHECK(out->result != TS_CHUNK_MORE || off == n);
        out->at += off;

        /* DONE and BAD are final; and nothing more says nothing new. */
        struct ts_span data;
        size_t used = SIZE_MAX;
        bool final = out->result != TS_CHUNK_MORE;
        CHECK(ts_chunked_next(&c, piece, final ? n : 0, &limits, &used, &data) ==
              out->result);
        CHECK(used == 0);
        exactly_free(piece, n);
    }
}

static void check_same(const struct outcome *x, const struct outcome *y)
{
    CHECK(x->result == y->result && x->at == y->at && x->n == y->n);
    CHECK(memcmp(x->data, y->data, x->n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    enum { TAIL = 3 };
    const char *in = (const char *)octets;
    struct outcome first, other;
    size_t len, end, n;
    uint32_t seed;

    if (size < TAIL)
        return -1;
    len = size - TAIL;
    seed = 1u + (octets[len] | (uint32_t)octets[len + 1] << 8 |
                 (uint32_t)octets[len + 2] << 16);
    first.data = malloc(len + 1);
    other.data = malloc(len + 1);
    CHECK(first.data != NULL && other.data != NULL);

    feed(&first, in, len, 1, seed);
    feed(&other, in, len, 0, seed);
    check_same(&first, &other);
    feed(&other, in, len, 1 + seed % 7, seed);
    check_same(&first, &other);
    feed(&other, in, len, 1 + (uint32_t)len / 4, seed);
    check_same(&first, &other);

    switch (ref_chunked(in, len, &end, other.data, &n)) {
    case READ_MORE:
        CHECK(first.result == TS_CHUNK_MORE && first.at == len);
        break;
    case READ_GOOD:
        CHECK(first.result == TS_CHUNK_DONE && first.at == end);
        break;
    case READ_BAD:
        CHECK(first.result == TS_CHUNK_BAD);
        break;
    case READ_OPEN:
        CHECK(first.n >= n);
        first.n = n;
        break;
    }
    CHECK(first.n == n && memcmp(first.data, other.data, n) == 0);
    free(first.data);
    free(other.data);
    return 0;
}
