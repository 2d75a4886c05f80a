/* reactor_private: what reactor.c (which connection is next), course.c (the way
 * of one connection) and deadline.c (until when it may wait) need of each
 * other, and nobody else. */
#ifndef TS_REACTOR_PRIVATE_H
#define TS_REACTOR_PRIVATE_H

#include "reactor.h"

/* Gives the connection up to whoever has its next event. False: the caller
 * still owns it, because it has news or, after a stop, has to end (broken). */
bool ts_release(struct ts_reactor *r, struct ts_conn *c);

/* Closes at once. Nobody in Python knows of it any more. Owner. */
void ts_destroy(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c);

/* What it means that a connection's deadline has passed. */
enum ts_late {
    TS_LATE_NOT, /* it has got on meanwhile */
    TS_LATE,
    TS_LATE_OWN /* by the handler's own time-out */
};
enum ts_late ts_is_late(struct ts_reactor *r, struct ts_conn *c, uint64_t now);

/* Before it is parked. Owner. */
void ts_set_deadline(struct ts_reactor *r, struct ts_conn *c);

/* The sweep is wanted then, at the latest. True: that is earlier than it was. Any
 * thread. */
bool ts_lower_due(struct ts_reactor *r, uint64_t when);

/* Its peer has been too slow: what is to be done about it. Owner. */
enum ts_task ts_too_late(struct ts_reactor *r, struct ts_turn *turn,
                         struct ts_conn *c, uint64_t now);

struct ts_known_rules {
    struct ts_rules rules;
    struct ts_known_rules *next;
};

#endif
