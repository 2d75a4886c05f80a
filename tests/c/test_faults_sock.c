/* units: sock.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* sock when its system calls fail: what it returns, what it tries again, and that no
 * descriptor is left behind. */
#if defined(__linux__)

#include "faults_one.h"

#include "sock.h"

static void test_recv(void)
{
    static const int hard[] = {ECONNRESET, ETIMEDOUT, ENOMEM, EAGAIN, EHOSTUNREACH};
    int s[2];
    char buf[10];

    open_pair(s, SOCK_STREAM);
    CHECK(send(s[1], "12345", 5, 0) == 5);
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        fail(FAULT_RECV, 1, 1, hard[i], 0);
        CHECK(ts_recv(s[0], buf, sizeof buf) == -hard[i]);
        failed(1);
        fail(FAULT_RECV, 1, 1, hard[i], 0);
        CHECK(ts_recv_wait(s[0], buf, sizeof buf) == -hard[i]);
        failed(1);
    }
    fail(FAULT_RECV, 1, 1, EINTR, 0);
    CHECK(ts_recv_wait(s[0], buf, sizeof buf) == -EINTR);
    failed(1);
    fail(FAULT_RECV, 1, 1000, EINTR, 0);
    CHECK(ts_recv(s[0], buf, 4) == 4 && memcmp(buf, "1234", 4) == 0);
    failed(1000);
    close_pair(s);
}

static void test_send(void)
{
    static const int hard[] = {ECONNRESET, EPIPE, ENOBUFS, ENOMEM, ETIMEDOUT, EAGAIN};
    int s[2];
    char buf[100];

    open_pair(s, SOCK_STREAM);
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        fail(FAULT_SEND, 1, 1, hard[i], 0);
        CHECK(ts_send(s[0], "x", 1) == -hard[i]);
        failed(1);
        fail(FAULT_SENDMSG, 1, 1, hard[i], 0);
        CHECK(ts_send2(s[0], "x", 1, "y", 1) == -hard[i]);
        failed(1);
    }
    fail(FAULT_SEND, 1, 1000, EINTR, 0);
    CHECK(ts_send(s[0], "abc", 3) == 3);
    failed(1000);
    for (size_t cut = 1; cut <= 6; cut++) {
        fail(FAULT_SENDMSG, 1, 1, FAULT_SHORT, cut);
        CHECK(ts_send2(s[0], "123", 3, "4567", 4) == (ssize_t)cut);
        failed(1);
    }
    fail(FAULT_SENDMSG, 1, 1000, EINTR, 0);
    CHECK(ts_send2(s[0], "123", 3, "45", 2) == 5);
    failed(1000);
    CHECK(recv(s[1], buf, sizeof buf, 0) == 3 + 1 + 2 + 3 + 4 + 5 + 6 + 5);
    CHECK(memcmp(buf, "abc11212312341234512345612345", 29) == 0);
    close_pair(s);
}

static void test_datagrams(void)
{
    struct ts_addr from;
    int s[2];
    char buf[10];

    open_pair(s, SOCK_DGRAM);
    CHECK(send(s[1], "12345", 5, 0) == 5);
    fail(FAULT_RECVFROM, 1, 1, ECONNREFUSED, 0); /* of one that was sent before */
    CHECK(ts_recv_from(s[0], buf, sizeof buf, &from) == -ECONNREFUSED);
    failed(1);
    fail(FAULT_RECVFROM, 1, 1000, EINTR, 0);
    CHECK(ts_recv_from(s[0], buf, sizeof buf, &from) == 5);
    failed(1000);
    CHECK(ts_recv_from(s[0], buf, sizeof buf, &from) == -EAGAIN);
    close_pair(s);
}

