/* How it works: a line is a row of states (method, target, version; name, OWS,
 * value, CR), each of which runs over its octets in one go and falls into the
 * next. When the octets run out, the state and the place are kept, and the
 * next call jumps there; so an octet is looked at once, however slowly they
 * come. Two kinds of octets are looked at once more, when their line is
 * complete: the values of the fields that decide framing (framing.c), and a
 * request line that the states do not take, which may be one of the two that
 * are tolerated.
 *
 * Where a good part of a head is there, its lines are taken whole, by octets
 * classified ahead (scan_lines()); the states get what that leaves over.
 *
 * The limit of a line is looked at where it ends, where the octets run out, and
 * where one is refused: there the limit comes first if it was passed before, so
 * that the answer does not hang on how the octets came. The limit of the head is
 * looked at where a line ends.
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
    FIELD_CR, /* CR seen: LF has to come */
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

static enum ts_scan refuse(struct ts_request *r, enum ts_refusal why)
{
    r->refusal = why;
    r->state = ENDED;
    return TS_SCAN_REFUSED;
}

/* ---- request line -------------------------------------------------------- */

enum { VERSION_LEN = 8, MINOR = 7 };

static bool is_version(const char *p)
{
    return memcmp(p, "HTTP/1.", MINOR) == 0 && p[MINOR] >= '0' &&
           p[MINOR] <= '9';
}

/* "HTTP/" DIGIT "." DIGIT of another major version. */
static bool is_other_version(const char *p)
{
    return memcmp(p, "HTTP/", 5) == 0 && p[5] >= '0' && p[5] <= '9' &&
           p[6] == '.' && p[7] >= '0' && p[7] <= '9';
}

/* What is wrong with a request line that the states did not take, [buf, end)
 * being all of it but the line end; NONE if it is to be tolerated after all. */
static enum ts_refusal look_again(struct ts_request *r, const char *buf,
                                  const char *end)
{
    const char *p = buf, *target;

    while (p < end && ts_is(TS_OCTET_TOKEN, *p))
        p++;
    if (p == buf || p == end || *p != ' ')
        return TS_REFUSE_LINE;
    r->method = (struct ts_span){0, offset(buf, p)};
    target = ++p;
    while (p < end && ts_is(TS_OCTET_TARGET, *p))
        p++;
    r->target = (struct ts_span){offset(buf, target), offset(target, p)};
    if (p == target)
        return TS_REFUSE_LINE;
    if (end - p == 1 + VERSION_LEN && *p == ' ') {
        if (is_version(p + 1)) { /* the line end was LF alone */
            r->minor = (uint8_t)(p[1 + MINOR] - '0');
            return TS_REFUSE_NONE;
        }
        if (is_other_version(p + 1))
            return TS_REFUSE_VERSION;
    }
    /* HTTP/0.9; and a space may follow, where CPython's tests left the version
     * out. */
    if (p < end && *p == ' ')
        p++;
    if (p < end || r->method.len != 3 || memcmp(buf, "GET", 3) != 0 ||
        (*target != '/' &&
         (r->target.len < 7 || memcmp(target, "http://", 7) != 0)))
        return TS_REFUSE_LINE;
    r->general = true;
    r->minor = 0;
    return TS_REFUSE_NONE;
}

/* PARTIAL, COMPLETE, REFUSED. */
static enum ts_scan scan_line(struct ts_request *r, const char *buf, size_t len,
                              const struct ts_limits *limits)
{
    const char *p = buf + r->at, *const end = buf + len, *from = p;
    enum state state = (enum state)r->state;
    enum ts_refusal wrong;
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
        if (i == 0 && end - p >= VERSION_LEN + 2 && is_version(p) &&
            p[8] == '\r' && p[9] == '\n') {
            r->minor = (uint8_t)(p[MINOR] - '0');
            i = VERSION_LEN + 2;
            p += i;
        }
        for (; i < VERSION_LEN + 2; i++, p++) {
            if (p == end)
                goto more;
            if (i == MINOR && *p >= '0' && *p <= '9')
                r->minor = (uint8_t)(*p - '0');
            else if (*p != "HTTP/1.1\r\n"[i])
                goto odd;
        }
        line_len = offset(buf, p);
        line_end = line_len - 2;
        wrong = TS_REFUSE_NONE;
        goto ended;
    case LINE_ODD:
        goto odd;
    default:
        TS_ASSERT(0 && "a request line that has not ended");
        return refuse(r, TS_REFUSE_LINE);
    }

