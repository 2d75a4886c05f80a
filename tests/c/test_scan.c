/* units: scan.c framing.c target.c scan_simd.c; sanitizers: address,undefined
 *
 * The request scanner: the corpus (tests/corpus/README.md), each case whole,
 * octet by octet and in random pieces, by each instruction set; mutations of
 * it, which have one result however they come; the limits; and that a slow
 * client costs linear work. Every input ends at a page that cannot be read, and
 * moves at each call. Run from the root of the repository.
 */
#include "scan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CORPUS "tests/corpus/requests"
#define MUTATIONS 100000 /* ten seconds or so under the sanitizers */

static const char *at_work = "?"; /* what a failure names */

#define CHECK(x) \
    do { \
        if (!(x)) { \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, \
                    at_work, #x); \
            exit(1); \
        } \
    } while (0)

/* ---- tools --------------------------------------------------------------- */

struct octets {
    char *p;
    size_t len;
};

static void add(struct octets *to, const char *p, size_t len)
{
    to->p = realloc(to->p, to->len + len + 1);
    CHECK(to->p != NULL);
    memcpy(to->p + to->len, p, len);
    to->len += len;
    to->p[to->len] = 0;
}

static void add_str(struct octets *to, const char *s)
{
    add(to, s, strlen(s));
}

static void add_many(struct octets *to, size_t n, char octet)
{
    while (n-- > 0)
        add(to, &octet, 1);
}

static char *guard; /* the first octet that cannot be read */
static size_t guard_room;

static void guard_make(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guard_room = (((size_t)1 << 20) + page - 1) / page * page;
    guard = mmap(NULL, guard_room + page, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(guard != MAP_FAILED);
    guard += guard_room;
    CHECK(mprotect(guard, page, PROT_NONE) == 0);
}

static const char *against_guard(const char *p, size_t len)
{
    CHECK(len <= guard_room);
    memcpy(guard - len, p, len);
    return guard - len;
}

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % below;
}

/* ---- ways to feed -------------------------------------------------------- */

typedef enum ts_scan scanner(struct ts_request *, const char *, size_t,
                             const struct ts_limits *);

struct outcome {
    enum ts_scan result;
    size_t at; /* octets there were when the result came */
    struct ts_request request;
};

/* In pieces of 1 to `most` octets; 0: whole. */
static void feed(struct outcome *out, scanner *scan, struct octets in,
                 uint32_t most, const struct ts_limits *limits)
{
    size_t n = most == 0 ? in.len : 0;

    ts_request_reset(&out->request);
    for (;;) {
        out->result =
            scan(&out->request, against_guard(in.p, n), n, limits);
        out->at = n;
        if (out->result != TS_SCAN_PARTIAL || n == in.len)
            return;
        n += 1 + (most > 1 ? any(most) : 0);
        if (n > in.len)
            n = in.len;
    }
}

static bool same_span(struct ts_span a, struct ts_span b)
{
    return a.off == b.off && a.len == b.len;
}

/* Whether the request line is one of HTTP/1 or HTTP/0.9, so that what is in it
 * is known. */
static bool line_is_right(const struct ts_request *r)
{
    return r->line_len > 0 && r->refusal != TS_REFUSE_LINE &&
           r->refusal != TS_REFUSE_VERSION;
}

