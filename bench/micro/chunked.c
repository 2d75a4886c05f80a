/* chunked: a body of 64 KiB in the chunked transfer coding through csrc/chunked.c, for three sizes of chunk.
 *
 *     chunked [ROUNDS]
 *
 * The decoder gives spans and copies nothing; here each span is copied out, as rfile.read() does, so that every octet
 * of the body is touched. Octets count as on the wire. */
#include "chunked.h"
#include "timing.h"

#include <string.h>

enum { BODY = 65536, ROOM = 8 * BODY };

struct body {
    char *wire;
    size_t length; /* of wire */
    char *out;
};

static void encode(struct body *b, size_t chunk)
{
    char *at = b->wire;

    for (size_t done = 0; done < BODY; done += chunk) {
        at += sprintf(at, "%zx\r\n", chunk);
        memset(at, 'a' + (int)(done / chunk % 26), chunk);
        at += chunk;
        at += sprintf(at, "\r\n");
    }
    at += sprintf(at, "0\r\n\r\n");
    b->length = (size_t)(at - b->wire);
}

static uint64_t decode(void *context, uint64_t n)
{
    struct body *b = context;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < n; i++) {
        struct ts_chunked chunked;
        struct ts_span data;
        enum ts_chunk result;
        size_t at = 0, out = 0, used;

        ts_chunked_init(&chunked);
        while ((result = ts_chunked_next(&chunked, b->wire + at, b->length - at, &used, &data)) == TS_CHUNK_DATA) {
            memcpy(b->out + out, b->wire + at + data.off, data.len);
            out += data.len;
            at += used;
        }
        if (result != TS_CHUNK_DONE || out != BODY)
            timing_fail("the body is not whole");
        sum += (uint8_t)b->out[i % BODY];
    }
    return sum;
}

int main(int argc, char **argv)
{
    static const size_t chunks[] = {16, 1024, 16384};
    int rounds = timing_rounds(argc, argv, 1);
    struct body b = {malloc(ROOM), 0, malloc(BODY)};
    char name[32];

    if (b.wire == NULL || b.out == NULL)
        timing_fail("no memory");
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        encode(&b, chunks[i]);
        snprintf(name, sizeof name, "chunks-of-%zu", chunks[i]);
        timing_run(name, decode, &b, rounds, b.length);
    }
    return 0;
}
