// A third party's partitioner, in plain C against skein_plugin.h alone: keys of one region stay together.
//
// A key is "REGION:REST". Each region has a block of neighbouring partitions (`"spread"` of the configuration, default 2),
// and the whole key chooses inside the block. A key without ':' is hashed over all partitions.
//
//   cc -std=c11 -O2 -shared -fPIC -fvisibility=hidden -Wl,-z,nodelete,-z,defs -I DIR_OF_HEADER region.c -o region.so
#include <skein_plugin.h>
#include <stdlib.h>
#include <string.h>

SKEIN_PLUGIN_ABI_MARK;

typedef struct region {
  int32_t spread; // partitions of one region
} region;

// FNV-1a, 64 bit (Fowler, Noll, Vo).
static uint64_t fnv1a(const uint8_t *bytes, size_t count) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

// The host's configuration service, or NULL when it has none, or one without `lookup`: tables only grow at their end, so
// a table that is shorter than ours lacks functions.
static const skein_host_config *config_service(const skein_host *host) {
  const skein_host_config *config = host->get(host->ctx, SKEIN_HOST_CONFIG);
  const size_t needed = offsetof(skein_host_config, lookup) + sizeof config->lookup;
  return config && config->size >= needed ? config : NULL;
}

// The host has checked the configuration against config_schema: "spread" is an integer from 1 to 64, or absent.
static int32_t configured_spread(const skein_host *host, uint64_t instance) {
  const skein_host_config *config = config_service(host);
  const skein_bytes key = {(const uint8_t *)"spread", 6};
  skein_bytes text;
  if (!config) return 0;
  if (config->lookup(host->ctx, instance, key, &text) != 0) return 2;
  int32_t value = 0;
  for (size_t i = 0; i < text.len && i < 3; i++) {
    if (text.ptr[i] < '0' || text.ptr[i] > '9') return 0;
    value = value * 10 + (text.ptr[i] - '0');
  }
  return value <= 64 ? value : 0;
}

static skein_status create(const skein_host *host, uint64_t instance, skein_bytes config_json, void **self,
                           skein_bytes *why) {
  (void)config_json;
  static const char bad[] = "\"spread\" is not an integer from 1 to 64";
  static const char memory[] = "out of memory";
  region *made = malloc(sizeof *made);
  if (!made) {
    *why = (skein_bytes){(const uint8_t *)memory, sizeof memory - 1};
    return SKEIN_FAILED;
  }
  made->spread = configured_spread(host, instance);
  if (made->spread < 1) {
    free(made);
    *why = (skein_bytes){(const uint8_t *)bad, sizeof bad - 1};
    return SKEIN_BAD_CONFIG;
  }
  *self = made;
  return SKEIN_OK;
}

static void destroy(void *self) { free(self); }

static void batch(void *self, const skein_topic *topic, const skein_records *records, int32_t *out) {
  const region *mine = self;
  const uint64_t count = (uint64_t)topic->partitions;
  const uint64_t spread = (uint64_t)mine->spread < count ? (uint64_t)mine->spread : count;
  for (uint32_t i = 0; i < records->count; i++) {
    const skein_bytes key = records->keys[i];
    if (!key.ptr) {
      out[i] = SKEIN_ANY_PARTITION;
      continue;
    }
    const uint64_t hash = fnv1a(key.ptr, key.len);
    const uint8_t *colon = key.len ? memchr(key.ptr, ':', key.len) : NULL;
    if (!colon) {
      out[i] = (int32_t)(hash % count);
      continue;
    }
    const uint64_t first = fnv1a(key.ptr, (size_t)(colon - key.ptr)) % count;
    out[i] = (int32_t)((first + hash % spread) % count);
  }
}

static const skein_partitioner partitioner = {
    .size = sizeof partitioner,
    .flags = SKEIN_PARTITIONER_PURE,
    .ops = {.create = create, .destroy = destroy},
    .batch = batch,
};

static const void *get(const char *kind_id) { return strcmp(kind_id, SKEIN_PARTITIONER) ? NULL : &partitioner; }

static const skein_plugin plugin = {
    .size = sizeof plugin,
    .abi_minor = SKEIN_ABI_MINOR,
    .id = "com.acme.region",
    .version = "1.0.0",
    .get = get,
};

SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  return config_service(host) ? &plugin : NULL;
}
