/* Breaks: load.longer. Refuses a host that knows more than it does. */
#include "skein_plugin.h"
#define PLUGIN_ID "bad.wants-exact-size"
#define OWN_ENTRY
#include "partitioner.h"
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  return host->size == sizeof(skein_host) ? &plugin : 0;
}
