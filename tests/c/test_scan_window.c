/* units: scan.c framing.c target.c scan_simd.c; sanitizers: address,undefined
 *
 * The scanner where it takes whole lines by the window (csrc/scan_window.h):
 * the marks themselves; line and field boundaries at every place of a window;
 * inputs that end anywhere and come in two pieces cut anywhere; heads with
 * octets changed; and the work for clients that send in pieces of any size.
 * What the portable set makes of an input octet by octet is what each other
 * one must make of it in each other way. Every input lies against a page that
 * cannot be read, by turns one before it and one after it.
 */
#include "check.h"
#include "scan.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUTATIONS 60000 /* a second or two under the sanitizers */
#define ROOM 65536      /* for an input; whole pages */

static char *guard; /* the first octet that cannot be read */
static char *front; /* the first after others that cannot */
static bool at_front;

static char input[ROOM];
static size_t input_len;

static void guard_make(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    front = mmap(NULL, ROOM + 2 * page, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(front != MAP_FAILED && ROOM % page == 0);
    front += page;
    guard = front + ROOM;
    CHECK(mprotect(front - page, page, PROT_NONE) == 0);
    CHECK(mprotect(guard, page, PROT_NONE) == 0);
}

/* The first octets of `input`, elsewhere than at the call before. */
static const char *moved(size_t len)
{
    at_front = !at_front;
    return memcpy(at_front ? front : guard - len, input, len);
}

static void add(const char *s)
{
    size_t len = strlen(s);
    CHECK(input_len + len <= ROOM);
    memcpy(input + input_len, s, len);
    input_len += len;
}

static void add_many(size_t n, char octet)
{
    CHECK(input_len + n <= ROOM);
    memset(input + input_len, octet, n);
    input_len += n;
}

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % below;
}

/* ---- ways to feed, and that they agree ----------------------------------- */

struct outcome {
    enum ts_scan result;
    struct ts_request request;
};

/* `first` octets, then `step` more each time. */
static void feed(struct outcome *out, size_t first, size_t step,
                 const struct ts_limits *limits)
{
    size_t n = first < input_len ? first : input_len;

    ts_request_reset(&out->request);
    for (;;) {
        out->result = ts_scan(&out->request, moved(n), n, limits);
        if (out->result != TS_SCAN_PARTIAL || n == input_len)
            return;
        n = input_len - n > step ? n + step : input_len;
    }
}

static bool same_span(struct ts_span a, struct ts_span b)
{
    return a.off == b.off && a.len == b.len;
}

static void check_same(const struct outcome *x, const struct outcome *y)
{
    const struct ts_request *a = &x->request, *b = &y->request;

    CHECK(x->result == y->result);
    if (x->result == TS_SCAN_PARTIAL)
        return;
    CHECK(a->refusal == b->refusal && a->line_len == b->line_len);
    CHECK(a->line_len == 0 || same_span(a->line, b->line));
    if (x->result == TS_SCAN_REFUSED)
        return;
    CHECK(a->head_len == b->head_len);
    CHECK(same_span(a->method, b->method) && same_span(a->target, b->target));
    CHECK(a->minor == b->minor && a->form == b->form);
    CHECK(a->content_length == b->content_length);
    CHECK(a->connection == b->connection);
    CHECK(a->chunked == b->chunked && a->upgrade == b->upgrade);
    CHECK(a->expect_continue == b->expect_continue);
    CHECK(a->n_fields == b->n_fields);
    for (uint32_t i = 0; i < a->n_fields; i++) {
        CHECK(same_span(a->fields[i].name, b->fields[i].name));
        CHECK(same_span(a->fields[i].value, b->fields[i].value));
    }
}

static struct outcome expected;

static void set_expected(struct ts_limits limits)
{
    limits.simd = ts_simd_nth(0);
    feed(&expected, 0, 1, &limits);
}

static void check_fed(size_t first, size_t step, struct ts_limits limits)
{
    static struct outcome got;

    for (size_t i = 0; (limits.simd = ts_simd_nth(i)) != NULL; i++)
        for (int turn = 0; turn < 2; turn++) {
            at_front = turn;
            feed(&got, first, step, &limits);
            check_same(&expected, &got);
        }
}

/* ---- the marks ----------------------------------------------------------- */

