/* Stands between a process and the C library, and
 *  - records every write, truncation and sync of the files below RECORDER_FOLDER in one order (RECORDER_TRACE), or
 *  - makes one of them fail (RECORDER_FAULT: "sync N" or "write N" fails once with EIO, "full N" fails from then on).
 * What shares memory ("-shm") is left out: it is rebuilt after a crash. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 4096
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *names[FILES]; /* by descriptor */
static int trace = -1;
static const char *folder;
static char fault[8];
static long fault_at, writes, syncs;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("RECORDER_FOLDER");
    const char *path = getenv("RECORDER_TRACE"), *wanted = getenv("RECORDER_FAULT");
    if (path) trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (wanted) sscanf(wanted, "%7s %ld", fault, &fault_at);
}

/* kind, length of the name, length of the data, offset; then both. Called with the lock held. */
static void put(char kind, const char *name, int64_t offset, const void *data, uint32_t size) {
    if (trace < 0) return;
    uint32_t name_size = (uint32_t)strlen(name);
    char *record = malloc(17 + name_size + size);
    record[0] = kind;
    memcpy(record + 1, &name_size, 4);
    memcpy(record + 5, &size, 4);
    memcpy(record + 9, &offset, 8);
    memcpy(record + 17, name, name_size);
    if (size) memcpy(record + 17 + name_size, data, size);
    size_t left = 17 + name_size + size;
    char *next = record;
    while (left > 0) {
        long done = syscall(SYS_write, trace, next, left);
        if (done <= 0) abort();
        next += done;
        left -= (size_t)done;
    }
    free(record);
}

static const char *name_of(int fd) { return fd >= 0 && fd < FILES ? names[fd] : NULL; }

/* Only what is inside the store can fail: acknowledgements have to be written down in any case. */
static int is_store(const char *name) { return strncmp(name, "store/", 6) == 0; }

static int fails(const char *what, long count, int forever) {
    return strcmp(fault, what) == 0 && (forever ? count >= fault_at : count == fault_at);
}

static void opened(int fd, const char *path) {
    if (!folder || fd < 0 || fd >= FILES) return;
    size_t length = strlen(folder), size = strlen(path);
    int is_shared = size > 4 && strcmp(path + size - 4, "-shm") == 0;
    pthread_mutex_lock(&lock);
    free(names[fd]);
    names[fd] = NULL;
    if (strncmp(path, folder, length) == 0 && path[length] == '/' && !is_shared) {
        names[fd] = strdup(path + length + 1);
        put('O', names[fd], 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
}

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        static int (*real)(const char *, int, ...);                             \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        int mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, int) : 0;     \
        va_end(rest);                                                           \
        int fd = real(path, flags, mode);                                       \
        opened(fd, path);                                                       \
        return fd;                                                              \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < FILES) {
        pthread_mutex_lock(&lock);
        free(names[fd]);
        names[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void *data, size_t size, int64_t offset) {
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd);
    ssize_t done;
    if (!name) {
        pthread_mutex_unlock(&lock);
        return offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    }
    if (is_store(name)) {
        writes++;
        if (fails("write", writes, 0) || fails("full", writes, 1)) {
            pthread_mutex_unlock(&lock);
            errno = strcmp(fault, "full") == 0 ? ENOSPC : EIO;
            return -1;
        }
    }
    int64_t at = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
    done = offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    if (done > 0) put('W', name, at, data, (uint32_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return written(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return written(fd, data, size, offset); }

static int truncated(int fd, off_t size) {
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    const char *name = name_of(fd);
    if (name && result == 0) put('T', name, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

/* A sync covers what was written before it began, and is good from when it ends. */
static int synced(int fd, long number) {
    static int64_t serial;
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd);
    char *kept = name ? strdup(name) : NULL;
    int64_t mine = ++serial;
    int is_to_fail = 0;
    if (kept && is_store(kept)) {
        syncs++;
        is_to_fail = fails("sync", syncs, 0);
    }
    if (kept) put('S', kept, mine, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (is_to_fail) {
        free(kept);
        errno = EIO;
        return -1;
    }
    int result = (int)syscall(number, fd);
    if (kept && result == 0) {
        pthread_mutex_lock(&lock);
        put('E', kept, mine, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    free(kept);
    return result;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    size_t length = folder ? strlen(folder) : 0;
    if (folder && result == 0 && strncmp(path, folder, length) == 0 && path[length] == '/') {
        pthread_mutex_lock(&lock);
        put('U', path + length + 1, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
