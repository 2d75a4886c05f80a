/* units: chunked.c scan_simd.c; sanitizers: address,undefined
 *
 * The chunked decoder: bodies with what is to come of them, each whole, octet
 * by octet and in random pieces, followed by another request; mutations; the
 * bounds. Every piece is a heap block of its own, so that the sanitizer sees
 * an octet read too many.
 */
#include "chunked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *at_work = "?"; /* what a failure names */

#define CHECK(x) \
    do { \
        if (!(x)) { \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, \
                    at_work, #x); \
            exit(1); \
        } \
    } while (0)

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % below;
}

struct outcome {
    enum ts_chunk result;
    size_t at; /* octets used */
    size_t len;
    char data[1 << 16];
};

/* Feeds pieces of 1 to `most` octets; 0: whole. */
static void feed(struct outcome *out, const char *in, size_t len, size_t most)
{
    struct ts_chunked c;

    ts_chunked_init(&c);
    out->at = out->len = 0;
    out->result = TS_CHUNK_MORE;
    while (out->at < len && out->result == TS_CHUNK_MORE) {
        size_t n = most == 0 ? len : 1 + any((uint32_t)most), off = 0;
        char *piece;

        if (n > len - out->at)
            n = len - out->at;
        piece = malloc(n);
        CHECK(piece != NULL);
        memcpy(piece, in + out->at, n);
        do {
            struct ts_span data = {UINT32_MAX, UINT32_MAX};
            uint64_t left = c.left;
            size_t used = SIZE_MAX;
            out->result =
                ts_chunked_next(&c, piece + off, n - off, &used, &data);
            CHECK(used <= n - off);
            if (left > 0 && n > off)
                CHECK(out->result == TS_CHUNK_DATA && data.off == 0);
            if (out->result == TS_CHUNK_DATA) {
                CHECK(data.len > 0 && data.off + data.len == used);
                CHECK(out->len + data.len <= sizeof out->data);
                memcpy(out->data + out->len, piece + off + data.off, data.len);
                out->len += data.len;
            }
            off += used;
        } while (out->result == TS_CHUNK_DATA);
        CHECK(out->result != TS_CHUNK_MORE || off == n);
        out->at += off;
        if (out->result == TS_CHUNK_DONE || out->result == TS_CHUNK_BAD) {
            /* Final. */
            struct ts_span data;
            size_t used = SIZE_MAX;
            CHECK(ts_chunked_next(&c, piece, n, &used, &data) == out->result);
            CHECK(used == 0);
        } else {
            struct ts_span data;
            size_t used = SIZE_MAX;
            CHECK(ts_chunked_next(&c, piece, 0, &used, &data) ==
                  TS_CHUNK_MORE);
            CHECK(used == 0);
        }
        free(piece);
    }
}

/* Leaves the outcome of the way octet by octet. */
static void feed_all_ways(struct outcome *out, const char *in, size_t len)
{
    static struct outcome other;
    static const size_t most[] = {0, 2, 5, 64};

    feed(out, in, len, 1);
    for (size_t i = 0; i < 4; i++) {
        feed(&other, in, len, most[i]);
        CHECK(other.result == out->result && other.at == out->at);
        CHECK(other.len == out->len);
        CHECK(memcmp(other.data, out->data, out->len) == 0);
    }
}

static struct outcome out;

/* A body that is good, with its data. */
static void good(const char *body, const char *data)
{
    char in[1024];
    size_t len = strlen(body);

    at_work = body;
    feed_all_ways(&out, body, len);
    CHECK(out.result == TS_CHUNK_DONE && out.at == len);
    CHECK(out.len == strlen(data) && memcmp(out.data, data, out.len) == 0);
    snprintf(in, sizeof in, "%sGET / HTTP/1.1\r\n\r\n", body);
    feed_all_ways(&out, in, strlen(in));
    CHECK(out.result == TS_CHUNK_DONE && out.at == len);
    for (size_t n = 0; n < len; n++) {
        feed(&out, body, n, 0);
        CHECK(out.result == TS_CHUNK_MORE && out.at == n);
    }
}

/* Bad at its last octet, and not before; whatever follows. */
static void bad_octets(const char *body, size_t len)
{
    char in[1024];

    at_work = body;
    feed_all_ways(&out, body, len);
    CHECK(out.result == TS_CHUNK_BAD && out.at == len - 1);
    memcpy(in, body, len);
    memcpy(in + len, "\r\n0\r\n\r\n", 7);
    feed_all_ways(&out, in, len + 7);
    CHECK(out.result == TS_CHUNK_BAD && out.at == len - 1);
    feed_all_ways(&out, body, len - 1);
    CHECK(out.result == TS_CHUNK_MORE && out.at == len - 1);
}

static void bad(const char *body)
{
    bad_octets(body, strlen(body));
}

static const char *const bodies[] = {
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;name=value;x=\"a;b\"\r\nhello\r\n6 ; y\r\n world\r\n000\r\n\r\n",
    "1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nA: b\r\nC:\t\x80\r\n\r\n",
};

