/* limit: the least a server can do for the answer of the hello scenario, in C:
 * the mark that the others are measured by.
 *
 * Edge-triggered epoll, one thread, one recv and one send for each batch of
 * requests, into and from buffers that all connections share: a connection has
 * memory of its own only while a part of a request or of an answer is left
 * over. It is honest: a request ends where CRLF CRLF is found, however it was
 * cut; pipelined requests each get their answer; a send that takes only a part
 * is finished later; a full socket stops the reading; the date is renewed each
 * second. It does not parse: that is what makes it the limit.
 *
 *     cc -O2 -o limit bench/limit.c && ./limit [PORT [SERVER [close]]]
 *
 * PORT 0, or none, is any free one. The port is printed as the first line.
 * SERVER is what the Server header says. With `close` every answer is HTTP/1.0
 * and the connection is closed after it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    CONNECTIONS = 12288, /* by fd */
    IN = 16384,          /* the longest head, and the most read at once */
    ANSWERS = 64,        /* the most answered by one send */
    ANSWER = 256
};

/* What the buffers hold of the connection being served. */
struct progress {
    size_t have;    /* octets in `in` that no answer was given for */
    size_t scanned; /* of them, those known to end no request */
    size_t sent, pending; /* of `out` */
};

/* What a connection keeps until its next event. */
struct kept {
    struct progress progress;
    char octets[]; /* of `in`, then of `out` */
};

static struct kept *kept[CONNECTIONS]; /* NULL, as nearly always: nothing */
static char in[IN];
static char out[ANSWERS * ANSWER];
static bool closes; /* each connection, after its first answer */
static char answer[ANSWER];
static size_t answer_length;
static time_t answer_second;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The same octets as the handler of the hello scenario sends. */
static void renew_answer(const char *server)
{
    struct timespec now;
    struct tm utc;
    char date[64];

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == answer_second)
        return;
    answer_second = now.tv_sec;
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.%d 200 OK\r\n"
                     "Server: %s\r\n"
                     "Date: %s\r\n"
                     "Content-Type: text/plain\r\n"
                     "Content-Length: 13\r\n"
                     "\r\n"
                     "Hello, World!",
                     closes ? 0 : 1, server, date);
    if (n < 0 || (size_t)n >= sizeof answer)
        abort();
    answer_length = (size_t)n;
}

/* Fills the buffers with what the connection kept. */
static void take_up(int fd, struct progress *p)
{
    struct kept *k = kept[fd];

    *p = k->progress;
    memcpy(in, k->octets, p->have);
    memcpy(out, k->octets + p->have, p->pending);
    kept[fd] = NULL;
    free(k);
}

/* Frees the buffers for the next connection. */
static void put_by(int fd, const struct progress *p)
{
    size_t unsent = p->pending - p->sent;
    struct kept *k = malloc(sizeof *k + p->have + unsent);

    if (!k)
        die("malloc");
    k->progress = (struct progress){
        .have = p->have, .scanned = p->scanned, .pending = unsent};
    memcpy(k->octets, in, p->have);
    memcpy(k->octets + p->have, out + p->sent, unsent);
    kept[fd] = k;
}

/* False: the connection is over. *full: the socket takes no more now. */
static bool send_pending(int fd, struct progress *p, bool *full)
{
    while (p->sent < p->pending) {
        ssize_t n = send(fd, out + p->sent, p->pending - p->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            *full = true;
            return true;
        }
        if (n < 0)
            return false;
        p->sent += (size_t)n;
    }
    p->sent = p->pending = 0;
    return !closes;
}

/* Puts the answers to what is complete in `in` into `out`. */
static void answer_requests(struct progress *p)
{
    size_t start = 0, from = p->scanned;
    size_t most = closes ? answer_length : sizeof out;

    while (p->pending + answer_length <= most) {
        const char *end = memmem(in + from, p->have - from, "\r\n\r\n", 4);

        if (!end)
            break;
        memcpy(out + p->pending, answer, answer_length);
        p->pending += answer_length;
        start = from = (size_t)(end - in) + 4;
    }
    p->have -= start;
    if (start)
        memmove(in, in + start, p->have);
    p->scanned = p->have > 3 && !p->pending ? p->have - 3 : 0;
}

/* False: the connection is over. ended: the peer is known to have closed, so
 * there is an end to read. */
static bool go_on(int fd, struct progress *p, bool ended)
{
    bool drained = false, full = false;

    for (;;) {
        answer_requests(p);
        if (p->pending) {
            if (!send_pending(fd, p, &full))
                return false;
            if (full)
                return true; /* the edge of EPOLLOUT goes on from here */
            continue; /* there may be more requests than `out` could answer */
        }
        if (drained)
            return true;
        if (p->have == IN)
            return false; /* a head without end */
        size_t room = IN - p->have;
        ssize_t n = recv(fd, in + p->have, room, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        if (n < 0)
            return true;
        p->have += (size_t)n;
        /* A recv that did not fill its room has emptied the socket; what comes
         * later is an edge of its own. */
        drained = (size_t)n < room && !ended;
    }
}

static void serve(int fd, bool ended)
{
    struct progress p = {0};

    if (kept[fd])
        take_up(fd, &p);
    if (!go_on(fd, &p, ended))
        close(fd);
    else if (p.have || p.pending)
        put_by(fd, &p);
}

static void accept_all(int epfd, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct epoll_event ev = {
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            .data.fd = fd};

        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
            die("accept"); /* else it would be tried for ever */
        if (fd < 0)
            return;
        if (fd >= CONNECTIONS)
            close(fd);
        else if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
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

int main(int argc, char **argv)
{
    uint16_t port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port)};
    socklen_t len = sizeof at;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], ev = {.events = EPOLLIN};

    if (listener < 0 || epfd < 0)
        die("socket");
    raise_file_limit();
    closes = argc > 3;
    if (closes && strcmp(argv[3], "close") != 0) {
        fprintf(stderr, "usage: limit [PORT [SERVER [close]]]\n");
        return 2;
    }
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener, 1024) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        die("bind");
    ev.data.fd = listener;
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &ev) < 0)
        die("epoll_ctl");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epfd, events, EVENTS, -1);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        renew_answer(argc > 2 ? argv[2] : "BaseHTTP/0.6 Python/3.11.0");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == listener)
                accept_all(epfd, listener);
            else
                serve(fd, events[i].events &
                              (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
        }
    }
}
