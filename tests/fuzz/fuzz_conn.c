/* Fuzz target: a connection, from accept to close (reactor.h, course.c, conn.h,
 * buffer.h, body.h, the pollers).
 *
 * One reactor, up to four clients over a UNIX listener, and all of it in one
 * thread. The input is a script. Its first octet chooses the settings; then come
 * operations, an octet and its arguments each:
 *
 *   0 n octet*   queue n + 1 octets        8     close (a reset, if octets are unread)
 *   1 k          queue template k          9 k   use client k; connect it
 *   2 k          queue 256 (k + 1) octets  10 k  time passes
 *   3 k          send k octets; 0: all     11    see that nothing is left undone
 *   4            serve until nothing comes 12    stop the server
 *   5            serve one task            13    as before a fork
 *   6 k          read 64 k octets; 0: all  14 k  queue template k, send, serve
 *   7            half-close                15 k  the same without serving
 *
 * What a handler does with its task is drawn from the input's end, backwards:
 * how much of the body it reads and how, what it writes, whether it keeps the
 * connection. While a handler waits for its client, the script goes on, serving
 * included, as another leader would.
 *
 * What has to hold: the tasks of a connection are the requests that were sent,
 * each once and in order, by a second reading of the same octets (reference.h);
 * what a handler reads is that request's body; after a refusal, an error or the
 * end nothing becomes a task; the client gets what was written, in order, and all
 * of it if it stays; a complete request does not lie about once everybody waits;
 * connections, descriptors and memory are all given back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"
#include "reactor.h"
#include "reference.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- a clock that the script steps: in the place of csrc/clock.c ---------- */

static uint64_t now_ns;

static int stepped_clock(clockid_t id, struct timespec *t)
{
    (void)id;
    t->tv_sec = (time_t)(now_ns / 1000000000u);
    t->tv_nsec = (long)(now_ns % 1000000000u);
    return 0;
}

#define clock_gettime stepped_clock
#include "clock.c"
#undef clock_gettime

#define MS UINT64_C(1000000)

/* With FUZZ_TRACE in the environment: what happens, for whoever studies an input. */
static bool tracing;

#define TRACE(...) \
    do { \
        if (tracing) \
            fprintf(stderr, __VA_ARGS__); \
    } while (0)

/* ---- state ---------------------------------------------------------------- */

#define LINKS 4
#define DEPTH 3 /* handlers within handlers */
#define SENT_MAX (1u << 19)

struct link {
    bool used;       /* connected once; not again */
    int fd;          /* the client's, -1: closed */
    struct sockaddr_un name;
    struct ts_conn *c; /* once a task has named it */
    char *sent;      /* sent[0, n_sent): what the kernel took; then the queue */
    size_t n_sent;
    size_t queued;
    size_t next;     /* where in it the present or next request begins */
    bool answered;   /* ... which has been: the one after it is next */
    bool lost;       /* nothing more may be taken for a request */
    bool unknown;    /* ... or it may: the other reading does not say */
    bool excess;     /* more of a body was left than may be passed over */
    bool half;       /* half-closed */
    bool ended;      /* the client has read to the end, or met an error */
    bool timed;      /* time has passed: it may have been closed for that */
    bool spared;     /* not all that was written has to arrive */
    bool over;       /* no task may follow but GONE */
    bool gone;
    bool handled;    /* a handler is under way */
    uint64_t wrote, got;
    unsigned tasks;
};

struct play {
    const uint8_t *at, *end; /* the script; handlers draw from its end */
    struct ts_reactor *r;
    struct ts_turn turns[DEPTH];
    int depth;
    int listener;
    struct sockaddr_un address;
    socklen_t address_len;
    struct link links[LINKS];
    struct link *link;
    struct ts_rules rules;
    bool decode;  /* handlers read decoded bodies */
    bool small;   /* the kernel is soon full */
    bool limited; /* not every client may be served */
    bool stopped;
};

static uint8_t draw(struct play *p)
{
    return p->at < p->end ? *p->at++ : 0;
}

static uint8_t draw_back(struct play *p)
{
    return p->at < p->end ? *--p->end : 0;
}

