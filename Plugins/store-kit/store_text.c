#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store.h"

static bool has_room(store_text *text, size_t more) {
  if (text->failed) return false;
  if (text->capacity > text->length && text->capacity - text->length > more) return true;
  if (more >= SIZE_MAX / 4 || text->length >= SIZE_MAX / 4) {
    text->failed = true;
    return false;
  }
  const size_t wanted = (text->length + more + 1) * 2;
  char *bytes = realloc(text->bytes, wanted);
  if (bytes == NULL) {
    text->failed = true;
    return false;
  }
  text->bytes = bytes;
  text->capacity = wanted;
  return true;
}

void store_text_add(store_text *text, const char *bytes, size_t length) {
  if (!has_room(text, length)) return;
  if (length > 0) memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
  text->bytes[text->length] = 0;
}

void store_text_put(store_text *text, const char *string) { store_text_add(text, string, strlen(string)); }

void store_text_format(store_text *text, const char *format, ...) {
  char small[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(small, sizeof small, format, arguments);
  va_end(arguments);
  if (length < 0) {
    text->failed = true;
  } else if ((size_t)length < sizeof small) {
    store_text_add(text, small, (size_t)length);
  } else if (has_room(text, (size_t)length)) {
    va_start(arguments, format);
    vsnprintf(text->bytes + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
  }
}

void store_text_free(store_text *text) {
  free(text->bytes);
  *text = (store_text){0};
}

bool store_number(const char *text, size_t length, int64_t *value) {
  const bool is_negative = length > 0 && text[0] == '-';
  size_t i = is_negative ? 1 : 0;
  int64_t sum = 0;
  if (i == length) return false;
  for (; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    const int64_t digit = text[i] - '0';
    if (__builtin_mul_overflow(sum, 10, &sum)) return false;
    if (is_negative ? __builtin_sub_overflow(sum, digit, &sum) : __builtin_add_overflow(sum, digit, &sum)) return false;
  }
  *value = sum;
  return true;
}

uint64_t store_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t store_backoff_next(store_backoff *backoff) {
  const unsigned doublings = backoff->failures < 8 ? backoff->failures : 8;
  backoff->failures++;
  uint64_t most = (uint64_t)50000000 << doublings;
  if (most > 10000000000u) most = 10000000000u;
  /* xorshift: brokers that lost the same database must not all come back at once. */
  if (backoff->seed == 0) backoff->seed = store_now() ^ (uint64_t)(uintptr_t)backoff;
  backoff->seed ^= backoff->seed << 13;
  backoff->seed ^= backoff->seed >> 7;
  backoff->seed ^= backoff->seed << 17;
  return most / 2 + backoff->seed % (most / 2 + 1);
}
