/* Breaks: partitioner.bounds. One answer more than there are records. */
#define PLUGIN_ID "bad.writes-beyond-out"
#define AFTER_BATCH(self, topic, records, out) (out)[(records)->count] = 0
#include "partitioner.h"
