/* Breaks: calls.basic. A batch ends the process, with code 0 as if all were well. */
#define PLUGIN_ID "bad.exits"
#define BEFORE_BATCH(self, topic, records, out) _Exit(0)
#include "partitioner.h"
