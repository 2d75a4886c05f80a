/* file: see file.h. */
#define _GNU_SOURCE /* preadv2(), O_PATH */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <sys/vfs.h>
#if defined(__has_include)
#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif
#endif
#elif defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/mount.h>
#include <sys/param.h>
#endif

#if defined(__APPLE__)
#define MODIFIED(s) ((s)->st_mtimespec)
#define CHANGED(s) ((s)->st_ctimespec)
#else
#define MODIFIED(s) ((s)->st_mtim)
#define CHANGED(s) ((s)->st_ctim)
#endif

static void fill(const struct stat *found, struct ts_file_look *look)
{
    look->device = (uint64_t)found->st_dev;
    look->inode = (uint64_t)found->st_ino;
    look->size = (int64_t)found->st_size;
    look->modified_ns = (int64_t)MODIFIED(found).tv_sec * 1000000000 + MODIFIED(found).tv_nsec;
    look->changed_ns = (int64_t)CHANGED(found).tv_sec * 1000000000 + CHANGED(found).tv_nsec;
    look->kind = S_ISREG(found->st_mode)   ? TS_FILE_REGULAR
                 : S_ISDIR(found->st_mode) ? TS_FILE_FOLDER
                                           : TS_FILE_OTHER;
}

int ts_file_look(const char *path, bool follow, struct ts_file_look *look)
{
    struct stat found;
    if (fstatat(AT_FDCWD, path, &found, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    fill(&found, look);
    return 0;
}

int ts_file_look_fd(int fd, struct ts_file_look *look)
{
    struct stat found;
    if (fstat(fd, &found) != 0)
        return -errno;
    fill(&found, look);
    return 0;
}

#if defined(__linux__)
/* statfs(2) has the numbers. One that is not known counts as far away. */
static const uint32_t local_types[] = {
    0xEF53,     /* ext2 to ext4 */
    0x58465342, /* XFS */
    0x9123683E, /* Btrfs */
    0x01021994, /* tmpfs */
    0x858458F6, /* ramfs */
    0x794C7630, /* overlayfs */
    0x2FC12FC1, /* ZFS */
    0xF2F52010, /* F2FS */
    0xCA451A4E, /* bcachefs */
    0xE0F5E1E2, /* EROFS */
    0x73717368, /* SquashFS */
    0x9660,     /* ISO 9660 */
    0x4D44,     /* FAT */
    0x2011BAB0, /* exFAT */
    0x7366746E, /* NTFS3 */
    0x3153464A, /* JFS */
    0x52654973, /* ReiserFS */
};

bool ts_file_is_local(int fd)
{
    struct statfs found;
    if (fstatfs(fd, &found) != 0)
        return false;
    for (size_t i = 0; i < sizeof local_types / sizeof *local_types; i++)
        if ((uint32_t)found.f_type == local_types[i])
            return true;
    return false;
}
#elif defined(__APPLE__) || defined(__FreeBSD__)
bool ts_file_is_local(int fd)
{
    struct statfs found;
    return fstatfs(fd, &found) == 0 && (found.f_flags & MNT_LOCAL) != 0;
}
#else
bool ts_file_is_local(int fd)
{
    (void)fd;
    return false;
}
#endif

int ts_file_again(int fd)
{
    int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return again < 0 ? -errno : again;
}

int ts_file_open_beneath(int root, const char *path)
{
#if defined(SYS_openat2) && defined(RESOLVE_CACHED)
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_CACHED,
    };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    /* An older kernel does not know the flag that keeps it from waiting. */
    return fd < 0 ? (errno == EINVAL ? -ENOSYS : -errno) : fd;
#else
    (void)root, (void)path;
    return -ENOSYS;
#endif
}

ssize_t ts_file_read(int fd, char *into, size_t n, int64_t at)
{
    size_t got = 0;
    while (got < n) {
        ssize_t more = pread(fd, into + got, n - got, (off_t)(at + (int64_t)got));
        if (more < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (more == 0)
            break;
        got += (size_t)more;
    }
    return (ssize_t)got;
}

ssize_t ts_file_read_now(int fd, char *into, size_t n, int64_t at)
{
#if defined(__GLIBC__) && defined(RWF_NOWAIT) /* musl has had the call for a short time */
    struct iovec whole = {.iov_base = into, .iov_len = n};
    ssize_t got = preadv2(fd, &whole, 1, (off_t)at, RWF_NOWAIT);
    if (got >= 0)
        /* What is missing may be on the disk, or not there at all. */
        return (size_t)got == n ? got : -EAGAIN;
    /* A file system that does not know the flag has all in memory, or has to be waited for. */
    return errno == EINTR ? -EAGAIN : -errno;
#else
    return ts_file_read(fd, into, n, at);
#endif
}
