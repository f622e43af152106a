/* Breaks: binary.symbols. A helper is visible to the whole process. */
#define PLUGIN_ID "bad.extra-symbols"
#include "partitioner.h"
SKEIN_ENTRY int32_t hash_of(skein_bytes key) { return fnv(key, 7); }