/* What one connection is answered, from octet `at` on: WRITE_MAX octets at least. */
#define WRITE_MAX 200000u
enum { PERIOD = 9973 };
static char answers[PERIOD + WRITE_MAX];

static const char *answer_from(uint64_t at)
{
    return answers + at % PERIOD;
}

/* ---- clients -------------------------------------------------------------- */

/* Bodies that are not there are for operation 2: so many times 256 octets. */
static const char *const templates[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /close HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "3\r\nabc\r\n1;a=b\r\nd\r\n0\r\nX: y\r\n\r\n",
    "HEAD / HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65792\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300032\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    "Expect: 100-continue\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "GET /\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    "Transfer-Encoding: chunked\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad\r\n\r\n",
    "\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32768\r\n\r\n",
};
#define TEMPLATES (sizeof templates / sizeof *templates)

static void queue(struct link *k, const char *octets, size_t n)
{
    if (k->fd < 0 || k->half || k->n_sent + k->queued + n > SENT_MAX || n == 0)
        return;
    memcpy(k->sent + k->n_sent + k->queued, octets, n);
    k->queued += n;
}

/* Sends up to n octets of the queue. */
static void send_some(struct link *k, size_t n)
{
    ssize_t sent;

    if (k->fd < 0 || k->half || k->queued == 0)
        return;
    if (n == 0 || n > k->queued)
        n = k->queued;
    sent = send(k->fd, k->sent + k->n_sent, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0)
        return;
    TRACE("client sends %zd: %.*s\n", sent, (int)(sent < 300 ? sent : 300),
          k->sent + k->n_sent);
    k->n_sent += (size_t)sent;
    k->queued -= (size_t)sent;
}

/* Reads up to n octets of the answers; whether there were any. */
static bool read_some(struct link *k, size_t n)
{
    static char space[65536];
    bool some = false;

    while (k->fd >= 0 && !k->ended && n > 0) {
        ssize_t got = recv(k->fd, space, n < sizeof space ? n : sizeof space,
                           MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            TRACE("client %s is at the end\n", k->name.sun_path + 1);
            k->ended = true;
            break;
        }
        CHECK(memcmp(space, answer_from(k->got), (size_t)got) == 0);
        TRACE("client reads %zd\n", got);
        k->got += (uint64_t)got;
        CHECK(k->got <= k->wrote);
        n -= (size_t)got;
        some = true;
    }
    return some;
}

static void half_close(struct link *k)
{
    if (k->fd < 0 || k->half)
        return;
    TRACE("client half-closes\n");
    k->half = true;
    k->queued = 0;
    shutdown(k->fd, SHUT_WR);
}

static void close_link(struct link *k)
{
    if (k->fd < 0)
        return;
    TRACE("client closes\n");
    close(k->fd);
    k->fd = -1;
    k->spared = true;
}

static void connect_link(struct play *p, struct link *k)
{
    static unsigned long names;
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1;

    if (k->used || p->stopped)
        return;
    k->used = true;
    k->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(k->fd >= 0);
    k->name.sun_family = AF_UNIX;
    /* A name by which the server's side can be told apart. The kernel's choice
     * would be at random, and twice the same once in a million. */
    len += (socklen_t)snprintf(k->name.sun_path + 1, sizeof k->name.sun_path - 1,
                               "fuzz-%ld-%lu", (long)getpid(), names++);
    CHECK(bind(k->fd, (struct sockaddr *)&k->name, len) == 0);
    CHECK(connect(k->fd, (struct sockaddr *)&p->address, p->address_len) == 0);
    TRACE("client %s connects\n", k->name.sun_path + 1);
}

static struct link *link_of(struct play *p, struct ts_conn *c)
{
    size_t head = offsetof(struct sockaddr_un, sun_path) + 1;

