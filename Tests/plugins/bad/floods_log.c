/* Breaks: process.output. Ten lines in the broker's log for every batch. */
#include "skein_plugin.h"
#define PLUGIN_ID "bad.floods-log"
static const skein_host *home;
static void chat(void);
#define BEFORE_BATCH(self, topic, records, out) chat()
#define OWN_ENTRY
#include "partitioner.h"
static void chat(void) {
  const skein_host_log *log = home->get(home->ctx, SKEIN_HOST_LOG);
  if (!log || log->size < sizeof *log) return;
  for (int i = 0; i < 10; i++) log->write(home->ctx, 0, SKEIN_LOG_DEBUG, (skein_bytes){(const uint8_t *)"batch", 5});
}
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  home = host;
  return &plugin;
}