static void check_same(const struct outcome *x, const struct outcome *y)
{
    const struct ts_request *a = &x->request, *b = &y->request;

    CHECK(x->result == y->result);
    if (x->result == TS_SCAN_PARTIAL)
        return;
    CHECK(a->refusal == b->refusal);
    CHECK(a->line_len == b->line_len);
    if (a->line_len > 0)
        CHECK(same_span(a->line, b->line));
    if (line_is_right(a)) {
        CHECK(same_span(a->method, b->method));
        CHECK(same_span(a->target, b->target));
        CHECK(a->minor == b->minor);
        CHECK(a->form == b->form);
        if (a->form == TS_TARGET_ABSOLUTE || a->form == TS_TARGET_AUTHORITY)
            CHECK(same_span(a->authority, b->authority));
    }
    if (x->result == TS_SCAN_REFUSED)
        return;
    CHECK(a->head_len == b->head_len);
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

static bool is_white(char octet)
{
    return octet == ' ' || octet == '\t';
}

/* What holds for every plain request: the parts, with what stands between
 * them, are the head. */
static void check_plain(const struct ts_request *r, const char *p)
{
    uint32_t at = r->line_len;

    CHECK(r->line.off == 0);
    CHECK(r->line.len + 2 == r->line_len || r->line.len + 1 == r->line_len);
    CHECK(p[r->line_len - 1] == '\n');
    CHECK(r->method.off == 0 && r->method.len > 0);
    CHECK(r->target.off == r->method.len + 1 && r->target.len > 0);
    CHECK(r->target.off + r->target.len + 9 == r->line.len);
    CHECK(r->minor == p[r->line.len - 1] - '0' && r->minor <= 9);
    CHECK(r->form != TS_TARGET_BAD);
    if (r->form == TS_TARGET_ABSOLUTE || r->form == TS_TARGET_AUTHORITY)
        CHECK(r->authority.len > 0 && r->authority.off >= r->target.off &&
              r->authority.off + r->authority.len <=
                  r->target.off + r->target.len);
    for (uint32_t i = 0; i < r->n_fields; i++) {
        struct ts_span name = r->fields[i].name, value = r->fields[i].value;
        CHECK(name.off == at && name.len > 0);
        CHECK(p[name.off + name.len] == ':');
        CHECK(value.off > name.off + name.len);
        for (at = name.off + name.len + 1; at < value.off; at++)
            CHECK(is_white(p[at]));
        at = value.off + value.len;
        if (value.len > 0)
            CHECK(!is_white(p[value.off]) && !is_white(p[at - 1]));
        while (is_white(p[at]))
            at++;
        at += 2;
        CHECK(memcmp(p + at - 2, "\r\n", 2) == 0);
        CHECK(memchr(p + name.off, '\n', at - name.off) == p + at - 1);
    }
    CHECK(r->head_len == at + 2 && memcmp(p + at, "\r\n", 2) == 0);
    CHECK(!r->chunked || r->content_length < 0);
    CHECK(r->refusal == TS_REFUSE_NONE ||
          (!r->chunked && r->content_length < 0));
}

/* Feeds in all ways, sees that they agree, and leaves the outcome of the way
 * octet by octet. */
static void feed_all_ways(struct outcome *out, scanner *scan, struct octets in,
                          struct ts_limits limits)
{
    static struct outcome other;
    struct octets decided = in;

    limits.simd = ts_simd_nth(0);
    feed(out, scan, in, 1, &limits);
    if (out->result == TS_SCAN_COMPLETE && scan == ts_scan)
        check_plain(&out->request, in.p);
    decided.len = out->at;
    for (size_t i = 0; (limits.simd = ts_simd_nth(i)) != NULL; i++) {
        feed(&other, scan, in, 1, &limits);
        check_same(out, &other);
        CHECK(other.at == out->at);
        feed(&other, scan, in, 0, &limits); /* with what follows */
        check_same(out, &other);
        feed(&other, scan, decided, 0, &limits);
        check_same(out, &other);
        for (uint32_t most = 2; most <= 128; most *= 4) {
            feed(&other, scan, in, most, &limits);
            check_same(out, &other);
            CHECK(other.at >= out->at);
        }
    }
}

/* The same in fewer ways, chosen at random. */
static void feed_some_ways(struct octets in, struct ts_limits limits)
{
    static struct outcome first, other;

    limits.simd = ts_simd_nth(0);
    feed(&first, ts_scan, in, 1, &limits);
    if (first.result == TS_SCAN_COMPLETE)
        check_plain(&first.request, in.p);
    if (first.result == TS_SCAN_REFUSED)
        CHECK(first.request.refusal != TS_REFUSE_NONE &&
              ts_refusal_status(first.request.refusal) >= 400);
    for (size_t i = 0; (limits.simd = ts_simd_nth(i)) != NULL; i++) {
        feed(&other, ts_scan, in, 0, &limits);
        check_same(&first, &other);
        feed(&other, ts_scan, in, 2 + any(any(2) ? 200 : 20), &limits);
        check_same(&first, &other);
        if (any(8) == 0) {
            feed(&other, ts_scan, in, 1, &limits);
            check_same(&first, &other);
            CHECK(other.at == first.at);
        }
    }
}

/* ---- corpus -------------------------------------------------------------- */

struct expectation {
    char key[32];
    struct octets value;
};

struct example {
    char *name;
    struct octets all; /* `now`, then what follows */
    size_t now;
    struct ts_limits limits;
    size_t n;
    struct expectation expect[140];
};

static struct example *examples;
static size_t n_examples;

static void add_escaped(struct octets *to, const char *s)
{
    for (; *s; s++) {
        char octet = *s;
        if (octet == '\\') {
            char hex[3] = {0};
            switch (*++s) {
            case 'r': octet = '\r'; break;
            case 'n': octet = '\n'; break;
            case 't': octet = '\t'; break;
            case '\\': break;
            case 'x':
                CHECK(s[1] && s[2]);
                memcpy(hex, s + 1, 2);
                octet = (char)strtoul(hex, NULL, 16);
                s += 2;
                break;
            default: CHECK(0 && "an escape");
            }
        }
        add(to, &octet, 1);
    }
}

static void read_limit(struct ts_limits *limits, const char *text)
{
    char name[32];
    unsigned number;

    CHECK(sscanf(text, "%31s %u", name, &number) == 2);
    if (!strcmp(name, "max_request_line"))
        limits->max_request_line = number;
    else if (!strcmp(name, "max_line"))
        limits->max_line = number;
    else if (!strcmp(name, "max_headers"))
        limits->max_headers = number;
    else if (!strcmp(name, "max_head"))
        limits->max_head = number;
    else
        CHECK(0 && "a limit");
}

static void read_example(struct example *e, const char *name)
{
    char path[512], line[8192];
    FILE *file;

    at_work = name;
    snprintf(path, sizeof path, CORPUS "/%s", name);
    memset(e, 0, sizeof *e);
    e->name = strdup(name);
    ts_limits_init(&e->limits);
    add_str(&e->all, "");
    file = fopen(path, "rb");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        size_t len = strlen(line);
        CHECK(len > 2 && line[len - 1] == '\n' && line[1] == ' ');
        line[len - 1] = 0;
        if (line[0] == '>') {
            CHECK(e->now == e->all.len);
            add_escaped(&e->all, line + 2);
            e->now = e->all.len;
        } else if (line[0] == '+') {
            add_escaped(&e->all, line + 2);
        } else if (line[0] == '@') {
            read_limit(&e->limits, line + 2);
        } else if (line[0] == '=') {
            struct expectation *x = &e->expect[e->n++];
            size_t key = e->n == 1 ? len - 3 : strcspn(line + 2, " ");
            CHECK(e->n <= 140 && key < sizeof x->key);
            memcpy(x->key, line + 2, key);
            add_str(&x->value, "");
            if (line[2 + key])
                add_escaped(&x->value, line + 2 + key + 1);
        } else {
            CHECK(line[0] == '#');
        }
    }
    fclose(file);
    CHECK(e->n > 0);
}

