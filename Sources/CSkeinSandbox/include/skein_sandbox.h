#pragma once
#include <stddef.h>
#include <stdint.h>

/// What a child gives up before it loads a plug-in. Docs/plugins/operate.md says what is left.
typedef struct skein_sandbox {
  int32_t parent;            /* the broker's pid: the child ends with it */
  uint32_t uid, gid;         /* become this user first; 0: stay who we are */
  uint64_t address_space;    /* bytes (RLIMIT_AS) */
  uint32_t descriptors;      /* RLIMIT_NOFILE */
  int32_t network;           /* 1: sockets of IPv4 and IPv6 are allowed */
  const char *const *paths;  /* what may be read, absolute; ends with NULL */
} skein_sandbox;

/// Applies all of it to the calling process; one thread only. `why` gets a sentence on failure. Returns 0 or 1.
/// `*landlock`: the version of Landlock that is in force, 0 if the kernel has none.
int skein_sandbox_enter(const skein_sandbox *sandbox, int *landlock, char *why, size_t why_size);
