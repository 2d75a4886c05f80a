/* body: see body.h. */
#include "body.h"

/* Follows the chunked coding over data[0, len): how many octets are its. */
static size_t follow(struct ts_body *body, const char *data, size_t len,
                     const struct ts_chunk_limits *limits)
{
    size_t at = 0;
    while (at < len && body->kind == TS_BODY_CHUNKED) {
        size_t used = 0;
        struct ts_span piece;
        switch (ts_chunked_next(&body->chunked, data + at, len - at, limits,
                                &used, &piece)) {
        case TS_CHUNK_DONE:
            body->kind = TS_BODY_NONE;
            break;
        case TS_CHUNK_BAD:
            body->kind = TS_BODY_BAD;
            break;
        case TS_CHUNK_DATA:
            body->content += piece.len;
            break;
        case TS_CHUNK_MORE:
            break;
        }
        at += used;
    }
    return at;
}

static size_t least(size_t a, int64_t b)
{
    return (uint64_t)b < a ? (size_t)b : a;
}

/* Decoding: passes over what is no content, and shows the content after it. */
static void peek_content(struct ts_body *body, const char *data, size_t len,
                         const struct ts_chunk_limits *limits, size_t *skip,
                         size_t *n)
{
    struct ts_chunked ahead = body->chunked;
    struct ts_span piece;
    size_t used;

    switch (ts_chunked_next(&ahead, data, len, limits, &used, &piece)) {
    case TS_CHUNK_DATA:
        *n = piece.len;
        *skip = follow(body, data, piece.off, limits);
        TS_ASSERT(*skip == piece.off && body->kind == TS_BODY_CHUNKED);
        return;
    case TS_CHUNK_DONE:
        body->kind = TS_BODY_NONE;
        break;
    case TS_CHUNK_BAD:
        body->kind = TS_BODY_BAD;
        break;
    case TS_CHUNK_MORE:
        break;
    }
    body->chunked = ahead;
    *skip = used;
}

void ts_body_peek(struct ts_body *body, const char *data, size_t len,
                  const struct ts_chunk_limits *limits, size_t *skip, size_t *n)
{
    struct ts_body ahead;

    TS_ASSERT(len > 0);
    *skip = *n = 0;
    switch ((enum ts_body_kind)body->kind) {
    case TS_BODY_OPAQUE:
        *n = len;
        return;
    case TS_BODY_LENGTH:
        *n = least(len, body->left);
        return;
    case TS_BODY_CHUNKED:
        if (body->decode) {
            peek_content(body, data, len, limits, skip, n);
            return;
        }
        ahead = *body;
        *n = follow(&ahead, data, len, limits);
        if (*n == 0) /* not an octet of it is right */
            *body = ahead;
        return;
    case TS_BODY_NONE:
    case TS_BODY_BAD:
        return;
    }
}

void ts_body_took(struct ts_body *body, const char *data, size_t n,
                  const struct ts_chunk_limits *limits)
{
    if (body->kind == TS_BODY_OPAQUE) {
        body->left = 1;
        return;
    }
    ts_body_skip(body, data, n, limits);
}

size_t ts_body_skip(struct ts_body *body, const char *data, size_t len,
                    const struct ts_chunk_limits *limits)
{
    switch ((enum ts_body_kind)body->kind) {
    case TS_BODY_LENGTH:
        len = least(len, body->left);
        body->left -= (int64_t)len;
        if (body->left == 0)
            body->kind = TS_BODY_NONE;
        return len;
    case TS_BODY_CHUNKED:
        return follow(body, data, len, limits);
    case TS_BODY_NONE:
    case TS_BODY_OPAQUE:
    case TS_BODY_BAD:
        break;
    }
    return 0;
}
