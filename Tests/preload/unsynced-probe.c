// Small programs that test.sh runs under unsynced.so.
//
//   unsynced-probe script DIR          a fixed list of synced and unsynced changes, then SIGKILL
//   unsynced-probe script-all DIR      the same around one syncfs; runs `sync-all` in a second process
//   unsynced-probe load DIR ACKS BUG   four threads append records to segments for ever, and note in ACKS
//                                      (outside DIR) what they have synced; BUG is none, data or names
//   unsynced-probe check DIR ACKS      everything noted is there, in order
//   unsynced-probe bench DIR           64 KiB writes, each synced, and unsynced ones, for a second each
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, RECORD = 512, PER_SEGMENT = 40 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

#define MUST(call) ((call) < 0 ? die(#call) : (void)0)

static int open_file(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) die(path);
  return fd;
}

static void sync_folder(const char *path) {
  int fd = open_file(path, O_RDONLY | O_DIRECTORY);
  MUST(fsync(fd));
  close(fd);
}

static void put(const char *path, const char *text, int syncs) {
  int fd = open_file(path, O_RDWR | O_CREAT);
  MUST(pwrite(fd, text, strlen(text), 0));
  if (syncs) MUST(fdatasync(fd));
  close(fd);
}

static void script(void) {
  MUST(mkdir("kept", 0700));
  put("overwritten", "old old old", 1);
  put("grown", "abc", 1);
  put("shrunk", "0123456789", 1);
  put("removed", "still here", 1);
  put("replaced", "before", 1);
  put("moved", "moved", 1);
  put("kept/synced", "synced", 1);
  put("truncated-on-open", "whole", 1);
  MUST(mkdir("emptied", 0700));
  sync_folder("kept");
  sync_folder(".");
  // Nothing below is synced, except where it says so.
  put("overwritten", "NEW", 0);
  put("overwritten", "NEWER", 0);
  int fd = open_file("grown", O_WRONLY | O_APPEND);
  struct iovec parts[2] = {{"de", 2}, {"f", 1}};
  MUST(writev(fd, parts, 2));
  MUST(fallocate(fd, 0, 0, 8192));
  fd = open_file("shrunk", O_RDWR);
  MUST(ftruncate(fd, 4));
  MUST(pwritev(fd, parts, 2, 2));
  fd = open_file("truncated-on-open", O_RDWR | O_TRUNC);
  MUST(write(fd, "x", 1));
  put("replacement", "after", 1);
  MUST(rename("replacement", "replaced"));
  MUST(unlink("removed"));
  MUST(rename("moved", "kept/moved"));
  MUST(rmdir("emptied"));
  MUST(mkdir("lost", 0700));
  put("lost/synced-in-vain", "x", 1);
  sync_folder("lost");
  put("kept/lost", "x", 1);
  put("kept/synced", "SYNCED", 1);
  int again = open_file("kept/synced", O_RDWR);
  MUST(pwrite(again, "??????", 6, 0));
  fd = dup(again);
  MUST(pwrite(fd, "!!", 2, 100000));
  MUST(kill(getpid(), SIGKILL));
}

// As much again, then one sync of everything, then one more unsynced change of each sort.
static void script_all(void) {
  put("left", "by an earlier process", 0);
  if (fork() == 0) {
    // A process of its own: what the first one left behind is made durable too.
    execl("/proc/self/exe", "unsynced-probe", "sync-all", ".", (char *)0);
    die("exec");
  }
  MUST(wait(0));
  MUST(kill(getpid(), SIGKILL));
}

static void sync_all(void) {
  MUST(mkdir("folder", 0700));
  put("folder/file", "synced", 0);
  put("old-name", "x", 0);
  MUST(rename("old-name", "new-name"));
  int fd = open_file(".", O_RDONLY | O_DIRECTORY);
  MUST(syncfs(fd));
  put("folder/file", "AFTER!", 0);
  put("folder/late", "x", 1);
  MUST(unlink("new-name"));
  MUST(kill(getpid(), SIGKILL));
}

// ---- Load

static const char *bug;
static int acks;

static void fill(uint64_t *record, int thread, uint64_t number) {
  for (int i = 0; i < RECORD / 8; i++) record[i] = number * 1000003u + (uint64_t)thread * 31u + (uint64_t)i;
  record[0] = number;
}

static void segment_path(char *path, int thread, uint64_t segment) {
  snprintf(path, 64, "t%d/seg-%llu", thread, (unsigned long long)segment);
}

