/* Breaks: async.once. The first ends it, and the second again. */
#define PLUGIN_ID "bad.double-completion"
#include "skein_plugin.h"
#define ON_STEP(self, call, deadline, status, result) \
  (complete(self, call, status, result), (call) % 3 ? (void)0 : complete(self, call, status, result))
#include "authenticator.h"
