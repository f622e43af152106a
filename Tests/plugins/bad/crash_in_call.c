/* Breaks: calls.basic. The first batch reads where nothing is. */
#define PLUGIN_ID "bad.crash-in-call"
#define BEFORE_BATCH(self, topic, records, out) (out)[0] = *(volatile int *)16
#include "partitioner.h"
