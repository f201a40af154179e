/* Preloaded into a program under test: lets its calls to the disk fail while a shared control file says so. The test compiles it
   and writes the control file; see FailingDisk.swift, which knows the layout. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CALL_WRITE = 1, CALL_SYNC = 2, CALL_GROW = 4, CALL_READ = 8 };

struct control {
    _Atomic int32_t active;
    int32_t calls;
    int32_t error;
    /* The first call that fails writes half of what it was given: a disk gets full in the middle of a write. */
    int32_t halves;
    /* Calls that still succeed. */
    _Atomic int64_t skip;
    /* Calls that fail; negative: all. */
    _Atomic int64_t left;
    _Atomic int64_t hits;
    /* Only files whose path contains it. */
    char part[256];
};

static struct control *control;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("TIDELINE_TEST_DISK_CONTROL");
    if (!path) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED) control = memory;
}

static int hits(const char *path) {
    if (!strstr(path, control->part)) return 0;
    if (atomic_fetch_sub(&control->skip, 1) > 0) return 0;
    if (atomic_load(&control->left) >= 0 && atomic_fetch_sub(&control->left, 1) <= 0) return 0;
    atomic_fetch_add(&control->hits, 1);
    return 1;
}

static int watches(int call) { return control && atomic_load(&control->active) && (control->calls & call); }

/* Whether this call on this file fails; errno is set then. */
static int fails(int call, int file) {
    if (!watches(call)) return 0;
    int before = errno;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    if (!hits(path)) return 0;
    errno = control->error;
    return 1;
}

static int creation_fails(const char *path, int flags) {
    if (!(flags & O_CREAT) || !watches(CALL_GROW) || access(path, F_OK) == 0) return 0;
    char whole[PATH_MAX * 2] = "";
    if (path[0] != '/' && !getcwd(whole, PATH_MAX)) return 0;
    size_t length = strlen(whole);
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    if (!hits(whole)) return 0;
    errno = control->error;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int halves(void) { return control->halves && atomic_load(&control->hits) == 1; }

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(write);
    if (!fails(CALL_WRITE, file)) return real(file, bytes, count);
    return halves() && count > 1 ? real(file, bytes, count / 2) : -1;
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    REAL(pwrite);
    if (!fails(CALL_WRITE, file)) return real(file, bytes, count, offset);
    return halves() && count > 1 ? real(file, bytes, count / 2, offset) : -1;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    REAL(pwrite64);
    if (!fails(CALL_WRITE, file)) return real(file, bytes, count, offset);
    return halves() && count > 1 ? real(file, bytes, count / 2, offset) : -1;
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    return fails(CALL_WRITE, file) ? -1 : real(file, parts, count);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev);
    return fails(CALL_WRITE, file) ? -1 : real(file, parts, count, offset);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    REAL(pwritev64);
    return fails(CALL_WRITE, file) ? -1 : real(file, parts, count, offset);
}

ssize_t read(int file, void *bytes, size_t count) {
    REAL(read);
    return fails(CALL_READ, file) ? -1 : real(file, bytes, count);
}

ssize_t pread(int file, void *bytes, size_t count, off_t offset) {
    REAL(pread);
    return fails(CALL_READ, file) ? -1 : real(file, bytes, count, offset);
}

ssize_t pread64(int file, void *bytes, size_t count, off64_t offset) {
    REAL(pread64);
    return fails(CALL_READ, file) ? -1 : real(file, bytes, count, offset);
}

int fsync(int file) {
    REAL(fsync);
    return fails(CALL_SYNC, file) ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    return fails(CALL_SYNC, file) ? -1 : real(file);
}

int posix_fallocate(int file, off_t offset, off_t length) {
    REAL(posix_fallocate);
    return fails(CALL_GROW, file) ? control->error : real(file, offset, length);
}

int posix_fallocate64(int file, off64_t offset, off64_t length) {
    REAL(posix_fallocate64);
    return fails(CALL_GROW, file) ? control->error : real(file, offset, length);
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
        va_end(arguments); \
        return creation_fails(path, flags) ? -1 : real(path, flags, mode); \
    }

OPENING(open)
OPENING(open64)
