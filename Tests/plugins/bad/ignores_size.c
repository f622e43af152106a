/* Breaks: load.shorter. Calls a function of the log's table without looking whether the table has it. */
#include "skein_plugin.h"
#define PLUGIN_ID "bad.ignores-size"
static const skein_host *home;
static void greet(void);
#define ON_CREATE(self) greet()
#define OWN_ENTRY
#include "partitioner.h"
static void greet(void) {
  const skein_host_log *log = home->get(home->ctx, SKEIN_HOST_LOG);
  if (log) log->write(home->ctx, 0, SKEIN_LOG_DEBUG, (skein_bytes){(const uint8_t *)"hello", 5});
}
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  home = host;
  return &plugin;
}
