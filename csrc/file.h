/* file: what is asked of a file that is sent again and again, without waiting for a disk.
 *
 * A file is the same as before if its path leads to the same inode, and that has the same size and times.
 *
 * Threads: no state of its own; any thread. What may not live here: which files are remembered, and answers.
 */
#ifndef TS_FILE_H
#define TS_FILE_H

#include "ts.h"

#include <sys/types.h>

enum ts_file_kind { TS_FILE_REGULAR, TS_FILE_FOLDER, TS_FILE_OTHER };

struct ts_file_look {
    uint64_t device;
    uint64_t inode;
    int64_t size;
    int64_t modified_ns; /* since 1970 */
    int64_t changed_ns;
    enum ts_file_kind kind;
};

/* What stands at a path. follow: where it is a link, what that leads to. 0 or -errno. */
int ts_file_look(const char *path, bool follow, struct ts_file_look *look);
/* The same of an open one. */
int ts_file_look_fd(int fd, struct ts_file_look *look);

static inline bool ts_file_same(const struct ts_file_look *a, const struct ts_file_look *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns && a->kind == b->kind;
}

/* Whether it lies in a file system of this machine that keeps what is asked of its files in
 * memory, and whose sizes are true: a look at one in a network, or in /proc, is neither
 * cheap nor an answer. */
bool ts_file_is_local(int fd);

/* Another descriptor for the same open file, not inherited. -errno. */
int ts_file_again(int fd);

/* Opens for reading what lies below the folder `root` at the relative `path`, if no link is on
 * the way and nothing has to be read from a disk for that. -errno: -EAGAIN if it has to,
 * -ENOSYS where there is no such call. */
int ts_file_open_beneath(int root, const char *path);

/* Octets from `at` on, of what is in memory: as pread(), but -EAGAIN if it would wait for the disk. */
ssize_t ts_file_read_now(int fd, char *into, size_t n, int64_t at);
/* The same, waiting. */
ssize_t ts_file_read(int fd, char *into, size_t n, int64_t at);

#endif