static void read_corpus(void)
{
    DIR *dir = opendir(CORPUS);
    struct dirent *entry;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        examples = realloc(examples, (n_examples + 1) * sizeof *examples);
        CHECK(examples != NULL);
        read_example(&examples[n_examples++], entry->d_name);
    }
    closedir(dir);
    CHECK(n_examples > 300);
}

static bool is_text(const char *p, struct ts_span span, struct octets text)
{
    return span.len == text.len && memcmp(p + span.off, text.p, text.len) == 0;
}

static enum ts_target form_named(const char *name)
{
    return !strcmp(name, "absolute")    ? TS_TARGET_ABSOLUTE
           : !strcmp(name, "authority") ? TS_TARGET_AUTHORITY
           : !strcmp(name, "asterisk")  ? TS_TARGET_ASTERISK
           : !strcmp(name, "relative")  ? TS_TARGET_RELATIVE
                                        : TS_TARGET_BAD;
}

static void check_complete(const struct example *e, const struct ts_request *r)
{
    const char *p = e->all.p;
    int64_t content_length = -1;
    enum ts_conn_token connection = TS_CONN_NONE;
    enum ts_target form = TS_TARGET_ORIGIN;
    const char *refusal = "";
    bool chunked = false, expect = false, upgrade = false;
    uint32_t n_fields = 0;

    for (size_t i = 1; i < e->n; i++) {
        const char *key = e->expect[i].key;
        struct octets value = e->expect[i].value;
        if (!strcmp(key, "method")) {
            CHECK(is_text(p, r->method, value));
        } else if (!strcmp(key, "target")) {
            CHECK(is_text(p, r->target, value));
        } else if (!strcmp(key, "form")) {
            form = form_named(value.p);
        } else if (!strcmp(key, "authority")) {
            CHECK(is_text(p, r->authority, value));
        } else if (!strcmp(key, "minor")) {
            CHECK(r->minor == atoi(value.p));
        } else if (!strcmp(key, "fields")) {
            CHECK(r->n_fields == (uint32_t)atoi(value.p));
        } else if (!strcmp(key, "field")) {
            struct octets name = value;
            CHECK(n_fields < r->n_fields);
            name.len = (size_t)(strchr(value.p, '=') - value.p);
            value.p += name.len + 1;
            value.len -= name.len + 1;
            CHECK(is_text(p, r->fields[n_fields].name, name));
            CHECK(is_text(p, r->fields[n_fields].value, value));
            n_fields++;
        } else if (!strcmp(key, "content_length")) {
            content_length = atoll(value.p);
        } else if (!strcmp(key, "connection")) {
            connection = !strcmp(value.p, "close")        ? TS_CONN_CLOSE
                         : !strcmp(value.p, "keep-alive") ? TS_CONN_KEEP_ALIVE
                                                          : TS_CONN_OTHER;
        } else if (!strcmp(key, "refusal")) {
            refusal = value.p;
        } else if (!strcmp(key, "status")) {
            CHECK(ts_refusal_status(r->refusal) == atoi(value.p));
        } else if (!strcmp(key, "chunked")) {
            chunked = true;
        } else if (!strcmp(key, "expect")) {
            expect = true;
        } else {
            CHECK(!strcmp(key, "upgrade"));
            upgrade = true;
        }
    }
    CHECK(n_fields == 0 || n_fields == r->n_fields);
    CHECK(r->form == form);
    CHECK(r->content_length == content_length);
    CHECK(r->connection == connection);
    CHECK(!strcmp(ts_refusal_reason(r->refusal), refusal));
    CHECK(r->chunked == chunked);
    CHECK(r->expect_continue == expect);
    CHECK(r->upgrade == upgrade);
}

