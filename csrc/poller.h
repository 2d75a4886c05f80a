/* poller: which sockets have something to say. One interface, three back-ends.
 *
 *   epoll   (Linux)   edge-triggered: a request costs no epoll_ctl
 *   kqueue  (macOS)   the same, by EV_CLEAR
 *   poll    (any)     the fall-back and the oracle of the tests: one-shot,
 *                     an fd is disarmed once reported, until it is rearmed
 *
 * The contract is what is common to an edge-triggered and to a one-shot
 * poller; who keeps to it is right on all three:
 *
 *   1. After an event for a connection, read (write) until -EAGAIN, then call
 *      ts_poller_rearm() and forget about it. What arrived in between is
 *      reported after that: at the edge on epoll and kqueue (so an event may
 *      come while the owner is still at work, and it must remember it), at the
 *      rearm on poll.
 *   2. Events are hints. One may be spurious (recv says -EAGAIN), two events
 *      of one wait may carry the same key, and an event may be stale: the fd
 *      was removed or closed since. So a key embeds a generation, and the
 *      receiver discards those that are not of the present one.
 *   3. READ, WRITE and HUP say "try"; only the result of the call is the truth.
 *
 * Threads: one thread at a time may be in ts_poller_wait(). Every other
 * function but open and close may be called from any thread at any time.
 * Memory: all of it is taken by ts_poller_open().
 * Errors: -errno. Every file descriptor made here is close-on-exec.
 *
 * What may not live here: connections, deadlines, policy on errors. */
#ifndef TS_POLLER_H
#define TS_POLLER_H

#include "ts.h"

struct ts_poller;

enum {
    TS_POLL_READ = 1,
    TS_POLL_WRITE = 2,
    /* In events only: the peer has ended its sending side, or the connection
     * is broken. Always comes with READ, for recv says which of the two it is;
     * data may still be unread before it. Not every platform reports it. */
    TS_POLL_HUP = 4,
    /* In an interest only, for listeners and wake-up descriptors: level
     * triggered, and never disarmed. */
    TS_POLL_LEVEL = 8
};

struct ts_event {
    uint64_t key;
    uint32_t flags;
};

/* The one key that is not the caller's to use. */
#define TS_POLLER_KEY_WAKE UINT64_MAX

/* Opens a poller. backend: "epoll", "kqueue", "poll", or NULL for the best of
 * the platform. 0, or -EINVAL for one that is unknown or not of this platform,
 * or -errno; *out is NULL then. */
int ts_poller_open(struct ts_poller **out, const char *backend);

/* The name of its back-end, one of the three above. */
const char *ts_poller_name(const struct ts_poller *p);

/* Closes the poller, not the fds in it. No thread may be in any other call.
 * NULL is allowed. In a forked child this leaves the parent's poller as it is;
 * it is the only call the child may make on it (an epoll set is shared by both,
 * so a removal in the child would be one in the parent). */
void ts_poller_close(struct ts_poller *p);

/* Adds fd. interest: READ and/or WRITE, and LEVEL or not. If fd is ready
 * already, that is reported. -EEXIST if it is in already (kqueue does not
 * notice); poll: -ENOSPC when fd is 2^20 or more, or was over the hard
 * RLIMIT_NOFILE when the poller was opened. */
int ts_poller_add(struct ts_poller *p, int fd, uint64_t key, uint32_t interest);

/* Replaces the interest (and key) of an fd that is in, arms it, and reports
 * again what it is ready for now. An interest of 0, or LEVEL alone, keeps the
 * fd in and silent (epoll still reports a broken connection, once).
 * -ENOENT if it is not in (kqueue does not notice). */
int ts_poller_change(struct ts_poller *p, int fd, uint64_t key,
                     uint32_t interest);

/* The owner has read to -EAGAIN and parks the connection. epoll, kqueue:
 * nothing happens, no system call. poll: the fd counts again from now on; a
 * thread that is inside ts_poller_wait() is made to notice at once.
 * -ENOENT (poll only) if the fd is not in, or is in under another key. */
int ts_poller_rearm(struct ts_poller *p, int fd, uint64_t key);

/* Takes fd out. No wait that starts after this reports it; one that is under
 * way may (epoll, kqueue), or has ended before this returns (poll). -ENOENT if it is not in. */
int ts_poller_remove(struct ts_poller *p, int fd, uint64_t key);

/* fd is about to be closed by the caller. epoll, kqueue: nothing, for the last
 * close takes it out. poll: a removal, and an fd that is not in, or is in under
 * another key, is not an error. Where the open file is shared with another
 * process or descriptor (fork, dup) close is not the last one: use
 * ts_poller_remove(). */
int ts_poller_closing(struct ts_poller *p, int fd, uint64_t key);

/* Waits until there are events, for timeout_ms at most (-1: for ever, 0: only
 * looks), and writes at most max of them (max >= 1). The number of events, 0
 * included (time is up, or an early return after a wake-up), or -EINTR (look
 * at signals), or -errno. */
int ts_poller_wait(struct ts_poller *p, struct ts_event *events, int max,
                   int timeout_ms);

/* Makes the present wait, or else the next one, return early. Wake-ups do not
 * add up. Async-signal-safe. */
int ts_poller_wake(struct ts_poller *p);

/* ---- For poller*.c only ------------------------------------------------- */

/* What a back-end provides. Each of its structs begins with struct ts_poller.
 * rearm and closing may be NULL: nothing to do. */
struct ts_poller_ops {
    const char *name;
    int (*open)(struct ts_poller **out);
    void (*close)(struct ts_poller *p);
    int (*add)(struct ts_poller *p, int fd, uint64_t key, uint32_t interest);
    int (*change)(struct ts_poller *p, int fd, uint64_t key, uint32_t interest);
    int (*rearm)(struct ts_poller *p, int fd, uint64_t key);
    int (*remove)(struct ts_poller *p, int fd, uint64_t key);
    int (*closing)(struct ts_poller *p, int fd, uint64_t key);
    int (*wait)(struct ts_poller *p, struct ts_event *events, int max,
                int timeout_ms);
    int (*wake)(struct ts_poller *p);
};

struct ts_poller {
    const struct ts_poller_ops *ops;
};

#if defined(__linux__)
extern const struct ts_poller_ops ts_poller_epoll_ops;
#elif defined(__APPLE__) || defined(__FreeBSD__)
#define TS_HAVE_KQUEUE 1
extern const struct ts_poller_ops ts_poller_kqueue_ops;
#endif
extern const struct ts_poller_ops ts_poller_poll_ops;

#endif
