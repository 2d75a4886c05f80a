/* Octets, many at a time: which class each octet has, and how far a run of one
 * class reaches. The grammar (which class is wanted where) is scan.c's; the
 * instruction sets are scan_simd.c's, and nobody else's.
 *
 * Every implementation answers the same for the same octets, never reads an
 * octet at or past `end`, and may run on any thread: there is no state.
 */
#ifndef TS_SCAN_SIMD_H
#define TS_SCAN_SIMD_H

#include "ts.h"

/* Classes of an octet, one bit each (RFC 9110, 5.5 and 5.6.2). */
enum {
    TS_OCTET_TOKEN = 1,  /* tchar: "!#$%&'*+-.^_`|~", DIGIT, ALPHA */
    TS_OCTET_TARGET = 2, /* 0x21..0x7e: VCHAR */
    TS_OCTET_TEXT = 4,   /* HTAB, 0x20..0x7e, 0x80..0xff: a field value */
    TS_OCTET_HOST = 8,   /* unreserved, sub-delims: a reg-name but for "%" */
};
extern const uint8_t ts_octets[256];

static inline bool ts_is(int octet_class, char octet)
{
    return (ts_octets[(uint8_t)octet] & octet_class) != 0;
}

static inline bool ts_is_ows(char octet)
{
    return octet == ' ' || octet == '\t';
}

/* The first octet of [p, end) that is not in the class, or `end`. */
typedef const char *ts_skip(const char *p, const char *end);

/* TS_MARK_OCTETS octets, one bit each, the first one lowest: set where the
 * octet is not in the class. */
#define TS_MARK_OCTETS 64
struct ts_marks {
    uint64_t not_token;
    uint64_t not_text;
};

/* The marks of [p, end), or of its first TS_MARK_OCTETS. From `end` on all bits
 * are set: every run ends there. p < end; and TS_MARK_OCTETS octets before `end`
 * can be read, though they may begin before p. */
typedef struct ts_marks ts_mark(const char *p, const char *end);

struct ts_simd {
    const char *name; /* "portable", "sse2", "avx2", "neon" */
    ts_skip *skip_target;
    ts_skip *skip_text;
    ts_mark *mark; /* NULL: skipping is faster than what it would take here */
};

/* The fastest implementation this processor has. Ask once, keep the answer. */
const struct ts_simd *ts_simd_best(void);

/* Number i of those this processor can run, portable first; NULL past the
 * last. For tests, which have to see them all agree. */
const struct ts_simd *ts_simd_nth(size_t i);

#endif
