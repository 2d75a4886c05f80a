/* How it works: a line is a row of states (method, target, version; name, OWS,
 * value, CR), each of which runs over its octets in one go and falls into the
 * next. When the octets run out, the state and the place are kept, and the
 * next call jumps there; so an octet is looked at once, however slowly they
 * come. Two kinds of octets are looked at once more, when their line is
 * complete: the values of the fields that decide framing (framing.c), and a request
 * line that is not plain (split as Python's str.split() would).
 *
 * Where a good part of a head is there, its plain lines are taken whole, by
 * octets classified ahead (scan_lines()); the states get what that leaves over.
 *
 * A line that is not plain goes to the `odd` state of its kind, which only
 * looks for LF. From then on nothing is stored, and the head ends in GENERAL.
 */
#include "scan.h"

#include "scan_window.h"

#include <string.h>

#ifdef TS_DEBUG
#define LOOKED(request, octets) ((request)->looked += (uint64_t)(octets))
#else
#define LOOKED(request, octets) ((void)(octets))
#endif

enum state {
    LINE_METHOD, /* 0: where a reset starts */
    LINE_TARGET,
    LINE_VERSION, /* and its CRLF */
    LINE_ODD,
    FIELD_START, /* or the blank line; `start` == `at` */
    FIELD_NAME,
    FIELD_OWS,
    FIELD_VALUE,
    FIELD_CR, /* CR seen where LF makes a plain line end */
    FIELD_ODD,
    BLANK_CR, /* CR seen as the first octet of a line */
    ENDED,
};

static inline uint32_t offset(const char *buf, const char *p)
{
    TS_ASSERT(p >= buf && (size_t)(p - buf) <= UINT32_MAX);
    return (uint32_t)(p - buf);
}

static inline const char *find_lf(const char *p, const char *end)
{
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    return lf ? lf : end;
}

/* ---- what http.server makes of a request line that is not plain ---------- */

/* str.isspace() for the code points of ISO 8859-1. */
static bool is_python_space(char octet)
{
    uint8_t c = (uint8_t)octet;
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 ||
           c == 0xa0;
}

/* A version that parse_request() lets pass: "HTTP/" number "." number, each
 * number 1 to 10 digits, below 2.0. */
static bool is_python_version(const char *p, const char *end)
{
    uint64_t number = 0;
    uint32_t digits = 0, dots = 0;

    if (end - p < 5 || memcmp(p, "HTTP/", 5) != 0)
        return false;
    for (p += 5; p < end; p++) {
        if (*p == '.') {
            if (digits == 0 || number >= 2)
                return false;
            dots++;
            digits = 0;
        } else if (*p >= '0' && *p <= '9') {
            if (++digits > 10)
                return false;
            if (dots == 0)
                number = number * 10 + (uint64_t)(*p - '0');
        } else {
            return false;
        }
    }
    return dots == 1 && digits > 0;
}

/* Whether parse_request() decides before it reads a header line. */
static bool is_decided_by_line(const char *p, const char *end, bool bare_09)
{
    const char *first = p, *last = p, *last_end = p;
    size_t first_len = 0;
    uint32_t words = 0;

    for (;;) {
        while (p < end && is_python_space(*p))
            p++;
        if (p == end)
            break;
        last = p;
        while (p < end && !is_python_space(*p))
            p++;
        last_end = p;
        if (words++ == 0) {
            first = last;
            first_len = (size_t)(p - first);
        }
    }
    if (words == 2) /* HTTP/0.9 */
        return bare_09 || first_len != 3 || memcmp(first, "GET", 3) != 0;
    return words != 3 || !is_python_version(last, last_end);
}

/* ---- request line -------------------------------------------------------- */

enum line { LINE_IS_PARTIAL, LINE_IS_PLAIN, LINE_IS_ODD, LINE_IS_REFUSED };

