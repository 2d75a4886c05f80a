/* faults_clients: the clients of a server that is tested with faults, in the server's
 * own thread. They go by a script: steps, each made when the server has nothing left
 * to do.
 *
 * Sockets are of the UNIX domain, where what is sent has arrived; time is that of
 * faults_calls.h. So a script makes the same calls in the same order each time, and a
 * fault at the n-th one hits what it is meant to. */
#ifndef FAULTS_CLIENTS_H
#define FAULTS_CLIENTS_H

#include "faults_calls.h"

#include <stddef.h>
#include <sys/un.h>

#define MS UINT64_C(1000000)
#define SEC UINT64_C(1000000000)

/* After so long no connection lingers, and no pause in accepting lasts. */
#define QUIET (3 * SEC)

/* A client that cannot send gives up then. */
#define PATIENCE (10 * SEC)

/* ---- the script ---- */

enum step_kind {
    STEPS_END,
    CONNECT,      /* a client that reads whatever comes */
    CONNECT_SLOW, /* one that reads when it is told to */
    PUT,          /* text */
    FILL,         /* n octets */
    SIP,          /* reads n octets at most */
    DRINK,        /* from now on reads whatever comes */
    HALF,         /* ends its side */
    LEAVE,        /* closes */
    PASS          /* n milliseconds go by */
};

struct step {
    enum step_kind kind;
    int who;
    const char *text;
    size_t n;
};

#define CLIENTS 6

struct script {
    const char *name;
    /* Of each client: the bodies of its answers, "|" between them, and "." where the
     * connection has ended. "@": the long one. */
    const char *answers[CLIENTS];
    struct step steps[40];
    uint64_t timeout_ns; /* as ts_reactor's, and so are these */
    uint32_t max_open, max_per_address;
    unsigned later_ms; /* what takes so long may come so much later */
    bool announce;
    bool inet;        /* clients seem to come from IPv4 addresses, two from each */
    bool small;       /* the server's kernel takes a few thousand octets */
    bool long_winded; /* too many calls for pairs of faults */
};

#define LONG 60000
static char long_answer[LONG]; /* rig_init fills it */

static void rig_init(void)
{
    faults_init();
    for (size_t i = 0; i < LONG; i++)
        long_answer[i] = (char)('a' + i % 23);
}

/* ---- the clients ---- */

#define GOT 300000 /* more than any answers of a script */

struct client {
    int fd; /* -1: not connected, or has left */
    bool slow, ended, left, gave_up, putting;
    size_t put;      /* octets of the present step that are sent ... */
    uint64_t put_at; /* ... and when the last one was */
    size_t n;
    char got[GOT];
};

static struct client clients[CLIENTS + 1]; /* the last comes after the script */
static const struct step *step;            /* the next one */
static struct sockaddr_un address;
static socklen_t address_len;
static unsigned turns;

static void client_forget(struct client *c)
{
    memset(c, 0, offsetof(struct client, got));
    c->fd = -1;
}

static void client_connect(struct client *c, bool slow)
{
    client_forget(c);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    c->slow = slow;
    CHECK(c->fd >= 0);
    CHECK(connect(c->fd, (struct sockaddr *)&address, address_len) == 0);
}

static void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* Up to `most` octets. Whether there was anything. */
static bool client_read(struct client *c, size_t most)
{
    CHECK(most <= GOT - c->n);
    ssize_t n = recv(c->fd, c->got + c->n, most, 0);
    if (n > 0)
        c->n += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
        c->ended = true;
    return n >= 0 || errno != EAGAIN;
}

/* Whether the step is over; *moved: whether it did something. */
static bool client_put(struct client *c, const char *text, size_t len, bool *moved)
{
    char piece[4096];
    uint64_t now = atomic_load(&fault_clock);

    memset(piece, 'b', sizeof piece);
    if (!c->putting)
        c->put_at = now;
    c->putting = true;
    while (c->put < len && c->fd >= 0) {
        size_t some = len - c->put;
        const char *from = text != NULL ? text + c->put : piece;

        if (text == NULL && some > sizeof piece)
            some = sizeof piece;
        ssize_t n = send(c->fd, from, some, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN && now < c->put_at + PATIENCE)
            return false;
        if (n < 0 && errno == EAGAIN) {
            c->gave_up = true;
            client_close(c);
        }
        if (n < 0)
            break; /* the server has ended it: reading tells */
        *moved = true;
        c->put += (size_t)n;
        c->put_at = now;
    }
    c->put = 0;
    c->putting = false;
    return true;
}

static bool take_step(void)
{
    const struct step *s = step;
    struct client *c = &clients[s->who];
    bool moved = true, over = true;

    switch (s->kind) {
    case STEPS_END:
        return false;
    case CONNECT:
    case CONNECT_SLOW:
        client_connect(c, s->kind == CONNECT_SLOW);
        break;
    case PUT:
    case FILL:
        moved = false;
        over = client_put(c, s->text, s->text ? strlen(s->text) : s->n, &moved);
        moved |= over;
        break;
    case SIP:
        if (!c->ended)
            client_read(c, s->n);
        break;
    case DRINK:
        c->slow = false;
        atomic_fetch_add(&fault_noticed, 1);
        break;
    case HALF:
        if (!c->ended)
            shutdown(c->fd, SHUT_WR);
        break;
    case LEAVE:
        client_close(c);
        c->left = true;
        break;
    case PASS: /* the server's waits make the clock go on */
        moved = false;
        if (faults_alarm == 0)
            faults_alarm = atomic_load(&fault_clock) + s->n * MS;
        over = atomic_load(&fault_clock) >= faults_alarm;
        if (over)
            faults_alarm = 0;
        break;
    }
    if (over)
        step++;
    return moved || over;
}

/* faults_idle: what happens while the server waits. */
static bool clients_turn(void)
{
    static unsigned heard_of; /* calls of the server that a client could notice */
    unsigned now = atomic_load(&fault_noticed);
    bool any = false;

    CHECK(++turns < 100000); /* or it goes round and round */
    for (int i = 0; now != heard_of && i <= CLIENTS; i++)
        if (clients[i].fd >= 0 && !clients[i].slow && !clients[i].ended)
            any |= client_read(&clients[i], 65536);
    if (!any)
        heard_of = now;
    return faults_catch_up() || any || take_step();
}

#endif
