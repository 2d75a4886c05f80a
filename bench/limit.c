/* limit: the least a server can do for the answer of bench/hello.py, in C: the
 * mark that the others are measured by.
 *
 * Edge-triggered epoll, one thread, one recv and one send for each batch of
 * requests, and no memory taken while it serves. It is honest: a request ends
 * where CRLF CRLF is found, however it was cut; pipelined requests each get
 * their answer; a send that takes only a part is finished later; a full socket
 * stops the reading; the date is renewed each second. It does not parse: that
 * is what makes it the limit.
 *
 *     cc -O2 -o limit bench/limit.c && ./limit [PORT [SERVER]]
 *
 * PORT 0, or none, is any free one. The port is printed as the first line.
 * SERVER is what the Server header says. */
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    CONNECTIONS = 4096, /* by fd */
    IN = 16384,         /* the longest head, and the most read at once */
    ANSWERS = 64,       /* the most answered by one send */
    ANSWER = 256
};

struct connection {
    size_t have;    /* octets in `in` that no answer was given for */
    size_t scanned; /* of them, those known to end no request */
    size_t sent, pending; /* of `out` */
    char in[IN];
    char out[ANSWERS * ANSWER];
};

static struct connection *connections[CONNECTIONS];
static char answer[ANSWER];
static size_t answer_length;
static time_t answer_second;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The same octets as the handler of hello.py sends. */
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
                     "HTTP/1.1 200 OK\r\n"
                     "Server: %s\r\n"
                     "Date: %s\r\n"
                     "Content-Type: text/plain\r\n"
                     "Content-Length: 13\r\n"
                     "\r\n"
                     "Hello, World!",
                     server, date);
    if (n < 0 || (size_t)n >= sizeof answer)
        abort();
    answer_length = (size_t)n;
}

/* False: the connection is over. *full: the socket takes no more now. */
static bool send_pending(int fd, struct connection *c, bool *full)
{
    while (c->sent < c->pending) {
        ssize_t n = send(fd, c->out + c->sent, c->pending - c->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            *full = true;
            return true;
        }
        if (n < 0)
            return false;
        c->sent += (size_t)n;
    }
    c->sent = c->pending = 0;
    return true;
}

/* Puts the answers to what is complete in `in` into `out`. */
static void answer_requests(struct connection *c)
{
    size_t start = 0, from = c->scanned;

    while (c->pending + answer_length <= sizeof c->out) {
        const char *end =
            memmem(c->in + from, c->have - from, "\r\n\r\n", 4);

        if (!end)
            break;
        memcpy(c->out + c->pending, answer, answer_length);
        c->pending += answer_length;
        start = from = (size_t)(end - c->in) + 4;
    }
    c->have -= start;
    if (start)
        memmove(c->in, c->in + start, c->have);
    c->scanned = c->have > 3 && !c->pending ? c->have - 3 : 0;
}

/* ended: the peer is known to have closed, so there is an end to read. */
static bool serve(int fd, struct connection *c, bool ended)
{
    bool drained = false, full = false;

    for (;;) {
        answer_requests(c);
        if (c->pending) {
            if (!send_pending(fd, c, &full))
                return false;
            if (full)
                return true; /* the edge of EPOLLOUT goes on from here */
            continue; /* there may be more requests than `out` could answer */
        }
        if (drained)
            return true;
        if (c->have == IN)
            return false; /* a head without end */
        size_t room = IN - c->have;
        ssize_t n = recv(fd, c->in + c->have, room, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        if (n < 0)
            return true;
        c->have += (size_t)n;
        /* A recv that did not fill its room has emptied the socket; what comes
         * later is an edge of its own. */
        drained = (size_t)n < room && !ended;
    }
}

static void accept_all(int epfd, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct epoll_event ev = {
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};

        if (fd < 0)
            return;
        if (fd >= CONNECTIONS) {
            close(fd);
            continue;
        }
        /* Kept for the next connection with this number. */
        if (!connections[fd])
            connections[fd] = malloc(sizeof **connections);
        if (!connections[fd])
            die("malloc");
        struct connection *c = connections[fd];
        c->have = c->scanned = c->sent = c->pending = 0;
        ev.data.fd = fd;
        if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port =
                                 htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
    socklen_t len = sizeof at;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], ev = {.events = EPOLLIN};

    if (listener < 0 || epfd < 0)
        die("socket");
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
            else if (!serve(fd, connections[fd],
                            events[i].events &
                                (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
                close(fd);
        }
    }
}
