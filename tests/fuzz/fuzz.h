/* What the fuzz targets share: the assertion, octets to draw from, and buffers
 * that end where the octets end, so that AddressSanitizer sees one read too many.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* abort(), not exit(): libFuzzer keeps the input of whatever crashes. */
#define CHECK(x)                                                            \
    do {                                                                    \
        if (!(x)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s (errno %d)\n", __FILE__,     \
                    __LINE__, #x, errno);                                   \
            abort();                                                        \
        }                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of its own that ends where the octets end. */
static inline char *exactly(const void *octets, size_t len)
{
    char *p = malloc(len > 0 ? len : 1);

    CHECK(p != NULL);
    if (len > 0)
        memcpy(p, octets, len);
    else
        __asan_poison_memory_region(p, 1);
    return p;
}

static inline void exactly_free(char *p, size_t len)
{
    if (len == 0)
        __asan_unpoison_memory_region(p, 1);
    free(p);
}

/* Numbers from a seed, for what the input does not say octet by octet. */
static inline uint32_t any(uint32_t *seed, uint32_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed % below;
}

#endif
