/* sock: the socket calls, each in one shape. One system call (EINTR retried),
 * its result, or -errno. Nothing here ever blocks but ts_recv_wait(),
 * ts_wait_fd() and ts_pause().
 *
 * Connections stay in blocking mode, because they may be handed to Python code
 * as ordinary sockets; what keeps us from blocking is MSG_DONTWAIT, call by
 * call. Listeners are non-blocking. No call raises SIGPIPE: -EPIPE is returned.
 * EAGAIN and EWOULDBLOCK are both -EAGAIN.
 *
 * macOS honours MSG_DONTWAIT in recv but not in send (XNU's sosendcheck() asks
 * only for SS_NBIO), so there a send sets O_NONBLOCK for the length of the call;
 * an fd must then not be used by two threads at once, which is our rule anyway.
 *
 * Threads: no state, so any thread; who owns a descriptor is the caller's
 * affair. No memory is allocated.
 *
 * What may not live here: policy (which errors close, what to do at EMFILE). */
#ifndef TS_SOCK_H
#define TS_SOCK_H

#include "ts.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/* A peer's address: large enough for the three families we serve, and
 * len says how much of it counts. len never exceeds
 * sizeof u. An unnamed UNIX peer has a len that ends before sun_path. */
struct ts_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
    socklen_t len;
};

/* Takes one connection off a listener, which must be O_NONBLOCK. The new fd
 * (close-on-exec, blocking mode; addr, which may be NULL, is filled), or
 * -EAGAIN when none waits, -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM when there is no
 * room, or another -errno. Connections that went away while they were queued
 * are skipped. */
int ts_accept(int listener, struct ts_addr *addr);

/* The number of bytes, 0 at the end of the stream (cap >= 1), or -errno
 * (-EAGAIN, -ECONNRESET, ...). */
ssize_t ts_recv(int fd, void *buf, size_t cap);

/* The same, but waits for the first byte where the descriptor is a blocking one;
 * -EINTR when a signal came meanwhile. Not with the GIL. */
ssize_t ts_recv_wait(int fd, void *buf, size_t cap);

/* The number of bytes the kernel took, maybe fewer than len, or -errno. */
ssize_t ts_send(int fd, const void *buf, size_t len);
/* The same, of what more will follow soon: the kernel may keep it for the same packet. */
ssize_t ts_send_part(int fd, const void *buf, size_t len);

/* The same for a followed by b, in one call and one segment where they fit.
 * Either may be empty (NULL, 0). The count runs over both. */
ssize_t ts_send2(int fd, const void *a, size_t alen, const void *b,
                 size_t blen);

/* Sends len octets of a file, from offset on, without copying them. The number that the
 * kernel took, 0 at the file's end, or -errno: -EAGAIN; -EINVAL, -ENOSYS, ... if this
 * file, or any, cannot be sent so, and nothing was. Needs O_NONBLOCK for the time of
 * the call, so nobody else may use the descriptor meanwhile. */
ssize_t ts_send_file(int fd, int file, int64_t offset, size_t len);

/* The size of a regular file; -1 if it is none. */
int64_t ts_file_size(int fd);

/* Its close() resets the connection, and drops what was not sent or taken. */
void ts_set_reset(int fd);

/* Octets that were sent and the peer has not acknowledged; 0 where the system does
 * not say. */
uint32_t ts_unacknowledged(int fd);

enum { TS_WAIT_TIMEOUT = 0, TS_WAIT_READY = 1, TS_WAIT_WOKEN = 2 };

/* Waits until fd can be read (write: written), also when it is at its end or
 * broken. TS_WAIT_READY, TS_WAIT_TIMEOUT, or TS_WAIT_WOKEN when wake_fd (-1:
 * none) is readable, which comes first if both are, so that a busy peer cannot
 * hide a stop; it stays readable until cleared. timeout_ns: -1 for ever, 0 only
 * looks; a wait is never shorter than asked. -EINTR after a signal, so that the
 * caller can look at it (and shorten the time-out); -EBADF for a closed fd. */
int ts_wait_fd(int fd, bool write, int wake_fd, int64_t timeout_ns);

/* Waits by the clock alone, for at least so long. 0, or -EINTR after a signal. */
int ts_pause(int64_t ns);

/* Sets or clears O_NONBLOCK; *was (may be NULL) is what it was. 0 or -errno. */
int ts_set_nonblock(int fd, bool on, bool *was);

/* No Nagle delay. Set on a listener, accepted sockets inherit it. 0 too for
 * sockets that are not TCP. */
int ts_set_nodelay(int fd);

/* What Python shows of an address. IPv4 and IPv6: the numeric text, without a
 * "%scope"; UNIX: the path, or an abstract name with its leading NUL, or
 * nothing for an unnamed socket. The length of the text, which is also followed
 * by a NUL, or -ENOSPC (TS_ADDR_TEXT octets always suffice), -EAFNOSUPPORT.
 * port, flowinfo and scope (each may be NULL) are in host order, 0 where the
 * family has none. */
#define TS_ADDR_TEXT 128
int ts_addr_text(const struct ts_addr *addr, char *out, size_t cap,
                 uint16_t *port, uint32_t *flowinfo, uint32_t *scope);

/* Takes one datagram off a socket. The number of its octets, of which those
 * beyond cap are lost and do not count, or -errno (-EAGAIN: none is queued). */
ssize_t ts_recv_from(int fd, void *buf, size_t cap, struct ts_addr *from);

/* A flag that poll can wait for: an eventfd, or a pipe where there is none.
 * Waiters look at read_fd (level triggered) and never read it themselves. */
struct ts_wakefd {
    int read_fd;
    int write_fd; /* the same one for an eventfd */
};

int ts_wakefd_open(struct ts_wakefd *w); /* 0 or -errno; both -1 then */
void ts_wakefd_close(struct ts_wakefd *w);
int ts_wakefd_set(const struct ts_wakefd *w); /* async-signal-safe; 0, -errno */
/* 1 if it was set, 0 if not. A set() that comes during it may be lost with the
 * ones before, so look at what it stands for after the clear, not before. */
int ts_wakefd_clear(const struct ts_wakefd *w);

#endif
