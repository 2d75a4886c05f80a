/* One state for each place in the grammar of chunked.h, and one octet a step,
 * but for the data, which is passed over in one go. `count` bounds whatever is
 * not data: it starts again at each size line, and at the trailer section.
 * Names of trailers are compared by a hash, for nothing is kept of them.
 */
#include "chunked.h"

#include "scan_simd.h"

#include <stdatomic.h>

enum state {
    SIZE_FIRST, /* 0; at least one HEXDIG has to come */
    SIZE,
    EXT_BEFORE, /* after size, name or value: BWS, which only ";" may end */
    EXT_NAME_FIRST, /* after ";" and BWS */
    EXT_NAME,
    EXT_EQUALS, /* BWS after a name: "=" or ";" */
    EXT_VALUE_FIRST, /* after "=" and BWS */
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPED, /* after a backslash */
    EXT_QUOTED_END,
    SIZE_CR, /* CR of the size line seen */
    DATA,
    DATA_END, /* CR has to come */
    DATA_CR,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_CR,
    LAST_CR, /* CR of the final blank line seen */
    ENDED,
    MALFORMED,
};

void ts_chunk_limits_init(struct ts_chunk_limits *limits)
{
    limits->line = TS_CHUNK_LINE_MAX;
    limits->extensions = TS_CHUNK_EXTENSIONS_MAX;
    limits->trailers = TS_CHUNK_TRAILER_MAX;
}

void ts_chunked_init(struct ts_chunked *c)
{
    *c = (struct ts_chunked){0};
}

/* The digit's value, or 16. */
static inline uint32_t hex_digit(char octet)
{
    uint32_t c = (uint8_t)octet, lower = c | 0x20;
    if (c - '0' < 10)
        return c - '0';
    return lower - 'a' < 6 ? lower - 'a' + 10 : 16;
}

/* ---- names of trailers --------------------------------------------------- */

/* FNV-1a, 64 bits, of a name in lower case. */
#define HASH_START 0xcbf29ce484222325u

static inline uint64_t hash_on(uint64_t hash, char octet)
{
    uint8_t c = (uint8_t)octet;
    if (c >= 'A' && c <= 'Z')
        c |= 0x20;
    return (hash ^ c) * 0x100000001b3u;
}

/* Fields that a trailer section may not have (RFC 9110, 6.5.1). */
static const char *const forbidden[] = {
    /* framing and routing */
    "content-length", "transfer-encoding", "host", "trailer", "connection",
    "keep-alive", "proxy-connection", "upgrade", "te",
    /* request modifiers */
    "cache-control", "expect", "max-forwards", "pragma", "range", "if-match",
    "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    /* who it is */
    "authorization", "proxy-authorization", "cookie", "set-cookie",
    "www-authenticate", "proxy-authenticate", "authentication-info",
    /* what the content is */
    "content-encoding", "content-type", "content-range", "content-location",
    "content-language",
};

#define N_FORBIDDEN (sizeof forbidden / sizeof *forbidden)

/* Their hashes, each when it is first wanted (0: not yet). */
static _Atomic uint64_t hashes[N_FORBIDDEN];

static bool is_forbidden(uint64_t hash)
{
    for (size_t i = 0; i < N_FORBIDDEN; i++) {
        uint64_t known = atomic_load_explicit(&hashes[i], memory_order_relaxed);
        if (TS_UNLIKELY(known == 0)) {
            known = HASH_START;
            for (const char *p = forbidden[i]; *p != '\0'; p++)
                known = hash_on(known, *p);
            atomic_store_explicit(&hashes[i], known, memory_order_relaxed);
        }
        if (known == hash)
            return true;
    }
    return false;
}

/* ---- the states ---------------------------------------------------------- */

static enum state size_line(struct ts_chunked *c, char octet)
{
    uint32_t digit;

