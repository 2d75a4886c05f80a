/* units: reactor.c census.c course.c deadline.c rules.c slots.c acceptor.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c clock.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* No room for one more descriptor: accepting pauses, the connections that are open
 * are served on, and those that wait are accepted when the pause is over; whatever
 * else fails meanwhile. */
#if defined(__linux__)

#include "faults_judge.h"
#include "faults_scripts.h"

static const char *backend;

static const struct script some = {
    .name = "four clients, no room for some",
    .answers = {"/a|/d", "/b", "/c", "/e/close|."},
    .steps = {{CONNECT, 0, 0, 0},
              {PUT, 0, GET("/a"), 0},
              {CONNECT, 1, 0, 0},
              {CONNECT, 2, 0, 0},
              {PUT, 2, GET("/c"), 0},
              {PUT, 0, GET("/d"), 0},
              {PUT, 1, GET("/b"), 0},
              {CONNECT, 3, 0, 0},
              {PUT, 3, GET("/e/close"), 0}}};

static unsigned calls_of(enum fault_kind kind)
{
    return atomic_load(&fault_calls[kind]);
}

/* A server and its first client, which has been answered. */
static int begin(void)
{
    static const struct step first[] = {
        {CONNECT, 0, 0, 0}, {PUT, 0, GET("/a"), 0}, {STEPS_END, 0, 0, 0}};
    int listener = open_listener();

    fault_about = backend;
    faults_begin(NULL, NULL);
    for (int i = 0; i <= CLIENTS; i++)
        client_forget(&clients[i]);
    turns = 0;
    faults_idle = clients_turn;
    faults_accepted = NULL;
    CHECK(ts_reactor_new(&reactor, backend) == 0);
    CHECK(ts_reactor_listen(reactor, listener) == 0);
    step = first;
    serve_for(SEC);
    CHECK(clients[0].n > 0 && !clients[0].ended);
    clients[0].n = 0;
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

static const struct step more[] = {{CONNECT, 1, 0, 0}, {PUT, 1, GET("/b"), 0},
                                   {CONNECT, 2, 0, 0}, {PUT, 2, GET("/c"), 0},
                                   {PUT, 0, GET("/d"), 0}, {STEPS_END, 0, 0, 0}};

/* One accept a pause and a few calls around it, in whatever time. */
static void check_pauses(uint64_t ns)
{
    uint64_t pauses = ns / TS_ACCEPT_PAUSE_NS;

    CHECK(calls_of(FAULT_ACCEPT) >= pauses / 2 && calls_of(FAULT_ACCEPT) <= pauses + 2);
    CHECK(faults_count() <= 8 * pauses + 60);
}

/* As long as it lasts: the one that is open is served, and time is not wasted. */
static void test_pauses_are_kept(int error)
{
    struct fault_plan plan = {FAULT_ACCEPT, 1, FAULT_FOREVER, error, 0};
    int listener = begin();

    faults_begin(&plan, NULL);
    uint64_t began = atomic_load(&fault_clock);
    step = more;
    serve_for(4 * SEC);
    check_pauses(atomic_load(&fault_clock) - began);
    CHECK(clients[0].n > 0 && clients[1].n == 0 && clients[2].n == 0);
    CHECK(!clients[1].ended && !clients[2].ended);

    faults_begin(NULL, NULL); /* there is room again */
    serve_for(2 * TS_ACCEPT_PAUSE_NS);
    CHECK(clients[1].n > 0 && clients[2].n > 0 && !clients[1].ended && !clients[2].ended);
    CHECK(!reactor->acceptor.paused);
    end(listener);
}

/* The kernel's own word: no descriptor is left in this process. */
static void test_descriptors_are_used_up(void)
{
    static const struct step rest[] = {
        {PUT, 1, GET("/b"), 0}, {PUT, 0, GET("/d"), 0}, {STEPS_END, 0, 0, 0}};
    int listener = begin(), fillers[FAULT_FDS], n = 0;

    faults_begin(NULL, NULL);
    client_connect(&clients[1], false);
    while ((fillers[n] = dup(listener)) >= 0)
        n++;
    CHECK(errno == EMFILE);
    uint64_t began = atomic_load(&fault_clock);
    step = rest;
    serve_for(SEC);
    check_pauses(atomic_load(&fault_clock) - began);
    CHECK(clients[0].n > 0 && clients[1].n == 0 && !clients[1].ended);
    while (n > 0)
        close(fillers[--n]);
    serve_for(2 * TS_ACCEPT_PAUSE_NS);
    CHECK(clients[1].n > 0 && !clients[1].ended);
    end(listener);
}

/* The pause is the listener's: another one begins at once; or at its end. */
static void test_another_listener_meanwhile(void)
{
    struct fault_plan plan = {FAULT_ACCEPT, 1, 1, EMFILE, 0};
    int listener = begin();

    faults_begin(&plan, NULL);
    client_connect(&clients[1], false);
    struct ts_conn *c;
    CHECK(ts_reactor_next(reactor, &turn, true, 0, &c) == TS_TASK_WOKEN);
    CHECK(reactor->acceptor.paused);
    ts_reactor_unlisten(reactor);
    client_close(&clients[1]);
    close(listener);
    faults_begin(NULL, NULL);
    listener = open_listener();
    CHECK(ts_reactor_listen(reactor, listener) == 0);
    step = more;
    serve_for(SEC);
    CHECK(clients[1].n > 0 && clients[2].n > 0);
    end(listener);
}

static void test_stopped_meanwhile(void)
{
    struct fault_plan plan = {FAULT_ACCEPT, 1, FAULT_FOREVER, ENFILE, 0};
    int listener = begin();

    faults_begin(&plan, NULL);
    client_connect(&clients[1], false);
    struct ts_conn *c;
    CHECK(ts_reactor_next(reactor, &turn, true, 0, &c) == TS_TASK_WOKEN);
    CHECK(reactor->acceptor.paused);
    end(listener);
}

/* The listener is to be silenced, or to be heard again, and the poller has no
 * memory for that, `times` in a row. It is heard in the end. */
static void test_the_poller_fails_too(unsigned at, unsigned times)
{
    struct fault_plan room = {FAULT_ACCEPT, 1, 3, EMFILE, 0};
    struct fault_plan poller = {FAULT_EPOLL_MOD, at, times, ENOMEM, 0};
    int listener = begin();

    faults_begin(&poller, &room);
    step = more;
    serve_for(SEC);
    CHECK(calls_of(FAULT_ACCEPT) >= 4 && calls_of(FAULT_EPOLL_MOD) >= at);
    CHECK(faults_count() <= 200);
    CHECK(clients[1].n > 0 && !clients[1].ended);
    CHECK(clients[2].n > 0 && !clients[2].ended);
    end(listener);
}

int main(void)
{
    static const char *const backends[] = {"epoll", "poll"};
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM};

    rig_init();
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++) {
        backend = backends[b];
        for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
            test_pauses_are_kept(errors[i]);
        test_descriptors_are_used_up();
        test_another_listener_meanwhile();
        test_stopped_meanwhile();
        if (b == 0)
            for (unsigned at = 1; at <= 6; at++)
                for (unsigned times = 1; times <= 5; times += 2)
                    test_the_poller_fails_too(at, times);
        /* Pauses wherever there is an accept, and everything else that fails. */
        for (unsigned at = 1; at <= 4; at++) {
            struct fault_plan room = {FAULT_ACCEPT, at, 2, EMFILE, 0};

            play_all(&some, backend, &room);
        }
    }
    printf("faults, accepting: %lu faults in %lu conversations\n", n_injected,
           n_conversations);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
