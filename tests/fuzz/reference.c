/* reference: see reference.h. */
#include "reference.h"

#include <string.h>
#include <strings.h>

/* ---- classes of octets (RFC 9110, 5.5 and 5.6.2; RFC 3986, 2) ------------ */

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_in(const char *set, int c)
{
    return c != 0 && strchr(set, c) != NULL;
}

static bool is_token(int c)
{
    return is_digit(c) || is_alpha(c) || is_in("!#$%&'*+-.^_`|~", c);
}

static bool is_vchar(int c)
{
    return c > 0x20 && c < 0x7f;
}

static bool is_blank(int c)
{
    return c == ' ' || c == '\t';
}

static bool is_text(int c)
{
    return is_vchar(c) || is_blank(c) || c >= 0x80;
}

static int at(const char *p)
{
    return (unsigned char)*p;
}

static const char *skip(const char *p, const char *end, bool of_class(int))
{
    while (p < end && of_class(at(p)))
        p++;
    return p;
}

/* [p, end) without the white space around it. */
static void trim(const char **p, const char **end)
{
    *p = skip(*p, *end, is_blank);
    while (*end > *p && is_blank(at(*end - 1)))
        --*end;
}

static bool is(const char *p, const char *end, const char *word)
{
    return (size_t)(end - p) == strlen(word) &&
           strncasecmp(p, word, strlen(word)) == 0;
}

/* ---- Host and targets ---------------------------------------------------- */

static bool is_port(const char *p, const char *end)
{
    unsigned long port = 0;

    for (; p < end; p++) {
        if (!is_digit(at(p)))
            return false;
        port = port * 10 + (unsigned long)(at(p) - '0');
        if (port > 65535)
            return false;
    }
    return true;
}

static bool is_ipv4(const char *p, const char *end)
{
    for (int i = 0; i < 4; i++) {
        const char *from = p;
        int n = 0;

        if (i > 0 && (p == end || *p++ != '.'))
            return false;
        from = p;
        while (p < end && is_digit(at(p)) && p - from < 4)
            n = n * 10 + at(p++) - '0';
        if (p == from || n > 255 || (p - from > 1 && *from == '0'))
            return false;
    }
    return p == end;
}

/* RFC 3986, 3.2.2: eight groups of 16 bits, the last two perhaps as IPv4, and
 * once "::" for one group or more. */
static bool is_ipv6(const char *p, const char *end)
{
    int groups = 0;
    bool gap = false;

    if (end - p >= 2 && p[0] == ':' && p[1] == ':') {
        gap = true;
        p += 2;
        if (p == end)
            return true;
    }
    for (;;) {
        const char *from = p;

        p = skip(p, end, is_hex);
        if (p < end && *p == '.') {
            groups += 2;
            return is_ipv4(from, end) && (gap ? groups <= 7 : groups == 8);
        }
        if (p == from || p - from > 4)
            return false;
        groups++;
        if (p == end)
            return gap ? groups <= 7 : groups == 8;
        if (*p++ != ':')
            return false;
        if (p < end && *p == ':') {
            if (gap)
                return false;
            gap = true;
            if (++p == end)
                return groups <= 7;
        } else if (p == end) {
            return false;
        }
    }
}

static bool is_ip_future(const char *p, const char *end)
{
    const char *from;

    if (p == end || (*p != 'v' && *p != 'V'))
        return false;
    from = ++p;
    p = skip(p, end, is_hex);
    if (p == from || p == end || *p != '.')
        return false;
    from = ++p;
    while (p < end && (is_alpha(at(p)) || is_digit(at(p)) ||
                       is_in("-._~!$&'()*+,;=:", at(p))))
        p++;
    return p > from && p == end;
}

/* uri-host [ ":" port ] */
static bool is_authority(const char *p, const char *end, bool needs_port)
{
    const char *host = p;

    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));

        if (close == NULL ||
            (!is_ipv6(p + 1, close) && !is_ip_future(p + 1, close)))
            return false;
        p = close + 1;
    } else {
        while (p < end && *p != ':') {
            if (*p == '%') {
                if (end - p < 3 || !is_hex(at(p + 1)) || !is_hex(at(p + 2)))
                    return false;
                p += 3;
            } else if (is_alpha(at(p)) || is_digit(at(p)) ||
                       is_in("-._~!$&'()*+,;=", at(p))) {
                p++;
            } else {
                return false;
            }
        }
        if (p == host)
            return false;
    }
    if (p == end)
        return !needs_port;
    if (*p++ != ':' || !is_port(p, end))
        return false;
    if (!needs_port)
        return true;
    while (p < end && *p == '0')
        p++;
    return p < end;
}

