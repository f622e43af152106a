/* Breaks: load.entry. No host is good enough. */
#define PLUGIN_ID "bad.entry-gives-null"
#define OWN_ENTRY
#include "partitioner.h"
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { return host ? 0 : &plugin; }
