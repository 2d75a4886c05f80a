/* sock: see sock.h.
 *
 * TS_PORTABLE makes Linux take the paths of the other systems, so that they
 * can be tested there. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, ppoll */
#endif
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(TS_PORTABLE)
#define LINUX_CALLS 1
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#else
#define LINUX_CALLS 0
#endif

#if defined(__APPLE__) || defined(TS_PORTABLE)
#define SEND_NEEDS_NONBLOCK 1
#else
#define SEND_NEEDS_NONBLOCK 0
#endif

#ifdef MSG_NOSIGNAL
#define NOSIGNAL MSG_NOSIGNAL
#else
#define NOSIGNAL 0 /* SO_NOSIGPIPE does it, see ts_accept() */
#endif

static int failure(void)
{
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

/* ---- Descriptors ---- */

int ts_set_nonblock(int fd, bool on, bool *was)
{
    int flags = fcntl(fd, F_GETFL);
    int wanted;

    if (flags < 0)
        return -errno;
    if (was)
        *was = (flags & O_NONBLOCK) != 0;
    wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0)
        return -errno;
    return 0;
}

#if !LINUX_CALLS
static int set_cloexec(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}
#endif

int ts_set_nodelay(int fd)
{
    int one = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0)
        return 0;
    switch (errno) {
    case ENOPROTOOPT:
    case EOPNOTSUPP:
#if ENOTSUP != EOPNOTSUPP
    case ENOTSUP:
#endif
    case EINVAL: /* macOS: a TCP socket whose peer has gone */
        return 0;
    default:
        return -errno;
    }
}

/* ---- accept ---- */

int ts_accept(int listener, struct ts_addr *addr)
{
    struct ts_addr dummy;
    int fd;

    if (!addr)
        addr = &dummy;
    for (;;) {
        memset(&addr->u.sa, 0, sizeof addr->u.sa);
        addr->len = sizeof addr->u;
#if LINUX_CALLS
        fd = accept4(listener, &addr->u.sa, &addr->len, SOCK_CLOEXEC);
#else
        fd = accept(listener, &addr->u.sa, &addr->len);
#endif
        if (fd >= 0)
            break;
        /* EPROTO is how some systems spell ECONNABORTED. */
        if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO)
            return failure();
    }
    if (addr->len > sizeof addr->u)
        addr->len = sizeof addr->u;
#if !LINUX_CALLS
    /* The BSDs pass the listener's O_NONBLOCK on. */
    int rc = set_cloexec(fd);

    if (rc == 0)
        rc = ts_set_nonblock(fd, false, NULL);
    if (rc < 0) {
        close(fd);
        return rc;
    }
#endif
#ifdef SO_NOSIGPIPE
    int one = 1;

    /* Fails for a connection that is reset already: recv will tell. */
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
    return fd;
}

/* ---- Streams ---- */

ssize_t ts_recv(int fd, void *buf, size_t cap)
{
    ssize_t n;

    do
        n = recv(fd, buf, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? failure() : n;
}

ssize_t ts_recv_wait(int fd, void *buf, size_t cap)
{
    ssize_t n = recv(fd, buf, cap, 0);
    return n < 0 ? failure() : n;
}

/* msg is sent or not, but never waited for. */
static ssize_t send_message(int fd, const struct msghdr *msg)
{
    ssize_t n;
#if SEND_NEEDS_NONBLOCK
    bool was;
    int rc = ts_set_nonblock(fd, true, &was);

    if (rc < 0)
        return rc;
#endif
    do
        n = sendmsg(fd, msg, MSG_DONTWAIT | NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        n = failure();
#if SEND_NEEDS_NONBLOCK
    if (!was)
        (void)ts_set_nonblock(fd, false, NULL);
#endif
    return n;
}

static ssize_t send_plain(int fd, const void *buf, size_t len, int flags)
{
#if SEND_NEEDS_NONBLOCK
    (void)flags;
    return ts_send2(fd, buf, len, NULL, 0);
#else
    ssize_t n;

    do
        n = send(fd, buf, len, MSG_DONTWAIT | NOSIGNAL | flags);
    while (n < 0 && errno == EINTR);
    return n < 0 ? failure() : n;
#endif
}

ssize_t ts_send(int fd, const void *buf, size_t len)
{
    return send_plain(fd, buf, len, 0);
}

ssize_t ts_send_part(int fd, const void *buf, size_t len)
{
#if defined(MSG_MORE)
    return send_plain(fd, buf, len, MSG_MORE);
#else
    return send_plain(fd, buf, len, 0);
#endif
}

ssize_t ts_send2(int fd, const void *a, size_t alen, const void *b, size_t blen)
{
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)a, .iov_len = alen},
        {.iov_base = (void *)(uintptr_t)b, .iov_len = blen},
    };
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};

    return send_message(fd, &msg);
}

