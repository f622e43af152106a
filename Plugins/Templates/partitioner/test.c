/* Calls the plug-in as a host does, with a host that has a configuration and nothing else. */
#include "{{NAME}}.c"

#include <stdio.h>

#define CHECK(condition) \
  do { \
    if (!(condition)) { fprintf(stderr, "test.c:%d: %s\n", __LINE__, #condition); return 1; } \
    passed++; \
  } while (0)

static const char *seed = NULL;
static int32_t lookup(void *ctx, uint64_t id, skein_bytes key, skein_bytes *out) {
  (void)ctx, (void)id;
  if (seed == NULL || key.len != 4 || memcmp(key.ptr, "seed", 4) != 0) return 1;
  *out = (skein_bytes){(const uint8_t *)seed, strlen(seed)};
  return 0;
}
static const skein_host_config config = {sizeof config, 0, lookup};
static const void *service(void *ctx, const char *id) {
  (void)ctx;
  return strcmp(id, SKEIN_HOST_CONFIG) == 0 ? &config : NULL;
}
static const skein_host host = {sizeof host, SKEIN_ABI_MINOR, NULL, service};

enum { COUNT = 1000 };
static void place(void *self, int32_t partitions, int32_t *out) {
  static char text[COUNT][16];
  static skein_bytes keys[COUNT];
  for (int i = 0; i < COUNT; i++)
    keys[i] = (skein_bytes){(uint8_t *)text[i], (size_t)snprintf(text[i], sizeof text[i], "key-%d", i)};
  keys[0] = (skein_bytes){NULL, 0};
  skein_topic topic = {sizeof topic, partitions, NULL, {1}};
  skein_records records = {sizeof records, COUNT, keys, NULL, 0, 0, NULL};
  const skein_partitioner *table = skein_plugin_entry(&host)->get(SKEIN_PARTITIONER);
  table->batch(self, &topic, &records, out);
}

int main(void) {
  int passed = 0;
  const skein_partitioner *table = skein_plugin_entry(&host)->get(SKEIN_PARTITIONER);
  CHECK(table != NULL && skein_plugin_entry(&host)->get("skein.partitioner/2") == NULL);
  void *self, *seeded;
  skein_bytes why;
  CHECK(table->ops.create(&host, 1, (skein_bytes){(const uint8_t *)"{}", 2}, &self, &why) == SKEIN_OK);
  seed = "7";
  CHECK(table->ops.create(&host, 2, (skein_bytes){(const uint8_t *)"{\"seed\": 7}", 11}, &seeded, &why) == SKEIN_OK);

  seed = "{}";
  CHECK(table->ops.create(&host, 3, (skein_bytes){(const uint8_t *)"{}", 2}, &self, &why) == SKEIN_BAD_CONFIG);

  static const int32_t counts[] = {1, 2, 12, 10000};
  static int32_t out[COUNT], again[COUNT];
  for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
    place(self, counts[c], out);
    place(self, counts[c], again);
    CHECK(out[0] == SKEIN_ANY_PARTITION);
    CHECK(memcmp(out, again, sizeof out) == 0);
    for (int i = 1; i < COUNT; i++)
      if (out[i] < 0 || out[i] >= counts[c]) { fprintf(stderr, "key-%d goes to %d\n", i, out[i]); return 1; }
  }
  place(seeded, 10000, again);
  CHECK(memcmp(out, again, sizeof out) != 0);
  table->ops.destroy(self);
  table->ops.destroy(seeded);
  printf("%d passed\n", passed);
  return 0;
}
