/* faults: every system call and every allocation of csrc/ goes through the test.
 *
 * Included before everything else in each unit (`flags: -include`), so that the
 * names below are those of faults_plan.h there: that one counts the calls, keeps
 * book of descriptors and memory, and lets a planned call fail. What the C library
 * does for itself and what the tests do is not touched.
 *
 * The macros are plain names, not calls: members of csrc's structs that are called
 * alike (close, wait, free) are renamed with all their uses. For that the headers
 * that declare the functions come first. */
#ifndef FAULTS_H
#define FAULTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE
#endif

#if defined(__linux__)

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

int fault_accept(int, struct sockaddr *, socklen_t *);
int fault_accept4(int, struct sockaddr *, socklen_t *, int);
ssize_t fault_recv(int, void *, size_t, int);
ssize_t fault_recvfrom(int, void *, size_t, int, struct sockaddr *, socklen_t *);
ssize_t fault_send(int, const void *, size_t, int);
ssize_t fault_sendmsg(int, const struct msghdr *, int);
int fault_shutdown(int, int);
int fault_setsockopt(int, int, int, const void *, socklen_t);
int fault_poll(struct pollfd *, nfds_t, int);
int fault_ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
int fault_epoll_create1(int);
int fault_epoll_ctl(int, int, int, struct epoll_event *);
int fault_epoll_wait(int, struct epoll_event *, int, int);
int fault_eventfd(unsigned, int);
int fault_pipe(int[2]);
ssize_t fault_read(int, void *, size_t);
ssize_t fault_write(int, const void *, size_t);
int fault_close(int);
int fault_fcntl(int, int, ...);
int fault_ioctl(int, unsigned long, ...);
long fault_syscall(long, ...);
int fault_clock_gettime(clockid_t, struct timespec *);
int fault_getrlimit(int, struct rlimit *);
int fault_getrusage(int, struct rusage *);
void *fault_malloc(size_t);
void *fault_calloc(size_t, size_t);
void *fault_realloc(void *, size_t);
int fault_posix_memalign(void **, size_t, size_t);
void fault_free(void *);
int fault_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int fault_pthread_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int fault_pthread_mutex_destroy(pthread_mutex_t *);
int fault_pthread_cond_init(pthread_cond_t *, const pthread_condattr_t *);
int fault_pthread_cond_destroy(pthread_cond_t *);

#ifndef FAULTS_OFF
#define accept fault_accept
#define accept4 fault_accept4
#define recv fault_recv
#define recvfrom fault_recvfrom
#define send fault_send
#define sendmsg fault_sendmsg
#define shutdown fault_shutdown
#define setsockopt fault_setsockopt
#define poll fault_poll
#define ppoll fault_ppoll
#define epoll_create1 fault_epoll_create1
#define epoll_ctl fault_epoll_ctl
#define epoll_wait fault_epoll_wait
#define eventfd fault_eventfd
#define pipe fault_pipe
#define read fault_read
#define write fault_write
#define close fault_close
#define fcntl fault_fcntl
#define ioctl fault_ioctl
#define syscall fault_syscall
#define clock_gettime fault_clock_gettime
#define getrlimit fault_getrlimit
#define getrusage fault_getrusage
#define malloc fault_malloc
#define calloc fault_calloc
#define realloc fault_realloc
#define posix_memalign fault_posix_memalign
#define free fault_free
#define pthread_create fault_pthread_create
#define pthread_mutex_init fault_pthread_mutex_init
#define pthread_mutex_destroy fault_pthread_mutex_destroy
#define pthread_cond_init fault_pthread_cond_init
#define pthread_cond_destroy fault_pthread_cond_destroy
#endif

#endif /* Linux */

#endif
