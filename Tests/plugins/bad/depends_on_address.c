/* Breaks: partitioner.pure. The same within a process, another in the next one: an address stands for a number. */
#define _GNU_SOURCE
#include <sys/auxv.h>
#define PLUGIN_ID "bad.depends-on-address"
#define PLACE(self, key, count) \
  ((key).ptr ? (int32_t)(((unsigned)fnv(key, count) + (unsigned)(*(uint64_t *)getauxval(AT_RANDOM) >> 7)) % (unsigned)(count)) : -1)
#include "partitioner.h"