/* GOOD for origin-form and the plainest other ones. */
static enum reading read_target(const char *p, const char *end, bool connect,
                                bool options)
{
    const char *colon;

    if (connect)
        return is_authority(p, end, true) ? READ_GOOD : READ_BAD;
    if (*p == '/')
        return READ_GOOD;
    if (end - p == 1 && *p == '*')
        return options ? READ_GOOD : READ_BAD;
    colon = p;
    while (colon < end && !is_in(":/?", at(colon)))
        colon++;
    if (colon == end || *colon != ':')
        return READ_OPEN; /* no form of the RFC; tolerated where it does no harm */
    if (!is_alpha(at(p)))
        return READ_BAD;
    for (; p < colon; p++)
        if (!is_alpha(at(p)) && !is_digit(at(p)) && !is_in("+-.", at(p)))
            return READ_BAD;
    if (end - colon < 3 || colon[1] != '/' || colon[2] != '/')
        return READ_BAD;
    p = colon + 3;
    colon = p;
    while (p < end && *p != '/' && *p != '?')
        p++;
    return is_authority(colon, p, false) ? READ_GOOD : READ_BAD;
}

/* ---- the head ------------------------------------------------------------ */

struct facts {
    unsigned hosts;
    unsigned lengths;
    const char *length; /* the last one */
    ptrdiff_t length_len;
    bool coding;   /* a Transfer-Encoding field */
    bool chunked;  /* ... whose last coding so far is chunked */
    bool upgrade;
    bool upgrade_option; /* in Connection */
    bool expects_else;
    enum reading verdict;
};

static void worse(struct facts *f, enum reading verdict)
{
    if (f->verdict == READ_GOOD || verdict == READ_BAD)
        f->verdict = verdict;
}

/* The elements of a comma-separated list, empty ones included: the next one at
 * *p, or false after the last. */
static bool element(const char **p, const char *end, const char **from,
                    const char **to)
{
    if (*p > end)
        return false;
    *from = *p;
    while (*p < end && **p != ',')
        ++*p;
    *to = *p;
    ++*p;
    trim(from, to);
    return true;
}

static void read_coding(struct facts *f, const char *p, const char *end)
{
    const char *from, *to;

    f->coding = true;
    while (element(&p, end, &from, &to)) {
        if (f->chunked || !is(from, to, "chunked"))
            worse(f, READ_BAD);
        else
            f->chunked = true;
    }
}

static void read_field(struct facts *f, struct ref_head *h, const char *name,
                       const char *colon, const char *p, const char *end)
{
    const char *from, *to;

    trim(&p, &end);
    if (is(name, colon, "host")) {
        f->hosts++;
        if (!is_authority(p, end, false))
            worse(f, READ_BAD);
    } else if (is(name, colon, "content-length")) {
        int64_t n = 0;

        if (p == end)
            worse(f, READ_BAD);
        for (from = p; from < end; from++) {
            int digit = at(from) - '0';

            if (digit < 0 || digit > 9 || n > (INT64_MAX - digit) / 10) {
                worse(f, READ_BAD);
                return;
            }
            n = n * 10 + digit;
        }
        /* Several have to be the same octet by octet. */
        if (f->lengths++ > 0 &&
            (f->length_len != end - p || memcmp(f->length, p, (size_t)(end - p))))
            worse(f, READ_BAD);
        f->length = p;
        f->length_len = end - p;
        h->content_length = n;
    } else if (is(name, colon, "transfer-encoding")) {
        read_coding(f, p, end);
    } else if (is(name, colon, "connection")) {
        while (element(&p, end, &from, &to)) {
            if (is(from, to, "close"))
                h->close = true;
            if (is(from, to, "upgrade"))
                f->upgrade_option = true;
        }
    } else if (is(name, colon, "upgrade")) {
        f->upgrade = true;
    } else if (is(name, colon, "expect")) {
        h->expect = true;
        while (element(&p, end, &from, &to))
            if (from < to && !is(from, to, "100-continue"))
                f->expects_else = true;
    }
}

#define MAX_LINE 65536
#define MAX_LINES 100
#define MAX_FIELDS_LENGTH 65536

