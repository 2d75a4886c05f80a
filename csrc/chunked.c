/* One state for each place in the grammar of chunked.h, and one octet a step,
 * but for the data, which is passed over in one go. `count` bounds whatever is
 * not data: it starts again at each size line, and at the trailer section. */
#include "chunked.h"

#include "scan_simd.h"

enum state {
    SIZE_FIRST, /* 0; at least one HEXDIG has to come */
    SIZE,
    EXT_SPACE, /* after the size: BWS, which only ";" may end */
    EXT,
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

/* Where an octet that is not data leads to. */
static enum state step(struct ts_chunked *c, char octet)
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
    case EXT_SPACE:
        if (octet == ' ' || octet == '\t')
            return EXT_SPACE;
        if (octet == ';')
            return EXT;
        return octet == '\r' && c->state == SIZE ? SIZE_CR : MALFORMED;
    case EXT:
        if (octet == '\r')
            return SIZE_CR;
        return ts_is(TS_OCTET_TEXT, octet) ? EXT : MALFORMED;
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
        return ts_is(TS_OCTET_TOKEN, octet) ? TRAILER_NAME : MALFORMED;
    case TRAILER_NAME:
        if (octet == ':')
            return TRAILER_VALUE;
        return ts_is(TS_OCTET_TOKEN, octet) ? TRAILER_NAME : MALFORMED;
    case TRAILER_VALUE:
        if (octet == '\r')
            return TRAILER_CR;
        return ts_is(TS_OCTET_TEXT, octet) ? TRAILER_VALUE : MALFORMED;
    case TRAILER_CR:
        return octet == '\n' ? TRAILER_START : MALFORMED;
    case LAST_CR:
        return octet == '\n' ? ENDED : MALFORMED;
    case DATA:
    case ENDED:
    case MALFORMED:
        break;
    }
    TS_ASSERT(0 && "a state that takes octets");
    return MALFORMED;
}

enum ts_chunk ts_chunked_next(struct ts_chunked *c, const char *buf, size_t len,
                              size_t *used, struct ts_span *data)
{
    size_t at = 0;

    if (len > UINT32_MAX)
        len = UINT32_MAX;
    for (; at < len && c->state < ENDED; at++) {
        enum state next;
        uint32_t max;

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
        max = c->state < TRAILER_START ? TS_CHUNK_LINE_MAX
                                       : TS_CHUNK_TRAILER_MAX;
        next = ++c->count > max ? MALFORMED : step(c, buf[at]);
        c->state = (uint8_t)next;
        if (next == MALFORMED)
            break;
    }
    *used = at;
    if (c->state == ENDED)
        return TS_CHUNK_DONE;
    return c->state == MALFORMED ? TS_CHUNK_BAD : TS_CHUNK_MORE;
}