static void check_marks(const struct ts_simd *simd, const char *p)
{
    struct ts_marks marks = simd->mark(p, guard);

    for (size_t i = 0; i < TS_MARK_OCTETS; i++) {
        bool past = i >= (size_t)(guard - p);
        CHECK((marks.not_token >> i & 1) ==
              (past || !ts_is(TS_OCTET_TOKEN, p[i])));
        CHECK((marks.not_text >> i & 1) ==
              (past || !ts_is(TS_OCTET_TEXT, p[i])));
    }
}

/* Every octet at every place, with 1 to 70 octets left. */
static void test_marks(void)
{
    const struct ts_simd *simd;

    for (size_t n = 0; (simd = ts_simd_nth(n)) != NULL; n++) {
        if (simd->mark == NULL)
            continue;
        for (int c = 0; c < 256; c++) {
            memset(guard - TS_MARK_OCTETS, c, TS_MARK_OCTETS);
            check_marks(simd, guard - TS_MARK_OCTETS);
        }
        for (size_t left = 1; left <= 70; left++) {
            char *p = guard - left;
            memset(guard - 140, left & 1 ? '\r' : 'a', 140);
            check_marks(simd, p);
            for (size_t at = 0; at < left; at++) {
                static const char some[] = "a:\t\r\x7f\x80\0 ";
                p[at] = some[(at + left) % sizeof some];
                check_marks(simd, p);
            }
            for (char *at = p; at < guard; at += 7)
                for (int c = 0; c < 256; c++) {
                    *at = (char)c;
                    check_marks(simd, p);
                }
        }
    }
}

/* ---- boundaries ---------------------------------------------------------- */

/* Every boundary of a head at every place of a window; windows are counted
 * from the second field line, so it is what follows that moves. */
static void test_boundaries(struct ts_limits limits)
{
    static const char *const after[] = {"", "x", "GET / HTTP/1.1\r\nA: b\r\n"};

    for (size_t pad = 0; pad <= 2 * TS_MARK_OCTETS + 1; pad++)
        for (size_t where = 0; where < 4; where++)
            for (size_t k = 0; k < 3; k++) {
                input_len = 0;
                add("POST /");
                add_many(where == 0 ? pad : 0, 't');
                add(" HTTP/1.1\r\nHost: a\r\nN");
                add_many(where == 1 ? pad : 0, 'n');
                add(": v");
                add_many(where == 2 ? pad : 0, 'v');
                add("\r\nB:");
                add_many(where == 3 ? pad : 0, pad & 1 ? ' ' : '\t');
                add("\r\nC:c\r\nContent-Length: 17\r\nConnection:\t close \t\r\n"
                    "Expect: 100-continue\r\nLast-Of-All: \x80\xff\t!\r\n\r\n");
                add(after[k]);
                set_expected(limits);
                CHECK(expected.result == TS_SCAN_COMPLETE);
                CHECK(expected.request.n_fields == 8 &&
                      expected.request.content_length == 17 &&
                      expected.request.connection == TS_CONN_CLOSE);
                check_fed(input_len, 1, limits);
                check_fed(input_len - strlen(after[k]), 1, limits);
                check_fed(0, 64, limits);
                check_fed(pad, 33, limits);
            }
}

/* ---- ends and cuts ------------------------------------------------------- */

static const char *const heads[] = {
    "GET /index.html?a=b HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n"
    "User-Agent: of-some-length/1.0 (and a comment)\r\nX:\r\nY: \t\r\n"
    "Cookie: a=b; c=d\r\nConnection: keep-alive\r\nUpgrade: h2c\r\n\r\nbody",
    "PUT / HTTP/1.0\r\nA: b\r\nTransfer-Encoding: chunked\r\nC: d\r\n\r\n"
    "GET /next HTTP/1.1\r\nHost: a\r\nB: 012345678901234567890123456789\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\nHost:\t[::1]:80 \r\nNot-Folded: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\nLong: 0123456789012345678901234567890123456789\r\n"
    "Bare: lf\nMore: 0123456789012345678901234567890123456789\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\nLong: 0123456789012345678901234567890123456789\r\n"
    "No-Colon\r\nMore: 0123456789012345678901234567890123456789\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\nA b: 0123456789012345678901234567890123456789\r\n"
    "Connection: 0123456789012345678901234567890123456789, close\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\nB: \x01 0123456789012345678901234567890123456789\r\n"
    "More: 0123456789012345678901234567890123456789\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: x\r\n"
    "Expect: 0123456789012345678901234567890123456789\r\n\n",
};