#if LINUX_CALLS
/* sendfile() has no MSG_NOSIGNAL: a SIGPIPE of its own is taken off again, where the
 * program would have got it. */
static ssize_t send_file(int fd, int file, int64_t offset, size_t len)
{
    const struct timespec now = {0, 0};
    sigset_t broken, old;
    off_t at = offset;
    ssize_t n;

    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    if (pthread_sigmask(SIG_BLOCK, &broken, &old) != 0)
        sigfillset(&old);
    n = sendfile(fd, file, &at, len);
    if (!sigismember(&old, SIGPIPE)) {
        int error = errno;
        if (n < 0 && error == EPIPE)
            sigtimedwait(&broken, NULL, &now);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        errno = error;
    }
    return n;
}
#elif defined(__APPLE__)
static ssize_t send_file(int fd, int file, int64_t offset, size_t len)
{
    off_t taken = (off_t)len;
    if (sendfile(file, fd, offset, &taken, NULL, 0) == 0 || taken > 0)
        return (ssize_t)taken;
    return -1;
}
#else
static ssize_t send_file(int fd, int file, int64_t offset, size_t len)
{
    (void)fd, (void)file, (void)offset, (void)len;
    errno = ENOSYS;
    return -1;
}
#endif

ssize_t ts_send_file(int fd, int file, int64_t offset, size_t len)
{
    bool was;
    ssize_t n = ts_set_nonblock(fd, true, &was);

    if (n < 0)
        return n;
    do
        n = send_file(fd, file, offset, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        n = failure();
    if (!was)
        (void)ts_set_nonblock(fd, false, NULL);
    return n;
}

int64_t ts_file_size(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? (int64_t)status.st_size : -1;
}

/* ---- Waiting ---- */

void ts_set_reset(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

uint32_t ts_unacknowledged(int fd)
{
#if defined(SIOCOUTQ)
    int octets = 0;
    return ioctl(fd, SIOCOUTQ, &octets) == 0 && octets > 0 ? (uint32_t)octets : 0;
#elif defined(SO_NWRITE)
    int octets = 0;
    socklen_t len = sizeof octets;
    return getsockopt(fd, SOL_SOCKET, SO_NWRITE, &octets, &len) == 0 && octets > 0
               ? (uint32_t)octets
               : 0;
#else
    (void)fd;
    return 0;
#endif
}

int ts_wait_fd(int fd, bool write, int wake_fd, int64_t timeout_ns)
{
    struct pollfd fds[2] = {
        {.fd = fd, .events = write ? POLLOUT : POLLIN},
        {.fd = wake_fd, .events = POLLIN}, /* poll skips negative ones */
    };
    int n;

    if (fd < 0)
        return -EBADF;
#if LINUX_CALLS
    struct timespec limit = {.tv_sec = (time_t)(timeout_ns / 1000000000),
                             .tv_nsec = (long)(timeout_ns % 1000000000)};

    n = ppoll(fds, 2, timeout_ns < 0 ? NULL : &limit, NULL);
#else
    int64_t ms = -1;

    if (timeout_ns >= 0) {
        ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
        /* 24 days: longer waits look like a signal, and are begun again. */
        if (ms > INT_MAX)
            ms = INT_MAX;
    }
    n = poll(fds, 2, (int)ms);
    if (n == 0 && ms == INT_MAX)
        return -EINTR;
#endif
    if (n < 0)
        return failure();
    if ((fds[0].revents | fds[1].revents) & POLLNVAL)
        return -EBADF;
    if (fds[1].revents)
        return TS_WAIT_WOKEN;
    return fds[0].revents ? TS_WAIT_READY : TS_WAIT_TIMEOUT;
}

int ts_pause(int64_t ns)
{
    const struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000),
                                   .tv_nsec = (long)(ns % 1000000000)};

    return nanosleep(&limit, NULL) < 0 ? failure() : 0;
}

/* ---- Addresses ---- */

/* The octets of sun_path that count. */
static size_t unix_text(const struct ts_addr *addr, const char **text)
{
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > head ? addr->len - head : 0;

    *text = addr->u.un.sun_path;
    if (len > sizeof addr->u.un.sun_path)
        len = sizeof addr->u.un.sun_path;
#if defined(__linux__)
    if (len > 0 && addr->u.un.sun_path[0] == '\0')
        return len; /* abstract: every octet counts */
#endif
    return strnlen(addr->u.un.sun_path, len);
}

