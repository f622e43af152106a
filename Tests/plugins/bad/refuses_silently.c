/* Breaks: load.bad-config. A bad configuration is refused without a why. */
#include "skein_plugin.h"
#define PLUGIN_ID "bad.refuses-silently"
#define OWN_ENTRY
#include "partitioner.h"
static skein_status silent(const skein_host *host, uint64_t instance, skein_bytes config, void **self,
                           skein_bytes *why) {
  skein_status status = create(host, instance, config, self, why);
  why->len = 0;
  return status;
}
static const skein_partitioner quiet = {sizeof quiet, PLUGIN_FLAGS, {silent, 0, destroy}, batch};
static const void *get_quiet(const char *kind) { return get(kind) ? &quiet : 0; }
static const skein_plugin silent_plugin = {sizeof silent_plugin, SKEIN_ABI_MINOR, PLUGIN_ID, "1.0.0", get_quiet};
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return &silent_plugin;
}
