/* units: reactor.c census.c course.c deadline.c rules.c slots.c acceptor.c conn.c buffer.c body.c chunked.c scan.c framing.c target.c scan_simd.c poller.c poller_epoll.c poller_kqueue.c poller_poll.c sock.c leader.c crew.c clock.c monitor.c patience.c wakeup.c; sanitizers: address,undefined; libs: -lpthread; flags: -U_FORTIFY_SOURCE -include ../tests/c/faults.h */
/* A leader, a follower, a monitor that takes the lead away and flushes, and clients
 * in a thread of their own, while calls fail. Which call is the n-th one differs
 * from time to time; what the clients may see does not: the whole of it, or its
 * beginning and then the end of the connection. A hang is an abort. */
#if defined(__linux__)

#include "faults_calls.h"

#include "leader.h"
#include "reactor.h"

#include <signal.h>
#include <sys/un.h>

#define MS INT64_C(1000000)
#define CLIENTS 4
#define WORKERS 2
#define LONG 60000
#define WATCHDOG_SECONDS 60

static struct ts_reactor *reactor;
static struct ts_leader *leader;
static _Atomic int owners;
static char long_answer[LONG];
static struct sockaddr_un address;
static socklen_t address_len;

/* ---- the server ---- */

static void write_all(struct ts_worker *w, struct ts_conn *c, const char *data, size_t n)
{
    for (;;) {
        size_t taken;
        int result = ts_out_write(&c->out, c->fd, data, n, c->through, &taken);

        if (result == TS_OUT_FIRST)
            ts_handler_dirty(leader, w);
        if (result != TS_OUT_BLOCKED)
            return;
        data += taken;
        n -= taken;
        int ready;
        do
            ready = ts_wait_fd(c->fd, true, -1, 10000 * MS);
        while (ready == -EINTR);
        if (ready != TS_WAIT_READY)
            return;
    }
}

static void answer(struct ts_worker *w, struct ts_conn *c, const char *body, size_t n)
{
    char head[100];

    write_all(w, c, head, (size_t)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n));
    write_all(w, c, body, n / 2);
    write_all(w, c, body + n / 2, n - n / 2);
}

/* "/nap": the lead is taken away, and the monitor flushes what there is. */
static bool handle(struct ts_worker *w, struct ts_conn *c)
{
    char target[50];
    const struct ts_request *req = c->req;

    CHECK(req->target.len < sizeof target);
    memcpy(target, c->in.data + c->in.head + req->target.off, req->target.len);
    target[req->target.len] = '\0';
    c->in.pos = c->in.head + req->head_len;
    ts_body_begin(&c->body, req->content_length > 0 ? TS_BODY_LENGTH : TS_BODY_NONE,
                  req->content_length);
    if (strstr(target, "/nap")) {
        struct timespec t = {.tv_nsec = 2000000};

        write_all(w, c, "HTTP/1.1 200 OK\r\nCont", 21);
        nanosleep(&t, NULL);
        write_all(w, c, "ent-Length: 3\r\n\r\nnap", 20);
    } else if (strstr(target, "/long")) {
        answer(w, c, long_answer, LONG);
    } else {
        answer(w, c, target, strlen(target));
    }
    return !strstr(target, "/close");
}

static void serve(struct ts_worker *w, struct ts_turn *turn, struct ts_conn *c,
                  enum ts_task task)
{
    if (c->owner == NULL)
        atomic_fetch_add(&owners, 1);
    c->owner = c;
    while (task != TS_TASK_NONE) {
        if (task == TS_TASK_REQUEST) {
            ts_handler_enter(leader, w, c, TS_HINT_NONE);
            bool keep = handle(w, c);
            ts_handler_exit(leader, w);
            task = ts_reactor_done(reactor, turn, c, keep);
        } else {
            CHECK(task == TS_TASK_BROKEN || task == TS_TASK_GONE);
            c->owner = NULL;
            atomic_fetch_sub(&owners, 1);
            ts_reactor_close(reactor, turn, c);
            return;
        }
    }
}