static void check_refused(const struct example *e, const struct ts_request *r)
{
    CHECK(e->n == 3 && !strcmp(e->expect[1].key, "refusal") &&
          !strcmp(e->expect[2].key, "status"));
    CHECK(!strcmp(ts_refusal_reason(r->refusal), e->expect[1].value.p));
    CHECK(ts_refusal_status(r->refusal) == atoi(e->expect[2].value.p));
}

/* The same head, its line and its fields scanned apart. */
static void check_apart(const struct example *e, const struct outcome *whole)
{
    static struct outcome line, fields;
    static struct ts_request reset;
    struct ts_limits limits = e->limits;
    struct octets rest = e->all;
    uint32_t skip = whole->request.line_len;

    feed_all_ways(&line, ts_scan_line, e->all, limits);
    if (whole->result == TS_SCAN_COMPLETE)
        CHECK(line.result == TS_SCAN_COMPLETE);
    if (whole->result == TS_SCAN_GENERAL)
        CHECK(line.result == TS_SCAN_GENERAL);
    if (line.result == TS_SCAN_PARTIAL)
        return;
    if (line.result == TS_SCAN_REFUSED) {
        check_same(whole, &line);
        CHECK(line.at == whole->at);
        return;
    }
    CHECK(line.at == line.request.line_len);
    if (whole->result == TS_SCAN_PARTIAL)
        return;
    CHECK(line.at == skip && line_is_right(&line.request));
    rest.p += skip;
    rest.len -= skip;
    ts_request_reset(&reset);
    CHECK(reset.minor == 1 && reset.form == TS_TARGET_ORIGIN);
    if (line.request.minor == 0)
        return; /* it would be asked for a Host */
    feed_all_ways(&fields, ts_scan_fields, rest, limits);
    CHECK(fields.result == whole->result);
    CHECK(fields.at + skip == whole->at);
    CHECK(fields.request.refusal == whole->request.refusal);
    if (whole->request.head_len > 0)
        CHECK(fields.request.head_len + skip == whole->request.head_len);
    if (whole->result == TS_SCAN_COMPLETE)
        CHECK(fields.request.n_fields == whole->request.n_fields);
}

static void test_corpus(void)
{
    static struct outcome out;

    for (size_t i = 0; i < n_examples; i++) {
        const struct example *e = &examples[i];
        const char *result = e->expect[0].key;
        at_work = e->name;
        feed_all_ways(&out, ts_scan, e->all, e->limits);
        CHECK(out.at == e->now);
        switch (out.result) {
        case TS_SCAN_COMPLETE:
            CHECK(!strcmp(result, "complete"));
            CHECK(out.request.head_len == e->now);
            check_complete(e, &out.request);
            break;
        case TS_SCAN_GENERAL:
            CHECK(!strcmp(result, "general"));
            CHECK(out.request.head_len == e->now);
            break;
        case TS_SCAN_REFUSED:
            CHECK(!strcmp(result, "refused"));
            check_refused(e, &out.request);
            break;
        case TS_SCAN_PARTIAL:
            CHECK(!strcmp(result, "partial"));
        }
        check_apart(e, &out);
    }
}

static uint32_t most_often(uint32_t usual, uint32_t below)
{
    return any(4) ? usual : any(below);
}

/* Corpus cases with some octets changed, taken out, put in or said again: the
 * ways to feed agree, in the reason for a refusal too, whatever it is. */