    if (c->owner != NULL)
        return c->owner;
    for (size_t i = 0; i < LINKS; i++) {
        struct link *k = &p->links[i];

        if (k->used && c->peer.len > head &&
            strlen(k->name.sun_path + 1) == c->peer.len - head &&
            memcmp(k->name.sun_path + 1, c->peer.u.un.sun_path + 1,
                   c->peer.len - head) == 0) {
            CHECK(k->c == NULL && !k->gone);
            if (p->small) {
                int size = 4608; /* not inherited from the listener */

                CHECK(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &size,
                                 sizeof size) == 0);
            }
            k->c = c;
            c->owner = k;
            return k;
        }
    }
    CHECK(!"a connection that no client has made");
    return NULL;
}

/* ---- what was sent, by the other reading ---------------------------------- */

struct expected {
    enum reading head;
    enum reading body; /* GOOD: it has all come */
    struct ref_head h;
    size_t at;   /* of the head */
    size_t start; /* of the body */
    size_t end;   /* of the request, if all of it has come */
    char *data;  /* the decoded body as far as it has come, if chunked */
    size_t n_data;
};

static struct expected read_next(const struct link *k)
{
    struct expected e = {.head = READ_MORE, .body = READ_MORE, .at = k->next};
    size_t have;

    if (k->n_sent - e.at >= 2 && memcmp(k->sent + e.at, "\r\n", 2) == 0)
        e.at += 2; /* one empty line is passed over */
    if (e.at == k->n_sent)
        return e;
    e.head = ref_head(k->sent + e.at, k->n_sent - e.at, &e.h);
    if (e.head != READ_GOOD && e.head != READ_OPEN)
        return e;
    e.body = READ_GOOD;
    e.start = e.end = e.at + e.h.len;
    have = k->n_sent - e.start;
    if (e.h.chunked) {
        size_t stop;

        e.data = malloc(have + 1);
        CHECK(e.data != NULL);
        e.body = ref_chunked(k->sent + e.start, have, &stop, e.data, &e.n_data);
        e.end = e.start + stop;
    } else if (e.h.content_length > 0) {
        if ((uint64_t)have < (uint64_t)e.h.content_length)
            e.body = READ_MORE;
        else
            e.end = e.start + (size_t)e.h.content_length;
    }
    return e;
}

/* Goes on to the request after one that was answered, if that has all come. */
static void advance(struct link *k)
{
    struct expected e;

    if (!k->answered || k->lost || k->unknown)
        return;
    e = read_next(k);
    free(e.data);
    if (e.h.tunnel || e.body == READ_BAD) {
        k->lost = true;
    } else if (e.body == READ_OPEN) {
        k->unknown = true;
    } else if (e.body == READ_GOOD) {
        k->next = e.end;
        k->answered = false;
    }
}

/* Whether a request lies there that has to be served. */
static bool is_due(struct link *k)
{
    struct expected e;

    advance(k);
    if (k->answered || k->lost || k->unknown || k->over)
        return false;
    e = read_next(k);
    free(e.data);
    return e.head == READ_GOOD && e.body == READ_GOOD;
}

/* ---- the handler ---------------------------------------------------------- */

static void operate(struct play *p);
static bool serve_one(struct play *p);

/* Whether the client may yet do what the handler waits for. */
static bool wait_for(struct play *p, struct link *k, bool write)
{
    uint64_t due = ts_reactor_wait_begins(p->r, k->c, write);
    const uint8_t *before = p->at;

    if (now_ns >= due) {
        k->spared = true;
        return false;
    }
    if (p->at < p->end)
        operate(p);
    else if (write)
        read_some(k, SIZE_MAX);
    ts_reactor_wait_ended(k->c, write);
    return p->at != before || (write && k->fd >= 0 && !k->ended);
}

/* n octets of the answer; false if they cannot be sent. */
static bool write_some(struct play *p, struct link *k, size_t n)
{
    size_t taken;
    int tries = 0;

    CHECK(n <= WRITE_MAX);
    for (const char *at = answer_from(k->wrote);;) {
        struct ts_conn *c = k->c;
        int result = ts_out_write(&c->out, c->fd, at, n, c->through, &taken);

        CHECK(taken <= n);
        if (result < 0) {
            k->spared = true;
            return false;
        }
        k->wrote += taken;
        at += taken;
        n -= taken;
        if (result != TS_OUT_BLOCKED) {
            CHECK(n == 0);
            return true;
        }
        if (!wait_for(p, k, true) || ++tries > 300)
            return false;
    }
}

