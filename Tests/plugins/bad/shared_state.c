/* Breaks: partitioner.isolation. Round robin whose turn is one for all instances. */
#include <stdint.h>
#define PLUGIN_ID "bad.shared-state"
#define PLUGIN_FLAGS 0
static uint32_t turn;
#define PLACE(self, key, count) ((int32_t)(__atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % (uint32_t)(count)))
#include "partitioner.h"
