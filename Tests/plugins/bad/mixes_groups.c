/* Breaks: store.read-your-write. Groups whose names begin alike are one. */
#define PLUGIN_ID "bad.mixes-groups"
#define SAME_GROUP(entry, owner, name) \
  (same((entry)->tenant, owner) && \
   memcmp((entry)->group.bytes, (name).ptr, (entry)->group.len < (name).len ? (entry)->group.len : (name).len) == 0)
#include "offset_store.h"
