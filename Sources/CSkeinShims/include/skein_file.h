#pragma once
#include <stdint.h>

/// fallocate(2) with FALLOC_FL_KEEP_SIZE, which Swift's Glibc does not export: reserves blocks and
/// leaves the file's size alone. Returns 0, or errno.
int skein_fallocate_keeping_size(int descriptor, int64_t offset, int64_t count);

/// syncfs(2), which Swift's Glibc does not export. Returns 0, or errno; never repeated, not even on
/// EINTR, because an error that a first call has seen is not reported again.
int skein_syncfs(int descriptor);
