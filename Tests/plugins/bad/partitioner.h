/*
 * What the bad partitioners have in common: a plug-in that keeps every promise, of which each file breaks one. A file
 * defines what it does otherwise before it includes this:
 *
 *   PLUGIN_ID, PLUGIN_FLAGS, PLACE(self, key, count), BEFORE_BATCH, AFTER_BATCH, ON_CREATE, ON_DESTROY, STATE
 */
#include <stdlib.h>
#include <string.h>

#include "skein_plugin.h"

#ifndef NO_MARK
SKEIN_PLUGIN_ABI_MARK;
#endif

#ifndef PLUGIN_FLAGS
#define PLUGIN_FLAGS SKEIN_PARTITIONER_PURE
#endif
#ifndef STATE
#define STATE
#endif
#ifndef ON_CREATE
#define ON_CREATE(self)
#endif
#ifndef ON_DESTROY
#define ON_DESTROY(self) free(self)
#endif
#ifndef BEFORE_BATCH
#define BEFORE_BATCH(self, topic, records, out)
#endif
#ifndef AFTER_BATCH
#define AFTER_BATCH(self, topic, records, out)
#endif
#ifndef PLACE
#define PLACE(self, key, count) fnv(key, count)
#endif

struct partitioner {
  uint64_t instance;
  STATE
};

/* FNV-1a, modulo the partitions. */
static inline int32_t fnv(skein_bytes key, int32_t count) {
  uint32_t hash = 2166136261u;
  if (!key.ptr) return SKEIN_ANY_PARTITION;
  for (size_t i = 0; i < key.len; i++) hash = (hash ^ key.ptr[i]) * 16777619u;
  return (int32_t)(hash % (uint32_t)count);
}

static skein_status create(const skein_host *host, uint64_t instance, skein_bytes config, void **self,
                           skein_bytes *why) {
  static const char sentence[] = "the configuration is not a JSON object; give {}";
  struct partitioner *made;
  (void)host;
  if (config.len < 2 || config.ptr[0] != '{' || config.ptr[config.len - 1] != '}') {
    why->ptr = (const uint8_t *)sentence;
    why->len = sizeof sentence - 1;
    return SKEIN_BAD_CONFIG;
  }
  made = calloc(1, sizeof *made);
  if (!made) return SKEIN_RETRY_LATER;
  made->instance = instance;
  ON_CREATE(made);
  *self = made;
  return SKEIN_OK;
}

static void destroy(void *self) { ON_DESTROY(self); }

static void batch(void *self, const skein_topic *topic, const skein_records *records, int32_t *out) {
  (void)self;
  BEFORE_BATCH((struct partitioner *)self, topic, records, out);
  for (uint32_t i = 0; i < records->count; i++)
    out[i] = PLACE((struct partitioner *)self, records->keys[i], topic->partitions);
  AFTER_BATCH((struct partitioner *)self, topic, records, out);
}

static const skein_partitioner table = {sizeof table, PLUGIN_FLAGS, {create, 0, destroy}, batch};

static const void *get(const char *kind) { return strcmp(kind, SKEIN_PARTITIONER) == 0 ? &table : 0; }

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION "1.0.0"
#endif
static const skein_plugin plugin = {sizeof plugin, SKEIN_ABI_MINOR, PLUGIN_ID, PLUGIN_VERSION, get};

#ifndef OWN_ENTRY
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return &plugin;
}
#endif
