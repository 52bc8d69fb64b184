/*
 * Makes the file calls of a process fail where a test wants them to: preloaded, under a program that knows nothing of it.
 *
 *   FAULT_DIRECTORY  only files below it are looked at
 *   FAULT_RULES      file of rules, read again whenever it was replaced (by rename); its counters then start again at 1
 *   FAULT_LOG        file that gets a line for each call, before the call is made:
 *                    <number> <call> <what happens, "-": nothing> <offset, -1: none> <length> <thread> <path>
 *
 * A rule is a line of four words: <call> <part of the path, or *> <which> <what happens>
 *
 *   call   pwrite fdatasync fsync ftruncate create rename unlink mkdir rmdir link, "any" of those, or open pread, which
 *          change nothing and count for themselves alone
 *   which  the N-th call that fits: 3, 3-5, 3+ or *; counted over all threads, so that it means the same in each run
 *   what   an error by its name (EIO, ENOSPC, ...)   KILL: the process dies before the call
 *          TORN:k[:ERROR]  k bytes are written, then the process dies, or the call fails
 *          SHORT:k  k bytes are written, and the call says so     ZERO  nothing is written, and the call says so
 *          LIE  nothing is done, and the call says it was         DELAY:ms  the call comes late
 *          k < 0: all but so many; "50%": that part. Of several rules that fit the first one holds.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 32
#define PATH_BYTES 4096

typedef struct {
  char call[16], part[256], what[48];
  unsigned long first, last, seen;
} rule;

static rule rules[RULES_MAX];
static int rule_count;
static struct stat rules_stat;
static char directory[PATH_BYTES];
static size_t directory_length;
static const char *rules_path;
static int log_descriptor = -1;
static unsigned long call_count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static const struct { const char *name; int number; } errors[] = {
  {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EFBIG", EFBIG}, {"EROFS", EROFS}, {"EMFILE", EMFILE},
  {"ENFILE", ENFILE}, {"EINTR", EINTR}, {"EAGAIN", EAGAIN}, {"EACCES", EACCES}, {"ENOMEM", ENOMEM},
  {"ENODEV", ENODEV}, {"ESTALE", ESTALE}, {"ENOENT", ENOENT},
};

static int error_of(const char *name) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (strcmp(errors[i].name, name) == 0) return errors[i].number;
  return 0;
}

/* A rule that means nothing would be a test that tests nothing. */
static void refuse(const char *line) {
  dprintf(2, "fault shim: cannot understand rule \"%s\"\n", line);
  abort();
}

static void parse_rule(char *line) {
  rule *r = &rules[rule_count];
  char which[32], end;
  if (rule_count == RULES_MAX || sscanf(line, "%15s %255s %31s %47s", r->call, r->part, which, r->what) != 4) refuse(line);
  if (strcmp(which, "*") == 0) r->first = 1, r->last = ~0ul;
  else if (sscanf(which, "%lu-%lu%c", &r->first, &r->last, &end) == 2) ;
  else if (sscanf(which, "%lu%c%c", &r->first, &end, &end) == 2 && end == '+') r->last = ~0ul;
  else if (sscanf(which, "%lu%c", &r->first, &end) == 1) r->last = r->first;
  else refuse(line);
  r->seen = 0;
  rule_count++;
}

static void read_rules(void) {
  struct stat now;
  if (rules_path == NULL || stat(rules_path, &now) != 0) return;
  if (now.st_ino == rules_stat.st_ino && now.st_mtim.tv_sec == rules_stat.st_mtim.tv_sec &&
      now.st_mtim.tv_nsec == rules_stat.st_mtim.tv_nsec && now.st_size == rules_stat.st_size) return;
  rules_stat = now;
  rule_count = 0;
  char text[8192];
  int descriptor = syscall(SYS_openat, AT_FDCWD, rules_path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ssize_t length = syscall(SYS_read, descriptor, text, sizeof text - 1);
  syscall(SYS_close, descriptor);
  if (length < 0) return;
  text[length] = 0;
  char *rest;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) parse_rule(line);
}

