/* units: chunked.c scan_simd.c; sanitizers: address,undefined
 *
 * The chunked decoder: bodies with what is to come of them, each whole, octet
 * by octet, in random pieces and in two pieces cut anywhere, followed by another
 * request; extensions and trailers, every octet in every place of them;
 * mutations; the bounds. Every piece is a heap block of its own, so that the
 * sanitizer sees an octet read too many.
 */
#include "chunked.h"
#include "scan_simd.h"

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

static struct ts_chunk_limits limits;

/* Feeds pieces of 1 to `most` octets; 0: whole. The first one has `first`, if
 * that is not 0. */
static void feed_from(struct outcome *out, const char *in, size_t len,
                      size_t most, size_t first)
{
    struct ts_chunked c;

    ts_chunked_init(&c);
    out->at = out->len = 0;
    out->result = TS_CHUNK_MORE;
    while (out->at < len && out->result == TS_CHUNK_MORE) {
        size_t n = most == 0 ? len : 1 + any((uint32_t)most), off = 0;
        char *piece;

        if (first > 0 && out->at == 0)
            n = first;
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
                ts_chunked_next(&c, piece + off, n - off, &limits, &used,
                                &data);
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
            CHECK(ts_chunked_next(&c, piece, n, &limits, &used, &data) ==
                  out->result);
            CHECK(used == 0);
        } else {
            struct ts_span data;
            size_t used = SIZE_MAX;
            CHECK(ts_chunked_next(&c, piece, 0, &limits, &used, &data) ==
                  TS_CHUNK_MORE);
            CHECK(used == 0);
        }
        free(piece);
    }
}

static void feed(struct outcome *out, const char *in, size_t len, size_t most)
{
    feed_from(out, in, len, most, 0);
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    CHECK(a->result == b->result && a->at == b->at && a->len == b->len);
    CHECK(memcmp(a->data, b->data, a->len) == 0);
}

