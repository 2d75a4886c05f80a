/* units: sock.c; sanitizers: address,undefined | thread; libs: -lpthread */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define SECOND INT64_C(1000000000)

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static bool is_blocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

static bool is_cloexec(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

/* A listener on a free port of 127.0.0.1, and where it is. */
static int listener_at(struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof *at;

    CHECK(fd >= 0);
    memset(at, 0, sizeof *at);
    at->sin_family = AF_INET;
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(fd, (struct sockaddr *)at, sizeof *at) == 0);
    CHECK(listen(fd, 16) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)at, &len) == 0);
    CHECK(ts_set_nonblock(fd, true, NULL) == 0);
    return fd;
}

static int dial(const struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK(connect(fd, (const struct sockaddr *)at, sizeof *at) == 0);
    return fd;
}

static int take(int listener, struct ts_addr *from)
{
    CHECK(ts_wait_fd(listener, false, -1, 5 * SECOND) == TS_WAIT_READY);
    int fd = ts_accept(listener, from);
    CHECK(fd >= 0);
    return fd;
}

static void test_accept(void)
{
    struct sockaddr_in at, mine;
    struct ts_addr from;
    socklen_t len = sizeof mine;
    char text[TS_ADDR_TEXT];
    uint16_t port;
    int listener = listener_at(&at);

    CHECK(ts_accept(listener, &from) == -EAGAIN);
    int client = dial(&at);
    int fd = take(listener, &from);
    CHECK(is_blocking(fd));
    CHECK(is_cloexec(fd));
    CHECK(getsockname(client, (struct sockaddr *)&mine, &len) == 0);
    CHECK(ts_addr_text(&from, text, sizeof text, &port, NULL, NULL) == 9);
    CHECK(strcmp(text, "127.0.0.1") == 0);
    CHECK(port == ntohs(mine.sin_port));
    CHECK(ts_accept(listener, NULL) == -EAGAIN);
    close(client);
    close(fd);

    client = dial(&at);
    fd = take(listener, NULL);
    close(client);
    close(fd);

    /* No descriptor left: the connection stays queued. */
    struct rlimit old, tight;
    client = dial(&at);
    CHECK(ts_wait_fd(listener, false, -1, 5 * SECOND) == TS_WAIT_READY);
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    tight = old;
    tight.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    fd = ts_accept(listener, &from);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK(fd == -EMFILE);
    fd = take(listener, &from);
    close(client);
    close(fd);
    close(listener);
    CHECK(ts_accept(listener, &from) == -EBADF);
}

static void test_stream(void)
{
    char buf[64], *block;
    int s[2];
    ssize_t n;
    size_t sent = 0, got = 0;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(ts_recv(s[0], buf, sizeof buf) == -EAGAIN);
    CHECK(ts_send(s[1], "hello", 5) == 5);
    CHECK(ts_recv(s[0], buf, sizeof buf) == 5 && memcmp(buf, "hello", 5) == 0);
    CHECK(ts_send2(s[1], "head", 4, "body!", 5) == 9);
    CHECK(ts_recv(s[0], buf, sizeof buf) == 9);
    CHECK(memcmp(buf, "headbody!", 9) == 0);
    CHECK(ts_send2(s[1], NULL, 0, "b", 1) == 1);
    CHECK(ts_send2(s[1], "a", 1, NULL, 0) == 1);
    CHECK(ts_send2(s[1], NULL, 0, NULL, 0) == 0);
    CHECK(ts_recv(s[0], buf, sizeof buf) == 2 && memcmp(buf, "ba", 2) == 0);

    /* A full socket says so at once, though it is in blocking mode, and the
     * octets that were taken are all there. */
    block = malloc(1 << 20);
    CHECK(block);
    memset(block, 'x', 1 << 20);
    while ((n = sent % 2 ? ts_send(s[1], block, (1 << 20) - 1)
                         : ts_send2(s[1], block, 1 << 19, block, 4321)) > 0)
        sent += (size_t)n;
    CHECK(n == -EAGAIN);
    CHECK(is_blocking(s[1]));
    CHECK(ts_wait_fd(s[1], true, -1, 0) == TS_WAIT_TIMEOUT);
    while (got < sent) {
        n = ts_recv(s[0], block, 1 << 20);
        CHECK(n > 0);
        got += (size_t)n;
    }
    CHECK(got == sent);
    CHECK(ts_wait_fd(s[1], true, -1, 5 * SECOND) == TS_WAIT_READY);
    free(block);

    /* The end, and writing after it: no SIGPIPE (it would end this process). */
    close(s[0]);
    CHECK(ts_recv(s[1], buf, sizeof buf) == 0);
#if !defined(__APPLE__) /* there SO_NOSIGPIPE is ts_accept()'s */
    CHECK(ts_send(s[1], "x", 1) == -EPIPE);
    CHECK(ts_send2(s[1], "x", 1, "y", 1) == -EPIPE);
#endif
    close(s[1]);
    CHECK(ts_recv(s[1], buf, 1) == -EBADF);
    CHECK(ts_send(s[1], buf, 1) == -EBADF);
}

