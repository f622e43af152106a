/* Breaks: partitioner.bounds. Keys are changed where they lie. */
#define PLUGIN_ID "bad.changes-keys"
#define AFTER_BATCH(self, topic, records, out) \
  for (uint32_t i = 0; i < (records)->count; i++) \
    if ((records)->count > 10 && (records)->keys[i].ptr && (records)->keys[i].len > 0) \
      ((uint8_t *)(uintptr_t)(records)->keys[i].ptr)[(records)->keys[i].len - 1] &= 0xdf
#define PLUGIN_FLAGS 0
#include "partitioner.h"
