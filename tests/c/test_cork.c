/* units: sock.c clock.c patience.c; sanitizers: address,undefined | thread; libs: -lpthread */
/* cork: what waits, until when, and that nothing is lost or out of order. */
#include "cork_rig.h"

#include <stdio.h>

#if defined(MSG_MORE) && defined(TCP_CORK)

/* ---- one entry ---- */

static void test_waits_for_what_follows(bool push)
{
    struct ts_corks *corks = made();
    struct ts_cork cork = {0};
    int s[2];
    connect_pair(s);
    for (int i = 0; i < 3; i++) {
        write_more(corks, &cork, s[0], "head ");
        CHECK(is_held(corks, &cork) && waits(s[1]));
        write_more(corks, &cork, s[0], "and more ");
        CHECK(is_held(corks, &cork) && waits(s[1]));
        if (push) {
            ts_cork_push(corks, &cork);
            check_comes(s[1], "head and more ");
        } else {
            CHECK(ts_send(s[0], "body", 4) == 4);
            ts_cork_done(corks, &cork);
            check_comes(s[1], "head and more body");
        }
        CHECK(!is_held(corks, &cork) && corks->first == NULL);
        ts_cork_push(corks, &cork); /* nothing to push */
        ts_cork_done(corks, &cork);
    }
    close_pair(s);
    ts_corks_free(corks);
}

/* Nothing follows: the thread, which may have gone to sleep, sees to it. */
static void test_waits_for_a_tick(bool asleep)
{
    struct ts_corks *corks = made();
    struct ts_cork cork = {0};
    int s[2];
    connect_pair(s);
    for (int round = 0; round < 3; round++) {
        atomic_store(&stopped, true);
        write_more(corks, &cork, s[0], "alone");
        CHECK(is_held(corks, &cork) && waits(s[1]));
        atomic_store(&stopped, false);
        wait_until_pushed(corks, &cork);
        check_comes(s[1], "alone");
        for (int i = 0; asleep; i++) {
            pthread_mutex_lock(&corks->mu);
            bool now = corks->asleep;
            pthread_mutex_unlock(&corks->mu);
            if (now)
                break;
            CHECK(i < 20000);
            usleep(1000);
        }
    }
    close_pair(s);
    ts_corks_free(corks);
}

/* The close itself sends what waits, before the end. */
static void test_closed_right_after(bool push)
{
    struct ts_corks *corks = made();
    char one;

    for (int i = 0; i < 20; i++) {
        struct ts_cork cork = {0};
        int s[2];
        connect_pair(s);
        atomic_store(&stopped, i % 2 == 0);
        write_more(corks, &cork, s[0], "last words");
        if (push)
            ts_cork_push(corks, &cork);
        else
            ts_cork_done(corks, &cork);
        close(s[0]);
        for (const char *at = "last words"; *at != '\0'; at++)
            CHECK(recv(s[1], &one, 1, 0) == 1 && one == *at);
        CHECK(recv(s[1], &one, 1, 0) == 0);
        close(s[1]);
    }
    ts_corks_free(corks);
}

static void test_list_of_several(void)
{
    enum { ALL = 5 };
    static const int order[ALL] = {2, 0, 4, 1, 3}; /* middle, ends, rest */
    struct ts_corks *corks = made();
    struct ts_cork cork[ALL] = {{0}};
    int s[ALL][2];

    for (int i = 0; i < ALL; i++) {
        connect_pair(s[i]);
        write_more(corks, &cork[i], s[i][0], "x");
    }
    for (int i = 0; i < ALL; i++) {
        ts_cork_push(corks, &cork[order[i]]);
        check_comes(s[order[i]][1], "x");
        for (int j = 0; j < ALL; j++)
            CHECK(is_held(corks, &cork[order[j]]) == (j > i));
        close_pair(s[order[i]]);
    }
    CHECK(corks->first == NULL);
    ts_corks_free(corks);
}

static void test_kernel_is_full(void)
{
    enum { PIECE = 7919 };
    struct ts_corks *corks = made();
    struct ts_cork cork = {0};
    static char piece[PIECE];
    uint64_t sent = 0, got = 0;
    ssize_t n;
    int s[2];
    connect_pair(s);
    for (int i = 0; i < 3; i++) {
        do { /* octet number n of the stream is n % 251 */
            for (int at = 0; at < PIECE; at++)
                piece[at] = (char)((sent + (uint64_t)at) % 251);
            n = ts_send_more(corks, &cork, s[0], piece, PIECE);
            CHECK(n > 0 || n == -EAGAIN);
            sent += n > 0 ? (uint64_t)n : 0;
        } while (n > 0);
        CHECK(is_held(corks, &cork));
        ts_cork_push(corks, &cork);
        while (got < sent) {
            CHECK(ts_wait_fd(s[1], false, -1, 20000 * MS) == TS_WAIT_READY);
            n = ts_recv(s[1], piece, PIECE);
            CHECK(n > 0);
            for (ssize_t at = 0; at < n; at++)
                CHECK(piece[at] == (char)(got++ % 251));
        }
    }
    close_pair(s);
    ts_corks_free(corks);
}

/* ---- threads ---- */

enum { WRITERS = 6, ROUNDS = 150 };

struct writer {
    struct ts_corks *corks;
    unsigned number;
};

/* A new connection now and then, so that descriptors are used again while the
 * pushing thread is at its list. */
static void *write_rounds(void *arg)
{
    struct writer *w = arg;
    struct ts_cork cork = {0};
    int s[2] = {-1, -1};

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned how = (i * 7 + w->number) % 16;
        char text[] = {'a', (char)i, (char)w->number}, got[3];

        if (s[0] < 0)
            connect_pair(s);
        CHECK(ts_send_more(w->corks, &cork, s[0], text, 2) == 2);
        if (how == 0) {
            CHECK(ts_send_more(w->corks, &cork, s[0], text + 2, 1) == 1);
        } else if (how < 6) {
            CHECK(ts_send_more(w->corks, &cork, s[0], text + 2, 1) == 1);
            ts_cork_push(w->corks, &cork);
        } else {
            CHECK(ts_send(s[0], text + 2, 1) == 1);
            ts_cork_done(w->corks, &cork);
        }
        CHECK(recv(s[1], got, 3, MSG_WAITALL) == 3);
        CHECK(memcmp(got, text, 3) == 0);
        if (how >= 12 || i == ROUNDS - 1) {
            ts_cork_done(w->corks, &cork);
            close_pair(s);
            s[0] = -1;
        }
    }
    return NULL;
}

static void test_many_at_once(void)
{
    struct ts_corks *corks = made();
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];

    atomic_store(&stopped, false);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){corks, i};
        CHECK(pthread_create(&threads[i], NULL, write_rounds, &writers[i]) == 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(corks->first == NULL);
    ts_corks_free(corks);
}

int main(void)
{
    test_waits_for_what_follows(false);
    test_waits_for_what_follows(true);
    test_waits_for_a_tick(false);
    test_waits_for_a_tick(true);
    test_closed_right_after(false);
    test_closed_right_after(true);
    test_list_of_several();
    test_kernel_is_full();
    test_many_at_once();
    puts("cork: all passed");
    return 0;
}

#else

int main(void)
{
    struct ts_corks *corks;

    CHECK(ts_corks_new(&corks) == -ENOSYS && corks == NULL);
    ts_corks_free(corks);
    puts("cork: nothing of the kind here");
    return 0;
}

#endif