odd:
    state = LINE_ODD;
    p = find_lf(p, end);
    if (p == end)
        goto more;
    p++;
    line_len = offset(buf, p);
    line_end = line_len - 1;
    if (line_end > 0 && buf[line_end - 1] == '\r')
        line_end--;
    wrong = line_len > limits->max_request_line
                ? TS_REFUSE_NONE
                : look_again(r, buf, buf + line_end);

ended: /* p is after its LF */
    LOOKED(r, p - from);
    if (line_len > limits->max_request_line)
        return refuse(r, TS_REFUSE_LINE_LENGTH);
    r->line = (struct ts_span){0, line_end};
    r->line_len = r->start = r->at = line_len;
    if (wrong != TS_REFUSE_NONE)
        return refuse(r, wrong);
    r->state = FIELD_START;
    r->form = ts_target_form(buf, r->method.len, buf + r->target.off,
                             r->target.len, &r->authority);
    if (TS_UNLIKELY(r->form == TS_TARGET_BAD))
        return refuse(r, TS_REFUSE_TARGET);
    r->authority.off += r->target.off;
    return TS_SCAN_COMPLETE;

more:
    LOOKED(r, end - from);
    r->at = offset(buf, end);
    r->state = (uint8_t)state;
    return len > limits->max_request_line ? refuse(r, TS_REFUSE_LINE_LENGTH)
                                          : TS_SCAN_PARTIAL;
}

/* ---- header lines -------------------------------------------------------- */

/* Whether a line is too long that has come to the octet `at`. */
static bool is_over(const struct ts_request *r, uint32_t at,
                    const struct ts_limits *limits)
{
    return TS_UNLIKELY(at - r->start > limits->max_line);
}

/* Lines from p on, as many as are whole and right; returns where the first other
 * one begins. All the states of scan_fields() in one go, for lines that leave
 * them no choice; what is unusual, a limit too, is left to them untouched.
 * Apart from them, or the two compete for registers. */
