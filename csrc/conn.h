/* conn: one connection, its phases and who owns it.
 *
 * A connection is either PARKED (it waits in the poller, no thread may touch
 * it) or OWNED by exactly one thread. Ownership is the word:
 *
 *     word = generation << 8 | flags        flags: OWNED, PENDING, HUP
 *
 *     parked  --claim (event, sweep, stop)-->  owned
 *     owned   --event arrives-------------->   owned + pending (remembered)
 *     owned   --park----------------------->   parked, or owned again if an
 *                                              event was pending
 *     owned   --close---------------------->   free: generation + 1
 *
 * Everything but the word and the ts_out belongs to the owner. Structs are
 * never given back to the allocator while their reactor lives, so a stale key
 * finds a word of another generation and nothing else.
 *
 * Phases of an owned or parked connection:
 *
 *     HEAD -> (BODY) -> HANDLER -> (FLUSH) -> (DISCARD) -> HEAD ...
 *                                         \-> (LINGER)  -> closed
 *
 * With TLS (tls.h) HANDSHAKE comes before the first HEAD.
 *
 * What may not live here: Python, policy, the event loop (reactor.h).
 */
#ifndef TS_CONN_H
#define TS_CONN_H

#include "body.h"
#include "buffer.h"
#include "rules.h"
#include "scan.h"
#include "sock.h"
#include "tls.h"
#include "ts.h"

#include <stdatomic.h>

enum ts_phase {
    TS_PHASE_HEAD,    /* waiting for, or reading, the head of a request */
    TS_PHASE_BODY,    /* waiting for the rest of a small body */
    TS_PHASE_HANDLER, /* the request is in Python's hands */
    TS_PHASE_FLUSH,   /* handled; the kernel has not taken the whole answer */
    TS_PHASE_DISCARD, /* skipping what the handler left of the body */
    TS_PHASE_LINGER,  /* our side is shut down; reading on for a moment, so
                         that no reset destroys the answer on its way */
    TS_PHASE_HANDSHAKE /* the first one of a connection with TLS */
};

/* How long a kernel that says that it takes more of an answer, and takes nothing, is
 * not asked again. */
#define TS_STALLED_NS 200000000u

/* How a transfer gets on. */
struct ts_clock {
    uint64_t began_ns;    /* 0: not yet */
    uint64_t progress_ns; /* when its last octet came or went */
    uint64_t paused_ns;   /* HANDLER: when the last wait for it ended */
    uint64_t moved;       /* octets so far */
};

static inline void ts_clock_reset(struct ts_clock *clock)
{
    clock->began_ns = clock->moved = 0;
}

#define TS_WORD_OWNED 1u
#define TS_WORD_PENDING 2u
#define TS_WORD_HUP 4u

struct ts_conn {
    _Atomic uint64_t word;
    _Atomic uint64_t deadline; /* monotonic ns; 0: none. Read by the sweep. */
    uint64_t timeout_ns; /* the handler's own, for each wait for input; 0: none */
    struct ts_clock input;  /* of the head, body or drain */
    struct ts_clock output; /* of the answer */
    uint32_t slot;
    int fd;
    uint8_t phase;       /* enum ts_phase */
    uint8_t scan;        /* enum ts_scan of the present request */
    bool readable;       /* the kernel may hold unread octets */
    bool hup;            /* the peer has ended its side: read until 0 */
    bool eof;            /* recv has returned 0 */
    bool broken;         /* recv or send has failed */
    int error;           /* errno of the failed recv, or 0 */
    bool registered;     /* in the poller */
    bool wants_write;    /* registered for WRITE too */
    bool keep;           /* after the answer: next request, else close */
    bool through;        /* the socket was handed out: never gather */
    bool lent;           /* a Python socket owns the fd and closes it */
    bool linger;         /* close with a short drain */
    bool counted;        /* by the reactor's census */
    bool aborts;         /* close with a reset: what the kernel has of the answer
                            is not wanted, and would take memory for minutes */
    bool has_room;       /* FLUSH: the kernel has said that it takes more */
    bool stalled;        /* ... and has taken nothing then */
    bool blank;          /* an empty line before the request was passed over */
    uint32_t skip_budget; /* octets DISCARD and LINGER may still read */
    uint32_t looked;      /* BODY: octets of head and body looked at */
    int64_t content;      /* of a chunked request: octets of its decoded body, which is
                             here; -1: it is not, or is more than is awaited */
    uint32_t untaken;     /* of the answer, at the last look */
    uint32_t offered;     /* FLUSH: what was left of it when the kernel was last full */
    struct ts_body body;
    struct ts_in in;
    struct ts_request *req; /* present while a request is read or handled */
    struct ts_out out;
    struct ts_addr peer;
    void *owner; /* the engine's object, opaque here; NULL until needed */
    const struct ts_tls *tls; /* NULL: what is read is what the socket has */
    void *session;            /* ... its, opaque here; NULL until needed */
    struct ts_conn *next_free;
};

static inline uint32_t ts_conn_generation(uint64_t word)
{
    return (uint32_t)(word >> 8);
}

static inline uint64_t ts_conn_key(const struct ts_conn *c)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_relaxed);
    return (uint64_t)ts_conn_generation(word) << 32 | c->slot;
}

/* An event for generation `gen`. True: the caller owns the connection now.
 * False: the event is stale, or the owner will find it when it parks. */
bool ts_conn_claim(struct ts_conn *c, uint32_t gen, bool hup);

/* Claims a parked connection whatever its generation, for sweeps: no event is
 * left behind when it is not parked. */
bool ts_conn_claim_parked(struct ts_conn *c);
/* The same, for who has just parked it: not the next one in its place. */
bool ts_conn_claim_again(struct ts_conn *c, uint32_t gen);

/* Gives the connection up. False: an event came meanwhile, the caller still
 * owns it (readable, hup are set accordingly). After true the caller must not
 * touch it. */
bool ts_conn_release(struct ts_conn *c);

/* A fresh connection on fd, owned by the caller. */
void ts_conn_open(struct ts_conn *c, int fd);
/* Frees what it holds and ends the generation; the fd is the caller's. */
void ts_conn_reset(struct ts_conn *c);

/* One recv into the window. Sets readable, eof, broken. 0 or -ENOMEM. With TLS the
 * window may have moved otherwise as well: other threads may run meanwhile. */
int ts_conn_fill(struct ts_conn *c);

/* Gives TLS up, if there is some: as ts_tls.end. What is read and written from now on
 * is what the socket has. */
void ts_conn_end_tls(struct ts_conn *c, bool notify);

/* Drops buffered octets that belong to the present body, within the budget.
 * 1: the body is done; 0: more is needed; -1: over budget or malformed. */
int ts_conn_skip_body(struct ts_conn *c, const struct ts_chunk_limits *limits);

#endif
