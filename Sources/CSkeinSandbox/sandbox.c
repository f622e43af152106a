// The order matters: who we are, then what the kernel will not give back (no new privileges, resource limits,
// Landlock), and last the filter of system calls, which would refuse all of the above.
#define _GNU_SOURCE
#include "skein_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <malloc.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failed(char *why, size_t size, const char *what) {
  snprintf(why, size, "%s: %s", what, strerror(errno));
  return 1;
}

// MARK: Who we are, and with whom we end

static int become(const skein_sandbox *s, char *why, size_t size) {
  if (s->uid == 0 || geteuid() == s->uid) return 0;
  if (setgroups(0, NULL) != 0) return failed(why, size, "setgroups");
  if (setresgid(s->gid, s->gid, s->gid) != 0) return failed(why, size, "setresgid");
  if (setresuid(s->uid, s->uid, s->uid) != 0) return failed(why, size, "setresuid");
  return 0;
}

static int end_with_parent(const skein_sandbox *s, char *why, size_t size) {
  // After the change of user, which clears it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return failed(why, size, "PR_SET_PDEATHSIG");
  if (s->parent != 0 && getppid() != s->parent) {
    snprintf(why, size, "the broker ended before its child began");
    return 1;
  }
  return 0;
}

// MARK: Limits

static int limit(int what, rlim_t value) {
  struct rlimit had, wanted = {value, value};
  if (getrlimit(what, &had) == 0 && had.rlim_max < value) wanted.rlim_cur = wanted.rlim_max = had.rlim_max;
  return setrlimit(what, &wanted);
}

static int limit_all(const skein_sandbox *s, char *why, size_t size) {
  // Few malloc arenas: each reserves 64 MiB of address space.
  mallopt(M_ARENA_MAX, 2);
  if (limit(RLIMIT_CORE, 0) != 0) return failed(why, size, "RLIMIT_CORE");
  if (limit(RLIMIT_NOFILE, s->descriptors) != 0) return failed(why, size, "RLIMIT_NOFILE");
  if (limit(RLIMIT_FSIZE, 0) != 0) return failed(why, size, "RLIMIT_FSIZE");
  if (limit(RLIMIT_AS, s->address_space) != 0) return failed(why, size, "RLIMIT_AS");
  // Threads of one user share RLIMIT_NPROC with all of that user's processes, so that it cannot say "no child
  // processes but threads": the filter below says that. With a user of its own it bounds threads as well.
  if (s->uid != 0 && geteuid() == s->uid && limit(RLIMIT_NPROC, 256) != 0)
    return failed(why, size, "RLIMIT_NPROC");
  return 0;
}

// MARK: Landlock

static int allow(int ruleset, const char *path, uint64_t access) {
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return 0;  // what is not there needs no rule
  struct stat info;
  if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode)) access &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR;
  struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
  long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  close(fd);
  return (int)result;
}

/// Libraries and what their start reads; nothing can be written anywhere.
static const char *const readable[] = {
    "/lib",           "/lib64",           "/usr/lib", "/usr/lib64",   "/usr/local/lib",
    "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/null", "/dev/zero",
    "/dev/urandom",   "/proc/self",       "/sys/devices/system/cpu", NULL};

/// What resolves a name and checks a server's certificate; for children with sockets.
static const char *const readable_with_network[] = {
    "/etc/hosts",    "/etc/resolv.conf", "/run/systemd/resolve",    "/etc/nsswitch.conf", "/etc/host.conf",
    "/etc/gai.conf", "/etc/services",    "/etc/ssl",                "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates", NULL};

