// LD_PRELOAD library that remembers how to take back whatever was not synced, so that after SIGKILL
// `unsynced-rollback` can turn the files below $UNSYNCED_ROOT into what a power cut would have left.
// SIGKILL alone keeps the page cache and proves nothing about fsync. Usage and limits: README.md.
//
// Before each change of a file its old bytes go into an undo log; fsync and fdatasync forget them.
// Before each change of a folder a record says how to reverse it; fsync of the folder forgets it.
// Locks: `names_lock` before a file's lock; the table's lock is a leaf.
#define _GNU_SOURCE
#include "unsynced.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// ---- The real calls

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_pwritev2)(int, const struct iovec *, int, off_t, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_syncfs)(int);
static int (*real_renameat2)(int, const char *, int, const char *, unsigned);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_dup2)(int, int);
static int (*real_dup3)(int, int, int);

static char root[PATH_MAX], state[PATH_MAX];
static size_t root_length;
static int active;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void die(const char *what) {
  char text[256];
  int length = snprintf(text, sizeof text, "unsynced: %s: %s\n", what, strerror(errno));
  if (real_write) (void)!real_write(2, text, (size_t)length);
  abort();
}

static void prepare(void) {
  real_openat = dlsym(RTLD_NEXT, "openat");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite");
  real_pwritev = dlsym(RTLD_NEXT, "pwritev");
  real_pwritev2 = dlsym(RTLD_NEXT, "pwritev2");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
  real_fallocate = dlsym(RTLD_NEXT, "fallocate");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_syncfs = dlsym(RTLD_NEXT, "syncfs");
  real_renameat2 = dlsym(RTLD_NEXT, "renameat2");
  real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
  real_mkdirat = dlsym(RTLD_NEXT, "mkdirat");
  real_dup2 = dlsym(RTLD_NEXT, "dup2");
  real_dup3 = dlsym(RTLD_NEXT, "dup3");

  const char *wanted = getenv("UNSYNCED_ROOT"), *place = getenv("UNSYNCED_STATE");
  if (!wanted) return;
  if (!realpath(wanted, root)) die("UNSYNCED_ROOT");
  root_length = strlen(root);
  char beside[PATH_MAX];
  if (!place) {
    snprintf(beside, sizeof beside, "%.*s.unsynced", PATH_MAX - 16, root);
    place = beside;
  }
  if (real_mkdirat(AT_FDCWD, place, 0700) != 0 && errno != EEXIST) die("UNSYNCED_STATE");
  if (!realpath(place, state)) die("UNSYNCED_STATE");
  if (strncmp(state, root, root_length) == 0 && state[root_length] == '/')
    die("UNSYNCED_STATE must not lie below UNSYNCED_ROOT");
  struct stat a, b;
  if (stat(root, &a) != 0 || stat(state, &b) != 0) die("stat");
  errno = EXDEV;
  if (a.st_dev != b.st_dev) die("UNSYNCED_STATE must be on the file system of UNSYNCED_ROOT");
  active = 1;
}

static inline int ready(void) {
  pthread_once(&once, prepare);
  return active;
}

__attribute__((constructor)) static void start(void) { ready(); }

// ---- Which descriptors count

enum { FD_UNKNOWN, FD_OTHER, FD_FILE, FD_FOLDER, FD_LIMIT = 1 << 16 };
static _Atomic unsigned char descriptors[FD_LIMIT];

static int is_below_root(const char *path) {
  return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static int path_of(int fd, char out[PATH_MAX]) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, out, PATH_MAX - 1);
  if (length < 0) return -1;
  out[length] = 0;
  return 0;
}