static enum line scan_line(struct ts_request *r, const char *buf, size_t len,
                           const struct ts_limits *limits)
{
    enum { MINOR = 7 }; /* the one octet of these that may be another */
    static const char version[10] = {'H', 'T', 'T', 'P', '/',
                                     '1', '.', '1', '\r', '\n'};
    const char *p = buf + r->at, *const end = buf + len, *from = p;
    enum state state = (enum state)r->state;
    uint32_t line_len, line_end;
    size_t i;

    switch (state) {
    case LINE_METHOD:
        while (p < end && ts_is(TS_OCTET_TOKEN, *p))
            p++;
        if (p == end)
            goto more;
        if (*p != ' ' || p == buf)
            goto odd;
        r->method = (struct ts_span){0, offset(buf, p)};
        r->target.off = r->method.len + 1;
        p++;
        state = LINE_TARGET;
        /* fall through */
    case LINE_TARGET:
        p = limits->simd->skip_target(p, end);
        if (p == end)
            goto more;
        r->target.len = offset(buf, p) - r->target.off;
        if (*p != ' ' || r->target.len == 0)
            goto odd;
        p++;
        state = LINE_VERSION;
        /* fall through */
    case LINE_VERSION:
        i = offset(buf, p) - (r->target.off + r->target.len + 1);
        if (i == 0 && (size_t)(end - p) >= sizeof version &&
            memcmp(p, version, MINOR) == 0 &&
            (p[MINOR] == '0' || p[MINOR] == '1') && p[8] == '\r' &&
            p[9] == '\n') {
            r->minor = (uint8_t)(p[MINOR] - '0');
            i = sizeof version;
            p += i;
        }
        for (; i < sizeof version; i++, p++) {
            if (p == end)
                goto more;
            if (i == MINOR && *p == '0')
                r->minor = 0;
            else if (*p != version[i])
                goto odd;
        }
        line_len = offset(buf, p);
        line_end = line_len - 2;
        goto ended;
    case LINE_ODD:
        goto odd;
    default:
        TS_ASSERT(0 && "a request line that has not ended");
        return LINE_IS_REFUSED;
    }

odd:
    state = LINE_ODD;
    p = find_lf(p, end);
    if (p == end)
        goto more;
    p++;
    line_len = offset(buf, p);
    line_end = line_len - 1;
    while (line_end > 0 && buf[line_end - 1] == '\r')
        line_end--; /* as rstrip('\r\n') does */
    r->odd = true;

ended: /* p is after its LF */
    LOOKED(r, p - from);
    if (line_len > TS_MAX_REQUEST_LINE)
        return LINE_IS_REFUSED;
    r->line = (struct ts_span){0, line_end};
    r->line_len = r->start = r->at = line_len;
    r->state = FIELD_START;
    if (!r->odd)
        return LINE_IS_PLAIN;
    return is_decided_by_line(buf, buf + line_end, limits->bare_09)
               ? LINE_IS_REFUSED
               : LINE_IS_ODD;

more:
    LOOKED(r, end - from);
    r->at = offset(buf, end);
    r->state = (uint8_t)state;
    return len > TS_MAX_REQUEST_LINE ? LINE_IS_REFUSED : LINE_IS_PARTIAL;
}

/* ---- header lines -------------------------------------------------------- */

/* Plain lines from p on, as many as are whole; returns where the first other
 * one begins. All the states of scan_fields() in one go, for lines that leave
 * them no choice; what is unusual, a limit too, is left to them untouched.
 * Apart from them, or the two compete for registers. */
__attribute__((noinline)) static const char *
scan_lines(struct ts_request *r, const char *buf, const char *p,
           const char *end, const struct ts_limits *limits)
{
    struct window w = window_open(limits->simd, p, end);
    uint32_t n_fields = r->n_fields, n_lines = r->n_lines;

    for (; n_fields < TS_MAX_FIELDS && n_lines < limits->max_headers;
         n_fields++, n_lines++) {
        struct ts_field *field = &r->fields[n_fields];
        const char *colon = window_skip(&w, WINDOW_TOKEN, p);
        const char *cr = window_skip(&w, WINDOW_TEXT, p);
        const char *value = colon + 1;

        if (end - cr < 2 || cr[0] != '\r' || cr[1] != '\n' || *colon != ':' ||
            colon == p || (size_t)(cr + 2 - p) > limits->max_line)
            break;
        while (ts_is_ows(*value)) /* no further than to the CR */
            value++;
        field->name.off = offset(buf, p);
        field->name.len = (uint32_t)(colon - p);
        field->value.off = offset(buf, value);
        field->value.len = (uint32_t)(cr - value);
        if (ts_framing_cares(field->name.len))
            ts_framing_field(r, buf, field);
        p = cr + 2;
    }
    LOOKED(r, offset(buf, p) - r->start);
    r->n_fields = n_fields;
    r->n_lines = n_lines;
    r->start = offset(buf, p);
    return p;
}