static void test_mutations(void)
{
    static const char favourites[] = "\r\n\n\r \t:;,.=-/HT19\x7f\x80\xa0\x85#*@[]";
    struct octets in = {0};
    char name[64];

    for (uint32_t i = 0; i < MUTATIONS; i++) {
        const struct example *e = &examples[any((uint32_t)n_examples)];
        struct ts_limits limits = e->limits;
        snprintf(name, sizeof name, "mutation %u of %s", i, e->name);
        at_work = name;
        if (e->all.len > 500)
            continue;
        in.len = 0;
        add(&in, e->all.p, e->all.len);
        for (uint32_t n = any(4); n > 0 && in.len > 0; n--) {
            size_t at = any((uint32_t)in.len), len = 1 + any(40);
            char octet = any(3) ? favourites[any(sizeof favourites)]
                                : (char)any(256);
            switch (any(5)) {
            case 0:
                memmove(in.p + at, in.p + at + 1, in.len - at);
                in.len--;
                break;
            case 1:
                add(&in, "", 1);
                memmove(in.p + at + 1, in.p + at, in.len - at - 1);
                in.p[at] = octet;
                break;
            case 2: /* said again, up to there */
                len = len < in.len - at ? len : in.len - at;
                add_many(&in, len, 0);
                memmove(in.p + at + len, in.p + at, in.len - at - len);
                break;
            default:
                in.p[at] = octet;
            }
        }
        limits.max_request_line = most_often(limits.max_request_line, 40);
        limits.max_line = most_often(limits.max_line, 40);
        limits.max_headers = most_often(limits.max_headers, 4);
        limits.max_head = most_often(limits.max_head, 80);
        limits.bare_09 = any(2);
        feed_some_ways(in, limits);
    }
    free(in.p);
}

/* ---- limits -------------------------------------------------------------- */

static enum ts_refusal reason; /* that of a refusal which is expected */

static void expect_outcome(const struct outcome *out, enum ts_scan result,
                           size_t head_len)
{
    CHECK(out->result == result);
    CHECK(out->request.refusal ==
          (result == TS_SCAN_REFUSED ? reason : TS_REFUSE_NONE));
    CHECK(result == TS_SCAN_REFUSED || out->request.head_len == head_len);
}

/* Feeds and frees the input. Each octet would be long for it: three ways. */
static void expect_by(struct octets in, struct ts_limits limits,
                      enum ts_scan result, size_t at, size_t head_len)
{
    static struct outcome out;
    struct octets shorter = in;

    CHECK(at <= in.len);
    feed(&out, ts_scan, in, 0, &limits);
    expect_outcome(&out, result, head_len);
    feed(&out, ts_scan, in, 4096, &limits);
    expect_outcome(&out, result, head_len);
    shorter.len = at;
    feed(&out, ts_scan, shorter, 0, &limits);
    expect_outcome(&out, result, head_len);
    if (result != TS_SCAN_PARTIAL) {
        shorter.len = at - 1;
        feed(&out, ts_scan, shorter, 0, &limits);
        CHECK(out.result == TS_SCAN_PARTIAL);
    }
    free(in.p);
}

static void expect(struct octets in, uint32_t max_line, uint32_t max_headers,
                   enum ts_scan result, size_t at, size_t head_len)
{
    struct ts_limits limits;

    ts_limits_init(&limits);
    limits.max_line = max_line;
    limits.max_headers = max_headers;
    limits.max_head = UINT32_MAX;
    expect_by(in, limits, result, at, head_len);
}

static struct octets long_line(size_t len, const char *end)
{
    struct octets in = {0};
    add_str(&in, "GET /");
    add_many(&in, len - 5 - 11, 'a');
    add_str(&in, " HTTP/1.0\r\n"); /* which needs no Host */
    CHECK(in.len == len);
    add_str(&in, end);
    return in;
}

static struct octets long_field(size_t len, const char *end)
{
    struct octets in = {0};
    add_str(&in, "GET / HTTP/1.0\r\nA:");
    add_many(&in, len - 2 - strlen(end), 'a');
    add_str(&in, end);
    CHECK(in.len == 16 + len);
    add_str(&in, "\r\n");
    return in;
}

static struct octets many_fields(uint32_t n, const char *end)
{
    struct octets in = {0};
    add_str(&in, "GET / HTTP/1.0\r\n");
    while (n-- > 0)
        add_str(&in, "A: b\r\n");
    add_str(&in, end);
    return in;
}

