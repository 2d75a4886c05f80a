/* faults_calls: what a call of csrc/ does in a test of faults (faults.h): it is
 * counted, entered in the books, and let through; or, if the plan names it, it
 * fails, or does a part of its work. Included once by a test program, before the
 * headers of csrc/.
 *
 * A descriptor that is not open is never used or closed: that ends the test.
 *
 * Time: with faults_idle set, no call waits, and the clock of csrc/ stands still.
 * Where a call would wait, faults_idle() may move the other side; when nothing moves
 * any more, the clock jumps to the end of the wait. So a conversation is the same
 * each time, and takes no time. */
#ifndef FAULTS_CALLS_H
#define FAULTS_CALLS_H

#include "faults_plan.h"

#include <linux/futex.h>
#include <stdarg.h>

/* ---- descriptors ---- */

static int fault_opened(int fd)
{
    if (fd >= 0) {
        CHECK(fd < FAULT_FDS && !fault_ours[fd]);
        fault_ours[fd] = true;
        atomic_fetch_add(&fault_fds, 1);
    }
    return fd;
}

static void fault_uses(int fd)
{
    CHECK(fd >= 0 && fd < FAULT_FDS && fault_ours[fd]);
}

/* A descriptor that the test has made is csrc's from now on. */
static inline void faults_give(int fd)
{
    fault_opened(fd);
}

static int fault_accepted(int fd, struct sockaddr *addr, socklen_t *len)
{
    if (fd >= 0 && faults_accepted != NULL)
        faults_accepted(fd, addr, len);
    return fault_opened(fd);
}

int fault_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    return fault_fails(FAULT_ACCEPT) ? -1 : fault_accepted(accept(fd, addr, len), addr, len);
}

int fault_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return fault_fails(FAULT_ACCEPT)
               ? -1
               : fault_accepted(accept4(fd, addr, len, flags), addr, len);
}

int fault_epoll_create1(int flags)
{
    return fault_fails(FAULT_EPOLL_CREATE) ? -1 : fault_opened(epoll_create1(flags));
}

int fault_eventfd(unsigned value, int flags)
{
    return fault_fails(FAULT_WAKEFD) ? -1 : fault_opened(eventfd(value, flags));
}

int fault_pipe(int fds[2])
{
    if (fault_fails(FAULT_WAKEFD) || pipe(fds) < 0)
        return -1;
    fault_opened(fds[0]);
    fault_opened(fds[1]);
    return 0;
}

/* As on Linux, the descriptor is closed whatever it says. */
int fault_close(int fd)
{
    fault_uses(fd);
    fault_ours[fd] = false;
    atomic_fetch_sub(&fault_fds, 1);
    fault_watch[fd].epfd = 0;
    atomic_fetch_add(&fault_noticed, 1);
    CHECK(close(fd) == 0);
    return fault_fails(FAULT_CLOSE) ? -1 : 0;
}

int fault_fcntl(int fd, int command, ...)
{
    va_list list;
    int arg = 0;

    if (command != F_GETFL) {
        va_start(list, command);
        arg = va_arg(list, int);
        va_end(list);
    }
    return fault_fails(FAULT_FCNTL) ? -1 : fcntl(fd, command, arg);
}

int fault_ioctl(int fd, unsigned long request, ...)
{
    va_list list;

    va_start(list, request);
    void *arg = va_arg(list, void *);
    va_end(list);
    fault_uses(fd);
    return fault_fails(FAULT_IOCTL) ? -1 : ioctl(fd, request, arg);
}

/* ---- octets ---- */

/* Whether the call goes through, for *len octets at most. */
static bool fault_moves(enum fault_kind kind, int fd, size_t *len)
{
    size_t cut = 0;
    int error = fault_due(kind, &cut);

    fault_uses(fd);
    atomic_fetch_add(&fault_noticed, 1);
    if (error == EAGAIN || error == FAULT_SHORT)
        fault_watch[fd].held = true;
    if (error == FAULT_SHORT) {
        if (*len > cut)
            *len = cut;
    } else if (error != 0) {
        errno = error;
        return false;
    }
    return true;
}

ssize_t fault_recv(int fd, void *buf, size_t len, int flags)
{
    return fault_moves(FAULT_RECV, fd, &len) ? recv(fd, buf, len, flags) : -1;
}