/* Dotted decimal, as inet_ntop() has it; that one prints with printf(), which is a
 * tenth of the instructions of a connection with one request. */
static size_t ipv4_text(const struct in_addr *addr, char out[INET_ADDRSTRLEN])
{
    const unsigned char *octets = (const unsigned char *)&addr->s_addr;
    char *at = out;
    for (int i = 0; i < 4; i++) {
        unsigned n = octets[i];
        if (i > 0)
            *at++ = '.';
        if (n >= 100)
            *at++ = (char)('0' + n / 100);
        if (n >= 10)
            *at++ = (char)('0' + n / 10 % 10);
        *at++ = (char)('0' + n % 10);
    }
    *at = '\0';
    return (size_t)(at - out);
}

int ts_addr_text(const struct ts_addr *addr, char *out, size_t cap,
                 uint16_t *port, uint32_t *flowinfo, uint32_t *scope)
{
    uint16_t p = 0;
    uint32_t f = 0, s = 0;
    size_t len;
    /* BSDs leave an unnamed UNIX peer without even a family. */
    int family = addr->len >= offsetof(struct sockaddr, sa_data)
                     ? addr->u.sa.sa_family
                     : AF_UNSPEC;

    switch (family) {
    case AF_INET:
        if (cap < INET_ADDRSTRLEN)
            return -ENOSPC;
        len = ipv4_text(&addr->u.in.sin_addr, out);
        p = ntohs(addr->u.in.sin_port);
        break;
    case AF_INET6:
        if (!inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, out, (socklen_t)cap))
            return -errno;
        len = strlen(out);
        p = ntohs(addr->u.in6.sin6_port);
        f = ntohl(addr->u.in6.sin6_flowinfo);
        s = addr->u.in6.sin6_scope_id;
        break;
    case AF_UNIX:
    case AF_UNSPEC: {
        const char *text = "";

        len = family == AF_UNIX ? unix_text(addr, &text) : 0;
        if (len >= cap)
            return -ENOSPC;
        memcpy(out, text, len);
        out[len] = '\0';
        break;
    }
    default:
        return -EAFNOSUPPORT;
    }
    if (port)
        *port = p;
    if (flowinfo)
        *flowinfo = f;
    if (scope)
        *scope = s;
    return (int)len;
}

/* ---- Datagrams ---- */

ssize_t ts_recv_from(int fd, void *buf, size_t cap, struct ts_addr *from)
{
    ssize_t n;

    memset(&from->u.sa, 0, sizeof from->u.sa);
    do {
        from->len = sizeof from->u;
        n = recvfrom(fd, buf, cap, MSG_DONTWAIT, &from->u.sa, &from->len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return failure();
    if (from->len > sizeof from->u)
        from->len = sizeof from->u;
    return n;
}

/* ---- Wake-up descriptors ---- */

int ts_wakefd_open(struct ts_wakefd *w)
{
#if LINUX_CALLS
    w->read_fd = w->write_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->read_fd < 0 ? -errno : 0;
#else
    int fds[2], rc = 0;

    w->read_fd = w->write_fd = -1;
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = set_cloexec(fds[i]);
        if (rc == 0)
            rc = ts_set_nonblock(fds[i], true, NULL);
    }
    if (rc < 0) {
        close(fds[0]);
        close(fds[1]);
        return rc;
    }
    w->read_fd = fds[0];
    w->write_fd = fds[1];
    return 0;
#endif
}

void ts_wakefd_close(struct ts_wakefd *w)
{
    if (w->read_fd >= 0)
        close(w->read_fd);
    if (w->write_fd >= 0 && w->write_fd != w->read_fd)
        close(w->write_fd);
    w->read_fd = w->write_fd = -1;
}

int ts_wakefd_set(const struct ts_wakefd *w)
{
    const uint64_t one = 1;
    int saved = errno, rc = 0; /* a signal handler may be the caller */
    ssize_t n;

    do
        n = write(w->write_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) /* full: it is set */
        rc = -errno;
    errno = saved;
    return rc;
}

int ts_wakefd_clear(const struct ts_wakefd *w)
{
    uint64_t octets[32]; /* an eventfd gives 8, a pipe what it has */
    int was_set = 0;

    for (;;) {
        ssize_t n = read(w->read_fd, octets, sizeof octets);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return was_set;
        was_set = 1;
        if (n < (ssize_t)sizeof octets)
            return was_set;
    }
}
