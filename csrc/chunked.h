/* The chunked transfer coding (RFC 9112, 7.1): decoded resumably, in place.
 *
 *   chunked-body = *chunk last-chunk trailer-section CRLF
 *   chunk        = 1*HEXDIG [ chunk-ext ] CRLF chunk-data CRLF
 *   last-chunk   = 1*"0" [ chunk-ext ] CRLF
 *   chunk-ext    = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
 *   trailer-section = *( field-line CRLF )
 *
 * In: octets as they come. Out: spans of chunk data within them. Nothing is
 * copied or kept but a few numbers, and no octet is looked at twice. Strict:
 * what two decoders could read differently is BAD. Extensions and trailers
 * are checked and dropped; a trailer that belongs into a head (because it frames
 * the message, routes it, proves who sent it or says what its content is) is BAD
 * (RFC 9110, 6.5.1).
 */
#ifndef TS_CHUNKED_H
#define TS_CHUNKED_H

#include "ts.h"

/* Limits, in octets. Extensions are hardly ever sent, and nobody needs a page of
 * them; without a bound they are free traffic that no body limit sees. Trailers
 * get what common servers allow for a whole head. */
struct ts_chunk_limits {
    uint32_t line;       /* a chunk-size line, CRLF included */
    uint32_t extensions; /* all chunk-ext of a body */
    uint32_t trailers;   /* the trailer section, final CRLF included */
};

#define TS_CHUNK_LINE_MAX 4096
#define TS_CHUNK_EXTENSIONS_MAX 8192
#define TS_CHUNK_TRAILER_MAX 8192

struct ts_chunked {
    uint64_t left;  /* data octets of the current chunk not yet seen; > 0 says
                       that the next octets of the stream are data */
    uint64_t size;  /* private: of the chunk whose size line is being read; a
                       hash of the trailer's name */
    uint32_t count; /* private: octets so far of size line or trailers */
    uint32_t extensions; /* private: octets so far of all extensions */
    uint8_t state;       /* private */
};

enum ts_chunk {
    TS_CHUNK_MORE, /* everything is used; call again with the octets after */
    TS_CHUNK_DATA, /* *data is set, never empty; call again for the rest */
    TS_CHUNK_DONE, /* the body has ended; octets after *used are not its */
    TS_CHUNK_BAD,  /* malformed at buf[*used] */
};

void ts_chunk_limits_init(struct ts_chunk_limits *limits);

void ts_chunked_init(struct ts_chunked *chunked);

/* Advances over buf[0, len), the octets that follow those used so far. *used
 * is how many it took; *data, on DATA, lies within them and ends at *used.
 * DONE and BAD are final: asked again, it answers the same and uses nothing.
 * A len past UINT32_MAX counts as UINT32_MAX. */
enum ts_chunk ts_chunked_next(struct ts_chunked *chunked, const char *buf,
                              size_t len, const struct ts_chunk_limits *limits,
                              size_t *used, struct ts_span *data);

#endif