/* Reads up to `most` octets of the body and sees that they are its; at: how many
 * were read before. The number; 0 at the end, or if it has to wait and must not. */
static size_t read_body(struct play *p, struct link *k, size_t at, size_t most,
                        bool waits)
{
    struct ts_conn *c = k->c;
    const struct ts_chunk_limits *limits = &ts_reactor_rules(p->r)->chunks;

    for (;;) {
        uint32_t have = ts_in_unread(&c->in);
        size_t skip = 0, n = 0;

        if (c->body.kind == TS_BODY_NONE || c->body.kind == TS_BODY_BAD)
            return 0;
        if (have > 0) {
            ts_body_peek(&c->body, c->in.data + c->in.pos, have, limits, &skip, &n);
            CHECK(skip <= have && n <= have - skip);
            c->in.pos += (uint32_t)skip;
        }
        if (n > 0) {
            struct expected e = read_next(k);
            const char *from = c->in.data + c->in.pos;

            if (n > most)
                n = most;
            if (c->body.kind == TS_BODY_CHUNKED && c->body.decode) {
                CHECK(at + n <= e.n_data);
                CHECK(memcmp(e.data + at, from, n) == 0);
            } else {
                CHECK(e.start + at + n <= k->n_sent);
                CHECK(memcmp(k->sent + e.start + at, from, n) == 0);
                if (e.body == READ_GOOD && !e.h.tunnel)
                    CHECK(e.start + at + n <= e.end);
            }
            free(e.data);
            ts_body_took(&c->body, from, n, limits);
            c->in.pos += (uint32_t)n;
            return n;
        }
        if (skip > 0 && c->body.kind != TS_BODY_CHUNKED)
            continue;
        if (c->eof || c->broken)
            return 0;
        CHECK(ts_conn_fill(c) == 0);
        if (ts_in_unread(&c->in) > have - skip || c->eof || c->broken)
            continue;
        if (!waits)
            return 0;
        ts_out_flush(&c->out, c->fd);
        if (!wait_for(p, k, false))
            return 0;
    }
}

static const uint32_t sizes[] = {0, 1, 10, 300, 4000, TS_OUT_DIRECT - 1,
                                 TS_OUT_DIRECT, TS_OUT_GATHER, WRITE_MAX};

/* A request that has to be served: is it what was sent? Reads and answers it.
 * Whether the connection may stay. */
static bool handle(struct play *p, struct link *k)
{
    struct ts_conn *c = k->c;
    const struct ts_request *req = c->req;
    struct expected e = read_next(k);
    uint8_t how = draw_back(p), what;
    bool keep = !(how & 1), good = true;
    size_t at = 0, n;

    CHECK(e.head == READ_GOOD || e.head == READ_OPEN);
    CHECK(e.h.len == req->head_len && c->in.end - c->in.head >= req->head_len);
    CHECK(memcmp(c->in.data + c->in.head, k->sent + e.at, e.h.len) == 0);
    CHECK(req->chunked == e.h.chunked);
    CHECK(req->content_length == e.h.content_length);
    CHECK(c->in.pos == c->in.head);
    /* A small body has come, whole and right. */
    if (!e.h.tunnel && k->n_sent - e.start < TS_SMALL_BODY)
        CHECK(e.body == READ_GOOD || e.body == READ_OPEN ||
              (e.body == READ_MORE &&
               (req->expect_continue || req->content_length > TS_SMALL_BODY)));
    free(e.data);
    c->in.pos = c->in.head + req->head_len;
    if (e.h.tunnel) {
        ts_body_begin(&c->body, TS_BODY_OPAQUE, 0);
        keep = false;
    } else if (req->chunked) {
        ts_body_begin(&c->body, TS_BODY_CHUNKED, 0);
        c->body.decode = p->decode;
    } else if (req->content_length > 0) {
        ts_body_begin(&c->body, TS_BODY_LENGTH, req->content_length);
    } else {
        ts_body_begin(&c->body, TS_BODY_NONE, 0);
    }
    if (req->connection == TS_CONN_CLOSE)
        keep = false;
    if (how & 2)
        c->through = true;
    for (int i = how >> 2 & 3; i > 0 && good; i--) {
        what = draw_back(p);
        switch (what & 7) {
        case 0: /* all of the body that there will be */
            while ((n = read_body(p, k, at, SIZE_MAX, true)) > 0)
                at += n;
            break;
        case 1:
            at += read_body(p, k, at, 1 + (what >> 3), true);
            break;
        case 2:
            at += read_body(p, k, at, SIZE_MAX, false);
            break;
        case 3:
            ts_reactor_flush(c, NULL); /* the monitor's */
            break;
        case 4: /* another leader serves the others */
            serve_one(p);
            break;
        default:
            good = write_some(p, k, sizes[(what >> 3) % 9]);
        }
    }
    if (good && (how & 0x70) != 0x70)
        good = write_some(p, k, sizes[1 + (how >> 4 & 3)]);
    if (c->body.kind == TS_BODY_CHUNKED ||
        (c->body.kind == TS_BODY_LENGTH && c->body.left > p->rules.drain_max))
        k->excess = true;
    return keep && good;
}

