/* units: reactor.c census.c course.c deadline.c rules.c slots.c acceptor.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c clock.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -DTS_PORTABLE -include ../tests/c/faults.h */
/* The same on the paths that other systems take. */
#include "test_faults_conversations.c"