static int classify(int fd) {
  struct stat status;
  char path[PATH_MAX];
  if (fstat(fd, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) return FD_OTHER;
  if (path_of(fd, path) != 0 || !is_below_root(path)) return FD_OTHER;
  return S_ISDIR(status.st_mode) ? FD_FOLDER : FD_FILE;
}

// Errno is kept: callers ask after successful calls.
static int kind_of(int fd) {
  if (fd < 0) return FD_OTHER;
  int saved = errno, kind;
  if (fd >= FD_LIMIT) {
    kind = classify(fd);
  } else {
    kind = atomic_load(&descriptors[fd]);
    if (kind == FD_UNKNOWN) {
      kind = classify(fd);
      atomic_store(&descriptors[fd], (unsigned char)kind);
    }
  }
  errno = saved;
  return kind;
}

static void forget(int fd) {
  if (fd >= 0 && fd < FD_LIMIT) atomic_store(&descriptors[fd], FD_UNKNOWN);
}

// ---- Undo logs of files

struct tracked {
  uint64_t inode;
  struct tracked *next;
  pthread_mutex_t lock;
  int log;  // -1 while no descriptor needs it
  int is_gone;
  struct undo_header *header;
  uint64_t end;    // where the next record goes
  uint64_t epoch;  // counts the times that the log was emptied
};

enum { BUCKETS = 1024, CHUNK = 1 << 20 };
static struct tracked *table[BUCKETS];
static __thread char *buffer;  // old bytes on their way into a log; one per thread, never freed
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t seals = 1;

// The end of the last whole record of a log that an earlier process left.
static uint64_t whole_records(int log, uint64_t from) {
  struct stat status;
  if (fstat(log, &status) != 0) die("stat of an undo log");
  uint64_t at = from, size = (uint64_t)status.st_size;
  for (;;) {
    struct undo_record record;
    uint64_t seal;
    if (at + sizeof record + sizeof seal > size) return at;
    if (pread(log, &record, sizeof record, (off_t)at) != sizeof record) return at;
    if (record.magic != UNSYNCED_MAGIC || record.length > size - at - sizeof record - sizeof seal) return at;
    if (pread(log, &seal, sizeof seal, (off_t)(at + sizeof record + record.length)) != sizeof seal) return at;
    if (seal != record.seal) return at;
    at += sizeof record + record.length + sizeof seal;
  }
}

static void open_log(struct tracked *file, int fd) {
  char path[PATH_MAX], link[40];
  snprintf(path, sizeof path, "%.3900s/ref-%llu", state, (unsigned long long)file->inode);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  if (linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST) {
    // ENOENT: the file has no name any more and cannot come back.
    if (errno != ENOENT) die("link to a tracked file");
  }
  snprintf(path, sizeof path, "%.3900s/u-%llu", state, (unsigned long long)file->inode);
  file->log = real_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file->log < 0) die("undo log");
  if (file->log < FD_LIMIT) atomic_store(&descriptors[file->log], FD_OTHER);
  struct stat status;
  if (fstat(file->log, &status) != 0) die("undo log");
  if (status.st_size < UNSYNCED_HEADER && real_ftruncate(file->log, UNSYNCED_HEADER) != 0) die("undo log");
  file->header = mmap(0, UNSYNCED_HEADER, PROT_READ | PROT_WRITE, MAP_SHARED, file->log, 0);
  if (file->header == MAP_FAILED) die("undo log");
  if (file->header->magic != UNSYNCED_MAGIC) {
    file->header->inode = file->inode;
    atomic_store(&file->header->start, UNSYNCED_HEADER);
    file->header->magic = UNSYNCED_MAGIC;
  }
  uint64_t start = atomic_load(&file->header->start);
  if (status.st_size >= UNSYNCED_HEADER && (uint64_t)status.st_size < start) {
    // Killed while the log was being emptied.
    atomic_store(&file->header->start, UNSYNCED_HEADER);
    start = UNSYNCED_HEADER;
  }
  file->end = whole_records(file->log, start);
  if (real_ftruncate(file->log, (off_t)file->end) != 0) die("undo log");
}

// Under the file's lock.
static void close_log(struct tracked *file) {
  if (file->log < 0) return;
  munmap(file->header, UNSYNCED_HEADER);
  forget(file->log);
  real_close(file->log);
  file->log = -1;
}

static struct tracked *find(uint64_t inode, int creates) {
  struct tracked **slot = &table[inode % BUCKETS], *file;
  pthread_mutex_lock(&table_lock);
  for (file = *slot; file && file->inode != inode; file = file->next) {}
  if (!file && creates) {
    file = calloc(1, sizeof *file);
    if (!file) die("memory");
    file->inode = inode;
    file->log = -1;
    pthread_mutex_init(&file->lock, 0);
    file->next = *slot;
    *slot = file;
  }
  pthread_mutex_unlock(&table_lock);
  return file;
}