/* What is refused gets one answer, and is the end. */
static void refuse(struct play *p, struct link *k)
{
    struct ts_conn *c = k->c;
    struct expected e = read_next(k);
    bool too_long = p->rules.body_max >= 0 && e.h.content_length > p->rules.body_max;

    free(e.data);
    if (e.head == READ_GOOD && e.body == READ_GOOD)
        CHECK(k->timed || k->unknown || k->lost || too_long);
    c->in.pos = c->in.end;
    c->linger = true;
    write_some(p, k, 40);
}

/* ---- the server ----------------------------------------------------------- */

static void serve(struct play *p, struct ts_conn *c, enum ts_task task)
{
    struct link *k = link_of(p, c);
    struct ts_turn *turn = &p->turns[p->depth];

    while (task != TS_TASK_NONE) {
        bool keep;

        TRACE("task %d for %s, phase %d, scan %d, refusal %d\n", task,
              k->name.sun_path + 1, c->phase, c->scan,
              c->req != NULL ? (int)c->req->refusal : -1);
        CHECK(atomic_load(&c->word) & TS_WORD_OWNED);
        CHECK(k->c == c && c->owner == k && !k->handled && !k->gone);
        switch (task) {
        case TS_TASK_REQUEST:
        case TS_TASK_GENERAL:
            CHECK(!k->over);
            CHECK(c->phase == TS_PHASE_HANDLER);
            advance(k);
            CHECK(!k->answered || k->lost || k->unknown);
            k->tasks++;
            k->handled = true;
            p->depth++;
            keep = false;
            if (task == TS_TASK_REQUEST && c->req->refusal == TS_REFUSE_NONE &&
                !k->unknown) {
                CHECK(!k->lost);
                keep = handle(p, k);
            } else {
                refuse(p, k);
            }
            p->depth--;
            k->handled = false;
            TRACE("handler for %s wrote %llu in all, body %d, keep %d\n",
                  k->name.sun_path + 1, (unsigned long long)k->wrote,
                  c->body.kind, keep);
            k->over = !keep;
            k->answered = true;
            task = ts_reactor_done(p->r, turn, c, keep);
            if (task == TS_TASK_REQUEST || task == TS_TASK_GENERAL)
                CHECK(keep);
            break;
        case TS_TASK_OPENED:
            CHECK(k->tasks == 0);
            if (draw_back(p) == 0xff) {
                k->over = k->spared = true;
                task = TS_TASK_GONE;
            } else {
                task = ts_reactor_go_on(p->r, turn, c);
            }
            break;
        case TS_TASK_BROKEN:
            CHECK(c->out.error != 0);
            k->spared = true;
            task = TS_TASK_GONE;
            break;
        case TS_TASK_TIMEOUT:
        case TS_TASK_SLOW:
            CHECK(k->timed);
            k->spared = true;
            task = TS_TASK_GONE;
            break;
        default:
            CHECK(task == TS_TASK_GONE);
            if (c->broken || c->out.error != 0)
                k->spared = true;
            k->gone = true;
            k->c = NULL;
            c->owner = NULL;
            ts_reactor_close(p->r, turn, c);
            return;
        }
    }
}

