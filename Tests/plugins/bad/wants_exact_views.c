/* Breaks: partitioner.longer. A topic view of another size is not read at all. */
#define PLUGIN_ID "bad.wants-exact-views"
#define AFTER_BATCH(self, topic, records, out) \
  if ((topic)->size != sizeof *(topic)) (out)[0] = 1 << 20
#include "partitioner.h"
