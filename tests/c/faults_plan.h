/* faults_plan: which call of csrc/ fails, and how, in a test of faults (faults.h);
 * how many there have been of each kind; and the books: descriptors, allocations
 * and locks of csrc/ that there are.
 *
 * The names of the C library are its own again from here on: the test's own calls
 * never fail. faults_calls.h has what is in their place in csrc/. */
#ifndef FAULTS_PLAN_H
#define FAULTS_PLAN_H

#undef accept
#undef accept4
#undef recv
#undef recvfrom
#undef send
#undef sendmsg
#undef shutdown
#undef setsockopt
#undef poll
#undef ppoll
#undef epoll_create1
#undef epoll_ctl
#undef epoll_wait
#undef eventfd
#undef pipe
#undef read
#undef write
#undef close
#undef fcntl
#undef ioctl
#undef syscall
#undef clock_gettime
#undef getrlimit
#undef getrusage
#undef malloc
#undef calloc
#undef realloc
#undef posix_memalign
#undef free
#undef pthread_create
#undef pthread_mutex_init
#undef pthread_mutex_destroy
#undef pthread_cond_init
#undef pthread_cond_destroy

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum fault_kind {
    FAULT_ACCEPT, FAULT_RECV, FAULT_RECVFROM, FAULT_SEND, FAULT_SENDMSG, FAULT_SHUTDOWN,
    FAULT_SETSOCKOPT, FAULT_POLL, FAULT_PPOLL, FAULT_EPOLL_CREATE, FAULT_EPOLL_ADD,
    FAULT_EPOLL_MOD, FAULT_EPOLL_WAIT, FAULT_WAKEFD, FAULT_READ, FAULT_WRITE, FAULT_CLOSE, FAULT_FCNTL,
    FAULT_IOCTL, FAULT_FUTEX, FAULT_SCHED, FAULT_LIMITS, FAULT_ALLOC, FAULT_THREAD, FAULT_LOCK,
    FAULT_KINDS
};

static const char *const fault_names[FAULT_KINDS] = {
    "accept", "recv", "recvfrom", "send", "sendmsg", "shutdown",
    "setsockopt", "poll", "ppoll", "epoll_create", "epoll_ctl to add",
    "epoll_ctl to change", "epoll_wait", "eventfd", "read", "write", "close", "fcntl",
    "ioctl", "futex", "sched", "getrlimit", "allocation", "pthread_create", "lock"};

/* Instead of an errno: the call does less than it was asked for. */
#define FAULT_SHORT 10001
#define FAULT_FOREVER UINT_MAX

/* The calls of `kind` number at, at + 1, ... at + times - 1 fail with `error`.
 * cut: octets that a SHORT call may move. */
struct fault_plan {
    enum fault_kind kind;
    unsigned at, times;
    int error;
    size_t cut;
};

#define FAULT_FDS 256 /* the process is held to so few (faults_begin) */

static struct fault_plan fault_plans[2]; /* at 0: none */
static _Atomic unsigned fault_calls[FAULT_KINDS];
static _Atomic unsigned faults_fired, fault_first_fired; /* by any plan, by the first */
static _Atomic unsigned fault_noticed; /* calls that a peer may notice, in a pause too */
static _Atomic bool faults_pause; /* no call is counted or fails */
static _Atomic int fault_allocations, fault_locks, fault_fds;
static _Atomic bool fault_ours[FAULT_FDS];
static _Atomic uint64_t fault_clock; /* ns since the clock was stopped */
static uint64_t faults_alarm;         /* a wait is looked into at that time; 0: none */
static bool (*faults_idle)(void);
/* A new descriptor and its peer, before csrc has them. */
static void (*faults_accepted)(int fd, struct sockaddr *addr, socklen_t *len);
static const char *fault_about = "";    /* for messages: what is going on */

/* What epoll was last told of a descriptor, and whether it has news that a fault
 * has held back. */
static struct {
    int epfd;
    struct epoll_event event;
    bool held;
} fault_watch[FAULT_FDS];

static void fault_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s (errno %d)\n", file, line, what, errno);
    for (unsigned i = 0; i < 2; i++)
        if (fault_plans[i].at != 0)
            fprintf(stderr, "  fault: %s, call %u, %u times, error %d (%s), cut %zu\n",
                    fault_names[fault_plans[i].kind], fault_plans[i].at,
                    fault_plans[i].times, fault_plans[i].error,
                    fault_plans[i].error < FAULT_SHORT ? strerror(fault_plans[i].error)
                                                       : "short",
                    fault_plans[i].cut);
    fprintf(stderr, "  %s\n", fault_about);
    abort();
}

#define CHECK(x) ((x) ? (void)0 : fault_failed(__FILE__, __LINE__, #x))

/* ---- the plan ---- */

/* 0: the call goes through. Else errno, or FAULT_SHORT with *cut. */
static int fault_due(enum fault_kind kind, size_t *cut)
{
    if (atomic_load(&faults_pause))
        return 0;
    unsigned n = atomic_fetch_add(&fault_calls[kind], 1) + 1;

    CHECK(n < 1000000); /* or it goes round and round */
    for (unsigned i = 0; i < 2; i++) {
        const struct fault_plan *p = &fault_plans[i];

        if (p->at == 0 || p->kind != kind || n < p->at || n - p->at >= p->times)
            continue;
        atomic_fetch_add(&faults_fired, 1);
        if (i == 0)
            atomic_fetch_add(&fault_first_fired, 1);
        *cut = p->cut;
        return p->error;
    }
    return 0;
}

static bool fault_fails(enum fault_kind kind)
{
    size_t cut;
    int error = fault_due(kind, &cut);

    if (error != 0)
        errno = error;
    return error != 0;
}

/* Counts from nothing, and fails by these plans (NULL: none), the first one first. */
static void faults_begin(const struct fault_plan *one, const struct fault_plan *two)
{
    memset(fault_plans, 0, sizeof fault_plans);
    for (int i = 0; i < FAULT_KINDS; i++)
        atomic_store(&fault_calls[i], 0);
    atomic_store(&faults_fired, 0);
    atomic_store(&fault_first_fired, 0);
    if (one != NULL)
        fault_plans[0] = *one;
    if (two != NULL)
        fault_plans[1] = *two;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
/* Thousands of servers come and go: most of the time would be for fresh pages. */
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4";
}
#endif

static void faults_init(void)
{
    struct rlimit few = {FAULT_FDS, FAULT_FDS};

    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
}

/* Everything that csrc has opened and made is closed and freed. */
static void faults_check_books(void)
{
    CHECK(atomic_load(&fault_fds) == 0);
    CHECK(atomic_load(&fault_allocations) == 0);
    CHECK(atomic_load(&fault_locks) == 0);
}

static inline unsigned faults_count(void)
{
    unsigned n = 0;

    for (int i = 0; i < FAULT_KINDS; i++)
        n += atomic_load(&fault_calls[i]);
    return n;
}

#endif
