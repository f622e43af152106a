#pragma once
#include <stdint.h>

/// fallocate(2) with FALLOC_FL_KEEP_SIZE, which Swift's Glibc does not export: reserves blocks and
/// leaves the file's size alone. Returns 0, or errno.
int skein_fallocate_keeping_size(int descriptor, int64_t offset, int64_t count);
