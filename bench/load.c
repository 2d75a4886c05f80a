/* load: the load that wrk cannot make, and what came of it as one JSON line.
 *
 * One thread, level-triggered epoll, one request in flight on each connection.
 * All connections are made first, a few each millisecond because listen queues
 * are short; then the measured time begins and each sends its first request.
 * What is answered within the measured time counts, and what failed within it
 * is an error: a wrong status or length, an echo that is not what was sent, a
 * connection that ends too early, 10 s without an answer. After an error the
 * connection is made anew. An answer that says it is the last of its connection
 * is no error, save where connections are to be kept idle.
 *
 *     cc -O2 -o load bench/load.c
 *
 * load_options.h says what it can be asked to do.
 *
 * Octets are those of the bodies, lines or datagrams that were answered; of a
 * download those received. latency_us is null when nothing was answered. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load_histogram.h"
#include "load_options.h"
#include "load_requests.h"

enum {
    EVENTS = 64,
    BURST = 8,        /* connects at once */
    HEAD = 2048,      /* the longest head of an answer */
    PIECE = 65536,    /* the most sent at once */
    SINK = 1048576    /* the most received at once */
};

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
static const int64_t TICK = 10 * MS, CONNECT_TICK = MS; /* looks at the clock */
static const int64_t BACK_OFF = 10 * MS;                /* after an error */
static const int64_t PATIENCE = 10 * SECOND, UDP_PATIENCE = 100 * MS;
/* A connect to loopback that lasts has met a full listen queue. The kernel
 * would try again after 1, 3, 7 s; it is begun anew, and none meanwhile. */
static const int64_t CONNECT_PATIENCE = 5 * MS, ALL_PATIENCE = 30 * SECOND;

enum state {
    CLOSED, /* until `since` */
    OPENING,
    OPEN, /* nothing in flight: not yet begun or, idle, answered */
    BUSY
};

struct connection {
    int fd;
    enum state state;
    bool writing;      /* EPOLLOUT is waited for */
    bool slow;         /* the path of the request */
    bool body;         /* the answer's head is read */
    bool last;         /* and says that no other comes after it */
    uint32_t serial;   /* of the request */
    int64_t since;     /* the state is what it is */
    size_t sent, have; /* of the request; of the answer's head or line */
    uint64_t left;     /* of the body */
    char *head;        /* HEAD octets */
};

enum outcome { MORE, DONE, FAILED };

static struct load load;
static struct requests requests;
static struct sockaddr_in at = {.sin_family = AF_INET};
static int epfd;
static struct connection *connections;
static long opening;   /* connections */
static bool measuring; /* the measured time has begun */
static struct histogram latency[2]; /* [slow] */
static uint64_t octets, errors;
static int64_t expected[2] = {-1, -1}; /* [slow], the Content-Length */
static char sink[SINK];

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void print_result(int64_t elapsed)
{
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"octets\": %llu, "
           "\"errors\": %llu, ",
           (unsigned long long)(latency[0].count + latency[1].count) *
               (unsigned long long)load.together,
           (double)elapsed / SECOND, (unsigned long long)octets,
           (unsigned long long)errors);
    print_latency("latency_us", &latency[0]);
    printf(", ");
    print_latency("slow_latency_us", &latency[1]);
    printf("}\n");
}

/* ------------------------------------------------------ opening and closing */

static void wait_for(struct connection *c, int op, uint32_t what)
{
    struct epoll_event ev = {.events = what, .data.ptr = c};

    c->writing = what & EPOLLOUT;
    if (epoll_ctl(epfd, op, c->fd, &ev) < 0)
        die("epoll_ctl");
}

static void close_connection(struct connection *c, int64_t until)
{
    opening -= c->state == OPENING;
    close(c->fd);
    c->state = CLOSED;
    c->since = until;
}

static void fail(struct connection *c, int64_t now)
{
    errors += measuring;
    close_connection(c, now + BACK_OFF);
}

static void fail_to_open(struct connection *c, int error, int64_t now)
{
    errno = error;
    if (error == ECONNREFUSED && (load.mode == IDLE || !measuring))
        die("connect"); /* there is no server */
    fail(c, now);
}

