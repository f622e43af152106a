// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78).
//
// The hardware path runs three independent streams to hide the 3-cycle latency of the crc32
// instruction, and joins them with tables that advance a CRC over a fixed number of zero bytes
// (the construction is described in Intel's white paper "Fast CRC Computation for iSCSI
// Polynomial Using CRC32 Instruction").
#include "skein_crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82F63B78u
enum { LANE = 1024 };  // bytes per stream and round

static uint32_t bytewise[8][256];
static uint32_t advance_lane[4][256];   // CRC advanced over LANE zero bytes
static uint32_t advance_two[4][256];    // ... over 2 * LANE zero bytes
static int hardware;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t over_zeros(uint32_t crc, size_t count) {
  while (count--) crc = bytewise[0][crc & 255] ^ (crc >> 8);
  return crc;
}

static void fill(uint32_t table[4][256], size_t zeros) {
  // Advancing is linear over GF(2): compute it for each bit, then combine.
  uint32_t bit[32];
  for (int i = 0; i < 32; i++) bit[i] = over_zeros(1u << i, zeros);
  for (int byte = 0; byte < 4; byte++)
    for (int value = 0; value < 256; value++) {
      uint32_t crc = 0;
      for (int i = 0; i < 8; i++)
        if (value >> i & 1) crc ^= bit[byte * 8 + i];
      table[byte][value] = crc;
    }
}

static void prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
    bytewise[0][i] = crc;
  }
  for (int k = 1; k < 8; k++)
    for (uint32_t i = 0; i < 256; i++)
      bytewise[k][i] = bytewise[0][bytewise[k - 1][i] & 255] ^ (bytewise[k - 1][i] >> 8);
  fill(advance_lane, LANE);
  fill(advance_two, 2 * LANE);
#if defined(__x86_64__)
  hardware = __builtin_cpu_supports("sse4.2");
#endif
}

uint32_t skein_crc32c_portable(uint32_t seed, const void *data, size_t length) {
  pthread_once(&once, prepare);
  const uint8_t *p = data;
  uint32_t crc = ~seed;
  while (length >= 8) {
    uint32_t a, b;
    memcpy(&a, p, 4);
    memcpy(&b, p + 4, 4);
    a ^= crc;  // little-endian hosts only: x86-64 and AArch64
    crc = bytewise[7][a & 255] ^ bytewise[6][a >> 8 & 255] ^ bytewise[5][a >> 16 & 255] ^
          bytewise[4][a >> 24] ^ bytewise[3][b & 255] ^ bytewise[2][b >> 8 & 255] ^
          bytewise[1][b >> 16 & 255] ^ bytewise[0][b >> 24];
    p += 8;
    length -= 8;
  }
  while (length--) crc = bytewise[0][(crc ^ *p++) & 255] ^ (crc >> 8);
  return ~crc;
}

#if defined(__x86_64__)
static inline uint32_t advanced(const uint32_t table[4][256], uint32_t crc) {
  return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^
         table[3][crc >> 24];
}

static inline uint64_t word(const uint8_t *p) {
  uint64_t value;
  memcpy(&value, p, 8);
  return value;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(
    uint32_t seed, const uint8_t *p, size_t length) {
  uint64_t crc = (uint32_t)~seed;
  while (length >= 3 * LANE) {
    uint64_t second = 0, third = 0;
    for (const uint8_t *end = p + LANE; p < end; p += 8) {
      crc = __builtin_ia32_crc32di(crc, word(p));
      second = __builtin_ia32_crc32di(second, word(p + LANE));
      third = __builtin_ia32_crc32di(third, word(p + 2 * LANE));
    }
    crc = advanced(advance_two, (uint32_t)crc) ^ advanced(advance_lane, (uint32_t)second) ^
          (uint32_t)third;
    p += 2 * LANE;
    length -= 3 * LANE;
  }
  while (length >= 8) {
    crc = __builtin_ia32_crc32di(crc, word(p));
    p += 8;
    length -= 8;
  }
  while (length--) crc = __builtin_ia32_crc32qi((uint32_t)crc, *p++);
  return ~(uint32_t)crc;
}
#endif

uint32_t skein_crc32c(uint32_t seed, const void *data, size_t length) {
  pthread_once(&once, prepare);
#if defined(__x86_64__)
  if (hardware) return by_instruction(seed, data, length);
#endif
  return skein_crc32c_portable(seed, data, length);
}