/* "token SP target SP HTTP/1.DIGIT CRLF" */
static enum reading read_line(const char *p, const char *lf, struct ref_head *h,
                              bool *connect)
{
    const char *method = p, *target, *end = lf;
    enum reading verdict = READ_GOOD, form;

    if (end > p && end[-1] == '\r')
        end--;
    else
        verdict = READ_OPEN; /* LF alone is tolerated here */
    p = skip(p, end, is_token);
    if (p == method || p == end || *p != ' ')
        return READ_BAD;
    *connect = p - method == 7 && memcmp(method, "CONNECT", 7) == 0;
    target = p + 1;
    p = skip(target, end, is_vchar);
    if (p == target)
        return READ_BAD;
    form = read_target(target, p, *connect,
                       target - method == 8 && memcmp(method, "OPTIONS", 7) == 0);
    if (end - p != 9 || memcmp(p, " HTTP/1.", 8) != 0 || !is_digit(at(p + 8)))
        return READ_BAD;
    h->minor = (unsigned)(p[8] - '0');
    if (form != READ_GOOD)
        verdict = form;
    return verdict;
}

enum reading ref_head(const char *buf, size_t len, struct ref_head *h)
{
    const char *p = buf, *const end = buf + len, *lf;
    struct facts f = {.verdict = READ_GOOD};
    bool connect = false;
    unsigned lines = 0;
    size_t fields_length = 0;

    *h = (struct ref_head){.content_length = -1};
    lf = memchr(p, '\n', (size_t)(end - p));
    if (lf == NULL)
        return READ_MORE;
    worse(&f, read_line(p, lf, h, &connect));
    h->line_len = (size_t)(lf + 1 - buf);
    if (lf + 1 - p > MAX_LINE)
        worse(&f, READ_BAD);
    if (f.verdict == READ_BAD)
        return READ_BAD;
    for (p = lf + 1;; p = lf + 1) {
        const char *colon;

        lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL) /* what is wrong already stays wrong */
            return f.verdict == READ_BAD ? READ_BAD : READ_MORE;
        fields_length += (size_t)(lf + 1 - p);
        if (lf + 1 - p > MAX_LINE || ++lines > MAX_LINES ||
            fields_length > MAX_FIELDS_LENGTH + 2)
            return READ_BAD;
        if (fields_length > MAX_FIELDS_LENGTH - 2)
            worse(&f, READ_OPEN); /* whether the blank line counts */
        if (lf == p || lf[-1] != '\r')
            return READ_BAD;
        if (lf - p == 1)
            break;
        h->fields++;
        colon = skip(p, lf - 1, is_token);
        if (colon == p || colon == lf - 1 || *colon != ':' ||
            skip(colon + 1, lf - 1, is_text) != lf - 1)
            return READ_BAD;
        read_field(&f, h, p, colon, colon + 1, lf - 1);
    }
    h->len = (size_t)(lf + 1 - buf);
    h->chunked = f.coding;
    h->tunnel = connect || (f.upgrade && f.upgrade_option && h->minor > 0);
    if (f.hosts > 1 || (f.hosts == 0 && h->minor > 0))
        worse(&f, READ_BAD);
    if (f.coding && (f.lengths > 0 || h->minor == 0 || !f.chunked))
        worse(&f, READ_BAD);
    if (f.expects_else && h->minor > 0)
        worse(&f, READ_BAD);
    return f.verdict;
}

/* ---- the chunked coding -------------------------------------------------- */

#define CHUNK_LINE 4096
#define EXTENSIONS 8192
#define TRAILERS 8192

static const char *const forbidden[] = {
    "content-length", "transfer-encoding", "host", "connection", "trailer",
    "te", "authorization", "cookie", "set-cookie", "content-type",
    "content-encoding", "content-range", "expect", "range", "upgrade",
};

/* What comes of the octets when they have run out at p. */
#define MORE_AT(p) \
    do { \
        if ((p) == end) \
            return READ_MORE; \
    } while (0)

/* *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ), from *at on;
 * GOOD: *at is at a CR that ends it. */
static enum reading read_extensions(const char **at_, const char *end)
{
    const char *p = *at_, *from;

