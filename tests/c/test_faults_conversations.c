/* units: reactor.c census.c course.c deadline.c rules.c slots.c acceptor.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c clock.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* Conversations with a server whose kernel fails it: every call that one makes, in
 * every way that such a call can fail, once and several times in a row. */
#if defined(__linux__)

#include "faults_judge.h"
#include "faults_scripts.h"

int main(void)
{
#if defined(TS_PORTABLE)
    static const char *const backends[] = {"poll"};
#else
    static const char *const backends[] = {"epoll", "poll"};
#endif

    rig_init();
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++)
        for (size_t i = 0; i < N_SCRIPTS; i++)
            play_all(&scripts[i], backends[b], NULL);
    printf("faults, conversations: %lu faults in %lu conversations\n", n_injected,
           n_conversations);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
