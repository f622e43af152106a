/* Breaks: partitioner.pure. Says PURE, and draws lots. */
#define PLUGIN_ID "bad.nondeterministic"
#define PLACE(self, key, count) ((key).ptr ? (int32_t)((unsigned)rand() % (unsigned)(count)) : -1)
#include "partitioner.h"