static void test_limits(void)
{
    enum { LINE = 65536, HEADERS = 100 };
    const enum ts_scan R = TS_SCAN_REFUSED;
    struct ts_limits limits;
    struct octets in = {0};

    at_work = "the limits that there are";
    ts_limits_init(&limits);
    CHECK(limits.simd == ts_simd_best() && !limits.bare_09);
    CHECK(limits.max_request_line == LINE && limits.max_line == LINE);
    CHECK(limits.max_headers == HEADERS && limits.max_head == LINE);

    at_work = "length of the request line";
    reason = TS_REFUSE_LINE_LENGTH;
    expect(long_line(LINE, "\r\n"), LINE, HEADERS, TS_SCAN_COMPLETE, LINE + 2,
           LINE + 2);
    expect(long_line(LINE + 1, "\r\n"), LINE, HEADERS, R, LINE + 1, 0);
    expect(long_line(LINE + 999, "\r\n"), LINE, HEADERS, R, LINE + 1, 0);
    expect(long_line(LINE, "\r\n"), 2, HEADERS, TS_SCAN_COMPLETE, LINE + 2,
           LINE + 2);
    add_many(&in, LINE, ' ');
    expect(in, LINE, HEADERS, TS_SCAN_PARTIAL, LINE, 0);
    in = (struct octets){0};
    add_many(&in, LINE + 1, ' ');
    expect(in, LINE, HEADERS, R, LINE + 1, 0);
    limits.max_request_line = 100;
    expect_by(long_line(100, "\r\n"), limits, TS_SCAN_COMPLETE, 102, 102);
    expect_by(long_line(101, "\r\n"), limits, R, 101, 0);
    limits.max_request_line = 0;
    expect_by(long_line(20, "\r\n"), limits, R, 1, 0);

    at_work = "length of a header line";
    reason = TS_REFUSE_FIELD_LENGTH;
    expect(long_field(LINE, "\r\n"), LINE, HEADERS, TS_SCAN_COMPLETE,
           16 + LINE + 2, 16 + LINE + 2);
    expect(long_field(LINE + 1, "\r\n"), LINE, HEADERS, R, 16 + LINE + 1, 0);
    expect(long_field(LINE + 999, "\r\n"), LINE, HEADERS, R, 16 + LINE + 1, 0);
    expect(long_field(20, "\r\n"), 20, HEADERS, TS_SCAN_COMPLETE, 38, 38);
    expect(long_field(20, "\r\n"), 19, HEADERS, R, 36, 0);
    expect(long_field(20, "\n"), 18, HEADERS, R, 35, 0);
    expect(long_field(20, "\x01\n"), 17, HEADERS, R, 34, 0);
    expect(long_field(90, "\r\n"), UINT32_MAX, UINT32_MAX, TS_SCAN_COMPLETE,
           108, 108);
    expect(many_fields(0, "\r\n"), 2, HEADERS, TS_SCAN_COMPLETE, 18, 18);
    expect(many_fields(0, "\r\n"), 1, HEADERS, R, 18, 0);
    expect(many_fields(0, "\r\n"), 0, HEADERS, R, 17, 0);
    reason = TS_REFUSE_FIELD_END; /* comes first, if at the same octet */
    expect(long_field(20, "\n"), 20, HEADERS, R, 36, 0);
    expect(long_field(20, "\n"), 19, HEADERS, R, 36, 0);
    expect(many_fields(0, "\n"), 1, HEADERS, R, 17, 0);
    expect(many_fields(0, "\n"), 0, HEADERS, R, 17, 0);
    reason = TS_REFUSE_FIELD_VALUE;
    expect(long_field(20, "\x01\n"), 18, HEADERS, R, 35, 0);

    at_work = "number of header lines";
    reason = TS_REFUSE_FIELDS;
    expect(many_fields(99, "\r\n"), LINE, HEADERS, TS_SCAN_COMPLETE,
           16 + 99 * 6 + 2, 16 + 99 * 6 + 2);
    expect(many_fields(100, ""), LINE, HEADERS, TS_SCAN_PARTIAL, 16 + 600, 0);
    expect(many_fields(101, ""), LINE, HEADERS, R, 622, 0);
    expect(many_fields(1, ""), LINE, 0, R, 22, 0);
    expect(many_fields(TS_MAX_FIELDS, "\r\n"), LINE, 1000, TS_SCAN_COMPLETE,
           16 + 128 * 6 + 2, 16 + 128 * 6 + 2);
    expect(many_fields(TS_MAX_FIELDS + 1, "\r\n"), LINE, 1000, TS_SCAN_GENERAL,
           16 + 129 * 6 + 2, 16 + 129 * 6 + 2);
    expect(many_fields(900, "\r\n"), LINE, 1000, TS_SCAN_GENERAL,
           16 + 900 * 6 + 2, 16 + 900 * 6 + 2);
    reason = TS_REFUSE_FIELD_COLON;
    expect(many_fields(2, "odd\r\nmore"), LINE, 2, R, 16 + 12 + 4, 0);
    expect(many_fields(900, "odd\r\n"), LINE, 1000, R, 16 + 5400 + 4, 0);

    at_work = "length of all header lines";
    reason = TS_REFUSE_HEAD_LENGTH;
    ts_limits_init(&limits);
    limits.max_headers = 1000000;
    for (uint32_t more = 0; more < 2; more++) {
        limits.max_head = 99 * 6 + 2 - more;
        if (more == 0)
            expect_by(many_fields(99, "\r\n"), limits, TS_SCAN_COMPLETE,
                      16 + 99 * 6 + 2, 16 + 99 * 6 + 2);
        else
            expect_by(many_fields(99, "\r\n"), limits, R, 16 + 99 * 6 + 2, 0);
    }
    limits.max_head = 65536; /* which the 10,923rd field passes */
    expect_by(many_fields(20000, "\r\n"), limits, R, 16 + 10923 * 6, 0);
    limits.max_head = 0;
    expect_by(many_fields(0, "\r\n"), limits, R, 18, 0);
}

