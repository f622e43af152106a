/* Breaks: fuzz.config. A configuration that ends early is read on. */
#define PLUGIN_ID "bad.crashes-on-config"
#include "skein_plugin.h"
#define OWN_ENTRY
#include "partitioner.h"
static skein_status reads_on(const skein_host *host, uint64_t instance, skein_bytes config, void **self,
                             skein_bytes *why) {
  volatile uint8_t last;
  if (config.len > 0 && config.ptr[0] == '{' && config.len > 1 && config.ptr[1] != 0x22)
    for (size_t at = 1; at <= config.len && (last = config.ptr[at]) != '}' && last != ':'; at++) {}
  return create(host, instance, config, self, why);
}
static const skein_partitioner other = {sizeof other, PLUGIN_FLAGS, {reads_on, 0, destroy}, batch};
static const void *get_other(const char *kind) { return get(kind) ? &other : 0; }
static const skein_plugin reader = {sizeof reader, SKEIN_ABI_MINOR, PLUGIN_ID, "1.0.0", get_other};
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return &reader;
}
