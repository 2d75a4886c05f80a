/* units: sock.c buffer.c census.c head.c leader.c crew.c monitor.c patience.c wakeup.c clock.c cork.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* The single functions whose system calls fail: what they return, what they have
 * kept, and that nothing is left behind. */
#if defined(__linux__)

#include "faults_one.h"

#include "buffer.h"
#include "census.h"
#include "clock.h"
#include "cork.h"
#include "head.h"
#include "leader.h"
#include "patience.h"
#include "poller.h"
#include "sock.h"
#include "wakeup.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

/* ---- memory ---- */

static void test_buffers(void)
{
    struct ts_in in = {0};
    struct ts_head head = {0};

    fail(FAULT_ALLOC, 1, 1, ENOMEM, 0);
    CHECK(ts_in_reserve(&in, 10) == -ENOMEM && in.data == NULL && in.cap == 0);
    failed(1);
    CHECK(ts_in_reserve(&in, 10) == 0);
    memcpy(in.data, "0123456789", 10);
    in.head = 2;
    in.pos = 5;
    in.end = 10;
    fail(FAULT_ALLOC, 1, 1, ENOMEM, 0);
    CHECK(ts_in_reserve(&in, 100000) == -ENOMEM);
    failed(1);
    CHECK(in.head == 2 && in.pos == 5 && in.end == 10);
    CHECK(memcmp(in.data, "0123456789", 10) == 0);
    ts_in_free(&in);

    fail(FAULT_ALLOC, 1, 1, ENOMEM, 0);
    CHECK(ts_head_add(&head, "abc", 3) == -ENOMEM && head.len == 0);
    failed(1);
    CHECK(ts_head_add(&head, "abc", 3) == 0);
    fail(FAULT_ALLOC, 1, 1, ENOMEM, 0);
    CHECK(ts_head_reserve(&head, 100000) == -ENOMEM);
    failed(1);
    CHECK(head.len == 3 && memcmp(head.data, "abc", 3) == 0);
    ts_head_free(&head);
    faults_check_books();
}

/* What is written is on its way or still the caller's, memory or not; and nothing
 * of it twice. */
static void test_output(void)
{
    char text[3000], got[20000];
    size_t taken;

    memset(text, 't', sizeof text);
    for (unsigned at = 1; at <= 4; at++)
        for (unsigned times = 1; times <= 3; times++)
            for (int full = 0; full < 2; full++) {
                struct fault_plan memory = {FAULT_ALLOC, at, times, ENOMEM, 0};
                struct fault_plan kernel = {FAULT_SEND, 1, 1, EAGAIN, 0};
                struct ts_out out;
                int s[2];

                open_pair(s, SOCK_STREAM);
                ts_out_init(&out);
                faults_begin(&memory, full ? &kernel : NULL);
                for (unsigned i = 0; i < 5; i++) {
                    size_t done = 0;

                    while (done < sizeof text) {
                        text[0] = (char)('0' + i);
                        int result = ts_out_write(&out, s[0], text + done,
                                                  sizeof text - done, false, &taken);
                        CHECK(result >= 0 && out.error == 0);
                        CHECK(result == TS_OUT_BLOCKED || taken == sizeof text - done);
                        done += taken;
                    }
                }
                while (ts_out_flush(&out, s[0]) == TS_OUT_BLOCKED)
                    ;
                n_faults += atomic_load(&faults_fired);
                CHECK(recv(s[1], got, sizeof got, 0) == 5 * sizeof text);
                for (unsigned i = 0; i < 5; i++)
                    CHECK(got[i * sizeof text] == (char)('0' + i));
                ts_out_free(&out);
                close_pair(s);
            }
    faults_begin(NULL, NULL);
}

/* ---- what has to be made first ---- */

static bool flush(void *conn, void *ctx)
{
    (void)conn, (void)ctx;
    return false;
}

static int make_leader(void)
{
    struct ts_leader_config config = {.max_threads = 4, .flush = flush};
    struct ts_leader *l;
    int result = ts_leader_new(&l, &config);

    CHECK((l == NULL) == (result != 0));
    ts_leader_free(l);
    return result;
}

static int make_corks(void)
{
    struct ts_corks *corks;
    int result = ts_corks_new(&corks);

    CHECK((corks == NULL) == (result != 0));
    ts_corks_free(corks);
    return result;
}

static int make_poller(const char *backend)
{
    struct ts_poller *p;
    int result = ts_poller_open(&p, backend);

    CHECK((p == NULL) == (result != 0));
    ts_poller_close(p);
    return result;
}

static int make_epoll(void)
{
    return make_poller("epoll");
}

static int make_poll(void)
{
    return make_poller("poll");
}

static void test_making(void)
{
    static int (*const make[])(void) = {make_leader, make_corks, make_epoll, make_poll};
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_LOCK, FAULT_WAKEFD,
                                            FAULT_EPOLL_CREATE, FAULT_EPOLL_ADD};

    for (size_t m = 0; m < sizeof make / sizeof make[0]; m++)
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            faults_begin(NULL, NULL);
            CHECK(make[m]() == 0);
            faults_check_books();
            unsigned n = atomic_load(&fault_calls[kinds[k]]);
            for (unsigned at = 1; at <= n; at++) {
                fail(kinds[k], at, 1, ENOMEM, 0);
                CHECK(make[m]() == -ENOMEM);
                failed(1);
                faults_check_books();
            }
        }
}

/* ---- cork ---- */

