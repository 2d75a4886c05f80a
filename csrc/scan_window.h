/* The window: the octets next in line, classified TS_MARK_OCTETS at a time.
 *
 * Classifying takes the same steps whatever the octets are. So a processor does
 * it for the lines to come while it still finds out where this one ends; a run
 * that is skipped block by block holds it up at the end of each run.
 *
 * In: the rest of an input. Out: where runs end in it. One window for each pass
 * over whole lines, on its stack. What may not live here: grammar (scan.c),
 * instruction sets (scan_simd.c).
 */
#ifndef TS_SCAN_WINDOW_H
#define TS_SCAN_WINDOW_H

#include "scan_simd.h"

struct window {
    const char *base; /* the octet of the lowest mark */
    const char *end;  /* of the input */
    struct ts_marks marks;
    ts_mark *mark;
};

enum window_class { WINDOW_TOKEN, WINDOW_TEXT };

/* Whether [p, end), in an input that begins at `buf`, can have a window, and
 * is worth one. Below half a window it is not, and more: a client that sends
 * octet by octet must not have each octet classified 64 times. */
static inline bool window_pays(const struct ts_simd *simd, const char *buf,
                               const char *p, const char *end)
{
    return simd->mark != NULL && end - p >= TS_MARK_OCTETS / 2 &&
           end - buf >= TS_MARK_OCTETS;
}

static inline struct window window_open(const struct ts_simd *simd,
                                        const char *p, const char *end)
{
    return (struct window){p, end, simd->mark(p, end), simd->mark};
}

/* The first octet from p on that is not in the class, or the end. The window
 * moves on as needed; what it has left behind since p was in the class. */
static inline const char *window_skip(struct window *w, enum window_class of,
                                      const char *p)
{
    for (;;) {
        size_t at = p > w->base ? (size_t)(p - w->base) : 0;
        if (at < TS_MARK_OCTETS) {
            uint64_t marks =
                of == WINDOW_TOKEN ? w->marks.not_token : w->marks.not_text;
            if (marks >> at != 0)
                return w->base + at + __builtin_ctzll(marks >> at);
            at = TS_MARK_OCTETS;
        }
        p = w->base + at;
        if (p == w->end)
            return p;
        w->base = p;
        w->marks = w->mark(p, w->end);
    }
}

#endif
