/* Breaks: partitioner.keys. Records without a key get no answer. */
#define PLUGIN_ID "bad.skips-records"
#define PLACE(self, key, count) ((key).ptr ? fnv(key, count) : out[i])
#include "partitioner.h"