/* The first limit that is passed is the one that is told, however the octets
 * come: each pair at each place. */
static void test_which_limit(void)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n"
                               "B:  c \r\nLonger-Name: and a value\r\n\r\n";
    struct octets in = {0};
    struct ts_limits limits;

    at_work = "which limit";
    add_str(&in, text);
    ts_limits_init(&limits);
    for (limits.max_line = 0; limits.max_line < 30; limits.max_line++)
        for (limits.max_head = 0; limits.max_head < 80; limits.max_head++) {
            limits.max_headers = (limits.max_line + limits.max_head) % 7;
            feed_some_ways(in, limits);
        }
    free(in.p);
}

static void test_fields_of_http10(void)
{
    const char *fields = "Transfer-Encoding: chunked\r\nHost: a\r\n\r\n";
    static struct ts_request r;
    struct ts_limits limits;

    at_work = "minor for the fields alone";
    ts_limits_init(&limits);
    ts_request_reset(&r);
    CHECK(ts_scan_fields(&r, fields, strlen(fields), &limits) ==
          TS_SCAN_COMPLETE);
    CHECK(r.chunked && r.head_len == strlen(fields) && r.line_len == 0);
    ts_request_reset(&r);
    r.minor = 0;
    CHECK(ts_scan_fields(&r, fields, strlen(fields), &limits) ==
          TS_SCAN_COMPLETE);
    CHECK(r.refusal == TS_REFUSE_TRANSFER_ENCODING_10 && !r.chunked);
    ts_request_reset(&r);
    CHECK(ts_scan_fields(&r, "\r\n", 2, &limits) == TS_SCAN_COMPLETE);
    CHECK(r.refusal == TS_REFUSE_HOST_MISSING);
    ts_request_reset(&r);
    r.minor = 0;
    CHECK(ts_scan_fields(&r, "\r\n", 2, &limits) == TS_SCAN_COMPLETE);
    CHECK(r.refusal == TS_REFUSE_NONE && r.head_len == 2);
}

/* HTTP/0.9 goes to the standard library's parser: after the head, or, as its
 * newer versions have it, after the line. */
static void test_http09(void)
{
    static const char text[] = "GET /path \r\nA: b\r\n\r\n";
    static struct outcome out;
    struct octets in = {0};
    struct ts_limits limits;

    at_work = "HTTP/0.9";
    add_str(&in, text);
    ts_limits_init(&limits);
    feed_all_ways(&out, ts_scan, in, limits);
    CHECK(out.result == TS_SCAN_GENERAL && out.at == in.len);
    CHECK(out.request.line.len == 10 && out.request.line_len == 12);
    CHECK(out.request.head_len == in.len && out.request.minor == 0);
    CHECK(out.request.target.off == 4 && out.request.target.len == 5);
    limits.bare_09 = true;
    feed_all_ways(&out, ts_scan, in, limits);
    CHECK(out.result == TS_SCAN_GENERAL && out.at == 12);
    CHECK(out.request.head_len == 0 && out.request.line_len == 12);
    feed_all_ways(&out, ts_scan_line, in, limits);
    CHECK(out.result == TS_SCAN_GENERAL && out.at == 12);
    free(in.p);
}

/* Every octet at every place of what is right otherwise. */
static void test_every_octet(void)
{
    static const char *const texts[] = {
        "PUT /a HTTP/1.1\r\nHost: [::1]:8\r\nA:b\r\n\r\n",
        "GET http://a:8/b HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"};
    struct ts_limits limits;
    struct octets in = {0};

    at_work = "every octet";
    ts_limits_init(&limits);
    for (size_t k = 0; k < 2; k++) {
        in.len = 0;
        add_str(&in, texts[k]);
        for (size_t at = 0; at < in.len; at++) {
            for (int c = 0; c < 256; c++) {
                in.p[at] = (char)c;
                feed_some_ways(in, limits);
            }
            in.p[at] = texts[k][at];
        }
    }
    free(in.p);
}

/* ---- work ---------------------------------------------------------------- */

static size_t skipped; /* octets the instruction sets were asked to look at */

