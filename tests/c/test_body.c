/* units: body.c chunked.c scan_simd.c; sanitizers: address,undefined
 *
 * Where a body ends: each kind, its octets coming in every split of two and of
 * three, octet by octet and at random; read by a reader that takes all it is shown,
 * one octet of it, or some; skipped; or the one and then the other. Whatever the
 * way, the reader gets the same and what follows the body stays. Every piece is a
 * heap block of its own, so that the sanitizer sees an octet read too many.
 */
#include "body.h"

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

#define NEXT "GET /next HTTP/1.1\r\n\r\n"
#define ROOM 20000

static struct ts_chunk_limits limits;

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % below;
}

/* How a reader reads. */
enum reader {
    ALL, /* what it is shown */
    ONE, /* octet of it */
    SOME,
    SKIP,  /* nobody reads: skipped */
    MIXED, /* one of these, each time */
    READERS,
};

struct outcome {
    enum ts_body_kind kind; /* in the end */
    size_t at;   /* octets of the stream that were passed over or taken */
    size_t len;  /* of those the reader got */
    int64_t content; /* what the body itself has counted */
    bool skipped; /* some went by unread: then data is not all of it */
    char data[ROOM];
};

/* One look at what is there: how many octets are done with. */
static size_t look(struct ts_body *body, struct outcome *out, enum reader reader,
                   const char *data, size_t len)
{
    const struct ts_body before = *body;
    size_t skip = SIZE_MAX, n = SIZE_MAX, take;

    if (reader == MIXED)
        reader = (enum reader)any(MIXED);
    if (reader == SKIP) {
        out->skipped = true;
        return ts_body_skip(body, data, len, &limits);
    }
    ts_body_peek(body, data, len, &limits, &skip, &n);
    CHECK(skip <= len && n <= len - skip);
    if (!before.decode || before.kind != TS_BODY_CHUNKED)
        CHECK(skip == 0);
    if (n == 0) {
        /* More is needed, all of this being done with; or the kind has changed. */
        CHECK(skip == len || body->kind != before.kind ||
              before.kind == TS_BODY_NONE || before.kind == TS_BODY_BAD);
        return skip;
    }
    CHECK(body->kind == before.kind);
    if (any(2)) { /* asked again, it shows the same */
        size_t skip2 = SIZE_MAX, n2 = SIZE_MAX;

        ts_body_peek(body, data + skip, len - skip, &limits, &skip2, &n2);
        CHECK(skip2 == 0 && n2 == n);
    }
    take = reader == ALL ? n : reader == ONE ? 1 : 1 + any((uint32_t)n);
    CHECK(out->len + take <= ROOM);
    memcpy(out->data + out->len, data + skip, take);
    out->len += take;
    ts_body_took(body, data + skip, take, &limits);
    return skip + take;
}

/* Octets come in pieces: up to `first`, up to `second`, then of 1 to `most` (0: all
 * the rest). What is not taken stays in front of what comes, as in a window. */
static void feed(struct outcome *out, const struct ts_body *fresh, enum reader reader,
                 const char *in, size_t len, size_t first, size_t second, size_t most)
{
    struct ts_body body = *fresh;
    size_t there = 0;

    out->at = out->len = 0;
    out->skipped = false;
    for (int turn = 0; there < len; turn++) {
        there = turn == 0   ? first
                : turn == 1 ? second
                : most == 0 ? len
                            : there + 1 + any((uint32_t)most);
        if (there > len)
            there = len;
        while (out->at < there) {
            size_t n = there - out->at, used;
            char *window = malloc(n);
            uint8_t kind = body.kind;

            CHECK(window != NULL);
            memcpy(window, in + out->at, n);
            used = look(&body, out, reader, window, n);
            free(window);
            CHECK(used <= n);
            out->at += used;
            if (used == 0 && body.kind == kind)
                break;
        }
    }
    out->kind = (enum ts_body_kind)body.kind;
    out->content = body.content;
    CHECK(ts_body_done(&body) ==
          (out->kind == TS_BODY_NONE ||
           (out->kind == TS_BODY_OPAQUE && fresh->left == 0 && out->len == 0)));
}

/* In all ways: `kind` in the end, `at` octets of it, `content` for the reader. */
static void expect(const struct ts_body *fresh, const char *in, size_t len,
                   enum ts_body_kind kind, size_t at, const char *content,
                   size_t content_len)
{
    static struct outcome out;

    for (int reader = 0; reader < READERS; reader++)
        for (size_t way = 0; way < (len < 60 ? len * (len + 1) / 2 : 40) + 4; way++) {
            size_t first = 0, second = 0, most = way < 4 ? way * way : 0;

            if (way >= 4 && len < 60) { /* each pair of cuts */
                for (second = 1; second * (second + 1) / 2 <= way - 4; second++)
                    ;
                first = way - 4 - second * (second - 1) / 2;
            } else if (way >= 4) {
                first = any((uint32_t)len);
                second = first + any((uint32_t)(len - first));
            }
            feed(&out, fresh, (enum reader)reader, in, len, first, second, most);
            CHECK(out.kind == kind);
            if (kind != TS_BODY_OPAQUE || reader < SKIP) /* which skips nothing of it */
                CHECK(out.at == at);
            if (!out.skipped)
                CHECK(out.len == content_len &&
                      memcmp(out.data, content, content_len) == 0);
        }
}

