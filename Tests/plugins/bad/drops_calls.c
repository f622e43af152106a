/* Breaks: async.open. Has places for 600 calls, and forgets what does not fit. */
#define PLUGIN_ID "bad.drops-calls"
#include "later.h"
static void perhaps(struct authenticator *self, skein_call call, uint64_t deadline, skein_status status, skein_bytes result);
#define ON_STEP(self, call, deadline, status, result) perhaps(self, call, deadline, status, result)
#define ON_QUIESCE(self, done) when_none_is_open(self, done)
#include "authenticator.h"
#include "later_end.h"
static void perhaps(struct authenticator *self, skein_call call, uint64_t deadline, skein_status status, skein_bytes result) {
  static int many;
  /* Calls with seconds to go wait their turn; the others are answered at once. */
  if (deadline < now() + 4000000000u || status == SKEIN_OK) return complete(self, call, status, result);
  if (deadline > now() + 10000000000u) return complete(self, call, status, result);
  if (many++ < 600) complete(self, call, status, result);
}
