/* faults_rig: a server on the reactor in one thread, and a conversation with it.
 *
 * What the clients may see under a fault is what they see without one, whole; or,
 * where the fault is one that no server can make good, the beginning of it and then
 * the end of the connection. Never anything else. */
#ifndef FAULTS_RIG_H
#define FAULTS_RIG_H

#include "faults_clients.h"

#include "reactor.h"

#include <netinet/in.h>

/* ---- the handlers ---- */

static struct ts_reactor *reactor;
static struct ts_turn turn;
static unsigned owners, interrupted;
static unsigned heard; /* how often the program was told that it could not be sent */

static bool cannot_wait; /* the handler has given up: it writes no more */

/* As the handlers of a program wait, by the rules. False: nothing came of it. */
static bool wait_for(struct ts_conn *c, bool write)
{
    for (;;) {
        uint64_t due = ts_reactor_wait_begins(reactor, c, write);
        uint64_t now = ts_monotonic_ns();
        uint64_t ns = due <= now ? 0 : due - now < 20 * SEC ? due - now : 20 * SEC;
        int ready = ts_wait_fd(c->fd, write, -1, (int64_t)ns);
        bool moved = ts_reactor_wait_ended(c, write);

        if (ready == TS_WAIT_READY)
            return true;
        if (ready != -EINTR && (ready < 0 || !moved))
            return false;
    }
}

/* The program of this server writes on whatever a write says. */
static void write_all(struct ts_conn *c, const char *data, size_t n)
{
    while (!cannot_wait) {
        size_t taken;

        int result = ts_out_write(&c->out, c->fd, data, n, c->through, &taken);

        heard += result < 0;
        if (result != TS_OUT_BLOCKED)
            return;
        data += taken;
        n -= taken;
        cannot_wait = !wait_for(c, true);
    }
}

static void answer(struct ts_conn *c, const char *body, size_t n)
{
    char head[100];

    write_all(c, head, (size_t)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n));
    while (n > 0) { /* in pieces that are gathered */
        size_t piece = n < TS_OUT_DIRECT / 2 ? n : TS_OUT_DIRECT / 2;

        write_all(c, body, piece);
        body += piece;
        n -= piece;
    }
}

static void begin_body(struct ts_conn *c)
{
    const struct ts_request *req = c->req;

    c->in.pos = c->in.head + req->head_len;
    if (req->chunked)
        ts_body_begin(&c->body, TS_BODY_CHUNKED, 0);
    else if (req->content_length > 0)
        ts_body_begin(&c->body, TS_BODY_LENGTH, req->content_length);
    else
        ts_body_begin(&c->body, TS_BODY_NONE, 0);
}

/* How many octets it has, or -1: it cannot be read to its end. */
static int64_t read_body(struct ts_conn *c, unsigned *sum)
{
    const struct ts_chunk_limits *limits = &ts_reactor_rules(reactor)->chunks;
    int64_t got = 0;

    while (!ts_body_done(&c->body)) {
        uint32_t have = ts_in_unread(&c->in), before = c->in.end;

        if (have > 0) {
            size_t skip, n;

            ts_body_peek(&c->body, c->in.data + c->in.pos, have, limits, &skip, &n);
            c->in.pos += (uint32_t)skip;
            for (size_t i = 0; i < n; i++)
                *sum = *sum * 31 + (unsigned char)c->in.data[c->in.pos + i];
            if (n > 0)
                ts_body_took(&c->body, c->in.data + c->in.pos, n, limits);
            c->in.pos += (uint32_t)n;
            got += (int64_t)n;
            if (c->body.kind == TS_BODY_BAD)
                return -1;
            continue;
        }
        if (c->eof || c->broken || ts_conn_fill(c) != 0)
            return -1;
        c->input.moved += c->in.end - before;
        if (ts_in_unread(&c->in) == 0 && !c->eof && !c->broken) {
            heard += ts_out_flush(&c->out, c->fd) < 0;
            if (!wait_for(c, false))
                return -1;
        }
    }
    return got;
}

/* An answer and the end: what else comes is nobody's. */
static bool refuse(struct ts_conn *c, const char *why)
{
    c->in.pos = c->in.end;
    ts_body_begin(&c->body, TS_BODY_OPAQUE, 1);
    answer(c, why, strlen(why));
    return false;
}

/* The target says what to do, word by word. Whether the connection may stay. */
static bool handle(struct ts_conn *c, enum ts_task task)
{
    const struct ts_request *req = c->req;
    char target[100];

    cannot_wait = false;
    if (task == TS_TASK_SLOW)
        return refuse(c, "slow");
    if (task == TS_TASK_GENERAL)
        return refuse(c, c->scan == TS_SCAN_REFUSED ? "refused" : "general");
    if (req->refusal != TS_REFUSE_NONE)
        return refuse(c, ts_refusal_reason(req->refusal));
    CHECK(c->in.pos == c->in.head && req->target.len < sizeof target);
    memcpy(target, c->in.data + c->in.head + req->target.off, req->target.len);
    target[req->target.len] = '\0';
    begin_body(c);
    if (strstr(target, "/through"))
        c->through = true;
    if (strstr(target, "/read")) {
        unsigned sum = 0;
        int64_t n = read_body(c, &sum);

        if (n < 0)
            return false;
        snprintf(target, sizeof target, "%d:%x", (int)n, sum);
        answer(c, target, strlen(target));
    } else if (strstr(target, "/long")) {
        answer(c, long_answer, LONG);
    } else {
        answer(c, target, strlen(target));
    }
    return !strstr(target, "/close") && !cannot_wait;
}

