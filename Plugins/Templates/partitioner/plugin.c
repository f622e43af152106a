/* {{ID}}: places a record by its key. {"seed": 7} gives another placement than the default. */
#include "skein_plugin.h"

#include <stdlib.h>
#include <string.h>

SKEIN_PLUGIN_ABI_MARK;

typedef struct instance {
  uint64_t seed;
} instance;

/* FNV-1a with 64 bits, then the finalizer of MurmurHash3: the same on every machine and for ever. */
static uint64_t mix(uint64_t hash) {
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 33);
}
static uint64_t hash_of(skein_bytes key) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < key.len; i++) hash = (hash ^ key.ptr[i]) * 0x100000001b3u;
  return mix(hash);
}

/* [any] Called from many threads at once: do not block, do not allocate, do not take a lock. */
static void batch(void *raw, const skein_topic *topic, const skein_records *records, int32_t *out) {
  const instance *self = raw;
  for (uint32_t i = 0; i < records->count; i++) {
    if (records->keys[i].ptr == NULL) {
      out[i] = SKEIN_ANY_PARTITION;
    } else {
      out[i] = (int32_t)(mix(hash_of(records->keys[i]) ^ self->seed) % (uint32_t)topic->partitions);
    }
  }
}

/* Reads "seed" from the configuration: a number as JSON text. Without one it stays as it is. 0: it is no such number. */
static int read_seed(const skein_host *host, uint64_t instance_id, uint64_t *seed) {
  const skein_host_config *config =
      SKEIN_HAS(skein_host, host, get) ? host->get(host->ctx, SKEIN_HOST_CONFIG) : NULL;
  const skein_bytes name = {(const uint8_t *)"seed", 4};
  skein_bytes value;
  if (!SKEIN_HAS(skein_host_config, config, lookup) || config->lookup(host->ctx, instance_id, name, &value) != 0) return 1;
  uint64_t read = 0;
  for (size_t i = 0; i < value.len; i++) {
    if (value.ptr[i] < '0' || value.ptr[i] > '9') return 0;
    read = read * 10 + (uint64_t)(value.ptr[i] - '0');
  }
  *seed = read;
  return value.len >= 1 && value.len <= 7;
}

static skein_status refuse(skein_bytes *why, const char *text, skein_status status) {
  *why = (skein_bytes){(const uint8_t *)text, strlen(text)};
  return status;
}

static skein_status create(const skein_host *host, uint64_t instance_id, skein_bytes config_json, void **self,
                           skein_bytes *why) {
  (void)config_json;
  uint64_t seed = 0;
  if (!read_seed(host, instance_id, &seed))
    return refuse(why, "seed is not a number: give 0 to 1000000", SKEIN_BAD_CONFIG);
  instance *made = calloc(1, sizeof *made);
  if (made == NULL) return refuse(why, "no memory", SKEIN_RETRY_LATER);
  made->seed = mix(seed);
  *self = made;
  return SKEIN_OK;
}

static void destroy(void *self) { free(self); }

static const skein_partitioner partitioner = {
    .size = sizeof(skein_partitioner),
    .flags = SKEIN_PARTITIONER_PURE,
    .ops = {.create = create, .quiesce = NULL, .destroy = destroy},
    .batch = batch,
};

static const void *get(const char *kind_id) {
  return strcmp(kind_id, SKEIN_PARTITIONER) == 0 ? &partitioner : NULL;
}

static const skein_plugin plugin = {
    .size = sizeof(skein_plugin),
    .abi_minor = SKEIN_ABI_MINOR,
    .id = "{{ID}}",
    .version = "1.0.0",
    .get = get,
};

SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return &plugin;
}
