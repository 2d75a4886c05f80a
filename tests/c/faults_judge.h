/* faults_judge: plays a script once without a fault, then once more for each call
 * that it made and each way in which such a call can fail, and judges what the
 * clients have seen (faults_rig.h says what they may see). */
#ifndef FAULTS_JUDGE_H
#define FAULTS_JUDGE_H

#include "faults_rig.h"

/* Ways to fail. goes_on: to the clients it makes no difference. times: how often in
 * a row, besides once; FAULT_FOREVER: to the end of the script. */
struct fault {
    enum fault_kind kind;
    int error;
    bool goes_on;
    unsigned times;
    size_t cut;
};

#if defined(TS_PORTABLE)
#define POLL_GOES_ON false /* a handler may be the one who waits */
#else
#define POLL_GOES_ON true
#endif

static const struct fault faults[] = {
    {FAULT_ACCEPT, EINTR, true, 30, 0},
    {FAULT_ACCEPT, EAGAIN, true, 3, 0},
    {FAULT_ACCEPT, ECONNABORTED, true, 30, 0},
    {FAULT_ACCEPT, EPROTO, true, 2, 0},
    {FAULT_ACCEPT, EMFILE, true, FAULT_FOREVER, 0},
    {FAULT_ACCEPT, ENFILE, true, 3, 0},
    {FAULT_ACCEPT, ENOBUFS, true, 3, 0},
    {FAULT_ACCEPT, ENOMEM, true, FAULT_FOREVER, 0},
    {FAULT_ACCEPT, EPERM, true, 3, 0}, /* a firewall's word */
    {FAULT_RECV, EINTR, true, 30, 0},
    {FAULT_RECV, EAGAIN, true, 3, 0},
    {FAULT_RECV, FAULT_SHORT, true, 30, 1},
    {FAULT_RECV, FAULT_SHORT, true, FAULT_FOREVER, 1000},
    {FAULT_RECV, ECONNRESET, false, FAULT_FOREVER, 0},
    {FAULT_RECV, ETIMEDOUT, false, 2, 0},
    {FAULT_RECV, ENOMEM, false, FAULT_FOREVER, 0},
    {FAULT_SEND, EINTR, true, 30, 0},
    {FAULT_SEND, EAGAIN, true, 3, 0},
    {FAULT_SEND, FAULT_SHORT, true, 30, 1},
    {FAULT_SEND, FAULT_SHORT, true, FAULT_FOREVER, 1000},
    {FAULT_SEND, ECONNRESET, false, 2, 0},
    {FAULT_SEND, EPIPE, false, FAULT_FOREVER, 0},
    {FAULT_SEND, ENOBUFS, false, 2, 0},
    {FAULT_SEND, ETIMEDOUT, false, 2, 0},
    {FAULT_SENDMSG, EINTR, true, 30, 0},
    {FAULT_SENDMSG, EAGAIN, true, 3, 0},
    {FAULT_SENDMSG, FAULT_SHORT, true, 30, 1},
    {FAULT_SENDMSG, FAULT_SHORT, true, FAULT_FOREVER, 1000},
    {FAULT_SENDMSG, ECONNRESET, false, 2, 0},
    {FAULT_SENDMSG, EPIPE, false, FAULT_FOREVER, 0},
    {FAULT_SENDMSG, ENOBUFS, false, 2, 0},
    {FAULT_SENDMSG, ETIMEDOUT, false, 2, 0},
    {FAULT_SHUTDOWN, ENOTCONN, true, FAULT_FOREVER, 0},
    {FAULT_SHUTDOWN, ENOBUFS, true, 2, 0},
    {FAULT_SETSOCKOPT, ENOBUFS, true, FAULT_FOREVER, 0},
    {FAULT_SETSOCKOPT, EINVAL, true, 1, 0},
    {FAULT_POLL, EINTR, true, 30, 0},
    {FAULT_POLL, EAGAIN, POLL_GOES_ON, 3, 0},
    {FAULT_PPOLL, EINTR, true, 30, 0},
    {FAULT_PPOLL, ENOMEM, false, 3, 0},
    {FAULT_EPOLL_CREATE, EMFILE, false, 1, 0},
    {FAULT_EPOLL_CREATE, ENFILE, false, 1, 0},
    {FAULT_EPOLL_CREATE, ENOMEM, false, 1, 0},
    {FAULT_EPOLL_ADD, ENOMEM, false, FAULT_FOREVER, 0},
    {FAULT_EPOLL_ADD, ENOSPC, false, 2, 0},
    {FAULT_EPOLL_MOD, ENOMEM, false, 3, 0},
    {FAULT_EPOLL_WAIT, EINTR, true, 30, 0},
    {FAULT_EPOLL_WAIT, FAULT_SHORT, true, FAULT_FOREVER, 0},
    {FAULT_WAKEFD, EMFILE, false, 1, 0},
    {FAULT_WAKEFD, ENFILE, false, 1, 0},
    {FAULT_READ, EINTR, true, 30, 0},
    {FAULT_READ, EAGAIN, true, 3, 0},
    {FAULT_WRITE, EINTR, true, 30, 0},
    {FAULT_WRITE, EAGAIN, true, 3, 0},
    {FAULT_CLOSE, EINTR, true, FAULT_FOREVER, 0},
    {FAULT_CLOSE, EIO, true, 2, 0},
    {FAULT_FCNTL, EINVAL, false, 2, 0},
    {FAULT_IOCTL, EINVAL, true, FAULT_FOREVER, 0},
    {FAULT_LIMITS, EINVAL, true, 1, 0},
    {FAULT_ALLOC, ENOMEM, false, FAULT_FOREVER, 0},
    {FAULT_LOCK, ENOMEM, false, 1, 0},
};

