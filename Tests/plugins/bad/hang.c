/* Breaks: calls.basic. A batch never ends. */
#define PLUGIN_ID "bad.hang"
#define BEFORE_BATCH(self, topic, records, out) \
  for (volatile int turn = 0;; turn = turn + 1) {}
#include "partitioner.h"