static void serve(struct ts_conn *c, enum ts_task task)
{
    if (task == TS_TASK_NONE) /* parked, or closed already */
        return;
    CHECK(atomic_load(&c->word) & TS_WORD_OWNED);
    if (c->owner == NULL) {
        c->owner = c;
        owners++;
    }
    CHECK(c->owner == c);
    while (task != TS_TASK_NONE) {
        if (task == TS_TASK_REQUEST || task == TS_TASK_GENERAL || task == TS_TASK_SLOW) {
            task = ts_reactor_done(reactor, &turn, c, handle(c, task));
        } else if (task == TS_TASK_OPENED) {
            task = ts_reactor_go_on(reactor, &turn, c);
        } else {
            CHECK(task == TS_TASK_BROKEN || task == TS_TASK_TIMEOUT || task == TS_TASK_GONE);
            heard += task == TS_TASK_BROKEN;
            c->owner = NULL;
            owners--;
            ts_reactor_close(reactor, &turn, c);
            return;
        }
    }
}

/* Serves to the end of the steps, and then until nothing has happened for so long. */
static void serve_for(uint64_t quiet_ns)
{
    uint64_t since = 0; /* faults_clock */

    for (;;) {
        struct ts_conn *c = NULL;
        enum ts_task task = ts_reactor_next(reactor, &turn, true, (int64_t)QUIET, &c);
        uint64_t now = atomic_load(&fault_clock);

        if (task != TS_TASK_WOKEN && task != TS_TASK_INTERRUPTED)
            serve(c, task);
        else if (step->kind == STEPS_END && task == TS_TASK_WOKEN && since == 0)
            since = now;
        else if (since != 0 && now - since >= quiet_ns)
            return;
        if (task != TS_TASK_WOKEN)
            since = 0;
        interrupted += task == TS_TASK_INTERRUPTED;
        CHECK(++turns < 100000); /* or it goes round and round */
    }
}

/* ---- the server's life ---- */

static const struct script *playing;
static unsigned n_accepted; /* of it */

/* As the script would have a connection. */
static void set_up(int fd, struct sockaddr *addr, socklen_t *len)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int size = 4096;

    if (playing->small)
        CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + n_accepted++ / 2);
    if (playing->inet) {
        memcpy(addr, &from, sizeof from);
        *len = sizeof from;
    }
}

static int open_listener(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    CHECK(fd >= 0);
    address.sun_family = AF_UNIX;
    address_len = sizeof address;
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address.sun_family) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &address_len) == 0);
    CHECK(listen(fd, 64) == 0);
    return fd;
}

static void end_server(void)
{
    struct ts_conn *c;
    uint32_t at = 0;

    ts_reactor_unlisten(reactor);
    ts_reactor_drain(reactor, true, true);
    while ((c = ts_reactor_reap_idle(reactor, &at)) != NULL)
        serve(c, ts_reactor_go_on(reactor, &turn, c));
    ts_reactor_stop(reactor);
    at = 0;
    while ((c = ts_reactor_reap(reactor, &at)) != NULL) {
        owners -= c->owner != NULL;
        c->owner = NULL;
        ts_reactor_close(reactor, &turn, c);
    }
    CHECK(atomic_load(&reactor->n_open) == 0 && owners == 0);
    CHECK(reactor->census.used == 0);
    uint32_t n_free = 0;
    for (c = reactor->slots.free; c != NULL; c = c->next_free)
        n_free++;
    CHECK(n_free == ts_slots_count(&reactor->slots));
    ts_turn_free(&turn);
    ts_reactor_free(reactor);
    reactor = NULL;
}

/* One request of a new client, answered as ever. */
static void check_serves(void)
{
    static const struct step after[] = {
        {CONNECT, CLIENTS, NULL, 0},
        {PUT, CLIENTS, "GET /after HTTP/1.1\r\nHost: x\r\n\r\n", 0},
        {STEPS_END, 0, NULL, 0}};
    static const char want[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n/after";
    struct client *c = &clients[CLIENTS];

    step = after;
    serve_for(QUIET);
    CHECK(c->n == sizeof want - 1 && memcmp(c->got, want, c->n) == 0);
    client_close(c);
    serve_for(QUIET);
}

/* ---- a conversation ---- */

/* Before the server is made the plans have begun. False: it could not be made, as
 * a plan would have it, and has said so. */
static bool converse(const struct script *script, const char *backend)
{
    int listener = open_listener();

    faults_idle = clients_turn;
    int failed = ts_reactor_new(&reactor, backend);

    turns = interrupted = heard = 0;
    faults_alarm = 0;
    for (int i = 0; i <= CLIENTS; i++)
        client_forget(&clients[i]);
    faults_accepted = set_up;
    playing = script;
    n_accepted = 0;
    step = script->steps;
    if (!failed) {
        reactor->timeout_ns = script->timeout_ns;
        reactor->max_open = script->max_open;
        reactor->max_per_address = script->max_per_address;
        reactor->announce = script->announce;
        failed = ts_reactor_listen(reactor, listener);
        if (failed)
            ts_reactor_free(reactor);
    }
    if (failed) {
        CHECK(failed == -fault_plans[0].error && fault_plans[0].at != 0);
        close(listener);
        faults_check_books();
        return false;
    }
    serve_for(QUIET);
    atomic_store(&faults_pause, true);
    serve_for(QUIET + script->later_ms * MS);
    unsigned left = 0;
    for (int i = 0; i < CLIENTS; i++)
        left += clients[i].fd >= 0 && !clients[i].ended;
    CHECK(atomic_load(&reactor->n_open) <= left);
    reactor->max_open = reactor->max_per_address = 0;
    check_serves();
    atomic_store(&faults_pause, false);
    end_server();
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    close(listener);
    faults_check_books();
    return true;
}

#endif