/* One task, without waiting; whether there was one. */
static bool serve_one(struct play *p)
{
    struct ts_conn *c = NULL;
    enum ts_task task;

    if (p->depth >= DEPTH || p->stopped)
        return false;
    do /* libFuzzer's own timer is a signal */
        task = ts_reactor_next(p->r, &p->turns[p->depth], true, 0, &c);
    while (task == TS_TASK_INTERRUPTED);
    if (c == NULL) {
        CHECK(task == TS_TASK_WOKEN);
        return false;
    }
    serve(p, c, task);
    return true;
}

static void serve_all(struct play *p)
{
    for (int quiet = 0, n = 0; quiet < 3; n++) {
        quiet = serve_one(p) ? 0 : quiet + 1;
        CHECK(n < 100000);
    }
}

/* As server_close() does: no more waiting, no more keeping. */
static void stop(struct play *p)
{
    uint32_t at = 0;
    struct ts_conn *c;
    struct ts_turn turn = {0};

    if (p->stopped)
        return;
    TRACE("the server stops\n");
    p->stopped = true;
    ts_reactor_unlisten(p->r);
    ts_reactor_stop(p->r);
    while ((c = ts_reactor_reap(p->r, &at)) != NULL) {
        if (c->owner != NULL) {
            struct link *k = c->owner;

            CHECK(!k->handled);
            k->gone = k->over = k->spared = true;
            k->c = NULL;
            c->owner = NULL;
        }
        c->broken = false;
        ts_reactor_close(p->r, &turn, c);
    }
    ts_turn_free(&turn);
}

/* ---- what must be so when everybody waits --------------------------------- */

static void settle(struct play *p)
{
    for (bool news = true; news;) {
        news = false;
        serve_all(p);
        for (size_t i = 0; i < LINKS; i++)
            news |= read_some(&p->links[i], SIZE_MAX);
    }
}

static void check_idle(struct play *p)
{
    if (p->depth > 0 || p->stopped)
        return;
    settle(p);
    if (p->stopped) /* by a handler that waited */
        return;
    TRACE("everybody waits\n");
    for (size_t i = 0; i < LINKS; i++) {
        struct link *k = &p->links[i];

        if (k->fd < 0 || p->limited)
            continue;
        CHECK(k->got == k->wrote || k->spared);
        /* A complete request is not left lying about. */
        CHECK(!is_due(k) ||
              (k->ended && (k->timed || k->excess || k->spared)));
    }
}

/* ---- the script ----------------------------------------------------------- */

static void operate(struct play *p)
{
    static const uint32_t steps_ms[] = {0, 1, 99, 1000, 2500, 31000, 80000, 600000};
    char octets[256];
    uint8_t op = draw(p) & 15, k;
    size_t n;

    switch (op) {
    case 0:
        n = (size_t)draw(p) + 1;
        if (n > (size_t)(p->end - p->at))
            n = (size_t)(p->end - p->at);
        memcpy(octets, p->at, n);
        p->at += n;
        queue(p->link, octets, n);
        break;
    case 2:
        memset(octets, '1', sizeof octets);
        octets[255] = '\n';
        for (n = (size_t)draw(p) + 1; n > 0; n--)
            queue(p->link, octets, sizeof octets);
        break;
    case 3:
        send_some(p->link, draw(p));
        break;
    case 4:
        TRACE("serving\n");
        serve_all(p);
        break;
    case 5:
        serve_one(p);
        break;
    case 6:
        k = draw(p);
        read_some(p->link, k > 0 ? 64u * k : SIZE_MAX);
        break;
    case 7:
        half_close(p->link);
        break;
    case 8:
        close_link(p->link);
        break;
    case 9:
        p->link = &p->links[draw(p) % LINKS];
        connect_link(p, p->link);
        break;
    case 10:
        k = draw(p) & 7;
        TRACE("%u ms pass\n", steps_ms[k]);
        now_ns += steps_ms[k] * MS;
        for (n = 0; n < LINKS; n++)
            p->links[n].timed = true;
        break;
    case 11:
        check_idle(p);
        break;
    case 12:
        stop(p);
        break;
    case 13:
        ts_reactor_before_fork(p->r);
        break;
    default: /* 1, 14, 15 */
        k = draw(p) % TEMPLATES;
        queue(p->link, templates[k], strlen(templates[k]));
        if (op != 1)
            send_some(p->link, 0);
        if (op == 14)
            serve_all(p);
    }
}