static void *work(void *arg)
{
    struct ts_worker *w = ts_worker_join(leader);
    struct ts_turn turn = {0};

    (void)arg;
    if (w == NULL) { /* so late that all is over */
        CHECK(errno == ESHUTDOWN);
        return NULL;
    }
    enum ts_lead lead;
    while ((lead = ts_lead_wait(leader, w, 0)) == TS_LEAD) {
        while (ts_leads(w)) {
            struct ts_conn *c = NULL;
            enum ts_task task = ts_reactor_next(reactor, &turn, true, -1, &c);

            ts_worker_now(w);
            if (c != NULL)
                serve(w, &turn, c, task);
            else if (atomic_load(&reactor->stopping))
                break;
        }
        if (atomic_load(&reactor->stopping)) {
            ts_leader_stop(leader);
            ts_lead_release(leader, w);
        }
    }
    CHECK(lead == TS_LEAD_STOP);
    ts_turn_free(&turn);
    ts_worker_leave(leader, w);
    return NULL;
}

/* ---- the clients ---- */

struct client {
    int fd;
    bool ended;
    size_t n;
    char got[2 * LONG];
    size_t wanted;
    char want[2 * LONG];
};

static struct client clients[CLIENTS + 1];

static void visit(struct client *c)
{
    struct timeval limit = {.tv_sec = 20};

    c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    c->ended = false;
    c->n = c->wanted = 0;
    CHECK(c->fd >= 0);
    CHECK(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    CHECK(connect(c->fd, (struct sockaddr *)&address, address_len) == 0);
}

static void say(struct client *c, const char *text)
{
    ssize_t n = send(c->fd, text, strlen(text), MSG_NOSIGNAL);

    CHECK(n > 0 || errno == EPIPE || errno == ECONNRESET);
}

static void get(struct client *c, const char *target)
{
    char text[200];

    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    say(c, text);
}

static void wants(struct client *c, const char *body, size_t n)
{
    c->wanted += (size_t)snprintf(c->want + c->wanted, 100,
                                  "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    memcpy(c->want + c->wanted, body, n);
    c->wanted += n;
}

/* Until it has all that it wants, or the connection ends. */
static void hear(struct client *c)
{
    while (c->n < c->wanted && !c->ended) {
        ssize_t n = recv(c->fd, c->got + c->n, sizeof c->got - c->n, 0);

        CHECK(n >= 0 || errno == ECONNRESET); /* else it hangs */
        if (n <= 0)
            c->ended = true;
        else
            c->n += (size_t)n;
    }
    CHECK(c->n <= c->wanted && memcmp(c->got, c->want, c->n) == 0);
}

static void talk(void)
{
    for (int i = 0; i < CLIENTS; i++)
        visit(&clients[i]);
    for (int round = 0; round < 2; round++) {
        get(&clients[0], "/a");
        wants(&clients[0], "/a", 2);
        get(&clients[1], "/nap");
        wants(&clients[1], "nap", 3);
        get(&clients[1], "/b");
        wants(&clients[1], "/b", 2);
        say(&clients[2], "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12");
        if (round == 0) {
            get(&clients[3], "/long");
            wants(&clients[3], long_answer, LONG);
        } else {
            get(&clients[3], "/d/close");
            wants(&clients[3], "/d/close", 8);
        }
        say(&clients[2], "345");
        wants(&clients[2], "/c", 2);
        for (int i = 0; i < CLIENTS; i++)
            hear(&clients[i]);
    }
}

/* ---- one time ---- */

static void play(const char *backend, const struct fault_plan *plan)
{
    struct ts_leader_config config = {.max_threads = WORKERS, .flush = ts_reactor_flush};
    struct ts_turn turn = {0};
    struct ts_conn *c;
    pthread_t threads[WORKERS];
    uint32_t at = 0;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    alarm(WATCHDOG_SECONDS);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    address_len = sizeof address;
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address.sun_family) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &address_len) == 0);
    CHECK(listen(listener, 64) == 0);
    CHECK(ts_reactor_new(&reactor, backend) == 0 && ts_leader_new(&leader, &config) == 0);
    CHECK(ts_reactor_listen(reactor, listener) == 0);
    faults_begin(plan, NULL);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);

    talk();
    atomic_store(&faults_pause, true);
    visit(&clients[CLIENTS]); /* and the server goes on */
    get(&clients[CLIENTS], "/after");
    wants(&clients[CLIENTS], "/after", 6);
    hear(&clients[CLIENTS]);
    CHECK(clients[CLIENTS].n == clients[CLIENTS].wanted);

    ts_reactor_unlisten(reactor);
    ts_reactor_stop(reactor);
    ts_leader_stop(leader);
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    while ((c = ts_reactor_reap(reactor, &at)) != NULL) {
        if (c->owner != NULL)
            atomic_fetch_sub(&owners, 1);
        c->owner = NULL;
        ts_reactor_close(reactor, &turn, c);
    }
    CHECK(atomic_load(&owners) == 0 && atomic_load(&reactor->n_open) == 0);
    ts_turn_free(&turn);
    ts_leader_free(leader);
    ts_reactor_free(reactor);
    for (int i = 0; i <= CLIENTS; i++)
        close(clients[i].fd);
    close(listener);
    faults_check_books();
    atomic_store(&faults_pause, false);
}

