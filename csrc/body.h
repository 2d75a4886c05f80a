/* body: where the body of a request ends, and what of the octets that are there
 * is its content.
 *
 *   NONE      there is no body, or it has ended
 *   LENGTH    so many octets (Content-Length)
 *   CHUNKED   the chunked coding: the decoder follows what is read
 *   OPAQUE    not a body: what follows is the handler's (before a head has been
 *             parsed, after CONNECT). After Upgrade too, but that is none if
 *             nothing is taken of it: left is 0 then
 *   BAD       the chunked coding was malformed: the request's end is unknown
 *
 * The reader looks (peek), takes as much as it wants of what it was shown, and
 * says so (took). A raw reader is shown chunked octets as they are; a decoding one
 * (decode) the content alone, and passes over the rest.
 *
 * Threads: the owner's of the connection. What may not live here: buffers,
 * sockets, policy.
 */
#ifndef TS_BODY_H
#define TS_BODY_H

#include "chunked.h"
#include "ts.h"

enum ts_body_kind {
    TS_BODY_NONE,
    TS_BODY_LENGTH,
    TS_BODY_CHUNKED,
    TS_BODY_OPAQUE,
    TS_BODY_BAD,
};

struct ts_body {
    uint8_t kind; /* enum ts_body_kind */
    bool decode;
    int64_t left; /* LENGTH; OPAQUE: whether it is no request that comes next */
    int64_t content; /* CHUNKED, and when that has ended: octets of content so far */
    struct ts_chunked chunked;
};

static inline void ts_body_begin(struct ts_body *body, enum ts_body_kind kind,
                                 int64_t length)
{
    body->kind = (uint8_t)(kind == TS_BODY_LENGTH && length == 0 ? TS_BODY_NONE
                                                                 : kind);
    body->decode = false;
    body->left = length;
    body->content = 0;
    if (kind == TS_BODY_CHUNKED)
        ts_chunked_init(&body->chunked);
}

/* Nothing of it is left to read; what comes next is the next request. */
static inline bool ts_body_done(const struct ts_body *body)
{
    return body->kind == TS_BODY_NONE ||
           (body->kind == TS_BODY_OPAQUE && body->left == 0);
}

/* Of data[0, len), which is not empty: *skip octets are passed over, for good, and
 * the *n after them are the reader's, who may take fewer. *n == 0: more octets are
 * needed, or the kind has changed: NONE, BAD. */
void ts_body_peek(struct ts_body *body, const char *data, size_t len,
                  const struct ts_chunk_limits *limits, size_t *skip, size_t *n);

/* The first n octets of what peek showed have been taken. */
void ts_body_took(struct ts_body *body, const char *data, size_t n,
                  const struct ts_chunk_limits *limits);

/* Passes over as much of data[0, len) as belongs to the body: how many octets. */
size_t ts_body_skip(struct ts_body *body, const char *data, size_t len,
                    const struct ts_chunk_limits *limits);

#endif
