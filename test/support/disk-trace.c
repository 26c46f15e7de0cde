/*
 * Loaded into a process (LD_PRELOAD): everything that it does to files below DISK_TRACE_ROOT is written to DISK_TRACE, in the order in
 * which it happened, with the begin and the end of every sync. power-cut.ts reads it and says what a disk would have after a power cut.
 * DISK_TRACE_SYNC_US: each sync takes so many microseconds longer, as on a slow disk.
 *
 * A record: u8 operation ‖ u8 flag ‖ u16 0 ‖ i32 descriptor ‖ u64 position ‖ u32 a ‖ u32 b ‖ a bytes ‖ b bytes, little-endian.
 */
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CLOSE, WRITE, ZEROS, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, LINK, SYNC_BEGIN, SYNC_END };
#define DESCRIPTORS 65536

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[DESCRIPTORS];
/* Opened so that each write is on the disk when it returns. */
static char isDirect[DESCRIPTORS];
static uint64_t lastSync;
static const char *root;
static size_t rootLength;
static int trace = -1;
static useconds_t syncUs;

/* Not the one below, which the program calls. */
static long kernel(long number, long a, long b, long c, long d) {
  REAL(syscall);
  return real(number, a, b, c, d);
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("DISK_TRACE"), *us = getenv("DISK_TRACE_SYNC_US");
  root = getenv("DISK_TRACE_ROOT");
  if (!path || !root) return;
  rootLength = strlen(root);
  syncUs = us ? (useconds_t)atoi(us) : 0;
  trace = (int)kernel(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}


static int below(const char *path) {
  return trace >= 0 && strncmp(path, root, rootLength) == 0 && (path[rootLength] == '/' || path[rootLength] == 0);
}
static int isWatched(int fd) { return trace >= 0 && fd >= 0 && fd < DESCRIPTORS && watched[fd]; }

static void put(const void *bytes, size_t length) {
  for (const char *at = bytes; length > 0;) {
    ssize_t done = kernel(SYS_write, trace, (long)at, (long)length, 0);
    if (done <= 0) abort();
    at += done;
    length -= (size_t)done;
  }
}
static void record(int op, int flag, int fd, uint64_t position, const void *a, uint32_t aLength, const void *b, uint32_t bLength) {
  struct __attribute__((packed)) { uint8_t op, flag; uint16_t zero; int32_t fd; uint64_t position; uint32_t a, b; } head =
    { (uint8_t)op, (uint8_t)flag, 0, fd, position, aLength, bLength };
  int saved = errno;
  put(&head, sizeof head);
  if (a) put(a, aLength);
  if (b) put(b, bLength);
  errno = saved;
}
static void paths(int op, const char *a, const char *b) {
  record(op, 0, -1, 0, a, (uint32_t)strlen(a), b, b ? (uint32_t)strlen(b) : 0);
}
static void wrote(int fd, const char *bytes, size_t length, uint64_t position) {
  int isZero = length > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
  if (isZero) record(ZEROS, 0, fd, position, NULL, (uint32_t)length, NULL, 0);
  else record(WRITE, 0, fd, position, bytes, (uint32_t)length, NULL, 0);
}
/* Synced by its write; the lock is held. */
static void settled(int fd) {
  if (!isDirect[fd]) return;
  uint64_t number = ++lastSync;
  record(SYNC_BEGIN, 0, fd, number, NULL, 0, NULL, 0);
  if (syncUs) {
    pthread_mutex_unlock(&lock);
    usleep(syncUs);
    pthread_mutex_lock(&lock);
  }
  record(SYNC_END, 0, fd, number, NULL, 0, NULL, 0);
}
static void wroteAll(int fd, const struct iovec *parts, int count, size_t left, uint64_t position) {
  for (int i = 0; i < count && left > 0; i++) {
    size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
    wrote(fd, parts[i].iov_base, length, position);
    position += length;
    left -= length;
  }
}
static uint64_t endOf(int fd, ssize_t done) { return (uint64_t)(kernel(SYS_lseek, fd, 0, SEEK_CUR, 0) - done); }

static int opened(const char *path, int flags, int fd) {
  if (fd >= 0 && fd < DESCRIPTORS) {
    watched[fd] = (char)below(path);
    isDirect[fd] = (flags & O_DSYNC) != 0;
    if (watched[fd]) record(OPEN, (flags & O_CREAT ? 1 : 0) | (flags & O_TRUNC ? 2 : 0), fd, 0, path, (uint32_t)strlen(path), NULL, 0);
  }
  return fd;
}
#define OPENER(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    pthread_mutex_lock(&lock); \
    int fd = opened(path, flags, real(path, flags, mode)); \
    pthread_mutex_unlock(&lock); \
    return fd; \
  }
