/* gate: how many threads may wait for the GIL at a time.
 *
 * Each thread that waits for CPython's GIL wakes every 5 ms to ask for it again,
 * and all of them queue for the mutex inside it. When one that holds the GIL
 * loses its processor, every other thread that has something to do joins them:
 * with a thousand threads that is all the machine does. So only one thread of
 * the blocking lane waits for the GIL, and the others for the gate, asleep.
 *
 * Threads: any. Between enter and leave a thread takes the GIL, nothing else.
 *
 * What may not live here: Python. */
#ifndef TS_GATE_H
#define TS_GATE_H

#include "ts.h"

#include <stdatomic.h>

/* All zeros to begin with, and in the child after fork(). */
struct ts_gate {
    _Atomic uint32_t within; /* threads between enter and leave, or waiting */
    _Atomic uint32_t passes; /* given to those who wait, and not yet taken */
};

/* Without the GIL, when about to take it. Where the system has no futex it lets
 * everybody in. */
void ts_gate_enter(struct ts_gate *g);
/* With the GIL, right after. */
void ts_gate_leave(struct ts_gate *g);

#endif
