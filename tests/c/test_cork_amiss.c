/* units: sock.c clock.c patience.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* cork when something is amiss: the peer, the thread, the process. */
#include "cork_rig.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#if defined(MSG_MORE) && defined(TCP_CORK)

static void test_peer_is_gone(void)
{
    struct ts_corks *corks = made();
    struct linger at_once = {1, 0};
    ssize_t n = 0;

    for (int how = 0; how < 3; how++) {
        struct ts_cork cork = {0};
        int s[2];
        connect_pair(s);
        atomic_store(&stopped, how < 2);
        write_more(corks, &cork, s[0], "unread");
        CHECK(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &at_once,
                         sizeof at_once) == 0);
        close(s[1]);
        if (how == 0)
            ts_cork_push(corks, &cork);
        else if (how == 2)
            wait_until_pushed(corks, &cork);
        for (int i = 0; (n = ts_send_more(corks, &cork, s[0], "x", 1)) > 0; i++)
            CHECK(i < 1000);
        CHECK(n == -ECONNRESET || n == -EPIPE);
        CHECK(ts_send_more(corks, &cork, s[0], "x", 1) == -EPIPE);
        ts_cork_done(corks, &cork);
        CHECK(corks->first == NULL);
        close(s[0]);
        CHECK(ts_send_more(corks, &cork, s[0], "x", 1) == -EBADF);
        CHECK(!is_held(corks, &cork));
    }
    ts_corks_free(corks);
}

static void test_no_thread_can_be_started(void)
{
    struct ts_corks *corks = made();
    struct ts_cork cork = {0};
    int s[2];
    connect_pair(s);
    atomic_store(&refused, true);
    for (int i = 0; i < 2; i++) {
        write_more(corks, &cork, s[0], "at once");
        CHECK(corks->first == NULL && cork.at == NULL);
        check_comes(s[1], "at once");
    }
    atomic_store(&refused, false); /* it is tried again */
    write_more(corks, &cork, s[0], "held");
    CHECK(is_held(corks, &cork) && waits(s[1]));
    ts_cork_push(corks, &cork);
    check_comes(s[1], "held");
    close_pair(s);
    ts_corks_free(corks);
}

/* Its default action would end the process, were it the thread's. */
static void test_signals_are_for_the_program(void)
{
    struct ts_corks *corks = made();
    struct ts_cork cork = {0};
    struct timespec patience = {20, 0};
    sigset_t usr1, before;
    int s[2];
    connect_pair(s);
    write_more(corks, &cork, s[0], "x");
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &usr1, &before) == 0);
    CHECK(!sigismember(&before, SIGUSR1)); /* starting it left ours alone */
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(sigtimedwait(&usr1, NULL, &patience) == SIGUSR1);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    ts_cork_done(corks, &cork);
    close_pair(s);
    ts_corks_free(corks);
}

static void test_forked(void)
{
    struct ts_corks *corks = made();
    struct ts_cork cork = {0}, fresh = {0};
    int s[2], other[2], status;
    connect_pair(s);
    connect_pair(other);
    write_more(corks, &cork, s[0], "parent");
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        ts_corks_forked(corks);
        ts_cork_push(corks, &cork); /* the parent's: left alone */
        ts_cork_done(corks, &cork);
        write_more(corks, &fresh, other[0], "child");
        CHECK(fresh.at == NULL);
        check_comes(other[1], "child");
        ts_cork_push(corks, &fresh);
        ts_cork_done(corks, &fresh);
        ts_corks_free(corks);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(is_held(corks, &cork));
    atomic_store(&stopped, false);
    wait_until_pushed(corks, &cork);
    check_comes(s[1], "parent");
    close_pair(s);
    close_pair(other);
    ts_corks_free(corks);
}

static void test_never_used(void)
{
    struct ts_cork cork = {0};
    struct ts_corks *corks = made();

    ts_cork_done(corks, &cork);
    ts_cork_push(corks, &cork);
    ts_corks_free(corks);
    ts_corks_free(NULL);
}

/* Who finds an entry not held, without the lock even, may close the descriptor
 * and free the entry: the thread must be through with both. */
static struct ts_cork looked_at;
static _Atomic int pushes;

static void check_still_held(void)
{
    CHECK(looked_at.at != NULL);
    atomic_fetch_add(&pushes, 1);
}

static void test_held_until_the_thread_is_through(void)
{
    struct ts_corks *corks = made();
    int s[2];
    connect_pair(s);
    when_pushed = check_still_held;
    write_more(corks, &looked_at, s[0], "late");
    atomic_store(&stopped, false);
    check_comes(s[1], "late");
    wait_until_pushed(corks, &looked_at);
    when_pushed = NULL;
    CHECK(atomic_load(&pushes) == 1);
    close_pair(s);
    ts_corks_free(corks);
}

int main(void)
{
    test_never_used();
    test_peer_is_gone();
    test_no_thread_can_be_started();
    test_signals_are_for_the_program();
    test_forked();
    test_held_until_the_thread_is_through();
    puts("cork, amiss: all passed");
    return 0;
}

#else

int main(void)
{
    struct ts_corks *corks;

    CHECK(ts_corks_new(&corks) == -ENOSYS && corks == NULL);
    ts_corks_free(corks);
    puts("cork, amiss: nothing of the kind here");
    return 0;
}

#endif