static int restrict_files(const skein_sandbox *s, int *version, char *why, size_t size) {
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  *version = abi < 0 ? 0 : (int)abi;
  if (abi < 1) return 0;
  const uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;
  struct landlock_ruleset_attr handled = {.handled_access_fs = (1u << 13) - 1};  // all of version 1
#ifdef LANDLOCK_ACCESS_FS_REFER
  if (abi >= 2) handled.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
#endif
#ifdef LANDLOCK_ACCESS_FS_TRUNCATE
  if (abi >= 3) handled.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
#endif
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
  if (ruleset < 0) return failed(why, size, "landlock_create_ruleset");
  int code = 0;
  for (const char *const *p = readable; *p && code == 0; p++) code = allow(ruleset, *p, reading);
  for (const char *const *p = readable_with_network; s->network && *p && code == 0; p++)
    code = allow(ruleset, *p, reading);
  for (const char *const *p = s->paths; p && *p && code == 0; p++) code = allow(ruleset, *p, reading);
  // libdispatch, which every task of Swift runs on, reads /proc/<thread>/stat of its own threads, and traps when it
  // cannot. Threads come later than this rule, so it is for all of /proc. Memory and descriptors of other processes
  // stay closed (Landlock lets nobody trace out); of processes of the same user the environment can be read, so that a
  // child is better given a user of its own.
  if (code == 0) code = allow(ruleset, "/proc", LANDLOCK_ACCESS_FS_READ_FILE);
  if (code == 0) code = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
  if (code != 0) failed(why, size, "landlock");
  close(ruleset);
  return code != 0;
}

// MARK: System calls

/// What C and Swift run times need, and reading of files. Names that an architecture lacks are skipped.
static const char *const allowed[] = {
    "read", "readv", "pread64", "write", "writev", "close", "fstat", "newfstatat", "stat", "lstat", "statx",
    "statfs", "fstatfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "lseek",
    "getcwd", "dup", "dup2", "dup3", "fcntl", "mmap", "mprotect", "munmap", "mremap", "madvise", "brk", "mincore",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "sigaltstack", "futex",
    "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "arch_prctl", "exit",
    "exit_group", "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getpgrp", "getpgid",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times", "getrusage",
    "getrlimit", "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getrandom", "poll", "ppoll", "select", "pselect6",
    "epoll_create1", "epoll_create", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "timer_create", "timer_settime", "timer_delete", "pipe", "pipe2", "uname",
    "sysinfo", "membarrier", "restart_syscall", "pause", NULL};

/// What no plug-in does by accident: the process ends, and says which it was.
static const char *const fatal[] = {
    "fork", "vfork", "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open",
    "pidfd_getfd", "pidfd_send_signal", "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "bpf",
    "io_uring_setup", "userfaultfd", "perf_event_open", "kexec_load", "init_module", "finit_module", "keyctl",
    "add_key", "request_key", "setuid", "setgid", "setresuid", "setresgid", "setreuid", "setregid", "setgroups",
    "capset", "seccomp", NULL};

static const char *const network[] = {
    "connect", "bind", "listen", "accept", "accept4", "getsockname", "getpeername", "setsockopt", "getsockopt",
    "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown", NULL};

/// Runs in the plug-in's thread, in the middle of anything: a number to a name, and out.
static void on_refused(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  char text[160];
  const char *name = info->si_syscall == SYS_clone ? "clone (a new process)" : NULL;
  for (const char *const *p = fatal; *p && !name; p++)
    if (seccomp_syscall_resolve_name(*p) == info->si_syscall) name = *p;
  if (!name) name = info->si_syscall == seccomp_syscall_resolve_name("tgkill") ||
                            info->si_syscall == seccomp_syscall_resolve_name("kill")
                        ? "kill of another process"
                        : "a system call";
  int n = snprintf(text, sizeof text, "skein: forbidden: %s\n", name);
  if (n > 0 && write(2, text, (size_t)n) < 0) _exit(121);
  _exit(120);
}