static void test_good(void)
{
    good(bodies[0], "");
    good(bodies[1], "hello");
    good(bodies[2], "hello world");
    good(bodies[3], "abcdefghijklmnopqrstuvwxyz");
    good("1a\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n0\r\n\r\n",
         "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    good("00000000000000000000000000000001\r\nx\r\n0\r\n\r\n", "x");
    good("4\r\n\r\n0\r\r\n0\r\n\r\n", "\r\n0\r");
    good("1;\r\nx\r\n0;\t\"\x80\"\r\n\r\n", "x");
    good("1 \t;a\r\nx\r\n0 ;b\r\n\r\n", "x");
    good("0\r\n!:\r\n\r\n", "");
}

static void test_bad(void)
{
    static const char nul[] = "0;a\0", trailer_nul[] = "0\r\nA: \0";

    bad("\r");
    bad("\n");
    bad("g");
    bad("G");
    bad("@");
    bad("`");
    bad("/");
    bad(":");
    bad("-");
    bad("+");
    bad(" ");
    bad(";");
    bad("0x");
    bad("5\n");
    bad("5\rh");
    bad("5\r\r");
    bad("5 \r");
    bad("5 5");
    bad("5\t\n");
    bad("5\x0b");
    bad("5_");
    bad("5,");
    bad("5;a\n");
    bad("5;a\rb");
    bad("5;a\x01");
    bad("5;a\x7f");
    bad_octets(nul, 4);
    bad("5\r\nhello\n");
    bad("5\r\nhello!");
    bad("5\r\nhello\r\r");
    bad("5\r\nhello0");
    bad("5\r\nhello\r\n\r");
    bad("0\r\n\n");
    bad("0\r\n\rx");
    bad("0\r\n ");
    bad("0\r\n:");
    bad("0\r\nA\r");
    bad("0\r\nA ");
    bad("0\r\nA\n");
    bad("0\r\nA: b\n");
    bad("0\r\nA: b\rc");
    bad("0\r\nA: b\r\n "); /* obs-fold */
    bad_octets(trailer_nul, 7);
}

static void test_sizes(void)
{
    struct ts_chunked c;
    struct ts_span data;
    const char *in = "7fffffffffffffff\r\nabc";
    size_t used;

    at_work = "sizes";
    ts_chunked_init(&c);
    CHECK(ts_chunked_next(&c, in, strlen(in), &used, &data) == TS_CHUNK_DATA);
    CHECK(used == strlen(in) && data.off == 18 && data.len == 3);
    CHECK(c.left == (uint64_t)INT64_MAX - 3);
    bad("10000000000000000");
    bad("8000000000000000");
    bad("0000ffffffffffffffff");
}

static size_t put(char *to, const char *s)
{
    memcpy(to, s, strlen(s));
    return strlen(s);
}

static void test_bounds(void)
{
    static char in[20000];
    size_t n, size;

    at_work = "length of the size line";
    for (size_t over = 0; over < 2; over++) {
        /* A first chunk shows that each line is counted by itself. */
        n = put(in, "1;aaaaaaaaaaaaaaaaaaa\r\nx\r\n");
        size = n;
        n += put(in + n, "1;");
        memset(in + n, 'a', TS_CHUNK_LINE_MAX);
        n = size + TS_CHUNK_LINE_MAX - 2 + over;
        n += put(in + n, "\r\nx\r\n0\r\n\r\n");
        feed_all_ways(&out, in, n);
        CHECK(out.result == (over ? TS_CHUNK_BAD : TS_CHUNK_DONE));
        CHECK(out.at == (over ? size + TS_CHUNK_LINE_MAX : n));
    }
    memset(in, '0', sizeof in);
    feed_all_ways(&out, in, sizeof in);
    CHECK(out.result == TS_CHUNK_BAD && out.at == TS_CHUNK_LINE_MAX);

    at_work = "length of the trailer section";
    for (size_t over = 0; over < 2; over++) {
        n = size = put(in, "0;aaaaaaaaaaaaaaaaaaaaa\r\n");
        while (n < size + TS_CHUNK_TRAILER_MAX - 100)
            n += put(in + n, "Name: value\r\n");
        n += put(in + n, "A:");
        memset(in + n, 'a', 200);
        n = size + TS_CHUNK_TRAILER_MAX - 4 + over;
        n += put(in + n, "\r\n\r\n");
        feed_all_ways(&out, in, n);
        CHECK(out.result == (over ? TS_CHUNK_BAD : TS_CHUNK_DONE));
        CHECK(out.at == (over ? n - 1 : n));
    }
}

static void test_large(void)
{
    static char in[60000];
    size_t n = put(in, "ea00;big\r\n");

    at_work = "a large chunk";
    for (size_t i = 0; i < 0xea00; i++)
        in[n++] = (char)any(256);
    n = 10 + 0xea00 - 1000;
    feed_all_ways(&out, in, n); /* cut short */
    CHECK(out.result == TS_CHUNK_MORE && out.len == 0xea00 - 1000);
    CHECK(memcmp(out.data, in + 10, out.len) == 0);
}

static void test_mutations(void)
{
    static const char favourites[] = "\r\n\n\r \t:;019afAFgG\x7f\x80";
    char in[256];

    at_work = "mutation";
    for (int i = 0; i < 20000; i++) {
        size_t n = put(in, bodies[any(4)]);
        for (uint32_t k = 1 + any(3); k > 0; k--)
            in[any((uint32_t)n)] = any(3) ? favourites[any(sizeof favourites)]
                                          : (char)any(256);
        n += put(in + n, "0\r\n\r\n");
        feed_all_ways(&out, in, n);
    }
}

int main(void)
{
    test_good();
    test_bad();
    test_sizes();
    test_bounds();
    test_large();
    test_mutations();
    return 0;
}
