/* Breaks: partitioner.batch. A record goes where the one before it in the batch went, every tenth time. */
#define PLUGIN_ID "bad.depends-on-neighbour"
#define PLACE(self, key, count) (i % 10 == 9 ? out[i - 1] : fnv(key, count))
#include "partitioner.h"