static void test_reset(void)
{
    struct sockaddr_in at;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    char buf[4];
    int listener = listener_at(&at), client = dial(&at);
    int fd = take(listener, NULL);

    CHECK(setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    close(client);
    CHECK(ts_wait_fd(fd, false, -1, 5 * SECOND) == TS_WAIT_READY);
    CHECK(ts_recv(fd, buf, sizeof buf) == -ECONNRESET);
    CHECK(ts_send(fd, "x", 1) == -EPIPE);
    close(fd);
    close(listener);
}

static void test_nodelay(void)
{
    struct sockaddr_in at;
    int on = 0, s[2];
    socklen_t len = sizeof on;
    int listener = listener_at(&at);

    CHECK(ts_set_nodelay(listener) == 0);
    int client = dial(&at), fd = take(listener, NULL);
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0);
    CHECK(on);
    close(client);
    close(fd);
    close(listener);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(ts_set_nodelay(s[0]) == 0);
    close(s[0]);
    close(s[1]);
    CHECK(ts_set_nodelay(s[0]) == -EBADF);
}

static void test_nonblock(void)
{
    bool was = true;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(ts_set_nonblock(s[0], true, &was) == 0 && !was);
    CHECK(!is_blocking(s[0]));
    CHECK(ts_set_nonblock(s[0], true, &was) == 0 && was);
    CHECK(ts_send(s[0], "x", 1) == 1);
    CHECK(!is_blocking(s[0])); /* a send leaves the mode as it was */
    CHECK(ts_set_nonblock(s[0], false, NULL) == 0);
    CHECK(is_blocking(s[0]));
    close(s[0]);
    close(s[1]);
    CHECK(ts_set_nonblock(s[0], true, &was) == -EBADF);
}

static void on_alarm(int number)
{
    (void)number;
}

