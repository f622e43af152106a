/* Breaks: partitioner.range. Partitions are counted from 1. */
#define PLUGIN_ID "bad.wrong-range"
#define PLACE(self, key, count) (fnv(key, count) + 1)
#include "partitioner.h"