static const char *count_target(const char *p, const char *end)
{
    const char *stop = ts_simd_best()->skip_target(p, end);
    skipped += (size_t)(stop - p) + (stop < end);
    return stop;
}

static const char *count_text(const char *p, const char *end)
{
    const char *stop = ts_simd_best()->skip_text(p, end);
    skipped += (size_t)(stop - p) + (stop < end);
    return stop;
}

static void expect_linear(struct octets in, enum ts_scan result)
{
    static const struct ts_simd counting = {"counting", count_target,
                                            count_text, NULL};
    static struct ts_request r;
    struct ts_limits limits;
    enum ts_scan got = TS_SCAN_PARTIAL;
    size_t came = 0;

    ts_limits_init(&limits);
    limits.max_head = UINT32_MAX;
    limits.simd = &counting;

    skipped = 0;
    ts_request_reset(&r);
    while (got == TS_SCAN_PARTIAL && came < in.len)
        got = ts_scan(&r, in.p, ++came, &limits);
    CHECK(got == result);
    CHECK(skipped <= came);
#ifdef TS_DEBUG
    CHECK(r.looked == came || (got == TS_SCAN_REFUSED && r.looked + 1 == came));
#endif
    free(in.p);
}

static void test_linear_work(void)
{
    struct octets in = {0};

    at_work = "linear work";
    expect_linear(long_line(60000, "\r\n"), TS_SCAN_COMPLETE);
    expect_linear(long_field(60000, "\r\n"), TS_SCAN_COMPLETE);
    expect_linear(long_field(60000, "\x01\r\n"), TS_SCAN_REFUSED);
    expect_linear(many_fields(99, "\r\n"), TS_SCAN_COMPLETE);
    expect_linear(many_fields(50, "odd\r\nA: b\r\n\r\n"), TS_SCAN_REFUSED);
    add_str(&in, "GET /"); /* a request line is read to its end */
    add_many(&in, 60000, '\t');
    add_str(&in, "HTTP/1.1\n");
    expect_linear(in, TS_SCAN_REFUSED);
    in = (struct octets){0};
    add_str(&in, "GET /");
    add_many(&in, 60000, 'a');
    add_str(&in, "\r\nA:");
    add_many(&in, 60000, ' ');
    add_str(&in, "\r\n\r\n");
    expect_linear(in, TS_SCAN_GENERAL);
    in = (struct octets){0};
    add_str(&in, "GET / HTTP/1.0\r\n");
    add_many(&in, 60000, 'n');
    add_str(&in, ":");
    add_many(&in, 5000, ' ');
    add_str(&in, "\r\n\r\n");
    expect_linear(in, TS_SCAN_COMPLETE);
}

/* ---- instruction sets ---------------------------------------------------- */

/* Every octet at every place of runs up to some blocks long. */
static void test_simd(void)
{
    const struct ts_simd *simd;

    for (size_t i = 0; (simd = ts_simd_nth(i)) != NULL; i++) {
        at_work = simd->name;
        for (size_t len = 0; len <= 70; len++) {
            const char *p = guard - len;
            memset(guard - len, 'a', len);
            CHECK(simd->skip_text(p, guard) == guard);
            CHECK(simd->skip_target(p, guard) == guard);
            for (size_t at = 0; at < len; at++) {
                char *place = guard - len + at;
                for (int c = 0; c < 256; c++) {
                    bool text = c == '\t' || (c >= 0x20 && c != 0x7f);
                    bool target = c > 0x20 && c < 0x7f;
                    *place = (char)c;
                    CHECK(simd->skip_text(p, guard) == (text ? guard : place));
                    CHECK(simd->skip_target(p, guard) ==
                          (target ? guard : place));
                }
                *place = (at & 1) ? '~' : '!';
            }
        }
    }
}

static void test_classes(void)
{
    at_work = "classes";
    for (int c = 0; c < 256; c++) {
        bool token = c > 0x20 && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
        CHECK(ts_is(TS_OCTET_TOKEN, (char)c) == token);
        CHECK(ts_is(TS_OCTET_TARGET, (char)c) == (c > 0x20 && c < 0x7f));
        CHECK(ts_is(TS_OCTET_TEXT, (char)c) ==
              (c == '\t' || (c >= 0x20 && c != 0x7f)));
    }
}

int main(void)
{
    guard_make();
    test_classes();
    test_simd();
    read_corpus();
    test_corpus();
    test_mutations();
    test_limits();
    test_which_limit();
    test_fields_of_http10();
    test_http09();
    test_every_octet();
    test_linear_work();
    for (size_t i = 0; i < n_examples; i++) {
        for (size_t k = 0; k < examples[i].n; k++)
            free(examples[i].expect[k].value.p);
        free(examples[i].all.p);
        free(examples[i].name);
    }
    free(examples);
    return 0;
}
