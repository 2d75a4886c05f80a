/* units: poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c; sanitizers: address,undefined | thread; libs: -lpthread; flags: -DTS_PORTABLE */
/* test_poller.c with pipes for wake-up descriptors. */
#include "test_poller.c"