__attribute__((constructor)) static void start(void) {
  const char *given = getenv("FAULT_DIRECTORY"), *log_path = getenv("FAULT_LOG");
  if (given == NULL) return;
  directory_length = strlen(strncpy(directory, given, sizeof directory - 1));
  rules_path = getenv("FAULT_RULES");
  if (log_path != NULL)
    log_descriptor = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_watched(const char *path) {
  return directory_length > 0 && path != NULL && strncmp(path, directory, directory_length) == 0;
}

static int path_of(int descriptor, char *path) {
  char link[64];
  if (directory_length == 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, PATH_BYTES - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_watched(path);
}

/* Counts the call and says what is to become of it, in `what`; false: nothing. Death and delay happen in here. */
static int decide(const char *call, int changes, const char *path, long offset, long length, char *what) {
  what[0] = 0;
  pthread_mutex_lock(&mutex);
  read_rules();
  for (int i = 0; i < rule_count; i++) {
    rule *r = &rules[i];
    int fits = strcmp(r->call, call) == 0 || (changes && strcmp(r->call, "any") == 0);
    if (!fits || (strcmp(r->part, "*") != 0 && strstr(path, r->part) == NULL)) continue;
    r->seen++;
    if (what[0] == 0 && r->seen >= r->first && r->seen <= r->last) strcpy(what, r->what);
  }
  if (log_descriptor >= 0) {
    char line[PATH_BYTES + 256];
    int size = snprintf(line, sizeof line, "%lu %s %s %ld %ld %ld %s\n", ++call_count, call, what[0] ? what : "-", offset,
                        length, syscall(SYS_gettid), path);
    syscall(SYS_write, log_descriptor, line, size);
  }
  pthread_mutex_unlock(&mutex);
  if (strcmp(what, "KILL") == 0) kill(getpid(), SIGKILL);
  if (strncmp(what, "DELAY:", 6) == 0) {
    long ms = strtol(what + 6, NULL, 10);
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) ;
    return 0;
  }
  return what[0] != 0;
}

static long part_of(const char *text, long length) {
  char *end;
  long k = strtol(text, &end, 10);
  if (*end == '%') k = length * k / 100;
  if (k < 0) k += length;
  return k < 0 ? 0 : k > length ? length : k;
}

static ssize_t write_part(int descriptor, const struct iovec *parts, int count, off_t offset, long length) {
  long done = 0;
  for (int i = 0; i < count && done < length; i++) {
    long size = (long)parts[i].iov_len < length - done ? (long)parts[i].iov_len : length - done;
    ssize_t written = offset < 0 ? syscall(SYS_write, descriptor, parts[i].iov_base, size)
                                 : syscall(SYS_pwrite64, descriptor, parts[i].iov_base, size, offset + done);
    if (written < 0) return written;
    done += written;
  }
  return done;
}

/* True if `result` is the call's result, and the real call must not be made. */
static int spoil_write(int descriptor, const struct iovec *parts, int count, off_t offset, ssize_t *result) {
  char path[PATH_BYTES], what[48];
  if (!path_of(descriptor, path)) return 0;
  long length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  if (!decide("pwrite", 1, path, offset, length, what)) return 0;
  const char *colon = strchr(what, ':');
  if (strncmp(what, "SHORT:", 6) == 0) *result = write_part(descriptor, parts, count, offset, part_of(colon + 1, length));
  else if (strncmp(what, "TORN:", 5) == 0) {
    write_part(descriptor, parts, count, offset, part_of(colon + 1, length));
    const char *error = strchr(colon + 1, ':');
    if (error == NULL) kill(getpid(), SIGKILL);
    errno = error == NULL ? EIO : error_of(error + 1);
    *result = -1;
  } else if (strcmp(what, "ZERO") == 0) *result = 0;
  else if (strcmp(what, "LIE") == 0) *result = length;
  else {
    errno = error_of(what);
    if (errno == 0) refuse(what);
    *result = -1;
  }
  return 1;
}

/* True if the call is over, with `result`. */
static int spoil_call(const char *call, int changes, const char *path, int *result) {
  char what[48];
  if (!decide(call, changes, path, -1, 0, what)) return 0;
  *result = 0;
  if (strcmp(what, "LIE") == 0) return 1;
  errno = error_of(what);
  if (errno == 0) refuse(what);
  *result = -1;
  return 1;
}

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (real == NULL) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int descriptor, const void *bytes, size_t length) {
  REAL(ssize_t, write, int, const void *, size_t);
  struct iovec part = {(void *)bytes, length};
  ssize_t result;
  return descriptor > 2 && spoil_write(descriptor, &part, 1, -1, &result) ? result : real(descriptor, bytes, length);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t offset) {
  REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
  struct iovec part = {(void *)bytes, length};
  ssize_t result;
  return spoil_write(descriptor, &part, 1, offset, &result) ? result : real(descriptor, bytes, length, offset);
}
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off_t offset) {
  REAL(ssize_t, pwritev64, int, const struct iovec *, int, off_t);
  ssize_t result;
  return spoil_write(descriptor, parts, count, offset, &result) ? result : real(descriptor, parts, count, offset);
}
static int spoil_read(int descriptor, off_t offset, long length, ssize_t *result) {
  char path[PATH_BYTES], what[48];
  if (!path_of(descriptor, path) || !decide("pread", 0, path, offset, length, what)) return 0;
  errno = error_of(what);
  if (errno == 0) refuse(what);
  *result = -1;
  return 1;
}
ssize_t pread64(int descriptor, void *bytes, size_t length, off_t offset) {
  REAL(ssize_t, pread64, int, void *, size_t, off_t);
  ssize_t result;
  return spoil_read(descriptor, offset, length, &result) ? result : real(descriptor, bytes, length, offset);
}