    for (;;) {
        from = p;
        p = skip(p, end, is_blank);
        MORE_AT(p);
        if (*p == '\r' && p == from) {
            *at_ = p;
            return READ_GOOD;
        }
        if (*p != ';')
            return READ_BAD;
        p = skip(p + 1, end, is_blank);
        MORE_AT(p);
        from = p;
        p = skip(p, end, is_token);
        MORE_AT(p);
        if (p == from)
            return READ_BAD;
        from = p;
        p = skip(p, end, is_blank);
        MORE_AT(p);
        if (*p != '=') {
            p = from;
            continue;
        }
        p = skip(p + 1, end, is_blank);
        MORE_AT(p);
        if (*p != '"') {
            from = p;
            p = skip(p, end, is_token);
            MORE_AT(p);
            if (p == from)
                return READ_BAD;
            continue;
        }
        for (p++;; p++) {
            MORE_AT(p);
            if (*p == '"')
                break;
            if (*p == '\\') {
                p++;
                MORE_AT(p);
            }
            if (!is_text(at(p)))
                return READ_BAD;
        }
        p++;
    }
}

/* What is wrong within the first `most` octets counts; what is only too long,
 * when that many have come and the end is not among them. */
static enum reading bounded(enum reading verdict, const char *from,
                            const char *stop, const char *end, size_t most)
{
    if (verdict == READ_MORE)
        return (size_t)(end - from) > most ? READ_BAD : READ_MORE;
    if (verdict == READ_GOOD && (size_t)(stop - from) > most)
        return READ_BAD;
    return verdict;
}

static enum reading read_crlf(const char **p, const char *end)
{
    if (*p == end)
        return READ_MORE;
    if (**p != '\r')
        return READ_BAD;
    if (++*p == end)
        return READ_MORE;
    return *(*p)++ == '\n' ? READ_GOOD : READ_BAD;
}

/* The size line at *at. *extensions: octets between size and line end. */
static enum reading read_size(const char **at_, const char *end, uint64_t *size,
                              size_t *extensions)
{
    const char *p = *at_, *digits = p;
    enum reading verdict;

    *size = 0;
    for (; p < end && is_hex(at(p)); p++) {
        if (*size > (uint64_t)INT64_MAX >> 4)
            return READ_BAD;
        *size = *size * 16 +
                (uint64_t)(is_digit(at(p)) ? *p - '0' : (*p | 0x20) - 'a' + 10);
    }
    MORE_AT(p);
    if (p == digits)
        return READ_BAD;
    digits = p;
    verdict = read_extensions(&p, end);
    *extensions = (size_t)((verdict == READ_MORE ? end : p) - digits);
    if (verdict == READ_GOOD)
        verdict = read_crlf(&p, end);
    *at_ = p;
    return verdict;
}

static enum reading read_trailers(const char **at_, const char *end, bool *open)
{
    const char *p = *at_;

    for (;;) {
        const char *name = p, *colon;

        MORE_AT(p);
        if (*p == '\r') {
            enum reading verdict = read_crlf(&p, end);
            *at_ = p;
            return verdict;
        }
        p = colon = skip(p, end, is_token);
        MORE_AT(p);
        if (p == name || *p != ':')
            return READ_BAD;
        for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
            if (is(name, colon, forbidden[i])) {
                p = skip(p + 1, end, is_text);
                *open = p == end; /* said at the colon, or at the line's end */
                return READ_BAD;
            }
        p = skip(p + 1, end, is_text);
        enum reading verdict = read_crlf(&p, end);
        if (verdict != READ_GOOD)
            return verdict;
    }
}

enum reading ref_chunked(const char *buf, size_t len, size_t *stop, char *data,
                         size_t *n_data)
{
    const char *p = buf, *const end = buf + len;
    size_t extensions = 0;
    bool open = false;

    *n_data = 0;
    *stop = 0;
    for (;;) {
        const char *line = p;
        uint64_t size;
        size_t more = 0;
        enum reading verdict = read_size(&p, end, &size, &more);

        verdict = bounded(verdict, line, p, end, CHUNK_LINE);
        extensions += more;
        if (verdict == READ_BAD)
            return READ_BAD;
        if (extensions > EXTENSIONS)
            return READ_OPEN; /* what exactly counts */
        if (verdict != READ_GOOD)
            return verdict;
        if (size == 0)
            break;
        if ((uint64_t)(end - p) < size) {
            memcpy(data + *n_data, p, (size_t)(end - p));
            *n_data += (size_t)(end - p);
            return READ_MORE;
        }
        memcpy(data + *n_data, p, (size_t)size);
        *n_data += (size_t)size;
        p += size;
        verdict = read_crlf(&p, end);
        if (verdict != READ_GOOD)
            return verdict;
    }
    const char *trailers = p;
    enum reading verdict = read_trailers(&p, end, &open);
    verdict = bounded(verdict, trailers, p, end, TRAILERS);
    if (open)
        return READ_OPEN;
    *stop = (size_t)(p - buf);
    return verdict;
}