static void test_wait(void)
{
    static const int hard[] = {EINTR, ENOMEM, EINVAL};
    int s[2];

    open_pair(s, SOCK_STREAM);
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        fail(FAULT_PPOLL, 1, 1, hard[i], 0);
        CHECK(ts_wait_fd(s[0], true, -1, -1) == -hard[i]);
        failed(1);
    }
    CHECK(ts_wait_fd(s[0], true, -1, -1) == TS_WAIT_READY);
    close_pair(s);
}

static void test_options(void)
{
    static const int quiet[] = {ENOPROTOOPT, EOPNOTSUPP, EINVAL};
    int s[2];
    bool was;

    open_pair(s, SOCK_STREAM);
    for (size_t i = 0; i < sizeof quiet / sizeof quiet[0]; i++) {
        fail(FAULT_SETSOCKOPT, 1, 1, quiet[i], 0);
        CHECK(ts_set_nodelay(s[0]) == 0);
        failed(1);
    }
    fail(FAULT_SETSOCKOPT, 1, 1, ENOBUFS, 0);
    CHECK(ts_set_nodelay(s[0]) == -ENOBUFS);
    failed(1);
    for (unsigned at = 1; at <= 2; at++) {
        fail(FAULT_FCNTL, at, 1, EIO, 0);
        CHECK(ts_set_nonblock(s[0], true, &was) == -EIO);
        failed(1);
        CHECK(!(fcntl(s[0], F_GETFL) & O_NONBLOCK));
    }
    close_pair(s);
}

static void test_accept(void)
{
    static const int skipped[] = {EINTR, ECONNABORTED, EPROTO};
    static const int told[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EAGAIN};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof addr;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    CHECK(bind(listener, (struct sockaddr *)&addr, sizeof addr.sun_family) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&addr, &len) == 0);
    CHECK(listen(listener, 5) == 0);
    for (size_t i = 0; i < sizeof skipped / sizeof skipped[0]; i++) {
        struct ts_addr peer;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        CHECK(connect(fd, (struct sockaddr *)&addr, len) == 0);
        for (size_t k = 0; k < sizeof told / sizeof told[0]; k++) {
            fail(FAULT_ACCEPT, 1, 1, told[k], 0);
            CHECK(ts_accept(listener, NULL) == -told[k]);
            failed(1);
        }
        fail(FAULT_ACCEPT, 1, 1000, skipped[i], 0);
        int got = ts_accept(listener, &peer);
        CHECK(got >= 0 && peer.u.sa.sa_family == AF_UNIX);
        failed(1000);
        fault_close(got);
        close(fd);
    }
    close(listener);
    faults_check_books();
}

static void test_wakefd(void)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM};
    struct ts_wakefd w;

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        fail(FAULT_WAKEFD, 1, 1, errors[i], 0);
        CHECK(ts_wakefd_open(&w) == -errors[i]);
        CHECK(w.read_fd == -1 && w.write_fd == -1);
        failed(1);
        ts_wakefd_close(&w);
    }
    CHECK(ts_wakefd_open(&w) == 0);
    errno = ENOTTY;
    fail(FAULT_WRITE, 1, 1000, EINTR, 0);
    CHECK(ts_wakefd_set(&w) == 0 && errno == ENOTTY);
    failed(1000);
    fail(FAULT_WRITE, 1, 1, EAGAIN, 0); /* it is full: set */
    CHECK(ts_wakefd_set(&w) == 0 && errno == ENOTTY);
    failed(1);
    fail(FAULT_WRITE, 1, 1, EIO, 0);
    CHECK(ts_wakefd_set(&w) == -EIO && errno == ENOTTY);
    failed(1);
    fail(FAULT_READ, 1, 1000, EINTR, 0);
    CHECK(ts_wakefd_clear(&w) == 1);
    failed(1000);
    CHECK(ts_wakefd_clear(&w) == 0);
    ts_wakefd_close(&w);
    faults_check_books();
}

int main(void)
{
    faults_init();
    test_recv();
    test_send();
    test_datagrams();
    test_wait();
    test_options();
    test_accept();
    test_wakefd();
    printf("faults, sock: %u faults\n", n_faults);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
