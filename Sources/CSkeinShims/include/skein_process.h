#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// What the broker needs around a child in which a plug-in runs. All block; none may be called on an event loop.

/// A file in memory that holds `count` bytes and can never change or grow again (memfd, all seals), closed on exec.
/// Returns its descriptor, or -errno.
int skein_sealed_image(const void *bytes, size_t count, const char *name);

/// Two connected stream sockets, closed on exec. Returns 0, or errno.
int skein_socket_pair(int *ours, int *theirs);

/// A pipe, closed on exec; reading does not block. Returns 0, or errno.
int skein_error_pipe(int *reader, int *writer);

/// Starts `path` with `socket` as its descriptor 3, `image` as 4, `error` as 2, /dev/null as 0 and 1, an environment
/// of its own, no blocked or ignored signals, in its own process group. No Swift and no allocation happens between
/// fork and exec (posix_spawn). `argv` ends with NULL. Returns 0 and `*pid`, or errno.
///
/// The child asks to be killed with its parent, which the kernel takes to be the thread that called this: call it from
/// a thread that lives as long as the process.
int skein_spawn(const char *path, char *const argv[], int socket, int image, int error, pid_t *pid);

/// Waits for the end of `pid`; kills it if it is still there after `grace_ms`. Returns 0 and `*code` (>= 0, else -1) and
/// `*signal` (0: none), or errno.
int skein_reap(pid_t pid, int grace_ms, int *code, int *signal);

/// Kills `pid` and everything in its process group.
void skein_kill(pid_t pid);

/// What a process uses now, from /proc; -1 where it cannot be read. Returns 0, or errno.
int skein_usage(pid_t pid, int64_t *resident_bytes, int64_t *threads, int64_t *descriptors);

/// dlopen of what `descriptor` holds: RTLD_NOW, RTLD_LOCAL, RTLD_NODELETE. The descriptor must never be closed: the
/// loader knows libraries by name first, and a number that is used again would give the old one back.
/// Returns the symbol `skein_plugin_entry`, or NULL with the reason in `why`.
void *skein_load(int descriptor, char *why, size_t why_size);

/// Starts a detached thread with `stack` bytes of stack, all signals blocked. Returns 0, or errno.
int skein_thread(void (*body)(void *), void *argument, size_t stack);

/// No core dumps of this process, and no look into its /proc files (environment, maps, memory) by other processes of the
/// same user, plug-ins among them; root may still look. Returns 0, or errno.
int skein_hide(void);

/// What an errno says, in `text`; any thread.
void skein_error_text(int code, char *text, size_t size);