OPENER(open)
OPENER(open64)

/* A call that is over before the next one is seen; `then` is recorded when it went well. */
#define ORDERED(type, call, isOurs, then) \
  if (!(isOurs)) return call; \
  pthread_mutex_lock(&lock); \
  type result = call; \
  if (result >= 0) { then; } \
  pthread_mutex_unlock(&lock); \
  return result

int close(int fd) {
  REAL(close);
  if (!isWatched(fd)) return real(fd);
  pthread_mutex_lock(&lock);
  watched[fd] = 0;
  record(CLOSE, 0, fd, 0, NULL, 0, NULL, 0);
  int result = real(fd);
  pthread_mutex_unlock(&lock);
  return result;
}
/* libuv closes its files so. */
long syscall(long number, ...) {
  REAL(syscall);
  long more[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) more[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_close) return close((int)more[0]);
  return real(number, more[0], more[1], more[2], more[3], more[4], more[5]);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
  REAL(pwrite64);
  ORDERED(ssize_t, real(fd, bytes, length, at), isWatched(fd), wrote(fd, bytes, (size_t)result, (uint64_t)at); settled(fd));
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  REAL(pwritev64);
  ORDERED(ssize_t, real(fd, parts, count, at), isWatched(fd), wroteAll(fd, parts, count, (size_t)result, (uint64_t)at); settled(fd));
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }
ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write);
  ORDERED(ssize_t, real(fd, bytes, length), isWatched(fd), wrote(fd, bytes, (size_t)result, endOf(fd, result)); settled(fd));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  ORDERED(ssize_t, real(fd, parts, count), isWatched(fd), wroteAll(fd, parts, count, (size_t)result, endOf(fd, result)); settled(fd));
}
int ftruncate64(int fd, off64_t length) {
  REAL(ftruncate64);
  ORDERED(int, real(fd, length), isWatched(fd), record(TRUNCATE, 0, fd, (uint64_t)length, NULL, 0, NULL, 0));
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int rename(const char *from, const char *to) {
  REAL(rename);
  ORDERED(int, real(from, to), below(from) || below(to), paths(RENAME, from, to));
}
int link(const char *from, const char *to) {
  REAL(link);
  ORDERED(int, real(from, to), below(to), paths(LINK, from, to));
}
int unlink(const char *path) {
  REAL(unlink);
  ORDERED(int, real(path), below(path), paths(UNLINK, path, NULL));
}
int remove(const char *path) {
  REAL(remove);
  struct stat about;
  int isDirectory = lstat(path, &about) == 0 && S_ISDIR(about.st_mode);
  ORDERED(int, real(path), below(path), paths(isDirectory ? RMDIR : UNLINK, path, NULL));
}
int unlinkat(int dir, const char *path, int flags) {
  REAL(unlinkat);
  ORDERED(int, real(dir, path, flags), below(path), paths(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, NULL));
}
int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  ORDERED(int, real(path, mode), below(path), paths(MKDIR, path, NULL));
}
int rmdir(const char *path) {
  REAL(rmdir);
  ORDERED(int, real(path), below(path), paths(RMDIR, path, NULL));
}

/* What was written before the begin is durable after the end; nothing is promised of what was written between. */
static int synced(int fd, int (*real)(int)) {
  if (!isWatched(fd)) return real(fd);
  pthread_mutex_lock(&lock);
  uint64_t number = ++lastSync;
  record(SYNC_BEGIN, 0, fd, number, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  if (syncUs) usleep(syncUs);
  int result = real(fd);
  pthread_mutex_lock(&lock);
  if (result == 0) record(SYNC_END, 0, fd, number, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int fsync(int fd) {
  REAL(fsync);
  return synced(fd, real);
}
int fdatasync(int fd) {
  REAL(fdatasync);
  return synced(fd, real);
}