// Locks the file behind `fd`; null when it does not count.
static struct tracked *enter(int fd, struct stat *status) {
  if (!ready() || kind_of(fd) != FD_FILE) return 0;
  int saved = errno;
  if (fstat(fd, status) != 0 || !S_ISREG(status->st_mode)) {
    errno = saved;
    return 0;
  }
  struct tracked *file = find(status->st_ino, 1);
  pthread_mutex_lock(&file->lock);
  if (file->is_gone) {
    pthread_mutex_unlock(&file->lock);
    file = 0;
  } else if (file->log < 0) {
    open_log(file, fd);
  }
  errno = saved;
  return file;
}

static void leave(struct tracked *file) { pthread_mutex_unlock(&file->lock); }

static void append(struct tracked *file, off_t offset, off_t old_size, uint64_t length) {
  struct undo_record record = {
      .magic = UNSYNCED_MAGIC, .offset = offset, .old_size = old_size, .length = length,
      .seal = atomic_fetch_add(&seals, 1) * 0x9e3779b97f4a7c15ull ^ file->end};
  struct iovec parts[3] = {{&record, sizeof record}, {buffer, length}, {&record.seal, sizeof record.seal}};
  size_t total = sizeof record + length + sizeof record.seal, done = 0;
  while (done < total) {
    ssize_t count = real_pwritev(file->log, parts, 3, (off_t)(file->end + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) die("write of an undo log");
    done += (size_t)count;
    for (int i = 0; i < 3 && count > 0; i++) {
      size_t step = (size_t)count < parts[i].iov_len ? (size_t)count : parts[i].iov_len;
      parts[i].iov_base = (char *)parts[i].iov_base + step;
      parts[i].iov_len -= step;
      count -= (ssize_t)step;
    }
  }
  file->end += total;
}

// Remembers the bytes that a change of `length` bytes at `offset` will replace, and the size.
static void remember(struct tracked *file, int fd, const struct stat *status, off_t offset, uint64_t length) {
  int saved = errno, own = fd;
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    own = real_openat(AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (own < 0) die("reopening a file to read it");
  }
  if (!buffer && !(buffer = malloc(CHUNK))) die("memory");
  uint64_t old = offset < status->st_size ? (uint64_t)(status->st_size - offset) : 0;
  if (old > length) old = length;
  do {
    uint64_t count = old < CHUNK ? old : CHUNK;
    for (uint64_t done = 0; done < count;) {
      ssize_t got = pread(own, buffer + done, count - done, offset + (off_t)done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) die("reading old bytes");
      done += (uint64_t)got;
    }
    append(file, offset, status->st_size, count);
    offset += (off_t)count;
    old -= count;
  } while (old > 0);
  if (own != fd) real_close(own);
  errno = saved;
}

// Forgets records before `end`, which a sync that began there covers.
static void forget_records(struct tracked *file, uint64_t end, uint64_t epoch) {
  pthread_mutex_lock(&file->lock);
  if (file->epoch == epoch && file->log >= 0) {
    if (file->end == end && end > UNSYNCED_HEADER) {
      atomic_store(&file->header->start, end);
      if (real_ftruncate(file->log, UNSYNCED_HEADER) != 0) die("emptying an undo log");
      atomic_store(&file->header->start, UNSYNCED_HEADER);
      file->end = UNSYNCED_HEADER;
      file->epoch++;
    } else if (end > atomic_load(&file->header->start)) {
      atomic_store(&file->header->start, end);
    }
  }
  pthread_mutex_unlock(&file->lock);
}

// ---- Log of names

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static int names = -1;
static uint64_t names_count, names_pending, stashes;

static void stash_path(char out[PATH_MAX], uint64_t number) {
  snprintf(out, PATH_MAX, "%.3900s/stash-%llu", state, (unsigned long long)number);
}

static void open_names(void) {
  if (names >= 0) return;
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%.3900s/names", state);
  names = real_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct stat status;
  if (names < 0 || fstat(names, &status) != 0) die("log of names");
  if (names < FD_LIMIT) atomic_store(&descriptors[names], FD_OTHER);
  names_count = (uint64_t)status.st_size / sizeof(struct name_record);
  for (uint64_t i = 0; i < names_count; i++) {
    struct name_record record;
    if (pread(names, &record, sizeof record, (off_t)(i * sizeof record)) != sizeof record) die("log of names");
    if (record.magic != UNSYNCED_MAGIC || record.seal != UNSYNCED_MAGIC) {
      names_count = i;
      break;
    }
    if (record.number > stashes) stashes = record.number;
    if (!(record.durable[0] && record.durable[1])) names_pending++;
  }
}

// The absolute path of (folder, name); -1 when it is not below the root.
static int resolve(int folder, const char *name, char out[PATH_MAX]) {
  char base[PATH_MAX];
  int length;
  if (!name || !*name) return -1;
  if (*name == '/') {
    length = snprintf(out, PATH_MAX, "%s", name);
  } else {
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : path_of(folder, base) != 0) return -1;
    while (name[0] == '.' && name[1] == '/') name += 2;
    length = snprintf(out, PATH_MAX, "%s/%s", base, name);
  }
  if (length < 0 || length >= PATH_MAX) return -1;
  while (length > 1 && out[length - 1] == '/') out[--length] = 0;
  return is_below_root(out) && out[root_length] == '/' ? 0 : -1;
}