static void test_wait(void)
{
    struct ts_wakefd w;
    int s[2];
    int64_t start;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(ts_wakefd_open(&w) == 0);
    CHECK(is_cloexec(w.read_fd) && is_cloexec(w.write_fd));

    CHECK(ts_wait_fd(s[0], false, w.read_fd, 0) == TS_WAIT_TIMEOUT);
    CHECK(ts_wait_fd(s[0], true, w.read_fd, -1) == TS_WAIT_READY);
    start = now_ns();
    CHECK(ts_wait_fd(s[0], false, -1, 20500000) == TS_WAIT_TIMEOUT);
    CHECK(now_ns() - start >= 20500000);
    start = now_ns();
    CHECK(ts_wait_fd(s[0], false, -1, 1) == TS_WAIT_TIMEOUT);
    CHECK(now_ns() - start < SECOND);

    CHECK(ts_send(s[1], "x", 1) == 1);
    CHECK(ts_wait_fd(s[0], false, w.read_fd, -1) == TS_WAIT_READY);
    /* Woken comes first, and stays until it is cleared. */
    CHECK(ts_wakefd_clear(&w) == 0);
    CHECK(ts_wakefd_set(&w) == 0);
    CHECK(ts_wakefd_set(&w) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(ts_wait_fd(s[0], false, w.read_fd, -1) == TS_WAIT_WOKEN);
    CHECK(ts_wakefd_clear(&w) == 1);
    CHECK(ts_wakefd_clear(&w) == 0);
    CHECK(ts_wait_fd(s[0], false, w.read_fd, -1) == TS_WAIT_READY);
    /* A pipe gets full: it is set all the same, and can be cleared. */
    for (int i = 0; i < 20000; i++)
        CHECK(ts_wakefd_set(&w) == 0);
    CHECK(ts_wakefd_clear(&w) == 1);
    CHECK(ts_wakefd_clear(&w) == 0);

    /* A signal: the caller is told. */
    struct sigaction sa;
    struct itimerval soon = {.it_value = {.tv_usec = 30000}};

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
    CHECK(ts_recv(s[0], &(char){0}, 1) == 1);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(ts_wait_fd(s[0], false, w.read_fd, 10 * SECOND) == -EINTR);

    /* At its end, broken, closed. */
    close(s[1]);
    CHECK(ts_wait_fd(s[0], false, -1, -1) == TS_WAIT_READY);
    CHECK(ts_wait_fd(s[0], true, -1, -1) == TS_WAIT_READY);
    close(s[0]);
    CHECK(ts_wait_fd(s[0], false, -1, -1) == -EBADF);
    CHECK(ts_wait_fd(-1, false, -1, -1) == -EBADF);

    /* By the clock alone. */
    struct timespec from, to;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &from) == 0);
    CHECK(ts_pause(0) == 0);
    CHECK(ts_pause(20500000) == 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &to) == 0);
    CHECK((to.tv_sec - from.tv_sec) * SECOND + to.tv_nsec - from.tv_nsec >= 20500000);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(ts_pause(10 * SECOND) == -EINTR);
    ts_wakefd_close(&w);
    CHECK(w.read_fd == -1 && w.write_fd == -1);
    ts_wakefd_close(&w);
}

static void *set_later(void *arg)
{
    struct timespec t = {.tv_nsec = 30000000};

    nanosleep(&t, NULL);
    CHECK(ts_wakefd_set(arg) == 0);
    return NULL;
}

static void test_woken_by_another_thread(void)
{
    struct ts_wakefd w;
    pthread_t thread;
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    CHECK(ts_wakefd_open(&w) == 0);
    CHECK(pthread_create(&thread, NULL, set_later, &w) == 0);
    CHECK(ts_wait_fd(s[0], false, w.read_fd, 20 * SECOND) == TS_WAIT_WOKEN);
    CHECK(pthread_join(thread, NULL) == 0);
    ts_wakefd_close(&w);
    close(s[0]);
    close(s[1]);
}

