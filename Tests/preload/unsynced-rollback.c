// Takes back whatever unsynced.so knows to be unsynced: what a power cut would have left.
//
//   unsynced-rollback STATE            everything unsynced is lost
//   unsynced-rollback STATE SEED       of each file and of the names, a random part of the newest changes
//                                      is lost; the oldest lost write is torn
//
// No process may use the files. Undoing twice gives the same result, so it may be killed and repeated.
#define _GNU_SOURCE
#include "unsynced.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *state;
static int partial;
static uint64_t seed;
static unsigned long long files, writes, bytes, names;

static void die(const char *what, const char *path) {
  fprintf(stderr, "unsynced-rollback: %s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static uint64_t below(uint64_t bound) {
  seed += 0x9e3779b97f4a7c15ull;
  uint64_t word = seed;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
  return (word ^ (word >> 31)) % bound;
}

static void *allocate(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) die("memory", "");
  return memory;
}

static void read_all(int fd, void *to, size_t count, off_t at, const char *path) {
  for (size_t done = 0; done < count;) {
    ssize_t got = pread(fd, (char *)to + done, count - done, at + (off_t)done);
    if (got <= 0) die("read", path);
    done += (size_t)got;
  }
}

// The places of the whole records of a log, oldest first.
static size_t index_records(int log, uint64_t start, uint64_t size, uint64_t **places, const char *path) {
  size_t count = 0, room = 0;
  *places = 0;
  for (uint64_t at = start;;) {
    struct undo_record record;
    uint64_t seal;
    if (at + sizeof record + sizeof seal > size) break;
    read_all(log, &record, sizeof record, (off_t)at, path);
    if (record.magic != UNSYNCED_MAGIC || record.length > size - at - sizeof record - sizeof seal) break;
    read_all(log, &seal, sizeof seal, (off_t)(at + sizeof record + record.length), path);
    if (seal != record.seal) break;
    if (count == room) {
      room = room ? 2 * room : 64;
      *places = realloc(*places, room * sizeof **places);
      if (!*places) die("memory", path);
    }
    (*places)[count++] = at;
    at += sizeof record + record.length + sizeof seal;
  }
  return count;
}

static void undo(int log, int file, uint64_t at, int torn, const char *path) {
  struct undo_record record;
  read_all(log, &record, sizeof record, (off_t)at, path);
  char *old = allocate(record.length);
  read_all(log, old, record.length, (off_t)(at + sizeof record), path);
  // A torn write keeps its first bytes.
  uint64_t kept = torn ? below(record.length + 1) : 0;
  for (uint64_t done = kept; done < record.length;) {
    ssize_t count = pwrite(file, old + done, record.length - done, record.offset + (off_t)done);
    if (count <= 0) die("write", path);
    done += (uint64_t)count;
  }
  if (!torn && ftruncate(file, record.old_size) != 0) die("truncate", path);
  writes++;
  bytes += record.length - kept;
  free(old);
}

static void undo_file(const char *name) {
  char path[PATH_MAX], target[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", state, name);
  snprintf(target, sizeof target, "%s/ref-%s", state, name + 2);
  int log = open(path, O_RDONLY);
  struct stat status;
  struct undo_header header;
  if (log < 0 || fstat(log, &status) != 0) die("open", path);
  // Shorter: killed before the first record. No link: the file lost its last name before its first write.
  int file = status.st_size < UNSYNCED_HEADER ? -1 : open(target, O_RDWR);
  if (file >= 0) {
    read_all(log, &header, sizeof header, 0, path);
    uint64_t *places = 0;
    size_t count = header.magic != UNSYNCED_MAGIC
                       ? 0
                       : index_records(log, header.start, (uint64_t)status.st_size, &places, path);
    size_t lost = partial && count ? below(count + 1) : count;
    for (size_t i = 0; i < lost; i++)
      undo(log, file, places[count - 1 - i], partial && i + 1 == lost && lost < count, path);
    if (lost) files++;
    free(places);
    close(file);
  } else if (errno != ENOENT && status.st_size >= UNSYNCED_HEADER) {
    die("open", target);
  }
  close(log);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
  (void)status, (void)kind, (void)place;
  return remove(path);
}

static uint64_t inode_of(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0 ? status.st_ino : 0;
}

static void restore_stash(uint64_t number, const char *path) {
  char kept[PATH_MAX];
  snprintf(kept, sizeof kept, "%s/stash-%llu", state, (unsigned long long)number);
  if (inode_of(path) == 0 && rename(kept, path) != 0 && errno != ENOENT) die("restore", path);
}

// A record may stand for a change that was never made: the process died in between.
static void undo_name(const struct name_record *record) {
  const char *path = record->path;
  switch (record->kind) {
    case NAME_CREATE:
      if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR) die("unlink", path);
      break;
    case NAME_MKDIR:
      if (inode_of(path) && nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) die("remove", path);
      break;
    case NAME_UNLINK: restore_stash(record->number, path); break;
    case NAME_RMDIR:
      if (mkdir(path, record->mode) != 0 && errno != EEXIST) die("mkdir", path);
      break;
    case NAME_RENAME:
      if (inode_of(record->target) != record->inode) break;
      if (rename(record->target, path) != 0) die("rename", path);
      if (record->number) restore_stash(record->number, record->target);
      if (S_ISDIR(record->mode) && mkdir(record->target, record->mode & 07777) != 0) die("mkdir", path);
      break;
  }
  names++;
}

static void undo_names(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/names", state);
  int log = open(path, O_RDONLY);
  if (log < 0) return;
  struct stat status;
  if (fstat(log, &status) != 0) die("open", path);
  size_t count = (size_t)status.st_size / sizeof(struct name_record), pending = 0;
  struct name_record *records = allocate(count * sizeof *records);
  for (size_t i = 0; i < count; i++) {
    struct name_record *record = &records[pending];
    read_all(log, record, sizeof *record, (off_t)(i * sizeof *record), path);
    if (record->magic != UNSYNCED_MAGIC || record->seal != UNSYNCED_MAGIC) break;
    if (!(record->durable[0] && record->durable[1])) pending++;
  }
  size_t lost = partial && pending ? below(pending + 1) : pending;
  for (size_t i = 0; i < lost; i++) undo_name(&records[pending - 1 - i]);
  free(records);
  close(log);
}

// Calls `body` with every entry of the state folder whose name begins with `prefix`, sorted, so that a
// seed gives the same result each time.
static void each(const char *prefix, void (*body)(const char *)) {
  struct dirent **entries;
  int count = scandir(state, &entries, 0, alphasort);
  if (count < 0) die("list", state);
  for (int i = 0; i < count; i++) {
    if (strncmp(entries[i]->d_name, prefix, strlen(prefix)) == 0) body(entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
}

static void discard(const char *name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", state, name);
  if (unlink(path) != 0) die("unlink", path);
}

int main(int count, char **arguments) {
  if (count < 2 || count > 3) {
    fprintf(stderr, "usage: unsynced-rollback STATE [SEED]\n");
    return 2;
  }
  state = arguments[1];
  if (count == 3) {
    partial = 1;
    seed = strtoull(arguments[2], 0, 10);
  }
  each("u-", undo_file);
  undo_names();
  // Killed from here on, a second run finds less to undo, but nothing wrong: the logs of files go first,
  // then names, then what only kept inodes alive.
  each("u-", discard);
  each("names", discard);
  each("stash-", discard);
  each("ref-", discard);
  printf("rolled back %llu writes (%llu bytes) in %llu files, %llu names\n", writes, bytes, files, names);
  return 0;
}