static uint64_t parent_inode(const char *path) {
  char folder[PATH_MAX];
  struct stat status;
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) *slash = 0;
  return stat(folder, &status) == 0 ? status.st_ino : 0;
}

// Under names_lock. The record is whole before the change begins.
static void append_name(struct name_record *record) {
  record->magic = record->seal = UNSYNCED_MAGIC;
  ssize_t count = real_pwrite(names, record, sizeof *record, (off_t)(names_count * sizeof *record));
  if (count != sizeof *record) die("write of the log of names");
  names_count++;
  names_pending++;
}

// Hard link that keeps a file whose name is about to go. Under names_lock.
static uint64_t stash(const char *path) {
  char kept[PATH_MAX];
  stash_path(kept, ++stashes);
  if (unlink(kept) != 0 && errno != ENOENT) die("stash");
  if (linkat(AT_FDCWD, path, AT_FDCWD, kept, 0) != 0) die("stash");
  return stashes;
}

// A file that only the state folder knows any more needs no undo log. Under names_lock.
static void drop_stash(uint64_t number) {
  char path[PATH_MAX], other[PATH_MAX];
  struct stat status;
  stash_path(path, number);
  if (stat(path, &status) != 0) return;
  real_unlinkat(AT_FDCWD, path, 0);
  snprintf(path, sizeof path, "%.3900s/ref-%llu", state, (unsigned long long)status.st_ino);
  if (stat(path, &status) != 0 || status.st_nlink > 1) return;
  pthread_mutex_lock(&table_lock);
  struct tracked **slot = &table[status.st_ino % BUCKETS];
  while (*slot && (*slot)->inode != status.st_ino) slot = &(*slot)->next;
  struct tracked *file = *slot;
  // The inode's number can be used again, so the entry leaves the table. It is never freed: somebody
  // may hold the file open still, and then finds it gone.
  if (file) *slot = file->next;
  pthread_mutex_unlock(&table_lock);
  if (file) {
    pthread_mutex_lock(&file->lock);
    file->is_gone = 1;
    close_log(file);
    pthread_mutex_unlock(&file->lock);
  }
  snprintf(other, sizeof other, "%.3900s/u-%llu", state, (unsigned long long)status.st_ino);
  real_unlinkat(AT_FDCWD, other, 0);
  real_unlinkat(AT_FDCWD, path, 0);
}

