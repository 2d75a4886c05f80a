/* reactor_private: what reactor.c (which connection is next) needs of course.c
 * (the way of one connection), and nobody else. */
#ifndef TS_REACTOR_PRIVATE_H
#define TS_REACTOR_PRIVATE_H

#include "reactor.h"

/* Gives the connection up to whoever has its next event. False: the caller
 * still owns it, because it has news or, after a stop, has to end (broken). */
bool ts_release(struct ts_reactor *r, struct ts_conn *c);

/* Closes at once. Nobody in Python knows of it any more. Owner. */
void ts_destroy(struct ts_reactor *r, struct ts_turn *turn, struct ts_conn *c);

#endif