// The records of a thread that are there, whole and in order, from the first on.
static uint64_t recover(int thread) {
  uint64_t number = 0;
  for (;;) {
    char path[64];
    segment_path(path, thread, number / PER_SEGMENT);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return number;
    int whole = 1;
    while (whole) {
      uint64_t found[RECORD / 8], wanted[RECORD / 8];
      fill(wanted, thread, number);
      off_t at = (off_t)(number % PER_SEGMENT * RECORD);
      whole = pread(fd, found, RECORD, at) == RECORD && memcmp(found, wanted, RECORD) == 0;
      if (whole && ++number % PER_SEGMENT == 0) break;
    }
    close(fd);
    if (!whole) return number;
  }
}

static void *append_for_ever(void *argument) {
  int thread = (int)(intptr_t)argument, fd = -1;
  uint64_t number = recover(thread);
  char folder[16], path[64];
  snprintf(folder, sizeof folder, "t%d", thread);
  uint64_t opened = UINT64_MAX;
  if (number > 0) {
    // What was found after a restart may be in the page cache only (R53).
    segment_path(path, thread, (number - 1) / PER_SEGMENT);
    fd = open_file(path, O_RDWR);
    MUST(fdatasync(fd));
  }
  for (;; ) {
    uint64_t segment = number / PER_SEGMENT;
    if (segment != opened) {
      if (fd >= 0) close(fd);
      segment_path(path, thread, segment);
      fd = open_file(path, O_RDWR | O_CREAT);
      if (strcmp(bug, "names") != 0) sync_folder(folder);
      opened = segment;
    }
    uint64_t records[5][RECORD / 8];
    struct iovec parts[5];
    int count = 0;
    do {
      fill(records[count], thread, number + (uint64_t)count);
      parts[count] = (struct iovec){records[count], RECORD};
      count++;
    } while (count < 5 && (number + (uint64_t)count) % PER_SEGMENT != 0);
    MUST(pwritev(fd, parts, count, (off_t)(number % PER_SEGMENT * RECORD)));
    if (strcmp(bug, "data") != 0) MUST(fdatasync(fd));
    number += (uint64_t)count;
    // Outside the root, so SIGKILL keeps it: what was promised.
    MUST(pwrite(acks, &number, sizeof number, thread * (off_t)sizeof number));
    if (strcmp(bug, "data") == 0) MUST(fdatasync(fd));
  }
  return 0;
}

static void load(void) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    char folder[16];
    snprintf(folder, sizeof folder, "t%d", i);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) die("mkdir");
  }
  sync_folder(".");
  for (intptr_t i = 0; i < THREADS; i++) pthread_create(&threads[i], 0, append_for_ever, (void *)i);
  pthread_join(threads[0], 0);
}

static int check(void) {
  int failures = 0;
  for (int thread = 0; thread < THREADS; thread++) {
    uint64_t promised = 0;
    if (pread(acks, &promised, sizeof promised, thread * (off_t)sizeof promised) < 0) die("acks");
    uint64_t found = recover(thread);
    if (found < promised) {
      printf("thread %d: %llu promised, %llu found\n", thread, (unsigned long long)promised,
             (unsigned long long)found);
      failures++;
    }
  }
  return failures ? 3 : 0;
}

// ---- Bench

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void bench(void) {
  static char block[1 << 16];
  memset(block, 7, sizeof block);
  int fd = open_file("bench", O_RDWR | O_CREAT);
  for (int i = 0; i < 512; i++) MUST(pwrite(fd, block, sizeof block, (off_t)i * (off_t)sizeof block));
  MUST(fsync(fd));
  for (int syncs = 1; syncs >= 0; syncs--) {
    double start = now();
    long count = 0;
    while (now() - start < 1) {
      MUST(pwrite(fd, block, sizeof block, (off_t)(count++ % 512) * (off_t)sizeof block));
      if (syncs || count % 512 == 0) MUST(fdatasync(fd));
    }
    printf("%s: %ld writes/s of 64 KiB\n", syncs ? "each synced" : "synced every 32 MiB",
           (long)((double)count / (now() - start)));
  }
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  if (count > 3) {
    acks = open_file(arguments[3], O_RDWR | O_CREAT);
    bug = count > 4 ? arguments[4] : "none";
  }
  if (chdir(arguments[2]) != 0) die(arguments[2]);
  if (strcmp(arguments[1], "script") == 0) script();
  else if (strcmp(arguments[1], "script-all") == 0) script_all();
  else if (strcmp(arguments[1], "sync-all") == 0) sync_all();
  else if (strcmp(arguments[1], "load") == 0 && acks) load();
  else if (strcmp(arguments[1], "check") == 0 && acks) return check();
  else if (strcmp(arguments[1], "bench") == 0) bench();
  else return 2;
  return 0;
}