static const struct {
    enum fault_kind kind;
    int error;
    unsigned most; /* calls, from the first one on */
    unsigned times;
    bool goes_on;
} faults[] = {
    {FAULT_FUTEX, EINTR, 8, 10, true},       {FAULT_FUTEX, EAGAIN, 8, 10, true},
    {FAULT_EPOLL_WAIT, EINTR, 15, 10, true}, {FAULT_POLL, EINTR, 15, 10, true},
    {FAULT_READ, EINTR, 4, 10, true},        {FAULT_WRITE, EINTR, 4, 10, true},
    {FAULT_THREAD, EAGAIN, 1, 3, true},      {FAULT_THREAD, EAGAIN, 1, FAULT_FOREVER, true},
    {FAULT_ACCEPT, EMFILE, 5, 2, true},      {FAULT_ACCEPT, ECONNABORTED, 5, 10, true},
    {FAULT_SEND, EINTR, 12, 10, true},       {FAULT_SEND, EAGAIN, 12, 2, true},
    {FAULT_SEND, EPIPE, 12, 2, false},       {FAULT_SENDMSG, EAGAIN, 3, 2, true},
    {FAULT_SENDMSG, FAULT_SHORT, 3, 2, true}, {FAULT_SENDMSG, ECONNRESET, 3, 1, false},
    {FAULT_RECV, EINTR, 15, 10, true},       {FAULT_RECV, ECONNRESET, 15, 2, false},
    {FAULT_EPOLL_ADD, ENOMEM, 6, 2, false},  {FAULT_ALLOC, ENOMEM, 15, 3, false},
    {FAULT_CLOSE, EINTR, 3, 2, true},        {FAULT_SCHED, EPERM, 1, 1, true},
};

int main(void)
{
    static const char *const backends[] = {"epoll", "poll"};
    unsigned injected = 0, played = 0;

    faults_init();
    signal(SIGALRM, SIG_DFL);
    memset(long_answer, 'l', sizeof long_answer);
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
            for (unsigned at = 1; at <= faults[i].most; at++) {
                struct fault_plan plan = {faults[i].kind, at, at % 2 ? 1 : faults[i].times,
                                          faults[i].error, 9};

                if (faults[i].times == FAULT_FOREVER)
                    plan.times = FAULT_FOREVER;
                fault_about = backends[b];
                play(backends[b], &plan);
                injected += atomic_load(&faults_fired);
                played++;
                for (int k = 0; k < CLIENTS; k++)
                    CHECK(!faults[i].goes_on || clients[k].n == clients[k].wanted);
                /* Followers sleep. */
                CHECK(atomic_load(&fault_calls[FAULT_FUTEX]) < 500);
                if (faults[i].kind == FAULT_THREAD) /* the next handler tries again */
                    CHECK(atomic_load(&fault_calls[FAULT_THREAD]) >= 2);
                faults_begin(NULL, NULL);
            }
    printf("faults, leader: %u faults in %u conversations\n", injected, played);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