static unsigned long n_injected, n_conversations;
static uint64_t began_at; /* the present one, by fault_clock */

/* ---- what a client is to see ---- */

struct view {
    char *text;
    size_t n;
    bool ended;
};

/* Of `answers` (struct script). */
static struct view expected(const char *answers)
{
    struct view v = {.n = 0};
    size_t room = 100;

    for (const char *p = answers; p != NULL && *p; p++)
        room += *p == '@' ? LONG + 100 : 100;
    v.text = malloc(room);
    CHECK(v.text != NULL);
    while (answers != NULL && *answers) {
        size_t len = strcspn(answers, "|"), body = len;
        const char *from = answers;

        if (len == 1 && *answers == '.') {
            v.ended = true;
        } else {
            if (*answers == '@') {
                from = long_answer;
                body = LONG;
            }
            v.n += (size_t)snprintf(v.text + v.n, 100, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
            memcpy(v.text + v.n, from, body);
            v.n += body;
        }
        answers += len;
        answers += strspn(answers, "|");
    }
    return v;
}

/* Whether c has seen all of it, and not its beginning and then the end. */
static bool saw_all(const struct client *c, const struct view *want, bool early_end)
{
    bool all = c->n == want->n && (c->ended == want->ended || (early_end && c->ended));
    if (c->n > want->n || (c->n > 0 && memcmp(c->got, want->text, c->n) != 0)) {
        size_t same = 0;

        while (same < c->n && same < want->n && c->got[same] == want->text[same])
            same++;
        fprintf(stderr, "client %d, from octet %zu: %.*s\n", (int)(c - clients), same,
                (int)(c->n - same < 300 ? c->n - same : 300), c->got + same);
        CHECK(!"a wrong answer");
    }
    if (!all && !c->left && !c->gave_up && !c->ended) {
        fprintf(stderr, "client %d: %zu octets of %zu\n", (int)(c - clients), c->n, want->n);
        CHECK(!"neither an answer nor an end");
    }
    return all || c->left;
}

/* How many clients have not seen all of it. */
static unsigned judge(const struct view *want, bool early_end)
{
    unsigned less = 0;

    for (int i = 0; i < CLIENTS; i++)
        less += !saw_all(&clients[i], &want[i], early_end);
    return less;
}

/* ---- all of it ---- */

/* A few calls more for each fault, or, where there is no end of them, now and then:
 * not as many as there is time for. */
static void check_pace(const struct fault *f, unsigned times, unsigned usual)
{
    uint64_t more = times == FAULT_FOREVER && f->error != FAULT_SHORT
                        ? (atomic_load(&fault_clock) - began_at) / (4 * MS)
                        : 8 * atomic_load(&faults_fired);

    if (faults_count() > 3 * usual + 100 + more) {
        fprintf(stderr, "%u calls, not some %u\n", faults_count(), usual);
        CHECK(!"too many calls");
    }
}

/* After another one, or NULL. */
static void play(const struct script *script, const char *backend, const struct view *want,
                 const struct fault_plan *first, const struct fault *f, unsigned at,
                 unsigned times, unsigned usual)
{
    struct fault_plan plan = {f->kind, at, times, f->error, f->cut};
    char about[200];

    snprintf(about, sizeof about, "in: %s, %s", script->name,
             backend != NULL ? backend : "the best poller");
    fault_about = about;
    faults_begin(&plan, first);
    n_conversations++;
    began_at = atomic_load(&fault_clock);
    bool began = converse(script, backend);
    n_injected += atomic_load(&faults_fired);
    CHECK(atomic_load(&fault_first_fired) > 0);
    CHECK(began || !f->goes_on);
    if (began) {
        unsigned less = judge(want, !f->goes_on);

        CHECK(less == 0 || !f->goes_on || (f->kind == FAULT_ACCEPT && times == FAULT_FOREVER));
        CHECK(less <= 1 || times > 1);
        check_pace(f, times, usual);
        if (!f->goes_on && (f->kind == FAULT_SEND || f->kind == FAULT_SENDMSG))
            CHECK(heard > 0);
        if (f->error == EINTR && /* a signal is told of */
            (f->kind == FAULT_EPOLL_WAIT || (f->kind == FAULT_POLL && POLL_GOES_ON)))
            CHECK(interrupted == atomic_load(&fault_first_fired));
    }
    faults_begin(NULL, NULL);
    fault_about = "";
}

/* All of it, after a first fault (or NULL) that makes no difference to the clients.
 * How many calls of the first one's kind there are. */
static unsigned play_all(const struct script *script, const char *backend,
                         const struct fault_plan *first)
{
    struct view want[CLIENTS];
    unsigned calls[FAULT_KINDS], usual;

    for (int i = 0; i < CLIENTS; i++)
        want[i] = expected(script->answers[i]);
    fault_about = script->name;
    faults_begin(first, NULL);
    CHECK(converse(script, backend));
    usual = faults_count();
    CHECK(judge(want, false) == 0);
    for (int i = 0; i < FAULT_KINDS; i++)
        calls[i] = atomic_load(&fault_calls[i]);
    bool as_planned = first == NULL || atomic_load(&faults_fired) > 0;

    for (size_t i = 0; as_planned && i < sizeof faults / sizeof faults[0]; i++) {
        const struct fault *f = &faults[i];

        for (unsigned at = 1; at <= calls[f->kind]; at++) {
            play(script, backend, want, first, f, at, 1, usual);
            if (f->times > 1 && !(first != NULL && first->times > 1))
                play(script, backend, want, first, f, at, f->times, usual);
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        free(want[i].text);
    return first != NULL ? calls[first->kind] : 0;
}

#endif