static void test_addr_text(void)
{
    struct ts_addr a;
    char out[TS_ADDR_TEXT];
    uint16_t port = 1;
    uint32_t flow = 1, scope = 1;
    const size_t head = offsetof(struct sockaddr_un, sun_path);

    memset(&a, 0, sizeof a);
    a.u.in.sin_family = AF_INET;
    a.u.in.sin_port = htons(65535);
    CHECK(inet_pton(AF_INET, "255.255.255.255", &a.u.in.sin_addr) == 1);
    a.len = sizeof a.u.in;
    CHECK(ts_addr_text(&a, out, sizeof out, &port, &flow, &scope) == 15);
    CHECK(strcmp(out, "255.255.255.255") == 0);
    CHECK(port == 65535 && flow == 0 && scope == 0);
    CHECK(ts_addr_text(&a, out, 15, NULL, NULL, NULL) == -ENOSPC);
    /* Every octet, at either end. */
    for (unsigned octet = 0; octet < 256; octet++) {
        char wanted[INET_ADDRSTRLEN];

        a.u.in.sin_addr.s_addr = htonl(octet << 24 | 0x0a6300u | (255 - octet));
        CHECK(inet_ntop(AF_INET, &a.u.in.sin_addr, wanted, sizeof wanted));
        CHECK(ts_addr_text(&a, out, sizeof out, NULL, NULL, NULL) ==
              (int)strlen(wanted));
        CHECK(strcmp(out, wanted) == 0);
    }

    memset(&a, 0, sizeof a);
    a.u.in6.sin6_family = AF_INET6;
    a.u.in6.sin6_port = htons(80);
    a.u.in6.sin6_flowinfo = htonl(0xabcde);
    a.u.in6.sin6_scope_id = 3;
    CHECK(inet_pton(AF_INET6, "fe80::1", &a.u.in6.sin6_addr) == 1);
    a.len = sizeof a.u.in6;
    CHECK(ts_addr_text(&a, out, sizeof out, &port, &flow, &scope) == 7);
    CHECK(strcmp(out, "fe80::1") == 0);
    CHECK(port == 80 && flow == 0xabcde && scope == 3);
    CHECK(ts_addr_text(&a, out, 7, NULL, NULL, NULL) == -ENOSPC);

    memset(&a, 0, sizeof a);
    a.u.un.sun_family = AF_UNIX;
    strcpy(a.u.un.sun_path, "/tmp/x");
    a.len = (socklen_t)(head + 7);
    CHECK(ts_addr_text(&a, out, sizeof out, &port, NULL, NULL) == 6);
    CHECK(strcmp(out, "/tmp/x") == 0 && port == 0);
    CHECK(ts_addr_text(&a, out, 6, NULL, NULL, NULL) == -ENOSPC);
    /* The longest path has no room for a NUL. */
    memset(a.u.un.sun_path, 'p', sizeof a.u.un.sun_path);
    a.len = sizeof a.u.un;
    CHECK(ts_addr_text(&a, out, sizeof out, NULL, NULL, NULL) ==
          (int)sizeof a.u.un.sun_path);
    CHECK(strlen(out) == sizeof a.u.un.sun_path);
    /* Unnamed. */
    a.len = (socklen_t)head;
    CHECK(ts_addr_text(&a, out, sizeof out, NULL, NULL, NULL) == 0);
    a.len = 0;
    CHECK(ts_addr_text(&a, out, sizeof out, NULL, NULL, NULL) == 0);
    CHECK(out[0] == '\0');
    CHECK(ts_addr_text(&a, out, 0, NULL, NULL, NULL) == -ENOSPC);
#if defined(__linux__)
    memcpy(a.u.un.sun_path, "\0ab\0c", 5);
    a.len = (socklen_t)(head + 5);
    CHECK(ts_addr_text(&a, out, sizeof out, NULL, NULL, NULL) == 5);
    CHECK(memcmp(out, "\0ab\0c", 6) == 0);
#endif
    a.u.sa.sa_family = 250;
    a.len = sizeof a.u.sa;
    CHECK(ts_addr_text(&a, out, sizeof out, NULL, NULL, NULL) == -EAFNOSUPPORT);
}

