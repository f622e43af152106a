/* Keeps every promise: what the bad offset stores would be without their one fault. */
#define PLUGIN_ID "good.memory-store"
#include "../bad/offset_store.h"
