/* cork: octets that wait in the kernel for those that follow, and for how long.
 *
 * A response head leaves with the beginning of its body, and answers to lines
 * that came together leave together, if each but the last is sent with
 * MSG_MORE. The order of octets stays the kernel's whoever writes next, and
 * nothing is lost whatever becomes of the writer; but should nothing follow, the
 * kernel would wait for 200 ms. So a thread of our own (it never takes the GIL)
 * pushes what has waited for a tick. Without work it sleeps.
 *
 * Threads: any, with or without the GIL; the one lock is held for a few
 * instructions, and by the pushing thread for a system call an entry.
 *
 * What may not live here: when more is known to follow. That is the caller's. */
#ifndef TS_CORK_H
#define TS_CORK_H

#include "ts.h"

#include <sys/types.h>

struct ts_corks; /* the thread and what it watches */

/* One a connection; all zeros to begin with. */
struct ts_cork {
    struct ts_cork *next, **at; /* in the list while it is held; private */
    uint32_t tick;              /* private */
    int fd;                     /* while it is held */
};

/* 0, -ENOMEM or -errno; -ENOSYS where the system has nothing of the kind. Starts
 * no thread yet. */
int ts_corks_new(struct ts_corks **out);
/* When no entry is held any more. NULL is allowed. */
void ts_corks_free(struct ts_corks *corks);
/* In the child after fork(): nothing is held there any more, nor ever will be. */
void ts_corks_forked(struct ts_corks *corks);

/* As ts_send(), for octets of a TCP connection that more will follow soon. */
ssize_t ts_send_more(struct ts_corks *corks, struct ts_cork *cork, int fd,
                     const void *buf, size_t len);

/* One of these two comes after the last ts_send_more() and before the descriptor
 * is closed or the entry freed. */
/* The last octets have been sent without MSG_MORE: nothing is left to push. */
void ts_cork_done(struct ts_corks *corks, struct ts_cork *cork);
/* Nothing follows for now: what waits leaves. */
void ts_cork_push(struct ts_corks *corks, struct ts_cork *cork);

#endif
