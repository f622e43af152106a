/* Breaks: async.cancel. Half a minute of work that cancel does not end. */
#define PLUGIN_ID "bad.forgets-cancelled"
#include "later.h"
#define ON_STEP(self, call, deadline, status, result) \
  ((deadline) > now() + 20000000000u ? (void)0 : complete(self, call, status, result))
#include "authenticator.h"