static void open_connection(struct connection *c, int64_t now)
{
    int type = load.mode == UDP ? SOCK_DGRAM : SOCK_STREAM, one = 1;

    c->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    if (load.mode != UDP)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = OPENING;
    c->since = now;
    opening++;
    if (connect(c->fd, (struct sockaddr *)&at, sizeof at) < 0 &&
        errno != EINPROGRESS)
        fail_to_open(c, errno, now);
    else
        wait_for(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* ---------------------------------------------------------------- requests */

/* Sends what the socket takes. False: it failed. */
static bool send_request(struct connection *c)
{
    if (load.lines)
        make_line(&requests, c->serial);
    while (c->sent < requests.length) {
        int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        size_t n = requests.length - c->sent;
        const char *from =
            load.lines ? requests.line + c->sent : requests.line;

        if (c->sent < requests.head_length) {
            from = requests.heads[c->slow] + c->sent;
            n = requests.head_length - c->sent;
            flags |= load.mode == UPLOAD ? MSG_MORE : 0;
        } else if (load.mode == UPLOAD) {
            n = n < PIECE ? n : PIECE;
        }
        ssize_t sent = send(c->fd, from, n, flags);

        if (sent < 0 && errno == EAGAIN) {
            if (!c->writing)
                wait_for(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return true;
        }
        if (sent < 0)
            return false;
        c->sent += (size_t)sent;
    }
    if (c->writing)
        wait_for(c, EPOLL_CTL_MOD, EPOLLIN);
    return true;
}

static void begin_request(struct connection *c, int64_t now)
{
    c->serial++;
    c->slow = load.mode == MIXED &&
              (c->serial + (c - connections)) % load.slow_every == 0;
    c->body = c->last = false;
    c->sent = c->have = 0;
    c->state = BUSY;
    c->since = now;
    if (!send_request(c))
        fail(c, now);
}

/* ----------------------------------------------------------------- answers */

/* The whole head is there, and `body` octets after it. */
static enum outcome read_head(struct connection *c, size_t body)
{
    const char *at_length = strcasestr(c->head, "\r\nContent-Length:");

    if (strncmp(c->head, "HTTP/1.", 7) != 0 ||
        strncmp(c->head + 8, " 200 ", 5) != 0 || !at_length)
        return FAILED;
    int64_t length = strtoll(strchr(at_length, ':') + 1, NULL, 10);

    if (expected[c->slow] < 0)
        expected[c->slow] = length;
    if (length != expected[c->slow] || length < (int64_t)body)
        return FAILED;
    c->last = c->head[7] == '0'
                  ? !strcasestr(c->head, "\r\nConnection: keep-alive")
                  : !!strcasestr(c->head, "\r\nConnection: close");
    c->body = true;
    c->left = (uint64_t)length - body;
    if (load.mode != UPLOAD)
        octets += body;
    return c->left ? MORE : DONE;
}

static enum outcome receive_answer(struct connection *c)
{
    char *to = c->body ? sink : c->head + c->have;
    size_t room = c->body ? sizeof sink : HEAD - 1 - c->have;
    /* TCP drops what MSG_TRUNC reads: a copy that nobody would look at. */
    int flags = MSG_DONTWAIT | (c->body ? MSG_TRUNC : 0);

    if (c->body && c->left < room)
        room = (size_t)c->left;
    ssize_t n = recv(c->fd, to, room, flags);

    if (n < 0 && errno == EAGAIN)
        return MORE;
    if (n <= 0)
        return FAILED;
    if (c->body) {
        c->left -= (uint64_t)n;
        if (load.mode != UPLOAD)
            octets += (uint64_t)n;
        return c->left ? MORE : DONE;
    }
    c->have += (size_t)n;
    char *end = memmem(c->head, c->have, "\r\n\r\n", 4);

    if (!end)
        return c->have < HEAD - 1 ? MORE : FAILED;
    end[2] = '\0';
    return read_head(c, c->have - (size_t)(end + 4 - c->head));
}

static enum outcome receive_line(struct connection *c)
{
    ssize_t n = recv(c->fd, sink, sizeof sink, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return MORE;
    if (n <= 0)
        return FAILED;
    make_line(&requests, c->serial);
    bool same = c->have + (size_t)n <= c->sent &&
                memcmp(sink, requests.line + c->have, (size_t)n) == 0;

    if (load.mode == UDP) /* another datagram is one that came too late */
        return same && n == load.size ? DONE : MORE;
    c->have += (size_t)n;
    if (!same)
        return FAILED;
    return c->have == (size_t)load.size ? DONE : MORE;
}

static void handle_answer(struct connection *c, int64_t now)
{
    record(&latency[c->slow], now - c->since);
    if (load.mode == UPLOAD || load.lines)
        octets += (uint64_t)load.size;
    if (load.mode == IDLE && c->last) {
        fail(c, now);
    } else if (load.mode == IDLE) {
        c->state = OPEN;
    } else if (c->last) {
        close_connection(c, now);
        open_connection(c, now);
    } else {
        begin_request(c, now);
    }
}

static void handle(struct connection *c, uint32_t what)
{
    int64_t now = clock_ns();
    int error = 0;
    socklen_t len = sizeof error;
    enum outcome outcome = MORE;

    switch (c->state) {
    case CLOSED: /* has no events */
        return;
    case OPENING:
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            fail_to_open(c, error, now);
            return;
        }
        opening--;
        c->state = OPEN;
        wait_for(c, EPOLL_CTL_MOD, EPOLLIN);
        if (measuring)
            begin_request(c, now);
        return;
    case OPEN: /* nothing should come */
        fail(c, now);
        return;
    case BUSY:
        if (c->writing && !send_request(c))
            outcome = FAILED;
        else if (what & ~(uint32_t)EPOLLOUT)
            outcome = load.lines ? receive_line(c) : receive_answer(c);
        if (outcome == DONE && c->sent < requests.length)
            outcome = FAILED; /* it did not wait for the body */
        if (outcome == FAILED)
            fail(c, now);
        else if (outcome == DONE)
            handle_answer(c, now);
    }
}

/* ---------------------------------------------------------------- the time */

/* What becomes due with time; how many connections are OPEN. */
static long tick(int64_t now)
{
    long ready = 0, room = opening ? 0 : BURST;

    for (struct connection *c = connections;
         c < connections + load.connections; c++) {
        int64_t elapsed = now - c->since;

        if (c->state == OPEN) {
            ready++;
        } else if (c->state == CLOSED && elapsed >= 0 && room > 0) {
            room--;
            open_connection(c, now);
        } else if (c->state == OPENING && elapsed >= CONNECT_PATIENCE) {
            close_connection(c, now);
        } else if (c->state == BUSY && load.mode == UDP) {
            if (elapsed >= UDP_PATIENCE) {
                errors++;
                begin_request(c, now);
            }
        } else if (c->state == BUSY && elapsed >= PATIENCE) {
            fail(c, now);
        }
    }
    return ready;
}

static void begin_all(int64_t now)
{
    measuring = true;
    for (long i = 0; i < load.connections; i++)
        if (connections[i].state == OPEN)
            begin_request(&connections[i], now);
}

/* The measured time in nanoseconds; what came of it is in the totals. That of
 * idle connections ends when all are answered. */
static int64_t run(void)
{
    struct epoll_event events[EVENTS];
    int64_t start = clock_ns(), begin = start, next = start;
    int64_t measured = (int64_t)(load.seconds * (double)SECOND);
    int64_t limit = load.mode == IDLE ? measured : ALL_PATIENCE;
    long ready = 0;

    measuring = load.mode == IDLE;
    for (;;) {
        int64_t now = clock_ns();

        if (now >= next) {
            ready = tick(now);
            if (load.mode == IDLE && ready == load.connections)
                return now - begin;
            if (!measuring && ready == load.connections) {
                begin = now = clock_ns();
                limit = measured;
                begin_all(now);
            }
            next = now + (measuring && load.mode != IDLE ? TICK : CONNECT_TICK);
        }
        if (now - begin >= limit && (!measuring || load.mode == IDLE)) {
            fprintf(stderr, "load: %ld of %ld connections were %s\n", ready,
                    load.connections, measuring ? "answered" : "made");
            exit(1);
        }
        if (now - begin >= limit)
            return now - begin;
        int64_t end = begin + limit, wait = (next < end ? next : end) - now;
        int n = epoll_wait(epfd, events, EVENTS, (int)((wait + MS - 1) / MS));

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++)
            handle(events[i].data.ptr, events[i].events);
    }
}

/* Keeps the idle connections until stdin ends. */
static void keep(void)
{
    struct epoll_event event, ev = {.events = EPOLLIN, .data.ptr = NULL};

    printf("ready\n");
    fflush(stdout);
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &ev) < 0)
        return; /* a file or /dev/null, which has no more to say */
    for (;;) {
        int n = epoll_wait(epfd, &event, 1, -1);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        if (n < 1)
            continue;
        if (event.data.ptr)
            handle(event.data.ptr, event.events);
        else if (read(STDIN_FILENO, sink, sizeof sink) <= 0)
            return;
    }
}

/* ------------------------------------------------------------ what is made */

static void make_connections(void)
{
    struct rlimit files;
    rlim_t needed = (rlim_t)load.connections + 16;
    size_t count = (size_t)load.connections;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        die("getrlimit");
    if (needed > files.rlim_max) {
        fprintf(stderr, "load: %ld connections need %llu open files, and the "
                        "hard limit (ulimit -Hn) is %llu\n", load.connections,
                (unsigned long long)needed, (unsigned long long)files.rlim_max);
        exit(1);
    }
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        die("setrlimit");
    connections = calloc(count, sizeof *connections);
    char *heads = malloc(count * HEAD);

    if (!connections || !heads)
        die("malloc");
    for (size_t i = 0; i < count; i++)
        connections[i].head = heads + i * HEAD;
}

int main(int argc, char **argv)
{
    load = read_options(argc, argv);
    at.sin_port = htons(load.port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (epfd < 0)
        die("epoll_create1");
    make_requests(&requests, &load);
    if (load.mode == DOWNLOAD)
        expected[0] = load.size;
    make_connections();
    int64_t elapsed = run();

    if (load.mode == IDLE)
        keep();
    print_result(elapsed);
    return 0;
}
