/* stream: the least a server can do with bodies of 10 MiB, with an echo over
 * TCP and with datagrams, in C: the mark that the others are measured by.
 *
 * download and upload: a thread for each connection, blocking sockets, pieces
 * of 64 KiB, kept alive. A request's head ends where CRLF CRLF is found; of an
 * upload only Content-Length is looked for in it. echo: one thread, epoll; what
 * comes is sent back, and a connection that takes no more is not read from.
 * udp: one datagram after the other.
 *
 *     cc -O2 -pthread -o stream bench/stream.c
 *     ./stream download|upload|echo|udp [PORT]
 *
 * PORT 0, or none, is any free one. The port is printed as the first line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    PIECE = 65536,      /* the most given to one send or recv */
    DOWNLOAD = 10485760 /* octets of the body sent, a number of pieces */
};

static char zeros[PIECE]; /* the download's body, piece by piece */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ------------------------------------------------- a thread per connection */

/* A connection and what of it was read and not yet used. */
struct stream {
    int fd;
    bool (*answer)(struct stream *); /* one request; false: it ended */
    size_t have;
    char buffer[PIECE + 1]; /* and a NUL for strcasestr */
};

static bool send_all(int fd, const char *octets, size_t length, int flags)
{
    while (length) {
        ssize_t n = send(fd, octets, length, MSG_NOSIGNAL | flags);

        if (n < 0)
            return false;
        octets += n;
        length -= (size_t)n;
    }
    return true;
}

/* Reads a head and takes it off the buffer; *length is its Content-Length, or
 * 0. False: the connection ended, or the head does not. */
static bool read_head(struct stream *s, unsigned long long *length)
{
    char *end;

    while (!(end = memmem(s->buffer, s->have, "\r\n\r\n", 4))) {
        ssize_t n = recv(s->fd, s->buffer + s->have, PIECE - s->have, 0);

        if (n <= 0) /* also when there is no room */
            return false;
        s->have += (size_t)n;
    }
    end[2] = '\0';
    const char *at = strcasestr(s->buffer, "\r\nContent-Length:");

    *length = at ? strtoull(strchr(at, ':') + 1, NULL, 10) : 0;
    s->have -= (size_t)(end + 4 - s->buffer);
    memmove(s->buffer, end + 4, s->have);
    return true;
}

static bool download(struct stream *s)
{
    static const char head[] = "HTTP/1.1 200 OK\r\n"
                               "Content-Type: application/octet-stream\r\n"
                               "Content-Length: 10485760\r\n"
                               "\r\n";
    unsigned long long ignored;

    if (!read_head(s, &ignored) ||
        !send_all(s->fd, head, sizeof head - 1, MSG_MORE))
        return false;
    for (size_t sent = 0; sent < DOWNLOAD; sent += PIECE)
        if (!send_all(s->fd, zeros, PIECE, 0))
            return false;
    return true;
}

static bool upload(struct stream *s)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\n"
                                 "Content-Type: text/plain\r\n"
                                 "Content-Length: 2\r\n"
                                 "\r\n"
                                 "ok";
    unsigned long long left;

    if (!read_head(s, &left))
        return false;
    if (left < s->have) { /* the rest is the next request's */
        s->have -= (size_t)left;
        memmove(s->buffer, s->buffer + left, s->have);
        left = 0;
    } else {
        left -= s->have;
        s->have = 0;
    }
    while (left) {
        ssize_t n = recv(s->fd, s->buffer, left < PIECE ? left : PIECE, 0);

        if (n <= 0)
            return false;
        left -= (size_t)n;
    }
    return send_all(s->fd, answer, sizeof answer - 1, 0);
}

static void *serve(void *arg)
{
    struct stream *s = arg;

    while (s->answer(s))
        ;
    close(s->fd);
    free(s);
    return NULL;
}

static void serve_with_threads(int listener, bool (*answer)(struct stream *))
{
    pthread_attr_t detached;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (fd < 0 && errno == ECONNABORTED)
            continue;
        if (fd < 0)
            die("accept");
        struct stream *s = malloc(sizeof *s);

        if (!s)
            die("malloc");
        s->fd = fd;
        s->answer = answer;
        s->have = 0;
        errno = pthread_create(&thread, &detached, serve, s);
        if (errno)
            die("pthread_create");
    }
}

