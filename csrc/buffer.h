/* buffer: the two growable buffers of a connection.
 *
 * struct ts_in   what the peer sent: the octets of the request that is being
 *                read or handled stay where they are (the spans of its head
 *                point at them), what follows is the window still unread.
 * struct ts_out  what handlers wrote and the kernel has not taken yet.
 *
 * Threads: a ts_in belongs to the owner of its connection. A ts_out is shared
 * by the handler's thread, by any other thread the program lets write, and by
 * the monitor, which flushes it by time; so it has a lock, held for a copy or
 * for one non-blocking send and never longer.
 *
 * What may not live here: sockets' readiness, protocol, limits.
 */
#ifndef TS_BUFFER_H
#define TS_BUFFER_H

#include "ts.h"

#include <stdatomic.h>

/* ---- incoming ----------------------------------------------------------- */

/* Two pages less the allocator's header: a browser's head and a small body. With a
 * struct ts_request it is what ten thousand clients who dawdle cost each. */
#define TS_IN_FIRST 8176u

/* data[head, pos): octets of the present request that were consumed already.
 * data[pos, end): unread. data == NULL: nothing buffered, no memory held. */
struct ts_in {
    char *data;
    uint32_t head;
    uint32_t pos;
    uint32_t end;
    uint32_t cap;
};

static inline uint32_t ts_in_unread(const struct ts_in *in)
{
    return in->end - in->pos;
}

/* Room for at least `want` more octets after end: uses what is free, moves
 * [head, end) to the front, or grows. 0 or -ENOMEM (nothing lost). The data may
 * have moved and head may have become 0. */
int ts_in_reserve(struct ts_in *in, uint32_t want);

/* Forgets consumed octets: the next request begins at pos. */
static inline void ts_in_next_request(struct ts_in *in)
{
    if (in->pos == in->end)
        in->pos = in->end = 0;
    in->head = in->pos;
}

void ts_in_free(struct ts_in *in);

/* ---- outgoing ----------------------------------------------------------- */

/* Gathered octets leave at this size at the latest. */
#define TS_OUT_GATHER 65536u

/* A write of so many octets leaves at once, with what was gathered: copying them
 * would cost more than the system call that it saves. */
#define TS_OUT_DIRECT 32768u

struct ts_out {
    atomic_flag lock;
    _Atomic int error;       /* errno of the first failed send; sticky */
    _Atomic bool told;       /* a write or flush has returned it */
    _Atomic uint32_t unsent; /* end - pos, for those who have not the lock */
    uint32_t pos;            /* data[pos, end) is unsent */
    uint32_t end;
    uint32_t cap;
    char *data;
};

/* Before anybody else may know of it. */
void ts_out_init(struct ts_out *out);
/* Empty and without error again, and without memory. Another thread may be at
 * it still. */
void ts_out_free(struct ts_out *out);

/* The errno of a failed send that nobody has heard of yet, or 0. */
static inline int ts_out_untold(const struct ts_out *out)
{
    return out->told ? 0 : out->error;
}

/* Room for a short answer, and small enough for malloc() to keep at hand: an
 * idle connection has none. */
#define TS_OUT_FIRST_CAP 1000u

/* Gives back the memory of an empty buffer. */
void ts_out_trim(struct ts_out *out);

/* Octets not yet taken by the kernel. When another thread may write or flush
 * they can be others before the caller has looked: what has to be known of the
 * moment of a write (was the buffer empty?) is not to be had from here. */
static inline uint32_t ts_out_unsent(const struct ts_out *out)
{
    return atomic_load_explicit(&out->unsent, memory_order_relaxed);
}

enum { TS_OUT_KEPT, TS_OUT_SENT, TS_OUT_BLOCKED, TS_OUT_FIRST };

/* Writes len octets: gathers them (FIRST into an empty buffer, else KEPT) while the
 * sum stays within TS_OUT_GATHER, else sends what was gathered and the new ones together.
 * *taken: how many of the new octets are gathered or sent. SENT: all left.
 * BLOCKED: the kernel is full and len - *taken octets are the caller's to offer
 * again. through: do not gather. -errno: the connection is broken. */
int ts_out_write(struct ts_out *out, int fd, const char *data, size_t len,
                 bool through, size_t *taken);

/* Gathers len octets (FIRST, KEPT), however many there are then: for who cannot offer
 * them again, as others of his may follow them. -errno: the connection is broken, for
 * want of memory too. */
int ts_out_add(struct ts_out *out, const char *data, size_t len);

/* Sends what is gathered, without blocking: SENT, BLOCKED or -errno. */
int ts_out_flush(struct ts_out *out, int fd);
/* The same, of what more will follow soon by other means (a file): one packet. */
int ts_out_flush_part(struct ts_out *out, int fd);

/* For who does not own the connection: as ts_out_flush, but returns BLOCKED at
 * once when another thread has the lock, and tells the handler nothing. *fd is
 * only looked at under the lock while something is gathered: so long the owner
 * does not change it. */
int ts_out_try_flush(struct ts_out *out, const int *fd);

#endif
