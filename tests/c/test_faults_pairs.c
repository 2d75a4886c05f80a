/* units: reactor.c census.c course.c deadline.c rules.c slots.c acceptor.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c clock.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* Two faults in one conversation. The first makes no difference to the clients, but
 * has the server take a longer way: an answer that waits for the kernel, octets that
 * come one by one. The second is any there is, at each call of that longer way. */
#if defined(__linux__)

#include "faults_judge.h"
#include "faults_scripts.h"

static const struct fault_plan firsts[] = {
    {FAULT_SEND, 1, 2, EAGAIN, 0},        /* in the handler, then once more */
    {FAULT_SENDMSG, 1, 1, EAGAIN, 0},
    {FAULT_SENDMSG, 1, 1, FAULT_SHORT, 5},
    {FAULT_RECV, 1, 8, FAULT_SHORT, 1},
    {FAULT_EPOLL_WAIT, 1, FAULT_FOREVER, FAULT_SHORT, 0},
};

int main(void)
{
    rig_init();
    for (size_t i = 0; i < N_SCRIPTS; i++)
        for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
            struct fault_plan first = firsts[f];
            unsigned n = 0;

            if (scripts[i].long_winded)
                continue;
            do
                n = play_all(&scripts[i], "epoll", &first);
            while (first.kind == FAULT_SEND && first.at++ < n);
        }
    printf("faults, pairs: %lu faults in %lu conversations\n", n_injected,
           n_conversations);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