/* Leaves the outcome of the way octet by octet. */
static void feed_all_ways(struct outcome *out, const char *in, size_t len)
{
    static struct outcome other;
    static const size_t most[] = {0, 2, 5, 64};

    feed(out, in, len, 1);
    for (size_t i = 0; i < 4; i++) {
        feed(&other, in, len, most[i]);
        check_same(out, &other);
    }
    for (size_t cut = 1; cut < len && len < 200; cut++) {
        feed_from(&other, in, len, 0, cut);
        check_same(out, &other);
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
    memcpy(in + len, "=b\r\n\r\n", 6);
    feed_all_ways(&out, in, len + 6);
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
    "1;a=\"\\\"\" ; b = c;d\r\nx\r\n0 ;e=\"f\"\r\nG: h\r\n\r\n",
};

static void test_good(void)
{
    good(bodies[0], "");
    good(bodies[1], "hello");
    good(bodies[2], "hello world");
    good(bodies[3], "abcdefghijklmnopqrstuvwxyz");
    good(bodies[4], "x");
    good("1a\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n0\r\n\r\n",
         "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    good("00000000000000000000000000000001\r\nx\r\n0\r\n\r\n", "x");
    good("4\r\n\r\n0\r\r\n0\r\n\r\n", "\r\n0\r");
    good("1 \t;a\r\nx\r\n0 ;b\r\n\r\n", "x");
    good("0;a;b=c;d=\"e\"\r\n\r\n", "");
    good("0\t ; \ta \t= \tb \t; \tc \t=\t \"d\" \t;e\r\n\r\n", "");
    good("0;a=\"\"\r\n\r\n", "");
    good("0;a=\"b;c=d, \t\\\"\\\\ \x80\xff\\\x80\\ \"\r\n\r\n", "");
    good("0;!#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~09azAZ\r\n\r\n", "");
    good("0;5=5\r\n\r\n", "");
    good("A;a\r\n0123456789\r\n0;a\r\nB: c\r\n\r\n", "0123456789");
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
    bad("5 \n");
    bad("5\t\r");
    bad("5;\r"); /* no name */
    bad("5; \r");
    bad("5;;");
    bad("5;=");
    bad("5;\"");
    bad("5; ;");
    bad("5;a;\r");
    bad("5;a \r"); /* white space before nothing */
    bad("5;a \n");
    bad("5;a b");
    bad("5;a,");
    bad("5;a(");
    bad("5;a\"");
    bad("5;a\x80");
    bad("5;a=\r"); /* no value */
    bad("5;a= \r");
    bad("5;a=;");
    bad("5;a= ;");
    bad("5;a==");
    bad("5;a= =");
    bad("5;a=\n");
    bad("5;a=b=");
    bad("5;a=b c");
    bad("5;a=b \r");
    bad("5;a=b \"");
    bad("5;a=b\"");
    bad("5;a=b\n");
    bad("5;a=b,");
    bad("5;a=b\x80");
    bad("5;a='b '");
    bad("5;a=\"\r"); /* a string does not go over a line */
    bad("5;a=\"\n");
    bad("5;a=\"b\x7f");
    bad("5;a=\"\\\r");
    bad("5;a=\"\\\n");
    bad("5;a=\"\\\x01");
    bad("5;a=\"b\"c");
    bad("5;a=\"b\"\"");
    bad("5;a=\"b\"=");
    bad("5;a=\"b\" c");
    bad("5;a=\"b\" \r");
    bad("5;a=\"b\"\n");
    bad("5;a=\"b\"\rc");
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

/* ---- trailers ---- */

static const char *const forbidden[] = {
    "Content-Length", "Transfer-Encoding", "Host", "Trailer", "Connection",
    "Keep-Alive", "Proxy-Connection", "Upgrade", "TE", "Cache-Control", "Expect",
    "Max-Forwards", "Pragma", "Range", "If-Match", "If-None-Match",
    "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Forwarded",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Authorization",
    "Proxy-Authorization", "Cookie", "Set-Cookie", "WWW-Authenticate",
    "Proxy-Authenticate", "Authentication-Info", "Content-Encoding",
    "Content-Type", "Content-Range", "Content-Location", "Content-Language"};

static void change_case(char *text, int how)
{
    for (; *text; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
        if (letter && (how == 0 || (how == 2 && any(2))))
            *text |= 0x20;
        else if (letter && how == 1)
            *text &= ~0x20;
    }
}

static void test_trailers(void)
{
    char in[200], name[50];

    good("0\r\nA:\r\nB: \r\nC:c \t\r\nD:: \x80\xff\r\n\r\n", "");
    good("0\r\n!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n", "");
    good("0\r\nServer-Timing: a\r\nETag: \"b\"\r\nContent-MD5: c\r\n"
         "Content-Digest: d\r\n\r\n", "");
    bad("0\r\nA(");
    bad("0\r\nA\x80");
    bad("0\r\n\t");
    bad("0\r\nA\t");
    bad("0\r\nA: b\r\nC ");
    bad("0\r\nA: b\r\n\n");
    bad("0\r\nA: b\r\n\rC");
    bad("0\r\nA: b\r\r");
    bad("0\r\nA: b\x7f");
    bad("0\r\nA: b\r\n:");
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        size_t len = strlen(forbidden[i]);
        for (int how = 0; how < 6; how++) {
            strcpy(name, forbidden[i]);
            change_case(name, how);
            snprintf(in, sizeof in, "0\r\nOther: a\r\n%s:", name);
            bad(in);
        }
        /* All of the name, and nothing but it. */
        snprintf(in, sizeof in, "0\r\n%s-: a\r\n-%s: b\r\n%.*s: c\r\n\r\n", name,
                 name, (int)len - 1, name);
        good(in, "");
    }
    bad("3\r\nabc\r\n0;a=b\r\nHost:");
}

/* What an octet is worth at each place, said once more and otherwise. */
static void test_every_octet(void)
{
    /* What it is tried after, and which ones are right there. */
    static const struct {
        const char *before, *others;
        int octet_class; /* right, too; 0: none */
    } places[] = {
        {"", "0123456789abcdefABCDEF", 0},
        {"1", "0123456789abcdefABCDEF\r; \t", 0},
        {"1 ", "; \t", 0},
        {"1;", " \t", TS_OCTET_TOKEN},
        {"1; ", " \t", TS_OCTET_TOKEN},
        {"1;a", "=;\r \t", TS_OCTET_TOKEN},
        {"1;a ", "=; \t", 0},
        {"1;a=", "\" \t", TS_OCTET_TOKEN},
        {"1;a= ", "\" \t", TS_OCTET_TOKEN},
        {"1;a=b", "\r; \t", TS_OCTET_TOKEN},
        {"1;a=b ", "; \t", 0},
        {"1;a=\"", "", TS_OCTET_TEXT},
        {"1;a=\"\\", "", TS_OCTET_TEXT},
        {"1;a=\"b\"", "\r; \t", 0},
        {"1;a=\"b\" ", "; \t", 0},
        {"1\r", "\n", 0},
        {"1;a\r", "\n", 0},
        {"1\r\nx", "\r", 0},
        {"1\r\nx\r", "\n", 0},
        {"0\r\n", "\r", TS_OCTET_TOKEN},
        {"0\r\n\r", "\n", 0},
        {"0\r\nA", ":", TS_OCTET_TOKEN},
        {"0\r\nA:", "\r", TS_OCTET_TEXT},
        {"0\r\nA: b", "\r", TS_OCTET_TEXT},
        {"0\r\nA: b\r", "\n", 0},
        {"0\r\nA: b\r\n", "\r", TS_OCTET_TOKEN},
    };
    char in[32];

    at_work = "every octet";
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int c = 0; c < 256; c++) {
            size_t len = strlen(places[i].before);
            bool right = (c != 0 && strchr(places[i].others, c) != NULL) ||
                         (places[i].octet_class != 0 &&
                          ts_is(places[i].octet_class, (char)c));
            memcpy(in, places[i].before, len);
            in[len] = (char)c;
            feed(&out, in, len + 1, 1);
            CHECK((out.result != TS_CHUNK_BAD) == right);
            CHECK(out.at == len + right);
        }
}

static void test_sizes(void)
{
    struct ts_chunked c;
    struct ts_span data;
    const char *in = "7fffffffffffffff\r\nabc";
    size_t used;

    at_work = "sizes";
    ts_chunked_init(&c);
    CHECK(ts_chunked_next(&c, in, strlen(in), &limits, &used, &data) ==
          TS_CHUNK_DATA);
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

/* All extensions of a body count together: white space and ";" included, CRLF
 * and size not. */
static void test_extensions_bound(void)
{
    static char in[40000];
    static const char one[] = "1 ; a = \"b\"\r\nx\r\n"; /* 10 octets of it */
    size_t n;

    at_work = "length of the extensions";
    for (size_t over = 0; over < 2; over++) {
        n = 0;
        for (size_t ext = 0; ext + 10 <= TS_CHUNK_EXTENSIONS_MAX; ext += 10)
            n += put(in + n, one);
        n += put(in + n, "0;");
        for (size_t ext = TS_CHUNK_EXTENSIONS_MAX / 10 * 10 + 1;
             ext < TS_CHUNK_EXTENSIONS_MAX + over; ext++)
            in[n++] = 'e';
        size_t end = n;
        n += put(in + n, "\r\n\r\n");
        feed_all_ways(&out, in, n);
        CHECK(out.result == (over ? TS_CHUNK_BAD : TS_CHUNK_DONE));
        CHECK(out.at == (over ? end - 1 : n));
    }
}

static void bad_at(const char *body, size_t at)
{
    at_work = body;
    feed_all_ways(&out, body, strlen(body));
    CHECK(out.result == TS_CHUNK_BAD && out.at == at);
}

/* Limits are the caller's. */
static void test_limits(void)
{
    struct ts_chunk_limits usual = limits;

    at_work = "limits";
    CHECK(limits.line == TS_CHUNK_LINE_MAX &&
          limits.extensions == TS_CHUNK_EXTENSIONS_MAX &&
          limits.trailers == TS_CHUNK_TRAILER_MAX);
    limits.line = 5;
    good("001\r\nx\r\n1;a\r\nx\r\n0\r\nA: bcdef\r\n\r\n", "xx");
    bad_at("0001\r\nx\r\n", 5);
    bad_at("1;ab\r\n", 5);
    limits = usual;
    limits.extensions = 0;
    good("1\r\nx\r\n0\r\n\r\n", "x");
    bad("1;");
    bad("1 ");
    limits.extensions = 3;
    good("1;a\r\nx\r\n0\r\n\r\n", "x");
    bad_at("1;a\r\nx\r\n0;a\r\n\r\n", 10);
    limits = usual;
    limits.trailers = 2;
    good("1;abcdef\r\nx\r\n0\r\n\r\n", "x");
    bad_at("0\r\nA:\r\n\r\n", 5);
    limits.trailers = 6;
    good("0\r\nA:\r\n\r\n", "");
    limits = usual;
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
    static const char favourites[] = "\r\n\n\r \t:;=\"\\019afAFgG\x7f\x80";
    char in[256];

    at_work = "mutation";
    for (int i = 0; i < 10000; i++) {
        size_t n = put(in, bodies[any(5)]);
        for (uint32_t k = 1 + any(3); k > 0; k--)
            in[any((uint32_t)n)] = any(3) ? favourites[any(sizeof favourites)]
                                          : (char)any(256);
        n += put(in + n, "0\r\n\r\n");
        feed_all_ways(&out, in, n);
    }
}

int main(void)
{
    ts_chunk_limits_init(&limits);
    test_good();
    test_bad();
    test_trailers();
    test_every_octet();
    test_sizes();
    test_bounds();
    test_extensions_bound();
    test_limits();
    test_large();
    test_mutations();
    return 0;
}