/* -------------------------------------------------------------------- echo */

/* A connection and what it has not yet taken back, NULL as nearly always. */
struct echo {
    int fd;
    size_t sent, pending; /* of `octets` */
    char *octets;
};

static void wait_for(int epfd, struct echo *e, int op, uint32_t what)
{
    struct epoll_event ev = {.events = what, .data.ptr = e};

    if (epoll_ctl(epfd, op, e->fd, &ev) < 0)
        die("epoll_ctl");
}

static bool send_rest(int epfd, struct echo *e)
{
    ssize_t n = send(e->fd, e->octets + e->sent, e->pending - e->sent,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN;
    e->sent += (size_t)n;
    if (e->sent == e->pending) {
        free(e->octets);
        e->octets = NULL;
        wait_for(epfd, e, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

/* False: the connection is over. */
static bool echo(int epfd, struct echo *e)
{
    static char piece[PIECE]; /* of one connection after the other */

    if (e->octets)
        return send_rest(epfd, e);
    ssize_t n = recv(e->fd, piece, sizeof piece, MSG_DONTWAIT);

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    ssize_t sent = send(e->fd, piece, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent == n)
        return true;
    if (sent < 0 && errno != EAGAIN)
        return false;
    if (sent < 0)
        sent = 0;
    e->sent = 0;
    e->pending = (size_t)(n - sent);
    e->octets = malloc(e->pending);
    if (!e->octets)
        die("malloc");
    memcpy(e->octets, piece + sent, e->pending);
    wait_for(epfd, e, EPOLL_CTL_MOD, EPOLLOUT);
    return true;
}

static void accept_echo(int epfd, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
        return;
    if (fd < 0)
        die("accept");
    struct echo *e = calloc(1, sizeof *e);

    if (!e)
        die("malloc");
    e->fd = fd;
    wait_for(epfd, e, EPOLL_CTL_ADD, EPOLLIN);
}

static void serve_echo(int listener)
{
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], ev = {.events = EPOLLIN};

    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &ev) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(epfd, events, EVENTS, -1);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct echo *e = events[i].data.ptr;

            if (!e) {
                accept_echo(epfd, listener);
            } else if (!echo(epfd, e)) {
                close(e->fd);
                free(e->octets);
                free(e);
            }
        }
    }
}

/* --------------------------------------------------------------------- udp */

static void serve_udp(int fd)
{
    static char datagram[PIECE];

    for (;;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(fd, datagram, sizeof datagram, 0,
                             (struct sockaddr *)&from, &len);

        if (n < 0)
            die("recvfrom");
        /* One that cannot be sent is lost, as datagrams may be. */
        (void)sendto(fd, datagram, (size_t)n, 0, (struct sockaddr *)&from, len);
    }
}

static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        die("getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        die("setrlimit");
}

/* A socket on loopback that listens, if it is of TCP; its port is printed. */
static int open_port(int type, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port)};
    socklen_t len = sizeof at;
    bool tcp = (type & ~SOCK_NONBLOCK) == SOCK_STREAM;
    int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (tcp) /* what is accepted has it too */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        (tcp && listen(fd, 1024) < 0) ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        die("bind");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    uint16_t port = (uint16_t)(argc > 2 ? atoi(argv[2]) : 0);

    raise_file_limit();
    if (strcmp(mode, "download") == 0)
        serve_with_threads(open_port(SOCK_STREAM, port), download);
    else if (strcmp(mode, "upload") == 0)
        serve_with_threads(open_port(SOCK_STREAM, port), upload);
    else if (strcmp(mode, "echo") == 0)
        serve_echo(open_port(SOCK_STREAM | SOCK_NONBLOCK, port));
    else if (strcmp(mode, "udp") == 0)
        serve_udp(open_port(SOCK_DGRAM, port));
    fprintf(stderr, "usage: stream download|upload|echo|udp [PORT]\n");
    return 2;
}