#define ADD(action, name, ...)                                                                  \
  do {                                                                                          \
    int nr = seccomp_syscall_resolve_name(name);                                                \
    if (code == 0 && nr != __NR_SCMP_ERROR) {                                                   \
      code = seccomp_rule_add(filter, action, nr, ##__VA_ARGS__);                               \
      if (code == -EDOM || code == -EEXIST) code = 0; /* not of this architecture; said twice */ \
    }                                                                                           \
  } while (0)

static int filter_calls(const skein_sandbox *s, char *why, size_t size) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  int code = filter ? 0 : -ENOMEM;
  if (code == 0) seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree, not a list of 130
  for (const char *const *p = allowed; *p; p++) ADD(SCMP_ACT_ALLOW, *p, 0);
  for (const char *const *p = fatal; *p; p++) ADD(SCMP_ACT_TRAP, *p, 0);
  // Threads yes, processes no. clone3 has its flags in memory, where no filter looks: C libraries fall back to clone.
  ADD(SCMP_ACT_ERRNO(ENOSYS), "clone3", 0);
  ADD(SCMP_ACT_ERRNO(ENOSYS), "openat2", 0);
  ADD(SCMP_ACT_ALLOW, "clone", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
  ADD(SCMP_ACT_TRAP, "clone", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
  // Files are read only, Landlock or not.
  const uint64_t writing = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY);
  ADD(SCMP_ACT_ALLOW, "open", 1, SCMP_A1(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
  ADD(SCMP_ACT_ALLOW, "openat", 1, SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
  ADD(SCMP_ACT_ALLOW, "ioctl", 1, SCMP_A1(SCMP_CMP_EQ, FIONREAD));
  ADD(SCMP_ACT_ALLOW, "ioctl", 1, SCMP_A1(SCMP_CMP_EQ, FIONBIO));
  ADD(SCMP_ACT_ERRNO(ENOTTY), "ioctl", 1, SCMP_A1(SCMP_CMP_EQ, 0x5401 /* TCGETS */));
  // Nothing that undoes what we set: no other death signal, no dumps.
  const int controls[] = {PR_SET_NAME, PR_GET_NAME, 0x53564d41 /* PR_SET_VMA */, PR_GET_DUMPABLE};
  for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++)
    ADD(SCMP_ACT_ALLOW, "prctl", 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)controls[i]));
  // Limits of its own may be read.
  ADD(SCMP_ACT_ALLOW, "prlimit64", 2, SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));
  // Signals to itself (abort, raise) and to nobody else.
  const scmp_datum_t self = (scmp_datum_t)getpid();
  const char *const signalling[] = {"kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"};
  for (size_t i = 0; i < sizeof signalling / sizeof signalling[0]; i++) {
    ADD(SCMP_ACT_ALLOW, signalling[i], 1, SCMP_A0(SCMP_CMP_EQ, self));
    ADD(SCMP_ACT_TRAP, signalling[i], 1, SCMP_A0(SCMP_CMP_NE, self));
  }
  if (s->network) {
    ADD(SCMP_ACT_ALLOW, "socket", 1, SCMP_A0(SCMP_CMP_EQ, AF_INET));
    ADD(SCMP_ACT_ALLOW, "socket", 1, SCMP_A0(SCMP_CMP_EQ, AF_INET6));
    for (const char *const *p = network; *p; p++) ADD(SCMP_ACT_ALLOW, *p, 0);
  } else {
    ADD(SCMP_ACT_ERRNO(EACCES), "socket", 0);
  }
  if (code == 0) {
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    code = seccomp_load(filter);
  }
  if (filter) seccomp_release(filter);
  if (code != 0) {
    errno = -code;
    return failed(why, size, "seccomp");
  }
  return 0;
}

int skein_sandbox_enter(const skein_sandbox *s, int *landlock, char *why, size_t size) {
  *landlock = 0;
  if (syscall(SYS_close_range, 5u, ~0u, 0u) != 0)
    for (int fd = 5; fd < 4096; fd++) close(fd);
  if (become(s, why, size) || end_with_parent(s, why, size)) return 1;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed(why, size, "PR_SET_NO_NEW_PRIVS");
  if (restrict_files(s, landlock, why, size)) return 1;
  if (limit_all(s, why, size)) return 1;
  return filter_calls(s, why, size);
}
