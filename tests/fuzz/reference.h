/* A second reading of requests, for the fuzz targets to compare with: written
 * from the grammar, over a whole buffer, for plainness and not for speed, and
 * without a line of csrc/.
 *
 * It has no opinion where two strict readings may differ (OPEN); everywhere
 * else the server has to agree with it.
 */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reading {
    READ_MORE, /* nothing is wrong so far, and it has not ended */
    READ_GOOD, /* a request that has to be served */
    READ_BAD,  /* must not be served */
    READ_OPEN, /* may be served or not */
};

struct ref_head {
    size_t len; /* up to and including the blank line (GOOD and OPEN) */
    size_t line_len;
    unsigned minor;
    unsigned fields;
    int64_t content_length; /* -1: none */
    bool chunked;
    bool close;   /* Connection has `close` */
    bool expect;  /* there is an Expect field */
    bool tunnel;  /* CONNECT, or an Upgrade: what follows is no request */
};

/* The head at buf[0, len). */
enum reading ref_head(const char *buf, size_t len, struct ref_head *head);

/* The chunked body at buf[0, len). *end: where it ends (GOOD). The decoded octets
 * so far are put to data, which has room for len of them. */
enum reading ref_chunked(const char *buf, size_t len, size_t *end, char *data,
                         size_t *n_data);

#endif