// Folder 0 stands for all.
static void forget_names(uint64_t folder, uint64_t count) {
  for (uint64_t i = 0; i < count && names_pending > 0; i++) {
    struct name_record record;
    off_t at = (off_t)(i * sizeof record);
    if (pread(names, &record, offsetof(struct name_record, path), at) != offsetof(struct name_record, path))
      die("log of names");
    int before = record.durable[0] && record.durable[1];
    if (before) continue;
    for (int side = 0; side < 2; side++)
      if (folder == 0 || record.parent[side] == folder) record.durable[side] = 1;
    if (real_pwrite(names, record.durable, 2, at + (off_t)offsetof(struct name_record, durable)) != 2)
      die("log of names");
    if (record.durable[0] && record.durable[1]) {
      if (record.number) drop_stash(record.number);
      names_pending--;
    }
  }
  if (names_pending == 0 && names_count > 0) {
    if (real_ftruncate(names, 0) != 0) die("log of names");
    names_count = 0;
  }
}

// ---- Writes

#define AROUND(fd, offset_of, length, call)                         \
  do {                                                              \
    struct stat status;                                             \
    struct tracked *file = enter(fd, &status);                      \
    if (!file) return call;                                         \
    remember(file, fd, &status, offset_of, length);                 \
    __typeof__(call) result = call;                                 \
    int saved = errno;                                              \
    leave(file);                                                    \
    errno = saved;                                                  \
    return result;                                                  \
  } while (0)

static uint64_t total(const struct iovec *parts, int count) {
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) sum += parts[i].iov_len;
  return sum;
}

