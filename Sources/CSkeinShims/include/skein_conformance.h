#pragma once
#include <stddef.h>
#include <stdint.h>

/// What the conformance kit needs of Linux and Swift's Glibc does not export.

/// A sealed memfd with `length` bytes of `data`: nobody can change, shrink or grow it any more. Closed by exec.
/// Returns the descriptor, or -errno.
int skein_conformance_sealed(const char *name, const void *data, size_t length);

/// An unsealed memfd of `length` zero bytes, for a page that two processes share. Returns the descriptor, or -errno.
int skein_conformance_page(const char *name, size_t length);

/// Makes this process a child that cannot outlive its parent, gain privileges or leave a core file, and whose
/// orphans become its own children. Returns 0, or errno.
int skein_conformance_confine(uint64_t address_space, uint64_t cpu_seconds, uint64_t descriptors);

/// Bytes that malloc has given out and not got back, over all arenas.
uint64_t skein_conformance_heap_bytes(void);

/// Kills and reaps every child of this process. Returns how many there were.
int skein_conformance_reap_all(void);

/// Digests of what plug-ins must leave alone: handlers of all signals, this thread's mask, umask, the working folder,
/// the environment.
typedef struct skein_conformance_state {
  uint64_t handlers, mask, umask, folder, environment;
} skein_conformance_state;
void skein_conformance_read_state(skein_conformance_state *out);
