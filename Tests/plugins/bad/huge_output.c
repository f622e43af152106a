/* Breaks: process.output. A line on stderr for every record. */
#include <stdio.h>
#define PLUGIN_ID "bad.huge-output"
#define BEFORE_BATCH(self, topic, records, out) \
  for (uint32_t i = 0; i < (records)->count; i++) fprintf(stderr, "placing record %u of %u\n", i, (records)->count)
#include "partitioner.h"
