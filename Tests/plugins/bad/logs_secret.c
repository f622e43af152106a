/* Breaks: auth.secret. Tells the log what the client said. */
#include "skein_plugin.h"
#define PLUGIN_ID "bad.logs-secret"
#define ON_MESSAGE(self, message) tell(self, message)
struct authenticator;
static void tell(struct authenticator *self, skein_bytes message);
#include "authenticator.h"
static void tell(struct authenticator *self, skein_bytes message) {
  const skein_host_log *log = self->host->get(self->host->ctx, SKEIN_HOST_LOG);
  static uint32_t lines;
  if (log && log->size >= sizeof *log && lines++ < 20)
    log->write(self->host->ctx, self->instance, SKEIN_LOG_WARNING, message);
}