int fsync(int descriptor) {
  REAL(int, fsync, int);
  char path[PATH_BYTES];
  int result;
  return path_of(descriptor, path) && spoil_call("fsync", 1, path, &result) ? result : real(descriptor);
}
int fdatasync(int descriptor) {
  REAL(int, fdatasync, int);
  char path[PATH_BYTES];
  int result;
  return path_of(descriptor, path) && spoil_call("fdatasync", 1, path, &result) ? result : real(descriptor);
}
int ftruncate64(int descriptor, off_t length) {
  REAL(int, ftruncate64, int, off_t);
  char path[PATH_BYTES];
  int result;
  return path_of(descriptor, path) && spoil_call("ftruncate", 1, path, &result) ? result : real(descriptor, length);
}
int rename(const char *source, const char *target) {
  REAL(int, rename, const char *, const char *);
  int result;
  return is_watched(target) && spoil_call("rename", 1, target, &result) ? result : real(source, target);
}
int link(const char *source, const char *target) {
  REAL(int, link, const char *, const char *);
  int result;
  return is_watched(target) && spoil_call("link", 1, target, &result) ? result : real(source, target);
}
int unlink(const char *path) {
  REAL(int, unlink, const char *);
  int result;
  return is_watched(path) && spoil_call("unlink", 1, path, &result) ? result : real(path);
}
int mkdir(const char *path, mode_t mode) {
  REAL(int, mkdir, const char *, mode_t);
  int result;
  return is_watched(path) && spoil_call("mkdir", 1, path, &result) ? result : real(path, mode);
}
int rmdir(const char *path) {
  REAL(int, rmdir, const char *);
  int result;
  return is_watched(path) && spoil_call("rmdir", 1, path, &result) ? result : real(path);
}
int open64(const char *path, int flags, ...) {
  REAL(int, open64, const char *, int, ...);
  mode_t mode = 0;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
  }
  int creates = (flags & O_CREAT) != 0, result;
  return is_watched(path) && spoil_call(creates ? "create" : "open", creates, path, &result) ? result : real(path, flags, mode);
}
