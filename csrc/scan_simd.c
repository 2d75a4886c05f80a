/* One section for each instruction set. They differ in the block they test at
 * once; the octets that no longer fill a block go to the next smaller kind,
 * and the last few are looked up one by one. Block loads never pass `end`.
 * Marks take one load of 64 octets, the last one back from `end`.
 *
 * The baseline of a target (SSE2, NEON) needs no question; AVX2 is asked for
 * at run time, by ts_simd_best().
 */
#include "scan_simd.h"

#include <string.h>

#if defined(__SSE2__)
#define TS_HAVE_SSE2 1
#include <immintrin.h>
#if defined(__GNUC__) || defined(__clang__)
#define TS_HAVE_AVX2 1
#endif
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define TS_HAVE_NEON 1
#include <arm_neon.h>
#endif

/* The sum of the classes (TS_OCTET_*) of each octet. */
const uint8_t ts_octets[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  4,  0,  0,  0,  0,  0,  0, /* 00 */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* 10 */
     4, 15,  6,  7, 15,  7, 15, 15, 14, 14, 15, 15, 14, 15, 15,  6, /* 20 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6, 14,  6, 14,  6,  6, /* 30 */
     6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 40 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  6,  6,  7, 15, /* 50 */
     7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 60 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  7,  6, 15,  0, /* 70 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* 80 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* 90 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* a0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* b0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* c0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* d0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* e0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* f0 */
};

static inline const char *skip_octets(int octet_class, const char *p,
                                      const char *end)
{
    while (p < end && ts_is(octet_class, *p))
        p++;
    return p;
}

/* ---- portable: eight octets in a word ------------------------------------
 *
 * The word tests never miss an octet. They do find HTAB, which text may hold;
 * the table then decides, and the words go on after it. */

#define ONES (UINT64_MAX / 255)
#define HIGHS (ONES * 0x80)

static inline uint64_t load_word(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Not 0 if an octet of the word is below n, n <= 0x80. */
static inline uint64_t any_below(uint64_t word, unsigned n)
{
    return (word - ONES * n) & ~word & HIGHS;
}

static inline uint64_t any_equal(uint64_t word, unsigned octet)
{
    return any_below(word ^ (ONES * octet), 1);
}

static const char *skip_target_portable(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t word = load_word(p);
        if (any_below(word, 0x21) | any_equal(word, 0x7f) | (word & HIGHS))
            break;
        p += 8;
    }
    return skip_octets(TS_OCTET_TARGET, p, end);
}

static const char *skip_text_portable(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t word = load_word(p);
        if (any_below(word, 0x20) | any_equal(word, 0x7f)) {
            const char *stop = skip_octets(TS_OCTET_TEXT, p, p + 8);
            if (stop < p + 8)
                return stop;
        }
        p += 8;
    }
    return skip_octets(TS_OCTET_TEXT, p, end);
}

static const struct ts_simd simd_portable = {
    "portable", skip_target_portable, skip_text_portable, NULL};

/* ---- SSE2 ---------------------------------------------------------------- */

#ifdef TS_HAVE_SSE2
/* One bit for each octet that does not belong. Compares are signed: octets
 * from 0x80 up are below everything, which is what a target wants. */
static inline unsigned not_target_sse2(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i good = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8(0x20)),
                                 _mm_cmplt_epi8(v, _mm_set1_epi8(0x7f)));
    return (unsigned)_mm_movemask_epi8(good) ^ 0xffffu;
}

static inline unsigned not_text_sse2(const char *p)
{
    const __m128i top = _mm_set1_epi8(0x1f);
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, top), v);
    __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    __m128i bad = _mm_or_si128(_mm_andnot_si128(tab, control), del);
    return (unsigned)_mm_movemask_epi8(bad);
}

static const char *skip_target_sse2(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        unsigned bad = not_target_sse2(p);
        if (bad)
            return p + __builtin_ctz(bad);
    }
    return skip_target_portable(p, end);
}

static const char *skip_text_sse2(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        unsigned bad = not_text_sse2(p);
        if (bad)
            return p + __builtin_ctz(bad);
    }
    return skip_text_portable(p, end);
}

static const struct ts_simd simd_sse2 = {
    "sse2", skip_target_sse2, skip_text_sse2, NULL};
#endif

/* ---- AVX2 ---------------------------------------------------------------- */

#ifdef TS_HAVE_AVX2
__attribute__((target("avx2"))) static const char *
skip_target_avx2(const char *p, const char *end)
{
    for (; end - p >= 32; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i good =
            _mm256_and_si256(_mm256_cmpgt_epi8(v, _mm256_set1_epi8(0x20)),
                             _mm256_cmpgt_epi8(_mm256_set1_epi8(0x7f), v));
        unsigned bad = ~(unsigned)_mm256_movemask_epi8(good);
        if (bad)
            return p + __builtin_ctz(bad);
    }
    return skip_target_sse2(p, end);
}