static int lowest_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0);
    close(fd);
    return fd;
}

static void open_server(struct play *p, uint8_t settings)
{
    p->limited = (settings & 0x30) == 0x30;
    p->decode = settings & 0x40;
    p->small = settings & 4;
    CHECK(ts_reactor_new(&p->r, settings & 1 ? "poll" : "epoll") == 0);
    p->r->announce = settings & 2;
    p->r->max_open = p->limited ? 2 : 0;
    p->r->timeout_ns = settings & 8 ? 1000 * MS : 0;
    ts_rules_init(&p->rules);
    if (settings & 0x80) {
        p->rules.drain_max = 1000;
        p->rules.idle_ns = 500 * MS;
        p->rules.head_ns = 100 * MS;
        p->rules.body_max = 60000;
    }
    CHECK(ts_reactor_set_rules(p->r, &p->rules) == 0);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(p->listener >= 0);
    p->address.sun_family = AF_UNIX;
    p->address_len = sizeof p->address;
    CHECK(bind(p->listener, (struct sockaddr *)&p->address,
               sizeof(sa_family_t)) == 0);
    CHECK(getsockname(p->listener, (struct sockaddr *)&p->address,
                      &p->address_len) == 0);
    CHECK(listen(p->listener, 16) == 0);
    CHECK(ts_reactor_listen(p->r, p->listener) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct rlimit few = {.rlim_cur = 512, .rlim_max = 512};

    (void)argc, (void)argv;
    tracing = getenv("FUZZ_TRACE") != NULL;
    for (size_t i = 0; i < sizeof answers; i++)
        answers[i] = (char)('a' + i % PERIOD % 23 + (i % PERIOD >> 8) % 3);
    setrlimit(RLIMIT_NOFILE, &few); /* the poll back-end has a row for each */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play;
    static char sent[LINKS][SENT_MAX];
    struct play *p = &play;
    int lowest = lowest_fd();

    if (size < 1)
        return -1;
    memset(p, 0, sizeof *p);
    p->at = data + 1;
    p->end = data + size;
    now_ns = 1000000 * MS;
    open_server(p, data[0]);
    for (size_t i = 0; i < LINKS; i++) {
        p->links[i].fd = -1;
        p->links[i].sent = sent[i];
    }
    p->link = &p->links[0];
    connect_link(p, p->link);
    while (p->at < p->end)
        operate(p);

    /* The end, by the clients' will and then by the server's. */
    check_idle(p);
    for (size_t i = 0; i < LINKS; i++)
        half_close(&p->links[i]);
    if (!p->stopped) {
        settle(p);
        if (!p->limited)
            CHECK(atomic_load(&p->r->n_open) == 0);
    }
    stop(p);
    close(p->listener);
    CHECK(atomic_load(&p->r->n_open) == 0);
    for (size_t i = 0; i < LINKS; i++) {
        struct link *k = &p->links[i];

        CHECK(k->c == NULL && !k->handled);
        read_some(k, SIZE_MAX);
        if (k->fd >= 0)
            CHECK(k->ended && (k->spared || k->got == k->wrote));
        close_link(k);
    }
    for (size_t i = 0; i < DEPTH; i++)
        ts_turn_free(&p->turns[i]);
    ts_reactor_free(p->r);
    CHECK(lowest_fd() == lowest);
    return 0;
}
