/* Breaks: async.once. A result of 2 MiB. */
#define PLUGIN_ID "bad.huge-result"
#include "skein_plugin.h"
static uint8_t large[2 << 20];
#define ON_STEP(self, call, deadline, status, result) \
  complete(self, call, status, (status) == SKEIN_OK ? (result) : (skein_bytes){large, sizeof large})
#include "authenticator.h"
