/* Fuzz target: the scanner (scan.h).
 *
 * The input is a head, followed by four octets that say how it is scanned: which
 * function, under which limits, and in which pieces. Whole, octet by octet and in
 * pieces, with every instruction set, the result has to be the same; what is
 * taken has to be what the grammar allows, by a second reading (reference.h).
 */
#include "fuzz.h"
#include "reference.h"
#include "scan.h"

typedef enum ts_scan scanner(struct ts_request *, const char *, size_t,
                             const struct ts_limits *);

struct way {
    scanner *scan;
    struct ts_limits limits;
    uint8_t minor; /* for the fields alone */
};

struct outcome {
    enum ts_scan result;
    size_t at; /* octets there were when the result came */
    struct ts_request request;
};

static void begin(struct outcome *out, const struct way *way)
{
    ts_request_reset(&out->request);
    if (way->scan == ts_scan_fields)
        out->request.minor = way->minor;
    out->result = TS_SCAN_PARTIAL;
    out->at = 0;
}

/* Octet by octet, in one block whose later octets may not be touched yet. */
static void feed_octets(struct outcome *out, const struct way *way,
                        const char *in, size_t len)
{
    char *p = exactly(in, len);

    begin(out, way);
    __asan_poison_memory_region(p, len);
    for (size_t n = 0; n <= len; n++) {
        __asan_unpoison_memory_region(p, n);
        out->result = way->scan(&out->request, p, n, &way->limits);
        out->at = n;
        if (out->result != TS_SCAN_PARTIAL)
            break;
    }
    __asan_unpoison_memory_region(p, len);
    free(p);
}

/* In pieces of 1 to `most` octets, 0: whole; the block moves each time. */
static void feed_pieces(struct outcome *out, const struct way *way,
                        const char *in, size_t len, uint32_t most,
                        uint32_t seed)
{
    size_t n = most == 0 ? len : 0;

    begin(out, way);
    for (;;) {
        char *p = exactly(in, n);

        out->result = way->scan(&out->request, p, n, &way->limits);
        out->at = n;
        exactly_free(p, n);
        if (out->result != TS_SCAN_PARTIAL || n == len)
            return;
        n += 1 + any(&seed, most);
        if (n > len)
            n = len;
    }
}

static bool same_span(struct ts_span a, struct ts_span b)
{
    return a.off == b.off && a.len == b.len;
}

static void check_same(const struct way *way, const struct outcome *x,
                       const struct outcome *y)
{
    const struct ts_request *a = &x->request, *b = &y->request;

    CHECK(x->result == y->result);
    if (x->result == TS_SCAN_PARTIAL)
        return;
    if (way->scan != ts_scan_fields) {
        CHECK(same_span(a->line, b->line));
        CHECK(a->line_len == b->line_len);
    }
    CHECK(a->refusal == b->refusal);
    if (x->result == TS_SCAN_REFUSED)
        CHECK(a->refusal != TS_REFUSE_NONE && *ts_refusal_reason(a->refusal) &&
              ts_refusal_status(a->refusal) >= 400);
    if (x->result == TS_SCAN_GENERAL)
        CHECK(a->head_len == b->head_len);
    if (x->result != TS_SCAN_COMPLETE)
        return;
    CHECK(a->head_len == b->head_len);
    CHECK(same_span(a->method, b->method));
    CHECK(same_span(a->target, b->target));
    CHECK(a->form == b->form && same_span(a->authority, b->authority));
    CHECK(a->minor == b->minor);
    if (way->scan == ts_scan_line)
        return;
    CHECK(a->content_length == b->content_length);
    CHECK(a->connection == b->connection);
    CHECK(a->chunked == b->chunked);
    CHECK(a->expect_continue == b->expect_continue);
    CHECK(a->upgrade == b->upgrade);
    CHECK(a->n_fields == b->n_fields);
    for (uint32_t i = 0; i < a->n_fields; i++) {
        CHECK(same_span(a->fields[i].name, b->fields[i].name));
        CHECK(same_span(a->fields[i].value, b->fields[i].value));
    }
}

static bool is_within(struct ts_span span, uint32_t len)
{
    return span.off <= len && span.len <= len - span.off;
}

/* Whatever was taken: the parts lie in the head, in order, and hold what such
 * parts may hold. */