static void tcp_pair(int s[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&addr, len) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&addr, &len) == 0);
    s[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(s[1], (struct sockaddr *)&addr, len) == 0);
    s[0] = accept(listener, NULL, NULL);
    close(listener);
    faults_give(s[0]);
    faults_give(s[1]);
    CHECK(ts_set_nodelay(s[0]) == 0);
}

static void test_cork(void)
{
    static const int hard[] = {EPIPE, ECONNRESET, EAGAIN, ENOBUFS};
    struct ts_corks *corks;
    struct ts_cork cork = {0};
    int s[2];
    char buf[10];

    CHECK(ts_corks_new(&corks) == 0);
    tcp_pair(s);
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        fail(FAULT_SEND, 1, 1, hard[i], 0);
        CHECK(ts_send_more(corks, &cork, s[0], "x", 1) == -hard[i]);
        failed(1);
        CHECK(cork.at == NULL); /* nothing of it waits */
    }
    fail(FAULT_SEND, 1, 1000, EINTR, 0);
    CHECK(ts_send_more(corks, &cork, s[0], "12", 2) == 2);
    failed(1000);
    fail(FAULT_SEND, 1, 1, FAULT_SHORT, 1);
    CHECK(ts_send_more(corks, &cork, s[0], "34", 2) == 1);
    failed(1);
    ts_cork_push(corks, &cork);
    CHECK(recv(s[1], buf, 3, MSG_WAITALL) == 3 && memcmp(buf, "123", 3) == 0);

    /* No thread: it is not held. Nor can it be pushed: the kernel does, in time. */
    fail(FAULT_SETSOCKOPT, 1, 1, ENOBUFS, 0);
    CHECK(ts_send_more(corks, &cork, s[0], "4", 1) == 1);
    ts_cork_push(corks, &cork);
    n_faults++;
    CHECK(recv(s[1], buf, 1, MSG_WAITALL) == 1);
    faults_begin(NULL, NULL);
    ts_corks_free(corks);

    CHECK(ts_corks_new(&corks) == 0);
    fail(FAULT_THREAD, 1, 2, EAGAIN, 0);
    for (int i = 0; i < 2; i++) {
        CHECK(ts_send_more(corks, &cork, s[0], "5", 1) == 1 && cork.at == NULL);
        CHECK(atomic_load(&fault_calls[FAULT_SETSOCKOPT]) == (unsigned)i + 1); /* pushed */
        CHECK(recv(s[1], buf, 1, MSG_WAITALL) == 1);
    }
    CHECK(ts_send_more(corks, &cork, s[0], "6", 1) == 1); /* now there is one */
    ts_cork_push(corks, &cork);
    CHECK(recv(s[1], buf, 1, MSG_WAITALL) == 1);
    failed(2);
    ts_corks_free(corks);
    close_pair(s);
}

/* A policy that cannot be asked for or set is left alone. */
static void test_patience(void)
{
    for (unsigned at = 1; at <= 2; at++) {
        struct ts_patience p = {0};

        fail(FAULT_SCHED, at, 1, EPERM, 0);
        for (int i = 0; i < 5; i++) {
            ts_patience_set(&p, true);
            CHECK(!p.on);
        }
        CHECK(atomic_load(&fault_calls[FAULT_SCHED]) == at);
        failed(1);
    }
}

/* A wait that is broken off has neither been posted nor come to its end. */
static void test_wakeup(void)
{
    static const int errors[] = {EINTR, EAGAIN};
    struct ts_wakeup w;

    CHECK(ts_wakeup_init(&w) == 0);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        uint64_t until = ts_deadline_in(10000000);

        fail(FAULT_FUTEX, 1, 100, errors[i], 0);
        CHECK(!ts_wakeup_wait(&w, until) && ts_monotonic_ns() >= until);
        failed(100);
        ts_wakeup_post(&w);
        CHECK(ts_wakeup_wait(&w, UINT64_MAX));
    }
    ts_wakeup_destroy(&w);
}

static void test_census(void)
{
    bool counted[100];
    struct ts_census census = {0};
    struct ts_addr peer = {.len = sizeof peer.u.in};

    fail(FAULT_LOCK, 1, 1, ENOMEM, 0);
    CHECK(ts_census_init(&census) == -ENOMEM);
    failed(1);
    CHECK(ts_census_init(&census) == 0);
    peer.u.in.sin_family = AF_INET;
    for (uint32_t n = 0; n < 100; n++) { /* without memory now and then */
        fail(FAULT_ALLOC, 1, n % 3, ENOMEM, 0);
        peer.u.in.sin_addr.s_addr = htonl(n / 2);
        enum ts_census_says says = ts_census_enter(&census, &peer, 2);
        CHECK(says == (atomic_load(&faults_fired) > 0 ? TS_CENSUS_NOT_COUNTED
                                                      : TS_CENSUS_COUNTED));
        n_faults += atomic_load(&faults_fired);
        counted[n] = says == TS_CENSUS_COUNTED;
    }
    for (uint32_t n = 0; n < 100; n++) {
        peer.u.in.sin_addr.s_addr = htonl(n / 2);
        if (counted[n])
            ts_census_leave(&census, &peer);
    }
    CHECK(census.used == 0);
    faults_begin(NULL, NULL);
    ts_census_free(&census);
    faults_check_books();
}

int main(void)
{
    faults_init();
    test_wakeup();
    test_census();
    test_buffers();
    test_output();
    test_making();
    test_cork();
    test_patience();
    printf("faults, calls: %u faults\n", n_faults);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