ssize_t fault_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
                       socklen_t *addrlen)
{
    return fault_moves(FAULT_RECVFROM, fd, &len) ? recvfrom(fd, buf, len, flags, addr, addrlen)
                                                 : -1;
}

ssize_t fault_send(int fd, const void *buf, size_t len, int flags)
{
    return fault_moves(FAULT_SEND, fd, &len) ? send(fd, buf, len, flags) : -1;
}

ssize_t fault_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec parts[4];
    struct msghdr less = *msg;
    size_t left = SIZE_MAX;

    if (!fault_moves(FAULT_SENDMSG, fd, &left))
        return -1;
    CHECK(msg->msg_iovlen <= 4);
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        parts[i] = msg->msg_iov[i];
        if (parts[i].iov_len > left)
            parts[i].iov_len = left;
        left -= parts[i].iov_len;
    }
    less.msg_iov = parts;
    return sendmsg(fd, &less, flags);
}

ssize_t fault_read(int fd, void *buf, size_t len)
{
    return fault_moves(FAULT_READ, fd, &len) ? read(fd, buf, len) : -1;
}

ssize_t fault_write(int fd, const void *buf, size_t len)
{
    return fault_moves(FAULT_WRITE, fd, &len) ? write(fd, buf, len) : -1;
}

int fault_shutdown(int fd, int how)
{
    fault_uses(fd);
    atomic_fetch_add(&fault_noticed, 1);
    return fault_fails(FAULT_SHUTDOWN) ? -1 : shutdown(fd, how);
}

int fault_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return fault_fails(FAULT_SETSOCKOPT) ? -1 : setsockopt(fd, level, name, value, len);
}

/* ---- waiting ---- */

/* Nothing is ready. Whether to look again; else the time is up. *until is 0 at
 * first, then the end of the wait. */
static bool fault_again(int64_t wait_ns, uint64_t *until)
{
    uint64_t now = atomic_load(&fault_clock);

    if (wait_ns == 0)
        return false;
    if (*until == 0)
        *until = now + (uint64_t)wait_ns;
    if (wait_ns > 0 && now >= *until)
        return false;
    if (faults_idle())
        return true;
    if (faults_alarm > now && (wait_ns < 0 || faults_alarm < *until)) {
        atomic_store(&fault_clock, faults_alarm);
        return true;
    }
    CHECK(wait_ns > 0); /* or it would wait for ever */
    if (atomic_load(&fault_clock) < *until)
        atomic_store(&fault_clock, *until);
    return false;
}

static int64_t fault_ms(int ms)
{
    return ms < 0 ? -1 : (int64_t)ms * 1000000;
}

int fault_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    size_t cut = 0;
    uint64_t until = 0;
    int n, error = fault_due(FAULT_EPOLL_WAIT, &cut);

    if (error == FAULT_SHORT)
        max = 1;
    else if (error != 0)
        return errno = error, -1;
    if (faults_idle == NULL)
        return epoll_wait(epfd, events, max, timeout);
    do
        n = epoll_wait(epfd, events, max, 0);
    while (n == 0 && fault_again(fault_ms(timeout), &until));
    return n;
}

int fault_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    uint64_t until = 0;
    int n;

    if (fault_fails(FAULT_POLL))
        return -1;
    if (faults_idle == NULL)
        return poll(fds, count, timeout);
    do
        n = poll(fds, count, 0);
    while (n == 0 && fault_again(fault_ms(timeout), &until));
    return n;
}

int fault_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask)
{
    uint64_t until = 0;
    int n;

    if (fault_fails(FAULT_PPOLL))
        return -1;
    if (faults_idle == NULL)
        return ppoll(fds, count, timeout, mask);
    do
        n = poll(fds, count, 0);
    while (n == 0 &&
           fault_again(timeout == NULL ? -1 : timeout->tv_sec * INT64_C(1000000000) +
                                                  timeout->tv_nsec,
                       &until));
    return n;
}

int fault_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    if ((op == EPOLL_CTL_ADD && fault_fails(FAULT_EPOLL_ADD)) ||
        (op == EPOLL_CTL_MOD && fault_fails(FAULT_EPOLL_MOD)))
        return -1;
    int failed = epoll_ctl(epfd, op, fd, event);
    if (!failed) {
        fault_watch[fd].epfd = op == EPOLL_CTL_DEL ? 0 : epfd;
        fault_watch[fd].event = *event;
    }
    return failed;
}