static struct ts_body fresh(enum ts_body_kind kind, int64_t length, bool decode)
{
    struct ts_body body;

    memset(&body, 0xa5, sizeof body);
    ts_body_begin(&body, kind, length);
    CHECK(!body.decode);
    body.decode = decode;
    return body;
}

/* ---- the kinds ------------------------------------------------------------ */

static void test_none(void)
{
    struct ts_body body = fresh(TS_BODY_NONE, 0, false);

    at_work = "none";
    CHECK(ts_body_done(&body));
    expect(&body, NEXT, strlen(NEXT), TS_BODY_NONE, 0, "", 0);
    body = fresh(TS_BODY_LENGTH, 0, false);
    CHECK(ts_body_done(&body) && body.kind == TS_BODY_NONE);
    expect(&body, NEXT, strlen(NEXT), TS_BODY_NONE, 0, "", 0);
}

static void test_length(void)
{
    const char *text = "hello" NEXT;

    at_work = "length";
    for (size_t length = 1; length <= strlen(text); length++) {
        struct ts_body body = fresh(TS_BODY_LENGTH, (int64_t)length, any(2));

        CHECK(!ts_body_done(&body));
        expect(&body, text, strlen(text), TS_BODY_NONE, length, text, length);
        for (size_t len = 1; len < length; len++)
            expect(&body, text, len, TS_BODY_LENGTH, len, text, len);
    }
}

static void test_large_length(void)
{
    static char in[ROOM];
    struct ts_body body = fresh(TS_BODY_LENGTH, INT64_MAX, false);

    at_work = "a large length";
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)any(256);
    expect(&body, in, sizeof in, TS_BODY_LENGTH, sizeof in, in, sizeof in);
    CHECK(ts_body_skip(&body, in, sizeof in, &limits) == sizeof in);
    CHECK(body.left == INT64_MAX - (int64_t)sizeof in);
    body = fresh(TS_BODY_LENGTH, ROOM / 2, false);
    expect(&body, in, sizeof in, TS_BODY_NONE, ROOM / 2, in, ROOM / 2);
}

static void test_opaque(void)
{
    struct ts_body body = fresh(TS_BODY_OPAQUE, 1, false);

    at_work = "opaque";
    expect(&body, NEXT, strlen(NEXT), TS_BODY_OPAQUE, strlen(NEXT), NEXT, strlen(NEXT));
    CHECK(!ts_body_done(&body));
    CHECK(ts_body_skip(&body, "abc", 3, &limits) == 0); /* it is nobody's to skip */
    CHECK(!ts_body_done(&body));

    /* Where nothing is taken of it, as after an Upgrade that was not wanted, it is
     * none; else it is the handler's for good. */
    body = fresh(TS_BODY_OPAQUE, 0, false);
    expect(&body, NEXT, strlen(NEXT), TS_BODY_OPAQUE, strlen(NEXT), NEXT, strlen(NEXT));
    CHECK(ts_body_done(&body));
    size_t skip, n;
    ts_body_peek(&body, "abc", 3, &limits, &skip, &n);
    CHECK(skip == 0 && n == 3 && ts_body_done(&body));
    ts_body_took(&body, "abc", 1, &limits);
    CHECK(!ts_body_done(&body) && body.kind == TS_BODY_OPAQUE);
    ts_body_peek(&body, "bc", 2, &limits, &skip, &n);
    CHECK(skip == 0 && n == 2 && !ts_body_done(&body));
}

static void test_bad(void)
{
    struct ts_body body = fresh(TS_BODY_BAD, 0, false);
    size_t skip, n;

    at_work = "bad";
    expect(&body, NEXT, strlen(NEXT), TS_BODY_BAD, 0, "", 0);
    CHECK(!ts_body_done(&body));
    ts_body_peek(&body, "0\r\n\r\n", 5, &limits, &skip, &n);
    CHECK(skip == 0 && n == 0 && body.kind == TS_BODY_BAD);
}

/* ---- chunked -------------------------------------------------------------- */

/* Whoever reads it, and however it comes: so much content has gone by. */
static void expect_content(const struct ts_body *body, const char *in, size_t content_len)
{
    static struct outcome out;

    for (int reader = 0; reader < READERS; reader++)
        for (size_t most = 0; most <= 9; most++) {
            feed(&out, body, (enum reader)reader, in, strlen(in), 0, 0, most);
            CHECK(out.content == (int64_t)content_len);
        }
}

