/* Completes calls from threads of their own, at a moment that the file chooses; quiesce and destroy wait for them as
 * good ones do, unless the file says otherwise. */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#include "skein_plugin.h"

struct authenticator;
struct later {
  struct authenticator *self;
  skein_call call;
  uint64_t at;
  skein_status status;
};
static void later(struct authenticator *self, skein_call call, uint64_t at, skein_status status);
static void when_none_is_open(struct authenticator *self, skein_call done);
static inline uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
static inline void sleep_until(uint64_t at) {
  struct timespec time = {(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, 0);
}