static enum ts_scan scan_fields(struct ts_request *r, const char *buf,
                                size_t len, const struct ts_limits *limits)
{
    const char *p = buf + r->at, *const end = buf + len;
    enum state state = (enum state)r->state;
    struct ts_field *field = &r->fields[r->n_fields];
    const char *from = p;
    bool blank = false, in_lines = false;

    switch (state) {
    case FIELD_START:
    start:
        state = FIELD_START;
        if (p == end)
            goto more;
        if (*p == '\r') {
            p++;
            goto blank_cr;
        }
        if (*p == '\n') {
            p++;
            blank = true;
            r->odd = true;
            goto line_end;
        }
        if (r->odd || r->n_fields == TS_MAX_FIELDS)
            goto odd;
        /* Once in a call: what it stops at ends the call, or the plain lines.
         * Not for the first line, which in most short heads is the only one. */
        if (r->n_lines > 0 && !in_lines &&
            window_pays(limits->simd, buf, p, end)) {
            in_lines = true;
            from = p = scan_lines(r, buf, p, end, limits);
            goto start;
        }
        field = &r->fields[r->n_fields];
        state = FIELD_NAME;
        /* fall through */
    case FIELD_NAME:
        while (p < end && ts_is(TS_OCTET_TOKEN, *p))
            p++;
        if (p == end)
            goto more;
        field->name.off = r->start;
        field->name.len = offset(buf, p) - r->start;
        if (*p != ':' || field->name.len == 0)
            goto odd;
        p++;
        state = FIELD_OWS;
        /* fall through */
    case FIELD_OWS:
        while (p < end && ts_is_ows(*p))
            p++;
        if (p == end)
            goto more;
        field->value.off = offset(buf, p);
        state = FIELD_VALUE;
        /* fall through */
    case FIELD_VALUE:
        p = limits->simd->skip_text(p, end);
        if (p == end)
            goto more;
        field->value.len = offset(buf, p) - field->value.off;
        if (*p != '\r')
            goto odd;
        p++;
        state = FIELD_CR;
        /* fall through */
    case FIELD_CR:
        if (p == end)
            goto more;
        if (*p != '\n')
            goto odd;
        p++;
        r->n_fields++;
        if (ts_framing_cares(field->name.len))
            ts_framing_field(r, buf, field);
        goto line_end;

    case BLANK_CR:
    blank_cr:
        state = BLANK_CR;
        if (p == end)
            goto more;
        if (*p != '\n')
            goto odd;
        p++;
        blank = true;
        goto line_end;

    case FIELD_ODD:
    odd:
        state = FIELD_ODD;
        r->odd = true;
        p = find_lf(p, end);
        if (p == end)
            goto more;
        p++;
        goto line_end;

    default:
        TS_ASSERT(0 && "a head that has not ended");
        return TS_SCAN_GENERAL;
    }

line_end: /* p is after its LF */
    LOOKED(r, p - from);
    from = p;
    if (offset(buf, p) - r->start > limits->max_line)
        goto general;
    r->start = offset(buf, p);
    if (blank)
        r->head_len = r->start;
    if (++r->n_lines > limits->max_headers)
        goto general;
    if (!blank)
        goto start;
    if (r->odd)
        goto general;
    r->state = ENDED;
    ts_framing_settle(r);
    return TS_SCAN_COMPLETE;

more:
    LOOKED(r, end - from);
    r->at = offset(buf, end);
    r->state = (uint8_t)state;
    if (len - r->start > limits->max_line || len == UINT32_MAX)
        goto general;
    return TS_SCAN_PARTIAL;

general:
    r->state = ENDED;
    return TS_SCAN_GENERAL;
}

/* ---- the header file, in its order --------------------------------------- */

void ts_limits_init(struct ts_limits *limits)
{
    limits->max_line = 65536;
    limits->max_headers = 100;
    limits->simd = ts_simd_best();
    limits->bare_09 = false;
}

void ts_request_reset(struct ts_request *r)
{
    memset(r, 0, offsetof(struct ts_request, fields));
    r->content_length = -1;
    r->minor = 1;
}

enum ts_scan ts_scan(struct ts_request *r, const char *buf, size_t len,
                     const struct ts_limits *limits)
{
    if (len > UINT32_MAX)
        len = UINT32_MAX;
    TS_ASSERT(r->state != ENDED && r->at <= len);
    if (r->state <= LINE_ODD) {
        switch (scan_line(r, buf, len, limits)) {
        case LINE_IS_PARTIAL:
            return TS_SCAN_PARTIAL;
        case LINE_IS_REFUSED:
            r->state = ENDED;
            return TS_SCAN_GENERAL;
        case LINE_IS_PLAIN:
        case LINE_IS_ODD:
            break;
        }
    }
    return scan_fields(r, buf, len, limits);
}

enum ts_scan ts_scan_fields(struct ts_request *r, const char *buf, size_t len,
                            const struct ts_limits *limits)
{
    if (len > UINT32_MAX)
        len = UINT32_MAX;
    TS_ASSERT(r->state != ENDED && r->at <= len);
    if (r->state == LINE_METHOD)
        r->state = FIELD_START;
    return scan_fields(r, buf, len, limits);
}

enum ts_scan ts_scan_line(struct ts_request *r, const char *buf, size_t len,
                          const struct ts_limits *limits)
{
    enum line line;

    if (len > UINT32_MAX)
        len = UINT32_MAX;
    TS_ASSERT(r->state <= LINE_ODD && r->at <= len);
    line = scan_line(r, buf, len, limits);
    if (line == LINE_IS_PARTIAL)
        return TS_SCAN_PARTIAL;
    r->state = ENDED;
    return line == LINE_IS_PLAIN ? TS_SCAN_COMPLETE : TS_SCAN_GENERAL;
}