__attribute__((noinline)) static const char *
scan_lines(struct ts_request *r, const char *buf, const char *p,
           const char *end, const struct ts_limits *limits)
{
    struct window w = window_open(limits->simd, p, end);
    uint32_t n_fields = r->n_fields, n_lines = r->n_lines;
    const char *stop = end; /* no line may end after it */

    if ((size_t)(end - buf) - r->line_len > limits->max_head)
        stop = buf + r->line_len + limits->max_head;
    for (; n_fields < TS_MAX_FIELDS && n_lines < limits->max_headers;
         n_fields++, n_lines++) {
        struct ts_field *field = &r->fields[n_fields];
        const char *colon = window_skip(&w, WINDOW_TOKEN, p);
        const char *cr = window_skip(&w, WINDOW_TEXT, p);
        const char *value = colon + 1, *value_end = cr;

        if (end - cr < 2 || cr[0] != '\r' || cr[1] != '\n' || *colon != ':' ||
            colon == p || (size_t)(cr + 2 - p) > limits->max_line ||
            cr + 2 > stop)
            break;
        while (ts_is_ows(*value)) /* no further than to the CR */
            value++;
        while (value_end > value && ts_is_ows(value_end[-1]))
            value_end--;
        field->name.off = offset(buf, p);
        field->name.len = (uint32_t)(colon - p);
        field->value.off = offset(buf, value);
        field->value.len = (uint32_t)(value_end - value);
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
    enum ts_refusal wrong;
    const char *from = p;
    bool in_lines = false;

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
        /* Once in a call: what it stops at ends the call, or the whole lines.
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
        if (*p != ':' || field->name.len == 0) {
            wrong = *p == '\r'                                 ? TS_REFUSE_FIELD_COLON
                    : *p == '\n'                               ? TS_REFUSE_FIELD_END
                    : ts_is_ows(*p) && field->name.len == 0 ? TS_REFUSE_FOLD
                                                            : TS_REFUSE_FIELD_NAME;
            goto refuse;
        }
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
        if (*p != '\r') {
            wrong = *p == '\n' ? TS_REFUSE_FIELD_END : TS_REFUSE_FIELD_VALUE;
            goto refuse;
        }
        field->value.len = offset(buf, p) - field->value.off;
        while (field->value.len > 0 &&
               ts_is_ows(buf[field->value.off + field->value.len - 1]))
            field->value.len--;
        p++;
        state = FIELD_CR;
        /* fall through */
    case FIELD_CR:
        if (p == end)
            goto more;
        if (*p != '\n') {
            wrong = TS_REFUSE_FIELD_VALUE;
            goto refuse;
        }
        p++;
        if (ts_framing_cares(field->name.len))
            ts_framing_field(r, buf, field);
        if (TS_LIKELY(r->n_fields < TS_MAX_FIELDS))
            r->n_fields++;
        else
            r->general = true;
        break;

    case BLANK_CR:
    blank_cr:
        state = BLANK_CR;
        if (p == end)
            goto more;
        if (*p != '\n') {
            wrong = TS_REFUSE_FIELD_NAME;
            goto refuse;
        }
        p++;
        r->head_len = offset(buf, p);
        break;

    default:
        TS_ASSERT(0 && "a head that has not ended");
        return refuse(r, TS_REFUSE_FIELD_NAME);
    }

    /* p is after the LF of a line */
    LOOKED(r, p - from);
    from = p;
    if (is_over(r, offset(buf, p), limits))
        return refuse(r, TS_REFUSE_FIELD_LENGTH);
    r->start = offset(buf, p);
    if (TS_UNLIKELY(r->start - r->line_len > limits->max_head))
        return refuse(r, TS_REFUSE_HEAD_LENGTH);
    if (++r->n_lines > limits->max_headers)
        return refuse(r, TS_REFUSE_FIELDS);
    if (r->head_len == 0)
        goto start;
    r->state = ENDED;
    ts_framing_settle(r);
    return TS_UNLIKELY(r->general) ? TS_SCAN_GENERAL : TS_SCAN_COMPLETE;

more:
    LOOKED(r, end - from);
    r->at = offset(buf, end);
    r->state = (uint8_t)state;
    if (len == UINT32_MAX)
        return refuse(r, TS_REFUSE_HEAD_LENGTH);
    return is_over(r, r->at, limits) ? refuse(r, TS_REFUSE_FIELD_LENGTH)
                                     : TS_SCAN_PARTIAL;

refuse: /* *p is the octet */
    LOOKED(r, p - from);
    if (is_over(r, offset(buf, p), limits))
        wrong = TS_REFUSE_FIELD_LENGTH;
    return refuse(r, wrong);
}

/* ---- the header file, in its order --------------------------------------- */

void ts_limits_init(struct ts_limits *limits)
{
    limits->max_request_line = TS_MAX_REQUEST_LINE;
    limits->max_line = 65536;
    limits->max_headers = 100;
    limits->max_head = 65536;
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
        enum ts_scan line = scan_line(r, buf, len, limits);
        if (line != TS_SCAN_COMPLETE)
            return line;
        if (r->general && limits->bare_09) {
            r->state = ENDED;
            return TS_SCAN_GENERAL;
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
    enum ts_scan line;

    if (len > UINT32_MAX)
        len = UINT32_MAX;
    TS_ASSERT(r->state <= LINE_ODD && r->at <= len);
    line = scan_line(r, buf, len, limits);
    if (line != TS_SCAN_COMPLETE)
        return line;
    r->state = ENDED;
    return r->general ? TS_SCAN_GENERAL : TS_SCAN_COMPLETE;
}
