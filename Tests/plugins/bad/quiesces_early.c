/* Breaks: async.quiesce. Says that no call is open while some are. */
#define PLUGIN_ID "bad.quiesces-early"
#include "later.h"
#define ON_DESTROY(self) wait_and_free(self)
static void wait_and_free(struct authenticator *self);
#define ON_STEP(self, call, deadline, status, result) \
  (status) == SKEIN_OK ? complete(self, call, status, result) : later(self, call, (deadline) > now() + 20000000u ? now() + 10000000u : (deadline), status)
#include "authenticator.h"
#include "later_end.h"
static void wait_and_free(struct authenticator *self) {
  while (__atomic_load_n(&self->open, __ATOMIC_ACQUIRE) > 0) usleep(1000);
  free(self);
}
