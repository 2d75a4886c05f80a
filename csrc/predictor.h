/* Will this handler block? As for branches: a table of small saturating counters
 * by method and path, taught by what ts_handler_exit() measured.
 *
 * A wrong answer costs time and nothing else: "blocks" for a fast handler costs
 * a hand-over (some 10 us), no hint for a slow one holds everybody up for a tick
 * (0.5 to 1 ms, up to 4 after a calm). So it learns in one or two runs and forgets in
 * about eight.
 *
 * Any thread may call anything here at any time: entries are single bytes, read
 * and written with relaxed atomics. An update lost to a race is taught again by
 * the next run. No allocation, no failure. */
#ifndef TS_PREDICTOR_H
#define TS_PREDICTOR_H

#include <stdatomic.h>

#include "ts.h"

#define TS_PREDICT_ENTRIES 4096u /* one page; a server has tens of routes */

struct ts_predictor {
    _Atomic uint8_t entry[TS_PREDICT_ENTRIES]; /* tag << 4 | counter */
};

/* Forgets everything. All-zero memory is an initialised predictor, too. */
void ts_predict_init(struct ts_predictor *p);

/* The key of a request: method, and the path up to '?', with each run of decimal
 * digits taken as one '0' ("/user/17" and "/user/4" are one route). Octets as
 * they came, not percent-decoded. */
uint32_t ts_predict_key(const char *method, size_t method_len, const char *path, size_t path_len);

/* TS_HINT_NONE, TS_HINT_SUSPECT or TS_HINT_BLOCKS: what ts_handler_enter() takes. */
unsigned ts_predict(const struct ts_predictor *p, uint32_t key);

/* After the handler: what struct ts_handler_exit said. */
void ts_predict_learn(struct ts_predictor *p, uint32_t key, bool slow, bool blocked);

#endif