/* Raw and decoded; and not yet ended, of each length. */
static void chunked(const char *text, const char *content)
{
    size_t len = strlen(text);
    struct ts_body raw = fresh(TS_BODY_CHUNKED, 0, false);
    struct ts_body decoding = fresh(TS_BODY_CHUNKED, 0, true);
    char in[200];

    at_work = text;
    CHECK(!ts_body_done(&raw));
    snprintf(in, sizeof in, "%s" NEXT, text);
    expect(&raw, in, strlen(in), TS_BODY_NONE, len, text, len);
    expect(&decoding, in, strlen(in), TS_BODY_NONE, len, content, strlen(content));
    expect_content(&raw, in, strlen(content));
    expect_content(&decoding, in, strlen(content));
    for (size_t some = 1; some < len; some += 1 + len / 20)
        expect(&raw, text, some, TS_BODY_CHUNKED, some, text, some);
    expect(&decoding, text, len - 1, TS_BODY_CHUNKED, len - 1, content, strlen(content));
}

/* What is right up to the octet `at` and wrong there. */
static void malformed(const char *text, size_t at, const char *content)
{
    struct ts_body raw = fresh(TS_BODY_CHUNKED, 0, false);
    struct ts_body decoding = fresh(TS_BODY_CHUNKED, 0, true);

    at_work = text;
    expect(&raw, text, strlen(text), TS_BODY_BAD, at, text, at);
    expect(&decoding, text, strlen(text), TS_BODY_BAD, at, content, strlen(content));
}

static void test_chunked(void)
{
    chunked("0\r\n\r\n", "");
    chunked("5\r\nhello\r\n0\r\n\r\n", "hello");
    chunked("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n00\r\n\r\n", "abc");
    chunked("2;a=\"b\"\r\n\r\n\r\n3 ;c\r\n0\r\n\r\n0;d\r\nE: f\r\n\r\n", "\r\n0\r\n");
    chunked("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nA: b\r\nC: d\r\n\r\n",
            "abcdefghijklmnopqrstuvwxyz");
}

static void test_malformed(void)
{
    malformed("x", 0, "");
    malformed("\r\n0\r\n\r\n", 0, "");
    malformed("5x\r\nhello\r\n0\r\n\r\n", 1, "");
    malformed("5\nhello\r\n0\r\n\r\n", 1, "");
    malformed("2\r\nabXX0\r\n\r\n", 5, "ab");
    malformed("2\r\nab\r\n-1\r\n", 7, "ab");
    malformed("2\r\nab\r\n3;=\r\nabc\r\n0\r\n\r\n", 9, "ab");
    malformed("1\r\na\r\n0\r\nHost: b\r\n\r\n", 13, "a");
    malformed("1\r\na\r\n0\r\n\nGET", 9, "a");
}

/* The limits are those of each call. */
static void test_limits(void)
{
    const struct ts_chunk_limits usual = limits;

    limits.extensions = 4;
    chunked("1;abc\r\nx\r\n0\r\n\r\n", "x");
    malformed("1;abcd\r\nx\r\n0\r\n\r\n", 5, "");
    limits = usual;
    limits.trailers = 8;
    chunked("0\r\nA: b\r\n\r\n", "");
    malformed("0\r\nA: bc\r\n\r\n", 11, "");
    limits = usual;
}

/* Mutations of good bodies: all ways have one end, raw and decoded readers the same
 * one. */
static void test_mutations(void)
{
    static const char *const bodies[] = {
        "5\r\nhello\r\n0\r\n\r\n", "2;a=\"b\"\r\nab\r\n3 ;c\r\ncde\r\n0;d\r\nE: f\r\n\r\n",
        "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n00\r\n\r\n"};
    static const char octets[] = "\r\n;= \t\"\\0123aA:x\x80";
    static struct outcome first, out;

    for (int i = 0; i < 20000; i++) {
        struct ts_body body = fresh(TS_BODY_CHUNKED, 0, any(2));
        char in[100], name[30];
        size_t len;

        snprintf(in, sizeof in, "%s" NEXT, bodies[any(3)]);
        len = strlen(in);
        for (uint32_t n = any(3); n > 0; n--)
            in[any((uint32_t)len - 20)] = octets[any(sizeof octets - 1)];
        snprintf(name, sizeof name, "mutation %d", i);
        at_work = name;
        feed(&first, &body, ALL, in, len, len, len, 0);
        for (int reader = 0; reader < READERS; reader++) {
            feed(&out, &body, (enum reader)reader, in, len, any((uint32_t)len), 0,
                 1 + any(9));
            CHECK(out.kind == first.kind && out.at == first.at &&
                  out.content == first.content);
            if (!out.skipped)
                CHECK(out.len == first.len &&
                      memcmp(out.data, first.data, out.len) == 0);
        }
        body.decode = !body.decode;
        feed(&out, &body, ALL, in, len, len, len, 0);
        CHECK(out.kind == first.kind && out.at == first.at);
    }
}

int main(void)
{
    ts_chunk_limits_init(&limits);
    test_none();
    test_length();
    test_large_length();
    test_opaque();
    test_bad();
    test_chunked();
    test_malformed();
    test_limits();
    test_mutations();
    puts("body: all passed");
    return 0;
}
