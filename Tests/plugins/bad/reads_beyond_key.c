/* Breaks: partitioner.bounds. Takes the key for a C string. */
#define PLUGIN_ID "bad.reads-beyond-key"
#include "skein_plugin.h"
static int32_t as_string(skein_bytes key, int32_t count);
#define PLACE(self, key, count) as_string(key, count)
#include "partitioner.h"
static volatile size_t last;
static int32_t as_string(skein_bytes key, int32_t count) {
  if (key.ptr && key.len > 0 && key.len <= 128) last = ((const volatile uint8_t *)key.ptr)[key.len];
  return fnv(key, count);
}