    switch ((enum state)c->state) {
    case SIZE_FIRST:
    case SIZE:
        digit = hex_digit(octet);
        if (digit < 16) {
            if (c->size > (uint64_t)INT64_MAX >> 4)
                return MALFORMED;
            c->size = c->size << 4 | digit;
            return SIZE;
        }
        if (c->state == SIZE_FIRST)
            return MALFORMED;
        /* fall through */
    case EXT_QUOTED_END:
    after_item:
        if (octet == '\r')
            return SIZE_CR;
        /* fall through */
    case EXT_BEFORE:
        if (octet == ';')
            return EXT_NAME_FIRST;
        return ts_is_ows(octet) ? EXT_BEFORE : MALFORMED;
    case EXT_NAME_FIRST:
        if (ts_is_ows(octet))
            return EXT_NAME_FIRST;
        return ts_is(TS_OCTET_TOKEN, octet) ? EXT_NAME : MALFORMED;
    case EXT_NAME:
        if (ts_is(TS_OCTET_TOKEN, octet))
            return EXT_NAME;
        if (octet == '\r')
            return SIZE_CR;
        /* fall through */
    case EXT_EQUALS:
        if (octet == '=')
            return EXT_VALUE_FIRST;
        if (octet == ';')
            return EXT_NAME_FIRST;
        return ts_is_ows(octet) ? EXT_EQUALS : MALFORMED;
    case EXT_VALUE_FIRST:
        if (ts_is_ows(octet))
            return EXT_VALUE_FIRST;
        if (octet == '"')
            return EXT_QUOTED;
        return ts_is(TS_OCTET_TOKEN, octet) ? EXT_TOKEN : MALFORMED;
    case EXT_TOKEN:
        if (ts_is(TS_OCTET_TOKEN, octet))
            return EXT_TOKEN;
        goto after_item;
    case EXT_QUOTED:
        if (octet == '"')
            return EXT_QUOTED_END;
        if (octet == '\\')
            return EXT_ESCAPED;
        return ts_is(TS_OCTET_TEXT, octet) ? EXT_QUOTED : MALFORMED;
    case EXT_ESCAPED:
        return ts_is(TS_OCTET_TEXT, octet) ? EXT_QUOTED : MALFORMED;
    default:
        TS_ASSERT(0 && "a state of a size line");
        return MALFORMED;
    }
}

/* Where an octet that is not data leads to. */
static enum state step(struct ts_chunked *c, char octet)
{
    switch ((enum state)c->state) {
    case SIZE_CR:
        if (octet != '\n')
            return MALFORMED;
        c->count = 0;
        c->left = c->size;
        c->size = 0;
        return c->left > 0 ? DATA : TRAILER_START;
    case DATA_END:
        return octet == '\r' ? DATA_CR : MALFORMED;
    case DATA_CR:
        c->count = 0;
        return octet == '\n' ? SIZE_FIRST : MALFORMED;
    case TRAILER_START:
        if (octet == '\r')
            return LAST_CR;
        c->size = HASH_START;
        /* fall through */
    case TRAILER_NAME:
        if (octet == ':' && c->state == TRAILER_NAME)
            return is_forbidden(c->size) ? MALFORMED : TRAILER_VALUE;
        c->size = hash_on(c->size, octet);
        return ts_is(TS_OCTET_TOKEN, octet) ? TRAILER_NAME : MALFORMED;
    case TRAILER_VALUE:
        if (octet == '\r')
            return TRAILER_CR;
        return ts_is(TS_OCTET_TEXT, octet) ? TRAILER_VALUE : MALFORMED;
    case TRAILER_CR:
        return octet == '\n' ? TRAILER_START : MALFORMED;
    case LAST_CR:
        return octet == '\n' ? ENDED : MALFORMED;
    default:
        return size_line(c, octet);
    }
}

enum ts_chunk ts_chunked_next(struct ts_chunked *c, const char *buf, size_t len,
                              const struct ts_chunk_limits *limits,
                              size_t *used, struct ts_span *data)
{
    size_t at = 0;

    if (len > UINT32_MAX)
        len = UINT32_MAX;
    for (; at < len && c->state < ENDED; at++) {
        enum state next;
        bool over;

        if (c->state == DATA) {
            uint64_t n = c->left < len - at ? c->left : len - at;
            TS_ASSERT(n > 0);
            *data = (struct ts_span){(uint32_t)at, (uint32_t)n};
            *used = at + (size_t)n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_END;
            return TS_CHUNK_DATA;
        }
        over = ++c->count >
               (c->state < TRAILER_START ? limits->line : limits->trailers);
        next = over ? MALFORMED : step(c, buf[at]);
        if (next >= EXT_BEFORE && next <= EXT_QUOTED_END &&
            ++c->extensions > limits->extensions)
            next = MALFORMED;
        c->state = (uint8_t)next;
        if (next == MALFORMED)
            break;
    }
    *used = at;
    if (c->state == ENDED)
        return TS_CHUNK_DONE;
    return c->state == MALFORMED ? TS_CHUNK_BAD : TS_CHUNK_MORE;
}
