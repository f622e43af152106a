/* Breaks: partitioner.flat. Every batch keeps a little. */
#define PLUGIN_ID "bad.leak-in-call"
static void *volatile kept;
#define BEFORE_BATCH(self, topic, records, out) kept = malloc(100)
#include "partitioner.h"