// Where a write without an offset goes.
static off_t cursor(int fd, const struct stat *status) {
  if (fcntl(fd, F_GETFL) & O_APPEND) return status->st_size;
  off_t at = lseek(fd, 0, SEEK_CUR);
  return at < 0 ? 0 : at;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  AROUND(fd, cursor(fd, &status), count, real_write(fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  AROUND(fd, cursor(fd, &status), total(parts, count), real_writev(fd, parts, count));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  AROUND(fd, offset, count, real_pwrite(fd, bytes, count, offset));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) {
  return pwrite(fd, bytes, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  AROUND(fd, offset, total(parts, count), real_pwritev(fd, parts, count, offset));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev(fd, parts, count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
  AROUND(fd, offset < 0 ? cursor(fd, &status) : offset, total(parts, count),
         real_pwritev2(fd, parts, count, offset, flags));
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
  return pwritev2(fd, parts, count, offset, flags);
}

int ftruncate(int fd, off_t size) {
  AROUND(fd, size, INT64_MAX, real_ftruncate(fd, size));
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t count) {
  // Plain reservation changes at most the size; the rest is undone as a write of the whole tail.
  uint64_t changed = (mode & ~FALLOC_FL_KEEP_SIZE) == 0 ? 0 : INT64_MAX;
  AROUND(fd, offset, changed, real_fallocate(fd, mode, offset, count));
}

int fallocate64(int fd, int mode, off_t offset, off_t count) { return fallocate(fd, mode, offset, count); }

int posix_fallocate(int fd, off_t offset, off_t count) {
  return fallocate(fd, 0, offset, count) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off_t offset, off_t count) { return posix_fallocate(fd, offset, count); }

// ---- Syncs

static int sync_with(int fd, int (*call)(int)) {
  if (!ready()) return call(fd);
  int kind = kind_of(fd);
  struct stat status;
  if (kind == FD_FOLDER && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
    // Names are changed under the lock, so all that are in the log were made before this sync.
    pthread_mutex_lock(&names_lock);
    open_names();
    int result = call(fd), saved = errno;
    if (result == 0) forget_names(status.st_ino, names_count);
    pthread_mutex_unlock(&names_lock);
    errno = saved;
    return result;
  }
  struct tracked *file = enter(fd, &status);
  if (!file) return call(fd);
  uint64_t end = file->end, epoch = file->epoch;
  leave(file);
  int result = call(fd), saved = errno;
  if (result == 0) forget_records(file, end, epoch);
  errno = saved;
  return result;
}

int fsync(int fd) {
  ready();
  return sync_with(fd, real_fsync);
}

int fdatasync(int fd) {
  ready();
  return sync_with(fd, real_fdatasync);
}

// What a log held when a sync of everything began.
struct mark {
  struct tracked *file;
  uint64_t end, epoch;
};

// Locks every file in turn; the caller frees the result.
static struct mark *mark_all(size_t *count) {
  struct mark *marks = 0;
  *count = 0;
  pthread_mutex_lock(&table_lock);
  for (int bucket = 0; bucket < BUCKETS; bucket++)
    for (struct tracked *file = table[bucket]; file; file = file->next) {
      if (*count % 256 == 0 && !(marks = realloc(marks, (*count + 256) * sizeof *marks))) die("memory");
      marks[(*count)++].file = file;
    }
  pthread_mutex_unlock(&table_lock);
  for (size_t i = 0; i < *count; i++) {
    pthread_mutex_lock(&marks[i].file->lock);
    marks[i].end = marks[i].file->end;
    marks[i].epoch = marks[i].file->epoch;
    pthread_mutex_unlock(&marks[i].file->lock);
  }
  return marks;
}

// Empties the logs that an earlier process left, of files that this one has not written yet: enters
// them into the table first, so that from then on they are like the others.
static void adopt_logs(void) {
  DIR *folder = opendir(state);
  if (!folder) die("state folder");
  for (struct dirent *entry; (entry = readdir(folder));) {
    char path[PATH_MAX];
    if (strncmp(entry->d_name, "u-", 2) != 0) continue;
    snprintf(path, sizeof path, "%.3900s/ref-%.64s", state, entry->d_name + 2);
    int fd = real_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    struct tracked *file = find(strtoull(entry->d_name + 2, 0, 10), 1);
    pthread_mutex_lock(&file->lock);
    if (!file->is_gone && file->log < 0) open_log(file, fd);
    pthread_mutex_unlock(&file->lock);
    real_close(fd);
  }
  closedir(folder);
}

// Makes everything durable: all files, all names. Names stand still meanwhile.
int syncfs(int fd) {
  if (!ready() || kind_of(fd) == FD_OTHER) return real_syncfs(fd);
  static int adopted;
  pthread_mutex_lock(&names_lock);
  open_names();
  if (!adopted) adopt_logs();
  adopted = 1;
  size_t count;
  struct mark *marks = mark_all(&count);
  int result = real_syncfs(fd), saved = errno;
  if (result == 0) {
    for (size_t i = 0; i < count; i++) forget_records(marks[i].file, marks[i].end, marks[i].epoch);
    forget_names(0, names_count);
  }
  free(marks);
  pthread_mutex_unlock(&names_lock);
  errno = saved;
  return result;
}

// ---- Names

static int open_with(int folder, const char *name, int flags, mode_t mode) {
  if (!ready()) return real_openat(folder, name, flags, mode);
  char path[PATH_MAX];
  int creates = (flags & O_CREAT) && resolve(folder, name, path) == 0;
  if (creates) {
    struct stat status;
    pthread_mutex_lock(&names_lock);
    open_names();
    if (lstat(path, &status) != 0) {
      struct name_record record = {.kind = NAME_CREATE};
      record.parent[0] = record.parent[1] = parent_inode(path);
      snprintf(record.path, sizeof record.path, "%s", path);
      if (record.parent[0]) append_name(&record);
    }
  }
  int fd = real_openat(folder, name, flags & ~O_TRUNC, mode), saved = errno;
  if (creates) pthread_mutex_unlock(&names_lock);
  if (fd < 0) {
    errno = saved;
    return fd;
  }
  forget(fd);
  if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ftruncate(fd, 0) != 0) {
      saved = errno;
      real_close(fd);
      errno = saved;
      return -1;
    }
  }
  errno = saved;
  return fd;
}

#define MODE_OF(flags)                              \
  mode_t mode = 0;                                  \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {          \
    va_list list;                                   \
    va_start(list, flags);                          \
    mode = (mode_t)va_arg(list, int);               \
    va_end(list);                                   \
  }

int openat(int folder, const char *name, int flags, ...) {
  MODE_OF(flags);
  return open_with(folder, name, flags, mode);
}

int openat64(int folder, const char *name, int flags, ...) {
  MODE_OF(flags);
  return open_with(folder, name, flags, mode);
}

int open(const char *name, int flags, ...) {
  MODE_OF(flags);
  return open_with(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...) {
  MODE_OF(flags);
  return open_with(AT_FDCWD, name, flags, mode);
}

int creat(const char *name, mode_t mode) {
  return open_with(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd) {
  struct stat status;
  if (ready() && fd >= 0 && fd < FD_LIMIT && atomic_load(&descriptors[fd]) == FD_FILE && fstat(fd, &status) == 0) {
    // With nothing to undo the log's own descriptor can go too; the next write opens it again.
    struct tracked *file = find(status.st_ino, 0);
    if (file) {
      pthread_mutex_lock(&file->lock);
      if (file->end == UNSYNCED_HEADER) close_log(file);
      pthread_mutex_unlock(&file->lock);
    }
  }
  forget(fd);
  return real_close(fd);
}

int dup2(int from, int to) {
  ready();
  forget(to);
  return real_dup2(from, to);
}

int dup3(int from, int to, int flags) {
  ready();
  forget(to);
  return real_dup3(from, to, flags);
}

int mkdirat(int folder, const char *name, mode_t mode) {
  char path[PATH_MAX];
  if (!ready() || resolve(folder, name, path) != 0) return real_mkdirat(folder, name, mode);
  struct stat status;
  pthread_mutex_lock(&names_lock);
  open_names();
  if (lstat(path, &status) != 0) {
    struct name_record record = {.kind = NAME_MKDIR};
    record.parent[0] = record.parent[1] = parent_inode(path);
    snprintf(record.path, sizeof record.path, "%s", path);
    if (record.parent[0]) append_name(&record);
  }
  int result = real_mkdirat(folder, name, mode), saved = errno;
  pthread_mutex_unlock(&names_lock);
  errno = saved;
  return result;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int unlinkat(int folder, const char *name, int flags) {
  char path[PATH_MAX];
  if (!ready() || resolve(folder, name, path) != 0) return real_unlinkat(folder, name, flags);
  struct stat status;
  pthread_mutex_lock(&names_lock);
  open_names();
  int is_folder = (flags & AT_REMOVEDIR) != 0;
  if (lstat(path, &status) == 0 && (S_ISDIR(status.st_mode) != 0) == is_folder) {
    struct name_record record = {.kind = is_folder ? NAME_RMDIR : NAME_UNLINK, .mode = status.st_mode & 07777};
    record.parent[0] = record.parent[1] = parent_inode(path);
    record.inode = status.st_ino;
    snprintf(record.path, sizeof record.path, "%s", path);
    if (!is_folder) record.number = stash(path);
    append_name(&record);
  }
  int result = real_unlinkat(folder, name, flags), saved = errno;
  pthread_mutex_unlock(&names_lock);
  errno = saved;
  return result;
}

int unlink(const char *name) {
  ready();
  return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name) {
  ready();
  return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
  char path[PATH_MAX], target[PATH_MAX];
  if (!ready()) return real_renameat2(from, old, to, new, flags);
  int inside = (resolve(from, old, path) == 0) + (resolve(to, new, target) == 0);
  if (inside == 0) return real_renameat2(from, old, to, new, flags);
  errno = ENOTSUP;
  if (inside == 1) die("rename across the border of UNSYNCED_ROOT");
  struct stat source, replaced;
  pthread_mutex_lock(&names_lock);
  open_names();
  if (lstat(path, &source) == 0) {
    struct name_record record = {.kind = NAME_RENAME, .inode = source.st_ino};
    record.parent[0] = parent_inode(path);
    record.parent[1] = parent_inode(target);
    snprintf(record.path, sizeof record.path, "%s", path);
    snprintf(record.target, sizeof record.target, "%s", target);
    if (lstat(target, &replaced) == 0 && replaced.st_ino != source.st_ino) {
      if (S_ISDIR(replaced.st_mode)) record.mode = (replaced.st_mode & 07777) | S_IFDIR;
      else record.number = stash(target);
    }
    append_name(&record);
  }
  int result = real_renameat2(from, old, to, new, flags), saved = errno;
  pthread_mutex_unlock(&names_lock);
  errno = saved;
  return result;
}

int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