#define HEADS (sizeof heads / sizeof *heads)

/* Inputs of 0 to 200 octets, in two pieces cut at each place. */
static void test_cuts(struct ts_limits limits)
{
    for (size_t k = 0; k < HEADS; k++)
        for (size_t len = 0; len <= 200 && len <= strlen(heads[k]); len++) {
            input_len = 0;
            add(heads[k]);
            input_len = len;
            set_expected(limits);
            for (size_t cut = 0; cut <= len; cut++)
                check_fed(cut, len, limits);
        }
}

/* ---- changed octets ------------------------------------------------------ */

static const char favourites[] = "\r\n\n\r \t::;,.=-/@[`{09\x7f\x80\xff\x1f\x0b";

static void test_every_place(struct ts_limits limits)
{
    input_len = 0;
    add(heads[0]);
    for (size_t at = 0; at < input_len; at++) {
        char was = input[at];
        for (size_t i = 0; i < sizeof favourites; i++) {
            input[at] = favourites[i]; /* the NUL, too */
            set_expected(limits);
            check_fed(input_len, 1, limits);
        }
        input[at] = was;
    }
}

static void mutate(void)
{
    size_t at = any((uint32_t)input_len), len;
    char octet = any(3) ? favourites[any(sizeof favourites)] : (char)any(256);

    switch (any(4)) {
    case 0: /* taken out */
        len = 1 + any(4);
        len = len < input_len - at ? len : input_len - at;
        memmove(input + at, input + at + len, input_len - at - len);
        input_len -= len;
        break;
    case 1: /* put in */
        len = 1 + any(any(3) ? 4 : 90);
        memmove(input + at + len, input + at, input_len - at);
        memset(input + at, octet, len);
        input_len += len;
        break;
    default:
        input[at] = octet;
    }
}

static void test_mutations(struct ts_limits limits)
{
    for (uint32_t i = 0; i < MUTATIONS; i++) {
        const uint32_t what = any(8);
        input_len = 0;
        if (what == 0) /* noise, mostly of what is text */
            for (uint32_t n = any(300); n > 0; n--)
                input[input_len++] =
                    any(9) ? (char)(0x21 + any(0x5e)) : favourites[any(16)];
        else
            add(heads[any(3) ? any(2) : any(HEADS)]);
        for (uint32_t n = any(4); n > 0 && input_len > 0; n--)
            mutate();
        limits.max_line = any(4) ? 65536 : any(90);
        limits.max_headers = any(4) ? 100 : any(12);
        limits.max_head = any(4) ? 65536 : any(250);
        limits.max_request_line = any(8) ? 65536 : any(60);
        set_expected(limits);
        check_fed(input_len, 1, limits);
        check_fed(any(200), 1 + any(200), limits);
    }
}

/* ---- limits -------------------------------------------------------------- */

/* Lines and fields up to each limit and past it, in windows and not. */
static void test_limits(struct ts_limits limits)
{
    for (uint32_t n = 1; n <= TS_MAX_FIELDS + 2; n++) {
        input_len = 0;
        add("GET / HTTP/1.0\r\n");
        for (uint32_t i = 0; i < n; i++)
            add("Name: value\r\n");
        add("\r\n");
        for (limits.max_headers = n - 1; limits.max_headers <= n + 2;
             limits.max_headers++) {
            limits.max_line = 65536;
            set_expected(limits);
            CHECK(expected.result == (limits.max_headers <= n ? TS_SCAN_REFUSED
                                      : n <= TS_MAX_FIELDS    ? TS_SCAN_COMPLETE
                                                              : TS_SCAN_GENERAL));
            CHECK(limits.max_headers > n ||
                  expected.request.refusal == TS_REFUSE_FIELDS);
            check_fed(input_len, 1, limits);
            check_fed(0, 100, limits);
            limits.max_line = 13 - n % 2; /* a field line, or one less */
            set_expected(limits);
            check_fed(input_len, 1, limits);
            limits.max_head = 13 * n + 2 - n % 3; /* all of them, or less */
            set_expected(limits);
            check_fed(input_len, 1, limits);
            check_fed(0, 100, limits);
            limits.max_head = 65536;
        }
    }
}

