/* units: reactor.c course.c deadline.c rules.c slots.c acceptor.c census.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* Accepting and not accepting, the end of the server, and a fork. One thread is
 * client and server in turn. */
#include "reactor_rig.h"

/* ---- one thread: accepting ---- */

static void test_announce(void)
{
    struct server *s = single(false);
    int fd;

    s->r->announce = true;
    fd = client(s);
    pump(s);
    CHECK(atomic_load(&s->opened) == 1 && n_open(s) == 1);
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    CHECK(atomic_load(&s->opened) == 1);
    close(fd);
    pump(s);
    single_end(s);
}

static void test_unlisten(void)
{
    struct server *s = single(false);
    int fd = client(s), late;

    pump(s);
    ts_reactor_unlisten(s->r);
    ts_reactor_unlisten(s->r);
    late = client(s); /* the kernel has it */
    get_request(late, "/late");
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    CHECK(n_open(s) == 1);
    CHECK(ts_reactor_listen(s->r, s->listener) == 0);
    pump(s);
    expect(late, "/late");
    close(fd);
    close(late);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* A flood of connections does not keep those that are open from their turn. */
static void test_accept_takes_turns(void)
{
    enum { FLOOD = 400 };
    static int flood[FLOOD];
    struct server *s = single(false);
    int fd = client(s), n = 0;
    char one;

    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    /* There is always one more in the queue, and each has its request. */
    for (; n < 20; n++)
        get_request(flood[n] = client(s), "/flood");
    CHECK(next(s, (int64_t)SEC) == TS_TASK_REQUEST);
    get_request(fd, "/b");
    while (n < FLOOD) {
        get_request(flood[n++] = client(s), "/flood");
        next(s, 0);
        if (recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
            break;
    }
    CHECK(n < FLOOD);
    expect(fd, "/b");
    pump(s);
    for (int i = 0; i < n; i++) {
        expect(flood[i], "/flood");
        close(flood[i]);
    }
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* Runs in a child: its limit of descriptors is its own. */
static void out_of_descriptors(void)
{
    struct server *s = single(false);
    enum { WAITING = 8 };
    int fds[WAITING], spare, at_once = 0;
    struct rlimit limit;
    char one;

    for (int i = 0; i < WAITING; i++)
        get_request(fds[i] = client(s), "/a");
    spare = dup(0);
    CHECK(spare >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)spare + 4;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    close(spare);
    pump(s);
    for (int i = 0; i < WAITING; i++)
        at_once += recv(fds[i], &one, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    CHECK(at_once > 0 && at_once < WAITING);
    CHECK((int)n_open(s) == at_once);

    uint64_t cpu = cpu_ns(), began = ts_monotonic_ns();

    while (ts_monotonic_ns() < began + 300 * MS) /* no spinning */
        next(s, 100 * (int64_t)MS);
    CHECK(cpu_ns() - cpu < 150 * MS);
    CHECK((int)n_open(s) == at_once);
    for (int i = 0; i < WAITING; i++) { /* each end makes room for another */
        began = ts_monotonic_ns();
        while (recv(fds[i], &one, 1, MSG_PEEK | MSG_DONTWAIT) != 1) {
            CHECK(ts_monotonic_ns() < began + 10 * SEC);
            next(s, 20 * (int64_t)MS);
        }
        expect(fds[i], "/a");
        close(fds[i]);
    }
    pump(s);
    CHECK(all_close(s));

    /* Paused, and then no listener any more: the pause ends in nothing. */
    limit.rlim_cur = (rlim_t)spare + 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int fd = client(s);

    limit.rlim_cur = 3;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    pump(s);
    CHECK(all_close(s));
    ts_reactor_unlisten(s->r);
    nap_ms(60);
    pump(s);
    limit.rlim_cur = (rlim_t)spare + 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    nap_ms(60);
    pump(s);
    CHECK(all_close(s));
    CHECK(ts_reactor_listen(s->r, s->listener) == 0);
    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    close(fd);
    pump(s);
    single_end(s);
}

static void test_out_of_descriptors(void)
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(WATCHDOG_SECONDS);
        out_of_descriptors();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A lent socket is closed by the program, its number used again at once. */
static void test_descriptor_used_again(void)
{
    struct server *s = single(false);
    int fd = client(s), other;

    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    int number = s->last->fd;

    ts_reactor_unlisten(s->r); /* the handler listens again */
    other = client(s);
    get_request(fd, "/vanish");
    pump(s);
    CHECK(n_open(s) == 1);
    expect_end(fd);
    get_request(other, "/b");
    pump(s);
    expect(other, "/b");
    CHECK(s->last->fd == number);
    close(fd);
    close(other);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* ---- one thread: the end of the server ---- */

static void test_stop_ends_all_phases(void)
{
    struct server *s = single(true);
    int fds[6];

    fds[0] = client(s); /* nothing yet */
    put(fds[1] = client(s), "GET /a HT");
    post_head(fds[2] = client(s), "/a", 50); /* BODY */
    get_request(fds[3] = connect_small(s, 2048), "/long");
    post_head(fds[4] = client(s), "/left", 100000); /* DISCARD */
    post_head(fds[5] = client(s), "/close", 100000); /* LINGER */
    pump(s);
    CHECK(n_open(s) == 6);
    ts_reactor_stop(s->r);
    CHECK(next(s, -1) == TS_TASK_WOKEN);
    end_parked(s);
    CHECK(n_open(s) == 0);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    single_end(s);
}

/* A connection that parks after the sweep of the stop closes itself. */
static void test_stop_while_handling(void)
{
    struct server *s = single(false);
    struct ts_conn *c = NULL;
    int fd = client(s);

    get_request(fd, "/a");
    while (c == NULL)
        CHECK(ts_reactor_next(s->r, &s->turn, true, (int64_t)SEC, &c) !=
              TS_TASK_NONE);
    end_parked(s);
    CHECK(n_open(s) == 1);
    serve(s, s->worker, &s->turn, c, TS_TASK_REQUEST);
    CHECK(n_open(s) == 0);
    expect(fd, "/a");
    expect_end(fd);
    close(fd);
    single_end(s);
}

/* Around a fork: nothing gathered is there twice, and the child's copy has no
 * lock that somebody holds who is not there. */
static void test_fork(void)
{
    struct server *s = single(false);
    int fd = client(s), status;
    size_t taken;

    get_request(fd, "/a");
    pump(s);
    expect(fd, "/a");
    CHECK(ts_out_write(&s->last->out, s->last->fd, "gathered", 8, false,
                       &taken) == TS_OUT_FIRST);
    CHECK(pthread_mutex_lock(&s->r->slots.lock) == 0);
    CHECK(pthread_mutex_lock(&s->r->acceptor.lock) == 0);
    CHECK(!atomic_flag_test_and_set(&s->last->out.lock));
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(WATCHDOG_SECONDS);
        ts_leader_forked(s->l);
        ts_reactor_forked(s->r);
        CHECK(ts_slots_count(&s->r->slots) > 0);
        ts_reactor_free(s->r); /* which takes each of them */
        _exit(0);
    }
    atomic_flag_clear(&s->last->out.lock);
    CHECK(pthread_mutex_unlock(&s->r->acceptor.lock) == 0);
    CHECK(pthread_mutex_unlock(&s->r->slots.lock) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_nothing(fd);
    ts_reactor_before_fork(s->r);
    char text[8];

    get_octets(fd, text, 8);
    CHECK(memcmp(text, "gathered", 8) == 0);
    close(fd);
    pump(s);
    CHECK(all_close(s));
    single_end(s);
}

/* ---- all of them ---- */

static const struct test tests[] = {
    TEST(announce),
    TEST(unlisten),
    TEST(accept_takes_turns),
    TEST(out_of_descriptors),
    TEST(descriptor_used_again),
    TEST(stop_ends_all_phases),
    TEST(stop_while_handling),
    TEST(fork),
};

int main(int argc, char **argv)
{
    return run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
}