/* What a fault has held back comes: a kernel that says EAGAIN, or moves a part,
 * tells when there is more. Whether there was anything of the kind. */
static inline bool faults_catch_up(void)
{
    bool any = false;

    for (int fd = 0; fd < FAULT_FDS; fd++) {
        if (!fault_watch[fd].held)
            continue;
        fault_watch[fd].held = false;
        if (fault_watch[fd].epfd != 0) {
            CHECK(epoll_ctl(fault_watch[fd].epfd, EPOLL_CTL_MOD, fd,
                            &fault_watch[fd].event) == 0);
            any = true;
        }
    }
    return any;
}

int fault_clock_gettime(clockid_t clock, struct timespec *t)
{
    uint64_t now = 1000 * UINT64_C(1000000000) + atomic_load(&fault_clock);

    if (faults_idle == NULL)
        return clock_gettime(clock, t);
    t->tv_sec = (time_t)(now / 1000000000u);
    t->tv_nsec = (long)(now % 1000000000u);
    return 0;
}

/* How many arguments a system call of csrc/ has. */
static int fault_arity(long number)
{
    switch (number) {
    case SYS_futex:
        return 6;
    case SYS_sched_setscheduler:
        return 3;
    default:
        CHECK(number == SYS_sched_getscheduler);
        return 1;
    }
}

long fault_syscall(long number, ...)
{
    va_list list;
    long a[6] = {0};

    va_start(list, number);
    for (int i = 0; i < fault_arity(number); i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number != SYS_futex) {
        if (fault_fails(FAULT_SCHED))
            return -1;
    } else if ((a[1] & FUTEX_CMD_MASK) != FUTEX_WAKE && fault_fails(FAULT_FUTEX)) {
        return -1;
    }
    return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int fault_getrlimit(int what, struct rlimit *limit)
{
    return fault_fails(FAULT_LIMITS) ? -1 : getrlimit(what, limit);
}

int fault_getrusage(int who, struct rusage *usage)
{
    return fault_fails(FAULT_LIMITS) ? -1 : getrusage(who, usage);
}

/* ---- memory, threads, locks ---- */

static void *fault_allocated(void *p)
{
    if (p != NULL)
        atomic_fetch_add(&fault_allocations, 1);
    return p;
}

void *fault_malloc(size_t n)
{
    return fault_fails(FAULT_ALLOC) ? NULL : fault_allocated(malloc(n));
}

void *fault_calloc(size_t n, size_t size)
{
    return fault_fails(FAULT_ALLOC) ? NULL : fault_allocated(calloc(n, size));
}

void *fault_realloc(void *p, size_t n)
{
    if (fault_fails(FAULT_ALLOC))
        return NULL;
    return p != NULL ? realloc(p, n) : fault_allocated(malloc(n));
}

int fault_posix_memalign(void **p, size_t alignment, size_t n)
{
    if (fault_fails(FAULT_ALLOC))
        return errno;
    int failed = posix_memalign(p, alignment, n);
    if (!failed)
        fault_allocated(*p);
    return failed;
}

void fault_free(void *p)
{
    if (p != NULL)
        atomic_fetch_sub(&fault_allocations, 1);
    free(p);
}

int fault_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                         void *arg)
{
    return fault_fails(FAULT_THREAD) ? errno : pthread_create(thread, attr, run, arg);
}

int fault_pthread_mutex_init(pthread_mutex_t *mu, const pthread_mutexattr_t *attr)
{
    if (fault_fails(FAULT_LOCK))
        return errno;
    atomic_fetch_add(&fault_locks, 1);
    return pthread_mutex_init(mu, attr);
}

int fault_pthread_mutex_destroy(pthread_mutex_t *mu)
{
    atomic_fetch_sub(&fault_locks, 1);
    return pthread_mutex_destroy(mu);
}

int fault_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
    if (fault_fails(FAULT_LOCK))
        return errno;
    atomic_fetch_add(&fault_locks, 1);
    return pthread_cond_init(cond, attr);
}

int fault_pthread_cond_destroy(pthread_cond_t *cond)
{
    atomic_fetch_sub(&fault_locks, 1);
    return pthread_cond_destroy(cond);
}

#endif
