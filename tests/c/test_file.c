/* units: file.c; sanitizers: address,undefined */
/* What changes about a file is seen, links and what lies outside are not opened, reads are whole or say why not. */
#define _GNU_SOURCE
#include "check.h"
#include "file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/ts-file-XXXXXX";

static void put(const char *path, const char *octets)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0);
    CHECK(write(fd, octets, strlen(octets)) == (ssize_t)strlen(octets));
    CHECK(close(fd) == 0);
}

static struct ts_file_look look(const char *path, bool follow)
{
    struct ts_file_look found;
    CHECK(ts_file_look(path, follow, &found) == 0);
    return found;
}

static void test_looks(void)
{
    struct ts_file_look before, now;
    put("a", "12345");
    before = look("a", false);
    CHECK(before.kind == TS_FILE_REGULAR && before.size == 5);
    now = look("a", false);
    CHECK(ts_file_same(&before, &now));

    CHECK(truncate("a", 4) == 0);
    now = look("a", false);
    CHECK(!ts_file_same(&before, &now) && now.inode == before.inode && now.size == 4);

    put("a", "12345");
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1, .tv_nsec = 5}};
    CHECK(utimensat(AT_FDCWD, "a", times, 0) == 0);
    now = look("a", false);
    CHECK(now.modified_ns == 1000000005 && !ts_file_same(&before, &now));
    times[1].tv_sec = -1; /* before 1970 */
    CHECK(utimensat(AT_FDCWD, "a", times, 0) == 0);
    CHECK(look("a", false).modified_ns == -1000000000 + 5);

    put("b", "12345");
    now = look("b", false);
    CHECK(now.inode != before.inode);

    CHECK(symlink("a", "link") == 0);
    CHECK(look("link", false).kind == TS_FILE_OTHER);
    CHECK(look("link", true).kind == TS_FILE_REGULAR);
    CHECK(look(".", false).kind == TS_FILE_FOLDER);
    CHECK(mkfifo("fifo", 0600) == 0);
    CHECK(look("fifo", false).kind == TS_FILE_OTHER);
    CHECK(ts_file_look("missing", false, &now) == -ENOENT);
    CHECK(ts_file_look("a/b", false, &now) == -ENOTDIR);
    CHECK(ts_file_look_fd(-1, &now) == -EBADF);
}

static void test_another_descriptor(void)
{
    int fd = open("a", O_RDONLY), again = ts_file_again(fd);
    struct ts_file_look one, other;
    CHECK(again >= 0 && again != fd && (fcntl(again, F_GETFD) & FD_CLOEXEC));
    CHECK(ts_file_look_fd(fd, &one) == 0 && ts_file_look_fd(again, &other) == 0);
    CHECK(ts_file_same(&one, &other));
    close(fd);
    close(again);
    CHECK(ts_file_again(fd) == -EBADF);
}

static void test_opening_below(void)
{
    CHECK(mkdir("root", 0755) == 0 && mkdir("root/sub", 0755) == 0);
    put("root/sub/in", "inside");
    put("secret", "secret");
    CHECK(symlink("../secret", "root/out") == 0);
    CHECK(symlink("sub", "root/within") == 0);
    int root = open("root", O_RDONLY | O_DIRECTORY);
    int fd = ts_file_open_beneath(root, "sub/in");
    if (fd == -ENOSYS) { /* no such call here: nothing is opened */
        close(root);
        return;
    }
    CHECK(fd >= 0);
    char octets[8];
    CHECK(read(fd, octets, sizeof octets) == 6 && memcmp(octets, "inside", 6) == 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    CHECK(ts_file_open_beneath(root, "out") == -ELOOP);
    CHECK(ts_file_open_beneath(root, "within/in") == -ELOOP);
    /* A way up may need a lock, which is waiting. */
    int up = ts_file_open_beneath(root, "../secret");
    CHECK(up == -EXDEV || up == -EAGAIN);
    up = ts_file_open_beneath(root, "sub/../../secret");
    CHECK(up == -EXDEV || up == -EAGAIN);
    CHECK(ts_file_open_beneath(root, "/etc/passwd") == -EXDEV);
    int missing = ts_file_open_beneath(root, "missing");
    CHECK(missing == -ENOENT || missing == -EAGAIN); /* that there is none may have to be read from the disk */
    close(root);
}

static void test_reading(void)
{
    char octets[16];
    put("r", "0123456789");
    int fd = open("r", O_RDONLY);
    CHECK(ts_file_read(fd, octets, 10, 0) == 10 && memcmp(octets, "0123456789", 10) == 0);
    CHECK(ts_file_read(fd, octets, 16, 4) == 6);
    CHECK(ts_file_read(fd, octets, 4, 100) == 0);
    CHECK(ts_file_read(fd, octets, 0, 0) == 0);
    /* Just written, so in memory, where the system can tell. */
    ssize_t now = ts_file_read_now(fd, octets, 10, 0);
    CHECK(now == 10 ? memcmp(octets, "0123456789", 10) == 0 : now == -EAGAIN || now == -EOPNOTSUPP);
    /* What is not there is not taken for what would have to be waited for, nor for the end. */
    now = ts_file_read_now(fd, octets, 16, 0);
    CHECK(now == -EAGAIN || now == -EOPNOTSUPP || now == 10);
    close(fd);
    CHECK(ts_file_read(fd, octets, 1, 0) == -EBADF);
    CHECK(ts_file_read_now(fd, octets, 1, 0) == -EBADF);
}

static void test_near_and_far(void)
{
    int proc = open("/proc/self/stat", O_RDONLY);
    if (proc >= 0) {
        CHECK(!ts_file_is_local(proc));
        close(proc);
    }
    CHECK(!ts_file_is_local(-1));
}

int main(void)
{
    CHECK(mkdtemp(top) != NULL && chdir(top) == 0);
    test_looks();
    test_another_descriptor();
    test_opening_below();
    test_reading();
    test_near_and_far();
    static const char *const made[] = {"a", "b", "link", "fifo", "secret", "r", "root/sub/in", "root/out", "root/within"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        CHECK(unlink(made[i]) == 0);
    CHECK(rmdir("root/sub") == 0 && rmdir("root") == 0 && chdir("/") == 0 && rmdir(top) == 0);
    return 0;
}
