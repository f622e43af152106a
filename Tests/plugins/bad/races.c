/* Breaks: partitioner.threads. A scratch place in the instance, used by all threads at once. */
#define _GNU_SOURCE
#include <sched.h>
#define PLUGIN_ID "bad.races"
#define STATE volatile int32_t scratch;
#include "skein_plugin.h"
struct partitioner;
static int32_t through(struct partitioner *self, skein_bytes key, int32_t count);
#define PLACE(self, key, count) through(self, key, count)
#include "partitioner.h"
static int32_t through(struct partitioner *self, skein_bytes key, int32_t count) {
  self->scratch = fnv(key, count);
  if (key.ptr && key.len > 2 && (key.ptr[0] ^ key.ptr[1] ^ key.ptr[2]) % 128 == 0) sched_yield();
  return self->scratch;
}
