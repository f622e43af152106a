/* Breaks: partitioner.speed. Ten thousand rounds a record. */
#define PLUGIN_ID "bad.slow"
#include "skein_plugin.h"
static int32_t slowly(skein_bytes key, int32_t count);
#define PLACE(self, key, count) slowly(key, count)
#include "partitioner.h"
static int32_t slowly(skein_bytes key, int32_t count) {
  for (volatile int turn = 0; turn < 6000; turn = turn + 1) {}
  return fnv(key, count);
}
