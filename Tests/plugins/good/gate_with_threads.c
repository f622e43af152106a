/* The same, completing from threads. */
#define PLUGIN_ID "good.gate-with-threads"
#include "../bad/later.h"
#define ON_STEP(self, call, deadline, status, result) \
  ((status) == SKEIN_OK ? complete(self, call, status, result) : later(self, call, now() + 1000000u < (deadline) ? now() + 1000000u : (deadline), status))
#define ON_QUIESCE(self, done) when_none_is_open(self, done)
#include "../bad/authenticator.h"
#include "../bad/later_end.h"