__attribute__((target("avx2"))) static const char *
skip_text_avx2(const char *p, const char *end)
{
    const __m256i top = _mm256_set1_epi8(0x1f);
    for (; end - p >= 32; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, top), v);
        __m256i tab = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t'));
        __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));
        unsigned bad = (unsigned)_mm256_movemask_epi8(
            _mm256_or_si256(_mm256_andnot_si256(tab, control), del));
        if (bad)
            return p + __builtin_ctz(bad);
    }
    return skip_text_sse2(p, end);
}

/* An octet is looked up by its two halves: the upper one gives a bit (`rows`),
 * the lower one (`columns`) the bits of those rows in which the octet is
 *
 *     bits 0 to 5   a token's, rows 2 to 7
 *     bits 6 and 7  a control other than HTAB, rows 0 and 1
 *
 * An octet from 0x80 up finds no column. DEL, in a row of tokens, is compared. */
__attribute__((target("avx2"))) static inline struct ts_marks
mark_half_avx2(const char *p)
{
    const __m256i columns = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-0x06, -0x01, -0x02, -0x01, -0x01, -0x01, -0x01, -0x01,
                      -0x02, -0x42, -0x03, -0x2b, -0x0c, -0x2b, -0x03, -0x24));
    const __m256i rows = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0x40, -0x80, 1, 2, 4, 8, 16, 32, 0, 0, 0, 0, 0, 0, 0, 0));
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i upper =
        _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
    __m256i found = _mm256_and_si256(_mm256_shuffle_epi8(columns, v),
                                     _mm256_shuffle_epi8(rows, upper));
    __m256i none = _mm256_cmpeq_epi8(found, _mm256_setzero_si256());
    __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));
    /* Bits 6 and 7 together, in bit 7: the one that movemask takes. */
    __m256i control = _mm256_adds_epu8(found, _mm256_set1_epi8(0x40));
    unsigned not_text =
        (unsigned)_mm256_movemask_epi8(_mm256_or_si256(control, del));
    unsigned not_token = (unsigned)_mm256_movemask_epi8(none) | not_text;
    return (struct ts_marks){not_token, not_text};
}

__attribute__((target("avx2"))) static struct ts_marks
mark_avx2(const char *p, const char *end)
{
    const bool whole = end - p >= TS_MARK_OCTETS;
    const char *from = whole ? p : end - TS_MARK_OCTETS;
    struct ts_marks low = mark_half_avx2(from), high = mark_half_avx2(from + 32);
    struct ts_marks marks = {low.not_token | high.not_token << 32,
                             low.not_text | high.not_text << 32};

    if (!whole) {
        unsigned before = (unsigned)(p - from); /* 1 to 63 */
        uint64_t past = ~(UINT64_MAX >> before);
        marks.not_token = marks.not_token >> before | past;
        marks.not_text = marks.not_text >> before | past;
    }
    return marks;
}

static const struct ts_simd simd_avx2 = {
    "avx2", skip_target_avx2, skip_text_avx2, mark_avx2};
#endif

/* ---- NEON ---------------------------------------------------------------- */

#ifdef TS_HAVE_NEON
/* Four bits for each octet of a comparison's result, first octet lowest. */
static inline uint64_t nibbles(uint8x16_t found)
{
    uint8x8_t narrow = vshrn_n_u16(vreinterpretq_u16_u8(found), 4);
    return vget_lane_u64(vreinterpret_u64_u8(narrow), 0);
}

static const char *skip_target_neon(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        uint8x16_t v = vld1q_u8((const uint8_t *)p);
        /* 0x21..0x7e is 0..0x5d after the subtraction, and nothing else is. */
        uint64_t bad = nibbles(
            vcgtq_u8(vsubq_u8(v, vdupq_n_u8(0x21)), vdupq_n_u8(0x5d)));
        if (bad)
            return p + (__builtin_ctzll(bad) >> 2);
    }
    return skip_target_portable(p, end);
}

static const char *skip_text_neon(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        uint8x16_t v = vld1q_u8((const uint8_t *)p);
        uint8x16_t control = vbicq_u8(vcltq_u8(v, vdupq_n_u8(0x20)),
                                      vceqq_u8(v, vdupq_n_u8('\t')));
        uint64_t bad =
            nibbles(vorrq_u8(control, vceqq_u8(v, vdupq_n_u8(0x7f))));
        if (bad)
            return p + (__builtin_ctzll(bad) >> 2);
    }
    return skip_text_portable(p, end);
}

static const struct ts_simd simd_neon = {
    "neon", skip_target_neon, skip_text_neon, NULL};
#endif

/* ---- choice -------------------------------------------------------------- */

const struct ts_simd *ts_simd_nth(size_t i)
{
    const struct ts_simd *able[3];
    size_t n = 0;
    able[n++] = &simd_portable;
#ifdef TS_HAVE_SSE2
    able[n++] = &simd_sse2;
#endif
#ifdef TS_HAVE_AVX2
    if (__builtin_cpu_supports("avx2"))
        able[n++] = &simd_avx2;
#endif
#ifdef TS_HAVE_NEON
    able[n++] = &simd_neon;
#endif
    return i < n ? able[i] : NULL;
}

const struct ts_simd *ts_simd_best(void)
{
    const struct ts_simd *best = NULL, *next;
    for (size_t i = 0; (next = ts_simd_nth(i)) != NULL; i++)
        best = next;
    return best;
}
