/* What every unit of csrc/ shares: the span, the result codes and the few
 * compiler facts. Nothing here knows of Python, and nothing here has state.
 *
 * Reading order of the folder is the way of a request:
 *   poller -> sock -> acceptor -> buffer -> scan (framing, chunked) -> conn
 *   -> slots -> course -> reactor -> head,
 * with leader (monitor, crew) and predictor deciding which thread walks it.
 */
#ifndef TS_H
#define TS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Octets [off, off + len) of the buffer a unit was handed. Offsets, not
 * pointers: a buffer may move while it grows. */
struct ts_span {
    uint32_t off;
    uint32_t len;
};

#if defined(__GNUC__) || defined(__clang__)
#define TS_LIKELY(x) __builtin_expect(!!(x), 1)
#define TS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define TS_LIKELY(x) (x)
#define TS_UNLIKELY(x) (x)
#endif

/* Invariants: checked in debug builds (TURBOSERVER_DEBUG=1), free elsewhere. */
#ifdef TS_DEBUG
#define TS_ASSERT(x) assert(x)
#else
#define TS_ASSERT(x) ((void)0)
#endif

#endif
