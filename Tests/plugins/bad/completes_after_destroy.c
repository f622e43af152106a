/* Breaks: async.destroy. A thread outlives the instance and speaks once more. */
#define PLUGIN_ID "bad.completes-after-destroy"
#include "later.h"
static void ghost(struct authenticator *self);
#define ON_DESTROY(self) ghost(self)
#include "authenticator.h"
#include "later_end.h"
static struct authenticator last;
static void ghost(struct authenticator *self) {
  last.host = self->host;
  free(self);
  later(&last, 1, now() + 100000000u, SKEIN_CANCELLED);
}
