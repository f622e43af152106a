#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC-32C of `length` bytes at `data`, continued from `seed` (0 to begin).
uint32_t skein_crc32c(uint32_t seed, const void *data, size_t length);

/// The same by table; for processors without the instruction and for the test that compares both.
uint32_t skein_crc32c_portable(uint32_t seed, const void *data, size_t length);