/* A program may lower the limit while a head comes in. */
static void test_limit_lowered(struct ts_limits limits)
{
    static struct ts_request r;

    for (size_t i = 0; (limits.simd = ts_simd_nth(i)) != NULL; i++) {
        input_len = 0;
        limits.max_headers = 100;
        ts_request_reset(&r);
        add("GET / HTTP/1.1\r\nA: b\r\nA: b\r\nA: b\r\n");
        CHECK(ts_scan(&r, moved(input_len), input_len, &limits) ==
              TS_SCAN_PARTIAL);
        limits.max_headers = 1;
        add("Name: a value that is long enough for a window\r\n\r\n");
        CHECK(ts_scan(&r, moved(input_len), input_len, &limits) ==
              TS_SCAN_REFUSED);
        CHECK(r.refusal == TS_REFUSE_FIELDS);
    }
}

/* ---- work ---------------------------------------------------------------- */

static const struct ts_simd *counted;
static size_t skipped, marked; /* octets looked at */

static const char *count_target(const char *p, const char *end)
{
    const char *stop = counted->skip_target(p, end);
    skipped += (size_t)(stop - p) + (stop < end);
    return stop;
}

static const char *count_text(const char *p, const char *end)
{
    const char *stop = counted->skip_text(p, end);
    skipped += (size_t)(stop - p) + (stop < end);
    return stop;
}

static struct ts_marks count_mark(const char *p, const char *end)
{
    marked += TS_MARK_OCTETS;
    return counted->mark(p, end);
}

/* In pieces of any size an octet is skipped over once, and marked no more than
 * three times on the average: a window of 64 for 32 octets, and the rest of
 * the one before. Only in pieces that pay for a window is it marked at all; in
 * a head that comes whole, once. */
static void expect_linear(enum ts_scan result)
{
    const struct ts_simd counting = {"counting", count_target, count_text,
                                     counted->mark ? count_mark : NULL};
    static struct ts_request r;
    struct ts_limits limits;

    ts_limits_init(&limits);
    limits.max_head = UINT32_MAX;
    limits.simd = &counting;
    for (size_t step = 1; step <= 2 * input_len; step += 1 + step / 16) {
        enum ts_scan got = TS_SCAN_PARTIAL;
        skipped = marked = 0;
        ts_request_reset(&r);
        for (size_t n = 0; got == TS_SCAN_PARTIAL && n < input_len;) {
            n = input_len - n > step ? n + step : input_len;
            got = ts_scan(&r, input, n, &limits);
        }
        CHECK(got == result);
        CHECK(skipped <= input_len);
        CHECK(marked <= 3 * input_len + TS_MARK_OCTETS);
        CHECK(marked == 0 || step >= TS_MARK_OCTETS / 2);
        CHECK(marked <= input_len + 2 * TS_MARK_OCTETS || step < input_len);
#ifdef TS_DEBUG
        CHECK(got == TS_SCAN_REFUSED ? r.looked < input_len
                                     : r.looked == input_len);
#endif
    }
}

static void test_linear_work(void)
{
    for (size_t i = 0; (counted = ts_simd_nth(i)) != NULL; i++) {
        for (size_t len = 0; len <= 200; len += 1 + len / 20) {
            input_len = 0;
            add("GET / HTTP/1.0\r\n");
            for (uint32_t n = 0; n < 90; n++) {
                add("N:");
                add_many(len, 'v');
                add("\r\n");
            }
            add("\r\n");
            expect_linear(TS_SCAN_COMPLETE);
        }
        input_len = 0;
        add("GET / HTTP/1.0\r\nA: b\r\nA: b\r\nA:");
        add_many(20000, 'v');
        add("\r\n");
        add_many(20000, 'n');
        add(":");
        add_many(5000, ' ');
        add("\r\nA: b\r\n\r\n");
        expect_linear(TS_SCAN_COMPLETE);
        input_len -= 2;
        add("odd\r\n");
        for (uint32_t n = 0; n < 50; n++)
            add("A: b\r\n");
        add("\n");
        expect_linear(TS_SCAN_REFUSED);
    }
}

int main(void)
{
    struct ts_limits limits;

    ts_limits_init(&limits);
    guard_make();
    test_marks();
    test_boundaries(limits);
    test_cuts(limits);
    test_every_place(limits);
    test_mutations(limits);
    test_limits(limits);
    test_limit_lowered(limits);
    test_linear_work();
    return 0;
}
