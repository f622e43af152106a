#define _GNU_SOURCE
#include "skein_process.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

int skein_sealed_image(const void *bytes, size_t count, const char *name) {
  // Kernels before 6.3 do not know MFD_EXEC; later ones may refuse to map without it.
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  const char *p = bytes;
  while (count > 0) {
    ssize_t n = write(fd, p, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int code = n < 0 ? errno : EIO;
      close(fd);
      return -code;
    }
    p += n;
    count -= (size_t)n;
  }
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    int code = errno;
    close(fd);
    return -code;
  }
  return fd;
}

int skein_socket_pair(int *ours, int *theirs) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return errno;
  *ours = pair[0];
  *theirs = pair[1];
  return 0;
}

int skein_error_pipe(int *reader, int *writer) {
  int pair[2];
  if (pipe2(pair, O_CLOEXEC) != 0) return errno;
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  fcntl(pair[1], F_SETFL, O_NONBLOCK);  // a plug-in that prints too much loses text, and does not wait for us
  *reader = pair[0];
  *writer = pair[1];
  return 0;
}

int skein_spawn(const char *path, char *const argv[], int socket, int image, int error, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int code = posix_spawn_file_actions_init(&actions);
  if (code != 0) return code;
  code = posix_spawnattr_init(&attributes);
  if (code != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return code;
  }
  // Copies above the targets first: a source may itself have one of the numbers 0 to 4.
  int high_socket = fcntl(socket, F_DUPFD_CLOEXEC, 16), high_image = fcntl(image, F_DUPFD_CLOEXEC, 16),
      high_error = fcntl(error, F_DUPFD_CLOEXEC, 16);
  if (high_socket < 0 || high_image < 0 || high_error < 0) code = errno;
  if (code == 0) code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (code == 0) code = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, high_error, 2);
  if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, high_socket, 3);
  if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, high_image, 4);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  if (code == 0) code = posix_spawnattr_setsigmask(&attributes, &none);
  if (code == 0) code = posix_spawnattr_setsigdefault(&attributes, &all);
  if (code == 0) code = posix_spawnattr_setpgroup(&attributes, 0);
  if (code == 0)
    code = posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  char *environment[] = {"PATH=/usr/bin:/bin", "SWIFT_BACKTRACE=enable=no", NULL};
  if (code == 0) code = posix_spawn(pid, path, &actions, &attributes, argv, environment);
  if (high_socket >= 0) close(high_socket);
  if (high_image >= 0) close(high_image);
  if (high_error >= 0) close(high_error);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

int skein_reap(pid_t pid, int grace_ms, int *code, int *signal) {
  int status = 0;
  pid_t got = 0;
  for (int waited = 0; got == 0; waited++) {
    got = waitpid(pid, &status, WNOHANG);
    if (got < 0 && errno == EINTR) got = 0;
    if (got != 0) break;
    if (waited >= grace_ms) {
      skein_kill(pid);
      do got = waitpid(pid, &status, 0);
      while (got < 0 && errno == EINTR);
      break;
    }
    usleep(1000);
  }
  if (got < 0) return errno;
  *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  *signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return 0;
}

void skein_kill(pid_t pid) {
  if (pid <= 1) return;  // never a group of ours, never everybody
  kill(pid, SIGKILL);
  kill(-pid, SIGKILL);
}

int skein_usage(pid_t pid, int64_t *resident_bytes, int64_t *threads, int64_t *descriptors) {
  char path[64], text[4096];
  *resident_bytes = *threads = *descriptors = -1;
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  ssize_t n = read(fd, text, sizeof text - 1);
  int code = n < 0 ? errno : 0;
  close(fd);
  if (n < 0) return code;
  text[n] = 0;
  const char *found = strstr(text, "\nVmRSS:");
  if (found) *resident_bytes = strtoll(found + 7, NULL, 10) * 1024;
  found = strstr(text, "\nThreads:");
  if (found) *threads = strtoll(found + 9, NULL, 10);
  snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  DIR *folder = opendir(path);
  if (folder) {
    int64_t count = 0;
    while (readdir(folder)) count++;
    closedir(folder);
    *descriptors = count - 2;  // without "." and ".."
  }
  return 0;
}

void *skein_load(int descriptor, char *why, size_t why_size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  void *entry = library ? dlsym(library, "skein_plugin_entry") : NULL;
  if (!entry) {
    const char *text = dlerror();
    snprintf(why, why_size, "%s", text ? text : "it does not export skein_plugin_entry");
  }
  return entry;
}

struct start {
  void (*body)(void *);
  void *argument;
};

static void *run(void *raw) {
  struct start start = *(struct start *)raw;
  free(raw);
  start.body(start.argument);
  return NULL;
}

int skein_thread(void (*body)(void *), void *argument, size_t stack) {
  struct start *start = malloc(sizeof *start);
  if (!start) return ENOMEM;
  *start = (struct start){body, argument};
  pthread_attr_t attributes;
  int code = pthread_attr_init(&attributes);
  if (code == 0) {
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, stack);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    code = pthread_create(&thread, &attributes, run, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
  }
  if (code != 0) free(start);
  return code;
}

void skein_error_text(int code, char *text, size_t size) {
  snprintf(text, size, "%s", strerrordesc_np(code) ? strerrordesc_np(code) : "unknown error");
}

int skein_hide(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno; }
