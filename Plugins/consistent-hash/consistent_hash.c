/*
 * org.skein.consistent-hash: when a topic gets more partitions, as few keys move as can be: those that go to the new
 * ones, and no other.
 *
 * The algorithm is the jump consistent hash of J. Lamping and E. Veach, "A Fast, Minimal Memory, Consistent Hash
 * Algorithm" (arXiv:1406.2294, 2014). It suits a topic well, because partitions are only ever added at the end. Cost:
 * ln(partitions) steps a key, no memory. Weights are not looked at. No configuration.
 *
 * cc -std=c11 -O2 -fPIC -fvisibility=hidden -shared -Wl,-z,defs -Wl,-z,nodelete -I INCLUDE consistent_hash.c
 */
#include "skein_plugin.h"

#include <string.h>

SKEIN_PLUGIN_ABI_MARK;

/* FNV-1a with 64 bits, then the finalizer of MurmurHash3: the same on every machine and for ever. */
static uint64_t hash_of(skein_bytes key) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < key.len; i++) hash = (hash ^ key.ptr[i]) * 0x100000001b3u;
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 33);
}

/* Follows the key through the moves that it makes while the partitions grow from 1 to `count`, from jump to jump. */
static int32_t jump(uint64_t hash, int32_t count) {
  int64_t at = 0, next = 0;
  while (next < count) {
    at = next;
    hash = hash * 2862933555777941757u + 1;
    next = (int64_t)((double)(at + 1) * ((double)(1ll << 31) / (double)((hash >> 33) + 1)));
  }
  return (int32_t)at;
}

enum { SIDE = 8 };

/* The same for several keys side by side: each step waits for a division, and those of several keys overlap. A key that
 * has arrived stays where it is while the others go on. */
static void jump_side(uint64_t *hash, int32_t count, int32_t *out) {
  int64_t at[SIDE] = {0}, next[SIDE] = {0}, going;
  do {
    going = 0;
    for (int k = 0; k < SIDE; k++) {
      int64_t on = -(int64_t)(next[k] < count);
      at[k] += (next[k] - at[k]) & on;
      hash[k] = hash[k] * 2862933555777941757u + 1;
      int64_t reach = (int64_t)((double)(at[k] + 1) * ((double)(1ll << 31) / (double)(int64_t)((hash[k] >> 33) + 1)));
      next[k] += (reach - next[k]) & on;
      going |= next[k] - count; /* negative while one is below */
    }
  } while (going < 0);
  for (int k = 0; k < SIDE; k++) out[k] = (int32_t)at[k];
}

static void batch(void *self, const skein_topic *topic, const skein_records *records, int32_t *out) {
  (void)self;
  uint64_t hash[SIDE];
  uint32_t where[SIDE];
  int32_t found[SIDE];
  int waiting = 0;
  for (uint32_t i = 0; i < records->count; i++) {
    out[i] = SKEIN_ANY_PARTITION;
    if (records->keys[i].ptr == NULL) continue;
    where[waiting] = i;
    hash[waiting++] = hash_of(records->keys[i]);
    if (waiting < SIDE) continue;
    jump_side(hash, topic->partitions, found);
    for (int k = 0; k < SIDE; k++) out[where[k]] = found[k];
    waiting = 0;
  }
  for (int k = 0; k < waiting; k++) out[where[k]] = jump(hash[k], topic->partitions);
}

static skein_status create(const skein_host *host, uint64_t instance, skein_bytes config_json, void **self,
                           skein_bytes *why) {
  (void)host, (void)instance, (void)config_json, (void)why;
  *self = NULL; /* nothing to remember */
  return SKEIN_OK;
}

static void destroy(void *self) { (void)self; }

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
    .id = "org.skein.consistent-hash",
    .version = "1.0.0",
    .get = get,
};

SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return &plugin;
}