static void test_datagrams(void)
{
    enum { CAP = 16 };
    char got[CAP];
    struct ts_addr from;
    struct sockaddr_in at, mine;
    socklen_t len = sizeof at;
    char text[TS_ADDR_TEXT];
    uint16_t port;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int client = socket(AF_INET, SOCK_DGRAM, 0);

    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && client >= 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    CHECK(connect(client, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(getsockname(client, (struct sockaddr *)&mine, &len) == 0);

    CHECK(ts_recv_from(fd, got, CAP, &from) == -EAGAIN);
    CHECK(send(client, "one", 3, 0) == 3);
    CHECK(send(client, "", 0, 0) == 0);
    CHECK(send(client, "0123456789abcdef", CAP, 0) == CAP);
    CHECK(send(client, "0123456789abcdefX", CAP + 1, 0) == CAP + 1);
    CHECK(send(client, "lost", 4, 0) == 4);
    CHECK(ts_recv_from(fd, got, CAP, &from) == 3);
    CHECK(memcmp(got, "one", 3) == 0);
    CHECK(ts_addr_text(&from, text, sizeof text, &port, NULL, NULL) == 9);
    CHECK(strcmp(text, "127.0.0.1") == 0);
    CHECK(port == ntohs(mine.sin_port));
    CHECK(ts_recv_from(fd, got, CAP, &from) == 0);
    CHECK(ts_recv_from(fd, got, CAP, &from) == CAP);
    CHECK(ts_recv_from(fd, got, CAP, &from) == CAP);
    CHECK(memcmp(got, "0123456789abcdef", CAP) == 0);
    CHECK(ts_recv_from(fd, got, 0, &from) == 0);
    CHECK(ts_recv_from(fd, got, CAP, &from) == -EAGAIN);
    close(fd);
    close(client);
    CHECK(ts_recv_from(fd, got, CAP, &from) == -EBADF);

    /* UNIX, and a sender without a name. */
    int s[2];

    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
    CHECK(send(s[1], "u", 1, 0) == 1);
    CHECK(ts_recv_from(s[0], got, CAP, &from) == 1);
    CHECK(ts_addr_text(&from, text, sizeof text, NULL, NULL, NULL) == 0);
    close(s[0]);
    close(s[1]);
}

static void test_send_file(void)
{
    char name[] = "/tmp/ts-test-XXXXXX", got[64];
    int file = mkstemp(name), s[2], pipes[2];
    ssize_t n;

    CHECK(file >= 0 && unlink(name) == 0);
    CHECK(write(file, "0123456789", 10) == 10);
    CHECK(ts_file_size(file) == 10);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    n = ts_send_file(s[0], file, 3, 4);
#ifdef TS_PORTABLE
    CHECK(n == -ENOSYS);
#else
    CHECK(n == 4 && recv(s[1], got, sizeof got, 0) == 4 && memcmp(got, "3456", 4) == 0);
    CHECK(ts_send_file(s[0], file, 8, 100) == 2); /* no more than there is */
    CHECK(recv(s[1], got, sizeof got, 0) == 2 && memcmp(got, "89", 2) == 0);
    CHECK(ts_send_file(s[0], file, 10, 5) == 0); /* its end */
    CHECK(lseek(file, 0, SEEK_CUR) == 10);       /* where it was */

    /* A peer that does not read: never waited for, also on a blocking descriptor. */
    CHECK(ftruncate(file, 16 << 20) == 0);
    int64_t at = 0;
    while ((n = ts_send_file(s[0], file, at, (16 << 20) - (size_t)at)) > 0)
        at += n;
    CHECK(n == -EAGAIN && at < 16 << 20);
    CHECK(is_blocking(s[0])); /* as before */

    close(s[1]);
    signal(SIGPIPE, SIG_DFL); /* what programs set; it would end this one */
    CHECK(ts_send_file(s[0], file, 0, 10) == -EPIPE);
    CHECK(ts_send_file(s[0], -1, 0, 10) == -EBADF);
#endif
    close(s[0]);
    CHECK(ts_send_file(s[0], file, 0, 10) == -EBADF);
    CHECK(pipe(pipes) == 0);
    CHECK(ts_file_size(pipes[0]) == -1 && ts_file_size(-1) == -1);
    close(pipes[0]);
    close(pipes[1]);
    close(file);
}

int main(void)
{
    test_accept();
    test_stream();
    test_reset();
    test_nodelay();
    test_nonblock();
    test_wait();
    test_woken_by_another_thread();
    test_addr_text();
    test_datagrams();
    test_send_file();
    puts("sock: ok");
    return 0;
}