static void check_parts(const struct way *way, const struct ts_request *r,
                        const char *p)
{
    uint32_t at = way->scan == ts_scan_fields ? 0 : r->line_len;

    if (way->scan != ts_scan_fields) {
        CHECK(is_within(r->line, r->line_len));
        CHECK(is_within(r->method, r->line_len) && r->method.len > 0);
        CHECK(is_within(r->target, r->line_len) && r->target.len > 0);
        CHECK(r->target.off == r->method.off + r->method.len + 1);
        CHECK(p[r->line_len - 1] == '\n');
        for (uint32_t i = 0; i < r->target.len; i++) {
            uint8_t c = (uint8_t)p[r->target.off + i];
            CHECK(c > 0x20 && c < 0x7f);
        }
    }
    CHECK(r->minor <= 9);
    if (way->scan == ts_scan_line)
        return;
    CHECK(r->n_fields <= TS_MAX_FIELDS);
    for (uint32_t i = 0; i < r->n_fields; i++) {
        struct ts_span name = r->fields[i].name, value = r->fields[i].value;

        CHECK(is_within(name, r->head_len) && is_within(value, r->head_len));
        CHECK(name.off == at && name.len > 0);
        for (uint32_t k = 0; k < name.len; k++)
            CHECK(p[name.off + k] > 0x20 && p[name.off + k] < 0x7f &&
                  strchr("\"(),/:;<=>?@[\\]{}", p[name.off + k]) == NULL);
        CHECK(p[name.off + name.len] == ':');
        for (at = name.off + name.len + 1; at < value.off; at++)
            CHECK(p[at] == ' ' || p[at] == '\t');
        CHECK(at == value.off);
        CHECK(value.len == 0 || (p[at] != ' ' && p[at] != '\t'));
        for (; at < value.off + value.len; at++) {
            uint8_t c = (uint8_t)p[at];
            CHECK(c == '\t' || (c >= 0x20 && c != 0x7f));
        }
        while (p[at] == ' ' || p[at] == '\t')
            at++;
        CHECK(p[at] == '\r' && p[at + 1] == '\n');
        at += 2;
    }
    CHECK(r->head_len == at + 2 && p[at] == '\r' && p[at + 1] == '\n');
    CHECK(r->content_length >= -1);
    CHECK(!r->chunked || (r->content_length < 0 && r->minor > 0));
}

/* The same head by the other reading. */
static void check_reading(const struct outcome *out, const char *p, size_t len)
{
    const struct ts_request *r = &out->request;
    struct ref_head head;
    enum reading reading = ref_head(p, len, &head);
    bool taken = out->result == TS_SCAN_COMPLETE && r->refusal == TS_REFUSE_NONE;

    if (taken)
        CHECK(reading == READ_GOOD || reading == READ_OPEN);
    if (reading == READ_GOOD)
        CHECK(taken);
    if (reading == READ_MORE)
        CHECK(out->result == TS_SCAN_PARTIAL || out->result == TS_SCAN_REFUSED);
    if (!taken || reading != READ_GOOD)
        return;
    CHECK(r->head_len == head.len && r->line_len == head.line_len);
    CHECK(r->n_fields == head.fields && r->minor == head.minor);
    CHECK(r->content_length == head.content_length);
    CHECK(r->chunked == head.chunked);
    CHECK((r->connection == TS_CONN_CLOSE) == head.close);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { TAIL = 4 };
    static const uint32_t line[] = {65536, 40, 7}, lines[] = {100, 3, 1},
                          heads[] = {65536, 60, 10};
    static scanner *const scanners[] = {ts_scan, ts_scan, ts_scan_line,
                                        ts_scan_fields};
    static struct outcome first, other;
    const char *in = (const char *)data;
    struct way way;
    uint32_t how, seed;
    bool usual;
    size_t len, decided;

    if (size < TAIL)
        return -1;
    len = size - TAIL;
    how = data[len];
    seed = 1u + (data[len + 1] | (uint32_t)data[len + 2] << 8 |
                 (uint32_t)data[len + 3] << 16);
    way.scan = scanners[how & 3];
    ts_limits_init(&way.limits);
    way.minor = how >> 2 & 1;
    usual = (how & 0x78) == 0;
    if (!usual) {
        way.limits.max_line = line[(how >> 3 & 3) % 3];
        way.limits.max_headers = lines[(how >> 5 & 3) % 3];
        way.limits.max_head = heads[seed % 3];
        way.limits.max_request_line = line[(seed >> 2) % 3];
    }
    way.limits.bare_09 = how >> 7;

    way.limits.simd = ts_simd_nth(0);
    feed_octets(&first, &way, in, len);
    if (first.result == TS_SCAN_COMPLETE)
        check_parts(&way, &first.request, in);
    if (usual && way.scan == ts_scan)
        check_reading(&first, in, len);
    decided = first.at;
    for (size_t i = 0; (way.limits.simd = ts_simd_nth(i)) != NULL; i++) {
        if (i > 0) {
            feed_octets(&other, &way, in, len);
            check_same(&way, &first, &other);
            CHECK(other.at == first.at);
        }
        feed_pieces(&other, &way, in, len, 0, seed); /* with what follows */
        check_same(&way, &first, &other);
        feed_pieces(&other, &way, in, decided, 0, seed);
        check_same(&way, &first, &other);
        feed_pieces(&other, &way, in, len, 1 + (uint32_t)len / 8, seed);
        check_same(&way, &first, &other);
        CHECK(other.at >= first.at);
        if (len < 512) {
            feed_pieces(&other, &way, in, len, 1 + seed % 16, seed);
            check_same(&way, &first, &other);
        }
    }
    return 0;
}
