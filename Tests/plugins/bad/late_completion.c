/* Breaks: async.deadline. Ends calls half a second after their deadline. */
#define PLUGIN_ID "bad.late-completion"
#include "later.h"
#define ON_STEP(self, call, deadline, status, result) \
  (status) == SKEIN_OK ? complete(self, call, status, result) : later(self, call, ((deadline) < now() + 1000000000u ? (deadline) : now() + 1000000u) + 500000000u * ((deadline) < now() + 1000000000u), status)
#define ON_QUIESCE(self, done) when_none_is_open(self, done)
#include "authenticator.h"
#include "later_end.h"
