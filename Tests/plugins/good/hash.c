/* Keeps every promise: what the bad partitioners would be without their one fault. */
#define PLUGIN_ID "good.hash"
#include "../bad/partitioner.h"
