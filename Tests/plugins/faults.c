/* A partitioner that is a good one until a record has the key "boom", or "stop" (for ever). For Tests/plugins/faults.py. */
#include <stdlib.h>
#define PLUGIN_ID "org.skein.test-faults"
#include "skein_plugin.h"
static int32_t until_boom(skein_bytes key, int32_t count);
#define PLACE(self, key, count) until_boom(key, count)
#include "bad/partitioner.h"
static int32_t until_boom(skein_bytes key, int32_t count) {
  if (key.len == 4 && memcmp(key.ptr, "boom", 4) == 0) abort();
  for (volatile int turn = 0; key.len == 4 && memcmp(key.ptr, "stop", 4) == 0; turn = turn + 1) {}
  return fnv(key, count);
}
