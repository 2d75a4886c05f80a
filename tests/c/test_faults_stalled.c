/* units: reactor.c census.c course.c deadline.c rules.c slots.c acceptor.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c clock.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* A kernel that is out of memory for sockets reports that there is room for an answer
 * and takes nothing of it. It is asked now and then, the deadline holds, and the answer
 * arrives when there is memory again. */
#if defined(__linux__)

#include "faults_judge.h"
#include "faults_scripts.h"

static unsigned calls_of(enum fault_kind kind)
{
    return atomic_load(&fault_calls[kind]);
}

/* The kernel holds no news back here: it tells them, wrongly. */
static bool clients_and_no_more(void)
{
    for (int fd = 0; fd < FAULT_FDS; fd++)
        fault_watch[fd].held = false;
    return clients_turn();
}

static int begin(const char *backend)
{
    static const struct step one[] = {
        {CONNECT, 0, 0, 0}, {PUT, 0, GET("/a"), 0}, {STEPS_END, 0, 0, 0}};
    struct fault_plan full = {FAULT_SEND, 1, FAULT_FOREVER, EAGAIN, 0};
    int listener = open_listener();

    fault_about = backend;
    faults_begin(&full, NULL);
    for (int i = 0; i <= CLIENTS; i++)
        client_forget(&clients[i]);
    turns = 0;
    faults_idle = clients_and_no_more;
    faults_accepted = NULL;
    CHECK(ts_reactor_new(&reactor, backend) == 0);
    struct ts_rules rules = *ts_reactor_rules(reactor);
    rules.min_rate = 0; /* only the time without an octet counts */
    CHECK(ts_reactor_set_rules(reactor, &rules) == 0);
    CHECK(ts_reactor_listen(reactor, listener) == 0);
    step = one;
    return listener;
}

static void end(int listener)
{
    end_server();
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    close(listener);
    faults_check_books();
    faults_begin(NULL, NULL);
}

static void test_goes_on(const char *backend)
{
    int listener = begin(backend);

    serve_for(4 * SEC);
    CHECK(clients[0].n == 0 && !clients[0].ended && reactor->n_open == 1);
    /* Each time once by the clock, and once more as the kernel says that it may. */
    uint64_t times = atomic_load(&fault_clock) / TS_STALLED_NS;
    CHECK(calls_of(FAULT_SEND) >= 4 && calls_of(FAULT_SEND) <= 2 * times + 4);
    CHECK(calls_of(FAULT_EPOLL_WAIT) + calls_of(FAULT_PPOLL) <= 4 * times + 20);
    faults_begin(NULL, NULL);
    serve_for(4 * SEC);
    CHECK(clients[0].n > 0 && !clients[0].ended);
    end(listener);
}

static void test_deadline_holds(const char *backend)
{
    int listener = begin(backend);

    uint64_t began = atomic_load(&fault_clock);
    serve_for(SEC);
    CHECK(atomic_load(&fault_clock) - began < ts_reactor_rules(reactor)->write_ns);
    CHECK(reactor->n_open == 1);
    serve_for(ts_reactor_rules(reactor)->write_ns + 5 * SEC);
    CHECK(reactor->n_open == 0 && clients[0].n == 0);
    end(listener);
}

int main(void)
{
    static const char *const backends[] = {"epoll", "poll"};

    rig_init();
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++) {
        test_goes_on(backends[b]);
        test_deadline_holds(backends[b]);
    }
    return 0;
}

#else

int main(void)
{
    return 0;
}
#endif
